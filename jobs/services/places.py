"""Finds where a job is to run: the environment that was named, the free tier with the most room, or the cheapest for money.

No far side is called: environments are as they were last seen.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal

from jobs.errors import InvalidInput
from jobs.models import Environment, SpendingLimit, Wallet
from jobs.ocean.compute import Environment as EnvironmentOffer
from jobs.ocean.compute import Resource, stored_environment
from jobs.ocean.units import Address

FREE, PAID = "free", "paid"


@dataclass(frozen=True)
class PlaceWish:
    """What a person wants of the place. Its fields are those of `choosing.LaunchRequest`."""

    ref: str
    paid: bool = False
    token: str = ""
    resources: Mapping[str, float] | None = None
    max_duration_s: int | None = None


@dataclass(frozen=True)
class Place:
    """Where a job is to run: an environment as it was last seen, its free tier or not, and what it is paid in."""

    environment: Environment
    offer: EnvironmentOffer
    free: bool
    token: str = ""

    @property
    def longest_s(self) -> int:
        """How long a job may take here."""
        tier = self.offer.free if self.free else None
        return (tier.max_duration_s if tier else 0) or self.offer.max_duration_s

    @property
    def takes_orders(self) -> bool:
        """Whether a start here needs orders on the chain."""
        return self.environment.node.can.orders or not self.free


@dataclass(frozen=True)
class Option:
    """One place and way of paying, and what the time there would cost, in tokens (not their smallest unit); 0 is free."""

    place: Place
    cost: Decimal


def find(*, wish: PlaceWish, wallet: Wallet, node_ids: set[int], chain_ids: set[int]) -> Place:
    """Return the place that a wish means, among those at some nodes and for some chains.

    Raises:
        InvalidInput: there is none; the fields are "environment" and "token".
    """
    there = _there(node_ids=node_ids, chain_ids=chain_ids)
    if not wish.ref:
        raise InvalidInput("Choose an environment.", field="environment")
    if wish.ref == PAID:
        return _cheapest(wish=wish, wallet=wallet, there=there)
    if wish.ref == FREE:
        rows = [row for row in there if row.has_free_tier]
        if not rows:
            raise InvalidInput(
                "No node that serves these datasets offers a free tier at the moment.",
                field="environment",
                code="no_free_tier",
            )
        row = min(rows, key=lambda row: (-row.free_room, row.pk))
        return Place(environment=row, offer=_offer(row), free=True)
    is_number = wish.ref.isascii() and wish.ref.isdigit() and len(wish.ref) < 12
    named = [x for x in there if (x.pk == int(wish.ref) if is_number else x.env_id == wish.ref)]
    if not named:
        raise InvalidInput(
            "This environment is not (or no longer) offered by the node that serves the data.",
            field="environment",
            code="unknown_environment",
            candidates=tuple(x.env_id for x in there),
        )
    row = named[0]
    offer = _offer(row)
    if offer.free is not None and not wish.paid:
        return Place(environment=row, offer=offer, free=True)
    taken = _tokens_taken(row=row, offer=offer)
    spendable = _spendable(wallet=wallet)
    token = wish.token or next((t for t in taken if t in spendable), taken[0] if taken else "")
    if token not in taken:
        raise InvalidInput(
            f"“{row}” does not take this token."
            if taken
            else f"“{row}” has no free tier, and takes no payment that this portal could make.",
            field="environment",
            code="token_not_taken",
            candidates=tuple(taken),
        )
    return Place(environment=row, offer=offer, free=False, token=token)


def paid_options(*, wish: PlaceWish, wallet: Wallet, node_ids: set[int], chain_ids: set[int]) -> list[Option]:
    """Return where a job could run for money, and what its time would cost there, the best first.

    Prices in different tokens are not comparable: the tokens that the wallet may spend come first, in the order of their
    limits' making, and within a token the cheapest.
    """
    return _options(wish=wish, wallet=wallet, there=_there(node_ids=node_ids, chain_ids=chain_ids))


def free_options(*, wish: PlaceWish, node_ids: set[int], chain_ids: set[int]) -> list[Option]:
    """Return the free tiers where a job could run, those with the most room first."""
    rows = [row for row in _there(node_ids=node_ids, chain_ids=chain_ids) if row.has_free_tier]
    places = (Place(environment=row, offer=_offer(row), free=True) for row in rows)
    fit = [place for place in places if place.offer.free is not None and _fits(wish=wish, place=place)]
    fit.sort(key=lambda place: (-place.environment.free_room, place.environment.pk))
    return [Option(place=place, cost=Decimal(0)) for place in fit]


def _there(*, node_ids: set[int], chain_ids: set[int]) -> list[Environment]:
    rows = Environment.objects.filter(node_id__in=node_ids, gone_at=None, chain_id__in=chain_ids | {0})
    return list(rows.select_related("node__network").order_by("pk"))


def _options(*, wish: PlaceWish, wallet: Wallet, there: list[Environment]) -> list[Option]:
    spendable = _spendable(wallet=wallet)
    found: list[tuple[int, Decimal, int, Option]] = []
    for row in there:
        offer = _offer(row)
        for token in _tokens_taken(row=row, offer=offer):
            place = Place(environment=row, offer=offer, free=False, token=token)
            if (wish.token and token != wish.token) or not _fits(wish=wish, place=place):
                continue
            cost = offer.cost(
                chain_id=_chain_of(row),
                token=Address(token),
                duration_s=wish.max_duration_s,
                resources=tuple((wish.resources or {}).items()) or None,
            )
            if cost is not None and cost > 0:
                rank = spendable.index(token) if token in spendable else len(spendable)
                found.append((rank, cost, row.pk, Option(place=place, cost=cost)))
    return [option for *_, option in sorted(found, key=lambda entry: entry[:3])]


def _fits(*, wish: PlaceWish, place: Place) -> bool:
    """Say whether a place gives a job as long and as much as is asked for."""
    if wish.max_duration_s is not None and wish.max_duration_s > place.longest_s:
        return False
    most = {resource.id: resource.max for resource in offered_resources(place)}
    return all(amount <= most.get(name, 0) for name, amount in (wish.resources or {}).items())


def offered_resources(place: Place) -> Iterable[Resource]:
    """Return what a place gives one job: an environment's free tier gives less than the rest of it."""
    tier = place.offer.free if place.free else None
    return tier.resources if tier and tier.resources else place.offer.resources


