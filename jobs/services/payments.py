"""Puts on the chain what a start needs: plans the transactions of a job, signs and stores them, sends them, finds them.

The bytes of a transaction are committed before they leave, with the nonce that was reserved for them in the same commit. A
process that dies sends the same bytes again, and the chain takes them once. Receipts are looked for across runs, never
waited for. What was ordered stays in the ledger, where the next launch finds it.
"""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import Max, Q

from jobs.errors import PortalError
from jobs.lifecycle import TERMINAL, State
from jobs.models import ChainNonce, Job, JobEvent, JobInput, Network, Order, Transaction
from jobs.ocean import orders
from jobs.ocean.chain import Chain, Receipt
from jobs.ocean.compute import (
    AlgorithmInput,
    AssetInput,
    ComputeBackend,
    OrderNeed,
    ProviderFee,
    StartRequest,
    stored_environment,
)
from jobs.ocean.errors import ChainError
from jobs.ocean.orders import Call
from jobs.ocean.signing import Transaction as Unsigned
from jobs.ocean.units import Address, Wei, from_wei
from jobs.services import vault
from jobs.services.budget import Purpose
from jobs.services.gateway import Clock, open_chain, open_node
from jobs.services.starts import start_request

ONE_TOKEN = 10**18  # datatokens have 18 decimals; an order spends one
FEE_VALID_FOR = timedelta(days=1)  # of orders that cost nothing, so that the next launches find them good
FEE_MARGIN = timedelta(hours=1)
GAS_GUESS = 250_000  # of one of our calls; recorded: 44,000 to 118,000
GAS_MARGIN = Decimal("1.25")
OVERTAKEN_FOR = timedelta(seconds=60)  # an RPC endpoint may know of a nonce before it knows of the receipt
SEND_AGAIN = timedelta(seconds=60)
LOOK_SOON, LOOK_LATER = timedelta(seconds=2), timedelta(seconds=12)
DISPENSES_MAX = 10  # for one job, those that others used up included
STRAYS_MAX = 50
LOOK_FOR_STRAYS = timedelta(seconds=15)
DISPENSE_STEP, ORDER_STEP = 10, 20  # with room between them


class CannotOrder(PortalError):
    """What a start needs cannot be had. Nothing was sent for this job."""

    code = "cannot_order"


class OrderTaken(PortalError):
    """Another job has just taken the order that this one was to use."""

    code = "order_taken"


@dataclass(frozen=True)
class _Part:
    """One published input of a job. row: None for the algorithm. index: of the service in its DDO."""

    row: JobInput | None
    name: str
    did: str
    service_id: str
    index: int
    datatoken: Address


@dataclass(frozen=True)
class _Wanted:
    """An order to be made for a part; renews: the first order, whose fee it renews."""

    part: _Part
    fee: ProviderFee
    renews: Order | None


def plan(*, job: Job, holder: str, clock: Clock) -> None:
    """Ask the service what a start needs, check everything, and write down what has to be sent; move the job on.

    Nothing is signed here. A job for which all orders are there already goes on to STARTING.

    Raises:
        CannotOrder: with the numbers in its sentence; nothing was sent.
        OrderTaken: try again.
        OutOfBudget, NoChain, OceanError: from the service or the chain; nothing was sent.
    """
    parts = _parts(job)
    network = _network(job)
    offer = stored_environment(job.environment.raw, dialect=job.node.dialect)
    consumer = offer.consumer_address
    now = clock()
    known = [_known_order(job=job, part=part, consumer=consumer) for part in parts]
    valid_until = _fee_until(
        known=known, at_least=now + timedelta(seconds=job.max_duration_s) + FEE_MARGIN, now=now
    )
    with open_node(node=job.node, purpose=Purpose.ACT, clock=clock) as backend:
        _refuse_unreachable_files(job=job, backend=backend)
        needs = backend.initialize(
            request=_offering(start_request(job), known),
            consumer=consumer,
            valid_until=int(valid_until.timestamp()),
        )
    used, wanted = _sorted_out(parts=parts, needs=needs, known=known, job=job)
    calls: list[tuple[int, str, str, Call]] = []
    if wanted:
        with open_chain(network=network) as chain:
            _refuse_wrong_chain(chain=chain, network=network)
            calls = _dispenses(chain=chain, network=network, job=job, wanted=wanted)
            _refuse_without_gas(chain=chain, job=job, network=network, count=len(calls) + len(wanted))
    _write(
        job=job,
        holder=holder,
        network=network,
        used=used,
        wanted=wanted,
        calls=calls,
        consumer=consumer,
        now=now,
    )


