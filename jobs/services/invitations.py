"""Invites people to a team by e-mail. The link is signed, and is in the e-mail only."""

from __future__ import annotations

from datetime import UTC

from django.core.signing import Signer
from django.urls import reverse

from jobs.models import Invitation, Letter
from jobs.services import letters

_SIGNER = "jobs.invitation"


def token_of(invitation: Invitation) -> str:
    """Return what the invitation's link is made of: nobody can make it who has not the portal's secret key."""
    return _signer().sign(f"{invitation.pk}-{invitation.serial.hex}")


def write(letter: Letter) -> letters.Words:
    """Write an invitation's letter.

    Raises:
        NotNeeded: it was accepted or revoked meanwhile.
    """
    invitation = Invitation.objects.select_related("team", "invited_by").get(letters=letter)
    if invitation.revoked_at is not None:
        raise letters.NotNeeded("The invitation was revoked before it was sent.")
    if invitation.accepted_at is not None:
        raise letters.NotNeeded("The invitation was accepted before this was sent.")
    return letters.write(
        "invitation",
        team=invitation.team.name,
        role=invitation.role,
        to=invitation.email,
        invited_by=str(invitation.invited_by) if invitation.invited_by else "",
        until=f"{invitation.expires_at.astimezone(UTC):%d %B %Y, %H:%M} UTC",
        link=letters.link(reverse("invitation", args=[token_of(invitation)])),
        portal=letters.link("/"),
    )


def _signer() -> Signer:
    return Signer(salt=_SIGNER, sep=".")
