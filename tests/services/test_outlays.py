"""What a start takes is worked out exactly: which transactions, in which order, and what all of it costs."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from jobs.lifecycle import State
from jobs.models import Asset, Job
from jobs.ocean import escrow, orders
from jobs.ocean.units import Address, Wei
from jobs.services.outlays import Line, Outlay
from ocean_portal.sandbox.chain import ETHER
from tests.services.quay import PROVIDER, order_of
from tests.services.steps import advance
from tests.services.tollhouse import MILLION, MINUTE_WEI, Tollhouse

TIME_WEI = 10 * MINUTE_WEI  # of a job at the Provider
LOCK_WEI = 11 * ETHER  # of a job at the node: a processor and a gigabyte for ten minutes
OCEAN_WEI = 5 * ETHER // 2 + 5 * ETHER // 2_000  # what a datatoken costs, with a thousandth for Ocean
DOLLARS_WEI = 3 * MILLION + 30_000 + 6_000  # with a hundredth for the market and two thousandths for Ocean


def steps(outlay: Outlay) -> list[tuple[int, str]]:
    return [(step.step, str(step.purpose)) for step in outlay.steps]


def approvals(outlay: Outlay) -> list[bytes]:
    return [step.call.data for step in outlay.steps if step.purpose == "approval"]


def approve(token: Address, spender: str, amount_wei: int) -> bytes:
    return orders.approve(token=token, spender=Address(spender), amount_wei=Wei(amount_wei)).data


def deposited(place: Tollhouse, amount_wei: int, token: Address | None = None) -> None:
    """Let another program pay into the wallet's escrow."""
    token, contract = token or place.ocean, Address(place.deployed.contracts["Escrow"])
    place.act(orders.approve(token=token, spender=contract, amount_wei=Wei(amount_wei)))
    place.act(escrow.deposit(escrow=contract, token=token, amount_wei=Wei(amount_wei)))


def ended(place: Tollhouse, job: Job) -> Job:
    """Let a running job end well, in the portal and at the service."""
    assert job.state == State.RUNNING, job.message
    place.far.end_jobs()
    Job.objects.filter(pk=job.pk).update(state=State.SUCCEEDED)
    return job


class TestSteps:
    def test_at_a_provider_buy_then_allow_the_fee_then_order(self, toll: Tollhouse) -> None:
        outlay = toll.outlay(toll.paid(datasets=[toll.for_sale("ocean")]))

        assert steps(outlay) == [(10, "approval"), (20, "purchase"), (30, "approval"), (40, "order")]
        assert outlay.spent == {toll.ocean: OCEAN_WEI + TIME_WEI}
        assert outlay.needed == outlay.spent
        assert [step.amount_wei for step in outlay.steps] == [0, OCEAN_WEI, 0, TIME_WEI]
        assert outlay.payment is None

    def test_at_a_node_end_with_the_escrow(self, gate: Tollhouse) -> None:
        outlay = gate.outlay(gate.paid(datasets=[gate.for_sale("ocean")]))

        assert steps(outlay) == [
            (10, "approval"),
            (20, "purchase"),
            (30, "approval"),
            (40, "order"),
            (50, "deposit"),
            (60, "authorization"),
        ]
        assert outlay.spent == {gate.ocean: OCEAN_WEI + LOCK_WEI}

    def test_of_several_assets_come_together(self, toll: Tollhouse) -> None:
        algorithm = toll.asset("algorithm", kind=Asset.Kind.ALGORITHM, name="Own one")
        job = toll.paid(
            datasets=[toll.for_sale("ocean"), toll.for_sale("dollars")],
            own_algorithm=None,
            algorithm=algorithm,
        )

        outlay = toll.outlay(job)

        assert [purpose for _, purpose in steps(outlay)] == [
            *["approval"] * 2,
            *["purchase", "purchase", "dispense"],
            "approval",
            *["order"] * 3,
        ]
        assert [w.wanted.place for w in outlay.steps if w.wanted] == [0, 1, 2]
        assert outlay.spent == {toll.ocean: OCEAN_WEI + TIME_WEI, toll.dollars: DOLLARS_WEI}

    def test_tell_every_item_with_its_price(self, gate: Tollhouse) -> None:
        gate.set_order_fee("ocean", token=gate.dollars, amount_wei=7)
        dataset = gate.for_sale("ocean", name="Tides")

        outlay = gate.outlay(gate.paid(datasets=[gate.dataset, dataset]))

        assert outlay.lines == (
            Line("“Buoys 2025”: given away"),
            Line("“Tides”: 1 datatoken", token=gate.ocean, amount_wei=Wei(OCEAN_WEI)),
            Line("Fee of the market for “Tides”", token=gate.dollars, amount_wei=Wei(7)),
            Line("Compute time, at the most", token=gate.ocean, amount_wei=Wei(LOCK_WEI)),
        )
        assert outlay.balances == {gate.ocean: 1_000 * ETHER, gate.dollars: 1_000 * MILLION}


