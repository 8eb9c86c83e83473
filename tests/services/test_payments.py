"""Transactions on a real chain: signed and stored before they are sent, found after, never made twice."""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import Any

import pytest
import requests
from django.db import connection
from eth_utils.crypto import keccak

from jobs.access import Actor
from jobs.lifecycle import State
from jobs.models import ChainNonce, Job, JobEvent, Transaction
from jobs.services import launching, payments, running, sending
from tests import builders
from tests.builders import NOW
from tests.conftest import Cast
from tests.services.conftest import run_together
from tests.services.quay import GWEI, Quay, order_of, statuses
from tests.services.steps import advance

AWAY = requests.exceptions.ConnectionError("nobody there")
SENDING = "eth_sendRawTransaction"


def one_order(quay: Quay, **values: Any) -> Job:
    """Launch a job that needs one transaction alone: the datatoken is there, and the code is its own."""
    quay.give("dataset")
    return quay.job(own_algorithm={"code": "1", "language": "python"}, **values)


def waiting(quay: Quay, **values: Any) -> Job:
    """Launch such a job, whose order is sent and waits for a block."""
    job = one_order(quay, **values)
    quay.automine(False)
    advance(job, quay.clock)
    assert statuses(job) == [("order", "sent")]
    return job


def unsent(quay: Quay, **values: Any) -> Job:
    """Launch such a job, whose order is signed and stored, while nobody takes it."""
    job = one_order(quay, **values)
    quay.wire.will(SENDING, AWAY)
    advance(job, quay.clock)
    assert statuses(job) == [("order", "prepared")]
    return job


def later(quay: Quay, job: Job, seconds: float) -> Job:
    """Take a step with the job after some time."""
    quay.clock.tick(seconds)
    return advance(job, quay.clock)


def only(job: Job) -> Transaction:
    return Transaction.objects.get(job=job)


class TestPlain:
    def test_pays_and_starts_in_one_step_where_the_chain_mines_at_once(self, quay: Quay) -> None:
        job = quay.job()

        advance(job, quay.clock)

        assert job.state == State.RUNNING
        assert statuses(job) == [("dispense", "confirmed")] * 2 + [("order", "confirmed")] * 2
        assert (quay.orders_on_chain("dataset"), quay.orders_on_chain("algorithm")) == (1, 1)
        assert (quay.balance("dataset"), quay.balance("algorithm")) == (0, 0)
        assert (ChainNonce.objects.get().next, quay.mined()) == (4, 4)

    def test_tells_of_every_payment_with_its_transaction(self, quay: Quay) -> None:
        job = advance(one_order(quay), quay.clock)

        event = job.events.get(kind=JobEvent.Kind.PAYMENT)
        tx = only(job)
        assert event.message == f"Order “Buoys 2025”: done in block {tx.block_number}."
        assert event.data == {"tx_hash": tx.tx_hash}
        assert (tx.sent_at, tx.confirmed_at, tx.trouble) == (NOW, NOW, "")
        assert tx.gas_used and tx.block_hash

    def test_stores_bytes_hash_and_nonce_before_the_bytes_leave(self, quay: Quay) -> None:
        seen: list[Any] = []

        def look() -> None:
            tx = Transaction.objects.get()
            kept = tx.tx_hash == "0x" + keccak(bytes(tx.signed or b"")).hex()
            seen.append((tx.status, kept, tx.nonce, ChainNonce.objects.get().next))

        quay.wire.before[SENDING] = look

        advance(one_order(quay), quay.clock)

        assert seen == [("prepared", True, 0, 1)]

    def test_goes_on_where_another_program_left_off(self, quay: Quay) -> None:
        quay.elsewhere()

        job = advance(one_order(quay), quay.clock)

        assert job.state == State.RUNNING
        assert (only(job).nonce, ChainNonce.objects.get().next) == (1, 2)

    def test_counts_nonces_of_an_address_for_all_its_wallets(self, quay: Quay, cast: Cast) -> None:
        quay.automine(False)
        first = one_order(quay)
        twin = builders.make_wallet(team=cast.other_team, label="twin")
        theirs = builders.make_asset(team=cast.other_team, node=quay.node)
        theirs.services[0]["datatoken"] = str(quay.deployed.datatokens["dataset"])
        theirs.save()
        quay.far.datatokens[theirs.did] = quay.deployed.datatokens["dataset"]
        second = one_order(quay, team=cast.other_team, wallet=twin, datasets=[theirs])

        advance(first, quay.clock)
        advance(second, quay.clock)
        quay.mine()
        later(quay, first, 2)
        later(quay, second, 2)

        assert (first.state, second.state) == (State.RUNNING, State.RUNNING)
        assert (only(first).nonce, only(second).nonce) == (0, 1)
        assert ChainNonce.objects.count() == 1


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


