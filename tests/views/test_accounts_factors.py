"""Second factors: an authenticator app, recovery codes, and what is kept of them."""

from __future__ import annotations

import re
import time
from typing import Any

import pytest
from allauth.mfa.models import Authenticator
from allauth.mfa.totp.internal.auth import format_hotp_value, hotp_value
from django.test import Client
from pytest_django import Settings

from jobs.models import Act, User
from jobs.services import audit
from tests import builders
from tests.conftest import Cast
from tests.views.doorstep import LOGIN, entries, is_in

pytestmark = pytest.mark.usefixtures("fresh_counts")
SECRET = re.compile(r'id="totp-secret">([A-Z2-7]+)<')
BOB = {"login": "bob", "password": builders.PASSWORD}


def code_of(secret: str, *, steps: int = 0) -> str:
    """Compute what an app would show, as RFC 6238 says it."""
    return str(format_hotp_value(hotp_value(secret, int(time.time()) // 30 + steps)))


def sign_in() -> Client:
    client = Client()
    client.post(LOGIN, BOB)
    return client


def confirmed(client: Client, path: str, **fields: str) -> Any:
    """Send a form, showing once more who one is when that is asked."""
    client.post("/accounts/reauthenticate/", {"password": builders.PASSWORD})
    return client.post(path, fields, follow=True)


@pytest.fixture
def app(cast: Cast) -> tuple[Client, str]:
    """Bob's browser, and the secret of the app that he has set up."""
    client = sign_in()
    client.post("/accounts/reauthenticate/", {"password": builders.PASSWORD})
    page = client.get("/accounts/2fa/totp/activate/").content.decode()
    found = SECRET.search(page)
    assert found
    client.post("/accounts/2fa/totp/activate/", {"code": code_of(found[1], steps=-1)})
    return client, found[1]


def recovery_codes(client: Client) -> list[str]:
    text = client.get("/accounts/2fa/recovery-codes/download/").content.decode()
    return text.split()


class TestApp:
    def test_is_asked_for_after_the_password(self, app: tuple[Client, str]) -> None:
        client = Client()
        asked = client.post(LOGIN, {**BOB, "next": "/coastal/jobs/"})
        before = is_in(client)
        answer = client.post(asked["Location"], {"code": code_of(app[1])})

        assert asked["Location"].startswith("/accounts/2fa/authenticate/")
        assert not before
        assert answer["Location"] == "/coastal/jobs/"
        assert is_in(client)
        assert entries(Act.SIGNED_IN)[-1].after == {"ways": ["password", "mfa totp"]}

    def test_takes_a_code_once(self, app: tuple[Client, str]) -> None:
        code = code_of(app[1])
        for _ in range(2):
            client = Client()
            client.post(LOGIN, BOB)
            client.post("/accounts/2fa/authenticate/", {"code": code})

        assert not is_in(client)

    def test_is_limited(self, app: tuple[Client, str]) -> None:
        client = Client()
        client.post(LOGIN, BOB)
        for number in range(6):
            page = client.post("/accounts/2fa/authenticate/", {"code": f"{number:06}"}).content.decode()
        client.post("/accounts/2fa/authenticate/", {"code": code_of(app[1])})

        assert "Too many attempts failed" in page
        assert not is_in(client)
        assert len(entries(Act.SIGN_IN_FAILED)) == 5

    @pytest.mark.parametrize("code", ["", "abc", "1" * 500, "١٢٣٤٥٦", "\x00"])
    def test_refuses_what_is_no_code(self, app: tuple[Client, str], code: str) -> None:
        client = Client()
        client.post(LOGIN, BOB)

        assert client.post("/accounts/2fa/authenticate/", {"code": code}).status_code == 200
        assert not is_in(client)

    def test_counts_for_the_admin_too(self, app: tuple[Client, str], cast: Cast) -> None:
        User.objects.filter(pk=cast.bob.pk).update(is_staff=True, is_superuser=True)
        client = Client()

        client.post(LOGIN, {**BOB, "next": "/admin/"})

        assert client.get("/admin/").status_code == 302

    def test_has_a_picture_that_the_content_policy_lets_pass(self, cast: Cast) -> None:
        client = sign_in()
        client.post("/accounts/reauthenticate/", {"password": builders.PASSWORD})

        answer = client.get("/accounts/2fa/totp/activate/")

        assert 'src="data:image/svg+xml' in answer.content.decode()
        assert "img-src 'self' data:" in answer["Content-Security-Policy"]

    def test_is_kept_encrypted(self, app: tuple[Client, str]) -> None:
        kept = repr(list(Authenticator.objects.values()))

        assert app[1] not in kept
        assert not any(code in kept for code in recovery_codes(app[0]))
        assert all(
            str(next(iter(row.data.values()))).startswith("gAAAA")
            for row in Authenticator.objects.filter(type="totp")
        )

    def test_is_set_up_only_by_who_shows_once_more_who_they_are(self, cast: Cast) -> None:
        client = sign_in()

        assert client.get("/accounts/2fa/totp/activate/")["Location"].startswith("/accounts/reauthenticate/")

    def test_can_be_switched_off_and_the_record_says_so(self, app: tuple[Client, str]) -> None:
        confirmed(app[0], "/accounts/2fa/totp/deactivate/")

        assert not Authenticator.objects.exists()
        assert [entry.after for entry in entries(Act.FACTOR_ADDED)] == [
            {"kind": "totp"},
            {"kind": "recovery_codes"},
        ]
        assert [entry.before for entry in entries(Act.FACTOR_REMOVED)] == [
            {"kind": "totp"},
            {"kind": "recovery_codes"},
        ]
        assert is_in(sign_in())

    def test_is_not_switched_off_when_that_cannot_be_recorded(
        self, app: tuple[Client, str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def broken(**_: object) -> None:
            raise RuntimeError("the record is full")

        app[0].post("/accounts/reauthenticate/", {"password": builders.PASSWORD})
        monkeypatch.setattr(audit, "record", broken)
        app[0].raise_request_exception = False

        app[0].post("/accounts/2fa/totp/deactivate/")

        assert Authenticator.objects.filter(type="totp").exists()


class TestRecoveryCodes:
    def test_sign_in_once_each(self, app: tuple[Client, str]) -> None:
        code = recovery_codes(app[0])[0]
        found = []
        for _ in range(2):
            client = Client()
            client.post(LOGIN, BOB)
            client.post("/accounts/2fa/authenticate/", {"code": code})
            found.append(is_in(client))

        assert found == [True, False]
        assert entries(Act.SIGNED_IN)[-1].after == {"ways": ["password", "mfa recovery_codes"]}

    def test_are_shown_on_their_page(self, app: tuple[Client, str]) -> None:
        codes = recovery_codes(app[0])

        page = app[0].get("/accounts/2fa/recovery-codes/").content.decode()

        assert len(codes) == 10
        assert all(code in page for code in codes)

    def test_are_worthless_after_new_ones_were_made(self, app: tuple[Client, str]) -> None:
        old = recovery_codes(app[0])
        confirmed(app[0], "/accounts/2fa/recovery-codes/generate/")

        assert not set(old) & set(recovery_codes(app[0]))


class TestPages:
    @pytest.mark.parametrize(
        "path",
        [
            "/accounts/2fa/",
            "/accounts/2fa/totp/activate/",
            "/accounts/2fa/webauthn/",
            "/accounts/2fa/webauthn/add/",
            "/accounts/2fa/recovery-codes/",
            "/accounts/email/",
            "/accounts/password/change/",
            "/accounts/sessions/",
        ],
    )
    def test_ask_strangers_to_sign_in(self, db: None, client: Client, path: str) -> None:
        assert client.get(path)["Location"].startswith("/accounts/login/")

    @pytest.mark.parametrize(
        "path",
        [
            "/accounts/3rdparty/",
            "/accounts/social/signup/",
            "/accounts/login/code/",
            "/accounts/login/code/confirm/",
            "/accounts/signup/passkey/",
            "/accounts/2fa/trust/",
            "/accounts/phone/change/",
            "/accounts/oidc/organisation/login/",
        ],
    )
    def test_that_are_not_offered_are_not_there(self, bob: Client, path: str) -> None:
        assert bob.get(path).status_code == 404

    def test_of_passkeys_refuse_what_no_key_said(
        self, cast: Cast, client: Client, settings: Settings
    ) -> None:
        client.get("/accounts/2fa/webauthn/login/", headers={"Accept": "application/json"})
        for credential in (
            "",
            "{}",
            "[]",
            "null",
            '{"id": 7}',
            "{" * 1000,
            '{"response": {"userHandle": "MQ"}}',
        ):
            answer = client.post("/accounts/2fa/webauthn/login/", {"credential": credential})
            assert answer.status_code in (302, 429), credential

        assert not is_in(client)
        assert {entry.object_name for entry in entries(Act.SIGN_IN_FAILED)} == {"a passkey"}

    def test_of_new_keys_refuse_what_no_key_made(self, cast: Cast) -> None:
        client = sign_in()
        client.post("/accounts/reauthenticate/", {"password": builders.PASSWORD})
        for credential in (
            "",
            "{}",
            "[]",
            "null",
            '{"id": "x", "rawId": "eA", "type": "public-key", "response": {}}',
        ):
            client.get("/accounts/2fa/webauthn/add/")
            answer = client.post("/accounts/2fa/webauthn/add/", {"credential": credential, "name": "n" * 500})
            assert answer.status_code == 200, credential

        assert not Authenticator.objects.exists()

    def test_show_operators_no_secret(self, app: tuple[Client, str], cast: Cast) -> None:
        User.objects.filter(pk=cast.alice.pk).update(is_staff=True, is_superuser=True)
        operator = Client()
        operator.force_login(cast.alice)
        factor = Authenticator.objects.get(type="totp")

        page = operator.get(f"/admin/mfa/authenticator/{factor.pk}/change/").content.decode()

        assert str(factor.data["secret"]) not in page
        assert operator.get("/admin/mfa/authenticator/add/").status_code == 403
        assert operator.get("/admin/usersessions/usersession/").status_code == 404
