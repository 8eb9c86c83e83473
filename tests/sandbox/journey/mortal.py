"""A portal with one launched job, whose processes are interrupted: killed, or frozen and woken."""

import json
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tests.sandbox.journey.interrupted import Interruption
from tests.sandbox.journey.nursery import Nursery
from tests.sandbox.journey.portal import DEADLINE_S, ROOT, Ended, Portal, living, wait_for
from tests.sandbox.running import Box

PAST, FUTURE = "2001-01-01 00:00:00", "2100-01-01 00:00:00"
FAST: dict[str, Any] = {
    "jobs.tasks.BEAT_S": 0.1,
    "jobs.services.sending.OVERTAKEN_FOR": 0.1,
    "jobs.ocean.transport.RETRY_PAUSES_S": [0.1],
}
# Who is at work on a job, when to look again, and what is still to be told of: the living go on with that.
TURNS = {"lease_holder", "lease_until", "follow_holder", "follow_until", "next_check_at", "next_look_at"}
TURNS |= {"tell_at"}
ENDED = ("SUCCEEDED", "FAILED", "CANCELLED", "NEEDS_ATTENTION")


class Mortal(Portal):
    """A copy of a portal where a job has been launched and no worker has run; nothing else is in its database."""

    def __init__(self, *, box: Box, template: Path, nursery: Nursery) -> None:
        super().__init__(folder=nursery.folder, box=box)
        self._nursery = nursery
        shutil.rmtree(self.folder, ignore_errors=True)
        shutil.copytree(template, self.folder)
        (row,) = self.rows("SELECT id FROM jobs_job")
        self.job_id = str(uuid.UUID(row["id"]))
        self.write("UPDATE jobs_job SET tag = ?", uuid.uuid4().hex)
        self._interruptions: list[Interruption] = []

    @property
    def service_url(self) -> str:
        """Where the job runs."""
        return self.box.node_url

    def set_seconds(self, seconds: float) -> None:
        """Say how long the algorithm takes."""
        self.write("UPDATE jobs_job SET parameters = ?", json.dumps({"seconds": seconds}))

    def interruption(
        self, at: str, *, seconds: Mapping[str, Any] | None = None, **options: Any
    ) -> Interruption:
        """Make an interruption that has not happened yet."""
        folder = self.folder / f"interruption-{len(self._interruptions)}"
        folder.mkdir()
        made = Interruption(at=at, folder=str(folder), seconds=FAST | (seconds or {}), **options)
        self._interruptions.append(made)
        return made

    @property
    def overlooked(self) -> list[str]:
        """The writes that were made in the services at places which nobody listed."""
        return [made.unknown.read_text() for made in self._interruptions if made.unknown.exists()]

    @property
    def undisturbed(self) -> dict[str, Any]:
        """What a program of the portal is started with that nothing happens to."""
        return asdict(self.interruption("never"))

    def manage(self, *arguments: str) -> Ended:
        """Run a manage.py command to its end, forked: most of its time would else go into imports."""
        number = len(list(self.folder.glob("command-*")))
        folder = self.folder / f"command-{number}"
        folder.mkdir()
        log = folder / "log"
        # What a test does itself is no fact: nobody looks for writes that are not listed.
        plain = Interruption(at="never", folder=str(folder))
        child = self._nursery.start("manage.py", *arguments, log=log, interruption=asdict(plain))
        code = child.wait(timeout=DEADLINE_S)
        said = log.read_text()
        return Ended(code=code, stdout=said, stderr=said)

    # killed

    def live(self) -> None:
        """Start a worker that nothing happens to; like the others it beats fast, so that tests take less time."""
        self.bear(self.interruption("never"))

    def begin_to_die(self, at: str, **options: Any) -> None:
        """Start a worker that is killed, with its whole process group, right after a fact."""
        self.bear(self.interruption(at, **options))

    def wait_for_death(self, *, hurried: bool = True) -> None:
        """Wait until the worker is dead; pauses pass quickly, if that is wanted."""
        worker = self._taken_worker()
        try:
            wait_for(
                lambda: (hurried and self.hasten()) or worker.poll() is not None,
                "the fact at which the worker dies",
            )
        except AssertionError as error:
            raise AssertionError(
                f"{error}; the job is {dict(self.job(self.job_id))}\n{self.worker_log()}"
            ) from None
        finally:
            with suppress(ProcessLookupError):
                os.killpg(worker.pid, signal.SIGKILL)
            worker.wait()
        assert worker.returncode == -signal.SIGKILL, self.worker_log()
        wait_for(lambda: not living(group=worker.pid), "the end of every process of the worker")
        self._let_pause_after_stop_pass()

    def bear(self, interruption: Interruption) -> None:
        """Start a worker that is interrupted so."""
        assert self._worker is None, "there is a worker already"
        log = self.folder / "worker.log"
        self._worker = self._nursery.start("manage.py", "worker", log=log, interruption=asdict(interruption))

    def die_calling(self, at: str, code: str) -> None:
        """Run code of a person's wish, with `actor` and `job_id`, in a process that is killed right after a fact."""
        script = (
            "import uuid\nfrom django.utils.timezone import now as clock\n"
            "from jobs.services import launching, teams\n"
            f"actor, job_id = teams.operator(team='demo'), uuid.UUID({self.job_id!r})\n{code}"
        )
        ended = subprocess.run(
            self.interruption(at).command("manage.py", "shell", "--no-imports", "-c", script),
            cwd=ROOT,
            env=self.environment,
            capture_output=True,
            check=False,
            start_new_session=True,
            timeout=60,
        )
        assert ended.returncode == -signal.SIGKILL, ended.stderr.decode()

    # frozen

    @contextmanager
    def frozen_at(self, at: str, *, meanwhile: Callable[["Mortal"], None], **options: Any) -> Iterator[None]:
        """Freeze a worker's process group at a fact; wake it after the block, and end it when it has gone on."""
        made = self.interruption(at, how="halt", **options)
        self.bear(made)
        meanwhile(self)
        wait_for(lambda: self.hasten() or made.halted.exists(), "the fact at which the worker is frozen")
        frozen = self._taken_worker()
        try:
            # Nobody in the group is to sleep with the database's lock in his hand: they are stopped while we hold it.
            with closing(
                sqlite3.connect(self.folder / "portal.sqlite3", timeout=20, isolation_level=None)
            ) as db:
                db.execute("BEGIN IMMEDIATE")
                os.killpg(frozen.pid, signal.SIGSTOP)
                wait_for(lambda: set(states(group=frozen.pid)) == {"T"}, "the group to be frozen")
                db.execute("ROLLBACK")
            made.halted.unlink()
            self.let_leases_run_out()
            yield
            self.kill_worker()  # what is written from here on, the woken one writes
            os.killpg(frozen.pid, signal.SIGCONT)
            wait_for(lambda: made.went_on.exists(), "the woken worker to go on")
            self._worker = frozen
            self.stop_worker(whole_group=False)  # ends when the step at hand has ended
        finally:
            with suppress(ProcessLookupError):
                os.killpg(frozen.pid, signal.SIGKILL)
            frozen.wait()

    def told(self) -> dict[str, Any]:
        """Return what a person can learn of the job: its row, its history, its results, its log, and the files."""

        def rows(table: str, key: str) -> list[dict[str, Any]]:
            found = self.rows(f"SELECT * FROM jobs_{table} WHERE {key} = ?", uuid.UUID(self.job_id).hex)
            return [{name: value for name, value in dict(row).items() if name not in TURNS} for row in found]

        told: dict[str, Any] = {
            name: rows(name, "job_id") for name in ("jobevent", "result", "logchunk", "transaction")
        }
        return told | {"job": rows("job", "id"), "files": self.archived(self.job_id)}

    # time

    def let_leases_run_out(self) -> None:
        """Make it a few minutes later for everything that a frozen process has taken."""
        for table, column in (
            ("jobs_job", "lease_until"),
            ("jobs_job", "follow_until"),
            ("jobs_noncelease", "leased_until"),
            ("jobs_pulse", "lease_until"),
        ):
            self.write(f"UPDATE {table} SET {column} = ? WHERE {column} IS NOT NULL", PAST)
        self._let_pause_after_stop_pass()
        self.hasten(at_once=True)

    def end_of_job(self) -> sqlite3.Row:
        """Return the job's row once it has ended and nothing is to be fetched any more; pauses pass quickly."""

        def ended() -> sqlite3.Row | None:
            self.hasten()
            if self.rows("SELECT 1 FROM jobs_result WHERE next_try_at IS NOT NULL"):
                return None
            row = self.job(self.job_id)
            return row if row["state"] in ENDED else None

        try:
            return wait_for(ended, "the end of the job")
        except AssertionError as error:
            raise AssertionError(
                f"{error}; it is {dict(self.job(self.job_id))}\n{self.worker_log()}"
            ) from None

    def _let_pause_after_stop_pass(self) -> None:
        self.write("UPDATE jobs_job SET stop_sent_at = ? WHERE stop_sent_at IS NOT NULL", PAST)

    def hasten(self, *, at_once: bool = False) -> bool:
        """Shorten every pause of more than a second; False, for use in conditions."""
        held = "AND (lease_until IS NULL OR lease_until <= datetime('now'))"
        soon, free = ("'now'", "") if at_once else ("'now', '+1 seconds'", held)
        for table, column, more in (
            ("jobs_job", "next_check_at", free),
            ("jobs_result", "next_try_at", ""),
            ("jobs_transaction", "next_look_at", ""),
            ("jobs_network", "next_block_check_at", ""),
        ):
            where = f"{column} > datetime({soon}) {more}"
            if self.rows(f"SELECT 1 FROM {table} WHERE {where}"):
                self.write(f"UPDATE {table} SET {column} = ? WHERE {where}", PAST)
        return False


def states(*, group: int) -> Iterator[str]:
    """Yield the state letter of each living process of a group: T is stopped."""
    for pid in living(group=group):
        with suppress(OSError):
            yield Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def closed_port() -> int:
    """Return a port on which nobody listens."""
    with closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])
