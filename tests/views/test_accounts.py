"""The door."""

from __future__ import annotations

import pytest
from django.test import Client

from tests import builders
from tests.conftest import Cast


class TestLogin:
    def test_leads_into_the_team(self, cast: Cast, client: Client) -> None:
        answer = client.post(
            "/accounts/login/", {"login": "bob", "password": builders.PASSWORD}, follow=True
        )

        assert answer.redirect_chain == [("/", 302), ("/coastal/", 302)]

    def test_goes_back_to_the_page_that_was_asked_for(self, cast: Cast, client: Client) -> None:
        asked = client.get("/coastal/jobs/?q=iris")
        answer = client.post(asked["Location"], {"login": "bob", "password": builders.PASSWORD})

        assert asked["Location"] == "/accounts/login/?next=/coastal/jobs/%3Fq%3Diris"
        assert answer["Location"] == "/coastal/jobs/?q=iris"

    def test_does_not_lead_to_another_site(self, cast: Cast, client: Client) -> None:
        answer = client.post(
            "/accounts/login/?next=https://elsewhere.example/",
            {"login": "bob", "password": builders.PASSWORD},
        )

        assert answer["Location"] == "/"

    def test_says_so_beside_the_form_when_it_fails(self, cast: Cast, client: Client) -> None:
        answer = client.post("/accounts/login/", {"login": "bob", "password": "wrong"})

        page = answer.content.decode()
        assert "do not fit together" in page
        assert 'value="bob"' in page
        assert "wrong" not in page


class TestLogout:
    def test_needs_a_post(self, bob: Client) -> None:
        assert bob.get("/accounts/logout/").status_code == 405

    def test_ends_the_session(self, bob: Client) -> None:
        bob.post("/accounts/logout/")

        assert bob.get("/coastal/")["Location"].startswith("/accounts/login/")


class TestHome:
    def test_says_what_to_do_to_whoever_is_in_no_team(self, db: None, client: Client) -> None:
        client.force_login(builders.make_user("dora"))

        page = client.get("/").content.decode()

        assert "You are in no team yet" in page
        assert "dora" in page

    def test_asks_strangers_to_sign_in(self, db: None, client: Client) -> None:
        assert client.get("/")["Location"] == "/accounts/login/?next=/"


class TestHealth:
    @pytest.mark.parametrize("method", ["get", "head"])
    def test_answers_without_signing_in_and_without_a_database(self, client: Client, method: str) -> None:
        answer = getattr(client, method)("/health/")

        assert answer.status_code == 200
        assert answer.content == (b"ok\n" if method == "get" else b"")
