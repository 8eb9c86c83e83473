"""What a wallet holds on each network, as it was last read, and whether that is enough for gas."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from jobs.access import Action, Actor, require
from jobs.errors import Missing
from jobs.models import Balance, BalanceLook, Wallet
from jobs.ocean.units import from_wei
from jobs.selectors.amounts import Amount

# The rule of the warning: less than so many transactions could be paid for, each with as much gas as the portal's prices
# count on for a call (`outlays.GAS_GUESS`), at the most that a unit of gas was offered for at the last look.
ENOUGH_FOR = 10
GAS_OF_ONE = 300_000
SOON = timedelta(minutes=2)  # a look that was claimed is on its way for that long


@dataclass(frozen=True)
class NetworkBalances:
    """What a wallet holds on one network. coin: of the network's own, which gas is paid in; None: never read.

    gas: "none", "low", or "" where there is enough or nothing is known of the price. transactions: how many the coin pays
    for, about; None where nothing is known of the price. empty: how many known tokens the wallet has nothing of.
    looked_at: how old all of this is; being_read: it is read anew within two minutes.
    """

    network: str
    coin: Decimal | None
    gas: str
    transactions: int | None
    tokens: tuple[Amount, ...]
    empty: int
    looked_at: datetime | None
    being_read: bool
    trouble: str


@dataclass(frozen=True)
class WalletBalances:
    """All that is known of a wallet's balances. busy: looking at the page again soon makes sense."""

    wallet_id: int
    networks: tuple[NetworkBalances, ...]
    busy: bool

    @property
    def any_gas_warning(self) -> bool:
        """Whether the coin runs out on one of the networks."""
        return any(network.gas for network in self.networks)


def of_wallet(*, actor: Actor, wallet_id: int, now: datetime) -> WalletBalances:
    """Return what a wallet of the team holds; two queries, a third where nothing was ever read.

    Raises:
        NotAllowed
        Missing: no such wallet in this team.
    """
    found = of_wallets(actor=actor, now=now, wallet_id=wallet_id).get(wallet_id)
    if found is not None:
        return found
    if not Wallet.objects.filter(pk=wallet_id, team_id=actor.team_id).exists():
        raise Missing("There is no such wallet in this team.")
    return WalletBalances(wallet_id=wallet_id, networks=(), busy=False)


def of_wallets(*, actor: Actor, now: datetime, wallet_id: int | None = None) -> dict[int, WalletBalances]:
    """Return what the team's wallets hold, by wallet; two queries. What was never looked for is left out.

    wallet_id: this one alone. Raises: NotAllowed.
    """
    require(actor, Action.SEE)
    looks = BalanceLook.objects.filter(wallet__team_id=actor.team_id)
    if wallet_id is not None:
        looks = looks.filter(wallet_id=wallet_id)
    rows = list(looks.select_related("network").order_by("wallet_id", "network__name", "pk"))
    held: dict[int, list[Balance]] = {}
    for balance in (
        Balance.objects.filter(look__in=rows).select_related("token").order_by("token__symbol", "pk")
    ):
        held.setdefault(balance.look_id, []).append(balance)
    networks: dict[int, list[NetworkBalances]] = {}
    for row in rows:
        networks.setdefault(row.wallet_id, []).append(_network(row, held.get(row.pk, []), now=now))
    return {
        wallet: WalletBalances(
            wallet_id=wallet, networks=tuple(found), busy=any(one.being_read for one in found)
        )
        for wallet, found in networks.items()
    }


def _network(row: BalanceLook, held: list[Balance], *, now: datetime) -> NetworkBalances:
    coin_wei = next((int(balance.amount_wei) for balance in held if balance.token is None), None)
    tokens = [balance for balance in held if balance.token is not None]
    gas, transactions = _gas(coin_wei=coin_wei, price_wei=row.gas_price_wei)
    return NetworkBalances(
        network=row.network.name,
        coin=None if coin_wei is None else from_wei(coin_wei),
        gas=gas,
        transactions=transactions,
        tokens=tuple(_amount(balance) for balance in tokens if balance.amount_wei),
        empty=sum(not balance.amount_wei for balance in tokens),
        looked_at=row.looked_at,
        being_read=row.next_look_at is not None and row.next_look_at <= now + SOON,
        trouble=row.trouble,
    )


def _gas(*, coin_wei: int | None, price_wei: int | None) -> tuple[str, int | None]:
    """Return the warning, and for how many transactions the coin is enough."""
    if coin_wei is None:
        return "", None
    if coin_wei == 0:
        return "none", 0
    if not price_wei:
        return "", None
    transactions = coin_wei // (GAS_OF_ONE * int(price_wei))
    return ("low" if transactions < ENOUGH_FOR else ""), transactions


def _amount(balance: Balance) -> Amount:
    token = balance.token
    assert token is not None
    wei = int(balance.amount_wei)
    return Amount(
        wei=wei,
        exact=from_wei(wei, decimals=token.decimals),
        symbol=token.symbol or "tokens",
        token=token.address,
    )
