"""Jobs really run: phases, limits, ends, queue and results, against the recorded courses."""

import os
import re
import time
from pathlib import Path
from typing import Any

import pytest

from ocean_portal.sandbox import runner
from ocean_portal.sandbox.engine import Pace
from ocean_portal.sandbox.images import build_image
from ocean_portal.sandbox.node import whole_frames
from tests.sandbox.client import DATA, Client, frames
from tests.sandbox.conftest import Bench, close_bench, make_bench
from tests.sandbox.recordings import Exchange, recorded_container, scenario, shape

SLEEP = "import time\nprint('slow', flush=True)\ntime.sleep({})\n"


def course(number: str, *, first: int, last: int) -> list[Exchange]:
    """Return the recorded status answers of a job, from its first to its last change."""
    return [scenario(number)[seq] for seq in range(first, last + 1)]


class TestCourse:
    def test_statuses_and_results_come_in_the_recorded_order_and_shape(self, client: Client) -> None:
        recorded = [exchange.json[0] for exchange in course("10", first=3, last=8)]

        # The first answer of each status, as recorded: later ones may already list what belongs to the next.
        first: dict[int, dict[str, Any]] = {}
        client.wait(
            client.start(DATA + "print('to stdout'); (DATA / 'outputs' / 'a').write_text('b')"),
            until=lambda report: first.setdefault(report["status"], report)["dateFinished"] is not None,
        )

        seen = list(first.values())
        assert [report["status"] for report in seen] == [10, 20, 30, 40, 60, 71]
        for ours, theirs in zip(seen, recorded, strict=True):
            assert [item["filename"] for item in ours["results"]] == [
                item["filename"] for item in theirs["results"]
            ]
            assert shape(ours) == shape(theirs)
        unlike = {"jobId", "jobIdHash", "environment", "dateCreated", "dateFinished", "results"}
        unlike |= {"algoStartTimestamp", "algoStopTimestamp"}
        assert {k: v for k, v in seen[-1].items() if k not in unlike} == {
            k: v for k, v in recorded[-1].items() if k not in unlike
        }

    def test_start_answer_has_the_recorded_shape_and_echoes_metadata(self, client: Client) -> None:
        recorded = scenario("11")[2]
        metadata = recorded.request["body"]["metadata"]

        response = client.post_start(
            algorithm={"meta": {"rawcode": "pass", "container": recorded_container()}}, metadata=metadata
        )

        (report,) = response.json()
        assert shape(report) == shape(recorded.json[0])
        assert report["metadata"] == metadata

    def test_a_step_takes_what_the_pace_says(self) -> None:
        assert Pace().step_s == 2.0
        assert Pace().grace_s == 10.0

    def test_settled_jobs_become_finished(self, tmp_path: Path) -> None:
        bench = make_bench(tmp_path)
        bench.engine._pace = Pace(step_s=0.05, settle_s=0.2)
        bench.engine.open()
        try:
            client = Client(bench.url)
            job = client.start("pass")
            seen = client.wait(job, until=lambda report: report["status"] == 70)
            assert seen[-1]["statusText"] == "Job finished"
            assert seen[-1]["terminationDetails"]["exitCode"] == 0
        finally:
            close_bench(bench)


