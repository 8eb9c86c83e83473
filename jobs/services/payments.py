"""Brings the transactions of a job forward, and says when all that it needs is on the chain.

Receipts are looked for across runs, never waited for. What was ordered stays in the ledger, where the next launch finds it.
"""

from __future__ import annotations

import uuid
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import Max, Q

from jobs.errors import CannotOrder
from jobs.lifecycle import State
from jobs.models import ChainNonce, Job, JobEvent, Network, Transaction
from jobs.models.orders import TransactionQuerySet
from jobs.ocean.chain import Chain
from jobs.ocean.errors import ChainError
from jobs.services import tokens
from jobs.services.gateway import Clock, network_of, open_chain
from jobs.services.looking import look_ahead, look_for_receipts
from jobs.services.sending import (
    LEASE,
    SEND_AGAIN,
    find,
    plan_again,
    prepare,
    replace,
    send,
)
from jobs.services.vault import VaultLocked

LOOK_SOON, LOOK_LATER = timedelta(seconds=2), timedelta(seconds=12)
STRAYS_MAX = 50
LOOK_FOR_STRAYS = timedelta(seconds=15)
FAILED = (Transaction.Status.REVERTED, Transaction.Status.REFUSED, Transaction.Status.CANCELLED)
# While a job is in one of these, its wallet's allowances and authorisations are its own.
SPENDING = (State.PAYING, State.PAID, State.STARTING)


def carry_on(*, job: Job, holder: str, clock: Clock) -> datetime | None:
    """Bring a job's transactions forward: prepare, send, confirm. Return when to look again; None once the job moved on.

    Safe to run twice, late, or never.

    Raises:
        NoChain, OceanError: the chain could not be asked; what was prepared stays as it is.
        CannotOrder: what is left cannot be sent.
    """
    network = network_of(node=job.node, environment=job.environment)
    with open_chain(network=network) as chain:
        while True:
            now = clock()
            if not Job.objects.renew(job_id=job.pk, holder=holder, now=now, until=now + LEASE):
                return now  # somebody else is at it
            see_to(job.transactions.all(), chain=chain, network=network, now=now)
            under_way = list(job.transactions.under_way())
            if under_way:
                waited = now - min(tx.sent_at or now for tx in under_way)
                smooth = waited < SEND_AGAIN and not any(tx.trouble for tx in under_way)
                return now + (LOOK_SOON if smooth else LOOK_LATER)
            if failed := _failed(job):
                _fail(job=job, bad=failed[0], holder=holder, now=now)
                return None
            job.refresh_from_db(fields=["cancel_requested_at"])
            if job.cancel_requested_at is not None:
                return None  # nothing is under way: the caller cancels
            planned = job.transactions.in_order(Transaction.Status.PLANNED)
            if not planned:
                _paid(job=job, holder=holder, now=now)
                return None
            step = [tx for tx in planned if tx.step == planned[0].step]
            look_ahead(rows=step, chain=chain)
            for tx in step:
                if not prepare(tx=tx, chain=chain, network=network, job=job, holder=holder, clock=clock):
                    break  # the job ends, or somebody else is at it: what else it needs is not paid for


def settle(*, job_id: uuid.UUID, clock: Clock) -> None:
    """See to the transactions that a job left under way when it ended, or was put aside.

    Their bytes exist: unsent, they would hold up every later transaction of the wallet; sent, they end in the ledger.
    Safe to run twice, late, or never.
    """
    job = Job.objects.select_related("wallet", "node__network", "environment").get(pk=job_id)
    network = network_of(node=job.node, environment=job.environment)
    with open_chain(network=network) as chain:
        see_to(job.transactions.all(), chain=chain, network=network, now=clock())


def claim_strays(*, now: datetime) -> set[uuid.UUID]:
    """Return the jobs that left transactions under way and are due, pushed on so that no other process takes them too."""
    strays = Transaction.objects.under_way().exclude(job=None).exclude(job__state=State.PAYING)
    due = strays.filter(Q(next_look_at__isnull=True) | Q(next_look_at__lte=now))
    claimed: set[uuid.UUID] = set()
    for tx in due.only("pk", "job_id", "next_look_at")[:STRAYS_MAX]:
        if tx.job_id is not None and Transaction.objects.filter(
            pk=tx.pk, next_look_at=tx.next_look_at
        ).update(next_look_at=now + LOOK_FOR_STRAYS):
            claimed.add(tx.job_id)
    return claimed


def see_to(rows: TransactionQuerySet, *, chain: Chain, network: Network, now: datetime) -> None:
    """Do what a person wants of what waits, send what is signed, and look for what was sent.

    What the chain does not take from one holds up none of the others.

    Raises:
        OceanError: the chain could not be asked, or does not take one of them: the last.
    """
    for tx in rows.in_order(*Transaction.UNDER_WAY):
        if tx.wish:
            _grant(tx=tx, chain=chain, network=network, now=now)
    refused: ChainError | None = None
    for tx in rows.in_order(Transaction.Status.PREPARED):
        try:
            send(tx=tx, chain=chain, now=now)
        except ChainError as error:
            refused = error
    sent = rows.in_order(Transaction.Status.SENT)
    look_for_receipts(rows=sent, chain=chain)
    for tx in sent:
        try:
            find(tx=tx, chain=chain, network=network, now=now)
        except ChainError as error:
            refused = error
    for tx in rows.in_order(Transaction.Status.DROPPED):
        if tx.replaced_by_id is None and (tx.job is None or tx.job.state == State.PAYING):
            plan_again(tx=tx)
    if refused is not None:
        raise refused


