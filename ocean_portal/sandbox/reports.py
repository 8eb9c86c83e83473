"""How a job looks from outside: in the answers to a start, to a status question, and to the command "jobs"."""

from hashlib import sha256
from typing import Any

from ocean_portal.sandbox.engine import QUEUED, RUNNING
from ocean_portal.sandbox.environment import Environment
from ocean_portal.sandbox.nodework import STATUS_TEXTS
from ocean_portal.sandbox.store import Job

# A start is answered with fewer keys than a status, and in another order. Source: recording 10, exchange 2.
START_KEYS = (
    *("owner", "jobId", "jobIdHash", "dateCreated", "dateFinished", "status", "statusText", "results"),
    *("maxJobDuration", "environment", "stopRequested", "resources", "isFree", "algoStartTimestamp"),
    *("algoStopTimestamp", "payment", "metadata", "additionalViewers", "terminationDetails", "algoDuration"),
    *("queueMaxWaitTime", "buildStartTimestamp", "buildStopTimestamp"),
)


def status_report(job: Job, *, environment: Environment) -> dict[str, Any]:
    """Describe a job as status answers do, without its results. Source: recording 10, exchange 8."""
    spec, ended = job["spec"], job["finished_at"] is not None
    oom = job["oom_killed"]
    return {
        "owner": job["owner"],
        "did": None,
        "jobId": job["id"],
        "dateCreated": moment(job["created_at"]),
        "dateFinished": moment(job["finished_at"]) if ended else None,
        "status": job["status"],
        "statusText": STATUS_TEXTS[job["status"]],
        "results": None,
        "inputDID": None,
        "algoDID": None,
        "agreementId": None,
        "environment": environment.id,
        "stopRequested": bool(job["stop_requested"]),
        "resources": [{"id": name, "amount": amount} for name, amount in spec["resources"].items()],
        "isFree": job["payment"] is None,
        "algoStartTimestamp": moment(job["algo_started_at"]),
        "algoStopTimestamp": moment(job["algo_stopped_at"]),
        "metadata": spec["metadata"],
        "additionalViewers": spec["viewers"],
        "terminationDetails": {
            "exitCode": job["exit_code"] if ended else None,
            "OOMKilled": bool(oom) if ended and oom is not None else None,
        },
        "payment": job["payment"],
        "algoDuration": 0,
        "queueMaxWaitTime": spec["queue_max_wait"],
        "jobIdHash": "0x" + sha256(job["id"].encode()).hexdigest(),
        "buildStartTimestamp": moment(job["build_started_at"]),
        "buildStopTimestamp": moment(job["build_stopped_at"]),
        "maxJobDuration": spec["max_job_duration"],
    }


def start_report(job: Job, *, environment: Environment) -> dict[str, Any]:
    """Describe a job as the answer to its start does: with its long id."""
    report = status_report(job, environment=environment)
    report |= {"jobId": f"{environment.engine_id}-{job['id']}", "results": []}
    return {name: report[name] for name in START_KEYS}


def listed_report(job: Job, *, environment: Environment) -> dict[str, Any]:
    """Describe a job as the command "jobs" does: no results, no code, no variables.

    Source: recording 16, exchange 21; ocean-node v3.2.0, getJobs.ts.
    """
    asked = job["spec"]["algorithm"]
    algorithm = {key: value for key, value in asked.items() if key not in ("envs", "meta")}
    algorithm["meta"] = {key: value for key, value in asked["meta"].items() if key != "rawcode"}
    inside: dict[str, Any] = {"clusterHash": environment.engine_id}
    inside |= dict.fromkeys(("configlogURL", "publishlogURL", "algologURL", "outputsURL"))
    more = {
        "algorithm": algorithm,
        "assets": job["spec"]["datasets"],
        "isRunning": job["finished_at"] is None and job["status"] != QUEUED,
        "isStarted": job["status"] == RUNNING and bool(job["algo_started_at"]),
        "containerImage": image_name(job),
    }
    listed: dict[str, Any] = {}
    for key, value in status_report(job, environment=environment).items():
        listed |= (inside if key == "stopRequested" else {}) | {key: value}
        listed |= more if key == "stopRequested" else {}
    return listed


def image_name(job: Job) -> str:
    """Return the image that a job runs in, by its tag."""
    container = job["spec"]["algorithm"]["meta"]["container"]
    if container.get("dockerfile"):
        return f"{job['id']}-image:latest"
    return f"{container['image']}:{container.get('tag')}"


def moment(seconds: float | None) -> str:
    """Spell seconds since the epoch as JavaScript does; "0" for what has not happened."""
    return f"{seconds:.3f}".rstrip("0").rstrip(".") if seconds else "0"
