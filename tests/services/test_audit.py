"""The audit record: chained, append-only, one with its act, and one line however many write at once."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from django.db import DatabaseError, IntegrityError, connection, transaction

from jobs.access import Actor, Person
from jobs.models import Act, AuditEntry, AuditHead, Team, Wallet
from jobs.models.teams import Role
from jobs.services import audit
from jobs.services.audit import Thing
from tests import builders
from tests.services.conftest import run_together

ALICE = Person(user_id=7, name="Alice", origin="192.0.2.1")
SAYS = "the audit record is append-only"
ODD: dict[str, Any] = {
    "ünï ☃ 𝄞": "Größe ‮abc",
    "large": 2**200,
    "small": -(2**200),
    "point": 0.1,
    "whole": 1.0,
    "huge": 1e300,
    "nothing": None,
    "yes": True,
    "": "",
    "zebra": {"b": [], "a": {}, "list": [1, [2, {"x": None}], "3"]},
    "at": datetime(2025, 11, 22, 14, 0, 0, 123456, tzinfo=UTC),
    "id": UUID(int=1),
    "amount": Decimal("1.50"),
    "nul": "a\x00b",
    "half": "\ud800",
    "roles": {Role.VIEWER, Role.OWNER},
    5: "number as a name",
}


def write(**values: Any) -> int:
    """Write one entry, in a transaction of its own."""
    with transaction.atomic():
        return audit.record(**({"act": Act.INVITED, "by": ALICE, "now": builders.NOW} | values))


class TestRecord:
    pytestmark = pytest.mark.django_db

    def test_numbers_entries_and_chains_each_to_the_one_before(self) -> None:
        for name in ("first", "second", "third"):
            write(thing=Thing("member", "1", name))

        entries = list(AuditEntry.objects.order_by("number"))
        assert [entry.number for entry in entries] == [1, 2, 3]
        assert [entry.hash_before for entry in entries] == ["0" * 64, entries[0].hash, entries[1].hash]
        assert [audit.digest(entry) for entry in entries] == [entry.hash for entry in entries]
        assert AuditHead.objects.values_list("number", "hash").get() == (3, entries[2].hash)

    def test_says_who_from_where_when_and_what(self) -> None:
        team = builders.make_team()
        by = Actor(user_id=4, name="Bob", team_id=team.pk, role=Role.OWNER, origin="2001:db8::1")

        write(by=by, thing=Thing("wallet", "9", "Main"), before={"limit": "1"}, after={"limit": "2"})

        entry = AuditEntry.objects.get()
        assert (entry.who, entry.user_number, entry.origin, entry.team_id) == (
            "Bob",
            4,
            "2001:db8::1",
            team.pk,
        )
        assert (entry.at, entry.act) == (builders.NOW, "team.invited")
        assert (entry.kind, entry.object_id, entry.object_name) == ("wallet", "9", "Main")
        assert (entry.before, entry.after) == ({"limit": "1"}, {"limit": "2"})

    def test_takes_three_queries(self, django_assert_num_queries: Any) -> None:
        write()

        with django_assert_num_queries(
            5
        ):  # the end, the entry, the new end; and the savepoint of the test around it
            write()

    def test_is_refused_outside_of_a_transaction(self) -> None:
        with pytest.raises(audit.OutsideTransaction):
            audit.record(act=Act.INVITED, by=ALICE, now=builders.NOW)

    def test_cuts_what_strangers_wrote(self) -> None:
        by = Person(user_id=None, name="n" * 5_000, origin="o\x00" * 5_000)

        write(by=by, thing=Thing("k" * 99, "i" * 999, "\x00\ud800" + "n" * 999), after={"text": "t" * 9_999})

        entry = AuditEntry.objects.get()
        assert [len(text) for text in (entry.who, entry.origin, entry.kind, entry.object_id)] == [
            200,
            100,
            40,
            100,
        ]
        assert entry.object_name.startswith("?nnn")
        assert len(entry.after["text"]) == audit.TEXT_MAX

    def test_fails_the_act_when_it_fails(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def full(*args: Any, **kwargs: Any) -> None:
            raise DatabaseError("the disk is full")

        monkeypatch.setattr(AuditEntry, "save", full)

        with pytest.raises(DatabaseError), transaction.atomic():
            Team.objects.create(slug="half", name="Half done")
            audit.record(act=Act.TEAM_MADE, by=ALICE, now=builders.NOW)

        assert not Team.objects.filter(slug="half").exists()
        assert not AuditHead.objects.exclude(number=0).exists()


class TestContent:
    def test_comes_back_from_each_database_as_it_was_hashed(self, each_database: str) -> None:
        far = datetime(2025, 1, 1, 2, 0, 0, 999999, tzinfo=timezone(timedelta(hours=5, minutes=45)))

        write(before=ODD, after={}, now=far)
        write(before=None, after={"deep": ODD})

        for entry in AuditEntry.objects.order_by("number"):
            assert audit.digest(entry) == entry.hash


REFUSED = {
    "UPDATE": "UPDATE jobs_auditentry SET who = 'Mallory' WHERE number = 1",
    "UPDATE of all": "UPDATE jobs_auditentry SET at = at",
    "DELETE": "DELETE FROM jobs_auditentry WHERE number = 1",
    "DELETE of all": "DELETE FROM jobs_auditentry",
}


class TestDatabase:
    @pytest.mark.parametrize("statement", REFUSED.values(), ids=REFUSED)
    def test_refuses_to_change_or_delete_an_entry(self, each_database: str, statement: str) -> None:
        write()
        entry = AuditEntry.objects.values().get()

        with pytest.raises(DatabaseError, match=SAYS), transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(statement)

        assert AuditEntry.objects.values().get() == entry

    def test_refuses_it_to_the_portal_s_own_models_too(self, each_database: str) -> None:
        write()
        entry = AuditEntry.objects.get()
        entry.who = "Mallory"

        for act in (entry.save, entry.delete, AuditEntry.objects.all().delete):
            with pytest.raises(DatabaseError, match=SAYS), transaction.atomic():
                act()
        with pytest.raises(DatabaseError, match=SAYS), transaction.atomic():
            AuditEntry.objects.update(who="Mallory")

        assert AuditEntry.objects.get().who == "Alice"

    def test_refuses_to_empty_the_table_at_once(self, postgresql_server: Any, transactional_db: None) -> None:
        with postgresql_server.fresh():
            write()

            with (
                pytest.raises(DatabaseError, match=SAYS),
                transaction.atomic(),
                connection.cursor() as cursor,
            ):
                cursor.execute("TRUNCATE jobs_auditentry")

            assert AuditEntry.objects.count() == 1

    def test_refuses_two_entries_with_one_number(self, each_database: str) -> None:
        write()
        entry = AuditEntry.objects.get()

        with pytest.raises(IntegrityError), transaction.atomic():
            entry.save(force_insert=True)


class TestWritersAtOnce:
    EACH = 12

    def writer(self, name: str, act: Callable[[int], Any]) -> Callable[[], None]:
        """Return what does an act and writes its entry, several times."""

        def write_all() -> None:
            for number in range(self.EACH):
                with transaction.atomic():
                    act(number)
                    audit.record(
                        act=Act.TEAM_MADE,
                        by=ALICE,
                        now=builders.NOW,
                        thing=Thing(name=name),
                        team_id=Team.objects.values_list("pk", flat=True).get(slug="coastal"),
                    )

        return write_all

    def assert_one_line(self, writers: int) -> None:
        """The record has an entry for each act, without gap or fork."""
        entries = list(AuditEntry.objects.order_by("number"))
        assert [entry.number for entry in entries] == [*range(1, writers * self.EACH + 1)]
        assert [entry.hash_before for entry in entries[1:]] == [entry.hash for entry in entries[:-1]]
        assert AuditHead.objects.get().hash == entries[-1].hash

    def test_make_one_line_without_gap_or_fork(self, each_database: str) -> None:
        builders.make_team()
        writers = [
            self.writer(name, lambda i, name=name: Team.objects.create(slug=f"{name}-{i}", name=name))
            for name in ("a", "b", "c", "d")
        ]

        outcomes = run_together(*writers)

        assert outcomes == [None] * 4  # nobody waited for ever, nobody was refused
        self.assert_one_line(4)

    def test_do_not_wait_for_each_other_over_what_the_act_is_about(self, each_database: str) -> None:
        team = builders.make_team()
        wallet = builders.make_wallet(team=team)
        network = builders.make_network()

        def lock_and_write(_: int) -> None:
            Team.objects.select_for_update().get(pk=team.pk)
            Wallet.objects.select_for_update().get(pk=wallet.pk)

        def refer_to_it(_: int) -> None:
            builders.make_act(wallet=wallet, network=network)

        outcomes = run_together(
            *(self.writer("locks", lock_and_write) for _ in range(2)),
            *(self.writer("refers", refer_to_it) for _ in range(2)),
        )

        assert outcomes == [None] * 4
        self.assert_one_line(4)
