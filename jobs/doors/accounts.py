"""The door of the portal's own accounts: who may make one, what is counted and recorded, where people go afterwards.

django-allauth does the work; these are the places where it asks.
"""

from __future__ import annotations

import logging
from ipaddress import ip_address
from smtplib import SMTPException
from typing import Any
from urllib.parse import urlsplit

from allauth.account.adapter import DefaultAccountAdapter
from allauth.account.authentication import get_authentication_records
from allauth.account.internal.userkit import filter_users_by_email, get_user_by_username
from allauth.core import context as current
from django.conf import settings
from django.contrib import messages
from django.core.exceptions import ValidationError
from django.core.mail import EmailMessage
from django.db import transaction
from django.http import HttpRequest
from django.utils import timezone
from django.utils.http import url_has_allowed_host_and_scheme

from jobs.access import Person
from jobs.doors.invited import invited_email, way_back
from jobs.models import User
from jobs.services import accounts, letters
from jobs.web import client_address, note_seen

logger = logging.getLogger(__name__)
EMAIL_MAX_LENGTH = 254
UNKNOWN_ADDRESS = "0.0.0.0"  # noqa: S104  # not listened on: stands for “no address that can be read”


def person(request: HttpRequest, user: User) -> Person:
    """Return who acts, and from where."""
    return Person(user_id=user.pk, name=str(user), origin=client_address(request))


class AccountDoor(DefaultAccountAdapter):
    """What allauth asks the portal about accounts."""

    error_messages = DefaultAccountAdapter.error_messages | {
        "email_password_mismatch": "The name and the password do not fit together.",
        "username_password_mismatch": "The name and the password do not fit together.",
        "too_many_login_attempts": "Too many attempts failed. Wait five minutes, or set a new password.",
        "incorrect_password": "That is not your password.",
        "incorrect_code": "This code is not the right one, or not any more.",
        "email_taken": "Somebody has an account with this address.",
    }

    def is_open_for_signup(self, request: HttpRequest) -> bool:
        """Let in whom PORTAL_SIGN_UP lets in."""
        if settings.SIGN_UP == "invitation":
            return invited_email(request) is not None
        return bool(settings.SIGN_UP == "open")

    def is_email_verified(self, request: HttpRequest, email: str) -> bool:
        """Count the address of an invitation as verified: its link came with an e-mail to there."""
        invited = invited_email(request)
        return invited is not None and invited.lower() == email.lower()

    def clean_email(self, email: str) -> str:
        """Refuse an address that is too long for the database."""
        if len(email) > EMAIL_MAX_LENGTH:
            raise ValidationError(f"An address has at most {EMAIL_MAX_LENGTH} characters.")
        return email

    def save_user(self, request: HttpRequest, user: User, form: Any, commit: bool = True) -> User:
        """Keep a new person, and that they signed up."""
        with transaction.atomic():
            saved: User = super().save_user(request, user, form, commit)
            if commit:
                accounts.signed_up(by=person(request, saved), email=saved.email, now=timezone.now())
        return saved

    def login(self, request: HttpRequest, user: User) -> None:
        """Begin a session under a new key; it begins only if it can be recorded."""
        ways = [
            " ".join(filter(None, (record["method"], record.get("type"))))
            for record in get_authentication_records(request, user)
        ]
        now = timezone.now()
        with transaction.atomic():
            super().login(request, user)
            note_seen(request, now=now)
            accounts.signed_in(by=person(request, user), ways=ways, now=now)

    def logout(self, request: HttpRequest) -> None:
        """End the session, and record it."""
        with transaction.atomic():
            if isinstance(request.user, User):
                accounts.signed_out(by=person(request, request.user), now=timezone.now())
            super().logout(request)

    def set_password(self, user: User, password: str) -> None:
        """Change a password. Other sessions end with it: they hang on the old one."""
        with transaction.atomic():
            super().set_password(user, password)
            accounts.password_changed(by=person(current.request, user), now=timezone.now())

    def authentication_failed(self, request: HttpRequest, **credentials: Any) -> None:
        """Record who was named, never what was typed as the password."""
        name = str(credentials.get("email") or credentials.get("username") or "")
        known = _find_user(name)
        accounts.failed(
            name=name,
            user_id=known.pk if known else None,
            origin=client_address(request),
            now=timezone.now(),
        )

    def get_login_stages(self) -> list[str]:
        """Put the portal's own question about the e-mail address in the place of allauth's."""
        own = {"allauth.account.stages.EmailVerificationStage": "jobs.doors.stages.AddressStage"}
        return [own.get(stage, stage) for stage in super().get_login_stages()]

    def get_login_redirect_url(self, request: HttpRequest) -> str:
        """Go back to the invitation that brought the person here, or home."""
        return way_back(request) or str(super().get_login_redirect_url(request))

    def get_signup_redirect_url(self, request: HttpRequest) -> str:
        """Go back to the invitation that brought the person here, or home."""
        return way_back(request) or str(super().get_signup_redirect_url(request))

    def is_safe_url(self, url: str | None) -> bool:
        """Send people to this host only, not to the others that the portal is reached by."""
        request = current.request
        return url_has_allowed_host_and_scheme(
            url, allowed_hosts={request.get_host()}, require_https=request.is_secure()
        )

    def get_client_ip(self, request: HttpRequest) -> str:
        """Return the address to count attempts by; those whose address cannot be read are counted together."""
        origin = client_address(request)
        try:
            return str(ip_address(origin))
        except ValueError:
            return UNKNOWN_ADDRESS

    def send_mail(self, template_prefix: str, email: str, context: dict[str, Any]) -> None:
        """Write a letter now and send it once everything is kept: nothing waits for a mail server meanwhile."""
        request = current.request
        # Not the host of the request: whoever asks for the letter to somebody else chooses it.
        ours = {name: _at_home(value) if name.endswith("_url") else value for name, value in context.items()}
        values = {"request": request, "email": email, "portal": urlsplit(settings.PORTAL_URL).netloc, **ours}
        message = self.render_mail(template_prefix, email, values)
        transaction.on_commit(lambda: _send(message, request))

    def _get_login_attempts_cache_key(self, request: HttpRequest, **credentials: Any) -> str:
        # One count for one account: else whoever guesses had as many attempts more as the account has names.
        name = str(credentials.get("email") or credentials.get("username") or "")
        known = _find_user(name)
        return f"user:{known.pk}" if known else f"name:{name.lower()}"


def _find_user(name: str) -> User | None:
    found: User | None = get_user_by_username(name) if name else None
    if found is None and "@" in name:
        found = next(iter(filter_users_by_email(name, prefer_verified=True, for_login=True)), None)
    return found


def _at_home(url: str) -> str:
    parts = urlsplit(url)
    return letters.link(parts.path + (f"?{parts.query}" if parts.query else ""))


def _send(message: EmailMessage, request: HttpRequest) -> None:
    try:
        message.send()
    except (OSError, SMTPException) as error:
        logger.warning("An e-mail could not be sent: %s", type(error).__name__)
        messages.error(
            request, "An e-mail could not be sent, the mail server did not take it. Try again later."
        )
