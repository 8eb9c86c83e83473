"""Reads where a person is signed in."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime

from allauth.core.internal.sessionkit import get_session_user
from allauth.usersessions.models import UserSession

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


def _lives(row: UserSession) -> bool:
    """Say whether anybody is signed in with it: sessions run out, and end when the password changes."""
    return get_session_user(row._session_store(row.session_key)) is not None
