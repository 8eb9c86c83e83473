"""Runs jobs: the numbers of an Ocean Node in its order and at its pace, around algorithms that really run.

A thread per job leads it through its phases; one more looks after the queue and old jobs. What must
outlive the process is in the store, in the job's folder, or is the runner (runner.py), which goes on alone.
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
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ocean_portal.sandbox import images, processes, provisioning, runner
from ocean_portal.sandbox.environment import GIGABYTE, Environment, missing_resource
from ocean_portal.sandbox.files import Files
from ocean_portal.sandbox.store import Job, Store

# Source: the status table of ocean-node 3.2.0; met in recordings 10, 21, 22, 24, 20.
BUILDING, BUILD_FAILED = 12, 13
QUEUED, EXPIRED, PULLING, CONFIGURING, PROVISIONING = 1, 2, 10, 20, 30
DATA_FAILED, ALGORITHM_MISSING, RUNNING, FAILED, DISK_FULL = 31, 32, 40, 41, 42
PUBLISHING, FETCH_FAILED, SETTLED, SETTLING = 60, 61, 70, 71
STATUS_TEXTS = {
    QUEUED: "Job queued",
    EXPIRED: "Job expired in queue",
    PULLING: "Pulling algorithm image",
    BUILDING: "Building algorithm image",
    BUILD_FAILED: "Building algorithm image failed",
    CONFIGURING: "Configuring volumes",
    PROVISIONING: "Provisioning data",
    DATA_FAILED: "Data provisioning failed",
    ALGORITHM_MISSING: "Algorithm provisioning failed",
    RUNNING: "Running algorithm ",
    FAILED: "Failed to run algorithm",
    DISK_FULL: "Error: disk quota exceeded",
    PUBLISHING: "Publishing results",
    FETCH_FAILED: "Failed to get outputs folder from container",
    SETTLED: "Job finished",
    SETTLING: "Job settling",
}
LATER_SETTLED = (FAILED, DISK_FULL, FETCH_FAILED, SETTLING)
SCRATCH_DISK_BYTES = 256 * 1024**2  # what a job may write that asked for no disk
LOG_BYTES = 10 * 1024**2
RESULT_FILES = (
    ("image.log", "imageLog"),
    ("configuration.log", "configurationLog"),
    ("algorithm.log", "algorithmLog"),
    ("outputs.tar", "output"),
)


class Busy(Exception):
    """No room now and no wish to wait; the message is the node's. Source: recording 24, exchange 4."""


class _Closing(Exception):
    """The engine shuts down; the job goes on at the next start."""


class _NotBuilt(Exception):
    """The image of the job's dockerfile did not come to be."""


