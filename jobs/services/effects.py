"""Tells whether a transaction that was mined did what it was for: a contract may pass over in silence what it cannot do."""

from __future__ import annotations

from jobs.models import Order, Transaction
from jobs.ocean import escrow, orders
from jobs.ocean.transactions import Receipt
from jobs.ocean.units import Address

# What the escrow notes of a call that did something, and what is told where it does not: it passes over in silence what it
# cannot do. Source: ocean-contracts 3.1.0, Escrow.
_ESCROW_EVENTS: dict[str, tuple[str, str]] = {
    Transaction.Purpose.DEPOSIT: ("deposit", "The transaction was mined, but the escrow noted no deposit."),
    Transaction.Purpose.WITHDRAWAL: (
        "withdraw",
        "It was mined, but the escrow gave nothing back: so much was not free any more.",
    ),
    Transaction.Purpose.RELEASE: (
        "canceled",
        "It was mined, but no lock was freed: none was over its time any more.",
    ),
}


def missing(*, tx: Transaction, receipt: Receipt) -> str:
    """Say what a transaction that was mined should have done and did not; "" where all is as it should be."""
    order = Order.objects.filter(transaction=tx).select_related("renews__transaction").first()
    if order is not None:
        fits = _is_the_order(order=order, receipt=receipt)
        return "" if fits else "The transaction was mined, but the datatoken noted no such order."
    wanted = _ESCROW_EVENTS.get(tx.purpose)
    if wanted is None:
        return ""
    kind, told = wanted
    for event in escrow.events_in(receipt.logs, escrow=Address(tx.to)):
        if event.kind == kind and event.payer == Address(tx.wallet.address):
            return ""
    return told


def _is_the_order(*, order: Order, receipt: Receipt) -> bool:
    seen = orders.order_in(receipt, datatoken=Address(order.datatoken))
    if seen is None:
        return False
    if order.renews is not None:
        return seen.kind == "reused" and seen.order_tx == order.renews.transaction.tx_hash
    return seen.kind == "started" and seen.consumer == Address(order.consumer)
