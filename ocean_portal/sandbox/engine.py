"""Runs jobs: the machinery under both dialects, around algorithms that really run.

What a dialect does with a job (folders, words, numbers, results) is its Work: nodework.py, provider/work.py.
A thread per job leads it through its phases; one more looks after the queue and old jobs, and has ended ones
settled (settling.py). What must outlive the process is in the store, in the job's folder, or is the runner
(runner.py), which goes on alone.
"""

import contextlib
import json
import os
import secrets
import shutil
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from ocean_portal.sandbox import processes, runner
from ocean_portal.sandbox.settling import Cashier, Settling
from ocean_portal.sandbox.store import Job, Store

# The numbers that both dialects share. Source: the status table of ocean-node 3.2.0; provider-v4/README.md.
QUEUED, CONFIGURING, PROVISIONING, RUNNING, PUBLISHING, SETTLED = 1, 20, 30, 40, 60, 70
LOG_BYTES = 10 * 1024**2


class JobEnded(Exception):
    """Carries the status number that a job ends with before its time."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


class Desk(Protocol):
    """What a dialect's work may do to its job while it prepares it."""

    def pause(self, steps: float) -> None:
        """Wait for so many steps."""

    def note(self, **columns: object) -> None:
        """Change columns of the job's row."""

    def now(self) -> float:
        """Return the time as rows keep it."""


@dataclass(frozen=True)
class Result:
    """A file that can be fetched: what a status answer says of it, and where it is."""

    entry: dict[str, Any]
    path: Path


@dataclass(frozen=True)
class Limits:
    """What an algorithm may use (bytes, seconds), and the environment it sees."""

    memory_bytes: int
    disk_bytes: int
    wall_s: float
    envs: dict[str, str]


class Work(Protocol):
    """What differs between the dialects in the life of a job."""

    @property
    def storage(self) -> str:
        """The name of the folder that keeps the jobs' folders."""

    @property
    def storage_expiry_s(self) -> float | None:
        """How long an ended job is kept; None for ever."""

    @property
    def settling(self) -> tuple[int, ...]:
        """The statuses that become SETTLED when the pace says so."""

    @property
    def warm_up_steps(self) -> float:
        """How long a job waits in the queue at the least."""

    def new_id(self) -> str:
        """Make an id for a job."""

    def missing(self, *, spec: dict[str, Any], running: list[Job]) -> str | None:
        """Return what there is not enough of for one more job, or None."""

    def waits(self, *, spec: dict[str, Any], missing: str | None, queue: list[Job]) -> bool:
        """Tell whether a new job has to queue. Raises Busy when it does not want to."""

    def first_status(self, *, spec: dict[str, Any]) -> int:
        """Return the number of the first phase."""

    def leaves_queue(self, *, job: Job, now: float) -> int | None:
        """Return the status with which a waiting job ends without having run, or None."""

    def prepare(self, *, job: Job, folder: Path, desk: Desk) -> None:
        """Fill the empty folder. Raises JobEnded."""

    def limits(self, *, job: Job) -> Limits:
        """Say what the algorithm may use. Raises OSError when it cannot run here."""

    def outcome(self, *, report: dict[str, Any]) -> dict[str, object]:
        """Return the columns that the runner's report changes. Raises JobEnded."""

    def publish(self, *, job: Job, folder: Path) -> int:
        """Make results of what the algorithm left, and return the last status. Raises JobEnded."""

    def broken(self, *, job: Job, folder: Path, error: Exception) -> int:
        """Return the status of a job that could not be run for a reason of this machine."""

    def results(self, *, job: Job, folder: Path) -> list[Result]:
        """List what can be fetched now."""


class Busy(Exception):
    """No room now and no wish to wait; the message is the node's. Source: recording 24, exchange 4."""


class _Closing(Exception):
    """The engine shuts down; the job goes on at the next start."""


@dataclass(frozen=True)
class Pace:
    """Seconds: one step of the node's loop; how long 71 stays before 70; the patience after SIGTERM."""

    step_s: float = 2.0
    settle_s: float = 3600.0

    @property
    def grace_s(self) -> float:
        """Ten seconds at the node's own pace. Source: recording 13."""
        return 5 * self.step_s


