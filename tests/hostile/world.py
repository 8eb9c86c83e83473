"""A portal with two nodes: one that a test lets misbehave, one that is honest and must never notice."""

from __future__ import annotations

import io
import json
import logging
import re
import tarfile
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from django.apps import apps
from django.db import connection, models
from django.utils.module_loading import import_string
from django_q.models import OrmQ

from jobs.lifecycle import State
from jobs.models import Environment, Job, Node, Result, Team, Wallet
from jobs.services import running
from tests import builders
from tests.hostile.far_side import FarSide
from tests.services.fakes import OWNER, STRANGER, Clock

LOG = b"\x01\0\0\0\0\0\0\x06hello\n"
STORED_NAME = re.compile(r"results/\d+/[0-9a-f-]{36}/\d+-\d+(\.[A-Za-z0-9]{1,7})?")
POSTGRES_INTEGERS = {
    "IntegerField": (-(2**31), 2**31 - 1),
    "PositiveIntegerField": (0, 2**31 - 1),
    "PositiveSmallIntegerField": (0, 2**15 - 1),
    "PositiveBigIntegerField": (0, 2**63 - 1),
}


def tar(**files: bytes) -> bytes:
    """Pack files as a node does, below outputs/."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(f"outputs/{name}")
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


OUTPUTS = tar(answer=b"42\n")


def entry(index: int, name: str, kind: str = "output", size: Any = None) -> dict[str, Any]:
    """Describe one result as a node does."""
    return {"filename": name, "filesize": size, "type": kind, "index": index}


RESULTS = [
    entry(0, "algorithm.log", "algorithmLog", len(LOG)),
    entry(1, "outputs.tar", "output", len(OUTPUTS)),
]


def wire_job(job: Job, **values: Any) -> dict[str, Any]:
    """Describe a job as the owner's status answer does; ended well unless told otherwise.

    Source: recording 10, exchange 8.
    """
    end = builders.NOW.timestamp()
    return {
        "owner": OWNER,
        "jobId": job.node_job_id.partition("-")[2],
        "dateCreated": str(end - 200),
        "dateFinished": str(end - 10),
        "status": 71,
        "statusText": "Job settling",
        "results": RESULTS,
        "environment": builders.RAW_ENVIRONMENT["id"],
        "stopRequested": False,
        "algoStartTimestamp": str(end - 30),
        "algoStopTimestamp": str(end - 20),
        "maxJobDuration": 120,
        "metadata": {"tag": str(job.tag)},
        "terminationDetails": {"exitCode": 0, "OOMKilled": False},
    } | values


def running_now(job: Job, **values: Any) -> dict[str, Any]:
    """Describe a job that runs its algorithm."""
    now: dict[str, Any] = {
        "dateFinished": None,
        "status": 40,
        "statusText": "Running algorithm ",
        "results": [],
    }
    return wire_job(job, **(now | values))


@dataclass
class World:
    """victim: a job at the bad node; other: one at the good node, which ends well whatever the bad one does."""

    bad: FarSide
    good: FarSide
    team: Team
    wallet: Wallet
    node: Node
    victim: Job
    other: Job
    clock: Clock
    folder: Path
    crashes: list[str] = field(default_factory=list)

    def job(self, **values: Any) -> Job:
        """Make another job at the bad node, due now."""
        given: dict[str, Any] = {"state": State.RUNNING, "next_check_at": self.clock()} | values
        return builders.make_job(team=self.team, node=self.node, **given)

    def run(self, *, beats: int = 3, step_s: float = 20, until: Callable[[], bool] = lambda: False) -> None:
        """Let the worker beat and do what is due, as the queue would: a task that raises ends, and the next one runs."""
        for _ in range(beats):
            running.pulse(clock=self.clock, holder="the test")
            while (row := OrmQ.objects.order_by("pk").first()) is not None:
                task = row.task
                row.delete()
                try:
                    import_string(task["func"])(*task["args"])
                except Exception as error:
                    self.crashes.append(f"{task['func']}: {error!r}")
            if until():
                return
            self.clock.tick(step_s)

    def said(self) -> str:
        """Return all that the portal tells people about the job at the bad node and about that node."""
        self.victim.refresh_from_db()
        self.node.refresh_from_db()
        results = Result.objects.filter(job=self.victim).values_list("trouble", flat=True)
        return "\n".join((self.victim.message, self.victim.trouble, self.node.trouble, *results))

    def assert_sound(self, caplog: pytest.LogCaptureFixture) -> None:
        """Check what must be true whatever a far side does."""
        assert self.crashes == []
        assert not Job.objects.filter(reason="internal_error").exists()
        assert [r.getMessage() for r in caplog.records if r.exc_info or r.levelno >= logging.ERROR] == []
        assert "signature=" not in caplog.text
        assert_rows_fit_any_database()
        self.assert_nothing_outside_storage()

    def assert_other_ended_well(self) -> None:
        """Check that the honest node's job was refreshed and collected in the same run."""
        self.other.refresh_from_db()
        assert (self.other.state, self.other.exit_code, self.other.trouble) == (State.SUCCEEDED, 0, "")
        assert self.archived(self.other) == {"outputs.tar": OUTPUTS, "answer": b"42\n"}

    def archived(self, job: Job) -> dict[str, bytes]:
        """Return what is archived of a job, by name."""
        kept = {}
        for result in Result.objects.filter(job=job, status=Result.Status.ARCHIVED):
            with result.file.open("rb") as stream:
                kept[result.path or result.name] = stream.read()
        return kept

    def assert_nothing_outside_storage(self) -> None:
        """Check that every file that was written has a name of ours, in the storage."""
        storage = self.folder / "storage"
        assert {p.name for p in self.folder.iterdir()} <= {"storage"}
        written = [p.relative_to(storage).as_posix() for p in storage.rglob("*") if not p.is_dir()]
        assert [name for name in written if not STORED_NAME.fullmatch(name)] == []
        assert not any(p.is_symlink() for p in storage.rglob("*"))


