"""Reads jobs for lists: filtered, searched, page by page."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db.models import Exists, OuterRef, Q, QuerySet

from jobs.lifecycle import ACTIVE, TERMINAL, State
from jobs.models import Job, JobInput
from jobs.ocean.verdicts import phase_of
from jobs.selectors import costs
from jobs.selectors.costs import CostLine
from jobs.selectors.failures import UNTOLD
from jobs.selectors.phases import PAYING, SENTENCES, Course, Step, current_step, steps

PAGE_SIZE = 50
VIEWS = {"all": "All", "active": "Active", "attention": "Needs you", "failed": "Failed", "mine": "Mine"}


@dataclass(frozen=True)
class StateWord:
    """How a state is told: kind is run, ok, bad, warn, idle, off or ended (its colour and icon)."""

    kind: str
    word: str
    active: bool
    terminal: bool


@dataclass(frozen=True)
class JobRow:
    """A job in a list. took: how long the algorithm ran or has been running, None if it has not begun.

    cost: None where nothing has to be paid.
    """

    id: uuid.UUID
    name: str
    state: StateWord
    what: str
    told: str
    by: str
    requested_at: datetime
    took: timedelta | None
    cost: CostLine | None
    steps: tuple[Step, ...]


@dataclass(frozen=True)
class JobList:
    """One page of jobs. any_active: whether looking again soon makes sense."""

    rows: tuple[JobRow, ...]
    view: str
    q: str
    number: int
    has_more: bool
    any_active: bool


def listing(*, team_id: int, user_id: int | None, view: str, q: str, number: int, now: datetime) -> JobList:
    """Return one page of the team's jobs, newest first; two queries, two more where jobs cost something.

    view: one of VIEWS, anything else is all of them. q: part of a name.
    """
    view = view if view in VIEWS else "all"
    number = max(1, number)
    found = _search(_filter(Job.objects.filter(team_id=team_id), view=view, user_id=user_id), q=q)
    start = (number - 1) * PAGE_SIZE
    rows = job_rows(found, start=start, count=PAGE_SIZE + 1, now=now)
    return JobList(
        rows=rows[:PAGE_SIZE],
        view=view,
        q=q,
        number=number,
        has_more=len(rows) > PAGE_SIZE,
        any_active=any(row.state.active for row in rows),
    )


def job_rows(found: QuerySet[Job], *, start: int = 0, count: int, now: datetime) -> tuple[JobRow, ...]:
    """Read jobs as rows of a list, newest first; two queries, two more where jobs cost something."""
    related = ("algorithm", "launched_by", "node__network", "environment")
    newest = found.select_related(*related).order_by("-requested_at", "pk")
    large = ("report", "container", "parameters", "environment__raw", "node__said", "algorithm__raw")
    jobs = list(newest.defer(*large)[start : start + count])
    datasets: dict[uuid.UUID, list[str]] = {}
    inputs = JobInput.objects.filter(job__in=[job.pk for job in jobs]).order_by("job_id", "position")
    for job_id, name in inputs.values_list("job_id", "dataset__name"):
        datasets.setdefault(job_id, []).append(name)
    priced = costs.lines(jobs)
    return tuple(
        _row(job, datasets=datasets.get(job.pk, []), cost=priced.get(job.pk), now=now) for job in jobs
    )


def state_word(*, state: State, node_status: int | None, reason: str = "") -> StateWord:
    """Return the word and the colour for a job's state. The node's status 1 is its queue.

    reason: tells a success from an end of which the service does not say how it was.
    """
    words = {
        State.AWAITING_APPROVAL: ("warn", "Waiting for approval"),
        State.REQUESTED: ("idle", "Waiting to start"),
        State.PAYING: ("run", "Ordering"),
        State.PAID: ("run", "Ordered"),
        State.STARTING: ("run", "Starting"),
        State.RUNNING: ("idle", "Queued") if node_status == 1 else ("run", "Running"),
        State.COLLECTING: ("run", "Collecting results"),
        State.SUCCEEDED: ("ended", "Ended") if reason == UNTOLD else ("ok", "Succeeded"),
        State.FAILED: ("bad", "Failed"),
        State.CANCELLED: ("off", "Cancelled"),
        State.NEEDS_ATTENTION: ("warn", "Needs you"),
    }
    kind, word = words[state]
    return StateWord(kind=kind, word=word, active=state in ACTIVE, terminal=state in TERMINAL)


def word_of(job: Job) -> StateWord:
    """Return the word for a job's state; only where there is a queue does the status number tell of it."""
    queue = job.node.can.queue
    return state_word(
        state=State(job.state), node_status=job.node_status if queue else None, reason=job.reason
    )


def underway_sentence(job: Job, *, step: str) -> str:
    """Say what an active job is at, without a full stop."""
    unknown = job.state == State.RUNNING and (step == "accepted" or phase_of(job.node_status or 0) is None)
    if step == "ordering" and not job.free:
        return PAYING
    return (job.node_status_text.strip() or "Accepted by the node") if unknown else SENTENCES[step]


def course_of(job: Job, **more: Any) -> Course:
    """Return the recorded course of a job; `more` adds what stands in its events. The job's node is at hand."""
    can = job.node.can
    return Course(
        state=State(job.state),
        attention_from=job.attention_from,
        node_status=job.node_status,
        first_failure=job.first_failure,
        reason=job.reason,
        requested_at=job.requested_at,
        orders=can.orders or not job.free,
        coarse=not can.queue,
        start_sent=job.start_sent_at is not None,
        paid_at=more.get("paid_at"),
        accepted_at=job.accepted_at,
        algorithm_started_at=job.algorithm_started_at,
        algorithm_stopped_at=job.algorithm_stopped_at,
        collecting_at=more.get("collecting_at"),
        ended_at=job.ended_at,
        seen=more.get("seen", ()),
    )


def _filter(jobs: QuerySet[Job], *, view: str, user_id: int | None) -> QuerySet[Job]:
    match view:
        case "active":
            return jobs.filter(state__in=ACTIVE)
        case "attention":
            return jobs.filter(state=State.NEEDS_ATTENTION)
        case "failed":
            return jobs.filter(state=State.FAILED)
        case "mine":
            return jobs.filter(launched_by_id=user_id)
        case _:
            return jobs


def _search(jobs: QuerySet[Job], *, q: str) -> QuerySet[Job]:
    if not q:
        return jobs
    reads = JobInput.objects.filter(job=OuterRef("pk"), dataset__name__icontains=q)
    return jobs.filter(Q(name__icontains=q) | Q(algorithm__name__icontains=q) | Exists(reads))


def _row(job: Job, *, datasets: list[str], cost: CostLine | None, now: datetime) -> JobRow:
    word = word_of(job)
    course = course_of(job)
    began, stopped = job.algorithm_started_at, job.algorithm_stopped_at
    return JobRow(
        id=job.pk,
        name=job.name,
        state=word,
        what=f"{job.algorithm_name} · {', '.join(datasets)}",
        told=_told(job, word=word, course=course),
        by=str(job.launched_by) if job.launched_by else "",
        requested_at=job.requested_at,
        took=None if began is None else (stopped or job.finished_at or now) - began,
        cost=cost,
        steps=steps(course=course),
    )


def _told(job: Job, *, word: StateWord, course: Course) -> str:
    if not word.active:
        return job.message
    if job.cancel_requested_at is not None:
        return "Stopping"
    return underway_sentence(job, step=current_step(course))
