"""Accounts: whose address counts as verified, how sessions end, and what an upgrade does to who is there already."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from types import SimpleNamespace

import pytest
from allauth.account.models import EmailAddress
from django.apps import apps
from django.core.cache import cache
from django.db import connection, connections
from django.test import Client

from jobs.access import Person
from jobs.errors import Missing
from jobs.models import Act, AuditEntry, User
from jobs.services import accounts
from tests import builders

NOW = builders.NOW


@pytest.mark.django_db
class TestVerifyEmail:
    def test_makes_the_first_address_the_main_one(self) -> None:
        bob = builders.make_user("bob")

        assert accounts.verify_email(user_id=bob.pk, email=" Bob@Harbour.Example ")
        assert accounts.verify_email(user_id=bob.pk, email="b@pier.example")

        assert list(EmailAddress.objects.order_by("pk").values_list("email", "verified", "primary")) == [
            ("bob@harbour.example", True, True),
            ("b@pier.example", True, False),
        ]

    def test_changes_nothing_the_second_time(self) -> None:
        bob = builders.make_user("bob")

        for _ in range(2):
            assert accounts.verify_email(user_id=bob.pk, email="bob@harbour.example")

        assert EmailAddress.objects.count() == 1

    @pytest.mark.parametrize("email", ["", "  "])
    def test_makes_nothing_of_no_address(self, email: str) -> None:
        assert not accounts.verify_email(user_id=builders.make_user("bob").pk, email=email)
        assert not EmailAddress.objects.exists()

    def test_leaves_out_what_somebody_else_has(self) -> None:
        bob, alice = builders.make_user("bob"), builders.make_user("alice", email="ALICE@harbour.example")
        EmailAddress.objects.create(user=alice, email="a@pier.example")

        assert not accounts.verify_email(user_id=bob.pk, email="alice@harbour.example")
        assert not accounts.verify_email(user_id=bob.pk, email="a@pier.example")


@pytest.mark.django_db
class TestEndSessions:
    def test_finds_no_session_that_ended(self) -> None:
        bob = builders.make_user("bob")

        with pytest.raises(Missing):
            accounts.end_sessions(by=Person(user_id=bob.pk, name="Bob"), current_key="x", only=7, now=NOW)

        assert not AuditEntry.objects.exists()


@pytest.mark.django_db
class TestUpgrade:
    """Migration 0009."""

    @pytest.fixture
    def migration(self) -> SimpleNamespace:
        return import_module("jobs.migrations.0009_trust_known_addresses")  # type: ignore[return-value]

    def test_counts_addresses_as_verified_that_one_person_has(self, migration: SimpleNamespace) -> None:
        for name, email in (
            ("alice", "Alice@Harbour.Example"),
            ("bob", "shared@harbour.example"),
            ("vera", "SHARED@harbour.example"),
            ("charlie", ""),
        ):
            builders.make_user(name, email=email)

        for _ in range(2):
            migration.trust(apps, None)

        assert list(EmailAddress.objects.values_list("user__username", "email", "verified", "primary")) == [
            ("alice", "alice@harbour.example", True, True)
        ]
        assert User.objects.count() == 4

    def test_makes_the_table_of_the_shared_cache(self, migration: SimpleNamespace) -> None:
        # A schema editor wants no transaction around it on SQLite; the migration needs only these two of it.
        with connection.cursor() as cursor:
            editor = SimpleNamespace(connection=connection, execute=cursor.execute)
            migration.drop_cache_table(apps, editor)
            gone = migration.CACHE_TABLE not in connection.introspection.table_names()
            for _ in range(2):
                migration.make_cache_table(apps, editor)
        cache.set("x", 1)

        assert gone
        assert cache.get("x") == 1


class TestLimitsOnEachDatabase:
    def test_hold_when_many_guess_at_the_same_moment(self, each_database: str) -> None:
        """On SQLite and on PostgreSQL: the counts are in the portal's own database, for all processes together."""
        builders.make_user("bob")

        def guess(number: int) -> None:
            try:
                Client().post(
                    "/accounts/login/",
                    {"login": "bob", "password": f"wrong {number}"},
                    REMOTE_ADDR=f"192.0.2.{number}",
                )
            finally:
                connections.close_all()

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(guess, range(12)))

        failed = AuditEntry.objects.filter(act=Act.SIGN_IN_FAILED.value)
        answer = Client().post("/accounts/login/", {"login": "bob", "password": builders.PASSWORD})
        assert failed.count() == 5
        assert b"Too many attempts failed" in answer.content
