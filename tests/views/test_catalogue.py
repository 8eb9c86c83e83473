"""The catalogue: list, search, adding by DID, and what a page says of an asset."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime
from typing import Any

import pytest
from django.test import Client
from pytest_django import DjangoAssertNumQueries

from jobs.access import Actor
from jobs.errors import InvalidInput
from jobs.models import Asset
from jobs.selectors import catalogue as selector
from jobs.services import catalogue as service
from tests import builders
from tests.conftest import Cast
from tests.views.rendering import queries_while_rendering

LIST = "/coastal/catalogue/"
ADD = "/coastal/catalogue/add/"
DID = "did:op:" + "ab" * 32


@pytest.fixture
def far_side(monkeypatch: pytest.MonkeyPatch) -> Callable[[Exception | int], list[str]]:
    """Let the service answer with an asset's number or an error; the list is of the DIDs asked for."""

    def answers(outcome: Exception | int) -> list[str]:
        asked: list[str] = []

        def add(*, actor: Actor, did: str, clock: Callable[[], datetime]) -> int:
            asked.append(did)
            if isinstance(outcome, Exception):
                raise outcome
            return outcome

        # Patched by name: the node behind the service is what its own tests are about.
        monkeypatch.setattr(service, "add", add)
        return asked

    return answers


