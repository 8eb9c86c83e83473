"""Finds out what a node took from the escrow for a job that has ended: the node names the claim, the chain proves it.

A node that forgot the job, or names a claim that is none, changes nothing: the chain's own events are searched then, as far
back as the job is old.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

from django.db import transaction
from django.db.models import F, Q, QuerySet

from jobs.lifecycle import ACTIVE, TERMINAL, State
from jobs.models import EscrowAccount, Job, JobEvent
from jobs.ocean import escrow
from jobs.ocean.chain import MAX_LOG_BLOCKS, Chain
from jobs.ocean.compute import JobReport, same_job
from jobs.ocean.errors import ChainError
from jobs.ocean.escrow import EscrowEvent
from jobs.ocean.units import Address
from jobs.services import tokens
from jobs.services.budget import Purpose
from jobs.services.gateway import Clock, open_node

SEARCHES_MAX = 20  # questions of 1,000 blocks each, for one job: half a day at two seconds a block
OVERDUE = timedelta(hours=2)  # a node claims up to an hour after the end. Source: recording 31, notes
_ENDINGS = escrow.EVENT_TOPICS  # the node's part, or all of it given back


def of_account(account: EscrowAccount) -> Q:
    """Return which jobs were paid from an account, whichever team's wallet has its address."""
    return Q(
        wallet__address=account.wallet.address,
        node__network=account.token.network_id,
        escrow_need__escrow=account.escrow,
        escrow_need__token=account.token.address,
    )


def unsettled(account: EscrowAccount) -> QuerySet[Job]:
    """Return the jobs that are over at the node, or may be, and of which it is not known what the node took."""
    over = [*TERMINAL, State.COLLECTING, State.NEEDS_ATTENTION]
    return (
        Job.objects.filter(of_account(account))
        .filter(settled_at=None, state__in=over, accepted_at__isnull=False)
        .select_related("node")
        .order_by("pk")
    )


def active(account: EscrowAccount) -> QuerySet[Job]:
    """Return the jobs that are at work, and have something locked or soon will."""
    return Job.objects.filter(of_account(account), state__in=ACTIVE)


def unlocked(account: EscrowAccount) -> list[Job]:
    """Return the unsettled jobs of which nothing is locked any more: their node has settled, or the lock was freed."""
    held = {int(lock["id"]) for lock in account.locks}
    return [job for job in unsettled(account) if not job.lock_id or int(job.lock_id) not in held]


def over_for(job: Job, *, now: datetime) -> timedelta:
    """Return how long a job has been over; where that was never told, since it was last heard of."""
    return now - (job.finished_at or job.ended_at or job.report_at or job.accepted_at or now)


def is_overdue(job: Job, *, now: datetime) -> bool:
    """Say whether a job has been over for so long that its node should have settled."""
    return over_for(job, now=now) > OVERDUE


def settle(*, account: EscrowAccount, jobs: list[Job], chain: Chain, clock: Clock) -> tuple[str, ...]:
    """Note what one node took for these of its jobs, with one question to it; return what is odd, in sentences.

    Raises:
        OutOfBudget, OceanError: node or chain could not be asked.
    """
    with open_node(node=jobs[0].node, purpose=Purpose.BACKGROUND, clock=clock) as backend:
        reports = list(backend.jobs_of(owner=Address(account.wallet.address)))
    found = ((job, _of(job, reports)) for job in jobs)
    return tuple(
        told
        for job, report in found
        if (told := _settle(job=job, report=report, account=account, chain=chain, now=clock()))
    )


def _of(job: Job, reports: Iterable[JobReport]) -> JobReport | None:
    return next((report for report in reports if same_job(job.node_job_id, report.long_id)), None)


