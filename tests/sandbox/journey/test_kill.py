"""The worker's whole process group is killed at the worst moments; the job ends as if nothing had happened."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import requests

from tests.sandbox.journey.portal import DEADLINE_S, Portal, wait_for

pytestmark = pytest.mark.xdist_group("kill")


def launch(portal: Portal, *, seconds: int) -> str:
    """Record a job that counts words for some seconds, and return its id."""
    ended = portal.launch(
        "Word count", datasets=("US Constitution",), params={"seconds": seconds}, wait=False
    )
    assert ended.code == 0, ended.stderr
    return str(ended.job["id"])


class Between(BaseHTTPRequestHandler):
    """Passes requests on to the node, but keeps back a start, or the answer to it."""

    server: "_Holding"

    def do_GET(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        is_start = self.path == "/api/services/freeCompute"
        if self.server.arrives or not is_start:
            kind = {"Content-Type": self.headers.get("Content-Type", "")}
            answer = requests.request(
                self.command, self.server.node_url + self.path, data=body, headers=kind, timeout=DEADLINE_S
            )
        if is_start:
            self.server.held.set()
            self.server.ending.wait()
            return
        self.send_response(answer.status_code)
        self.end_headers()
        self.wfile.write(answer.content)

    do_POST = do_PUT = do_GET

    def log_message(self, *_: object) -> None:
        """Say nothing."""


class _Holding(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, *, node_url: str, arrives: bool) -> None:
        super().__init__(("127.0.0.1", 0), Between)
        self.node_url, self.arrives = node_url, arrives
        self.held, self.ending = threading.Event(), threading.Event()

    def handle_error(self, *_: object) -> None:
        """A worker that is killed hangs up: that is what these tests are about."""


@contextmanager
def holding_starts(node_url: str, *, arrives: bool) -> Iterator[tuple[str, threading.Event]]:
    """Stand between portal and node; yield the address, and what is set when a start is held.

    arrives: the start reaches the node, and only its answer is kept back.
    """
    server = _Holding(node_url=node_url, arrives=arrives)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", server.held
    finally:
        server.ending.set()
        server.shutdown()
        thread.join()
        server.server_close()


def let_leases_run_out(portal: Portal) -> None:
    """Make due what a killed worker had taken, and what waits: a test need not let a minute and a half pass."""
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

    @pytest.mark.parametrize("arrives", [True, False], ids=["the start has arrived", "the start got lost"])
    def test_node_gets_one_job_when_the_worker_is_killed_while_it_waits_for_the_answer_to_its_start(
        self, fragile: Portal, arrives: bool
    ) -> None:
        waiting, job_id = fragile.begin_watched(
            "Word count", datasets=("US Constitution",), params={"seconds": 0}
        )
        node_url = fragile.box.node_url
        with holding_starts(node_url, arrives=arrives) as (between, held):
            fragile.write("UPDATE jobs_node SET base_url = ?", between)
            fragile.start_worker()
            assert held.wait(DEADLINE_S)
            fragile.kill_worker()
        assert fragile.job(job_id)["node_job_id"] == ""
        assert len(fragile.at_node(job_id)) == arrives
        fragile.write("UPDATE jobs_node SET base_url = ?", node_url)
        let_leases_run_out(fragile)

        fragile.start_worker()
        if not arrives:  # it looks twice before it sends again
            wait_for(lambda: fragile.job(job_id)["missing_count"], "the first look")
            let_leases_run_out(fragile)

        ended = waiting.end()
        assert (ended.code, ended.job["state"]) == (0, "SUCCEEDED")
        assert fragile.job(job_id)["start_attempts"] == (1 if arrives else 2)
        assert_ran_once(fragile, job_id)

    @pytest.mark.long
    @pytest.mark.parametrize("pause_s", [pause / 1000 for pause in (0, 3, 6, 10, 20, 40, 80)])
    def test_node_gets_one_job_when_the_worker_is_killed_a_moment_after_it_noted_the_start(
        self, fragile: Portal, pause_s: float
    ) -> None:
        fragile.start_worker()
        fragile.wait_for_beat()
        job_id = launch(fragile, seconds=0)
        deadline = time.monotonic() + DEADLINE_S
        while fragile.job(job_id)["start_sent_at"] is None:
            assert time.monotonic() < deadline
        time.sleep(pause_s)  # the moment is what is being tried out here
        fragile.kill_worker()
        let_leases_run_out(fragile)

        fragile.start_worker()

        job = fragile.wait_for_state(job_id, "SUCCEEDED", "FAILED", "CANCELLED", "NEEDS_ATTENTION")
        assert job["state"] == "SUCCEEDED"
        assert_ran_once(fragile, job_id)
