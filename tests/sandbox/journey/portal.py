"""Runs a portal for a test as a person would: its own folder and database, real commands, a real worker."""

import hashlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from tests.sandbox.running import Box

ROOT = Path(__file__).parents[3]
DEADLINE_S = 90.0  # generous: the machine may be busy with other tests
LOOK_EVERY_S = 0.02
WORKER_ENDS_WITHIN_S = 20.0  # what the worker promises
T = TypeVar("T")


def wait_for(fact: Callable[[], T | None], what: str, *, within_s: float = DEADLINE_S) -> T:
    """Return the first truthy value of `fact`; fail with `what` when the deadline is over."""
    deadline = time.monotonic() + within_s
    while True:
        if value := fact():
            return value
        assert time.monotonic() < deadline, f"waited {within_s:.0f} s in vain for: {what}"
        time.sleep(LOOK_EVERY_S)


def living(*, group: int) -> list[int]:
    """Return the processes of a process group, those aside that have ended and wait to be reaped."""
    found: list[int] = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):
                state, _parent, its_group = (entry / "stat").read_text().rpartition(")")[2].split()[:3]
                if int(its_group) == group and state != "Z":
                    found.append(int(entry.name))
    return found


@dataclass(frozen=True)
class Ended:
    """A command that has ended."""

    code: int
    stdout: str
    stderr: str

    @property
    def job(self) -> dict[str, Any]:
        """What --json printed; fails when stdout holds anything else."""
        printed: dict[str, Any] = json.loads(self.stdout)
        return printed


