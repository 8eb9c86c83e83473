"""Notices when a chain forgets a block in which our transactions were: they wait again, and their jobs' pages say so."""

from __future__ import annotations

from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import Q

from jobs.models import JobEvent, Network, Transaction
from jobs.ocean.chain import Chain
from jobs.services.gateway import Clock, open_chain
from jobs.services.sending import place

FORGETFUL = timedelta(hours=2)  # after that no chain is expected to forget a block
LOOK_EVERY = timedelta(minutes=1)


def claim_due(*, now: datetime) -> list[int]:
    """Return the networks with transactions young enough to be forgotten, pushed on so that no other process takes them."""
    young = Transaction.objects.filter(
        status=Transaction.Status.CONFIRMED, confirmed_at__gt=now - FORGETFUL
    ).values("network_id")
    due = Network.objects.filter(pk__in=young).filter(
        Q(next_block_check_at=None) | Q(next_block_check_at__lte=now)
    )
    return [
        network.pk
        for network in due.only("pk", "next_block_check_at")
        if Network.objects.filter(pk=network.pk, next_block_check_at=network.next_block_check_at).update(
            next_block_check_at=now + LOOK_EVERY
        )
    ]


def check(*, network_id: int, clock: Clock) -> int:
    """Look whether the blocks of the last confirmed transactions still stand; return how many were forgotten.

    A transaction whose block is gone waits again: the same bytes are sent, and found in another block.

    Raises:
        NoChain, CannotOrder, OceanError: the chain could not be asked.
    """
    network, now = Network.objects.get(pk=network_id), clock()
    young = network.transactions.filter(status=Transaction.Status.CONFIRMED, confirmed_at__gt=now - FORGETFUL)
    forgotten = 0
    with open_chain(network=network) as chain:
        standing: dict[int, str | None] = {}  # one question for each block
        for tx in young.defer("data", "signed").order_by("pk"):
            number = tx.block_number or 0
            if number not in standing:
                standing[number] = chain.block_hash(number=number)
            # An endpoint that has not come so far yet says nothing of the block.
            if standing[number] not in (None, tx.block_hash):
                forgotten += _follow(tx=tx, chain=chain, now=now)
    return forgotten


def _follow(*, tx: Transaction, chain: Chain, now: datetime) -> int:
    """Note where a transaction is now; return how many rows were changed."""
    receipt = chain.receipt(tx_hash=tx.tx_hash)
    with transaction.atomic():
        same = Transaction.objects.filter(
            pk=tx.pk, status=Transaction.Status.CONFIRMED, block_hash=tx.block_hash
        )
        if receipt is not None and receipt.status == "ok":
            moved = same.update(**place(receipt))
            told = f"{tx.told}: the chain has put it into another block, {receipt.block_number}."
        else:
            moved = same.update(
                status=Transaction.Status.SENT, confirmed_at=None, sent_at=now, next_look_at=None
            )
            told = f"{tx.told}: the chain has forgotten its block; it waits for another one."
        if moved and tx.job_id is not None:
            JobEvent.objects.create(
                job_id=tx.job_id,
                at=now,
                kind=JobEvent.Kind.PAYMENT,
                message=told[:500],
                data={"tx_hash": tx.tx_hash},
            )
    return moved
