"""What a service wants is believed only where it fits what the portal knows; for money, files are looked at first."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from jobs.errors import CannotOrder
from jobs.lifecycle import State
from jobs.models import Asset, Job, Order
from jobs.ocean.compute import FileInfo, Parsed
from jobs.ocean.units import Address, Wei
from jobs.services import asking
from tests.builders import NOW
from tests.services.fakes import STRANGER
from tests.services.quay import CONSUMER, Quay, order_of
from tests.services.steps import advance
from tests.services.test_outlays import TIME_WEI, ended
from tests.services.test_spending import assert_nothing_sent
from tests.services.tollhouse import Tollhouse


class TestPayment:
    @pytest.mark.parametrize(
        ("asks", "code", "words"),
        [
            pytest.param({"escrow": STRANGER}, "escrow", "operator does not know", id="another contract"),
            pytest.param({"payee": STRANGER}, "payee", "not known as its own", id="another payee"),
            pytest.param({"chain_id": 1}, "payment", "another token", id="another chain"),
            pytest.param({"min_lock_s": 86_400 * 365}, "lock_time", "31536000 seconds", id="a year"),
            pytest.param(
                {"min_lock_s": 600 + 7 * 86_400 + 1}, "lock_time", "605400 are enough", id="a second too long"
            ),
        ],
    )
    def test_that_does_not_fit_ends_the_job_before_anything_is_paid(
        self, gate: Tollhouse, asks: dict[str, Any], code: str, words: str
    ) -> None:
        gate.far.asks = asks

        job = advance(gate.paid(), gate.clock)

        assert_nothing_sent(gate, job, code=code)
        assert words in job.message

    def test_in_another_token_ends_the_job(self, gate: Tollhouse) -> None:
        gate.far.asks = {"token": gate.dollars}

        job = advance(gate.paid(), gate.clock)

        assert_nothing_sent(gate, job, code="payment")

    def test_through_a_contract_where_the_operator_named_none_is_not_made(self, gate: Tollhouse) -> None:
        gate.network.contracts = {k: v for k, v in gate.network.contracts.items() if k != "Escrow"}
        gate.network.save()

        job = advance(gate.paid(), gate.clock)

        assert_nothing_sent(gate, job, code="escrow")
        assert gate.deployed.contracts["Escrow"] in job.message

    def test_locked_for_as_long_as_is_bearable_is_made(self, gate: Tollhouse) -> None:
        gate.far.asks = {"min_lock_s": 600 + 7 * 86_400}

        assert advance(gate.paid(), gate.clock).state == State.RUNNING

    @pytest.mark.parametrize("where", ["said", "address", "environment"])
    def test_goes_to_each_address_that_is_known_as_the_node_s(self, gate: Tollhouse, where: str) -> None:
        match where:
            case "said":
                gate.node.said = {"addresses": {"8996": gate.node.provider_address}}
                gate.node.provider_address = str(STRANGER)
            case "environment":
                gate.far.asks = {"payee": gate.far.consumer}
        gate.node.save()
        wish, asked = gate.asked(gate.paid())

        _, wanted = asking.sorted_out(wish=wish, asked=asked)

        assert len(wanted) == 1

    def test_that_was_not_asked_for_is_not_made(self, gate: Tollhouse) -> None:
        wish, asked = gate.asked(gate.paid())
        free = gate.job(own_algorithm={"code": "1", "language": ""})
        unpaid = asking.wish_of(free, request=replace(wish.request, payment=None))

        with pytest.raises(CannotOrder) as caught:
            asking.sorted_out(wish=unpaid, asked=asked)

        assert caught.value.code == "payment"


class TestFiles:
    def test_of_the_algorithm_are_looked_at_before_money_is_spent(self, either: Tollhouse) -> None:
        here, gone = Parsed(items=(FileInfo(valid=True),)), Parsed(items=(FileInfo(valid=False),))
        either.far.will("file_info", here, gone)

        job = advance(either.paid(own_algorithm=None, algorithm=either.algorithm), either.clock)

        assert_nothing_sent(either, job, code="file")
        assert "cannot reach the file of “Linear regression”" in job.message
        assert [call.given["file"].did for call in either.far.called("file_info")] == [
            either.dataset.did,
            either.algorithm.did,
        ]

    def test_of_a_free_job_are_those_of_its_datasets_alone(self, quay: Quay) -> None:
        advance(quay.job(), quay.clock)

        assert [call.given["file"].did for call in quay.far.called("file_info")] == [quay.dataset.did]

    def test_are_looked_at_before_the_price_is_asked_for(self, either: Tollhouse) -> None:
        advance(either.paid(), either.clock)

        assert [call.name for call in either.far.calls][:2] == ["file_info", "initialize"]


def until(place: Tollhouse, job: Job) -> datetime:
    """Return until when the fees are asked to count."""
    _, asked = place.asked(job)
    return asked.fee_until


class TestFeeUntil:
    def test_is_no_later_than_the_job_may_take_where_time_costs(self, toll: Tollhouse) -> None:
        assert until(toll, toll.paid()) == NOW + timedelta(seconds=600)

    def test_of_a_quote_is_a_little_later_than_that_of_its_launch(self, toll: Tollhouse) -> None:
        wish, _ = toll.asked(toll.paid())
        quoted = replace(wish, job_id=None)

        asked = asking.ask_service(wish=quoted, backend=toll.far, now=NOW)

        assert asked.fee_until == NOW + timedelta(seconds=602)

    def test_leaves_alone_what_counts_long_enough(self, toll: Tollhouse) -> None:
        ended(toll, advance(toll.paid(max_duration_s=3_600), toll.clock))
        toll.clock.tick(600)

        assert until(toll, toll.paid(max_duration_s=1_800)) == toll.clock() + timedelta(seconds=1_800)
        assert toll.outlay(toll.paid(max_duration_s=1_800)).steps == ()

    def test_asks_for_no_more_time_than_is_needed_because_an_order_has_more(self, toll: Tollhouse) -> None:
        ended(toll, advance(toll.paid(max_duration_s=3_600), toll.clock))
        both = [toll.asset("algorithm", name="Tides"), toll.dataset]

        outlay = toll.outlay(toll.paid(datasets=both))

        assert outlay.spent == {toll.ocean: TIME_WEI}

    def test_has_every_order_renewed_where_none_of_them_paid_for_time(self, toll: Tollhouse) -> None:
        ended(toll, advance(toll.paid(max_duration_s=3_600), toll.clock))
        Order.objects.update(fee_wei=0)

        assert until(toll, toll.paid()) == NOW + timedelta(seconds=3_601)

    @pytest.mark.parametrize(("gone_s", "left"), [(0, True), (300, True), (301, False)])
    def test_is_what_the_job_has_paid_for_while_half_of_it_is_left(
        self, toll: Tollhouse, gone_s: int, left: bool
    ) -> None:
        job = advance(toll.paid(), toll.clock)
        Job.objects.filter(pk=job.pk).update(state=State.REQUESTED)
        toll.clock.tick(gone_s)

        wanted = until(toll, Job.objects.get(pk=job.pk))

        paid_until = NOW + timedelta(seconds=600)
        assert wanted == (paid_until if left else toll.clock() + timedelta(seconds=600))

    def test_of_free_orders_is_a_day(self, quay: Quay) -> None:
        advance(quay.job(), quay.clock)

        (call,) = quay.far.called("initialize")
        assert call.given["valid_until"] == int((NOW + timedelta(days=1)).timestamp())

    def test_at_a_node_has_an_end_although_its_orders_have_none(self, gate: Tollhouse) -> None:
        ended(gate, advance(gate.paid(), gate.clock))

        assert until(gate, gate.paid()) == NOW + timedelta(days=1)


class TestKnownOrders:
    def test_of_another_environment_are_not_offered(self, toll: Tollhouse) -> None:
        order = order_of(advance(toll.paid(), toll.clock))
        Order.objects.filter(pk=order.pk).update(consumer=str(STRANGER), held_by=None)

        toll.asked(toll.paid())

        assert toll.far.called("initialize")[-1].given["request"].datasets[0].order == ""
        assert toll.far.called("initialize")[-1].given["consumer"] == CONSUMER

    def test_are_offered_with_those_of_the_algorithm(self, either: Tollhouse) -> None:
        algorithm = either.asset("algorithm", kind=Asset.Kind.ALGORITHM, name="Mean")
        first = advance(either.paid(own_algorithm=None, algorithm=algorithm), either.clock)
        ended(either, first)

        outlay = either.outlay(either.paid(own_algorithm=None, algorithm=algorithm))

        assert sorted(outlay.used) == [0, 1]
        assert outlay.used[1] == first.algorithm_order


class TestAmount:
    def test_that_no_wallet_could_have_is_told(self, gate: Tollhouse) -> None:
        gate.far.asks = {"amount_wei": Wei(2**255)}
        gate.limit(gate.ocean, 2**256 - 1)

        job = advance(gate.paid(most={gate.ocean: str(2**256 - 1)}), gate.clock)

        assert_nothing_sent(gate, job, code="insufficient_funds")

    def test_of_nothing_needs_no_deposit(self, gate: Tollhouse) -> None:
        gate.far.asks = {"amount_wei": Wei(0)}

        outlay = gate.outlay(gate.paid())

        assert [str(s.purpose) for s in outlay.steps] == ["dispense", "order", "authorization"]
        assert outlay.spent == {Address(gate.ocean): 0}
