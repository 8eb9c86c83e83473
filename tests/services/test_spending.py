"""No job spends more than was agreed to, its wallet has and its limit allows; the jobs of a wallet spend in turns."""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import Any

import pytest

from jobs.lifecycle import State
from jobs.models import ChainNonce, Job, Order, SpendingLimit, Transaction
from jobs.ocean import orders
from jobs.ocean.units import Address, Wei
from jobs.services import payments
from ocean_portal.sandbox.chain import ETHER
from tests import builders
from tests.services.conftest import run_together
from tests.services.fakes import STRANGER, refused
from tests.services.payers import AWAY
from tests.services.quay import statuses
from tests.services.steps import advance
from tests.services.test_outlays import DOLLARS_WEI, LOCK_WEI, OCEAN_WEI, TIME_WEI, deposited
from tests.services.tollhouse import MILLION, MINUTE_WEI, Tollhouse


def price_of(place: Tollhouse) -> int:
    """What a job's time costs."""
    return LOCK_WEI if place.is_node else TIME_WEI


def assert_nothing_sent(place: Tollhouse, job: Job, *, code: str) -> None:
    assert (job.state, job.reason) == (State.FAILED, code), (job.message, job.trouble)
    assert place.mined() == 0
    assert place.far.called("start") == []
    assert not Transaction.objects.filter(job=job).exists()
    assert not Order.objects.filter(held_by=job).exists()
    assert (place.holds(place.ocean), place.holds(place.dollars)) == (1_000 * ETHER, 1_000 * MILLION)


class TestAgreed:
    def test_to_the_wei_is_paid(self, either: Tollhouse) -> None:
        job = advance(either.paid(most={either.ocean: str(price_of(either))}), either.clock)

        assert job.state == State.RUNNING

    def test_to_one_wei_less_is_told_with_both_numbers(self, either: Tollhouse) -> None:
        price = price_of(either)

        job = advance(either.paid(most={either.ocean: str(price - 1)}), either.clock)

        assert_nothing_sent(either, job, code="price_changed")
        now, agreed = ("11", "10.999999999999999999") if either.is_node else ("1", "0.999999999999999999")
        assert f"it is {now} OCEAN now, and {agreed} OCEAN was agreed to" in job.message

    def test_to_nothing_pays_nothing(self, either: Tollhouse) -> None:
        job = advance(either.paid(most={}), either.clock)

        assert_nothing_sent(either, job, code="not_agreed")
        assert "OCEAN, which nobody has agreed to" in job.message

    def test_to_one_token_is_not_agreed_to_another(self, either: Tollhouse) -> None:
        most = {either.ocean: str(10**30)}

        job = advance(either.paid(datasets=[either.for_sale("dollars")], most=most), either.clock)

        assert_nothing_sent(either, job, code="price_changed")
        assert "it is 3.036 USDC now, and 0 USDC was agreed to" in job.message

    def test_before_a_rate_went_up_is_told_with_both_numbers(self, either: Tollhouse) -> None:
        most = {either.ocean: str(price_of(either)), either.dollars: str(DOLLARS_WEI)}
        job = either.paid(datasets=[either.for_sale("dollars")], most=most)
        either.set_rate("dollars", 4 * ETHER)

        advance(job, either.clock)

        assert_nothing_sent(either, job, code="price_changed")
        assert "it is 4.048 USDC now, and 3.036 USDC was agreed to" in job.message

    def test_before_a_rate_went_down_pays_less(self, either: Tollhouse) -> None:
        most = {either.ocean: str(price_of(either)), either.dollars: str(DOLLARS_WEI)}
        job = either.paid(datasets=[either.for_sale("dollars")], most=most)
        either.set_rate("dollars", 2 * ETHER)

        advance(job, either.clock)

        assert job.state == State.RUNNING
        assert either.holds(either.dollars) == 1_000 * MILLION - 2_024_000

    def test_before_the_provider_s_price_went_up_pays_nothing(self, toll: Tollhouse) -> None:
        job = toll.paid(most={toll.ocean: str(TIME_WEI)})
        toll.far.minute_wei = MINUTE_WEI + 1

        advance(job, toll.clock)

        assert_nothing_sent(toll, job, code="price_changed")

    def test_is_more_than_a_node_may_add_to_its_tariff(self, gate: Tollhouse) -> None:
        gate.far.asks = {"amount_wei": Wei(LOCK_WEI + 1)}

        job = advance(gate.paid(most={gate.ocean: str(LOCK_WEI)}), gate.clock)

        assert_nothing_sent(gate, job, code="price_changed")
        assert "11.000000000000000001 OCEAN now" in job.message


