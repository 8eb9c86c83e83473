"""Puts a job's transactions on the chain: signs and stores them, sends them, finds them.

The bytes of a transaction are committed before they leave, with the nonce that was reserved for them in the same commit. A
process that dies sends the same bytes again, and the chain takes them once. Receipts are looked for across runs, never
waited for. What was ordered stays in the ledger, where the next launch finds it.
"""

from __future__ import annotations

import uuid
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from django.db import transaction
from django.db.models import Max, Q
from django.db.models.functions import Now

from jobs import queue
from jobs.access import Action, Actor, require
from jobs.errors import InvalidInput, Missing
from jobs.lifecycle import State
from jobs.models import ChainNonce, Job, JobEvent, Network, Order, Transaction, Wallet
from jobs.ocean import orders
from jobs.ocean.chain import Chain
from jobs.ocean.errors import ChainError
from jobs.ocean.transactions import Call, Receipt
from jobs.ocean.transactions import Transaction as Unsigned
from jobs.ocean.units import Address, Wei, from_wei
from jobs.services import vault
from jobs.services.gateway import Clock, open_chain
from jobs.services.outlays import CannotOrder, network_of, refuse_wrong_chain

LEASE = timedelta(seconds=90)
GAS_MARGIN = Decimal("1.25")
OVERTAKEN_FOR = timedelta(seconds=60)  # an RPC endpoint may know of a nonce before it knows of the receipt
SEND_AGAIN = timedelta(seconds=60)
LOOK_SOON, LOOK_LATER = timedelta(seconds=2), timedelta(seconds=12)
STRAYS_MAX = 50
LOOK_FOR_STRAYS = timedelta(seconds=15)
FORGETFUL = timedelta(hours=2)  # after that no chain is expected to forget a block
EMPTY_GAS = 21_000  # of a transaction that calls nothing
FAILED = (Transaction.Status.REVERTED, Transaction.Status.REFUSED, Transaction.Status.CANCELLED)


def carry_on(*, job: Job, holder: str, clock: Clock) -> datetime | None:
    """Bring a job's transactions forward: prepare, send, confirm. Return when to look again; None once the job moved on.

    Safe to run twice, late, or never.

    Raises:
        NoChain, OceanError: the chain could not be asked; what was prepared stays as it is.
        CannotOrder: what is left cannot be sent.
    """
    network = network_of(node=job.node, environment=job.environment)
    with open_chain(network=network) as chain:
        refuse_wrong_chain(chain=chain, network=network)
        while True:
            now = clock()
            if not Job.objects.renew(job_id=job.pk, holder=holder, now=now, until=now + LEASE):
                return now  # somebody else is at it
            _see_to(rows=job.transactions, chain=chain, network=network, now=now)
            under_way = list(Transaction.objects.under_way().filter(job=job))
            if under_way:
                waited = now - min(tx.sent_at or now for tx in under_way)
                return now + (LOOK_SOON if waited < SEND_AGAIN else LOOK_LATER)
            if _of(job.transactions, *FAILED):
                _fail(job=job, holder=holder, now=now)
                return None
            if job.cancel_requested_at is not None:
                return None  # nothing is under way: the caller cancels
            planned = _of(job.transactions, Transaction.Status.PLANNED)
            if not planned:
                _paid(job=job, holder=holder, now=now)
                return None
            for tx in [tx for tx in planned if tx.step == planned[0].step]:
                _prepare(tx=tx, chain=chain, network=network)


def settle(*, job_id: uuid.UUID, clock: Clock) -> None:
    """See to the transactions that a job left under way when it ended, or was put aside.

    Their bytes exist: unsent, they would hold up every later transaction of the wallet; sent, they end in the ledger.
    Safe to run twice, late, or never.
    """
    job = Job.objects.select_related("wallet", "node__network", "environment").get(pk=job_id)
    network = network_of(node=job.node, environment=job.environment)
    with open_chain(network=network) as chain:
        refuse_wrong_chain(chain=chain, network=network)
        _see_to(rows=job.transactions, chain=chain, network=network, now=clock())


