"""The errors of the protocol client.

    OceanError                     anything below; services catch this one
      Unreachable                  name, connection, TLS, deadline, body cut off: nobody answered in full
      Rejected                     the far side understood and said no; `code` says to what
      BadAnswer                    the far side answered with something that is not its protocol
      ChainError                   a chain refused, reverted or lost a transaction
      Refused                      our own guard said no before anything was sent

Each answers two questions: may it pass by itself (`retryable`), and could the far side have acted
(`maybe_happened`)?
"""


class OceanError(Exception):
    """Tell what went wrong with a far side, in a sentence that a user may read.

    message: what happened, to which host or object, what next; never payloads, keys, signatures or tokens.
    code: short and stable, for tests and for deciding.
    retry_after_s: how long the far side asked us to wait, where it said so.
    """

    def __init__(
        self,
        message: str,
        *,
        code: str,
        retryable: bool = False,
        maybe_happened: bool = False,
        retry_after_s: int | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.retryable = retryable
        self.maybe_happened = maybe_happened
        self.retry_after_s = retry_after_s


class Unreachable(OceanError):
    """Nobody answered in full; `maybe_happened` only for a write whose bytes may have left."""


class Rejected(OceanError):
    """The far side said no."""


class BadAnswer(OceanError):
    """The far side answered with something that its protocol does not know."""


class ChainError(OceanError):
    """A chain refused, reverted or lost a transaction.

    reason: what the contract that reverted says of it, in one clean line; "" where it says nothing.
    """

    def __init__(
        self,
        message: str,
        *,
        code: str,
        reason: str = "",
        retryable: bool = False,
        maybe_happened: bool = False,
    ) -> None:
        super().__init__(message, code=code, retryable=retryable, maybe_happened=maybe_happened)
        self.reason = reason


class Refused(OceanError):
    """Our own guard refused to send."""