class TestReverted:
    def test_fails_the_job_with_the_chain_s_reason(self, quay: Quay) -> None:
        job = one_order(quay)
        quay.wire.will("eth_estimateGas", {"result": hex(50_000)})

        advance(job, quay.clock)

        assert (job.state, job.reason) == (State.FAILED, "reverted")
        assert (
            job.message
            == "Order “Buoys 2025”: the chain refused it. It was mined and undone: it ran out of gas."
        )
        assert statuses(job) == [("order", "reverted")]
        assert only(job).block_number
        assert (quay.balance("dataset"), quay.orders_on_chain()) == (1, 0)
        assert quay.far.called("start") == []

    def test_is_believed_only_after_as_many_blocks_as_a_success(self, quay: Quay) -> None:
        quay.network.confirmations = 3
        quay.network.save()
        job = one_order(quay)
        quay.wire.will("eth_estimateGas", {"result": hex(50_000)})

        advance(job, quay.clock)
        assert (job.state, statuses(job)) == (State.PAYING, [("order", "sent")])
        quay.mine(2)
        later(quay, job, 2)

        assert (job.state, statuses(job)) == (State.FAILED, [("order", "reverted")])

    def test_of_one_order_leaves_the_other_for_the_next_job(self, quay: Quay) -> None:
        quay.give("dataset")
        quay.give("algorithm")
        job = quay.job()
        quay.wire.will("eth_estimateGas", lambda answer: answer, {"result": hex(50_000)})

        advance(job, quay.clock)
        assert statuses(job) == [("order", "confirmed"), ("order", "reverted")]
        assert job.state == State.FAILED
        again = advance(quay.job(), quay.clock)

        assert again.state == State.RUNNING
        assert order_of(again) == order_of(job)
        assert statuses(again) == [("order", "confirmed")]


class TestRefused:
    def test_before_it_is_signed_fails_the_job_with_the_reason(self, quay: Quay) -> None:
        job = one_order(quay)
        quay.wire.will("eth_estimateGas", {"error": {"code": 3, "message": "execution reverted: Not today"}})

        advance(job, quay.clock)

        assert (job.state, statuses(job)) == (State.FAILED, [("order", "refused")])
        assert "Not today" in job.message
        assert (quay.mined(), ChainNonce.objects.get().next) == (0, 0)

    def test_sends_nothing_else_of_the_job(self, quay: Quay) -> None:
        quay.give("dataset")
        quay.give("algorithm")
        job = quay.job()
        quay.wire.will("eth_estimateGas", {"error": {"code": 3, "message": "execution reverted: Not today"}})

        advance(job, quay.clock)

        assert (job.state, quay.mined()) == (State.FAILED, 0)
        assert statuses(job) == [("order", "refused"), ("order", "planned")]

    def test_for_gas_above_the_limit_waits_for_a_person(self, quay: Quay, alice: Actor) -> None:
        quay.network.max_gas_wei = 10**14
        quay.network.save()
        job = one_order(quay)

        advance(job, quay.clock)

        assert (job.state, job.reason) == (State.NEEDS_ATTENTION, "gas_too_high")
        assert "may cost 0.00" in job.message
        assert "is 0.0001." in job.message
        assert (quay.mined(), statuses(job)) == (0, [("order", "planned")])
        quay.network.max_gas_wei = 10**17
        quay.network.save()
        launching.go_on(actor=alice, job_id=job.pk, now=quay.clock.tick(60))
        advance(job, quay.clock)
        assert job.state == State.RUNNING

    def test_for_want_of_gas_is_sent_once_there_is_some(self, quay: Quay) -> None:
        job = one_order(quay)
        quay.wire.will(SENDING, {"error": {"code": -32000, "message": "insufficient funds for gas"}})

        advance(job, quay.clock)
        assert (job.state, statuses(job)) == (State.PAYING, [("order", "prepared")])
        assert "own coin" in job.trouble
        assert "own coin" in only(job).trouble
        later(quay, job, 10)

        assert (job.state, only(job).trouble) == (State.RUNNING, "")

    def test_for_a_price_below_the_chain_s_is_sent_until_it_is_taken(self, quay: Quay) -> None:
        job = one_order(quay)
        low = {"error": {"code": -32000, "message": "max fee per gas less than block base fee"}}
        quay.wire.will(SENDING, low, low)

        advance(job, quay.clock)
        assert (job.state, statuses(job)) == (State.PAYING, [("order", "prepared")])
        assert "asks for more" in only(job).trouble
        assert job.next_check_at == NOW + timedelta(seconds=12)
        later(quay, job, 120)
        assert (statuses(job), only(job).overtaken_at) == ([("order", "prepared")], None)
        later(quay, job, 12)

        assert (job.state, only(job).trouble) == (State.RUNNING, "")
        assert quay.orders_on_chain() == 1


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


