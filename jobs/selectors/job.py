"""Reads one job, with all that its page shows."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import PurePosixPath
from typing import Any

from jobs.access import Action, Actor
from jobs.errors import Missing
from jobs.lifecycle import State
from jobs.models import Job, JobEvent, JobInput, Result
from jobs.selectors import logs
from jobs.selectors.jobs import StateWord, course_of, state_word
from jobs.selectors.logs import LogLine, LogPart
from jobs.selectors.phases import SENTENCES, Seen, Step, current_step, steps, typical

LAST_LINES = 12
SHOWCASED = 2
TYPICAL_OF_JOBS = 20
ALGORITHM_LOG = "algorithmLog"
# What to do next, by the reason that a job ended for; beside the buttons to run it again.
NEXT = {
    "queue_expired": "Run it again when the environment is less busy, or let it wait longer in the queue.",
    "busy": "Run it again with a queue wait, so that the node keeps it until there is room.",
    "image_pull": "Ask the algorithm's publisher whether the image is still there under this name.",
    "image_build": "Ask the algorithm's publisher; the image log below says what went wrong.",
    "data_provisioning": "Ask the dataset's publisher whether the file is there; see the configuration log.",
    "algorithm_provisioning": "Ask the algorithm's publisher; the configuration log says why.",
    "exit_code": "The last lines of the log usually say why. Then correct the parameters or the data.",
    "oom": "Use a smaller dataset, or an environment that gives a job more memory.",
    "time_limit": "Run it again with a longer duration, if the environment allows one.",
    "disk_quota": "Let the algorithm write less, or use an environment that gives a job more disk.",
    "never_ended": "Tell the node's operator: the job may still run there.",
    "given_up": "",
}
_SHOWN_SUFFIXES = (
    {".png", ".jpg", ".jpeg", ".gif", ".webp", ".svg"},
    {".csv", ".tsv"},
    {".txt", ".md", ".json", ".log", ".html", ".xml", ".yaml", ".yml"},
)
_NEXT_OTHERWISE = "Run it again; if it fails the same way, the node's operator may know more."


@dataclass(frozen=True)
class Mark:
    """What a page that is already open needs to know: has anything changed since `mark`?

    mark: grows with every change and with every answer of the node; its first part is the job's version.
    """

    mark: str
    version: str
    terminal: bool


@dataclass(frozen=True)
class InputRow:
    """A dataset that went in."""

    asset_id: int
    name: str
    did: str
    service_id: str


@dataclass(frozen=True)
class EventRow:
    """One line of the history."""

    at: datetime
    text: str
    by: str


@dataclass(frozen=True)
class ResultRow:
    """A file that came out. size in bytes; kind: in words; trouble: why it is not, or not wholly, here."""

    id: int
    name: str
    kind: str
    size: int | None
    sha256: str
    here: bool
    trouble: str
    is_log: bool
    packed: bool


@dataclass(frozen=True)
class Failure:
    """What happened, what the algorithm said last, and what to do."""

    sentence: str
    reason: str
    lines: tuple[LogLine, ...]
    next: str


@dataclass(frozen=True)
class JobPage:
    """A job as its page shows it."""

    id: uuid.UUID
    name: str
    mark: Mark
    state: StateWord
    sentence: str
    may_stop: bool
    stop_asked_at: datetime | None
    may_launch: bool
    needs_decision: bool
    may_decide: bool
    steps: tuple[Step, ...]
    checked_at: datetime | None
    trouble: str
    queued_since: datetime | None
    queue_wait: timedelta
    failure: Failure | None
    log: LogPart
    log_mode: str
    log_result_id: int | None
    results: tuple[ResultRow, ...]
    showcase: tuple[ResultRow, ...]
    inputs: tuple[InputRow, ...]
    events: tuple[EventRow, ...]
    parameters: str
    container: str
    algorithm_id: int
    algorithm: str
    algorithm_did: str
    environment: str
    environment_id: str
    node: str
    wallet: str
    wallet_address: str
    launched_by: str
    requested_at: datetime
    ended_at: datetime | None
    took: timedelta | None
    max_duration: timedelta
    exit_code: int | None
    tag: str
    node_job_id: str
    node_expires_at: datetime | None
    rerun_of: uuid.UUID | None
    rerun_of_name: str


def mark(*, team_id: int, job_id: uuid.UUID) -> Mark:
    """Return what tells whether an open page is out of date; one query.

    Raises:
        Missing: no such job in this team.
    """
    row = Job.objects.filter(team_id=team_id, pk=job_id).only("version", "report_at", "state").first()
    if row is None:
        raise Missing("There is no such job in this team.")
    return _mark(row)


def detail(*, actor: Actor, job_id: uuid.UUID, now: datetime) -> JobPage:
    """Return a job with everything its page shows; six queries, two more while it is under way.

    Raises:
        Missing: no such job in this team.
    """
    related = ("wallet", "node", "environment", "algorithm", "launched_by", "rerun_of")
    job = Job.objects.filter(team_id=actor.team_id, pk=job_id).select_related(*related).first()
    if job is None:
        raise Missing("There is no such job in this team.")
    state = State(job.state)
    word = state_word(state=state, node_status=job.node_status)
    events = list(job.events.select_related("actor").order_by("pk"))
    results = list(job.results.order_by("index", "path", "pk"))
    rows = tuple(sorted((_result(result) for result in results), key=lambda row: (row.is_log, row.packed)))
    course = course_of(job, **_times(events))
    usual = _usual(job) if word.active else {}
    log, log_mode, log_result = _log(job, results=results, now=now)
    mine = actor.may_stop(launched_by_id=job.launched_by_id)
    stoppable = word.active and state != State.COLLECTING
    return JobPage(
        id=job.pk,
        name=job.name,
        mark=_mark(job),
        state=word,
        sentence=_sentence(job, word=word, step=current_step(course)),
        may_stop=mine and stoppable and job.cancel_requested_at is None,
        stop_asked_at=job.cancel_requested_at if stoppable else None,
        may_launch=actor.may(Action.LAUNCH),
        needs_decision=state == State.NEEDS_ATTENTION,
        may_decide=state == State.NEEDS_ATTENTION and mine and actor.may(Action.LAUNCH),
        steps=steps(course=course, usual=usual),
        checked_at=job.report_at if not word.terminal else None,
        trouble=job.trouble if not word.terminal else "",
        queued_since=next((seen.at for seen in course.seen if seen.phase == "queued"), None)
        if word.word == "Queued"
        else None,
        queue_wait=timedelta(seconds=job.queue_wait_s),
        failure=_failure(job, log=log) if state in (State.FAILED, State.NEEDS_ATTENTION) else None,
        log=log,
        log_mode=log_mode,
        log_result_id=log_result,
        results=rows,
        showcase=_showcase(rows),
        inputs=tuple(_inputs(job)),
        events=tuple(_event(event) for event in reversed(events)),
        parameters=json.dumps(job.parameters, indent=2, ensure_ascii=False) if job.parameters else "",
        container=_container(job.container or {}),
        algorithm_id=job.algorithm_id,
        algorithm=job.algorithm.name,
        algorithm_did=job.algorithm.did,
        environment=job.environment.description or "Environment",
        environment_id=job.environment.env_id,
        node=job.node.name,
        wallet=job.wallet.label,
        wallet_address=job.wallet.address,
        launched_by=str(job.launched_by) if job.launched_by else "the command line",
        requested_at=job.requested_at,
        ended_at=job.ended_at,
        took=_took(job, now=now),
        max_duration=timedelta(seconds=job.max_duration_s),
        exit_code=job.exit_code,
        tag=str(job.tag),
        node_job_id=job.node_job_id,
        node_expires_at=job.node_expires_at,
        rerun_of=job.rerun_of_id,
        rerun_of_name=job.rerun_of.name if job.rerun_of else "",
    )


def _mark(job: Job) -> Mark:
    seen = int(job.report_at.timestamp()) if job.report_at else 0
    state = state_word(state=State(job.state), node_status=None)
    return Mark(mark=f"{job.version}.{seen}", version=str(job.version), terminal=state.terminal)


def _times(events: Iterable[JobEvent]) -> dict[str, Any]:
    seen = []
    collecting_at = None
    for event in events:
        if event.kind == JobEvent.Kind.NODE_STATUS and event.data.get("phase"):
            seen.append(Seen(at=event.at, phase=event.data["phase"]))
        if event.kind == JobEvent.Kind.STATE and event.after == State.COLLECTING:
            collecting_at = event.at
    return {"seen": tuple(seen), "collecting_at": collecting_at}


def _usual(job: Job) -> dict[str, timedelta]:
    """Return how long steps took the team's last jobs with the same algorithm; two queries."""
    same = Job.objects.filter(team_id=job.team_id, algorithm_id=job.algorithm_id, state=State.SUCCEEDED)
    past = list(
        same.defer("report", "container", "parameters").order_by("-requested_at", "pk")[:TYPICAL_OF_JOBS]
    )
    if not past:
        return {}
    of: dict[uuid.UUID, list[JobEvent]] = {}
    kinds = (JobEvent.Kind.NODE_STATUS, JobEvent.Kind.STATE)
    for event in JobEvent.objects.filter(job__in=[p.pk for p in past], kind__in=kinds).order_by("pk"):
        of.setdefault(event.job_id, []).append(event)
    return typical(course_of(p, **_times(of.get(p.pk, []))) for p in past)


