"""Writes the audit record: in the same transaction as the act, or the act does not happen.

Each entry carries a SHA-256 over the hash of the entry before and its own content, so that one that is changed, taken out
or put in later is noticed (see `verify`). One writer at a time: the row of the record's end is locked until the commit.
Write the entry last in a transaction: whoever holds that lock should not wait for another.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from django.db import connection

from jobs.access import Actor, Person
from jobs.models import Act, AuditEntry, AuditHead

NOTHING_BEFORE = "0" * 64
WORKER = "worker"  # the origin of what the worker does


class OutsideTransaction(Exception):
    """An entry was to be written outside of a transaction: act and entry could part. A bug in the caller."""


@dataclass(frozen=True)
class Thing:
    """What an act was done to. kind: "job", "wallet", "member", …; id: as text; name: what people call it."""

    kind: str = ""
    id: str = ""
    name: str = ""


NO_THING = Thing()


def record(
    *,
    act: Act,
    by: Actor | Person,
    now: datetime,
    thing: Thing = NO_THING,
    before: dict[str, Any] | None = None,
    after: dict[str, Any] | None = None,
    team_id: int | None = None,
) -> None:
    """Add an entry to the record, inside the caller's transaction.

    before, after: what changed, as plain JSON; never a key, a token, a password, or what a signature covers.
    team_id: the team's, where `by` does not say it.

    Raises:
        OutsideTransaction
    """
    if not connection.in_atomic_block:
        raise OutsideTransaction("the act and its entry must be one transaction")
    AuditHead.objects.get_or_create(name="head")
    head = AuditHead.objects.select_for_update().get(name="head")
    entry = AuditEntry(
        number=head.number + 1,
        at=now,
        team_id=by.team_id if isinstance(by, Actor) else team_id,
        user_number=by.user_id,
        who=_text(by.name, 200),
        origin=_text(by.origin, 100),
        act=act.value,
        kind=_text(thing.kind, 40),
        object_id=_text(thing.id, 100),
        object_name=_text(thing.name, 200),
        before=before,
        after=after,
        hash_before=head.hash,
    )
    entry.hash = digest(entry)
    entry.save(force_insert=True)
    AuditHead.objects.filter(name="head").update(number=entry.number, hash=entry.hash)


def digest(entry: AuditEntry) -> str:
    """Return the SHA-256 (hexadecimal) over an entry's content and the hash before it."""
    content = {
        "number": entry.number,
        "at": entry.at.astimezone(UTC).isoformat(timespec="microseconds"),
        "team": entry.team_id,
        "user": entry.user_number,
        "who": entry.who,
        "origin": entry.origin,
        "act": entry.act,
        "kind": entry.kind,
        "object_id": entry.object_id,
        "object_name": entry.object_name,
        "before": entry.before,
        "after": entry.after,
        "hash_before": entry.hash_before,
    }
    text = json.dumps(content, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def _text(value: str, most: int) -> str:
    """Cut what strangers wrote; a NUL is no text to PostgreSQL."""
    return value.replace("\x00", "")[:most]
