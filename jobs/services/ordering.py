"""Finds out what has to be on the chain before a start, checks everything, and writes down what is to be sent.

Nothing is signed or sent here. What a service or a chain says is compared with what the portal knows, and every refusal
comes before the first transaction.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db import transaction
from django.db.models import Q

from jobs.errors import CannotOrder, PortalError
from jobs.lifecycle import TERMINAL, State
from jobs.models import Job, JobInput, Network, Order, Transaction
from jobs.ocean import orders
from jobs.ocean.chain import Chain
from jobs.ocean.compute import (
    AlgorithmInput,
    AssetInput,
    ComputeBackend,
    OrderNeed,
    ProviderFee,
    StartRequest,
    stored_environment,
)
from jobs.ocean.errors import Refused, Rejected
from jobs.ocean.transactions import Call
from jobs.ocean.units import Address, Wei, from_wei
from jobs.services.budget import Purpose
from jobs.services.datatokens import ONE_TOKEN, ORDER_STEP, dispensed
from jobs.services.gateway import Clock, open_chain, open_node
from jobs.services.payments import network_of, refuse_wrong_chain
from jobs.services.sending import plan_one
from jobs.services.starts import start_request

FEE_VALID_FOR = timedelta(days=1)  # of orders that cost nothing, so that the next launches find them good
FEE_MARGIN = timedelta(hours=1)
GAS_GUESS = 250_000  # of one of our calls; recorded: 44,000 to 118,000


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
    """An order to be made for a part.

    renews: the first order, whose fee it renews; replaces: the last one that did so, or the first itself.
    """

    part: _Part
    fee: ProviderFee
    renews: Order | None = None
    replaces: Order | None = None


def plan(*, job: Job, holder: str, clock: Clock) -> None:
    """Ask the service what a start needs, check everything, and write down what has to be sent; move the job on.

    Nothing is signed here. A job for which all orders are there already goes on to STARTING.

    Raises:
        CannotOrder: with the numbers in its sentence; nothing was sent.
        OrderTaken: try again.
        OutOfBudget, NoChain, OceanError: from the service or the chain; nothing was sent.
    """
    parts = _parts(job)
    network = network_of(job)
    offer = stored_environment(job.environment.raw, dialect=job.node.dialect)
    consumer = offer.consumer_address
    now = clock()
    known = [_known_order(job=job, part=part, consumer=consumer) for part in parts]
    valid_until = _fee_until(
        known=known, at_least=now + timedelta(seconds=job.max_duration_s) + FEE_MARGIN, now=now
    )
    with (
        open_node(node=job.node, purpose=Purpose.ACT, clock=clock) as backend,
        doubting(backend=backend, dids=[part.did for part in parts]),
    ):
        _refuse_unreachable_files(job=job, backend=backend)
        needs = backend.initialize(
            request=_offering(start_request(job), known),
            consumer=consumer,
            valid_until=int(valid_until.timestamp()),
        )
    used, wanted = _sorted_out(
        parts=parts, needs=needs, known=known, valid_until=int(valid_until.timestamp()), job=job
    )
    calls: list[tuple[int, str, str, Call]] = []
    if wanted:
        with open_chain(network=network) as chain:
            refuse_wrong_chain(chain=chain, network=network)
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


@contextmanager
def doubting(*, backend: ComputeBackend, dids: Sequence[str]) -> Iterator[None]:
    """Believe that an asset is unknown only while its index answers.

    A service that cannot ask its index says the same of every asset; the job is to wait then, and not to fail.

    Raises:
        OceanError: what the index says, or why it does not answer; else the refusal itself.
    """
    try:
        yield
    except Rejected as error:
        if error.code == "unknown_asset":
            for did in dids:
                try:
                    backend.get_ddo(did=did)
                except Refused:
                    break  # nobody named its index
        raise


def is_used_again(job: Job) -> bool:
    """Say whether a job starts with an order that another job has made, so that the service may know jobs of it."""
    mine = [x.order for x in job.inputs.select_related("order__transaction")] + [job.algorithm_order]
    return any(order is not None and order.transaction.job_id != job.pk for order in mine)


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


def _known_order(*, job: Job, part: _Part, consumer: str) -> Order | None:
    """Return the team's latest confirmed order of this part in this environment that no job uses now.

    A service files a job under one of its orders, and does not say which; each can have one running job at a time
    (provider-v4 recording 82-start-agreement-in-use).
    """
    return (
        Order.objects.filter(
            wallet_id=job.wallet_id,
            did=part.did,
            service_id=part.service_id,
            consumer=consumer,
            datatoken=part.datatoken,
            transaction__status=Transaction.Status.CONFIRMED,
        )
        .filter(_not_held(job))
        .select_related("transaction", "renews__transaction")
        .order_by("-pk")
        .first()
    )


def _not_held(job: Job) -> Q:
    return Q(held_by=None) | Q(held_by=job.pk) | Q(held_by__state__in=TERMINAL)


def _fee_until(*, known: Sequence[Order | None], at_least: datetime, now: datetime) -> datetime:
    """Return until when the fees have to count: no later than for the known orders that are good long enough.

    A service is asked for one time for all; a later one would have every order renewed.
    """
    good = [order.fee_valid_until for order in known if order and order.fee_valid_until >= at_least]
    return min(good, default=max(at_least, now + FEE_VALID_FOR))


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
    *,
    parts: list[_Part],
    needs: tuple[OrderNeed, ...],
    known: list[Order | None],
    valid_until: int,
    job: Job,
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
        _check_fee(part=part, need=need, fee=need.fee, valid_until=valid_until, job=job)
        if order is not None and need.valid_order:
            wanted.append(_Wanted(part=part, fee=need.fee, renews=order.renews or order, replaces=order))
        else:
            wanted.append(_Wanted(part=part, fee=need.fee))
    return used, wanted


def _hashes(order: Order) -> set[str]:
    """Return the names of an order: its own, and that of the first order which it renews (see OrderNeed)."""
    return {order.transaction.tx_hash, *([order.renews.transaction.tx_hash] if order.renews else [])}


def _check_fee(*, part: _Part, need: OrderNeed, fee: ProviderFee, valid_until: int, job: Job) -> None:
    """Believe nothing of what is to be signed: token, payee, amount and time are compared with what is known.

    valid_until: what the service was asked for, and repeats (provider-v4 recordings 30 and 32).
    """
    if need.datatoken is not None and need.datatoken != part.datatoken:
        raise CannotOrder(
            f"The service names another datatoken for “{part.name}” than its description.", code="datatoken"
        )
    addresses = job.node.said.get("addresses", {})
    expected = addresses.get(str(job.environment.chain_id)) or job.node.provider_address
    if not expected or fee.address != Address(expected):
        raise CannotOrder(
            f"The fee for “{part.name}” is to go to an address that is not known as the service's.",
            code="fee",
        )
    orders.check_fee(fee)
    if fee.valid_until != valid_until:
        raise CannotOrder(
            f"The fee for “{part.name}” is to count until another time than was asked for.", code="fee"
        )
    if fee.amount_wei > 0:
        raise CannotOrder(
            f"The service wants a fee of {fee.amount_wei} of the token {fee.token} for “{part.name}”, although the "
            "environment is free. Nothing was paid.",
            code="unexpected_fee",
        )


def _dispenses(
    *, chain: Chain, network: Network, job: Job, wanted: Iterable[_Wanted]
) -> list[tuple[int, str, str, Call]]:
    """Return the calls that get missing datatokens: step, purpose, words, call. A renewal spends none."""
    spent = Counter(w.part.datatoken for w in wanted if w.renews is None)
    names = {w.part.datatoken: w.part.name for w in wanted}
    calls = []
    for datatoken, count in spent.items():
        # What an ended job had planned is never sent; what was signed for it is.
        planned = Q(transaction__status=Transaction.Status.PLANNED) & ~Q(transaction__job__state__in=TERMINAL)
        signed = Q(transaction__status__in=[Transaction.Status.PREPARED, Transaction.Status.SENT])
        promised = (
            Order.objects.filter(planned | signed)
            .filter(
                wallet__address=job.wallet.address,
                datatoken=datatoken,
                renews=None,
                transaction__network=network,
            )
            .count()
        )
        owned = orders.balance_of(chain, token=datatoken, owner=Address(job.wallet.address))
        missing = (count + promised) * ONE_TOKEN - owned
        if missing > 0:
            calls.append(
                dispensed(
                    chain=chain,
                    network=network,
                    job=job,
                    datatoken=datatoken,
                    name=names[datatoken],
                    amount_wei=Wei(min(missing, count * ONE_TOKEN)),
                    owned_wei=owned,
                )
            )
    return calls


def _refuse_without_gas(*, chain: Chain, job: Job, network: Network, count: int) -> None:
    there = chain.balance_wei(address=Address(job.wallet.address))
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
    with transaction.atomic():
        if not Job.objects.move(
            job_id=job.pk,
            before=State.REQUESTED,
            after=State.PAYING if wanted else State.STARTING,
            now=now,
            holder=holder,
            message=_told(used=len(used), wanted=len(wanted)),
            next_check_at=now,
            trouble="",
            trouble_count=0,
        ):
            return
        for place, order in used.items():
            _hold(job=job, order=order)
            _link(job=job, part=parts[place], order=order)
        for step, purpose, told, call in calls:
            plan_one(job=job, network=network, step=step, purpose=purpose, told=told, call=call)
        for want in wanted:
            if want.replaces is not None:
                _hold(job=job, order=want.replaces)
            purpose, told, call = _order_call(want, consumer=Address(consumer))
            tx = plan_one(job=job, network=network, step=ORDER_STEP, purpose=purpose, told=told, call=call)
            order = _new_order(job=job, wanted=want, tx=tx, consumer=consumer)
            _link(job=job, part=want.part, order=order)


def _hold(*, job: Job, order: Order) -> None:
    """Take an order for a job; a job that was faster keeps it."""
    if not Order.objects.filter(pk=order.pk).filter(_not_held(job)).update(held_by=job):
        raise OrderTaken("Another job has just taken the order that was to be used again.")


def _told(*, used: int, wanted: int) -> str:
    if not wanted:
        return "All orders are there already; nothing has to be paid."
    again = f", {used} {'is' if used == 1 else 'are'} there already" if used else ""
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
        held_by=job,
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
