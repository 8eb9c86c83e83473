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

from jobs.errors import PortalError
from jobs.lifecycle import State
from jobs.models import ChainNonce, Job, JobEvent, Network, Order, Transaction
from jobs.ocean import orders
from jobs.ocean.chain import Chain
from jobs.ocean.errors import ChainError
from jobs.ocean.transactions import Call, Receipt
from jobs.ocean.transactions import Transaction as Unsigned
from jobs.ocean.units import Address, Wei, from_wei
from jobs.services import vault
from jobs.services.gateway import Clock, open_chain

ONE_TOKEN = 10**18  # datatokens have 18 decimals; an order spends one
LEASE = timedelta(seconds=90)
GAS_MARGIN = Decimal("1.25")
OVERTAKEN_FOR = timedelta(seconds=60)  # an RPC endpoint may know of a nonce before it knows of the receipt
SEND_AGAIN = timedelta(seconds=60)
LOOK_SOON, LOOK_LATER = timedelta(seconds=2), timedelta(seconds=12)
DISPENSES_MAX = 10  # for one job, those that others used up included
STRAYS_MAX = 50
LOOK_FOR_STRAYS = timedelta(seconds=15)
DISPENSE_STEP, ORDER_STEP = 10, 20  # with room between them
UNDERPRICED = "The chain asks for more than this transaction offers for its gas. It is sent again until the chain takes it."


class CannotOrder(PortalError):
    """What a start needs cannot be had. Nothing was sent for this job."""

    code = "cannot_order"


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
                if not _prepare(tx=tx, chain=chain, network=network, job=job, holder=holder, clock=clock):
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


def dispensed(
    *,
    chain: Chain,
    network: Network,
    job: Job,
    datatoken: Address,
    name: str,
    amount_wei: Wei,
    owned_wei: Wei,
) -> tuple[int, str, str, Call]:
    """Return the call that gets datatokens from their dispenser: its step, its purpose, what it is for, and itself.

    owned_wei: what the wallet has of them now; a dispenser may give to those with less alone.
    Raises:
        CannotOrder: nobody gives them away, or not so many.
    """
    tokens = from_wei(amount_wei).normalize()
    no_way = CannotOrder(
        f"The wallet “{job.wallet.label}” lacks {tokens:f} datatoken of “{name}”, and nobody gives them away. "
        "Get one first, from whoever published it.",
        code="no_datatoken",
    )
    address = network.contracts.get("Dispenser")
    if not address:
        raise no_way
    dispenser = Address(address)
    status = orders.dispenser_status(chain, dispenser=dispenser, datatoken=datatoken)
    may_take = status.allowed_swapper in (None, Address(job.wallet.address))
    in_stock = status.is_minter or status.balance_wei >= amount_wei
    enough = status.max_tokens_wei >= amount_wei and status.max_balance_wei > owned_wei and in_stock
    if not status.active or not enough or not may_take:
        raise no_way
    call = orders.dispense(
        dispenser=dispenser, datatoken=datatoken, amount_wei=amount_wei, to=Address(job.wallet.address)
    )
    told = f"Get {tokens:f} datatoken of “{name}” from its dispenser"
    return DISPENSE_STEP, Transaction.Purpose.DISPENSE, told[:200], call


def plan_one(*, job: Job, network: Network, step: int, purpose: str, told: str, call: Call) -> Transaction:
    """Write down one transaction that is to be made, at the end of the job's list."""
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
    )


def _see_to(*, job: Job, chain: Chain, network: Network, now: datetime) -> None:
    """Send what is signed, and look for what was sent."""
    for tx in _of(job, Transaction.Status.PREPARED):
        _send(tx=tx, chain=chain, now=now)
    for tx in _of(job, Transaction.Status.SENT):
        _find(tx=tx, chain=chain, network=network, now=now)
    for tx in _of(job, Transaction.Status.DROPPED):
        if tx.replaced_by_id is None and job.state == State.PAYING:
            _again(tx=tx)


def _of(job: Job, *statuses: str) -> list[Transaction]:
    return list(
        Transaction.objects.filter(job=job, status__in=statuses)
        .select_related("wallet", "network")
        .order_by("step", "sequence")
    )


