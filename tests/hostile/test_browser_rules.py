"""What keeps other people's pages away from the portal's: forgery, framing, being led elsewhere, and scripts."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import urlencode

import pytest
from django.core import mail
from django.core.cache import cache
from django.test import Client, override_settings
from django.urls import reverse

from tests import builders
from tests.hostile.everything import Household, make_household, places
from tests.views.peopled import undone

pytestmark = pytest.mark.django_db

HTMX = {"HX-Request": "true"}
LEADS_AWAY = [
    "https://evil.example/",
    "//evil.example/",
    "///evil.example/",
    "////evil.example/",
    "https:evil.example",
    "https:/evil.example",
    "http:///evil.example",
    "/\\evil.example/",
    "\\\\evil.example/",
    "\\/evil.example/",
    "/\t/evil.example/",
    "\t//evil.example/",
    "\x08//evil.example/",
    " //evil.example/",
    "javascript:alert(1)",
    "java\nscript:alert(1)",
    "data:text/html,<script>alert(1)</script>",
    "//evil.example\\@testserver/",
    "https://testserver@evil.example/",
    "https://testserver.evil.example/",
    "https://[evil.example/",
    "//\u24d4vil.example/",
    "https://evil\u3002example/",
    "\ufeff//evil.example/",
    "https://other.example/",
]


@pytest.fixture
def house(db: None) -> Household:
    return make_household(node=builders.make_node(allow_private=False))


def visitors(house: Household) -> dict[str, Client]:
    """Return the browsers of an owner who is an operator as well, and of somebody unknown."""
    house.owner.is_staff = house.owner.is_superuser = True
    house.owner.save(update_fields=["is_staff", "is_superuser"])
    return {"owner": house.browser(), "stranger": Client(raise_request_exception=False)}


def anew(browser: Client, **more: Any) -> Client:
    """Return a browser with the same session: one may sign its user out."""
    same = Client(raise_request_exception=False, **more)
    if "sessionid" in browser.cookies:
        same.cookies["sessionid"] = browser.cookies["sessionid"].value
    return same


def every_url(house: Household) -> dict[str, str]:
    """Return an address of every name, the operator's among them; and two that are none."""
    urls = {place.name: place.url(house) for place in places()}
    kinds = ("job", "wallet", "team", "user", "auditentry", "node", "network")
    urls |= {f"admin of {kind}": reverse(f"admin:jobs_{kind}_changelist") for kind in kinds}
    urls["admin, one"] = reverse("admin:jobs_node_change", args=[house.node.pk])
    urls["admin, new"] = reverse("admin:jobs_network_add")
    urls |= {"admin": reverse("admin:index"), "admin's door": reverse("admin:login")}
    return urls | {"nowhere": "/nobody/", "nowhere at all": "/a/b/c/d.php"}


class TestForgedForm:
    def test_is_refused_at_every_address_and_changes_nothing(self, house: Household) -> None:
        for who, mine in visitors(house).items():
            for name, url in every_url(house).items():
                with undone() as wrote:
                    answer = anew(mine, enforce_csrf_checks=True).post(
                        url, {"agreed": "yes", "name": "forged"}
                    )

                assert answer.status_code in (403, 404, 405), f"{name} by {who}: {answer.status_code}"
                assert wrote == [], f"{name} by {who}"

    def test_is_refused_though_a_view_might_answer_405(self, house: Household) -> None:
        """A POST that is taken without a token is taken from any page of the world."""
        mine, taken = house.browser(), set()

        for name, url in every_url(house).items():
            with undone():
                takes = anew(mine).post(url).status_code != 405
            with undone():
                refused = anew(mine, enforce_csrf_checks=True).post(url).status_code == 403
            if takes and not refused and name not in ("nowhere", "nowhere at all"):
                taken.add(name)

        assert taken == set()


