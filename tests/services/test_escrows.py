"""What a wallet has in an escrow, what a node took of it, and what a person has back."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

import pytest

from jobs import tasks
from jobs.access import Actor
from jobs.errors import InvalidInput, Missing, NotAllowed
from jobs.lifecycle import State
from jobs.models import EscrowAccount, Job, JobEvent, Transaction
from jobs.services import acting, escrows, settling
from jobs.services.budget import OutOfBudget
from tests.builders import NOW
from tests.services.fakes import not_there, queued
from tests.services.harbour import LOCK_S, STRANGE_ACCOUNT, Harbour
from tests.services.payers import AWAY

TOKEN = 10**18


def settled(job: Job) -> tuple[int | None, str, bool]:
    """Return what is known of a job's cost: wei, the claim, and whether it is known at all."""
    job.refresh_from_db()
    return job.charged_wei, job.claim_tx, job.settled_at is not None


def act(harbour: Harbour) -> list[str]:
    """Do what people want done; return the statuses of it all, with their troubles."""
    acting.act(wallet_id=harbour.quay.wallet.pk, network_id=harbour.quay.network.pk, clock=harbour.quay.clock)
    return list(Transaction.objects.filter(job=None).order_by("pk").values_list("status", flat=True))


class TestLook:
    def test_reads_what_is_available_and_what_is_locked_for_whom(self, harbour: Harbour) -> None:
        job = harbour.running(deposit_wei=3 * TOKEN, locked_wei=2 * TOKEN)
        harbour.quay.wire.asked.clear()

        account = harbour.look()

        assert (account.available_wei, account.locked_wei, account.read_at) == (TOKEN, 2 * TOKEN, NOW)
        (lock,) = account.locks
        assert (lock["id"], lock["payee"]) == (job.lock_id, str(harbour.payee))
        assert int(lock["amount_wei"]) == 2 * TOKEN
        assert lock["expires_at"] > NOW.timestamp() + LOCK_S - 60
        assert account.trouble == ""
        assert harbour.quay.wire.asked == ["eth_chainId", "eth_call", "eth_call"]
        assert harbour.far.called("jobs_of") == []  # while the money is locked there is nothing to ask

    def test_says_what_is_locked_by_nobody_that_is_known(self, harbour: Harbour) -> None:
        job = harbour.running(deposit_wei=3 * TOKEN, locked_wei=TOKEN)
        stranger = harbour.quay.chain.account(STRANGE_ACCOUNT).address
        from jobs.ocean import escrow
        from jobs.ocean.units import Address, Wei

        harbour.quay.elsewhere(
            escrow.authorize(
                escrow=Address(harbour.account.escrow),
                token=Address(harbour.token.address),
                payee=Address(stranger),
                max_locked_wei=Wei(TOKEN),
                max_lock_s=LOCK_S,
                max_locks=1,
            )
        )
        harbour.lock(job, TOKEN, number=77, account=STRANGE_ACCOUNT)

        account = harbour.look()

        assert (account.locked_wei, len(account.locks)) == (2 * TOKEN, 1)
        assert account.trouble == "1 OCEAN more are locked, by somebody who runs no job of this portal."

    def test_of_a_chain_that_is_away_keeps_what_was_read(self, harbour: Harbour) -> None:
        harbour.running()
        harbour.look()
        harbour.quay.wire.will("eth_chainId", AWAY)
        harbour.quay.clock.tick(600)

        account = harbour.look()

        assert (account.locked_wei, account.read_at) == (TOKEN, NOW)
        assert "chain.test" in account.trouble
        assert account.next_look_at == harbour.quay.clock() + timedelta(minutes=1)
        assert harbour.look().trouble == ""

    def test_is_the_task_of_the_worker(self, harbour: Harbour) -> None:
        tasks.look_at_escrow(harbour.account.pk)

        harbour.account.refresh_from_db()
        assert harbour.account.read_at is not None


