"""The ways of a job that costs money, with two datasets and an algorithm: one dataset is free, the other two are bought."""

from dataclasses import dataclass, replace

from tests.sandbox.journey.order_ways import (
    ORDER_OF_NOTHING,
    PREPARED,
    block_comes,
    blocks_take_long,
    holds_something_else,
)
from tests.sandbox.journey.spender import OCEAN_WEI, Spender
from tests.sandbox.journey.ways import Act, Way, both, died, sql

NODE, PROVIDER = "ocean-node", "provider-v4"
FREE_DATASET, PRICED_DATASET, ALGORITHM = "US Constitution", "Iris flowers", "Summary statistics"
# Let the exchange draw; buy a dataset, get the other one, buy the algorithm; let the service's fee be drawn, or the escrow
# draw; order all three. At a node, pay into the escrow, and let the node lock.
BOUGHT = ("approval", "purchase", "dispense", "purchase", "approval")
ORDERED = (*BOUGHT, "order", "order", "order")
CALLS = {NODE: (*ORDERED, "deposit", "authorization"), PROVIDER: ORDERED}
FIRST_ORDER = CALLS[NODE].index("order") + 1
# 2 for the dataset, 1/2 for the algorithm, and of both a thousandth for the community.
PRICES_WEI = 5 * OCEAN_WEI // 2 * 1001 // 1000
LONGEST_S = {NODE: 600, PROVIDER: 60}
# One cpu and one ram: 1.1 tokens a minute, for ten minutes at the most; a job of a second is charged one.
MOST_WEI, CHARGED_WEI = 11 * OCEAN_WEI, 11 * OCEAN_WEI // 10
FEE_MOST_WEI = OCEAN_WEI // 100  # of a Provider, for the minute
FILES = frozenset({"algorithm.log", "summary.csv", "chart.svg"})


@dataclass(frozen=True)
class PaidWay(Way):
    """A way of a paid job.

    calls: what of this wallet should have succeeded on the chain, in its order; None for all that a start needs. failed:
    how many reverted; others: how many were empty, in the place of one that a person cancelled.
    """

    files: frozenset[str] = FILES
    calls: tuple[str, ...] | None = None
    failed: int = 0
    others: int = 0


def unstarted(way: PaidWay, *, state: str, reason: str) -> PaidWay:
    """Return a way that ends before the start."""
    return replace(way, state=state, reason=reason, jobs=0, runs=0, files=frozenset())


def at_a_provider(way: PaidWay) -> PaidWay:
    """Return a node's way as it is at a Provider, which does not say how a job ended."""
    return replace(way, reason="exit_unknown") if way.state == "SUCCEEDED" else way


def person_goes_on(portal: Spender) -> None:
    """Let a person look at a job that was paid for in part, and go on."""
    job = portal.job(portal.job_id)
    assert (job["state"], job["reason"], job["attention_from"]) == (
        "NEEDS_ATTENTION",
        "partly_paid",
        "REQUESTED",
    )
    assert "2.5025 OCEAN was paid before" in job["message"]
    assert portal.call(
        f"answer = launching.go_on(actor=actor, job_id=uuid.UUID({portal.job_id!r}), now=clock())"
    )


def wished(what: str) -> Act:
    """Have a person wish something of the transaction that waits."""
    return sql(f"UPDATE jobs_transaction SET wish = '{what}' WHERE status = 'sent'")


UNKNOWN_TOKEN = ("DELETE FROM jobs_spendinglimit", "DELETE FROM jobs_token")
waits = both(blocks_take_long, died("sending.send: update 3"))
first_order_reverts = both(died(PREPARED, nth=FIRST_ORDER), holds_something_else(ORDER_OF_NOTHING))

CANCELLED = unstarted(
    PaidWay(before=both(waits, wished("cancel")), calls=(), others=1),
    state="FAILED",
    reason="transaction_cancelled",
)

MONEY_WAYS = {
    "plain": PaidWay(),
    # Without a token there is no limit, and what has no limit is not spent.
    "token not known": unstarted(
        PaidWay(before=sql(*UNKNOWN_TOKEN), calls=()), state="FAILED", reason="over_limit"
    ),
    "sped up": PaidWay(before=both(waits, wished("faster")), after=block_comes),
    "a person speeds up": PaidWay(before=waits, after=block_comes),
    "cancelled too late": PaidWay(before=both(waits, wished("cancel")), after=block_comes),
    "cancelled": replace(CANCELLED, after=block_comes),
    "cancelled and mined": replace(
        CANCELLED, before=both(CANCELLED.before, died("sending.send: send"), block_comes)
    ),
    "paid in part": PaidWay(before=first_order_reverts, after=person_goes_on, failed=1),
}