class TestEveryAnswer:
    def test_may_stand_in_no_frame_and_runs_nothing_of_others(self, house: Household) -> None:
        wrong = {}

        for who, browser in visitors(house).items():
            for name, url in every_url(house).items():
                for way in ("get", "fragment", "post"):
                    with undone():
                        if way == "post":
                            answer: Any = anew(browser).post(url)
                        else:
                            answer = anew(browser).get(url, headers=HTMX if way == "fragment" else {})
                        answer.close()
                    policy = answer.headers.get("Content-Security-Policy", "")
                    safe = (
                        answer.headers.get("X-Frame-Options") == "DENY"
                        and ("frame-ancestors 'none'" in policy or "sandbox" in policy)
                        and "default-src 'none'" in policy
                        and "unsafe" not in policy
                        and answer.headers.get("X-Content-Type-Options") == "nosniff"
                    )
                    if not safe:
                        wrong[f"{name} by {who}, {way}"] = (answer.status_code, policy)

        assert wrong == {}

    def test_has_no_script_style_or_handler_in_it(self, house: Household) -> None:
        wrong = {}

        for who, browser in visitors(house).items():
            for name, url in every_url(house).items():
                answer = anew(browser).get(url)
                answer.close()
                if answer.headers.get("Content-Type", "").startswith("text/html") and not answer.streaming:
                    inline = re.findall(
                        r"<script(?![^>]*\bsrc=)(?![^>]*application/json)[^>]*>|<style\b|\sstyle=[\"']|\son[a-z]+=[\"']",
                        answer.text,
                    )
                    if inline:
                        wrong[f"{name} by {who}"] = inline

        assert wrong == {}

    @pytest.mark.parametrize("status", [400, 403, 404, 429, 500])
    def test_is_safe_when_it_is_an_error(
        self, house: Household, status: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        answer: Any = {
            400: lambda: Client().get("/", headers={"host": "evil.example"}),
            403: lambda: Client(enforce_csrf_checks=True).post("/accounts/login/"),
            404: lambda: house.browser().get("/nobody/"),
            429: lambda: _too_often(),
            500: lambda: _broken(house, monkeypatch),
        }[status]()

        assert answer.status_code == status
        assert answer.headers["X-Frame-Options"] == "DENY"
        assert "frame-ancestors 'none'" in answer.headers["Content-Security-Policy"]
        assert "unsafe" not in answer.headers["Content-Security-Policy"]
        assert answer.headers["X-Content-Type-Options"] == "nosniff"


def _too_often() -> Any:
    cache.clear()
    for _ in range(40):
        answer = Client().post("/accounts/login/", {"login": "nobody", "password": "x"})
    cache.clear()
    return answer


def _broken(house: Household, monkeypatch: pytest.MonkeyPatch) -> Any:
    def fail(**_: Any) -> None:
        raise RuntimeError("a defect of ours")

    monkeypatch.setattr("jobs.selectors.dashboard.overview", fail)
    return house.browser().get(f"/{house.team.slug}/")


def lands(answer: Any) -> str:
    """Return where an answer leads to."""
    return str(answer.headers.get("Location") or answer.headers.get("HX-Redirect") or "")


def is_ours(target: str) -> bool:
    """Say whether a browser that follows it stays here: it starts with one slash and holds nothing that a browser drops."""
    inner = re.sub(r"^https?://testserver(?=/)", "", target)
    return bool(re.match(r"/(?![/\\])[^\x00-\x20\\]*\Z", inner))


@pytest.mark.parametrize("evil", LEADS_AWAY, ids=ascii)
class TestNobodyIsLedAway:
    @pytest.fixture(autouse=True)
    def two_hosts(self, settings: Any) -> None:
        settings.ALLOWED_HOSTS = ["testserver", "other.example"]

    def test_by_next_at_the_door(self, house: Household, evil: str) -> None:
        cache.clear()

        entered = {"login": house.member.user.username, "password": builders.PASSWORD, "next": evil}
        answer = Client().post("/accounts/login/", entered)

        assert answer.status_code == 302
        assert is_ours(lands(answer)), lands(answer)

    def test_by_where_they_came_from(self, house: Household, evil: str) -> None:
        header = evil.encode("utf-8", "replace").decode("latin-1")
        owner = house.browser()
        stop = f"/{house.team.slug}/wallets/{house.wallet.pk}/enable/"

        referred = owner.post(stop, headers={"Referer": header})
        door = Client().get(f"/{house.team.slug}/jobs/", headers={**HTMX, "HX-Current-URL": header})
        reauthenticated = owner.post(stop, headers={**HTMX, "HX-Current-URL": header, "Referer": header})

        for answer in (referred, door, reauthenticated):
            target = lands(answer)
            assert not target or is_ours(target.partition("?")[0]), target
        assert "evil" not in lands(door)


@pytest.mark.parametrize("evil", ["//evil.example/", "https://other.example/"])
class TestNobodyIsLedAwayAnywhere:
    @pytest.fixture(autouse=True)
    def two_hosts(self, settings: Any) -> None:
        settings.ALLOWED_HOSTS = ["testserver", "other.example"]

    def test_by_next_at_any_address(self, house: Household, evil: str) -> None:
        led = {}

        for who, browser in {"owner": house.browser(), "stranger": Client()}.items():
            for place in places():
                url = place.url(house)
                with undone():
                    answers = [
                        anew(browser).get(url, {"next": evil}),
                        anew(browser).post(url, {"next": evil}),
                        anew(browser).post(f"{url}?{_query(evil)}", {"agreed": "yes"}),
                    ]
                for answer in answers:
                    answer.close()
                    target = lands(answer)
                    if target and not is_ours(target.partition("?")[0]):
                        led[f"{place.name} by {who}"] = target
                    assert answer.status_code < 500, place.name

        assert led == {}


def _query(evil: str) -> str:
    return urlencode({"next": evil})


class TestSignedIn:
    @override_settings(SESSION_COOKIE_SECURE=True, CSRF_COOKIE_SECURE=True, SECURE_SSL_REDIRECT=True)
    def test_cookies_are_for_this_site_alone(self, house: Household) -> None:
        cache.clear()
        browser = Client()
        browser.get("/accounts/login/", secure=True)

        browser.post(
            "/accounts/login/",
            {"login": house.member.user.username, "password": builders.PASSWORD},
            secure=True,
        )
        Client.post(browser, f"/shared/{house.share}/", secure=True)

        assert {"sessionid", "csrftoken"} <= set(browser.cookies)
        for name, cookie in browser.cookies.items():
            if cookie.value:
                assert cookie["secure"] and cookie["httponly"], name
                assert cookie["samesite"] in ("Lax", "Strict"), name

    def test_session_is_another_than_before(self, house: Household) -> None:
        cache.clear()
        browser = Client()
        browser.get(f"/accounts/invitations/{house.parts('invitation')['token']}/")
        planted = browser.cookies["sessionid"].value

        browser.post("/accounts/login/", {"login": house.member.user.username, "password": builders.PASSWORD})

        thief = Client()
        thief.cookies["sessionid"] = planted
        assert browser.cookies["sessionid"].value != planted
        assert thief.get("/accounts/sessions/").status_code == 302

    def test_session_that_is_made_up_is_not_taken(self, house: Household) -> None:
        cache.clear()
        browser = Client()
        browser.cookies["sessionid"] = "a" * 32

        browser.post("/accounts/login/", {"login": house.member.user.username, "password": builders.PASSWORD})

        assert browser.cookies["sessionid"].value != "a" * 32


class TestHostOfTheRequest:
    def test_that_is_not_ours_is_refused(self, house: Household) -> None:
        assert Client().get("/accounts/login/", headers={"host": "evil.example"}).status_code == 400

    @override_settings(ALLOWED_HOSTS=["*"], PORTAL_URL="https://portal.example.org", SIGN_UP="open")
    def test_is_in_no_letter(self, house: Household, django_capture_on_commit_callbacks: Any) -> None:
        cache.clear()
        evil = {"host": "evil.example", "X-Forwarded-Host": "evil.example"}
        known, new = f"owner@{house.team.slug}.example", "new@example.org"
        words = {"name": "Noor", **dict.fromkeys(("password1", "password2"), "a long way to go 77")}

        with django_capture_on_commit_callbacks(execute=True):
            Client().post("/accounts/password/reset/", {"email": known}, headers=evil)
            Client().post("/accounts/password/reset/", {"email": new}, headers=evil)
            Client().post("/accounts/signup/", {"email": known, **words}, headers=evil)
            Client().post("/accounts/signup/", {"email": new, **words}, headers=evil)

        said = [f"{letter.subject}\n{letter.body}" for letter in mail.outbox]
        assert len(said) == 4
        assert [text for text in said if "evil" in text] == []
        assert all("portal.example.org" in text for text in said)
        assert [text for text in said if "http://" in text] == []
