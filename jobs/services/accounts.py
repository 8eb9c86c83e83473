"""Accounts and sessions: what is recorded of them, whose address counts as verified, and how sessions end.

The doors call these inside the transaction of the act itself.
"""

from __future__ import annotations

from datetime import datetime
from smtplib import SMTPException

from allauth.account.forms import EmailAwarePasswordResetTokenGenerator
from allauth.account.models import EmailAddress
from allauth.account.utils import user_pk_to_url_str
from allauth.usersessions.models import UserSession
from django.conf import settings
from django.core.mail import EmailMessage
from django.db import transaction
from django.urls import reverse

from jobs.access import Person
from jobs.errors import Missing, PortalError
from jobs.models import Act, User
from jobs.services import audit
from jobs.services.audit import Thing


class MailRefused(PortalError):
    """The mail server did not take a letter."""

    code = "mail_refused"


_NAME_KEPT = 100  # of what somebody typed as their name; characters


def signed_in(*, by: Person, ways: list[str], now: datetime) -> None:
    """Record a sign-in. ways: how the person showed who they are, such as "password" and "mfa totp"."""
    audit.record(act=Act.SIGNED_IN, by=by, now=now, thing=_self(by), after={"ways": ways})


def failed(*, name: str, user_id: int | None, origin: str, now: datetime) -> None:
    """Record a sign-in that failed. name: as it was typed; user_id: whose account that is, if anybody's."""
    _record(
        Act.SIGN_IN_FAILED,
        by=Person(user_id=None, name="somebody", origin=origin),
        now=now,
        thing=Thing(kind="person", id=str(user_id or ""), name=name[:_NAME_KEPT]),
    )


def signed_out(*, by: Person, now: datetime) -> None:
    """Record that a person ended their session."""
    audit.record(act=Act.SIGNED_OUT, by=by, now=now, thing=_self(by))


def signed_up(*, by: Person, email: str, now: datetime) -> None:
    """Record that a person made an account."""
    audit.record(act=Act.SIGNED_UP, by=by, now=now, thing=_self(by), after={"email": email})


def linked(*, by: Person, provider: str, email: str, now: datetime) -> None:
    """Record that an account can be used with the organisation's sign-in from now on."""
    audit.record(
        act=Act.SIGN_IN_LINKED, by=by, now=now, thing=_self(by), after={"with": provider, "email": email}
    )


def password_changed(*, by: Person, now: datetime) -> None:
    """Record that a person has a new password."""
    audit.record(act=Act.PASSWORD_CHANGED, by=by, now=now, thing=_self(by))


def email_changed(*, by: Person, now: datetime, before: str = "", after: str = "", what: str) -> None:
    """Record a change of e-mail addresses. what: added, removed, verified, or made the main one."""
    _record(
        Act.EMAIL_CHANGED,
        by=by,
        now=now,
        thing=_self(by),
        before={"email": before} if before else None,
        after={"email": after, "what": what} if after else {"what": what},
    )


def factor_added(*, by: Person, kind: str, now: datetime) -> None:
    """Record a new second factor. kind: totp, webauthn or recovery_codes."""
    _record(Act.FACTOR_ADDED, by=by, now=now, thing=_self(by), after={"kind": kind})


def factor_removed(*, by: Person, kind: str, now: datetime) -> None:
    """Record that a second factor is gone."""
    _record(Act.FACTOR_REMOVED, by=by, now=now, thing=_self(by), before={"kind": kind})


def seen(*, session_key: str, now: datetime) -> None:
    """Note that a session was used."""
    UserSession.objects.filter(session_key=session_key).update(last_seen_at=now)


def end_sessions(*, by: Person, current_key: str, now: datetime, only: int | None = None) -> int:
    """End the person's other sessions, or one of them; return how many ended.

    current_key: the session that asks; it stays. only: the number of the one to end.

    Raises:
        Missing: the person has no other session with this number.
    """
    with transaction.atomic():
        others = UserSession.objects.filter(user_id=by.user_id).exclude(session_key=current_key)
        if only is not None:
            others = others.filter(pk=only)
        found = list(others.order_by("pk"))
        if only is not None and not found:
            raise Missing("This session has ended already.")
        for session in found:
            session.end()
        if found:
            audit.record(act=Act.SESSIONS_ENDED, by=by, now=now, thing=_self(by), after={"ended": len(found)})
    return len(found)


def verify_email(*, user_id: int, email: str) -> bool:
    """Count an address as the person's own, because an operator said so; return whether it now is.

    An address that somebody else has is left out: the person signs in by name.
    """
    email = email.strip().lower()
    if not email:
        return False
    with transaction.atomic():
        taken = EmailAddress.objects.filter(email=email).exclude(user_id=user_id).exists()
        if taken or User.objects.filter(email__iexact=email).exclude(pk=user_id).exists():
            return False
        primary = not EmailAddress.objects.filter(user_id=user_id, primary=True).exists()
        EmailAddress.objects.get_or_create(
            user_id=user_id, email=email, defaults={"verified": True, "primary": primary}
        )
    return True


def send_password_link(*, user_id: int) -> None:
    """Send a person a letter with a link to set their password. It is good once, and as long as Django's own links are.

    Raises:
        MailRefused
    """
    user = User.objects.get(pk=user_id)
    place = {
        "uidb36": user_pk_to_url_str(user),
        "key": EmailAwarePasswordResetTokenGenerator().make_token(user),
    }
    link = settings.PORTAL_URL.rstrip("/") + reverse("account_reset_password_from_key", kwargs=place)
    body = (
        f"An account was made for you at {settings.PORTAL_URL}. Your user name is “{user.get_username()}”.\n\n"
        f"Set your password here:\n\n{link}\n"
    )
    try:
        EmailMessage("Your account on Ocean Portal", body, to=[user.email]).send()
    except (OSError, SMTPException) as error:
        raise MailRefused(
            f"The mail server did not take the letter to {user.email}: {type(error).__name__}. "
            "See PORTAL_EMAIL_URL; the sign-in page sends a new link too."
        ) from error


def _record(
    act: Act,
    *,
    by: Person,
    now: datetime,
    thing: Thing,
    before: dict[str, object] | None = None,
    after: dict[str, object] | None = None,
) -> None:
    with transaction.atomic():
        audit.record(act=act, by=by, now=now, thing=thing, before=before, after=after)


def _self(by: Person) -> Thing:
    return Thing(kind="person", id=str(by.user_id), name=by.name)