class TestSettle:
    def test_tells_what_the_claim_took_to_the_wei(self, harbour: Harbour) -> None:
        job = harbour.over()
        claim = harbour.claim(job, 123_456_789_012_345_678)
        harbour.tell(job, claim_tx=claim, status=70)

        account = harbour.look()

        assert settled(job) == (123_456_789_012_345_678, claim, True)
        assert (account.available_wei, account.locked_wei) == (TOKEN - 123_456_789_012_345_678, 0)
        event = job.events.filter(kind=JobEvent.Kind.PAYMENT).order_by("pk").last()
        assert event is not None
        assert event.message == "The node took 0.123456789012345678 OCEAN."
        assert event.data == {"tx_hash": claim}

    def test_happens_once(self, harbour: Harbour) -> None:
        job = harbour.over()
        harbour.tell(job, claim_tx=harbour.claim(job, 5))
        stale = Job.objects.select_related("node").get(pk=job.pk)
        harbour.look()
        events = job.events.count()

        harbour.look()
        with escrows.open_chain(network=harbour.quay.network) as chain:
            settling.settle(account=harbour.account, jobs=[stale], chain=chain, clock=harbour.quay.clock)

        assert job.events.count() == events
        assert settled(job)[0] == 5

    def test_of_a_job_that_failed_tells_what_was_charged_all_the_same(self, harbour: Harbour) -> None:
        job = harbour.over()
        Job.objects.filter(pk=job.pk).update(state=State.FAILED)
        harbour.tell(job, claim_tx=harbour.claim(job, TOKEN))

        harbour.look()

        assert settled(job)[0] == TOKEN

    @pytest.mark.parametrize("state", [State.COLLECTING, State.NEEDS_ATTENTION])
    def test_does_not_wait_for_the_results(self, harbour: Harbour, state: State) -> None:
        job = harbour.over()
        Job.objects.filter(pk=job.pk).update(state=state, ended_at=None)
        harbour.tell(job, claim_tx=harbour.claim(job, 7))

        harbour.look()

        assert settled(job)[0] == 7

    def test_waits_while_the_money_is_locked(self, harbour: Harbour) -> None:
        job = harbour.over()

        harbour.look()

        assert not settled(job)[2]
        assert harbour.far.called("jobs_of") == []

    def test_finds_the_claim_before_the_node_has_told_of_it(self, harbour: Harbour) -> None:
        job = harbour.over()
        claim = harbour.claim(job, 9)

        harbour.look()

        assert settled(job) == (9, claim, True)

    def test_with_nothing_where_the_lock_ran_out(self, harbour: Harbour) -> None:
        job = harbour.over()
        harbour.tell(job, cancel_tx=harbour.expire(job))

        account = harbour.look()

        assert settled(job) == (0, "", True)
        assert (account.available_wei, account.locked_wei) == (TOKEN, 0)
        assert job.events.filter(message__startswith="The node took nothing").count() == 1

    def test_of_a_job_that_the_node_forgot_is_proven_by_the_chain(self, harbour: Harbour) -> None:
        job = harbour.over()
        claim = harbour.claim(job, 11)
        harbour.far.jobs = []

        harbour.look()

        assert settled(job) == (11, claim, True)

    def test_says_that_it_cannot_be_told_where_nothing_is_known(self, harbour: Harbour) -> None:
        job = harbour.over()
        harbour.claim(job, 11)
        harbour.far.jobs = []
        Job.objects.filter(pk=job.pk).update(lock_tx="")

        harbour.look()

        assert settled(job) == (None, "", True)
        assert job.events.filter(message__contains="cannot be told").count() == 1

    def test_searches_an_endpoint_that_lists_no_events_once(self, harbour: Harbour) -> None:
        job = harbour.over()
        harbour.claim(job, 11)
        harbour.far.jobs = []
        harbour.quay.wire.will(
            "eth_getLogs", {"error": {"code": -32000, "message": "query exceeds max block range"}}
        )

        harbour.look()

        assert settled(job) == (None, "", True)

    def test_believes_no_claim_that_the_chain_does_not_show(self, harbour: Harbour) -> None:
        job = harbour.over()
        harbour.expire(job)
        harbour.tell(job, claim_tx="0x" + "99" * 32)
        harbour.quay.wire.will("eth_getLogs", {"result": []}, {"result": []})

        harbour.look()
        assert not settled(job)[2]
        harbour.quay.clock.tick(3 * 3600)
        account = harbour.look()

        assert not settled(job)[2]
        assert "which the chain does not show" in account.trouble

    def test_counts_no_claim_of_another_job(self, harbour: Harbour) -> None:
        job, other = harbour.over(), harbour.over()
        mine, others = harbour.claim(job, 3), harbour.claim(other, 500)
        harbour.tell(job, claim_tx=others)
        harbour.tell(other, claim_tx=others)

        harbour.look()

        assert settled(job) == (3, mine, True)
        assert settled(other) == (500, others, True)

    def test_of_several_jobs_asks_the_node_once(self, harbour: Harbour) -> None:
        jobs = [harbour.over() for _ in range(3)]
        for i, job in enumerate(jobs):
            harbour.tell(job, claim_tx=harbour.claim(job, i + 1))

        harbour.look()

        assert len(harbour.far.called("jobs_of")) == 1
        assert [settled(job)[0] for job in jobs] == [1, 2, 3]

    def test_waits_until_the_claim_has_stood_long_enough(self, harbour: Harbour) -> None:
        job = harbour.over()
        harbour.quay.network.confirmations = 3
        harbour.quay.network.save()
        harbour.tell(job, claim_tx=harbour.claim(job, 3))

        assert harbour.look().trouble == ""
        assert not settled(job)[2]
        harbour.quay.mine(2)
        harbour.look()

        assert settled(job)[0] == 3

    def test_by_a_node_that_is_away_is_tried_again(self, harbour: Harbour) -> None:
        job = harbour.over()
        harbour.tell(job, claim_tx=harbour.claim(job, 3))
        harbour.far.will("jobs_of", not_there())

        account = harbour.look()
        assert (account.locked_wei, account.read_at) == (0, NOW)  # the chain was read all the same
        assert "Nobody answers" in account.trouble
        assert not settled(job)[2]

        assert harbour.look().trouble == ""
        assert settled(job)[0] == 3

    def test_beyond_the_node_s_budget_is_tried_again(self, harbour: Harbour) -> None:
        job = harbour.over()
        harbour.tell(job, claim_tx=harbour.claim(job, 3))
        harbour.far.will("jobs_of", OutOfBudget(node="Harbour node", available_at=NOW))

        assert "asked as often" in harbour.look().trouble
        harbour.look()

        assert settled(job)[0] == 3


