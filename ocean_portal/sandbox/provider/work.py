"""What the cluster behind a Provider does with a job: its numbers, its words, its folders and its results.

Source: recordings 41 to 56; oceanprotocol/operator-engine : operator_main.py, resources.py.
"""

import json
import secrets
import stat
import uuid
from pathlib import Path
from typing import Any

from ocean_portal.sandbox import provisioning, runner
from ocean_portal.sandbox.engine import (
    CONFIGURING,
    PROVISIONING,
    PUBLISHING,
    QUEUED,
    RUNNING,
    SETTLED,
    Desk,
    JobEnded,
    Limits,
    Result,
)
from ocean_portal.sandbox.environment import GIGABYTE
from ocean_portal.sandbox.provider.accounts import MAX_JOBS, Environment
from ocean_portal.sandbox.provider.downloads import Downloads, Refused
from ocean_portal.sandbox.store import Job

DATA_FAILED, ALGORITHM_FAILED = 31, 32
STOP_ASKED, RAN_TOO_LONG = 1, 2
STATUS_TEXTS = {
    QUEUED: "Warming up",
    CONFIGURING: "Configuring volumes",
    PROVISIONING: "Provisioning success",
    DATA_FAILED: "Data provisioning failed",
    ALGORITHM_FAILED: "Algorithm provisioning failed",
    RUNNING: "Running algorithm ",
    PUBLISHING: "Publishing results",
    SETTLED: "Job finished",
}
LOGS = (
    ("algorithm.log", "algorithmLog"),
    ("configure.log", "configrationLog"),
    ("publish.log", "publishLog"),
)
FOLDERS = ("inputs", "ddos", "outputs", "transformations", "logs")


