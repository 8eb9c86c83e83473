"""Reads one job, with all that its page shows."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import PurePosixPath
from typing import Any
from zlib import crc32

from jobs.access import Action, Actor
from jobs.errors import Missing
from jobs.lifecycle import TERMINAL, State
from jobs.models import Job, JobEvent, JobInput, Result, Transaction, WalletGrant
from jobs.models.jobs import BEFORE_RUNNING
from jobs.ocean.compute import Capabilities
from jobs.selectors import amounts, costs, logs
from jobs.selectors.costs import Costs
from jobs.selectors.failures import UNTOLD, Failure, next_step, place_of, waiting_step
from jobs.selectors.jobs import StateWord, course_of, state_word, underway_sentence, word_of
from jobs.selectors.logs import LogPart
from jobs.selectors.orders import OrdersPart, orders, transactions_of
from jobs.selectors.phases import Seen, Step, current_step, steps, typical
from jobs.selectors.transactions import rows_of

LAST_LINES = 12
SHOWCASED = 2
TYPICAL_OF_JOBS = 20
ALGORITHM_LOG = "algorithmLog"
# Where transactions change under an open page; and where a job has not been sent to a node yet.
_PAYS = frozenset({State.PAYING, State.NEEDS_ATTENTION})
_TOLD_OTHERWISE = frozenset({Result.Status.ARCHIVED, Result.Status.REMOVED})
_SHOWN_SUFFIXES = (
    {".png", ".jpg", ".jpeg", ".gif", ".webp", ".svg"},
    {".csv", ".tsv"},
    {".txt", ".md", ".json", ".log", ".html", ".xml", ".yaml", ".yml"},
)


_NO_LOG = LogPart(lines=(), offset=0, ended=True)


@dataclass(frozen=True)
class Mark:
    """What a page that is already open needs to know: has anything changed since `mark`?

    mark: changes with every change and with every answer of the node; its first part is the job's version, with what its
    transactions have come to while they are on their way.
    """

    mark: str
    version: str
    terminal: bool


@dataclass(frozen=True)
class InputRow:
    """A dataset that went in. userdata: what its publisher asked for, as JSON text."""

    asset_id: int
    name: str
    did: str
    service_id: str
    userdata: str


@dataclass(frozen=True)
class EventRow:
    """One line of the history."""

    at: datetime
    text: str
    by: str


@dataclass(frozen=True)
class ResultRow:
    """A file that came out. size in bytes; kind: in words; trouble: why it is not, or not wholly, here.

    open: it is here, and this person may look at it. sha256: empty for whoever may not: it tells a short content.
    removed_at: when the team's rule removed it.
    """

    id: int
    name: str
    kind: str
    size: int | None
    sha256: str
    here: bool
    open: bool
    removed_at: datetime | None
    trouble: str
    is_log: bool
    packed: bool


@dataclass(frozen=True)
class OwnCode:
    """Code of one's own that a job runs: the code itself or its address, and its container, by name."""

    language: str
    code: str
    url: str
    container: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class JobPage:
    """A job as its page shows it.

    can: what its service's dialect can do. untold: it ended, and the service does not tell how.
    orders: None where nothing is ordered or paid. costs: None where money has nothing to do with it; billed: its service
    takes money for it although it failed or was stopped. needs_price: it is not run again without a look at its price.
    may_rerun: as it is; may_launch: with changes. may_choose: it waits for a person before it was started, and may be
    launched elsewhere. lacks_grant: going on may spend from the wallet, and its use is not granted to this person.
    log_mode: empty for whoever may see no logs.
    algorithm_id: None for code of one's own, which is own_code then.
    removed_at: when the team's rule removed files of it; log_removed_at: when its log was among them.
    """

    id: uuid.UUID
    name: str
    mark: Mark
    state: StateWord
    sentence: str
    may_stop: bool
    stop_asked_at: datetime | None
    may_launch: bool
    may_rerun: bool
    may_share: bool
    needs_price: bool
    needs_decision: bool
    may_go_on: bool
    lacks_grant: bool
    may_give_up: bool
    may_choose: bool
    steps: tuple[Step, ...]
    checked_at: datetime | None
    trouble: str
    queued_since: datetime | None
    queue_wait: timedelta
    can: Capabilities
    untold: bool
    orders: OrdersPart | None
    costs: Costs | None
    billed: bool
    failure: Failure | None
    log: LogPart
    log_mode: str
    log_result_id: int | None
    log_removed_at: datetime | None
    removed_at: datetime | None
    results: tuple[ResultRow, ...]
    showcase: tuple[ResultRow, ...]
    inputs: tuple[InputRow, ...]
    events: tuple[EventRow, ...]
    parameters: str
    container: str
    own_code: OwnCode | None
    algorithm_id: int | None
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
    """Return what tells whether an open page is out of date; one query, one more while transactions may be under way.

    Raises:
        Missing: no such job in this team.
    """
    row = Job.objects.filter(team_id=team_id, pk=job_id).only("version", "report_at", "state").first()
    if row is None:
        raise Missing("There is no such job in this team.")
    shown = ("pk", "status", "tx_hash", "wish", "trouble")
    rows = row.transactions.order_by("pk").only(*shown) if row.state in _PAYS else ()
    return _mark(row, transactions=rows)


