"""What `manage.py launch_job` prints, and how it ends."""

import json
import uuid
from typing import Any

import pytest

from tests.sandbox.journey.portal import Ended, Portal

pytestmark = pytest.mark.xdist_group("launch_job")

UNKNOWN = "did:op:" + "0" * 64
NO_WORKER = "No worker has been alive for 30 s"


@pytest.fixture(scope="module")
def twins(idle: Portal) -> dict[str, str]:
    """Two datasets of the same name but for its capitals; their DIDs."""
    idle.call(
        "twin = Asset.objects.get(name='US Constitution')\n"
        "twin.pk, twin.did, twin.name = None, 'did:op:' + 'ab' * 32, 'mauna loa co2'\ntwin.save()"
    )
    return {"one": idle.box.did("Mauna Loa CO2"), "other": "did:op:" + "ab" * 32}


def _arguments(options: dict[str, Any]) -> list[str]:
    """Return the given options over those that work, as a command line."""
    working = {
        "team": "demo",
        "wallet": "demo",
        "dataset": "Iris flowers",
        "algorithm": "Summary statistics",
        "environment": "free",
    }
    return [
        "--json",
        *(part for name, value in (working | options).items() for part in (f"--{name}", str(value))),
    ]


def launch(portal: Portal, **options: Any) -> Ended:
    """Run launch_job with the given options over those that work."""
    return portal.manage("launch_job", *_arguments(options))


class TestRecorded:
    def test_job_is_recorded_with_code_0_and_one_object_although_no_worker_is_alive(
        self, idle: Portal
    ) -> None:
        ended = launch(idle, params='{"seconds": 5}', name="Try", duration=60, **{"queue-wait": 30})

        assert ended.code == 0
        assert NO_WORKER in ended.stderr and "python manage.py worker" in ended.stderr
        assert {"id", "state", "reason", "node_job_id", "requested_at", "ended_at"} < set(ended.job)
        assert (ended.job["state"], ended.job["node_job_id"], ended.job["results"]) == ("REQUESTED", "", [])
        row = idle.job(ended.job["id"])
        assert (row["name"], row["max_duration_s"], row["queue_wait_s"]) == ("Try", 60, 30)
        assert json.loads(row["parameters"]) == {"seconds": 5}

    def test_without_json_the_id_is_told_in_a_sentence(self, idle: Portal) -> None:
        ended = idle.manage(
            *("launch_job", "--team", "demo", "--wallet", "demo", "--dataset", "Iris flowers"),
            *("--algorithm", "Summary statistics", "--environment", "free"),
        )

        assert ended.code == 0
        assert ended.stdout.startswith("Recorded as job ")
        assert (
            idle.job(ended.stdout.strip().removeprefix("Recorded as job ").rstrip("."))["state"]
            == "REQUESTED"
        )

    def test_time_that_runs_out_is_code_4_and_the_job_goes_on(self, idle: Portal) -> None:
        ended = idle.launch("Summary statistics", "--timeout", "0.2")

        assert ended.code == 4
        assert "it goes on" in ended.stderr
        assert ended.job["state"] == "REQUESTED"

    @pytest.mark.parametrize("by_name", [False, True], ids=["DID", "name"])
    def test_service_is_named_behind_a_colon(self, idle: Portal, by_name: bool) -> None:
        dataset = "Iris flowers" if by_name else idle.box.did("Iris flowers")

        ended = launch(idle, dataset=f"{dataset}:compute")

        assert ended.code == 0, ended.stderr
        sql = "SELECT service_id FROM jobs_jobinput WHERE job_id = ?"
        assert [row["service_id"] for row in idle.rows(sql, uuid.UUID(ended.job["id"]).hex)] == ["compute"]

    def test_job_that_needs_attention_is_code_3(self, idle: Portal) -> None:
        waiting, job_id = idle.begin_watched("Summary statistics")
        idle.write("UPDATE jobs_job SET state = 'NEEDS_ATTENTION' WHERE id = ?", uuid.UUID(job_id).hex)

        ended = waiting.end()

        assert (ended.code, ended.job["state"]) == (3, "NEEDS_ATTENTION")

    def test_environment_is_named_by_the_nodes_id(self, idle: Portal) -> None:
        ended = launch(idle, environment=idle.box.info["environment"])

        assert ended.code == 0, ended.stderr

    def test_published_did_that_the_team_does_not_know_is_read_from_the_node_first(
        self, idle: Portal
    ) -> None:
        did = idle.box.did("Word count")
        idle.write("DELETE FROM jobs_asset WHERE did = ?", did)

        ended = launch(idle, algorithm=did)

        assert ended.code == 0, ended.stderr
        assert ended.job["name"] == "Word count, Iris flowers"
        assert [row["kind"] for row in idle.rows("SELECT kind FROM jobs_asset WHERE did = ?", did)] == [
            "algorithm"
        ]