class Engine:
    """Accepts, runs, stops and forgets the jobs of one dialect."""

    def __init__(
        self,
        *,
        store: Store,
        folder: Path,
        work: Work,
        pace: Pace,
        cashier: Cashier | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._folder = folder.resolve() / "c2d_storage" / work.storage
        self._work = work
        self._pace = pace
        self._settling = Settling(store=store, statuses=work.settling, settled=SETTLED, cashier=cashier)
        self._now = now
        self._room = threading.Lock()  # whoever decides about room holds it until the job is in the store
        self._closing = threading.Event()
        self._threads: set[threading.Thread] = set()
        self._runners: dict[str, subprocess.Popen[bytes]] = {}

    # the life of the engine

    def open(self) -> None:
        """Take up the jobs that the last process left, and start looking after the queue."""
        for job in self._store.jobs(ended=False):
            if job["status"] != QUEUED:
                self._work_on(job["id"])
        self._spawn(self._keep_house)

    def close(self) -> None:
        """End all threads and algorithms in about a second; unfinished jobs run again at the next open."""
        self._closing.set()
        for thread in list(self._threads):
            thread.join(timeout=1)
        for job in self._store.jobs(ended=False):
            self._kill_runner(self.job_folder(job_id=job["id"]))
        for process in self._runners.values():
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=1)

    def job_folder(self, *, job_id: str) -> Path:
        """Return where a job's files are."""
        return self._folder / job_id

    # what clients want

    def start(
        self, *, owner: str, spec: dict[str, Any], charge: Callable[[str], dict[str, Any]] | None = None
    ) -> Job:
        """Take in a job; spec is what the dialect makes of a request.

        charge: takes the money for the job with this id once there is room, and returns the job's payment; what it
            raises ends the start.
        Raises Busy when there is no room and the job does not want to wait.
        """
        job_id = self._work.new_id()
        with self._room:
            missing = self._work.missing(spec=spec, running=self.running())
            waits = self._work.waits(spec=spec, missing=missing, queue=self.queued())
            payment = charge(job_id) if charge else None
            status = QUEUED if waits else self._work.first_status(spec=spec)
            self._store.add_job(
                job_id=job_id,
                owner=owner,
                status=status,
                spec=spec,
                now=round(self._now(), 3),
                payment=payment,
            )
        job = self._store.job(job_id=job_id)
        assert job is not None
        if not waits:
            self._work_on(job_id)
        return job

    def check_room(self, *, spec: dict[str, Any]) -> None:
        """Raise Busy when there is no room for a job that does not want to wait."""
        missing = self._work.missing(spec=spec, running=self.running())
        self._work.waits(spec=spec, missing=missing, queue=self.queued())

    def adopt(self, *, job_id: str, owner: str, spec: dict[str, Any], payment: dict[str, Any]) -> None:
        """Take in a job that was paid for when the last process died, before this one is opened."""
        self._store.add_job(
            job_id=job_id,
            owner=owner,
            status=self._work.first_status(spec=spec),
            spec=spec,
            now=round(self._now(), 3),
            payment=payment,
        )

    def stop(self, *, job: Job) -> None:
        """Ask a job to end; the engine notices at its next step. Source: recording 14."""
        self._store.change_job(job_id=job["id"], stop_requested=1)

    def results(self, *, job: Job) -> list[dict[str, Any]]:
        """List what can be fetched now, in the dialect's order."""
        return [result.entry for result in self._results(job)]

    def result(self, *, job: Job, index: int) -> tuple[Path, str] | None:
        """Return path and kind of the result at a position of the current list, or None."""
        results = self._results(job)
        return (results[index].path, results[index].entry["type"]) if index < len(results) else None

    def running(self) -> list[Job]:
        """Return the jobs that are neither queued nor ended."""
        return [job for job in self._store.jobs(ended=False) if job["status"] != QUEUED]

    def queued(self) -> list[Job]:
        """Return the jobs that wait."""
        return [job for job in self._store.jobs(ended=False) if job["status"] == QUEUED]

    def live_log(self, *, job: Job) -> Path | None:
        """Return the growing log of a job whose container runs now, else None."""
        path = self.job_folder(job_id=job["id"]) / "logs" / "algorithm.log"
        return path if self.container_runs(job_id=job["id"]) and path.exists() else None

    def container_runs(self, *, job_id: str) -> bool:
        """Tell whether the algorithm is running at this moment."""
        folder = self.job_folder(job_id=job_id)
        return runner.living(folder=folder) is not None and runner.outcome(folder=folder) is None

    @property
    def closing(self) -> bool:
        """Tell whether close was called."""
        return self._closing.is_set()

    # inside

    def _results(self, job: Job) -> list[Result]:
        return self._work.results(job=job, folder=self.job_folder(job_id=job["id"]))

    def _spawn(self, target: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=target, args=arguments, daemon=True)
        self._threads.add(thread)
        thread.start()

    def _work_on(self, job_id: str) -> None:
        self._spawn(self._lead, job_id)

    def _pause(self, steps: float) -> None:
        if self._closing.wait(steps * self._pace.step_s):
            raise _Closing

    def _job(self, job_id: str) -> Job:
        job = self._store.job(job_id=job_id)
        if job is None:
            raise _Closing
        return job

    def _end(self, job_id: str, status: int) -> None:
        self._store.change_job(job_id=job_id, status=status, finished_at=round(self._now(), 3))

    def _lead(self, job_id: str) -> None:
        """Lead one job from wherever it stands to its end."""
        with contextlib.suppress(_Closing):
            try:
                self._phases(job_id)
            except _Closing:
                raise
            except JobEnded as ended:
                self._end(job_id, ended.status)
            except OSError as error:
                print(f"job {job_id}: {error}", file=sys.stderr)
                self._break_off(job_id, error)
            except Exception as error:
                # The edge of the thread: a job with no thread would hold its room for ever.
                if not self.closing:
                    traceback.print_exc()
                    self._break_off(job_id, error)
        self._threads.discard(threading.current_thread())

    def _break_off(self, job_id: str, error: Exception) -> None:
        job, folder = self._job(job_id), self.job_folder(job_id=job_id)
        self._end(job_id, self._work.broken(job=job, folder=folder, error=error))

    def _phases(self, job_id: str) -> None:
        folder = self.job_folder(job_id=job_id)
        job = self._job(job_id)
        if job["status"] < RUNNING:
            shutil.rmtree(folder, ignore_errors=True)
            (folder / "logs").mkdir(parents=True)
            self._work.prepare(job=job, folder=folder, desk=_JobDesk(self, job_id))
            self._store.change_job(job_id=job_id, status=RUNNING)
        if self._job(job_id)["status"] == RUNNING:
            self._run(job=job, folder=folder)
        self._pause(1)
        self._end(job_id, self._work.publish(job=job, folder=folder))

    def _run(self, *, job: Job, folder: Path) -> None:
        """See the algorithm through: start it, or go on with the runner that a killed node left."""
        job_id = job["id"]
        stop_sent = False
        limits = self._work.limits(job=job)
        if not self._job(job_id)["stop_requested"]:
            self._start_runner(job=job, folder=folder, limits=limits)
            self._pause(1.5)
        while True:
            self._pause(1)
            if (report := runner.outcome(folder=folder)) is not None:
                break
            if self._job(job_id)["stop_requested"] and not stop_sent:
                if runner.living(folder=folder) is None:
                    break  # stopped before it began
                stop_sent = self._signal_stop(folder)
            else:
                # Does nothing unless it was killed from outside.
                self._start_runner(job=job, folder=folder, limits=limits)
        self._note_outcome(job_id=job_id, report=report or {})

    def _note_outcome(self, *, job_id: str, report: dict[str, Any]) -> None:
        self._store.change_job(
            job_id=job_id,
            **self._work.outcome(report=report),
            status=PUBLISHING,
            algo_started_at=report.get("started_at"),
            algo_stopped_at=report.get("stopped_at"),
            exit_code=report.get("exitCode"),
            oom_killed=report.get("OOMKilled"),
        )

    def _start_runner(self, *, job: Job, folder: Path, limits: Limits) -> None:
        """Start a runner unless one lives, and note the run once it is seen working."""
        if runner.living(folder=folder) is None and runner.outcome(folder=folder) is None:
            wants = {
                "run": secrets.token_hex(8),
                "hostname": job["id"][:12],
                "envs": limits.envs,
                "memory_bytes": limits.memory_bytes,
                "disk_bytes": limits.disk_bytes,
                "wall_s": limits.wall_s,
                "grace_s": self._pace.grace_s,
                "log_bytes": LOG_BYTES,
            }
            (folder / "run.json").write_text(json.dumps(wants))
            shutil.rmtree(
                folder / "data" / "outputs", ignore_errors=True
            )  # a run starts with nothing written
            (folder / "data" / "outputs").mkdir()
            root = Path(__file__).parents[2]
            with (folder / "logs" / "runner.log").open("ab") as notes:
                self._runners[job["id"]] = subprocess.Popen(
                    [sys.executable, "-m", "ocean_portal.sandbox.runner", str(folder)],
                    stdin=subprocess.DEVNULL,
                    stdout=notes,
                    stderr=notes,
                    cwd=root,
                    env={"PATH": os.defpath, "PYTHONPATH": str(root)},
                    start_new_session=True,
                )
        process = self._runners.get(job["id"])
        while True:
            report = runner.outcome(folder=folder) or runner.living(folder=folder)
            if report and "started_at" in report:
                self._store.add_run(job_id=job["id"], started_at=report["started_at"])
                self._store.change_job(job_id=job["id"], algo_started_at=report["started_at"])
                return
            if process is not None and process.poll() is not None and runner.living(folder=folder) is None:
                if runner.outcome(folder=folder) is None:
                    raise OSError("the runner could not start")
            elif self._closing.wait(0.01):
                raise _Closing

    def _signal_stop(self, folder: Path) -> bool:
        """Send SIGTERM to the runner, which passes it on and has patience."""
        alive = runner.living(folder=folder)
        if not alive or "pid" not in alive:
            return False
        with contextlib.suppress(ProcessLookupError):
            os.kill(alive["pid"], 15)
        return True

    def _kill_runner(self, folder: Path) -> None:
        alive = runner.living(folder=folder)
        if alive and "pid" in alive:
            processes.kill_tree(pid=alive["pid"], itself=True)

    # the housekeeper

    def _keep_house(self) -> None:
        pause_s = min(1.0, max(0.05, self._pace.step_s / 2))
        while not self._closing.wait(pause_s):
            self._serve_queue()
            now = self._now()
            self._settling.settle(now=now, after_s=self._pace.settle_s)
            if self._work.storage_expiry_s is None:
                continue
            for job_id in self._store.ended_before(moment=now - self._work.storage_expiry_s):
                shutil.rmtree(self.job_folder(job_id=job_id), ignore_errors=True)
                self._store.delete_job(job_id=job_id)

    def _serve_queue(self) -> None:
        """Start who fits, first come first served; end who does not want to wait any more."""
        with self._room:
            for job in self.queued():
                now = self._now()
                if (status := self._work.leaves_queue(job=job, now=now)) is not None:
                    self._end(job["id"], status)
                elif now - job["created_at"] < self._work.warm_up_steps * self._pace.step_s:
                    continue
                elif not self._work.missing(spec=job["spec"], running=self.running()):
                    self._store.change_job(job_id=job["id"], status=self._work.first_status(spec=job["spec"]))
                    self._work_on(job["id"])


class _JobDesk:
    """The Desk of one job."""

    def __init__(self, engine: Engine, job_id: str) -> None:
        self._engine = engine
        self._job_id = job_id

    def pause(self, steps: float) -> None:
        """Wait for so many steps; the job goes on at the next start when the engine closes meanwhile."""
        self._engine._pause(steps)

    def note(self, **columns: object) -> None:
        """Change columns of the job's row."""
        self._engine._store.change_job(job_id=self._job_id, **columns)

    def now(self) -> float:
        """Return the time as rows keep it."""
        return round(self._engine._now(), 3)
