"""Writes to people about their jobs: when one has ended, or needs them, and they asked for it; once.

An event that may interest somebody is born with the time at which it is to be looked at (`JobEvent.tell_at`), in the same
transaction as what it tells of. Whoever looks at it takes that mark away in the transaction that puts the letter into the
outbox: no event is passed over, and none is told twice. What happened before there was such a mark is told to nobody.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from django.db import transaction

from jobs.lifecycle import TERMINAL, State
from jobs.models import JobEvent, Letter, Membership, User

CLAIM = timedelta(seconds=10)  # an event whose task got lost is due again after this
BATCH = 200


def claim_due(*, now: datetime) -> list[int]:
    """Return the events that are to be looked at, each to one caller; one indexed query if there are none."""
    due = JobEvent.objects.filter(tell_at__lte=now).order_by("tell_at", "pk").values_list("pk", "tell_at")[:BATCH]
    return [
        pk for pk, at in due if JobEvent.objects.filter(pk=pk, tell_at=at).update(tell_at=now + CLAIM)
    ]


def tell(*, event_id: int, now: datetime) -> None:
    """Put a letter about an event into the outbox, if the job's owner wants one. Safe to run twice, late, or never."""
    with transaction.atomic():
        if not JobEvent.objects.filter(pk=event_id, tell_at__isnull=False).update(tell_at=None):
            return
        event = JobEvent.objects.select_related("job__handed_to", "job__launched_by").get(pk=event_id)
        person = _whom(event)
        if person is None:
            return
        kind = Letter.Kind.JOB_ENDED if event.after in TERMINAL else Letter.Kind.JOB_NEEDS_YOU
        Letter.objects.get_or_create(
            key=f"event-{event.pk}-{person.pk}",
            defaults={
                "kind": kind,
                "to": person.email,
                "user": person,
                "event": event,
                "due_at": now,
                "created_at": now,
            },
        )


def _whom(event: JobEvent) -> User | None:
    """Return the job's owner, if they want to be told of this and can be.

    Nobody is told of what they did themselves: who stopped a job, or ended one that waited for them, knows of it.
    """
    person = event.job.handed_to or event.job.launched_by
    if person is None or not person.is_active or not person.email:
        return None
    wants = person.mail_when_ended if event.after in TERMINAL else person.mail_when_needed
    if not wants or _own_act(event, person=person):
        return None
    return person if Membership.objects.filter(team_id=event.job.team_id, user=person).exists() else None


def _own_act(event: JobEvent, *, person: User) -> bool:
    stopped = event.after == State.CANCELLED and event.job.cancel_requested_by_id == person.pk
    return stopped or event.actor_id == person.pk
