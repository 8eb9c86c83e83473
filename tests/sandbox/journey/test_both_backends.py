"""The same jobs at an Ocean Node and at a Provider, from the command line to the archived result."""

import csv
import json
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.sandbox.journey.mortal import FUTURE
from tests.sandbox.journey.portal import Ended, Portal, wait_for

pytestmark = pytest.mark.xdist_group("both")

CODE = """
import json, os, pathlib
root = pathlib.Path(os.environ.get("DATA_ROOT", "/data"))
lengths = sorted(len(p.read_bytes()) for p in (root / "inputs").rglob("*") if p.is_file() and "algo" not in p.name)
(root / "outputs" / "lengths.json").write_text(json.dumps(lengths))
print("own code was here")
"""
CHECKSUM = "sha256:e50c037506a2ef36b19e6af2b9ec0e1f5223fcb5f879775712a677576f6daa11"
NO_WORDS = "The job ended, but the node does not say how. Its logs may tell."


@dataclass(frozen=True)
class Backend:
    """A dialect. suffix: of its assets' names; ended: reason and words of a job whose end is not told; status: its list."""

    suffix: str
    node: str
    ended: tuple[str, str]
    logs: frozenset[str]
    status: str

    def names(self, *assets: str) -> tuple[str, ...]:
        """Return what assets are called here."""
        return tuple(asset + self.suffix for asset in assets)


BACKENDS = {
    "ocean-node": Backend(
        suffix="",
        node="Sandbox node",
        ended=("", "The algorithm ended without an error."),
        logs=frozenset({"image.log", "configuration.log", "algorithm.log", "outputs.tar"}),
        status="/api/services/compute",
    ),
    "provider-v4": Backend(
        suffix=" (v4)",
        node="Sandbox provider (v4)",
        ended=("exit_unknown", NO_WORDS),
        logs=frozenset({"algorithm.log", "configure.log", "publish.log"}),
        status="/api/services/compute",
    ),
}


@dataclass(frozen=True)
class Scenario:
    """A job that ends by itself. outputs: its files; log: what its log says. own: it runs code of one's own."""

    algorithm: str = "Summary statistics"
    datasets: tuple[str, ...] = ("Iris flowers",)
    params: dict[str, Any] | None = None
    outputs: frozenset[str] = frozenset({"chart.svg", "summary.csv"})
    log: bytes = b""
    own: bool = False
    more: tuple[str, ...] = field(default=())


SCENARIOS = {
    "plain": Scenario(),
    "two datasets": Scenario(datasets=("Mauna Loa CO2", "US Constitution")),
    "custom data": Scenario(
        algorithm="Linear regression",
        params={"target": "sepal_width", "folds": 3},
        outputs=frozenset({"fit.svg", "model.json", "report.md"}),
        log=b"explaining sepal_width by",
    ),
    "own code": Scenario(own=True, outputs=frozenset({"lengths.json"}), log=b"own code was here"),
    "failing": Scenario(algorithm="Failing example", outputs=frozenset(), log=b"KeyError: 'no_such_column'"),
}
TABLE = [(backend, scenario) for backend in BACKENDS for scenario in SCENARIOS]


@pytest.fixture(scope="module")
def ended(portal: Portal, tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], Ended]:
    """Every scenario at every backend, launched at once and waited for."""
    code = tmp_path_factory.mktemp("code") / "own.py"
    code.write_text(CODE)
    commands = {}
    for name, scenario in TABLE:
        backend, options = BACKENDS[name], SCENARIOS[scenario]
        commands[name, scenario] = portal.begin_launch(
            *own(code) if options.own else ("--algorithm", *backend.names(options.algorithm)),
            datasets=backend.names(*options.datasets),
            params=options.params,
        )
    return {key: command.end() for key, command in commands.items()}


def own(code: Path) -> tuple[str, ...]:
    """Return the options that launch code of one's own."""
    image = ("--image", "python", "--tag", "3.11", "--entrypoint", "python3 $ALGO", "--checksum", CHECKSUM)
    return ("--code", str(code), *image, "--language", "python")