class TestResults:
    def test_logs_are_docker_frames_and_outputs_start_with_their_folder(self, client: Client) -> None:
        code = scenario("10")[2].request["body"]["algorithm"]["meta"]["rawcode"]
        code = code.replace("'/data/", "os.environ['DATA_ROOT']+'/")
        job = client.start(code)

        client.wait(job)

        recorded = frames(scenario("10")[11].content)
        assert sorted(frames(client.result(job, 2).content)) == sorted(recorded)
        assert client.outputs(job) == {"outputs": None, "outputs/hello.txt": b"hello from c2d\n"}
        assert len(client.result(job, 3).content) == len(scenario("10")[12].content)

    def test_provisioning_is_logged_in_the_recorded_words(self, client: Client) -> None:
        job = client.start("pass")

        client.wait(job)

        log = client.result(job, 1).text
        theirs = scenario("10")[10]
        its_id = theirs.request["query"]["jobId"].rpartition("-")[2]
        assert log == theirs.content.decode().replace(its_id, job.rpartition("-")[2])

    def test_image_log_has_the_recorded_words(self, client: Client) -> None:
        response = client.post_start(
            algorithm={"meta": {"rawcode": "pass", "container": recorded_container()}}
        )
        job = response.json()[0]["jobId"]

        client.wait(job)

        ours, theirs = (
            client.result(job, 0).text.splitlines(),
            scenario("10")[9].content.decode().splitlines(),
        )
        assert [line for line in ours if "sha256" not in line] == [
            line for line in theirs if "sha256" not in line
        ]

    def test_links_and_folders_in_outputs_stay_what_they_are(self, client: Client) -> None:
        code = DATA + "out = DATA / 'outputs'\n(out / 'sub' / 'deep').mkdir(parents=True)\n"
        code += "(out / 'sub' / 'deep' / 'x.csv').write_text('1')\n(out / 'link').symlink_to('/etc/passwd')\n"
        job = client.start(code)

        client.wait(job)

        assert list(client.outputs(job)) == [
            "outputs",
            "outputs/link",
            "outputs/sub",
            "outputs/sub/deep",
            "outputs/sub/deep/x.csv",
        ]
        assert client.outputs(job)["outputs/link"] is None


class TestContainer:
    def test_folders_parameters_and_environment_are_the_recorded_ones(self, client: Client) -> None:
        code = DATA + "for place, folders, files in sorted(os.walk(DATA)):\n"
        code += "    print(os.path.relpath(place, DATA), sorted(folders), sorted(files))\n"
        code += "print((DATA / 'inputs' / 'algoCustomData.json').read_text())\nprint(sorted(os.environ))\n"
        job = client.start(code, algorithm={"algocustomdata": {"threshold": 5}, "envs": {"COUNTRY": "AT"}})

        client.wait(job)

        assert client.log(job).splitlines() == [
            ". ['ddos', 'inputs', 'logs', 'outputs', 'transformations'] []",
            "ddos [] []",
            "inputs [] ['algoCustomData.json']",
            "logs [] ['configuration.log', 'image.log']",
            "outputs [] []",
            "transformations [] ['algorithm']",
            '{"threshold":5}',
            "['COUNTRY', 'DATA_ROOT', 'HOME', 'HOSTNAME', 'LC_CTYPE', 'PATH']",
        ]

    @pytest.mark.skipif(
        os.geteuid() != 0, reason="needs a kernel that grants namespaces; root has them nearly always"
    )
    def test_walls_hide_the_machine_where_the_kernel_grants_them(
        self, running: Bench, client: Client
    ) -> None:
        code = DATA + "import socket\nprint(DATA, os.getuid(), os.getpid(), os.path.exists('/home'))\n"
        code += "try: socket.create_connection(('127.0.0.1', " + str(running.server.port) + "), 1)\n"
        code += "except OSError as error: print('no network')\n"
        job = client.start(code)

        client.wait(job)

        outcome = runner.outcome(folder=running.engine.job_folder(job_id=job.rpartition("-")[2]))
        assert outcome is not None
        if outcome["without_walls"]:
            pytest.skip(f"this kernel refuses: {outcome['without_walls']}")
        assert client.log(job) == "/data 1000 1 False\nno network\n"


