"""python manage.py create_team makes what is missing, and says so."""

from __future__ import annotations

import re
from io import StringIO
from types import SimpleNamespace

import pytest
from allauth.account.models import EmailAddress
from django.core.mail import EmailMessage
from django.core.management import CommandError, call_command
from django.test import Client
from pytest_django import Settings

from jobs.management.commands import create_team
from jobs.models import Membership, Team, User
from jobs.models.teams import Role
from tests import builders

GOOD_PASSWORD = "three small harbours"


@pytest.fixture(autouse=True)
def password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORTAL_OWNER_PASSWORD", GOOD_PASSWORD)


def run(
    *options: str,
    slug: str = "lab",
    owner: str = "ada",
    email: str = "ada@example.org",
    name: str = "Coastal Lab",
) -> tuple[str, str]:
    out, err = StringIO(), StringIO()
    call_command(
        "create_team",
        f"--slug={slug}",
        f"--name={name}",
        f"--owner={owner}",
        f"--email={email}",
        *options,
        stdout=out,
        stderr=err,
    )
    return out.getvalue(), err.getvalue()


def sit_at_terminal(monkeypatch: pytest.MonkeyPatch, *entries: str) -> None:
    monkeypatch.delenv("PORTAL_OWNER_PASSWORD")
    monkeypatch.setattr(create_team.sys, "stdin", SimpleNamespace(isatty=lambda: True))
    typed = iter(entries)
    monkeypatch.setattr(create_team.getpass, "getpass", lambda _prompt: next(typed))


@pytest.mark.django_db
class TestCreateTeam:
    def test_makes_the_team_and_an_owner_who_can_sign_in(self) -> None:
        out, _ = run()

        ada = User.objects.get(username="ada")
        assert Team.objects.get(slug="lab").name == "Coastal Lab"
        assert Membership.objects.get(team__slug="lab", user=ada).role == Role.OWNER
        assert ada.check_password(GOOD_PASSWORD)
        assert ada.email == "ada@example.org"
        assert "“ada” is made, and owns the team." in out

    def test_makes_an_operator_only_when_asked_to(self) -> None:
        run()
        run("--operator", slug="office", owner="olga")

        assert not User.objects.get(username="ada").is_staff
        assert User.objects.get(username="olga").is_staff
        assert User.objects.get(username="olga").is_superuser

    def test_changes_nothing_the_second_time(self, monkeypatch: pytest.MonkeyPatch) -> None:
        run()
        monkeypatch.setenv("PORTAL_OWNER_PASSWORD", "another good password")

        out, err = run()

        assert (Team.objects.count(), User.objects.count(), Membership.objects.count()) == (1, 1, 1)
        assert User.objects.get().check_password(GOOD_PASSWORD)
        assert "Team “lab” was there already." in out
        assert "“ada” was there already, with the password they had. Role here: owner." in out
        assert err == ""

    def test_does_not_ask_for_the_password_of_a_person_who_is_there(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        builders.make_user("ada")
        monkeypatch.delenv("PORTAL_OWNER_PASSWORD")

        run()

        assert Membership.objects.get(user__username="ada").role == Role.OWNER

    def test_keeps_the_role_that_a_member_has_and_says_so(self) -> None:
        builders.make_member(team=builders.make_team("lab"), username="ada", role=Role.VIEWER)

        out, err = run()

        assert Membership.objects.get().role == Role.VIEWER
        assert "Role here: viewer" in out
        assert "An operator changes roles in the admin" in err

    def test_says_that_a_person_who_is_there_is_not_made_an_operator(self) -> None:
        run()

        _, err = run("--operator")

        assert not User.objects.get().is_staff
        assert "“ada” is no operator" in err

    @pytest.mark.parametrize(
        ("values", "complaint"),
        [
            ({"slug": "Big Lab"}, "team slug:"),
            ({"slug": "Lab"}, "Lower-case letters"),
            ({"name": ""}, "team name:"),
            ({"slug": "admin"}, "cannot be a team's address"),
            ({"owner": "ada lovelace"}, "owner username:"),
            ({"email": "ada"}, "owner email:"),
        ],
    )
    def test_refuses_values_that_cannot_be_used_and_makes_nothing(
        self, values: dict[str, str], complaint: str
    ) -> None:
        with pytest.raises(CommandError, match=complaint):
            run(**values)

        assert (Team.objects.count(), User.objects.count()) == (0, 0)

    @pytest.mark.parametrize("weak", ["short", "password123", "28561984739205", "ada@example.org"])
    def test_refuses_a_weak_password_and_makes_nothing(
        self, monkeypatch: pytest.MonkeyPatch, weak: str
    ) -> None:
        monkeypatch.setenv("PORTAL_OWNER_PASSWORD", weak)

        with pytest.raises(CommandError):
            run()

        assert (Team.objects.count(), User.objects.count()) == (0, 0)

    def test_asks_twice_at_a_terminal(self, monkeypatch: pytest.MonkeyPatch) -> None:
        sit_at_terminal(monkeypatch, GOOD_PASSWORD, GOOD_PASSWORD)

        run()

        assert User.objects.get().check_password(GOOD_PASSWORD)

    def test_makes_nothing_when_the_two_entries_differ(self, monkeypatch: pytest.MonkeyPatch) -> None:
        sit_at_terminal(monkeypatch, GOOD_PASSWORD, GOOD_PASSWORD + "s")

        with pytest.raises(CommandError, match="differ"):
            run()

        assert not User.objects.exists()

    def test_names_the_variable_when_nobody_can_be_asked(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("PORTAL_OWNER_PASSWORD")
        monkeypatch.setattr(create_team.sys, "stdin", SimpleNamespace(isatty=lambda: False))

        with pytest.raises(CommandError, match="set PORTAL_OWNER_PASSWORD"):
            run()

    def test_sends_a_link_in_the_place_of_a_password(
        self, monkeypatch: pytest.MonkeyPatch, mailoutbox: list[EmailMessage], client: Client
    ) -> None:
        monkeypatch.delenv("PORTAL_OWNER_PASSWORD")

        out, _ = run("--send-link")
        (letter,) = mailoutbox
        link = re.search(r"https?://[^/]+(/accounts/password/reset/key/\S+)", str(letter.body))
        assert link
        form = client.get(link[1], follow=True)
        client.post(form.redirect_chain[-1][0], {"password1": GOOD_PASSWORD, "password2": GOOD_PASSWORD})

        assert letter.to == ["ada@example.org"]
        assert "on its way to ada@example.org" in out
        assert User.objects.get().check_password(GOOD_PASSWORD)

    def test_sends_no_link_to_nowhere(self) -> None:
        with pytest.raises(CommandError, match="needs --email"):
            run("--send-link", email="")

        assert not User.objects.exists()

    def test_tells_when_the_link_could_not_be_sent(self, settings: Settings) -> None:
        settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
        settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", 1

        with pytest.raises(CommandError, match="did not take the letter"):
            run("--send-link")

        assert Membership.objects.get().role == Role.OWNER

    def test_counts_the_address_as_verified(self) -> None:
        run(email="Ada@Example.org")

        assert EmailAddress.objects.get().email == "ada@example.org"
        assert EmailAddress.objects.get().verified
