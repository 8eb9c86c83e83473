"""Starts a job at its node, once: orders what the start needs, sends it, and finds it again where the answer was lost.

A start is written down before it is sent. Once it may have been sent, the node's list is searched for the job before it is
sent again.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

from django.db.models import F

from jobs.errors import CannotOrder
from jobs.lifecycle import State
from jobs.models import Job, JobEvent
from jobs.ocean.compute import ComputeBackend, JobReport
from jobs.ocean.errors import BadAnswer, OceanError, Rejected
from jobs.ocean.units import Address
from jobs.services import asking, ordering, payments
from jobs.services.budget import OutOfBudget, Purpose, check
from jobs.services.gateway import Clock, NoChain, NoTurn, heeding_limits, open_node, signed
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
# Answers that are none of the service's own: most often something between has cut them, or speaks in its place for a while.
GARBLED = frozenset({"not_json", "html_page"})
GARBLED_MAX = 6  # so many troubles in a row take some minutes
UNANSWERED_MAX = 60  # so many starts in a row without an answer take some hours; then a person decides


def begin(*, job: Job, holder: str, clock: Clock) -> None:
    """Take a launched job up: order what its start needs, or start it."""
    if job.cancel_requested_at is not None:
        _cancel(job=job, holder=holder, now=clock())
    elif job.node.can.orders or not job.free:
        _plan(job=job, holder=holder, clock=clock)
    else:
        begin_start(job=job, holder=holder, clock=clock)


def begin_start(*, job: Job, holder: str, clock: Clock) -> None:
    """Move a job on to STARTING, unless nobody wants it any more, and start it."""
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
        start(job=job, holder=holder, clock=clock)


def _plan(*, job: Job, holder: str, clock: Clock) -> None:
    """Find out what has to be on the chain before the start, then begin with it."""
    try:
        ordering.plan(job=job, holder=holder, clock=clock)
    except OutOfBudget as error:
        Job.objects.put_off(job, holder=holder, at=error.available_at, trouble=error.message)
        return
    except ordering.OrderTaken as error:
        # Everybody has answered, and it waits for nothing but its turn: that is no silence, however long it takes.
        Job.objects.put_off(job, holder=holder, at=clock() + SOON, trouble=error.message, trouble_count=0)
        return
    except (CannotOrder, NoChain) as error:
        _not_started(job=job, holder=holder, reason=error.code, message=error.message, now=clock())
        return
    except OceanError as error:
        _not_planned(job=job, holder=holder, error=error, now=clock())
        return
    job.refresh_from_db()
    if job.state == State.PAYING:
        pay(job=job, holder=holder, clock=clock)
    elif job.state == State.STARTING:
        start(job=job, holder=holder, clock=clock)


def _not_planned(*, job: Job, holder: str, error: OceanError, now: datetime) -> None:
    """Decide after a question that was not answered: only questions were asked, so nothing has happened."""
    passes = error.retryable or (error.code in GARBLED and job.trouble_count < GARBLED_MAX)
    if not passes:
        _not_started(job=job, holder=holder, reason=error.code, message=error.message, now=now)
    elif job.trouble_count >= UNANSWERED_MAX:
        _put_aside(
            job=job,
            holder=holder,
            reason="start_unanswered",
            message=f"What the start needs could not be asked for hours. {error.message}",
            now=now,
        )
    else:
        Job.objects.put_off(job, holder=holder, at=now + _pause(job, error), trouble=error.message)


def pay(*, job: Job, holder: str, clock: Clock) -> None:
    """Bring the job's transactions forward; start it once all are confirmed."""
    try:
        look_again_at = payments.carry_on(job=job, holder=holder, clock=clock)
    except CannotOrder as error:
        _put_aside(job=job, holder=holder, reason=error.code, message=error.message, now=clock())
        return
    except (NoChain, VaultLocked) as error:
        Job.objects.put_off(job, holder=holder, at=clock() + RETRY_STEP, trouble=error.message)
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
            Job.objects.put_off(job, holder=holder, at=now + _pause(job, error), trouble=error.message)
        return
    if look_again_at is not None:
        Job.objects.filter(pk=job.pk, state=State.PAYING, lease_holder=holder).update(
            next_check_at=look_again_at, trouble="", trouble_count=0, version=F("version") + 1
        )
        return
    job.refresh_from_db()
    if job.state == State.PAID:
        begin_start(job=job, holder=holder, clock=clock)
    elif job.state == State.PAYING and job.cancel_requested_at is not None:
        _cancel(job=job, holder=holder, now=clock())


def start(*, job: Job, holder: str, clock: Clock) -> None:
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
            with asking.doubting(backend=backend, dids=_dids(job) if job.node.can.orders else ()):
                report = _sent_or_found(job=job, holder=holder, backend=backend, clock=clock)
        if report is not None and _this_job(job=job, reports=[report]) is None:
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
        Job.objects.put_off(
            job, holder=holder, at=error.available_at, trouble=error.message, **_start_unsent(job)
        )
    except (NoTurn, VaultLocked) as error:
        Job.objects.put_off(
            job, holder=holder, at=clock() + RETRY_STEP, trouble=error.message, **_start_unsent(job)
        )
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
        Job.objects.put_off(job, holder=holder, at=now + LOOK_AGAIN, trouble=error.message)
        return False
    found = _this_job(job=job, reports=reports)
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
        Job.objects.put_off(
            job,
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
            f"{job.trouble[:200]} Go on to try again, or end the job here.",
        )
        return False
    return True


