"""The process that watches one algorithm, alone: with and without walls."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from ocean_portal.sandbox import runner
from tests.sandbox.client import frames, text_of

ROOT = Path(__file__).parents[2]
# A kernel that refuses namespaces, as inside many containers.
WITHOUT_WALLS = """
import sys
from ocean_portal.sandbox import jail, runner
def refuse(**_): raise OSError("refused by the test")
jail._enter_namespaces = refuse
sys.exit(runner.main(sys.argv))
"""


def prepare(folder: Path, code: str, **limits: Any) -> Path:
    """Lay out a job folder with an algorithm."""
    for name in ("inputs", "outputs", "transformations", "logs", "ddos"):
        (folder / "data" / name).mkdir(parents=True)
    (folder / "logs").mkdir()
    (folder / "data" / "transformations" / "algorithm").write_text(code)
    wants = {
        "run": "1",
        "hostname": "job",
        "envs": {},
        "memory_bytes": 2**30,
        "disk_bytes": 10**7,
        "wall_s": 60,
        "grace_s": 0.3,
        "log_bytes": 10**6,
    }
    (folder / "run.json").write_text(json.dumps(wants | limits))
    return folder


def start(folder: Path, *, walls: bool) -> "subprocess.Popen[bytes]":
    command = ["-m", "ocean_portal.sandbox.runner"] if walls else ["-c", WITHOUT_WALLS]
    return subprocess.Popen([sys.executable, *command, str(folder)], cwd=ROOT, start_new_session=True)


def run(folder: Path, *, walls: bool) -> dict[str, Any]:
    """Run to the end and return the outcome."""
    assert start(folder, walls=walls).wait(30) == 0
    outcome = runner.outcome(folder=folder)
    assert outcome is not None
    return outcome


def log_of(folder: Path) -> str:
    return text_of((folder / "logs" / "algorithm.log").read_bytes())


def wait_for_output(folder: Path) -> None:
    deadline = time.monotonic() + 20
    log = folder / "logs" / "algorithm.log"
    while not (log.exists() and log.stat().st_size) and time.monotonic() < deadline:
        time.sleep(0.01)


class TestWithoutWalls:
    def test_algorithm_runs_on_the_folder_that_data_root_names(self, tmp_path: Path) -> None:
        folder = prepare(tmp_path / "job", "import os\nprint(os.environ['DATA_ROOT'])\nraise SystemExit(5)\n")

        outcome = run(folder, walls=False)

        assert outcome["without_walls"] == "refused by the test"
        assert outcome["exitCode"] == 5
        assert log_of(folder) == f"{folder / 'data'}\n"

    def test_stop_ends_an_algorithm_that_does_not_listen(self, tmp_path: Path) -> None:
        folder = prepare(tmp_path / "job", "import time\nprint('on', flush=True)\ntime.sleep(60)\n")
        process = start(folder, walls=False)
        wait_for_output(folder)

        process.send_signal(signal.SIGTERM)

        assert process.wait(20) == 0
        outcome = runner.outcome(folder=folder)
        assert outcome is not None
        assert (outcome["exitCode"], outcome["reason"]) == (137, "stop")


@pytest.mark.parametrize("walls", [True, False], ids=["walled", "without walls"])
class TestLimits:
    def test_memory_is_watched(self, tmp_path: Path, walls: bool) -> None:
        code = "import time\nx = bytearray(200_000_000)\nx[::4096] = b'1' * len(x[::4096])\ntime.sleep(60)\n"
        folder = prepare(tmp_path / "job", code, memory_bytes=100_000_000)

        outcome = run(folder, walls=walls)

        assert (outcome["exitCode"], outcome["OOMKilled"]) == (137, True)

    def test_time_is_watched(self, tmp_path: Path, walls: bool) -> None:
        folder = prepare(tmp_path / "job", "while True: pass\n", wall_s=0.3)

        outcome = run(folder, walls=walls)

        assert (outcome["exitCode"], outcome["reason"]) == (137, "duration")
        assert outcome["stopped_at"] - outcome["started_at"] < 5

    def test_number_of_processes_is_watched(self, tmp_path: Path, walls: bool) -> None:
        code = (
            "import os, time\nfor _ in range(100):\n    if os.fork() == 0: time.sleep(60)\ntime.sleep(60)\n"
        )
        folder = prepare(tmp_path / "job", code)

        outcome = run(folder, walls=walls)

        assert (outcome["exitCode"], outcome["reason"]) == (137, "processes")

    def test_one_file_cannot_pass_the_disk_limit(self, tmp_path: Path, walls: bool) -> None:
        code = "import os\nopen(os.environ['DATA_ROOT'] + '/outputs/x', 'wb').write(bytes(20_000_000))\n"
        folder = prepare(tmp_path / "job", code)

        outcome = run(folder, walls=walls)

        assert outcome["exitCode"] == 1
        assert "File too large" in log_of(folder)

    def test_log_is_cut_at_its_limit_and_the_algorithm_goes_on(self, tmp_path: Path, walls: bool) -> None:
        folder = prepare(tmp_path / "job", "for i in range(100_000): print('line', i)\n", log_bytes=50_000)

        outcome = run(folder, walls=walls)

        assert outcome["exitCode"] == 0
        log = (folder / "logs" / "algorithm.log").read_bytes()
        assert len(log) < 60_000
        assert frames(log)[-1][1].strip().endswith(b"the sandbox's limit]")

    def test_killed_runner_takes_its_algorithm_along(self, tmp_path: Path, walls: bool) -> None:
        code = "import os, time\nwhile True:\n"
        code += "    open(os.environ['DATA_ROOT'] + '/outputs/beat', 'w').write(str(time.time()))\n"
        code += "    print('on', flush=True)\n"  # there is a beat before the test goes on
        code += "    time.sleep(0.02)\n"
        folder = prepare(tmp_path / "job", code)
        process = start(folder, walls=walls)
        wait_for_output(folder)

        process.kill()
        process.wait()

        beat = folder / "data" / "outputs" / "beat"
        time.sleep(0.2)
        last = beat.stat().st_mtime_ns
        time.sleep(0.3)
        assert beat.stat().st_mtime_ns == last


class TestLock:
    def test_second_runner_leaves_a_folder_alone_that_one_works_on(self, tmp_path: Path) -> None:
        folder = prepare(tmp_path / "job", "import time\nprint('on', flush=True)\ntime.sleep(1)\n")
        first = start(folder, walls=True)
        wait_for_output(folder)

        second = start(folder, walls=True)

        assert second.wait(20) == 0
        assert first.poll() is None
        alive = runner.living(folder=folder)
        assert alive is not None and alive["pid"] == first.pid
        assert first.wait(20) == 0
        assert runner.living(folder=folder) is None

    def test_finished_folder_is_not_run_again(self, tmp_path: Path) -> None:
        folder = prepare(tmp_path / "job", "print('once')\n")
        before = run(folder, walls=True)

        assert run(folder, walls=True) == before

    def test_signature_of_an_earlier_run_is_not_taken_for_the_present_one(self, tmp_path: Path) -> None:
        folder = prepare(tmp_path / "job", "import time\nprint('on', flush=True)\ntime.sleep(60)\n")
        process = start(folder, walls=True)
        wait_for_output(folder)
        wants = json.loads((folder / "run.json").read_text())

        (folder / "run.json").write_text(json.dumps(wants | {"run": "2"}))

        assert runner.living(folder=folder) == {}
        process.kill()
        process.wait()

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root can make files of another user")
    def test_outputs_of_the_container_user_can_be_read_and_removed(self, tmp_path: Path) -> None:
        code = (
            "import os\np = os.environ['DATA_ROOT'] + '/outputs/x'\nopen(p, 'w').write('y')\nos.chmod(p, 0)\n"
        )
        folder = prepare(tmp_path / "job", code)

        run(folder, walls=True)

        assert (folder / "data" / "outputs" / "x").read_text() == "y"
