"""Turns what is recorded of a job into the steps that people see, and how long each took.

A step begins when the portal saw it, so its length is as exact as the portal looked. How long the algorithm
ran is known by the clock of the node. What was not seen has no length.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from statistics import median

from jobs.lifecycle import TERMINAL, State
from jobs.ocean.verdicts import phase_of

STEPS = ("ordering", "accepted", "queued", "image", "data", "running", "publishing", "archived")
LABELS = {
    "ordering": "Ordering",
    "accepted": "Accepted",
    "queued": "Queued",
    "image": "Image",
    "data": "Data",
    "running": "Running",
    "publishing": "Publishing",
    "archived": "Archived",
}
SENTENCES = {
    "ordering": "Ordering the datasets and the algorithm on the chain",
    "accepted": "Waiting for the node to take the job",
    "queued": "Queued at the node",
    "image": "Fetching the image",
    "data": "Fetching data and algorithm",
    "running": "Running the algorithm",
    "publishing": "The node stores the results",
    "archived": "Fetching the results into the portal",
}
PAYING = "Ordering and paying on the chain"  # the first of these, where a start costs something
_STEP_OF_PHASE = {
    "queued": "queued",
    "image": "image",
    "volumes": "data",
    "data": "data",
    "running": "running",
    "publishing": "publishing",
    "done": "publishing",
}
TYPICAL_FROM = 3  # fewer jobs say nothing about what is usual


@dataclass(frozen=True)
class Seen:
    """One status that the node was seen in, by the portal's clock."""

    at: datetime
    phase: str


@dataclass(frozen=True)
class Course:
    """What is recorded of one job's way.

    orders: its service wants orders on the chain first. start_sent: the start was sent, so all was ordered.
    coarse: its service tells neither of a queue nor of images: its first numbers only say that it has the job.
    """

    state: State
    attention_from: str
    node_status: int | None
    first_failure: int | None
    reason: str
    requested_at: datetime
    accepted_at: datetime | None
    algorithm_started_at: datetime | None
    algorithm_stopped_at: datetime | None
    collecting_at: datetime | None
    ended_at: datetime | None
    orders: bool = False
    start_sent: bool = False
    coarse: bool = False
    paid_at: datetime | None = None
    seen: tuple[Seen, ...] = ()


@dataclass(frozen=True)
class Step:
    """A step as a page shows it.

    mark: done, now, bad (the job ended here), warn (it waits here), skipped or "" (to come).
    took: None when not known; since: set for the step that is under way; usual: None when not known.
    """

    key: str
    label: str
    mark: str
    took: timedelta | None = None
    since: datetime | None = None
    usual: timedelta | None = None


def steps(*, course: Course, usual: Mapping[str, timedelta] | None = None) -> tuple[Step, ...]:
    """Return the steps of a job in order: "Ordering" only where there are orders, "Queued" only if that happened."""
    spans = _spans(course)
    current = current_step(course)
    position = STEPS.index(current)
    ended = course.state in TERMINAL
    broken = course.state in (State.FAILED, State.CANCELLED, State.NEEDS_ATTENTION)
    out: list[Step] = []
    for place, key in enumerate(STEPS):
        begun, took = spans.get(key, (None, None))
        if key == "queued" and begun is None and current != "queued":
            continue
        if (key == "ordering" and not course.orders) or (key == "image" and course.coarse):
            continue
        if place == position and (broken or not ended):
            mark = "warn" if _waits(course) else "bad" if broken else "now"
        elif place < position or course.state == State.SUCCEEDED:
            mark = "done" if begun is not None or _must_have_been(key, course) else "skipped"
        elif ended and begun is not None:
            mark = "done"
        else:
            mark = "skipped" if ended else ""
        under_way = mark == "now"
        out.append(
            Step(
                key=key,
                label=LABELS[key],
                mark=mark,
                took=None if under_way else took,
                since=(begun or course.requested_at) if under_way else None,
                usual=(usual or {}).get(key) if mark in ("now", "") else None,
            )
        )
    return tuple(out)


