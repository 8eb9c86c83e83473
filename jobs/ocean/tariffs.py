"""What an environment charges, and what a job there comes to before anybody is asked."""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import ROUND_CEILING, Decimal, InvalidOperation, localcontext
from typing import Any

from jobs.ocean.units import Address, Wei

_MOST_PRICE = Decimal(10) ** 30
_MOST_TARIFFS = 200
_CHAIN = re.compile(r"[0-9]{1,15}")


@dataclass(frozen=True)
class Tariff:
    """What a node takes in one token of one chain: tokens for a unit of a resource and a started minute.

    A resource that is not named costs nothing. Source: recordings 01, exchange 5, and 34.
    """

    chain_id: int
    token: Address
    prices: Mapping[str, Decimal]


def parse_tariffs(fees: Mapping[str, Any]) -> tuple[Tariff, ...]:
    """Read the fees of a node's environment; what cannot be read is left out, as nothing can be paid with it."""
    found: list[Tariff] = []
    for chain_id, offers in fees.items():
        if not _CHAIN.fullmatch(str(chain_id)) or not isinstance(offers, list):
            continue
        for offer in offers[:_MOST_TARIFFS]:
            tariff = _tariff(offer, chain_id=int(chain_id))
            if tariff is not None and len(found) < _MOST_TARIFFS:
                found.append(tariff)
    return tuple(found)


def for_minutes(*, tariff: Tariff, amounts: Mapping[str, Decimal], duration_s: int) -> Decimal:
    """Work out what so much of each resource costs for a time, in tokens; a started minute counts whole."""
    with _counting():
        minutes = -(-duration_s // 60)
        return sum(
            (tariff.prices.get(name, Decimal(0)) * amount * minutes for name, amount in amounts.items()),
            start=Decimal(0),
        )


def for_seconds(*, price_min: Decimal, duration_s: int) -> Decimal:
    """Work out what a time costs at a price for the minute, in tokens, where each second counts."""
    with _counting():
        return price_min * duration_s / 60


def in_wei(amount: Decimal, *, decimals: int) -> Wei:
    """Turn a price into the smallest unit of its token; what is finer is rounded up, as it has to be paid."""
    with _counting():
        return Wei(int(amount.scaleb(decimals).to_integral_value(ROUND_CEILING)))


@contextmanager
def _counting() -> Iterator[None]:
    """Count with a hundred digits; what has more is rounded up, as what is paid may never be less than the price."""
    with localcontext() as context:
        context.prec, context.rounding = 100, ROUND_CEILING
        yield


def _tariff(offer: object, *, chain_id: int) -> Tariff | None:
    if not isinstance(offer, dict) or not isinstance(offer.get("prices"), list):
        return None
    prices: dict[str, Decimal] = {}
    try:
        token = Address(offer["feeToken"])
        for entry in offer["prices"][:_MOST_TARIFFS]:
            prices[str(entry["id"])[:100]] = _price(entry["price"])
    except (KeyError, TypeError, ValueError):
        return None
    return Tariff(chain_id=chain_id, token=token, prices=prices)


def _price(value: object) -> Decimal:
    """Read a number as JavaScript writes it: 0.1 is meant where the nearest fraction of two stands."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError("no price")
    try:
        price = Decimal(str(value))
    except InvalidOperation:
        raise ValueError("no price") from None
    if not price.is_finite() or not 0 <= price <= _MOST_PRICE:
        raise ValueError("no price")
    return price
