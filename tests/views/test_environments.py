"""The environments page: nodes and what they offer, as last seen."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client
from pytest_django import DjangoAssertNumQueries

from jobs.models import Node
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


class TestProvider:
    """What a Provider says: by chain, one price a minute, and whatever its operator adds."""

    @pytest.fixture
    def quay(self, cast: Cast) -> Node:
        return builders.make_provider_node(
            said={"software": "Provider", "version": "2.1.6", "chain_ids": [8996, 1]}
        )

    def raw(self, **changes: Any) -> dict[str, Any]:
        """Return what a Provider says of an environment, changed."""
        return {**builders.RAW_PROVIDER_ENVIRONMENT, **changes}

    def test_is_told_with_every_key(self, vera: Client, quay: Node) -> None:
        raw = self.raw(
            desc="Quay hall",
            cpuType="EPYC",
            gpuNumber=2,
            namespace="ocean-c2d",
            status="up",
            currentJobs=3,
            storageExpiry=3600,
            priceMin="0.010",
            lastSeen=str(builders.NOW.timestamp()),
        )
        builders.make_environment(node=quay, raw=raw, has_free_tier=False, description="Quay hall")

        html = vera.get(PAGE).text

        for expected in (
            "ocean-compute",
            "chain 8996",
            "0.01 per minute",
            raw["feeToken"],
            raw["consumerAddress"],
            'datetime="2025-11-22T14:00:00+00:00"',
            "<dt>Namespace</dt><dd>ocean-c2d</dd>",
            "<dt>Status</dt><dd>up</dd>",
            "<dt>CPU type</dt><dd>EPYC</dd>",
            "<tr><td>gpu</td>",
            "3 of at most 10 at the moment",
            "<dt>A job may run</dt><dd>1 min</dd>",
            "<dt>Keeps results</dt><dd>1 h;",
        ):
            assert expected in html, expected

    def test_is_told_with_what_nobody_foresaw(self, vera: Client, quay: Node) -> None:
        raw = self.raw(**{"<b>owner": "<script>x</script>", "rack": 7, "deep": {"no": 1}, "none": None})
        builders.make_environment(node=quay, raw=raw)

        html = vera.get(PAGE).text

        assert "<dt>&lt;b&gt;owner</dt><dd>&lt;script&gt;x&lt;/script&gt;</dd>" in html
        assert "<dt>rack</dt><dd>7</dd>" in html
        assert "<dt>deep</dt>" not in html and "<dt>none</dt>" not in html

    @pytest.mark.parametrize("said", ["", "soon", "1e400", "-1e20", None, "nan"])
    def test_survives_a_time_that_is_none(self, vera: Client, quay: Node, said: Any) -> None:
        builders.make_environment(node=quay, raw=self.raw(lastSeen=said))

        assert "Last seen" not in vera.get(PAGE).text

    def test_may_offer_the_same_on_several_chains(self, vera: Client, quay: Node) -> None:
        for chain_id in (8996, 1):
            builders.make_environment(node=quay, chain_id=chain_id)

        html = vera.get(PAGE).text

        assert html.index("chain 1</span>") < html.index("chain 8996</span>")

    def test_shows_what_it_is_and_where_its_assets_are_described(self, vera: Client, quay: Node) -> None:
        html = vera.get(PAGE).text

        assert '<span class="chip">Provider v4</span>' in html
        assert "Provider 2.1.6" in html
        assert "<code>http://127.0.0.1:5000</code>" in html
        assert "<dt>Chains</dt><dd>8996, 1</dd>" in html
        assert f'title="{quay.provider_address}"' in html


class TestFree:
    def test_lists_all_free_environments_and_no_others(self, vera: Client, cast: Cast) -> None:
        builders.make_environment(node=builders.make_node(), description="Free hall")
        quay = builders.make_provider_node()
        builders.make_environment(node=quay, description="Free quay")
        builders.make_environment(node=quay, env_id="paid", description="Paid quay", has_free_tier=False)

        html = vera.get(f"{PAGE}?free=1").text

        assert "Free hall" in html and "Free quay" in html
        assert "Paid quay" not in html
        assert "All · 3" in html and "Free · 2" in html

    @pytest.mark.parametrize("query", ["", "?free=1"])
    def test_says_so_when_there_is_none(self, vera: Client, cast: Cast, query: str) -> None:
        node = builders.make_node()
        builders.make_environment(node=node, has_free_tier=False)
        builders.make_environment(node=node, env_id="gone", gone_at=builders.NOW)

        response = vera.get(PAGE + query)

        assert response.status_code == 200
        assert "None of the environments that are offered at the moment is free." in response.text
