"""Links with which a person outside sees one job, or one result: made, revoked, opened, and downloaded by.

The link is the whole right: whoever has it may look. So it is random, is shown once, and only its hash is kept; it ends
at a time that it has from the start, and every opening and download is in the audit record. It gives nothing but what the
team's own page of results gives: never a log, a cost, a wallet or a person's name.
"""

from __future__ import annotations

import secrets
import uuid
from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import F

from jobs.access import Action, Actor, Person
from jobs.errors import InvalidInput, Missing, NotAllowed
from jobs.models import Act, Job, JobEvent, Result, ShareLink
from jobs.models.sharing import digest
from jobs.services import audit
from jobs.services.audit import Thing
from jobs.services.results import OpenedResult, open_archived

LIFETIMES_DAYS = (1, 7, 30)  # the last is the longest that a link lives
OPENS_MAX = 1000
LABEL_MAX = 100
TOKEN_BYTES = 32
# The same words for a link that never was, is over, was revoked or is used up: a stranger learns nothing by asking.
LEADS_NOWHERE = "This link leads nowhere, or not any more. Whoever gave it to you can make a new one."


def make(
    *,
    actor: Actor,
    job_id: uuid.UUID,
    result_id: int | None,
    label: str,
    days: int,
    opens_max: int | None,
    now: datetime,
) -> str:
    """Make a link to a job's page, or to one of its outputs; return its token, which is kept nowhere.

    days: one of LIFETIMES_DAYS. opens_max: how often it may be opened, None for any number of times.

    Raises:
        NotAllowed, Missing
        InvalidInput: nothing to say whom it is for, or a lifetime or number that is not offered.
    """
    job = _job(actor=actor, job_id=job_id)
    if not actor.may_share(owner_id=job.owner_id):
        raise NotAllowed(
            f"Your role in this team is {actor.role}: you may not share this job with people outside. "
            "Ask who launched it, or an admin."
        )
    result = None if result_id is None else _output(job=job, result_id=result_id)
    label = "".join(c for c in label if c.isprintable()).strip()
    if not 0 < len(label) <= LABEL_MAX:
        raise InvalidInput(f"Say in 1 to {LABEL_MAX} characters for whom it is.", field="label")
    if days not in LIFETIMES_DAYS:
        raise InvalidInput("Choose one of the times that are offered.", field="days")
    if opens_max is not None and not 1 <= opens_max <= OPENS_MAX:
        raise InvalidInput(f"It can be opened 1 to {OPENS_MAX} times, or any number.", field="opens_max")
    token = secrets.token_urlsafe(TOKEN_BYTES)
    with transaction.atomic():
        link = ShareLink.objects.create(
            job=job,
            result=result,
            token_sha256=digest(token),
            label=label,
            created_by_id=actor.user_id,
            created_at=now,
            expires_at=now + timedelta(days=days),
            opens_max=opens_max,
        )
        audit.record(
            act=Act.SHARED,
            by=actor,
            now=now,
            thing=_thing(job),
            after=_told(link)
            | {
                "result": str(result or ""),
                "until": link.expires_at.isoformat(),
                "opens_max": opens_max,
            },
        )
    return token


def revoke(*, actor: Actor, job_id: uuid.UUID, link_id: int, now: datetime) -> bool:
    """End a link at once, for those too who have opened it; return whether it was not revoked before.

    Raises:
        Missing
        NotAllowed: it is neither one's own nor to one's own job, and the role does not include colleagues' links.
    """
    link = ShareLink.objects.filter(pk=link_id, job_id=job_id, job__team_id=actor.team_id)
    found = link.select_related("job").first()
    if found is None:
        raise Missing("There is no such link in this team.")
    mine = actor.user_id is not None and actor.user_id in (found.created_by_id, found.job.owner_id)
    if not (mine and actor.may(Action.SHARE_OWN)) and not actor.may(Action.REVOKE_ANY_LINK):
        raise NotAllowed(
            f"Your role in this team is {actor.role}: you may not revoke a colleague's link. "
            "Ask who made it, or an admin."
        )
    with transaction.atomic():
        revoked = bool(link.filter(revoked_at=None).update(revoked_at=now))
        if revoked:
            audit.record(
                act=Act.SHARE_REVOKED,
                by=actor,
                now=now,
                thing=_thing(found.job),
                after=_told(found) | {"opens": found.opens},
            )
    return revoked


def open_link(*, token: str, now: datetime, origin: str) -> int:
    """Count one opening of a link; return its id. origin: the network address of who opens it.

    Two who open a link with one opening left meet at one UPDATE: it counts for one of them.

    Raises:
        Missing: there is no such link, or it cannot be opened any more; the words are the same.
    """
    link = ShareLink.objects.select_related("job").by_token(token).first()
    if link is None:  # asked before anything is locked: a stranger's guesses hold nobody up
        raise Missing(LEADS_NOWHERE)
    with transaction.atomic():
        counted = ShareLink.objects.openable(now=now).filter(pk=link.pk)
        if not counted.update(opens=F("opens") + 1, last_opened_at=now):
            raise Missing(LEADS_NOWHERE)
        link.refresh_from_db(fields=["opens"])
        audit.record(
            act=Act.SHARE_OPENED,
            by=_visitor(link, origin=origin),
            now=now,
            thing=_thing(link.job),
            after=_told(link) | {"opens": link.opens},
            team_id=link.job.team_id,
        )
    return link.pk


def download(*, token: str, result_id: int, now: datetime, origin: str) -> OpenedResult:
    """Open a result for somebody who has opened the link; the caller knows that they have.

    Raises:
        Missing: the link is over, or it does not lead to this result, or the result is not there.
    """
    link = ShareLink.objects.alive(now=now).select_related("job").by_token(token).first()
    if link is None or link.result_id not in (None, result_id):
        raise Missing(LEADS_NOWHERE)
    result = _output(job=link.job, result_id=result_id)
    opened = open_archived(result)
    visitor = _visitor(link, origin=origin)
    try:
        with transaction.atomic():
            JobEvent.objects.create(
                job=link.job,
                at=now,
                kind=JobEvent.Kind.DOWNLOADED,
                message=f"{visitor.name[:1].upper()}{visitor.name[1:]} fetched {result}."[:500],
                data={"result_id": result.pk, "link_id": link.pk},
            )
            audit.record(
                act=Act.SHARE_DOWNLOADED,
                by=visitor,
                now=now,
                thing=_thing(link.job),
                after=_told(link) | {"result": str(result), "sha256": result.sha256},
                team_id=link.job.team_id,
            )
    except BaseException:  # nobody would close it
        opened.stream.close()
        raise
    return opened


def _job(*, actor: Actor, job_id: uuid.UUID) -> Job:
    job = Job.objects.filter(team_id=actor.team_id, pk=job_id).first()
    if job is None:
        raise Missing("There is no such job in this team.")
    return job


def _output(*, job: Job, result_id: int) -> Result:
    """Return an output of the job; its logs are never shared."""
    result = Result.objects.filter(pk=result_id, job=job).first()
    if result is None or result.is_log:
        raise Missing("There is no such result of this job to share.")
    return result


def _visitor(link: ShareLink, *, origin: str) -> Person:
    return Person(user_id=None, name=f"a person with the link “{link.label}”", origin=origin)


def _thing(job: Job) -> Thing:
    return Thing(kind="job", id=str(job.pk), name=job.name)


def _told(link: ShareLink) -> dict[str, object]:
    return {"link": link.pk, "for": link.label}