class TestRateThatGoesUpAfterThePlan:
    def test_buys_nothing_and_tells_why(self, toll: Tollhouse) -> None:
        job = toll.paid(datasets=[toll.for_sale("ocean")])
        toll.wire.will("eth_estimateGas", AWAY)
        advance(job, toll.clock)
        assert job.state == State.PAYING
        toll.set_rate("ocean", 3 * ETHER)

        toll.clock.tick(10)
        advance(job, toll.clock)

        assert (job.state, job.reason) == (State.FAILED, "reverted")
        assert "Buy 1 datatoken of “Buoys 2025”: the chain refused it" in job.message
        assert toll.holds(toll.ocean) == 1_000 * ETHER

    def test_of_an_allowance_that_was_used_elsewhere_tells_why(self, toll: Tollhouse) -> None:
        exchange = Address(toll.deployed.contracts["FixedPrice"])
        toll.act(orders.approve(token=toll.ocean, spender=exchange, amount_wei=Wei(OCEAN_WEI)))
        job = toll.paid(datasets=[toll.for_sale("ocean")])
        toll.wire.will("eth_estimateGas", AWAY)
        advance(job, toll.clock)
        toll.act(orders.approve(token=toll.ocean, spender=exchange, amount_wei=Wei(0)))

        toll.clock.tick(10)
        advance(job, toll.clock)

        assert (job.state, job.reason) == (State.FAILED, "reverted")
        assert "allowance" in job.message
        assert toll.holds(toll.ocean) == 1_000 * ETHER


class TestLimit:
    def test_to_the_wei_is_paid(self, either: Tollhouse) -> None:
        either.limit(either.ocean, price_of(either))

        assert advance(either.paid(), either.clock).state == State.RUNNING

    def test_of_one_wei_less_is_told_with_both_numbers(self, either: Tollhouse) -> None:
        either.limit(either.ocean, price_of(either) - 1)

        job = advance(either.paid(), either.clock)

        assert_nothing_sent(either, job, code="over_limit")
        costs, allowed = ("11", "10.999999999999999999") if either.is_node else ("1", "0.999999999999999999")
        assert f"costs {costs} OCEAN; one job may spend {allowed} OCEAN from the wallet “demo”" in job.message

    def test_that_nobody_set_lets_nothing_be_spent(self, either: Tollhouse) -> None:
        SpendingLimit.objects.all().delete()

        job = advance(either.paid(), either.clock)

        assert_nothing_sent(either, job, code="over_limit")
        assert "may spend 0 OCEAN" in job.message

    def test_of_another_wallet_or_network_is_not_this_one_s(self, either: Tollhouse) -> None:
        SpendingLimit.objects.all().delete()
        other = builders.make_wallet(team=either.team, label="other", address=str(STRANGER))
        either.limit(either.ocean, 10**30, wallet=other)
        elsewhere = builders.make_network(chain_id=137, name="Polygon")
        token = elsewhere.tokens.create(address=either.ocean, symbol="OCEAN", decimals=18)
        either.wallet.limits.create(token=token, per_job_wei=10**30, set_at=builders.NOW)

        job = advance(either.paid(), either.clock)

        assert_nothing_sent(either, job, code="over_limit")

    def test_of_each_token_counts_for_itself(self, either: Tollhouse) -> None:
        either.limit(either.dollars, DOLLARS_WEI - 1)

        job = advance(either.paid(datasets=[either.for_sale("dollars")]), either.clock)

        assert_nothing_sent(either, job, code="over_limit")
        assert "3.036 USDC" in job.message

    def test_counts_what_the_escrow_has_already_too(self, gate: Tollhouse) -> None:
        deposited(gate, LOCK_WEI)
        gate.limit(gate.ocean, LOCK_WEI - 1)

        job = advance(gate.paid(), gate.clock)

        assert (job.state, job.reason) == (State.FAILED, "over_limit")


class TestWallet:
    def test_without_the_tokens_is_told_with_both_numbers(self, either: Tollhouse) -> None:
        price = price_of(either)
        call = orders.approve(token=either.ocean, spender=Address(STRANGER), amount_wei=Wei(0))
        either.act(call)  # the next sends nearly all of it away
        spend_all_but(either, price - 1)
        before = either.mined()

        job = advance(either.paid(), either.clock)

        assert (job.state, job.reason) == (State.FAILED, "insufficient_funds")
        has, needs = ("10.999999999999999999", "11") if either.is_node else ("0.999999999999999999", "1")
        assert f"has {has} OCEAN; this start needs {needs} OCEAN" in job.message
        assert either.mined() == before

    def test_with_just_enough_pays(self, either: Tollhouse) -> None:
        spend_all_but(either, price_of(either))

        job = advance(either.paid(), either.clock)

        assert job.state == State.RUNNING
        assert either.holds(either.ocean) == 0

    def test_needs_no_more_than_the_escrow_lacks(self, gate: Tollhouse) -> None:
        deposited(gate, 10 * ETHER)
        spend_all_but(gate, ETHER)

        job = advance(gate.paid(), gate.clock)

        assert job.state == State.RUNNING
        assert (gate.holds(gate.ocean), gate.in_escrow(gate.ocean)) == (0, (0, LOCK_WEI))

    def test_without_gas_is_told_with_both_numbers(self, either: Tollhouse) -> None:
        either.wire.will("eth_getBalance", {"result": hex(10**13)})

        job = advance(either.paid(), either.clock)

        assert_nothing_sent(either, job, code="insufficient_funds")
        count = 5 if either.is_node else 3
        assert "has 0.00001 of Sandbox's own coin for gas" in job.message
        assert f"{count} transactions may need up to 0.00" in job.message


