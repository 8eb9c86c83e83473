"""Changes who is in a team and as what: roles, removing, leaving.

A team always has an owner: whoever changes its members holds the lock of its row, and reads what everybody is under it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from django.db import transaction
from django.db.models import QuerySet

from jobs.access import ALLOWED, Action, Actor, require, require_gives
from jobs.errors import InvalidInput, Missing
from jobs.lifecycle import State
from jobs.models import Act, Job, JobEvent, Membership, ShareLink, Team, WalletGrant
from jobs.models.teams import Role
from jobs.services import invitations, launching
from jobs.services.audit import Thing, record, wallet_thing

_PAYS_LATER = {State.REQUESTED, State.PAYING}


@dataclass(frozen=True)
class Parting:
    """What became of what a person had to do with the team."""

    name: str
    handed_on: int
    stopped: int


@dataclass(frozen=True)
class _Left:
    """What went with a membership; written down once all of it is done."""

    handed_on: tuple[Job, ...]
    stopped: tuple[Job, ...]
    grants: tuple[WalletGrant, ...]
    links: tuple[ShareLink, ...]
    invitations: tuple[Thing, ...]


def change_role(*, actor: Actor, member_id: int, role: str, now: datetime) -> bool:
    """Give a member another role, which counts from their next request on; return whether it is another.

    Raises:
        NotAllowed: the actor may not take the role that they have, or not give the new one.
        Missing: no such member in this team.
        InvalidInput: no such role, or the team would be without an owner.
    """
    _require_over(actor=actor, member_id=member_id)
    given = invitations.role_from(role)
    with transaction.atomic():
        actor, member = _locked(actor=actor, member_id=member_id)
        require_gives(actor, Role(member.role))
        require_gives(actor, given)
        if member.role == given:
            return False
        _keep_an_owner(member)
        Membership.objects.filter(pk=member.pk).update(role=given)
        record(
            act=Act.ROLE_CHANGED,
            by=actor,
            now=now,
            thing=_thing(member),
            before={"role": member.role},
            after={"role": given},
        )
    return True


def remove(*, actor: Actor, member_id: int, hand_on_to: int | None, now: datetime) -> Parting:
    """Take a person out of the team. What they did stays; what they run is handed on, or stopped.

    Their grants of wallets, their links for people outside, and open invitations to their addresses end with it.

    hand_on_to: the membership of whoever takes over the jobs under way; None stops them.
    Raises:
        NotAllowed: the actor may not take the role that they have.
        Missing: no such member in this team, or nobody to hand on to.
        InvalidInput: it is oneself, the team would be without an owner, or that person cannot take over the jobs.
    """
    _require_over(actor=actor, member_id=member_id)
    with transaction.atomic():
        actor, member = _locked(actor=actor, member_id=member_id)
        require(actor, Action.MANAGE_MEMBERS)
        if member.user_id == actor.user_id:
            raise InvalidInput("You cannot remove yourself. You can leave the team.", code="oneself")
        require_gives(actor, Role(member.role))
        return _part(actor=actor, member=member, act=Act.MEMBER_REMOVED, hand_on_to=hand_on_to, now=now)


def expel(*, operator: Actor, member_id: int, now: datetime) -> Parting:
    """Take a person out of a team as an operator does, who need not be in it and may be that person.

    Their jobs under way are stopped; all else ends as in `remove`.

    operator: as an owner of the team.
    Raises:
        Missing: no such member in this team.
        InvalidInput: the team would be without an owner.
    """
    with transaction.atomic():
        member = _member(_lock(operator.team_id), member_id=member_id)
        require(operator, Action.MANAGE_MEMBERS)
        return _part(actor=operator, member=member, act=Act.MEMBER_REMOVED, hand_on_to=None, now=now)


def leave(*, actor: Actor, hand_on_to: int | None, now: datetime) -> Parting:
    """Leave the team oneself. What then happens to jobs, grants and links: as in `remove`.

    Raises:
        Missing: the actor is no member any more, or nobody to hand on to.
        InvalidInput: the team would be without an owner, or that person cannot take over the jobs.
    """
    with transaction.atomic():
        actor, member = _locked(actor=actor, member_id=None)
        return _part(actor=actor, member=member, act=Act.LEFT, hand_on_to=hand_on_to, now=now)


def _require_over(*, actor: Actor, member_id: int) -> None:
    """Ask before anything is locked whether there is such a member, and then whether the actor manages members."""
    if not Membership.objects.filter(team_id=actor.team_id, pk=member_id).exists():
        raise Missing("There is no such member in this team.")
    require(actor, Action.MANAGE_MEMBERS)


def _locked(*, actor: Actor, member_id: int | None) -> tuple[Actor, Membership]:
    """Lock the team, and return the actor as they are now, and a member: None is the actor.

    Two owners who demote each other at the same moment both came as owners; the second is none any more.
    Raises: Missing.
    """
    rows = _lock(actor.team_id)
    if actor.user_id is not None:  # the operator's own acts have no membership
        own = rows.filter(user_id=actor.user_id).first()
        if own is None:
            raise Missing("There is no such team.")
        actor = replace(actor, role=Role(own.role))
        if member_id is None:
            return actor, own
    return actor, _member(rows, member_id=member_id or 0)


def _lock(team_id: int) -> QuerySet[Membership]:
    """Lock the team; return its members, to be read from now on."""
    Team.objects.select_for_update().get(pk=team_id)
    return Membership.objects.filter(team_id=team_id).select_related("user", "team")


def _member(rows: QuerySet[Membership], *, member_id: int) -> Membership:
    member = rows.filter(pk=member_id).first()
    if member is None:
        raise Missing("There is no such member in this team.")
    return member


def _keep_an_owner(member: Membership) -> None:
    """Raise InvalidInput if the team would have no owner without this member's being one."""
    owners = Membership.objects.filter(team_id=member.team_id, role=Role.OWNER)
    if member.role == Role.OWNER and not owners.exclude(pk=member.pk).exists():
        raise InvalidInput(
            f"{member.user} is the last owner of this team. Make somebody else an owner first.",
            code="last_owner",
        )


