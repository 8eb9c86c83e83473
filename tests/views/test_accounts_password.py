"""Passwords and e-mail addresses: forgotten, changed, and what ends with them."""

from __future__ import annotations

from typing import Any

import pytest
from allauth.account.models import EmailAddress
from django.test import Client

from jobs.models import Act, User
from jobs.services import audit
from tests import builders
from tests.conftest import Cast
from tests.views.doorstep import LOGIN, Post, entries, is_in, link

pytestmark = pytest.mark.usefixtures("fresh_counts")

RESET = "/accounts/password/reset/"
CHANGE = "/accounts/password/change/"
EMAIL = "/accounts/email/"
NEW = "three small harbours"


@pytest.fixture
def addressed(cast: Cast) -> Cast:
    """Bob has a verified address."""
    EmailAddress.objects.create(user=cast.bob, email="bob@harbour.example", verified=True, primary=True)
    return cast


def signed_in(password: str = builders.PASSWORD) -> Client:
    client = Client()
    client.post(LOGIN, {"login": "bob", "password": password})
    return client


class TestReset:
    def test_sends_a_link_that_sets_a_password_once(
        self, addressed: Cast, client: Client, post: Post, mailoutbox: list[Any]
    ) -> None:
        elsewhere = signed_in()
        post(RESET, {"email": "Bob@harbour.example"})
        form = client.get(link(mailoutbox[0]), follow=True)
        where = form.redirect_chain[-1][0]
        post(where, {"password1": NEW, "password2": NEW})
        again = Client().get(link(mailoutbox[0]), follow=True).content.decode()

        assert link(mailoutbox[0]) not in form.content.decode()
        assert User.objects.get(pk=addressed.bob.pk).check_password(NEW)
        assert not is_in(elsewhere)
        assert "not good any more" in again
        assert [entry.who for entry in entries(Act.PASSWORD_CHANGED)] == ["Bob"]

    def test_tells_nobody_who_has_an_account(
        self, addressed: Cast, post: Post, mailoutbox: list[Any]
    ) -> None:
        known = post(RESET, {"email": "bob@harbour.example"})
        unknown = post(RESET, {"email": "nobody@harbour.example"})

        assert (known.status_code, known["Location"]) == (unknown.status_code, unknown["Location"])
        assert "There is none" in mailoutbox[1].body

    def test_is_limited(self, addressed: Cast, post: Post, mailoutbox: list[Any]) -> None:
        for _ in range(4):
            answer = post(RESET, {"email": "bob@harbour.example"})

        assert answer.status_code == 429
        assert len(mailoutbox) == 3

    def test_leads_to_the_portal_by_the_name_it_was_asked_under(
        self, addressed: Cast, post: Post, mailoutbox: list[Any]
    ) -> None:
        refused = post(RESET, {"email": "bob@harbour.example"}, headers={"Host": "elsewhere.example"})

        assert refused.status_code == 400
        assert mailoutbox == []

    def test_refuses_a_weak_password(
        self, addressed: Cast, client: Client, post: Post, mailoutbox: list[Any]
    ) -> None:
        post(RESET, {"email": "bob@harbour.example"})
        where = client.get(link(mailoutbox[0]), follow=True).redirect_chain[-1][0]

        page = post(where, {"password1": "12345678", "password2": "12345678"}).content.decode()

        assert "entirely numeric" in page
        assert "12345678" not in page


class TestChange:
    def test_ends_the_other_sessions_and_keeps_this_one(self, cast: Cast) -> None:
        here, elsewhere = signed_in(), signed_in()

        here.post(CHANGE, {"oldpassword": builders.PASSWORD, "password1": NEW, "password2": NEW})

        assert is_in(here)
        assert not is_in(elsewhere)
        assert [entry.who for entry in entries(Act.PASSWORD_CHANGED)] == ["Bob"]

    def test_wants_the_old_one(self, cast: Cast) -> None:
        here = signed_in()

        page = here.post(
            CHANGE, {"oldpassword": "guessed", "password1": NEW, "password2": NEW}
        ).content.decode()

        assert "current password" in page
        assert User.objects.get(pk=cast.bob.pk).check_password(builders.PASSWORD)

    def test_does_not_happen_when_it_cannot_be_recorded(
        self, cast: Cast, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        here = signed_in()
        here.raise_request_exception = False

        def broken(**_: object) -> None:
            raise RuntimeError("the record is full")

        monkeypatch.setattr(audit, "record", broken)

        answer = here.post(CHANGE, {"oldpassword": builders.PASSWORD, "password1": NEW, "password2": NEW})

        assert answer.status_code == 500
        assert User.objects.get(pk=cast.bob.pk).check_password(builders.PASSWORD)


class TestEmail:
    def test_is_added_once_its_link_was_opened(
        self, addressed: Cast, mailoutbox: list[Any], post: Post, client: Client
    ) -> None:
        post(LOGIN, {"login": "bob", "password": builders.PASSWORD})

        asked = post(EMAIL, {"action_add": "", "email": "b@pier.example"})
        post(asked["Location"], {"password": builders.PASSWORD})
        before = EmailAddress.objects.get(email="b@pier.example").verified
        post(link(mailoutbox[0]))
        post(EMAIL, {"action_primary": "", "email": "b@pier.example"})
        post(EMAIL, {"action_remove": "", "email": "bob@harbour.example"})

        assert not before
        assert list(EmailAddress.objects.values_list("email", "verified", "primary")) == [
            ("b@pier.example", True, True)
        ]
        assert [entry.after["what"] for entry in entries(Act.EMAIL_CHANGED)] == [
            "added",
            "verified",
            "made the main one",
            "removed",
        ]

    def test_page_lists_them(self, addressed: Cast) -> None:
        page = signed_in().get(EMAIL).content.decode()

        assert "bob@harbour.example" in page
        assert "Verified" in page

    def test_of_somebody_else_is_left_alone(self, addressed: Cast) -> None:
        alice = Client()
        alice.post(LOGIN, {"login": "alice", "password": builders.PASSWORD})

        alice.post(EMAIL, {"action_remove": "", "email": "bob@harbour.example"})

        assert EmailAddress.objects.filter(email="bob@harbour.example").exists()

    def test_changes_only_for_who_shows_once_more_who_they_are(self, addressed: Cast) -> None:
        here = signed_in()

        asked = here.post(EMAIL, {"action_add": "", "email": "b@pier.example"})
        page = here.post(asked["Location"], {"password": "guessed"}).content.decode()

        assert asked["Location"].startswith("/accounts/reauthenticate/")
        assert "That is not your password." in page
        assert not EmailAddress.objects.filter(email="b@pier.example").exists()
        assert [entry.object_name for entry in entries(Act.SIGN_IN_FAILED)] == ["bob@harbour.example"]
