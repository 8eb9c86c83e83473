"""Follows the log of a running algorithm while somebody watches.

A node streams the log from its first line on every connection, and only while the container runs: a reader that comes
back skips the bytes it has. Lines carry no time, so ours is the time of arrival.
"""

from __future__ import annotations

import uuid
from contextlib import ExitStack
from datetime import datetime, timedelta

from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import Case, F, Q, Value, When

from jobs import queue
from jobs.lifecycle import State
from jobs.models import Job, LogChunk
from jobs.ocean.compute import LogPiece
from jobs.ocean.errors import OceanError
from jobs.ocean.signing import Proof
from jobs.ocean.verdicts import phase_of
from jobs.services import pacing
from jobs.services.budget import OutOfBudget, Purpose
from jobs.services.gateway import Clock, NoTurn, open_node, signed
from jobs.services.holders import new_holder
from jobs.services.vault import VaultLocked

FOLLOW_FOR = timedelta(seconds=50)  # then the next task takes over
GRACE = timedelta(seconds=10)
COOL_DOWN = timedelta(seconds=5)  # after an end or a refusal
CHUNK_MAX_BYTES = 64 * 1024  # the reader of live logs relies on it
LOG_MAX_BYTES = 20 * 2**20  # of live log kept per job; the whole log is archived at the end
PIECES_MAX = 50_000  # per job: a log that changes its stream with every byte must not become a row for each


def follow(*, job_id: uuid.UUID, clock: Clock) -> None:
    """Read a job's live log for up to 50 s and store what is new; hand over to the next task if it is still watched.

    At most half of the workers follow. Safe to run twice: a second follower of the same job ends at once.
    """
    holder = new_holder()
    now = clock()
    if not _claim(job_id=job_id, holder=holder, now=now):
        return
    job = Job.objects.select_related("wallet", "node").get(pk=job_id)
    end = now + FOLLOW_FOR
    try:
        _read(job=job, holder=holder, end=end, clock=clock)
    except (OceanError, OutOfBudget, NoTurn, VaultLocked):
        pass  # "not running" before and after the container, our own deadline, or trouble that the status will show
    finally:
        later = clock()
        again = later >= end and _watched(job_id=job_id, now=later)
        rest = None if again else later + COOL_DOWN
        due_at = _due_at(job=job, now=later) if later < end else later + pacing.UNWATCHED_EVERY
        # The end of the log is a hint, for which the node's own report is asked; never later than it would be anyway.
        early = When(state=State.RUNNING, trouble_count=0, next_check_at__gt=due_at, then=Value(due_at))
        Job.objects.filter(pk=job_id, follow_holder=holder).update(
            follow_holder="", follow_until=rest, next_check_at=Case(early, default=F("next_check_at"))
        )
    if again:
        queue.enqueue(queue.Task.FOLLOW, job_id)


def _claim(*, job_id: uuid.UUID, holder: str, now: datetime) -> bool:
    followers = Job.objects.exclude(follow_holder="").filter(follow_until__gt=now).count()
    if followers >= max(1, int(settings.Q_CLUSTER["workers"]) // 2):
        return False
    free = Q(follow_until__isnull=True) | Q(follow_until__lte=now)
    return bool(
        Job.objects.filter(pk=job_id, state=State.RUNNING, watched_until__gt=now)
        .filter(free)
        .update(follow_holder=holder, follow_until=now + FOLLOW_FOR + GRACE)
    )


def _read(*, job: Job, holder: str, end: datetime, clock: Clock) -> None:
    """Store what the stream brings until it ends, or our time is over."""
    if job.node_status is None or phase_of(job.node_status) != "running":
        return
    if not job.node.can.live_logs:
        return
    position, have = 0, _have(job_id=job.pk)
    room = PIECES_MAX - LogChunk.objects.filter(job=job).count()
    if have >= LOG_MAX_BYTES:
        return
    with ExitStack() as stack:
        backend = stack.enter_context(open_node(node=job.node, purpose=Purpose.WATCH, clock=clock))

        def open_it(proof: Proof):  # type: ignore[no-untyped-def]  # an iterator of LogPiece
            return stack.enter_context(
                backend.stream_log(
                    job_id=job.node_job_id,
                    proof=proof,
                    max_bytes=LOG_MAX_BYTES,
                    total_s=FOLLOW_FOR.total_seconds(),
                )
            )

        pieces = signed(
            backend=backend,
            wallet=job.wallet,
            node=job.node,
            clock=clock,
            act=open_it,
            call="read a log",
            job=job,
            asked_by=job.owner_id,
        )
        # It streams, so the container runs: nothing else is to be learned soon. A person who wants it stopped waits.
        Job.objects.filter(
            pk=job.pk, state=State.RUNNING, follow_holder=holder, cancel_requested_at=None, trouble_count=0
        ).update(next_check_at=clock() + pacing.UNWATCHED_EVERY)
        for piece in pieces:
            now = clock()
            skip = max(0, have - position)
            for start in range(skip, len(piece.data), CHUNK_MAX_BYTES):
                if (room := room - 1) < 0:
                    return
                part = LogPiece(stream=piece.stream, data=piece.data[start : start + CHUNK_MAX_BYTES])
                if not _append(job_id=job.pk, holder=holder, offset=position + start, piece=part, now=now):
                    return  # another follower is at it, or the log is being archived
            position += len(piece.data)
            if now >= end or queue.is_stopping():
                return


def _due_at(*, job: Job, now: datetime) -> datetime:
    """Return when the job can be over whose log has ended now, or could not be read."""
    end = pacing.earliest_end(sight=pacing.sight(job=job, now=now), pace=pacing.pace_of(job=job))
    return max(end, now + pacing.AFTER_LOG)


def _append(*, job_id: uuid.UUID, holder: str, offset: int, piece: LogPiece, now: datetime) -> bool:
    try:
        with transaction.atomic():
            # Locks the row: a piece that comes late would stay for ever beside the archived log.
            mine = Job.objects.filter(pk=job_id, state=State.RUNNING, follow_holder=holder)
            if not mine.update(follow_holder=holder):
                return False
            LogChunk.objects.create(
                job_id=job_id, offset=offset, stream=piece.stream, data=piece.data, arrived_at=now
            )
    except IntegrityError:
        return False
    return True


def _have(*, job_id: uuid.UUID) -> int:
    last = LogChunk.objects.filter(job_id=job_id).order_by("-offset").first()
    return last.offset + len(last.data) if last else 0


def _watched(*, job_id: uuid.UUID, now: datetime) -> bool:
    return Job.objects.filter(pk=job_id, state=State.RUNNING, watched_until__gt=now).exists()
