"""Brings jobs forward: one claimed step at a time, and the pulse that finds what is due.

Every outside effect has a row that says it is about to happen. Whoever runs a step holds the job's lease; a process that
dies leaves a lease that runs out, and the next one reads in the row how far things had come.
"""

from __future__ import annotations

import uuid
from datetime import datetime, timedelta
from typing import Any

from django.db.models import F, Q

from jobs import queue
from jobs.lifecycle import ACTIVE, TERMINAL, State
from jobs.models import Job, JobEvent, NonceLease, Pulse, Result
from jobs.ocean.compute import ComputeBackend, JobReport
from jobs.ocean.errors import BadAnswer, OceanError, Rejected
from jobs.ocean.units import Address
from jobs.services import nodes, payments
from jobs.services.budget import OutOfBudget, Purpose, check
from jobs.services.gateway import (
    Clock,
    NoChain,
    NoTurn,
    capabilities,
    has_room,
    heeding_limits,
    open_node,
    signed,
)
from jobs.services.holders import is_dead, new_holder
from jobs.services.refreshing import apply_report
from jobs.services.starts import start_request
from jobs.services.vault import VaultLocked

LEASE = timedelta(seconds=90)  # a step is one or two requests, each with a deadline below this
RETRY_STEP = timedelta(seconds=10)
SOON = timedelta(seconds=1)
# A start whose answer was lost may still be on its way into the node's list: look twice, this far apart, before repeating.
LOOK_AGAIN = timedelta(seconds=15)
LOOKS_BEFORE_REPEAT = 2
STARTS_MAX = 3
STOPS_MAX = 5
STOP_AGAIN = timedelta(seconds=20)
UNANSWERED_MAX = 60  # so many starts in a row without an answer take some hours; then a person decides

PULSE_LEASE = timedelta(seconds=15)
CLAIM = timedelta(seconds=10)  # a claimed job whose task got lost is due again after this
BATCH = 200


def advance(*, job_id: uuid.UUID, clock: Clock) -> None:
    """Take one step with a job, if nobody else is at it.

    Safe to run twice, late, or never: what is due and not done is found again by the pulse.
    """
    holder = new_holder()
    now = clock()
    if not has_room(job_id=job_id, now=now):
        return
    if not Job.objects.claim(job_id=job_id, holder=holder, now=now, until=now + LEASE):
        return
    try:
        job = Job.objects.select_related("wallet", "node", "environment", "algorithm").get(pk=job_id)
        if job.state == State.REQUESTED:
            _begin(job=job, holder=holder, clock=clock)
        elif job.state == State.PAYING:
            _pay(job=job, holder=holder, clock=clock)
        elif job.state == State.PAID:
            _begin_start(job=job, holder=holder, clock=clock)
        elif job.state == State.STARTING:
            _start(job=job, holder=holder, clock=clock)
        elif job.state == State.RUNNING and job.cancel_requested_at is not None:
            _stop(job=job, holder=holder, clock=clock)
        elif job.state == State.COLLECTING:
            queue.enqueue(queue.Task.COLLECT, job.pk)
    finally:
        Job.objects.release(job_id=job_id, holder=holder)


def pulse(*, clock: Clock, holder: str) -> bool:
    """Beat once: find what is due, claim it, enqueue it. Return whether this holder has the pulse.

    The pulse does no work itself: one indexed query a second, and conditional updates for what is due.
    """
    if queue.is_stopping():
        Pulse.objects.filter(name="pulse", holder=holder).update(holder="", lease_until=None)
        return False
    now = clock()
    Pulse.objects.get_or_create(name="pulse")
    free = Q(holder=holder) | Q(lease_until__isnull=True) | Q(lease_until__lte=now)
    if (
        not Pulse.objects.filter(name="pulse")
        .filter(free)
        .update(holder=holder, lease_until=now + PULSE_LEASE, beat_at=now)
    ):
        return False
    _enqueue_due_jobs(now=now)
    for job_id in _claim_due_results(now=now):
        queue.enqueue(queue.Task.COLLECT, job_id)
    for job_id in payments.claim_strays(now=now):
        queue.enqueue(queue.Task.SETTLE, job_id)
    for node_id in nodes.claim_due(now=now):
        queue.enqueue(queue.Task.LOOK_AT_NODE, node_id)
    return True


def begin_pulse(*, now: datetime) -> str:
    """Return the name that a new pulse holds its lease by, after what killed processes held was given back."""
    free_leases_of_the_dead(now=now)
    return new_holder()


