"""The door: signing in and out, and where it leads."""

from __future__ import annotations

import pytest
from allauth.account.models import EmailAddress
from django.test import Client
from pytest_django import DjangoCaptureOnCommitCallbacks, Settings

from jobs.models import Act, User
from jobs.services import audit
from tests import builders
from tests.conftest import Cast
from tests.views.doorstep import LOGIN, entries

BOB = {"login": "bob", "password": builders.PASSWORD}


pytestmark = pytest.mark.usefixtures("fresh_counts")


def is_in(client: Client) -> bool:
    return client.get("/coastal/").status_code == 200


class TestLogin:
    def test_leads_into_the_team(self, cast: Cast, client: Client) -> None:
        answer = client.post(LOGIN, BOB, follow=True)

        assert answer.redirect_chain == [("/", 302), ("/coastal/", 302)]

    @pytest.mark.parametrize("typed", ["bob@harbour.example", "Bob@Harbour.Example", " bob@harbour.example "])
    def test_takes_the_address_in_the_same_field(self, cast: Cast, client: Client, typed: str) -> None:
        EmailAddress.objects.create(user=cast.bob, email="bob@harbour.example", verified=True, primary=True)

        client.post(LOGIN, {"login": typed, "password": builders.PASSWORD})

        assert is_in(client)

    def test_takes_the_name_of_people_without_an_address(self, cast: Cast, client: Client) -> None:
        client.post(LOGIN, BOB)

        assert is_in(client)
        assert not EmailAddress.objects.exists()

    def test_counts_an_address_that_an_operator_wrote_as_verified(self, cast: Cast, client: Client) -> None:
        User.objects.filter(pk=cast.bob.pk).update(email="Bob@Harbour.Example")

        client.post(LOGIN, BOB)

        assert is_in(client)
        assert EmailAddress.objects.get().verified
        assert EmailAddress.objects.get().email == "bob@harbour.example"

    def test_waits_for_an_address_that_was_entered_at_sign_up(
        self,
        cast: Cast,
        client: Client,
        mailoutbox: list[object],
        django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
    ) -> None:
        EmailAddress.objects.create(user=cast.bob, email="bob@harbour.example", primary=True)

        with django_capture_on_commit_callbacks(execute=True):
            answer = client.post(LOGIN, BOB)

        assert answer["Location"] == "/accounts/confirm-email/"
        assert not is_in(client)
        assert len(mailoutbox) == 1

    def test_goes_back_to_the_page_that_was_asked_for(self, cast: Cast, client: Client) -> None:
        asked = client.get("/coastal/jobs/?q=iris")
        answer = client.post(asked["Location"], BOB)

        assert asked["Location"] == "/accounts/login/?next=/coastal/jobs/%3Fq%3Diris"
        assert answer["Location"] == "/coastal/jobs/?q=iris"

    @pytest.mark.parametrize(
        "elsewhere",
        [
            "https://elsewhere.example/",
            "//elsewhere.example/",
            "///elsewhere.example",
            r"\\elsewhere.example",
            r"/\elsewhere.example",
            "javascript:alert(1)",
            "data:text/html,x",
            "http:///elsewhere.example",
            "https://other-name-of-the-portal.example/",
            "\x08https://elsewhere.example/",
        ],
    )
    @pytest.mark.parametrize("where", ["address", "form"])
    def test_leads_nowhere_else(
        self, cast: Cast, client: Client, settings: Settings, elsewhere: str, where: str
    ) -> None:
        settings.ALLOWED_HOSTS = ["testserver", "other-name-of-the-portal.example"]
        settings.CSRF_TRUSTED_ORIGINS = ["https://other-name-of-the-portal.example"]
        if where == "form":
            answer = client.post(LOGIN, {**BOB, "next": elsewhere})
        else:
            answer = client.post(LOGIN, BOB, query_params={"next": elsewhere})

        assert answer.status_code == 302
        assert answer["Location"] == "/"

    def test_does_not_carry_another_site_through_its_form(self, cast: Cast, client: Client) -> None:
        page = client.get(LOGIN, {"next": "https://elsewhere.example/"}).content.decode()

        assert "elsewhere.example" not in page

    def test_says_so_beside_the_form_when_it_fails(self, cast: Cast, client: Client) -> None:
        answer = client.post(LOGIN, {"login": "bob", "password": "wrong"})

        page = answer.content.decode()
        assert "do not fit together" in page
        assert 'value="bob"' in page
        assert "wrong" not in page

    @pytest.mark.parametrize(
        "entered",
        [
            {},
            {"login": ""},
            {"login": "bob"},
            {"login": "b" * 5000, "password": "p" * 5000},
            {"login": "b\x00b"},
        ],
    )
    def test_refuses_what_cannot_be_a_sign_in(
        self, cast: Cast, client: Client, entered: dict[str, str]
    ) -> None:
        assert client.post(LOGIN, {"password": "x", **entered}).status_code == 200
        assert not is_in(client)

    def test_says_that_an_account_is_switched_off(self, cast: Cast, client: Client) -> None:
        User.objects.filter(pk=cast.bob.pk).update(is_active=False)

        answer = client.post(LOGIN, BOB, follow=True)

        assert "switched off" in answer.content.decode()
        assert not is_in(client)

    def test_begins_a_session_under_a_new_key(self, cast: Cast, client: Client) -> None:
        client.post("/accounts/password/reset/", {"email": "nobody@harbour.example"})
        client.get("/accounts/login/")
        session = client.session
        session["planted"] = "yes"
        session.save()
        planted = client.cookies["sessionid"].value

        client.post(LOGIN, BOB)

        assert client.cookies["sessionid"].value != planted
        stranger = Client()
        stranger.cookies["sessionid"] = planted
        assert not is_in(stranger)

    def test_protects_its_cookies(self, cast: Cast, client: Client, settings: Settings) -> None:
        settings.SESSION_COOKIE_SECURE = settings.CSRF_COOKIE_SECURE = True
        client.get(LOGIN)
        client.post(LOGIN, BOB)

        for name in ("sessionid", "csrftoken"):
            cookie = client.cookies[name]
            assert (cookie["secure"], cookie["httponly"], cookie["samesite"]) == (True, True, "Lax"), name

    def test_wants_the_token_of_its_form(self, cast: Cast) -> None:
        strict = Client(enforce_csrf_checks=True)

        assert strict.post(LOGIN, BOB).status_code == 403

    def test_is_recorded_with_the_way_and_the_address(self, cast: Cast, client: Client) -> None:
        client.post(LOGIN, BOB, REMOTE_ADDR="192.0.2.7")

        (entry,) = entries(Act.SIGNED_IN)
        assert (entry.who, entry.user_number, entry.origin) == ("Bob", cast.bob.pk, "192.0.2.7")
        assert entry.after == {"ways": ["password"]}

    def test_does_not_happen_when_it_cannot_be_recorded(
        self, cast: Cast, client: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def broken(**_: object) -> None:
            raise RuntimeError("the record is full")

        monkeypatch.setattr(audit, "record", broken)
        client.raise_request_exception = False

        answer = client.post(LOGIN, BOB)

        assert answer.status_code == 500
        assert not is_in(client)
        assert User.objects.get(pk=cast.bob.pk).last_login is None

    def test_is_recorded_when_it_fails_without_the_password(self, cast: Cast, client: Client) -> None:
        client.post(LOGIN, {"login": "bob", "password": "my-secret-of-elsewhere"})
        client.post(LOGIN, {"login": "n" * 150 + "@x.example", "password": "my-secret-of-elsewhere"})

        known, unknown = entries(Act.SIGN_IN_FAILED)
        assert (known.object_name, known.object_id, known.user_number) == ("bob", str(cast.bob.pk), None)
        assert (unknown.object_name, unknown.object_id) == ("n" * 100, "")
        assert "my-secret" not in repr([vars(entry) for entry in (known, unknown)])


class TestLimits:
    def try_often(self, client: Client, *names: str, **extra: str) -> str:
        for name in names:
            answer = client.post(LOGIN, {"login": name, "password": "wrong"}, **extra)
        return answer.content.decode()

    def test_stop_guesses_at_one_account_from_anywhere(self, cast: Cast, client: Client) -> None:
        for number in range(5):
            self.try_often(client, "bob", REMOTE_ADDR=f"192.0.2.{number}")

        page = client.post(LOGIN, BOB, REMOTE_ADDR="192.0.2.99").content.decode()

        assert "Too many attempts failed" in page
        assert not is_in(client)
        assert len(entries(Act.SIGN_IN_FAILED)) == 5

    def test_count_all_names_of_an_account_together(self, cast: Cast, client: Client) -> None:
        EmailAddress.objects.create(user=cast.bob, email="bob@harbour.example", verified=True, primary=True)

        page = self.try_often(
            client, "bob", "BOB", "bob@harbour.example", "Bob@harbour.example", "bob ", "bob@harbour.example"
        )

        assert "Too many attempts failed" in page

    def test_stop_guesses_at_many_accounts_from_one_address(self, cast: Cast, client: Client) -> None:
        page = self.try_often(client, *(f"person{number}" for number in range(11)))

        assert "Too many attempts failed" in page

    def test_leave_others_alone(self, cast: Cast, client: Client) -> None:
        self.try_often(client, *["bob"] * 6, REMOTE_ADDR="192.0.2.1")

        client.post(LOGIN, {"login": "alice", "password": builders.PASSWORD}, REMOTE_ADDR="192.0.2.2")

        assert is_in(client)

    def test_do_not_count_what_succeeds(self, cast: Cast) -> None:
        for _ in range(8):
            client = Client()
            client.post(LOGIN, BOB)
            assert is_in(client)

    def test_answer_a_flood_with_a_page_that_says_so(self, cast: Cast, client: Client) -> None:
        for _ in range(31):
            answer = client.post(LOGIN, {"login": "", "password": ""})

        assert answer.status_code == 429
        assert "Too many attempts" in answer.content.decode()
        assert "Content-Security-Policy" in answer

    def test_go_by_what_the_proxy_says(self, cast: Cast, client: Client, settings: Settings) -> None:
        settings.BEHIND_PROXY = True
        for number in range(11):
            self.try_often(client, f"p{number}", HTTP_X_FORWARDED_FOR=f"198.51.100.{number}, 192.0.2.7")
        same = self.try_often(client, "q", HTTP_X_FORWARDED_FOR="198.51.100.200, 192.0.2.7")
        other = self.try_often(client, "q", HTTP_X_FORWARDED_FOR="192.0.2.7, 192.0.2.8")

        assert "Too many attempts failed" in same
        assert "Too many attempts failed" not in other

    @pytest.mark.parametrize("told", ["unknown", "", "192.0.2.1:4711", "x" * 300])
    def test_count_addresses_together_that_cannot_be_read(
        self, cast: Cast, client: Client, settings: Settings, told: str
    ) -> None:
        settings.BEHIND_PROXY = True

        client.post(LOGIN, BOB, REMOTE_ADDR="", HTTP_X_FORWARDED_FOR=told)

        assert is_in(client)

    def test_are_kept_where_all_processes_see_them(self, settings: Settings) -> None:
        assert settings.CACHES["default"]["BACKEND"] == "django.core.cache.backends.db.DatabaseCache"


class TestLogout:
    def test_needs_a_post(self, bob: Client) -> None:
        assert bob.get("/accounts/logout/").status_code == 405

    def test_ends_the_session_and_is_recorded(self, bob: Client) -> None:
        bob.post("/accounts/logout/")

        assert bob.get("/coastal/")["Location"].startswith("/accounts/login/")
        assert [entry.who for entry in entries(Act.SIGNED_OUT)] == ["Bob"]

    def test_leads_nowhere_else(self, bob: Client) -> None:
        assert bob.post("/accounts/logout/", {"next": "//elsewhere.example"})["Location"] == LOGIN


class TestAdmin:
    def test_has_no_door_of_its_own(self, cast: Cast, client: Client) -> None:
        User.objects.filter(pk=cast.alice.pk).update(is_staff=True, is_superuser=True)

        asked = client.get("/admin/", follow=True)
        client.post("/admin/login/", {"username": "alice", "password": builders.PASSWORD})
        by_the_side = client.get("/admin/").status_code
        client.post(LOGIN, {"login": "alice", "password": builders.PASSWORD})

        assert "E-mail address or user name" in asked.content.decode()
        assert by_the_side == 302
        assert client.get("/admin/").status_code == 200

    def test_is_closed_to_members(self, bob: Client) -> None:
        assert bob.get("/admin/login/").status_code == 403

    def test_changes_passwords_where_everybody_does(self, cast: Cast, client: Client) -> None:
        User.objects.filter(pk=cast.alice.pk).update(is_staff=True, is_superuser=True)
        client.force_login(cast.alice)

        assert client.get("/admin/password_change/")["Location"] == "/accounts/password/change/"

    def test_signs_out_through_the_same_door(self, cast: Cast, client: Client) -> None:
        User.objects.filter(pk=cast.alice.pk).update(is_staff=True, is_superuser=True)
        client.force_login(cast.alice)

        client.post("/admin/logout/")

        assert [entry.who for entry in entries(Act.SIGNED_OUT)] == ["Alice"]


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
