"""Brings jobs forward: one claimed step at a time, and the pulse that finds what is due.

Every outside effect has a row that says it is about to happen. Whoever runs a step holds the job's lease; a process that
dies leaves a lease that runs out, and the next one reads in the row how far things had come.
"""

from __future__ import annotations

import uuid
from datetime import datetime, timedelta

from django.db.models import Case, F, Q, Value, When

from jobs import queue
from jobs.lifecycle import ACTIVE, TERMINAL, State
from jobs.models import Job, NonceLease, Pulse, Result
from jobs.services import (
    acting,
    balances,
    blocks,
    escrows,
    letters,
    nodes,
    nodetokens,
    notifications,
    payments,
    reconciling,
    retention,
    starting,
    stopping,
)
from jobs.services.gateway import Clock, has_room
from jobs.services.holders import is_dead, new_holder

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
    if not Job.objects.claim(job_id=job_id, holder=holder, now=now, until=now + starting.LEASE):
        return
    try:
        job = Job.objects.select_related("wallet", "node", "environment", "algorithm").get(pk=job_id)
        if job.state == State.REQUESTED:
            starting.begin(job=job, holder=holder, clock=clock)
        elif job.state == State.PAYING:
            starting.pay(job=job, holder=holder, clock=clock)
        elif job.state == State.PAID:
            starting.begin_start(job=job, holder=holder, clock=clock)
        elif job.state == State.STARTING:
            starting.start(job=job, holder=holder, clock=clock)
        elif job.state == State.RUNNING and job.cancel_requested_at is not None:
            stopping.stop(job=job, holder=holder, clock=clock)
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
    for wallet_id, network_id in sorted(acting.claim_acts(now=now)):
        queue.enqueue(queue.Task.ACT, wallet_id, network_id)
    for account_id in escrows.claim_due(now=now):
        queue.enqueue(queue.Task.LOOK_AT_ESCROW, account_id)
    for node_id in nodes.claim_due(now=now):
        queue.enqueue(queue.Task.LOOK_AT_NODE, node_id)
    for event_id in notifications.claim_due(now=now):
        queue.enqueue(queue.Task.TELL, event_id)
    for letter_id in letters.claim_due(now=now):
        queue.enqueue(queue.Task.SEND_LETTER, letter_id)
    for look_id in balances.claim_due(now=now):
        queue.enqueue(queue.Task.LOOK_AT_BALANCES, look_id)
    for token_id in nodetokens.claim_due(now=now):
        queue.enqueue(queue.Task.LOGIN, token_id)
    return True


def begin_pulse(*, now: datetime) -> str:
    """Return the name that a new pulse holds its lease by, after what killed processes held was given back.

    About once a minute; what is not due every second is looked for here.
    """
    free_leases_of_the_dead(now=now)
    letters.give_up_lost(now=now)
    balances.note_missing(now=now)
    for network_id in blocks.claim_due(now=now):
        queue.enqueue(queue.Task.CHECK_BLOCKS, network_id)
    if reconciling.is_due(now=now):
        queue.enqueue(queue.Task.RECONCILE)
    if retention.claim_run(now=now):
        queue.enqueue(queue.Task.REMOVE_RESULTS)
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
            # While its log was read, the job was asked about less often: it may have ended.
            due = Case(
                When(state=State.RUNNING, trouble_count=0, then=Value(now)), default=F("next_check_at")
            )
            Job.objects.filter(pk=job.pk, follow_holder=job.follow_holder).update(
                follow_holder="", follow_until=None, next_check_at=due
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
