"""What a node offers, as last seen; what it no longer lists is kept and marked."""

from __future__ import annotations

from datetime import timedelta

import pytest

from jobs.models import Environment, Node
from jobs.ocean.errors import BadAnswer
from jobs.services import budget, nodes
from jobs.services.budget import Purpose
from tests import builders
from tests.builders import NOW, RAW_ENVIRONMENT
from tests.services.fakes import Clock, FakeNode, not_there


@pytest.fixture
def node(db: None) -> Node:
    return builders.make_node(asked_at=None, answered_at=None, trouble="It was silent.")


def look(node: Node, clock: Clock) -> bool:
    answered = nodes.look(node_id=node.pk, clock=clock)
    node.refresh_from_db()
    return answered


class TestLook:
    def test_stores_what_the_node_is_and_offers(self, node: Node, far: FakeNode, clock: Clock) -> None:
        assert look(node, clock)

        assert (node.asked_at, node.answered_at, node.trouble) == (NOW, NOW, "")
        assert node.provider_address.startswith("0x7099")
        assert (node.said["version"], node.said["chain_ids"]) == ("3.2.0", [8996])
        assert node.next_look_at == NOW + nodes.LOOK_EVERY
        environment = node.environments.get()
        assert (environment.env_id, environment.has_free_tier) == (RAW_ENVIRONMENT["id"], True)
        assert (environment.free_room, environment.seen_at, environment.gone_at) == (2, NOW, None)
        assert environment.raw == RAW_ENVIRONMENT

    def test_asks_who_it_is_once_an_hour(self, node: Node, far: FakeNode, clock: Clock) -> None:
        for seconds in (0, 60, 3540, 1):
            clock.tick(seconds)
            look(node, clock)

        assert len(far.called("identify")) == 2
        assert len(far.called("environments")) == 4

    def test_keeps_an_environment_that_is_gone_and_marks_it(
        self, node: Node, far: FakeNode, clock: Clock
    ) -> None:
        look(node, clock)
        far.offers = [RAW_ENVIRONMENT | {"id": "0x6-new"}]
        clock.tick(60)

        look(node, clock)

        assert Environment.objects.get(env_id=RAW_ENVIRONMENT["id"]).gone_at == clock()
        assert Environment.objects.get(env_id="0x6-new").gone_at is None

    def test_takes_an_environment_back(self, node: Node, far: FakeNode, clock: Clock) -> None:
        builders.make_environment(node=node, gone_at=NOW)

        look(node, clock)

        assert node.environments.get().gone_at is None

    def test_does_not_believe_that_something_is_gone_when_part_was_unreadable(
        self, node: Node, far: FakeNode, clock: Clock
    ) -> None:
        look(node, clock)
        far.offers = [RAW_ENVIRONMENT | {"id": "0x6-new"}, "garbage"]
        clock.tick(60)

        look(node, clock)

        assert Environment.objects.get(env_id=RAW_ENVIRONMENT["id"]).gone_at is None
        assert node.trouble == "1 of its environments could not be read."

    def test_does_not_touch_the_environments_of_another_node(
        self, node: Node, far: FakeNode, clock: Clock
    ) -> None:
        other = builders.make_node(name="Other", base_url="http://127.0.0.1:8002")
        builders.make_environment(node=other)
        far.offers = []

        look(node, clock)

        assert other.environments.get().gone_at is None

    @pytest.mark.parametrize("error", [not_there(), BadAnswer("No node.", code="not_a_node")])
    def test_notes_trouble_and_keeps_what_it_knew(
        self, node: Node, far: FakeNode, clock: Clock, error: Exception
    ) -> None:
        builders.make_environment(node=node)
        far.will("identify", error)

        assert not look(node, clock)

        assert (node.asked_at, node.answered_at, node.trouble) == (NOW, None, str(error))
        assert node.next_look_at == NOW + nodes.LOOK_AGAIN_AFTER_TROUBLE
        assert node.environments.get().gone_at is None

    def test_waits_for_the_budget(self, node: Node, far: FakeNode, clock: Clock) -> None:
        for _ in range(14):
            budget.spend(node=node, purpose=Purpose.ACT, now=NOW)

        assert not look(node, clock)

        assert node.next_look_at == NOW + timedelta(seconds=60.1)
        assert node.trouble == "It was silent."


class TestClaimDue:
    def test_gives_each_node_once(self, node: Node) -> None:
        nodes.look_soon(node_ids=[node.pk], now=NOW)

        assert nodes.claim_due(now=NOW - timedelta(seconds=1)) == []
        assert nodes.claim_due(now=NOW) == [node.pk]
        assert nodes.claim_due(now=NOW) == []
        assert nodes.claim_due(now=NOW + nodes.LOOK_EVERY) == [node.pk]
