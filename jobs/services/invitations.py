"""Invites people to a team by e-mail. The link is signed, and is in the e-mail only.

An invitation is the team's offer: it stays good when whoever made it leaves, until it is accepted, revoked, or over.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

from allauth.account.models import EmailAddress
from django.core.exceptions import ValidationError
from django.core.signing import BadSignature, Signer
from django.core.validators import validate_email
from django.db import IntegrityError, transaction
from django.db.models import Q, QuerySet
from django.urls import reverse

from jobs.access import Action, Actor, Person, require, require_gives
from jobs.errors import InvalidInput, Missing, PortalError
from jobs.models import Act, Invitation, Letter, Membership, User
from jobs.models.teams import Role
from jobs.selectors.members import ROLES
from jobs.services import letters
from jobs.services.audit import Thing, record

LIFE = timedelta(days=7)
AGAIN_AFTER = timedelta(minutes=1)  # an invitation is sent at most this often
EMAIL_MAX = 254  # characters. Source: RFC 5321, 4.5.3.1.3, less the brackets


class NotOpen(PortalError):
    """The invitation cannot be accepted any more; its code is used, revoked or expired."""


class NotForThem(PortalError):
    """The person is not signed in with the address that was invited."""

    code = "not_for_them"


@dataclass(frozen=True)
class Offer:
    """What an invitation says to whoever has its link. may: what the role is for. invited_by: "" if that person is gone."""

    team: str
    role: str
    may: str
    email: str
    invited_by: str
    expires_at: datetime


@dataclass(frozen=True)
class Look:
    """An invitation as somebody looks at it.

    closed: why it cannot be accepted any more, "" while it is open. theirs: whether it was sent to a verified address of
    this person; unverified: to one that they have yet to verify. slug: the team's part of the address, for its members.
    """

    offer: Offer
    closed: str
    theirs: bool
    unverified: bool
    slug: str


def invite(*, actor: Actor, email: str, role: str, now: datetime) -> int:
    """Offer a person a role in the team; return the invitation's id. The worker sends the e-mail.

    Raises:
        NotAllowed: the actor may not invite, or not give this role.
        InvalidInput: no address or role; they are a member already, or invited already. Nothing was written.
    """
    require(actor, Action.MANAGE_MEMBERS)
    given = role_from(role)
    require_gives(actor, given)
    address = _address(email)
    if _is_member(team_id=actor.team_id, email=address):
        raise InvalidInput(f"{address} is a member of this team already.", field="email", code="member")
    try:
        with transaction.atomic():
            invitation = Invitation.objects.create(
                team_id=actor.team_id,
                email=address,
                role=given,
                invited_by_id=actor.user_id,
                created_at=now,
                expires_at=now + LIFE,
            )
            _post(invitation, number=1, now=now)
            record(
                act=Act.INVITED,
                by=actor,
                now=now,
                thing=_thing(invitation),
                after={"role": given, "expires_at": invitation.expires_at.isoformat()},
            )
    except IntegrityError:
        raise InvalidInput(
            f"{address} is invited already. Send that invitation again, or revoke it first.",
            field="email",
            code="invited",
        ) from None
    return invitation.pk


def resend(*, actor: Actor, invitation_id: int, now: datetime) -> None:
    """Send an invitation again, and let it begin its time anew. The link stays the same.

    Raises:
        NotAllowed, Missing
        InvalidInput: it was sent less than a minute ago.
        NotOpen: it was accepted or revoked meanwhile.
    """
    invitation = _of_team(actor=actor, invitation_id=invitation_id)
    with transaction.atomic():
        if not _waiting().filter(pk=invitation.pk).update(expires_at=now + LIFE):
            raise _why_not(invitation, now=now)
        sent = invitation.letters.order_by("-created_at", "-pk").first()
        number = invitation.letters.count() + 1
        if (sent is not None and now < sent.created_at + AGAIN_AFTER) or not _post(
            invitation, number=number, now=now
        ):
            raise InvalidInput(
                f"The invitation of {invitation.email} was sent less than a minute ago. Give it some time.",
                code="too_soon",
            )
        record(
            act=Act.INVITED_AGAIN,
            by=actor,
            now=now,
            thing=_thing(invitation),
            before={"expires_at": invitation.expires_at.isoformat()},
            after={"expires_at": (now + LIFE).isoformat()},
        )


def revoke(*, actor: Actor, invitation_id: int, now: datetime) -> None:
    """Take an invitation back: its link opens nothing any more.

    Raises:
        NotAllowed, Missing
        NotOpen: it was accepted or revoked meanwhile.
    """
    invitation = _of_team(actor=actor, invitation_id=invitation_id)
    with transaction.atomic():
        if not _waiting().filter(pk=invitation.pk).update(revoked_at=now):
            raise _why_not(invitation, now=now)
        record(
            act=Act.INVITATION_REVOKED,
            by=actor,
            now=now,
            thing=_thing(invitation),
            before={"role": invitation.role},
        )


def revoke_all_to(*, team_id: int, user_id: int, now: datetime) -> tuple[Thing, ...]:
    """Revoke what a team offers to any address of a person who leaves it, in the caller's transaction; return them.

    Whoever is removed must not come back with an invitation that was sent before. The caller writes the record.
    """
    addresses = _verified(user_id) | {User.objects.get(pk=user_id).email.lower()}
    return tuple(
        _thing(invitation)
        for invitation in _waiting().filter(team_id=team_id).order_by("pk")
        if invitation.email.lower() in addresses
        and _waiting().filter(pk=invitation.pk).update(revoked_at=now)
    )


def token_of(invitation: Invitation) -> str:
    """Return what the invitation's link is made of: nobody can make it who has not the portal's secret key."""
    return _signer().sign(f"{invitation.pk}-{invitation.serial.hex}")


def open_invitation(*, token: str, now: datetime) -> Offer | None:
    """Return what an invitation says that can be accepted now; None if it is forged, used, revoked or over."""
    invitation = _find(token)
    return None if invitation is None or _closed(invitation, now=now) else _offer(invitation)


def look(*, token: str, user_id: int | None, now: datetime) -> Look:
    """Return what an invitation says to somebody who has its link. user_id: None if they are not signed in.

    Raises:
        Missing: the token is nothing that the portal made.
    """
    invitation = _find(token)
    if invitation is None:
        raise Missing("There is no such invitation. Perhaps a part of its link got lost on the way.")
    closed = _closed(invitation, now=now)
    verified: set[bool] = set()
    member = False
    if user_id is not None:
        known = EmailAddress.objects.filter(user_id=user_id, email__iexact=invitation.email)
        verified = set(known.values_list("verified", flat=True))
        member = Membership.objects.filter(team_id=invitation.team_id, user_id=user_id).exists()
    return Look(
        offer=_offer(invitation),
        closed=closed.message if closed else "",
        theirs=True in verified,
        unverified=verified == {False},
        slug=invitation.team.slug if member else "",
    )


def accept(*, token: str, person: Person, now: datetime) -> str:
    """Make the invited person a member; return the team's part of the address. Of two at the same moment one wins.

    Raises:
        Missing: the token is nothing that the portal made.
        NotOpen: used, revoked or expired.
        NotForThem: they are not signed in with the address that was invited, verified.
        InvalidInput: they are a member already; the invitation stays open.
    """
    invitation = _find(token)
    if invitation is None:
        raise Missing("There is no such invitation. Perhaps a part of its link got lost on the way.")
    closed = _closed(invitation, now=now)
    if closed is not None:
        raise closed
    user_id = person.user_id
    if user_id is None or invitation.email.lower() not in _verified(user_id):
        raise NotForThem(
            f"This invitation is for {invitation.email}. Sign in with that address, or verify it first if it is yours."
        )
    try:
        with transaction.atomic():
            if (
                not _waiting()
                .filter(pk=invitation.pk, expires_at__gt=now)
                .update(accepted_at=now, accepted_by_id=user_id)
            ):
                raise _why_not(invitation, now=now)
            Membership.objects.create(team_id=invitation.team_id, user_id=user_id, role=invitation.role)
            record(
                act=Act.JOINED,
                by=person,
                now=now,
                team_id=invitation.team_id,
                thing=Thing(kind="member", id=str(user_id), name=person.name),
                after={"role": invitation.role, "invitation": invitation.pk, "email": invitation.email},
            )
    except IntegrityError:
        raise InvalidInput(f"You are a member of {invitation.team.name} already.", code="member") from None
    return invitation.team.slug


def write(letter: Letter) -> letters.Words:
    """Write an invitation's letter.

    Raises:
        NotNeeded: it was accepted, revoked, over, or sent again meanwhile.
    """
    invitation = Invitation.objects.select_related("team", "invited_by").get(letters=letter)
    if invitation.revoked_at is not None:
        raise letters.NotNeeded("The invitation was revoked before it was sent.")
    if invitation.accepted_at is not None:
        raise letters.NotNeeded("The invitation was accepted before this was sent.")
    if invitation.letters.filter(pk__gt=letter.pk).exists():
        raise letters.NotNeeded("The invitation was sent again before this was sent.")
    return letters.write(
        "invitation",
        team=invitation.team.name,
        role=invitation.role,
        to=letters.Link(invitation.email),
        invited_by=str(invitation.invited_by) if invitation.invited_by else "",
        until=f"{invitation.expires_at.astimezone(UTC):%d %B %Y, %H:%M} UTC",
        link=letters.link(reverse("invitation", args=[token_of(invitation)])),
        portal=letters.link("/"),
    )


def role_from(text: str) -> Role:
    """Return the role of this name. Raises: InvalidInput, if there is none."""
    try:
        return Role(text)
    except ValueError:
        raise InvalidInput("There is no such role. Choose one of the list.", field="role") from None


def _address(email: str) -> str:
    """Return an e-mail address with its host in lower case. Raises: InvalidInput."""
    text = email.strip()
    try:
        if len(text) > EMAIL_MAX:
            raise ValidationError("too long")
        validate_email(text)
    except ValidationError:
        raise InvalidInput("Enter an e-mail address, such as ada@example.org.", field="email") from None
    return User.objects.normalize_email(text)


def _is_member(*, team_id: int, email: str) -> bool:
    named = Q(user__email__iexact=email)
    known = EmailAddress.objects.filter(verified=True, email__iexact=email).values("user_id")
    return Membership.objects.filter(team_id=team_id).filter(named | Q(user_id__in=known)).exists()


def _verified(user_id: int) -> set[str]:
    """Return the verified addresses of a person, in lower case."""
    rows = EmailAddress.objects.filter(user_id=user_id, verified=True)
    return {email.lower() for email in rows.values_list("email", flat=True)}


def _waiting() -> QuerySet[Invitation]:
    """Invitations that were neither accepted nor revoked; their time may be over."""
    return Invitation.objects.filter(accepted_at=None, revoked_at=None)


def _of_team(*, actor: Actor, invitation_id: int) -> Invitation:
    """Return an invitation that the actor may touch: of this team, and of a role that they may give."""
    invitation = Invitation.objects.filter(team_id=actor.team_id, pk=invitation_id).first()
    if invitation is None:
        raise Missing("There is no such invitation in this team.")
    require(actor, Action.MANAGE_MEMBERS)
    require_gives(actor, Role(invitation.role))
    return invitation


def _post(invitation: Invitation, *, number: int, now: datetime) -> bool:
    return letters.post(
        kind=Letter.Kind.INVITATION,
        key=f"invitation:{invitation.pk}:{number}",
        to=invitation.email,
        invitation_id=invitation.pk,
        now=now,
    )


def _find(token: str) -> Invitation | None:
    """Return the invitation that a token was made of, whatever has become of it."""
    try:
        pk, _, serial = _signer().unsign(token).partition("-")
        found = Invitation.objects.filter(pk=int(pk), serial=UUID(serial))
    except (BadSignature, ValueError):
        return None
    return found.select_related("team", "invited_by").first()


def _closed(invitation: Invitation, *, now: datetime) -> NotOpen | None:
    """Say why an invitation cannot be accepted any more; None while it can."""
    if invitation.accepted_at is not None:
        return NotOpen("This invitation has been used. It works once.", code="used")
    if invitation.revoked_at is not None:
        return NotOpen("This invitation was revoked. Ask the team for another one.", code="revoked")
    if invitation.expires_at <= now:
        return NotOpen("This invitation is over its time. Ask the team to send it again.", code="expired")
    return None


def _why_not(invitation: Invitation, *, now: datetime) -> NotOpen:
    """Say what came in between."""
    invitation.refresh_from_db(fields=["accepted_at", "revoked_at", "expires_at"])
    return _closed(invitation, now=now) or NotOpen("This invitation is being used. Try again.", code="used")


def _offer(invitation: Invitation) -> Offer:
    return Offer(
        team=invitation.team.name,
        role=invitation.role,
        may=ROLES[Role(invitation.role)],
        email=invitation.email,
        invited_by=str(invitation.invited_by) if invitation.invited_by else "",
        expires_at=invitation.expires_at,
    )


def _thing(invitation: Invitation) -> Thing:
    return Thing(kind="invitation", id=str(invitation.pk), name=invitation.email)


def _signer() -> Signer:
    return Signer(salt="jobs.invitation", sep=".")