def carry_on(*, job: Job, holder: str, clock: Clock) -> datetime | None:
    """Bring a job's transactions forward: prepare, send, confirm. Return when to look again; None once the job moved on.

    Safe to run twice, late, or never.

    Raises:
        NoChain, OceanError: the chain could not be asked; what was prepared stays as it is.
        CannotOrder: what is left cannot be sent.
    """
    network = _network(job)
    with open_chain(network=network) as chain:
        _refuse_wrong_chain(chain=chain, network=network)
        while True:
            now = clock()
            if not Job.objects.renew(
                job_id=job.pk, holder=holder, now=now, until=now + timedelta(seconds=90)
            ):
                return now  # somebody else is at it
            _see_to(job=job, chain=chain, network=network, now=now)
            under_way = list(Transaction.objects.under_way().filter(job=job))
            if under_way:
                waited = now - min(tx.sent_at or now for tx in under_way)
                return now + (LOOK_SOON if waited < SEND_AGAIN else LOOK_LATER)
            if _of(job, Transaction.Status.REVERTED, Transaction.Status.REFUSED):
                _fail(job=job, holder=holder, now=now)
                return None
            if job.cancel_requested_at is not None:
                return None  # nothing is under way: the caller cancels
            planned = _of(job, Transaction.Status.PLANNED)
            if not planned:
                _paid(job=job, holder=holder, now=now)
                return None
            for tx in [tx for tx in planned if tx.step == planned[0].step]:
                _prepare(tx=tx, chain=chain, network=network, job=job)


def is_used_again(job: Job) -> bool:
    """Say whether the order that the job is filed under was made by another job."""
    return (
        Order.objects.filter(wallet_id=job.wallet_id, transaction__tx_hash=job.agreement_id)
        .exclude(transaction__job_id=job.pk)
        .exists()
    )


def settle(*, job_id: uuid.UUID, clock: Clock) -> None:
    """See to the transactions that a job left under way when it ended, or was put aside.

    Their bytes exist: unsent, they would hold up every later transaction of the wallet; sent, they end in the ledger.
    Safe to run twice, late, or never.
    """
    job = Job.objects.select_related("wallet", "node__network", "environment").get(pk=job_id)
    network = _network(job)
    with open_chain(network=network) as chain:
        _refuse_wrong_chain(chain=chain, network=network)
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


# before anything is sent


def _parts(job: Job) -> list[_Part]:
    """Return the published inputs of a job, the algorithm last, as `initialize` answers them."""
    rows = job.inputs.select_related("dataset").order_by("position")
    parts = [_part(row=row, asset=row.dataset, service_id=row.service_id) for row in rows]
    if job.algorithm is not None:
        parts.append(_part(row=None, asset=job.algorithm, service_id=job.algorithm_service_id))
    return parts


def _part(*, row: JobInput | None, asset: Any, service_id: str) -> _Part:
    for index, service in enumerate(asset.services):
        if service["id"] == service_id:
            return _Part(
                row=row,
                name=asset.name,
                did=asset.did,
                service_id=service_id,
                index=index,
                datatoken=Address(service["datatoken"]),
            )
    raise CannotOrder(
        f"“{asset.name}” has no service “{service_id}” any more. Refresh it in the catalogue and launch again.",
        code="unknown_service",
    )


def _network(job: Job) -> Network:
    chain_id = job.environment.chain_id or job.node.network.chain_id
    network = Network.objects.filter(chain_id=chain_id).first()
    if network is None:
        raise CannotOrder(
            f"The environment takes orders on chain {chain_id}, which is not among this portal's networks. "
            "An operator can add it.",
            code="no_network",
        )
    return network


