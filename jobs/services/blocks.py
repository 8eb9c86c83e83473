"""Notices when a chain forgets a block in which our transactions were: they wait again, and their jobs' pages say so."""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import Q

from jobs.models import JobEvent, Network, Transaction
from jobs.ocean.chain import Chain
from jobs.ocean.errors import ChainError
from jobs.services.gateway import Clock, open_chain
from jobs.services.sending import find, send

FORGETFUL = timedelta(hours=2)  # after that no chain is expected to forget a block
LOOK_EVERY = timedelta(minutes=1)
IN_A_BLOCK = (Transaction.Status.CONFIRMED, Transaction.Status.REVERTED, Transaction.Status.CANCELLED)


def claim_due(*, now: datetime) -> list[int]:
    """Return the networks with transactions young enough to be forgotten, pushed on so that no other process takes them."""
    young = Transaction.objects.filter(status__in=IN_A_BLOCK, confirmed_at__gt=now - FORGETFUL).values(
        "network_id"
    )
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
    """Look whether the blocks of the last transactions still stand; return how many were forgotten.

    A transaction whose block is gone waits again: the same bytes are sent, and it is looked for in another block, where it
    may end in another way.

    Raises:
        NoChain, CannotOrder, OceanError: the chain could not be asked.
    """
    network, now = Network.objects.get(pk=network_id), clock()
    young = network.transactions.filter(status__in=IN_A_BLOCK, confirmed_at__gt=now - FORGETFUL)
    forgotten = 0
    with open_chain(network=network) as chain:
        standing: dict[int, str | None] = {}  # one question for each block
        for tx in young.select_related("wallet", "network", "job").order_by("nonce", "pk"):
            number = tx.block_number or 0
            if number not in standing:
                standing[number] = chain.block_hash(number=number)
            # An endpoint that has not come so far yet says nothing of the block.
            if standing[number] not in (None, tx.block_hash):
                forgotten += _follow(tx=tx, chain=chain, network=network, now=now)
    return forgotten


def _follow(*, tx: Transaction, chain: Chain, network: Network, now: datetime) -> bool:
    """Have a transaction wait again and look for it at once; return whether it was this process that noticed."""
    receipt = chain.receipt(tx_hash=tx.tx_hash)
    if receipt is not None and receipt.block_hash == tx.block_hash:
        return False  # two endpoints behind one address: the one that knows the receipt has the block still
    if receipt is None:
        after, told = Transaction.Status.PREPARED, "the chain has forgotten its block; it is sent again"
    else:
        after = Transaction.Status.SENT
        told = f"the chain has put it into another block, {receipt.block_number}; it is looked at again"
    with transaction.atomic():
        moved = Transaction.objects.filter(pk=tx.pk, status=tx.status, block_hash=tx.block_hash).update(
            status=after, confirmed_at=None, sent_at=now, block_hash="", trouble="", next_look_at=None
        )
        if moved and tx.job_id is not None:
            JobEvent.objects.create(
                job_id=tx.job_id,
                at=now,
                kind=JobEvent.Kind.PAYMENT,
                message=f"{tx.told}: {told}."[:500],
                data={"tx_hash": tx.tx_hash},
            )
    if moved:
        tx.refresh_from_db()
        if tx.status == Transaction.Status.PREPARED:
            with suppress(
                ChainError
            ):  # its row says why; whoever sees to the job or the wallet sends it again
                send(tx=tx, chain=chain, now=now)
            tx.refresh_from_db()
        if tx.status == Transaction.Status.SENT:
            find(tx=tx, chain=chain, network=network, now=now)
    return bool(moved)
