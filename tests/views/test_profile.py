"""A person's own page, and what it does to every other: the zone of times, and the looks."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from jobs.models import Act, AuditEntry, User
from jobs.selectors import profile as selector
from tests import builders
from tests.conftest import Cast
from tests.views.rendering import queries_while_rendering

PAGE = "/accounts/profile/"
ENTERED = {
    "full_name": "Bob Waters",
    "time_zone": "Europe/Berlin",
    "theme": "dark",
    "mail_when_ended": "on",
}


def save(client: Client, **changes: Any) -> Any:
    entered = ENTERED | changes
    return client.post(PAGE, {name: value for name, value in entered.items() if value is not None})


class TestPage:
    def test_sends_a_stranger_to_the_door_and_back(self, client: Client) -> None:
        answer = client.get(PAGE)

        assert (answer.status_code, answer.headers["Location"].partition("?")[2]) == (302, f"next={PAGE}")
        assert client.post(PAGE, ENTERED).status_code == 302

    def test_is_linked_from_every_page(self, bob: Client) -> None:
        assert f'href="{PAGE}"' in bob.get("/coastal/").text

    def test_is_there_for_somebody_without_a_team(self, client: Client, db: None) -> None:
        client.force_login(builders.make_user("dora"))

        assert client.get(PAGE).status_code == 200

    def test_asks_few_questions_and_none_while_rendering(
        self, bob: Client, django_assert_max_num_queries: DjangoAssertNumQueries
    ) -> None:
        # session, person; the person's choices and addresses
        with django_assert_max_num_queries(4), queries_while_rendering() as late:
            bob.get(PAGE)

        assert late == []


class TestSave:
    def test_keeps_what_was_chosen_with_one_entry(self, bob: Client, cast: Cast) -> None:
        assert save(bob).status_code == 302

        cast.bob.refresh_from_db()
        assert (cast.bob.first_name, cast.bob.last_name) == ("Bob", "Waters")
        assert (cast.bob.time_zone, cast.bob.theme) == ("Europe/Berlin", "dark")
        assert (cast.bob.mail_when_ended, cast.bob.mail_when_needed) == (True, False)
        entry = AuditEntry.objects.get()
        assert (entry.act, entry.user_number, entry.team_id) == (Act.PROFILE_CHANGED, cast.bob.pk, None)
        assert (entry.before["time_zone"], entry.after["time_zone"]) == ("", "Europe/Berlin")
        assert entry.origin == "127.0.0.1"

    def test_of_nothing_writes_nothing(self, bob: Client) -> None:
        save(bob)
        save(bob)

        assert AuditEntry.objects.count() == 1

    def test_changes_nobody_else(self, bob: Client, cast: Cast) -> None:
        save(bob, id=cast.alice.pk, user=cast.alice.pk, user_id=cast.alice.pk)

        assert User.objects.get(pk=cast.alice.pk).theme == ""

    @pytest.mark.parametrize(
        ("changes", "said"),
        [
            ({"time_zone": "Mars/Olympus"}, "There is no such time zone"),
            ({"time_zone": "../../etc/passwd"}, "There is no such time zone"),
            ({"time_zone": "localtime"}, "There is no such time zone"),
            ({"time_zone": "<script>"}, "There is no such time zone"),
            ({"time_zone": "x" * 65}, "at most 64 characters"),
            ({"theme": "red"}, "Choose one of these."),
            ({"full_name": "x" * 151}, "at most 150 characters"),
            ({"full_name": "Bob \u202e"}, "on one line"),
            ({"full_name": "Bob\x00"}, "Null characters are not allowed."),
        ],
    )
    def test_refuses_what_makes_no_sense(self, bob: Client, changes: dict[str, str], said: str) -> None:
        answer = save(bob, **changes)

        assert answer.status_code == 400
        assert said in answer.text
        assert "<script>alert" not in answer.text
        assert not AuditEntry.objects.exists()

    def test_needs_the_token_of_its_form(self, cast: Cast) -> None:
        client = Client(enforce_csrf_checks=True)
        client.force_login(cast.bob)

        assert client.post(PAGE, ENTERED).status_code == 403


class TestZone:
    def hover(self, client: Client) -> str:
        html = client.get("/coastal/jobs/").text
        return re.findall(r'<time datetime="2025-11-22T13:56:00\+00:00" title="([^"]*)"', html)[0]

    @pytest.fixture(autouse=True)
    def job(self, cast: Cast) -> None:
        """A job that was launched at 13:56 UTC."""
        builders.make_job(team=cast.team)

    @pytest.mark.parametrize(
        ("zone", "said"),
        [
            ("", "2025-11-22 13:56:00 UTC"),
            ("Europe/Berlin", "2025-11-22 14:56:00 CET"),
            ("Asia/Kathmandu", "2025-11-22 19:41:00 UTC+0545"),
            ("Mars/Olympus", "2025-11-22 13:56:00 UTC"),
            ("../../etc/passwd", "2025-11-22 13:56:00 UTC"),
            ("Europe", "2025-11-22 13:56:00 UTC"),
            ("x\x01y", "2025-11-22 13:56:00 UTC"),
        ],
    )
    def test_is_the_person_s_with_its_name_or_the_portal_s(
        self, bob: Client, cast: Cast, zone: str, said: str
    ) -> None:
        User.objects.filter(pk=cast.bob.pk).update(time_zone=zone)

        assert self.hover(bob) == said

    def test_is_forgotten_before_the_next_person(self, bob: Client, alice: Client, cast: Cast) -> None:
        User.objects.filter(pk=cast.bob.pk).update(time_zone="Europe/Berlin")

        self.hover(bob)

        assert timezone.get_current_timezone_name() == "UTC"
        assert self.hover(alice) == "2025-11-22 13:56:00 UTC"

    def test_costs_no_question(
        self, bob: Client, cast: Cast, django_assert_num_queries: DjangoAssertNumQueries
    ) -> None:
        builders.beat()
        with django_assert_num_queries(2):  # session and person, as for every page
            bob.get("/accounts/login/")


class TestLooks:
    @pytest.mark.parametrize("theme", ["light", "dark"])
    def test_are_what_the_person_chose(self, bob: Client, cast: Cast, theme: str) -> None:
        User.objects.filter(pk=cast.bob.pk).update(theme=theme)

        for path in ("/coastal/", PAGE):
            html = bob.get(path).text
            assert f'<html lang="en" data-theme="{theme}">' in html
            assert f'<meta name="color-scheme" content="{theme}">' in html

    def test_are_the_device_s_otherwise(self, bob: Client, client: Client) -> None:
        for html in (bob.get("/coastal/").text, client.get("/accounts/login/").text):
            assert '<html lang="en">' in html
            assert '<meta name="color-scheme" content="light dark">' in html

    def test_are_text_whatever_the_database_holds(self, bob: Client, cast: Cast) -> None:
        User.objects.filter(pk=cast.bob.pk).update(theme='"><script>')

        assert '"><script>' not in bob.get("/coastal/").text


class TestZones:
    def test_are_names_of_places(self) -> None:
        assert {"Europe/Berlin", "UTC", "Asia/Kathmandu"} <= set(selector.zones())
        assert not {"localtime", "Factory", "posixrules"} & set(selector.zones())
