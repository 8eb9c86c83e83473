"""What people want from a wallet outside of any job: planned once, sent, found, and told where it does not go on."""

from __future__ import annotations

from typing import Any

import pytest

from jobs import tasks
from jobs.access import Actor
from jobs.errors import CannotOrder, InvalidInput, Missing, NotAllowed
from jobs.lifecycle import State
from jobs.models import ChainNonce, Network, Transaction
from jobs.ocean import orders
from jobs.ocean.errors import OceanError
from jobs.ocean.transactions import Call
from jobs.ocean.units import Wei
from jobs.services import acting, running
from jobs.services.gateway import NoChain
from tests.services.conftest import run_together
from tests.services.fakes import STRANGER, queued
from tests.services.payers import AWAY, SENDING, later, one_order, only, unsent, waiting
from tests.services.quay import Quay, statuses
from tests.services.steps import advance


def wanted(quay: Quay, alice: Actor, *, amount_wei: int = 5) -> Transaction:
    """Have something that a person wants planned: an allowance, as it is easy to see."""
    return acting.plan_act(
        actor=alice,
        wallet=quay.wallet,
        network=quay.network,
        purpose=Transaction.Purpose.RELEASE,
        told="Free locks that are over their time",
        call=call(quay, amount_wei),
    )


def call(quay: Quay, amount_wei: int = 5) -> Call:
    """A call that leaves no event of the escrow, whose effect is a number that can be read."""
    return orders.approve(
        token=quay.deployed.datatokens["dataset"], spender=STRANGER, amount_wei=Wei(amount_wei)
    )


def approving(quay: Quay, alice: Actor) -> Transaction:
    """Have an act planned whose effect needs no event: the same call under another purpose."""
    tx = wanted(quay, alice)
    Transaction.objects.filter(pk=tx.pk).update(purpose=Transaction.Purpose.APPROVAL)
    return tx


def act(quay: Quay, seconds: float = 0) -> None:
    quay.clock.tick(seconds)
    acting.act(wallet_id=quay.wallet.pk, network_id=quay.network.pk, clock=quay.clock)


def row(tx: Transaction) -> Transaction:
    tx.refresh_from_db()
    return tx


class TestPlanAct:
    def test_commits_the_row_with_who_wanted_it_and_its_task(self, quay: Quay, alice: Actor) -> None:
        tx = wanted(quay, alice)

        assert (tx.status, tx.job, tx.asked_by_id, tx.nonce) == ("planned", None, alice.user_id, None)
        assert queued() == [("act", (quay.wallet.pk, quay.network.pk))]

    def test_on_a_double_click_is_refused(self, quay: Quay, alice: Actor) -> None:
        wanted(quay, alice)

        with pytest.raises(InvalidInput, match="under way already"):
            wanted(quay, alice)

        assert Transaction.objects.count() == len(queued()) == 1

    @pytest.mark.parametrize("status", [Transaction.Status.CONFIRMED, Transaction.Status.REFUSED])
    def test_after_the_first_has_ended_is_another(self, quay: Quay, alice: Actor, status: str) -> None:
        Transaction.objects.filter(pk=wanted(quay, alice).pk).update(status=status, signed=b"x")

        wanted(quay, alice)

        assert Transaction.objects.count() == 2

    def test_by_two_clicks_at_once_plans_one(self, on_disk: None, quay: Quay, alice: Actor) -> None:
        outcomes = run_together(lambda: wanted(quay, alice), lambda: wanted(quay, alice))

        assert sum(isinstance(outcome, InvalidInput) for outcome in outcomes) == 1
        assert Transaction.objects.count() == 1


