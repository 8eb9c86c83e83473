"""The ledger against chain and nodes: nothing where all is well, and every way in which it may not be."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.core.management import call_command

from jobs import tasks
from jobs.access import Actor
from jobs.lifecycle import State
from jobs.models import EscrowAccount, Job, Network, Reconciliation, Transaction
from jobs.ocean.compute import JobReport, Parsed
from jobs.services import acting, escrows, reconciling, running
from jobs.services.budget import OutOfBudget
from tests import builders
from tests.builders import NOW
from tests.conftest import Cast
from tests.services.fakes import make_report, not_there, queued
from tests.services.harbour import Harbour
from tests.services.payers import AWAY, later, one_order, only, waiting
from tests.services.quay import Quay, order_of
from tests.services.steps import advance

TOKEN = 10**18


def found(quay: Quay, **values: Any) -> list[tuple[str, str]]:
    """Return kind and object of every difference."""
    return [(each.kind, each.about) for each in reconciling.compare(clock=quay.clock, **values)]


def kinds(quay: Quay) -> list[str]:
    return [kind for kind, _ in found(quay)]


def sentence(quay: Quay) -> str:
    """Return the sentence of the one difference."""
    (difference,) = reconciling.compare(clock=quay.clock)
    return difference.sentence


def paid(quay: Quay) -> Job:
    job = advance(quay.job(), quay.clock)
    assert job.state == State.RUNNING
    return job


def settled(harbour: Harbour, *, took: int = TOKEN // 3) -> Job:
    """A job that has ended, and of which the node took a part."""
    job = harbour.over(deposit_wei=TOKEN)
    harbour.tell(job, claim_tx=harbour.claim(job, took))
    harbour.look()
    return job


class TestClean:
    def test_of_an_empty_portal_finds_nothing(self, quay: Quay) -> None:
        assert found(quay) == []

    def test_of_a_provider_s_jobs_finds_nothing(self, quay: Quay) -> None:
        paid(quay)
        quay.far.end_jobs()
        paid(quay)

        assert found(quay) == []

    def test_of_a_node_s_jobs_finds_nothing_at_any_moment(self, harbour: Harbour, alice: Actor) -> None:
        quay = harbour.quay
        planned = harbour.paying(deposit_wei=TOKEN)
        assert found(quay) == []
        quay.automine(False)
        advance(planned, quay.clock)
        assert found(quay) == []
        quay.automine(True)
        quay.mine()
        for _ in range(4):
            later(quay, planned, 2)
        assert planned.state == State.RUNNING
        assert found(quay) == []
        harbour.lock(planned, TOKEN // 2)
        assert found(quay) == []
        Job.objects.filter(pk=planned.pk).update(state=State.COLLECTING, finished_at=quay.clock())
        planned.refresh_from_db()
        harbour.tell(planned)
        assert found(quay) == []
        harbour.tell(planned, claim_tx=harbour.claim(planned, 1_234_567))
        assert found(quay) == []
        planned.refresh_from_db()
        assert planned.charged_wei == 1_234_567
        escrows.withdraw(actor=alice, account_id=harbour.account.pk, amount=None, now=quay.clock())
        assert found(quay) == []
        acting.act(wallet_id=quay.wallet.pk, network_id=quay.network.pk, clock=quay.clock)
        assert harbour.funds() == (0, 0)
        assert found(quay) == []

    def test_counts_what_was_in_the_escrow_before_the_portal(self, harbour: Harbour) -> None:
        harbour.pay_in_elsewhere(7)
        EscrowAccount.objects.update(opening_wei=7)
        settled(harbour)

        assert found(harbour.quay) == []

    def test_of_a_lock_that_ran_out_finds_nothing(self, harbour: Harbour) -> None:
        job = harbour.over()
        harbour.tell(job, cancel_tx=harbour.expire(job))

        assert found(harbour.quay) == []

    def test_of_an_address_that_two_teams_hold_counts_it_once(self, harbour: Harbour, cast: Cast) -> None:
        settled(harbour)
        twin = builders.make_wallet(team=cast.other_team, label="twin")
        EscrowAccount.objects.create(wallet=twin, token=harbour.token, escrow=harbour.account.escrow)
        assert found(harbour.quay) == []
        EscrowAccount.objects.update(opening_wei=1)

        assert kinds(harbour.quay) == ["escrow"]

    def test_waits_for_a_withdrawal_that_is_mined_and_not_seen_yet(
        self, harbour: Harbour, alice: Actor
    ) -> None:
        settled(harbour)
        quay = harbour.quay
        escrows.withdraw(actor=alice, account_id=harbour.account.pk, amount=None, now=quay.clock())
        quay.automine(False)
        acting.act(wallet_id=quay.wallet.pk, network_id=quay.network.pk, clock=quay.clock)
        quay.mine()
        assert harbour.funds() == (0, 0)

        assert found(quay) == []

    def test_expects_no_job_at_the_node_that_has_ended(self, harbour: Harbour) -> None:
        settled(harbour)
        harbour.far.jobs = []
        harbour.quay.clock.tick(1)

        assert found(harbour.quay) == []

    def test_tells_nothing_of_what_moved_on_while_the_chain_was_asked(self, quay: Quay) -> None:
        waiting(quay)
        quay.clock.tick(3600)

        def give_up() -> None:
            Transaction.objects.update(status=Transaction.Status.DROPPED)

        quay.wire.before["eth_getTransactionReceipt"] = give_up

        assert found(quay) == []

    def test_takes_a_provider_s_start_that_is_under_way_for_no_stranger(self, quay: Quay) -> None:
        job = paid(quay)
        Job.objects.filter(pk=job.pk).update(
            state=State.STARTING, node_job_id="", accepted_at=None, start_sent_at=NOW
        )

        assert found(quay) == []

    def test_takes_a_number_that_another_program_s_waiting_transaction_has_for_no_gap(
        self, quay: Quay
    ) -> None:
        job = one_order(quay)
        quay.automine(False)
        quay.elsewhere()
        advance(job, quay.clock)
        assert (only(job).nonce, only(job).status) == (1, "sent")

        assert found(quay) == []

    def test_takes_a_start_that_is_under_way_for_no_stranger(self, harbour: Harbour) -> None:
        job = harbour.running()
        Job.objects.filter(pk=job.pk).update(
            state=State.STARTING, node_job_id="", accepted_at=None, lock_id="", start_sent_at=NOW
        )

        assert found(harbour.quay) == []

    def test_misses_no_job_that_was_accepted_while_the_node_was_asked(self, harbour: Harbour) -> None:
        job = harbour.running()

        def late(**_: Any) -> Parsed[JobReport]:
            Job.objects.filter(pk=job.pk).update(accepted_at=harbour.quay.clock.tick(1))
            return Parsed(items=(), skipped=0)

        harbour.far.will("jobs_of", late)

        assert found(harbour.quay) == []


class TestTransactions:
    def test_that_wait_too_long_are_told(self, quay: Quay) -> None:
        job = waiting(quay)
        quay.clock.tick(599)
        assert found(quay) == []
        quay.clock.tick(2)

        assert found(quay) == [("waiting", only(job).tx_hash)]

    def test_that_are_mined_and_not_seen_yet_are_no_difference(self, quay: Quay) -> None:
        waiting(quay)
        quay.mine()
        quay.clock.tick(3600)

        assert found(quay) == []

    def test_that_were_given_up_and_mined_after_all_are_told(self, quay: Quay) -> None:
        job = paid(quay)
        tx = job.transactions.order_by("-pk")[0]
        Transaction.objects.filter(pk=tx.pk).update(status=Transaction.Status.DROPPED)

        assert ("not_dropped", tx.tx_hash) in found(quay)

    def test_that_the_chain_forgot_are_told(self, quay: Quay) -> None:
        job = one_order(quay)
        before = quay.chain.rpc("evm_snapshot", [])
        advance(job, quay.clock)
        quay.chain.rpc("evm_revert", [before])

        assert kinds(quay) == ["receipt_gone"]

    def test_that_ended_well_while_the_ledger_says_otherwise_are_told(self, quay: Quay) -> None:
        job = advance(one_order(quay), quay.clock)
        Transaction.objects.update(status=Transaction.Status.REVERTED)

        assert found(quay) == [("status", only(job).tx_hash)]

    def test_that_reverted_while_the_ledger_counts_them_are_told(self, quay: Quay) -> None:
        job = one_order(quay)
        quay.wire.will("eth_estimateGas", {"result": hex(50_000)})
        advance(job, quay.clock)
        assert found(quay) == []
        Transaction.objects.update(status=Transaction.Status.CONFIRMED)

        assert "is confirmed here and reverted on the chain" in sentence(quay)

    def test_that_are_in_another_block_are_told(self, quay: Quay) -> None:
        advance(one_order(quay), quay.clock)
        Transaction.objects.update(block_hash="0x" + "12" * 32)

        assert kinds(quay) == ["reorganised"]

    def test_that_made_no_order_are_told(self, quay: Quay) -> None:
        job = advance(one_order(quay), quay.clock)
        order = order_of(job)
        order.datatoken = str(quay.deployed.datatokens["algorithm"])
        order.save()

        assert found(quay) == [("no_order", only(job).tx_hash)]

    def test_that_did_nothing_in_the_escrow_are_told(self, harbour: Harbour) -> None:
        settled(harbour)
        deposit = Transaction.objects.get(purpose=Transaction.Purpose.DEPOSIT)
        Transaction.objects.filter(pk=deposit.pk).update(purpose=Transaction.Purpose.WITHDRAWAL)

        assert ("no_effect", deposit.tx_hash) in found(harbour.quay)

    def test_of_another_program_are_told(self, quay: Quay) -> None:
        paid(quay)
        quay.elsewhere()
        quay.elsewhere()

        assert found(quay) == [("foreign_transactions", quay.wallet.address)]
        assert "2 transactions" in sentence(quay)

    def test_of_another_program_from_before_the_portal_s_first_are_not(self, quay: Quay) -> None:
        quay.elsewhere()
        paid(quay)

        assert found(quay) == []

    def test_behind_a_lost_one_are_told(self, quay: Quay) -> None:
        before = quay.chain.rpc("evm_snapshot", [])
        quay.automine(False)
        quay.elsewhere()
        job = one_order(quay)
        quay.wire.will("eth_sendRawTransaction", AWAY)
        advance(job, quay.clock)
        quay.chain.rpc("evm_revert", [before])

        assert found(quay) == [("gap", quay.wallet.address)]


class TestEscrow:
    def test_with_more_in_it_than_the_ledger_knows_is_told(self, harbour: Harbour) -> None:
        settled(harbour)
        harbour.pay_in_elsewhere(3 * TOKEN)

        told = {each.kind: each for each in reconciling.compare(clock=harbour.quay.clock)}

        assert set(told) == {"foreign_transactions", "escrow"}
        assert "3 OCEAN more" in told["escrow"].sentence
        assert told["escrow"].about == "demo, OCEAN"

    def test_with_less_in_it_is_told_to_the_wei(self, harbour: Harbour) -> None:
        job = settled(harbour)
        Job.objects.filter(pk=job.pk).update(charged_wei=TOKEN // 3 - 1)

        assert "0.000000000000000001 OCEAN less" in sentence(harbour.quay)

    def test_is_looked_at_again_before_it_is_told(self, harbour: Harbour) -> None:
        """A claim that is mined between the look and the comparison is no difference."""
        job = harbour.running()
        funds_asked = 0

        def claim() -> None:
            nonlocal funds_asked
            funds_asked += 1
            if funds_asked == 9 and not Job.objects.filter(pk=job.pk, state=State.SUCCEEDED).exists():
                Job.objects.filter(pk=job.pk).update(state=State.SUCCEEDED, finished_at=harbour.quay.clock())
                job.refresh_from_db()
                harbour.tell(job, claim_tx=harbour.claim(job, 5))

        harbour.quay.wire.before["eth_call"] = claim
        for _ in range(3):
            assert found(harbour.quay) == []

        job.refresh_from_db()
        assert job.charged_wei == 5

    def test_whose_node_never_settles_is_told_after_two_hours(self, harbour: Harbour) -> None:
        job = harbour.over()
        harbour.expire(job)
        harbour.quay.wire.faults["eth_getLogs"] = [{"result": []}] * 20
        assert kinds(harbour.quay) == []
        harbour.quay.clock.tick(7201)

        assert found(harbour.quay) == [("unsettled", str(job.pk))]

    def test_of_which_nobody_can_tell_what_was_taken_is_told(self, harbour: Harbour) -> None:
        job = harbour.over()
        harbour.claim(job, 5)
        harbour.far.jobs = []
        Job.objects.filter(pk=job.pk).update(lock_tx="")

        assert found(harbour.quay) == [("charge_unknown", str(job.pk))]

    def test_with_a_lock_for_no_job_is_told(self, harbour: Harbour) -> None:
        job = harbour.running(deposit_wei=2 * TOKEN, locked_wei=TOKEN)
        harbour.lock(job, TOKEN, number=4711)

        assert found(harbour.quay) == [("unknown_lock", "4711")]
        assert "has locked 1 OCEAN of demo, OCEAN" in sentence(harbour.quay)


class TestNodes:
    def test_that_run_a_job_twice_are_told(self, harbour: Harbour) -> None:
        job = harbour.running()
        second = make_report(long_id="0x60962e6d-0x" + "77" * 32, tag=str(job.tag))
        harbour.far.jobs.append(second)

        assert found(harbour.quay) == [("job_twice", second.long_id)]

    def test_that_run_what_ended_here_unaccepted_are_told(self, harbour: Harbour) -> None:
        job = harbour.running()
        Job.objects.filter(pk=job.pk).update(
            state=State.FAILED, node_job_id="", accepted_at=None, lock_id="", settled_at=None
        )

        assert "job_unclaimed" in kinds(harbour.quay)

    def test_that_have_a_job_with_a_tag_of_nobody_are_told(self, harbour: Harbour) -> None:
        harbour.running()
        stranger = make_report(long_id="0x60962e6d-0x" + "77" * 32, tag="somebody's")
        harbour.far.jobs.append(stranger)

        assert found(harbour.quay) == [("unknown_job", stranger.long_id)]

    def test_that_have_other_programs_jobs_are_not(self, harbour: Harbour) -> None:
        harbour.running()
        harbour.far.jobs.append(make_report(long_id="0x60962e6d-0x" + "77" * 32))

        assert found(harbour.quay) == []

    def test_that_lost_a_running_job_are_told(self, harbour: Harbour) -> None:
        job = harbour.running()
        harbour.far.jobs = []
        harbour.quay.clock.tick(1)

        assert found(harbour.quay) == [("job_gone", str(job.pk))]

    def test_whose_list_cannot_be_read_are_told(self, harbour: Harbour) -> None:
        harbour.running()
        harbour.far.jobs, harbour.far.skipped = [], 2

        assert found(harbour.quay) == [("jobs_unreadable", "Harbour node")]

    def test_of_a_provider_with_a_job_of_our_order_that_nobody_started_here_are_told(
        self, quay: Quay
    ) -> None:
        job = paid(quay)
        report = quay.far.report(long_id="f" * 32, agreement_id=order_of(job).transaction.tx_hash)
        quay.far.jobs.append(report)

        assert found(quay) == [("unknown_job", "f" * 32)]

    def test_of_a_provider_with_another_program_s_order_are_not(self, quay: Quay) -> None:
        paid(quay)
        quay.far.jobs.append(quay.far.report(long_id="f" * 32, agreement_id="0x" + "99" * 32))

        assert found(quay) == []

    def test_are_asked_once_for_an_address_of_two_teams(self, harbour: Harbour, cast: Cast) -> None:
        harbour.running()
        twin = builders.make_wallet(team=cast.other_team, label="twin")
        harbour.job(wallet=twin, team=cast.other_team)
        harbour.far.calls.clear()

        assert found(harbour.quay) == []

        assert len(harbour.far.called("jobs_of")) == 1


class TestSilence:
    @pytest.mark.parametrize(
        "silence",
        [
            lambda quay: quay.wire.will("eth_chainId", AWAY),
            lambda quay: quay.wire.will("eth_chainId", {"result": "0x1"}),
            lambda quay: quay.wire.will("eth_getTransactionReceipt", AWAY),
            lambda quay: Network.objects.update(rpc_url=""),
        ],
    )
    def test_of_a_chain_is_a_difference(self, quay: Quay, silence: Callable[[Quay], object]) -> None:
        paid(quay)
        silence(quay)

        assert found(quay) == [("chain_silent", "Sandbox")]

    @pytest.mark.parametrize("error", [not_there(), OutOfBudget(node="Quay provider", available_at=NOW)])
    def test_of_a_node_is_a_difference(self, quay: Quay, error: Exception) -> None:
        paid(quay)
        quay.far.will("jobs_of", error)

        assert found(quay) == [("node_silent", "Quay provider")]

    def test_of_one_keeps_nothing_else_from_being_compared(self, quay: Quay) -> None:
        paid(quay)
        quay.far.jobs = []
        quay.clock.tick(1)
        quay.wire.will("eth_chainId", AWAY)

        assert kinds(quay) == ["chain_silent", "job_gone"]


class TestRequests:
    def test_are_one_for_each_transaction_and_few_beside(self, harbour: Harbour) -> None:
        jobs = [settled(harbour) for _ in range(3)]
        sent = Transaction.objects.exclude(tx_hash="").count()
        assert sent == 9
        harbour.quay.wire.asked.clear()
        harbour.far.calls.clear()

        assert found(harbour.quay) == []

        asked = harbour.quay.wire.asked
        assert asked.count("eth_getTransactionReceipt") == sent
        assert (
            len(asked) - sent <= 8
        )  # chain id (3), nonce, funds and locks of the look, funds of the comparison
        assert len(harbour.far.calls) == 1
        assert len(jobs) == 3

    def test_of_the_daily_run_leave_the_old_to_their_day(self, quay: Quay) -> None:
        paid(quay)
        old, young = Transaction.objects.order_by("pk")[:2]
        Transaction.objects.filter(pk=old.pk).update(sent_at=NOW - timedelta(days=31))
        Transaction.objects.exclude(pk__in=[old.pk, young.pk]).update(sent_at=NOW)
        days = []
        for _ in range(reconciling.PARTS):
            quay.wire.asked.clear()
            Transaction.objects.exclude(pk=old.pk).update(sent_at=quay.clock())
            assert found(quay, everything=False) == []
            days.append(quay.wire.asked.count("eth_getTransactionReceipt"))
            quay.clock.tick(86_400)

        total = Transaction.objects.count()
        assert sorted(days) == [total - 1] * (reconciling.PARTS - 1) + [total]

    def test_of_the_command_leave_out_none(self, quay: Quay) -> None:
        paid(quay)
        Transaction.objects.update(sent_at=NOW - timedelta(days=400))
        quay.wire.asked.clear()

        found(quay)

        assert quay.wire.asked.count("eth_getTransactionReceipt") == Transaction.objects.count()


class TestDaily:
    def test_is_due_a_day_after_the_last(self, quay: Quay) -> None:
        assert not reconciling.is_due(now=NOW)
        paid(quay)
        assert reconciling.is_due(now=NOW)
        reconciling.compare(clock=quay.clock)

        assert not reconciling.is_due(now=NOW + timedelta(hours=23, minutes=59))
        assert reconciling.is_due(now=NOW + timedelta(days=1))

    def test_is_asked_for_by_a_new_pulse(self, quay: Quay) -> None:
        paid(quay)

        running.begin_pulse(now=quay.clock())

        assert ("reconcile", ()) in queued()

    def test_is_done_by_the_worker_once(self, quay: Quay) -> None:
        paid(quay)

        tasks.reconcile()
        tasks.reconcile()

        assert Reconciliation.objects.count() == 1

    def test_remembers_the_last_thirty(self, quay: Quay) -> None:
        for _ in range(32):
            reconciling.compare(clock=quay.clock)
            quay.clock.tick(60)

        assert Reconciliation.objects.count() == 30
        last = Reconciliation.objects.order_by("-at")[0]
        assert last.at == quay.clock() - timedelta(seconds=60)

    def test_remembers_what_differed(self, quay: Quay) -> None:
        paid(quay)
        quay.elsewhere()

        found(quay)

        (kept,) = Reconciliation.objects.get().differences
        assert set(kept) == {"kind", "about", "sentence"}
        assert kept["kind"] == "foreign_transactions"


class TestCommand:
    def run(self, *options: str) -> tuple[int, str]:
        out = io.StringIO()
        with pytest.raises(SystemExit) as end:
            call_command("reconcile", *options, stdout=out)
        return int(end.value.code or 0), out.getvalue()

    def test_of_equal_sides_ends_with_zero(self, quay: Quay) -> None:
        paid(quay)

        assert self.run() == (0, "Nothing differs.\n")
        assert self.run("--json") == (0, "[]\n")

    def test_of_a_difference_ends_with_one_and_tells_it(self, quay: Quay) -> None:
        paid(quay)
        quay.elsewhere()

        code, told = self.run()
        assert code == 1
        assert told.startswith(f"foreign_transactions: 1 transaction of {quay.wallet.address}")
        code, told = self.run("--json")

        assert code == 1
        assert [each["kind"] for each in json.loads(told)] == ["foreign_transactions"]
