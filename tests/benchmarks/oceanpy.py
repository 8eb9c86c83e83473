"""What Ocean's own Python library asks for a job at a Provider, and what the portal asks for the same."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import requests

from tests.benchmarks.table import Part, Row, shown, table
from tests.sandbox.journey.portal import wait_for
from tests.sandbox.oceanpy.journey import PUBLISHER, served_files
from tests.sandbox.oceanpy.library import VERSION, Library, Missing, install, running_library
from tests.sandbox.running import Box, start_sandbox
from tests.sandbox.taps import Notes, tapped

TIMES = 10
MANY = 50
TOKENS = 75  # of each asset for each side; a dispenser gives up to 100 to whoever has fewer than that
QUICK_STEP_S = 0.05
PROVIDER_STEP_S = 2.0  # a real Provider's pace
POLL_S = 5.0  # as often as ocean.py's own tutorial asks: READMEs/c2d-flow.md, step 7
LIFE_RUNS_S = 45  # of the 60 that the environments give a job
HOUR_S = 3600
FEWER = 10  # how many times fewer requests the portal should need over a job's life
PEERS = ("provider", "aquarius", "chain")
PORTAL_TOLD = (
    "The portal: `launch_job` from the launch until all is archived, with --wait (as when a page is open) and without; "
    "everything that it asks meanwhile counts, its look at the environments once a minute too. Documents it has read when "
    "they came into the catalogue. Its single acts are the worker's calls of services, the database included; it archives "
    "all five results of a job, and whoever wants the outputs later asks no far side. "
)
TITLE = "Against ocean.py, at a Provider"

PAY, PAY_AGAIN, START = "pay, new orders", "pay, orders still good", "start"
STATUS, STATUS_OF_MANY, STOP = "status of a job", f"status of {MANY} jobs", "stop"
RESULT, LOGS = "a result", "the outputs of a job (of 5 results)"
LIFE = "a job's life"
# The portal alone knows these; beside them stands ocean.py's only way.
LIFE_AGAIN = "a job's life, the same job again"
LIFE_UNWATCHED = "a job's life, nobody watching"
LIVES = (LIFE, LIFE_AGAIN, LIFE_UNWATCHED)


@dataclass(frozen=True)
class Cost:
    """What an act cost.

    requests: by peer, see PEERS. seconds: the median, None where the Provider's pace decides. late_s: of a life, from
    the job's end at the Provider until all its results are here.
    """

    requests: Mapping[str, int]
    seconds: float | None = None
    late_s: float | None = None

    @property
    def at_ocean(self) -> int:
        """How many requests went to Provider and Aquarius."""
        return self.requests.get("provider", 0) + self.requests.get("aquarius", 0)


@dataclass(frozen=True)
class Place:
    """A way to the sandbox, with assets whose documents lead along it.

    urls: by peer; files: where the files of assets are served; dataset, algorithm: DIDs, free of charge and published by
    ocean.py; notes: what the taps of the way see, None on the way without taps, which is for taking times.
    """

    library: Library
    urls: Mapping[str, str]
    files: str
    dataset: str
    algorithm: str
    notes: Notes | None


@dataclass
class Ground:
    """Where both sides do their acts, with the same sandbox and assets."""

    box: Box
    tapped: Place
    direct: Place

    def set_pace(self, step_s: float) -> None:
        """Start the sandbox again, the same one on the same ports, at another pace."""
        self.box.stop()
        self.box = start_sandbox(self.box.state, step=step_s)


# The portal's half: does the acts on a ground and returns what they cost, by the names above. It finds the sandbox at
# QUICK_STEP_S a step, and gives it another pace if it wants to. An act that it leaves out stays without comparison.
Portal = Callable[[Ground], Mapping[str, Cost]]


def measure(*, folder: Path, portal: Portal | None = None) -> Part:
    """Do the same acts with ocean.py and with the portal, in one sandbox."""
    try:
        python = install()
    except Missing as error:
        return Part(title=TITLE, told=f"Not measured: {error}.")
    with open_ground(folder, python) as ground:
        ours: Mapping[str, Cost] = {}
        if portal is not None:
            _give_tokens(ground)
            ours = portal(ground)
            ground.set_pace(QUICK_STEP_S)
        _give_tokens(ground)
        theirs = oceanpy_costs(ground)
    return compared(ours=ours, theirs=theirs)


def compared(*, ours: Mapping[str, Cost], theirs: Mapping[str, Cost]) -> Part:
    """Lay out what was measured; ours may be empty."""
    return Part(
        title=TITLE,
        told=f"ocean.py (ocean-lib {VERSION}, unmodified, in its own Python) and the portal do the same with the same "
        f"assets at the sandbox's Provider. Requests are counted before the servers; times (medians of {TIMES}) are taken "
        f"without the counter between. {LIFE.capitalize()}: it computes for {LIFE_RUNS_S} s, at a pace of "
        f"{PROVIDER_STEP_S:.0f} s a step. ocean.py: both documents, the environments, new orders, start, status until it "
        f"has ended (its tutorial asks every {POLL_S:.0f} s), and each of its five results once. "
        f"{PORTAL_TOLD if ours else ''}Getting datatokens is not in it. "
        f"The aims count Provider and Aquarius, not the chain: one request, and "
        f"{FEWER} times fewer than ocean.py over a life.",
        rows=tuple(_rows(ours, theirs)),
        more=_by_peer(ours, theirs),
    )


def oceanpy_costs(ground: Ground) -> dict[str, Cost]:
    """Do every act with ocean.py and return what each cost."""
    asked, took = _count(ground.tapped), _time(ground.direct)
    jobs = _many(ground.tapped)
    asked[STATUS_OF_MANY] = counted(ground.tapped, lambda: _statuses(ground.tapped, jobs))
    took[STATUS_OF_MANY] = _statuses(ground.direct, jobs)
    costs = {act: Cost(requests, took[act]) for act, requests in asked.items()}
    ground.set_pace(PROVIDER_STEP_S)
    late: list[float] = []
    life = counted(ground.tapped, lambda: late.append(_live(ground.tapped)))
    return costs | {LIFE: Cost(life, late_s=late[0])}


def _rows(ours: Mapping[str, Cost], theirs: Mapping[str, Cost]) -> Iterator[Row]:
    aims = {STATUS_OF_MANY: 1.0, **dict.fromkeys(LIVES, theirs[LIFE].at_ocean / FEWER)}
    for act in (*theirs, *(act for act in ours if act not in theirs)):
        our, their = ours.get(act), theirs.get(act, theirs[LIFE])
        if our is None:
            yield Row(f"ocean.py, {act}: requests", their.at_ocean, "")
            continue
        yield Row(
            f"{act}: requests; beside: ocean.py",
            our.at_ocean,
            "",
            beside=their.at_ocean,
            most=aims.get(act),
        )
        if our.seconds is not None and their.seconds is not None:
            yield Row(f"{act}; beside: ocean.py", 1000 * our.seconds, "ms", beside=1000 * their.seconds)
        if our.late_s is not None:
            yield Row(f"{act}: ended until all results are here", our.late_s, "s", beside=their.late_s)


def _by_peer(ours: Mapping[str, Cost], theirs: Mapping[str, Cost]) -> str:
    sides = {"ocean.py": theirs} | ({"portal": ours} if ours else {})
    head = ["act"] + [f"{side}: {what}" for side in sides for what in (*PEERS, "time")]
    lines = [
        [act, *(cell for costs in sides.values() for cell in _cells(costs.get(act)))]
        for act in {**theirs, **ours}
    ]
    return table(head, lines)


def _cells(cost: Cost | None) -> list[str]:
    if cost is None:
        return [""] * (len(PEERS) + 1)
    took = "" if cost.seconds is None else shown(1000 * cost.seconds, "ms")
    return [*(str(cost.requests.get(peer, 0)) for peer in PEERS), took]


@contextmanager
def open_ground(folder: Path, python: Path) -> Iterator[Ground]:
    """Run a sandbox, and ocean.py on both ways to it, for the time of a with block."""
    box = start_sandbox(folder, step=QUICK_STEP_S)
    urls = {"provider": box.provider_url, "aquarius": box.aquarius_url, "chain": box.rpc_url}
    ground: Ground | None = None
    try:
        with (
            served_files() as files,
            tapped(**urls) as (taps, notes),
            _place(box, python, taps, files, notes) as counting,
            _place(box, python, urls, files, None) as direct,
        ):
            ground = Ground(box, counting, direct)
            yield ground
    finally:
        (ground.box if ground is not None else box).stop()


@contextmanager
def _place(
    box: Box, python: Path, urls: Mapping[str, str], files: str, notes: Notes | None
) -> Iterator[Place]:
    """Run ocean.py on one of the ways and publish there."""
    with running_library(
        python=python,
        contracts=box.info["contracts"],
        publisher=PUBLISHER,
        consumer=box.info["account"]["private_key"],
        provider_url=urls["provider"],
        aquarius_url=urls["aquarius"],
        rpc_url=urls["chain"],
    ) as library:
        dataset = library.call("publish_dataset", name="Readings", url=f"{files}/rows.csv")["did"]
        algorithm = library.call("publish_algorithm", name="Means", url=f"{files}/means.py")["did"]
        library.call("trust", dataset=dataset, algorithm=algorithm)
        yield Place(library, dict(urls), files, dataset, algorithm, notes)


def _give_tokens(ground: Ground) -> None:
    for place in (ground.tapped, ground.direct):
        for asset in (place.dataset, place.algorithm):
            place.library.call("dispense", asset=asset, tokens=TOKENS)


def _count(place: Place) -> dict[str, Counter[str]]:
    """Do each act once, and count."""
    library = place.library
    found: dict[str, Counter[str]] = {}
    started: list[str] = []
    environment = library.call("free_environment")
    found[PAY] = counted(place, lambda: _pay(place, environment))
    inputs = _pay(place, environment)
    found[PAY_AGAIN] = counted(place, lambda: _pay(place, environment, inputs))
    found[START] = counted(place, lambda: started.append(_start(place, inputs, environment)))
    job = {"dataset": place.dataset, "job": started[0]}
    found[STATUS] = counted(place, lambda: library.call("status", **job))
    wait_for_end(place, job["job"])
    found[RESULT] = counted(place, lambda: library.call("result", **job, index=0))
    found[LOGS] = counted(place, lambda: library.call("logs", **job, kind="output"))
    running = _run_long(place, inputs, environment)
    found[STOP] = counted(place, lambda: library.call("stop", dataset=place.dataset, job=running))
    wait_for_end(place, running)
    return found


def _time(place: Place) -> dict[str, float]:
    """Do each act several times; the medians in seconds, as the library's own process saw them."""
    library = place.library
    environment = library.call("free_environment")
    took: dict[str, list[float]] = {}

    def ask(act: str, call: str, **given: Any) -> Any:
        answer = library.ask(call, **given)
        took.setdefault(act, []).append(answer.seconds)
        return answer.value

    terms = {"environment": environment, "seconds": HOUR_S}
    for _ in range(TIMES):
        bare = {"dataset": {"did": place.dataset}, "algorithm": {"did": place.algorithm}}
        inputs = _ordered(place, ask(PAY, "pay", **bare, **terms))
        ask(PAY_AGAIN, "pay", **inputs, **(terms | {"seconds": HOUR_S // 2}))
        job = {"dataset": place.dataset, "job": ask(START, "start", **inputs, environment=environment)}
        ask(STATUS, "status", **job)
        wait_for_end(place, job["job"])
        ask(RESULT, "result", **job, index=0)
        ask(LOGS, "logs", **job, kind="output")
        running = _run_long(place, inputs, environment)
        ask(STOP, "stop", dataset=place.dataset, job=running)
        wait_for_end(place, running)
    return {act: median(times) for act, times in took.items()}


def _live(place: Place) -> float:
    """Take a job from its documents to its last result, as ocean.py's tutorial does; return how late that was."""
    for did in (place.dataset, place.algorithm):
        place.library.call("resolve", did=did)
    environment = place.library.call("free_environment")
    started = _start(place, _pay(place, environment), environment, seconds=LIFE_RUNS_S)
    job = {"dataset": place.dataset, "job": started}
    while (report := place.library.call("status", **job))["dateFinished"] is None:
        time.sleep(POLL_S)
    assert len(report["results"]) == 5, report
    for index, _ in enumerate(report["results"]):
        place.library.call("result", **job, index=index)
    return time.time() - float(report["dateFinished"])


def _many(place: Place) -> list[str]:
    """Start many jobs, on an order each, and wait until the last one has ended."""
    environment = place.library.call("free_environment")
    jobs = [_start(place, _pay(place, environment), environment) for _ in range(MANY)]
    wait_for(
        lambda: not [job for job in _reports(place) if job["dateFinished"] is None], "the end of all jobs"
    )
    return jobs


def _statuses(place: Place, jobs: list[str]) -> float:
    """Ask for each job's status; return the seconds that it took."""
    return sum(place.library.ask("status", dataset=place.dataset, job=job).seconds for job in jobs)


def counted(place: Place, act: Callable[[], object]) -> Counter[str]:
    """Do an act and return how many requests each peer got; none on a way without taps."""
    if place.notes is None:
        act()
        return Counter()
    mark = len(place.notes.asked)
    act()
    return Counter(item.peer for item in place.notes.since(mark))


def _pay(
    place: Place, environment: dict[str, Any], inputs: dict[str, Any] | None = None
) -> dict[str, dict[str, str]]:
    """Order, or look whether the orders of some inputs are good; return the inputs with their orders."""
    given = inputs or {"dataset": {"did": place.dataset}, "algorithm": {"did": place.algorithm}}
    seconds = HOUR_S // 2 if inputs else HOUR_S
    return _ordered(place, place.library.call("pay", **given, environment=environment, seconds=seconds))


def _ordered(place: Place, orders: dict[str, str]) -> dict[str, dict[str, str]]:
    dids = {"dataset": place.dataset, "algorithm": place.algorithm}
    return {name: {"did": did, "order": orders[name]} for name, did in dids.items()}


def _start(place: Place, inputs: dict[str, Any], environment: dict[str, Any], *, seconds: int = 0) -> str:
    """Start a job that computes for so long."""
    custom = {"seconds": seconds}
    return str(place.library.call("start", **inputs, environment=environment, custom=custom))


def _run_long(place: Place, inputs: dict[str, Any], environment: dict[str, Any]) -> str:
    """Start a job that lasts, and return its id when it runs."""
    job = _start(place, inputs, environment, seconds=50)
    wait_until_running(place, job)
    return job


def wait_until_running(place: Place, job: str) -> None:
    """Wait until a job's algorithm runs at the Provider."""
    wait_for(lambda: _report(place, job)["status"] == 40, "a running job")


def wait_for_end(place: Place, job: str) -> None:
    """Wait until a job has ended at the Provider."""
    wait_for(lambda: _report(place, job)["dateFinished"], "the end of a job")


def _reports(place: Place) -> list[dict[str, Any]]:
    """Return all jobs of the consumer, asked for without ocean.py; what taps see of it counts for no act."""
    owner = place.library.call("address")
    url = f"{place.urls['provider']}/api/services/compute"
    return list(requests.get(url, params={"consumerAddress": owner}, timeout=30).json())


def _report(place: Place, job: str) -> dict[str, Any]:
    return next(report for report in _reports(place) if report["jobId"] == job)
