"""The tokens that a wallet has at nodes, for its page. The tokens themselves are never read here."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from django.db.models import Q

from jobs.access import Action, Actor, require
from jobs.errors import Missing
from jobs.models import Node, NodeToken, Wallet
from jobs.ocean.compute import CAPABILITIES

GIVES_TOKENS = [dialect for dialect, can in CAPABILITIES.items() if can.tokens]


@dataclass(frozen=True)
class NodeTokenRow:
    """A wallet's token at a node.

    phase: "in use", "asked for" (there is none yet, or none any more), or "given back" (under way).
    renewed_at: when that is next tried. former_until: until when the one before may be valid, which the node has not taken
    back yet. unknown_until: until when one may be valid whose answer was lost.
    """

    id: int
    node: str
    phase: str
    expires_at: datetime | None
    renewed_at: datetime | None
    former_until: datetime | None
    unknown_until: datetime | None
    trouble: str


@dataclass(frozen=True)
class NodeOption:
    """A node that a token can be asked for at."""

    id: int
    name: str


@dataclass(frozen=True)
class NodeTokens:
    """A wallet's tokens. nodes: where another one can be had, for whoever may; why_not: why this wallet can have none."""

    wallet_id: int
    rows: tuple[NodeTokenRow, ...]
    nodes: tuple[NodeOption, ...]
    may_manage: bool
    why_not: str


def of_wallet(*, actor: Actor, wallet_id: int, now: datetime) -> NodeTokens:
    """Return the tokens of a wallet of the team; two queries, one more for whoever may ask for one.

    Raises:
        NotAllowed
        Missing: no such wallet in this team.
    """
    require(actor, Action.SEE)
    wallet = Wallet.objects.filter(pk=wallet_id, team_id=actor.team_id).values("disabled_at").first()
    if wallet is None:
        raise Missing("There is no such wallet in this team.")
    rows = NodeToken.objects.filter(wallet_id=wallet_id).select_related("node")
    listed = tuple(
        _row(row, has_token=bool(row.has_token), now=now)
        for row in rows.defer("encrypted_token", "encrypted_former")
        .annotate(has_token=Q(encrypted_token__isnull=False))
        .order_by("node__name", "pk")
    )
    may_manage = actor.may(Action.MANAGE_WALLETS)
    why_not = ""
    if wallet["disabled_at"] is not None:
        why_not = "A disabled wallet has no tokens."
    elif Wallet.objects.filter(pk=wallet_id, encrypted_key=None).exists():
        why_not = "The portal only watches this wallet, so there is no key to ask for a token with."
    return NodeTokens(
        wallet_id=wallet_id,
        rows=listed,
        nodes=_nodes(wallet_id) if may_manage and not why_not else (),
        may_manage=may_manage,
        why_not=why_not,
    )


def _row(row: NodeToken, *, has_token: bool, now: datetime) -> NodeTokenRow:
    valid = has_token and row.expires_at is not None and row.expires_at > now
    return NodeTokenRow(
        id=row.pk,
        node=row.node.name,
        phase="given back" if not row.wanted else "in use" if valid else "asked for",
        expires_at=row.expires_at if valid else None,
        renewed_at=row.next_try_at,
        former_until=_still(row.former_until, now=now),
        unknown_until=_still(row.unknown_until, now=now),
        trouble=row.trouble,
    )


def _still(until: datetime | None, *, now: datetime) -> datetime | None:
    return until if until is not None and until > now else None


def _nodes(wallet_id: int) -> tuple[NodeOption, ...]:
    there = NodeToken.objects.filter(wallet_id=wallet_id, wanted=True).values("node")
    rows = Node.objects.filter(dialect__in=GIVES_TOKENS).exclude(pk__in=there).order_by("name", "pk")
    return tuple(NodeOption(id=pk, name=name) for pk, name in rows.values_list("pk", "name"))
