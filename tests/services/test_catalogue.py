"""What publishers wrote is read and kept; a name or a DID stands for exactly one asset of the team."""

from __future__ import annotations

import pytest

from jobs.access import Actor
from jobs.errors import InvalidInput, Missing, NotAllowed
from jobs.models import Asset
from jobs.ocean.errors import BadAnswer
from jobs.services import catalogue
from jobs.services.catalogue import NodesUnreachable
from tests import builders
from tests.builders import NOW
from tests.ocean.test_ddo import ALGORITHM, DID, recorded
from tests.services.conftest import Place
from tests.services.fakes import Clock, FakeNode, FarSides, not_there, refused


@pytest.fixture(autouse=True)
def published(far: FakeNode) -> None:
    """The node knows two assets. Source of the documents: recording 30."""
    far.ddos = {DID: recorded(), ALGORITHM: recorded(ALGORITHM)}


def add(actor: Actor, clock: Clock, did: str = DID) -> Asset:
    return Asset.objects.get(pk=catalogue.add(actor=actor, did=did, clock=clock))


class TestAdd:
    @pytest.fixture(autouse=True)
    def node(self, db: None) -> None:
        builders.make_node()

    def test_keeps_what_the_publisher_wrote(self, alice: Actor, clock: Clock) -> None:
        asset = add(alice, clock)

        assert (asset.team_id, asset.added_by_id, asset.fetched_at) == (alice.team_id, alice.user_id, NOW)
        assert (asset.kind, asset.name, asset.chain_id) == ("dataset", "Restricted readings", 8996)
        assert asset.raw == recorded()
        (service,) = asset.services_of_type("compute")
        assert (service["id"], service["timeout_s"]) == ("compute-1", 3600)
        assert service["endpoint"] == recorded()["services"][0]["serviceEndpoint"]

    def test_keeps_the_container_of_an_algorithm(self, alice: Actor, clock: Clock) -> None:
        asset = add(alice, clock, ALGORITHM)

        assert asset.kind == "algorithm"
        assert asset.container is not None
        assert asset.container["image"] == recorded(ALGORITHM)["metadata"]["algorithm"]["container"]["image"]

    def test_reads_again_what_is_there(self, alice: Actor, far: FakeNode, clock: Clock) -> None:
        first = add(alice, clock)
        far.ddos[DID]["metadata"]["name"] = "Renamed"
        clock.tick(60)

        second = add(alice, clock, f"  {DID}\n")

        assert second.pk == first.pk
        assert (second.name, second.fetched_at) == ("Renamed", clock())

    def test_of_two_teams_are_two_rows(self, alice: Actor, charlie: Actor, clock: Clock) -> None:
        assert add(alice, clock).pk != add(charlie, clock).pk

    @pytest.mark.parametrize("did", ["", "hello", "did:op:123", "did:op:" + "g" * 64])
    def test_refuses_what_is_no_did_without_asking(
        self, alice: Actor, far: FakeNode, clock: Clock, did: str
    ) -> None:
        with pytest.raises(InvalidInput) as caught:
            add(alice, clock, did)

        assert (caught.value.field, caught.value.code) == ("did", "malformed_did")
        assert far.calls == []

    def test_refuses_a_did_that_every_node_does_not_know(self, alice: Actor, clock: Clock) -> None:
        with pytest.raises(InvalidInput) as caught:
            add(alice, clock, "did:op:" + "0" * 64)

        assert (caught.value.field, caught.value.code) == ("did", "unknown_did")

    def test_does_not_say_unknown_when_a_node_was_silent(
        self, alice: Actor, far_sides: FarSides, clock: Clock
    ) -> None:
        builders.make_node(name="Away", base_url="http://127.0.0.1:8002")
        far_sides.at("http://127.0.0.1:8002").will("get_ddo", not_there())

        with pytest.raises(NodesUnreachable) as caught:
            add(alice, clock, "did:op:" + "0" * 64)

        assert "Away: Nobody answers" in caught.value.message

    def test_finds_it_at_another_node(
        self, alice: Actor, far: FakeNode, far_sides: FarSides, clock: Clock
    ) -> None:
        away = builders.make_node(name="Away", base_url="http://127.0.0.1:8002")
        far_sides.at("http://127.0.0.1:8002").ddos = dict(far.ddos)
        far.will("get_ddo", not_there())

        assert add(alice, clock).node == away

    @pytest.mark.parametrize("error", [BadAnswer("No document.", code="ddo"), refused("server_error")])
    def test_passes_on_what_a_node_did_wrong(
        self, alice: Actor, far: FakeNode, clock: Clock, error: Exception
    ) -> None:
        far.will("get_ddo", error)

        with pytest.raises(NodesUnreachable) as caught:
            add(alice, clock)

        assert str(error) in caught.value.message

    def test_refuses_a_document_of_another_asset(self, alice: Actor, far: FakeNode, clock: Clock) -> None:
        far.ddos[DID] = recorded(ALGORITHM)

        with pytest.raises(NodesUnreachable):
            add(alice, clock)

        assert not Asset.objects.exists()

    @pytest.mark.parametrize("role", ["bob", "vera"])
    def test_is_for_owners(self, role: str, request: pytest.FixtureRequest, clock: Clock) -> None:
        with pytest.raises(NotAllowed):
            add(request.getfixturevalue(role), clock)

    def test_is_asked_for_again_by_refreshing(self, alice: Actor, far: FakeNode, clock: Clock) -> None:
        asset = add(alice, clock)
        far.ddos[DID]["metadata"]["name"] = "Renamed"

        catalogue.refresh(actor=alice, asset_id=asset.pk, clock=clock)

        asset.refresh_from_db()
        assert asset.name == "Renamed"

    def test_of_another_team_s_asset_is_missing(self, alice: Actor, charlie: Actor, clock: Clock) -> None:
        asset = add(alice, clock)

        with pytest.raises(Missing):
            catalogue.refresh(actor=charlie, asset_id=asset.pk, clock=clock)


