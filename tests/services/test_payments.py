"""The transactions of a job on a real chain: brought forward in order, ended with it, never made twice."""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import Any

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
from tests.services.payers import AWAY, SENDING, later, one_order, only, unsent, waiting
from tests.services.quay import Quay, order_of, statuses
from tests.services.steps import advance


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
