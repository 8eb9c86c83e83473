"""Removes archived results when a team's rule says so: first it is written down, then the files go.

A process that dies in between leaves rows that say "removed" and still name a file: the next run deletes it. Nothing here
asks a node for anything, and what is not archived, or belongs to a job that has not ended, is left alone.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta

from django.core.files.storage import default_storage
from django.db import transaction
from django.db.models import F, Q, QuerySet, Sum

from jobs.access import Person
from jobs.models import Act, Job, JobEvent, Pulse, Result, Team
from jobs.services import audit
from jobs.services.gateway import Clock
from jobs.services.holders import new_holder

EVERY = timedelta(hours=1)
RUN_FOR = timedelta(seconds=60)  # below the queue's limit for a task; what is left waits for the next pulse
LEASE = timedelta(seconds=120)
BATCH = 1000
TURN = "retention"  # the name of the row that says when the next run is due
PORTAL = Person(user_id=None, name="the portal", origin=audit.WORKER)

log = logging.getLogger(__name__)


def claim_run(*, now: datetime) -> bool:
    """Say whether a run is due, once an hour to one caller; if its task gets lost, the next hour's does the work.

    Never where no team has a rule and nothing was left over.
    """
    if not (Team.objects.filter(results_kept_days__isnull=False).exists() or _left_over().exists()):
        return False
    Pulse.objects.get_or_create(name=TURN)
    due = Pulse.objects.filter(Q(lease_until__isnull=True) | Q(lease_until__lte=now), name=TURN)
    return bool(due.update(lease_until=now + EVERY, beat_at=now))


def run(*, clock: Clock) -> None:
    """Remove what the teams' rules no longer keep. Safe to run twice, late, or never.

    Works for about a minute; if that was not enough, the next pulse starts another run.
    """
    end = clock() + RUN_FOR
    _delete_files(_left_over())
    for done, job_id in enumerate(_old_jobs(now=clock())):
        if clock() >= end or done >= BATCH:
            Pulse.objects.filter(name=TURN).update(lease_until=None)
            return
        remove(job_id=job_id, clock=clock)


def remove(*, job_id: uuid.UUID, clock: Clock) -> None:
    """Remove a job's archived results, if its team's rule says so at this moment and nobody is fetching some.

    Safe to run twice, late, or never.
    """
    holder = new_holder()
    now = clock()
    if not Job.objects.claim(job_id=job_id, holder=holder, now=now, until=now + LEASE):
        return
    try:
        if _write_down(job_id=job_id, now=now):
            _delete_files(_left_over().filter(job_id=job_id))
    finally:
        Job.objects.release(job_id=job_id, holder=holder)


def _left_over() -> QuerySet[Result]:
    """Results that are said to be removed and still have their file."""
    return Result.objects.filter(status=Result.Status.REMOVED).exclude(file="")


def _old_jobs(*, now: datetime) -> Iterator[uuid.UUID]:
    for team in Team.objects.filter(results_kept_days__isnull=False).order_by("pk"):
        kept = timedelta(days=team.results_kept_days or 0)
        old = Job.objects.with_old_results(team_id=team.pk, ended_before=now - kept)
        yield from list(old.order_by("ended_at", "pk").values_list("pk", flat=True)[: BATCH + 1])


def _write_down(*, job_id: uuid.UUID, now: datetime) -> bool:
    """Say in the rows, in the job's history and in the record that the results are gone; the files go after that."""
    with transaction.atomic():
        job = Job.objects.only("team_id", "name").get(pk=job_id)
        # Locked, so that a rule that was made longer a moment ago is the one that counts.
        days = Team.objects.select_for_update().get(pk=job.team_id).results_kept_days
        if days is None:
            return False
        old = Job.objects.with_old_results(team_id=job.team_id, ended_before=now - timedelta(days=days))
        if not old.filter(pk=job_id).exists():
            return False
        kept = Result.objects.filter(job_id=job_id, status=Result.Status.ARCHIVED)
        size = kept.aggregate(total=Sum("size"))["total"] or 0
        count = kept.update(status=Result.Status.REMOVED, removed_at=now, next_try_at=None)
        Job.objects.filter(pk=job_id).update(version=F("version") + 1)
        JobEvent.objects.create(
            job_id=job_id,
            at=now,
            kind=JobEvent.Kind.REMOVED,
            message=f"{count} archived file{'' if count == 1 else 's'} removed: the team keeps results for {days} "
            f"day{'' if days == 1 else 's'}.",
            data={"files": count, "bytes": size, "days": days},
        )
        audit.record(
            act=Act.RESULTS_REMOVED,
            by=PORTAL,
            now=now,
            thing=audit.Thing(kind="job", id=str(job_id), name=job.name),
            before={"files": count, "bytes": size},
            after={"files": 0, "kept_days": days},
            team_id=job.team_id,
        )
    return True


def _delete_files(results: Iterable[Result]) -> None:
    for result in results:
        try:
            default_storage.delete(result.file.name or "")
        except OSError as error:
            log.warning(
                "could not delete the file of result %s: %s",
                result.pk,
                error.strerror or type(error).__name__,
            )
            continue
        Result.objects.filter(pk=result.pk, status=Result.Status.REMOVED).update(file="")