class TestWish:
    def test_before_anything_is_signed_ends_the_job(self, quay: Quay, alice: Actor) -> None:
        job = one_order(quay)
        quay.wire.will("eth_estimateGas", AWAY)
        advance(job, quay.clock)
        launching.cancel(actor=alice, job_id=job.pk, now=quay.clock())

        later(quay, job, 10)

        assert (job.state, statuses(job)) == (State.CANCELLED, [("order", "planned")])
        assert (quay.mined(), quay.far.called("start")) == (0, [])

    def test_after_signing_waits_for_what_may_be_mined(self, quay: Quay, alice: Actor) -> None:
        job = unsent(quay)
        launching.cancel(actor=alice, job_id=job.pk, now=quay.clock())

        later(quay, job, 10)

        assert (job.state, statuses(job)) == (State.CANCELLED, [("order", "confirmed")])
        assert (quay.orders_on_chain(), quay.far.called("start")) == (1, [])

    def test_while_a_block_is_waited_for_ends_the_job_after_it(self, quay: Quay, alice: Actor) -> None:
        job = waiting(quay)
        launching.cancel(actor=alice, job_id=job.pk, now=quay.clock())

        later(quay, job, 2)
        assert job.state == State.PAYING
        quay.mine()
        later(quay, job, 2)

        assert (job.state, statuses(job)) == (State.CANCELLED, [("order", "confirmed")])
        assert quay.far.called("start") == []

    def test_between_two_steps_ends_the_job_before_the_order(self, quay: Quay, alice: Actor) -> None:
        job = quay.job(own_algorithm={"code": "1", "language": ""})

        def wish() -> None:
            launching.cancel(actor=alice, job_id=job.pk, now=quay.clock())

        quay.wire.before[SENDING] = wish

        advance(job, quay.clock)

        assert (job.state, statuses(job)) == (
            State.CANCELLED,
            [("dispense", "confirmed"), ("order", "planned")],
        )
        assert quay.balance("dataset") == 1

    def test_after_all_is_paid_ends_the_job_before_its_start(self, quay: Quay, alice: Actor) -> None:
        job = one_order(quay)
        quay.wire.before["eth_blockNumber"] = lambda: None

        def wish(answer: Any) -> Any:
            launching.cancel(actor=alice, job_id=job.pk, now=quay.clock())
            return answer

        quay.wire.will("eth_getTransactionReceipt", wish)

        advance(job, quay.clock)

        assert (job.state, statuses(job)) == (State.CANCELLED, [("order", "confirmed")])
        assert quay.far.called("start") == []

    def test_leaves_the_order_to_the_next_job(self, quay: Quay, alice: Actor) -> None:
        job = unsent(quay)
        launching.cancel(actor=alice, job_id=job.pk, now=quay.clock())
        later(quay, job, 10)

        again = advance(quay.job(own_algorithm={"code": "1", "language": ""}), quay.clock)

        assert (again.state, statuses(again)) == (State.RUNNING, [])
        assert order_of(again) == order_of(job)


class TestStrays:
    def given_up(self, quay: Quay, alice: Actor) -> Job:
        """A job that a person ended while its order was signed and not sent."""
        job = unsent(quay)
        Job.objects.filter(pk=job.pk).update(state=State.NEEDS_ATTENTION, attention_from=State.PAYING)
        launching.give_up(actor=alice, job_id=job.pk, now=quay.clock())
        return job

    def test_are_sent_and_found_after_their_job_ended(self, quay: Quay, alice: Actor) -> None:
        job = self.given_up(quay, alice)

        assert payments.claim_strays(now=quay.clock()) == {job.pk}
        payments.settle(job_id=job.pk, clock=quay.clock)

        job.refresh_from_db()
        assert (job.state, statuses(job)) == (State.FAILED, [("order", "confirmed")])
        assert payments.claim_strays(now=quay.clock.tick(60)) == set()

    def test_are_claimed_by_one_pulse_at_a_time(self, quay: Quay, alice: Actor) -> None:
        job = self.given_up(quay, alice)

        assert payments.claim_strays(now=quay.clock()) == {job.pk}
        assert payments.claim_strays(now=quay.clock.tick(14)) == set()
        assert payments.claim_strays(now=quay.clock.tick(1)) == {job.pk}

    def test_of_a_job_at_work_are_its_own_business(self, quay: Quay) -> None:
        unsent(quay)

        assert payments.claim_strays(now=quay.clock()) == set()

    def test_are_settled_once_however_often(self, quay: Quay, alice: Actor) -> None:
        job = self.given_up(quay, alice)

        for _ in range(3):
            payments.settle(job_id=job.pk, clock=quay.clock)

        assert (quay.orders_on_chain(), quay.mined()) == (1, 1)
        assert job.events.filter(kind=JobEvent.Kind.PAYMENT).count() == 1

    def test_do_not_hold_up_the_next_job(self, quay: Quay, alice: Actor) -> None:
        job = self.given_up(quay, alice)
        quay.give("dataset")
        second = quay.job(own_algorithm={"code": "1", "language": ""})
        advance(second, quay.clock)
        assert statuses(second) == [("order", "sent")]  # and waits behind the stray's nonce

        payments.settle(job_id=job.pk, clock=quay.clock)
        later(quay, second, 2)

        assert second.state == State.RUNNING

    def test_end_in_the_ledger_of_the_next_job(self, quay: Quay, alice: Actor) -> None:
        job = self.given_up(quay, alice)
        payments.settle(job_id=job.pk, clock=quay.clock)

        again = advance(quay.job(own_algorithm={"code": "1", "language": ""}), quay.clock)

        assert (again.state, statuses(again), order_of(again)) == (State.RUNNING, [], order_of(job))


