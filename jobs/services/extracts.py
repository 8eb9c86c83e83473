"""Extracts from the audit record, as CSV or as JSON lines, in pieces.

JSON lines: an object an entry, with every field that its hash covers, and `hash`. To verify one, take `hash` out, write the
rest as JSON with its keys in order, without spaces and in ASCII (Python: `json.dumps(entry, sort_keys=True,
separators=(",", ":"))`), and compare the SHA-256 of that. Where two entries have numbers that follow each other, the later
one's `hash_before` is the hash of the earlier; an extract leaves out what is another team's, or was not looked for.

CSV: the same fields, in UTF-8; what was before and after as JSON. A spreadsheet takes a cell that begins like a formula for
one, so that such a cell begins with an apostrophe here: people are named in it in their own words.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from io import StringIO
from typing import Any

from django.db import transaction
from django.db.models import QuerySet

from jobs.access import Actor
from jobs.models import Act, AuditEntry
from jobs.selectors import record
from jobs.selectors.record import Wanted
from jobs.services import audit

PIECE = 500  # entries
FORMATS = {"csv": "text/csv; charset=utf-8", "jsonl": "application/jsonl"}
FIELDS = (
    *("number", "at", "team", "user", "who", "origin", "act", "kind", "object_id", "object_name"),
    *("before", "after", "hash_before", "hash"),
)
_STARTS_A_FORMULA = ("=", "+", "-", "@", "\t", "\r")


@dataclass(frozen=True)
class Extract:
    """A file in the making. pieces: bytes, read from the database as they are sent."""

    content_type: str
    name: str
    pieces: Iterator[bytes]


def export(*, actor: Actor, wanted: Wanted, kind: str, now: datetime) -> Extract:
    """Return the entries that a person may see and looks for, oldest first; that they were exported is in the record.

    kind: one of FORMATS. The extract ends before the entry of itself.

    Raises:
        NotAllowed
    """
    rows = record.found(actor=actor, wanted=wanted)
    looked_for = {
        "who": wanted.who,
        "act": wanted.act,
        "about": wanted.about,
        "from": wanted.start,
        "before": wanted.end,
    }
    with transaction.atomic():
        number = audit.record(
            act=Act.RECORD_EXPORTED,
            by=actor,
            now=now,
            after={"format": kind, **{name: value for name, value in looked_for.items() if value}},
        )
    write = _csv if kind == "csv" else _lines
    return Extract(
        content_type=FORMATS[kind],
        name=f"record-{now:%Y-%m-%d}.{kind}",
        pieces=write(_entries(rows.filter(number__lt=number))),
    )


def _entries(rows: QuerySet[AuditEntry]) -> Iterator[list[dict[str, Any]]]:
    after = 0
    while True:
        piece = list(rows.filter(number__gt=after).order_by("number")[:PIECE])
        if not piece:
            return
        yield [{**audit.content(entry), "hash": entry.hash} for entry in piece]
        after = piece[-1].number


def _lines(pieces: Iterator[list[dict[str, Any]]]) -> Iterator[bytes]:
    for piece in pieces:
        yield "".join(json.dumps(entry) + "\n" for entry in piece).encode()


def _csv(pieces: Iterator[list[dict[str, Any]]]) -> Iterator[bytes]:
    yield (",".join(FIELDS) + "\r\n").encode()
    for piece in pieces:
        text = StringIO()
        write = csv.writer(text)
        for entry in piece:
            write.writerow([_cell(entry[name]) for name in FIELDS])
        yield text.getvalue().encode()


def _cell(value: Any) -> str:
    if value is None:
        return ""
    text = json.dumps(value, ensure_ascii=False) if isinstance(value, dict | list) else str(value)
    return f"'{text}" if text.startswith(_STARTS_A_FORMULA) else text