def _prepare(*, tx: Transaction, chain: Chain, network: Network, job: Job, holder: str, clock: Clock) -> bool:
    """Reserve a nonce, sign, and store the bytes, all in one commit; nothing is sent.

    False: the chain would refuse it, or the job is no longer this holder's, who may have ended it.
    """
    sender, call = Address(tx.wallet.address), _call_of(tx)
    signer = vault.signer(tx.wallet)
    counter, _created = ChainNonce.objects.get_or_create(network=network, address=sender)
    while True:
        # Another job that spends the same datatokens moves the counter: then all is looked at again.
        missing = _missing_token(tx=tx, chain=chain, network=network, job=job)
        if missing is not None:
            return _get_first(missing, tx=tx, job=job, network=network, holder=holder, clock=clock)
        try:
            gas = chain.estimate_gas(sender=sender, to=call.to, data=call.data, value_wei=call.value_wei)
        except ChainError as error:
            if error.code != "reverted":
                raise
            _refused(tx=tx, job=job, holder=holder, clock=clock, trouble=error.message)
            return False
        fees, pending = chain.fees(), chain.nonce(address=sender)
        limit = int(gas * GAS_MARGIN)
        _refuse_dear_gas(tx=tx, network=network, cost_wei=limit * fees.max_fee_wei)
        nonce = max(counter.next, pending)
        signed = signer.sign_transaction(
            Unsigned(
                chain_id=network.chain_id,
                nonce=nonce,
                to=call.to,
                data=call.data,
                value_wei=call.value_wei,
                gas=limit,
                max_fee_wei=fees.max_fee_wei,
                priority_fee_wei=fees.priority_fee_wei,
            )
        )
        with transaction.atomic():
            if not _still_held(job=job, holder=holder, clock=clock):
                return False
            reserved = ChainNonce.objects.filter(pk=counter.pk, next=counter.next).update(next=nonce + 1)
            if reserved:
                kept = Transaction.objects.filter(pk=tx.pk, status=Transaction.Status.PLANNED).update(
                    status=Transaction.Status.PREPARED,
                    nonce=nonce,
                    gas=limit,
                    max_fee_wei=fees.max_fee_wei,
                    signed=signed.raw,
                    tx_hash=signed.hash,
                )
                if not kept:
                    transaction.set_rollback(True)  # prepared by somebody else: the nonce is given back
                return True
        counter.refresh_from_db()
        if not Transaction.objects.filter(pk=tx.pk, status=Transaction.Status.PLANNED).exists():
            return True


def _refuse_dear_gas(*, tx: Transaction, network: Network, cost_wei: int) -> None:
    if cost_wei > network.max_gas_wei:
        raise CannotOrder(
            f"{tx.told}: its gas may cost {from_wei(cost_wei).normalize():f} of {network.name}'s own coin now; the limit "
            f"for one transaction is {from_wei(int(network.max_gas_wei)).normalize():f}. "
            "Go on when it is cheaper, or let an operator raise the limit.",
            code="gas_too_high",
        )


def _call_of(tx: Transaction) -> Call:
    return Call(to=Address(tx.to), data=bytes(tx.data), value_wei=Wei(int(tx.value_wei)))


def _get_first(
    missing: tuple[int, str, str, Call],
    *,
    tx: Transaction,
    job: Job,
    network: Network,
    holder: str,
    clock: Clock,
) -> bool:
    """Plan to get what an order would spend. False: the job is no longer this holder's."""
    _step, purpose, told, call = missing
    with transaction.atomic():
        held = _still_held(job=job, holder=holder, clock=clock)
        if held:
            plan_one(job=job, network=network, step=tx.step - 1, purpose=purpose, told=told, call=call)
        return held


def _refused(*, tx: Transaction, job: Job, holder: str, clock: Clock, trouble: str) -> None:
    with transaction.atomic():
        if _still_held(job=job, holder=holder, clock=clock):
            Transaction.objects.filter(pk=tx.pk, status=Transaction.Status.PLANNED).update(
                status=Transaction.Status.REFUSED, trouble=trouble[:300]
            )


def _still_held(*, job: Job, holder: str, clock: Clock) -> bool:
    """Renew the job's lease in the commit that writes for it: whoever has it now may have ended it."""
    now = clock()
    return Job.objects.renew(job_id=job.pk, holder=holder, now=now, until=now + LEASE)


