"""Passkeys, security keys, app and codes in a real Chromium, with an authenticator that it makes itself."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests
from allauth.mfa.totp.internal.auth import format_hotp_value, hotp_value
from playwright.sync_api import Browser, Page, expect

from tests.browser.conftest import ROOT

pytestmark = [pytest.mark.xdist_group("browser"), pytest.mark.timeout(180)]
PASSWORD = "three small harbours"
READY_DEADLINE_S = 60
PEOPLE = ("ada", "ben", "cleo")  # one for each test that changes what they sign in with


@dataclass(frozen=True)
class Door:
    """A web server alone, with some people. url: by a name, because keys hang on names and not on numbers."""

    url: str
    var: Path


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    var = tmp_path_factory.mktemp("door")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("PORTAL_")}
    environment = {
        **inherited,
        "PORTAL_ENV_FILE": "",
        "PORTAL_DEMO": "true",
        "PORTAL_SECRET_KEY": "only-for-tests-only-for-tests-only-for-tests-only-for-tests",
        "PORTAL_WALLET_KEYS": "1M0nOGny68gpUD6vfdxtW36bzH82gSW9RxPN4rzA0tE=",
        "PORTAL_VAR": str(var),
        "PORTAL_OWNER_PASSWORD": PASSWORD,
    }
    owners = [("create_team", "--slug=lab", "--name=Lab", f"--owner={name}") for name in PEOPLE]
    for command in (("migrate", "-v", "0"), *owners):
        subprocess.run([sys.executable, "manage.py", *command], cwd=ROOT, env=environment, check=True)
    with (var / "web.log").open("wb") as log:
        server = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "gunicorn",
                "ocean_portal.wsgi",
                "--workers=2",
                f"--bind=127.0.0.1:{port}",
            ],
            cwd=ROOT,
            env=environment,
            stdout=log,
            stderr=log,
        )
    try:
        end = time.monotonic() + READY_DEADLINE_S
        while not _answers(f"http://127.0.0.1:{port}/health/"):
            assert time.monotonic() < end, (var / "web.log").read_text()
            time.sleep(0.1)
        yield Door(url=f"http://localhost:{port}", var=var)
    finally:
        server.terminate()
        server.wait(timeout=30)


@pytest.fixture
def open_page(browser: Browser, door: Door, complaints: list[str]) -> Iterator[Callable[[], Page]]:
    """Open a browser of its own with an authenticator that says yes to everything."""
    contexts = []

    def open_one() -> Page:
        context = browser.new_context(base_url=door.url, viewport={"width": 1280, "height": 800})
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(30_000)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", lambda m: complaints.append(m.text) if m.type in ("error", "warning") else None)
        devices = context.new_cdp_session(page)
        devices.send("WebAuthn.enable")
        devices.send(
            "WebAuthn.addVirtualAuthenticator",
            {
                "options": {
                    "protocol": "ctap2",
                    "transport": "internal",
                    "hasResidentKey": True,
                    "hasUserVerification": True,
                    "isUserVerified": True,
                    "automaticPresenceSimulation": True,
                }
            },
        )
        return page

    yield open_one
    for context in contexts:
        context.close()


def sign_in(page: Page, name: str) -> None:
    page.goto("/accounts/login/")
    page.get_by_label("E-mail address or user name").fill(name)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in", exact=True).click()


def sign_out(page: Page) -> None:
    page.goto("/accounts/sessions/")
    page.get_by_role("button", name="Sign out", exact=True).click()
    page.wait_for_url("**/accounts/login/")


def show_who_one_is(page: Page) -> None:
    page.get_by_label("Your password").fill(PASSWORD)
    page.get_by_role("button", name="Go on").click()


class TestPasskey:
    def test_is_added_signs_in_alone_and_is_removed(
        self, open_page: Callable[[], Page], complaints: list[str]
    ) -> None:
        page = open_page()
        sign_in(page, "ada")
        page.goto("/accounts/2fa/webauthn/add/")
        show_who_one_is(page)
        page.get_by_label("Name").fill("This laptop")
        page.get_by_role("button", name="Add it").click()
        expect(page.get_by_text("The key is added.")).to_be_visible()
        page.goto("/accounts/2fa/webauthn/")
        expect(page.get_by_role("row", name=re.compile("This laptop"))).to_contain_text("signs in alone")

        sign_out(page)
        page.get_by_role("button", name="Sign in with a passkey").click()
        page.wait_for_url("**/lab/")

        page.goto("/accounts/2fa/webauthn/")
        page.get_by_role("link", name="Remove This laptop").click()
        show_who_one_is(page)
        page.get_by_role("button", name="Remove it").click()
        expect(page.get_by_text("You have none yet.")).to_be_visible()
        assert complaints == []

    def test_that_is_not_there_is_told_in_words(self, open_page: Callable[[], Page]) -> None:
        page = open_page()
        page.goto("/accounts/login/")

        page.get_by_role("button", name="Sign in with a passkey").click()

        expect(page.get_by_role("alert")).to_contain_text("No key was used")


class TestSecondFactor:
    def test_is_a_security_key_after_the_password(
        self, open_page: Callable[[], Page], complaints: list[str]
    ) -> None:
        page = open_page()
        sign_in(page, "ben")
        page.goto("/accounts/2fa/webauthn/add/")
        show_who_one_is(page)
        page.get_by_label(re.compile("A passkey")).uncheck()
        page.get_by_role("button", name="Add it").click()
        expect(page.get_by_text("The key is added.")).to_be_visible()

        sign_out(page)
        sign_in(page, "ben")
        page.wait_for_url("**/2fa/authenticate/**")
        page.get_by_role("button", name="Use a security key").click()
        page.wait_for_url("**/lab/")

        page.goto("/accounts/2fa/webauthn/")
        page.get_by_role("link", name="Remove My key").click()
        page.get_by_role("link", name="Use a security key").click()
        page.get_by_role("button", name="Use your security key").click()
        page.get_by_role("button", name="Remove it").click()
        expect(page.get_by_text("You have none yet.")).to_be_visible()
        assert complaints == []

    def test_is_an_app_whose_picture_is_shown_and_a_recovery_code(
        self, open_page: Callable[[], Page], complaints: list[str]
    ) -> None:
        page = open_page()
        sign_in(page, "cleo")
        page.goto("/accounts/2fa/totp/activate/")
        show_who_one_is(page)
        picture = page.get_by_alt_text("A picture with the secret that stands below")
        assert picture.evaluate("image => image.complete && image.naturalWidth > 0")
        secret = page.locator("#totp-secret").inner_text()
        page.get_by_label("Code").fill(code_of(secret, steps=-1))
        page.get_by_role("button", name="Switch it on").click()
        page.wait_for_url("**/2fa/recovery-codes/")
        recovery = page.locator(".codes li").first.inner_text()

        for code in (recovery, code_of(secret)):
            sign_out(page)
            sign_in(page, "cleo")
            page.get_by_label("Code").fill(code)
            page.get_by_role("button", name="Sign in", exact=True).click()
            page.wait_for_url("**/lab/")

        assert complaints == []


def code_of(secret: str, *, steps: int = 0) -> str:
    """Compute what an app would show, as RFC 6238 says it."""
    return str(format_hotp_value(hotp_value(secret, int(time.time()) // 30 + steps)))


def _answers(url: str) -> bool:
    try:
        return requests.get(url, timeout=5).ok
    except requests.RequestException:
        return False
