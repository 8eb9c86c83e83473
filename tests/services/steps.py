"""Steps with a job, and what they left."""

from __future__ import annotations

from jobs.models import Job, JobEvent
from jobs.services import running
from tests.services.fakes import Clock


def advance(job: Job, clock: Clock) -> Job:
    """Take one step with a job; return it as it is then, with nobody's lease on it."""
    running.advance(job_id=job.pk, clock=clock)
    job.refresh_from_db()
    assert job.lease_holder == ""
    return job


def sent(job: Job) -> int:
    """Return how often a start was written down as sent."""
    return job.events.filter(kind=JobEvent.Kind.STARTED).count()