def _missing_token(
    *, tx: Transaction, chain: Chain, network: Network, job: Job
) -> tuple[int, str, str, Call] | None:
    """Return the call that gets the datatoken an order would spend, where all the wallet has is spent, or about to be."""
    order = Order.objects.filter(transaction=tx, renews=None).first()
    if order is None:
        return None
    datatoken, owner = Address(order.datatoken), Address(tx.wallet.address)
    mined = chain.mined_nonce(address=owner)
    owned = orders.balance_of(chain, token=datatoken, owner=owner)
    others = Order.objects.exclude(pk=order.pk)
    about_to_spend = others.filter(
        wallet__address=owner,
        datatoken=datatoken,
        renews=None,
        transaction__network=network,
        transaction__status__in=[Transaction.Status.PREPARED, Transaction.Status.SENT],
        transaction__nonce__gte=mined,
    ).count()
    if owned >= (about_to_spend + 1) * ONE_TOKEN:
        return None
    if chain.mined_nonce(address=owner) != mined:  # what was mined in between was counted twice
        return _missing_token(tx=tx, chain=chain, network=network, job=job)
    if Transaction.objects.filter(job=job, purpose=Transaction.Purpose.DISPENSE).count() >= DISPENSES_MAX:
        return None
    return dispensed(
        chain=chain,
        network=network,
        job=job,
        datatoken=datatoken,
        name=order.asset_name,
        amount_wei=Wei(ONE_TOKEN),
        owned_wei=owned,
    )


def _send(*, tx: Transaction, chain: Chain, now: datetime) -> None:
    """Send the stored bytes; sending them twice is one transaction."""
    try:
        chain.send(signed=bytes(tx.signed or b""))
    except ChainError as error:
        if error.code not in ("nonce_too_low", "underpriced"):
            Transaction.objects.filter(pk=tx.pk).update(trouble=error.message[:300])
            raise
        if chain.receipt(tx_hash=tx.tx_hash) is None:
            if error.code == "nonce_too_low":
                _overtaken(tx=tx, chain=chain, now=now)
            else:  # gas has become dearer, or another program's transaction waits with the same number: it may pass
                Transaction.objects.filter(pk=tx.pk).update(trouble=UNDERPRICED)
            return
    # What was thought of its nonce is over; it would else be given up later without a second look.
    mine = Transaction.objects.filter(pk=tx.pk, status=tx.status)
    if tx.status == Transaction.Status.PREPARED:
        mine.update(status=Transaction.Status.SENT, sent_at=now, trouble="", overtaken_at=None)
    elif tx.trouble:
        mine.update(trouble="", overtaken_at=None)


def _overtaken(*, tx: Transaction, chain: Chain, now: datetime) -> None:
    """Note that something else uses the nonce; once that is certain, this transaction will never be mined."""
    told = "Another program sent a transaction of this wallet with the same number."
    if tx.overtaken_at is None:
        Transaction.objects.filter(pk=tx.pk).update(overtaken_at=now, trouble=told)
        return
    if now - tx.overtaken_at < OVERTAKEN_FOR:
        return
    # The other one counts from where ours would: until then its block may fall out, and ours be mined after all.
    stands = max(0, chain.head().number - max(1, tx.network.confirmations) + 1)
    if chain.mined_nonce(address=Address(tx.wallet.address), at_block=stands) > (tx.nonce or 0):
        Transaction.objects.filter(pk=tx.pk, status=tx.status).update(
            status=Transaction.Status.DROPPED, trouble=told
        )


def _find(*, tx: Transaction, chain: Chain, network: Network, now: datetime) -> None:
    """Look for the receipt; send the same bytes again where they seem to have got lost."""
    receipt = chain.receipt(tx_hash=tx.tx_hash)
    if receipt is None:
        if tx.sent_at is not None and now - tx.sent_at >= SEND_AGAIN:
            _send(tx=tx, chain=chain, now=now)
        return
    if tx.overtaken_at is not None:  # its own block it was that the endpoint had not shown
        Transaction.objects.filter(pk=tx.pk).update(overtaken_at=None, trouble="")
    # A transaction that reverts may succeed in the block that takes the place of this one, and the other way round.
    if chain.head().number - receipt.block_number + 1 < network.confirmations:
        return
    if receipt.status == "reverted":
        reason = chain.revert_reason(receipt=receipt)
        told = (
            f"It was mined and undone: {reason}." if reason else "It was mined and undone without a reason."
        )
        Transaction.objects.filter(pk=tx.pk, status=Transaction.Status.SENT).update(
            status=Transaction.Status.REVERTED, trouble=told[:300], **_place(receipt)
        )
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
        if won:
            JobEvent.objects.create(
                job_id=tx.job_id,
                at=now,
                kind=JobEvent.Kind.PAYMENT,
                message=f"{tx.told}: done in block {receipt.block_number}."[:500],
                data={"tx_hash": tx.tx_hash},
            )


def _place(receipt: Receipt) -> dict[str, Any]:
    return {
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
    with transaction.atomic():
        anew = plan_one(
            job=tx.job,
            network=tx.network,
            step=tx.step,
            purpose=tx.purpose,
            told=tx.told,
            call=_call_of(tx),
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