class TestPace:
    @pytest.mark.parametrize(
        ("over_s", "pause_s"), [(0, 10), (20, 10), (30, 15), (300, 150), (1200, 600), (90_000, 600)]
    )
    def test_is_half_of_the_time_that_an_unsettled_job_has_been_over(
        self, harbour: Harbour, over_s: int, pause_s: int
    ) -> None:
        harbour.over()
        harbour.quay.clock.tick(over_s)

        account = harbour.look()

        assert account.next_look_at == harbour.quay.clock() + timedelta(seconds=pause_s)

    def test_grows_for_a_job_that_its_node_forgot_as_well(self, harbour: Harbour) -> None:
        job = harbour.running()
        heard_at = NOW - timedelta(minutes=4)
        Job.objects.filter(pk=job.pk).update(state=State.NEEDS_ATTENTION, report_at=heard_at)

        assert harbour.look().next_look_at == NOW + timedelta(minutes=2)

    def test_is_two_minutes_while_a_job_runs(self, harbour: Harbour) -> None:
        harbour.running()

        assert harbour.look().next_look_at == NOW + timedelta(minutes=2)

    def test_is_ten_minutes_once_all_is_settled(self, harbour: Harbour) -> None:
        job = harbour.over()
        harbour.tell(job, claim_tx=harbour.claim(job, 3))

        assert harbour.look().next_look_at == NOW + timedelta(minutes=10)

    def test_shows_a_demo_s_cost_within_moments_of_its_settling(self, harbour: Harbour) -> None:
        job = harbour.over()
        asked = 0
        for second in range(60):
            harbour.quay.clock.tick(1)
            if second == 20:
                harbour.tell(job, claim_tx=harbour.claim(job, 3))
            for account_id in escrows.claim_due(now=harbour.quay.clock()):
                asked += 1
                escrows.look(account_id=account_id, clock=harbour.quay.clock)

        assert settled(job)[2]
        assert job.settled_at is not None
        assert job.settled_at - NOW <= timedelta(seconds=32)
        assert asked <= 5


class TestClaimDue:
    def test_gives_an_account_to_one_process_at_a_time(self, harbour: Harbour) -> None:
        mine = [harbour.account.pk]

        assert escrows.claim_due(now=NOW) == mine
        assert escrows.claim_due(now=NOW + timedelta(seconds=29)) == []
        assert escrows.claim_due(now=NOW + timedelta(seconds=30)) == mine

    def test_is_asked_at_every_beat(self, harbour: Harbour) -> None:
        from jobs.services import running

        running.pulse(clock=harbour.quay.clock, holder="me")

        assert ("look_at_escrow", (harbour.account.pk,)) in queued()

    def test_comes_sooner_when_a_person_asks(self, harbour: Harbour, vera: Actor) -> None:
        EscrowAccount.objects.update(next_look_at=NOW + timedelta(minutes=9))

        escrows.look_soon(actor=vera, account_id=harbour.account.pk, now=NOW)

        assert escrows.claim_due(now=NOW) == [harbour.account.pk]

    def test_for_a_person_of_another_team_is_nothing(self, harbour: Harbour, charlie: Actor) -> None:
        with pytest.raises(Missing):
            escrows.look_soon(actor=charlie, account_id=harbour.account.pk, now=NOW)


