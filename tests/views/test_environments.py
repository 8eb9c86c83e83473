"""The environments page: nodes and what they offer, as last seen."""

from __future__ import annotations

from typing import Any

from django.test import Client
from pytest_django import DjangoAssertNumQueries

from tests import builders
from tests.conftest import Cast
from tests.views.rendering import queries_while_rendering

PAGE = "/coastal/environments/"


def offer(**changes: Any) -> dict[str, Any]:
    """Return what a node says of an environment, changed."""
    return {**builders.RAW_ENVIRONMENT, **changes}


class TestEnvironments:
    def test_show_room_limits_and_prices(self, vera: Client, cast: Cast) -> None:
        builders.make_environment(node=builders.make_node())

        html = vera.get(PAGE).text

        assert "2 of 2 free places" in html
        assert "2 jobs at a time, 2 min each" in html
        assert "up to 1 h" in html
        assert "7 days" in html
        assert "cpu 1, ram 0.1" in html
        assert "Answering" in html

    def test_show_how_many_run_and_wait_in_a_busy_free_tier(self, vera: Client, cast: Cast) -> None:
        raw = offer(runningfreeJobs=2, queuedFreeJobs=3)
        builders.make_environment(node=builders.make_node(), raw=raw, free_room=0)

        html = vera.get(PAGE).text

        assert "Busy" in html
        assert "2 free, 0 paid" in html
        assert "3 free, 0 paid" in html

    def test_say_why_a_node_did_not_answer(self, vera: Client, cast: Cast) -> None:
        builders.make_node(trouble="It did not answer within 10 s.", answered_at=None)

        html = vera.get(PAGE).text

        assert "Did not answer" in html
        assert "It did not answer within 10 s." in html

    def test_keep_what_is_gone_and_say_so(self, vera: Client, cast: Cast) -> None:
        builders.make_environment(node=builders.make_node(), gone_at=builders.NOW)

        assert "No longer offered" in vera.get(PAGE).text

    def test_survive_an_environment_that_cannot_be_read(self, vera: Client, cast: Cast) -> None:
        node = builders.make_node()
        builders.make_environment(node=node, raw={"id": 1}, description="Garbled")
        builders.make_environment(node=node, env_id="0x1-0x2", raw=offer(fees={"1": "x", "2": [3]}))

        response = vera.get(PAGE)

        assert response.status_code == 200
        assert "could not be read" in response.text
        assert "2 of 2 free places" in response.text

    def test_say_what_to_do_when_there_is_no_node(self, vera: Client) -> None:
        assert "The portal knows no node yet." in vera.get(PAGE).text

    def test_do_not_exist_for_somebody_outside(self, charlie: Client) -> None:
        assert charlie.get(PAGE).status_code == 404

    def test_ask_a_bounded_number_of_questions(
        self, vera: Client, cast: Cast, django_assert_max_num_queries: DjangoAssertNumQueries
    ) -> None:
        for number in range(5):
            node = builders.make_node(name=f"Node {number}", base_url=f"http://127.0.0.1:{8100 + number}")
            builders.make_environment(node=node)

        # session, person, memberships; nodes, environments; two for the frame
        with django_assert_max_num_queries(7):
            vera.get(PAGE)

    def test_ask_nothing_while_rendering(self, vera: Client, cast: Cast) -> None:
        builders.make_environment(node=builders.make_node())

        with queries_while_rendering() as late:
            vera.get(PAGE)

        assert late == []
