"""Brings the transactions of a job forward, and says when all that it needs is on the chain.

Receipts are looked for across runs, never waited for. What was ordered stays in the ledger, where the next launch finds it.
"""

from __future__ import annotations

import uuid
from datetime import datetime, timedelta

from django.db.models import Q

from jobs.errors import CannotOrder
from jobs.lifecycle import State
from jobs.models import Job, Network, Transaction
from jobs.ocean.chain import Chain
from jobs.services.gateway import Clock, open_chain
from jobs.services.sending import LEASE, SEND_AGAIN, find, plan_again, prepare, send

LOOK_SOON, LOOK_LATER = timedelta(seconds=2), timedelta(seconds=12)
STRAYS_MAX = 50
LOOK_FOR_STRAYS = timedelta(seconds=15)


def carry_on(*, job: Job, holder: str, clock: Clock) -> datetime | None:
    """Bring a job's transactions forward: prepare, send, confirm. Return when to look again; None once the job moved on.

    Safe to run twice, late, or never.

    Raises:
        NoChain, OceanError: the chain could not be asked; what was prepared stays as it is.
        CannotOrder: what is left cannot be sent.
    """
    network = network_of(job)
    with open_chain(network=network) as chain:
        refuse_wrong_chain(chain=chain, network=network)
        while True:
            now = clock()
            if not Job.objects.renew(job_id=job.pk, holder=holder, now=now, until=now + LEASE):
                return now  # somebody else is at it
            _see_to(job=job, chain=chain, network=network, now=now)
            under_way = list(Transaction.objects.under_way().filter(job=job))
            if under_way:
                waited = now - min(tx.sent_at or now for tx in under_way)
                smooth = waited < SEND_AGAIN and not any(tx.trouble for tx in under_way)
                return now + (LOOK_SOON if smooth else LOOK_LATER)
            if _of(job, Transaction.Status.REVERTED, Transaction.Status.REFUSED):
                _fail(job=job, holder=holder, now=now)
                return None
            job.refresh_from_db(fields=["cancel_requested_at"])
            if job.cancel_requested_at is not None:
                return None  # nothing is under way: the caller cancels
            planned = _of(job, Transaction.Status.PLANNED)
            if not planned:
                _paid(job=job, holder=holder, now=now)
                return None
            for tx in [tx for tx in planned if tx.step == planned[0].step]:
                if not prepare(tx=tx, chain=chain, network=network, job=job, holder=holder, clock=clock):
                    break  # the job ends, or somebody else is at it: what else it needs is not paid for


def settle(*, job_id: uuid.UUID, clock: Clock) -> None:
    """See to the transactions that a job left under way when it ended, or was put aside.

    Their bytes exist: unsent, they would hold up every later transaction of the wallet; sent, they end in the ledger.
    Safe to run twice, late, or never.
    """
    job = Job.objects.select_related("wallet", "node__network", "environment").get(pk=job_id)
    network = network_of(job)
    with open_chain(network=network) as chain:
        refuse_wrong_chain(chain=chain, network=network)
        _see_to(job=job, chain=chain, network=network, now=clock())


def claim_strays(*, now: datetime) -> set[uuid.UUID]:
    """Return the jobs that left transactions under way and are due, pushed on so that no other process takes them too."""
    strays = Transaction.objects.under_way().exclude(job__state=State.PAYING)
    due = strays.filter(Q(next_look_at__isnull=True) | Q(next_look_at__lte=now))
    claimed: set[uuid.UUID] = set()
    for tx in due.only("pk", "job_id", "next_look_at")[:STRAYS_MAX]:
        if Transaction.objects.filter(pk=tx.pk, next_look_at=tx.next_look_at).update(
            next_look_at=now + LOOK_FOR_STRAYS
        ):
            claimed.add(tx.job_id)
    return claimed


def network_of(job: Job) -> Network:
    """Return the network that a job's orders are made on.

    Raises:
        CannotOrder: the portal does not know it.
    """
    chain_id = job.environment.chain_id or job.node.network.chain_id
    network = Network.objects.filter(chain_id=chain_id).first()
    if network is None:
        raise CannotOrder(
            f"The environment takes orders on chain {chain_id}, which is not among this portal's networks. "
            "An operator can add it.",
            code="no_network",
        )
    return network


def refuse_wrong_chain(*, chain: Chain, network: Network) -> None:
    """Ask the endpoint which chain it is, before anything is believed or sent.

    Raises:
        CannotOrder: it is another one.
    """
    found = chain.chain_id()
    if found != network.chain_id:
        raise CannotOrder(
            f"The RPC endpoint of {network.name} is one of chain {found}, not of {network.chain_id}. "
            "An operator has to correct it.",
            code="wrong_chain",
        )


def _see_to(*, job: Job, chain: Chain, network: Network, now: datetime) -> None:
    """Send what is signed, and look for what was sent."""
    for tx in _of(job, Transaction.Status.PREPARED):
        send(tx=tx, chain=chain, now=now)
    for tx in _of(job, Transaction.Status.SENT):
        find(tx=tx, chain=chain, network=network, now=now)
    for tx in _of(job, Transaction.Status.DROPPED):
        if tx.replaced_by_id is None and job.state == State.PAYING:
            plan_again(tx=tx)


def _of(job: Job, *statuses: str) -> list[Transaction]:
    return list(
        Transaction.objects.filter(job=job, status__in=statuses)
        .select_related("wallet", "network")
        .order_by("step", "sequence")
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


def _fail(*, job: Job, holder: str, now: datetime) -> None:
    bad = _of(job, Transaction.Status.REVERTED, Transaction.Status.REFUSED)[0]
    Job.objects.move(
        job_id=job.pk,
        before=State.PAYING,
        after=State.FAILED,
        now=now,
        holder=holder,
        reason="reverted",
        message=f"{bad.told}: the chain refused it. {bad.trouble}"[:500],
        ended_at=now,
    )
