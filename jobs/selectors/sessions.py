"""Reads where a person is signed in, and what was done with their account: theirs alone to see."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime

from allauth.core.internal.sessionkit import get_session_user
from allauth.usersessions.models import UserSession
from django.db.models import Q

from jobs.models import Act, AuditEntry

LATEST = 20  # acts that are shown

# The first that is found names the program; most browsers also call themselves by the names further down.
_BROWSERS = (
    ("Edg", "Edge"),
    ("OPR", "Opera"),
    ("Firefox", "Firefox"),
    ("Chromium", "Chromium"),
    ("Chrome", "Chrome"),
    ("Safari", "Safari"),
)
_SYSTEMS = (
    ("Android", "Android"),
    ("iPhone", "iPhone"),
    ("iPad", "iPad"),
    ("Windows", "Windows"),
    ("Mac OS X", "Mac"),
    ("Linux", "Linux"),
)
# The parts that ways to sign in are recorded by; others are told as they are.
_WORDS = {
    "mfa totp": "authenticator app",
    "mfa webauthn": "passkey or security key",
    "mfa recovery_codes": "recovery code",
    "totp": "authenticator app",
    "webauthn": "passkey or security key",
    "recovery_codes": "recovery codes",
    "socialaccount": "the organisation's sign-in",
}


@dataclass(frozen=True)
class SessionRow:
    """A browser that somebody is signed in with. device: in short; agent: as the browser tells it."""

    id: int
    device: str
    agent: str
    address: str
    began_at: datetime
    seen_at: datetime
    is_current: bool


@dataclass(frozen=True)
class ActRow:
    """Something that was done with an account. detail: with what, or to what; address: from where. "" is unknown."""

    at: datetime
    told: str
    detail: str
    address: str
    failed: bool


@dataclass(frozen=True)
class Own:
    """What a person sees of their own account. acts: the latest, newest first."""

    sessions: tuple[SessionRow, ...]
    acts: tuple[ActRow, ...]


def own(*, user_id: int, current_key: str) -> Own:
    """Return a person's sessions, and what was done with their account."""
    return Own(sessions=sessions(user_id=user_id, current_key=current_key), acts=acts(user_id=user_id))


def acts(*, user_id: int) -> tuple[ActRow, ...]:
    """Return the latest that the record tells of a person's account, newest first; one query, by its index of objects.

    A sign-in that failed is theirs where what was typed named their account. Operators' acts on the account are among it.
    """
    rows = AuditEntry.objects.filter(
        Q(act__startswith="account.") | Q(act__startswith="admin."),
        team=None,
        kind="person",
        object_id=str(user_id),
    )
    return tuple(_act(entry) for entry in rows.order_by("-number")[:LATEST])


def sessions(*, user_id: int, current_key: str) -> tuple[SessionRow, ...]:
    """Return the person's sessions, this one first, then by their last use."""
    kept = UserSession.objects.filter(user_id=user_id).order_by("-last_seen_at", "pk")
    rows = [row for row in kept if _lives(row)]
    rows.sort(key=lambda row: row.session_key != current_key)
    return tuple(
        SessionRow(
            id=row.pk,
            device=device(row.user_agent),
            agent=row.user_agent,
            address=row.ip,
            began_at=row.created_at,
            seen_at=row.last_seen_at,
            is_current=row.session_key == current_key,
        )
        for row in rows
    )


def device(agent: str) -> str:
    """Name a browser and its system in two words, from what it tells of itself."""
    browser = next((name for mark, name in _BROWSERS if re.search(rf"{mark}\w*/", agent)), "Some program")
    system = next((name for mark, name in _SYSTEMS if mark in agent), "")
    return f"{browser}, {system}" if system else browser


def _act(entry: AuditEntry) -> ActRow:
    by_operator = entry.act.startswith("admin.")
    known = Act(entry.act).label if entry.act in Act.values else entry.act
    return ActRow(
        at=entry.at,
        told="An operator changed the account" if by_operator else known,
        detail=_detail(entry),
        address=entry.origin,
        failed=entry.act == Act.SIGN_IN_FAILED,
    )


def _detail(entry: AuditEntry) -> str:
    """Say with what, or to what; of settings only which, and nothing of what somebody typed at the door."""
    values = {
        name: value
        for part in (entry.before, entry.after)
        if isinstance(part, dict)
        for name, value in part.items()
    }
    if entry.act == Act.PROFILE_CHANGED or entry.act.startswith("admin."):
        return ", ".join(str(name).replace("_", " ") for name in values)
    parts = [
        part for value in values.values() for part in (value if isinstance(value, list) else [value]) if part
    ]
    return ", ".join(_WORDS.get(str(part), str(part)) for part in parts)


def _lives(row: UserSession) -> bool:
    """Say whether anybody is signed in with it: sessions run out, and end when the password changes."""
    return get_session_user(row._session_store(row.session_key)) is not None
