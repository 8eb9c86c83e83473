"""Signing up: openly, by invitation, or not at all."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from allauth.account.models import EmailAddress
from django.test import Client
from django.utils import timezone
from pytest_django import Settings

from jobs.models import Act, Invitation, Membership, User
from jobs.models.teams import Role
from jobs.services import audit, invitations
from tests.conftest import Cast
from tests.views.doorstep import LOGIN, Post, entries, is_in, link

pytestmark = pytest.mark.usefixtures("fresh_counts")

SIGN_UP = "/accounts/signup/"
PASSWORD = "three small harbours"
DORA = {"name": "Dora Dock", "email": "dora@harbour.example", "password1": PASSWORD, "password2": PASSWORD}


def invite(cast: Cast, email: str = "dora@harbour.example", **values: Any) -> Invitation:
    now = timezone.now()
    defaults = {"created_at": now, "expires_at": now + timedelta(days=7), "invited_by": cast.alice}
    return Invitation.objects.create(team=cast.team, email=email, role=Role.LAUNCHER, **(defaults | values))


def address(invitation: Invitation) -> str:
    return f"/accounts/invitations/{invitations.token_of(invitation)}/"


class TestOpen:
    @pytest.fixture(autouse=True)
    def is_open(self, settings: Settings) -> None:
        settings.SIGN_UP = "open"

    def test_is_offered_at_the_door(self, client: Client) -> None:
        assert "Make an account" in client.get(LOGIN).content.decode()

    def test_makes_an_account_once_the_address_is_verified(
        self, client: Client, post: Post, mailoutbox: list[Any]
    ) -> None:
        answer = post(SIGN_UP, DORA)
        early = post(LOGIN, {"login": "dora@harbour.example", "password": PASSWORD})
        confirm = link(mailoutbox[0])
        page = client.get(confirm).content.decode()
        post(confirm)
        post(LOGIN, {"login": "dora@harbour.example", "password": PASSWORD})

        dora = User.objects.get()
        assert answer["Location"] == early["Location"] == "/accounts/confirm-email/"
        assert "Dora Dock" in page
        assert (dora.get_full_name(), dora.email) == ("Dora Dock", "dora@harbour.example")
        assert is_in(client)
        assert [entry.after for entry in entries(Act.SIGNED_UP)] == [{"email": "dora@harbour.example"}]
        assert [entry.after for entry in entries(Act.EMAIL_CHANGED)] == [
            {"email": "dora@harbour.example", "what": "verified"}
        ]

    def test_verifies_by_a_click_and_not_by_a_look(
        self, client: Client, post: Post, mailoutbox: list[Any]
    ) -> None:
        post(SIGN_UP, DORA)

        client.get(link(mailoutbox[0]))

        assert not EmailAddress.objects.get().verified

    def test_makes_nothing_that_cannot_be_recorded(
        self, client: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def broken(**_: object) -> None:
            raise RuntimeError("the record is full")

        monkeypatch.setattr(audit, "record", broken)
        client.raise_request_exception = False

        assert client.post(SIGN_UP, DORA).status_code == 500
        assert not User.objects.exists()

    def test_tells_nobody_who_has_an_account(self, cast: Cast, post: Post, mailoutbox: list[Any]) -> None:
        EmailAddress.objects.create(user=cast.bob, email="bob@harbour.example", verified=True, primary=True)

        new = post(SIGN_UP, DORA)
        known = post(SIGN_UP, {**DORA, "email": "Bob@harbour.example"})

        assert (new.status_code, new["Location"]) == (known.status_code, known["Location"])
        assert "There is one already" in mailoutbox[1].body
        assert User.objects.filter(email="bob@harbour.example").count() == 0

    @pytest.mark.parametrize(
        ("changed", "complaint"),
        [
            ({"name": ""}, "Say what your colleagues call you."),
            ({"name": "N" * 200}, "at most 150 characters"),
            ({"email": ""}, "Enter your e-mail address."),
            ({"email": "no address"}, "valid email address"),
            ({"email": "e" * 60 + "@" + "harbour." * 25 + "example"}, "at most 254 characters"),
            ({"password1": "short", "password2": "short"}, "too short"),
            ({"password1": "password1234", "password2": "password1234"}, "too common"),
            ({"password2": "something else"}, "same password"),
            ({"name": "x\x00y"}, "Null characters"),
        ],
    )
    def test_says_what_is_wrong(
        self, client: Client, post: Post, changed: dict[str, str], complaint: str
    ) -> None:
        page = post(SIGN_UP, {**DORA, **changed}).content.decode()

        assert complaint in page
        assert PASSWORD not in page
        assert not User.objects.exists()

    def test_shows_a_hostile_name_as_text(self, client: Client, post: Post, mailoutbox: list[Any]) -> None:
        post(SIGN_UP, {**DORA, "name": "<script>alert(1)</script>"})

        page = client.get(link(mailoutbox[0])).content.decode()

        assert "<script>alert" not in page
        assert "&lt;script&gt;alert(1)" in page

    @pytest.mark.django_db(transaction=True)  # the letter leaves when the account is really kept
    def test_says_so_when_the_mail_server_is_away(self, client: Client, settings: Settings) -> None:
        settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
        settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", 1

        answer = client.post(SIGN_UP, DORA)
        page = client.get(answer["Location"]).content.decode()

        assert "could not be sent" in page
        assert User.objects.exists()


class TestByInvitation:
    def test_is_what_holds_unless_said(self, settings: Settings) -> None:
        assert settings.SIGN_UP == "invitation"

    def test_is_closed_without_one(self, client: Client, post: Post) -> None:
        page = client.get(SIGN_UP).content.decode()
        post(SIGN_UP, DORA)

        assert "by invitation" in page
        assert not User.objects.exists()

    def test_lets_the_invited_in_with_the_address_that_was_invited(
        self, cast: Cast, client: Client, post: Post
    ) -> None:
        invitation = invite(cast)
        client.get(address(invitation))
        form = client.get(SIGN_UP).content.decode()

        answer = post(SIGN_UP, {**DORA, "email": "mallory@elsewhere.example"})
        post(address(invitation))

        dora = User.objects.get(first_name="Dora")
        assert 'value="dora@harbour.example"' in form
        assert dora.email == "dora@harbour.example"
        assert EmailAddress.objects.get(user=dora).verified
        assert answer["Location"] == address(invitation)
        assert Membership.objects.get(user=dora).role == Role.LAUNCHER

    def test_brings_who_has_an_account_back_to_it(self, cast: Cast, client: Client, post: Post) -> None:
        invitation = invite(cast)
        client.get(address(invitation))

        answer = post(LOGIN, {"login": "charlie", "password": "correct horse battery staple"})

        assert answer["Location"] == address(invitation)

    @pytest.mark.parametrize("how", ["revoked_at", "accepted_at", "expires_at"])
    def test_closes_with_the_invitation(self, cast: Cast, client: Client, post: Post, how: str) -> None:
        invitation = invite(cast)
        client.get(address(invitation))
        Invitation.objects.update(**{how: timezone.now() - timedelta(seconds=1)})

        page = post(SIGN_UP, DORA).content.decode()

        assert "by invitation" in page
        assert not User.objects.filter(first_name="Dora").exists()

    @pytest.mark.parametrize("planted", ["1-" + "0" * 32 + ".forged", "", 7, None, ["x"]])
    def test_believes_no_forged_one(self, cast: Cast, client: Client, post: Post, planted: object) -> None:
        session = client.session
        session["invitation"] = planted
        session.save()

        assert "by invitation" in post(SIGN_UP, DORA).content.decode()


class TestClosed:
    def test_is_closed_even_to_the_invited(
        self, cast: Cast, client: Client, post: Post, settings: Settings
    ) -> None:
        settings.SIGN_UP = "closed"
        client.get(address(invite(cast)))

        post(SIGN_UP, DORA)

        assert not User.objects.filter(first_name="Dora").exists()