def current_step(course: Course) -> str:
    """Name the step that a job is in, or that it ended in."""
    state = State(course.attention_from) if course.attention_from and _waits(course) else course.state
    if state == State.SUCCEEDED or state == State.COLLECTING:
        return "archived"
    if course.accepted_at is None:
        return "ordering" if _orders_still(course, state) else "accepted"
    if state in TERMINAL and course.first_failure is not None:
        return _step(phase_of(course.first_failure), course) or "running"
    if state in TERMINAL and course.algorithm_started_at is not None:
        return "running"
    here = _step(phase_of(course.node_status), course) if course.node_status is not None else None
    last = next((step for seen in reversed(course.seen) if (step := _step(seen.phase, course))), None)
    if state in TERMINAL:  # the node's last numbers only say that it is over
        before = [
            s
            for seen in course.seen
            if (s := _step(seen.phase, course)) and seen.phase not in ("publishing", "done")
        ]
        return before[-1] if before else "accepted"
    return here or last or "accepted"


def typical(courses: Iterable[Course]) -> dict[str, timedelta]:
    """Return the median length of each step over jobs; those known from fewer than three are left out."""
    known: dict[str, list[float]] = {}
    for course in courses:
        for key, (_begun, took) in _spans(course).items():
            if took is not None:
                known.setdefault(key, []).append(took.total_seconds())
    return {
        key: timedelta(seconds=median(values)) for key, values in known.items() if len(values) >= TYPICAL_FROM
    }


def _spans(course: Course) -> dict[str, tuple[datetime, timedelta | None]]:
    """Return when each step was first seen, and how long it took if its end was seen too."""
    begins: dict[str, datetime] = {}
    if course.orders:
        begins["ordering"] = course.requested_at
    asked_at = course.paid_at if course.orders else course.requested_at
    if asked_at is not None:
        begins["accepted"] = asked_at
    for seen in course.seen:
        step = _step(seen.phase, course)
        if step and step not in begins:
            begins[step] = seen.at
    if course.collecting_at is not None:
        begins["archived"] = course.collecting_at
    ends: dict[str, datetime | None] = {}
    ordered: Sequence[str] = [key for key in STEPS if key in begins]
    for key, following in pairwise(ordered):
        ends[key] = begins[following] if _adjoin(key, following) else None
    ends["accepted"] = course.accepted_at
    if ordered:
        ends[ordered[-1]] = course.ended_at
    if course.algorithm_started_at is not None:
        begins["running"] = course.algorithm_started_at
        ends["running"] = course.algorithm_stopped_at
    return {key: (begun, _between(begun, ends.get(key))) for key, begun in begins.items()}


def _adjoin(key: str, following: str) -> bool:
    # Where a step that was never seen lies between, the end of the first is not known. Being queued is the
    # exception, because most jobs never are.
    between = STEPS[STEPS.index(key) + 1 : STEPS.index(following)]
    return all(step == "queued" for step in between)


def _orders_still(course: Course, state: State) -> bool:
    """Say whether a job that nobody accepted yet is, or ended, before everything was ordered."""
    ordered = course.start_sent or course.paid_at is not None or state in (State.PAID, State.STARTING)
    return course.orders and not ordered


def _between(begun: datetime, ended: datetime | None) -> timedelta | None:
    return None if ended is None else max(timedelta(0), ended - begun)


def _step(phase: str | None, course: Course) -> str | None:
    # Source of what a coarse service's 1 and 10 mean: README of the provider-v4 recordings, "Status numbers".
    if course.coarse and phase in ("queued", "image"):
        return None
    return _STEP_OF_PHASE.get(phase or "")


def _waits(course: Course) -> bool:
    return course.state == State.NEEDS_ATTENTION


def _must_have_been(key: str, course: Course) -> bool:
    """Say whether a step that nobody saw must have happened: a later one was seen."""
    return key != "queued" and (
        key in ("ordering", "accepted")
        or course.state == State.SUCCEEDED
        or course.algorithm_started_at is not None
        or _past(key, course)
    )


def _past(key: str, course: Course) -> bool:
    return any(
        (step := _step(seen.phase, course)) and STEPS.index(step) > STEPS.index(key) for seen in course.seen
    )
