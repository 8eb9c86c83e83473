"""The portal's own errors: what a person is told.

    PortalError
      NotAllowed      the person is known and may see the thing, but not do this (403)
      Missing         the thing is not there, or not this team's (404)
      InvalidInput    what was entered cannot be used; knows the field it belongs to
      CannotOrder     what a start needs on the chain cannot be had

Services define further subclasses beside the function that raises them. `jobs.web` turns them into responses.
"""

from __future__ import annotations


class PortalError(Exception):
    """Say what went wrong, to which object, and what to do next.

    message: fit for a user; never a key, signature, token, payload or stack trace.
    code: short text that tests and callers decide by.
    """

    code = "error"

    def __init__(self, message: str, *, code: str = "") -> None:
        super().__init__(message)
        self.message = message
        if code:
            self.code = code


class NotAllowed(PortalError):
    """The role of this person does not include this action."""

    code = "not_allowed"


class Missing(PortalError):
    """There is no such thing in this team."""

    code = "missing"


class InvalidInput(PortalError):
    """What was entered cannot be used.

    field: name of the form field or option that the sentence belongs to, "" for the whole form.
    candidates: what the person may have meant.
    """

    code = "invalid"

    def __init__(
        self, message: str, *, field: str = "", code: str = "", candidates: tuple[str, ...] = ()
    ) -> None:
        super().__init__(message, code=code)
        self.field = field
        self.candidates = candidates


class CannotOrder(PortalError):
    """What a start needs on the chain cannot be had. Nothing was sent for it."""

    code = "cannot_order"
