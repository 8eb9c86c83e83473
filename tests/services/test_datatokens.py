"""Datatokens that an order was to spend and that are gone meanwhile."""

from __future__ import annotations

from jobs.lifecycle import State
from tests.services.payers import AWAY, later, one_order
from tests.services.quay import Quay, statuses
from tests.services.steps import advance


class TestLackingToken:
    def test_gets_another_where_it_was_spent_meanwhile(self, quay: Quay) -> None:
        job = one_order(quay)
        quay.wire.will("eth_estimateGas", AWAY)
        advance(job, quay.clock)
        quay.spend("dataset")

        later(quay, job, 10)

        assert job.state == State.RUNNING
        assert statuses(job) == [("order", "confirmed"), ("dispense", "confirmed")]
        assert list(job.transactions.order_by("sequence").values_list("step", flat=True)) == [40, 39]
        assert (quay.orders_on_chain(), quay.balance("dataset")) == (1, 0)

    def test_that_nobody_gives_away_any_more_puts_the_job_aside(self, quay: Quay) -> None:
        job = one_order(quay, datasets=[quay.asset("sold")])
        quay.give("sold")
        quay.wire.will("eth_estimateGas", AWAY)
        advance(job, quay.clock)
        quay.spend("sold")

        later(quay, job, 10)

        assert (job.state, job.reason) == (State.NEEDS_ATTENTION, "no_datatoken")
        assert statuses(job) == [("order", "planned")]

    def test_for_the_second_of_two_orders_is_seen_before_that_is_signed(self, quay: Quay) -> None:
        quay.give("dataset", 2)
        job = quay.job(
            own_algorithm={"code": "1", "language": ""}, datasets=[quay.dataset, quay.asset("dataset")]
        )
        quay.wire.will("eth_estimateGas", AWAY)
        advance(job, quay.clock)
        quay.spend("dataset")

        later(quay, job, 10)

        assert job.state == State.RUNNING
        assert statuses(job) == [("order", "confirmed")] * 2 + [("dispense", "confirmed")]
        assert quay.orders_on_chain() == 2

    def test_that_another_job_is_spending_is_not_spent_twice(self, quay: Quay) -> None:
        first, second = one_order(quay), one_order(quay)
        quay.wire.will("eth_estimateGas", AWAY, AWAY)
        advance(first, quay.clock)
        advance(second, quay.clock)
        quay.spend("dataset")
        quay.automine(False)

        later(quay, first, 10)
        advance(second, quay.clock)

        assert statuses(first) == [("order", "sent")]
        assert statuses(second) == [("order", "planned"), ("dispense", "sent")]
        for _ in range(3):
            quay.mine()
            later(quay, first, 2)
            advance(second, quay.clock)
        assert (first.state, second.state) == (State.RUNNING, State.RUNNING)
        assert quay.orders_on_chain() == 2
