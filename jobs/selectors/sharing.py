"""Reads links to people outside: for the team that made them, and what they show to whoever opens them."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import datetime, timedelta

from jobs.access import Action, Actor
from jobs.errors import Missing, NotAllowed
from jobs.lifecycle import State
from jobs.models import Job, Result, ShareLink
from jobs.selectors.jobs import StateWord, word_of


@dataclass(frozen=True)
class LinkRow:
    """A link that was made. what: the result that it leads to, empty for the job's page. kind, word: how it stands.

    opens_max: None for any number of times. alive: it can be opened, or who has opened it may still look.
    """

    id: int
    label: str
    what: str
    made_by: str
    created_at: datetime
    expires_at: datetime
    revoked_at: datetime | None
    opens: int
    opens_max: int | None
    last_opened_at: datetime | None
    kind: str
    word: str
    alive: bool
    may_revoke: bool


@dataclass(frozen=True)
class ShareBoard:
    """The links of a job. choices: what a new one can lead to beside the job's page, ids and names."""

    job_id: uuid.UUID
    job_name: str
    rows: tuple[LinkRow, ...]
    choices: tuple[tuple[int, str], ...]


@dataclass(frozen=True)
class Door:
    """What a link tells before it is opened: who shares something, and nothing of what."""

    team: str


@dataclass(frozen=True)
class SharedResult:
    """A file that can be fetched by a link. size in bytes; here: False with why in `trouble`."""

    id: int
    name: str
    size: int | None
    sha256: str
    here: bool
    trouble: str


@dataclass(frozen=True)
class SharedPage:
    """What a link shows once it is opened. one: it leads to a single result, and tells of the job no more than its name.

    took: how long the algorithm ran. until: when the link expires.
    """

    team: str
    job_name: str
    one: bool
    state: StateWord
    requested_at: datetime
    ended_at: datetime | None
    took: timedelta | None
    algorithm: str
    datasets: tuple[str, ...]
    results: tuple[SharedResult, ...]
    until: datetime


def board(*, actor: Actor, job_id: uuid.UUID, now: datetime) -> ShareBoard:
    """Return a job's links, newest first, for whoever may make one; three queries.

    Raises:
        Missing, NotAllowed
    """
    job = Job.objects.filter(team_id=actor.team_id, pk=job_id).first()
    if job is None:
        raise Missing("There is no such job in this team.")
    if not actor.may_share(owner_id=job.owner_id):
        raise NotAllowed(
            f"Your role in this team is {actor.role}: you may not share this job with people outside. "
            "Ask who launched it, or an admin."
        )
    rows = job.share_links.select_related("created_by", "result").order_by("-created_at", "-pk")
    outputs = job.results.filter(status=Result.Status.ARCHIVED).order_by("index", "path", "pk")
    return ShareBoard(
        job_id=job.pk,
        job_name=job.name,
        rows=tuple(_row(row, job=job, actor=actor, now=now) for row in rows),
        choices=tuple((output.pk, str(output)) for output in outputs if not output.is_log),
    )


def door(*, token: str, now: datetime) -> Door | None:
    """Return what is behind a link that can be opened, as far as it tells; None for every other. One query."""
    link = ShareLink.objects.openable(now=now).select_related("job__team").by_token(token).first()
    return Door(team=link.job.team.name) if link is not None else None


def shared(*, token: str, now: datetime) -> SharedPage | None:
    """Return what a link shows to somebody who has opened it; None when it is over. Three queries.

    Who may look is told by the team that made the link: whether its own viewers see results makes no difference here.
    """
    related = ("job__team", "job__node", "job__algorithm")
    found = ShareLink.objects.alive(now=now).select_related(*related)
    link = found.by_token(token).first()
    if link is None:
        return None
    job = link.job
    outputs = job.results.order_by("index", "path", "pk")
    if link.result_id is not None:
        outputs = outputs.filter(pk=link.result_id)
    return SharedPage(
        team=job.team.name,
        job_name=job.name,
        one=link.result_id is not None,
        state=_word(job),
        requested_at=job.requested_at,
        ended_at=job.ended_at,
        took=_took(job),
        algorithm=job.algorithm_name,
        datasets=tuple(job.inputs.order_by("position").values_list("dataset__name", flat=True)),
        results=tuple(_result(output) for output in outputs if not output.is_log),
        until=link.expires_at,
    )


def _row(row: ShareLink, *, job: Job, actor: Actor, now: datetime) -> LinkRow:
    mine = actor.user_id is not None and actor.user_id in (row.created_by_id, job.owner_id)
    alive = row.revoked_at is None and row.expires_at > now
    kind, word = ("ok", "Open")
    if row.revoked_at is not None:
        kind, word = ("off", "Revoked")
    elif not alive:
        kind, word = ("off", "Expired")
    elif row.opens_max is not None and row.opens >= row.opens_max:
        kind, word = ("idle", "Used up")
    return LinkRow(
        id=row.pk,
        label=row.label,
        what=str(row.result) if row.result is not None else "",
        made_by=str(row.created_by) if row.created_by else "",
        created_at=row.created_at,
        expires_at=row.expires_at,
        revoked_at=row.revoked_at,
        opens=row.opens,
        opens_max=row.opens_max,
        last_opened_at=row.last_opened_at,
        kind=kind,
        word=word,
        alive=alive,
        may_revoke=alive and ((mine and actor.may(Action.SHARE_OWN)) or actor.may(Action.REVOKE_ANY_LINK)),
    )


def _word(job: Job) -> StateWord:
    """Return the job's state for people outside, who are not those that are needed."""
    word = word_of(job)
    if job.state == State.NEEDS_ATTENTION:
        return StateWord(
            kind=word.kind, word="Waits for the team", active=word.active, terminal=word.terminal
        )
    return word


def _took(job: Job) -> timedelta | None:
    ended = job.algorithm_stopped_at or job.finished_at
    if job.algorithm_started_at is None or ended is None:
        return None
    return ended - job.algorithm_started_at


def _result(output: Result) -> SharedResult:
    here = output.status == Result.Status.ARCHIVED
    trouble = (
        "The team no longer keeps this file."
        if output.status == Result.Status.REMOVED
        else "This file is not here yet."
    )
    return SharedResult(
        id=output.pk,
        name=str(output),
        size=output.size,
        sha256=output.sha256,
        here=here,
        trouble="" if here else trouble,
    )
