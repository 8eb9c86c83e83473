"""When a node is asked about a watched job next: when something is due to change, and not all the time between.

A node takes its steps at a pace of its own, which its earlier jobs show. A job that nothing holds up is asked about twice:
when its algorithm should run, and when the job should be over. While its live log flows, that tells more than any
question. What takes longer than it should is asked about every 3 s.

A Provider tells neither when an algorithm started nor what it logs: only questions show that a job is over. They come when
the same job was over before, and else the further apart the longer a step lasts.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from jobs.lifecycle import State
from jobs.models import Job
from jobs.ocean.compute import JobReport
from jobs.ocean.verdicts import phase_of

WATCHED_EVERY = timedelta(seconds=3)
UNWATCHED_EVERY = timedelta(seconds=30)  # and while a live log flows
# Storing the results is the last step and takes a node about 2 s. Source: recording 10, its timeline.
NEAR_THE_END = timedelta(seconds=1)
# A node notices an ended algorithm within one step of 2 s, and needs another one for the results. Source: recording 14.
AFTER_LOG = timedelta(seconds=3.1)
MARGIN = timedelta(seconds=0.5)  # a question that comes too early has to be asked again
SHOWN_BY = 5  # jobs; a node that has changed is known anew after so many
SLOWER_MAX = timedelta(seconds=1)  # the next job may be shorter than all before it
LATE_BY = 1 / 3  # of the time that a step has lasted, where nothing else tells of its end
ALIKE_AMONG = 20  # jobs that are looked through for the same one


@dataclass(frozen=True)
class Pace:
    """A node's own pace.

    lead: from taking a job in until its algorithm starts. rest: from there to the job's end, where the algorithm has next
    to nothing to do.
    """

    lead: timedelta
    rest: timedelta


# Source: recording 10: dateCreated, algoStartTimestamp 4.33 s later, dateFinished 7.07 s after that.
RECORDED = Pace(lead=timedelta(seconds=4.3), rest=timedelta(seconds=7.1))


@dataclass(frozen=True)
class Sight:
    """What is known of a running job.

    seen_at: when its phase was first seen. started_after: how long after taking it in the node started its algorithm, by
    the node's own clock; None where it does not say.
    """

    accepted_at: datetime
    phase: str | None
    seen_at: datetime
    started_after: timedelta | None = None


def sight(*, job: Job, now: datetime, report: JobReport | None = None) -> Sight:
    """Return what the row says, and what a report says that is not in it yet."""
    status = job.node_status if report is None else report.status
    told = (
        (job.report or {}) if report is None else report.model_dump(include={"created_at", "algo_started_at"})
    )
    seen_at = (job.node_status_at or now) if status == job.node_status else now
    return Sight(
        accepted_at=job.accepted_at or seen_at,
        phase=None if status is None else phase_of(status),
        seen_at=seen_at,
        started_after=_between(told, "created_at", "algo_started_at"),
    )


def pace_of(*, job: Job) -> Pace:
    """Return the quickest that the last jobs of this team were at this node; as recorded, where there were none."""
    ended = Job.objects.filter(team_id=job.team_id, node_id=job.node_id, finished_at__isnull=False)
    newest = ended.order_by("-requested_at", "pk").values_list("report", flat=True)[:SHOWN_BY]
    reports = [report or {} for report in newest]
    return Pace(
        lead=_quickest((_between(x, "created_at", "algo_started_at") for x in reports), usual=RECORDED.lead),
        rest=_quickest((_between(x, "algo_started_at", "finished_at") for x in reports), usual=RECORDED.rest),
    )


def look_again(*, job: Job, now: datetime, report: JobReport | None = None) -> datetime:
    """Return when to ask about a watched job again, whose live log nobody reads. report: what is not in the row yet."""
    seen = sight(job=job, now=now, report=report)
    if job.node.can.live_logs:
        return next_look(sight=seen, pace=pace_of(job=job), now=now)
    usual = usual_length(job=job) if seen.phase == "running" else None
    return next_look_without_log(sight=seen, usual=usual, now=now)


def usual_length(*, job: Job) -> timedelta | None:
    """Return the quickest that the team's last successful runs of the same job were at this node; None without any."""
    alike = Job.objects.filter(
        team_id=job.team_id, node_id=job.node_id, algorithm_id=job.algorithm_id, state=State.SUCCEEDED
    )
    newest = alike.order_by("-requested_at", "pk").prefetch_related("inputs")[:ALIKE_AMONG]
    mine = _work(job)
    lengths = [_between(x.report or {}, "created_at", "finished_at") for x in newest if _work(x) == mine]
    known = [length for length in lengths[:SHOWN_BY] if length is not None]
    return min(known, default=None)


def _work(job: Job) -> tuple[object, ...]:
    """Return what a job's length depends on, its algorithm and node aside."""
    return job.parameters, job.own_algorithm, sorted(x.dataset_id for x in job.inputs.all())


def next_look_without_log(*, sight: Sight, usual: timedelta | None, now: datetime) -> datetime:
    """Return when to ask again about a watched job that only answers tell of.

    usual: from taking the job in to its end; None where nothing is known. What nobody watches is asked about no less.
    """
    lasts = (now - sight.seen_at) * LATE_BY
    wait = max(lasts, NEAR_THE_END if sight.phase == "publishing" else WATCHED_EVERY)
    if sight.phase == "running" and usual is not None:
        due = sight.accepted_at + usual + MARGIN
        wait = due - now if due > now else wait
    return now + min(wait, UNWATCHED_EVERY)


def next_look(*, sight: Sight, pace: Pace, now: datetime) -> datetime:
    """Return when to ask about a watched job again, whose live log nobody reads."""
    if sight.phase == "publishing":
        return now + NEAR_THE_END
    due = now
    if sight.phase in ("image", "volumes", "data"):
        due = sight.accepted_at + pace.lead + MARGIN
    elif sight.phase == "running":
        due = earliest_end(sight=sight, pace=pace)
    return due if due > now else now + WATCHED_EVERY


def earliest_end(*, sight: Sight, pace: Pace) -> datetime:
    """Return when a job that was seen running can be over at the earliest."""
    if sight.started_after is not None:
        began = sight.accepted_at + sight.started_after
    else:
        # It was not running when it was asked about before.
        began = max(sight.accepted_at + pace.lead, sight.seen_at - WATCHED_EVERY)
    return min(began, sight.seen_at) + pace.rest + MARGIN


def _quickest(seen: Iterable[timedelta | None], *, usual: timedelta) -> timedelta:
    known = [took for took in seen if took is not None]
    return min(min(known), usual + SLOWER_MAX) if known else usual


def _between(report: Mapping[str, Any], first: str, last: str) -> timedelta | None:
    """Return the time between two moments of a stored report; a node may tell any, so not more than a day."""
    begin, end = report.get(first), report.get(last)
    if begin is None or end is None:
        return None
    return timedelta(seconds=min(max(end - begin, 0.0), 86_400.0))
