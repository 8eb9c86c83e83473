"""The portal's half of the comparison with ocean.py: the same acts, counted and timed in the same places."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

from tests.benchmarks.oceanpy import (
    LIFE,
    LIFE_AGAIN,
    LIFE_RUNS_S,
    LIFE_UNWATCHED,
    LOGS,
    MANY,
    PAY,
    PAY_AGAIN,
    PROVIDER_STEP_S,
    RESULT,
    START,
    STATUS,
    STATUS_OF_MANY,
    STOP,
    TIMES,
    Cost,
    Ground,
    Place,
    counted,
    wait_for_end,
    wait_until_running,
)
from tests.benchmarks.site import WIDE, moment
from tests.sandbox.journey.portal import ROOT, Portal, wait_for
from tests.sandbox.oceanpy.library import Answer, Library
from tests.sandbox.running import Box

STOPPED_AFTER_S = 50  # as ocean.py's half: of the 60 that the environments give a job
LIFE_DEADLINE_S = 180.0
PROVIDER = "provider-v4"  # the dialect, as the portal names it
SERVE = "from tests.benchmarks import portalcalls\nportalcalls.main()"


def measure(ground: Ground, *, folder: Path) -> Mapping[str, Cost]:
    """Do every act with a portal of its own on each way, then whole lives with a worker; return what each cost.

    A new portal has no orders, so that the first act of a kind makes new ones, as ocean.py's does.
    """
    with _calls(ground.box, ground.tapped, folder=folder / "counted") as calls:
        requests_of, _ = _acts(ground.tapped, calls, times=1)
        ask_of_many = _many(ground.tapped, calls)
        requests_of[STATUS_OF_MANY] = counted(ground.tapped, ask_of_many)
    with _calls(ground.box, ground.direct, folder=folder / "timed") as calls:
        _, seconds = _acts(ground.direct, calls, times=TIMES)
        seconds[STATUS_OF_MANY] = _many(ground.direct, calls)()
    costs = {act: Cost(asked, seconds[act]) for act, asked in requests_of.items()}
    ground.set_pace(PROVIDER_STEP_S)
    with _worked(ground.box, ground.tapped, folder=folder / "watched") as portal:
        costs[LIFE] = _life(ground.tapped, portal, watched=True)
        costs[LIFE_AGAIN] = _life(ground.tapped, portal, watched=True)
    with _worked(ground.box, ground.tapped, folder=folder / "unwatched") as portal:
        costs[LIFE_UNWATCHED] = _life(ground.tapped, portal, watched=False)
    return costs


def _acts(place: Place, calls: Library, *, times: int) -> tuple[dict[str, Counter[str]], dict[str, float]]:
    """Do each act so often; return what the last one asked for, and the medians in seconds.

    Nothing is counted on a way without taps.
    """
    asked: dict[str, Counter[str]] = {}
    took: dict[str, list[float]] = {}

    def do(act: str, call: str, **given: Any) -> Any:
        answers: list[Answer] = []

        def ask() -> None:
            answers.append(calls.ask(call, **given))

        asked[act] = counted(place, ask)
        took.setdefault(act, []).append(answers[0].seconds)
        return answers[0].value

    for _ in range(times):
        job = calls.call("launch")
        do(PAY, "pay", job=job)
        at_provider = do(START, "start", job=job)
        do(STATUS, "status")
        _end(place, calls, at_provider)
        do(LOGS, "collect", job=job)
        calls.call("lose", job=job)
        do(RESULT, "collect", job=job)
        stopped = calls.call("launch", seconds=STOPPED_AFTER_S)
        do(PAY_AGAIN, "pay", job=stopped)
        at_provider = calls.call("start", job=stopped)
        wait_until_running(place, at_provider)
        do(STOP, "stop", job=stopped)
        _end(place, calls, at_provider)  # not collected, it keeps its orders: the next job makes new ones
    return asked, {act: median(seconds) for act, seconds in took.items()}


def _end(place: Place, calls: Library, at_provider: str) -> None:
    """Wait for a job's end at the Provider, and let the portal know of it."""
    wait_for_end(place, at_provider)
    calls.call("status")
    assert calls.call("running") == 0


def _many(place: Place, calls: Library) -> Callable[[], float]:
    """Start many jobs, on an order each, and wait until all have ended; return what asks for all their statuses."""
    started = []
    for _ in range(MANY):
        job = calls.call("launch")
        calls.call("pay", job=job)
        started.append(calls.call("start", job=job))
    for at_provider in started:
        wait_for_end(place, at_provider)
    assert calls.call("running") == MANY

    def ask() -> float:
        seconds = calls.ask("status").seconds
        assert calls.call("running") == 0
        return seconds

    return ask


