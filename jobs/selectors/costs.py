"""What jobs cost: agreed to, paid, locked and charged, per token. Read from the ledger; nobody is asked.

What is paid into an escrow is the wallet's until a node takes it: there, only what was charged counts.
"""

from __future__ import annotations

import uuid
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from jobs.lifecycle import TERMINAL, State
from jobs.models import EscrowAccount, Job, Transaction
from jobs.selectors.amounts import Amount, Names, names
from jobs.selectors.escrows import until

_P = Transaction.Purpose
_OPEN = (Transaction.Status.PLANNED, *Transaction.UNDER_WAY)


@dataclass(frozen=True)
class EscrowPart:
    """What a node may take of the escrow for a job. phase: asked, locked, settled, unknown (its end is) or freed.

    asked: the most; until: when its lock runs out; charged, back: None until they are known.
    """

    phase: str
    asked: Amount
    lock_id: str
    until: datetime | None
    charged: Amount | None
    back: Amount | None
    settled_at: datetime | None


@dataclass(frozen=True)
class Costs:
    """What a job costs. agreed: at most, by token; paid: is on the chain; coming: planned, signed or sent.

    fees: what of `paid` went to the service. transactions, gas: how many are in blocks, and what they burnt.
    bills_time: its service charges failed and stopped jobs too. moved: something was paid, or put into the escrow.
    """

    free: bool
    agreed: tuple[Amount, ...]
    paid: tuple[Amount, ...]
    coming: tuple[Amount, ...]
    fees: tuple[Amount, ...]
    deposited: tuple[Amount, ...]
    escrow: EscrowPart | None
    transactions: int
    gas_used: int
    bills_time: bool
    moved: bool


@dataclass(frozen=True)
class CostLine:
    """A job's cost in a list. open: more may follow, `at_most` is the most of it then, and `amounts` what is sure."""

    amounts: tuple[Amount, ...]
    at_most: tuple[Amount, ...]
    open: bool


def tokens_of(job: Job, transactions: Iterable[Transaction]) -> set[str]:
    """Return the tokens that a job's costs are told in."""
    need = job.escrow_need or {}
    moved = (token for tx in transactions for token, _wei in tx.moved)
    return {*moved, *job.most, job.payment_token, need.get("token", "")} - {""}


def costs(job: Job, *, transactions: Sequence[Transaction], known: Names) -> Costs | None:
    """Return what a job costs; None where money has nothing to do with it. One query, for its lock, if it has one.

    The job's wallet, node, network and environment are at hand, and the orders of its transactions.
    """
    if not job.needs_price and not transactions:
        return None
    chain = _chain_of(job)
    done = [tx for tx in transactions if tx.status == Transaction.Status.CONFIRMED]
    coming = [tx for tx in transactions if tx.status in _OPEN]

    def told(sums: Mapping[str, int]) -> tuple[Amount, ...]:
        return _told(sums, chain_id=chain, known=known)

    escrow = _escrow(job, chain_id=chain, known=known)
    paid = _sums(tx for tx in done if tx.purpose != _P.DEPOSIT)
    if escrow is not None and escrow.charged is not None and escrow.charged.wei:
        paid[escrow.charged.token] += escrow.charged.wei
    deposited = _sums(tx for tx in done if tx.purpose == _P.DEPOSIT)
    return Costs(
        free=job.free,
        agreed=told({token: int(wei) for token, wei in job.most.items()}),
        paid=told(paid),
        coming=told(_sums(coming)),
        fees=told(_fees(done)),
        deposited=told(deposited),
        escrow=escrow,
        transactions=sum(tx.block_number is not None for tx in transactions),
        gas_used=sum(tx.gas_used or 0 for tx in transactions),
        bills_time=not job.free,
        moved=bool(paid or deposited),
    )


