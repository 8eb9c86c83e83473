"""The world of two nodes, in which the client's deadlines pass quickly."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from jobs import tasks
from jobs.services import gateway
from tests.hostile.far_side import FarSide, serving
from tests.hostile.world import World, make_world
from tests.services.fakes import Clock

SPEED = 40  # so many seconds pass for the client's deadlines in one of ours


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the client's deadlines and pauses pass quickly: services give the transport the real clock."""
    passing = SimpleNamespace(
        monotonic=lambda: time.monotonic() * SPEED, sleep=lambda s: time.sleep(s / SPEED)
    )
    monkeypatch.setattr(gateway, "time", passing)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The portal's clock. The tasks are the edge that reads the real one."""
    clock = Clock()
    monkeypatch.setattr(tasks, "clock", clock)
    return clock


@pytest.fixture
def bad() -> Iterator[FarSide]:
    """The node that misbehaves."""
    with serving() as side:
        yield side


@pytest.fixture
def good() -> Iterator[FarSide]:
    """The node that does not."""
    with serving() as side:
        yield side


@pytest.fixture
def world(db: None, bad: FarSide, good: FarSide, clock: Clock, tmp_path: Path) -> World:
    """Both nodes with a job each."""
    return make_world(bad=bad, good=good, clock=clock, folder=tmp_path)