class TestFind:
    def find(self, place: Place, ref: str, kind: str = "dataset") -> Asset:
        return catalogue.find(team_id=place.dataset.team_id, ref=ref, kind=kind, field="f")

    def refusal(self, place: Place, ref: str, kind: str = "dataset") -> InvalidInput:
        with pytest.raises(InvalidInput) as caught:
            self.find(place, ref, kind)
        assert caught.value.field == "f"
        return caught.value

    def test_takes_a_did_or_a_name_in_any_capitals(self, place: Place) -> None:
        for ref in (place.dataset.did, f" {place.dataset.did} ", "BUOYS 2025"):
            assert self.find(place, ref).pk == place.dataset.pk

    def test_prefers_the_kind_that_is_wanted(self, place: Place) -> None:
        place.algorithm.name = "Buoys 2025"
        place.algorithm.save()

        assert self.find(place, "Buoys 2025").pk == place.dataset.pk
        assert self.find(place, "Buoys 2025", "algorithm").pk == place.algorithm.pk

    def test_names_what_may_have_been_meant(self, place: Place) -> None:
        builders.make_asset(team=place.dataset.team, node=place.node, name="Tides")

        assert self.refusal(place, "buoy").candidates == (f"Buoys 2025 ({place.dataset.did})",)
        assert len(self.refusal(place, "nothing like it").candidates) == 2

    def test_names_at_most_ten(self, place: Place) -> None:
        for _ in range(14):
            builders.make_asset(team=place.dataset.team, node=place.node)

        assert len(self.refusal(place, "Buoys 2025").candidates) == catalogue.CANDIDATES_MAX

    def test_says_when_it_is_of_the_other_kind(self, place: Place) -> None:
        error = self.refusal(place, place.dataset.did, "algorithm")

        assert (error.code, error.message) == ("wrong_kind", "“Buoys 2025” is a dataset, not an algorithm.")
