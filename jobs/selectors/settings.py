"""The rules that a team has set itself, and what they can be set to, for their page."""

from __future__ import annotations

from dataclasses import dataclass

from jobs.access import Action, Actor
from jobs.models import Environment, Node, Team, Wallet


@dataclass(frozen=True)
class Rules:
    """A team's settings. results_kept_days: None keeps archived results for ever; defaults are numbers of their rows."""

    name: str
    default_wallet: int | None
    default_node: int | None
    default_environment: int | None
    results_kept_days: int | None
    launchers_run_code: bool
    viewers_see_results: bool


@dataclass(frozen=True)
class Option:
    """Something to choose. usable: False for a former choice that is passed over now."""

    id: int
    name: str
    usable: bool = True


@dataclass(frozen=True)
class PlaceOption:
    """An environment to choose, at a node. usable: False once its node no longer lists it."""

    id: int
    node: str
    name: str
    usable: bool


@dataclass(frozen=True)
class SettingsPage:
    """What the rules are, and what the defaults are called; the lists are only for who may change them."""

    rules: Rules
    wallet: Option | None
    node: str
    environment: PlaceOption | None
    wallets: tuple[Option, ...]
    nodes: tuple[Option, ...]
    environments: tuple[PlaceOption, ...]
    may_change: bool


def settings(*, actor: Actor) -> SettingsPage:
    """Return a team's rules for anybody who sees the team; two queries, and two more for who may change them."""
    chosen = ("default_wallet", "default_node", "default_environment__node")
    team = Team.objects.select_related(*chosen).defer("default_wallet__encrypted_key").get(pk=actor.team_id)
    wallets = _wallets(team_id=team.pk)
    may_change = actor.may(Action.SET_UP_TEAM)
    nodes = _nodes() if may_change else ()
    places = _places() if may_change else ()
    # A former choice stays among the options: to save the page must not take it away unasked.
    mine = team.default_wallet if team.default_wallet and team.default_wallet.team_id == team.pk else None
    wallet = _chosen_wallet(mine, usable=wallets)
    place = _place(team.default_environment) if team.default_environment else None
    return SettingsPage(
        rules=rules_of(team),
        wallet=wallet,
        node=team.default_node.name if team.default_node else "",
        environment=place,
        wallets=(*wallets, *([wallet] if wallet and not wallet.usable else [])) if may_change else (),
        nodes=nodes,
        environments=(*places, *([place] if place and not place.usable else [])) if may_change else (),
        may_change=may_change,
    )


def rules_of(team: Team) -> Rules:
    """Return the rules that are in a team's row."""
    return Rules(
        name=team.name,
        default_wallet=team.default_wallet_id,
        default_node=team.default_node_id,
        default_environment=team.default_environment_id,
        results_kept_days=team.results_kept_days,
        launchers_run_code=team.launchers_run_code,
        viewers_see_results=team.viewers_see_results,
    )


def _wallets(*, team_id: int) -> tuple[Option, ...]:
    rows = Wallet.objects.usable().filter(team_id=team_id)
    return tuple(
        Option(id=pk, name=label) for pk, label in rows.order_by("label", "pk").values_list("pk", "label")
    )


def _chosen_wallet(wallet: Wallet | None, *, usable: tuple[Option, ...]) -> Option | None:
    if wallet is None:
        return None
    return Option(id=wallet.pk, name=wallet.label, usable=wallet.pk in {option.id for option in usable})


def _nodes() -> tuple[Option, ...]:
    return tuple(
        Option(id=pk, name=name) for pk, name in Node.objects.order_by("name", "pk").values_list("pk", "name")
    )


def _places() -> tuple[PlaceOption, ...]:
    rows = Environment.objects.filter(gone_at=None).select_related("node").defer("raw", "node__said")
    return tuple(_place(row) for row in rows.order_by("node__name", "chain_id", "pk"))


def _place(row: Environment) -> PlaceOption:
    chain = f", chain {row.chain_id}" if row.chain_id else ""
    return PlaceOption(
        id=row.pk,
        node=row.node.name,
        name=f"{row.description or row.env_id[:40]}{chain}",
        usable=row.gone_at is None,
    )
