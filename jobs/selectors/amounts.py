"""Turns what rows keep in a token's smallest unit into amounts that pages show, with the names that tokens have."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal

from jobs.models import Token
from jobs.ocean.units import from_wei


@dataclass(frozen=True)
class Amount:
    """So much of a token. exact: in tokens; in the smallest unit, where symbol is "", as nobody knows its decimals."""

    wei: int
    exact: Decimal
    symbol: str
    token: str


@dataclass(frozen=True)
class Names:
    """What tokens are called, by chain and address. A stranger's words."""

    known: dict[tuple[int, str], tuple[str, int]]

    def amount(self, *, chain_id: int, token: str, wei: int) -> Amount:
        """Name an amount of a token."""
        symbol, decimals = self.known.get((chain_id, token), ("", 0))
        return Amount(wei=int(wei), exact=from_wei(int(wei), decimals=decimals), symbol=symbol, token=token)


def names(*, addresses: Iterable[str]) -> Names:
    """Return what these tokens are called; one query, none for no token."""
    wanted = {address for address in addresses if address}
    if not wanted:
        return Names(known={})
    rows = Token.objects.filter(address__in=wanted).values_list(
        "network__chain_id", "address", "symbol", "decimals"
    )
    return Names(
        known={(chain, address): (symbol or "tokens", decimals) for chain, address, symbol, decimals in rows}
    )
