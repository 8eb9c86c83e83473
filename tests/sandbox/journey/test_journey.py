"""Jobs from the command line to the archived result, on a real sandbox, with a real worker."""

import json
import signal
from typing import Any

import pytest
import requests

from tests.sandbox.client import Client, members, text_of
from tests.sandbox.journey.portal import WORKER_ENDS_WITHIN_S, Ended, Portal, living, wait_for
from tests.sandbox.running import start_sandbox

journey = pytest.mark.xdist_group("journey")
restarts = pytest.mark.xdist_group("restarts")

# Another of the public development accounts: somebody else at the node.
STRANGER = "0x5de4111afa1a4b94908f83103eb1f1706367c2e68ca870fc3fb9a804cdab365a"
LOGS = {"image.log", "configuration.log", "algorithm.log"}

JOBS: dict[str, dict[str, Any]] = {
    "statistics": {"algorithm": "Summary statistics"},
    "regression": {"algorithm": "Linear regression", "params": {"target": "sepal_width", "folds": 3}},
    "words": {"algorithm": "Word count", "datasets": ("US Constitution",), "params": {"seconds": 0}},
    "failing": {"algorithm": "Failing example"},
    "two datasets": {"algorithm": "Summary statistics", "datasets": ("Mauna Loa CO2", "US Constitution")},
}


@pytest.fixture(scope="session")
def ended(portal: Portal) -> dict[str, Ended]:
    """Every one of JOBS, launched at once and waited for: the node runs two at a time and queues the others."""
    commands = {name: portal.begin_launch(**options) for name, options in JOBS.items()}
    return {name: command.end() for name, command in commands.items()}


@journey
class TestAlgorithms:
    @pytest.mark.parametrize(
        ("name", "files"),
        [
            ("statistics", {"chart.svg", "summary.csv"}),
            ("regression", {"fit.svg", "model.json", "report.md"}),
            ("words", {"words.csv", "words.svg"}),
            ("two datasets", {"chart.svg", "summary.csv"}),
        ],
    )
    def test_job_succeeds_and_everything_it_left_is_archived(
        self, portal: Portal, ended: dict[str, Ended], name: str, files: set[str]
    ) -> None:
        assert ended[name].code == 0, ended[name].stderr
        job = ended[name].job

        assert (job["state"], job["reason"]) == ("SUCCEEDED", "")
        assert None not in (job["requested_at"], job["accepted_at"], job["finished_at"], job["ended_at"])
        assert {result["name"] for result in job["results"]} == LOGS | {"outputs.tar"} | files
        assert set(portal.archived(job["id"])) == LOGS | {"outputs.tar"} | files

    @pytest.mark.parametrize("name", JOBS)
    def test_archived_bytes_are_those_that_the_node_serves(
        self, portal: Portal, ended: dict[str, Ended], name: str
    ) -> None:
        job = ended[name].job
        archived = portal.archived(job["id"])
        client = Client(portal.box.node_url)
        served = {
            entry["filename"]: client.result(job["node_job_id"], entry["index"]).content
            for entry in client.status(job["node_job_id"])["results"]
        }
        # The node wraps this log in docker's frames; what people read has none.
        served["algorithm.log"] = text_of(served["algorithm.log"]).encode()

        assert {file: archived[file] for file in served} == served
        inside = {
            path.removeprefix("outputs/"): data
            for path, data in members(served["outputs.tar"]).items()
            if data
        }
        assert {file: archived[file] for file in archived.keys() - served.keys()} == inside

    def test_two_datasets_in_one_job_both_arrive(self, portal: Portal, ended: dict[str, Ended]) -> None:
        summary = portal.archived(ended["two datasets"].job["id"])["summary.csv"].decode()

        assert {line.split(",")[0] for line in summary.splitlines()[1:]} == {"co2.csv", "us-constitution.txt"}

    def test_parameters_reach_the_algorithm(self, portal: Portal, ended: dict[str, Ended]) -> None:
        archived = portal.archived(ended["regression"].job["id"])

        assert b"explaining sepal_width by" in archived["algorithm.log"]
        assert b"fold 3 of 3" in archived["algorithm.log"]
        assert b"# Linear regression: sepal_width" in archived["report.md"]

    def test_algorithm_that_fails_ends_as_failed_with_its_traceback_in_the_archived_log(
        self, portal: Portal, ended: dict[str, Ended]
    ) -> None:
        job = ended["failing"].job

        assert ended["failing"].code == 3
        assert (job["state"], job["reason"]) == ("FAILED", "exit_code")
        assert "exit code 1" in job["message"]
        log = portal.archived(job["id"])["algorithm.log"].decode()
        assert "Traceback (most recent call last):" in log
        assert "KeyError: 'no_such_column'" in log


