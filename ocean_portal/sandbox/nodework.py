"""What an Ocean Node 3.2.0 does with a job: its numbers, its words, its folders and its results."""

import secrets
from pathlib import Path
from typing import Any

from ocean_portal.sandbox import images, provisioning
from ocean_portal.sandbox.engine import (
    CONFIGURING,
    PROVISIONING,
    PUBLISHING,
    QUEUED,
    RUNNING,
    SETTLED,
    Busy,
    Desk,
    JobEnded,
    Limits,
    Result,
)
from ocean_portal.sandbox.environment import GIGABYTE, Environment, Use, missing_resource
from ocean_portal.sandbox.files import Files
from ocean_portal.sandbox.store import Job

# Source: the status table of ocean-node 3.2.0; met in recordings 10, 21, 22, 24, 20.
EXPIRED, PULLING, BUILDING, BUILD_FAILED = 2, 10, 12, 13
DATA_FAILED, ALGORITHM_MISSING, FAILED, DISK_FULL = 31, 32, 41, 42
FETCH_FAILED, SETTLING = 61, 71
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
SCRATCH_DISK_BYTES = 256 * 1024**2  # what a job may write that asked for no disk
RESULT_FILES = (
    ("image.log", "imageLog"),
    ("configuration.log", "configurationLog"),
    ("algorithm.log", "algorithmLog"),
    ("outputs.tar", "output"),
)


def use_of(job: Job) -> Use:
    """Return what a job uses while it is there."""
    return Use(resources=job["spec"]["resources"], is_free=job["payment"] is None)


class NodeWork:
    """The Work of the node's one environment."""

    settling = (FAILED, DISK_FULL, FETCH_FAILED, SETTLING)
    warm_up_steps = 0.0

    def __init__(self, *, environment: Environment, files: Files) -> None:
        self._environment = environment
        self._files = files

    @property
    def storage(self) -> str:
        """The engine's own hash. Source: recording 10, exchange 10."""
        return self._environment.engine_id

    @property
    def storage_expiry_s(self) -> float:
        """What the environment promises."""
        return self._environment.storage_expiry_s

    def new_id(self) -> str:
        """Make an id for a job."""
        return secrets.token_hex(32)

    def missing(self, *, spec: dict[str, Any], running: list[Job]) -> str | None:
        """Return the first resource that there is not enough of."""
        wanted = Use(resources=spec["resources"], is_free=not spec.get("paid"))
        return missing_resource(use=wanted, running=[use_of(job) for job in running])

    def waits(self, *, spec: dict[str, Any], missing: str | None, queue: list[Job]) -> bool:
        """Queue a job behind others, and one without room if it wants. Raises Busy."""
        if missing and not spec["queue_max_wait"]:
            raise Busy(f"Not enough available {missing}")
        return bool(missing or (spec["queue_max_wait"] and queue))

    def first_status(self, *, spec: dict[str, Any]) -> int:
        """Begin with the image."""
        return BUILDING if spec["algorithm"]["meta"]["container"].get("dockerfile") else PULLING

    def leaves_queue(self, *, job: Job, now: float) -> int | None:
        """End who waited too long or does not want any more."""
        if job["stop_requested"]:
            return SETTLING
        return EXPIRED if now - job["created_at"] > job["spec"]["queue_max_wait"] else None

    def prepare(self, *, job: Job, folder: Path, desk: Desk) -> None:
        """Bring image, algorithm and data. Raises JobEnded."""
        self._bring_image(job=job, logs=folder / "logs", desk=desk)
        desk.note(status=CONFIGURING)
        desk.pause(1)
        desk.note(status=PROVISIONING)
        desk.pause(1)
        shown_as = f"./c2d_storage/{self.storage}/{job['id']}"
        try:
            provisioning.provide(folder=folder, shown_as=shown_as, spec=job["spec"], files=self._files)
        except provisioning.ProvisioningFailed as failure:
            (folder / "logs" / "algorithm.log").touch()
            raise JobEnded(failure.status) from failure

    def _bring_image(self, *, job: Job, logs: Path, desk: Desk) -> None:
        """Pull or build, in words. Source: recordings 10 and 21."""
        container = job["spec"]["algorithm"]["meta"]["container"]
        if not container.get("dockerfile"):
            desk.pause(0.15)
            images.pull_image(logs=logs, image=container["image"], tag=container["tag"])
            return
        desk.note(build_started_at=desk.now())
        desk.pause(0.15)
        built = images.build_image(
            logs=logs,
            name=f"{job['id']}-image:latest",
            dockerfile=container["dockerfile"],
            pause=desk.pause,
        )
        desk.note(build_stopped_at=desk.now())
        if not built:
            raise JobEnded(BUILD_FAILED)

    def limits(self, *, job: Job) -> Limits:
        """Return what the job asked for. Raises OSError for anything but Python."""
        algorithm = job["spec"]["algorithm"]
        entrypoint = str(algorithm["meta"]["container"].get("entrypoint"))
        if not provisioning.runs_python(entrypoint=entrypoint):
            raise OSError("only Python entry points run here")
        resources, envs = job["spec"]["resources"], algorithm.get("envs") or {}
        return Limits(
            memory_bytes=int(resources["ram"] * GIGABYTE),
            disk_bytes=int(resources["disk"] * GIGABYTE) or SCRATCH_DISK_BYTES,
            wall_s=job["spec"]["max_job_duration"],
            envs={str(k): str(v) for k, v in envs.items() if "=" not in str(k) and "\0" not in f"{k}{v}"},
        )

    def outcome(self, *, report: dict[str, Any]) -> dict[str, object]:
        """End a job that wrote too much. Raises JobEnded."""
        if report.get("reason") == "disk":
            raise JobEnded(DISK_FULL)
        return {}

    def publish(self, *, job: Job, folder: Path) -> int:
        """Pack the outputs. Raises JobEnded."""
        (folder / "logs" / "algorithm.log").touch()
        try:
            provisioning.pack_outputs(folder=folder)
        except OSError as error:
            raise JobEnded(FETCH_FAILED) from error
        return SETTLING

    def broken(self, *, job: Job, folder: Path, error: Exception) -> int:
        """Say that it failed, with an empty log if there is none."""
        if folder.exists():
            (folder / "logs" / "algorithm.log").touch()
        return FAILED

    def results(self, *, job: Job, folder: Path) -> list[Result]:
        """List in the node's order; a missing log moves the later ones up."""
        found: list[Result] = []
        for filename, kind in RESULT_FILES:
            path = folder / filename if filename == "outputs.tar" else folder / "logs" / filename
            # The algorithm's log and the outputs are shown at the end. Source: recording 10, exchanges 7 and 8.
            early = filename in ("algorithm.log", "outputs.tar") and job["finished_at"] is None
            if not early and path.exists():
                entry = {"filename": filename, "filesize": path.stat().st_size, "type": kind}
                found.append(Result(entry=entry | {"index": len(found)}, path=path))
        return found
