"""What the worker runs: ids in, one service call, nothing out.

Every task is safe to run twice, late, or never. Unknown keyword arguments are ignored, so that a task enqueued by a newer
or older release still runs.
"""

from __future__ import annotations

import logging
import time
import uuid
from contextlib import suppress
from typing import Any

from django.utils.timezone import now as clock

from jobs.errors import PortalError
from jobs.ocean.errors import OceanError
from jobs.services import (
    acting,
    balances,
    blocks,
    escrows,
    following,
    nodes,
    nodetokens,
    notifications,
    payments,
    posting,
    reconciling,
    refreshing,
    results,
    retention,
    running,
)

log = logging.getLogger(__name__)

PULSE_FOR_S = 50.0
BEAT_S = 1.0


def pulse(**_: Any) -> None:
    """Beat for about 50 s; at the end ask for the next pulse."""
    holder = running.begin_pulse(now=clock())
    end = time.monotonic() + PULSE_FOR_S
    while time.monotonic() < end:
        if not running.pulse(clock=clock, holder=holder):
            return
        time.sleep(BEAT_S)
    running.hand_over_pulse(holder=holder)


def advance(job_id: str, **_: Any) -> None:
    """Take one step with a job."""
    try:
        running.advance(job_id=uuid.UUID(job_id), clock=clock)
    except Exception as error:
        log.exception("advance of job %s", job_id)
        running.report_crash(job_id=uuid.UUID(job_id), error=error, now=clock())


def refresh(node_id: int, wallet_id: int, **_: Any) -> None:
    """Ask a node about all jobs of a wallet."""
    refreshing.refresh(node_id=node_id, wallet_id=wallet_id, clock=clock)


def follow(job_id: str, **_: Any) -> None:
    """Read a live log for a while."""
    following.follow(job_id=uuid.UUID(job_id), clock=clock)


def collect(job_id: str, **_: Any) -> None:
    """Fetch what a job left into the portal's storage."""
    try:
        results.collect(job_id=uuid.UUID(job_id), clock=clock)
    except Exception as error:
        log.exception("collect of job %s", job_id)
        running.report_crash(job_id=uuid.UUID(job_id), error=error, now=clock())


def settle(job_id: str, **_: Any) -> None:
    """See to the transactions that a job left under way."""
    with suppress(PortalError, OceanError):  # the pulse asks again
        payments.settle(job_id=uuid.UUID(job_id), clock=clock)


def act(wallet_id: int, network_id: int, **_: Any) -> None:
    """Do what a person wants done from a wallet, outside of any job."""
    with suppress(PortalError, OceanError):  # the pulse asks again
        acting.act(wallet_id=wallet_id, network_id=network_id, clock=clock)


def look_at_escrow(account_id: int, **_: Any) -> None:
    """Read what a wallet has in an escrow, and settle its jobs."""
    escrows.look(account_id=account_id, clock=clock)


def check_blocks(network_id: int, **_: Any) -> None:
    """Look whether the chain still knows the blocks of our transactions."""
    with suppress(PortalError, OceanError):  # the pulse asks again
        blocks.check(network_id=network_id, clock=clock)


def reconcile(**_: Any) -> None:
    """Compare the ledger with chains and nodes, unless that was done today."""
    if reconciling.is_due(now=clock()):
        reconciling.compare(clock=clock, everything=False)


def look_at_node(node_id: int, **_: Any) -> None:
    """Ask a node what it offers."""
    nodes.look(node_id=node_id, clock=clock)


def remove_results(**_: Any) -> None:
    """Remove the archived results that the teams' rules no longer keep."""
    retention.run(clock=clock)


def tell(event_id: int, **_: Any) -> None:
    """Write to whom it concerns that something happened to a job."""
    notifications.tell(event_id=event_id, now=clock())


def send_letter(letter_id: int, **_: Any) -> None:
    """Send an e-mail that waits in the outbox."""
    try:
        posting.send(letter_id=letter_id, clock=clock)
    except (
        Exception
    ):  # whether it was sent is not known: the letter says so after a while, and stays where it is
        log.exception("letter %s", letter_id)


def look_at_balances(look_id: int, **_: Any) -> None:
    """Read what a wallet holds on a network."""
    balances.look(look_id=look_id, clock=clock)


def log_in(token_id: int, **_: Any) -> None:
    """Get a wallet's token from a node, renew it, or give it back."""
    nodetokens.tend(token_id=token_id, clock=clock)