class TestBuying:
    @pytest.mark.parametrize(("owned", "bought"), [(0, 2), (1, 1), (2, 0)])
    def test_gets_no_more_than_is_missing_for_two_parts_of_one_datatoken(
        self, toll: Tollhouse, owned: int, bought: int
    ) -> None:
        datasets = [toll.for_sale("ocean"), toll.for_sale("ocean", name="Tides")]
        for _ in range(owned):
            toll.give_sold("ocean")

        outlay = toll.outlay(toll.paid(datasets=datasets))

        assert outlay.spent == {toll.ocean: bought * OCEAN_WEI + TIME_WEI}
        assert [s.amount_wei for s in outlay.steps if s.purpose == "purchase"] == (
            [bought * OCEAN_WEI] if bought else []
        )
        assert len([s for s in outlay.steps if s.purpose == "order"]) == 2

    def test_allows_the_exchange_exactly_the_price(self, toll: Tollhouse) -> None:
        outlay = toll.outlay(toll.paid(datasets=[toll.for_sale("dollars")]))

        exchange = toll.deployed.contracts["FixedPrice"]
        assert approvals(outlay)[0] == approve(toll.dollars, exchange, DOLLARS_WEI)

    def test_adds_up_what_one_exchange_draws_of_one_token(self, toll: Tollhouse) -> None:
        again = toll.sell_again("ocean")
        datasets = [toll.for_sale("ocean"), toll.for_sale(again, name="Tides")]

        outlay = toll.outlay(toll.paid(datasets=datasets))

        exchange = toll.deployed.contracts["FixedPrice"]
        assert approvals(outlay)[0] == approve(toll.ocean, exchange, 2 * OCEAN_WEI)
        assert len(approvals(outlay)) == 2

    def test_needs_no_second_word_where_as_much_is_allowed(self, toll: Tollhouse) -> None:
        exchange = Address(toll.deployed.contracts["FixedPrice"])
        toll.act(orders.approve(token=toll.ocean, spender=exchange, amount_wei=Wei(OCEAN_WEI)))

        job = advance(toll.paid(datasets=[toll.for_sale("ocean")]), toll.clock)

        assert job.state == State.RUNNING
        assert job.transactions.filter(purpose="approval").count() == 1
        assert toll.allowed(toll.ocean, exchange) == 0

    @pytest.mark.parametrize("before", [OCEAN_WEI - 1, OCEAN_WEI + 1, 2**256 - 1])
    def test_replaces_what_was_allowed_before(self, toll: Tollhouse, before: int) -> None:
        exchange = Address(toll.deployed.contracts["FixedPrice"])
        toll.act(orders.approve(token=toll.ocean, spender=exchange, amount_wei=Wei(before)))

        job = advance(toll.paid(datasets=[toll.for_sale("ocean")]), toll.clock)

        assert job.state == State.RUNNING
        assert toll.allowed(toll.ocean, exchange) == 0