class TestWithdraw:
    def ready(self, harbour: Harbour) -> Harbour:
        harbour.running(deposit_wei=3 * TOKEN, locked_wei=TOKEN)
        harbour.look()
        return harbour

    def withdraw(self, harbour: Harbour, actor: Actor, amount: str | None) -> None:
        amount_wanted = None if amount is None else Decimal(amount)
        escrows.withdraw(actor=actor, account_id=harbour.account.pk, amount=amount_wanted, now=NOW)

    @pytest.mark.parametrize(("amount", "left"), [(None, 0), ("0.5", 3 * TOKEN // 2), ("2", 0)])
    def test_takes_back_all_or_a_part_of_what_is_available(
        self, harbour: Harbour, alice: Actor, amount: str | None, left: int
    ) -> None:
        self.ready(harbour)

        self.withdraw(harbour, alice, amount)
        assert queued()[-1] == ("act", (harbour.quay.wallet.pk, harbour.quay.network.pk))

        assert act(harbour) == ["confirmed"]
        assert harbour.funds() == (left, TOKEN)
        tx = Transaction.objects.get(job=None)
        assert (tx.asked_by_id, tx.amount_wei, tx.token) == (
            alice.user_id,
            2 * TOKEN - left,
            harbour.token.address,
        )

    @pytest.mark.parametrize("amount", ["2.000000000000000001", "0", "-1", "0.0000000000000000001"])
    def test_refuses_what_is_not_there(self, harbour: Harbour, alice: Actor, amount: str) -> None:
        self.ready(harbour)

        with pytest.raises(InvalidInput) as error:
            self.withdraw(harbour, alice, amount)

        assert error.value.field == "amount"
        assert not Transaction.objects.filter(job=None).exists()

    def test_twice_at_once_is_one(self, harbour: Harbour, alice: Actor) -> None:
        self.ready(harbour)
        self.withdraw(harbour, alice, None)

        with pytest.raises(InvalidInput, match="under way already"):
            self.withdraw(harbour, alice, None)

        assert act(harbour) == ["confirmed"]

    def test_that_the_escrow_passes_over_is_told(self, harbour: Harbour, alice: Actor) -> None:
        self.ready(harbour)
        self.withdraw(harbour, alice, None)
        self.withdraw(harbour, alice, "1.5")

        assert act(harbour) == ["confirmed", "reverted"]

        trouble = Transaction.objects.filter(job=None).order_by("pk")[1].trouble
        assert "gave nothing back" in trouble

    def test_is_an_owner_s_of_the_team(self, harbour: Harbour, bob: Actor, charlie: Actor) -> None:
        self.ready(harbour)

        with pytest.raises(NotAllowed):
            self.withdraw(harbour, bob, None)
        with pytest.raises(Missing):
            self.withdraw(harbour, charlie, None)


class TestRelease:
    def test_frees_what_is_over_its_time(self, harbour: Harbour, alice: Actor) -> None:
        job = harbour.over()
        harbour.look()
        harbour.quay.chain.rpc("evm_increaseTime", [2 * LOCK_S])
        harbour.quay.mine()
        harbour.quay.clock.tick(2 * LOCK_S)

        escrows.release(actor=alice, account_id=harbour.account.pk, now=harbour.quay.clock())

        assert act(harbour) == ["confirmed"]
        assert harbour.funds() == (TOKEN, 0)
        harbour.look()
        assert settled(job) == (0, "", True)

    def test_of_nothing_is_refused(self, harbour: Harbour, alice: Actor) -> None:
        harbour.running()
        harbour.look()

        with pytest.raises(InvalidInput, match="No lock"):
            escrows.release(actor=alice, account_id=harbour.account.pk, now=NOW)

    def test_that_frees_nothing_is_told(self, harbour: Harbour, alice: Actor) -> None:
        harbour.running()
        harbour.look()
        harbour.quay.clock.tick(LOCK_S + 60)  # our clock says that it is over; the chain's does not

        escrows.release(actor=alice, account_id=harbour.account.pk, now=harbour.quay.clock())

        assert act(harbour) == ["reverted"]
        assert "no lock was freed" in Transaction.objects.get(job=None).trouble

    def test_is_an_owner_s(self, harbour: Harbour, bob: Actor) -> None:
        with pytest.raises(NotAllowed):
            escrows.release(actor=bob, account_id=harbour.account.pk, now=NOW)