class _DiskFull(Exception):
    """The algorithm wrote more than it may."""


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
    """Accepts, runs, stops and forgets jobs of one environment."""

    def __init__(
        self,
        *,
        store: Store,
        folder: Path,
        environment: Environment,
        pace: Pace,
        files: Files,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._folder = folder.resolve() / "c2d_storage" / environment.engine_id
        self.environment = environment
        self._pace = pace
        self.files = files
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

    def start(self, *, owner: str, spec: dict[str, Any]) -> Job:
        """Take in a job; spec is what node.py makes of a request.

        Raises Busy when there is no room and queue_max_wait is 0.
        """
        job_id = secrets.token_hex(32)
        with self._room:
            missing = missing_resource(amounts=spec["resources"], running=self.running_resources())
            if missing and not spec["queue_max_wait"]:
                raise Busy(f"Not enough available {missing}")
            waits = missing or (spec["queue_max_wait"] and self._queue())
            status = QUEUED if waits else _first_status(spec)
            self._store.add_job(
                job_id=job_id, owner=owner, status=status, spec=spec, now=round(self._now(), 3)
            )
        job = self._store.job(job_id=job_id)
        assert job is not None
        if not waits:
            self._work_on(job_id)
        return job

    def stop(self, *, job: Job) -> None:
        """Ask a job to end; the engine notices at its next step. Source: recording 14."""
        self._store.change_job(job_id=job["id"], stop_requested=1)

    def results(self, *, job: Job) -> list[dict[str, Any]]:
        """List what can be fetched now, in the node's order; a missing log moves the later ones up."""
        found: list[dict[str, Any]] = []
        for filename, kind in RESULT_FILES:
            path = self._result_path(job=job, filename=filename)
            if path is not None:
                found.append(
                    {"filename": filename, "filesize": path.stat().st_size, "type": kind, "index": len(found)}
                )
        return found

    def result(self, *, job: Job, index: int) -> tuple[Path, str] | None:
        """Return path and kind of the result at a position of the current list, or None."""
        results = self.results(job=job)
        if index >= len(results):
            return None
        path = self._result_path(job=job, filename=results[index]["filename"])
        return (path, results[index]["type"]) if path else None

    def running_resources(self) -> list[dict[str, float]]:
        """Return the resources of each job that is neither queued nor ended."""
        return [job["spec"]["resources"] for job in self._store.jobs(ended=False) if job["status"] != QUEUED]

    def queued(self) -> int:
        """Return how many jobs wait."""
        return len(self._queue())

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

    def _queue(self) -> list[Job]:
        return [job for job in self._store.jobs(ended=False) if job["status"] == QUEUED]

    def _result_path(self, *, job: Job, filename: str) -> Path | None:
        folder = self.job_folder(job_id=job["id"])
        path = folder / filename if filename == "outputs.tar" else folder / "logs" / filename
        # The algorithm's log and the outputs are shown at the end. Source: recording 10, exchanges 7 and 8.
        early = filename in ("algorithm.log", "outputs.tar") and job["finished_at"] is None
        return None if early or not path.exists() else path

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
            except _NotBuilt:
                self._end(job_id, BUILD_FAILED)
            except _DiskFull:
                self._end(job_id, DISK_FULL)
            except provisioning.ProvisioningFailed as failure:
                (self.job_folder(job_id=job_id) / "logs" / "algorithm.log").touch()
                self._end(job_id, failure.status)
            except OSError as error:
                print(f"job {job_id}: {error}", file=sys.stderr)
                self._end(job_id, FAILED)
            except Exception:
                # The edge of the thread: a job with no thread would hold its room for ever.
                if not self.closing:
                    traceback.print_exc()
                    self._end(job_id, FAILED)
        self._threads.discard(threading.current_thread())

    def _phases(self, job_id: str) -> None:
        folder = self.job_folder(job_id=job_id)
        job = self._job(job_id)
        if job["status"] < RUNNING:
            self._prepare(job=job, folder=folder)
        if self._job(job_id)["status"] == RUNNING:
            self._run(job=job, folder=folder)
        self._pause(1)
        self._publish(job_id=job_id, folder=folder)

    def _prepare(self, *, job: Job, folder: Path) -> None:
        shutil.rmtree(folder, ignore_errors=True)
        (folder / "logs").mkdir(parents=True)
        self._bring_image(job=job, logs=folder / "logs")
        self._store.change_job(job_id=job["id"], status=CONFIGURING)
        self._pause(1)
        self._store.change_job(job_id=job["id"], status=PROVISIONING)
        self._pause(1)
        shown_as = f"./c2d_storage/{self.environment.engine_id}/{job['id']}"
        provisioning.provide(folder=folder, shown_as=shown_as, spec=job["spec"], files=self.files)
        self._store.change_job(job_id=job["id"], status=RUNNING)

    def _bring_image(self, *, job: Job, logs: Path) -> None:
        """Pull or build, in words. Source: recordings 10 and 21."""
        container = job["spec"]["algorithm"]["meta"]["container"]
        if not container.get("dockerfile"):
            self._pause(0.15)
            images.pull_image(logs=logs, image=container["image"], tag=container["tag"])
            return
        self._store.change_job(job_id=job["id"], build_started_at=round(self._now(), 3))
        self._pause(0.15)
        built = images.build_image(
            logs=logs,
            name=f"{job['id']}-image:latest",
            dockerfile=container["dockerfile"],
            pause=self._pause,
        )
        self._store.change_job(job_id=job["id"], build_stopped_at=round(self._now(), 3))
        if not built:
            raise _NotBuilt

    def _run(self, *, job: Job, folder: Path) -> None:
        """See the algorithm through: start it, or go on with the runner that a killed node left."""
        job_id = job["id"]
        stop_sent = False
        if not provisioning.runs_python(
            entrypoint=str(job["spec"]["algorithm"]["meta"]["container"].get("entrypoint"))
        ):
            (folder / "logs" / "algorithm.log").touch()
            raise OSError("only Python entry points run here")
        if not self._job(job_id)["stop_requested"]:
            self._start_runner(job=job, folder=folder)
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
                self._start_runner(job=job, folder=folder)  # does nothing unless it was killed from outside
        self._note_outcome(job_id=job_id, report=report or {})

    def _note_outcome(self, *, job_id: str, report: dict[str, Any]) -> None:
        if report.get("reason") == "disk":
            raise _DiskFull
        self._store.change_job(
            job_id=job_id,
            status=PUBLISHING,
            algo_started_at=report.get("started_at"),
            algo_stopped_at=report.get("stopped_at"),
            exit_code=report.get("exitCode"),
            oom_killed=report.get("OOMKilled"),
        )

    def _start_runner(self, *, job: Job, folder: Path) -> None:
        """Start a runner unless one lives, and note the run once it is seen working."""
        if runner.living(folder=folder) is None and runner.outcome(folder=folder) is None:
            spec = job["spec"]
            resources = spec["resources"]
            envs = spec["algorithm"].get("envs") or {}
            wants = {
                "run": secrets.token_hex(8),
                "hostname": job["id"][:12],
                "envs": {
                    str(k): str(v) for k, v in envs.items() if "=" not in str(k) and "\0" not in f"{k}{v}"
                },
                "memory_bytes": int(resources["ram"] * GIGABYTE),
                "disk_bytes": int(resources["disk"] * GIGABYTE) or SCRATCH_DISK_BYTES,
                "wall_s": spec["max_job_duration"],
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

    def _publish(self, *, job_id: str, folder: Path) -> None:
        (folder / "logs" / "algorithm.log").touch()
        try:
            provisioning.pack_outputs(folder=folder)
        except OSError:
            self._end(job_id, FETCH_FAILED)
            return
        self._end(job_id, SETTLING)

    # the housekeeper

    def _keep_house(self) -> None:
        pause_s = min(1.0, max(0.05, self._pace.step_s / 2))
        while not self._closing.wait(pause_s):
            self._serve_queue()
            now = self._now()
            self._store.settle_jobs(before=now - self._pace.settle_s, statuses=LATER_SETTLED, settled=SETTLED)
            for job_id in self._store.ended_before(moment=now - self.environment.storage_expiry_s):
                shutil.rmtree(self.job_folder(job_id=job_id), ignore_errors=True)
                self._store.delete_job(job_id=job_id)

    def _serve_queue(self) -> None:
        """Start who fits, first come first served; end who waited too long or does not want any more."""
        with self._room:
            for job in self._queue():
                amounts = job["spec"]["resources"]
                if job["stop_requested"]:
                    self._end(job["id"], SETTLING)
                elif self._now() - job["created_at"] > job["spec"]["queue_max_wait"]:
                    self._end(job["id"], EXPIRED)
                elif not missing_resource(amounts=amounts, running=self.running_resources()):
                    self._store.change_job(job_id=job["id"], status=_first_status(job["spec"]))
                    self._work_on(job["id"])


def _first_status(spec: Mapping[str, Any]) -> int:
    return BUILDING if spec["algorithm"]["meta"]["container"].get("dockerfile") else PULLING