class ProviderWork:
    """The Work of both environments."""

    storage = "provider-v4"
    storage_expiry_s = None
    settling: tuple[int, ...] = ()
    warm_up_steps = 1.0

    def __init__(self, *, environments: tuple[Environment, ...], downloads: Downloads) -> None:
        self._wallets = {item.id: item.consumer_address for item in environments}
        self._downloads = downloads

    def new_id(self) -> str:
        """Make an id for a job: 32 hex digits of a random UUID, as recorded."""
        return uuid.uuid4().hex

    def missing(self, *, spec: dict[str, Any], running: list[Job]) -> str | None:
        """Return "jobs" where the environment has its fill."""
        same = [job for job in running if job["spec"]["environment"] == spec["environment"]]
        return "jobs" if len(same) >= MAX_JOBS else None

    def waits(self, *, spec: dict[str, Any], missing: str | None, queue: list[Job]) -> bool:
        """Every job warms up first."""
        return True

    def first_status(self, *, spec: dict[str, Any]) -> int:
        """Begin with the volumes."""
        return CONFIGURING

    def leaves_queue(self, *, job: Job, now: float) -> int | None:
        """A stopped job goes its way all the same; its algorithm is not run."""
        return None

    def prepare(self, *, job: Job, folder: Path, desk: Desk) -> None:
        """Fetch inputs and algorithm as the environment's wallet. Raises JobEnded."""
        desk.pause(1)
        for name in FOLDERS:
            (folder / "data" / name).mkdir(parents=True, exist_ok=True)
        lines: list[str] = []
        status = PROVISIONING
        try:
            self._provide(job=job, data=folder / "data", lines=lines)
        except JobEnded as ended:
            status = ended.status
        lines.append(f"done with status {status}")
        (folder / "logs" / "configure.log").write_text("\n".join(lines) + "\n")
        if status != PROVISIONING:
            desk.pause(1)
            self._write_logs(job=job, folder=folder, algorithm=b"")
            raise JobEnded(status)
        desk.note(status=status)
        desk.pause(1)

    def _provide(self, *, job: Job, data: Path, lines: list[str]) -> None:
        spec = job["spec"]
        wallet = self._wallets[spec["environment"]]
        for number, item in enumerate(spec["inputs"]):
            lines.append(f"input {number} {item['did']}")
            target = data / "inputs" / _bare(item["did"])
            self._fetch(item=item, wallet=wallet, target=target, data=data, lines=lines, failure=DATA_FAILED)
        algorithm = spec["algorithm"]
        custom = json.dumps(algorithm.get("custom") or {})
        (data / "inputs" / "algoCustomData.json").write_text(custom)
        target = data / "transformations"
        if algorithm["did"]:
            self._fetch(
                item=algorithm,
                wallet=wallet,
                target=target,
                data=data,
                lines=lines,
                failure=ALGORITHM_FAILED,
            )
            (target / "0").rename(target / "algorithm")
        elif algorithm.get("rawcode"):
            (target / "algorithm").write_text(algorithm["rawcode"])
        else:
            try:
                fetched = self._downloads.fetch(file={"type": "url", "url": algorithm["url"]})
            except (OSError, ValueError, KeyError) as error:
                lines.append(f"download algorithm failed: {error}")
                raise JobEnded(ALGORITHM_FAILED) from error
            (target / "algorithm").write_bytes(fetched.content)

    def _fetch(
        self,
        *,
        item: dict[str, Any],
        wallet: str,
        target: Path,
        data: Path,
        lines: list[str],
        failure: int,
    ) -> None:
        """Put the files of a service into a folder by their numbers, and its document among the DDOs."""
        asset = self._downloads.asset(item["did"])
        lines.append(f"ddo {item['did']} {200 if asset else 404}")
        if asset is None:
            raise JobEnded(failure)
        (data / "ddos" / _bare(item["did"])).write_text(json.dumps(dict(asset.document)))
        target.mkdir(exist_ok=True)
        files = self._downloads.files_of(asset=asset, service_id=item["service_id"]) or []
        for index in range(len(files)):
            try:
                delivered = self._downloads.deliver(
                    did=item["did"],
                    service_id=item["service_id"],
                    consumer=wallet,
                    tx_hash=item["tx"],
                    file_index=index,
                    userdata=item.get("userdata"),
                )
            except Refused as refusal:
                said = json.dumps({"error": refusal.error}, separators=(",", ":"))
                lines.append(f"download file {index} 400 {said}\n")
                raise JobEnded(failure) from refusal
            (target / str(index)).write_bytes(delivered.content)
            lines.append(f"download file {index} 200 ")

    def limits(self, *, job: Job) -> Limits:
        """Return what an environment gives. Raises OSError for anything but Python."""
        spec = job["spec"]
        entrypoint = str(spec["algorithm"]["container"].get("entrypoint"))
        if not provisioning.runs_python(entrypoint=entrypoint):
            raise OSError("only Python entry points run here")
        return Limits(
            memory_bytes=int(spec["resources"]["ram"] * GIGABYTE),
            disk_bytes=int(spec["resources"]["disk"] * GIGABYTE),
            wall_s=spec["max_job_duration"],
            envs={
                "DIDS": json.dumps([_bare(item["did"]) for item in spec["inputs"]]),
                "TRANSFORMATION_DID": _bare(spec["algorithm"]["did"]),
                "VOLUME": "/data",
                "LOGS": "/data/logs",
                "INPUTS": "/data/inputs",
                "OUTPUTS": "/data/outputs",
                "secret": secrets.token_hex(16),
            },
        )

    def outcome(self, *, report: dict[str, Any]) -> dict[str, object]:
        """Note in stopreq that an algorithm ran too long; nothing else of its end is told."""
        return {"stop_requested": RAN_TOO_LONG} if report.get("reason") == "duration" else {}

    def publish(self, *, job: Job, folder: Path) -> int:
        """Write the logs as they are shown."""
        log = folder / "logs" / "algorithm.log"
        self._write_logs(
            job=job, folder=folder, algorithm=runner.plain(log.read_bytes()) if log.exists() else b""
        )
        return SETTLED

    def broken(self, *, job: Job, folder: Path, error: Exception) -> int:
        """Finish the job with the reason in its log: v4 has no number for an algorithm that failed."""
        self._write_logs(job=job, folder=folder, algorithm=f"{error}\n".encode())
        return SETTLED

    def _write_logs(self, *, job: Job, folder: Path, algorithm: bytes) -> None:
        published = folder / "published"
        published.mkdir(parents=True, exist_ok=True)
        (published / "algorithm.log").write_bytes(algorithm)
        configure = folder / "logs" / "configure.log"
        (published / "configure.log").write_bytes(configure.read_bytes() if configure.exists() else b"")
        (published / "publish.log").write_text(f"publishing outputs of {job['id']}\n")

    def results(self, *, job: Job, folder: Path) -> list[Result]:
        """List each output file by its name, then the logs; nothing before the end. Source: recording 42."""
        if job["finished_at"] is None:
            return []
        outputs = folder / "data" / "outputs"
        # No links: what they point to lies outside of the job. rglob does not follow those to folders.
        found = [
            (path, "output") for path in sorted(outputs.rglob("*")) if stat.S_ISREG(path.lstat().st_mode)
        ]
        found += [(folder / "published" / name, kind) for name, kind in LOGS]
        return [
            Result(entry={"filename": path.name, "filesize": path.stat().st_size, "type": kind}, path=path)
            for path, kind in found
            if path.exists()
        ]


def _bare(did: str) -> str:
    """Return a DID without its beginning, as folders and variables have it. Source: recording 43, result 2."""
    return did.replace("did:op:", "")
