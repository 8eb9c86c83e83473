"""An Aquarius or an operator-service that is down: what else runs goes on, and what waited ends right."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.sandbox.journey.portal import Portal, wait_for

pytestmark = pytest.mark.xdist_group("both")

ENDED = ("SUCCEEDED", "FAILED", "CANCELLED", "NEEDS_ATTENTION")


@contextmanager
def down(portal: Portal, switch: str, text: str = "") -> Iterator[None]:
    """Take a part of the sandbox away for the time of a with block."""
    path = portal.box.state / f"{switch}.down"
    path.write_text(text)
    try:
        yield
    finally:
        path.unlink()


def watched(portal: Portal, *, seconds: int, suffix: str = " (v4)") -> str:
    """Launch a job that somebody watches, and return its id once its algorithm runs."""
    launched = portal.launch(
        f"Word count{suffix}", datasets=(f"US Constitution{suffix}",), params={"seconds": seconds}, wait=False
    )
    assert launched.code == 0, launched.stderr
    job_id = str(launched.job["id"])
    portal.wait_for_state(job_id, "RUNNING")
    wait_for(lambda: portal.runs(job_id), "the algorithm's start")
    look(portal, job_id)
    return job_id


def look(portal: Portal, job_id: str) -> None:
    """Look at a job's page now, and go on doing so for a minute."""
    portal.call(
        f"job_id = uuid.UUID({job_id!r})\n"
        "Job.objects.filter(pk=job_id).update(watched_until=clock() + timedelta(seconds=60), next_check_at=clock())"
    )


class TestAquariusDown:
    def test_job_that_runs_ends_right(self, portal: Portal) -> None:
        job_id = watched(portal, seconds=4)

        with down(portal, "aquarius"):
            job = portal.wait_for_state(job_id, *ENDED)

        assert (job["state"], job["reason"]) == ("SUCCEEDED", "exit_unknown")
        assert b"100 %" in portal.archived(job_id)["algorithm.log"]

    def test_launch_of_what_is_known_is_taken_and_ends_right_when_it_is_back(self, portal: Portal) -> None:
        with down(portal, "aquarius"):
            launched = portal.launch("Summary statistics (v4)", datasets=("Mauna Loa CO2 (v4)",), wait=False)
            assert launched.code == 0, launched.stderr
            job_id = str(launched.job["id"])
            # A Provider that cannot ask says of every asset that it is unknown: that is not believed.
            wait_for(lambda: portal.job(job_id)["trouble"], "the portal to notice")
            assert portal.job(job_id)["state"] == "REQUESTED"

        look(portal, job_id)
        portal.wait_for_state(job_id, "RUNNING", "COLLECTING", *ENDED)
        look(portal, job_id)
        job = portal.wait_for_state(job_id, *ENDED)
        assert (job["state"], job["reason"]) == ("SUCCEEDED", "exit_unknown"), job["message"]


class TestOperatorServiceDown:
    def test_other_nodes_jobs_go_on_and_the_job_ends_right_when_it_is_back(self, portal: Portal) -> None:
        job_id = watched(portal, seconds=3)

        with down(portal, "operator-service", "3"):
            wait_for(lambda: portal.job(job_id)["trouble"], "the portal to notice")
            other = portal.launch("Summary statistics")
            assert portal.job(job_id)["state"] == "RUNNING"

        assert (other.code, other.job["state"]) == (0, "SUCCEEDED")
        look(portal, job_id)
        job = portal.wait_for_state(job_id, *ENDED)
        assert (job["state"], job["reason"]) == ("SUCCEEDED", "exit_unknown")
        assert b"100 %" in portal.archived(job_id)["algorithm.log"]

    @pytest.mark.long
    def test_job_that_was_launched_meanwhile_runs_once_when_it_is_back(self, portal: Portal) -> None:
        with down(portal, "operator-service", "1"):
            launched = portal.launch("Summary statistics (v4)", datasets=("Mauna Loa CO2 (v4)",), wait=False)
            job_id = str(launched.job["id"])
            wait_for(lambda: portal.job(job_id)["trouble"], "the portal to notice")

        portal.wait_for_state(job_id, "RUNNING", "COLLECTING", *ENDED)
        look(portal, job_id)
        job = portal.wait_for_state(job_id, *ENDED)
        assert (job["state"], job["reason"]) == ("SUCCEEDED", "exit_unknown"), job["message"]
        assert portal.runs(job_id) == 1
