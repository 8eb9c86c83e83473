"""What the commands print and wait for."""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import Any

from jobs.lifecycle import State
from jobs.models import Asset, Job, Result


def job_progress(*, team_id: int, job_id: uuid.UUID) -> tuple[State, str]:
    """Return a job's state, and a line that tells how it stands."""
    job = Job.objects.only("state", "node_status_text", "message", "trouble").get(team_id=team_id, pk=job_id)
    told = job.node_status_text.strip() if job.state == State.RUNNING else job.message
    return State(job.state), " · ".join(part for part in (job.state, told, job.trouble) if part)


def longest_s(*, team_id: int, job_id: uuid.UUID) -> int:
    """Return how long the node may take: the queue wait and the duration cap, in seconds."""
    job = Job.objects.only("max_duration_s", "queue_wait_s").get(team_id=team_id, pk=job_id)
    return job.max_duration_s + job.queue_wait_s


def job_summary(*, team_id: int, job_id: uuid.UUID) -> dict[str, Any]:
    """Return a job as plain data for JSON: id, state, reason, node_job_id, times, results."""
    job = Job.objects.get(team_id=team_id, pk=job_id)
    results = Result.objects.filter(job=job, status=Result.Status.ARCHIVED).order_by("index", "path", "pk")
    return {
        "id": str(job.pk),
        "name": job.name,
        "state": job.state,
        "reason": job.reason,
        "message": job.message,
        "node_job_id": job.node_job_id,
        "requested_at": _text(job.requested_at),
        "accepted_at": _text(job.accepted_at),
        "finished_at": _text(job.finished_at),
        "ended_at": _text(job.ended_at),
        "results": [
            {"name": r.path or r.name, "kind": r.kind, "size": r.size, "sha256": r.sha256} for r in results
        ],
    }


def asset_known(*, team_id: int, did: str) -> bool:
    """Say whether the team's catalogue has this DID."""
    return Asset.objects.filter(team_id=team_id, did=did).exists()


def name_known(*, team_id: int, name: str) -> bool:
    """Say whether an asset of the team's catalogue bears this name."""
    return Asset.objects.filter(team_id=team_id, name__iexact=name.strip()).exists()


def _text(at: datetime | None) -> str | None:
    return at.isoformat() if at else None
