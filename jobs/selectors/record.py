"""Reads the audit record for its page and its exports.

Who sees what: owners, admins and auditors all entries of their team; a treasurer what is about money (`MONEY`). Sign-ins
and what people do with their accounts belong to no team, because a person may be in several and one team has no right to
know of another: each person sees their own on the pages of their account, operators all of them in the admin.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import Q, QuerySet

from jobs.access import Action, Actor, require
from jobs.models import Act, AuditEntry

PAGE_SIZE = 50
# What somebody who answers for the money has to see, and no more.
MONEY = (
    Q(act__startswith="wallet.") | Q(act__startswith="money.") | Q(act=Act.JOB_LAUNCHED, after__free=False)
)
GROUPS = {
    "team": "Team and members",
    "job": "Jobs and results",
    "catalogue": "Catalogue",
    "wallet": "Wallets",
    "money": "Transactions and escrows",
    "admin": "The operators' pages",
    "account": "Accounts",
}
_LISTED = 12  # parts of one value that are shown
_NOTHING = ""


@dataclass(frozen=True)
class Wanted:
    """What a reader looks for. act: a code of Act, or the part before its dot; start, end: from when, and before when.

    signatures: on the page, requests to nodes that the worker signed too, where no act is chosen.
    """

    who: str = ""
    act: str = ""
    about: str = ""
    start: datetime | None = None
    end: datetime | None = None
    signatures: bool = False


@dataclass(frozen=True)
class Change:
    """One thing that an act changed. before, after: "" where there is nothing to tell."""

    name: str
    before: str
    after: str


@dataclass(frozen=True)
class EntryRow:
    """One entry. kind, object_id, about: what it was done to; job_id: a job that it has to do with, or ""."""

    number: int
    at: datetime
    who: str
    origin: str
    act: str
    told: str
    kind: str
    object_id: str
    about: str
    job_id: str
    changes: tuple[Change, ...]
    hash: str


@dataclass(frozen=True)
class RecordPage:
    """Entries, newest first. older_than: the number to go on from, None where there are no more.

    money_only: what a treasurer sees. quiet: signed requests are left out; a watched log alone is one in 50 s.
    """

    rows: tuple[EntryRow, ...]
    older_than: int | None
    is_first: bool
    money_only: bool
    quiet: bool


def page(*, actor: Actor, wanted: Wanted, before: int | None = None) -> RecordPage:
    """Return a page of the team's record; one query. before: only entries with a lower number.

    Raises:
        NotAllowed
    """
    rows = found(actor=actor, wanted=wanted)
    quiet = not wanted.act and not wanted.signatures
    if quiet:
        rows = rows.exclude(act=Act.SIGNED)
    if before is not None:
        rows = rows.filter(number__lt=before)
    entries = list(rows.order_by("-number")[: PAGE_SIZE + 1])
    shown = entries[:PAGE_SIZE]
    return RecordPage(
        rows=tuple(_row(entry) for entry in shown),
        older_than=shown[-1].number if len(entries) > PAGE_SIZE else None,
        is_first=before is None,
        money_only=not actor.may(Action.READ_RECORD),
        quiet=quiet,
    )


def found(*, actor: Actor, wanted: Wanted) -> QuerySet[AuditEntry]:
    """Return the entries of the team that a person may see and looks for.

    Raises:
        NotAllowed
    """
    require(actor, Action.READ_MONEY_RECORD)
    rows = AuditEntry.objects.filter(team_id=actor.team_id)
    if not actor.may(Action.READ_RECORD):
        rows = rows.filter(MONEY)
    if wanted.who:
        rows = rows.filter(Q(who__icontains=wanted.who) | Q(origin=wanted.who))
    if wanted.act:
        rows = (
            rows.filter(act=wanted.act)
            if "." in wanted.act
            else rows.filter(act__startswith=wanted.act + ".")
        )
    if wanted.about:
        rows = rows.filter(
            Q(object_id=wanted.about) | Q(object_name__icontains=wanted.about) | Q(kind__iexact=wanted.about)
        )
    if wanted.start is not None:
        rows = rows.filter(at__gte=wanted.start)
    if wanted.end is not None:
        rows = rows.filter(at__lt=wanted.end)
    return rows


def choices() -> list[tuple[str, list[tuple[str, str]]]]:
    """Return what can be chosen as an act: each group with all of it, and one by one."""
    told: dict[str, list[tuple[str, str]]] = {}
    for act in Act:
        told.setdefault(act.value.partition(".")[0], []).append((act.value, act.label))
    return [
        (name, [(group, f"{name}: all"), *told.get(group, [])])
        for group, name in GROUPS.items()
        if group != "account"  # no team's
    ]


def _row(entry: AuditEntry) -> EntryRow:
    after = entry.after if isinstance(entry.after, dict) else {}
    return EntryRow(
        number=entry.number,
        at=entry.at,
        who=entry.who,
        origin=entry.origin,
        act=entry.act,
        told=Act(entry.act).label if entry.act in Act.values else entry.act,
        kind=entry.kind,
        object_id=entry.object_id,
        about=entry.object_name or entry.object_id,
        job_id=entry.object_id if entry.kind == "job" else str(after.get("job") or ""),
        changes=tuple(_changes(entry.before, entry.after)),
        hash=entry.hash,
    )


def _changes(before: Any, after: Any) -> Iterator[Change]:
    """Lay what was before beside what was after; what is the same in both is left out."""
    old, new = dict(_flat(before)), dict(_flat(after))
    for name in dict.fromkeys([*old, *new]):
        if old.get(name) != new.get(name):
            yield Change(name.replace("_", " "), old.get(name, _NOTHING), new.get(name, _NOTHING))


def _flat(value: Any, name: str = "") -> Iterator[tuple[str, str]]:
    """Yield what is inside of a value by name; a group's name stands before those of its parts."""
    if isinstance(value, Mapping):
        for key, part in value.items():
            yield from _flat(part, f"{name} · {key}" if name else str(key))
    elif name and value is not None:
        yield name, _words(value)


def _words(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        more = f", and {len(value) - _LISTED} more" if len(value) > _LISTED else ""
        return ", ".join(_words(part) for part in value[:_LISTED]) + more
    if isinstance(value, Mapping):
        return ", ".join(f"{key}: {_words(part)}" for key, part in value.items())
    return str(value)
