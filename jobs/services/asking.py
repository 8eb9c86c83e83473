"""Asks a service what it wants to see on the chain before a start, and compares that with what the portal knows.

Questions only: nothing is written, signed or sent. The team's good orders are offered to the service; what it says of fees,
payees and times is believed only where it fits.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from functools import cached_property

from django.db.models import Q

from jobs.errors import CannotOrder
from jobs.lifecycle import TERMINAL
from jobs.models import Asset, Environment, Job, Network, Node, Order, Transaction, Wallet
from jobs.ocean import orders
from jobs.ocean.compute import (
    AlgorithmInput,
    AssetInput,
    ComputeBackend,
    Needs,
    OrderNeed,
    PaymentNeed,
    ProviderFee,
    StartRequest,
    stored_environment,
)
from jobs.ocean.compute import Environment as EnvironmentOffer
from jobs.ocean.errors import Refused, Rejected
from jobs.ocean.units import Address
from jobs.services.gateway import network_of

FEE_VALID_FOR = timedelta(days=1)  # of orders that cost nothing, so that the next launches find them good
FEE_MARGIN = timedelta(hours=1)
# A Provider counts the seconds up to the fee's end by its own clock: a quote asks for so much more, or a launch at its
# price would find it a second's worth too low.
QUOTE_SPARE = timedelta(seconds=2)
# How long a node may want to lock beyond the job's own time; it ships with one hour. Source: ocean-node recording 34,
# exchange 16.
LOCK_SPARE = timedelta(days=7)


@dataclass(frozen=True)
class Part:
    """One published input. index: of the service in its DDO."""

    name: str
    did: str
    service_id: str
    index: int
    datatoken: Address


@dataclass(frozen=True)
class Wish:
    """What is to be started. parts: the datasets in order, then the algorithm if it is published.

    request: without orders. free: nothing is to be paid for the time. job_id: None for a quote. instead_of: a job that
    ends when this is launched; what it has ordered is there for this one then.
    """

    node: Node
    environment: Environment
    wallet: Wallet
    network: Network
    parts: tuple[Part, ...]
    request: StartRequest
    max_duration_s: int
    free: bool
    job_id: uuid.UUID | None = None
    instead_of: uuid.UUID | None = None

    @cached_property
    def offer(self) -> EnvironmentOffer:
        """What the service said of the environment."""
        return stored_environment(self.environment.raw, dialect=self.node.dialect)


@dataclass(frozen=True)
class Wanted:
    """An order to be made for the part at `place`.

    renews: the first order, whose fee it renews; replaces: the last one that did so, or the first itself.
    """

    place: int
    part: Part
    fee: ProviderFee
    renews: Order | None = None
    replaces: Order | None = None


def wish_of(job: Job, *, request: StartRequest) -> Wish:
    """Return what a job wants. Raises: CannotOrder."""
    rows = job.inputs.select_related("dataset").order_by("position")
    parts = [part_of(asset=row.dataset, service_id=row.service_id) for row in rows]
    if job.algorithm is not None:
        parts.append(part_of(asset=job.algorithm, service_id=job.algorithm_service_id))
    return Wish(
        node=job.node,
        environment=job.environment,
        wallet=job.wallet,
        network=network_of(node=job.node, environment=job.environment),
        parts=tuple(parts),
        request=request,
        max_duration_s=job.max_duration_s,
        free=job.free,
        job_id=job.pk,
    )


def part_of(*, asset: Asset, service_id: str) -> Part:
    """Find the service of an asset. Raises: CannotOrder."""
    for index, service in enumerate(asset.services):
        if service["id"] == service_id:
            return Part(
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


@dataclass(frozen=True)
class Asked:
    """What the service wants, beside the orders that the team has."""

    needs: Needs
    known: tuple[Order | None, ...]
    fee_until: datetime


def ask_service(*, wish: Wish, backend: ComputeBackend, now: datetime) -> Asked:
    """Ask a service what it wants to see on the chain; the team's good orders are offered to it.

    Raises:
        CannotOrder: it cannot reach a dataset's file, or the algorithm's where the time is paid for.
        OceanError: from the service.
    """
    for part in wish.parts[: len(wish.request.datasets) if wish.free else None]:
        _refuse_unreachable(part=part, backend=backend)
    known = tuple(
        _known_order(wish=wish, part=part, consumer=wish.offer.consumer_address) for part in wish.parts
    )
    until = _fee_until(known=known, wish=wish, price=wish.offer.price_min, now=now)
    needs = backend.initialize(
        request=_offering(wish.request, known),
        consumer=wish.offer.consumer_address,
        payer=Address(wish.wallet.address),
        valid_until=int(until.timestamp()),
    )
    return Asked(needs=needs, known=known, fee_until=until)


def is_all_there(asked: Asked) -> bool:
    """Say whether a start needs nothing from the chain any more."""
    return asked.needs.payment is None and all(need.fee is None for need in asked.needs.orders)


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


def _refuse_unreachable(*, part: Part, backend: ComputeBackend) -> None:
    found = backend.file_info(file=AssetInput(did=part.did, service_id=part.service_id))
    if not len(found) or not all(file.valid for file in found):
        raise CannotOrder(
            f"The service cannot reach the file of “{part.name}”, so nothing was ordered. "
            "Ask its publisher whether it is still there.",
            code="file",
        )


def _known_order(*, wish: Wish, part: Part, consumer: str) -> Order | None:
    """Return the team's latest confirmed order of this part in this environment that no job uses now.

    A service files a job under one of its orders, and does not say which; each can have one running job at a time
    (provider-v4 recording 82-start-agreement-in-use).
    """
    return (
        Order.objects.filter(
            wallet=wish.wallet,
            did=part.did,
            service_id=part.service_id,
            consumer=consumer,
            datatoken=part.datatoken,
            transaction__status=Transaction.Status.CONFIRMED,
            transaction__network=wish.network,
        )
        .filter(not_held(wish.job_id or wish.instead_of))
        .select_related("transaction", "renews__transaction")
        .order_by("-pk")
        .first()
    )


def not_held(job_id: uuid.UUID | None) -> Q:
    """Return the condition for orders that a job may take: nobody's, its own, and those of jobs that have ended."""
    free = Q(held_by=None) | Q(held_by__state__in=TERMINAL)
    return free if job_id is None else free | Q(held_by=job_id)


