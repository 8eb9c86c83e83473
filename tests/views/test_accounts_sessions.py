"""The list of sessions, what happened to the account, and signing out elsewhere."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest
import time_machine
from allauth.usersessions.models import UserSession
from django.db import connection, transaction
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from jobs.access import Person
from jobs.models import Act
from jobs.selectors.sessions import acts, device
from jobs.services import accounts, audit
from jobs.services.audit import Thing
from tests import builders
from tests.conftest import Cast
from tests.views.doorstep import LOGIN, entries, is_in

pytestmark = pytest.mark.usefixtures("fresh_counts")
FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"
END = "/accounts/sessions/end/"


def sign_in(
    name: str = "bob", *, agent: str = FIREFOX, address: str = "192.0.2.7", password: str = builders.PASSWORD
) -> Client:
    client = Client()
    client.post(
        LOGIN,
        {"login": name, "password": password},
        REMOTE_ADDR=address,
        headers={"User-Agent": agent},
    )
    return client


def listed(client: Client) -> str:
    """Return the page up to what happened."""
    return client.get("/accounts/sessions/").content.decode().partition('id="acts"')[0]


class TestList:
    def test_says_with_what_from_where_and_when(self, cast: Cast) -> None:
        sign_in(agent="<script>alert(1)</script>", address="198.51.100.9")
        here = sign_in()

        page = listed(here)

        assert "Firefox, Linux" in page
        assert "192.0.2.7" in page
        assert "198.51.100.9" in page
        assert "This one" in page
        assert "<script>alert" not in page

    def test_leaves_out_what_ended(self, cast: Cast) -> None:
        here, there = sign_in(), sign_in(address="198.51.100.9")
        there.post("/accounts/logout/")

        assert "198.51.100.9" not in listed(here)

    def test_leaves_out_what_others_do(self, cast: Cast) -> None:
        sign_in("alice", address="198.51.100.9")

        assert "198.51.100.9" not in listed(sign_in())

    def test_follows_the_last_use_by_steps(self, cast: Cast) -> None:
        now = timezone.now()
        here = sign_in()
        with time_machine.travel(now + timedelta(minutes=4), tick=False):
            here.get("/coastal/")
        soon = UserSession.objects.get().last_seen_at
        with time_machine.travel(now + timedelta(minutes=6), tick=False):
            here.get("/coastal/")

        assert soon - now < timedelta(seconds=30)
        assert UserSession.objects.get().last_seen_at == now + timedelta(minutes=6)


class TestWhatHappened:
    def shown(self, client: Client) -> str:
        html = client.get("/accounts/sessions/").content.decode().partition('id="acts"')[2]
        return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", html))

    def test_tells_of_sign_ins_with_what_and_from_where(self, cast: Cast) -> None:
        told = self.shown(sign_in(address="192.0.2.7"))

        assert re.search(r"192\.0\.2\.7 Signed in password", told)

    def test_tells_of_failed_ones_to_this_account_and_to_no_other(self, cast: Cast) -> None:
        for name, address in (("bob", "192.0.2.50"), ("alice", "192.0.2.51"), ("nobody", "192.0.2.52")):
            Client().post(LOGIN, {"login": name, "password": "wrong"}, REMOTE_ADDR=address)

        told = self.shown(sign_in("bob"))

        assert told.count("Failed to sign in") == 1
        assert "192.0.2.50" in told and "192.0.2.51" not in told and "192.0.2.52" not in told

    def test_tells_of_changes(self, cast: Cast) -> None:
        here = sign_in()
        by = Person(user_id=cast.bob.pk, name="Bob", origin="192.0.2.60")
        accounts.email_changed(by=by, before="old@example.org", what="removed", now=builders.NOW)
        accounts.factor_added(by=by, kind="totp", now=builders.NOW)

        told = self.shown(here)

        assert "Changed e-mail addresses old@example.org, removed" in told
        assert "Added a second factor authenticator app" in told

    def test_tells_what_an_operator_did_to_it(self, cast: Cast) -> None:
        cast.alice.is_staff = cast.alice.is_superuser = True
        cast.alice.save()
        new = "a new and quite long password"
        sign_in("alice").post(
            reverse("admin:auth_user_password_change", args=[cast.bob.pk]),
            {"password1": new, "password2": new, "usable_password": "true"},
        )

        assert "An operator changed the account password" in self.shown(sign_in("bob", password=new))
        assert "An operator" not in self.shown(sign_in("vera"))

    def test_leaves_out_what_a_person_did_elsewhere(self, cast: Cast) -> None:
        with transaction.atomic():
            audit.record(
                act=Act.ROLE_CHANGED,
                by=Person(user_id=cast.bob.pk, name="Bob"),
                now=builders.NOW,
                thing=Thing("member", str(cast.bob.pk), "Bob"),
                team_id=cast.team.pk,
            )

        assert "Changed a role" not in self.shown(sign_in("bob"))

    def test_shows_what_strangers_wrote_as_text(self, cast: Cast) -> None:
        evil = "<script>alert(1)</script>"
        by = Person(user_id=cast.bob.pk, name=evil, origin=evil)
        accounts.email_changed(by=by, after=evil, what="added", now=builders.NOW)

        assert evil not in sign_in().get("/accounts/sessions/").content.decode()

    def test_is_the_latest_by_one_query_with_an_index(
        self, cast: Cast, django_assert_num_queries: Any
    ) -> None:
        by = Person(user_id=cast.bob.pk, name="Bob")
        for i in range(25):
            accounts.email_changed(by=by, after=f"{i}@example.org", what="added", now=builders.NOW)

        with django_assert_num_queries(1) as asked:
            found = acts(user_id=cast.bob.pk)

        assert [act.detail for act in found] == [f"{i}@example.org, added" for i in range(24, 4, -1)]
        with connection.cursor() as cursor:
            cursor.execute("EXPLAIN QUERY PLAN " + asked.captured_queries[0]["sql"])
            plan = str(cursor.fetchall())
        assert "audit_of_object" in plan and "SCAN" not in plan, plan


class TestEnd:
    def test_of_all_others_keeps_this_one(self, cast: Cast) -> None:
        here, there, over_there, alice = sign_in(), sign_in(), sign_in(), sign_in("alice")

        answer = here.post(END, follow=True)

        assert "2 sessions ended." in answer.content.decode()
        assert [is_in(client) for client in (here, there, over_there, alice)] == [True, False, False, True]
        assert [entry.after for entry in entries(Act.SESSIONS_ENDED)] == [{"ended": 2}]

    def test_of_one_leaves_the_others(self, cast: Cast) -> None:
        here, there, over_there = sign_in(), sign_in(), sign_in()
        number = UserSession.objects.get(session_key=there.session.session_key).pk

        here.post(END, {"session": str(number)})

        assert [is_in(client) for client in (here, there, over_there)] == [True, False, True]

    def test_of_somebody_else_s_is_not_found(self, cast: Cast) -> None:
        here, alice = sign_in(), sign_in("alice")
        number = UserSession.objects.get(session_key=alice.session.session_key).pk

        assert here.post(END, {"session": str(number)}).status_code == 404
        assert is_in(alice)

    @pytest.mark.parametrize("number", ["x", "-1", "0", "9" * 40])
    def test_of_nonsense_ends_nothing(self, cast: Cast, number: str) -> None:
        here, there = sign_in(), sign_in()

        assert here.post(END, {"session": number}).status_code == 404
        assert is_in(there)

    def test_without_others_records_nothing(self, cast: Cast) -> None:
        page = sign_in().post(END, follow=True).content.decode()

        assert "There was no other session." in page
        assert entries(Act.SESSIONS_ENDED) == []

    def test_needs_a_post(self, bob: Client) -> None:
        assert bob.get(END).status_code == 405


class TestDevice:
    @pytest.mark.parametrize(
        ("agent", "said"),
        [
            (FIREFOX, "Firefox, Linux"),
            (
                "Mozilla/5.0 (Windows NT 10.0; x64) AppleWebKit/537.36 Chrome/126.0 Safari/537.36 Edg/126.0",
                "Edge, Windows",
            ),
            (
                "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) Version/17.5 Safari/604.1",
                "Safari, iPhone",
            ),
            (
                "Mozilla/5.0 (Linux; Android 14) AppleWebKit/537.36 Chrome/126.0 Mobile Safari/537.36",
                "Chrome, Android",
            ),
            ("curl/8.5.0", "Some program"),
            ("", "Some program"),
        ],
    )
    def test_is_named_in_two_words(self, agent: str, said: str) -> None:
        assert device(agent) == said