def spend_all_but(place: Tollhouse, amount_wei: int) -> None:
    """Let another program send the wallet's Ocean tokens away, but for so much."""
    place.transfer(place.ocean, place.holds(place.ocean) - amount_wei)


class TestTurns:
    def test_are_taken_one_after_the_other(self, either: Tollhouse) -> None:
        first, second = either.paid(), either.paid(datasets=[either.asset("algorithm", name="Tides")])
        either.automine(False)
        advance(first, either.clock)
        assert first.state == State.PAYING

        advance(second, either.clock)
        assert (second.state, statuses(second)) == (State.REQUESTED, [])
        assert "Another job pays from this wallet now" in second.trouble
        assert second.trouble_count == 0  # everybody answers: it is no silence that ends the job one day
        either.automine(True)
        either.mine()
        either.clock.tick(2)
        advance(first, either.clock)
        advance(second, either.clock)

        assert (first.state, second.state) == (State.RUNNING, State.RUNNING)
        assert (second.trouble, second.trouble_count) == ("", 0)
        spent = 1_000 * ETHER - either.holds(either.ocean)
        assert spent == 2 * price_of(either)
        if either.is_node:
            assert either.in_escrow(either.ocean) == (0, 2 * LOCK_WEI)

    def test_are_waited_for_without_asking_anybody_again(self, either: Tollhouse) -> None:
        first, second = either.paid(), either.paid(datasets=[either.asset("algorithm", name="Tides")])
        either.automine(False)
        for job in (first, second):
            advance(job, either.clock)
        asked = len(either.far.calls)
        told = second.trouble

        either.clock.tick(1)
        advance(second, either.clock)

        assert (second.state, second.trouble) == (State.REQUESTED, told)
        assert len(either.far.calls) == asked

    def test_of_two_workers_at_once_pay_for_each_job_once(self, on_disk: None, either: Tollhouse) -> None:
        both = [either.paid(), either.paid(datasets=[either.asset("algorithm", name="Tides")])]
        meeting = threading.Barrier(2, timeout=20)

        def together(**given: Any) -> Any:
            meeting.wait()
            usual = either.far.all_needs if either.is_node else either.far.needs
            return usual(**{k: v for k, v in given.items() if k != "payer"})

        either.far.will("initialize", together, together)

        outcomes = run_together(*[lambda job=job: advance(job, either.clock) for job in both])
        for _ in range(3):
            for job in both:
                if job.state != State.RUNNING:
                    either.clock.tick(2)
                    advance(job, either.clock)

        assert not [outcome for outcome in outcomes if isinstance(outcome, Exception)]
        assert [job.state for job in both] == [State.RUNNING] * 2, [job.message for job in both]
        assert either.holds(either.ocean) == 1_000 * ETHER - 2 * price_of(either)
        assert len(either.far.jobs) == 2

    def test_are_not_waited_for_by_a_job_that_pays_nothing(self, toll: Tollhouse) -> None:
        free = builders.make_environment(node=toll.node)
        paying, giving = toll.paid(), toll.job(environment=free, datasets=[toll.asset("algorithm")])
        toll.automine(False)
        advance(paying, toll.clock)

        advance(giving, toll.clock)

        assert (paying.state, giving.state) == (State.PAYING, State.PAYING)
        assert ChainNonce.objects.get().payer == paying

    def test_are_not_taken_by_a_job_that_pays_nothing(self, toll: Tollhouse) -> None:
        free = builders.make_environment(node=toll.node)
        toll.automine(False)

        job = advance(toll.job(environment=free), toll.clock)

        assert (job.state, ChainNonce.objects.get().payer) == (State.PAYING, None)

    def test_are_lost_to_what_was_sent_in_between(self, either: Tollhouse) -> None:
        job = either.paid()
        counter, _ = ChainNonce.objects.get_or_create(network=either.network, address=either.wallet.address)
        either.wire.before["eth_getBalance"] = lambda: ChainNonce.objects.filter(pk=counter.pk).update(next=7)

        advance(job, either.clock)

        assert (job.state, statuses(job)) == (State.REQUESTED, [])
        assert "worked out again" in job.trouble
        assert ChainNonce.objects.get().payer is None

    def test_go_on_beside_another_program(self, either: Tollhouse) -> None:
        job = either.paid()
        either.wire.will("eth_estimateGas", AWAY)
        advance(job, either.clock)
        either.elsewhere()

        either.clock.tick(10)
        advance(job, either.clock)

        assert job.state == State.RUNNING
        assert job.transactions.order_by("sequence")[0].nonce == 1
        assert either.holds(either.ocean) == 1_000 * ETHER - price_of(either)

    @pytest.mark.parametrize(
        "state", [State.RUNNING, State.FAILED, State.CANCELLED, State.NEEDS_ATTENTION, State.REQUESTED]
    )
    def test_are_over_once_a_job_runs_ended_or_waits(self, either: Tollhouse, state: State) -> None:
        first, second = either.paid(), either.paid()
        either.automine(False)
        advance(first, either.clock)
        assert payments.turn_to_spend(job=second, network=either.network) is None

        node_job_id = "0x60962e6d-0x1" if state == State.RUNNING else ""
        Job.objects.filter(pk=first.pk).update(state=state, node_job_id=node_job_id)

        assert payments.turn_to_spend(job=second, network=either.network) is not None

    def test_of_another_network_are_others(self, either: Tollhouse) -> None:
        first, second = either.paid(), either.paid()
        either.automine(False)
        advance(first, either.clock)
        elsewhere = builders.make_network(chain_id=137, name="Polygon")

        assert payments.turn_to_spend(job=second, network=elsewhere) == 0