def _sentence(job: Job, *, word: StateWord, step: str) -> str:
    if not word.active:
        return job.message
    return f"{SENTENCES[step]}."


def _took(job: Job, *, now: datetime) -> timedelta | None:
    if job.algorithm_started_at is None:
        return None
    return (job.algorithm_stopped_at or job.finished_at or now) - job.algorithm_started_at


def _log(job: Job, *, results: list[Result], now: datetime) -> tuple[LogPart, str, int | None]:
    """Return the log, how it is shown (waiting, live, archived or none), and the result that it is."""
    kept = next((r for r in results if r.kind == ALGORITHM_LOG and r.status == Result.Status.ARCHIVED), None)
    if kept is not None:
        return _read(kept), "archived", kept.pk
    part = logs.live(job_id=job.pk, now=now)
    word = state_word(state=State(job.state), node_status=None)
    if word.terminal:
        return part, "archived" if part.lines else "none", None
    began = job.algorithm_started_at is not None or (job.node_status or 0) >= 40
    return part, "live" if began or part.lines else "waiting", None


def _read(result: Result) -> LogPart:
    try:
        with result.file.open("rb") as stream:
            start = stream.seek(max(0, (result.size or 0) - logs.SHOWN_BYTES))
            return logs.archived(stream.read(logs.SHOWN_BYTES), cut=start > 0)
    except OSError:  # the storage lost the file: the page still works, and the download says it is missing
        return LogPart(lines=(), offset=0, ended=True)