class TestBuild:
    """Scenario 21: images from dockerfiles, in words alone."""

    @staticmethod
    def start(client: Client, *, recorded: int, **changes: str) -> str:
        algorithm = dict(scenario("21")[recorded].request["body"]["algorithm"])
        container = algorithm["meta"]["container"] | changes
        response = client.post_start(algorithm={"meta": {"rawcode": "print(1)", "container": container}})
        (report,) = response.json()
        assert (report["status"], report["buildStartTimestamp"]) == (12, "0")
        assert shape(report) == shape(scenario("21")[recorded].json[0])
        return str(report["jobId"])

    @staticmethod
    def words(log: bytes) -> list[str]:
        """Take the hashes out of a log."""
        return re.sub(r"\b[0-9a-f]{64}\b|\b[0-9a-f]{12}\b", "#", log.decode()).splitlines()

    def test_of_an_image_that_comes_to_be_passes_the_recorded_course(
        self, running: Bench, client: Client
    ) -> None:
        running.engine._pace = Pace(step_s=0.2)  # every state is to be seen
        job = self.start(client, recorded=1)

        seen = client.wait(job)

        recorded = [exchange.json[0] for exchange in course("21", first=3, last=8)]
        assert [report["status"] for report in seen] == [report["status"] for report in recorded]
        assert [shape(report) for report in seen] == [shape(report) for report in recorded]
        assert float(seen[-1]["buildStartTimestamp"]) < float(seen[-1]["buildStopTimestamp"])
        assert self.words(client.result(job, 0).content) == self.words(scenario("21")[9].content)

    def test_of_an_image_that_cannot_be_built_ends_as_recorded(self, client: Client) -> None:
        job = self.start(client, recorded=13)

        seen = client.wait(job)

        recorded = scenario("21")[15].json[0]
        assert [report["status"] for report in seen] == [12, 13]
        assert seen[-1]["statusText"] == recorded["statusText"]
        assert shape(seen[-1]) == shape(recorded)
        assert self.words(client.result(job, 0).content) == self.words(scenario("21")[16].content)

    @pytest.mark.parametrize(
        "dockerfile",
        [
            "",
            "RUN true\n",
            "FROM nowhere/nothing:1\n",
            "FROM python:3.11\nFROM python:3.11\n",
            "# FROM python\n",
            "FROM python:3.11\nRUN pip install x && \\\n    exit 3\n",
        ],
    )
    def test_without_a_known_image_or_with_a_failing_command_fails(
        self, tmp_path: Path, dockerfile: str
    ) -> None:
        built = build_image(logs=tmp_path, name="a-image:latest", dockerfile=dockerfile, pause=lambda _: None)

        assert not built
        assert "Cannot find image 'a-image:latest' after building" in (tmp_path / "image.log").read_text()

    def test_runs_nothing_of_the_dockerfile(self, tmp_path: Path) -> None:
        made = tmp_path / "made"
        dockerfile = f"FROM --platform=linux/amd64 python:3.11 AS base\nENV A=1\nRUN touch {made}\n"
        waited: list[float] = []

        built = build_image(logs=tmp_path, name="a:latest", dockerfile=dockerfile, pause=waited.append)

        assert built
        assert not made.exists()
        assert sum(waited) == 1


