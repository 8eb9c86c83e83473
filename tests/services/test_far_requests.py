"""How often a launch asks the chain: many questions go together, or one by one where the endpoint wants it so."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pytest

from jobs.access import Actor
from jobs.lifecycle import State
from tests.ocean.wire import Answer, FakeWire
from tests.services.quay import ChainWire, statuses
from tests.services.test_outlays import DOLLARS_WEI, OCEAN_WEI, TIME_WEI
from tests.services.test_paid_launches import launched
from tests.services.tollhouse import Tollhouse


def one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the endpoint refuse several questions at once. Patched by name: the wire is the test's own."""
    usual = ChainWire.send

    def send(wire: ChainWire, request: Any, *more: Any, **options: Any) -> Any:
        if isinstance(json.loads(request.body), list):
            wire.requests += 1
            no = {"jsonrpc": "2.0", "id": None, "error": {"code": -32600, "message": "no batch"}}
            return FakeWire(Answer.json(no)).send(request)
        return usual(wire, request, *more, **options)

    monkeypatch.setattr(ChainWire, "send", send)


class TestPaidLaunch:
    def test_asks_the_chain_seldom(self, toll: Tollhouse, alice: Actor) -> None:
        most = {str(toll.ocean): OCEAN_WEI + TIME_WEI, str(toll.dollars): DOLLARS_WEI}
        before = toll.wire.requests

        job = launched(toll, alice, most=most)

        asked, sent = Counter(toll.wire.asked), job.transactions.count()
        assert job.state == State.RUNNING, job.message
        assert asked["eth_sendRawTransaction"] == asked["eth_estimateGas"] == sent == 9
        # Two openings; 4 steps, each with one look ahead and one for its receipts; a token's balance beside each order.
        # 7 to work it out; then an opening, a look ahead for each of 4 steps, what was sent, and its receipts by steps.
        assert toll.wire.requests - before <= 36

    def test_at_an_endpoint_that_takes_one_question_at_a_time_is_the_same(
        self, toll: Tollhouse, alice: Actor, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        one_by_one(monkeypatch)
        most = {str(toll.ocean): OCEAN_WEI + TIME_WEI, str(toll.dollars): DOLLARS_WEI}

        job = launched(toll, alice, most=most)

        assert job.state == State.RUNNING, job.message
        assert {status for _, status in statuses(job)} == {"confirmed"}
        assert toll.mined() == 9
