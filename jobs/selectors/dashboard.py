"""Reads the team's dashboard: what runs, what needs somebody, what came out last, and how the nodes are."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import datetime

from django.db.models import Count, Max, Q, QuerySet, Sum

from jobs.lifecycle import ACTIVE, TERMINAL, State
from jobs.models import Asset, Job, Node, Result, Wallet
from jobs.selectors.failures import UNTOLD
from jobs.selectors.jobs import JobRow, job_rows

SHOWN = 6


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
class Dashboard:
    """What the dashboard shows.

    untold_count: jobs that ended at a service that does not tell how.
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
    has_jobs: bool
    has_datasets: bool
    has_algorithms: bool
    has_wallet: bool


def overview(*, team_id: int, now: datetime) -> Dashboard:
    """Return the dashboard of a team; five queries.

    The counts are of all time; the lists are the newest few of each.
    """
    mine = Job.objects.filter(team_id=team_id)
    totals = mine.aggregate(
        all=Count("pk"),
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
        has_jobs=has_jobs,
        has_datasets=Asset.Kind.DATASET in kinds,
        has_algorithms=Asset.Kind.ALGORITHM in kinds,
        has_wallet=has_jobs or Wallet.objects.filter(team_id=team_id, disabled_at=None).exists(),
    )


def _newest(mine: QuerySet[Job], *, now: datetime) -> tuple[JobRow, ...]:
    """Return the newest few that are under way, that wait for a person, and that have ended, all in two queries."""
    kinds = (ACTIVE, {State.NEEDS_ATTENTION}, TERMINAL)
    shown = Q()
    for states in kinds:
        newest = mine.filter(state__in=states).order_by("-requested_at", "pk")
        shown |= Q(pk__in=newest.values("pk")[:SHOWN])
    return job_rows(mine.filter(shown), count=SHOWN * len(kinds), now=now)


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
