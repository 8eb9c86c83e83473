"""A node that drips may keep some workers busy, never all of them: other nodes' jobs go on."""

from __future__ import annotations

from datetime import timedelta

import pytest

from jobs import tasks
from jobs.lifecycle import State
from jobs.models import Job
from tests.hostile.world import World

pytestmark = pytest.mark.django_db


@pytest.fixture
def slow(world: World) -> World:
    """Two of the four workers are at the bad node: they hold the leases of two of its jobs."""
    for number in range(2):
        world.job(
            state=State.COLLECTING,
            outcome="succeeded",
            lease_holder=f"worker {number}",
            lease_until=world.clock() + timedelta(seconds=100),
        )
    return world


class TestWhereANodeHasHalfOfTheWorkers:
    def test_no_other_one_collects_there(self, slow: World) -> None:
        job = slow.job(state=State.COLLECTING, outcome="succeeded")

        tasks.collect(str(job.pk))

        job.refresh_from_db()
        assert (job.state, slow.bad.asked) == (State.COLLECTING, [])
        assert job.next_check_at == slow.clock() + timedelta(seconds=1)

    def test_no_other_one_starts_there(self, slow: World) -> None:
        job = slow.job(state=State.REQUESTED, node_job_id="")

        tasks.advance(str(job.pk))

        job.refresh_from_db()
        assert (job.state, slow.bad.asked) == (State.REQUESTED, [])

    def test_others_go_on_at_other_nodes(self, slow: World, caplog: pytest.LogCaptureFixture) -> None:
        slow.run(beats=2)

        slow.assert_sound(caplog)
        slow.assert_other_ended_well()

    def test_the_next_one_goes_there_when_one_is_done(self, slow: World) -> None:
        job = slow.job(state=State.COLLECTING, outcome="succeeded")
        tasks.collect(str(job.pk))
        slow.clock.tick(1)
        Job.objects.filter(lease_holder="worker 1").update(lease_holder="", lease_until=None)

        tasks.collect(str(job.pk))

        job.refresh_from_db()
        assert job.state == State.SUCCEEDED

    def test_a_worker_that_died_does_not_count(self, slow: World) -> None:
        job = slow.job(state=State.COLLECTING, outcome="succeeded")
        slow.clock.tick(101)

        tasks.collect(str(job.pk))

        job.refresh_from_db()
        assert job.state == State.SUCCEEDED
