"""Signing in through the organisation (OpenID Connect), against a provider that really answers and signs."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

import pytest
from allauth.account.models import EmailAddress
from allauth.socialaccount.models import SocialAccount, SocialToken
from django.http import HttpResponse
from django.test import Client
from django.utils import timezone
from pytest_django import Settings

from jobs.models import Act, Invitation, User
from jobs.models.teams import Role
from jobs.services import invitations
from tests import builders
from tests.conftest import Cast
from tests.views.doorstep import LOGIN, entries, is_in
from tests.views.issuer import CLIENT_ID, CLIENT_SECRET, Issuer, running

pytestmark = pytest.mark.usefixtures("fresh_counts")
BEGIN = "/accounts/organisation/"
BOB = {"email": "bob@harbour.example", "email_verified": True}
DORA = {"sub": "77", "email": "dora@harbour.example", "email_verified": True, "name": "Dora Dock"}


@pytest.fixture
def issuer(settings: Settings) -> Iterator[Issuer]:
    with running() as found:
        settings.OIDC = True
        settings.OIDC_NAME = "Harbour Institute"
        settings.OIDC_ISSUER = found.url
        app = {
            "provider_id": "organisation",
            "name": "Harbour Institute",
            "client_id": CLIENT_ID,
            "secret": CLIENT_SECRET,
            "settings": {"server_url": found.url, "oauth_pkce_enabled": True},
        }
        settings.SOCIALACCOUNT_PROVIDERS = {"openid_connect": {"APPS": [app]}}
        yield found


@pytest.fixture
def addressed(cast: Cast) -> Cast:
    """Bob has a verified address."""
    EmailAddress.objects.create(user=cast.bob, email="bob@harbour.example", verified=True, primary=True)
    return cast


def onward(client: Client, **fields: str) -> str:
    """Press the button; return the address that the page leads to."""
    page = client.post(BEGIN, fields).content.decode()
    found = re.search(r'<a class="btn go" href="([^"]+)"', page)
    assert found, page
    return html.unescape(found[1])


def go_back(client: Client, address: str) -> HttpResponse:
    """Follow the address that the organisation sends people back to."""
    parts = urlsplit(address)
    return client.get(f"{parts.path}?{parts.query}")


def come(client: Client, issuer: Issuer, **person: Any) -> HttpResponse:
    return go_back(client, issuer.sign_in(onward(client), **person))


class TestButton:
    def test_stands_at_the_door(self, db: None, client: Client, issuer: Issuer) -> None:
        assert "Sign in with Harbour Institute" in client.get(LOGIN).content.decode()

    def test_is_not_there_without_an_organisation(self, db: None, client: Client) -> None:
        assert "Sign in with Harbour" not in client.get(LOGIN).content.decode()
        assert client.post(BEGIN).status_code == 404
        assert client.get("/accounts/organisation/callback/?code=x&state=y").status_code == 404

    def test_leads_on_by_a_page_that_the_content_policy_lets_pass(
        self, db: None, client: Client, issuer: Issuer
    ) -> None:
        answer = client.post(BEGIN)

        assert answer.status_code == 200
        assert "form-action 'self'" in answer["Content-Security-Policy"]

    def test_needs_a_post(self, db: None, client: Client, issuer: Issuer) -> None:
        assert client.get(BEGIN).status_code == 405


class TestExistingPerson:
    def test_is_met_by_the_address_that_both_sides_verified(
        self, addressed: Cast, client: Client, issuer: Issuer
    ) -> None:
        come(client, issuer, **BOB)

        assert client.get("/coastal/").status_code == 200
        assert [entry.after for entry in entries(Act.SIGN_IN_LINKED)] == [
            {"with": "Harbour Institute", "email": "bob@harbour.example"}
        ]
        assert entries(Act.SIGNED_IN)[-1].after == {"ways": ["socialaccount"]}

    def test_is_known_again_by_their_number_after_the_address_changed(
        self, addressed: Cast, client: Client, issuer: Issuer
    ) -> None:
        come(Client(), issuer, **BOB)

        come(client, issuer, email="new@harbour.example", email_verified=False)

        assert client.get("/coastal/").status_code == 200
        assert len(entries(Act.SIGN_IN_LINKED)) == 1

    def test_goes_where_they_wanted_to(self, addressed: Cast, client: Client, issuer: Issuer) -> None:
        here = go_back(client, issuer.sign_in(onward(client, next="/coastal/jobs/"), **BOB))
        elsewhere = Client()
        there = go_back(
            elsewhere, issuer.sign_in(onward(elsewhere, next="https://elsewhere.example/"), **BOB)
        )

        assert here["Location"] == "/coastal/jobs/"
        assert there["Location"] == "/"

    def test_still_shows_their_second_factor(self, addressed: Cast, client: Client, issuer: Issuer) -> None:
        from allauth.mfa.totp.internal.auth import TOTP, generate_totp_secret

        with_factor = Client()
        with_factor.post(LOGIN, {"login": "bob", "password": builders.PASSWORD})
        TOTP.activate(addressed.bob, generate_totp_secret())

        answer = come(client, issuer, **BOB)

        assert answer["Location"].startswith("/accounts/2fa/authenticate/")
        assert not is_in(client)

    @pytest.mark.parametrize("verified", [False, None, "false", "yes", 1.5])
    def test_is_not_met_by_an_address_that_the_organisation_did_not_verify(
        self, addressed: Cast, client: Client, issuer: Issuer, verified: object
    ) -> None:
        answer = come(client, issuer, email="bob@harbour.example", email_verified=verified)

        assert answer.status_code == 403
        assert "does not vouch" in answer.content.decode()
        assert not is_in(client)
        assert not SocialAccount.objects.exists()
        assert entries(Act.SIGN_IN_FAILED)[-1].object_name == "Harbour Institute: 42"

    def test_is_not_met_by_an_address_that_the_portal_did_not_verify(
        self, cast: Cast, client: Client, issuer: Issuer, settings: Settings
    ) -> None:
        """Else whoever signed up with a colleague's address would be joined by them in one account."""
        settings.SIGN_UP = "open"
        EmailAddress.objects.create(user=cast.bob, email="bob@harbour.example", verified=False, primary=True)

        come(client, issuer, **BOB)

        assert not is_in(client)
        assert not SocialAccount.objects.exists()

    def test_who_is_switched_off_stays_out(self, addressed: Cast, client: Client, issuer: Issuer) -> None:
        User.objects.filter(pk=addressed.bob.pk).update(is_active=False)

        come(client, issuer, **BOB)

        assert not is_in(client)

    def test_leaves_no_token_behind(self, addressed: Cast, client: Client, issuer: Issuer) -> None:
        come(client, issuer, **BOB, groups=["staff"])

        assert not SocialToken.objects.exists()
        assert SocialAccount.objects.get().extra_data == {
            "userinfo": {"sub": "42", "email": "bob@harbour.example"}
        }


