"""Jobs that stop where a test wants them: before their order is sent, or while it waits for a block."""

from __future__ import annotations

from typing import Any

import requests

from jobs.models import Job, Transaction
from tests.services.quay import Quay, statuses
from tests.services.steps import advance

AWAY = requests.exceptions.ConnectionError("nobody there")
SENDING = "eth_sendRawTransaction"


def one_order(quay: Quay, **values: Any) -> Job:
    """Launch a job that needs one transaction alone: the datatoken is there, and the code is its own."""
    quay.give("dataset")
    return quay.job(own_algorithm={"code": "1", "language": "python"}, **values)


def waiting(quay: Quay, **values: Any) -> Job:
    """Launch such a job, whose order is sent and waits for a block."""
    job = one_order(quay, **values)
    quay.automine(False)
    advance(job, quay.clock)
    assert statuses(job) == [("order", "sent")]
    return job


def unsent(quay: Quay, **values: Any) -> Job:
    """Launch such a job, whose order is signed and stored, while nobody takes it."""
    job = one_order(quay, **values)
    quay.wire.will(SENDING, AWAY)
    advance(job, quay.clock)
    assert statuses(job) == [("order", "prepared")]
    return job


def later(quay: Quay, job: Job, seconds: float) -> Job:
    """Take a step with the job after some time."""
    quay.clock.tick(seconds)
    return advance(job, quay.clock)


def only(job: Job) -> Transaction:
    return Transaction.objects.get(job=job)
