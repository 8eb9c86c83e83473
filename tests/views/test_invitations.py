"""The page behind an invitation's link: what it says to whom, and who gets in by it."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest
from django.core import mail
from django.test import Client
from django.utils import timezone

from jobs.models import Invitation, Letter, Membership, Team, User
from jobs.models.teams import Role
from jobs.services import invitations, posting
from tests import builders
from tests.builders import PASSWORD
from tests.conftest import Cast

DORA = "dora@example.org"
HOSTILE = "<img src=x onerror=alert(1)>"


@pytest.fixture
def invitation(cast: Cast) -> Invitation:
    """An open one, for Dora."""
    return builders.make_invitation(
        team=cast.team, invited_by=cast.alice, expires_at=timezone.now() + timedelta(days=7)
    )


@pytest.fixture
def dora(cast: Cast) -> Client:
    """The browser of the person who was invited."""
    user = builders.make_user("dora")
    builders.make_address(user=user, email=DORA)
    client = Client()
    client.force_login(user)
    return client


def page(invitation: Invitation) -> str:
    return f"/accounts/invitations/{invitations.token_of(invitation)}/"


class TestStranger:
    def test_sees_what_the_invitation_says_and_no_more(self, client: Client, invitation: Invitation) -> None:
        answer = client.get(page(invitation))

        assert answer.status_code == 200
        assert all(text in answer.text for text in ("Coastal Lab", "launcher", "Alice", DORA, "6 days"))
        assert not [text for text in ("/coastal/", "Bob", "Accept") if text in answer.text]

    def test_is_led_through_the_door_and_back(self, client: Client, invitation: Invitation) -> None:
        answer = client.get(page(invitation))

        assert f'href="/accounts/login/?next={page(invitation)}"' in answer.text

    @pytest.mark.parametrize(
        ("sign_up", "offered"), [("open", True), ("invitation", True), ("closed", False)]
    )
    def test_is_offered_an_account_where_one_can_be_made(
        self, client: Client, invitation: Invitation, settings: Any, sign_up: str, offered: bool
    ) -> None:
        settings.SIGN_UP = sign_up

        assert ("Create an account" in client.get(page(invitation)).text) == offered

    def test_brings_the_invitation_along_for_the_sign_up(
        self, client: Client, invitation: Invitation
    ) -> None:
        client.get(page(invitation))

        assert client.session["invitation"] == invitations.token_of(invitation)

    def test_cannot_accept_it(self, client: Client, invitation: Invitation) -> None:
        answer = client.post(page(invitation))

        assert answer.status_code == 400
        assert f"This invitation is for {DORA}." in answer.text
        assert Membership.objects.count() == 4

    def test_keeps_no_copy_of_the_page(self, client: Client, invitation: Invitation) -> None:
        assert "no-store" in client.get(page(invitation)).headers["Cache-Control"]

    @pytest.mark.parametrize(
        ("changes", "sentence"),
        [
            ({"accepted_at": builders.NOW}, "This invitation has been used."),
            ({"revoked_at": builders.NOW}, "This invitation was revoked."),
            ({"expires_at": builders.NOW}, "This invitation is over its time."),
        ],
    )
    def test_is_told_why_it_is_closed(
        self, client: Client, invitation: Invitation, changes: dict[str, object], sentence: str
    ) -> None:
        Invitation.objects.update(**changes)

        answer = client.get(page(invitation))

        assert (answer.status_code, sentence in answer.text) == (410, True)
        assert "invitation" not in client.session
        assert "Alice" not in answer.text

    @pytest.mark.parametrize("token", ["x", "1-2.3", "é", "1" * 5000, HOSTILE])
    @pytest.mark.parametrize("ask", ["get", "post"])
    def test_finds_nothing_behind_a_forged_token(
        self, client: Client, invitation: Invitation, token: str, ask: str
    ) -> None:
        answer = getattr(client, ask)(f"/accounts/invitations/{token}/")

        assert answer.status_code == 404
        assert HOSTILE not in answer.text
        assert "invitation" not in client.session


class TestInvited:
    def test_accepts_with_one_click(self, dora: Client, invitation: Invitation, cast: Cast) -> None:
        assert "Accept the invitation" in dora.get(page(invitation)).text

        answer = dora.post(page(invitation), follow=True)

        assert answer.redirect_chain == [("/coastal/", 302)]
        assert "Welcome to the team." in answer.text
        assert Membership.objects.get(user__username="dora").role == Role.LAUNCHER
        assert "invitation" not in dora.session

    def test_changes_nothing_by_looking(self, dora: Client, invitation: Invitation) -> None:
        dora.get(page(invitation))
        dora.head(page(invitation))

        assert Membership.objects.count() == 4

    def test_needs_a_form_of_this_site(self, dora: Client, invitation: Invitation) -> None:
        guarded = Client(enforce_csrf_checks=True)
        guarded.force_login(User.objects.get(username="dora"))

        assert guarded.post(page(invitation)).status_code == 403
        assert Membership.objects.count() == 4

    def test_cannot_use_it_twice_but_finds_the_way(self, dora: Client, invitation: Invitation) -> None:
        dora.post(page(invitation))

        answer = dora.post(page(invitation))

        assert (answer.status_code, "has been used" in answer.text) == (410, True)
        assert 'href="/coastal/"' in answer.text

    def test_sees_names_as_text(self, dora: Client, invitation: Invitation) -> None:
        Team.objects.update(name=HOSTILE)
        User.objects.filter(username="alice").update(first_name=HOSTILE)

        html = dora.get(page(invitation)).text

        assert HOSTILE not in html
        assert "&lt;img src=x" in html

    def test_is_told_to_verify_the_address_first(self, dora: Client, invitation: Invitation) -> None:
        builders.EmailAddress.objects.update(verified=False)

        assert "have not verified" in dora.get(page(invitation)).text
        assert dora.post(page(invitation)).status_code == 400
        assert Membership.objects.count() == 4


class TestSomebodyElse:
    def test_is_told_whose_it_is(self, charlie: Client, invitation: Invitation) -> None:
        html = charlie.get(page(invitation)).text

        assert f"This invitation is for {DORA}: sign in with that address" in html
        assert "Accept" not in html
        assert charlie.post(page(invitation)).status_code == 400
        assert Membership.objects.count() == 4

    def test_who_is_a_member_is_led_to_the_team(self, bob: Client, invitation: Invitation) -> None:
        html = bob.get(page(invitation)).text

        assert "You are a member of this team already." in html
        assert 'href="/coastal/"' in html


class TestTheWholeWay:
    def test_leads_from_the_e_mail_through_the_sign_up_into_the_team(
        self, alice: Client, client: Client, settings: Any
    ) -> None:
        settings.PORTAL_URL = "http://testserver"
        alice.post("/coastal/members/invite/", {"invite-email": DORA, "invite-role": "curator"})
        posting.send(letter_id=Letter.objects.get().pk, clock=timezone.now)
        (message,) = mail.outbox
        (link,) = re.findall(r"http://testserver(/accounts/invitations/\S+)", str(message.body))

        sign_up = re.findall(r'href="(/accounts/signup/[^"]*)"', client.get(link).text)
        entered = {"name": "Dora", "email": DORA, "password1": PASSWORD, "password2": PASSWORD}
        answer = client.post(sign_up[0], entered, follow=True)

        assert answer.redirect_chain[-1][0] == link
        assert "Accept the invitation" in answer.text
        assert "Welcome to the team." in client.post(link, follow=True).text
        assert Membership.objects.get(user__email=DORA).role == Role.CURATOR

    def test_makes_no_account_for_another_address(self, client: Client, invitation: Invitation) -> None:
        client.get(page(invitation))
        entered = {"name": "Eve", "email": "eve@example.org", "password1": PASSWORD, "password2": PASSWORD}

        client.post("/accounts/signup/", entered)

        assert not builders.EmailAddress.objects.filter(email="eve@example.org").exists()
        assert not User.objects.filter(email="eve@example.org").exists()

    def test_does_not_begin_with_a_revoked_invitation(self, client: Client, invitation: Invitation) -> None:
        client.get(page(invitation))
        Invitation.objects.update(revoked_at=builders.NOW)

        client.post(
            "/accounts/signup/",
            {"name": "Dora", "email": DORA, "password1": PASSWORD, "password2": PASSWORD},
        )

        assert not User.objects.filter(email=DORA).exists()