class TestNewPerson:
    @pytest.mark.parametrize("sign_up", ["invitation", "closed"])
    def test_is_refused_unless_sign_up_is_open(
        self, db: None, client: Client, issuer: Issuer, settings: Settings, sign_up: str
    ) -> None:
        settings.SIGN_UP = sign_up

        answer = come(client, issuer, **DORA)

        assert "by invitation" in answer.content.decode()
        assert not User.objects.exists()

    def test_gets_an_account_where_it_is(
        self, db: None, client: Client, issuer: Issuer, settings: Settings
    ) -> None:
        settings.SIGN_UP = "open"

        come(client, issuer, **DORA)

        dora = User.objects.get()
        assert (dora.get_full_name(), dora.email) == ("Dora Dock", "dora@harbour.example")
        assert EmailAddress.objects.get().verified
        assert is_in(client)
        assert len(entries(Act.SIGNED_UP)) == 1

    @pytest.mark.parametrize(
        ("invited", "let_in"), [("dora@harbour.example", True), ("ed@harbour.example", False)]
    )
    def test_needs_an_invitation_to_their_own_address(
        self, cast: Cast, client: Client, issuer: Issuer, invited: str, let_in: bool
    ) -> None:
        now = timezone.now()
        invitation = Invitation.objects.create(
            team=cast.team,
            email=invited,
            role=Role.VIEWER,
            created_at=now,
            expires_at=now + timedelta(days=1),
        )
        client.get(f"/accounts/invitations/{invitations.token_of(invitation)}/")

        come(client, issuer, **DORA)

        assert is_in(client) is let_in
        assert User.objects.filter(email="dora@harbour.example").exists() is let_in