def _part(*, actor: Actor, member: Membership, act: Act, hand_on_to: int | None, now: datetime) -> Parting:
    """End a membership with all that hangs on it. The record is written last: whoever holds its lock waits for nothing."""
    _keep_an_owner(member)
    jobs = list(
        Job.objects.under_way_of(team_id=member.team_id, user_id=member.user_id)
        .select_related("wallet")
        .select_for_update(of=("self",))
        .order_by("pk")
    )
    heir = None if hand_on_to is None else _heir(member=member, member_id=hand_on_to, jobs=jobs)
    grants = WalletGrant.objects.filter(wallet__team_id=member.team_id, user_id=member.user_id)
    links = ShareLink.objects.filter(
        job__team_id=member.team_id, created_by_id=member.user_id, revoked_at=None
    )
    left = _Left(
        handed_on=tuple(jobs) if heir is not None else (),
        # What is being fetched has ended at its node: there is nothing to stop.
        stopped=tuple(job for job in jobs if heir is None and not _is_over(job)),
        grants=tuple(grants.select_related("wallet").order_by("pk")),
        links=tuple(links.select_related("job").order_by("pk")),
        invitations=invitations.revoke_all_to(team_id=member.team_id, user_id=member.user_id, now=now),
    )
    grants.delete()
    links.update(revoked_at=now)
    for job in left.handed_on:
        _hand_on(actor=actor, job=job, member=member, heir=heir, now=now)
    Membership.objects.filter(pk=member.pk).delete()
    # Whoever leaves may stop what is their own, whatever their role has become.
    stopper = actor if actor.may(Action.STOP_ANY) else replace(actor, role=Role.LAUNCHER)
    for job in left.stopped:
        launching.cancel(actor=stopper, job_id=job.pk, now=now)
    _write_down(actor=actor, member=member, heir=heir, left=left, now=now, act=act)
    return Parting(name=str(member.user), handed_on=len(left.handed_on), stopped=len(left.stopped))


def _heir(*, member: Membership, member_id: int, jobs: list[Job]) -> Membership:
    """Return who takes over jobs: a member who may launch, and may spend what they still have to pay.

    Raises: Missing, InvalidInput.
    """
    rows = Membership.objects.filter(team_id=member.team_id, pk=member_id).exclude(pk=member.pk)
    heir = rows.select_related("user").first()
    if heir is None:
        raise Missing("There is no such member in this team.")
    if heir.role not in ALLOWED[Action.LAUNCH]:
        raise InvalidInput(
            f"{heir.user} is {heir.role} in this team, and may not run jobs. Choose somebody else, or stop them.",
            field="jobs",
            code="may_not_run",
        )
    held = set(WalletGrant.objects.filter(user_id=heir.user_id).values_list("wallet_id", flat=True))
    for job in jobs:
        if _pays_later(job) and job.wallet_id not in held:
            raise InvalidInput(
                f"“{job.name}” still has to be paid from the wallet {job.wallet.label}, which {heir.user} may not spend "
                "from. Grant them its use first, choose somebody else, or stop the jobs.",
                field="jobs",
                code="may_not_spend",
            )
    return heir


def _pays_later(job: Job) -> bool:
    state = job.attention_from if job.state == State.NEEDS_ATTENTION else job.state
    return not job.free and state in _PAYS_LATER


def _is_over(job: Job) -> bool:
    """Say whether a job has ended at its node, and only its results are missing."""
    return State.COLLECTING in (job.state, job.attention_from if job.state == State.NEEDS_ATTENTION else "")


def _hand_on(*, actor: Actor, job: Job, member: Membership, heir: Membership | None, now: datetime) -> None:
    if heir is not None:
        Job.objects.record(
            job_id=job.pk,
            kind=JobEvent.Kind.HANDED_ON,
            now=now,
            message=f"Handed on from {member.user} to {heir.user} by {actor.name}."[:500],
            actor_id=actor.user_id,
            handed_to_id=heir.user_id,
        )


def _write_down(
    *, actor: Actor, member: Membership, heir: Membership | None, left: _Left, now: datetime, act: Act
) -> None:
    """Write an entry for each thing that ended, and one for the membership."""

    def note(act: Act, thing: Thing, before: dict[str, Any], after: dict[str, Any] | None = None) -> None:
        record(act=act, by=actor, now=now, thing=thing, before=before, after=after)

    who = {"user": member.user_id, "name": str(member.user)}
    for job in left.handed_on:
        after = {"owner": heir.user_id, "name": str(heir.user)} if heir is not None else None
        note(Act.JOB_HANDED_ON, _about(job), {"owner": member.user_id, "name": str(member.user)}, after)
    for grant in left.grants:
        note(Act.GRANT_TAKEN, wallet_thing(grant.wallet), who)
    for link in left.links:
        note(Act.SHARE_REVOKED, _about(link.job), {"link": link.pk, "for": link.label} | who)
    for invitation in left.invitations:
        note(Act.INVITATION_REVOKED, invitation, who)
    note(
        act,
        _thing(member),
        {"role": member.role, "since": member.created_at.isoformat()},
        {"jobs_handed_on": len(left.handed_on), "jobs_stopped": len(left.stopped)},
    )


def _thing(member: Membership) -> Thing:
    return Thing(kind="member", id=str(member.user_id), name=str(member.user))


def _about(job: Job) -> Thing:
    return Thing(kind="job", id=str(job.pk), name=job.name)