def detail(*, actor: Actor, job_id: uuid.UUID, now: datetime) -> JobPage:
    """Return a job with everything its page shows; six queries, two more while it is under way, one for its orders.

    Where it costs something, one more for the names of tokens, and one for its lock in the escrow.

    Raises:
        Missing: no such job in this team.
    """
    related = ("wallet", "node__network", "environment", "algorithm", "launched_by", "rerun_of")
    ordered = [f"algorithm_order__transaction__{name}" for name in ("network", "job")]
    job = Job.objects.filter(team_id=actor.team_id, pk=job_id).select_related(*related, *ordered).first()
    if job is None:
        raise Missing("There is no such job in this team.")
    state = State(job.state)
    can = job.node.can
    word = word_of(job)
    untold = state == State.SUCCEEDED and job.reason == UNTOLD
    inputs = _inputs(job)
    events = list(job.events.select_related("actor").order_by("pk"))
    results = list(job.results.order_by("index", "path", "pk"))
    told = (_result(result, actor=actor) for result in results)
    rows = tuple(sorted(told, key=lambda row: (row.is_log, row.packed)))
    course = course_of(job, **_times(events))
    usual = _usual(job) if word.active else {}
    log, log_mode, log_result = (
        _log(job, results=results, now=now) if actor.may(Action.SEE_LOGS) else (_NO_LOG, "", None)
    )
    paid = transactions_of(job) if can.orders or job.needs_price else []
    known = amounts.names(addresses=costs.tokens_of(job, paid))
    lines = rows_of(paid, actor=actor, known=known, now=now)
    mine = actor.may_stop(owner_id=job.owner_id)
    stoppable = word.active and state != State.COLLECTING
    lacks_grant = _lacks_grant(job, actor=actor) if state == State.NEEDS_ATTENTION else False
    return JobPage(
        id=job.pk,
        name=job.name,
        mark=_mark(job, transactions=paid if state in _PAYS else ()),
        state=word,
        sentence=_sentence(job, word=word, step=current_step(course)),
        may_stop=mine and stoppable and job.cancel_requested_at is None,
        stop_asked_at=job.cancel_requested_at if stoppable else None,
        may_launch=actor.may(Action.LAUNCH),
        may_rerun=actor.may(Action.LAUNCH)
        and (job.algorithm_id is not None or actor.may(Action.LAUNCH_CODE)),
        may_share=actor.may_share(owner_id=job.owner_id),
        needs_price=job.needs_price,
        needs_decision=state == State.NEEDS_ATTENTION,
        may_go_on=state == State.NEEDS_ATTENTION and mine and actor.may(Action.LAUNCH) and not lacks_grant,
        lacks_grant=lacks_grant,
        may_give_up=state == State.NEEDS_ATTENTION and mine,
        may_choose=state == State.NEEDS_ATTENTION
        and mine
        and actor.may(Action.LAUNCH)
        and job.attention_from in BEFORE_RUNNING
        and job.start_sent_at is None
        and not job.node_job_id,
        steps=steps(course=course, usual=usual),
        checked_at=job.report_at if not word.terminal else None,
        trouble=job.trouble if not word.terminal else "",
        queued_since=next((seen.at for seen in course.seen if seen.phase == "queued"), None)
        if word.word == "Queued"
        else None,
        queue_wait=timedelta(seconds=job.queue_wait_s),
        can=can,
        untold=untold,
        orders=orders(job, inputs=inputs, transactions=lines) if can.orders or job.needs_price else None,
        costs=costs.costs(job, transactions=paid, known=known),
        billed=costs.is_billed(job),
        failure=_failure(job, log=log) if untold or state in (State.FAILED, State.NEEDS_ATTENTION) else None,
        log=log,
        log_mode=log_mode,
        log_result_id=log_result,
        log_removed_at=next((r.removed_at for r in results if r.kind == ALGORITHM_LOG), None),
        removed_at=max((r.removed_at for r in rows if r.removed_at), default=None),
        results=rows,
        showcase=_showcase(rows),
        inputs=tuple(_input(row) for row in inputs),
        events=tuple(_event(event) for event in reversed(events)),
        parameters=_json(job.parameters),
        container=_container(job.container or {}),
        algorithm_id=job.algorithm_id,
        own_code=_own_code(job),
        algorithm=job.algorithm_name,
        algorithm_did=job.algorithm.did if job.algorithm else "",
        environment=job.environment.description or job.environment.env_id[:40],
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


def _lacks_grant(job: Job, *, actor: Actor) -> bool:
    if not job.may_spend_yet or actor.user_id is None:
        return False
    return not WalletGrant.objects.filter(wallet_id=job.wallet_id, user_id=actor.user_id).exists()


def _mark(job: Job, *, transactions: Iterable[Transaction]) -> Mark:
    seen = int(job.report_at.timestamp()) if job.report_at else 0
    state = state_word(state=State(job.state), node_status=None)
    paid = [(tx.pk, tx.status, tx.tx_hash, tx.wish, tx.trouble) for tx in transactions]
    version = f"{job.version}-{crc32(repr(paid).encode()):x}" if paid else str(job.version)
    return Mark(mark=f"{version}.{seen}", version=version, terminal=state.terminal)


def _times(events: Iterable[JobEvent]) -> dict[str, Any]:
    seen = []
    reached: dict[str, datetime] = {}
    for event in events:
        if event.kind == JobEvent.Kind.NODE_STATUS and event.data.get("phase"):
            seen.append(Seen(at=event.at, phase=event.data["phase"]))
        if event.kind == JobEvent.Kind.STATE:
            reached[event.after] = event.at
    return {
        "seen": tuple(seen),
        "paid_at": reached.get(State.PAID),
        "collecting_at": reached.get(State.COLLECTING),
    }


def _usual(job: Job) -> dict[str, timedelta]:
    """Return how long steps took the team's last jobs with the same algorithm; two queries."""
    if job.algorithm_id is None:  # two pieces of code have nothing in common
        return {}
    same = Job.objects.filter(team_id=job.team_id, algorithm_id=job.algorithm_id, state=State.SUCCEEDED)
    past = list(
        same.select_related("node")
        .defer("report", "container", "parameters")
        .order_by("-requested_at", "pk")[:TYPICAL_OF_JOBS]
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
    return f"{underway_sentence(job, step=step)}."


def _took(job: Job, *, now: datetime) -> timedelta | None:
    if job.algorithm_started_at is None:
        return None
    return (job.algorithm_stopped_at or job.finished_at or now) - job.algorithm_started_at


def _log(job: Job, *, results: list[Result], now: datetime) -> tuple[LogPart, str, int | None]:
    """Return the log, how it is shown, and the result that it is.

    How: waiting (for the algorithm to run), later (when the job has ended), live, archived or none.
    """
    kept = next((r for r in results if r.kind == ALGORITHM_LOG and r.status == Result.Status.ARCHIVED), None)
    if kept is not None:
        return _read(kept), "archived", kept.pk
    terminal = State(job.state) in TERMINAL
    if not job.node.can.live_logs:
        return _NO_LOG, "none" if terminal else "later", None
    part = logs.live(job_id=job.pk, now=now)
    if terminal:
        return part, "archived" if part.lines else "none", None
    began = job.algorithm_started_at is not None or (job.node_status or 0) >= 40
    return part, "live" if began or part.lines else "waiting", None


def _read(result: Result) -> LogPart:
    try:
        with result.file.open("rb") as stream:
            start = stream.seek(max(0, (result.size or 0) - logs.SHOWN_BYTES))
            return logs.archived(stream.read(logs.SHOWN_BYTES), cut=start > 0)
    except OSError:  # the storage lost the file: the page still works, and the download says it is missing
        return _NO_LOG


def _failure(job: Job, *, log: LogPart) -> Failure:
    shown = [line for line in log.lines if line.text.strip()]
    return Failure(
        sentence=job.message or "The job did not succeed.",
        reason=job.reason,
        lines=tuple(shown[-LAST_LINES:]),
        next=next_step(job.reason) if job.state == State.FAILED else waiting_step(job.reason),
        place=place_of(job.reason),
    )


def _result(result: Result, *, actor: Actor) -> ResultRow:
    kinds = {
        ALGORITHM_LOG: "Algorithm log",
        "imageLog": "Image log",
        "configurationLog": "Configuration log",
        "configrationLog": "Configuration log",  # spelt so by Providers: provider-v4 recording 43
        "publishLog": "Publishing log",
    }
    packed = not result.path and PurePosixPath(result.name).suffix == ".tar"
    here = result.status == Result.Status.ARCHIVED
    may = actor.may(Action.SEE_LOGS if result.is_log else Action.SEE_RESULTS)
    return ResultRow(
        id=result.pk,
        name=result.path or result.name,
        kind=kinds.get(result.kind, "Outputs, packed" if packed else "Output"),
        size=result.size,
        sha256=result.sha256 if may else "",
        here=here,
        open=here and may,
        removed_at=result.removed_at,
        trouble=result.trouble or ("" if result.status in _TOLD_OTHERWISE else "Not fetched yet."),
        is_log=result.is_log,
        packed=packed,
    )


def _showcase(rows: tuple[ResultRow, ...]) -> tuple[ResultRow, ...]:
    """Choose what the page shows at once: the first image and the first table, or else the first text."""
    outputs = [row for row in rows if row.open and row.size and not row.is_log]
    found = [
        next((row for row in outputs if PurePosixPath(row.name).suffix.lower() in suffixes), None)
        for suffixes in _SHOWN_SUFFIXES
    ]
    return tuple(row for row in found if row is not None)[:SHOWCASED]


def _inputs(job: Job) -> list[JobInput]:
    ordered = [f"order__transaction__{name}" for name in ("network", "job")]
    rows = JobInput.objects.filter(job=job).select_related("dataset", *ordered)
    return list(rows.order_by("position"))


def _input(row: JobInput) -> InputRow:
    return InputRow(
        asset_id=row.dataset_id,
        name=row.dataset.name,
        did=row.dataset.did,
        service_id=row.service_id,
        userdata=_json(row.userdata),
    )


def _own_code(job: Job) -> OwnCode | None:
    if job.own_algorithm is None:
        return None
    said = {name: str(job.own_algorithm.get(name) or "") for name in ("language", "code", "url")}
    parts = (
        ("Image", "image"),
        ("Tag", "tag"),
        ("Entry point", "entrypoint"),
        ("Checksum", "checksum"),
    )
    container = tuple((word, str(job.container.get(name) or "")) for word, name in parts)
    return OwnCode(**said, container=tuple(part for part in container if part[1]))


def _json(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False) if value else ""


def _event(event: JobEvent) -> EventRow:
    said = event.message or (
        state_word(state=State(event.after), node_status=None, reason=event.reason).word
        if event.after
        else ""
    )
    if event.kind == JobEvent.Kind.NODE_STATUS:
        said = f"The node says: {event.message or event.data.get('status', '')}"
    elif event.kind == JobEvent.Kind.STATE and event.before:
        word = state_word(state=State(event.after), node_status=None, reason=event.reason).word
        said = f"{word}. {event.message}" if event.message else word
    return EventRow(at=event.at, text=said, by=str(event.actor) if event.actor else "")


def _container(container: dict[str, Any]) -> str:
    image = container.get("image") or ""
    tag = container.get("tag") or ""
    return f"{image}:{tag}" if image and tag else str(image)
