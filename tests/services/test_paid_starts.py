"""A paid job that cannot start waits for a person, told what was paid, and goes on with the same orders and money."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from jobs.access import Actor
from jobs.lifecycle import State
from jobs.models import Job
from jobs.services import launching, payments, starting
from jobs.services.starts import start_request
from ocean_portal.sandbox.chain import ETHER
from tests import builders
from tests.services.fakes import lost_answer, not_there, refused
from tests.services.payers import AWAY
from tests.services.quay import order_of, statuses
from tests.services.steps import advance
from tests.services.test_outlays import LOCK_WEI, OCEAN_WEI, TIME_WEI
from tests.services.test_spending import price_of
from tests.services.tollhouse import Tollhouse


@pytest.fixture
def refusal(either: Tollhouse) -> Job:
    """A job that was paid for, and refused."""
    either.far.will("start", refused("not_trusted"))
    return advance(either.paid(), either.clock)


def go_on(place: Tollhouse, job: Job, actor: Actor) -> Job:
    assert launching.go_on(actor=actor, job_id=job.pk, now=place.clock())
    return advance(job, place.clock)


def look(place: Tollhouse, job: Job, *, times: int) -> Job:
    for _ in range(times):
        place.clock.tick(starting.LOOK_AGAIN.total_seconds())
        advance(job, place.clock)
    return job


def money(place: Tollhouse) -> tuple[int, int, int]:
    """What the wallet has, and what is available and locked in its escrow."""
    return (place.holds(place.ocean), *place.in_escrow(place.ocean))


def paid_once(place: Tollhouse, *, running: bool) -> tuple[int, int, int]:
    """What `money` is after one job was paid for."""
    left = 1_000 * ETHER - price_of(place)
    in_escrow = price_of(place) if place.is_node else 0
    return (left, 0, in_escrow) if running else (left, in_escrow, 0)


class TestRefusal:
    def test_of_a_paid_start_waits_for_a_person_with_what_was_paid(
        self, either: Tollhouse, refusal: Job
    ) -> None:
        assert (refusal.state, refusal.reason) == (State.NEEDS_ATTENTION, "not_trusted")
        amount = 11 if either.is_node else 1
        assert f"not_trusted. {amount} OCEAN was paid for this start. Go on to try again" in refusal.message
        assert (refusal.attention_from, refusal.start_sent_at) == (State.REQUESTED, None)
        assert money(either) == paid_once(either, running=False)

    def test_goes_on_with_the_same_orders_and_money(
        self, either: Tollhouse, refusal: Job, alice: Actor
    ) -> None:
        order, before, mined = order_of(refusal), statuses(refusal), either.mined()
        either.clock.tick(120)

        go_on(either, refusal, alice)

        assert refusal.state == State.RUNNING, refusal.message
        assert (order_of(refusal), statuses(refusal), either.mined()) == (order, before, mined)
        assert money(either) == paid_once(either, running=True)
        assert len(either.far.jobs) == 1

    def test_again_and_again_costs_nothing_more(self, either: Tollhouse, refusal: Job, alice: Actor) -> None:
        mined = either.mined()
        for _ in range(3):
            either.far.will("start", refused("not_trusted"))
            go_on(either, refusal, alice)
            assert refusal.state == State.NEEDS_ATTENTION

        go_on(either, refusal, alice)

        assert (refusal.state, either.mined()) == (State.RUNNING, mined)

    @pytest.mark.parametrize(
        "code",
        [
            *["escrow_funds", "escrow_auth", "escrow_lock_time", "escrow_limit", "escrow_locks"],
            *["order_missing", "order_invalid", "order_in_use", "fees_not_paid", "not_trusted", "image"],
            *["too_many_resources", "unknown_environment", "raw_not_allowed", "busy", "unknown_asset"],
        ],
    )
    def test_of_each_kind_is_certain_at_the_first_start(self, either: Tollhouse, code: str) -> None:
        either.far.will("start", refused(code, retryable=code == "busy"))

        job = advance(either.paid(), either.clock)

        assert (job.state, job.reason) == (State.NEEDS_ATTENTION, code)
        assert (job.attention_from, job.start_sent_at) == (State.REQUESTED, None)

    def test_of_a_start_that_nothing_was_paid_for_fails_the_job(
        self, either: Tollhouse, refusal: Job, alice: Actor
    ) -> None:
        launching.give_up(actor=alice, job_id=refusal.pk, now=either.clock())
        either.far.will("start", refused("not_trusted"))

        second = advance(either.paid(), either.clock)

        assert (second.state, second.reason) == (State.FAILED, "not_trusted")
        assert [purpose for purpose, _ in statuses(second)] == []

    def test_leaves_the_orders_and_the_money_to_the_next_job(
        self, either: Tollhouse, refusal: Job, alice: Actor
    ) -> None:
        launching.give_up(actor=alice, job_id=refusal.pk, now=either.clock())
        mined = either.mined()

        second = advance(either.paid(), either.clock)

        assert (second.state, either.mined()) == (State.RUNNING, mined)
        assert money(either) == paid_once(either, running=True)

    def test_of_free_time_on_a_bought_dataset_waits_for_a_person_too(
        self, toll: Tollhouse, alice: Actor
    ) -> None:
        free = builders.make_environment(node=toll.node)
        job = toll.paid(free=True, environment=free, datasets=[toll.for_sale("ocean")])
        toll.far.will("start", refused("not_trusted"))

        advance(job, toll.clock)
        assert (job.state, job.attention_from) == (State.NEEDS_ATTENTION, State.REQUESTED)
        assert "2.5025 OCEAN was paid for this start" in job.message
        go_on(toll, job, alice)

        assert job.state == State.RUNNING
        assert toll.holds(toll.ocean) == 1_000 * ETHER - OCEAN_WEI

    def test_when_the_money_stays_locked_asks_for_no_second_deposit(
        self, gate: Tollhouse, alice: Actor
    ) -> None:
        def locks_and_refuses(request: Any, proof: Any) -> Any:
            gate.far.accept(request)
            gate.far.jobs.clear()
            raise refused("image")

        gate.far.will("start", locks_and_refuses)
        job = gate.paid(most={gate.ocean: str(LOCK_WEI)})
        advance(job, gate.clock)
        assert (job.state, money(gate)) == (State.NEEDS_ATTENTION, paid_once(gate, running=True))

        go_on(gate, job, alice)

        assert (job.state, job.reason) == (State.NEEDS_ATTENTION, "price_changed")
        assert "takes 11 OCEAN more, and 11 OCEAN was agreed to" in job.message
        assert "has paid 11 OCEAN before" in job.message
        assert money(gate) == paid_once(gate, running=True)

    def test_before_the_fee_ran_out_is_told_when_its_time_is_over(
        self, toll: Tollhouse, alice: Actor
    ) -> None:
        toll.far.will("start", refused("not_trusted"))
        job = advance(toll.paid(most={toll.ocean: str(TIME_WEI)}), toll.clock)
        toll.clock.tick(3_600)

        go_on(toll, job, alice)

        assert (job.state, job.reason) == (State.NEEDS_ATTENTION, "price_changed")
        assert "takes 1 OCEAN more, and 1 OCEAN was agreed to" in job.message
        assert toll.holds(toll.ocean) == 1_000 * ETHER - TIME_WEI

    def test_of_a_question_after_it_was_paid_waits_for_a_person_too(
        self, either: Tollhouse, refusal: Job, alice: Actor
    ) -> None:
        either.far.will("initialize", refused("unknown_environment"))

        go_on(either, refusal, alice)

        assert (refusal.state, refusal.reason) == (State.NEEDS_ATTENTION, "unknown_environment")
        assert "was paid for this start" in refusal.message

    def test_is_paid_for_once_although_the_chain_forgot_a_block_meanwhile(
        self, either: Tollhouse, refusal: Job, alice: Actor
    ) -> None:
        mined, last = either.mined(), refusal.transactions.order_by("-sequence")[0]
        refusal.transactions.filter(pk=last.pk).update(
            status="sent", confirmed_at=None, sent_at=either.clock()
        )

        go_on(either, refusal, alice)
        assert (refusal.state, either.mined()) == (State.REQUESTED, mined)
        assert "on its way still" in refusal.trouble
        payments.settle(job_id=refusal.pk, clock=either.clock)
        advance(refusal, either.clock)

        assert (refusal.state, either.mined()) == (State.RUNNING, mined)


class TestUnknown:
    def test_start_is_looked_for_before_it_is_sent_again(self, either: Tollhouse) -> None:
        either.far.will("start", lost_answer())
        job = advance(either.paid(), either.clock)
        assert job.state == State.STARTING
        either.far.accept(start_request(job))

        look(either, job, times=1)

        assert (job.state, job.node_job_id) == (State.RUNNING, either.far.jobs[0].long_id)
        assert len(either.far.called("start")) == 1
        assert money(either) == paid_once(either, running=True)

    def test_start_that_never_arrived_is_sent_again_and_paid_once(self, either: Tollhouse) -> None:
        either.far.will("start", lost_answer())
        job = advance(either.paid(), either.clock)

        look(either, job, times=2)

        assert job.state == State.RUNNING
        assert money(either) == paid_once(either, running=True)

    def test_start_that_arrives_late_makes_the_next_one_s_refusal_no_proof(self, gate: Tollhouse) -> None:
        gate.far.will("start", lost_answer())
        job = advance(gate.paid(), gate.clock)
        first = start_request(job)

        def arrives_now(request: Any, proof: Any) -> Any:
            gate.far.accept(first)  # and locks the money
            return gate.far.accept(request)

        gate.far.will("start", arrives_now)
        look(gate, job, times=2)
        assert (job.state, job.start_attempts) == (State.STARTING, 2)
        assert "escrow_funds" in job.trouble
        look(gate, job, times=1)

        assert (job.state, job.node_job_id) == (State.RUNNING, gate.far.jobs[0].long_id)
        assert money(gate) == paid_once(gate, running=True)

    def test_start_that_is_refused_whenever_it_is_sent_waits_for_a_person(
        self, either: Tollhouse, alice: Actor
    ) -> None:
        either.far.will("start", lost_answer(), refused("not_trusted"), refused("not_trusted"))
        job = advance(either.paid(), either.clock)

        look(either, job, times=6)
        assert (job.state, job.reason) == (State.NEEDS_ATTENTION, "start_lost")
        assert "not_trusted" in job.message
        assert job.message.endswith("OCEAN was paid for this job before.")
        assert (job.attention_from, job.start_sent_at is None) == (State.STARTING, False)
        go_on(either, job, alice)
        look(either, job, times=2)

        assert (job.state, len(either.far.called("start"))) == (State.RUNNING, 4)
        assert money(either) == paid_once(either, running=True)

    def test_start_of_a_service_that_is_away_is_waited_for(self, either: Tollhouse) -> None:
        either.far.will("start", not_there(), not_there())
        job = advance(either.paid(), either.clock)
        assert (job.state, job.start_sent_at) == (State.STARTING, None)

        look(either, job, times=2)

        assert job.state == State.RUNNING
        assert money(either) == paid_once(either, running=True)


class TestPartlyPaid:
    def test_goes_on_with_what_is_left_and_forgets_what_failed_before(
        self, toll: Tollhouse, alice: Actor
    ) -> None:
        job = toll.paid(datasets=[toll.for_sale("ocean")], most={toll.ocean: str(OCEAN_WEI + TIME_WEI)})
        undone = {"error": {"code": 3, "message": "execution reverted", "data": "0x"}}
        toll.wire.will("eth_estimateGas", None, None, None, undone)
        advance(job, toll.clock)
        assert (job.state, job.reason) == (State.NEEDS_ATTENTION, "partly_paid")
        assert statuses(job)[-1] == ("order", "refused")

        go_on(toll, job, alice)

        assert job.state == State.RUNNING, job.message
        assert [purpose for purpose, _ in statuses(job)].count("purchase") == 1
        assert toll.holds(toll.ocean) == 1_000 * ETHER - OCEAN_WEI - TIME_WEI

    def test_is_held_to_what_was_agreed_to_for_all_of_it(self, toll: Tollhouse, alice: Actor) -> None:
        job = toll.paid(datasets=[toll.for_sale("ocean")], most={toll.ocean: str(OCEAN_WEI + TIME_WEI)})
        undone = {"error": {"code": 3, "message": "execution reverted", "data": "0x"}}
        toll.wire.will("eth_estimateGas", None, None, None, undone)
        advance(job, toll.clock)
        toll.far.minute_wei += 1

        go_on(toll, job, alice)

        assert (job.state, job.reason) == (State.NEEDS_ATTENTION, "price_changed")
        assert "takes 1.00000000000000001 OCEAN more, and 3.5025 OCEAN was agreed to" in job.message
        assert "has paid 2.5025 OCEAN before" in job.message

    def test_is_held_to_the_wallet_s_limit_for_all_of_it(self, toll: Tollhouse, alice: Actor) -> None:
        job = toll.paid(datasets=[toll.for_sale("ocean")])
        undone = {"error": {"code": 3, "message": "execution reverted", "data": "0x"}}
        toll.wire.will("eth_estimateGas", None, None, None, undone)
        advance(job, toll.clock)
        toll.limit(toll.ocean, OCEAN_WEI + TIME_WEI - 1)

        go_on(toll, job, alice)

        assert (job.state, job.reason) == (State.NEEDS_ATTENTION, "over_limit")
        assert "This start costs 3.5025 OCEAN; one job may spend 3.502499999999999999 OCEAN" in job.message


class TestWish:
    def test_after_payment_ends_the_job_before_its_start(self, either: Tollhouse, alice: Actor) -> None:
        either.automine(False)
        job = advance(either.paid(), either.clock)
        for _ in range(6):
            either.mine()
            if job.transactions.exclude(status="confirmed").count() == 1:
                launching.cancel(actor=alice, job_id=job.pk, now=either.clock())
            either.clock.tick(2)
            advance(job, either.clock)

        assert job.state == State.CANCELLED
        amount = 11 if either.is_node else 1
        assert f"{amount} OCEAN was paid before: its orders, and what is in the escrow" in job.message
        assert either.far.called("start") == []
        other = either.paid()
        assert payments.turn_to_spend(job=other, network=either.network) is not None

    def test_of_a_job_that_waits_for_a_person_ends_it(
        self, either: Tollhouse, refusal: Job, alice: Actor
    ) -> None:
        launching.cancel(actor=alice, job_id=refusal.pk, now=either.clock())
        advance(refusal, either.clock)

        assert refusal.state == State.CANCELLED
        assert len(either.far.called("start")) == 1
        assert money(either) == paid_once(either, running=False)

    def test_leaves_what_is_signed_to_the_ledger(self, either: Tollhouse, alice: Actor) -> None:
        job = either.paid()
        either.wire.will("eth_sendRawTransaction", AWAY)
        advance(job, either.clock)
        launching.cancel(actor=alice, job_id=job.pk, now=either.clock())

        either.clock.now += timedelta(seconds=10)
        advance(job, either.clock)

        assert job.state == State.CANCELLED
        assert statuses(job)[0] == ("dispense", "confirmed")
        assert either.holds(either.ocean) == 1_000 * ETHER