def hand_over_pulse(*, holder: str) -> None:
    """Let go of the pulse and ask for the next one, so that no gap is left between two."""
    if Pulse.objects.filter(name="pulse", holder=holder).update(holder="", lease_until=None):
        queue.enqueue(queue.Task.PULSE)


def free_leases_of_the_dead(*, now: datetime) -> None:
    """Give back what processes held that were killed on this machine, and make their jobs due at once.

    For a worker that starts, and for each new pulse: without it their jobs would wait until the leases run out.
    """
    for job in Job.objects.exclude(lease_holder="").only("pk", "lease_holder"):
        if is_dead(job.lease_holder):
            freed = Job.objects.filter(pk=job.pk, lease_holder=job.lease_holder)
            freed.update(lease_holder="", lease_until=None)
            Job.objects.filter(pk=job.pk, state__in=ACTIVE, next_check_at__gt=now).update(next_check_at=now)
    for job in Job.objects.exclude(follow_holder="").only("pk", "follow_holder"):
        if is_dead(job.follow_holder):
            Job.objects.filter(pk=job.pk, follow_holder=job.follow_holder).update(
                follow_holder="", follow_until=None
            )
    for turn in NonceLease.objects.exclude(holder=""):
        if is_dead(turn.holder):
            NonceLease.objects.filter(pk=turn.pk, holder=turn.holder).update(holder="", leased_until=None)
    for beat in Pulse.objects.exclude(holder=""):
        if is_dead(beat.holder):
            Pulse.objects.filter(pk=beat.pk, holder=beat.holder).update(holder="", lease_until=None)


def report_crash(*, job_id: uuid.UUID, error: Exception, now: datetime) -> None:
    """Put a job aside after an error nobody foresaw: a person decides, nothing is sent meanwhile."""
    job = Job.objects.filter(pk=job_id, state__in=ACTIVE).first()
    if job is None:
        return
    Job.objects.move(
        job_id=job_id,
        before=State(job.state),
        after=State.NEEDS_ATTENTION,
        now=now,
        reason="internal_error",
        message=f"The portal met an error it does not know ({type(error).__name__}). The worker's log has the details; "
        "go on to try this step again.",
    )


def _enqueue_due_jobs(*, now: datetime) -> None:
    refreshes: set[tuple[int, int]] = set()
    due = Job.objects.due(now=now).order_by("next_check_at", "pk")[:BATCH]
    for job in due.only("pk", "state", "node_id", "wallet_id", "cancel_requested_at", "next_check_at"):
        claimed = Job.objects.filter(pk=job.pk, state=job.state, next_check_at=job.next_check_at).update(
            next_check_at=now + CLAIM
        )
        if not claimed:
            continue
        if job.state == State.COLLECTING:
            queue.enqueue(queue.Task.COLLECT, job.pk)
        elif job.state == State.RUNNING:
            refreshes.add((job.node_id, job.wallet_id))
            if job.cancel_requested_at is not None:
                queue.enqueue(queue.Task.ADVANCE, job.pk)
        else:
            queue.enqueue(queue.Task.ADVANCE, job.pk)
    for node_id, wallet_id in sorted(refreshes):
        queue.enqueue(queue.Task.REFRESH, node_id, wallet_id)


def _claim_due_results(*, now: datetime) -> set[uuid.UUID]:
    # While a job is collecting, its own `next_check_at` says when.
    due = Result.objects.filter(next_try_at__lte=now, job__state__in=TERMINAL).values_list("pk", "job_id")[
        :BATCH
    ]
    claimed: set[uuid.UUID] = set()
    for pk, job_id in due:
        if Result.objects.filter(pk=pk, next_try_at__lte=now).update(next_try_at=now + CLAIM):
            claimed.add(job_id)
    return claimed


def _begin(*, job: Job, holder: str, clock: Clock) -> None:
    if job.cancel_requested_at is not None:
        _cancel(job=job, holder=holder, now=clock())
    elif capabilities(job.node).orders:
        _plan(job=job, holder=holder, clock=clock)
    else:
        _begin_start(job=job, holder=holder, clock=clock)


def _begin_start(*, job: Job, holder: str, clock: Clock) -> None:
    now = clock()
    if job.cancel_requested_at is not None:
        _cancel(job=job, holder=holder, now=now)
        return
    if Job.objects.move(
        job_id=job.pk,
        before=State(job.state),
        after=State.STARTING,
        now=now,
        holder=holder,
        next_check_at=now + LEASE,
    ):
        job.refresh_from_db()
        _start(job=job, holder=holder, clock=clock)


