"""The job state machine as a table. No queries, no HTTP, no chain.

    REQUESTED -> PAYING -> PAID -> STARTING -> RUNNING -> COLLECTING -> SUCCEEDED
        |          |        |         |          |            |
        +----------+--------+---------+----------+------------+--> FAILED | CANCELLED
                                      +--> NEEDS_ATTENTION  (a person decides; nothing is sent meanwhile)

A free job goes from REQUESTED straight to STARTING. Every job that a node accepted passes COLLECTING, the failed and
the stopped too: its logs are what people need.
"""

from __future__ import annotations

from enum import StrEnum


class State(StrEnum):
    """Where a job stands in the portal. The node's own status number is another thing: `Job.node_status`."""

    AWAITING_APPROVAL = "AWAITING_APPROVAL"
    REQUESTED = "REQUESTED"
    PAYING = "PAYING"
    PAID = "PAID"
    STARTING = "STARTING"
    RUNNING = "RUNNING"
    COLLECTING = "COLLECTING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"
    NEEDS_ATTENTION = "NEEDS_ATTENTION"


TERMINAL = frozenset({State.SUCCEEDED, State.FAILED, State.CANCELLED})

# The states in which the worker has something to do.
ACTIVE = frozenset(
    {State.REQUESTED, State.PAYING, State.PAID, State.STARTING, State.RUNNING, State.COLLECTING}
)

_ENDS = {State.FAILED, State.CANCELLED, State.NEEDS_ATTENTION}

ARROWS: dict[State, frozenset[State]] = {
    State.AWAITING_APPROVAL: frozenset({State.REQUESTED, State.CANCELLED}),
    State.REQUESTED: frozenset({State.PAYING, State.STARTING} | _ENDS),
    State.PAYING: frozenset({State.PAID} | _ENDS),
    State.PAID: frozenset({State.STARTING} | _ENDS),
    State.STARTING: frozenset({State.RUNNING} | _ENDS),
    State.RUNNING: frozenset({State.COLLECTING} | _ENDS),
    State.COLLECTING: frozenset({State.SUCCEEDED} | _ENDS),
    # Back to where it came from (kept in the row), or ended by a person: with its verdict where that was known.
    State.NEEDS_ATTENTION: ACTIVE | TERMINAL,
    State.SUCCEEDED: frozenset(),
    State.FAILED: frozenset(),
    State.CANCELLED: frozenset(),
}


class IllegalMove(Exception):
    """A move that the table does not have: a bug in the caller, never a race."""


def check(*, before: State, after: State) -> None:
    """Raise IllegalMove unless the table has an arrow from `before` to `after`."""
    if after not in ARROWS[before]:
        raise IllegalMove(f"{before} -> {after} is not in the table")
