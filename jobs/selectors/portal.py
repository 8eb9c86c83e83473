"""Reads what surrounds every page: who is asking, their teams, and whether the worker is alive."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db.models import Count, Q, Subquery

from jobs.access import IF_TEAM_LETS, Action, Actor
from jobs.lifecycle import ACTIVE, State
from jobs.models import Membership, Pulse, Team
from jobs.models.teams import Role

WORKER_SILENT_AFTER = timedelta(seconds=30)


@dataclass(frozen=True)
class TeamLink:
    """A team to go to."""

    slug: str
    name: str


@dataclass(frozen=True)
class TeamCard:
    """A team to go to, for whoever is in several. role: the person's."""

    slug: str
    name: str
    role: str
    active_jobs: int
    jobs_needing_attention: int


@dataclass(frozen=True)
class TeamFacts:
    """The team of a page, and what the person may do in it. others: their further teams."""

    id: int
    slug: str
    name: str
    role: str
    may_launch: bool
    may_see_results: bool
    may_edit_catalogue: bool
    may_manage_wallets: bool
    may_manage_members: bool
    may_set_up: bool
    may_read_record: bool
    others: tuple[TeamLink, ...]


@dataclass(frozen=True)
class Chrome:
    """What the frame around a page shows. worker_beat_at: None if no worker ever ran."""

    active_jobs: int
    jobs_needing_attention: int
    worker_alive: bool
    worker_beat_at: datetime | None


def membership(*, user_id: int, name: str, slug: str, origin: str = "") -> tuple[Actor, TeamFacts] | None:
    """Return who the person is in the team, and the team; None for anybody else. origin: where the request came from."""
    rows = list(
        Membership.objects.filter(user_id=user_id).select_related("team").order_by("team__name", "team_id")
    )
    mine = next((row for row in rows if row.team.slug == slug), None)
    if mine is None:
        return None
    actor = Actor(
        user_id=user_id,
        name=name,
        team_id=mine.team_id,
        role=Role(mine.role),
        lets=frozenset(setting for setting in IF_TEAM_LETS.values() if getattr(mine.team, setting)),
        origin=origin,
    )
    others = tuple(TeamLink(slug=r.team.slug, name=r.team.name) for r in rows if r is not mine)
    facts = TeamFacts(
        id=mine.team_id,
        slug=slug,
        name=mine.team.name,
        role=mine.role,
        may_launch=actor.may(Action.LAUNCH),
        may_see_results=actor.may(Action.SEE_RESULTS),
        may_edit_catalogue=actor.may(Action.EDIT_CATALOGUE),
        may_manage_wallets=actor.may(Action.MANAGE_WALLETS),
        may_manage_members=actor.may(Action.MANAGE_MEMBERS),
        may_set_up=actor.may(Action.SET_UP_TEAM),
        may_read_record=actor.may(Action.READ_MONEY_RECORD),
        others=others,
    )
    return actor, facts


def teams_of(*, user_id: int) -> tuple[TeamCard, ...]:
    """Return the person's teams by name; one query."""
    rows = (
        Membership.objects.filter(user_id=user_id)
        .annotate(
            active=Count("team__jobs", filter=Q(team__jobs__state__in=ACTIVE)),
            attention=Count("team__jobs", filter=Q(team__jobs__state=State.NEEDS_ATTENTION)),
        )
        .order_by("team__name", "team_id")
    )
    return tuple(
        TeamCard(slug=slug, name=name, role=role, active_jobs=active, jobs_needing_attention=attention)
        for slug, name, role, active, attention in rows.values_list(
            "team__slug", "team__name", "role", "active", "attention"
        )
    )


def chrome(*, team_id: int, now: datetime) -> Chrome:
    """Return what the frame around the team's pages shows; one query."""
    facts = Team.objects.values(
        active=Count("jobs", filter=Q(jobs__state__in=ACTIVE)),
        attention=Count("jobs", filter=Q(jobs__state=State.NEEDS_ATTENTION)),
        beat_at=Subquery(Pulse.objects.filter(name="pulse").values("beat_at")),
    ).get(pk=team_id)
    beat_at = facts["beat_at"]
    return Chrome(
        active_jobs=facts["active"],
        jobs_needing_attention=facts["attention"],
        worker_alive=beat_at is not None and now - beat_at <= WORKER_SILENT_AFTER,
        worker_beat_at=beat_at,
    )
