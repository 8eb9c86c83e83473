"""The team's wallets and what jobs may spend from them, for their page. Keys are never read here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import Count, F, OuterRef, Q, Subquery
from django.db.models.functions import Coalesce

from jobs.access import Action, Actor
from jobs.models import Job, SpendingLimit, Token, Transaction, Wallet, WalletGrant
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
    """One line of the list. watched: its key is not here, so it signs nothing. limits: without any nothing can be spent.

    last_used_at: when a job was launched with it, or a transaction of it was signed. granted: who may spend from it.
    """

    id: int
    label: str
    address: str
    watched: bool
    added_by: str
    created_at: datetime
    last_used_at: datetime | None
    jobs: int
    disabled_at: datetime | None
    granted: tuple[str, ...]
    limits: tuple[LimitRow, ...]

    @property
    def usable(self) -> bool:
        """Whether a new job may be launched with it."""
        return not self.watched and self.disabled_at is None


@dataclass(frozen=True)
class WalletList:
    """All wallets of the team, those in use first. tokens: those that a limit can be set for, if this person may."""

    rows: tuple[WalletRow, ...]
    tokens: tuple[TokenOption, ...]
    may_manage: bool
    may_limit: bool


def wallets(*, actor: Actor) -> WalletList:
    """List the team's wallets with who added them, when they were last used, their grants and their limits; three queries.

    One more, of the tokens, for those who may set limits.
    """
    may_limit = actor.may(Action.SET_LIMITS)
    return WalletList(
        rows=rows_of(actor=actor),
        tokens=_tokens() if may_limit else (),
        may_manage=actor.may(Action.MANAGE_WALLETS),
        may_limit=may_limit,
    )


def rows_of(*, actor: Actor, wallet_id: int | None = None) -> tuple[WalletRow, ...]:
    """Return the team's wallets, or one of them; three queries. Keys are not read, only whether there is one."""
    limits, granted = _limits(actor), _granted(actor)
    signed = Transaction.objects.filter(wallet=OuterRef("pk"), prepared_at__isnull=False)
    # Subqueries, because grouping would have the database read the keys.
    launched = Job.objects.filter(wallet=OuterRef("pk")).order_by("-requested_at").values("requested_at")[:1]
    counted = Job.objects.filter(wallet=OuterRef("pk")).order_by().values("wallet").annotate(n=Count("pk"))
    rows = Wallet.objects.filter(team_id=actor.team_id)
    if wallet_id is not None:
        rows = rows.filter(pk=wallet_id)
    found = rows.order_by("label", "pk").values(
        "pk",
        "label",
        "address",
        "created_at",
        "disabled_at",
        "created_by",
        first_name=F("created_by__first_name"),
        last_name=F("created_by__last_name"),
        username=F("created_by__username"),
        watched=Q(encrypted_key__isnull=True),
        launched_at=Subquery(launched),
        job_count=Coalesce(Subquery(counted.values("n")), 0),
        signed_at=Subquery(signed.order_by("-prepared_at").values("prepared_at")[:1]),
    )
    listed = tuple(
        WalletRow(
            id=row["pk"],
            label=row["label"],
            address=row["address"],
            watched=bool(row["watched"]),
            added_by=_name(row),
            created_at=row["created_at"],
            last_used_at=max((x for x in (row["launched_at"], row["signed_at"]) if x), default=None),
            jobs=row["job_count"],
            disabled_at=row["disabled_at"],
            granted=tuple(granted.get(row["pk"], ())),
            limits=tuple(limits.get(row["pk"], ())),
        )
        for row in found
    )
    return tuple(sorted(listed, key=lambda row: row.disabled_at is not None))


def _name(row: Mapping[str, Any]) -> str:
    return f"{row['first_name'] or ''} {row['last_name'] or ''}".strip() or row["username"] or ""


def _granted(actor: Actor) -> dict[int, list[str]]:
    found: dict[int, list[str]] = {}
    rows = WalletGrant.objects.filter(wallet__team_id=actor.team_id).select_related("user")
    for row in rows.order_by("user__first_name", "user__username", "pk"):
        found.setdefault(row.wallet_id, []).append(str(row.user))
    return found


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