class TestLies:
    @pytest.mark.parametrize(
        "claims",
        [
            {"iss": "https://elsewhere.example"},
            {"aud": "another-client"},
            {"nonce": "another"},
            {"nonce": None},
            {"exp": 1_700_000_000},
            {"sub": "somebody else"},
            {"sub": ""},
        ],
    )
    def test_in_the_token_are_not_believed(
        self, addressed: Cast, client: Client, issuer: Issuer, claims: dict[str, Any]
    ) -> None:
        issuer.claims = claims

        answer = come(client, issuer, **BOB)

        assert "That did not work" in answer.content.decode()
        assert not is_in(client)
        assert entries(Act.SIGN_IN_FAILED)[-1].object_name == "Harbour Institute"

    def test_signed_by_another_key_are_not_believed(
        self, addressed: Cast, client: Client, issuer: Issuer
    ) -> None:
        issuer.signs_with = Issuer().key

        come(client, issuer, **BOB)

        assert not is_in(client)

    @pytest.mark.parametrize("algorithm", ["none", "HS256"])
    def test_that_are_signed_by_nobody_are_not_believed(
        self, addressed: Cast, client: Client, issuer: Issuer, algorithm: str
    ) -> None:
        issuer.algorithm = algorithm
        issuer.signs_with = "" if algorithm == "none" else CLIENT_SECRET * 4
        if algorithm == "none":
            issuer.signs_with = None
            issuer.key = None  # type: ignore[assignment]
            issuer.keys = Issuer().keys  # type: ignore[method-assign]

        come(client, issuer, **BOB)

        assert not is_in(client)

    def test_about_its_own_name_are_noticed(self, addressed: Cast, client: Client, issuer: Issuer) -> None:
        issuer.config = {"issuer": "https://elsewhere.example"}

        answer = client.post(BEGIN)

        assert "That did not work" in answer.content.decode()

    def test_with_the_code_of_another_browser_lead_nowhere(
        self, addressed: Cast, client: Client, issuer: Issuer
    ) -> None:
        """Else somebody could be signed in as the attacker without noticing."""
        attacker = Client()
        back = issuer.sign_in(onward(attacker), **BOB)

        go_back(client, back)

        assert not is_in(client)

    def test_of_who_is_away_are_told(
        self, addressed: Cast, client: Client, issuer: Issuer, settings: Settings
    ) -> None:
        provider = settings.SOCIALACCOUNT_PROVIDERS["openid_connect"]["APPS"][0]
        provider["settings"]["server_url"] = "http://127.0.0.1:1"

        assert "That did not work" in client.post(BEGIN).content.decode()

    def test_once_more_with_the_same_code_lead_nowhere(
        self, addressed: Cast, client: Client, issuer: Issuer
    ) -> None:
        back = issuer.sign_in(onward(client), **BOB)
        go_back(client, back)
        client.post("/accounts/logout/")

        go_back(client, back)

        assert not is_in(client)

    def test_leaving_it_there_is_no_error(self, addressed: Cast, client: Client, issuer: Issuer) -> None:
        back = issuer.sign_in(onward(client), **BOB)
        state = re.search(r"state=([^&]+)", back)
        assert state

        answer = client.get(
            f"/accounts/organisation/callback/?error=access_denied&state={state[1]}", follow=True
        )

        assert "You did not sign in" in answer.content.decode()
