"""The invitation that a visitor came with: its page puts the token into their session under `invitation`."""

from __future__ import annotations

from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone

from jobs.services import invitations


def invited_email(request: HttpRequest) -> str | None:
    """Return the address that the visitor's invitation was sent to, while it is open."""
    token = request.session.get("invitation")
    if not isinstance(token, str):
        return None
    found = invitations.open_invitation(token=token, now=timezone.now())
    return None if found is None else str(found.email)


def way_back(request: HttpRequest) -> str | None:
    """Return the address of the visitor's invitation, where they accept it."""
    if invited_email(request) is None:
        return None
    return reverse("invitation", args=[request.session["invitation"]])
