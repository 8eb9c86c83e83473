"""One line of the table: what the far side does, and what must be true afterwards."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from jobs.lifecycle import State
from tests.hostile.world import World


@dataclass(frozen=True)
class Case:
    """lie: what the far side does; state: of the job at that node afterwards; says: what people are told of it.

    kept: names of what must be archived of the job, None where it does not matter.
    """

    name: str
    lie: Callable[[World], None]
    state: State = State.RUNNING
    says: str = ""
    beats: int = 2
    kept: frozenset[str] | None = None

    def play(self, world: World, caplog: pytest.LogCaptureFixture) -> None:
        """Let the far side do it, and check all that must be true, of the honest node's job too."""
        self.lie(world)

        world.run(beats=self.beats)

        world.assert_sound(caplog)
        world.assert_other_ended_well()
        said = world.said()
        assert self.says in said, said
        assert world.victim.state == self.state, said
        if self.kept is not None:
            assert set(world.archived(world.victim)) == self.kept


def named(case: Case) -> str:
    """Name a case in the list of tests."""
    return case.name
