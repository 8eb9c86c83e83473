"""A chain that forgets blocks: what was in them waits again, ends as the chain has it then, and is told."""

from __future__ import annotations

from datetime import timedelta

from jobs import tasks
from jobs.access import Actor
from jobs.lifecycle import State
from jobs.models import Job, JobEvent, Transaction
from jobs.services import acting, blocks, payments, running
from tests import builders
from tests.services.fakes import queued
from tests.services.payers import AWAY, SENDING, later, one_order, only, waiting
from tests.services.quay import Quay, order_of, statuses
from tests.services.steps import advance


def told(job: Job) -> list[str]:
    """Return what the job's page says of its payments."""
    events = job.events.filter(kind=JobEvent.Kind.PAYMENT).order_by("pk")
    return [message.partition(": ")[2] for message in events.values_list("message", flat=True)]


def check(quay: Quay) -> int:
    return blocks.check(network_id=quay.network.pk, clock=quay.clock)


def forget(quay: Quay, before: str, blocks: int = 0) -> None:
    """Let the chain forget what came after a moment, and mine other blocks in its place."""
    quay.chain.rpc("evm_revert", [before])
    if blocks:
        quay.mine(blocks)


def paid(quay: Quay) -> tuple[Job, str]:
    """A job that runs, its order confirmed; and the moment before the order's block."""
    job = one_order(quay)
    before = str(quay.chain.rpc("evm_snapshot", []))
    advance(job, quay.clock)
    assert (job.state, statuses(job)) == (State.RUNNING, [("order", "confirmed")])
    return job, before


