"""What a job did on a chain, for its page: its transactions, and the orders that it uses."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from jobs.models import Job, JobInput, Order, Transaction

_STATUS = {
    Transaction.Status.PLANNED: ("idle", "Planned"),
    Transaction.Status.PREPARED: ("run", "About to be sent"),
    Transaction.Status.SENT: ("run", "Waiting for a block"),
    Transaction.Status.CONFIRMED: ("ok", "Confirmed"),
    Transaction.Status.REVERTED: ("bad", "Reverted"),
    Transaction.Status.REFUSED: ("bad", "Not sent"),
    Transaction.Status.DROPPED: ("bad", "Never mined"),
}


@dataclass(frozen=True)
class TransactionRow:
    """A transaction. kind, word: how its status is told; link: at the network's explorer, "" if it has none."""

    told: str
    kind: str
    word: str
    tx_hash: str
    link: str
    network: str
    block: int | None
    gas: int | None
    at: datetime | None
    trouble: str


@dataclass(frozen=True)
class ReusedOrder:
    """An order that another job of the team paid for, and this one uses again."""

    name: str
    tx_hash: str
    link: str
    job_id: uuid.UUID | None
    job_name: str


@dataclass(frozen=True)
class OrdersPart:
    """All that the job has to do with a chain."""

    transactions: tuple[TransactionRow, ...]
    reused: tuple[ReusedOrder, ...]


def orders(job: Job, *, inputs: Iterable[JobInput]) -> OrdersPart:
    """Return a job's transactions and the orders that it uses again; one query.

    inputs, and the job's own algorithm_order: with their orders' transactions, networks and jobs at hand.
    """
    rows = job.transactions.select_related("network").defer("data", "signed").order_by("sequence")
    used = [(x.dataset.name, x.order) for x in inputs]
    if job.algorithm is not None:
        used.append((job.algorithm.name, job.algorithm_order))
    return OrdersPart(
        transactions=tuple(_row(row) for row in rows),
        reused=tuple(
            _reused(name, order) for name, order in used if order and order.transaction.job_id != job.pk
        ),
    )


def _row(row: Transaction) -> TransactionRow:
    kind, word = _STATUS[Transaction.Status(row.status)]
    return TransactionRow(
        told=row.told,
        kind=kind,
        word=word,
        tx_hash=row.tx_hash,
        link=_link(row),
        network=row.network.name,
        block=row.block_number,
        gas=row.gas_used,
        at=row.confirmed_at or row.sent_at,
        trouble=row.trouble,
    )


def _reused(name: str, order: Order) -> ReusedOrder:
    paid = order.transaction
    return ReusedOrder(
        name=name,
        tx_hash=paid.tx_hash,
        link=_link(paid),
        job_id=paid.job_id,
        job_name=paid.job.name if paid.job else "",
    )


def _link(row: Transaction) -> str:
    explorer = row.network.explorer_url.rstrip("/")
    known = row.tx_hash and explorer.startswith(("https://", "http://"))
    return f"{explorer}/tx/{row.tx_hash}" if known else ""