@pytest.mark.parametrize(("name", "scenario"), TABLE)
class TestEnds:
    def test_as_it_should_with_the_words_that_the_service_allows(
        self, ended: dict[tuple[str, str], Ended], name: str, scenario: str
    ) -> None:
        assert ended[name, scenario].stdout, ended[name, scenario].stderr
        job = ended[name, scenario].job

        if scenario == "failing" and name == "ocean-node":
            assert (job["state"], job["reason"]) == ("FAILED", "exit_code")
        else:
            # A Provider does not say how an algorithm ended: never a bare success.
            assert (job["state"], job["reason"]) == ("SUCCEEDED", BACKENDS[name].ended[0])
            assert job["message"] == BACKENDS[name].ended[1]

    def test_with_everything_archived_under_its_hash(
        self, portal: Portal, ended: dict[tuple[str, str], Ended], name: str, scenario: str
    ) -> None:
        job = ended[name, scenario].job

        archived = portal.archived(job["id"])  # compares sizes and hashes with the rows

        assert SCENARIOS[scenario].outputs <= set(archived)
        assert set(archived) == BACKENDS[name].logs | SCENARIOS[scenario].outputs
        assert SCENARIOS[scenario].log in archived["algorithm.log"]
        assert {result["sha256"] for result in job["results"]} != {""}

    def test_with_a_history_that_begins_with_its_launch(
        self, portal: Portal, ended: dict[tuple[str, str], Ended], name: str, scenario: str
    ) -> None:
        job_id = uuid.UUID(ended[name, scenario].job["id"]).hex

        rows = portal.rows(
            "SELECT after FROM jobs_jobevent WHERE job_id = ? AND kind = 'state' ORDER BY id", job_id
        )

        passed = [row["after"] for row in rows]
        assert passed[0] == "REQUESTED"
        assert passed[-4:-1] == ["STARTING", "RUNNING", "COLLECTING"]
        assert ("PAYING" in passed) <= (name == "provider-v4")


@pytest.mark.parametrize("name", BACKENDS)
class TestInputs:
    def test_two_datasets_both_arrive(
        self, portal: Portal, ended: dict[tuple[str, str], Ended], name: str
    ) -> None:
        summary = portal.archived(ended[name, "two datasets"].job["id"])["summary.csv"].decode()

        files = {row["file"]: row for row in csv.DictReader(summary.splitlines())}

        assert len(files) == 2
        assert {row["column"] for row in files.values()} == {"co2_ppm", "words per line"}

    def test_own_code_reads_the_whole_dataset(
        self, portal: Portal, ended: dict[tuple[str, str], Ended], name: str
    ) -> None:
        lengths = json.loads(portal.archived(ended[name, "own code"].job["id"])["lengths.json"])

        assert lengths == [len((Path("ocean_portal/sandbox/demo/data") / "iris.csv").read_bytes())]

    def test_custom_data_reaches_the_algorithm(
        self, portal: Portal, ended: dict[tuple[str, str], Ended], name: str
    ) -> None:
        archived = portal.archived(ended[name, "custom data"].job["id"])

        assert b"fold 3 of 3" in archived["algorithm.log"]
        assert b"# Linear regression: sepal_width" in archived["report.md"]


def running(portal: Portal, backend: Backend, *, seconds: int) -> str:
    """Launch a job that nobody watches and return its id once its algorithm runs."""
    launched = portal.launch(
        *("--algorithm", *backend.names("Word count")),
        datasets=backend.names("US Constitution"),
        params={"seconds": seconds},
        wait=False,
    )
    assert launched.code == 0, launched.stderr
    job_id = str(launched.job["id"])
    portal.wait_for_state(job_id, "RUNNING")
    wait_for(lambda: portal.runs(job_id), "the algorithm's start")
    return job_id