def _plan(*, job: Job, holder: str, clock: Clock) -> None:
    """Find out what has to be on the chain before the start, then begin with it."""
    try:
        payments.plan(job=job, holder=holder, clock=clock)
    except OutOfBudget as error:
        _later(job=job, holder=holder, at=error.available_at, trouble=error.message)
        return
    except payments.OrderTaken as error:
        _later(job=job, holder=holder, at=clock() + SOON, trouble=error.message)
        return
    except (payments.CannotOrder, NoChain) as error:
        _end_unstarted(job=job, holder=holder, reason=error.code, message=error.message, now=clock())
        return
    except OceanError as error:
        _not_planned(job=job, holder=holder, error=error, now=clock())
        return
    job.refresh_from_db()
    if job.state == State.PAYING:
        _pay(job=job, holder=holder, clock=clock)
    elif job.state == State.STARTING:
        _start(job=job, holder=holder, clock=clock)


def _not_planned(*, job: Job, holder: str, error: OceanError, now: datetime) -> None:
    """Decide after a question that was not answered: only questions were asked, so nothing has happened."""
    if not error.retryable:
        _end_unstarted(job=job, holder=holder, reason=error.code, message=error.message, now=now)
    elif job.trouble_count >= UNANSWERED_MAX:
        _put_aside(
            job=job,
            holder=holder,
            reason="start_unanswered",
            message=f"What the start needs could not be asked for hours. {error.message}",
            now=now,
        )
    else:
        _later(job=job, holder=holder, at=now + _pause(job, error), trouble=error.message)


def _pay(*, job: Job, holder: str, clock: Clock) -> None:
    """Bring the job's transactions forward; start it once all are confirmed."""
    try:
        look_again_at = payments.carry_on(job=job, holder=holder, clock=clock)
    except payments.CannotOrder as error:
        _put_aside(job=job, holder=holder, reason=error.code, message=error.message, now=clock())
        return
    except (NoChain, VaultLocked) as error:
        _later(job=job, holder=holder, at=clock() + RETRY_STEP, trouble=error.message)
        return
    except OceanError as error:
        now = clock()
        if job.trouble_count >= UNANSWERED_MAX:
            _put_aside(
                job=job,
                holder=holder,
                reason=error.code,
                message=f"The chain has not taken or shown the orders for hours. {error.message}",
                now=now,
            )
        else:
            _later(job=job, holder=holder, at=now + _pause(job, error), trouble=error.message)
        return
    if look_again_at is not None:
        Job.objects.filter(pk=job.pk, state=State.PAYING, lease_holder=holder).update(
            next_check_at=look_again_at, version=F("version") + 1
        )
        return
    job.refresh_from_db()
    if job.state == State.PAID:
        _begin_start(job=job, holder=holder, clock=clock)
    elif job.state == State.PAYING and job.cancel_requested_at is not None:
        _cancel(job=job, holder=holder, now=clock())


def _pause(job: Job, error: OceanError) -> timedelta:
    wait = timedelta(seconds=error.retry_after_s) if error.retry_after_s else RETRY_STEP
    return wait * (1 << min(job.trouble_count, 4))


def _end_unstarted(*, job: Job, holder: str, reason: str, message: str, now: datetime) -> None:
    Job.objects.move(
        job_id=job.pk,
        before=State(job.state),
        after=State.FAILED,
        now=now,
        holder=holder,
        reason=reason,
        message=message[:500],
        ended_at=now,
    )


def _put_aside(*, job: Job, holder: str, reason: str, message: str, now: datetime) -> None:
    Job.objects.move(
        job_id=job.pk,
        before=State(job.state),
        after=State.NEEDS_ATTENTION,
        now=now,
        holder=holder,
        reason=reason,
        message=message[:500],
    )


def _start(*, job: Job, holder: str, clock: Clock) -> None:
    """Start the job at its node, once.

    A start is not idempotent: two starts are two jobs. So it is written down before it is sent, and once it may have been
    sent, the node's list is searched for our tag before it is sent again.
    """
    if job.start_sent_at is None and job.cancel_requested_at is not None:
        _cancel(job=job, holder=holder, now=clock())
        return
    try:
        with open_node(node=job.node, purpose=Purpose.ACT, clock=clock) as backend:
            if job.start_sent_at is not None and not _may_repeat(
                job=job, holder=holder, backend=backend, clock=clock
            ):
                return
            _note_earlier_jobs(job=job, backend=backend)
            report = _send_start(job=job, holder=holder, backend=backend, clock=clock)
        if report is not None and not _is_this_job(job=job, report=report):
            raise BadAnswer(
                "The node answered with another job than the one it was asked to start.",
                code="another_job",
                maybe_happened=True,
            )
        if report is not None:
            _accepted(
                job=job, report=report, holder=holder, now=clock(), message="The node accepted the job."
            )
    except OutOfBudget as error:
        _later(job=job, holder=holder, at=error.available_at, trouble=error.message, **_start_unsent(job))
    except (NoTurn, VaultLocked) as error:
        _later(job=job, holder=holder, at=clock() + RETRY_STEP, trouble=error.message, **_start_unsent(job))
    except OceanError as error:
        _start_failed(job=job, holder=holder, error=error, now=clock())


