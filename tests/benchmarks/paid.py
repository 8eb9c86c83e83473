"""A paid launch with two data sets: what the portal asks for it, beside ocean.py at the same sandbox's Provider."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from tests.benchmarks.oceanpy import Ground, Place, open_ground, wait_for_end
from tests.benchmarks.portalside import PROVIDER, running_calls
from tests.benchmarks.table import Part, Row, table
from tests.sandbox.oceanpy.journey import WEI
from tests.sandbox.oceanpy.library import VERSION, Answer, Library, Missing, install
from tests.sandbox.running import Box
from tests.sandbox.taps import Notes, tapped

TITLE = "A paid launch with two data sets"
TIMES = 5
PRICE_WEI = 2 * WEI
SECONDS = 60  # as long as the environments give a job
FEWER = 2  # how many times fewer requests than ocean.py the portal should need
NODE = "ocean-node"  # the dialect, as the portal names it
PEERS = ("provider", "node", "aquarius", "chain")
QUOTE, LAUNCH, PAY, START = "the quote", "the launch itself", "check, buy and order", "the start"
# What comes with the sandbox: the portal finds a node by its own address, not by what a document says.
NODE_ASSETS = ("Iris flowers (priced)", "Mauna Loa CO2", "Summary statistics")


@dataclass
class Spent:
    """What one side asked for and took, by act. calls: of JSON-RPC, of which several may share a request."""

    requests: dict[str, Counter[str]] = field(default_factory=dict)
    calls: Counter[str] = field(default_factory=Counter)
    seconds: dict[str, list[float]] = field(default_factory=dict)

    def do(self, act: str, library: Library, notes: Notes | None, call: str, **given: Any) -> Any:
        """Make a call as a part of an act: counted on a way with taps, else timed."""
        mark = len(notes.asked) if notes else 0
        answer: Answer = library.ask(call, **given)
        if notes is None:
            self.seconds.setdefault(act, []).append(answer.seconds)
        else:
            seen = notes.since(mark)
            self.requests.setdefault(act, Counter()).update(asked.peer for asked in seen)
            self.calls.update(method for asked in seen for method in asked.calls)
        return answer.value

    @property
    def asked(self) -> int:
        """How many requests there were in all."""
        return sum(counts.total() for counts in self.requests.values())

    @property
    def took_s(self) -> float:
        """The median of a whole launch."""
        # Every launch makes the same calls, so that an act's times fall into as many equal parts.
        parts = {act: len(times) // TIMES for act, times in self.seconds.items()}
        return median(
            sum(sum(times[i * parts[act] : (i + 1) * parts[act]]) for act, times in self.seconds.items())
            for i in range(TIMES)
        )


@dataclass(frozen=True)
class Goods:
    """What is computed on, at one way to the sandbox. sold: the data set with a price."""

    place: Place
    sold: str

    @property
    def dids(self) -> tuple[str, str, str]:
        """Return the data sets, then the algorithm."""
        return self.sold, self.place.dataset, self.place.algorithm


def measure(*, folder: Path) -> Part:
    """Launch the same job with both; then the like at a node, with the portal alone."""
    try:
        python = install()
    except Missing as error:
        return Part(title=TITLE, told=f"Not measured: {error}.")
    ours, theirs, at_node = Spent(), Spent(), Spent()
    with open_ground(folder / "sandbox", python) as ground:
        for goods, times in ((_published(ground.tapped), 1), (_published(ground.direct), TIMES)):
            # The portal first: what ocean.py lets be drawn, twice the fee, is there afterwards and would spare it one.
            _launch_with_portal(ours, ground, goods, times=times, folder=folder / f"portal-{times}")
            for _ in range(times):
                _launch_with_oceanpy(theirs, goods)
        _launch_at_node(at_node, ground.box, folder=folder / "portal-node")
    return compared(ours=ours, theirs=theirs, at_node=at_node)


def compared(*, ours: Spent, theirs: Spent, at_node: Spent) -> Part:
    """Lay out what was measured."""
    quote = ours.requests[QUOTE].total()
    rows = (
        Row(
            "requests until RUNNING, quote included; beside: ocean.py",
            ours.asked,
            "",
            beside=theirs.asked,
            most=theirs.asked / FEWER,
        ),
        Row("of this: the quote", quote, ""),
        Row("of this: JSON-RPC; beside: ocean.py", _to_chain(ours), "", beside=_to_chain(theirs)),
        Row("JSON-RPC calls in them; beside: ocean.py", ours.calls.total(), "", beside=theirs.calls.total()),
        Row("inside a web request, without the quote's", ours.requests[LAUNCH].total(), "", most=0),
        Row("time of all its acts; beside: ocean.py", 1000 * ours.took_s, "ms", beside=1000 * theirs.took_s),
        Row("at a node, requests until RUNNING, quote included", at_node.asked, ""),
        Row("at a node, JSON-RPC calls in them", at_node.calls.total(), ""),
    )
    return Part(
        title=TITLE,
        told=f"One data set for {PRICE_WEI // WEI} OCEAN, one and the algorithm given away, in the environment that takes "
        f"a fee by the minute; nothing ordered before. ocean.py (ocean-lib {VERSION}): the fees, the datatokens bought and "
        "taken, the fee approved, `pay_for_compute_service`, `compute.start` (which drops the second data set without a "
        "word). The portal: the quote that a person sees, the launch, and the worker's calls of services until RUNNING. "
        "Documents and environments are known to both. Requests are counted before the servers, a batch of JSON-RPC calls "
        f"as one; times (medians of {TIMES}) are taken without the counter between. At a node the portal is alone: two "
        "orders more, escrow and authorisation.",
        rows=rows,
        more=_by_act({"ocean.py": theirs, "portal": ours, "portal, at a node": at_node}),
    )


def _to_chain(spent: Spent) -> int:
    return sum(counts["chain"] for counts in spent.requests.values())


def _by_act(sides: dict[str, Spent]) -> str:
    lines = [
        [f"{side}: {act}", *(str(counts[peer]) for peer in PEERS)]
        for side, spent in sides.items()
        for act, counts in spent.requests.items()
    ]
    return table(["act", *PEERS], lines)


def _published(place: Place) -> Goods:
    """Publish the data set with a price beside what the place has."""
    made = place.library.call(
        "publish_dataset", name="Readings for sale", url=f"{place.files}/rows.csv", price_wei=PRICE_WEI
    )
    place.library.call("trust", dataset=made["did"], algorithm=place.algorithm)
    return Goods(place=place, sold=made["did"])


def _launch_with_oceanpy(spent: Spent, goods: Goods) -> None:
    place = goods.place
    (environment,) = (item for item in _environments(place) if item["priceMin"])

    def do(act: str, call: str, **given: Any) -> Any:
        return spent.do(act, place.library, place.notes, call, **given)

    sold, free, algorithm = ({"did": did} for did in goods.dids)
    terms = {"environment": environment, "seconds": SECONDS}
    fees = do(QUOTE, "fees", dataset=sold, algorithm=algorithm, more=[free], **terms)
    do(PAY, "buy", asset=goods.sold, tokens=1)
    for did in (place.dataset, place.algorithm):
        do(PAY, "dispense", asset=did, tokens=1)
    for did, said in zip(goods.dids, [*fees["datasets"], fees["algorithm"]], strict=True):
        if amount := int(said["providerFee"]["providerFeeAmount"]):
            do(PAY, "approve_fee", asset=did, amount_wei=2 * amount)
    orders = do(PAY, "pay", dataset=sold, algorithm=algorithm, more=[free], **terms)
    job = do(
        START,
        "start",
        dataset=sold | {"order": orders["dataset"]},
        algorithm=algorithm | {"order": orders["algorithm"]},
        more=[free | {"order": orders["more"][0]}],
        environment=environment,
    )
    wait_for_end(place, job)


def _environments(place: Place) -> list[dict[str, Any]]:
    found = place.library.call("environments")
    return list(found)


def _launch_with_portal(spent: Spent, ground: Ground, goods: Goods, *, times: int, folder: Path) -> None:
    place = goods.place
    with running_calls(
        ground.box, urls=place.urls, dids=goods.dids, dialect=PROVIDER, folder=folder
    ) as calls:
        for _ in range(times):
            wait_for_end(place, _launched(spent, calls, place.notes))
            calls.call("forget_orders")


def _launch_at_node(spent: Spent, box: Box, *, folder: Path) -> None:
    dids = tuple(box.did(name) for name in NODE_ASSETS)
    with (
        tapped(node=box.node_url, chain=box.rpc_url) as (urls, notes),
        running_calls(box, urls=urls, dids=dids, dialect=NODE, folder=folder) as calls,
    ):
        _launched(spent, calls, notes)


def _launched(spent: Spent, calls: Library, notes: Notes | None) -> str:
    """Launch at the price that is told, and return the id of the job at the service."""
    most = spent.do(QUOTE, calls, notes, "quote")
    job = spent.do(LAUNCH, calls, notes, "launch_paid", most=most)
    spent.do(PAY, calls, notes, "pay", job=job)
    return str(spent.do(START, calls, notes, "start", job=job))
