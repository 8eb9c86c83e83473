"""What tokens are called and how their amounts are written, remembered from their contracts."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal

from jobs.models import Network, Token
from jobs.ocean import orders
from jobs.ocean.chain import Chain
from jobs.ocean.units import Address, Wei, from_wei, plain

TOKENS_MAX = 200  # of a network: what strangers name is not remembered without end


def unknown(*, network: Network, addresses: Iterable[Address]) -> list[Address]:
    """Return those that are not known yet, as long as there is room for more: for what strangers offer."""
    there = set(Token.objects.filter(network=network).values_list("address", flat=True))
    return sorted(set(addresses) - there)[: max(0, TOKENS_MAX - len(there))]


def learn(*, chain: Chain, network: Network, addresses: Iterable[Address]) -> None:
    """Ask the contracts of those tokens that are not known yet for their symbol and decimals.

    Raises:
        OceanError: from the chain; what was learnt before stays.
    """
    there = set(Token.objects.filter(network=network).values_list("address", flat=True))
    for address in sorted(set(addresses) - there):
        info = orders.token_info(chain, token=address)
        Token.objects.get_or_create(
            network=network,
            address=address,
            defaults={"symbol": info.symbol or "tokens", "decimals": info.decimals},
        )


def known(*, network: Network, address: str) -> Token:
    """Return a token that was learnt. Raises: Token.DoesNotExist."""
    return Token.objects.get(network=network, address=address)


def told(*, network: Network, token: str, amount_wei: Wei | int | Decimal) -> str:
    """Write an amount with its token, such as "2.5 OCEAN"; in the smallest unit where the token is not known."""
    row = Token.objects.filter(network=network, address=token).first()
    if row is None:
        return f"{int(amount_wei)} of the smallest unit of {token}"
    return f"{plain(from_wei(int(amount_wei), decimals=row.decimals))} {row.symbol}"
