"""The team's wallets, for their page. Keys are never read here."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from django.db.models import Count, Max

from jobs.access import Action, Actor
from jobs.models import Wallet


@dataclass(frozen=True)
class WalletRow:
    """One line of the list."""

    id: int
    label: str
    address: str
    added_by: str
    created_at: datetime
    last_used_at: datetime | None
    jobs: int
    disabled_at: datetime | None


@dataclass(frozen=True)
class WalletList:
    """All wallets of the team, those in use first."""

    rows: tuple[WalletRow, ...]
    may_manage: bool


def wallets(*, actor: Actor) -> WalletList:
    """List the team's wallets with who added them and when a job last used them."""
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
        )
        for row in rows
    )
    usable_first = sorted(listed, key=lambda row: row.disabled_at is not None)
    return WalletList(rows=tuple(usable_first), may_manage=actor.may(Action.MANAGE_WALLETS))
