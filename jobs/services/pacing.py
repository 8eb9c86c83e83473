"""When a node is asked about a watched job next: when something is due to change, and not all the time between.

A node takes its steps at a pace of its own, which its earlier jobs show. A job that nothing holds up is asked about twice:
when its algorithm should run, and when the job should be over. While its live log flows, that tells more than any
question. What takes longer than it should is asked about every 3 s.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

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
