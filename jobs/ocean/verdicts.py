"""What a service's reports of a job mean: the phase that it is in, the first failure, and at the end the verdict.

Source of the numbers: ocean-node 3.2.0 and provider-v4 recordings.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from jobs.ocean.compute import Dialect, JobReport


@dataclass(frozen=True)
class Phase:
    """A step of a job as people see it, and the status numbers that mean it."""

    key: str
    label: str
    numbers: tuple[int, ...]


# Source: README of the ocean-node 3.2.0 recordings, "Job status"; ocean-node v3.2.0, C2D.ts, C2DStatusNumber, for 0 and
# 50. Failures belong to the phase that they end.
PHASES = (
    Phase(key="queued", label="Queued at the node", numbers=(1, 2)),
    Phase(key="image", label="Fetching the image", numbers=(0, 10, 11, 12, 13, 14)),
    Phase(key="volumes", label="Preparing storage", numbers=(20, 21, 22)),
    Phase(key="data", label="Fetching data and algorithm", numbers=(30, 31, 32, 33)),
    Phase(key="running", label="Running the algorithm", numbers=(40, 41, 42)),
    Phase(key="publishing", label="Storing results", numbers=(50, 60, 61, 62)),
    Phase(key="done", label="Done", numbers=(70, 71)),
)

_DATA_FAILED = (
    "data_provisioning",
    "The node could not fetch a dataset. The configuration log says which.",
)
_ALGORITHM_FAILED = (
    "algorithm_provisioning",
    "The node could not fetch the algorithm. The configuration log says why.",
)
# Numbers that are a failure; a node may later overwrite them with 70, so the first one seen is what counts.
_NODE_FAILURES: Mapping[int, tuple[str, str]] = {
    2: ("queue_expired", "The environment stayed busy until the waiting time was over. The job never ran."),
    11: ("image_pull", "The node could not fetch the algorithm's image."),
    13: ("image_build", "The node could not build the algorithm's image."),
    14: ("image_pull", "The node refused the algorithm's image."),
    21: ("volumes", "The node could not create storage for the job."),
    22: ("container", "The node could not create the container."),
    31: _DATA_FAILED,
    32: _ALGORITHM_FAILED,
    33: ("upload", "The node could not hand the data to the container."),
    41: ("algorithm", "The node could not run the algorithm."),
    42: ("disk_quota", "The job wrote more than its share of the disk."),
    61: ("publish", "The node could not collect the results."),
    62: ("publish", "The node could not store the results."),
}
# Source: README of the provider-v4 recordings, "Status numbers"; recordings 55 and 56.
_PROVIDER_FAILURES: Mapping[int, tuple[str, str]] = {31: _DATA_FAILED, 32: _ALGORITHM_FAILED}
FAILURES: Mapping[Dialect, Mapping[int, tuple[str, str]]] = {
    "ocean-node": _NODE_FAILURES,
    "provider-v4": _PROVIDER_FAILURES,
}


def phase_of(status: int) -> str | None:
    """Name the phase of a status number, or None for a number that no recording and no enum knows."""
    return next((phase.key for phase in PHASES if status in phase.numbers), None)


def failure_number(report: JobReport) -> int | None:
    """Give the report's status number when it is a failure; callers keep the first one they see."""
    return report.status if report.status in FAILURES[report.dialect] else None


State = Literal["running", "succeeded", "failed", "cancelled", "unknown"]


@dataclass(frozen=True)
class Verdict:
    """How a job stands.

    reason: a short code, empty while it runs and when it succeeded.
    sentence: for people.
    """

    state: State
    reason: str
    sentence: str


def verdict(report: JobReport, *, first_failure: int | None = None) -> Verdict:
    """Judge a report.

    first_failure: the first failure number that the caller ever saw for this job, since nodes overwrite it.
    At a node success, exit 1, out of memory, time-out and stop all end in 71, then 70. A Provider ends everything but
    31 and 32 in 70, and tells no exit code.
    Source: recordings 12, 13, 14, 22, 23 and 24; provider-v4 recordings 42, 53 to 56.
    """
    if not report.ended:
        return Verdict(state="running", reason="", sentence=report.status_text or "The job runs.")
    failures = FAILURES[report.dialect]
    number = first_failure if first_failure in failures else failure_number(report)
    if number is not None:
        reason, sentence = failures[number]
        return Verdict(state="failed", reason=reason, sentence=sentence)
    if report.ran_too_long:
        return Verdict(
            state="failed",
            reason="time_limit",
            sentence="The job was still running when its time was over; the node ended it.",
        )
    if report.stop_requested:
        return Verdict(state="cancelled", reason="stopped", sentence="The job was stopped on request.")
    if report.oom_killed:
        return Verdict(
            state="failed", reason="oom", sentence="The algorithm needed more memory than the job had."
        )
    code = report.exit_code
    if code is None:
        return Verdict(
            state="unknown",
            reason="exit_unknown",
            sentence="The job ended, but the node does not say how. Its logs may tell.",
        )
    if code == 0:
        return Verdict(state="succeeded", reason="", sentence="The algorithm ended without an error.")
    if code in (137, 143) and _ran_out_of_time(report):
        return Verdict(
            state="failed",
            reason="time_limit",
            sentence=f"The job was still running after its {report.max_duration_s} s; the node ended it.",
        )
    return Verdict(state="failed", reason="exit_code", sentence=f"The algorithm ended with exit code {code}.")


def _ran_out_of_time(report: JobReport) -> bool:
    if not report.max_duration_s or report.algo_started_at is None or report.algo_stopped_at is None:
        return False
    return report.algo_stopped_at - report.algo_started_at >= report.max_duration_s