def _failure(job: Job, *, log: LogPart) -> Failure:
    shown = [line for line in log.lines if line.text.strip()]
    return Failure(
        sentence=job.message or "The job did not succeed.",
        reason=job.reason,
        lines=tuple(shown[-LAST_LINES:]),
        next=NEXT.get(job.reason, _NEXT_OTHERWISE) if job.state == State.FAILED else "",
    )


def _result(result: Result) -> ResultRow:
    kinds = {
        ALGORITHM_LOG: "Algorithm log",
        "imageLog": "Image log",
        "configurationLog": "Configuration log",
        "publishLog": "Publishing log",
    }
    packed = not result.path and PurePosixPath(result.name).suffix == ".tar"
    return ResultRow(
        id=result.pk,
        name=result.path or result.name,
        kind=kinds.get(result.kind, "Outputs, packed" if packed else "Output"),
        size=result.size,
        sha256=result.sha256,
        here=result.status == Result.Status.ARCHIVED,
        trouble=result.trouble or ("" if result.status == Result.Status.ARCHIVED else "Not fetched yet."),
        is_log=result.kind in kinds,
        packed=packed,
    )


def _showcase(rows: tuple[ResultRow, ...]) -> tuple[ResultRow, ...]:
    """Choose what the page shows at once: the first image and the first table, or else the first text."""
    outputs = [row for row in rows if row.here and row.size and not row.is_log]
    found = [
        next((row for row in outputs if PurePosixPath(row.name).suffix.lower() in suffixes), None)
        for suffixes in _SHOWN_SUFFIXES
    ]
    return tuple(row for row in found if row is not None)[:SHOWCASED]


def _inputs(job: Job) -> Iterable[InputRow]:
    for row in JobInput.objects.filter(job=job).select_related("dataset").order_by("position"):
        yield InputRow(
            asset_id=row.dataset_id, name=row.dataset.name, did=row.dataset.did, service_id=row.service_id
        )


def _event(event: JobEvent) -> EventRow:
    said = event.message or (
        state_word(state=State(event.after), node_status=None).word if event.after else ""
    )
    if event.kind == JobEvent.Kind.NODE_STATUS:
        said = f"The node says: {event.message or event.data.get('status', '')}"
    elif event.kind == JobEvent.Kind.STATE and event.before:
        word = state_word(state=State(event.after), node_status=None).word
        said = f"{word}. {event.message}" if event.message else word
    return EventRow(at=event.at, text=said, by=str(event.actor) if event.actor else "")


def _container(container: dict[str, Any]) -> str:
    image = container.get("image") or ""
    tag = container.get("tag") or ""
    return f"{image}:{tag}" if image and tag else str(image)
