"""What a person can choose for themselves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from zoneinfo import available_timezones

from allauth.account.models import EmailAddress
from django.conf import settings

from jobs.models import User

# Files beside the zones that are none: they follow the machine, or say nothing.
_NO_ZONES = {"Factory", "localtime", "posixrules"}


@dataclass(frozen=True)
class Profile:
    """What a person chose. time_zone: "" for the portal's own; theme: "" for what the device says."""

    full_name: str
    time_zone: str
    theme: str
    mail_when_ended: bool
    mail_when_needed: bool


@dataclass(frozen=True)
class ProfilePage:
    """A person's choices, with what there is to choose from. email: where letters go, "" for nowhere."""

    profile: Profile
    email: str
    themes: Mapping[str, str]
    zones: tuple[str, ...]
    portal_zone: str


def profile(*, user_id: int) -> ProfilePage:
    """Return a person's choices; two queries."""
    user = User.objects.get(pk=user_id)
    return ProfilePage(
        profile=profile_of(user),
        email=mail_address(user),
        themes={str(value): str(name) for value, name in User.Theme.choices},
        zones=zones(),
        portal_zone=settings.TIME_ZONE,
    )


def profile_of(user: User) -> Profile:
    """Return what is in a person's row."""
    return Profile(
        full_name=user.get_full_name(),
        time_zone=user.time_zone,
        theme=user.theme,
        mail_when_ended=user.mail_when_ended,
        mail_when_needed=user.mail_when_needed,
    )


def mail_address(user: User) -> str:
    """Return where a person's letters go, "" for nowhere: their main verified address.

    What an operator wrote into an account counts until its owner has addresses of their own.
    """
    known = list(EmailAddress.objects.filter(user=user).order_by("-primary", "pk"))
    return next((row.email for row in known if row.verified), "") if known else user.email


@lru_cache(maxsize=1)
def zones() -> tuple[str, ...]:
    """Return the names of all time zones. Read once in a process's life: they are hundreds of files."""
    return tuple(sorted(available_timezones() - _NO_ZONES))
