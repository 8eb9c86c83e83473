"""Refreshes what is known of running jobs: one request per wallet and node brings all their jobs.

Jobs that somebody watches are asked about when something is due to change (see `pacing`), as long as the node's budget
lasts, the others every 30 s.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db import transaction
from django.db.models import Case, DateTimeField, F, IntegerField, Q, Value, When
from django.db.models.functions import Coalesce

from jobs import queue
from jobs.lifecycle import ACTIVE, State
from jobs.models import EscrowAccount, Job, JobEvent, Node, Wallet
from jobs.ocean.compute import JobReport, same_job, stored_environment
from jobs.ocean.errors import BadAnswer, OceanError
from jobs.ocean.units import Address
from jobs.ocean.verdicts import failure_number, phase_of, verdict
from jobs.services import pacing
from jobs.services.budget import OutOfBudget, Purpose
from jobs.services.gateway import Clock, open_node
from jobs.services.pacing import UNWATCHED_EVERY, WATCHED_EVERY

WATCH_FOR = timedelta(seconds=20)  # how long one look at a page counts as watching
WATCH_AT_MOST_EVERY = timedelta(seconds=10)
TROUBLE_PAUSE_MAX = timedelta(minutes=5)
KEEPS_MAX_S = 10 * 366 * 86_400  # a node may say any number of seconds; a date may not
FORGOTTEN_AFTER = 3  # answers without the job in them, before it is believed that the node forgot it


def watch(*, job_id: uuid.UUID, now: datetime) -> bool:
    """Note that somebody looks at a job; return whether a row was written (at most every 10 s)."""
    job = Job.objects.filter(pk=job_id, state__in=ACTIVE).first()
    if job is None or (job.watched_until and job.watched_until >= now + WATCH_FOR - WATCH_AT_MOST_EVERY):
        return False
    facts: dict[str, Any] = {}
    if not _is_watched(job, now):
        # What would have been asked in half a minute is asked sooner; what is in trouble keeps its pause.
        at = _first_look(job=job, now=now)
        later = When(state=State.RUNNING, trouble_count=0, next_check_at__gt=at, then=Value(at))
        facts["next_check_at"] = Case(later, default=F("next_check_at"))
    mine = Job.objects.filter(pk=job_id, state__in=ACTIVE, watched_until=job.watched_until)
    return bool(mine.update(watched_until=now + WATCH_FOR, **facts))


def check_now(*, job_ids: Collection[uuid.UUID], now: datetime) -> int:
    """Have the worker look at these jobs at its next beat; return how many are active."""
    return Job.objects.filter(pk__in=job_ids, state__in=ACTIVE).update(next_check_at=now)


def refresh(*, node_id: int, wallet_id: int, clock: Clock) -> None:
    """Ask a node for all jobs of a wallet, and write down what it says of ours.

    Safe to run twice, late or never: every write repeats what it expects.
    """
    node, wallet = Node.objects.get(pk=node_id), Wallet.objects.get(pk=wallet_id)
    running = Job.objects.filter(node=node, wallet=wallet, state=State.RUNNING)
    asked_at = clock()
    watched = running.filter(watched_until__gt=asked_at).exists()
    if not running.exists():
        return
    purpose = Purpose.WATCH if watched else Purpose.BACKGROUND
    try:
        with open_node(node=node, purpose=purpose, clock=clock) as backend:
            reports = backend.jobs_of(owner=Address(wallet.address))
    except OutOfBudget as error:
        running.update(next_check_at=error.available_at)
        return
    except OceanError as error:
        _note_trouble(running=running, message=error.message, now=clock())
        return
    Node.objects.filter(pk=node_id).update(answered_at=asked_at)
    for job in running:
        report = next((r for r in reports if same_job(job.node_job_id, r.long_id)), None)
        if report is not None:
            apply_report(job=job, report=report, asked_at=asked_at)
        elif not reports.skipped and _should_be_listed(job, asked_at=asked_at):
            _missing(job=job, now=asked_at)


def apply_report(*, job: Job, report: JobReport, asked_at: datetime) -> None:
    """Write down what a node says of a job: its status, the first failure, and at the end the verdict.

    The verdict is known here, before anything is collected, and does not change afterwards.
    """
    fresh: dict[str, Any] = {
        "report": report.model_dump(mode="json", exclude={"raw", "metadata"}),
        "report_at": asked_at,
        # Kept by the database itself: another process may have seen it since this row was read.
        "first_failure": Coalesce(F("first_failure"), Value(failure_number(report), IntegerField())),
        "exit_code": report.exit_code,
        "algorithm_started_at": moment(report.algo_started_at),
        "algorithm_stopped_at": moment(report.algo_stopped_at),
        **_money(report),
        # Ended here, the job would never be asked for its results again.
        "trouble": "The node says that the job has ended, but not what it left."
        if report.ended and not report.tells_results
        else "",
        "trouble_count": 0,
        "missing_count": 0,
        "next_check_at": _next_check(job=job, report=report, now=asked_at),
    }
    # An answer that was asked for earlier must not overwrite a later one.
    older = Q(report_at__isnull=True) | Q(report_at__lt=asked_at)
    mine = Job.objects.filter(pk=job.pk, state=State.RUNNING).filter(older)
    with transaction.atomic():
        changed = mine.exclude(node_status=report.status).update(
            **fresh,
            node_status=report.status,
            node_status_text=report.status_text[:200],
            node_status_at=asked_at,
            version=F("version") + 1,
        )
        if changed:
            JobEvent.objects.create(
                job=job,
                at=asked_at,
                kind=JobEvent.Kind.NODE_STATUS,
                message=report.status_text.strip(),
                data={"status": report.status, "phase": phase_of(report.status)},
            )
    written = changed or mine.update(**fresh, **({"version": F("version") + 1} if job.trouble else {}))
    if written and report.ended and report.tells_results:
        _end(job=job, report=report, now=asked_at)
    elif (
        written
        and phase_of(report.status) == "running"
        and job.node.can.live_logs
        and _is_watched(job, asked_at)
    ):
        queue.enqueue(queue.Task.FOLLOW, job.pk)


def _money(report: JobReport) -> dict[str, Any]:
    """Return what a node says of a paid job's place in the escrow; what it does not say any more stays as it was."""
    said = report.payment
    if said is None:
        return {}
    found = {
        "lock_id": str(report.lock_id) if report.lock_id is not None else "",
        "lock_tx": said.lock_tx or "",
        "claim_tx": said.claim_tx or "",
    }
    return {name: value for name, value in found.items() if value}