class TestAct:
    def test_sends_and_finds_in_one_step_where_the_chain_mines_at_once(
        self, quay: Quay, alice: Actor
    ) -> None:
        tx = approving(quay, alice)

        act(quay)

        assert (row(tx).status, tx.trouble, tx.nonce, quay.mined()) == ("confirmed", "", 0, 1)

    def test_run_twice_sends_once(self, quay: Quay, alice: Actor) -> None:
        tx = approving(quay, alice)
        quay.automine(False)

        act(quay)
        act(quay)
        quay.mine()
        act(quay)
        act(quay)

        assert (row(tx).status, quay.mined(), ChainNonce.objects.get().next) == ("confirmed", 1, 1)

    def test_by_two_workers_at_once_sends_once(self, on_disk: None, quay: Quay, alice: Actor) -> None:
        tx = approving(quay, alice)

        assert run_together(lambda: act(quay), lambda: act(quay)) == [None, None]
        act(quay)

        assert (row(tx).status, quay.mined(), ChainNonce.objects.get().next) == ("confirmed", 1, 1)

    def test_that_the_chain_would_refuse_is_never_sent(self, quay: Quay, alice: Actor) -> None:
        tx = approving(quay, alice)
        quay.wire.will("eth_estimateGas", {"error": {"code": 3, "message": "execution reverted: Not today"}})

        act(quay)

        assert (row(tx).status, quay.mined()) == ("refused", 0)
        assert "Not today" in tx.trouble

    @pytest.mark.parametrize("method", ["eth_chainId", "eth_estimateGas", SENDING])
    def test_of_a_chain_that_is_away_is_told_and_tried_again(
        self, quay: Quay, alice: Actor, method: str
    ) -> None:
        tx = approving(quay, alice)
        quay.wire.will(method, AWAY)

        with pytest.raises(OceanError):
            act(quay)
        assert "chain.test" in row(tx).trouble
        assert (quay.wallet.pk, quay.network.pk) in acting.claim_acts(now=quay.clock())
        act(quay, 15)

        assert (row(tx).status, tx.trouble, quay.mined()) == ("confirmed", "", 1)

    def test_of_a_network_without_an_endpoint_is_told(self, quay: Quay, alice: Actor) -> None:
        tx = approving(quay, alice)
        Network.objects.update(rpc_url="")

        with pytest.raises(NoChain):
            act(quay)

        assert "no RPC endpoint" in row(tx).trouble

    def test_of_another_chain_sends_nothing(self, quay: Quay, alice: Actor) -> None:
        tx = approving(quay, alice)
        quay.wire.will("eth_chainId", {"result": "0x1"})

        with pytest.raises(CannotOrder):
            act(quay)

        assert (row(tx).status, quay.mined()) == ("planned", 0)
        assert "chain 1" in tx.trouble

    def test_as_a_task_leaves_that_to_the_next_pulse(self, quay: Quay, alice: Actor) -> None:
        approving(quay, alice)
        quay.wire.will("eth_chainId", AWAY)

        tasks.act(quay.wallet.pk, quay.network.pk)

        assert quay.mined() == 0

    def test_with_a_locked_vault_is_told_and_keeps_nobody_from_being_found(
        self, quay: Quay, alice: Actor, settings: Any
    ) -> None:
        sent = approving(quay, alice)
        quay.automine(False)
        act(quay)
        quay.mine()
        planned = wanted(quay, alice, amount_wei=6)
        keys = settings.WALLET_KEYS
        settings.WALLET_KEYS = ["AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="]

        act(quay)
        assert row(sent).status == "confirmed"
        assert row(planned).status == "planned"
        assert "PORTAL_WALLET_KEYS" in planned.trouble
        settings.WALLET_KEYS = keys
        act(quay, 15)

        assert (row(planned).status, planned.trouble) == ("sent", "")

    def test_for_gas_above_the_limit_waits_and_says_so(self, quay: Quay, alice: Actor) -> None:
        tx = approving(quay, alice)
        Network.objects.update(max_gas_wei=10**12)

        act(quay)
        assert row(tx).status == "planned"
        assert "the limit" in tx.trouble
        Network.objects.update(max_gas_wei=10**17)
        act(quay, 15)

        assert row(tx).status == "confirmed"

    def test_that_the_chain_does_not_take_holds_up_no_other(self, quay: Quay, alice: Actor) -> None:
        first = approving(quay, alice)
        quay.automine(False)
        act(quay)
        quay.mine()
        second = wanted(quay, alice, amount_wei=6)
        poor = {"error": {"code": -32000, "message": "insufficient funds for gas * price + value"}}
        quay.wire.will(SENDING, poor)

        with pytest.raises(OceanError):
            act(quay)

        assert (row(first).status, row(second).status) == ("confirmed", "prepared")
        assert "own coin" in second.trouble

    def test_that_is_overtaken_is_planned_anew(self, quay: Quay, alice: Actor) -> None:
        tx = approving(quay, alice)
        quay.wire.will(SENDING, AWAY)
        with pytest.raises(OceanError):
            act(quay)
        quay.elsewhere()

        act(quay, 15)
        act(quay, 61)
        act(quay, 15)

        assert row(tx).status == "dropped"
        again = tx.replaced_by
        assert again is not None
        assert (again.status, again.nonce, again.asked_by_id) == ("confirmed", 1, alice.user_id)