def act(*, wallet_id: int, network_id: int, clock: Clock) -> None:
    """Bring forward what a person wants done from a wallet, outside of any job.

    Safe to run twice, late, or never.
    """
    network = Network.objects.get(pk=network_id)
    rows = Transaction.objects.filter(job=None, wallet_id=wallet_id, network=network)
    with open_chain(network=network) as chain:
        refuse_wrong_chain(chain=chain, network=network)
        for tx in _of(rows, Transaction.Status.PLANNED):
            _prepare(tx=tx, chain=chain, network=network)
        _see_to(rows=rows, chain=chain, network=network, now=clock())


def wish(*, actor: Actor, transaction_id: int, wish: str, now: datetime) -> None:
    """Note that a person wants a waiting transaction sped up or cancelled; the worker does it with the same number.

    Raises:
        NotAllowed, Missing
        InvalidInput: it does not wait any more.
    """
    require(actor, Action.UNSTICK)
    tx = Transaction.objects.filter(pk=transaction_id, wallet__team_id=actor.team_id).first()
    if tx is None:
        raise Missing("There is no such transaction in this team.")
    waiting = Transaction.objects.filter(pk=tx.pk, status=Transaction.Status.SENT, cancels=False)
    with transaction.atomic():
        if not waiting.update(wish=wish, next_look_at=now):
            raise InvalidInput("This transaction does not wait any more.", field="")
        if tx.job_id is not None:
            Job.objects.filter(pk=tx.job_id, state=State.PAYING).update(next_check_at=now)
            queue.enqueue(queue.Task.ADVANCE, tx.job_id)
            queue.enqueue(queue.Task.SETTLE, tx.job_id)
        else:
            queue.enqueue(queue.Task.ACT, tx.wallet_id, tx.network_id)


def check_blocks(*, network_id: int, clock: Clock) -> int:
    """Look whether the blocks of the last confirmed transactions still stand; return how many were forgotten.

    A transaction whose block is gone waits again: the same bytes are sent, and found in another block.
    """
    network, now = Network.objects.get(pk=network_id), clock()
    confirmed = network.transactions.filter(
        status=Transaction.Status.CONFIRMED, confirmed_at__gt=now - FORGETFUL
    )
    forgotten = 0
    with open_chain(network=network) as chain:
        refuse_wrong_chain(chain=chain, network=network)
        for tx in confirmed.order_by("pk"):
            if chain.block_hash(number=tx.block_number or 0) == tx.block_hash:
                continue
            receipt = chain.receipt(tx_hash=tx.tx_hash)
            with transaction.atomic():
                same = Transaction.objects.filter(
                    pk=tx.pk, status=Transaction.Status.CONFIRMED, block_hash=tx.block_hash
                )
                if receipt is not None:
                    moved = same.update(**_place(receipt))
                    told = f"{tx.told}: the chain has put it into another block, {receipt.block_number}."
                else:
                    moved = same.update(
                        status=Transaction.Status.SENT, confirmed_at=None, sent_at=now, next_look_at=None
                    )
                    told = f"{tx.told}: the chain has forgotten its block; it waits for another one."
                forgotten += moved
                if moved and tx.job_id is not None:
                    JobEvent.objects.create(
                        job_id=tx.job_id,
                        at=now,
                        kind=JobEvent.Kind.PAYMENT,
                        message=told[:500],
                        data={"tx_hash": tx.tx_hash},
                    )
    return forgotten


def claim_strays(*, now: datetime) -> set[uuid.UUID]:
    """Return the jobs that left transactions under way and are due, pushed on so that no other process takes them too."""
    strays = Transaction.objects.under_way().exclude(job=None).exclude(job__state=State.PAYING)
    due = strays.filter(Q(next_look_at__isnull=True) | Q(next_look_at__lte=now))
    claimed: set[Any] = set()
    for tx in due.only("pk", "job_id", "next_look_at")[:STRAYS_MAX]:
        if Transaction.objects.filter(pk=tx.pk, next_look_at=tx.next_look_at).update(
            next_look_at=now + LOOK_FOR_STRAYS
        ):
            claimed.add(tx.job_id)
    return claimed


