"""Walks the audit record and tells every fault: what was changed, is missing, was put in, or was cut off at the end.

What it can see: each entry's hash covers its content and the hash of the entry before, and the record's head names the last
one. Whoever can write to the database and works all hashes out anew leaves no fault behind: that is only seen by somebody
who kept number and hash of an earlier end elsewhere (see `expected`).

Only one piece of the record is in memory. Entries that are added meanwhile are walked too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from django.db import transaction

from jobs.models import AuditEntry, AuditHead
from jobs.services.audit import NOTHING_BEFORE, digest

PIECE = 1_000  # entries


@dataclass(frozen=True)
class Mark:
    """An entry by number and hash, as it is written down elsewhere: NUMBER:HASH."""

    number: int
    hash: str

    def __str__(self) -> str:
        return f"{self.number}:{self.hash}"


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong. kind: short and stable; number: of the entry, or of the first of several."""

    kind: str
    number: int
    sentence: str


@dataclass(frozen=True)
class Outcome:
    """What a walk has found. entries: how many there are; end: the last one, to be kept elsewhere."""

    entries: int
    faults: int
    end: Mark

    @property
    def whole(self) -> bool:
        """Whether nothing is wrong."""
        return not self.faults


def verify(
    *, tell: Callable[[Fault], None], expected: Mark | None = None, last: int | None = None
) -> Outcome:
    """Walk the record, give each fault to `tell`, and return what was found.

    expected: an entry that the record had earlier. last: look at so many entries from the end only.
    """
    walk = _Walk(tell=tell, expected=expected, last=last)
    for entry in _entries(after=walk.number):
        walk.take(entry)
    with transaction.atomic():  # nobody adds to it while its end is looked at
        head = AuditHead.objects.select_for_update().filter(name="head").first()
        for entry in _entries(after=walk.number or 0):
            walk.take(entry)
        walk.end(head)
    return Outcome(entries=walk.entries, faults=walk.faults, end=Mark(walk.number or 0, walk.hash))


def _entries(*, after: int | None) -> Iterator[AuditEntry]:
    """Yield entries in the order of their numbers, a piece at a time. after: None begins before all."""
    while True:
        rows = AuditEntry.objects.order_by("number")
        piece = list((rows if after is None else rows.filter(number__gt=after))[:PIECE])
        yield from piece
        if len(piece) < PIECE:
            return
        after = piece[-1].number


class _Walk:
    """How far a walk is, and what it has found."""

    def __init__(self, *, tell: Callable[[Fault], None], expected: Mark | None, last: int | None) -> None:
        self.tell, self.expected = tell, expected
        self.entries = self.faults = 0
        self.number: int | None = None  # of the entry before; None: none was looked at
        self.hash = NOTHING_BEFORE
        if last is not None:
            self._begin_near_the_end(last)

    def take(self, entry: AuditEntry) -> None:
        """Look at the next entry."""
        self.entries += 1
        before = 0 if self.number is None else self.number
        if entry.number < 1:
            self._found(
                "put_in", entry.number, f"Entry {entry.number} stands before the beginning: it was put in."
            )
            return
        if entry.number > before + 1:
            self._missing(before + 1, entry.number - 1)
        elif entry.hash_before != self.hash:
            follows = f"does not follow from entry {before}" if before else "is not the record's first"
            told = f"Entry {entry.number} {follows}: one of the two was put in, or written anew."
            self._found("not_linked", entry.number, told)
        if digest(entry) != entry.hash:
            told = f"Entry {entry.number} was changed: its content and its hash do not fit."
            self._found("changed", entry.number, told)
        self._compare(entry)
        self.number, self.hash = entry.number, entry.hash

    def end(self, head: AuditHead | None) -> None:
        """Compare the last entry with what the record's head says, and with what was kept elsewhere."""
        here = self.number = self.number or 0
        if head is None:
            if here:
                self._found("no_head", here, "What the record says of its own end is gone.")
        elif head.number > here:
            self._found("cut_off", here + 1, f"{_entries_from(here + 1, head.number)} cut off at the end.")
        elif head.number < here:
            told = (
                f"{_entries_from(head.number + 1, here)} put in after the end, which is entry {head.number}."
            )
            self._found("put_in", head.number + 1, told)
        elif head.hash != self.hash:
            told = f"The last entry, {here}, is not the one that was written last."
            self._found("other_end", here, told)
        if self.expected is not None and self.expected.number > here:
            told = f"Entry {self.expected.number} was there when you noted it; the record ends at {here}."
            self._found("cut_off", self.expected.number, told)

    def _compare(self, entry: AuditEntry) -> None:
        known = self.expected
        if known is not None and entry.number == known.number and entry.hash != known.hash:
            told = f"Entry {entry.number} has another hash than you noted: the record was written anew."
            self._found("written_anew", entry.number, told)

    def _missing(self, first: int, last: int) -> None:
        self._found("missing", first, f"{_entries_from(first, last)} missing.")
        if self.expected is not None and first <= self.expected.number <= last:
            told = f"Entry {self.expected.number} was there when you noted it, and is missing."
            self._found("missing", self.expected.number, told)

    def _found(self, kind: str, number: int, sentence: str) -> None:
        self.faults += 1
        self.tell(Fault(kind, number, sentence))

    def _begin_near_the_end(self, last: int) -> None:
        """Take the entry before the last ones as it is."""
        rows = AuditEntry.objects.order_by("-number")
        before = rows[last : last + 1].first()
        if before is not None:
            self.number, self.hash = before.number, before.hash


def _entries_from(first: int, last: int) -> str:
    return f"Entry {first} is" if first == last else f"Entries {first} to {last} are"
