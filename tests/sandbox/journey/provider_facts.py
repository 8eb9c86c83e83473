"""The facts that every job passes, for a job at a Provider: most of them on the same ways as at a node."""

from collections.abc import Iterator
from dataclasses import replace

from tests.sandbox.journey.facts import FACTS
from tests.sandbox.journey.mortal import FUTURE
from tests.sandbox.journey.order_facts import ORDERED_FACTS
from tests.sandbox.journey.order_ways import FILES, NOTHING_SENT, OrderWay
from tests.sandbox.journey.ways import SENT, WAYS, Way, both, died, node_is_away, sql

# A Provider shows no log while a job runs, and packs nothing.
NOT_THERE = {
    "refreshing.apply_report: enqueue FOLLOW",
    "running.free_leases_of_the_dead: update 3",
    "results._fetch: delete",
    *(name for name in FACTS if name.startswith(("following.", "results._unpack:"))),
}
# What everybody's run has of them; the others wait for the run that may take longer.
EVERYDAY = {
    ("gateway._Turn.next_nonce: update", 1),
    ("budget.spend: update", 1),
    ("starting._may_repeat: update", 1),
    ("refreshing.apply_report: update", 1),
    ("refreshing._end: move COLLECTING", 1),
    ("stopping.stop.send: stop", 1),
    ("results._archive: save", 1),
    ("results._finish: move", 1),
}
STARTING = "starting.begin_start: move STARTING"
NEVER_PLANNED = {
    *("stopped before the start", "node forgets", "node never ends it", "error nobody foresaw"),
    *("a person stops", "a person gives up"),
}


def at_a_provider(name: str, way: Way) -> OrderWay:
    """Return a node's way as it is at a Provider."""
    chain = NOTHING_SENT if name in NEVER_PLANNED else OrderWay()
    here = replace(
        chain,
        seconds=way.seconds,
        before=way.before,
        meanwhile=way.meanwhile,
        after=way.after,
        hurried=way.hurried,
        state=way.state,
        reason="exit_unknown" if way.state == "SUCCEEDED" else way.reason,
        jobs=way.jobs,
        runs=way.runs,
        files=FILES if way.files else frozenset(),
        shortened=way.shortened,
    )
    return replace(here, before=BEFORE[name]) if name in BEFORE else here


# Where a node is asked for the first time, a Provider has been asked already.
BEFORE = {
    "start never arrived": both(died(STARTING), sql(SENT + "1")),
    "node away": both(died(STARTING), node_is_away),
    "node asked often": both(
        died("starting._accepted: move RUNNING"),
        # The one request that may be made has just been made: what it would tell may already be the job's end.
        sql(
            "UPDATE jobs_nodebudget SET spent = json_array(strftime('%s', 'now') + 0.0)",
            f"UPDATE jobs_node SET requests_per_minute = 2, next_look_at = '{FUTURE}'",
        ),
    ),
}
PROVIDER_WAYS = {name: at_a_provider(name, way) for name, way in WAYS.items()}


def provider_cases() -> Iterator[tuple[str, str, int]]:
    """Yield each fact that FACTS has and a Provider's job passes too, with each way and number."""
    for name, fact in FACTS.items():
        if name not in NOT_THERE and name not in ORDERED_FACTS:
            for way, nth in fact.cases:
                yield name, way, nth
