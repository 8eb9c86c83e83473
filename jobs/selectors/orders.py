"""What a job did on a chain, for its page: its transactions, and the orders that it uses."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from jobs.models import Job, JobInput, Order, Transaction
from jobs.selectors.transactions import TransactionRow, link


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
    """All that the job has to do with a chain.

    any_open: something that was sent can be sped up or cancelled by this person.
    """

    transactions: tuple[TransactionRow, ...]
    reused: tuple[ReusedOrder, ...]
    any_open: bool


def transactions_of(job: Job) -> list[Transaction]:
    """Return a job's transactions in their order, with what they ordered and without their bytes; one query."""
    rows = job.transactions.select_related("network", "wallet", "asked_by", "order")
    return list(rows.defer("data", "signed", "wallet__encrypted_key").order_by("sequence"))


def orders(job: Job, *, inputs: Iterable[JobInput], transactions: Sequence[TransactionRow]) -> OrdersPart:
    """Return a job's transactions and the orders that it uses again.

    inputs, and the job's own algorithm_order: with their orders' transactions, networks and jobs at hand.
    """
    used = [(x.dataset.name, x.order) for x in inputs]
    if job.algorithm is not None:
        used.append((job.algorithm.name, job.algorithm_order))
    return OrdersPart(
        transactions=tuple(transactions),
        reused=tuple(
            _reused(name, order) for name, order in used if order and order.transaction.job_id != job.pk
        ),
        any_open=any(row.may_speed_up or (row.may_cancel and not row.take_back) for row in transactions),
    )


def _reused(name: str, order: Order) -> ReusedOrder:
    paid = order.transaction
    return ReusedOrder(
        name=name,
        tx_hash=paid.tx_hash,
        link=link(paid),
        job_id=paid.job_id,
        job_name=paid.job.name if paid.job else "",
    )
