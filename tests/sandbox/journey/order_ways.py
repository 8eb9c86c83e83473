"""The ways of a job that needs orders, with two datasets: what happens around an interruption, and how all should end."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from jobs.services import starting
from tests.sandbox.journey.ledger import CALLS
from tests.sandbox.journey.mortal import PAST, closed_port
from tests.sandbox.journey.payer import Payer
from tests.sandbox.journey.portal import wait_for
from tests.sandbox.journey.ways import QUEUE_LOST, WISH, Act, Way, both, died, sql

FILES = frozenset({"algorithm.log", "words.csv", "words.svg"})
PLANNED = "ordering._write: move"
PREPARED = "sending.prepare: update 2"
SENT = "sending.send: send"
CONFIRMED = "sending._end: update"


@dataclass(frozen=True)
class OrderWay(Way):
    """A way of a job for a Provider; two datasets and an algorithm are three orders.

    dispensed, ordered, renewed: how many such calls of this wallet should have succeeded on the chain; failed: how many
    reverted; others: how many transactions of the wallet another program has sent.
    """

    reason: str = "exit_unknown"
    files: frozenset[str] = FILES
    dispensed: int = 3
    ordered: int = 3
    renewed: int = 0
    failed: int = 0
    others: int = 0


def unstarted(way: OrderWay, *, state: str, reason: str) -> OrderWay:
    """Return a way that ends before the start."""
    return replace(way, state=state, reason=reason, jobs=0, runs=0, files=frozenset())


# what happens


def rpc_is_away(portal: Payer) -> None:
    """Let the portal find nobody where the chain was."""
    portal.write("UPDATE jobs_network SET rpc_url = ?", f"http://127.0.0.1:{closed_port()}")


def rpc_is_back(portal: Payer) -> None:
    """Let the portal find the chain again."""
    portal.write("UPDATE jobs_network SET rpc_url = ?", portal.box.rpc_url)


def blocks_take_long(portal: Payer) -> None:
    """Let transactions wait for a block."""
    portal.ledger.ask("evm_setAutomine", False)


def block_comes(portal: Payer) -> None:
    """Let what waits be mined, and the rest at once."""
    portal.ledger.ask("evm_setAutomine", True)
    portal.ledger.ask("evm_mine")


def ordered_before(portal: Payer) -> None:
    """Let an earlier job make the orders, end, and be launched once more."""
    portal.live()
    portal.end_of_job()
    portal.kill_worker()
    portal.launch_again()


def earlier_job_runs(portal: Payer) -> None:
    """Let an earlier job run at the Provider that the portal has given up, and launch once more."""
    portal.set_seconds(20)
    portal.live()
    portal.wait_for_state(portal.job_id, "RUNNING")
    wait_for(lambda: portal.runs(portal.job_id), "the start of the algorithm")
    portal.kill_worker()
    portal.write("UPDATE jobs_job SET state = 'FAILED', ended_at = ?", PAST)
    portal.launch_again()


def number_is_used(portal: Payer) -> None:
    """Let another program of this wallet send a transaction with the next number."""
    portal.ledger.send(portal.ledger.signed(portal.key, to=portal.address)[1])


def token_is_given_away(portal: Payer) -> None:
    """Let another program of this wallet spend a datatoken that was meant for an order."""
    (row,) = portal.rows("SELECT datatoken FROM jobs_order ORDER BY id LIMIT 1")
    portal.ledger.give_token_away(portal.key, token=row["datatoken"])


def holds_something_else(data: bytes, *, to_self: bool = False) -> Callable[[Payer], None]:
    """Return what puts other signed bytes, with the same number, in the place of the first order's."""

    def swap(portal: Payer) -> None:
        (row,) = portal.rows("SELECT * FROM jobs_transaction WHERE status = 'prepared' AND purpose = 'order'")
        to = portal.address if to_self else row["to"]
        tx_hash, raw = portal.ledger.signed(portal.key, to=to, data=data, nonce=row["nonce"])
        portal.write(
            "UPDATE jobs_transaction SET signed = ?, tx_hash = ? WHERE id = ?", raw, tx_hash, row["id"]
        )

    return swap