def claim_acts(*, now: datetime) -> set[tuple[int, int]]:
    """Return the wallets and networks for which something is to be done outside of any job, pushed on likewise."""
    open_ones = Transaction.objects.filter(
        job=None, status__in=[Transaction.Status.PLANNED, *Transaction.UNDER_WAY]
    )
    due = open_ones.filter(Q(next_look_at__isnull=True) | Q(next_look_at__lte=now))
    claimed: set[tuple[int, int]] = set()
    for tx in due.only("pk", "wallet_id", "network_id", "next_look_at")[:STRAYS_MAX]:
        if Transaction.objects.filter(pk=tx.pk, next_look_at=tx.next_look_at).update(
            next_look_at=now + LOOK_FOR_STRAYS
        ):
            claimed.add((tx.wallet_id, tx.network_id))
    return claimed


def plan_one(
    *,
    job: Job,
    network: Network,
    step: int,
    purpose: str,
    told: str,
    call: Call,
    token: str = "",
    amount_wei: int | Decimal = 0,
) -> Transaction:
    """Write down one transaction that is to be made, at the end of the job's list.

    token, amount_wei: what it moves from the wallet, at the most.
    """
    last = Transaction.objects.filter(job=job).aggregate(last=Max("sequence"))["last"]
    return Transaction.objects.create(
        job=job,
        sequence=0 if last is None else last + 1,
        step=step,
        wallet=job.wallet,
        network=network,
        purpose=purpose,
        told=told[:200],
        to=call.to,
        data=call.data,
        value_wei=call.value_wei,
        token=token,
        amount_wei=amount_wei,
    )


def plan_act(
    *, wallet: Wallet, network: Network, purpose: str, told: str, call: Call, asked_by_id: int | None
) -> Transaction:
    """Write down one transaction that a person wants, outside of any job."""
    return Transaction.objects.create(
        job=None,
        asked_by_id=asked_by_id,
        sequence=0,
        step=0,
        wallet=wallet,
        network=network,
        purpose=purpose,
        told=told[:200],
        to=call.to,
        data=call.data,
        value_wei=call.value_wei,
    )


def _see_to(*, rows: Any, chain: Chain, network: Network, now: datetime) -> None:
    """Do what a person wants of what waits, send what is signed, and look for what was sent."""
    for tx in _of(rows, Transaction.Status.SENT):
        if tx.wish:
            _replace(tx=tx, chain=chain, network=network)
    for tx in _of(rows, Transaction.Status.PREPARED):
        _send(tx=tx, chain=chain, now=now)
    for tx in _of(rows, Transaction.Status.SENT):
        _find(tx=tx, chain=chain, network=network, now=now)
    for tx in _of(rows, Transaction.Status.DROPPED):
        if tx.replaced_by_id is None and tx.job is not None and tx.job.state == State.PAYING:
            _again(tx=tx)


def _of(rows: Any, *statuses: str) -> list[Transaction]:
    """Return the rows in some states, in the order in which they are to be sent."""
    return list(
        rows.filter(status__in=statuses)
        .select_related("wallet", "network", "job")
        .order_by("step", "sequence", "pk")
    )


def refuse_dear_gas(*, told: str, network: Network, most_wei: Wei) -> None:
    """Refuse a transaction whose gas may cost more than the operator allows; the endpoint makes these numbers up.

    Raises:
        CannotOrder: with both numbers.
    """
    if most_wei > network.max_gas_wei:
        raise CannotOrder(
            f"{told}: its gas may cost {from_wei(most_wei).normalize():f} of {network.name}'s own coin now; the limit for "
            f"one transaction is {from_wei(Wei(int(network.max_gas_wei))).normalize():f}. Go on when it is cheaper, or let an "
            "operator raise the limit.",
            code="gas_too_high",
        )