def _fee_until(
    *, known: Sequence[Order | None], wish: Wish, price: Decimal | None, now: datetime
) -> datetime:
    """Return until when the fees have to count: no later than for the known orders that are good long enough.

    A service is asked for one time for all; a later one would have every order renewed. Where time costs, no more of it is
    asked for than the job may take.
    """
    longest = timedelta(seconds=wish.max_duration_s)
    there = [order for order in known if order]
    if not price:
        at_least = now + longest + FEE_MARGIN
        good = [order.fee_valid_until for order in there if order.fee_valid_until >= at_least]
        return min([*good, max(at_least, now + FEE_VALID_FOR)])
    at_least = now + longest + (QUOTE_SPARE if wish.job_id is None else timedelta())
    # What this job has paid for itself is not paid for again because some of its time went by without a start.
    own = [order.fee_valid_until for order in there if order.transaction.job_id == wish.job_id]
    at_least = min([at_least, *[until for until in own if until - now >= longest / 2]])
    last = max([order.fee_valid_until for order in there], default=now)
    if last < at_least:
        return at_least
    # Time is paid for in one of the orders. Where none that lasts as long as the others did so, the service would take all
    # of them and then refuse the start: the time has to go beyond them, so that it names its fee anew.
    # Source: provider v2.1.6, workflow_validator.py; recording 63.
    if not any(order.fee_wei > 0 and order.fee_valid_until == last for order in there):
        return last + timedelta(seconds=1)
    return at_least


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