def _settle(
    *, job: Job, report: JobReport | None, account: EscrowAccount, chain: Chain, now: datetime
) -> str:
    """Note what was taken for one job, where that is proven; return what is odd."""
    lock_id = _lock_id(job=job, report=report)
    if lock_id is not None and any(int(lock["id"]) == lock_id for lock in account.locks):
        return ""
    said = report.payment if report is not None else None
    named = (said.claim_tx or said.cancel_tx if said else None) or job.claim_tx
    ends = _ends_in(tx_hash=named, lock_id=lock_id, account=account, chain=chain) if named else ()
    searched = True
    if not ends and lock_id is not None:
        seen = _search(job=job, lock_id=lock_id, account=account, chain=chain)
        ends, searched = seen or (), seen is not None
    if ends:
        claims = [event for event in ends if event.kind == "claimed"]
        _note(
            job=job,
            account=account,
            charged=sum(event.amount_wei for event in claims),
            claim_tx=claims[-1].tx_hash if claims else "",
            now=now,
        )
        return ""
    overdue = is_overdue(job, now=now)
    if report is None and (lock_id is None or not searched or overdue):
        _note(job=job, account=account, charged=None, claim_tx="", now=now)
    elif named and overdue:  # before that, its block may only not have stood long enough
        return (
            f"{job.node.name} says that “{job.name}” was settled in {named}, which the chain does not show."
        )
    return ""  # the node has not settled yet, or its transaction's block is too young


def _lock_id(*, job: Job, report: JobReport | None) -> int | None:
    if job.lock_id:
        return int(job.lock_id)
    return report.lock_id if report is not None else None


def _ends_in(
    *, tx_hash: str, lock_id: int | None, account: EscrowAccount, chain: Chain
) -> tuple[EscrowEvent, ...]:
    """Return what a transaction did to a job's lock; nothing while its block may still be forgotten."""
    receipt = chain.receipt(tx_hash=tx_hash)
    if (
        receipt is None
        or chain.head().number - receipt.block_number + 1 < account.token.network.confirmations
    ):
        return ()
    seen = escrow.events_in(receipt.logs, escrow=Address(account.escrow))
    return tuple(
        EscrowEvent(**{**vars(event), "tx_hash": receipt.tx_hash})
        for event in seen
        if _ends(event, lock_id=lock_id, account=account)
    )


def _ends(event: EscrowEvent, *, lock_id: int | None, account: EscrowAccount) -> bool:
    return (
        event.kind in ("claimed", "canceled")
        and event.job_id == lock_id
        and event.payer == Address(account.wallet.address)
        and event.token == Address(account.token.address)
    )


def _search(
    *, job: Job, lock_id: int, account: EscrowAccount, chain: Chain
) -> tuple[EscrowEvent, ...] | None:
    """Look through the escrow's events for the end of a lock; None where they are too many to look through."""
    began = chain.receipt(tx_hash=job.lock_tx) if job.lock_tx else None
    if began is None:
        return None
    stands = chain.head().number - max(1, account.token.network.confirmations) + 1
    first = began.block_number
    if stands - first >= SEARCHES_MAX * MAX_LOG_BLOCKS:
        return None
    found: list[EscrowEvent] = []
    while first <= stands:
        last = min(stands, first + MAX_LOG_BLOCKS - 1)
        try:
            logs = chain.logs(
                address=Address(account.escrow), topics=[_ENDINGS], from_block=first, to_block=last
            )
        except ChainError:  # an endpoint that lists fewer blocks at a time, or none so old
            return None
        seen = escrow.events_in(logs, escrow=Address(account.escrow))
        found += [event for event in seen if _ends(event, lock_id=lock_id, account=account)]
        first = last + 1
    return tuple(found)


def _note(*, job: Job, account: EscrowAccount, charged: int | None, claim_tx: str, now: datetime) -> None:
    """Write down what was taken, once. charged: None where nobody can tell any more."""
    network, token = account.token.network, account.token.address
    facts: dict[str, Any] = {"settled_at": now, "charged_wei": charged, "claim_tx": claim_tx}
    if charged is None:
        told = "The node no longer knows this job, and the chain does not show what it took: that cannot be told."
    elif charged:
        told = f"The node took {tokens.told(network=network, token=token, amount_wei=charged)}."
    else:
        told = "The node took nothing; what was locked is available again."
    with transaction.atomic():
        won = Job.objects.filter(pk=job.pk, settled_at=None).update(version=F("version") + 1, **facts)
        if won:
            JobEvent.objects.create(
                job=job,
                at=now,
                kind=JobEvent.Kind.PAYMENT,
                message=told,
                data={"tx_hash": claim_tx} if claim_tx else {},
            )
