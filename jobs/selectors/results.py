"""Reads one result for its own page."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import datetime

from jobs.access import Action, Actor, require
from jobs.errors import Missing
from jobs.models import Result


@dataclass(frozen=True)
class ResultPage:
    """A result and the job it belongs to. size in bytes; name: with its path. removed_at: when the team's rule did it."""

    id: int
    job_id: uuid.UUID
    job_name: str
    name: str
    size: int
    sha256: str
    here: bool
    removed_at: datetime | None
    trouble: str
    is_log: bool


def detail(*, actor: Actor, job_id: uuid.UUID, result_id: int) -> ResultPage:
    """Return a result of the team; one query.

    Raises:
        Missing: no such result of such a job in this team.
        NotAllowed: the role does not include looking at it.
    """
    row = (
        Result.objects.filter(pk=result_id, job_id=job_id, job__team_id=actor.team_id)
        .select_related("job")
        .first()
    )
    if row is None:
        raise Missing("There is no such result in this team.")
    require(actor, Action.SEE_LOGS if row.is_log else Action.SEE_RESULTS)
    return ResultPage(
        id=row.pk,
        job_id=row.job_id,
        job_name=row.job.name,
        name=row.path or row.name,
        size=row.size or 0,
        sha256=row.sha256,
        here=row.status == Result.Status.ARCHIVED,
        removed_at=row.removed_at,
        trouble=row.trouble,
        is_log=row.is_log,
    )