def _may_repeat(*, job: Job, holder: str, backend: ComputeBackend, clock: Clock) -> bool:
    """Look for our tag among the node's jobs; adopt the job if it is there, else say whether to send again."""
    now = clock()
    try:
        with heeding_limits(node=job.node, clock=clock):
            reports = backend.jobs_of(owner=Address(job.wallet.address))
    except OceanError as error:
        # The look failed, which says nothing about the start: it still may have happened.
        _later(job=job, holder=holder, at=now + LOOK_AGAIN, trouble=error.message)
        return False
    found = next((r for r in reports if _is_this_job(job=job, report=r)), None)
    if found is not None:
        _accepted(
            job=job,
            report=found,
            holder=holder,
            now=now,
            message="Found at the node: the start had arrived after all.",
        )
        return False
    if reports.skipped:
        _later(
            job=job,
            holder=holder,
            at=now + LOOK_AGAIN,
            trouble="Part of the node's job list could not be read.",
        )
        return False
    looks = job.missing_count + 1
    if looks < LOOKS_BEFORE_REPEAT:
        Job.objects.filter(pk=job.pk, lease_holder=holder).update(
            missing_count=looks, next_check_at=now + LOOK_AGAIN
        )
        return False
    if job.cancel_requested_at is not None:
        _cancel(job=job, holder=holder, now=now)
        return False
    if job.start_attempts >= STARTS_MAX:
        _put_aside(
            job=job,
            holder=holder,
            now=now,
            reason="start_lost",
            message=f"The start was sent {job.start_attempts} times and the node's list never showed the job. "
            "Go on to try again, or end the job here.",
        )
        return False
    return True


def _note_earlier_jobs(*, job: Job, backend: ComputeBackend) -> None:
    """Before an order is used again, remember the service's jobs of that order: none of them is the one to come."""
    if backend.capabilities.tags or job.start_sent_at is not None:
        return
    if not payments.is_used_again(job):
        return
    with_order = [
        report.long_id
        for report in backend.jobs_of(owner=Address(job.wallet.address))
        if report.agreement_id == job.agreement_id
    ]
    Job.objects.filter(pk=job.pk, start_sent_at=None).update(seen_before=with_order)
    job.seen_before = with_order


def _is_this_job(*, job: Job, report: JobReport) -> bool:
    """Say whether a job that the node shows is the one: its wallet's, and by its tag or its order no other one."""
    if report.owner != Address(job.wallet.address):
        return False
    if capabilities(job.node).tags:
        if report.tag != str(job.tag):
            return False
    elif report.agreement_id != job.agreement_id or report.long_id in job.seen_before:
        return False
    same = Job.objects.filter(node_id=job.node_id, node_job_id=report.long_id)
    return not same.exclude(pk=job.pk).exists()


def _send_start(*, job: Job, holder: str, backend: ComputeBackend, clock: Clock) -> JobReport | None:
    request = start_request(job)

    def send(proof: Any) -> JobReport | None:
        now = clock()
        check(node=job.node, purpose=Purpose.ACT, now=now)  # before it is written down as sent
        written = Job.objects.record(
            job_id=job.pk,
            kind=JobEvent.Kind.STARTED,
            now=now,
            message="Start sent to the node."
            if job.start_sent_at is None
            else "Start sent to the node again.",
            expect={"state": State.STARTING, "lease_holder": holder, "lease_until__gt": now},
            start_sent_at=now,
            start_attempts=job.start_attempts + 1,
            missing_count=0,
            next_check_at=now + LEASE,
            lease_until=now + LEASE,  # waiting for the turn took some of it; the answer may take a while too
        )
        if not written:
            return None  # the lease was lost while waiting for the turn: somebody else is at it
        return backend.start(request=request, proof=proof)

    return signed(backend=backend, wallet=job.wallet, node=job.node, clock=clock, act=send)