def _cheapest(*, wish: PlaceWish, wallet: Wallet, there: list[Environment]) -> Place:
    options = _options(wish=wish, wallet=wallet, there=there)
    if not options:
        raise InvalidInput(
            "No node that serves these datasets offers a paid environment that fits.",
            field="environment",
            code="no_paid_environment",
        )
    return options[0].place


def _offer(row: Environment) -> EnvironmentOffer:
    return stored_environment(row.raw, dialect=row.node.dialect)


def _chain_of(row: Environment) -> int:
    return row.chain_id or row.node.network.chain_id


def _tokens_taken(*, row: Environment, offer: EnvironmentOffer) -> list[str]:
    """Return the tokens that an environment is paid in, on the chain that its orders are made on."""
    if offer.price_min is not None:
        return [str(offer.fee_token)] if offer.fee_token else []
    return [str(tariff.token) for tariff in offer.tariffs if tariff.chain_id == _chain_of(row)]


def _spendable(*, wallet: Wallet) -> list[str]:
    limits = SpendingLimit.objects.filter(wallet=wallet, per_job_wei__gt=0).order_by("pk")
    return list(limits.values_list("token__address", flat=True))


def checked_resources(
    *, given: Mapping[str, float] | None, place: Place, picked: bool = False
) -> dict[str, float] | None:
    """Check amounts against what the environment gives one job; a node clamps and refuses, we say so before.

    picked: the portal chose the place, as one that fits; a Provider's then gives what it has.
    Raises:
        InvalidInput: its field is "resources".
    """
    if not given:
        return None
    if place.offer.price_min is not None:
        if picked:
            return None
        raise InvalidInput(
            "This environment comes as it is: its resources cannot be chosen.", field="resources"
        )
    offered = {resource.id: resource for resource in offered_resources(place)}
    for name, amount in given.items():
        resource = offered.get(name)
        if resource is None:
            raise InvalidInput(f"The environment has no resource “{name[:40]}”.", field="resources")
        if not resource.min <= amount <= resource.max:
            raise InvalidInput(
                f"The environment gives a job {resource.min:g} to {resource.max:g} of {name}.",
                field="resources",
            )
    return dict(given)