ORDER_OF_NOTHING = next(selector for selector, call in CALLS.items() if call == "order")
NOT_ENDED = "WHERE state NOT IN ('SUCCEEDED', 'FAILED', 'CANCELLED')"
PUT_ASIDE = (
    "UPDATE jobs_job SET attention_from = state, state = 'NEEDS_ATTENTION', reason = 'internal_error' "
    + NOT_ENDED
)
GIVEN_UP = f"UPDATE jobs_job SET state = 'FAILED', reason = 'internal_error', ended_at = '{PAST}' {NOT_ENDED}"
FOR_HOURS = f"UPDATE jobs_job SET trouble_count = {starting.UNANSWERED_MAX}"
BAD_CALL = f"UPDATE jobs_transaction SET data = x'{ORDER_OF_NOTHING.hex()}' WHERE purpose = 'order'"
FEES_ARE_OVER = f"UPDATE jobs_order SET fee_valid_until = '{PAST}'"

PLAIN = OrderWay()
NOTHING_SENT = OrderWay(dispensed=0, ordered=0)


def stopped(way: OrderWay, *, after: Act) -> OrderWay:
    """Return a way on which somebody wants the job to stop after an earlier death."""
    return unstarted(replace(way, before=both(after, sql(WISH))), state="CANCELLED", reason="stopped")


ORDER_WAYS = {
    "plain": PLAIN,
    "orders are there": OrderWay(before=ordered_before),
    "orders to be renewed": OrderWay(before=both(ordered_before, sql(FEES_ARE_OVER)), renewed=3),
    "order in use at the Provider": unstarted(
        OrderWay(before=earlier_job_runs), state="FAILED", reason="order_in_use"
    ),
    "blocks take long": OrderWay(before=blocks_take_long, after=block_comes),
    "order would revert": unstarted(
        OrderWay(before=both(died(PLANNED), sql(BAD_CALL)), ordered=0), state="FAILED", reason="reverted"
    ),
    "order reverts": unstarted(
        OrderWay(
            before=both(died(PREPARED, nth=4), holds_something_else(ORDER_OF_NOTHING)), ordered=0, failed=1
        ),
        state="FAILED",
        reason="reverted",
    ),
    "order is none": unstarted(
        OrderWay(
            before=both(died(PREPARED, nth=4), holds_something_else(b"", to_self=True)), ordered=0, others=1
        ),
        state="FAILED",
        reason="reverted",
    ),
    "number used by another program": OrderWay(before=both(died(PREPARED), number_is_used), others=1),
    "token spent by another program": OrderWay(
        before=both(died(CONFIRMED, nth=3), token_is_given_away), dispensed=4, others=1
    ),
    "RPC away while planning": OrderWay(before=rpc_is_away, after=rpc_is_back),
    "RPC away while paying": OrderWay(before=both(died(PLANNED), rpc_is_away), after=rpc_is_back),
    "RPC away with a transaction prepared": OrderWay(
        before=both(died(PREPARED), rpc_is_away), after=rpc_is_back
    ),
    "RPC away for hours": unstarted(
        replace(NOTHING_SENT, before=both(died(PLANNED), rpc_is_away, sql(FOR_HOURS))),
        state="NEEDS_ATTENTION",
        reason="connect",
    ),
    "stopped when planned": stopped(NOTHING_SENT, after=died(PLANNED)),
    "stopped when prepared": stopped(OrderWay(dispensed=1, ordered=0), after=died(PREPARED)),
    "stopped when dispensed": stopped(OrderWay(ordered=0), after=died(CONFIRMED, nth=3)),
    "stopped when an order is sent": stopped(OrderWay(ordered=3), after=died(SENT, nth=4)),
    "stopped when paid": stopped(OrderWay(), after=died("payments._paid: move PAID")),
    "put aside with a transaction prepared": unstarted(
        OrderWay(before=both(died(PREPARED), sql(PUT_ASIDE, QUEUE_LOST)), dispensed=1, ordered=0),
        state="NEEDS_ATTENTION",
        reason="internal_error",
    ),
    "given up with a transaction sent": unstarted(
        OrderWay(before=both(died(SENT), sql(GIVEN_UP, QUEUE_LOST)), ordered=0),
        state="FAILED",
        reason="internal_error",
    ),
}