class TestEnds:
    def test_failing_algorithm_ends_like_a_good_one_with_its_exit_code(self, client: Client) -> None:
        code = scenario("12")[1].request["body"]["algorithm"]["meta"]["rawcode"]
        job = client.start(code)

        report = client.wait(job)[-1]

        assert (report["status"], report["terminationDetails"]) == (71, {"exitCode": 1, "OOMKilled": False})
        assert sorted(frames(client.result(job, 2).content)) == sorted(frames(scenario("12")[10].content))

    def test_algorithm_over_its_time_is_killed_and_keeps_what_it_wrote(self, client: Client) -> None:
        code = DATA + "(DATA / 'outputs' / 'partial.txt').write_text('partial')\n" + SLEEP.format(60)
        job = client.start(code, maxJobDuration=1)

        report = client.wait(job)[-1]

        recorded = scenario("13")[7].json[0]
        for key in ("status", "terminationDetails", "stopRequested"):
            assert report[key] == recorded[key]
        assert client.outputs(job)["outputs/partial.txt"] == b"partial"

    def test_duration_over_the_maximum_is_clamped_silently(self, client: Client) -> None:
        job = client.start("pass", maxJobDuration=100_000)

        assert client.status(job)["maxJobDuration"] == 120

    def test_algorithm_over_its_memory_is_killed_and_reported(self, client: Client) -> None:
        code = scenario("23")[1].request["body"]["algorithm"]["meta"]["rawcode"]
        job = client.start(code.replace("2*1024**3", "5*1024**3//4"), resources=[{"id": "ram", "amount": 1}])

        report = client.wait(job)[-1]

        assert (report["status"], report["terminationDetails"]) == (71, {"exitCode": 137, "OOMKilled": True})

    def test_stop_is_noted_at_once_and_ends_the_job(self, client: Client) -> None:
        job = client.start(SLEEP.format(60))
        client.wait(job, until=lambda report: report["algoStartTimestamp"] != "0")

        (answer,) = client.stop(job).json()

        recorded = scenario("14")
        assert shape(answer) == shape(recorded[6].json[0])
        assert (answer["status"], answer["stopRequested"], answer["results"]) == (40, True, None)
        report = client.wait(job)[-1]
        for key in ("status", "terminationDetails", "stopRequested"):
            assert report[key] == recorded[9].json[0][key]

    def test_algorithm_may_finish_its_work_when_it_is_stopped(self, client: Client) -> None:
        code = DATA + "import signal, sys, time\n"
        code += "def end(*_):\n    (DATA / 'outputs' / 'saved').write_text('in time')\n    sys.exit(7)\n"
        code += "signal.signal(signal.SIGTERM, end)\nprint('ready', flush=True)\ntime.sleep(60)\n"
        job = client.start(code)
        client.wait(job, until=lambda report: report["algoStartTimestamp"] != "0")
        with client.live_log(job) as stream:
            assert next(stream.iter_content(None))[8:] == b"ready\n"
            client.stop(job)

        report = client.wait(job)[-1]

        assert report["terminationDetails"]["exitCode"] == 7
        assert client.outputs(job)["outputs/saved"] == b"in time"

    def test_job_stopped_before_its_algorithm_began_never_runs(self, running: Bench, client: Client) -> None:
        job = client.start("print('ran')")
        client.stop(job)

        report = client.wait(job)[-1]

        assert (report["status"], report["stopRequested"]) == (71, True)
        assert running.store.runs(job_id=report["jobId"]) == []

    def test_nothing_that_the_algorithm_started_outlives_it(self, running: Bench, client: Client) -> None:
        code = (
            "import subprocess, sys\nsubprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'],"
        )
        code += " start_new_session=True)\nprint('left a child')\n"
        started = time.monotonic()
        job = client.start(code)

        report = client.wait(job)[-1]

        assert report["terminationDetails"]["exitCode"] == 0
        assert time.monotonic() - started < 20
        assert runner.living(folder=running.engine.job_folder(job_id=report["jobId"])) is None

    def test_output_over_the_disk_limit_ends_the_job(
        self, running: Bench, client: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(
            "ocean_portal.sandbox.nodework.SCRATCH_DISK_BYTES", 1_000_000
        )  # a quarter gigabyte is slow
        code = DATA + "import time\nfor n in range(40):\n"
        code += "    (DATA / 'outputs' / str(n)).write_bytes(bytes(100_000))\ntime.sleep(60)\n"
        job = client.start(code)

        report = client.wait(job)[-1]

        assert (report["status"], report["statusText"]) == (42, "Error: disk quota exceeded")

    def test_entry_point_that_is_no_python_fails(self, client: Client) -> None:
        container = recorded_container() | {"entrypoint": "node $ALGO"}
        response = client.post_start(algorithm={"meta": {"rawcode": "x", "container": container}})

        report = client.wait(response.json()[0]["jobId"])[-1]

        assert (report["status"], report["statusText"]) == (41, "Failed to run algorithm")


class TestRoom:
    """Scenario 24."""

    def test_third_job_is_refused_and_the_environment_tells_why(self, client: Client) -> None:
        for _ in range(2):
            client.start(SLEEP.format(60))

        response = client.post_start(
            algorithm={"meta": {"rawcode": "pass", "container": recorded_container()}}
        )

        recorded = scenario("24")[4]
        assert (response.status_code, response.content) == (recorded.status, recorded.content)
        theirs = scenario("24")[3].json[0]
        ours = client.environment()
        for document in (ours, theirs):
            document["resources"] = [item["inUse"] for item in document["resources"]]
            document["free"] = [item["inUse"] for item in document["free"]["resources"]]
        for key in ("runningJobs", "runningfreeJobs", "queuedJobs", "queuedFreeJobs", "resources", "free"):
            assert ours[key] == theirs[key]

    def test_queued_job_runs_when_there_is_room_and_an_impatient_one_expires(self, client: Client) -> None:
        slow = [client.start(SLEEP.format(60)) for _ in range(2)]
        patient = client.start("pass", queueMaxWaitTime=60)
        impatient = client.start("pass", queueMaxWaitTime=1)
        assert client.environment()["queuedFreeJobs"] == 2
        recorded = scenario("24")

        expired = client.wait(impatient)

        assert [report["status"] for report in expired] == [1, 2]
        for ours, seq in zip(expired, (7, 8), strict=True):
            assert shape(ours) == shape(recorded[seq].json[0])
            assert ours["statusText"] == recorded[seq].json[0]["statusText"]
        client.stop(slow[0])
        assert [report["status"] for report in client.wait(patient)][-1] == 71

    def test_queue_is_first_come_first_served(self, running: Bench, client: Client) -> None:
        slow = [client.start(SLEEP.format(60)) for _ in range(2)]
        waiting = [client.start("pass", queueMaxWaitTime=60) for _ in range(3)]
        client.stop(slow[0])

        for job in waiting:
            client.wait(job)

        starts = [running.store.runs(job_id=job.rpartition("-")[2])[0] for job in waiting]
        assert starts == sorted(starts)

    def test_stopped_job_leaves_the_queue_without_running(self, running: Bench, client: Client) -> None:
        for _ in range(2):
            client.start(SLEEP.format(60))
        job = client.start("pass", queueMaxWaitTime=60)

        client.stop(job)

        report = client.wait(job)[-1]
        assert report["stopRequested"]
        assert running.store.runs(job_id=report["jobId"]) == []


class TestLiveLog:
    """Scenarios 14 and 19."""

    def test_lines_arrive_while_the_algorithm_runs(self, client: Client) -> None:
        code = "import time\nfor i in range(4):\n    print('tick', i, flush=True)\n    time.sleep(0.4)\n"
        job = client.start(code)
        client.wait(job, until=lambda report: report["algoStartTimestamp"] != "0")
        arrived = []

        with client.live_log(job) as stream:
            assert stream.headers.get("Content-Type") is None
            for chunk in stream.iter_content(None):
                arrived.append((time.monotonic(), chunk))

        expected = [(1, f"tick {i}\n".encode()) for i in range(4)]
        assert frames(b"".join(chunk for _, chunk in arrived)) == expected
        assert arrived[-1][0] - arrived[0][0] > 0.5

    @pytest.mark.parametrize("cut", range(31))
    def test_frame_is_passed_on_when_it_is_whole(self, cut: int) -> None:
        log = scenario("10")[11].content[:36]

        first, rest = whole_frames(log[:cut])
        then, nothing = whole_frames(rest + log[cut:])

        assert [frames(frame) for frame in first + then] == [[frame] for frame in frames(log)]
        assert nothing == b""

    def test_second_reader_begins_at_the_first_line(self, client: Client) -> None:
        job = client.start(
            "import time\nprint('first', flush=True)\ntime.sleep(1.5)\nprint('last', flush=True)\n"
        )
        client.wait(job, until=lambda report: report["algoStartTimestamp"] != "0")

        with client.live_log(job) as one:
            next(one.iter_content(None))
            with client.live_log(job) as other:
                assert frames(other.content) == [(1, b"first\n"), (1, b"last\n")]

    def test_there_is_none_before_and_after(self, client: Client) -> None:
        job = client.start("print('x')")
        early = client.live_log(job)
        client.wait(job)
        late = client.live_log(job)

        recorded = scenario("14")[2]
        for response in (early, late):
            assert (response.status_code, response.content) == (recorded.status, recorded.content)


class TestStorageExpiry:
    def test_files_and_row_are_gone_when_the_time_is_over(self, tmp_path: Path) -> None:
        bench = make_bench(tmp_path)
        object.__setattr__(bench.environment, "storage_expiry_s", 1)
        bench.engine.open()
        try:
            client = Client(bench.url)
            job = client.start("pass")
            report = client.wait(job)[-1]
            folder = bench.engine.job_folder(job_id=report["jobId"])
            assert folder.exists()

            deadline = time.monotonic() + 10
            while bench.store.job(job_id=report["jobId"]) and time.monotonic() < deadline:
                time.sleep(0.05)

            query = {"jobId": job}
            assert client.http.get(bench.url + "/api/services/compute", params=query, timeout=5).json() == []
            assert not folder.exists()
        finally:
            close_bench(bench)