def lines(jobs: Sequence[Job]) -> dict[uuid.UUID, CostLine]:
    """Return what those of the jobs cost that cost something; two queries if there are any, else none."""
    priced = [job for job in jobs if job.needs_price]
    if not priced:
        return {}
    spent: dict[uuid.UUID, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    done = Transaction.objects.filter(job__in=[job.pk for job in priced], status=Transaction.Status.CONFIRMED)
    for job_id, token, wei in done.exclude(purpose=_P.DEPOSIT).moves("job_id"):
        spent[job_id][token] += wei
    wanted = {token for job in priced for token in tokens_of(job, ())}
    known = names(addresses=wanted | {token for sums in spent.values() for token in sums})
    return {job.pk: _line(job, spent=spent[job.pk], known=known) for job in priced}


def is_billed(job: Job) -> bool:
    """Say whether a service charges, or has been paid, for a job that failed or was stopped."""
    return not job.free and job.accepted_at is not None and job.state in (State.FAILED, State.CANCELLED)


def _line(job: Job, *, spent: dict[str, int], known: Names) -> CostLine:
    need = job.escrow_need or {}
    if job.charged_wei:
        spent[need.get("token", job.payment_token)] += job.charged_wei
    ended = job.state in TERMINAL
    locked = bool(need) and job.settled_at is None and job.accepted_at is not None
    open_ = locked or not ended
    chain = _chain_of(job)
    most = {token: int(wei) for token, wei in job.most.items()}
    if ended and locked:
        most = dict(spent)
        most[need["token"]] = most.get(need["token"], 0) + int(need["amount_wei"])
    return CostLine(
        amounts=_told(spent, chain_id=chain, known=known),
        at_most=_told(most, chain_id=chain, known=known) if open_ else (),
        open=open_,
    )


def _escrow(job: Job, *, chain_id: int, known: Names) -> EscrowPart | None:
    need = job.escrow_need
    if not need:
        return None
    asked = known.amount(chain_id=chain_id, token=need["token"], wei=int(need["amount_wei"]))
    lock = _lock(job, need) if job.lock_id and job.settled_at is None else None
    charged = back = None
    if job.charged_wei is not None:
        charged = known.amount(chain_id=chain_id, token=need["token"], wei=job.charged_wei)
        back = known.amount(chain_id=chain_id, token=need["token"], wei=max(0, asked.wei - charged.wei))
    if job.settled_at is not None:
        phase = "unknown" if charged is None else "settled" if charged.wei else "freed"
    else:
        phase = "locked" if job.lock_id else "asked"
    return EscrowPart(
        phase=phase,
        asked=asked,
        lock_id=job.lock_id,
        until=until(lock["expires_at"]) if lock else None,
        charged=charged,
        back=back,
        settled_at=job.settled_at,
    )


def _lock(job: Job, need: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return a job's lock as it was last read from the chain."""
    accounts = EscrowAccount.objects.filter(
        wallet=job.wallet_id, escrow=need["escrow"], token__address=need["token"]
    )
    locks = [lock for account in accounts.values_list("locks", flat=True) for lock in account]
    return next((lock for lock in locks if lock["id"] == job.lock_id), None)


def _sums(transactions: Iterable[Transaction]) -> defaultdict[str, int]:
    sums: defaultdict[str, int] = defaultdict(int)
    for tx in transactions:
        for token, wei in tx.moved:
            sums[token] += wei
    return sums


def _fees(transactions: Iterable[Transaction]) -> defaultdict[str, int]:
    """Add up what the orders among them, which are at hand, paid to the service."""
    sums: defaultdict[str, int] = defaultdict(int)
    for order in (getattr(tx, "order", None) for tx in transactions):
        if order is not None:
            sums[order.fee_token] += order.fee_wei
    return sums


def _told(sums: Mapping[str, int], *, chain_id: int, known: Names) -> tuple[Amount, ...]:
    return tuple(
        known.amount(chain_id=chain_id, token=token, wei=wei) for token, wei in sorted(sums.items()) if wei
    )


def _chain_of(job: Job) -> int:
    return job.environment.chain_id or job.node.network.chain_id
