"""One wallet as its page shows it: what it is, who may spend from it, and what this person may do about it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from jobs.access import ALLOWED, Action, Actor
from jobs.errors import Missing
from jobs.models import Membership, WalletGrant
from jobs.models.teams import Role
from jobs.selectors.portal import TeamLink
from jobs.selectors.wallets import WalletRow, rows_of


@dataclass(frozen=True)
class GrantRow:
    """A person who may spend from the wallet. counts: their role launches what costs money; role: "" for no member."""

    user_id: int
    name: str
    role: str
    counts: bool
    granted_by: str
    granted_at: datetime


@dataclass(frozen=True)
class Member:
    """A member who can be granted the wallet."""

    id: int
    name: str
    role: str


@dataclass(frozen=True)
class WalletPage:
    """A wallet. grantable: whom this person can grant it. teams: the other ones that they own, to hand it to."""

    row: WalletRow
    grants: tuple[GrantRow, ...]
    grantable: tuple[Member, ...]
    teams: tuple[TeamLink, ...]
    may_manage: bool
    may_grant: bool
    may_limit: bool
    may_hand_over: bool


def wallet(*, actor: Actor, wallet_id: int) -> WalletPage:
    """Return a wallet with everything its page shows; five queries, one more for who may hand it over.

    Raises:
        Missing: no such wallet in this team.
    """
    found = rows_of(actor=actor, wallet_id=wallet_id)
    if not found:
        raise Missing("There is no such wallet in this team.")
    row = found[0]
    members = list(
        Membership.objects.filter(team_id=actor.team_id)
        .select_related("user")
        .order_by("user__first_name", "user__username", "pk")
    )
    grants = _grants(wallet_id=row.id, roles={member.user_id: member.role for member in members})
    may_grant = actor.may(Action.GRANT_WALLETS)
    may_hand_over = actor.may(Action.HAND_WALLETS_OVER) and not row.watched
    has = {grant.user_id for grant in grants}
    return WalletPage(
        row=row,
        grants=grants,
        grantable=tuple(
            Member(id=member.user_id, name=str(member.user), role=member.role)
            for member in members
            if may_grant and row.usable and _spends(member.role) and member.user_id not in has
        ),
        teams=_owned(actor) if may_hand_over else (),
        may_manage=actor.may(Action.MANAGE_WALLETS),
        may_grant=may_grant,
        may_limit=actor.may(Action.SET_LIMITS),
        may_hand_over=may_hand_over,
    )


def _grants(*, wallet_id: int, roles: dict[int, str]) -> tuple[GrantRow, ...]:
    rows = WalletGrant.objects.filter(wallet_id=wallet_id).select_related("user", "granted_by")
    return tuple(
        GrantRow(
            user_id=row.user_id,
            name=str(row.user),
            role=roles.get(row.user_id, ""),
            counts=_spends(roles.get(row.user_id, "")),
            granted_by=str(row.granted_by) if row.granted_by else "",
            granted_at=row.granted_at,
        )
        for row in rows.order_by("user__first_name", "user__username", "pk")
    )


def _spends(role: str) -> bool:
    return role in ALLOWED[Action.LAUNCH_PAID]


def _owned(actor: Actor) -> tuple[TeamLink, ...]:
    if actor.user_id is None:
        return ()
    rows = Membership.objects.filter(user_id=actor.user_id, role=Role.OWNER).exclude(team_id=actor.team_id)
    return tuple(
        TeamLink(slug=slug, name=name)
        for slug, name in rows.order_by("team__name", "team_id").values_list("team__slug", "team__name")
    )
