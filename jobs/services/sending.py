"""Takes one transaction from the plan to its block: signed and stored, sent, found.

The bytes of a transaction are committed before they leave, with the nonce that was reserved for them in the same commit. A
process that dies sends the same bytes again, and the chain takes them once.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from django.db import transaction
from django.db.models import Max

from jobs.access import Person
from jobs.errors import CannotOrder
from jobs.models import Act, ChainNonce, Job, JobEvent, Network, Order, Transaction, Wallet
from jobs.models.orders import TransactionQuerySet
from jobs.ocean.chain import Chain
from jobs.ocean.errors import ChainError
from jobs.ocean.transactions import Call, Receipt
from jobs.ocean.transactions import Transaction as Unsigned
from jobs.ocean.units import Address, Wei, from_wei, plain
from jobs.services import audit, balances, effects, vault
from jobs.services.datatokens import missing_token
from jobs.services.gateway import Clock
from jobs.services.looking import call_of, refuse_an_old_view

LEASE = timedelta(seconds=90)
GAS_MARGIN = Decimal("1.25")
OVERTAKEN_FOR = timedelta(seconds=60)  # an RPC endpoint may know of a nonce before it knows of the receipt
SEND_AGAIN = timedelta(seconds=60)
EMPTY_GAS = 21_000  # of a transaction that calls nothing
UNDERPRICED = "The chain asks for more than this transaction offers for its gas. It is sent again until the chain takes it."


def plan_one(
    *,
    job: Job | None,
    wallet: Wallet,
    network: Network,
    step: int,
    purpose: str,
    told: str,
    call: Call,
    token: str = "",
    amount_wei: int | Decimal = 0,
    also: Mapping[Any, int | str] | None = None,
    asked_by_id: int | None = None,
) -> Transaction:
    """Write down one transaction that is to be made, at the end of the job's list; job: None for what a person wants.

    token, amount_wei: what it moves from the wallet, at the most; also: what else, in wei by token.
    """
    earlier = Transaction.objects.filter(job=job) if job is not None else Transaction.objects.none()
    last = earlier.aggregate(last=Max("sequence"))["last"]
    return Transaction.objects.create(
        job=job,
        asked_by_id=asked_by_id,
        sequence=0 if last is None else last + 1,
        step=step,
        wallet=wallet,
        network=network,
        purpose=purpose,
        told=told[:200],
        to=call.to,
        data=call.data,
        value_wei=call.value_wei,
        token=token,
        amount_wei=amount_wei,
        also={str(other): str(int(wei)) for other, wei in (also or {}).items()},
    )


def prepare(
    *, tx: Transaction, chain: Chain, network: Network, job: Job | None, holder: str, clock: Clock
) -> bool:
    """Reserve a nonce, sign, and store the bytes, all in one commit; nothing is sent.

    False: the chain would refuse it, or the job is no longer this holder's, who may have ended it.

    Raises:
        CannotOrder: it cannot be sent as things stand; it stays planned.
        VaultLocked, ChainError
    """
    sender, call = Address(tx.wallet.address), call_of(tx)
    signer = vault.signer(tx.wallet)
    counter, _created = ChainNonce.objects.get_or_create(network=network, address=sender)
    while True:
        # Another job that spends the same datatokens moves the counter: then all is looked at again.
        try:
            missing = job and missing_token(tx=tx, chain=chain, network=network, job=job)
        except CannotOrder:
            refuse_an_old_view(chain=chain, network=network, address=sender)
            raise
        if job and missing:
            refuse_an_old_view(chain=chain, network=network, address=sender)
            return _get_first(missing, tx=tx, job=job, network=network, holder=holder, clock=clock)
        try:
            gas = chain.estimate_gas(sender=sender, to=call.to, data=call.data, value_wei=call.value_wei)
        except ChainError as error:
            if error.code != "reverted":
                raise
            refuse_an_old_view(chain=chain, network=network, address=sender)
            _refused(tx=tx, job=job, holder=holder, clock=clock, trouble=error.message)
            return False
        fees, pending = chain.fees(), chain.nonce(address=sender)
        limit = int(gas * GAS_MARGIN)
        _refuse_dear_gas(tx=tx, network=network, cost_wei=limit * fees.max_fee_wei)
        nonce = max(counter.next, pending)
        if tx.purpose == Transaction.Purpose.FILL:
            if not _is_gap(tx=tx, number=pending, before=counter.next):
                told = "No number of this wallet is missing: nothing has to be filled."
                _refused(tx=tx, job=job, holder=holder, clock=clock, trouble=told)
                return False
            nonce = pending
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
            following = max(counter.next, nonce + 1)
            reserved = ChainNonce.objects.filter(pk=counter.pk, next=counter.next).update(next=following)
            if reserved:
                kept = Transaction.objects.filter(pk=tx.pk, status=Transaction.Status.PLANNED).update(
                    status=Transaction.Status.PREPARED,
                    prepared_at=clock(),
                    nonce=nonce,
                    gas=limit,
                    max_fee_wei=fees.max_fee_wei,
                    priority_fee_wei=fees.priority_fee_wei,
                    signed=signed.raw,
                    tx_hash=signed.hash,
                    trouble="",
                )
                if not kept:
                    transaction.set_rollback(True)  # prepared by somebody else: the nonce is given back
                    return True
                _record(tx=tx, network=network, nonce=nonce, tx_hash=signed.hash, now=clock())
                return True
        counter.refresh_from_db()
        chain.forget()
        if not Transaction.objects.filter(pk=tx.pk, status=Transaction.Status.PLANNED).exists():
            return True


def _record(
    *, tx: Transaction, network: Network, nonce: int, tx_hash: str, now: datetime, instead: str = ""
) -> None:
    """Tell the audit record what was signed, not the bytes. instead: what takes the place of the call, if anything."""
    asked_by = tx.asked_by if tx.job is None else tx.job.launched_by
    audit.record(
        act=Act.TRANSACTION_SIGNED,
        by=Person(
            user_id=asked_by.pk if asked_by else None,
            name=f"The worker, for {asked_by}" if asked_by else "The worker",
            origin=audit.WORKER,
        ),
        now=now,
        thing=audit.Thing("transaction", str(tx.pk), tx.told),
        before={"hash": tx.tx_hash} if tx.tx_hash else None,
        after={
            "hash": tx_hash,
            "purpose": instead or tx.get_purpose_display(),
            "wallet": tx.wallet.label,
            "address": tx.wallet.address,
            "network": network.name,
            "number": nonce,
            "to": tx.wallet.address if instead else tx.to,
            "value in wei": "0" if instead else str(int(tx.value_wei)),
            **(
                {"token": tx.token, "amount in wei": str(int(tx.amount_wei))}
                if tx.token and not instead
                else {}
            ),
            **({"job": str(tx.job_id)} if tx.job_id else {}),
        },
        team_id=tx.wallet.team_id,
    )


def _is_gap(*, tx: Transaction, number: int, before: int) -> bool:
    """Say whether a number that the chain waits for is below another, and in no transaction of ours."""
    ours = Transaction.objects.filter(network=tx.network, wallet__address=tx.wallet.address, nonce=number)
    return number < before and not ours.exists()


def _refuse_dear_gas(*, tx: Transaction, network: Network, cost_wei: int) -> None:
    if cost_wei > network.max_gas_wei:
        raise CannotOrder(
            f"{tx.told}: its gas may cost {plain(from_wei(cost_wei))} of {network.name}'s own coin now; the limit "
            f"for one transaction is {plain(from_wei(int(network.max_gas_wei)))}. "
            "Go on when it is cheaper, or let an operator raise the limit.",
            code="gas_too_high",
        )


def _get_first(
    missing: tuple[str, Call], *, tx: Transaction, job: Job, network: Network, holder: str, clock: Clock
) -> bool:
    """Plan to get what an order would spend. False: the job is no longer this holder's."""
    told, call = missing
    with transaction.atomic():
        held = _still_held(job=job, holder=holder, clock=clock)
        if held:
            plan_one(
                job=job,
                wallet=job.wallet,
                network=network,
                step=tx.step - 1,
                purpose=Transaction.Purpose.DISPENSE,
                told=told,
                call=call,
            )
        return held