def _accepted(*, job: Job, report: JobReport, holder: str, now: datetime, message: str) -> None:
    won = Job.objects.move(
        job_id=job.pk,
        before=State.STARTING,
        after=State.RUNNING,
        now=now,
        holder=holder,
        message=message,
        node_job_id=report.long_id,
        accepted_at=now,
        next_check_at=now,
        trouble="",
        trouble_count=0,
        missing_count=0,
        data={"node_job_id": report.long_id},
    )
    if won:
        job.refresh_from_db()
        apply_report(job=job, report=report, asked_at=now)


def _start_failed(*, job: Job, holder: str, error: OceanError, now: datetime) -> None:
    """Decide after a start that was not answered with a job: certainly refused, certainly not sent, or unknown."""
    refused = not error.maybe_happened and not error.retryable
    if error.code == "order_in_use" and job.start_attempts > 1:
        # The job that uses the order may be this one, from a start whose answer was lost.
        _later(job=job, holder=holder, at=now + LOOK_AGAIN, trouble=error.message)
        return
    # Without a wait in the node's queue, busy is an answer: the person decides when to run it again.
    if refused or error.code == "busy":
        _end_unstarted(job=job, holder=holder, reason=error.code, message=error.message, now=now)
        return
    if job.trouble_count >= UNANSWERED_MAX:
        _put_aside(
            job=job,
            holder=holder,
            reason="start_unanswered",
            message=f"The node has not answered the start for hours. {error.message}",
            now=now,
        )
        return
    # What certainly did not arrive leaves the row as before: without an earlier try, nothing is to be looked for.
    facts = {} if error.maybe_happened else _start_unsent(job)
    pause = LOOK_AGAIN if error.maybe_happened else _pause(job, error)
    _later(job=job, holder=holder, at=now + pause, trouble=error.message, **facts)


def _stop(*, job: Job, holder: str, clock: Clock) -> None:
    """Ask the node to stop; that it stopped is only believed when the node's own report says so."""
    now = clock()
    if job.stop_sent_at is not None and (now < job.stop_sent_at + STOP_AGAIN or _node_knows_of_stop(job)):
        return
    if job.stop_attempts >= STOPS_MAX:
        return  # the job goes on being refreshed; its page says that stopping was refused
    try:
        with open_node(node=job.node, purpose=Purpose.ACT, clock=clock) as backend:

            def send(proof: Any) -> None:
                check(node=job.node, purpose=Purpose.ACT, now=clock())
                if Job.objects.record(
                    job_id=job.pk,
                    kind=JobEvent.Kind.STOP_SENT,
                    now=clock(),
                    message="Stop sent to the node.",
                    expect={"state": State.RUNNING, "lease_holder": holder},
                    stop_sent_at=clock(),
                    stop_attempts=job.stop_attempts + 1,
                ):
                    backend.stop(job_id=job.node_job_id, proof=proof)

            signed(backend=backend, wallet=job.wallet, node=job.node, clock=clock, act=send)
        Job.objects.filter(pk=job.pk, state=State.RUNNING).update(next_check_at=clock())
    except OutOfBudget as error:
        _later(job=job, holder=holder, at=error.available_at, trouble=error.message, **_stop_unsent(job))
    except (NoTurn, VaultLocked, OceanError) as error:
        # Only what the node itself refused counts as a try: a wish outlives a node that is away.
        refused = isinstance(error, Rejected) and error.code != "rate_limited"
        facts = {} if refused else _stop_unsent(job)
        _later(
            job=job,
            holder=holder,
            at=clock() + RETRY_STEP,
            trouble=f"Stopping failed: {error.message}",
            **facts,
        )


def _node_knows_of_stop(job: Job) -> bool:
    return bool((job.report or {}).get("stop_requested"))


def _cancel(*, job: Job, holder: str, now: datetime) -> None:
    Job.objects.move(
        job_id=job.pk,
        before=State(job.state),
        after=State.CANCELLED,
        now=now,
        holder=holder,
        reason="stopped",
        message="Stopped: the node never showed the job."
        if job.start_sent_at
        else "Stopped before the node was asked to run it.",
        ended_at=now,
    )


def _start_unsent(job: Job) -> dict[str, Any]:
    return {"start_sent_at": job.start_sent_at, "start_attempts": job.start_attempts}


def _stop_unsent(job: Job) -> dict[str, Any]:
    return {"stop_sent_at": job.stop_sent_at, "stop_attempts": job.stop_attempts}


def _later(*, job: Job, holder: str, at: datetime, trouble: str, **facts: Any) -> None:
    Job.objects.filter(pk=job.pk, state=job.state, lease_holder=holder).update(
        next_check_at=at,
        trouble=trouble[:500],
        trouble_count=job.trouble_count + 1,
        version=F("version") + 1,
        **facts,
    )