@journey
class TestWatching:
    def test_log_arrives_while_the_algorithm_runs_and_only_the_archived_one_stays(
        self, portal: Portal
    ) -> None:
        waiting, job_id = portal.begin_watched(
            "Word count", datasets=("US Constitution",), params={"seconds": 9}
        )

        early = wait_for(lambda: portal.live_log(job_id), "the first piece of the live log")
        more = wait_for(lambda: portal.live_log(job_id)[len(early) :], "a later piece of the live log")

        assert portal.job(job_id)["state"] == "RUNNING"
        assert waiting.end().code == 0
        assert portal.archived(job_id)["algorithm.log"].startswith(early + more)
        assert portal.rows("SELECT 1 FROM jobs_logchunk") == []


@journey
class TestStopping:
    def test_job_that_is_stopped_ends_as_cancelled_with_its_logs(self, portal: Portal) -> None:
        waiting, job_id = portal.begin_watched(
            "Word count", datasets=("US Constitution",), params={"seconds": 100}
        )
        portal.wait_for_state(job_id, "RUNNING")
        wait_for(lambda: portal.runs(job_id), "the algorithm's start")

        assert portal.call(
            f"answer = launching.cancel(actor=actor, job_id=uuid.UUID({job_id!r}), now=clock())"
        )

        ended = waiting.end()
        assert (ended.code, ended.job["state"], ended.job["reason"]) == (3, "CANCELLED", "stopped")
        assert portal.job(job_id)["stop_attempts"] == 1
        assert set(portal.archived(job_id)) >= LOGS
        assert b"reading us-constitution.txt" in portal.archived(job_id)["algorithm.log"]
        assert b"100 %" not in portal.archived(job_id)["algorithm.log"]


@journey
class TestQueue:
    def test_third_of_three_jobs_waits_in_the_nodes_queue_and_then_runs(self, portal: Portal) -> None:
        commands = [
            portal.begin_launch("Word count", datasets=("US Constitution",), params={"seconds": 10})
            for _ in range(3)
        ]
        sql = "SELECT id, node_status FROM jobs_job WHERE state = 'RUNNING' ORDER BY node_status"

        def full() -> str | None:
            rows = portal.rows(sql)
            numbers = [row["node_status"] for row in rows]
            return rows[0]["id"] if numbers == [1, 40, 40] else None

        queued = wait_for(full, "two running jobs and one in the node's queue")

        ended = [command.end() for command in commands]
        assert [(one.code, one.job["state"]) for one in ended] == [(0, "SUCCEEDED")] * 3
        statuses = portal.rows(
            "SELECT data FROM jobs_jobevent WHERE job_id = ? AND kind = 'node_status' ORDER BY id", queued
        )
        phases = [json.loads(row["data"])["phase"] for row in statuses]
        assert (phases[0], "running" in phases) == ("queued", True)

    def test_job_that_expires_in_the_queue_fails_and_can_be_run_again(self, portal: Portal) -> None:
        stranger = Client(portal.box.node_url, key=STRANGER)
        theirs = [stranger.start("import time; time.sleep(100)") for _ in range(2)]
        try:
            expired = portal.launch("Summary statistics", "--queue-wait", "1")
            busy = portal.launch("Summary statistics", "--queue-wait", "0")
        finally:
            for job in theirs:
                stranger.stop(job)
        for job in theirs:
            stranger.wait(job)
        assert (expired.code, expired.job["state"], expired.job["reason"]) == (3, "FAILED", "queue_expired")
        assert (busy.code, busy.job["state"], busy.job["reason"]) == (3, "FAILED", "busy")
        assert busy.job["node_job_id"] == ""

        again = portal.call(
            f"old = uuid.UUID({expired.job['id']!r})\n"
            "answer = launching.rerun(actor=actor, job_id=old, launch_key=uuid.uuid4(), now=clock())\n"
            "refreshing.watch(job_id=answer, now=clock())"
        )

        row = portal.wait_for_state(again, "SUCCEEDED", "FAILED", "CANCELLED", "NEEDS_ATTENTION")
        assert row["state"] == "SUCCEEDED"
        assert row["rerun_of_id"] == expired.job["id"].replace("-", "")


