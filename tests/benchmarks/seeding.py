"""A team as it looks after some months: 200 jobs with their histories and results, made with the tests' builders."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import transaction

from jobs.lifecycle import State
from jobs.models import Asset, Job, JobEvent, Result, User
from jobs.models.teams import Role
from tests import builders

JOBS = 200
KEPT = {
    0: State.RUNNING,
    3: State.RUNNING,
    5: State.COLLECTING,
    7: State.NEEDS_ATTENTION,
    9: State.NEEDS_ATTENTION,
}
LOG = "".join(f"row {i}: {i * 7 % 31} of 31 read\n" for i in range(300))
TABLE = "".join(f"{i},{i * 7 % 31},{i * 11 % 17}\n" for i in range(2000)).encode()
IMAGE = (
    b'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 9 9">' + b'<path d="M0 0h9"/>' * 200 + b"</svg>"
)
STATUSES = ((10, "image"), (20, "volumes"), (30, "data"), (40, "running"), (60, "publishing"), (71, "done"))


@dataclass(frozen=True)
class Seeded:
    """Whom to sign in, and which jobs, results and assets to look at."""

    owner: User
    running: Job
    succeeded: Job
    failed: Job
    table: Result
    log: Result
    image: Result
    dataset: Asset
    algorithm: Asset


@transaction.atomic
def seed(*, now: datetime) -> Seeded:
    """Fill an empty database, the newest job a few minutes before `now`."""
    team = builders.make_team()
    owner = builders.make_member(team=team, username="alice", role=Role.OWNER)
    bob = builders.make_member(team=team, username="bob", role=Role.LAUNCHER)
    builders.make_member(team=team, username="vera", role=Role.VIEWER)
    node = builders.make_node(asked_at=now, answered_at=now)
    for i in range(3):
        builders.make_environment(
            node=node, env_id=f"0x60962e6d-0x{i:08x}", description=f"Hall {i}", seen_at=now
        )
        builders.make_wallet(team=team, label=f"wallet {i}", address=f"0x{i + 1:040x}")
    datasets = [builders.make_asset(team=team, node=node, name=f"Buoys {2006 + i}") for i in range(20)]
    algorithms = [
        builders.make_asset(team=team, node=node, kind=Asset.Kind.ALGORITHM, name=f"Regression {i}")
        for i in range(8)
    ]
    builders.beat(now)
    jobs = []
    for i in range(JOBS):
        state = KEPT.get(i) or (State.FAILED if i % 9 == 8 else State.SUCCEEDED)
        attention = {"attention_from": State.STARTING} if state == State.NEEDS_ATTENTION else {}
        jobs.append(
            builders.make_job(
                team=team,
                state=state,
                launched_by=(owner, bob)[i % 2],
                algorithm=algorithms[i % len(algorithms)],
                datasets=[datasets[i % 20], datasets[(i + 7) % 20]],
                requested_at=now - timedelta(minutes=3 + 40 * i),
                message="The algorithm ended with exit code 1." if state == State.FAILED else "",
                **attention,
            )
        )
        _tell(jobs[-1])
    running, ended = jobs[0], jobs[10:]
    for i in range(40):
        builders.make_log(job=running, text=LOG[:400], at=now - timedelta(seconds=40 - i))
    succeeded = next(job for job in ended if job.state == State.SUCCEEDED)
    return Seeded(
        owner=owner,
        running=running,
        succeeded=succeeded,
        failed=next(job for job in ended if job.state == State.FAILED),
        table=succeeded.results.get(name="table.csv"),
        log=succeeded.results.get(name="algorithm.log"),
        image=succeeded.results.get(name="chart.svg"),
        dataset=datasets[0],
        algorithm=algorithms[0],
    )


def _tell(job: Job) -> None:
    """Give a job the events and results that one in its state has."""
    ended = job.state in (State.SUCCEEDED, State.FAILED)
    at = job.requested_at
    builders.make_event(job=job, at=at, before=State.REQUESTED, after=State.STARTING)
    for i, (status, phase) in enumerate(STATUSES if ended else STATUSES[:4]):
        builders.make_event(
            job=job,
            at=at + timedelta(seconds=2 * i),
            kind=JobEvent.Kind.NODE_STATUS,
            data={"status": status, "phase": phase},
        )
    if not ended:
        return
    builders.make_event(job=job, at=job.ended_at or at, before=State.COLLECTING, after=job.state)
    for kind in ("imageLog", "configurationLog", "algorithmLog"):
        builders.make_result(job=job, name=kind.replace("Log", ".log"), kind=kind, data=LOG.encode())
    builders.make_result(job=job, name="outputs.tar", data=TABLE)
    for name, data in (("table.csv", TABLE), ("chart.svg", IMAGE)):
        builders.make_result(job=job, index=3, name=name, path=name, data=data)