def _known_order(*, job: Job, part: _Part, consumer: str) -> Order | None:
    """Return the team's latest confirmed order of this part in this environment, unless a job may not share it.

    The one that a job is filed under can have one running job at a time (recording 82-start-agreement-in-use).
    """
    found = Order.objects.filter(
        wallet_id=job.wallet_id,
        did=part.did,
        service_id=part.service_id,
        consumer=consumer,
        datatoken=part.datatoken,
        transaction__status=Transaction.Status.CONFIRMED,
    )
    if _files_the_job(job=job, part=part):
        active = Job.objects.filter(node_id=job.node_id).exclude(state__in=TERMINAL).exclude(agreement_id="")
        found = found.exclude(transaction__tx_hash__in=active.exclude(pk=job.pk).values("agreement_id"))
    return found.select_related("transaction", "renews__transaction").order_by("-pk").first()


def _fee_until(*, known: Sequence[Order | None], at_least: datetime, now: datetime) -> datetime:
    """Return until when the fees have to count: no later than for the known orders that are good long enough.

    A service is asked for one time for all; a later one would have every order renewed.
    """
    good = [order.fee_valid_until for order in known if order and order.fee_valid_until >= at_least]
    return min(good, default=max(at_least, now + FEE_VALID_FOR))


def _files_the_job(*, job: Job, part: _Part) -> bool:
    """Say whether the order of this part is the agreement of the job. Source: StartRequest.agreement_id."""
    if job.algorithm is not None:
        return part.row is None
    return part.row is not None and part.row.position == 0


def _offering(request: StartRequest, known: Sequence[Order | None]) -> StartRequest:
    """Put the known orders into the request, in the order of the parts."""
    hashes = [order.transaction.tx_hash if order else "" for order in known]
    datasets = tuple(
        replace(dataset, order=tx_hash) if isinstance(dataset, AssetInput) else dataset
        for dataset, tx_hash in zip(request.datasets, hashes, strict=False)
    )
    algorithm = request.algorithm
    if isinstance(algorithm, AlgorithmInput):
        algorithm = replace(algorithm, order=hashes[-1])
    return replace(request, datasets=datasets, algorithm=algorithm)


def _refuse_unreachable_files(*, job: Job, backend: ComputeBackend) -> None:
    for row in job.inputs.select_related("dataset").order_by("position"):
        found = backend.file_info(file=AssetInput(did=row.dataset.did, service_id=row.service_id))
        if not len(found) or not all(file.valid for file in found):
            raise CannotOrder(
                f"The service cannot reach the file of “{row.dataset.name}”, so nothing was ordered. "
                "Ask its publisher whether it is still there.",
                code="file",
            )


def _sorted_out(
    *, parts: list[_Part], needs: tuple[OrderNeed, ...], known: list[Order | None], job: Job
) -> tuple[dict[int, Order], list[_Wanted]]:
    """Compare what the service wants with what there is: orders to be used, by the part's place, and orders to be made."""
    if len(needs) != len(parts):
        raise CannotOrder("The service did not say for each asset what it wants ordered.", code="initialize")
    used: dict[int, Order] = {}
    wanted: list[_Wanted] = []
    for place, (part, need, order) in enumerate(zip(parts, needs, known, strict=True)):
        if need.valid_order and (order is None or need.valid_order not in _hashes(order)):
            raise CannotOrder("The service speaks of an order that it was not offered.", code="initialize")
        if need.fee is None:
            if order is None or not need.valid_order:
                raise CannotOrder(f"The service wants nothing ordered for “{part.name}”.", code="initialize")
            used[place] = order
            continue
        _check_fee(part=part, need=need, fee=need.fee, job=job)
        first = (order.renews or order) if order is not None and need.valid_order else None
        wanted.append(_Wanted(part=part, fee=need.fee, renews=first))
    return used, wanted


def _hashes(order: Order) -> set[str]:
    """Return the names of an order: its own, and that of the first order which it renews (see OrderNeed)."""
    return {order.transaction.tx_hash, *([order.renews.transaction.tx_hash] if order.renews else [])}


