"""The people of a team, and the offers to join it, for the members' pages."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from allauth.mfa.models import Authenticator
from django.db.models import Count, OuterRef, Prefetch, Q, QuerySet, Subquery
from django.db.models.functions import Coalesce

from jobs.access import ALLOWED, GIVES, Action, Actor, require_gives
from jobs.errors import Missing
from jobs.lifecycle import ACTIVE, State
from jobs.models import Invitation, Job, Letter, Membership, ShareLink, WalletGrant
from jobs.models.teams import Role

_UNDER_WAY = ACTIVE | {State.NEEDS_ATTENTION}
# What each role is for, as the page says it. The whole table is in `jobs.access`.
ROLES: dict[Role, str] = {
    Role.OWNER: "everything, also money and who is in the team",
    Role.ADMIN: "jobs, catalogue, wallets, settings and members",
    Role.TREASURER: "costs, limits and grants of wallets; no logs, no results",
    Role.CURATOR: "jobs and the catalogue, also code of one's own",
    Role.LAUNCHER: "launches jobs and sees to them",
    Role.VIEWER: "looks at jobs, logs and results",
    Role.AUDITOR: "reads costs and the audit record; no logs, no results",
}


@dataclass(frozen=True)
class RoleOption:
    """A role that may be given. what: what it is for."""

    value: str
    label: str
    what: str


@dataclass(frozen=True)
class MemberRow:
    """A member. email, last_sign_in and second_factor are known to those who manage members only.

    jobs: under way, and this person's own. last_owner: the team would have none without them. may_change, may_remove:
    whether whoever asks may.
    """

    id: int
    name: str
    email: str
    role: str
    since: datetime
    jobs: int
    last_sign_in: datetime | None
    second_factor: bool
    is_me: bool
    last_owner: bool
    may_change: bool
    may_remove: bool


@dataclass(frozen=True)
class InvitationRow:
    """An offer to join that is neither accepted nor revoked.

    over: its time is over. letter: where its last e-mail is, as a Letter's status; trouble: why it is not there yet.
    """

    id: int
    email: str
    role: str
    invited_by: str
    expires_at: datetime
    over: bool
    letter: str
    letter_at: datetime | None
    trouble: str
    may_touch: bool


@dataclass(frozen=True)
class MemberList:
    """Everybody in the team. invitations and gives are empty for those who may not manage members."""

    rows: tuple[MemberRow, ...]
    invitations: tuple[InvitationRow, ...]
    gives: tuple[RoleOption, ...]
    may_manage: bool
    may_leave: bool


@dataclass(frozen=True)
class Heir:
    """A member who could take over jobs."""

    id: int
    name: str
    role: str


@dataclass(frozen=True)
class Farewell:
    """What hangs on a membership that is to end.

    jobs: names of those under way, the first ten; more: how many beyond. invitations: addresses that they invited, which
    stay invited. last_owner: it cannot end.
    """

    id: int
    name: str
    role: str
    is_me: bool
    last_owner: bool
    jobs: tuple[str, ...]
    more: int
    heirs: tuple[Heir, ...]
    grants: tuple[str, ...]
    links: int
    invitations: tuple[str, ...]


def members(*, actor: Actor, now: datetime) -> MemberList:
    """List the team's members, oneself among them, and for those who manage them the open invitations; 2 to 4 queries."""
    manages = actor.may(Action.MANAGE_MEMBERS)
    found = list(_with_jobs(actor))
    owners = sum(row.role == Role.OWNER for row in found)
    secured = _secured(found) if manages else frozenset()
    rows = tuple(
        MemberRow(
            id=row.pk,
            name=str(row.user),
            email=row.user.email if manages else "",
            role=row.role,
            since=row.created_at,
            jobs=getattr(row, "own_jobs", 0),
            last_sign_in=row.user.last_login if manages else None,
            second_factor=row.user_id in secured,
            is_me=row.user_id == actor.user_id,
            last_owner=row.role == Role.OWNER and owners == 1,
            may_change=actor.may_give(Role(row.role)) and not (row.role == Role.OWNER and owners == 1),
            may_remove=actor.may_give(Role(row.role)) and row.user_id != actor.user_id,
        )
        for row in found
    )
    return MemberList(
        rows=rows,
        invitations=_invitations(actor=actor, now=now) if manages else (),
        gives=gives(actor=actor),
        may_manage=manages,
        may_leave=not any(row.is_me and row.last_owner for row in rows),
    )