class Command:
    """A command that runs; `end` waits for it."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process

    @property
    def runs(self) -> bool:
        return self._process.poll() is None

    def end(self) -> Ended:
        stdout, stderr = self._process.communicate(timeout=DEADLINE_S)
        return Ended(code=self._process.returncode, stdout=stdout, stderr=stderr)

    def close(self) -> None:
        """End it, whatever it does, unless somebody waited for it."""
        if self._process.stdout is not None and not self._process.stdout.closed:
            self._process.kill()
            self._process.communicate()


class Portal:
    """A portal in a folder of its own, set up from a running sandbox, without a worker at first."""

    def __init__(self, *, folder: Path, box: Box) -> None:
        self.folder = folder
        self.box = box
        self._worker: subprocess.Popen[bytes] | None = None
        self._commands: list[Command] = []
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("PORTAL_")}
        self.environment = inherited | {
            "DJANGO_SETTINGS_MODULE": "ocean_portal.settings",
            "PORTAL_ENV_FILE": str(ROOT / "tests" / "portal.env"),
            "PORTAL_VAR": str(folder),
        }

    # commands

    def begin(self, *arguments: str) -> Command:
        """Start a manage.py command and return without waiting for it."""
        command = Command(
            subprocess.Popen(
                [sys.executable, "manage.py", *arguments],
                cwd=ROOT,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
        self._commands.append(command)
        return command

    def manage(self, *arguments: str) -> Ended:
        """Run a manage.py command to its end."""
        return self.begin(*arguments).end()

    def set_up(self) -> None:
        """Make the database and the demo team. The node's limit is told, so that no test waits for its budget."""
        self.folder.mkdir(parents=True, exist_ok=True)
        info = self.folder / "sandbox.json"
        info.write_text(json.dumps(self.box.info | {"rate_limit": 10_000}))
        for arguments in (("migrate", "-v0"), ("setup_demo", "--sandbox", str(info))):
            ended = self.manage(*arguments)
            assert ended.code == 0, ended.stderr

    def call(self, code: str) -> Any:
        """Run Python code in a child that has the portal's settings; return what it assigns to `answer`."""
        imports = (
            "import json, uuid\n"
            "from datetime import timedelta\n"
            "from django.utils.timezone import now as clock\n"
            "from jobs.models import *\n"
            "from jobs.services import catalogue, launching, refreshing, results, teams, wallets\n"
            "actor = teams.operator(team='demo')\n"
            "answer = None\n"
        )
        script = f"{imports}{code}\nprint(json.dumps(answer, default=str))\n"
        ended = self.manage("shell", "-v", "0", "--no-imports", "-c", script)
        assert ended.code == 0, ended.stderr
        return json.loads(ended.stdout.splitlines()[-1])  # warnings may stand before it

    def begin_launch(
        self,
        algorithm: str,
        *more: str,
        datasets: tuple[str, ...] = ("Iris flowers",),
        params: dict[str, Any] | None = None,
        wait: bool = True,
    ) -> Command:
        """Start `launch_job --json` with the demo team and wallet and the free tier.

        algorithm: its name, or the first of the options that say what runs; more: further options.
        """
        named = [part for dataset in datasets for part in ("--dataset", dataset)]
        given = ["--params", json.dumps(params)] if params is not None else []
        waiting = ["--wait", "--timeout", str(DEADLINE_S - 10)] if wait else []
        return self.begin(
            *("launch_job", "--json", "--team", "demo", "--wallet", "demo", "--environment", "free"),
            *(*named, *given, *waiting),
            *(() if algorithm.startswith("--") else ("--algorithm",)),
            *(algorithm, *more),
        )

    def begin_watched(self, algorithm: str, *more: str, **options: Any) -> tuple[Command, str]:
        """Start `launch_job --json --wait`, which watches its job; return the command and the job's id."""
        before = {row["id"] for row in self.rows("SELECT id FROM jobs_job")}
        command = self.begin_launch(algorithm, *more, **options)

        def recorded() -> str | None:
            new = {row["id"] for row in self.rows("SELECT id FROM jobs_job")} - before
            assert new or command.runs, command.end()
            return str(uuid.UUID(new.pop())) if new else None

        return command, wait_for(recorded, "a new job")

    def launch(self, algorithm: str, *more: str, **options: Any) -> Ended:
        """Run `launch_job --json` to its end; options as of `begin_launch`."""
        return self.begin_launch(algorithm, *more, **options).end()

    # facts, straight from the database

    def rows(self, sql: str, *values: object) -> list[sqlite3.Row]:
        """Read the portal's database."""
        with closing(sqlite3.connect(f"file:{self.folder / 'portal.sqlite3'}?mode=ro", uri=True)) as db:
            db.row_factory = sqlite3.Row
            return db.execute(sql, values).fetchall()

    def write(self, sql: str, *values: object) -> None:
        """Change the portal's database behind its back."""
        with closing(sqlite3.connect(self.folder / "portal.sqlite3", timeout=20)) as db, db:
            db.execute(sql, values)

    def job(self, job_id: str) -> sqlite3.Row:
        """Return a job's row."""
        (row,) = self.rows("SELECT * FROM jobs_job WHERE id = ?", uuid.UUID(job_id).hex)
        return row

    def count_jobs(self) -> int:
        return int(self.rows("SELECT count(*) FROM jobs_job")[0][0])

    def wait_for_state(self, job_id: str, *states: str) -> sqlite3.Row:
        """Wait until a job is in one of the states and return its row."""

        def there() -> sqlite3.Row | None:
            row = self.job(job_id)
            return row if row["state"] in states else None

        try:
            return wait_for(there, f"job {job_id} in {' or '.join(states)}")
        except AssertionError as error:
            raise AssertionError(f"{error}; it is {dict(self.job(job_id))}\n{self.worker_log()}") from None

    def live_log(self, job_id: str) -> bytes:
        """Return what has arrived of a live log."""
        sql = "SELECT data FROM jobs_logchunk WHERE job_id = ? ORDER BY offset"
        return b"".join(row["data"] for row in self.rows(sql, uuid.UUID(job_id).hex))

    def archived(self, job_id: str) -> dict[str, bytes]:
        """Return the bytes in storage of every archived result, by name; each fits its row's hash and size."""
        sql = "SELECT * FROM jobs_result WHERE job_id = ? AND status = 'archived'"
        found: dict[str, bytes] = {}
        for row in self.rows(sql, uuid.UUID(job_id).hex):
            content = (self.folder / "storage" / row["file"]).read_bytes()
            assert (len(content), hashlib.sha256(content).hexdigest()) == (row["size"], row["sha256"])
            found[row["path"] or row["name"]] = content
        return found

    def at_node(self, job_id: str) -> list[str]:
        """Return the service's own ids of the jobs that carry this job's tag; a Provider's have none, only an id."""
        job = self.job(job_id)
        sql = "SELECT id FROM jobs WHERE instr(spec, ?) OR id = ?"
        return [row[0] for row in self.box.rows(sql, str(uuid.UUID(job["tag"])), job["node_job_id"])]

    def runs(self, job_id: str) -> int:
        """Return how often the node has started this job's algorithm."""
        ids = self.at_node(job_id)
        marks = ", ".join("?" * len(ids))
        return int(self.box.rows(f"SELECT count(*) FROM runs WHERE job_id IN ({marks})", *ids)[0][0])

    # the worker

    def start_worker(self, *, python: Sequence[str] = (sys.executable,)) -> int:
        """Start a worker in a process group of its own and return that group. python: what runs manage.py."""
        assert self._worker is None, "there is a worker already"
        with (self.folder / "worker.log").open("ab") as log:
            self._worker = subprocess.Popen(
                [*python, "manage.py", "worker"],
                cwd=ROOT,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        return self._worker.pid

    def wait_for_beat(self) -> None:
        """Wait until the worker's pulse beats anew."""
        before = self._beat()
        wait_for(lambda: self._beat() != before, f"the pulse\n{self.worker_log()}")

    def kill_worker(self) -> None:
        """Send SIGKILL to the worker's whole process group."""
        worker = self._taken_worker()
        with suppress(ProcessLookupError):
            os.killpg(worker.pid, signal.SIGKILL)
        worker.wait()
        wait_for(lambda: not living(group=worker.pid), "the end of every process of the worker")

    def stop_worker(self, *, whole_group: bool) -> float:
        """Send SIGTERM to the worker, or to its whole group; return the seconds until no process was left."""
        worker = self._taken_worker()
        began = time.monotonic()
        (os.killpg if whole_group else os.kill)(worker.pid, signal.SIGTERM)
        worker.wait(timeout=DEADLINE_S)
        wait_for(lambda: not living(group=worker.pid), "the end of every process of the worker")
        return time.monotonic() - began

    def worker_log(self) -> str:
        """Return the end of what the workers said."""
        path = self.folder / "worker.log"
        return path.read_text(errors="replace")[-4000:] if path.exists() else ""

    def close(self) -> None:
        """End every process that was started here."""
        for command in self._commands:
            command.close()
        if self._worker is not None:
            self.kill_worker()

    def _taken_worker(self) -> "subprocess.Popen[bytes]":
        assert self._worker is not None, "there is no worker"
        worker, self._worker = self._worker, None
        return worker

    def _beat(self) -> str:
        return "".join(str(row["beat_at"]) for row in self.rows("SELECT beat_at FROM jobs_pulse"))
