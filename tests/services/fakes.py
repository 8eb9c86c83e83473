"""A far side whose answers a test scripts, a clock that a test moves, and what the queue was asked to do."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from django_q.models import OrmQ

from jobs.models import Job
from jobs.ocean.compute import (
    Environment,
    JobReport,
    LogPiece,
    NodeIdentity,
    Parsed,
    ResultEntry,
    StartRequest,
    parse_environments,
)
from jobs.ocean.errors import Rejected, Unreachable
from jobs.ocean.node import OceanNode
from jobs.ocean.signing import Pen, Proof
from jobs.ocean.units import Address
from tests.builders import NOW, RAW_ENVIRONMENT

ENGINE = "0x60962e6d"
OWNER = Address("0xd41c057fd1c78805AAC12B0A94a405c0461A6FBb")  # the wallet of builders.make_wallet
STRANGER = Address("0x70997970C51812dc3A010C7d01b50e0d17dc79C8")


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self, now: datetime = NOW) -> None:
        self.now = now

    def __call__(self) -> datetime:
        """Read the time."""
        return self.now

    def tick(self, seconds: float) -> datetime:
        """Let time pass; return the new time."""
        self.now += timedelta(seconds=seconds)
        return self.now


def lost_answer() -> Unreachable:
    """The answer to a write did not come: it may have happened."""
    return Unreachable(
        "The node did not answer in time.", code="timeout", retryable=True, maybe_happened=True
    )


def not_there() -> Unreachable:
    """Nobody listens at the address: nothing happened."""
    return Unreachable("Nobody answers at the node's address.", code="connection", retryable=True)


def refused(
    code: str, *, retryable: bool = False, maybe_happened: bool = False, retry_after_s: int | None = None
) -> Rejected:
    """The node understood and said no."""
    return Rejected(
        f"The node said no: {code}.",
        code=code,
        retryable=retryable,
        maybe_happened=maybe_happened,
        retry_after_s=retry_after_s,
    )


@dataclass
class Call:
    """A request that reached the node."""

    name: str
    given: dict[str, Any]


@dataclass
class FakeNode:
    """A compute service in memory. `script` holds what comes before the usual answers: errors, values, functions."""

    jobs: list[JobReport] = field(default_factory=list)
    skipped: int = 0
    files: dict[int, bytes] = field(default_factory=dict)
    log: list[LogPiece] = field(default_factory=list)
    offers: Any = field(default_factory=lambda: [RAW_ENVIRONMENT])
    ddos: dict[str, dict[str, Any]] = field(default_factory=dict)
    last_nonce: int = 0
    calls: list[Call] = field(default_factory=list)
    script: dict[str, list[Any]] = field(default_factory=dict)
    admit: Callable[[], None] = lambda: None
    tokens: list[str] = field(default_factory=list)
    capabilities = OceanNode.capabilities

    def will(self, name: str, *steps: Any) -> None:
        """Answer the next calls of this name with these: errors are raised, functions called, values returned."""
        self.script.setdefault(name, []).extend(steps)

    def called(self, name: str) -> list[Call]:
        """Return the calls of one name."""
        return [call for call in self.calls if call.name == name]

    def set_job(self, job: Job, **values: Any) -> JobReport:
        """Let the node list a job of ours, in place of what it said of it before."""
        report = make_report(long_id=job.node_job_id, **values)
        self.jobs = [*(known for known in self.jobs if known.long_id != report.long_id), report]
        return report

    def _answer(self, name: str, usual: Callable[[], Any], **given: Any) -> Any:
        self.admit()
        self.calls.append(Call(name, given))
        steps = self.script.get(name)
        if not steps:
            return usual()
        step = steps.pop(0)
        if isinstance(step, Exception):
            raise step
        return step(**given) if callable(step) else step

    def identify(self) -> NodeIdentity:
        """Say what it is."""
        return self._answer("identify", lambda: NodeIdentity("Ocean-Node", "3.2.0", STRANGER, (8996,)))

    def nonce(self, *, address: Address) -> int:
        """Say the last nonce."""
        return self._answer("nonce", lambda: self.last_nonce, address=address)

    def environments(self) -> Parsed[Environment]:
        """List what it offers."""
        return self._answer("environments", lambda: parse_environments(self.offers))

    def start(self, *, request: StartRequest, proof: Proof) -> JobReport:
        """Start a job and list it."""
        return self._answer("start", lambda: self.accept(request), request=request, proof=proof)

    def accept(self, request: StartRequest, **_: Any) -> JobReport:
        """Take a job in, as an accepted start does."""
        number = len(self.jobs) + 1
        report = make_report(
            long_id=f"{ENGINE}-0x{number:064x}",
            status=10,
            status_text="Pulling algorithm image",
            tag=request.tag,
        )
        self.jobs.append(report)
        return report

    def jobs_of(self, *, owner: Address) -> Parsed[JobReport]:
        """List the owner's jobs."""
        return self._answer(
            "jobs_of",
            lambda: Parsed(
                items=tuple(report for report in self.jobs if report.owner == owner), skipped=self.skipped
            ),
            owner=owner,
        )

    def stop(self, *, job_id: str, proof: Proof) -> JobReport:
        """Note the wish."""
        return self._answer("stop", lambda: make_report(long_id=job_id), job_id=job_id, proof=proof)

    @contextmanager
    def open_result(
        self, *, job_id: str, entry: ResultEntry, proof: Proof, max_bytes: int, total_s: float
    ) -> Iterator[Iterator[bytes]]:
        """Stream a result in two pieces; a scripted list is streamed as it is, and its errors raised in turn."""
        data = self.files.get(entry.index, b"")
        halves = [data[: len(data) // 2], data[len(data) // 2 :]]
        pieces = self._answer(
            "open_result", lambda: halves, job_id=job_id, index=entry.index, proof=proof, max_bytes=max_bytes
        )
        yield _stream(pieces)

    @contextmanager
    def stream_log(
        self, *, job_id: str, proof: Proof, max_bytes: int, total_s: float
    ) -> Iterator[Iterator[LogPiece]]:
        """Stream the log from its first line."""
        pieces = self._answer("stream_log", lambda: self.log, job_id=job_id, proof=proof, max_bytes=max_bytes)
        yield _stream(pieces)

    def create_token(self, *, proof: Pen, valid_until_ms: int | None) -> str:
        """Give a token, and take it from then on."""

        def give() -> str:
            self.tokens.append(f"token-{len(self.called('create_token'))}")
            return self.tokens[-1]

        return self._answer("create_token", give, proof=proof, valid_until_ms=valid_until_ms)

    def invalidate_token(self, *, proof: Pen, token: str) -> None:
        """Take a token no longer."""

        def take() -> None:
            self.tokens = [known for known in self.tokens if known != token]

        self._answer("invalidate_token", take, proof=proof, token=token)

    def get_ddo(self, *, did: str) -> dict[str, Any]:
        """Return an asset's document."""

        def known() -> dict[str, Any]:
            if did not in self.ddos:
                raise refused("unknown_asset")
            return self.ddos[did]

        return self._answer("get_ddo", known, did=did)

    def search_assets(self, *, text: str, kind: str | None, limit: int) -> Parsed[dict[str, Any]]:
        """Find every document, whatever is looked for: a node with Typesense goes by the kind at most."""
        found = tuple(self.ddos.values())[:limit]
        return self._answer(
            "search_assets", lambda: Parsed(items=found, skipped=0), text=text, kind=kind, limit=limit
        )


def _stream(pieces: Any) -> Iterator[Any]:
    for piece in pieces:
        if isinstance(piece, Exception):
            raise piece
        yield piece() if callable(piece) else piece


class FarSides:
    """The nodes of a test by their base URL; stands in for the transport and the client on it."""

    def __init__(self) -> None:
        self.nodes: dict[str, FakeNode] = {}

    def at(self, base_url: str) -> FakeNode:
        """Return the far side at an address."""
        return self.nodes.setdefault(base_url, FakeNode())

    @contextmanager
    def transport(self, base_url: str, *, admit: Callable[[], None], **_: Any) -> Iterator[FakeNode]:
        """Stand in for Transport: count each request as the real one does."""
        node = self.at(base_url)
        node.admit = admit
        yield node

    @staticmethod
    def client(transport: FakeNode) -> FakeNode:
        """Stand in for OceanNode."""
        return transport


def make_report(*, long_id: str, tag: str | None = None, results: Any = (), **values: Any) -> JobReport:
    """Make what a node says of a job; running the algorithm unless told otherwise."""
    defaults: dict[str, Any] = {
        "job_id": long_id.partition("-")[2],
        "long_id": long_id,
        "owner": OWNER,
        "environment_id": RAW_ENVIRONMENT["id"],
        "status": 40,
        "status_text": "Running algorithm",
        "metadata": {"tag": tag} if tag else None,
        "results": results,
    }
    return JobReport.model_validate(defaults | values)


def ended(**values: Any) -> dict[str, Any]:
    """Return the values of a report about a job that ended well, a minute before NOW."""
    return {
        "status": 71,
        "status_text": "Job settling",
        "finished_at": NOW.timestamp() - 60,
        "algo_started_at": NOW.timestamp() - 90,
        "algo_stopped_at": NOW.timestamp() - 70,
        "exit_code": 0,
        "oom_killed": False,
        "max_duration_s": 120,
    } | values


def entry(index: int, name: str, kind: str = "output", size: int | None = None) -> dict[str, Any]:
    """Return one entry of a report's result list, as it is stored in a job's row."""
    return {"index": index, "name": name, "kind": kind, "size": size}


def queued() -> list[tuple[str, tuple[Any, ...]]]:
    """Return what the worker was asked to do: the task's last name and its arguments."""
    return [
        (str(row.task["func"]).rpartition(".")[2], row.task["args"]) for row in OrmQ.objects.order_by("pk")
    ]


def nonce_of(call: Call) -> int:
    """Return the nonce that a signed call carried."""
    proof = call.given["proof"]
    assert isinstance(proof, Pen)
    return proof.nonce