def _grant(*, tx: Transaction, chain: Chain, network: Network, now: datetime) -> None:
    """Do what a person wants of a transaction, or say why not; the first version still waits, and is looked for."""
    try:
        replace(tx=tx, chain=chain, network=network, now=now)
    except VaultLocked as error:  # an operator may put that right: the wish stays
        Transaction.objects.filter(pk=tx.pk, tx_hash=tx.tx_hash).update(trouble=error.message[:300])
    except CannotOrder as error:
        with transaction.atomic():
            waiting = Transaction.objects.under_way().filter(pk=tx.pk, tx_hash=tx.tx_hash, wish=tx.wish)
            if waiting.update(wish="", trouble=error.message[:300]) and tx.job_id is not None:
                JobEvent.objects.create(
                    job_id=tx.job_id, at=now, kind=JobEvent.Kind.TROUBLE, message=error.message[:500]
                )


def turn_to_spend(*, job: Job, network: Network) -> int | None:
    """Return the wallet's next nonce, by which `take_turn` knows that nothing was sent meanwhile.

    None: it is another job's turn.

    Allowances and authorisations stand for one amount: two jobs that pay from a wallet at once would undo each other's.
    """
    counter, _ = ChainNonce.objects.get_or_create(network=network, address=job.wallet.address)
    return counter.next if ChainNonce.objects.filter(_free_for(job), pk=counter.pk).exists() else None


def take_turn(*, job: Job, network: Network, nonce: int) -> bool:
    """Let a job pay from its wallet, until it has started; False: another was faster, or sent something meanwhile."""
    mine = ChainNonce.objects.filter(_free_for(job), network=network, address=job.wallet.address, next=nonce)
    return bool(mine.update(payer=job))


def _free_for(job: Job) -> Q:
    return Q(payer=None) | Q(payer=job.pk) | ~Q(payer__state__in=SPENDING)


def mark_of_plan(*, job: Job) -> dict[str, int]:
    """Return what the event of a new plan keeps: where its transactions begin. Those before are an earlier plan's."""
    last = job.transactions.aggregate(last=Max("sequence"))["last"]
    return {"first_transaction": 0 if last is None else last + 1}


def _failed(job: Job) -> list[Transaction]:
    """Return what the chain refused, or a person cancelled, of the job's latest plan; what failed before is history."""
    failed = job.transactions.in_order(*FAILED)
    if not failed:
        return []
    planned = job.events.filter(before=State.REQUESTED, after=State.PAYING).order_by("-pk").first()
    first = planned.data.get("first_transaction", 0) if planned is not None else 0
    return [tx for tx in failed if tx.sequence >= first]


@dataclass(frozen=True)
class Before:
    """What a job has paid so far, in wei by token. moved: out of its wallet; spent: the same without the escrow.

    What is in the escrow is the wallet's still, and the next start takes it from there.
    """

    moved: Mapping[str, int] = field(default_factory=dict)
    spent: Mapping[str, int] = field(default_factory=dict)


NOTHING_BEFORE = Before()


def paid_before(*, job: Job) -> Before:
    """Add up what a job has paid so far."""
    moved: dict[str, int] = defaultdict(int)
    spent: dict[str, int] = defaultdict(int)
    done = job.transactions.filter(status=Transaction.Status.CONFIRMED)
    for purpose, token, amount in done.moves("purpose"):
        moved[token] += amount
        if purpose != Transaction.Purpose.DEPOSIT:
            spent[token] += amount
    return Before(moved=moved, spent=spent)


def told_paid(*, job: Job) -> str:
    """Say what a job has moved from its wallet so far, such as "2.5 OCEAN"; "" for nothing."""
    moved = paid_before(job=job).moved
    if not moved:
        return ""
    network = network_of(node=job.node, environment=job.environment)
    return " and ".join(
        tokens.told(network=network, token=token, amount_wei=total) for token, total in sorted(moved.items())
    )


def _paid(*, job: Job, holder: str, now: datetime) -> None:
    Job.objects.move(
        job_id=job.pk,
        before=State.PAYING,
        after=State.PAID,
        now=now,
        holder=holder,
        message="All orders are on the chain.",
        next_check_at=now,
        trouble="",
        trouble_count=0,
    )


def _fail(*, job: Job, bad: Transaction, holder: str, now: datetime) -> None:
    """End a job that the chain refused something, or let a person decide where it has been paid for in part."""
    paid = told_paid(job=job)
    cancelled = bad.status == Transaction.Status.CANCELLED
    what = "a person cancelled it." if cancelled else f"the chain refused it. {bad.trouble}"
    message = f"{bad.told}: {what}"
    if paid:
        Job.objects.move(
            job_id=job.pk,
            before=State.PAYING,
            after=State.NEEDS_ATTENTION,
            now=now,
            holder=holder,
            reason="partly_paid",
            attention_from=State.REQUESTED,
            message=f"{message[:300]} {paid} was paid before. Go on to try what is left, or choose another environment: "
            "what was ordered is used again.",
        )
        return
    Job.objects.move(
        job_id=job.pk,
        before=State.PAYING,
        after=State.FAILED,
        now=now,
        holder=holder,
        reason="transaction_cancelled" if cancelled else "reverted",
        message=message[:500],
        ended_at=now,
    )