class TestCheck:
    def test_finds_nothing_while_the_blocks_stand(self, quay: Quay) -> None:
        job, _ = paid(quay)

        assert check(quay) == 0

        assert told(job) == [f"done in block {only(job).block_number}."]

    def test_asks_once_for_each_block(self, quay: Quay) -> None:
        quay.give("dataset")
        quay.give("algorithm")
        quay.automine(False)
        job = quay.job()
        advance(job, quay.clock)
        quay.mine()
        later(quay, job, 2)
        assert statuses(job) == [("order", "confirmed")] * 2
        quay.wire.asked.clear()

        check(quay)

        assert quay.wire.asked == ["eth_chainId", "eth_getBlockByNumber"]

    def test_sends_the_same_bytes_again_and_tells_of_it(self, quay: Quay) -> None:
        job, before = paid(quay)
        first = only(job)
        quay.automine(False)
        forget(quay, before, blocks=2)
        assert quay.orders_on_chain() == 0

        assert check(quay) == 1

        again = only(job)
        assert (again.status, again.tx_hash, again.confirmed_at) == ("sent", first.tx_hash, None)
        assert told(job)[1:] == ["the chain has forgotten its block; it is sent again."]
        quay.mine()
        assert payments.claim_strays(now=quay.clock.tick(20)) == {job.pk}
        payments.settle(job_id=job.pk, clock=quay.clock)
        again = only(job)
        assert (again.status, again.tx_hash) == ("confirmed", first.tx_hash)
        assert (again.block_number, again.block_hash) != (first.block_number, first.block_hash)
        assert told(job)[2:] == [f"done in block {again.block_number}."]
        assert (quay.orders_on_chain(), quay.mined()) == (1, 1)
        job.refresh_from_db()
        assert job.state == State.RUNNING

    def test_in_one_go_where_the_chain_mines_at_once(self, quay: Quay) -> None:
        job, before = paid(quay)
        forget(quay, before, blocks=1)

        assert check(quay) == 1

        assert (statuses(job), quay.orders_on_chain()) == ([("order", "confirmed")], 1)
        assert check(quay) == 0

    def test_waits_until_the_other_block_has_stood_long_enough(self, quay: Quay) -> None:
        quay.network.confirmations = 3
        quay.network.save()
        job = waiting(quay)
        before = str(quay.chain.rpc("evm_snapshot", []))
        quay.mine(3)
        later(quay, job, 2)
        first = only(job)
        forget(quay, before)
        quay.clock.tick(15)
        quay.mine(
            2
        )  # the same transaction, which waits in the pool again, in another block of the same height
        assert quay.orders_on_chain() == 1

        assert check(quay) == 1

        assert (only(job).status, told(job)[-1]) == (
            "sent",
            f"the chain has put it into another block, {first.block_number}; it is looked at again.",
        )
        quay.mine()
        payments.settle(job_id=job.pk, clock=quay.clock)
        assert only(job).status == "confirmed"
        assert only(job).block_hash != first.block_hash

    def test_says_nothing_of_a_chain_that_lags(self, quay: Quay) -> None:
        job, _ = paid(quay)
        quay.wire.will("eth_getBlockByNumber", {"result": None})
        quay.wire.will("eth_getTransactionReceipt", {"result": None})

        assert check(quay) == 0

        assert statuses(job) == [("order", "confirmed")]

    def test_believes_no_endpoint_that_shows_the_receipt_in_the_old_block(self, quay: Quay) -> None:
        job, _ = paid(quay)
        other = {"hash": "0x" + "12" * 32}
        quay.wire.will(
            "eth_getBlockByNumber", lambda answer: {**answer, "result": {**answer["result"], **other}}
        )

        assert check(quay) == 0

        assert statuses(job) == [("order", "confirmed")]

    def test_gives_up_what_lost_its_number_in_the_other_history(self, quay: Quay) -> None:
        job, before = paid(quay)
        forget(quay, before)
        quay.spend("dataset")  # there another program was faster

        check(quay)
        assert "same number" in only(job).trouble
        quay.clock.tick(61)
        payments.settle(job_id=job.pk, clock=quay.clock)

        assert (only(job).status, quay.orders_on_chain()) == ("dropped", 0)
        assert told(job)[-1].startswith("never mined.")

    def test_tells_of_a_revert(self, quay: Quay) -> None:
        job = waiting(quay)
        before = str(quay.chain.rpc("evm_snapshot", []))
        quay.mine()
        later(quay, job, 2)
        assert job.state == State.RUNNING
        forget(quay, before, blocks=1)
        quay.wire.will(
            "eth_getTransactionReceipt",
            *[lambda answer: {**answer, "result": {**answer["result"], "status": "0x0"}}] * 2,
        )
        quay.clock.tick(15)
        Transaction.objects.update(block_hash="0x" + "34" * 32)

        assert check(quay) == 1

        assert only(job).status == "reverted"
        assert "It was mined and undone" in told(job)[-1]
        job.refresh_from_db()
        assert job.state == State.RUNNING  # the node's own business; nothing is sent for it

    def test_of_a_cancelled_one_sees_that_the_order_was_mined_after_all(
        self, quay: Quay, alice: Actor
    ) -> None:
        job = waiting(quay)
        first = only(job)
        before = str(quay.chain.rpc("evm_snapshot", []))  # the order waits in the pool
        acting.cancel(actor=alice, transaction_id=first.pk, now=quay.clock())
        later(quay, job, 1)
        quay.mine()
        later(quay, job, 2)
        assert (statuses(job), job.state) == ([("order", "cancelled")], State.FAILED)
        forget(quay, before, blocks=1)
        assert quay.orders_on_chain() == 1

        assert check(quay) == 1

        tx = only(job)
        assert (tx.status, tx.tx_hash, tx.cancels) == ("confirmed", first.tx_hash, False)
        assert told(job)[-1] == f"done in block {tx.block_number}."
        assert order_of(job).transaction == tx  # and the next launch finds it

    def test_sends_the_version_that_was_mined_not_the_one_that_was_to_take_its_place(
        self, quay: Quay, alice: Actor
    ) -> None:
        job = one_order(quay)
        before = str(quay.chain.rpc("evm_snapshot", []))
        quay.automine(False)
        advance(job, quay.clock)
        first = only(job)
        acting.cancel(actor=alice, transaction_id=first.pk, now=quay.clock())
        quay.wire.before[SENDING] = quay.mine  # the cancel comes too late
        later(quay, job, 1)
        quay.wire.before.clear()
        assert (job.state, only(job).tx_hash) == (State.RUNNING, first.tx_hash)
        quay.automine(True)
        forget(quay, before, blocks=1)

        check(quay)

        assert (only(job).status, only(job).tx_hash, quay.orders_on_chain()) == (
            "confirmed",
            first.tx_hash,
            1,
        )

    def test_of_a_job_that_still_pays_has_it_wait_again(self, quay: Quay) -> None:
        job = quay.job(own_algorithm={"code": "1", "language": ""})
        before = str(quay.chain.rpc("evm_snapshot", []))
        quay.wire.before["eth_estimateGas"] = lambda: (
            quay.wire.will("eth_getTransactionCount", AWAY)
            if quay.wire.asked.count("eth_estimateGas") > 1
            else None
        )
        advance(job, quay.clock)
        quay.wire.before.clear()
        assert statuses(job) == [("dispense", "confirmed"), ("order", "planned")]
        quay.automine(False)
        forget(quay, before, blocks=1)

        check(quay)
        later(quay, job, 10)
        assert statuses(job) == [("dispense", "sent"), ("order", "planned")]
        for _ in range(2):
            quay.mine()
            later(quay, job, 2)

        assert (job.state, quay.orders_on_chain(), quay.mined()) == (State.RUNNING, 1, 2)

    def test_by_two_workers_is_told_once(self, quay: Quay) -> None:
        job, before = paid(quay)
        stale = only(job)
        forget(quay, before, blocks=1)
        check(quay)

        with payments.open_chain(network=quay.network) as chain:
            moved = blocks._follow(tx=stale, chain=chain, network=quay.network, now=quay.clock())

        assert not moved
        assert len(told(job)) == 3

    def test_that_cannot_ask_leaves_all_as_it_is(self, quay: Quay) -> None:
        job, before = paid(quay)
        forget(quay, before, blocks=1)
        quay.wire.will("eth_chainId", AWAY)

        tasks.check_blocks(quay.network.pk)

        assert statuses(job) == [("order", "confirmed")]


class TestClaimDue:
    def test_names_a_network_once_a_minute_while_its_blocks_are_young(self, quay: Quay) -> None:
        paid(quay)

        assert blocks.claim_due(now=quay.clock()) == [quay.network.pk]
        assert blocks.claim_due(now=quay.clock.tick(59)) == []
        assert blocks.claim_due(now=quay.clock.tick(1)) == [quay.network.pk]
        assert blocks.claim_due(now=quay.clock() + blocks.FORGETFUL) == []

    def test_is_asked_by_each_new_pulse(self, quay: Quay) -> None:
        paid(quay)

        running.begin_pulse(now=quay.clock())

        assert ("check_blocks", (quay.network.pk,)) in queued()

    def test_leaves_out_networks_where_nothing_was_sent(self, quay: Quay) -> None:
        builders.make_network(chain_id=1, name="Quiet")

        assert blocks.claim_due(now=quay.clock() + timedelta(days=1)) == []