def _life(place: Place, portal: Portal, *, watched: bool) -> Cost:
    """Run `launch_job` until the results are archived; count everything that is asked meanwhile, whatever for."""
    rows: list[Any] = []

    def live() -> None:
        before = {row["id"] for row in portal.rows("SELECT id FROM jobs_job")}
        ended = portal.launch(
            place.algorithm, datasets=(place.dataset,), params={"seconds": LIFE_RUNS_S}, wait=watched
        )
        assert ended.code == 0, ended.stdout + ended.stderr
        (new,) = (row for row in portal.rows("SELECT * FROM jobs_job") if row["id"] not in before)
        sql = "SELECT * FROM jobs_job WHERE id = ? AND ended_at IS NOT NULL"
        rows.extend(wait_for(lambda: portal.rows(sql, new["id"]), "a job's end", within_s=LIFE_DEADLINE_S))

    asked = counted(place, live)
    (row,) = rows
    assert row["state"] == "SUCCEEDED", dict(row)
    kept = portal.rows("SELECT * FROM jobs_result WHERE job_id = ? AND status = 'archived'", row["id"])
    assert len(kept) == 5, kept
    return Cost(asked, late_s=moment(row["ended_at"]) - moment(row["finished_at"]))


@contextmanager
def _set_up(
    box: Box, *, urls: Mapping[str, str], dids: Iterable[str], dialect: str, folder: Path
) -> Iterator[Portal]:
    """Set up a portal as the demo does, but on its own ways to the peers and with these assets alone."""
    names = {"provider": "provider_url", "aquarius": "aquarius_url", "chain": "rpc_url", "node": "node_url"}
    ways = {names[peer]: url for peer, url in urls.items()}
    portal = Portal(folder=folder, box=replace(box, info=box.info | ways | {"assets": {}}))
    portal.environment |= {"PORTAL_DEBUG": "false", "PORTAL_DEMO": "true"}
    try:
        portal.set_up()
        # A Provider counts nobody's requests, and the demo's politeness is not what is measured.
        portal.write("UPDATE jobs_node SET requests_per_minute = ?", WIDE)
        for did in dids:
            portal.call(
                f"node = Node.objects.get(dialect={dialect!r})\n"
                f"catalogue.add(actor=actor, did={did!r}, clock=clock, node_id=node.pk)"
            )
        # The sandbox's own documents name the node itself, not the tap before it.
        here = urls.get("node", box.node_url)
        portal.write("UPDATE jobs_asset SET services = replace(services, ?, ?)", box.node_url, here)
        yield portal
    finally:
        portal.close()


@contextmanager
def _worked(box: Box, place: Place, *, folder: Path) -> Iterator[Portal]:
    """Run a portal with a worker."""
    dids = (place.dataset, place.algorithm)
    with _set_up(box, urls=place.urls, dids=dids, dialect=PROVIDER, folder=folder) as portal:
        portal.start_worker()
        portal.wait_for_beat()
        yield portal


@contextmanager
def _calls(box: Box, place: Place, *, folder: Path) -> Iterator[Library]:
    """Run portalcalls.py with a place's assets."""
    dids = (place.dataset, place.algorithm)
    with running_calls(box, urls=place.urls, dids=dids, dialect=PROVIDER, folder=folder) as calls:
        yield calls


@contextmanager
def running_calls(
    box: Box, *, urls: Mapping[str, str], dids: Sequence[str], dialect: str, folder: Path
) -> Iterator[Library]:
    """Run portalcalls.py in a portal without a worker.

    urls: by peer, where they are not the sandbox's own; dids: the data sets, then the algorithm; dialect: who serves them.
    """
    with (
        _set_up(box, urls=urls, dids=dids, dialect=dialect, folder=folder) as portal,
        subprocess.Popen(
            [sys.executable, "manage.py", "shell", "-v", "0", "--no-imports", "-c", SERVE],
            cwd=ROOT,
            env=portal.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as process,
    ):
        calls = Library(process)
        try:
            assets = {"datasets": list(dids[:-1]), "algorithm": dids[-1], "dialect": dialect}
            calls.exchange(assets, what="the begin")
            yield calls
        finally:
            process.kill()
