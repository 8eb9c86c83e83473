"""How often a node may be asked: one counter per node, in the database, shared by all processes.

A node allows so many requests a minute to one caller and answers 429 beyond (recording 25: at a limit of 10 the tenth is
refused, so one less than the limit is used). The times of the last minute's requests are kept, because the node's
window starts when it likes: never more than the limit in any 60 seconds fits every window.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from enum import Enum

from jobs.errors import PortalError
from jobs.models import Node, NodeBudget

WINDOW_S = 60.0
_TRIES = 50  # of the compare-and-swap; each loss means that another process made progress


class Purpose(Enum):
    """What a request is for; the value is the part of the minute's budget that it may use up to.

    A third is kept for launches, stops and results; refreshing what nobody watches comes last.
    """

    ACT = 1.0
    WATCH = 2 / 3
    BACKGROUND = 1 / 2


class OutOfBudget(PortalError):
    """The node has been asked often enough in the last minute.

    available_at: when a request for this purpose fits again.
    """

    code = "out_of_budget"

    def __init__(self, *, node: str, available_at: datetime) -> None:
        super().__init__(f"{node} was asked as often as it allows in a minute; the portal asks again soon.")
        self.available_at = available_at


def spend(*, node: Node, purpose: Purpose, now: datetime) -> None:
    """Count one request to a node, or refuse it.

    Raises:
        OutOfBudget: the share of this purpose is used up for the moment.
    """
    at = now.timestamp()
    for _ in range(_TRIES):
        row, _created = NodeBudget.objects.get_or_create(node=node)
        recent = _room(node=node, row=row, purpose=purpose, at=at)
        won = NodeBudget.objects.filter(node=node, version=row.version).update(
            spent=[*recent, at], version=row.version + 1
        )
        if won:
            return
        time.sleep(0.002)
    raise OutOfBudget(node=node.name, available_at=now + timedelta(seconds=1))


def check(*, node: Node, purpose: Purpose, now: datetime) -> None:
    """Refuse as `spend` would, but count nothing: for what is written down before it is sent.

    Raises:
        OutOfBudget: the share of this purpose is used up for the moment.
    """
    row = NodeBudget.objects.filter(node=node).first()
    if row is not None:
        _room(node=node, row=row, purpose=purpose, at=now.timestamp())


def exhaust(*, node: Node, until: datetime, now: datetime) -> None:
    """Note that the node itself said "too many": nothing more goes there before `until`.

    Another caller may share our address, so the node's word counts more than our counter.
    """
    seen = until.timestamp() - WINDOW_S + 0.1
    NodeBudget.objects.update_or_create(
        node=node,
        defaults={"spent": [seen] * node.requests_per_minute, "version": int(now.timestamp() * 1000)},
    )


def _room(*, node: Node, row: NodeBudget, purpose: Purpose, at: float) -> list[float]:
    """Return the requests of the last minute, if one more fits."""
    allowed = max(1, int((node.requests_per_minute - 1) * purpose.value))
    recent = sorted(t for t in row.spent if t > at - WINDOW_S)
    if len(recent) >= allowed:
        free_at = recent[len(recent) - allowed] + WINDOW_S
        raise OutOfBudget(
            node=node.name,
            available_at=datetime.fromtimestamp(free_at, tz=UTC) + timedelta(milliseconds=100),
        )
    return recent
