"""Looking for assets on the network: bounded, and silent nodes are not nodes that know nothing."""

from __future__ import annotations

from typing import Any

import pytest

from jobs.access import Actor
from jobs.errors import NotAllowed
from jobs.models import Asset, Node
from jobs.ocean.compute import Parsed
from jobs.ocean.errors import OceanError, Refused, Unreachable
from jobs.services import budget, catalogue
from jobs.services.budget import Purpose
from jobs.services.catalogue import FOUND_MAX, SEARCH_FOR, SearchResult
from tests import builders
from tests.builders import NOW
from tests.ocean.test_ddo import ALGORITHM, DID, recorded
from tests.services.fakes import Clock, FakeNode, FarSides, not_there, refused


@pytest.fixture
def node(db: None, far: FakeNode) -> Node:
    """A node that knows a dataset and an algorithm. Source of the documents: recording 30."""
    far.ddos = {DID: recorded(), ALGORITHM: recorded(ALGORITHM)}
    return builders.make_node()


def search(actor: Actor, clock: Clock, text: str = "readings", kind: str = "") -> SearchResult:
    return catalogue.search(actor=actor, text=text, kind=kind, clock=clock)


class TestSearch:
    def test_tells_what_nodes_found(self, alice: Actor, node: Node, far: FakeNode, clock: Clock) -> None:
        result = search(alice, clock)

        first, second = result.found
        assert (first.did, first.name, first.kind, first.node) == (
            DID,
            "Restricted readings",
            "dataset",
            "Harbour node",
        )
        assert (second.did, second.kind, second.known) == (ALGORITHM, "algorithm", False)
        assert (result.silent, result.unreadable) == ((), 0)
        (call,) = far.called("search_assets")
        assert call.given == {"text": "readings", "kind": None, "limit": FOUND_MAX}

    @pytest.mark.parametrize(("kind", "asked", "found"), [("dataset", "dataset", 1), ("nonsense", None, 2)])
    def test_keeps_to_a_kind_whatever_the_node_sends(
        self, alice: Actor, node: Node, far: FakeNode, clock: Clock, kind: str, asked: str | None, found: int
    ) -> None:
        result = search(alice, clock, kind=kind)

        assert far.called("search_assets")[0].given["kind"] == asked
        assert len(result.found) == found

    def test_marks_what_the_team_has(self, alice: Actor, charlie: Actor, node: Node, clock: Clock) -> None:
        mine = catalogue.add(actor=alice, did=DID, clock=clock)
        catalogue.add(actor=charlie, did=ALGORITHM, clock=clock)

        found = {x.did: x.asset_id for x in search(alice, clock).found}

        assert found == {DID: mine, ALGORITHM: None}

    def test_shows_an_asset_once_that_two_nodes_know(
        self, alice: Actor, node: Node, far_sides: FarSides, clock: Clock
    ) -> None:
        builders.make_node(name="Zealous", base_url="http://127.0.0.1:8002")
        far_sides.at("http://127.0.0.1:8002").ddos = {DID: recorded()}

        assert [x.node for x in search(alice, clock).found] == ["Harbour node", "Harbour node"]

    @pytest.mark.parametrize(
        "error",
        [
            not_there(),
            Unreachable("It answered with 503.", code="gateway", retryable=True),
            refused("rate_limited"),
            Refused("No Aquarius is named.", code="no_aquarius"),
        ],
    )
    def test_tells_of_a_silent_node_beside_what_others_found(
        self, alice: Actor, node: Node, far_sides: FarSides, clock: Clock, error: OceanError
    ) -> None:
        builders.make_node(name="Silent", base_url="http://127.0.0.1:8002")
        far_sides.at("http://127.0.0.1:8002").will("search_assets", error)

        result = search(alice, clock)

        assert len(result.found) == 2
        assert result.silent == (f"Silent did not answer: {error.message}",)

    def test_that_finds_nothing_says_nothing_of_silence(
        self, alice: Actor, node: Node, far: FakeNode, clock: Clock
    ) -> None:
        far.ddos = {}

        assert search(alice, clock) == SearchResult(found=(), silent=())

    def test_counts_what_cannot_be_read(self, alice: Actor, node: Node, far: FakeNode, clock: Clock) -> None:
        odd: list[Any] = [{"id": 7}, {"credentialSubject": [1]}, recorded() | {"version": "9"}]
        far.will("search_assets", Parsed(items=(recorded(), *odd), skipped=2))

        result = search(alice, clock)

        assert (len(result.found), result.unreadable) == (1, 5)

    def test_ends_after_a_while(self, alice: Actor, node: Node, far: FakeNode, clock: Clock) -> None:
        builders.make_node(name="Late", base_url="http://127.0.0.1:8002")

        def slowly(**_: Any) -> Parsed[dict[str, Any]]:
            clock.tick(SEARCH_FOR.total_seconds())
            return Parsed(items=())

        far.will("search_assets", slowly)

        assert search(alice, clock).silent == ("Late was not asked: the others took too long.",)

    def test_leaves_requests_for_launches(self, alice: Actor, node: Node, clock: Clock) -> None:
        for _ in range(19):
            budget.spend(node=node, purpose=Purpose.ACT, now=NOW)

        assert "asked as often as it allows" in search(alice, clock).silent[0]
        assert not Asset.objects.exists()

    def test_is_for_those_who_may_add(self, bob: Actor, vera: Actor, node: Node, clock: Clock) -> None:
        for actor in (bob, vera):
            with pytest.raises(NotAllowed):
                search(actor, clock)
