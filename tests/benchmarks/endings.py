"""From the node's "finished" to results archived, and what the node is asked on a job's way."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass
from statistics import median

from tests.benchmarks.site import Site, Visitor, moment
from tests.benchmarks.table import Part, Row, table

TIMES = 5
NODE_STEP_S = 2.0  # a real node's pace
SHIPPED_LIMIT = 30  # requests a minute: what a real node ships with
SEEN_WITHIN_S = 3.0
REQUESTS_MOST = 8
# Asked once a minute whether or not a job runs: told, but not counted as a job's.
LOOKS = ("/", "/api/services/computeEnvironments")


@dataclass(frozen=True)
class Way:
    """One job's way. late_s: from finished to SUCCEEDED; told_s: from finished until its open page says so."""

    asked: Counter[str]
    late_s: float
    told_s: float | None

    @property
    def requests(self) -> int:
        """How many requests went to the node for this job."""
        return sum(count for name, count in self.asked.items() if not _is_look(name))


def measure(site: Site, *, dataset: str, algorithm: str) -> Part:
    """Run jobs one after the other at a real node's pace: watched, then with the shipped limit, then unwatched."""
    visitor = Visitor(site.url, name="liam")
    site.set_pace(step=NODE_STEP_S)
    watched = [_run(site, visitor, dataset, algorithm, watched=True) for _ in range(TIMES)]
    site.set_pace(step=NODE_STEP_S, rate_limit=SHIPPED_LIMIT)
    limited = _run(site, visitor, dataset, algorithm, watched=True)
    alone = _run(site, visitor, dataset, algorithm, watched=False)
    late = [way.late_s for way in watched]
    told = [way.told_s for way in watched if way.told_s is not None]
    busiest = max(watched, key=lambda way: way.requests)
    rows = (
        Row("finished until SUCCEEDED and archived, watched: median", median(late), "s", most=SEEN_WITHIN_S),
        Row("… the slowest", max(late), "s", most=SEEN_WITHIN_S),
        Row("finished until the open page says so: median", median(told), "s"),
        Row(
            f"… watched, {SHIPPED_LIMIT} requests a minute: archived", limited.late_s, "s", most=SEEN_WITHIN_S
        ),
        Row("… unwatched: archived", alone.late_s, "s"),
        Row(
            "requests for a job, watched: median", median(w.requests for w in watched), "", most=REQUESTS_MOST
        ),
        Row("… the most", busiest.requests, "", most=REQUESTS_MOST),
        Row(f"… watched, {SHIPPED_LIMIT} requests a minute", limited.requests, "", most=REQUESTS_MOST),
        Row("… unwatched", alone.requests, "", most=REQUESTS_MOST),
    )
    return Part(
        title="Finished to archived, and what the node is asked",
        told=f"{TIMES} jobs one after the other, at a node's own pace of {NODE_STEP_S:.0f} s a step. Watched: a client "
        "polls the status fragment as a job's page does. Requests are the node's own count from the click until the job "
        "has ended; the look at the node's environments once a minute is listed, but is not a job's.",
        rows=rows,
        more=_by_path({"watched, the most": busiest, "watched, shipped limit": limited, "unwatched": alone}),
    )


def _run(site: Site, visitor: Visitor, dataset: str, algorithm: str, *, watched: bool) -> Way:
    form = visitor.prepare(dataset=dataset, algorithm=algorithm)
    began = time.time()
    job_id = visitor.click(form)
    told_at = visitor.watch(job_id) if watched else None
    row = site.wait_for_state(job_id, "SUCCEEDED")
    ended = moment(row["ended_at"])
    _created, finished = site.node_row(job_id)
    assert finished is not None
    return Way(
        asked=Counter(f"{method} {path}" for method, path in site.asked(since=began, until=ended)),
        late_s=ended - finished,
        told_s=None if told_at is None else told_at - finished,
    )


def _by_path(ways: dict[str, Way]) -> str:
    names = sorted(
        {name for way in ways.values() for name in way.asked}, key=lambda name: (_is_look(name), name)
    )
    lines = [
        (f"{name} (a look)" if _is_look(name) else name, *(str(way.asked[name]) for way in ways.values()))
        for name in names
    ]
    return table(("request", *ways), lines)


def _is_look(name: str) -> bool:
    return name.partition(" ")[2] in LOOKS