@pytest.mark.parametrize("name", BACKENDS)
class TestWhileItRuns:
    def test_stop_is_believed_when_the_service_says_so(self, portal: Portal, name: str) -> None:
        job_id = running(portal, BACKENDS[name], seconds=50)

        assert portal.call(
            f"refreshing.watch(job_id=uuid.UUID({job_id!r}), now=clock())\n"
            f"answer = launching.cancel(actor=actor, job_id=uuid.UUID({job_id!r}), now=clock())"
        )

        job = portal.wait_for_state(job_id, "CANCELLED", "SUCCEEDED", "FAILED", "NEEDS_ATTENTION")
        assert (job["state"], job["reason"], job["stop_attempts"]) == ("CANCELLED", "stopped", 1)
        told = portal.rows(
            "SELECT kind FROM jobs_jobevent WHERE job_id = ? ORDER BY id", uuid.UUID(job_id).hex
        )
        kinds = [row["kind"] for row in told]
        assert "node_status" in kinds[kinds.index("stop_sent") :]  # read back after the stop
        log = portal.archived(job_id)["algorithm.log"]
        assert b"100 %" not in log

    @pytest.mark.long
    def test_several_jobs_are_asked_about_in_one_request(self, portal: Portal, name: str) -> None:
        backend = BACKENDS[name]
        jobs = [running(portal, backend, seconds=12) for _ in range(2)]
        # Each is asked about half a minute after its launch anyway: not now.
        portal.write("UPDATE jobs_job SET next_check_at = ? WHERE state = 'RUNNING'", FUTURE)
        # What was asked for before that is still to be done, and is not what is counted.
        wait_for(
            lambda: portal.rows("SELECT count(*) FROM django_q_ormq")[0][0] <= 1,
            "a queue with nothing but the pulse",
        )
        path, before = backend.status, _asked(portal, backend.status)
        # Read before the command: the worker may have looked before a slow machine has ended the command's process.
        reports = {job: portal.job(job)["report_at"] for job in jobs}

        portal.call(f"answer = refreshing.check_now(job_ids=[uuid.UUID(x) for x in {jobs!r}], now=clock())")
        wait_for(
            lambda: all(portal.job(job)["report_at"] != reports[job] for job in jobs),
            "a fresh report of each",
        )

        assert _asked(portal, path) - before == 1
        portal.call(f"for job in {jobs!r}: refreshing.watch(job_id=uuid.UUID(job), now=clock())")
        for job in jobs:
            portal.wait_for_state(job, "SUCCEEDED")


def _asked(portal: Portal, path: str) -> int:
    """Return how often a path was read."""
    sql = "SELECT count(*) FROM requests WHERE method = 'GET' AND path = ?"
    return int(portal.box.rows(sql, path)[0][0])


@pytest.mark.parametrize("name", BACKENDS)
class TestRunAgain:
    def test_same_job_runs_once_more_and_orders_nothing_new(
        self, portal: Portal, ended: dict[tuple[str, str], Ended], name: str
    ) -> None:
        old = ended[name, "two datasets"].job["id"]
        sent = portal.rows("SELECT count(*) AS n FROM jobs_transaction")[0]["n"]

        again = portal.call(
            f"answer = launching.rerun(actor=actor, job_id=uuid.UUID({old!r}), launch_key=uuid.uuid4(), now=clock())\n"
            "refreshing.watch(job_id=answer, now=clock())"
        )

        row = portal.wait_for_state(again, "SUCCEEDED", "FAILED", "CANCELLED", "NEEDS_ATTENTION")
        assert (row["state"], row["reason"]) == ("SUCCEEDED", BACKENDS[name].ended[0])
        assert row["rerun_of_id"] == uuid.UUID(old).hex
        assert portal.rows("SELECT count(*) AS n FROM jobs_transaction")[0]["n"] == sent
        orders = "SELECT order_id FROM jobs_jobinput WHERE job_id = ?"
        used = [row["order_id"] is not None for row in portal.rows(orders, uuid.UUID(again).hex)]
        assert used == [name == "provider-v4"] * 2
        assert portal.archived(again)["summary.csv"] == portal.archived(old)["summary.csv"]