class TestList:
    def test_shows_the_team_s_assets_by_name(self, vera: Client, cast: Cast) -> None:
        node = builders.make_node()
        builders.make_asset(team=cast.team, node=node, name="Tides")
        builders.make_asset(team=cast.team, node=node, name="Buoys")
        builders.make_asset(team=cast.other_team, node=node, name="Foreign")

        html = vera.get(LIST).text

        assert html.index("Buoys") < html.index("Tides")
        assert "Foreign" not in html

    @pytest.mark.parametrize(
        ("query", "shown", "hidden"),
        [
            ("?kind=dataset", "Buoys", "Regression"),
            ("?kind=algorithm", "Regression", "Buoys"),
            ("?q=buo", "Buoys", "Regression"),
            ("?q=wave+buoys", "Buoys", "Regression"),
            ("?q=" + DID, "Regression", "Buoys"),
            ("?kind=nonsense&q=regress", "Regression", "Buoys"),
        ],
    )
    def test_narrows_by_kind_and_words(
        self, vera: Client, cast: Cast, query: str, shown: str, hidden: str
    ) -> None:
        node = builders.make_node()
        builders.make_asset(team=cast.team, node=node, name="Buoys", description="Waves.")
        builders.make_asset(
            team=cast.team, node=node, kind=Asset.Kind.ALGORITHM, name="Regression", description="", did=DID
        )

        html = vera.get(LIST + query).text

        assert f">{shown}</a>" in html
        assert f">{hidden}</a>" not in html

    def test_answers_htmx_with_the_list_alone(self, vera: Client, cast: Cast) -> None:
        html = vera.get(LIST, headers={"HX-Request": "true"}).text

        assert html.lstrip().startswith('<div id="assets">')
        assert "<html" not in html

    def test_goes_page_by_page(self, vera: Client, cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(selector, "PAGE_SIZE", 2)
        node = builders.make_node()
        for name in "abc":
            builders.make_asset(team=cast.team, node=node, name=f"Data {name}")

        first, last, beyond = (
            vera.get(f"{LIST}?q=data&page={number}").text for number in ("1", "2", "nonsense")
        )

        assert "Data b" in first and "Data c" not in first
        assert "q=data&amp;page=2" in first
        assert "Data c" in last and "Data a" not in last
        assert "Data a" in beyond

    def test_says_what_to_do_when_it_is_empty(self, alice: Client, vera: Client) -> None:
        assert "paste the DID" in alice.get(LIST).text
        assert "An owner, admin or curator" in vera.get(LIST).text

    def test_offers_adding_to_those_who_may(self, alice: Client, bob: Client) -> None:
        assert ADD in alice.get(LIST).text
        assert ADD not in bob.get(LIST).text

    def test_does_not_exist_for_somebody_outside(self, charlie: Client) -> None:
        assert charlie.get(LIST).status_code == 404

    def test_asks_a_bounded_number_of_questions(
        self, vera: Client, cast: Cast, django_assert_max_num_queries: DjangoAssertNumQueries
    ) -> None:
        node = builders.make_node()
        for number in range(20):
            builders.make_asset(team=cast.team, node=node, name=f"Data {number}")

        # session, person, memberships; two counts, the page's count and rows, nodes; two for the frame
        with django_assert_max_num_queries(10):
            vera.get(LIST)

    def test_asks_nothing_while_rendering(self, vera: Client, cast: Cast) -> None:
        builders.make_asset(team=cast.team, node=builders.make_node())

        with queries_while_rendering() as late:
            vera.get(LIST)

        assert late == []


class TestAdd:
    def test_goes_to_the_new_entry(
        self, alice: Client, cast: Cast, far_side: Callable[[Exception | int], list[str]]
    ) -> None:
        asset = builders.make_asset(team=cast.team, node=builders.make_node())
        asked = far_side(asset.pk)

        response = alice.post(ADD, {"did": f" {DID} "})

        assert asked == [DID]
        assert response.headers["Location"] == f"{LIST}{asset.pk}/"

    @pytest.mark.parametrize(
        ("outcome", "status"),
        [
            (
                InvalidInput("None of the portal's nodes knows this DID.", field="did", code="unknown_did"),
                400,
            ),
            (service.NodesUnreachable("Whether this DID exists is not known."), 503),
        ],
    )
    def test_tells_unknown_and_unreachable_apart_beside_the_field(
        self, alice: Client, far_side: Callable[[Exception | int], list[str]], outcome: Any, status: int
    ) -> None:
        far_side(outcome)

        response = alice.post(ADD, {"did": DID})

        assert response.status_code == status
        error = response.text.split('id="id_did_error">')[1]
        assert error.startswith(outcome.message.replace("'", "&#x27;"))
        assert f'value="{DID}"' in response.text

    def test_refuses_a_malformed_did_without_asking_anybody(self, alice: Client) -> None:
        builders.make_node()  # a call to it would fail: nothing listens there, and tests open no sockets

        response = alice.post(ADD, {"did": "did:op:nonsense"})

        assert response.status_code == 400
        assert "A DID looks like did:op:" in response.text

    def test_asks_for_a_did(self, alice: Client) -> None:
        assert "Enter the DID" in alice.post(ADD, {"did": " "}).text

    def test_is_refused_to_those_who_may_not(self, bob: Client, vera: Client) -> None:
        assert [client.post(ADD, {"did": DID}).status_code for client in (bob, vera)] == [403, 403]


class TestDetail:
    def test_says_what_the_publisher_wrote(self, vera: Client, cast: Cast) -> None:
        asset = builders.make_asset(
            team=cast.team,
            node=builders.make_node(),
            licence="CC0",
            raw={"id": DID, "nested": {"a": ["</pre><script>"]}},
        )

        html = vera.get(f"{LIST}{asset.pk}/").text

        assert all(
            text in html for text in ("Wave heights, measured.", "CC0", "waves", "Sandbox · chain 8996")
        )
        assert asset.did in html
        assert "&quot;nested&quot;" in html
        assert "</pre><script>" not in html

    def test_names_the_node_of_a_service_or_says_that_it_is_unknown(self, vera: Client, cast: Cast) -> None:
        node = builders.make_node()
        near = {
            "id": "near",
            "type": "compute",
            "timeout_s": 0,
            "endpoint": "HTTP://127.0.0.1:8001/",
            "compute": {},
        }
        far = near | {"id": "far", "endpoint": "https://far.example"}
        asset = builders.make_asset(team=cast.team, node=node, services=[near, far])

        html = vera.get(f"{LIST}{asset.pk}/").text

        assert html.count("not among this portal's nodes") == 1
        assert "https://far.example" in html

    def test_shows_an_algorithm_s_container_and_parameters(self, vera: Client, cast: Cast) -> None:
        parameter = {
            "name": "seconds",
            "label": "How long",
            "type": "number",
            "default": 30,
            "required": True,
        }
        asset = builders.make_asset(
            team=cast.team,
            node=builders.make_node(),
            kind=Asset.Kind.ALGORITHM,
            consumer_parameters=[parameter],
        )

        html = vera.get(f"{LIST}{asset.pk}/").text

        assert "python:3.11-slim" in html
        assert "How long" in html
        assert "<td>30</td>" in html

    def test_links_to_a_launch_for_those_who_may(self, bob: Client, vera: Client, cast: Cast) -> None:
        asset = builders.make_asset(team=cast.team, node=builders.make_node())
        link = f"/coastal/jobs/launch/?dataset={asset.pk}"

        assert link in bob.get(f"{LIST}{asset.pk}/").text
        assert link not in vera.get(f"{LIST}{asset.pk}/").text

    def test_of_another_team_is_not_there(self, vera: Client, cast: Cast) -> None:
        foreign = builders.make_asset(team=cast.other_team, node=builders.make_node())

        assert vera.get(f"{LIST}{foreign.pk}/").status_code == 404

    def test_asks_a_bounded_number_of_questions(
        self, vera: Client, cast: Cast, django_assert_max_num_queries: DjangoAssertNumQueries
    ) -> None:
        asset = builders.make_asset(team=cast.team, node=builders.make_node(), added_by=cast.alice)

        # session, person, memberships; the asset with its node and person, all nodes, wallets; two for the frame
        with django_assert_max_num_queries(8):
            vera.get(f"{LIST}{asset.pk}/")

    def test_asks_nothing_while_rendering(self, vera: Client, cast: Cast) -> None:
        asset = builders.make_asset(team=cast.team, node=builders.make_node(), added_by=cast.alice)

        with queries_while_rendering() as late:
            vera.get(f"{LIST}{asset.pk}/")

        assert late == []


class TestRefresh:
    def test_reads_the_asset_again(
        self, alice: Client, cast: Cast, far_side: Callable[[Exception | int], list[str]]
    ) -> None:
        asset = builders.make_asset(team=cast.team, node=builders.make_node())
        asked = far_side(asset.pk)

        response = alice.post(f"{LIST}{asset.pk}/refresh/")

        assert asked == [asset.did]
        assert response.headers["Location"] == f"{LIST}{asset.pk}/"

    def test_says_so_when_the_node_is_silent(
        self, alice: Client, cast: Cast, far_side: Callable[[Exception | int], list[str]]
    ) -> None:
        asset = builders.make_asset(team=cast.team, node=builders.make_node())
        far_side(service.NodesUnreachable("Harbour node does not answer."))
        page = f"http://testserver{LIST}{asset.pk}/"

        html = alice.post(f"{LIST}{asset.pk}/refresh/", follow=True, headers={"Referer": page}).text

        assert "Harbour node does not answer." in html

    def test_is_refused_to_those_who_may_not(self, bob: Client, cast: Cast) -> None:
        asset = builders.make_asset(team=cast.team, node=builders.make_node())

        assert bob.post(f"{LIST}{asset.pk}/refresh/").status_code == 403

    def test_of_another_team_s_asset_is_not_there(self, alice: Client, cast: Cast) -> None:
        foreign = builders.make_asset(team=cast.other_team, node=builders.make_node())

        assert alice.post(f"{LIST}{foreign.pk}/refresh/").status_code == 404


class TestParameters:
    @pytest.mark.parametrize(
        ("stored", "shown"), [(None, ""), (0, "0"), (False, "false"), ("a", "a"), (0.5, "0.5")]
    )
    def test_keep_a_default_as_text(self, stored: Any, shown: str) -> None:
        one = json.loads(json.dumps({"name": "x", "type": "text", "default": stored}))

        assert selector.parameters([one])[0].default == shown
