"""Sends what is in the outbox: which service writes which kind of letter."""

from __future__ import annotations

from collections.abc import Mapping

from jobs.models import Letter
from jobs.services import invitations, letters, notifications
from jobs.services.gateway import Clock

WRITERS: Mapping[str, letters.Writer] = {
    Letter.Kind.INVITATION: invitations.write,
    Letter.Kind.JOB_ENDED: notifications.write,
    Letter.Kind.JOB_NEEDS_YOU: notifications.write,
}


def send(*, letter_id: int, clock: Clock) -> None:
    """Send a letter that waits, in the words of the service that knows what it tells of."""
    letters.send(letter_id=letter_id, clock=clock, writers=WRITERS)
