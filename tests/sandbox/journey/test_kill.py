"""The worker's whole process group is killed at the worst moments; the job ends as if nothing had happened."""

import time

import pytest

from tests.sandbox.journey.portal import Portal, wait_for

pytestmark = pytest.mark.xdist_group("restarts")


def launch(portal: Portal, *, seconds: int) -> str:
    """Record a job that counts words for some seconds, and return its id."""
    ended = portal.launch(
        "Word count", datasets=("US Constitution",), params={"seconds": seconds}, wait=False
    )
    assert ended.code == 0, ended.stderr
    return str(ended.job["id"])


def let_leases_run_out(portal: Portal, job_id: str) -> None:
    """Make it a minute and a half later for what the killed worker had taken: nothing in the test waits for that."""
    past = "2001-01-01 00:00:00"
    portal.write("UPDATE jobs_job SET lease_until = ? WHERE lease_until IS NOT NULL", past)
    portal.write("UPDATE jobs_job SET next_check_at = ? WHERE state <> 'SUCCEEDED'", past)
    portal.write("UPDATE jobs_noncelease SET leased_until = ? WHERE leased_until IS NOT NULL", past)


def assert_ran_once(portal: Portal, job_id: str) -> None:
    """The node has one job with this job's tag, and has started its algorithm once."""
    assert len(portal.at_node(job_id)) == 1
    assert portal.runs(job_id) == 1


class TestKill:
    def test_job_ends_as_if_nothing_had_happened_when_the_worker_is_killed_while_the_algorithm_runs(
        self, fragile: Portal
    ) -> None:
        fragile.start_worker()
        waiting, job_id = fragile.begin_watched(
            "Word count", datasets=("US Constitution",), params={"seconds": 8}
        )
        fragile.wait_for_state(job_id, "RUNNING")
        wait_for(lambda: fragile.runs(job_id), "the algorithm's start")
        before = fragile.job(job_id)["node_job_id"]

        fragile.kill_worker()
        fragile.start_worker()

        ended = waiting.end()
        assert (ended.code, ended.job["state"], ended.job["reason"]) == (0, "SUCCEEDED", "")
        assert ended.job["node_job_id"] == before
        assert {"algorithm.log", "outputs.tar", "words.csv", "words.svg"} < set(fragile.archived(job_id))
        assert_ran_once(fragile, job_id)

    def test_due_work_goes_on_within_five_seconds_of_the_new_worker_being_up(self, fragile: Portal) -> None:
        fragile.start_worker()
        fragile.wait_for_beat()
        fragile.kill_worker()

        fragile.start_worker()

        began = time.monotonic()
        fragile.wait_for_beat()
        # The program itself takes a second or two to start.
        assert time.monotonic() - began < 8

    @pytest.mark.parametrize(
        "pause_s",
        [0.0, *(pytest.param(pause / 1000, marks=pytest.mark.long) for pause in (3, 6, 10, 20, 40, 80))],
    )
    def test_node_gets_one_job_when_the_worker_is_killed_right_after_it_sent_the_start(
        self, fragile: Portal, pause_s: float
    ) -> None:
        fragile.start_worker()
        fragile.wait_for_beat()
        job_id = launch(fragile, seconds=0)
        deadline = time.monotonic() + 60
        while fragile.job(job_id)["start_sent_at"] is None:
            assert time.monotonic() < deadline
        time.sleep(pause_s)  # the moment is what is being tried out here
        fragile.kill_worker()
        let_leases_run_out(fragile, job_id)

        fragile.start_worker()

        job = fragile.wait_for_state(job_id, "SUCCEEDED", "FAILED", "CANCELLED", "NEEDS_ATTENTION")
        assert job["state"] == "SUCCEEDED"
        assert_ran_once(fragile, job_id)
