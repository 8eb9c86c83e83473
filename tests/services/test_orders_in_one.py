"""Datatokens of template 2, which are had in the transaction of the order alone: bought or given away, and ordered."""

from __future__ import annotations

import json
from typing import Any

import pytest

from jobs.lifecycle import State
from jobs.models import Asset, Job, Order, Transaction
from jobs.ocean import orders, pricing
from jobs.ocean.abi import encode_call
from jobs.ocean.transactions import Call, Receipt, parse_receipt
from jobs.ocean.units import Address, Wei
from jobs.selectors.commands import job_summary
from jobs.services import datatokens, outlays, payments, reconciling, sending
from jobs.services.outlays import Line, Outlay, Step
from ocean_portal.sandbox.chain import ETHER
from tests.services.fakes import OWNER
from tests.services.payers import AWAY
from tests.services.quay import CONSUMER, order_of, statuses
from tests.services.steps import advance
from tests.services.test_outlays import (
    DOLLARS_WEI,
    LOCK_WEI,
    OCEAN_WEI,
    TIME_WEI,
    approvals,
    approve,
    ended,
    steps,
)
from tests.services.tollhouse import MILLION, Tollhouse


def asset(place: Tollhouse, token: str, **values: Any) -> Asset:
    """Publish an asset whose datatoken is one of template 2: "ocean", "dollars", or "free"."""
    place.publish_with_order(token)
    return place.for_sale(token, **values)


def datatoken(place: Tollhouse, name: str) -> Address:
    return place.sold[name].datatoken


def orders_of(outlay: Outlay) -> list[Step]:
    return [step for step in outlay.steps if step.wanted is not None]


def pay_in_three_tokens(place: Tollhouse) -> Address:
    """Sell a datatoken for Ocean, at a Provider that takes dollars, and let the market take a third token; return that."""
    place.give_sold("dollars")  # of template 1
    third = datatoken(place, "dollars")
    place.network.tokens.create(address=third, symbol="THIRD", decimals=18)
    place.limit(third, 7)
    place.far.token, place.far.minute_wei = place.dollars, MILLION
    place.publish_with_order("ocean")
    place.set_order_fee("ocean", token=third, amount_wei=7)
    return third


def plain_order(step: Step) -> Call:
    """The call that spends a datatoken of the wallet, for the same order."""
    want = step.wanted
    assert want is not None
    return orders.start_order(
        datatoken=want.part.datatoken, consumer=CONSUMER, service_index=want.part.index, fee=want.fee
    )


def all_holdings(place: Tollhouse) -> dict[Address, int]:
    return {token: place.holds(token) for token in (place.ocean, place.dollars)}


