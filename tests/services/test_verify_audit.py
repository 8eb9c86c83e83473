"""Verifying the audit record: a whole one passes, and each way to tamper with it is seen."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import transaction
from django.db.models import F

from jobs.access import Person
from jobs.models import Act, AuditEntry, AuditHead
from jobs.services import audit, reconciling, verifying
from jobs.services.audit import Thing
from jobs.services.verifying import Fault, Mark, Outcome
from tests import builders
from tests.services.databases import unguarded
from tests.services.fakes import Clock
from tests.services.test_audit import ODD


def fill(count: int = 8) -> None:
    """Write a record of so many entries."""
    for number in range(1, count + 1):
        with transaction.atomic():
            audit.record(
                act=Act.INVITED,
                by=Person(user_id=number, name=f"Person {number}", origin="192.0.2.1"),
                now=builders.NOW + timedelta(seconds=number),
                thing=Thing("member", str(number), "<b>"),
                before=ODD,
                after={"number": number},
            )


def entry(number: int) -> Any:
    """Return one entry as a queryset."""
    return AuditEntry.objects.filter(number=number)


def hashed_anew(number: int, **values: Any) -> None:
    """Change an entry, and work its hash out anew."""
    row = entry(number).get()
    for name, value in values.items():
        setattr(row, name, value)
    row.hash = audit.digest(row)
    row.save()


def put_in(number: int) -> None:
    """Put in an entry that fits the one before it."""
    before = entry(number - 1).first()
    row = entry(1).get()
    row.number, row.who = number, "Mallory"
    row.hash_before = before.hash if before else audit.NOTHING_BEFORE
    row.hash = audit.digest(row)
    row.save(force_insert=True)


def move(number: int, to: int) -> None:
    """Give an entry another number."""
    entry(number).update(number=to)


def swap(one: int, other: int) -> None:
    """Let two entries change places."""
    move(one, 99)
    move(other, one)
    move(99, other)


def replace(number: int) -> None:
    """Put another entry in the place of one."""
    entry(number).delete()
    put_in(number)


def insert_between(number: int) -> None:
    """Move all later entries on, and put one in."""
    for later in range(8, number - 1, -1):
        move(later, later + 1)
    put_in(number)
    AuditHead.objects.update(number=F("number") + 1)


def verify(**values: Any) -> tuple[list[tuple[str, int]], Outcome]:
    """Return kind and number of each fault, and the outcome."""
    faults: list[Fault] = []
    outcome = verifying.verify(tell=faults.append, **values)
    assert outcome.faults == len(faults)
    return [(fault.kind, fault.number) for fault in faults], outcome


TAMPERED: dict[str, tuple[Callable[[], Any], list[tuple[str, int]]]] = {
    **{
        f"{field} changed": (
            lambda field=field, value=value: entry(3).update(**{field: value}),
            [("changed", 3)],
        )
        for field, value in {
            "at": builders.NOW,
            "user_number": 99,
            "who": "Mallory",
            "origin": "192.0.2.99",
            "act": "team.joined",
            "kind": "wallet",
            "object_id": "99",
            "object_name": "",
            "before": {"a": 1},
            "after": {"number": 99},
        }.items()
    },
    "after emptied": (lambda: entry(3).update(after=None), [("changed", 3)]),
    "its hash changed": (lambda: entry(3).update(hash="0" * 64), [("changed", 3), ("not_linked", 4)]),
    "the hash before changed": (
        lambda: entry(3).update(hash_before="0" * 64),
        [("not_linked", 3), ("changed", 3)],
    ),
    "changed with its hash": (lambda: hashed_anew(3, who="Mallory"), [("not_linked", 4)]),
    "the last changed with its hash": (lambda: hashed_anew(8, who="Mallory"), [("other_end", 8)]),
    "one removed": (lambda: entry(3).delete(), [("missing", 3)]),
    "several removed": (
        lambda: AuditEntry.objects.filter(number__in=[3, 4, 6]).delete(),
        [("missing", 3), ("missing", 6)],
    ),
    "the first removed": (lambda: entry(1).delete(), [("missing", 1)]),
    "one removed and the others moved up": (
        lambda: (entry(3).delete(), [move(n, n - 1) for n in range(4, 9)]),
        [("not_linked", 3), *[("changed", n) for n in range(3, 8)], ("cut_off", 8)],
    ),
    "the last removed": (lambda: AuditEntry.objects.filter(number__gt=6).delete(), [("cut_off", 7)]),
    "all removed": (lambda: AuditEntry.objects.all().delete(), [("cut_off", 1)]),
    "the head removed": (lambda: AuditHead.objects.all().delete(), [("no_head", 8)]),
    "cut off with a new head": (
        lambda: (AuditEntry.objects.filter(number=8).delete(), AuditHead.objects.update(number=7)),
        [("other_end", 7)],
    ),
    "two swapped": (
        lambda: swap(3, 5),
        [
            *[("not_linked", 3), ("changed", 3), ("not_linked", 4)],
            *[("not_linked", 5), ("changed", 5), ("not_linked", 6)],
        ],
    ),
    "one put in at the end": (lambda: put_in(9), [("put_in", 9)]),
    "one put in far after the end": (lambda: put_in(12), [("missing", 9), ("put_in", 9)]),
    "one put in before the beginning": (lambda: put_in(0), [("put_in", 0)]),
    "one put in before that": (lambda: put_in(-5), [("put_in", -5)]),
    "one put in between": (
        lambda: insert_between(4),
        [("not_linked", 5), *[("changed", n) for n in range(5, 10)]],
    ),
    "one replaced": (lambda: replace(3), [("not_linked", 4)]),
}


@pytest.mark.django_db
class TestTampered:
    @pytest.mark.parametrize(("tamper", "found"), TAMPERED.values(), ids=TAMPERED)
    def test_record_is_not_whole(self, tamper: Callable[[], Any], found: list[tuple[str, int]]) -> None:
        fill()
        with unguarded():
            tamper()

        faults, outcome = verify()

        assert faults == found
        assert not outcome.whole

    def test_team_of_an_entry_counts(self) -> None:
        fill(2)
        with unguarded():
            entry(1).update(team=builders.make_team())

        assert verify()[0] == [("changed", 1)]

    def test_record_that_was_written_anew_is_known_by_a_mark_that_was_kept(self) -> None:
        fill()
        kept = verify()[1].end
        with unguarded():
            AuditEntry.objects.all().delete()
            AuditHead.objects.all().delete()
        fill(10)
        with unguarded():
            hashed_anew(10, who="other")
            AuditHead.objects.update(hash=entry(10).get().hash)

        assert verify()[0] == []
        assert verify(expected=kept)[0] == []  # the same was written once more
        assert verify(expected=Mark(8, "f" * 64))[0] == [("written_anew", 8)]

    def test_record_that_was_cut_off_cleanly_is_known_by_a_mark_that_was_kept(self) -> None:
        fill()
        kept = verify()[1].end
        with unguarded():
            AuditEntry.objects.filter(number__gt=5).delete()
            AuditHead.objects.update(number=5, hash=entry(5).get().hash)

        assert verify()[0] == []
        assert verify(expected=kept)[0] == [("cut_off", 8)]

    def test_mark_of_an_entry_that_is_missing_is_told(self) -> None:
        fill()
        kept = Mark(3, entry(3).get().hash)
        with unguarded():
            entry(3).delete()

        assert verify(expected=kept)[0] == [("missing", 3), ("missing", 3)]

    def test_sentences_name_the_entries(self, capsys: pytest.CaptureFixture[str]) -> None:
        fill()
        with unguarded():
            AuditEntry.objects.filter(number__in=[3, 4, 8]).delete()
            entry(6).update(who="Mallory")
        told: list[str] = []

        verifying.verify(tell=lambda fault: told.append(fault.sentence))

        assert told == [
            "Entries 3 to 4 are missing.",
            "Entry 6 was changed: its content and its hash do not fit.",
            "Entry 8 is cut off at the end.",
        ]


class TestWhole:
    def test_record_passes_on_each_database(self, each_database: str) -> None:
        fill()

        faults, outcome = verify(expected=Mark(4, entry(4).get().hash))

        assert faults == []
        assert (outcome.whole, outcome.entries) == (True, 8)
        assert outcome.end == Mark(8, AuditHead.objects.get().hash)

    @pytest.mark.django_db
    def test_empty_record_passes(self) -> None:
        assert verify() == ([], Outcome(entries=0, faults=0, end=Mark(0, "0" * 64)))

    @pytest.mark.django_db
    def test_record_is_read_in_pieces(
        self, monkeypatch: pytest.MonkeyPatch, django_assert_max_num_queries: Any
    ) -> None:
        fill(9)
        monkeypatch.setattr(verifying, "PIECE", 3)

        with django_assert_max_num_queries(
            8
        ):  # three pieces and what is after them, the end, and its savepoint
            faults, outcome = verify()

        assert (faults, outcome.entries) == ([], 9)

    @pytest.mark.django_db
    def test_last_entries_can_be_looked_at_alone(self) -> None:
        fill(9)
        with unguarded():
            entry(2).update(who="Mallory")
            entry(8).update(who="Mallory")

        faults, outcome = verify(last=3)

        assert (faults, outcome.entries) == ([("changed", 8)], 3)
        assert verify(last=50)[0] == [("changed", 2), ("changed", 8)]


@pytest.mark.django_db
class TestDailyComparison:
    def test_tells_of_a_fault_at_the_end_of_the_record(self, clock: Clock) -> None:
        fill()
        with unguarded():
            entry(5).update(who="Mallory")

        (difference,) = reconciling.compare(clock=clock)

        assert (difference.kind, difference.about) == ("audit_record", "5")
        assert "Entry 5 was changed" in difference.sentence


@pytest.mark.django_db
class TestCommand:
    def run(self, *options: str) -> tuple[int, str]:
        """Run the command; return its exit code and what it printed."""
        out = StringIO()
        with pytest.raises(SystemExit) as ended:
            call_command("verify_audit", *options, stdout=out)
        return int(ended.value.code or 0), out.getvalue()

    def test_ends_with_0_and_prints_the_end_to_keep(self) -> None:
        fill()

        code, printed = self.run()

        assert code == 0
        assert "The record is whole. Entries: 8." in printed
        assert printed.splitlines()[-1] == f"8:{entry(8).get().hash}"

    def test_ends_with_1_and_prints_each_fault(self) -> None:
        fill()
        with unguarded():
            entry(2).delete()
            entry(5).update(who="Mallory")

        code, printed = self.run()

        assert code == 1
        assert printed.splitlines()[:2] == [
            "Entry 2 is missing.",
            "Entry 5 was changed: its content and its hash do not fit.",
        ]
        assert "The record is not whole: 2 faults." in printed

    def test_takes_what_it_printed(self) -> None:
        fill()
        kept = self.run()[1].splitlines()[-1]
        fill(3)

        assert self.run("--expect", kept)[0] == 0
        assert self.run("--expect", "8:" + "0" * 64)[0] == 1

    @pytest.mark.parametrize("text", ["", "8", "8:abc", "x:" + "0" * 64, "8:" + "G" * 64])
    def test_refuses_what_it_never_printed(self, text: str) -> None:
        with pytest.raises(CommandError, match="NUMBER:HASH"):
            call_command("verify_audit", "--expect", text)

    def test_prints_one_object_for_programs(self) -> None:
        fill()
        whole = json.loads(self.run("--json")[1])
        with unguarded():
            entry(2).delete()
            entry(5).update(who="Mallory")

        code, printed = self.run("--json")

        assert (whole["faults"], whole["whole"], whole["entries"]) == ([], True, 8)
        told = json.loads(printed)
        assert code == 1
        assert [(fault["kind"], fault["number"]) for fault in told["faults"]] == [
            ("missing", 2),
            ("changed", 5),
        ]
        assert (told["whole"], told["entries"]) == (False, 7)
        assert told["end"].startswith("8:")
