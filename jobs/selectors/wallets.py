"""The team's wallets and what jobs may spend from them, for their page. Keys are never read here."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from django.db.models import Count, Max

from jobs.access import Action, Actor
from jobs.models import SpendingLimit, Token, Wallet
from jobs.ocean.units import from_wei
from jobs.selectors.amounts import Amount


@dataclass(frozen=True)
class LimitRow:
    """The most of a token that one job may spend. set_by: "" where that person is no longer known."""

    amount: Amount
    network: str
    set_by: str
    set_at: datetime


@dataclass(frozen=True)
class TokenOption:
    """A token that a limit can be set for. name: its symbol, network and shortened address: symbols are anybody's."""

    id: int
    name: str


@dataclass(frozen=True)
class WalletRow:
    """One line of the list. limits: none means that nothing can be spent."""

    id: int
    label: str
    address: str
    added_by: str
    created_at: datetime
    last_used_at: datetime | None
    jobs: int
    disabled_at: datetime | None
    limits: tuple[LimitRow, ...]


@dataclass(frozen=True)
class WalletList:
    """All wallets of the team, those in use first. tokens: those that a limit can be set for, if this person may."""

    rows: tuple[WalletRow, ...]
    tokens: tuple[TokenOption, ...]
    may_manage: bool
    may_limit: bool


def wallets(*, actor: Actor) -> WalletList:
    """List the team's wallets with who added them, when a job last used them, and their limits; two queries.

    One more, of the tokens, for those who may set limits.
    """
    limits = _limits(actor)
    may_limit = actor.may(Action.SET_LIMITS)
    rows = (
        Wallet.objects.filter(team_id=actor.team_id)
        .select_related("created_by")
        .defer("encrypted_key")
        .annotate(last_used_at=Max("jobs__requested_at"), job_count=Count("jobs"))
        .order_by("disabled_at", "label", "pk")
    )
    listed = tuple(
        WalletRow(
            id=row.pk,
            label=row.label,
            address=row.address,
            added_by=str(row.created_by) if row.created_by else "",
            created_at=row.created_at,
            last_used_at=row.last_used_at,
            jobs=row.job_count,
            disabled_at=row.disabled_at,
            limits=tuple(limits.get(row.pk, ())),
        )
        for row in rows
    )
    usable_first = sorted(listed, key=lambda row: row.disabled_at is not None)
    return WalletList(
        rows=tuple(usable_first),
        tokens=_tokens() if may_limit else (),
        may_manage=actor.may(Action.MANAGE_WALLETS),
        may_limit=may_limit,
    )


def _limits(actor: Actor) -> dict[int, list[LimitRow]]:
    found: dict[int, list[LimitRow]] = {}
    rows = SpendingLimit.objects.filter(wallet__team_id=actor.team_id)
    for row in rows.select_related("token__network", "set_by").order_by("token__symbol", "pk"):
        token = row.token
        amount = Amount(
            wei=int(row.per_job_wei),
            exact=from_wei(int(row.per_job_wei), decimals=token.decimals),
            symbol=token.symbol or "tokens",
            token=token.address,
        )
        found.setdefault(row.wallet_id, []).append(
            LimitRow(
                amount=amount,
                network=token.network.name,
                set_by=str(row.set_by) if row.set_by else "",
                set_at=row.set_at,
            )
        )
    return found


def _tokens() -> tuple[TokenOption, ...]:
    rows = Token.objects.select_related("network").order_by("network__name", "symbol", "pk")
    return tuple(
        TokenOption(
            id=row.pk,
            name=f"{row.symbol or 'tokens'} on {row.network.name} ({row.address[:6]}…{row.address[-4:]})",
        )
        for row in rows
    )