class TestSteps:
    def test_of_what_is_sold_are_one_word_and_one_order(self, toll: Tollhouse) -> None:
        dataset = asset(toll, "ocean", name="Tides")
        toll.set_order_fee("ocean", token=toll.dollars, amount_wei=7)

        outlay = toll.outlay(toll.paid(datasets=[dataset]))

        spender = str(datatoken(toll, "ocean"))
        assert steps(outlay) == [(30, "approval"), (30, "approval"), (40, "order")]
        assert approvals(outlay) == [
            approve(toll.ocean, spender, OCEAN_WEI + TIME_WEI),
            approve(toll.dollars, spender, 7),
        ]
        assert outlay.spent == {toll.ocean: OCEAN_WEI + TIME_WEI, toll.dollars: 7}
        assert outlay.needed == outlay.spent
        last = outlay.steps[-1]
        assert (last.token, last.amount_wei, last.also) == (
            toll.ocean,
            OCEAN_WEI + TIME_WEI,
            {toll.dollars: 7},
        )
        assert (last.call.to, last.told) == (spender, "Buy and order “Tides”")

    def test_of_what_is_given_away_for_nothing_are_the_order_alone(self, gate: Tollhouse) -> None:
        outlay = gate.outlay(gate.paid(datasets=[asset(gate, "free", name="Tides")]))

        assert steps(outlay) == [(30, "approval"), (40, "order"), (50, "deposit"), (60, "authorization")]
        assert approvals(outlay) == [approve(gate.ocean, gate.deployed.contracts["Escrow"], LOCK_WEI)]
        (order,) = orders_of(outlay)
        assert (order.token, order.told) == (None, "Get “Tides” from its dispenser and order it")

    def test_are_told_in_words(self, toll: Tollhouse) -> None:
        datasets = [asset(toll, "dollars", name="Tides"), asset(toll, "free", name="Winds")]
        toll.set_order_fee("free", token=toll.dollars, amount_wei=7)

        outlay = toll.outlay(toll.paid(datasets=datasets))

        assert outlay.lines == (
            Line("“Tides”: 1 datatoken, bought with its order", toll.dollars, Wei(DOLLARS_WEI)),
            Line("Fee of the service, with “Tides”", toll.ocean, Wei(TIME_WEI)),
            Line("“Winds”: given away with its order"),
            Line("Fee of the market for “Winds”", toll.dollars, Wei(7)),
        )

    def test_of_two_orders_of_one_datatoken_are_two_calls(self, toll: Tollhouse) -> None:
        datasets = [asset(toll, "ocean"), toll.for_sale("ocean", name="Tides")]

        job = advance(toll.paid(datasets=datasets), toll.clock)

        assert statuses(job) == [("approval", "confirmed"), ("order", "confirmed"), ("order", "confirmed")]
        assert job.state == State.RUNNING
        assert toll.holds(toll.ocean) == 1_000 * ETHER - 2 * OCEAN_WEI - TIME_WEI
        assert toll.allowed(toll.ocean, datatoken(toll, "ocean")) == 0

    @pytest.mark.parametrize(("owned", "bought"), [(1, 1), (2, 0)])
    def test_spend_first_what_the_wallet_has(self, toll: Tollhouse, owned: int, bought: int) -> None:
        datasets = [asset(toll, "ocean"), toll.for_sale("ocean", name="Tides")]
        for _ in range(owned):
            toll.give_sold("ocean")
        job = toll.paid(datasets=datasets)

        outlay = toll.outlay(job)
        advance(job, toll.clock)

        made = orders_of(outlay)
        assert [step.call == plain_order(step) for step in made] == [True] * owned + [False] * bought
        assert [step.gets_datatoken for step in made] == [False] * owned + [True] * bought
        assert job.state == State.RUNNING
        assert toll.holds(toll.ocean) == 1_000 * ETHER - bought * OCEAN_WEI - TIME_WEI
        assert toll.holds(datatoken(toll, "ocean")) == 0

    def test_need_what_an_exchange_can_sell_of(self, toll: Tollhouse) -> None:
        dataset = asset(toll, "ocean")
        terms = pricing.Terms(
            datatoken=datatoken(toll, "ocean"),
            template=2,
            prices=(a_rate(toll, supply_wei=2 * ETHER - 1),),
            order_fee=None,
        )

        assert datatokens.with_orders(terms, count=1) is terms.prices[0]
        assert datatokens.with_orders(terms, count=2) is None
        assert dataset.services[0]["datatoken"] == terms.datatoken

    def test_take_no_more_gas_than_was_told(self, toll: Tollhouse) -> None:
        pay_in_three_tokens(toll)

        outlay = toll.outlay(toll.paid(datasets=[toll.for_sale("ocean")]))

        *before, order = outlay.steps
        for step in before:
            toll.act(step.call)
        asked = {"from": str(OWNER), "to": order.call.to, "data": "0x" + order.call.data.hex()}
        gas = int(toll.chain.rpc("eth_estimateGas", [asked]), 16)
        assert len(order.also) == 2
        assert 400_000 < gas * sending.GAS_MARGIN < outlays.GAS_GUESS_IN_ONE
        price = outlay.gas_wei // (3 * outlays.GAS_GUESS + outlays.GAS_GUESS_IN_ONE)
        assert outlay.gas_wei == price * (3 * outlays.GAS_GUESS + outlays.GAS_GUESS_IN_ONE)


