"""Writes the audit record: in the same transaction as the act, or the act does not happen.

Each entry carries a SHA-256 over the hash of the entry before and its own content, so that one that is changed, taken out
or put in later is noticed (see `jobs.services.verifying`). One writer at a time: the row of the record's end is locked
until the commit. Write the entry last in a transaction: whoever holds that lock should not wait for another.

Not in the record: what the portal reads for itself, such as status polls that nothing is signed for, and calls for which a
node's token stands in the place of a signature.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from django.db import connection

from jobs.access import Actor, Person
from jobs.models import Act, AuditEntry, AuditHead, Wallet

NOTHING_BEFORE = "0" * 64
WORKER = "worker"  # the origin of what the worker does
TEXT_MAX = 2_000  # characters of one value of what changed: strangers wrote some of them


class OutsideTransaction(Exception):
    """An entry was to be written outside of a transaction: act and entry could part. A bug in the caller."""


@dataclass(frozen=True)
class Thing:
    """What an act was done to. kind: "job", "wallet", "member", …; id: as text; name: what people call it."""

    kind: str = ""
    id: str = ""
    name: str = ""


NO_THING = Thing()


def wallet_thing(wallet: Wallet) -> Thing:
    """Name a wallet as the record does."""
    return Thing("wallet", str(wallet.pk), wallet.label)


def record(
    *,
    act: Act,
    by: Actor | Person,
    now: datetime,
    thing: Thing = NO_THING,
    before: Mapping[str, Any] | None = None,
    after: Mapping[str, Any] | None = None,
    team_id: int | None = None,
) -> int:
    """Add an entry to the record, inside the caller's transaction; return its number.

    Three queries, and on PostgreSQL one more.

    before, after: what changed, in plain values; never a key, a token, a password, or what a signature covers.
    team_id: the team's, where `by` does not say it.

    Raises:
        OutsideTransaction
    """
    _refuse_outside_a_transaction()
    _check_references_first()
    end = AuditHead.objects.select_for_update()
    head = end.filter(name="head").first()
    if head is None:  # the portal's first act
        AuditHead.objects.get_or_create(name="head")
        head = end.get(name="head")
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
        before=None if before is None else _plain(before),
        after=None if after is None else _plain(after),
        hash_before=head.hash,
    )
    entry.hash = digest(entry)
    entry.save(force_insert=True)
    AuditHead.objects.filter(name="head").update(number=entry.number, hash=entry.hash)
    return entry.number


def content(entry: AuditEntry) -> dict[str, Any]:
    """Return what an entry's hash covers, as an export shows it."""
    return {
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


def digest(entry: AuditEntry) -> str:
    """Return the SHA-256 (hexadecimal) over an entry's content and the hash before it."""
    return hashlib.sha256(canonical(content(entry)).encode("ascii")).hexdigest()


def canonical(value: Any) -> str:
    """Write JSON in the one way that hashes are made of: keys in order, nothing between the parts, ASCII alone."""
    return json.dumps(value, sort_keys=True, ensure_ascii=True, separators=(",", ":"))


def _plain(value: Any) -> Any:
    """Return a value as both databases give it back: numbers with a point, times and ids become text.

    PostgreSQL writes such numbers in its own way.
    """
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, Mapping):
        return {_text(str(key), 100): _plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        parts = sorted(value, key=str) if isinstance(value, set | frozenset) else value
        return [_plain(part) for part in parts]
    if isinstance(value, datetime):
        return value.isoformat()
    return _text(str(value), TEXT_MAX)


def _text(value: str, most: int) -> str:
    """Cut what strangers wrote; a NUL and half a character are no text to PostgreSQL."""
    whole = value.replace("\x00", "").encode("utf-8", "replace").decode()
    return whole if len(whole) <= most else whole[: most - 1] + "…"


def _check_references_first() -> None:
    """Have PostgreSQL look now whether what the act refers to is there: at the commit it would lock those rows.

    Somebody who has locked one of them, and waits for the end of the record, would wait for ever.
    """
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SET CONSTRAINTS ALL IMMEDIATE; SET CONSTRAINTS ALL DEFERRED")


def _refuse_outside_a_transaction() -> None:
    # Django marks the transactions that a TestCase wraps around a test: those are not the caller's.
    blocks: list[Any] = getattr(connection, "atomic_blocks", [])
    if not any(not getattr(block, "_from_testcase", False) for block in blocks):
        raise OutsideTransaction("the act and its entry must be one transaction")
