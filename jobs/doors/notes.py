"""What allauth tells of by signals, written into the audit record."""

from __future__ import annotations

from typing import Any

from allauth.account import signals as account
from allauth.account.models import EmailAddress
from allauth.core import context as current
from allauth.mfa import signals as mfa
from allauth.mfa.models import Authenticator
from django.db.models.signals import post_save
from django.http import HttpRequest
from django.utils import timezone

from jobs.doors.accounts import person
from jobs.models import User
from jobs.services import accounts


def connect() -> None:
    """Listen. The views of these acts run in one transaction with what is written here."""
    account.email_added.connect(_email_added, dispatch_uid="portal")
    account.email_removed.connect(_email_removed, dispatch_uid="portal")
    account.email_confirmed.connect(_email_confirmed, dispatch_uid="portal")
    account.email_changed.connect(_email_changed, dispatch_uid="portal")
    # allauth tells of a new factor after the commit: too late for an entry in the same one.
    post_save.connect(_factor_added, sender=Authenticator, dispatch_uid="portal")
    mfa.authenticator_removed.connect(_factor_removed, dispatch_uid="portal")
    mfa.authentication_failed.connect(_factor_failed, dispatch_uid="portal")


def _email_added(request: HttpRequest, user: User, email_address: EmailAddress, **_: Any) -> None:
    accounts.email_changed(
        by=person(request, user), after=email_address.email, what="added", now=timezone.now()
    )


def _email_removed(request: HttpRequest, user: User, email_address: EmailAddress, **_: Any) -> None:
    accounts.email_changed(
        by=person(request, user), before=email_address.email, what="removed", now=timezone.now()
    )


def _email_confirmed(request: HttpRequest, email_address: EmailAddress, **_: Any) -> None:
    accounts.email_changed(
        by=person(request, email_address.user),
        after=email_address.email,
        what="verified",
        now=timezone.now(),
    )


def _email_changed(
    request: HttpRequest,
    user: User,
    from_email_address: EmailAddress | None,
    to_email_address: EmailAddress,
    **_: Any,
) -> None:
    accounts.email_changed(
        by=person(request, user),
        before=from_email_address.email if from_email_address else "",
        after=to_email_address.email,
        what="made the main one",
        now=timezone.now(),
    )


def _factor_added(instance: Authenticator, created: bool, **_: Any) -> None:
    if created and current.request is not None:
        accounts.factor_added(
            by=person(current.request, instance.user), kind=instance.type, now=timezone.now()
        )


def _factor_removed(request: HttpRequest, user: User, authenticator: Authenticator, **_: Any) -> None:
    accounts.factor_removed(by=person(request, user), kind=authenticator.type, now=timezone.now())


def _factor_failed(request: HttpRequest, user: User, **_: Any) -> None:
    accounts.failed(
        name=user.get_username(),
        user_id=user.pk,
        origin=person(request, user).origin,
        now=timezone.now(),
    )
