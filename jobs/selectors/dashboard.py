"""Reads the team's dashboard: what runs, what needs somebody, what came out last, and how the nodes are."""

from __future__ import annotations

import uuid
from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db.models import Count, Max, Q, QuerySet, Sum

from jobs.access import Action, Actor
from jobs.lifecycle import ACTIVE, TERMINAL, State
from jobs.models import Asset, EscrowAccount, Job, Network, Node, Result, Transaction, Wallet
from jobs.selectors.amounts import Amount, names
from jobs.selectors.failures import UNTOLD
from jobs.selectors.jobs import JobRow, job_rows
from jobs.selectors.ledger import Comparison, last_comparison

SHOWN = 6
SPENT_IN = timedelta(days=30)


@dataclass(frozen=True)
class ResultLine:
    """An output that arrived lately."""

    id: int
    job_id: uuid.UUID
    job_name: str
    name: str
    size: int | None
    archived_at: datetime | None


@dataclass(frozen=True)
class NodeLine:
    """How a node is.

    silent: it did not answer when it was last asked. free_room: free jobs that would have started at room_at.
    """

    name: str
    answered_at: datetime | None
    trouble: str
    silent: bool
    environments: int
    free_room: int
    room_at: datetime | None


@dataclass(frozen=True)
class MoneyLine:
    """What jobs took of a token in the last 30 days, and what the wallets have of it in escrows."""

    network: str
    spent: Amount
    available: Amount
    locked: Amount


@dataclass(frozen=True)
class Dashboard:
    """What the dashboard shows.

    untold_count: jobs that ended at a service that does not tell how.
    money: none for a team whose jobs are free. comparison: of the ledger, where it found differences, for who may act.
    has_datasets, has_algorithms, has_wallet: the first steps, True for a team that has launched a job.
    """

    underway: tuple[JobRow, ...]
    attention: tuple[JobRow, ...]
    ended: tuple[JobRow, ...]
    results: tuple[ResultLine, ...]
    nodes: tuple[NodeLine, ...]
    underway_count: int
    attention_count: int
    succeeded_count: int
    untold_count: int
    failed_count: int
    money: tuple[MoneyLine, ...]
    comparison: Comparison | None
    has_jobs: bool
    has_datasets: bool
    has_algorithms: bool
    has_wallet: bool


def overview(*, actor: Actor, now: datetime) -> Dashboard:
    """Return the dashboard of a team; five queries, one more for owners and treasurers, five more where jobs cost money.

    The counts are of all time; the lists are the newest few of each.
    """
    team_id = actor.team_id
    mine = Job.objects.filter(team_id=team_id)
    totals = mine.aggregate(
        all=Count("pk"),
        priced=Count("pk", filter=Q(free=False) | ~Q(most={})),
        underway=Count("pk", filter=Q(state__in=ACTIVE)),
        attention=Count("pk", filter=Q(state=State.NEEDS_ATTENTION)),
        succeeded=Count("pk", filter=Q(state=State.SUCCEEDED) & ~Q(reason=UNTOLD)),
        untold=Count("pk", filter=Q(state=State.SUCCEEDED, reason=UNTOLD)),
        failed=Count("pk", filter=Q(state=State.FAILED)),
    )
    has_jobs = totals["all"] > 0
    rows = _newest(mine, now=now) if has_jobs else ()
    kinds = (
        set(Asset.Kind)
        if has_jobs
        else set(Asset.objects.filter(team_id=team_id).values_list("kind", flat=True).distinct())
    )
    return Dashboard(
        underway=tuple(row for row in rows if row.state.active),
        attention=tuple(row for row in rows if not row.state.active and not row.state.terminal),
        ended=tuple(row for row in rows if row.state.terminal),
        results=_results(team_id=team_id),
        nodes=_nodes(),
        underway_count=totals["underway"],
        attention_count=totals["attention"],
        succeeded_count=totals["succeeded"],
        untold_count=totals["untold"],
        failed_count=totals["failed"],
        money=_money(team_id=team_id, now=now) if totals["priced"] else (),
        comparison=_differing(actor),
        has_jobs=has_jobs,
        has_datasets=Asset.Kind.DATASET in kinds,
        has_algorithms=Asset.Kind.ALGORITHM in kinds,
        has_wallet=has_jobs or Wallet.objects.usable().filter(team_id=team_id).exists(),
    )