class TestEndpoint:
    def test_of_another_chain_is_told_with_both_numbers(self, either: Tollhouse) -> None:
        either.wire.will("eth_chainId", {"result": "0x1"})

        job = advance(either.paid(), either.clock)

        assert_nothing_sent(either, job, code="wrong_chain")
        assert "chain 1, not of 8996" in job.message

    def test_that_answers_from_an_old_block_is_not_asked_what_to_buy(self, toll: Tollhouse) -> None:
        first = advance(toll.paid(datasets=[toll.for_sale("ocean")]), toll.clock)
        assert first.state == State.RUNNING
        before = toll.mined()
        toll.wire.will("eth_getBlockByNumber", lambda answer: at_block(answer, 3))

        second = advance(toll.paid(datasets=[toll.for_sale("ocean")]), toll.clock)

        newest = max(tx.block_number or 0 for tx in first.transactions.all())
        assert (second.state, statuses(second), toll.mined()) == (State.REQUESTED, [], before)
        assert f"answers from block 3, and this wallet has transactions in block {newest}" in second.trouble
        toll.clock.tick(10)
        assert advance(second, toll.clock).state == State.RUNNING

    def test_that_forgets_what_was_bought_a_moment_ago_ends_nothing(self, toll: Tollhouse) -> None:
        job = toll.paid(datasets=[toll.for_sale("ocean")])

        def forget() -> None:
            if toll.wire.asked.count("eth_estimateGas") == 4:
                toll.wire.will("eth_getBlockByNumber", lambda answer: at_block(answer, 3))

        undone = {"error": {"code": 3, "message": "execution reverted", "data": "0x"}}
        usual = [None, None, None]
        toll.wire.before["eth_estimateGas"] = forget
        toll.wire.will("eth_estimateGas", *usual, undone)

        advance(job, toll.clock)
        assert (job.state, statuses(job)[-1]) == (State.PAYING, ("order", "planned")), job.message
        assert "answers from block 3" in job.trouble
        toll.clock.tick(10)
        advance(job, toll.clock)

        assert job.state == State.RUNNING
        assert toll.holds(toll.ocean) == 1_000 * ETHER - OCEAN_WEI - TIME_WEI


def at_block(answer: dict[str, Any], number: int) -> dict[str, Any]:
    return {**answer, "result": {**answer["result"], "number": hex(number)}}


class TestService:
    def test_that_has_no_such_environment_any_more_is_told(self, either: Tollhouse) -> None:
        either.far.will("initialize", refused("unknown_environment"))

        job = advance(either.paid(), either.clock)

        assert_nothing_sent(either, job, code="unknown_environment")

    def test_whose_fee_ran_out_before_it_was_paid_is_asked_again(self, toll: Tollhouse) -> None:
        job = toll.paid()
        toll.wire.will("eth_estimateGas", AWAY)
        advance(job, toll.clock)

        toll.clock.now += timedelta(hours=1)
        advance(job, toll.clock)

        assert (job.state, job.reason) == (State.NEEDS_ATTENTION, "fees_not_paid")
        assert "1 OCEAN was paid for this start" in job.message
