"""Writes to people about their jobs: when one has ended, or needs them, and they asked for it; once.

An event that may interest somebody is born with the time at which it is to be looked at (`JobEvent.tell_at`), in the same
transaction as what it tells of. Whoever looks at it takes that mark away in the transaction that puts the letter into the
outbox: no event is passed over, and none is told twice. What happened before there was such a mark is told to nobody.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from django.db import transaction
from django.urls import reverse

from jobs.lifecycle import TERMINAL, State
from jobs.models import JobEvent, Letter, Membership, User
from jobs.selectors.profile import mail_address
from jobs.services import letters
from jobs.services.letters import Words

CLAIM = timedelta(seconds=10)  # an event whose task got lost is due again after this
BATCH = 200
_HAPPENED = {
    State.SUCCEEDED: "has succeeded",
    State.FAILED: "has failed",
    State.CANCELLED: "was stopped",
    State.NEEDS_ATTENTION: "needs you",
}


def claim_due(*, now: datetime) -> list[int]:
    """Return the events that are to be looked at, each to one caller; one indexed query if there are none."""
    due = (
        JobEvent.objects.filter(tell_at__lte=now)
        .order_by("tell_at", "pk")
        .values_list("pk", "tell_at")[:BATCH]
    )
    return [pk for pk, at in due if JobEvent.objects.filter(pk=pk, tell_at=at).update(tell_at=now + CLAIM)]


def tell(*, event_id: int, now: datetime) -> None:
    """Put a letter about an event into the outbox, if the job's owner wants one. Safe to run twice, late, or never."""
    with transaction.atomic():
        if not JobEvent.objects.filter(pk=event_id, tell_at__isnull=False).update(tell_at=None):
            return
        event = JobEvent.objects.select_related("job__handed_to", "job__launched_by").get(pk=event_id)
        person = _whom(event)
        address = mail_address(person) if person is not None else ""
        if person is None or not address:
            return
        letters.post(
            kind=Letter.Kind.JOB_ENDED if event.after in TERMINAL else Letter.Kind.JOB_NEEDS_YOU,
            key=f"event:{event.pk}:{person.pk}",
            to=address,
            now=now,
            user_id=person.pk,
            event_id=event.pk,
        )


def write(letter: Letter) -> Words:
    """Write a letter about an event.

    Raises:
        NotNeeded: the person has left meanwhile, or the job no longer waits for anybody.
    """
    event = JobEvent.objects.select_related("job__team", "job__node").get(pk=letter.event_id or 0)
    job, person = event.job, letter.user
    if person is None or not person.is_active or not _is_member(person, team_id=job.team_id):
        raise letters.NotNeeded("The person is not in the team any more.")
    if event.after not in TERMINAL and job.state != State.NEEDS_ATTENTION:
        raise letters.NotNeeded("The job did not wait for a person any more.")
    return letters.write(
        "job",
        name=job.name,
        team=job.team.name,
        node=job.node.name,
        happened=_HAPPENED[State(event.after)],
        sentence=event.message,
        waits=event.after not in TERMINAL,
        link=letters.link(reverse("jobs-detail", args=[job.team.slug, job.pk])),
        profile=letters.link(reverse("profile")),
    )


def _whom(event: JobEvent) -> User | None:
    """Return the job's owner, if they want to be told of this and can be.

    Nobody is told of what they did themselves: who stopped a job, or ended one that waited for them, knows of it.
    """
    person = event.job.handed_to or event.job.launched_by
    if person is None or not person.is_active:
        return None
    wants = person.mail_when_ended if event.after in TERMINAL else person.mail_when_needed
    if not wants or _own_act(event, person=person):
        return None
    return person if _is_member(person, team_id=event.job.team_id) else None


def _is_member(person: User, *, team_id: int) -> bool:
    return Membership.objects.filter(team_id=team_id, user=person).exists()


def _own_act(event: JobEvent, *, person: User) -> bool:
    stopped = event.after == State.CANCELLED and event.job.cancel_requested_by_id == person.pk
    return stopped or event.actor_id == person.pk