def a_rate(place: Tollhouse, *, supply_wei: int) -> pricing.FixedRate:
    return pricing.FixedRate(
        exchange=Address(place.deployed.contracts["FixedPrice"]),
        exchange_id="0x" + "00" * 32,
        base_token=place.ocean,
        base_decimals=18,
        rate_wei=Wei(ETHER),
        market_fee=0,
        ocean_fee=0,
        supply_wei=Wei(supply_wei),
        only_for=datatoken(place, "ocean"),
    )


class TestJob:
    @pytest.mark.parametrize(("name", "price"), [("ocean", OCEAN_WEI), ("dollars", DOLLARS_WEI), ("free", 0)])
    @pytest.mark.parametrize("market", ["none", "ocean", "dollars"])
    def test_runs_and_what_it_paid_is_what_left_the_wallet(
        self, either: Tollhouse, name: str, price: int, market: str
    ) -> None:
        dataset = asset(either, name)
        paid = {either.ocean: LOCK_WEI if either.is_node else TIME_WEI, either.dollars: 0}
        paid[either.dollars if name == "dollars" else either.ocean] += price
        if market != "none":
            token = either.ocean if market == "ocean" else either.dollars
            either.set_order_fee(name, token=token, amount_wei=7)
            paid[token] += 7
        most = {str(token): str(wei) for token, wei in paid.items()}
        before = all_holdings(either)

        job = advance(either.paid(datasets=[dataset], most=most), either.clock)

        assert job.state == State.RUNNING, (job.message, job.trouble)
        assert {t: before[t] - after for t, after in all_holdings(either).items()} == paid
        assert payments.paid_before(job=job).moved == {str(t): wei for t, wei in paid.items() if wei}
        spender = datatoken(either, name)
        for token in (either.ocean, either.dollars):
            assert (either.allowed(token, spender), either.allowed(token, exchange(either))) == (0, 0)
        order = order_of(job)
        seen = orders.order_in(receipt_of(either, order), datatoken=spender)
        assert seen is not None
        assert (seen.kind, seen.payer, seen.consumer) == ("started", OWNER, order.consumer)
        assert order.gets_datatoken
        assert {("dispense", "confirmed"), ("purchase", "confirmed")}.isdisjoint(statuses(job))
        assert reconciling.compare(clock=either.clock) == ()

    def test_that_pays_in_three_tokens_tells_all_of_it(self, toll: Tollhouse) -> None:
        third = pay_in_three_tokens(toll)
        job = toll.paid(datasets=[toll.for_sale("ocean")])
        Job.objects.filter(pk=job.pk).update(most=job.most | {str(third): "7"})
        before = all_holdings(toll)

        advance(job, toll.clock)

        assert job.state == State.RUNNING, (job.message, job.trouble)
        paid = {toll.ocean: OCEAN_WEI, toll.dollars: 10 * MILLION}
        assert {t: before[t] - after for t, after in all_holdings(toll).items()} == paid
        assert toll.holds(third) == ETHER - 7
        told = {str(token): wei for token, wei in paid.items()} | {str(third): 7}
        assert (payments.paid_before(job=job).spent, payments.paid_before(job=job).moved) == (told, told)
        charged = job_summary(team_id=toll.team.pk, job_id=job.pk)["charged"]
        assert {row["symbol"]: row["amount"] for row in charged} == {
            "OCEAN": "2.5025",
            "USDC": "10",
            "THIRD": "0.000000000000000007",
        }

    def test_uses_its_order_again(self, toll: Tollhouse) -> None:
        dataset = asset(toll, "ocean")
        first = ended(toll, advance(toll.paid(datasets=[dataset]), toll.clock))
        toll.clock.tick(3600)

        second = advance(toll.paid(datasets=[dataset]), toll.clock)

        assert statuses(second) == [("approval", "confirmed"), ("renewal", "confirmed")]
        assert order_of(second).renews == order_of(first)
        assert not order_of(second).gets_datatoken
        assert second.state == State.RUNNING

    def test_whose_rate_went_up_since_the_plan_pays_nothing(self, toll: Tollhouse) -> None:
        job = toll.paid(datasets=[asset(toll, "ocean", name="Tides")])
        toll.wire.will("eth_estimateGas", AWAY)
        advance(job, toll.clock)
        assert job.state == State.PAYING
        toll.set_rate("ocean", 3 * ETHER)

        toll.clock.tick(10)
        advance(job, toll.clock)

        assert (job.state, job.reason) == (State.FAILED, "reverted")
        assert "Buy and order “Tides”: the chain refused it" in job.message
        assert "Too many base tokens" in job.message
        assert toll.holds(toll.ocean) == 1_000 * ETHER

    def test_gets_nothing_from_a_dispenser_beside_its_order(self, toll: Tollhouse) -> None:
        job = toll.paid(datasets=[asset(toll, "free")])
        toll.wire.will("eth_estimateGas", AWAY)
        advance(job, toll.clock)

        toll.clock.tick(10)
        advance(job, toll.clock)

        assert statuses(job) == [("approval", "confirmed"), ("order", "confirmed")]
        assert job.state == State.RUNNING

    def test_leaves_the_datatoken_that_the_wallet_has_to_another_job(self, toll: Tollhouse) -> None:
        dataset = asset(toll, "ocean")
        first = toll.paid(datasets=[dataset])
        toll.wire.will("eth_estimateGas", AWAY)
        advance(first, toll.clock)
        assert Order.objects.get(transaction__job=first).gets_datatoken
        toll.give_sold("ocean")

        outlay = toll.outlay(toll.paid(datasets=[dataset]))

        assert outlay.spent == {toll.ocean: TIME_WEI}
        assert outlay.lines[0] == Line("“Buoys 2025”: a datatoken that the wallet has")

    def test_planned_again_moves_the_same(self, toll: Tollhouse) -> None:
        dataset = asset(toll, "dollars")
        job = toll.paid(datasets=[dataset])
        toll.wire.will("eth_estimateGas", AWAY)
        advance(job, toll.clock)
        planned = job.transactions.get(purpose="order")
        assert planned.moved == ((toll.dollars, DOLLARS_WEI), (toll.ocean, TIME_WEI))

        sending.plan_again(tx=planned)

        anew = Transaction.objects.get(replaces=planned)
        assert anew.moved == planned.moved
        assert anew.order.gets_datatoken

    def test_at_a_datatoken_that_only_says_it_is_of_template_two_has_no_order(
        self, toll: Tollhouse, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        usual, asked = toll.wire._answer, encode_call("getId()").hex()

        def lie(method: str, body: bytes) -> dict[str, Any]:
            answer = usual(method, body)
            if method == "eth_call" and json.loads(body)["params"][0]["data"] == f"0x{asked}":
                answer["result"] = f"0x{2:064x}"
            return answer

        monkeypatch.setattr(toll.wire, "_answer", lie)

        job = advance(toll.paid(datasets=[toll.for_sale("ocean")]), toll.clock)

        assert job.state == State.FAILED
        assert "the datatoken noted no such order" in job.message
        assert toll.holds(toll.ocean) == 1_000 * ETHER
        assert payments.paid_before(job=job).moved == {}


class TestMarketFee:
    def test_of_an_order_of_template_one_is_counted_in_what_was_paid(self, either: Tollhouse) -> None:
        dataset = either.for_sale("ocean")
        either.set_order_fee("ocean", token=either.dollars, amount_wei=7)

        job = advance(either.paid(datasets=[dataset]), either.clock)

        assert job.state == State.RUNNING
        ocean = OCEAN_WEI + (LOCK_WEI if either.is_node else TIME_WEI)
        assert payments.paid_before(job=job).moved == {str(either.ocean): ocean, str(either.dollars): 7}
        assert "0.000007 USDC" in payments.told_paid(job=job)


def exchange(place: Tollhouse) -> str:
    return str(place.deployed.contracts["FixedPrice"])


def receipt_of(place: Tollhouse, order: Order) -> Receipt:
    receipt = parse_receipt(place.chain.rpc("eth_getTransactionReceipt", [order.transaction.tx_hash]))
    assert receipt is not None
    return receipt
