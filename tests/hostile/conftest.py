"""The world of two nodes, in which the client's deadlines pass quickly."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from jobs import tasks
from jobs.ocean import guard
from jobs.services import gateway
from tests.hostile.far_side import FarSide, serving
from tests.hostile.world import World, make_world
from tests.services.fakes import Clock

SPEED = 40  # so many seconds pass for the client's deadlines in one of ours


@dataclass
class Wire:
    """What the client took off its sockets, heads and all, from whomever.

    byte_takes_s: time that passes for the client's deadlines with each byte, however fast this machine is.
    """

    taken: int = 0
    byte_takes_s: float = 0


@pytest.fixture
def wire(monkeypatch: pytest.MonkeyPatch) -> Wire:
    """Count every byte that the client reads. Patched by name: there is one reader, and all pass it."""
    wire = Wire()

    class Counting(guard._PacedReader):
        def readinto(self, buffer: Any) -> int | None:
            count = super().readinto(buffer)
            wire.taken += count or 0
            return count

    monkeypatch.setattr(guard, "_PacedReader", Counting)
    return wire


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch, wire: Wire) -> None:
    """Let the client's deadlines and pauses pass quickly: services give the transport the real clock."""
    passing = SimpleNamespace(
        monotonic=lambda: time.monotonic() * SPEED + wire.taken * wire.byte_takes_s,
        sleep=lambda s: time.sleep(s / SPEED),
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