def _prepare(*, tx: Transaction, chain: Chain, network: Network) -> None:
    """Reserve a nonce, sign, and store the bytes, all in one commit; nothing is sent."""
    sender, to, data = Address(tx.wallet.address), Address(tx.to), bytes(tx.data)
    value = Wei(int(tx.value_wei))
    try:
        gas = chain.estimate_gas(sender=sender, to=to, data=data, value_wei=value)
    except ChainError as error:
        if error.code == "reverted":
            Transaction.objects.filter(pk=tx.pk, status=Transaction.Status.PLANNED).update(
                status=Transaction.Status.REFUSED, trouble=error.message[:300]
            )
            return
        raise
    fees, pending = chain.fees(), chain.nonce(address=sender)
    limit = int(gas * GAS_MARGIN)
    refuse_dear_gas(told=tx.told, network=network, most_wei=Wei(limit * fees.max_fee_wei))
    signer = vault.signer(tx.wallet)
    counter, _created = ChainNonce.objects.get_or_create(network=network, address=sender)
    while True:
        nonce = max(counter.next, pending)
        signed = signer.sign_transaction(
            Unsigned(
                chain_id=network.chain_id,
                nonce=nonce,
                to=to,
                data=data,
                value_wei=value,
                gas=limit,
                max_fee_wei=fees.max_fee_wei,
                priority_fee_wei=fees.priority_fee_wei,
            )
        )
        with transaction.atomic():
            reserved = ChainNonce.objects.filter(pk=counter.pk, next=counter.next).update(next=nonce + 1)
            if reserved:
                kept = Transaction.objects.filter(pk=tx.pk, status=Transaction.Status.PLANNED).update(
                    status=Transaction.Status.PREPARED,
                    prepared_at=Now(),
                    nonce=nonce,
                    gas=limit,
                    max_fee_wei=fees.max_fee_wei,
                    priority_fee_wei=fees.priority_fee_wei,
                    signed=signed.raw,
                    tx_hash=signed.hash,
                )
                if not kept:
                    transaction.set_rollback(True)  # prepared by somebody else: the nonce is given back
                return
        counter.refresh_from_db()