def _check_fee(*, part: _Part, need: OrderNeed, fee: ProviderFee, job: Job) -> None:
    """Believe nothing of what is to be signed: the token, the payee and the amount are compared with what is known."""
    if need.datatoken is not None and need.datatoken != part.datatoken:
        raise CannotOrder(
            f"The service names another datatoken for “{part.name}” than its description.", code="datatoken"
        )
    addresses = job.node.said.get("addresses", {})
    expected = addresses.get(str(job.environment.chain_id)) or job.node.provider_address
    if expected and fee.address != Address(expected):
        raise CannotOrder(
            f"The fee for “{part.name}” is to go to an address that is not the service's.", code="fee"
        )
    if not orders.fee_is_signed(fee):
        raise CannotOrder(f"The fee for “{part.name}” is not signed by the service.", code="fee")
    if fee.amount_wei > 0:
        raise CannotOrder(
            f"The service wants a fee of {fee.amount_wei} of the token {fee.token} for “{part.name}”, although the "
            "environment is free. Nothing was paid.",
            code="unexpected_fee",
        )


def _refuse_wrong_chain(*, chain: Chain, network: Network) -> None:
    found = chain.chain_id()
    if found != network.chain_id:
        raise CannotOrder(
            f"The RPC endpoint of {network.name} is one of chain {found}, not of {network.chain_id}. "
            "An operator has to correct it.",
            code="wrong_chain",
        )


def _dispenses(
    *, chain: Chain, network: Network, job: Job, wanted: Iterable[_Wanted]
) -> list[tuple[int, str, str, Call]]:
    """Return the calls that get missing datatokens: step, purpose, words, call. A renewal spends none."""
    spent = Counter(w.part.datatoken for w in wanted if w.renews is None)
    names = {w.part.datatoken: w.part.name for w in wanted}
    calls = []
    for datatoken, count in spent.items():
        promised = Order.objects.filter(
            wallet__address=job.wallet.address,
            datatoken=datatoken,
            renews=None,
            transaction__network=network,
            transaction__status__in=[
                Transaction.Status.PLANNED,
                Transaction.Status.PREPARED,
                Transaction.Status.SENT,
            ],
        ).count()
        owned = orders.balance_of(chain, token=datatoken, owner=Address(job.wallet.address))
        missing = (count + promised) * ONE_TOKEN - owned
        if missing > 0:
            calls.append(
                _dispense(
                    chain=chain,
                    network=network,
                    job=job,
                    datatoken=datatoken,
                    name=names[datatoken],
                    amount_wei=Wei(min(missing, count * ONE_TOKEN)),
                )
            )
    return calls


def _dispense(
    *, chain: Chain, network: Network, job: Job, datatoken: Address, name: str, amount_wei: Wei
) -> tuple[int, str, str, Call]:
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
    if not status.active or status.max_tokens_wei < amount_wei:
        raise no_way
    call = orders.dispense(
        dispenser=dispenser, datatoken=datatoken, amount_wei=amount_wei, to=Address(job.wallet.address)
    )
    told = f"Get {tokens:f} datatoken of “{name}” from its dispenser"
    return DISPENSE_STEP, Transaction.Purpose.DISPENSE, told[:200], call


def _refuse_without_gas(*, chain: Chain, job: Job, network: Network, count: int) -> None:
    there = chain.balance_wei(Address(job.wallet.address))
    needed = chain.fees().max_fee_wei * GAS_GUESS * count
    if there < needed:
        raise CannotOrder(
            f"The wallet “{job.wallet.label}” has {from_wei(there).normalize():f} of {network.name}'s own coin for gas; "
            f"{count} transactions may need up to {from_wei(needed).normalize():f}. Send it some, then run the job again.",
            code="insufficient_funds",
        )


