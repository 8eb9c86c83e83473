"""Stops a job at its node, and puts it aside where the node never lets it end."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from jobs.lifecycle import State
from jobs.models import Job, JobEvent
from jobs.ocean.errors import OceanError, Rejected
from jobs.services.budget import OutOfBudget, Purpose, check
from jobs.services.gateway import Clock, NoTurn, open_node, signed
from jobs.services.vault import VaultLocked

RETRY_STEP = timedelta(seconds=10)
STOPS_MAX = 5
STOP_AGAIN = timedelta(seconds=20)
STOP_PATIENCE = timedelta(minutes=10)  # a node ends a stopped job in about 14 s. Source: recording 14


def stop(*, job: Job, holder: str, clock: Clock) -> None:
    """Ask the node to stop; that it stopped is only believed when the node's own report says so."""
    now = clock()
    if _should_have_ended(job=job, now=now):
        Job.objects.move(
            job_id=job.pk,
            before=State.RUNNING,
            after=State.NEEDS_ATTENTION,
            now=now,
            holder=holder,
            reason="never_ended",
            message="The node has not said that this job ended, although a stop was asked for and its time is long over. "
            "Go on to ask again for a while, or end the job here; it may still run at the node.",
        )
        return
    if job.stop_sent_at is not None and (now < job.stop_sent_at + STOP_AGAIN or _node_knows_of_stop(job)):
        return
    if job.stop_attempts >= STOPS_MAX:
        return  # the job goes on being refreshed; its page says that stopping was refused
    try:
        with open_node(node=job.node, purpose=Purpose.ACT, clock=clock) as backend:

            def send(proof: Any) -> None:
                check(node=job.node, purpose=Purpose.ACT, now=clock())
                if Job.objects.record(
                    job_id=job.pk,
                    kind=JobEvent.Kind.STOP_SENT,
                    now=clock(),
                    message="Stop sent to the node.",
                    expect={"state": State.RUNNING, "lease_holder": holder},
                    stop_sent_at=clock(),
                    stop_attempts=job.stop_attempts + 1,
                ):
                    backend.stop(job_id=job.node_job_id, proof=proof)

            signed(
                backend=backend,
                wallet=job.wallet,
                node=job.node,
                clock=clock,
                act=send,
                call="stop a job",
                job=job,
                asked_by=job.cancel_requested_by_id,
            )
        Job.objects.filter(pk=job.pk, state=State.RUNNING).update(next_check_at=clock())
    except OutOfBudget as error:
        Job.objects.put_off(
            job, holder=holder, at=error.available_at, trouble=error.message, **_stop_unsent(job)
        )
    except (NoTurn, VaultLocked, OceanError) as error:
        # Only what the node itself refused counts as a try: a wish outlives a node that is away.
        refused = isinstance(error, Rejected) and error.code != "rate_limited"
        facts = {} if refused else _stop_unsent(job)
        Job.objects.put_off(
            job,
            holder=holder,
            at=clock() + RETRY_STEP,
            trouble=f"Stopping failed: {error.message}",
            **facts,
        )


def _should_have_ended(*, job: Job, now: datetime) -> bool:
    """Say whether a job that nobody wants is long past all the time it may wait and run."""
    begun = job.events.filter(kind=JobEvent.Kind.STATE, after=State.RUNNING).order_by("-pk").first()
    moments = (job.cancel_requested_at, begun.at if begun else None)  # a person who goes on waits anew
    longest = timedelta(seconds=job.queue_wait_s + job.max_duration_s)
    last = max([(job.accepted_at or job.requested_at) + longest, *(at for at in moments if at is not None)])
    return now >= last + STOP_PATIENCE


def _node_knows_of_stop(job: Job) -> bool:
    return bool((job.report or {}).get("stop_requested"))


def _stop_unsent(job: Job) -> dict[str, Any]:
    return {"stop_sent_at": job.stop_sent_at, "stop_attempts": job.stop_attempts}
