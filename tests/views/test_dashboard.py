"""The team's dashboard, and what surrounds every page."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from jobs.lifecycle import State
from tests import builders
from tests.conftest import Cast


class TestDashboard:
    def test_tells_a_new_team_what_to_do_first(self, cast: Cast, alice: Client) -> None:
        page = alice.get("/coastal/").content.decode()

        assert "From here to the first result" in page
        assert "No node is known yet" in page

    def test_shows_what_runs_what_waits_and_what_came_out(self, cast: Cast, vera: Client) -> None:
        builders.make_job(team=cast.team, state=State.RUNNING, name="Runs now")
        builders.make_job(team=cast.team, state=State.NEEDS_ATTENTION, name="Waits", attention_from="RUNNING")
        done = builders.make_job(team=cast.team, state=State.SUCCEEDED, name="Is done")
        builders.make_result(job=done, name="means.csv", path="tables/means.csv")

        page = vera.get("/coastal/").content.decode()

        for expected in ("Runs now", "Waits", "Is done", "tables/means.csv", "Harbour node", "2 free places"):
            assert expected in page
        assert "Launch a job" not in page  # Vera views

    def test_names_the_trouble_of_a_node(self, cast: Cast, alice: Client) -> None:
        builders.make_node(trouble="The node did not answer within 10 s.")

        assert "The node did not answer within 10 s." in alice.get("/coastal/").content.decode()

    def test_shows_nothing_of_another_team(self, cast: Cast, alice: Client) -> None:
        theirs = builders.make_job(team=cast.other_team, state=State.SUCCEEDED, name="Their secret")
        builders.make_result(job=theirs, name="secret.csv", path="secret.csv")

        page = alice.get("/coastal/").content.decode()

        assert "secret" not in page.lower()

    def test_asks_again_only_while_something_runs(self, cast: Cast, alice: Client) -> None:
        quiet = alice.get("/coastal/").content.decode()
        builders.make_job(team=cast.team, state=State.RUNNING)
        busy = alice.get("/coastal/").content.decode()

        assert "every 5s" not in quiet
        assert "every 5s" in busy

    def test_answers_htmx_with_the_board_alone(self, cast: Cast, alice: Client) -> None:
        page = alice.get("/coastal/", headers={"HX-Request": "true"}).content.decode()

        assert page.lstrip().startswith('<div id="board"')

    def test_keeps_its_query_budget(
        self, cast: Cast, alice: Client, django_assert_max_num_queries: Any
    ) -> None:
        for state in (State.RUNNING, State.SUCCEEDED, State.FAILED, State.NEEDS_ATTENTION):
            for _ in range(4):
                builders.make_job(team=cast.team, state=state)

        # 3 who is asking (session, person, memberships), 1 frame, and 6: totals, jobs, their datasets, results, nodes, and
        # for an owner the last comparison of the ledger.
        with django_assert_max_num_queries(10):
            alice.get("/coastal/")


class TestFrame:
    def test_says_on_every_page_that_no_worker_runs(self, cast: Cast, alice: Client) -> None:
        for address in ("/coastal/", "/coastal/jobs/", "/coastal/catalogue/", "/coastal/wallets/"):
            page = alice.get(address).content.decode()

            assert "No worker is running" in page
            assert "python manage.py worker" in page

    @pytest.mark.parametrize(("silent_s", "told"), [(5, False), (60, True)])
    def test_believes_a_worker_for_half_a_minute(
        self, cast: Cast, alice: Client, silent_s: int, told: bool
    ) -> None:
        builders.beat(timezone.now() - timedelta(seconds=silent_s))

        assert ("No worker is running" in alice.get("/coastal/").content.decode()) is told

    def test_marks_where_one_is(self, cast: Cast, alice: Client) -> None:
        page = alice.get("/coastal/jobs/").content.decode()

        assert '<a href="/coastal/jobs/" aria-current="page">' in page
        assert page.count('aria-current="page"') == 1

    def test_offers_the_persons_other_teams_and_no_more(self, cast: Cast, alice: Client) -> None:
        before = alice.get("/coastal/").content.decode()
        cast.other_team.memberships.create(user=cast.alice, role="viewer")
        after = alice.get("/coastal/").content.decode()

        assert "Offshore Lab" not in before
        assert "/offshore/" in after

    def test_counts_what_needs_somebody(self, cast: Cast, alice: Client) -> None:
        builders.make_job(team=cast.team, state=State.NEEDS_ATTENTION, attention_from="RUNNING")

        assert "1 needs you" in " ".join(alice.get("/coastal/wallets/").content.decode().split())