@restarts
class TestNodeRestarts:
    def test_running_job_still_ends_right_when_the_node_is_killed_and_comes_back(
        self, fragile: Portal
    ) -> None:
        fragile.start_worker()
        waiting, job_id = fragile.begin_watched(
            "Word count", datasets=("US Constitution",), params={"seconds": 6}
        )
        wait_for(
            lambda: fragile.job(job_id)["state"] == "RUNNING" and fragile.runs(job_id),
            "the algorithm's start",
        )

        fragile.box.kill()
        wait_for(lambda: fragile.job(job_id)["trouble"], "the portal to notice")
        fragile.box = start_sandbox(fragile.box.state, chain=False)
        # As a person does who presses "look now" instead of waiting for the pause after a trouble to pass.
        fragile.call(f"refreshing.check_now(job_ids=[uuid.UUID({job_id!r})], now=clock())")

        ended = waiting.end()
        assert (ended.code, ended.job["state"]) == (0, "SUCCEEDED")
        assert b"100 %" in fragile.archived(job_id)["algorithm.log"]
        assert (len(fragile.at_node(job_id)), fragile.runs(job_id)) == (1, 1)

    def test_results_stay_when_the_node_has_deleted_the_job(self, fragile: Portal) -> None:
        fragile.start_worker()
        job = fragile.launch("Summary statistics").job
        before = fragile.archived(job["id"])
        fragile.box.stop()

        fragile.box = start_sandbox(fragile.box.state, chain=False, storage_expiry=1)

        wait_for(lambda: fragile.at_node(job["id"]) == [], "the node to forget the job")
        listed = requests.get(
            f"{fragile.box.node_url}/api/services/compute", params={"jobId": job["node_job_id"]}, timeout=10
        )
        assert listed.json() == []
        fragile.box.stop()
        fragile.box = start_sandbox(fragile.box.state, chain=False)
        opened = fragile.call(
            "import hashlib\nanswer = []\n"
            f"for row in Result.objects.filter(job_id={job['id']!r}).order_by('index', 'path', 'pk'):\n"
            "    found = results.open_result(actor=actor, job_id=row.job_id, result_id=row.pk, now=clock())\n"
            "    with found.stream: answer.append([row.path or row.name, hashlib.sha256(found.stream.read()).hexdigest()])"
        )
        assert opened == [[result["name"], result["sha256"]] for result in job["results"]]
        assert {name for name, _ in opened} == set(before)
        assert fragile.job(job["id"])["state"] == "SUCCEEDED"


@restarts
class TestWorkerRestarts:
    @pytest.mark.parametrize("whole_group", [False, True], ids=["main process", "whole group"])
    def test_worker_ends_in_time_leaves_no_process_and_the_next_one_goes_on(
        self, fragile: Portal, whole_group: bool
    ) -> None:
        group = fragile.start_worker()
        waiting, job_id = fragile.begin_watched(
            "Word count", datasets=("US Constitution",), params={"seconds": 8}
        )
        wait_for(lambda: fragile.live_log(job_id), "a worker that follows the log")

        took_s = fragile.stop_worker(whole_group=whole_group)

        assert took_s < WORKER_ENDS_WITHIN_S
        assert living(group=group) == []
        fragile.start_worker()
        assert waiting.end().code == 0
        assert (len(fragile.at_node(job_id)), fragile.runs(job_id)) == (1, 1)

    @pytest.mark.long
    def test_worker_ends_in_time_and_leaves_no_process_although_the_node_hangs(self, fragile: Portal) -> None:
        group = fragile.start_worker()
        waiting, job_id = fragile.begin_watched(
            "Word count", datasets=("US Constitution",), params={"seconds": 20}
        )
        wait_for(lambda: fragile.live_log(job_id), "a worker that follows the log")
        fragile.box.process.send_signal(signal.SIGSTOP)
        try:
            took_s = fragile.stop_worker(whole_group=False)
        finally:
            fragile.box.process.send_signal(signal.SIGCONT)

        assert took_s < WORKER_ENDS_WITHIN_S
        assert living(group=group) == []
        waiting.close()