def _refused(*, tx: Transaction, job: Job | None, holder: str, clock: Clock, trouble: str) -> None:
    with transaction.atomic():
        if _still_held(job=job, holder=holder, clock=clock):
            Transaction.objects.filter(pk=tx.pk, status=Transaction.Status.PLANNED).update(
                status=Transaction.Status.REFUSED, trouble=trouble[:300]
            )


def _still_held(*, job: Job | None, holder: str, clock: Clock) -> bool:
    """Renew the job's lease in the commit that writes for it: whoever has it now may have ended it."""
    now = clock()
    return job is None or Job.objects.renew(job_id=job.pk, holder=holder, now=now, until=now + LEASE)


def replace(*, tx: Transaction, chain: Chain, network: Network, now: datetime) -> None:
    """Sign the same number anew at a higher fee, for the same call or for nothing; it is sent like any other.

    Nothing is done where one of its versions is in a block already.

    Raises:
        CannotOrder: its gas would cost too much.
        VaultLocked, ChainError
    """
    if _receipt(tx=tx, chain=chain) is not None:
        _same(tx).update(wish="")
        return
    fees = chain.fees()
    old_max, old_tip = int(tx.max_fee_wei or 0), int(tx.priority_fee_wei or 0)
    tip = max(fees.priority_fee_wei, _raised(old_tip))
    most = max(fees.max_fee_wei, _raised(old_max), tip)
    cancels = tx.cancels or tx.wish == Transaction.Wish.CANCEL
    gas = EMPTY_GAS if cancels else int(tx.gas or 0)
    _refuse_dear_gas(tx=tx, network=network, cost_wei=gas * most)
    sender, call = Address(tx.wallet.address), call_of(tx)
    signed = vault.signer(tx.wallet).sign_transaction(
        Unsigned(
            chain_id=network.chain_id,
            nonce=int(tx.nonce or 0),
            to=sender if cancels else call.to,
            data=b"" if cancels else call.data,
            value_wei=Wei(0) if cancels else call.value_wei,
            gas=gas,
            max_fee_wei=Wei(most),
            priority_fee_wei=Wei(tip),
        )
    )
    with transaction.atomic():
        kept = _same(tx).update(
            status=Transaction.Status.PREPARED,
            signed=signed.raw,
            tx_hash=signed.hash,
            max_fee_wei=most,
            priority_fee_wei=tip,
            earlier=[*tx.earlier, _version(tx)],
            cancels=cancels,
            wish="",
            trouble="",
            overtaken_at=None,
        )
        if kept:
            instead = "Cancel it: an empty one in its place" if cancels else ""
            number = int(tx.nonce or 0)
            _record(tx=tx, network=network, nonce=number, tx_hash=signed.hash, now=now, instead=instead)


