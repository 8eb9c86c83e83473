"""One transaction on a real chain: signed and stored before it is sent, looked for after, given up only when certain."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from jobs.access import Actor
from jobs.lifecycle import State
from jobs.models import ChainNonce, Job, Transaction
from jobs.services import launching, payments, sending
from tests.builders import NOW
from tests.services.payers import AWAY, SENDING, later, one_order, only, unsent, waiting
from tests.services.quay import GWEI, Quay, order_of, statuses
from tests.services.steps import advance


class TestAway:
    @pytest.mark.parametrize("method", ["eth_chainId", "eth_estimateGas", "eth_getTransactionCount"])
    def test_before_signing_leaves_nothing_behind(self, quay: Quay, method: str) -> None:
        job = one_order(quay)
        quay.wire.before["eth_getBalance"] = lambda: quay.wire.will(method, AWAY)

        advance(job, quay.clock)
        assert (job.state, statuses(job)) == (State.PAYING, [("order", "planned")])
        assert job.next_check_at == NOW + timedelta(seconds=10)
        assert "chain.test" in job.trouble
        later(quay, job, 10)

        assert job.state == State.RUNNING
        assert (only(job).nonce, quay.mined()) == (0, 1)

    @pytest.mark.parametrize(("fault", "arrived"), [(AWAY, 0), ("lost", 1)])
    def test_while_sending_sends_the_same_bytes_again(self, quay: Quay, fault: Any, arrived: int) -> None:
        job = one_order(quay)
        quay.wire.will(SENDING, fault)

        advance(job, quay.clock)
        before = only(job)
        assert (before.status, quay.mined()) == ("prepared", arrived)
        later(quay, job, 10)

        assert job.state == State.RUNNING
        assert (only(job).tx_hash, only(job).nonce) == (before.tx_hash, before.nonce)
        assert (quay.orders_on_chain(), ChainNonce.objects.get().next) == (1, 1)

    def test_after_a_later_block_knows_its_own_by_the_receipt(self, quay: Quay) -> None:
        job = one_order(quay)
        quay.wire.will(SENDING, "lost")
        advance(job, quay.clock)
        quay.mine(3)  # now the chain says that the nonce is too low
        quay.wire.will("eth_getTransactionByHash", {"result": None})

        later(quay, job, 10)

        assert job.state == State.RUNNING
        assert quay.orders_on_chain() == 1

    def test_while_looking_changes_nothing(self, quay: Quay) -> None:
        job = waiting(quay)
        quay.mine()
        quay.wire.will("eth_getTransactionReceipt", AWAY)

        later(quay, job, 2)
        assert statuses(job) == [("order", "sent")]
        later(quay, job, 10)

        assert job.state == State.RUNNING

    def test_that_names_another_transaction_is_not_believed(self, quay: Quay) -> None:
        job = one_order(quay)
        quay.wire.will(SENDING, lambda answer: {**answer, "result": "0x" + "12" * 32})

        advance(job, quay.clock)
        assert (statuses(job), job.state) == ([("order", "prepared")], State.PAYING)
        later(quay, job, 10)

        assert job.state == State.RUNNING
        assert quay.orders_on_chain() == 1

    def test_of_another_chain_puts_the_job_aside(self, quay: Quay) -> None:
        job = unsent(quay)
        quay.wire.will("eth_chainId", {"result": "0x1"})

        later(quay, job, 10)

        assert (job.state, job.reason) == (State.NEEDS_ATTENTION, "wrong_chain")
        assert quay.mined() == 0

    def test_for_hours_puts_the_job_aside(self, quay: Quay) -> None:
        job = unsent(quay)
        Job.objects.filter(pk=job.pk).update(trouble_count=60)
        quay.wire.will(SENDING, AWAY)

        later(quay, job, 10)

        assert job.state == State.NEEDS_ATTENTION
        assert "for hours" in job.message

    def test_because_an_operator_took_the_endpoint_out_waits_for_another(self, quay: Quay) -> None:
        job = unsent(quay)
        quay.network.rpc_url = ""
        quay.network.save()

        later(quay, job, 10)
        assert (job.state, statuses(job)) == (State.PAYING, [("order", "prepared")])
        assert "no RPC endpoint" in job.trouble

    def test_of_the_key_waits_for_an_operator(self, quay: Quay, settings: Any) -> None:
        keys = settings.WALLET_KEYS
        settings.WALLET_KEYS = ["AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="]

        job = advance(one_order(quay), quay.clock)
        assert (job.state, statuses(job)) == (State.PAYING, [("order", "planned")])
        assert "PORTAL_WALLET_KEYS" in job.trouble
        settings.WALLET_KEYS = keys
        later(quay, job, 10)

        assert job.state == State.RUNNING


class TestLooking:
    def test_is_put_off_until_there_may_be_a_block(self, quay: Quay) -> None:
        job = waiting(quay)

        assert job.next_check_at == NOW + timedelta(seconds=2)
        later(quay, job, 2)
        assert (statuses(job), job.next_check_at) == (
            [("order", "sent")],
            quay.clock() + timedelta(seconds=2),
        )
        quay.mine()
        later(quay, job, 2)
        assert job.state == State.RUNNING

    def test_sends_what_takes_long_again_and_finds_it_later(self, quay: Quay) -> None:
        job = waiting(quay)
        before = only(job)

        for _ in range(3):
            later(quay, job, 60)
        assert job.next_check_at == quay.clock() + timedelta(seconds=12)
        assert quay.wire.asked.count(SENDING) == 4
        quay.mine()
        later(quay, job, 12)

        assert job.state == State.RUNNING
        assert only(job).tx_hash == before.tx_hash
        assert quay.orders_on_chain() == 1

    def test_waits_for_as_many_blocks_as_the_network_asks_for(self, quay: Quay) -> None:
        quay.network.confirmations = 3
        quay.network.save()
        job = waiting(quay)

        for _ in range(2):
            quay.mine()
            later(quay, job, 2)
            assert statuses(job) == [("order", "sent")]
        quay.mine()
        later(quay, job, 2)

        assert job.state == State.RUNNING

    def test_survives_a_reorganisation_before_that(self, quay: Quay) -> None:
        quay.network.confirmations = 3
        quay.network.save()
        job = one_order(quay)
        before = quay.chain.rpc("evm_snapshot", [])
        advance(job, quay.clock)
        first = only(job)
        assert (first.status, quay.mined()) == ("sent", 1)

        quay.chain.rpc("evm_revert", [before])
        later(quay, job, 30)
        assert (statuses(job), quay.mined()) == ([("order", "sent")], 0)
        later(quay, job, 30)
        assert quay.mined() == 1
        quay.mine(2)
        later(quay, job, 12)

        assert job.state == State.RUNNING
        assert only(job).tx_hash == first.tx_hash
        assert quay.orders_on_chain() == 1

    def test_speaks_of_no_trouble_that_is_over(self, quay: Quay) -> None:
        job = one_order(quay)
        quay.automine(False)
        quay.wire.will("eth_getTransactionReceipt", {"error": {"code": -32005, "message": "later"}})

        advance(job, quay.clock)
        assert (job.state, job.trouble_count) == (State.PAYING, 1)
        assert job.trouble
        advance(job, quay.clock)

        assert (job.trouble, job.trouble_count) == ("", 0)

    def test_takes_no_transaction_for_an_order_that_is_none(self, quay: Quay) -> None:
        job = waiting(quay)
        quay.mine()
        quay.wire.will(
            "eth_getTransactionReceipt", lambda answer: {**answer, "result": answer["result"] | {"logs": []}}
        )

        later(quay, job, 2)

        assert (job.state, statuses(job)) == (State.FAILED, [("order", "reverted")])
        assert "noted no such order" in job.message
        assert quay.far.called("start") == []


class TestOvertaken:
    def overtake(self, quay: Quay) -> None:
        """Let another program use the nonce of what waits, at a better price."""
        quay.elsewhere(fee=50 * GWEI)
        quay.mine()

    def test_is_given_up_once_that_is_certain_and_planned_anew(self, quay: Quay) -> None:
        job = waiting(quay)
        lost = only(job)
        order = order_of(job)
        self.overtake(quay)

        later(quay, job, 60)
        assert statuses(job) == [("order", "sent")]
        assert "same number" in only(job).trouble
        later(quay, job, 12)
        assert statuses(job) == [("order", "sent")]
        quay.automine(True)
        later(quay, job, 60)

        assert job.state == State.RUNNING
        assert statuses(job) == [("order", "dropped"), ("order", "confirmed")]
        anew = job.transactions.get(sequence=1)
        lost.refresh_from_db()
        assert lost.replaced_by == anew
        assert order_of(job) == order
        assert order.pk == anew.order.pk
        assert (anew.nonce, anew.data) == (1, lost.data)
        assert quay.orders_on_chain() == 1

    def test_before_it_was_ever_sent_is_given_up_too(self, quay: Quay) -> None:
        job = unsent(quay)
        quay.elsewhere()

        later(quay, job, 10)
        assert statuses(job) == [("order", "prepared")]
        later(quay, job, 60)

        assert statuses(job) == [("order", "dropped"), ("order", "confirmed")]
        assert job.state == State.RUNNING

    def test_by_one_that_waits_itself_is_not_given_up(self, quay: Quay) -> None:
        job = unsent(quay)
        quay.automine(False)
        quay.elsewhere(fee=50 * GWEI)

        for _ in range(3):
            later(quay, job, 61)
        assert statuses(job) == [("order", "prepared")]
        quay.mine()
        quay.automine(True)
        later(quay, job, 12)
        assert statuses(job) == [("order", "prepared")]
        later(quay, job, 60)

        assert job.state == State.RUNNING
        assert quay.orders_on_chain() == 1

    def test_is_not_certain_while_the_other_may_still_fall_out_of_its_block(self, quay: Quay) -> None:
        quay.network.confirmations = 3
        quay.network.save()
        job = waiting(quay)
        self.overtake(quay)

        for _ in range(3):
            later(quay, job, 61)
        assert statuses(job) == [("order", "sent")]
        quay.mine(2)
        later(quay, job, 12)

        assert statuses(job)[0] == ("order", "dropped")

    def test_is_forgotten_when_the_chain_takes_it_after_all(self, quay: Quay) -> None:
        job = waiting(quay)
        quay.wire.will(SENDING, {"error": {"code": -32000, "message": "nonce too low"}})
        quay.wire.will("eth_getTransactionByHash", {"result": None})
        later(quay, job, 60)
        assert only(job).overtaken_at == quay.clock()

        later(quay, job, 12)

        assert (only(job).overtaken_at, only(job).trouble) == (None, "")

    def test_by_its_own_block_that_the_endpoint_is_slow_to_show_is_not_given_up(self, quay: Quay) -> None:
        job = waiting(quay)
        quay.mine(2)
        none = {"result": None}
        quay.wire.will("eth_getTransactionReceipt", none, none)
        quay.wire.will("eth_getTransactionByHash", none)

        later(quay, job, 60)
        assert statuses(job) == [("order", "sent")]
        later(quay, job, 12)

        assert job.state == State.RUNNING
        assert quay.orders_on_chain() == 1

    def test_is_forgotten_when_its_own_block_is_shown(self, quay: Quay) -> None:
        quay.network.confirmations = 3
        quay.network.save()
        job = waiting(quay)
        quay.mine()
        none = {"result": None}
        quay.wire.will("eth_getTransactionReceipt", none, none)
        quay.wire.will(SENDING, {"error": {"code": -32000, "message": "nonce too low"}})
        quay.wire.will("eth_getTransactionByHash", none)
        later(quay, job, 60)
        assert only(job).overtaken_at == quay.clock()

        later(quay, job, 12)

        assert (only(job).status, only(job).overtaken_at, only(job).trouble) == ("sent", None, "")

    def test_is_planned_anew_by_one_of_two_workers(self, quay: Quay) -> None:
        job = waiting(quay)
        Transaction.objects.update(status=Transaction.Status.DROPPED)
        twice = [only(job), only(job)]

        for tx in twice:
            sending.plan_again(tx=tx)

        assert statuses(job) == [("order", "dropped"), ("order", "planned")]
        assert order_of(job).transaction.sequence == 1

    def test_of_a_job_that_ended_is_not_planned_anew(self, quay: Quay, alice: Actor) -> None:
        job = waiting(quay)
        Job.objects.filter(pk=job.pk).update(state=State.NEEDS_ATTENTION, attention_from=State.PAYING)
        launching.give_up(actor=alice, job_id=job.pk, now=quay.clock())
        self.overtake(quay)

        for _ in range(3):
            payments.settle(job_id=job.pk, clock=quay.clock)
            quay.clock.tick(61)

        assert statuses(job) == [("order", "dropped")]
        assert payments.claim_strays(now=quay.clock()) == set()