def _newest(mine: QuerySet[Job], *, now: datetime) -> tuple[JobRow, ...]:
    """Return the newest few that are under way, that wait for a person, and that have ended, all in two queries."""
    kinds = (ACTIVE, {State.NEEDS_ATTENTION}, TERMINAL)
    shown = Q()
    for states in kinds:
        newest = mine.filter(state__in=states).order_by("-requested_at", "pk")
        shown |= Q(pk__in=newest.values("pk")[:SHOWN])
    return job_rows(mine.filter(shown), count=SHOWN * len(kinds), now=now)


def _differing(actor: Actor) -> Comparison | None:
    found = last_comparison(team_id=actor.team_id) if actor.may(Action.MANAGE_ESCROW) else None
    return found if found and found.differences else None


def _money(*, team_id: int, now: datetime) -> tuple[MoneyLine, ...]:
    """Add up what was paid and charged lately, and what is in escrows; four queries.

    In Python: a database cannot add up amounts that are exact.
    """
    sums: dict[tuple[int, str], list[int]] = defaultdict(lambda: [0, 0, 0])
    paid = Transaction.objects.filter(
        wallet__team_id=team_id, status=Transaction.Status.CONFIRMED, confirmed_at__gt=now - SPENT_IN
    )
    kept = (Transaction.Purpose.DEPOSIT, Transaction.Purpose.WITHDRAWAL)
    for chain, token, wei in paid.exclude(purpose__in=kept).moves("network__chain_id"):
        sums[chain, token][0] += wei
    settled = Job.objects.filter(team_id=team_id, settled_at__gt=now - SPENT_IN, charged_wei__isnull=False)
    shown = (
        "environment__chain_id",
        "node__network__chain_id",
        "payment_token",
        "escrow_need",
        "charged_wei",
    )
    for here, there, token, need, wei in settled.values_list(*shown):
        sums[here or there, (need or {}).get("token", token)][0] += wei or 0
    accounts = EscrowAccount.objects.filter(wallet__team_id=team_id)
    held = ("token__network__chain_id", "token__address", "available_wei", "locked_wei")
    for chain, token, available, locked in accounts.values_list(*held):
        sums[chain, token][1] += available
        sums[chain, token][2] += locked
    known = names(addresses=[token for _chain, token in sums])
    networks = dict(Network.objects.values_list("chain_id", "name")) if len({c for c, _ in sums}) > 1 else {}
    return tuple(
        MoneyLine(networks.get(chain, ""), *(known.amount(chain_id=chain, token=token, wei=w) for w in wei))
        for (chain, token), wei in sorted(sums.items())
        if any(wei)
    )


def _results(*, team_id: int) -> tuple[ResultLine, ...]:
    outputs = Result.objects.filter(
        job__team_id=team_id, kind="output", status=Result.Status.ARCHIVED
    ).exclude(path="", name__endswith=".tar")
    newest = outputs.select_related("job").order_by("-archived_at", "-pk")[:SHOWN]
    return tuple(
        ResultLine(
            id=row.pk,
            job_id=row.job_id,
            job_name=row.job.name,
            name=row.path or row.name,
            size=row.size,
            archived_at=row.archived_at,
        )
        for row in newest
    )


def _nodes() -> tuple[NodeLine, ...]:
    there = Q(environments__gone_at=None)
    rows = Node.objects.annotate(
        places=Count("environments", filter=there),
        room=Sum("environments__free_room", filter=there & Q(environments__has_free_tier=True)),
        room_at=Max("environments__seen_at", filter=there),
    ).order_by("name", "pk")
    return tuple(
        NodeLine(
            name=row["name"],
            answered_at=row["answered_at"],
            trouble=row["trouble"],
            silent=_is_silent(asked_at=row["asked_at"], answered_at=row["answered_at"]),
            environments=row["places"],
            free_room=row["room"] or 0,
            room_at=row["room_at"],
        )
        for row in rows.values("name", "asked_at", "answered_at", "trouble", "places", "room", "room_at")
    )


def _is_silent(*, asked_at: datetime | None, answered_at: datetime | None) -> bool:
    return asked_at is not None and (answered_at is None or answered_at < asked_at)