class TestCancel:
    def test_of_what_is_only_planned_is_at_once(self, quay: Quay, alice: Actor) -> None:
        tx = wanted(quay, alice)

        acting.cancel(actor=alice, transaction_id=tx.pk, now=quay.clock())
        act(quay)

        assert (row(tx).status, quay.mined()) == ("withdrawn", 0)
        assert tx.trouble == f"{alice.name} took it back before it was sent."

    def test_of_what_waits_is_sent(self, quay: Quay, alice: Actor) -> None:
        tx = approving(quay, alice)
        quay.automine(False)
        act(quay)

        acting.cancel(actor=alice, transaction_id=tx.pk, now=quay.clock())
        assert queued()[-1] == ("act", (quay.wallet.pk, quay.network.pk))
        act(quay)
        quay.mine()
        act(quay)

        assert (row(tx).status, quay.mined()) == ("cancelled", 1)

    def test_is_an_owner_s_of_the_team(self, quay: Quay, alice: Actor, bob: Actor, charlie: Actor) -> None:
        tx = wanted(quay, alice)

        with pytest.raises(NotAllowed):
            acting.cancel(actor=bob, transaction_id=tx.pk, now=quay.clock())
        with pytest.raises(Missing):
            acting.cancel(actor=charlie, transaction_id=tx.pk, now=quay.clock())

        assert row(tx).status == "planned"


class TestClaimActs:
    def test_names_a_wallet_once_for_all_that_is_due(self, quay: Quay, alice: Actor) -> None:
        wanted(quay, alice)
        wanted(quay, alice, amount_wei=6)

        assert acting.claim_acts(now=quay.clock()) == {(quay.wallet.pk, quay.network.pk)}
        assert acting.claim_acts(now=quay.clock.tick(14)) == set()
        assert acting.claim_acts(now=quay.clock.tick(1)) == {(quay.wallet.pk, quay.network.pk)}

    def test_is_asked_at_every_beat(self, quay: Quay, alice: Actor) -> None:
        wanted(quay, alice)

        running.pulse(clock=quay.clock, holder="me")

        assert queued().count(("act", (quay.wallet.pk, quay.network.pk))) == 2

    def test_leaves_jobs_and_what_is_done_alone(self, quay: Quay, alice: Actor) -> None:
        waiting(quay)
        quay.automine(True)
        approving(quay, alice)
        act(quay)

        Transaction.objects.filter(job=None).update(status=Transaction.Status.CONFIRMED)

        assert acting.claim_acts(now=quay.clock.tick(60)) == set()


class TestFill:
    def gap(self, quay: Quay) -> Any:
        """A job that waits behind another program's transaction, which the chain forgot."""
        before = quay.chain.rpc("evm_snapshot", [])
        quay.automine(False)
        quay.elsewhere()
        job = unsent(quay)
        quay.chain.rpc("evm_revert", [before])
        quay.give("dataset")
        quay.automine(False)
        later(quay, job, 10)
        assert (only(job).nonce, only(job).status) == (1, "sent")
        return job

    def test_takes_the_place_of_the_lost_one_and_lets_the_waiting_on(self, quay: Quay, alice: Actor) -> None:
        job = self.gap(quay)
        quay.automine(True)

        acting.fill(actor=alice, transaction_id=only(job).pk, now=quay.clock())
        act(quay)
        later(quay, job, 12)

        empty = Transaction.objects.get(purpose=Transaction.Purpose.FILL)
        assert (empty.status, empty.nonce, empty.to) == ("confirmed", 0, quay.wallet.address)
        assert (job.state, quay.orders_on_chain(), quay.mined()) == (State.RUNNING, 1, 2)
        assert ChainNonce.objects.get().next == 2

    def test_sends_nothing_where_nothing_is_missing(self, quay: Quay, alice: Actor) -> None:
        job = waiting(quay)

        acting.fill(actor=alice, transaction_id=only(job).pk, now=quay.clock())
        act(quay)

        empty = Transaction.objects.get(purpose=Transaction.Purpose.FILL)
        assert (empty.status, empty.nonce) == ("refused", None)
        assert ChainNonce.objects.get().next == 1

    def test_sends_nothing_where_only_our_own_is_not_there_yet(self, quay: Quay, alice: Actor) -> None:
        first = unsent(quay)
        quay.automine(False)
        second = one_order(quay)
        advance(second, quay.clock)

        acting.fill(actor=alice, transaction_id=only(second).pk, now=quay.clock())
        act(quay)

        assert Transaction.objects.get(purpose=Transaction.Purpose.FILL).status == "refused"
        assert statuses(first) == [("order", "prepared")]

    def test_is_an_owner_s_of_the_team_and_for_what_waits(
        self, quay: Quay, alice: Actor, bob: Actor, charlie: Actor
    ) -> None:
        job = advance(one_order(quay), quay.clock)

        with pytest.raises(NotAllowed):
            acting.fill(actor=bob, transaction_id=only(job).pk, now=quay.clock())
        with pytest.raises(Missing):
            acting.fill(actor=charlie, transaction_id=only(job).pk, now=quay.clock())
        with pytest.raises(InvalidInput, match="does not wait"):
            acting.fill(actor=alice, transaction_id=only(job).pk, now=quay.clock())