def _note_earlier_jobs(*, job: Job, backend: ComputeBackend) -> None:
    """Before an order is used again, remember the service's jobs of that order: none of them is the one to come."""
    if backend.capabilities.tags or job.start_sent_at is not None:
        return
    if not ordering.is_used_again(job):
        return
    orders = start_request(job).orders
    with_order = [
        report.long_id
        for report in backend.jobs_of(owner=Address(job.wallet.address))
        if report.agreement_id in orders
    ]
    Job.objects.filter(pk=job.pk, start_sent_at=None).update(seen_before=with_order)
    job.seen_before = with_order


def _this_job(*, job: Job, reports: Iterable[JobReport]) -> JobReport | None:
    """Return the job among those that the node shows: its wallet's, by its tag or its order, and no other row's."""
    owner, tags = Address(job.wallet.address), job.node.can.tags
    orders = () if tags else start_request(job).orders
    fitting = [
        report
        for report in reports
        if report.owner == owner
        and (
            report.tag == str(job.tag)
            if tags
            else report.agreement_id in orders and report.long_id not in job.seen_before
        )
    ]
    same = Job.objects.filter(node_id=job.node_id, node_job_id__in=[report.long_id for report in fitting])
    taken = set(same.exclude(pk=job.pk).values_list("node_job_id", flat=True))
    return next((report for report in fitting if report.long_id not in taken), None)


def _sent_or_found(*, job: Job, holder: str, backend: ComputeBackend, clock: Clock) -> JobReport | None:
    """Send the start. Where its order is said to be in use, that may be by this very job.

    What stands between may have delivered the start twice, and the answer is that to the second; the first is in the list.
    """
    try:
        return _send_start(job=job, holder=holder, backend=backend, clock=clock)
    except Rejected as error:
        if error.code != "order_in_use":
            raise
        found = _this_job(job=job, reports=backend.jobs_of(owner=Address(job.wallet.address)))
        if found is None:
            raise
        return found


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

    return signed(
        backend=backend,
        wallet=job.wallet,
        node=job.node,
        clock=clock,
        act=send,
        once=True,
        call="start a job",
        job=job,
        asked_by=job.launched_by_id,
    )


def _dids(job: Job) -> list[str]:
    published = [job.algorithm.did] if job.algorithm is not None else []
    return [*job.inputs.values_list("dataset__did", flat=True), *published]


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
    # Without a wait in the node's queue, busy is an answer: the person decides when to run it again.
    refused = error.code == "busy" or (not error.maybe_happened and not error.retryable)
    if job.start_sent_at is not None and (error.code == "order_in_use" or (refused and not job.free)):
        # The job that uses the order, or locked the money, may be this one, from a start whose answer was lost.
        Job.objects.put_off(job, holder=holder, at=now + LOOK_AGAIN, trouble=error.message)
        return
    if refused:
        _not_started(job=job, holder=holder, reason=error.code, message=error.message, now=now)
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
    Job.objects.put_off(job, holder=holder, at=now + pause, trouble=error.message, **facts)


def _not_started(*, job: Job, holder: str, reason: str, message: str, now: datetime) -> None:
    """End a job that cannot be started; where something was paid for it, a person decides what becomes of that."""
    paid = payments.told_paid(job=job)
    if not paid:
        _end_unstarted(job=job, holder=holder, reason=reason, message=message, now=now)
        return
    _put_aside(
        job=job,
        holder=holder,
        reason=reason,
        message=f"{message[:300]} {paid} was paid for this start. Go on to try again, or choose another environment: "
        "what was paid is used again.",
        now=now,
        # Nothing runs: what a next start needs is worked out anew.
        attention_from=State.REQUESTED,
        start_sent_at=None,
    )


def _pause(job: Job, error: OceanError) -> timedelta:
    wait = timedelta(seconds=error.retry_after_s) if error.retry_after_s else RETRY_STEP
    return wait * (1 << min(job.trouble_count, 4))


def _cancel(*, job: Job, holder: str, now: datetime) -> None:
    paid = payments.told_paid(job=job)
    left = f" {paid} was paid before: its orders, and what is in the escrow, are there for the next job."
    Job.objects.move(
        job_id=job.pk,
        before=State(job.state),
        after=State.CANCELLED,
        now=now,
        holder=holder,
        reason="stopped",
        message=(
            "Stopped: the node never showed the job."
            if job.start_sent_at
            else "Stopped before the node was asked to run it."
        )
        + (left if paid else ""),
        ended_at=now,
    )


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


def _put_aside(*, job: Job, holder: str, reason: str, message: str, now: datetime, **facts: Any) -> None:
    """Let a person decide, who is told what has been paid for the job."""
    paid = payments.told_paid(job=job)
    if paid and paid not in message:
        message = f"{message[:400]} {paid} was paid for this job before."
    Job.objects.move(
        job_id=job.pk,
        before=State(job.state),
        after=State.NEEDS_ATTENTION,
        now=now,
        holder=holder,
        reason=reason,
        message=message[:500],
        **facts,
    )


def _start_unsent(job: Job) -> dict[str, Any]:
    return {"start_sent_at": job.start_sent_at, "start_attempts": job.start_attempts}