def _write(
    *,
    job: Job,
    holder: str,
    network: Network,
    used: dict[int, Order],
    wanted: list[_Wanted],
    calls: list[tuple[int, str, str, Call]],
    consumer: str,
    now: datetime,
) -> None:
    """Commit the plan with the job's move, or nothing of it."""
    parts = _parts(job)
    agreement = next(
        (order for place, order in used.items() if _files_the_job(job=job, part=parts[place])), None
    )
    try:
        with transaction.atomic():
            if not Job.objects.move(
                job_id=job.pk,
                before=State.REQUESTED,
                after=State.PAYING if wanted else State.STARTING,
                now=now,
                holder=holder,
                message=_told(used=len(used), wanted=len(wanted)),
                next_check_at=now,
                agreement_id=agreement.transaction.tx_hash if agreement else "",
            ):
                return
            for place, order in used.items():
                _link(job=job, part=parts[place], order=order)
            for step, purpose, told, call in calls:
                _plan_one(job=job, network=network, step=step, purpose=purpose, told=told, call=call)
            for want in wanted:
                purpose, told, call = _order_call(want, consumer=Address(consumer))
                tx = _plan_one(
                    job=job, network=network, step=ORDER_STEP, purpose=purpose, told=told, call=call
                )
                order = _new_order(job=job, wanted=want, tx=tx, consumer=consumer)
                _link(job=job, part=want.part, order=order)
    except IntegrityError:
        # The constraint that an order has one active job: somebody was faster.
        raise OrderTaken("Another job has just taken the order that was to be used again.") from None


def _told(*, used: int, wanted: int) -> str:
    if not wanted:
        return "All orders are there already; nothing has to be paid."
    again = f", {used} are there already" if used else ""
    return f"{wanted} {'order has' if wanted == 1 else 'orders have'} to be made{again}."


def _order_call(wanted: _Wanted, *, consumer: Address) -> tuple[str, str, Call]:
    part = wanted.part
    if wanted.renews is not None:
        call = orders.reuse_order(
            datatoken=part.datatoken, order_tx=wanted.renews.transaction.tx_hash, fee=wanted.fee
        )
        return Transaction.Purpose.RENEWAL, f"Renew the order of “{part.name}”", call
    call = orders.start_order(
        datatoken=part.datatoken, consumer=consumer, service_index=part.index, fee=wanted.fee
    )
    return Transaction.Purpose.ORDER, f"Order “{part.name}”", call


def _new_order(*, job: Job, wanted: _Wanted, tx: Transaction, consumer: str) -> Order:
    return Order.objects.create(
        wallet=job.wallet,
        transaction=tx,
        renews=wanted.renews,
        asset_name=wanted.part.name,
        did=wanted.part.did,
        service_id=wanted.part.service_id,
        datatoken=wanted.part.datatoken,
        consumer=consumer,
        fee_token=wanted.fee.token,
        fee_wei=wanted.fee.amount_wei,
        fee_valid_until=datetime.fromtimestamp(wanted.fee.valid_until, tz=UTC),
    )


def _link(*, job: Job, part: _Part, order: Order) -> None:
    if part.row is None:
        Job.objects.filter(pk=job.pk).update(algorithm_order=order)
    else:
        JobInput.objects.filter(pk=part.row.pk).update(order=order)


# signing, sending, finding


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


def _prepare(*, tx: Transaction, chain: Chain, network: Network, job: Job) -> None:
    """Reserve a nonce, sign, and store the bytes, all in one commit; nothing is sent."""
    sender, to, data = Address(tx.wallet.address), Address(tx.to), bytes(tx.data)
    value = Wei(int(tx.value_wei))
    try:
        gas = chain.estimate_gas(sender=sender, to=to, data=data, value_wei=value)
    except ChainError as error:
        if error.code == "reverted" and _lacks_token(tx=tx, chain=chain, network=network, job=job):
            return
        if error.code == "reverted":
            Transaction.objects.filter(pk=tx.pk, status=Transaction.Status.PLANNED).update(
                status=Transaction.Status.REFUSED, trouble=error.message[:300]
            )
            return
        raise
    fees, pending = chain.fees(), chain.nonce(sender)
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
                gas=int(gas * GAS_MARGIN),
                max_fee_wei=fees.max_fee_wei,
                priority_fee_wei=fees.priority_fee_wei,
            )
        )
        with transaction.atomic():
            reserved = ChainNonce.objects.filter(pk=counter.pk, next=counter.next).update(next=nonce + 1)
            if reserved:
                kept = Transaction.objects.filter(pk=tx.pk, status=Transaction.Status.PLANNED).update(
                    status=Transaction.Status.PREPARED,
                    nonce=nonce,
                    gas=int(gas * GAS_MARGIN),
                    max_fee_wei=fees.max_fee_wei,
                    signed=signed.raw,
                    tx_hash=signed.hash,
                )
                if not kept:
                    transaction.set_rollback(True)  # prepared by somebody else: the nonce is given back
                return
        counter.refresh_from_db()


