"""The list of sessions, and signing out elsewhere."""

from __future__ import annotations

from datetime import timedelta

import pytest
import time_machine
from allauth.usersessions.models import UserSession
from django.test import Client
from django.utils import timezone

from jobs.models import Act
from jobs.selectors.sessions import device
from tests import builders
from tests.conftest import Cast
from tests.views.doorstep import LOGIN, entries, is_in

pytestmark = pytest.mark.usefixtures("fresh_counts")
FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"
END = "/accounts/sessions/end/"


def sign_in(name: str = "bob", *, agent: str = FIREFOX, address: str = "192.0.2.7") -> Client:
    client = Client()
    client.post(
        LOGIN,
        {"login": name, "password": builders.PASSWORD},
        REMOTE_ADDR=address,
        headers={"User-Agent": agent},
    )
    return client


class TestList:
    def test_says_with_what_from_where_and_when(self, cast: Cast) -> None:
        sign_in(agent="<script>alert(1)</script>", address="198.51.100.9")
        here = sign_in()

        page = here.get("/accounts/sessions/").content.decode()

        assert "Firefox, Linux" in page
        assert "192.0.2.7" in page
        assert "198.51.100.9" in page
        assert "This one" in page
        assert "<script>alert" not in page

    def test_leaves_out_what_ended(self, cast: Cast) -> None:
        here, there = sign_in(), sign_in(address="198.51.100.9")
        there.post("/accounts/logout/")

        assert "198.51.100.9" not in here.get("/accounts/sessions/").content.decode()

    def test_leaves_out_what_others_do(self, cast: Cast) -> None:
        sign_in("alice", address="198.51.100.9")

        assert "198.51.100.9" not in sign_in().get("/accounts/sessions/").content.decode()

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