def _replace(*, tx: Transaction, chain: Chain, network: Network) -> None:
    """Sign the same number anew with a higher fee, for the same call or for nothing; it is sent like any other."""
    now = chain.fees()
    old_max, old_tip = int(tx.max_fee_wei or 0), int(tx.priority_fee_wei or 0)
    # A node takes a replacement only for at least a tenth more of both.
    tip = max(now.priority_fee_wei, old_tip * 9 // 8 + 1)
    most = max(now.max_fee_wei, old_max * 9 // 8 + 1, tip)
    cancels = tx.wish == Transaction.Wish.CANCEL
    gas = EMPTY_GAS if cancels else int(tx.gas or 0)
    refuse_dear_gas(told=tx.told, network=network, most_wei=Wei(gas * most))
    sender = Address(tx.wallet.address)
    signed = vault.signer(tx.wallet).sign_transaction(
        Unsigned(
            chain_id=network.chain_id,
            nonce=int(tx.nonce or 0),
            to=sender if cancels else Address(tx.to),
            data=b"" if cancels else bytes(tx.data),
            value_wei=Wei(0) if cancels else Wei(int(tx.value_wei)),
            gas=gas,
            max_fee_wei=Wei(most),
            priority_fee_wei=Wei(tip),
        )
    )
    Transaction.objects.filter(pk=tx.pk, status=Transaction.Status.SENT, tx_hash=tx.tx_hash).update(
        status=Transaction.Status.PREPARED,
        signed=signed.raw,
        tx_hash=signed.hash,
        max_fee_wei=most,
        priority_fee_wei=tip,
        earlier=[*tx.earlier, tx.tx_hash],
        cancels=cancels,
        wish="",
        overtaken_at=None,
    )


def _receipt(*, tx: Transaction, chain: Chain) -> Receipt | None:
    """Look for whatever was sent under this number: an earlier version may be mined as well as the last one."""
    for tx_hash in (tx.tx_hash, *reversed(tx.earlier)):
        receipt = chain.receipt(tx_hash=tx_hash)
        if receipt is not None:
            return receipt
    return None


def _send(*, tx: Transaction, chain: Chain, now: datetime) -> None:
    """Send the stored bytes; sending them twice is one transaction."""
    try:
        chain.send(signed=bytes(tx.signed or b""))
    except ChainError as error:
        if error.code not in ("nonce_too_low", "underpriced"):
            Transaction.objects.filter(pk=tx.pk).update(trouble=error.message[:300])
            raise
        if _receipt(tx=tx, chain=chain) is None:
            _overtaken(tx=tx, chain=chain, now=now)
            return
    Transaction.objects.filter(pk=tx.pk, status=Transaction.Status.PREPARED).update(
        status=Transaction.Status.SENT, sent_at=now, trouble="", overtaken_at=None
    )


def _overtaken(*, tx: Transaction, chain: Chain, now: datetime) -> None:
    """Note that something else uses the nonce; once that is certain, this transaction will never be mined."""
    told = "Another program sent a transaction of this wallet with the same number."
    if tx.overtaken_at is None:
        Transaction.objects.filter(pk=tx.pk).update(overtaken_at=now, trouble=told)
    elif now - tx.overtaken_at >= OVERTAKEN_FOR and chain.mined_nonce(address=Address(tx.wallet.address)) > (
        tx.nonce or 0
    ):
        Transaction.objects.filter(pk=tx.pk, status=tx.status).update(
            status=Transaction.Status.DROPPED, trouble=told
        )


def _find(*, tx: Transaction, chain: Chain, network: Network, now: datetime) -> None:
    """Look for the receipt; send the same bytes again where they seem to have got lost."""
    receipt = _receipt(tx=tx, chain=chain)
    if receipt is None:
        if tx.sent_at is not None and now - tx.sent_at >= SEND_AGAIN:
            _send(tx=tx, chain=chain, now=now)
        return
    if tx.cancels and receipt.tx_hash == tx.tx_hash:
        Transaction.objects.filter(pk=tx.pk, status=Transaction.Status.SENT).update(
            status=Transaction.Status.CANCELLED, trouble="A person cancelled it.", **_place(receipt)
        )
        return
    if receipt.status == "reverted":
        reason = chain.revert_reason(receipt=receipt) or "It does not say why."
        Transaction.objects.filter(pk=tx.pk, status=Transaction.Status.SENT).update(
            status=Transaction.Status.REVERTED, trouble=reason[:300], **_place(receipt)
        )
        return
    if chain.head().number - receipt.block_number + 1 < network.confirmations:
        return
    order = Order.objects.filter(transaction=tx).first()
    if order is not None and not _is_the_order(order=order, receipt=receipt):
        Transaction.objects.filter(pk=tx.pk, status=Transaction.Status.SENT).update(
            status=Transaction.Status.REVERTED,
            trouble="The transaction was mined, but the datatoken noted no such order.",
            **_place(receipt),
        )
        return
    with transaction.atomic():
        won = Transaction.objects.filter(pk=tx.pk, status=Transaction.Status.SENT).update(
            status=Transaction.Status.CONFIRMED, confirmed_at=now, trouble="", **_place(receipt)
        )
        if won and tx.job_id is not None:
            JobEvent.objects.create(
                job_id=tx.job_id,
                at=now,
                kind=JobEvent.Kind.PAYMENT,
                message=f"{tx.told}: done in block {receipt.block_number}."[:500],
                data={"tx_hash": tx.tx_hash},
            )


def _place(receipt: Receipt) -> dict[str, Any]:
    return {
        "tx_hash": receipt.tx_hash,
        "block_number": receipt.block_number,
        "block_hash": receipt.block_hash,
        "gas_used": receipt.gas_used,
    }


def _is_the_order(*, order: Order, receipt: Receipt) -> bool:
    seen = orders.order_in(receipt, datatoken=Address(order.datatoken))
    if seen is None:
        return False
    if order.renews is not None:
        return seen.kind == "reused" and seen.order_tx == order.renews.transaction.tx_hash
    return seen.kind == "started" and seen.consumer == Address(order.consumer)


def _again(*, tx: Transaction) -> None:
    """Plan the same call anew where its transaction can never be mined; the order now hangs on the new one."""
    call = Call(to=Address(tx.to), data=bytes(tx.data), value_wei=Wei(int(tx.value_wei)))
    with transaction.atomic():
        anew = plan_one(
            job=tx.job,
            network=tx.network,
            step=tx.step,
            purpose=tx.purpose,
            told=tx.told,
            call=call,
            token=tx.token,
            amount_wei=tx.amount_wei,
        )
        if not Transaction.objects.filter(pk=tx.pk, replaced_by=None).update(replaced_by=anew):
            transaction.set_rollback(True)  # somebody else has done it
            return
        Order.objects.filter(transaction=tx).update(transaction=anew)


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
    bad = _of(job.transactions, *FAILED)[0]
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