def moment(epoch_s: float | None) -> datetime | None:
    """Turn seconds since the epoch into a time, None for what did not happen."""
    return None if epoch_s is None else datetime.fromtimestamp(epoch_s, tz=UTC)


def _should_be_listed(job: Job, *, asked_at: datetime) -> bool:
    """Say whether an answer to a question of that moment should contain the job: not if it is younger."""
    return job.accepted_at is None or job.accepted_at < asked_at


def _end(*, job: Job, report: JobReport, now: datetime) -> None:
    first_failure = Job.objects.values_list("first_failure", flat=True).get(pk=job.pk)
    judged = verdict(report, first_failure=first_failure)
    keeps_s = _keeps_s(job)
    finished_at = min(moment(report.finished_at) or now, now)  # no node's clock makes us ask for centuries
    with transaction.atomic():
        won = Job.objects.move(
            job_id=job.pk,
            before=State.RUNNING,
            after=State.COLLECTING,
            now=now,
            reason=judged.reason,
            message=judged.sentence[:500],
            # A node that does not say how a job ended leaves it to the logs: told as ended, with these words.
            outcome="succeeded" if judged.state == "unknown" else judged.state,
            finished_at=finished_at,
            node_expires_at=finished_at + timedelta(seconds=min(keeps_s, KEEPS_MAX_S))
            if keeps_s is not None
            else None,
            next_check_at=now,
            data={"exit_code": report.exit_code, "status": report.status},
        )
        if won:
            queue.enqueue(queue.Task.COLLECT, job.pk)
            if job.escrow_need:
                accounts = EscrowAccount.objects.filter(wallet=job.wallet, escrow=job.escrow_need["escrow"])
                accounts.filter(token__address=job.escrow_need["token"]).update(next_look_at=now)


def _keeps_s(job: Job) -> int | None:
    """Return for how many seconds the node says that it keeps a job's results; None where it does not say."""
    try:
        return stored_environment(job.environment.raw, dialect=job.node.dialect).storage_expiry_s
    except BadAnswer:
        return None


def _missing(*, job: Job, now: datetime) -> None:
    misses = job.missing_count + 1
    if misses < FORGOTTEN_AFTER:
        Job.objects.filter(pk=job.pk, state=State.RUNNING).update(
            trouble="The node's last answer did not contain this job.",
            missing_count=misses,
            version=F("version") + 1,
            next_check_at=now + WATCHED_EVERY,
        )
        return
    Job.objects.move(
        job_id=job.pk,
        before=State.RUNNING,
        after=State.NEEDS_ATTENTION,
        now=now,
        reason="node_forgot",
        message="The node no longer knows this job. It may have deleted it, or lost it in a restart: look again later, or "
        "end the job here and run it again.",
    )


def _note_trouble(*, running: Any, message: str, now: datetime) -> None:
    for job in running:
        count = job.trouble_count + 1
        pause = min(UNWATCHED_EVERY * 2 ** min(count - 1, 6), TROUBLE_PAUSE_MAX)
        if _is_watched(job, now):
            pause = min(pause, UNWATCHED_EVERY)
        Job.objects.filter(pk=job.pk, state=State.RUNNING).update(
            trouble=message[:500], trouble_count=count, next_check_at=now + pause, version=F("version") + 1
        )


def _next_check(*, job: Job, report: JobReport, now: datetime) -> Case:
    planned = pacing.look_again(job=job, now=now, report=report)
    # Decided by the database: somebody may begin to watch at this moment, or the log may end. Both make the job due
    # earlier, and must not be outvoted.
    unwatched = Q(watched_until=None) | Q(watched_until__lte=now)
    followed = ~Q(follow_holder="") & Q(follow_until__gt=now, cancel_requested_at=None)
    return Case(
        When(unwatched | followed, then=Value(now + UNWATCHED_EVERY)),
        default=Value(planned),
        output_field=DateTimeField(),
    )


def _first_look(*, job: Job, now: datetime) -> datetime:
    """Return when to ask for somebody who has just come: at once, unless what is known is fresh."""
    if job.report_at is None or now - job.report_at > WATCHED_EVERY:
        return now
    return pacing.look_again(job=job, now=now)


def _is_watched(job: Job, now: datetime) -> bool:
    return job.watched_until is not None and job.watched_until > now
