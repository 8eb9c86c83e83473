"""A person speeds up or cancels what waits: one number, two versions, and whichever is mined is the truth."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import connection

from jobs.access import Actor
from jobs.errors import InvalidInput, Missing, NotAllowed
from jobs.lifecycle import State
from jobs.models import Job, JobEvent, Transaction
from jobs.services import acting, launching, payments, running
from jobs.services.gateway import open_chain
from tests.services.fakes import queued
from tests.services.payers import AWAY, SENDING, later, one_order, only, unsent, waiting
from tests.services.quay import GWEI, Quay, order_of, statuses
from tests.services.steps import advance
from tests.services.test_payments import DiesBeforeWrite, Killed

LOW = {"error": {"code": -32000, "message": "replacement transaction underpriced"}}


def faster(quay: Quay, alice: Actor, job: Job) -> Transaction:
    """Speed up what a job waits for, and take the step that does it."""
    acting.speed_up(actor=alice, transaction_id=only(job).pk, now=quay.clock())
    later(quay, job, 1)
    return only(job)


def cancelled(quay: Quay, alice: Actor, job: Job) -> Transaction:
    """Cancel what a job waits for, and take the step that does it."""
    acting.cancel(actor=alice, transaction_id=only(job).pk, now=quay.clock())
    later(quay, job, 1)
    return only(job)


class TestSpeedUp:
    def test_sends_the_same_call_with_the_same_number_and_at_least_a_tenth_more(
        self, quay: Quay, alice: Actor
    ) -> None:
        job = waiting(quay)
        first = only(job)

        second = faster(quay, alice, job)

        assert (second.status, second.nonce, second.wish) == ("sent", first.nonce, "")
        assert second.tx_hash != first.tx_hash
        assert second.max_fee_wei * 10 >= first.max_fee_wei * 11  # type: ignore[operator]
        assert second.priority_fee_wei * 10 >= first.priority_fee_wei * 11  # type: ignore[operator]
        assert [version["tx_hash"] for version in second.earlier] == [first.tx_hash]
        known = quay.chain.rpc("eth_getTransactionByHash", [second.tx_hash])
        assert (known["input"], known["blockHash"]) == ("0x" + bytes(first.data).hex(), None)
        assert quay.chain.rpc("eth_getTransactionByHash", [first.tx_hash]) is None

    def test_confirms_the_order_by_the_later_version(self, quay: Quay, alice: Actor) -> None:
        job = waiting(quay)
        second = faster(quay, alice, job)
        quay.mine()

        later(quay, job, 2)

        assert (job.state, only(job).tx_hash, only(job).cancels) == (State.RUNNING, second.tx_hash, False)
        assert order_of(job).transaction == only(job)
        assert (quay.orders_on_chain(), quay.far.started_with) == (1, [second.tx_hash])

    def test_confirms_the_order_by_the_earlier_version(self, quay: Quay, alice: Actor) -> None:
        job = waiting(quay)
        first = only(job)
        quay.wire.before[SENDING] = quay.mine  # while the second is on its way, the first is mined

        faster(quay, alice, job)

        tx = only(job)
        assert (job.state, tx.tx_hash, tx.status) == (State.RUNNING, first.tx_hash, "confirmed")
        assert bytes(tx.signed or b"") == bytes(first.signed or b"")
        assert len(tx.earlier) == 1
        assert (quay.orders_on_chain(), quay.far.started_with) == (1, [first.tx_hash])

    def test_can_be_wanted_twice(self, quay: Quay, alice: Actor) -> None:
        job = waiting(quay)
        first = only(job)
        second = faster(quay, alice, job)

        third = faster(quay, alice, job)

        assert third.max_fee_wei * 10 >= second.max_fee_wei * 11  # type: ignore[operator]
        assert [version["tx_hash"] for version in third.earlier] == [first.tx_hash, second.tx_hash]
        quay.mine()
        later(quay, job, 2)
        assert (job.state, only(job).tx_hash, quay.orders_on_chain()) == (State.RUNNING, third.tx_hash, 1)

    def test_takes_the_chain_s_own_fee_where_that_is_higher(self, quay: Quay, alice: Actor) -> None:
        job = waiting(quay)
        quay.wire.will("eth_maxPriorityFeePerGas", {"result": hex(40 * GWEI)})

        tx = faster(quay, alice, job)

        assert tx.priority_fee_wei == 40 * GWEI
        assert tx.max_fee_wei >= 40 * GWEI  # type: ignore[operator]

    def test_does_nothing_where_it_was_mined_meanwhile(self, quay: Quay, alice: Actor) -> None:
        quay.network.confirmations = 3
        quay.network.save()
        job = waiting(quay)
        first = only(job)
        quay.mine()
        sent = quay.wire.asked.count(SENDING)

        tx = faster(quay, alice, job)

        assert (tx.tx_hash, tx.status, tx.wish, tx.earlier) == (first.tx_hash, "sent", "", [])
        assert quay.wire.asked.count(SENDING) == sent

    def test_above_the_network_s_limit_is_refused_and_the_first_still_found(
        self, quay: Quay, alice: Actor
    ) -> None:
        job = waiting(quay)
        first = only(job)
        quay.network.max_gas_wei = 10**12
        quay.network.save()

        tx = faster(quay, alice, job)
        assert (tx.tx_hash, tx.wish, tx.status, job.state) == (first.tx_hash, "", "sent", State.PAYING)
        assert "the limit" in tx.trouble
        assert job.events.filter(kind=JobEvent.Kind.TROUBLE, message__contains="the limit").count() == 1
        quay.mine()
        later(quay, job, 12)

        assert (job.state, only(job).tx_hash) == (State.RUNNING, first.tx_hash)

    def test_with_a_locked_vault_waits_for_an_operator(self, quay: Quay, alice: Actor, settings: Any) -> None:
        job = waiting(quay)
        first, keys = only(job), settings.WALLET_KEYS
        settings.WALLET_KEYS = ["AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="]

        tx = faster(quay, alice, job)
        assert (tx.wish, tx.tx_hash) == ("faster", first.tx_hash)
        assert "PORTAL_WALLET_KEYS" in tx.trouble
        settings.WALLET_KEYS = keys
        later(quay, job, 12)

        assert (only(job).wish, only(job).trouble) == ("", "")
        assert only(job).tx_hash != first.tx_hash

    def test_that_the_chain_does_not_take_leaves_the_first_to_be_found(
        self, quay: Quay, alice: Actor
    ) -> None:
        job = waiting(quay)
        first = only(job)
        quay.wire.will(SENDING, LOW, LOW)

        tx = faster(quay, alice, job)
        assert (tx.status, job.state) == ("prepared", State.PAYING)
        quay.mine()
        later(quay, job, 12)

        assert (job.state, only(job).tx_hash, only(job).trouble) == (State.RUNNING, first.tx_hash, "")

    def test_helps_one_that_the_chain_has_never_taken(self, quay: Quay, alice: Actor) -> None:
        job = one_order(quay)
        quay.wire.will(SENDING, LOW, LOW)
        advance(job, quay.clock)
        first = only(job)
        assert first.status == "prepared"

        tx = faster(quay, alice, job)

        assert (tx.nonce, job.state) == (first.nonce, State.PAYING)
        assert tx.max_fee_wei > first.max_fee_wei  # type: ignore[operator]
        later(quay, job, 12)
        assert (job.state, quay.orders_on_chain()) == (State.RUNNING, 1)

    def test_is_signed_by_one_of_two_workers(self, quay: Quay, alice: Actor) -> None:
        job = waiting(quay)
        acting.speed_up(actor=alice, transaction_id=only(job).pk, now=quay.clock())
        late = only(job)
        late.wallet, late.network = quay.wallet, quay.network
        later(quay, job, 1)
        tx = only(job)

        with open_chain(network=quay.network) as chain:
            payments.replace(tx=late, chain=chain, network=quay.network, now=quay.clock())
            payments.send(tx=late, chain=chain, now=quay.clock())

        assert (only(job).tx_hash, only(job).status, only(job).earlier) == (tx.tx_hash, "sent", tx.earlier)
        quay.mine()
        later(quay, job, 2)
        assert (job.state, quay.orders_on_chain()) == (State.RUNNING, 1)

    def test_killed_between_any_two_writes_pays_once(self, quay: Quay, alice: Actor) -> None:
        for nth in range(100):
            quay.automine(True)
            job = waiting(quay)
            orders, starts = quay.orders_on_chain(), len(quay.far.jobs)
            acting.speed_up(actor=alice, transaction_id=only(job).pk, now=quay.clock())
            died = True
            try:
                with connection.execute_wrapper(DiesBeforeWrite(nth)):
                    running.advance(job_id=job.pk, clock=quay.clock)
                died = False
            except Killed:
                pass
            later(quay, job, 91)
            quay.mine()
            for _ in range(3):
                later(quay, job, 91)

            assert (nth, job.state) == (nth, State.RUNNING)
            assert (nth, quay.orders_on_chain() - orders, len(quay.far.jobs) - starts) == (nth, 1, 1)
            assert (nth, only(job).earlier != []) == (nth, True)
            if not died:
                break
        assert nth > 3


class TestCancel:
    def test_sends_an_empty_transaction_and_ends_the_job(self, quay: Quay, alice: Actor) -> None:
        job = waiting(quay)

        tx = cancelled(quay, alice, job)
        assert (tx.status, tx.cancels, tx.nonce) == ("sent", True, 0)
        quay.mine()
        later(quay, job, 2)

        assert (job.state, job.reason) == (State.FAILED, "transaction_cancelled")
        assert statuses(job) == [("order", "cancelled")]
        assert (quay.orders_on_chain(), quay.balance("dataset"), quay.far.called("start")) == (0, 1, [])

    def test_that_comes_too_late_confirms_the_order(self, quay: Quay, alice: Actor) -> None:
        job = waiting(quay)
        first = only(job)
        quay.wire.before[SENDING] = quay.mine

        cancelled(quay, alice, job)

        tx = only(job)
        assert (job.state, tx.status, tx.tx_hash) == (State.RUNNING, "confirmed", first.tx_hash)
        assert (tx.cancels, [version["cancels"] for version in tx.earlier]) == (False, [True])
        assert quay.orders_on_chain() == 1

    def test_of_one_that_was_paid_for_in_part_lets_a_person_decide(self, quay: Quay, alice: Actor) -> None:
        quay.give("dataset")
        quay.give("algorithm")
        job = quay.job()
        quay.automine(False)
        advance(job, quay.clock)
        first, second = job.transactions.order_by("sequence")
        token = quay.deployed.contracts["Ocean"]
        Transaction.objects.filter(pk=first.pk).update(token=token, amount_wei=25 * 10**17)
        acting.cancel(actor=alice, transaction_id=second.pk, now=quay.clock())
        later(quay, job, 1)
        quay.mine()

        later(quay, job, 2)

        assert (job.state, job.reason, job.attention_from) == (
            State.NEEDS_ATTENTION,
            "partly_paid",
            State.REQUESTED,
        )
        assert ": a person cancelled it. 2500000000000000000 of the smallest unit" in job.message

    def test_and_going_on_pays_what_is_left_and_nothing_twice(self, quay: Quay, alice: Actor) -> None:
        quay.give("dataset")
        quay.give("algorithm")
        job = quay.job()
        quay.automine(False)
        advance(job, quay.clock)
        first, second = job.transactions.order_by("sequence")
        Transaction.objects.filter(pk=first.pk).update(token="0x" + "44" * 20, amount_wei=1)
        acting.cancel(actor=alice, transaction_id=second.pk, now=quay.clock())
        later(quay, job, 1)
        quay.mine()
        later(quay, job, 2)
        quay.automine(True)

        launching.go_on(actor=alice, job_id=job.pk, now=quay.clock())
        advance(job, quay.clock)

        assert job.state == State.RUNNING
        assert statuses(job) == [("order", "confirmed"), ("order", "cancelled"), ("order", "confirmed")]
        assert (quay.orders_on_chain("dataset"), quay.orders_on_chain("algorithm")) == (1, 1)

    def test_of_a_job_that_was_put_aside_is_done_all_the_same(self, quay: Quay, alice: Actor) -> None:
        job = waiting(quay)
        Job.objects.filter(pk=job.pk).update(state=State.NEEDS_ATTENTION, attention_from=State.PAYING)
        acting.cancel(actor=alice, transaction_id=only(job).pk, now=quay.clock())
        assert queued()[-1] == ("settle", (str(job.pk),))

        payments.settle(job_id=job.pk, clock=quay.clock)
        quay.mine()
        payments.settle(job_id=job.pk, clock=quay.clock)

        assert statuses(job) == [("order", "cancelled")]

    def test_stays_a_cancel_when_it_is_sped_up(self, quay: Quay, alice: Actor) -> None:
        job = waiting(quay)
        cancelled(quay, alice, job)

        tx = faster(quay, alice, job)

        assert (tx.cancels, [version["cancels"] for version in tx.earlier]) == (True, [False, True])
        quay.mine()
        later(quay, job, 2)
        assert statuses(job) == [("order", "cancelled")]


class TestWish:
    def test_is_told_with_who_had_it(self, quay: Quay, alice: Actor) -> None:
        job = waiting(quay)

        acting.speed_up(actor=alice, transaction_id=only(job).pk, now=quay.clock())

        event = job.events.get(kind=JobEvent.Kind.PAYMENT)
        assert event.message == f"Order “Buoys 2025”: {alice.name} asked to speed it up."
        assert event.actor_id == alice.user_id
        assert queued()[-1] == ("advance", (str(job.pk),))

    @pytest.mark.parametrize("want", [acting.speed_up, acting.cancel])
    def test_of_a_member_who_may_not_is_refused(self, quay: Quay, bob: Actor, want: Any) -> None:
        job = waiting(quay)

        with pytest.raises(NotAllowed):
            want(actor=bob, transaction_id=only(job).pk, now=quay.clock())

        assert only(job).wish == ""

    @pytest.mark.parametrize("want", [acting.speed_up, acting.cancel])
    def test_of_another_team_finds_nothing(self, quay: Quay, charlie: Actor, want: Any) -> None:
        job = waiting(quay)

        with pytest.raises(Missing):
            want(actor=charlie, transaction_id=only(job).pk, now=quay.clock())

        assert only(job).wish == ""

    def test_about_one_that_is_done_is_refused(self, quay: Quay, alice: Actor) -> None:
        job = advance(one_order(quay), quay.clock)

        with pytest.raises(InvalidInput, match="does not wait any more"):
            acting.speed_up(actor=alice, transaction_id=only(job).pk, now=quay.clock())

    def test_about_one_that_is_planned_for_a_job_is_refused(self, quay: Quay, alice: Actor) -> None:
        job = one_order(quay)
        quay.wire.will("eth_estimateGas", AWAY)
        advance(job, quay.clock)

        with pytest.raises(InvalidInput):
            acting.cancel(actor=alice, transaction_id=only(job).pk, now=quay.clock())


class TestGap:
    def gap(self, quay: Quay) -> Job:
        """A job that waits behind another program's transaction, which the chain forgot."""
        before = quay.chain.rpc("evm_snapshot", [])
        quay.automine(False)
        quay.elsewhere()
        job = unsent(quay)
        quay.chain.rpc("evm_revert", [before])
        quay.give("dataset")
        quay.automine(False)
        later(quay, job, 10)
        return job

    def test_is_told_with_the_number_that_is_missing(self, quay: Quay) -> None:
        job = self.gap(quay)
        assert (only(job).nonce, only(job).status) == (1, "sent")

        later(quay, job, 60)

        assert "waits for number 0 of this wallet" in only(job).trouble
        assert job.state == State.PAYING

    def test_is_no_more_once_the_other_program_fills_it(self, quay: Quay) -> None:
        job = self.gap(quay)
        later(quay, job, 60)
        quay.automine(True)
        quay.elsewhere()

        later(quay, job, 60)

        assert (job.state, only(job).trouble) == (State.RUNNING, "")

    def test_is_not_seen_where_our_own_is_only_not_sent_yet(self, quay: Quay) -> None:
        first = unsent(quay)
        quay.automine(False)
        second = one_order(quay)
        advance(second, quay.clock)

        later(quay, second, 60)

        assert (only(first).nonce, only(second).nonce, only(second).trouble) == (0, 1, "")