def gives(*, actor: Actor) -> tuple[RoleOption, ...]:
    """Return the roles that a person may give, most powerful first."""
    given = GIVES.get(actor.role, frozenset()) if actor.may(Action.MANAGE_MEMBERS) else frozenset()
    return tuple(
        RoleOption(value=role.value, label=role.label, what=ROLES[role]) for role in Role if role in given
    )


def farewell(*, actor: Actor, member_id: int | None) -> Farewell:
    """Return what hangs on a membership. member_id: None for one's own.

    Raises:
        Missing: no such member in this team.
        NotAllowed: whoever asks may not take the role that they have.
    """
    rows = Membership.objects.filter(team_id=actor.team_id).select_related("user")
    mine = Q(user_id=actor.user_id) if member_id is None else Q(pk=member_id)
    member = rows.filter(mine).first()
    if member is None:
        raise Missing("There is no such member in this team.")
    is_me = member.user_id == actor.user_id
    if not is_me:
        require_gives(actor, Role(member.role))
    jobs = Job.objects.under_way_of(team_id=actor.team_id, user_id=member.user_id)
    names = list(jobs.order_by("-requested_at", "pk").values_list("name", flat=True))
    others = rows.exclude(pk=member.pk)
    invited = Invitation.objects.filter(
        team_id=actor.team_id, invited_by_id=member.user_id, accepted_at=None, revoked_at=None
    )
    grants = WalletGrant.objects.filter(wallet__team_id=actor.team_id, user_id=member.user_id)
    return Farewell(
        id=member.pk,
        name=str(member.user),
        role=member.role,
        is_me=is_me,
        last_owner=member.role == Role.OWNER and not others.filter(role=Role.OWNER).exists(),
        jobs=tuple(names[:10]),
        more=max(0, len(names) - 10),
        heirs=tuple(
            Heir(id=row.pk, name=str(row.user), role=row.role)
            for row in _by_name(others.filter(role__in=ALLOWED[Action.LAUNCH]))
        ),
        grants=tuple(grants.order_by("wallet__label", "pk").values_list("wallet__label", flat=True)),
        links=ShareLink.objects.filter(
            job__team_id=actor.team_id, created_by_id=member.user_id, revoked_at=None
        ).count(),
        invitations=tuple(invited.order_by("email", "pk").values_list("email", flat=True)),
    )


def _with_jobs(actor: Actor) -> QuerySet[Membership]:
    """Return the memberships, each with the number of jobs under way that are that person's own."""
    under_way = (
        Job.objects.filter(team_id=actor.team_id, state__in=_UNDER_WAY)
        .annotate(owner=Coalesce("handed_to_id", "launched_by_id"))
        .filter(owner=OuterRef("user_id"))
        .order_by()
        .values("owner")
        .annotate(number=Count("pk"))
    )
    rows = Membership.objects.filter(team_id=actor.team_id).select_related("user")
    return _by_name(rows.annotate(own_jobs=Coalesce(Subquery(under_way.values("number")), 0)))


def _by_name(rows: QuerySet[Membership]) -> QuerySet[Membership]:
    return rows.order_by("user__first_name", "user__last_name", "user__username", "pk")


def _secured(rows: list[Membership]) -> frozenset[int]:
    """Return who has a second factor: recovery codes alone are none."""
    second = Authenticator.objects.filter(user_id__in=[row.user_id for row in rows])
    return frozenset(second.exclude(type=Authenticator.Type.RECOVERY_CODES).values_list("user_id", flat=True))


def _invitations(*, actor: Actor, now: datetime) -> tuple[InvitationRow, ...]:
    rows = (
        Invitation.objects.filter(team_id=actor.team_id, accepted_at=None, revoked_at=None)
        .select_related("invited_by")
        .prefetch_related(Prefetch("letters", queryset=Letter.objects.order_by("-pk"), to_attr="sent"))
        .order_by("email", "pk")
    )
    return tuple(_invitation(row, actor=actor, now=now) for row in rows)


def _invitation(row: Invitation, *, actor: Actor, now: datetime) -> InvitationRow:
    sent: list[Letter] = getattr(row, "sent", [])
    last = sent[0] if sent else None
    return InvitationRow(
        id=row.pk,
        email=row.email,
        role=row.role,
        invited_by=str(row.invited_by) if row.invited_by else "",
        expires_at=row.expires_at,
        over=row.expires_at <= now,
        letter=last.status if last else "",
        letter_at=(last.sent_at or last.created_at) if last else None,
        trouble=last.trouble if last else "",
        may_touch=actor.may_give(Role(row.role)),
    )