def assert_rows_fit_any_database() -> None:
    """Check every stored value against what PostgreSQL takes: SQLite keeps texts and numbers of any size."""
    for model in apps.get_app_config("jobs").get_models():
        for row in model._default_manager.all():
            for column in model._meta.concrete_fields:
                value = getattr(row, column.attname)
                assert _fits(column, value), f"{model.__name__}.{column.name}: {str(value)[:100]!r}"
    if connection.vendor == "sqlite":
        connection.check_constraints()


def _fits(column: models.Field[Any, Any], value: Any) -> bool:
    if value is None:
        return True
    if isinstance(column, models.JSONField):
        text = json.dumps(value)
        return "\\u0000" not in text and not re.search(r"\b(NaN|Infinity)\b(?=[,\]}])", text)
    if isinstance(value, str):
        return "\0" not in value and (
            not column.max_length or len(value.encode().decode()) <= column.max_length
        )
    low, high = POSTGRES_INTEGERS.get(column.get_internal_type(), (value, value))
    return bool(low <= value <= high) if isinstance(value, int | datetime) else True


def make_world(*, bad: FarSide, good: FarSide, clock: Clock, folder: Path) -> World:
    """Set both nodes up with a job each; honest is what they say until a test changes it."""
    team = builders.make_team()
    wallet = builders.make_wallet(team=team)
    assert wallet.address == OWNER != STRANGER

    def node_at(name: str, side: FarSide) -> Node:
        node = builders.make_node(name=name, base_url=side.url, requests_per_minute=10_000)
        builders.make_environment(node=node)
        return node

    node, well = node_at("Bad node", bad), node_at("Good node", good)
    job: dict[str, Any] = {"team": team, "state": State.RUNNING, "next_check_at": clock()}
    # Made first and asked first: what goes wrong with it has every chance to harm the other.
    victim = builders.make_job(node=node, environment=Environment.objects.get(node=node), **job)
    other = builders.make_job(node=well, environment=Environment.objects.get(node=well), **job)
    for side, mine in ((bad, victim), (good, other)):
        side.listed = [wire_job(mine)]
        side.files = {0: LOG, 1: OUTPUTS}
    good.listed = [wire_job(other, results=RESULTS[1:])]
    return World(
        bad=bad,
        good=good,
        team=team,
        wallet=wallet,
        node=node,
        victim=victim,
        other=other,
        clock=clock,
        folder=folder,
    )