def sorted_out(*, wish: Wish, asked: Asked) -> tuple[dict[int, Order], list[Wanted]]:
    """Compare what the service wants with what there is: orders to be used, by place, and orders to be made.

    Raises:
        CannotOrder: what it says does not fit what the portal knows.
    """
    if asked.needs.payment is not None:
        _check_payment(wish=wish, need=asked.needs.payment)
    needs = asked.needs.orders
    if len(needs) != len(wish.parts):
        raise CannotOrder("The service did not say for each asset what it wants ordered.", code="initialize")
    used: dict[int, Order] = {}
    wanted: list[Wanted] = []
    for place, (part, need, order) in enumerate(zip(wish.parts, needs, asked.known, strict=True)):
        if need.valid_order and (order is None or need.valid_order not in _hashes(order)):
            raise CannotOrder("The service speaks of an order that it was not offered.", code="initialize")
        if need.fee is None:
            if order is None or not need.valid_order:
                raise CannotOrder(f"The service wants nothing ordered for “{part.name}”.", code="initialize")
            used[place] = order
            continue
        _check_fee(wish=wish, part=part, need=need, fee=need.fee, until=int(asked.fee_until.timestamp()))
        if order is not None and need.valid_order:
            first = order.renews or order
            wanted.append(Wanted(place=place, part=part, fee=need.fee, renews=first, replaces=order))
        else:
            wanted.append(Wanted(place=place, part=part, fee=need.fee))
    return used, wanted


def _hashes(order: Order) -> set[str]:
    """Return the names of an order: its own, and that of the first order which it renews (see OrderNeed)."""
    return {order.transaction.tx_hash, *([order.renews.transaction.tx_hash] if order.renews else [])}


def _check_fee(*, wish: Wish, part: Part, need: OrderNeed, fee: ProviderFee, until: int) -> None:
    """Believe nothing of what is to be signed: token, payee, signature and time are compared with what is known.

    until: what the service was asked for, and repeats (provider-v4 recordings 30 and 32); a node's fee is not bound to a
        time (ocean-node recordings 31 and 33).
    """
    if need.datatoken is not None and need.datatoken != part.datatoken:
        raise CannotOrder(
            f"The service names another datatoken for “{part.name}” than its description.", code="datatoken"
        )
    expected = _payee_of(wish)
    if expected is None or fee.address != expected:
        raise CannotOrder(
            f"The fee for “{part.name}” is to go to an address that is not known as the service's.",
            code="fee",
        )
    orders.check_fee(fee)
    if not wish.node.can.escrow and fee.valid_until != until:
        raise CannotOrder(
            f"The fee for “{part.name}” is to count until another time than was asked for.", code="fee"
        )
    if wish.free and fee.amount_wei > 0:
        raise CannotOrder(
            f"The service wants a fee of {fee.amount_wei} of the token {fee.token} for “{part.name}”, although the "
            "environment is free. Nothing was paid.",
            code="unexpected_fee",
        )


def _check_payment(*, wish: Wish, need: PaymentNeed) -> None:
    """Let money go through the contract alone that the operator named, to the node alone, and not stay there for long."""
    known = wish.network.contracts.get("Escrow")
    if not isinstance(known, str) or need.escrow != Address.parse(known):
        raise CannotOrder(
            "The node wants to be paid through a contract that this portal's operator does not know "
            f"({need.escrow}). Nothing was paid.",
            code="escrow",
        )
    payment = wish.request.payment
    if payment is None or (need.chain_id, need.token) != (payment.chain_id, payment.token):
        raise CannotOrder(
            f"The node wants to be paid in another token than it was asked for ({need.token}). Nothing was paid.",
            code="payment",
        )
    if need.payee not in (_payee_of(wish), wish.offer.consumer_address):
        raise CannotOrder(
            f"The node wants the money to go to an address that is not known as its own ({need.payee}). Nothing was paid.",
            code="payee",
        )
    longest_s = wish.max_duration_s + (wish.request.queue_wait_s or 0) + int(LOCK_SPARE.total_seconds())
    if need.min_lock_s > longest_s:
        raise CannotOrder(
            f"The node wants to lock the money for {need.min_lock_s} seconds, and {longest_s} are enough for this job. "
            "Nothing was paid.",
            code="lock_time",
        )


def _payee_of(wish: Wish) -> Address | None:
    """Return the address that the service said is its own on this chain."""
    addresses = wish.node.said.get("addresses", {})
    said = addresses.get(str(wish.network.chain_id)) or wish.node.provider_address
    return Address(said) if said else None