def meet_once(quay: Quay) -> None:
    """Let the next two that estimate a transaction do it at the same time."""
    meeting = threading.Barrier(2, timeout=20)
    once = [meeting.wait, meeting.wait]
    quay.wire.before["eth_estimateGas"] = lambda: once.pop()() if once else None


class TestTogether:
    def test_two_workers_prepare_one_transaction_once(self, on_disk: None, quay: Quay) -> None:
        job = one_order(quay)
        quay.wire.will("eth_estimateGas", AWAY)
        advance(job, quay.clock)
        meet_once(quay)
        Job.objects.update(lease_holder="both", lease_until=quay.clock() + timedelta(seconds=90))

        def prepare() -> bool:
            with payments.open_chain(network=quay.network) as chain:
                return sending.prepare(
                    tx=Transaction.objects.get(),
                    chain=chain,
                    network=quay.network,
                    job=Job.objects.get(),
                    holder="both",
                    clock=quay.clock,
                )

        outcomes = run_together(prepare, prepare)

        assert outcomes == [True, True]
        assert (only(job).status, only(job).nonce) == ("prepared", 0)
        assert ChainNonce.objects.get().next == 1

    def test_a_worker_that_comes_too_late_gives_its_nonce_back(self, quay: Quay) -> None:
        job = one_order(quay)
        quay.wire.before["eth_estimateGas"] = lambda: Transaction.objects.update(
            status=Transaction.Status.REFUSED
        )

        advance(job, quay.clock)

        assert (ChainNonce.objects.get().next, quay.mined()) == (0, 0)
        assert only(job).signed is None

    def test_two_jobs_of_a_wallet_get_a_nonce_each(self, on_disk: None, quay: Quay) -> None:
        both = [one_order(quay) for _ in range(2)]
        quay.wire.will("eth_estimateGas", AWAY, AWAY)
        for job in both:
            advance(job, quay.clock)
        meet_once(quay)
        quay.clock.tick(10)

        run_together(*[lambda job=job: advance(job, quay.clock) for job in both])
        for job in both:
            later(quay, job, 10)

        assert {only(job).nonce for job in both} == {0, 1}
        assert [job.state for job in both] == [State.RUNNING] * 2
        assert quay.orders_on_chain() == 2


class Killed(BaseException):
    """The process is gone: nothing catches this, and nothing is written after it."""


class DiesBeforeWrite:
    """Ends the process before its nth write to the database."""

    def __init__(self, nth: int) -> None:
        self.left = nth

    def __call__(self, execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        if sql.startswith(("INSERT", "UPDATE", "DELETE")):
            self.left -= 1
            if self.left < 0:
                raise Killed
        return execute(sql, params, many, context)


class TestKilled:
    def test_between_any_two_writes_pays_once_and_starts_once(self, quay: Quay) -> None:
        for nth in range(100):
            job = one_order(quay)
            orders, starts = quay.orders_on_chain(), len(quay.far.jobs)
            died = True
            try:
                with connection.execute_wrapper(DiesBeforeWrite(nth)):
                    running.advance(job_id=job.pk, clock=quay.clock)
                died = False
            except Killed:
                pass
            for _ in range(6):
                quay.clock.tick(91)  # the lease of the dead runs out
                advance(job, quay.clock)

            assert (nth, job.state) == (nth, State.RUNNING)
            assert (nth, quay.orders_on_chain() - orders) == (nth, 1)
            assert (nth, len(quay.far.jobs) - starts) == (nth, 1)
            assert (nth, job.transactions.count()) == (nth, 1)
            assert (nth, quay.balance("dataset")) == (nth, 0)
            if not died:
                break
        assert nth > 15
