"""Does single acts of the portal in a process with its settings, when told to; there is no worker meanwhile.

Speaks as tests/sandbox/oceanpy/calls.py does: a line of JSON in is one call, a line out its answer with the seconds that it
took. The first line names the assets. An act is the service calls that the worker makes for it, without the queue.
"""

from __future__ import annotations

import json
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from django.utils.timezone import now as clock

from jobs.lifecycle import State
from jobs.models import Job, Node, Order, Result, Wallet
from jobs.services import (
    launching,
    ordering,
    payments,
    quoting,
    refreshing,
    results,
    starting,
    stopping,
    teams,
)
from jobs.services.choosing import DatasetChoice, LaunchRequest
from jobs.services.demo import TEAM
from jobs.services.holders import new_holder
from jobs.services.places import FREE, PAID

LEASE = timedelta(seconds=90)
MINED_EVERY_S = 0.02


class Calls:
    """The portal's acts, each for one job of the demo's wallet."""

    def __init__(self, *, datasets: list[str], algorithm: str, dialect: str) -> None:
        self._actor = teams.operator(team=TEAM)
        self._node = Node.objects.get(dialect=dialect)
        self._wallet = Wallet.objects.get(label="demo")
        self._datasets, self._algorithm = datasets, algorithm

    def launch(self, seconds: int = 0) -> str:
        """Record a job that computes for so long; no far side is asked."""
        request = LaunchRequest(
            datasets=tuple(DatasetChoice(ref=did) for did in self._datasets),
            algorithm=self._algorithm,
            environment=FREE,
            wallet=self._wallet.label,
            parameters={"seconds": seconds},
        )
        return self._launch(request)

    def quote(self) -> dict[str, str]:
        """Ask what a job would cost in the cheapest paid environment; return what a person would agree to."""
        found = quoting.quote(actor=self._actor, request=self._paid({}), clock=clock)
        assert not found.troubles, found.troubles
        return {token: str(amount) for token, amount in found.most.items()}

    def launch_paid(self, most: dict[str, str]) -> str:
        """Record a job at the price that a quote told; no far side is asked."""
        return self._launch(self._paid({token: int(amount) for token, amount in most.items()}))

    def forget_orders(self) -> None:
        """Make all orders of another place's, so that the next job makes new ones."""
        Order.objects.update(consumer="0x" + "00" * 20)

    def pay(self, job: str) -> None:
        """Order what the start needs, or find that all orders are good."""
        with _held(job) as (row, holder):
            ordering.plan(job=row, holder=holder, clock=clock)
            row.refresh_from_db()
            while row.state == State.PAYING:
                if payments.carry_on(job=row, holder=holder, clock=clock) is not None:
                    time.sleep(MINED_EVERY_S)
                row.refresh_from_db()
        _expect(job, State.PAID, State.STARTING)

    def start(self, job: str) -> str:
        """Start a job on its orders; return the Provider's id of it."""
        with _held(job) as (row, holder):
            if row.state == State.PAID:
                starting.begin_start(job=row, holder=holder, clock=clock)
            else:
                starting.start(job=row, holder=holder, clock=clock)
        return _expect(job, State.RUNNING).node_job_id

    def status(self) -> None:
        """Bring everything up to date that runs."""
        refreshing.refresh(node_id=self._node.pk, wallet_id=self._wallet.pk, clock=clock)

    def collect(self, job: str) -> None:
        """Archive what is not here of an ended job."""
        results.collect(job_id=uuid.UUID(job), clock=clock)
        _expect(job, State.SUCCEEDED, State.CANCELLED)
        missing = Result.objects.filter(job_id=job).exclude(status=Result.Status.ARCHIVED)
        assert not missing.exists(), missing.values("name", "trouble")

    def lose(self, job: str) -> None:
        """Make a result one that could not be fetched so far, and is due again."""
        lost = Result.objects.filter(job_id=job).order_by("index")[:1]
        Result.objects.filter(pk__in=lost.values("pk")).update(
            status=Result.Status.FAILED, attempts=1, next_try_at=clock()
        )

    def stop(self, job: str) -> None:
        """Wish for a job's end, and tell the Provider of it."""
        launching.cancel(actor=self._actor, job_id=uuid.UUID(job), now=clock())
        with _held(job) as (row, holder):
            stopping.stop(job=row, holder=holder, clock=clock)
        assert _expect(job, State.RUNNING).stop_sent_at is not None

    def running(self) -> int:
        """Count what runs, as far as the portal knows."""
        return Job.objects.filter(state=State.RUNNING).count()

    def _launch(self, request: LaunchRequest) -> str:
        return str(launching.launch(actor=self._actor, request=request, launch_key=uuid.uuid4(), now=clock()))

    def _paid(self, most: dict[str, int]) -> LaunchRequest:
        return LaunchRequest(
            datasets=tuple(DatasetChoice(ref=did) for did in self._datasets),
            algorithm=self._algorithm,
            environment=PAID,
            wallet=self._wallet.label,
            most=most,
        )


@contextmanager
def _held(job: str) -> Iterator[tuple[Job, str]]:
    """Take a job's lease as a worker does."""
    holder, now = new_holder(), clock()
    assert Job.objects.claim(job_id=uuid.UUID(job), holder=holder, now=now, until=now + LEASE)
    try:
        related = ("wallet", "node__network", "environment", "algorithm")
        yield Job.objects.select_related(*related).get(pk=job), holder
    finally:
        Job.objects.release(job_id=uuid.UUID(job), holder=holder)


def _expect(job: str, *states: State) -> Job:
    row = Job.objects.get(pk=job)
    assert row.state in states, f"{row.state}: {row.message} {row.trouble}"
    return row


def main() -> None:
    """Answer until standard input ends."""
    calls = Calls(**json.loads(sys.stdin.readline()))
    print('{"ready": true}', flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        began = time.monotonic()
        value: Any = getattr(calls, asked["call"])(**asked["with"])
        print(json.dumps({"value": value, "seconds": time.monotonic() - began}), flush=True)