def _same(tx: Transaction) -> TransactionQuerySet:
    """Return the row as long as nobody has moved it on, or signed another version of it, since it was read."""
    return Transaction.objects.filter(pk=tx.pk, status=tx.status, tx_hash=tx.tx_hash)


def _version(tx: Transaction) -> dict[str, Any]:
    """Return what is kept of a version in whose place another is sent: any of them may be mined, now or after a
    reorganisation.
    """
    return {"tx_hash": tx.tx_hash, "cancels": tx.cancels, "signed": "0x" + bytes(tx.signed or b"").hex()}


def _raised(fee_wei: int) -> int:
    """Return a fee for which chains take a replacement: a tenth more of both is the least."""
    return fee_wei * 9 // 8 + 1


def _receipt(*, tx: Transaction, chain: Chain) -> Receipt | None:
    """Look for whatever was sent under this number: an earlier version may be mined as well as the last one."""
    for tx_hash in (tx.tx_hash, *(version["tx_hash"] for version in reversed(tx.earlier))):
        receipt = chain.receipt(tx_hash=tx_hash)
        if receipt is not None:
            return receipt
    return None


def send(*, tx: Transaction, chain: Chain, now: datetime) -> None:
    """Send the stored bytes; sending them twice is one transaction."""
    try:
        chain.send(signed=bytes(tx.signed or b""))
    except ChainError as error:
        if error.code not in ("nonce_too_low", "underpriced"):
            _same(tx).update(trouble=error.message[:300])
            raise
        if _receipt(tx=tx, chain=chain) is None:
            if error.code == "nonce_too_low":
                _overtaken(tx=tx, chain=chain, now=now)
            else:  # gas has become dearer, or another program's transaction waits with the same number: it may pass
                _same(tx).update(trouble=UNDERPRICED)
            return
    # What was thought of its nonce is over; it would else be given up later without a second look.
    if tx.status == Transaction.Status.PREPARED:
        _same(tx).update(status=Transaction.Status.SENT, sent_at=now, trouble="", overtaken_at=None)
    elif tx.trouble:
        _same(tx).update(trouble="", overtaken_at=None)


def _overtaken(*, tx: Transaction, chain: Chain, now: datetime) -> None:
    """Note that something else uses the nonce; once that is certain, this transaction will never be mined."""
    told = "Another program sent a transaction of this wallet with the same number."
    if tx.overtaken_at is None:
        _same(tx).update(overtaken_at=now, trouble=told)
        return
    if now - tx.overtaken_at < OVERTAKEN_FOR:
        return
    # The other one counts from where ours would: until then its block may fall out, and ours be mined after all.
    stands = max(0, chain.head().number - max(1, tx.network.confirmations) + 1)
    if chain.mined_nonce(address=Address(tx.wallet.address), at_block=stands) > (tx.nonce or 0):
        _end(
            tx=tx,
            status=Transaction.Status.DROPPED,
            now=now,
            message=f"{tx.told}: never mined. {told}",
            facts={"trouble": told, "wish": ""},
        )


