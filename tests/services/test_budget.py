"""A node is never asked more often than it allows, whoever asks, from however many processes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jobs.models import Node, NodeBudget
from jobs.services import budget
from jobs.services.budget import OutOfBudget, Purpose
from tests import builders
from tests.builders import NOW
from tests.services.conftest import run_together


@pytest.fixture
def node(db: None) -> Node:
    return builders.make_node()


def spend(node: Node, *, at: datetime = NOW, purpose: Purpose = Purpose.ACT) -> bool:
    try:
        budget.spend(node=node, purpose=purpose, now=at)
    except OutOfBudget:
        return False
    return True


class TestSpend:
    def test_takes_one_less_than_the_limit(self, node: Node) -> None:
        assert [spend(node) for _ in range(30)] == [True] * 29 + [False]

    @pytest.mark.parametrize(("purpose", "most"), [(Purpose.WATCH, 19), (Purpose.BACKGROUND, 14)])
    def test_keeps_a_part_for_what_matters_more(self, node: Node, purpose: Purpose, most: int) -> None:
        assert sum(spend(node, purpose=purpose) for _ in range(30)) == most
        assert sum(spend(node, purpose=Purpose.ACT) for _ in range(30)) == 29 - most

    def test_says_when_the_next_request_fits(self, node: Node) -> None:
        for i in range(29):
            spend(node, at=NOW + timedelta(seconds=i))

        with pytest.raises(OutOfBudget) as caught:
            budget.spend(node=node, purpose=Purpose.ACT, now=NOW + timedelta(seconds=30))

        assert caught.value.available_at == NOW + timedelta(seconds=60.1)
        assert not spend(node, at=NOW + timedelta(seconds=59.9))
        assert spend(node, at=caught.value.available_at)

    def test_says_for_each_purpose_when_it_fits(self, node: Node) -> None:
        for i in range(20):
            spend(node, at=NOW + timedelta(seconds=i))

        with pytest.raises(OutOfBudget) as caught:
            budget.spend(node=node, purpose=Purpose.BACKGROUND, now=NOW + timedelta(seconds=20))

        available_at = caught.value.available_at
        assert spend(node, at=available_at, purpose=Purpose.BACKGROUND)
        assert available_at == NOW + timedelta(seconds=66.1)

    def test_counts_each_node_for_itself(self, node: Node) -> None:
        other = builders.make_node(name="Other", base_url="http://127.0.0.1:8002")
        for _ in range(29):
            spend(node)

        assert spend(other)

    def test_keeps_to_a_small_limit(self, db: None) -> None:
        node = builders.make_node(requests_per_minute=10)

        assert sum(spend(node) for _ in range(12)) == 9
        assert [spend(node, purpose=purpose) for purpose in Purpose] == [False] * 3

    def test_lets_every_purpose_ask_once_where_next_to_nothing_is_allowed(self, db: None) -> None:
        node = builders.make_node(requests_per_minute=2)

        assert spend(node, purpose=Purpose.BACKGROUND)
        assert not spend(node, purpose=Purpose.ACT)

    @settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(
        pauses_ms=st.lists(st.integers(0, 9_000), max_size=60),
        purposes=st.lists(st.sampled_from(list(Purpose)), min_size=60, max_size=60),
        limit=st.integers(3, 12),
    )
    def test_never_takes_more_than_is_allowed_in_any_minute(
        self, node: Node, pauses_ms: list[int], purposes: list[Purpose], limit: int
    ) -> None:
        NodeBudget.objects.all().delete()
        node.requests_per_minute = limit
        now, taken = NOW, []
        for pause, purpose in zip(pauses_ms, purposes, strict=False):
            now += timedelta(milliseconds=pause)
            if spend(node, at=now, purpose=purpose):
                taken.append(now)

        for start in taken:
            assert sum(start <= t < start + timedelta(seconds=60) for t in taken) <= limit - 1

    def test_counts_right_when_threads_spend_at_once(self, on_disk: None) -> None:
        node = builders.make_node()

        taken = run_together(*[lambda: sum(spend(node) for _ in range(10))] * 4)

        assert sum(taken) == 29
        assert len(NodeBudget.objects.get().spent) == 29

    def test_gives_way_to_a_request_that_was_counted_in_between(
        self, node: Node, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for _ in range(28):
            spend(node)
        room = budget._room

        def overtaken(**given: Any) -> list[float]:
            recent = room(**given)
            NodeBudget.objects.update(spent=[*recent, NOW.timestamp()], version=given["row"].version + 1)
            return recent

        # Patched by name: another process counts its request between our reading and our writing.
        monkeypatch.setattr(budget, "_room", overtaken)

        assert not spend(node)


class TestCheck:
    def test_counts_nothing(self, node: Node) -> None:
        for _ in range(40):
            budget.check(node=node, purpose=Purpose.ACT, now=NOW)

        assert spend(node)

    def test_refuses_what_spending_would_refuse(self, node: Node) -> None:
        for _ in range(14):
            spend(node)

        budget.check(node=node, purpose=Purpose.WATCH, now=NOW)
        with pytest.raises(OutOfBudget):
            budget.check(node=node, purpose=Purpose.BACKGROUND, now=NOW)


class TestExhaust:
    @pytest.mark.parametrize("seconds", [5, 60, 300])
    def test_lets_nothing_through_until_then(self, node: Node, seconds: int) -> None:
        until = NOW + timedelta(seconds=seconds)
        spend(node)

        budget.exhaust(node=node, until=until, now=NOW)

        assert not spend(node)
        assert not spend(node, at=until)
        assert spend(node, at=until + timedelta(seconds=0.2))

    def test_is_not_undone_by_a_request_that_was_being_counted(
        self, node: Node, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        spend(node)
        room = budget._room

        def exhausted_meanwhile(**given: Any) -> list[float]:
            recent = room(**given)
            budget.exhaust(node=node, until=NOW + timedelta(seconds=30), now=NOW)
            return recent

        # Patched by name: the node's "too many" arrives between our reading and our writing.
        monkeypatch.setattr(budget, "_room", exhausted_meanwhile)

        assert not spend(node)

    def test_keeps_times_that_can_be_read(self, node: Node) -> None:
        budget.exhaust(node=node, until=datetime(2025, 11, 22, 14, 1, tzinfo=UTC), now=NOW)

        with pytest.raises(OutOfBudget) as caught:
            budget.spend(node=node, purpose=Purpose.ACT, now=NOW)
        assert (
            timedelta(0) <= caught.value.available_at - (NOW + timedelta(seconds=60)) < timedelta(seconds=1)
        )