# Options that cannot be used, and what is said about them.
REFUSED: list[tuple[dict[str, str], list[str]]] = [
    ({"dataset": "Iris"}, ["--dataset: ", "no dataset called “Iris”", "  Iris flowers (did:op:"]),
    (
        {"algorithm": "Nope"},
        ["--algorithm: ", "“Nope”", "  Word count (did:op:", "  Failing example ("],
    ),
    ({"dataset": "Iris: a flower"}, ["--dataset: ", "no dataset called “Iris”"]),
    ({"dataset": "did:op:12"}, ["--dataset: ", "“did:op:12” is not a DID"]),
    ({"dataset": UNKNOWN}, ["--dataset: ", "None of the portal's nodes knows this DID"]),
    ({"dataset": "Word count"}, ["--dataset: ", "“Word count” is an algorithm, not a dataset"]),
    (
        {"algorithm": "Iris flowers"},
        ["--algorithm: ", "“Iris flowers” is a dataset, not an algorithm"],
    ),
    ({"params": "{seconds"}, ["--params: ", "no JSON"]),
    ({"params": "[1, 2]"}, ["--params: ", "must be a JSON object"]),
    ({"wallet": "purse"}, ["--wallet: ", "“purse”", "  demo"]),
    ({"team": "nobody"}, ["no team “nobody”", "demo"]),
    ({"environment": "0xnone"}, ["--environment: ", "not (or no longer) offered", "  0x"]),
    ({"duration": "100000"}, ["--duration: ", "between 1 and 120 seconds"]),
    ({"queue-wait": "-1"}, ["--queue-wait: ", "between 0 and"]),
]


@pytest.fixture(scope="module")
def refused(idle: Portal) -> list[Ended]:
    """What the command says to each of REFUSED; in one process, because starting it takes longer than refusing."""
    before = idle.count_jobs()
    arguments = [_arguments(options) for options, _said in REFUSED]
    told = idle.call(
        "import io\nfrom django.core.management import call_command\nanswer = []\n"
        f"for arguments in {arguments!r}:\n"
        "    out, err, code = io.StringIO(), io.StringIO(), None\n"
        "    try:\n        call_command('launch_job', *arguments, stdout=out, stderr=err)\n"
        "    except SystemExit as end:\n        code = end.code\n"
        "    answer.append([code, out.getvalue(), err.getvalue()])"
    )
    assert idle.count_jobs() == before
    return [Ended(*one) for one in told]


class TestRefused:
    @pytest.mark.parametrize("place", range(len(REFUSED)), ids=[str(options) for options, _said in REFUSED])
    def test_input_that_cannot_be_used_is_code_2_with_a_sentence(
        self, refused: list[Ended], place: int
    ) -> None:
        ended = refused[place]

        assert ended.code == 2
        assert [part for part in REFUSED[place][1] if part not in ended.stderr] == []
        assert ended.stdout == ""

    def test_nothing_is_recorded_and_the_process_ends_with_the_code(self, idle: Portal) -> None:
        before = idle.count_jobs()

        ended = launch(idle, environment="0xnone")

        assert (ended.code, ended.stdout, idle.count_jobs()) == (2, "", before)
        assert "Traceback" not in ended.stderr

    def test_option_that_is_missing_is_code_2(self, idle: Portal) -> None:
        ended = idle.manage("launch_job", "--team", "demo")

        assert ended.code == 2
        assert "--algorithm" in ended.stderr

    def test_name_that_two_assets_bear_is_refused_with_both(
        self, idle: Portal, twins: dict[str, str]
    ) -> None:
        ended = launch(idle, dataset="Mauna Loa CO2")

        assert ended.code == 2
        assert "Several datasets are called “Mauna Loa CO2”" in ended.stderr
        assert f"  Mauna Loa CO2 ({twins['one']})" in ended.stderr
        assert f"  mauna loa co2 ({twins['other']})" in ended.stderr

    def test_service_that_the_dataset_does_not_have_is_refused_with_those_it_has(self, idle: Portal) -> None:
        ended = launch(idle, dataset=f"{idle.box.did('Iris flowers')}:nothing")

        assert ended.code == 2
        assert "has no service “nothing”" in ended.stderr
        assert "  compute" in ended.stderr.splitlines()