class TestOrdering:
    def test_pays_the_market_s_fee_beside_the_service_s(self, toll: Tollhouse) -> None:
        toll.set_order_fee("ocean", token=toll.ocean, amount_wei=ETHER // 4)
        dataset = toll.for_sale("ocean")

        outlay = toll.outlay(toll.paid(datasets=[dataset]))

        datatoken = str(toll.sold["ocean"].datatoken)
        assert outlay.spent == {toll.ocean: OCEAN_WEI + TIME_WEI + ETHER // 4}
        assert approvals(outlay)[1:] == [approve(toll.ocean, datatoken, TIME_WEI + ETHER // 4)]

    def test_allows_each_token_for_itself(self, toll: Tollhouse) -> None:
        toll.set_order_fee("ocean", token=toll.dollars, amount_wei=7)
        dataset = toll.for_sale("ocean")

        job = advance(toll.paid(datasets=[dataset]), toll.clock)

        datatoken = str(toll.sold["ocean"].datatoken)
        assert job.state == State.RUNNING
        assert toll.holds(toll.dollars) == 1_000 * MILLION - 7
        assert (toll.allowed(toll.ocean, datatoken), toll.allowed(toll.dollars, datatoken)) == (0, 0)

    def test_uses_what_is_there_for_nothing(self, toll: Tollhouse) -> None:
        first = ended(toll, advance(toll.paid(), toll.clock))

        outlay = toll.outlay(toll.paid(max_duration_s=300))

        assert outlay.used == {0: order_of(first)}
        assert (outlay.steps, outlay.spent, outlay.needed) == ((), {}, {})
        assert outlay.lines == (Line("“Buoys 2025”: an order that is there already"),)

    def test_renews_without_the_market_s_fee(self, toll: Tollhouse) -> None:
        toll.set_order_fee("ocean", token=toll.dollars, amount_wei=7)
        dataset = toll.for_sale("ocean")
        first = ended(toll, advance(toll.paid(datasets=[dataset]), toll.clock))
        toll.clock.tick(3600)

        outlay = toll.outlay(toll.paid(datasets=[dataset]))

        assert steps(outlay) == [(30, "approval"), (40, "renewal")]
        assert outlay.spent == {toll.ocean: TIME_WEI}
        assert outlay.steps[-1].wanted is not None
        assert outlay.steps[-1].wanted.renews == order_of(first)

    def test_pays_for_the_time_where_no_order_that_is_there_has_done_so(self, toll: Tollhouse) -> None:
        both = [toll.dataset, toll.asset("dataset", name="Tides")]
        ended(toll, advance(toll.paid(datasets=both, max_duration_s=1_200), toll.clock))

        job = advance(toll.paid(datasets=[both[1]]), toll.clock)

        assert job.state == State.RUNNING, job.message
        assert [str(tx.purpose) for tx in job.transactions.order_by("sequence")] == ["approval", "renewal"]

    def test_at_a_node_uses_an_order_again_and_pays_for_the_time_alone(self, gate: Tollhouse) -> None:
        first = ended(gate, advance(gate.paid(), gate.clock))
        gate.far.claim(first, amount_wei=LOCK_WEI)

        outlay = gate.outlay(gate.paid())

        assert outlay.used == {0: order_of(first)}
        assert steps(outlay) == [(30, "approval"), (50, "deposit")]  # the node may lock once more still


class TestEscrow:
    @pytest.mark.parametrize(("there", "missing"), [(0, LOCK_WEI), (4 * ETHER, 7 * ETHER), (LOCK_WEI - 1, 1)])
    def test_gets_exactly_what_is_missing(self, gate: Tollhouse, there: int, missing: int) -> None:
        if there:
            deposited(gate, there)

        outlay = gate.outlay(gate.paid())

        contract = gate.deployed.contracts["Escrow"]
        assert outlay.spent == {gate.ocean: LOCK_WEI}
        assert outlay.needed == {gate.ocean: missing}
        assert [s.amount_wei for s in outlay.steps if s.purpose == "deposit"] == [missing]
        assert approvals(outlay) == [approve(gate.ocean, contract, missing)]

    @pytest.mark.parametrize("there", [LOCK_WEI, LOCK_WEI + 1, 50 * ETHER])
    def test_gets_nothing_where_there_is_enough(self, gate: Tollhouse, there: int) -> None:
        deposited(gate, there)

        outlay = gate.outlay(gate.paid())

        assert [purpose for _, purpose in steps(outlay)] == ["dispense", "order", "authorization"]
        assert (outlay.spent, outlay.needed) == ({gate.ocean: LOCK_WEI}, {gate.ocean: 0})

    def test_lets_the_node_lock_once_and_no_more(self, gate: Tollhouse) -> None:
        outlay = gate.outlay(gate.paid(queue_wait_s=60))

        assert outlay.steps[-1].call.data == authorize(gate, LOCK_WEI, 600 + 60 + 3600, 1)

    def test_counts_what_the_node_has_locked_for_another_job(self, gate: Tollhouse) -> None:
        advance(gate.paid(), gate.clock)
        assert gate.authorized(gate.ocean) == (LOCK_WEI, LOCK_WEI, 4_200, 1, 1)

        outlay = gate.outlay(gate.paid(max_duration_s=300))

        half = LOCK_WEI // 2
        assert outlay.steps[-1].call.data == authorize(gate, LOCK_WEI + half, 300 + 3600, 2)
        assert outlay.needed == {gate.ocean: half}

    def test_says_nothing_anew_where_exactly_that_is_allowed(self, gate: Tollhouse) -> None:
        deposited(gate, LOCK_WEI)
        call = escrow.authorize(
            escrow=Address(gate.deployed.contracts["Escrow"]),
            token=gate.ocean,
            payee=PROVIDER,
            max_locked_wei=Wei(LOCK_WEI),
            max_lock_s=4_200,
            max_locks=1,
        )
        gate.act(call)

        job = advance(gate.paid(), gate.clock)

        assert job.state == State.RUNNING
        assert [str(tx.purpose) for tx in job.transactions.order_by("sequence")] == ["dispense", "order"]

    def test_counts_a_token_of_six_decimals_as_it_does(self, gate: Tollhouse) -> None:
        job = advance(gate.paid(payment_token=str(gate.dollars)), gate.clock)

        assert job.state == State.RUNNING
        assert gate.in_escrow(gate.dollars) == (0, 5 * MILLION)
        assert gate.holds(gate.dollars) == 995 * MILLION


def authorize(place: Tollhouse, amount_wei: int, seconds: int, locks: int) -> bytes:
    return escrow.authorize(
        escrow=Address(place.deployed.contracts["Escrow"]),
        token=place.ocean,
        payee=PROVIDER,
        max_locked_wei=Wei(amount_wei),
        max_lock_s=seconds,
        max_locks=locks,
    ).data


class TestSums:
    def test_are_what_leaves_the_wallet_to_the_wei(self, gate: Tollhouse) -> None:
        @given(
            rate_wei=st.integers(10**10, 50 * ETHER),
            market_fee=st.just(0) | st.integers(ETHER // 1_000, ETHER // 10),
            order_fee=st.integers(0, 9 * ETHER),
            there=st.integers(0, 15 * ETHER),
            count=st.integers(1, 2),
            name=st.sampled_from(["ocean", "dollars"]),
        )
        # One example is a dozen real transactions: a failing one is told as it was found.
        @settings(max_examples=12, deadline=None, derandomize=True, phases=[Phase.generate], database=None)
        def at_any_price(**price: Any) -> None:
            before = gate.chain.rpc("evm_snapshot", [])
            try:
                conserves(gate, **price)
            finally:
                gate.chain.rpc("evm_revert", [before])

        at_any_price()


def conserves(
    gate: Tollhouse,
    *,
    rate_wei: int,
    market_fee: int,
    order_fee: int,
    there: int,
    count: int,
    name: str,
) -> None:
    """Send all steps of an outlay, and compare what it told with what the chain did."""
    gate.set_rate(name, rate_wei)
    gate.set_market_fee(name, market_fee)
    gate.set_order_fee(name, token=gate.ocean, amount_wei=order_fee)
    if there:
        deposited(gate, there)
    datasets = [gate.for_sale(name, name=f"Tides {n}") for n in range(count)]
    outlay = gate.outlay(gate.paid(datasets=datasets))
    held = {token: gate.holds(token) for token in (gate.ocean, gate.dollars)}

    for step in outlay.steps:
        gate.act(step.call)

    assert {t: held[t] - gate.holds(t) for t in held} == {t: outlay.needed.get(t, 0) for t in held}
    told: dict[Any, int] = {}
    for line in outlay.lines:
        if line.token is not None:
            told[line.token] = told.get(line.token, 0) + line.amount_wei
    assert told == dict(outlay.spent)
    assert gate.in_escrow(gate.ocean) == (max(there, LOCK_WEI), 0)
    contracts = gate.deployed.contracts
    for spender in (contracts["Escrow"], contracts["FixedPrice"], str(gate.sold[name].datatoken)):
        assert (gate.allowed(gate.ocean, spender), gate.allowed(gate.dollars, spender)) == (0, 0)
    assert gate.authorized(gate.ocean) == (LOCK_WEI, 0, 4_200, 1, 0)