def find(*, tx: Transaction, chain: Chain, network: Network, now: datetime) -> None:
    """Look for the receipt; send the same bytes again where they seem to have got lost."""
    receipt = _receipt(tx=tx, chain=chain)
    if receipt is None:
        if tx.sent_at is not None and now - tx.sent_at >= SEND_AGAIN:
            send(tx=tx, chain=chain, now=now)
            _tell_of_a_gap(tx=tx, chain=chain)
        return
    if tx.overtaken_at is not None:  # its own block it was that the endpoint had not shown
        Transaction.objects.filter(pk=tx.pk).update(overtaken_at=None, trouble="")
    # A transaction that reverts may succeed in the block that takes the place of this one, and the other way round.
    if chain.head().number - receipt.block_number + 1 < network.confirmations:
        return
    mined = _mined_version(tx=tx, receipt=receipt)
    status, trouble = Transaction.Status.CONFIRMED, ""
    if mined["cancels"]:
        status, trouble = Transaction.Status.CANCELLED, "A person cancelled it."
    elif receipt.status == "reverted":
        reason = chain.revert_reason(receipt=receipt)
        status = Transaction.Status.REVERTED
        trouble = f"It was mined and undone{f': {reason}' if reason else ' without a reason'}."
    else:
        missing = effects.missing(tx=tx, receipt=receipt)
        if missing:
            status, trouble = Transaction.Status.REVERTED, missing
    where = f"in block {receipt.block_number}"
    message = f"{tx.told}: done {where}." if not trouble else f"{tx.told}: {where}. {trouble}"
    facts = {**place(receipt), **mined, "confirmed_at": now, "trouble": trouble[:300], "wish": ""}
    _end(tx=tx, status=status, now=now, message=message, facts=facts)


def _end(*, tx: Transaction, status: str, now: datetime, message: str, facts: dict[str, Any]) -> None:
    """Note how a transaction ended, and tell its job."""
    with transaction.atomic():
        won = _same(tx).update(status=status, **facts)
        if won:
            balances.moved(wallet_id=tx.wallet_id, network_id=tx.network_id, now=now)
        if won and tx.job_id is not None:
            JobEvent.objects.create(
                job_id=tx.job_id,
                at=now,
                kind=JobEvent.Kind.PAYMENT,
                message=message[:500],
                data={"tx_hash": facts.get("tx_hash", tx.tx_hash)},
            )


def _tell_of_a_gap(*, tx: Transaction, chain: Chain) -> None:
    """Say on the row what it waits for, where the chain knows of no transaction with a number before its own."""
    sender = Address(tx.wallet.address)
    number = chain.nonce(address=sender)
    if _is_gap(tx=tx, number=number, before=tx.nonce or 0):
        told = (
            f"{Transaction.BEHIND_A_GAP}{number} of this wallet, which no transaction has that the chain shows: another "
            "program's has got lost. Send it again from there, or let an empty one take its place."
        )
        Transaction.objects.filter(pk=tx.pk, status=Transaction.Status.SENT).update(trouble=told[:300])


def place(receipt: Receipt) -> dict[str, Any]:
    """Return the columns that say where a transaction was mined."""
    return {
        "block_number": receipt.block_number,
        "block_hash": receipt.block_hash,
        "gas_used": receipt.gas_used,
    }


def _mined_version(*, tx: Transaction, receipt: Receipt) -> dict[str, Any]:
    """Return the columns of the version that was mined; the others are kept, as its block may be forgotten."""
    versions = {version["tx_hash"]: version for version in [*tx.earlier, _version(tx)]}
    mined = versions.pop(receipt.tx_hash)
    return {
        "tx_hash": mined["tx_hash"],
        "cancels": mined["cancels"],
        "signed": bytes.fromhex(mined["signed"].removeprefix("0x")),
        "earlier": list(versions.values()),
    }


def plan_again(*, tx: Transaction) -> None:
    """Plan the same call anew where its transaction can never be mined; the order now hangs on the new one."""
    with transaction.atomic():
        anew = plan_one(
            job=tx.job,
            wallet=tx.wallet,
            network=tx.network,
            step=tx.step,
            purpose=tx.purpose,
            told=tx.told,
            call=call_of(tx),
            token=tx.token,
            amount_wei=tx.amount_wei,
            also=tx.also,
            asked_by_id=tx.asked_by_id,
        )
        if not Transaction.objects.filter(pk=tx.pk, replaced_by=None).update(replaced_by=anew):
            transaction.set_rollback(True)  # somebody else has done it
            return
        Order.objects.filter(transaction=tx).update(transaction=anew)