def _lacks_token(*, tx: Transaction, chain: Chain, network: Network, job: Job) -> bool:
    """Plan to get the datatoken that an order would spend, where another job of the wallet was faster to spend it."""
    order = Order.objects.filter(transaction=tx, renews=None).first()
    if order is None:
        return False
    datatoken = Address(order.datatoken)
    if orders.balance_of(chain, token=datatoken, owner=Address(tx.wallet.address)) >= ONE_TOKEN:
        return False
    before = Transaction.objects.filter(job=job, purpose=Transaction.Purpose.DISPENSE).count()
    if before >= DISPENSES_MAX:
        return False
    _step, purpose, told, call = _dispense(
        chain=chain,
        network=network,
        job=job,
        datatoken=datatoken,
        name=order.asset_name,
        amount_wei=Wei(ONE_TOKEN),
    )
    _plan_one(job=job, network=network, step=tx.step - 1, purpose=purpose, told=told, call=call)
    return True


def _plan_one(*, job: Job, network: Network, step: int, purpose: str, told: str, call: Call) -> Transaction:
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


def _send(*, tx: Transaction, chain: Chain, now: datetime) -> None:
    """Send the stored bytes; sending them twice is one transaction."""
    try:
        chain.send(bytes(tx.signed or b""))
    except ChainError as error:
        if error.code not in ("nonce_too_low", "underpriced"):
            Transaction.objects.filter(pk=tx.pk).update(trouble=error.message[:300])
            raise
        if chain.receipt(tx.tx_hash) is None:
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
    elif now - tx.overtaken_at >= OVERTAKEN_FOR and chain.mined_nonce(Address(tx.wallet.address)) > (
        tx.nonce or 0
    ):
        Transaction.objects.filter(pk=tx.pk, status=tx.status).update(
            status=Transaction.Status.DROPPED, trouble=told
        )


def _find(*, tx: Transaction, chain: Chain, network: Network, now: datetime) -> None:
    """Look for the receipt; send the same bytes again where they seem to have got lost."""
    receipt = chain.receipt(tx.tx_hash)
    if receipt is None:
        if tx.sent_at is not None and now - tx.sent_at >= SEND_AGAIN:
            _send(tx=tx, chain=chain, now=now)
        return
    if not receipt.ok:
        reason = chain.revert_reason(
            sender=Address(tx.wallet.address),
            to=Address(tx.to),
            data=bytes(tx.data),
            value_wei=Wei(int(tx.value_wei)),
            block=receipt.block_number,
        )
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
    call = Call(to=Address(tx.to), data=bytes(tx.data), value_wei=Wei(int(tx.value_wei)))
    with transaction.atomic():
        anew = _plan_one(
            job=tx.job, network=tx.network, step=tx.step, purpose=tx.purpose, told=tx.told, call=call
        )
        if not Transaction.objects.filter(pk=tx.pk, replaced_by=None).update(replaced_by=anew):
            transaction.set_rollback(True)  # somebody else has done it
            return
        Order.objects.filter(transaction=tx).update(transaction=anew)


# the end of paying


def _paid(*, job: Job, holder: str, now: datetime) -> None:
    fresh = Job.objects.select_related("wallet", "node", "environment", "algorithm").get(pk=job.pk)
    Job.objects.move(
        job_id=job.pk,
        before=State.PAYING,
        after=State.PAID,
        now=now,
        holder=holder,
        message="All orders are on the chain.",
        agreement_id=start_request(fresh).agreement_id,
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
