"""A wallet goes to another team: its key moves, its history stays, and nothing is lost or left unpaid."""

from __future__ import annotations

from datetime import timedelta

import pytest

from jobs.access import Actor
from jobs.errors import InvalidInput, Missing, NotAllowed
from jobs.lifecycle import State
from jobs.models import (
    Act,
    AuditEntry,
    ChainNonce,
    EscrowAccount,
    Membership,
    NodeToken,
    NonceLease,
    Result,
    Team,
    Transaction,
    Wallet,
    WalletGrant,
)
from jobs.models.teams import Role
from jobs.services import handovers, vault, wallets
from jobs.services.vault import NoKey
from tests import builders
from tests.builders import NOW
from tests.conftest import Cast


@pytest.fixture
def wallet(team: Team, cast: Cast) -> Wallet:
    return builders.granted(builders.make_wallet(team=team))


@pytest.fixture
def both(cast: Cast, alice: Actor) -> Actor:
    """Alice, who owns the other team as well."""
    Membership.objects.create(team=cast.other_team, user=cast.alice, role=Role.OWNER)
    return alice


def hand(actor: Actor, wallet: Wallet, *, to: str = "offshore", label: str = "from coastal") -> Wallet:
    new = handovers.hand_over(actor=actor, wallet_id=wallet.pk, to=to, label=label, now=NOW)
    wallet.refresh_from_db()
    return Wallet.objects.get(pk=new)


class TestHandOver:
    def test_moves_the_key_and_leaves_the_row(self, both: Actor, cast: Cast, wallet: Wallet) -> None:
        new = hand(both, wallet)

        assert (new.team, new.label, new.address, new.disabled_at) == (
            cast.other_team,
            "from coastal",
            wallet.address,
            None,
        )
        assert vault.signer(new).address == wallet.address
        assert (wallet.encrypted_key, wallet.disabled_at) == (None, NOW)
        with pytest.raises(NoKey):
            vault.signer(wallet)

    def test_keeps_the_jobs_and_transactions_where_they_were(self, both: Actor, wallet: Wallet) -> None:
        job = builders.make_job(team=wallet.team, wallet=wallet, state=State.SUCCEEDED)
        builders.make_transaction(job=job)

        new = hand(both, wallet)

        assert (wallet.jobs.count(), wallet.transactions.count()) == (1, 1)
        assert (new.jobs.count(), new.transactions.count()) == (0, 0)

    def test_goes_on_with_the_same_numbers(self, both: Actor, wallet: Wallet) -> None:
        node = builders.make_node()
        ChainNonce.objects.create(network=node.network, address=wallet.address, next=7)
        NonceLease.objects.create(node=node, address=wallet.address, last_nonce=99)

        new = hand(both, wallet)

        assert ChainNonce.objects.get(address=new.address).next == 7
        assert NonceLease.objects.get(address=new.address).last_nonce == 99

    def test_takes_along_what_is_in_escrows(self, both: Actor, wallet: Wallet) -> None:
        account = builders.make_account(wallet=wallet, locks=[], locked_wei=0)

        new = hand(both, wallet)

        assert EscrowAccount.objects.get() == account
        assert EscrowAccount.objects.get().wallet == new

    def test_leaves_grants_and_limits_behind(self, both: Actor, cast: Cast, wallet: Wallet) -> None:
        builders.make_limit(wallet=wallet)

        new = hand(both, wallet)

        assert [(g.wallet, g.user) for g in WalletGrant.objects.all()] == [(new, cast.alice)]
        assert not new.limits.exists() and not wallet.limits.exists()

    def test_has_its_tokens_given_back_by_who_has_the_key_now(self, both: Actor, wallet: Wallet) -> None:
        token = NodeToken.objects.create(
            wallet=wallet,
            node=builders.make_node(),
            encrypted_token=vault.seal(b"t"),
            expires_at=NOW + timedelta(hours=1),
        )

        new = hand(both, wallet)

        token.refresh_from_db()
        assert (token.wallet, token.wanted, token.next_try_at) == (new, False, NOW)

    def test_is_no_default_any_more(self, both: Actor, wallet: Wallet) -> None:
        Team.objects.filter(pk=wallet.team_id).update(default_wallet=wallet)

        hand(both, wallet)

        assert Team.objects.get(pk=wallet.team_id).default_wallet is None

    def test_is_in_the_record_of_both_teams(self, both: Actor, cast: Cast, wallet: Wallet) -> None:
        new = hand(both, wallet)

        here, there = AuditEntry.objects.filter(act=Act.WALLET_HANDED_OVER).order_by("number")
        assert (here.team, here.object_id, here.after) == (
            cast.team,
            str(wallet.pk),
            {"address": wallet.address, "to": "offshore"},
        )
        assert here.before == {"granted": ["Alice", "Bob"]}
        assert (there.team, there.who, there.object_id) == (cast.other_team, "Alice", str(new.pk))
        assert there.after == {"address": wallet.address, "from": "coastal"}

    def test_there_and_back_leaves_one_wallet_with_a_key(
        self, both: Actor, cast: Cast, wallet: Wallet
    ) -> None:
        new = hand(both, wallet)
        there = Actor(user_id=both.user_id, name="Alice", team_id=cast.other_team.pk, role=Role.OWNER)

        back = hand(there, new, to="coastal", label="demo")

        assert back == wallet
        assert (back.watch_only, back.disabled_at, new.watch_only) == (False, None, True)
        assert vault.signer(back).address == wallet.address

    def test_gives_a_key_to_what_the_other_team_only_watched(
        self, both: Actor, cast: Cast, wallet: Wallet
    ) -> None:
        watched = builders.make_wallet(team=cast.other_team, label="cold", encrypted_key=None)

        assert hand(both, wallet) == watched


class TestRefusal:
    def refused(self, actor: Actor, wallet: Wallet, **values: str) -> InvalidInput:
        with pytest.raises(InvalidInput) as caught:
            hand(actor, wallet, **values)
        wallet.refresh_from_db()
        assert (wallet.watch_only, wallet.disabled_at) == (False, None)
        assert not AuditEntry.objects.exists()
        return caught.value

    @pytest.mark.parametrize(
        "state",
        [State.REQUESTED, State.RUNNING, State.COLLECTING, State.NEEDS_ATTENTION, State.AWAITING_APPROVAL],
    )
    def test_while_a_job_is_not_over(self, both: Actor, wallet: Wallet, state: State) -> None:
        builders.make_job(
            team=wallet.team, wallet=wallet, state=state, name="Tide tables", attention_from=State.STARTING
        )

        assert "Jobs of it are not over yet: “Tide tables”." in self.refused(both, wallet).message

    def test_while_results_are_still_to_be_fetched(self, both: Actor, wallet: Wallet) -> None:
        job = builders.make_job(team=wallet.team, wallet=wallet, state=State.SUCCEEDED, name="Tide tables")
        builders.make_result(job=job, data=None, status=Result.Status.FAILED, next_try_at=NOW)

        assert "Results are still to be fetched" in self.refused(both, wallet).message

    @pytest.mark.parametrize("status", ["planned", "prepared", "sent"])
    def test_while_a_transaction_is_under_way(self, both: Actor, wallet: Wallet, status: str) -> None:
        builders.make_act(wallet=wallet, status=Transaction.Status(status), signed=b"bytes")

        assert "under way: “Take 4 OCEAN back from the escrow”" in self.refused(both, wallet).message

    def test_while_money_is_locked_for_a_job_that_is_not_settled(self, both: Actor, wallet: Wallet) -> None:
        account = builders.make_account(wallet=wallet)
        job = builders.make_job(
            team=wallet.team,
            wallet=wallet,
            state=State.SUCCEEDED,
            name="Tide tables",
            lock_id="77",
            escrow_need={"escrow": account.escrow, "token": account.token.address},
        )

        message = self.refused(both, wallet).message

        assert "Money is locked in an escrow for jobs that are not settled yet: “Tide tables”." in message
        job.settled_at = NOW
        job.save()
        assert handovers.obstacles(wallet_id=wallet.pk) == ()

    def test_names_a_few_of_many(self, both: Actor, wallet: Wallet) -> None:
        for number in range(5):
            builders.make_job(team=wallet.team, wallet=wallet, state=State.RUNNING, name=f"Job {number}")

        assert self.refused(both, wallet).message.count("“Job") == 3
        assert handovers.obstacles(wallet_id=wallet.pk)[0].endswith("and 2 more.")

    def test_to_the_same_team(self, both: Actor, wallet: Wallet) -> None:
        assert self.refused(both, wallet, to="coastal").field == "to"

    def test_where_the_other_team_has_the_address(self, both: Actor, cast: Cast, wallet: Wallet) -> None:
        builders.make_wallet(team=cast.other_team, label="twin")

        assert "“twin”" in self.refused(both, wallet).message

    def test_where_the_other_team_has_the_label(self, both: Actor, cast: Cast, wallet: Wallet) -> None:
        builders.make_wallet(team=cast.other_team, label="Twin", address="0x" + "12" * 20)

        assert self.refused(both, wallet, label="twin").field == "label"

    def test_of_what_is_only_watched(self, both: Actor, team: Team) -> None:
        watched = builders.make_wallet(team=team, encrypted_key=None)

        with pytest.raises(InvalidInput) as caught:
            hand(both, watched)

        assert caught.value.code == "watch_only"

    @pytest.mark.parametrize("to", ["offshore", "nowhere", "", "x' OR 1=1"])
    def test_to_a_team_that_one_is_not_in_is_missing(self, alice: Actor, wallet: Wallet, to: str) -> None:
        with pytest.raises(Missing):
            hand(alice, wallet, to=to)

    def test_to_a_team_that_one_does_not_own(self, both: Actor, cast: Cast, wallet: Wallet) -> None:
        Membership.objects.filter(team=cast.other_team, user=cast.alice).update(role=Role.ADMIN)

        with pytest.raises(NotAllowed):
            hand(both, wallet)

    def test_by_who_does_not_own_this_team(self, bob: Actor, cast: Cast, wallet: Wallet) -> None:
        Membership.objects.create(team=cast.other_team, user=cast.bob, role=Role.OWNER)

        with pytest.raises(NotAllowed):
            hand(bob, wallet)

    def test_of_another_team_s_wallet_is_missing(self, charlie: Actor, wallet: Wallet) -> None:
        with pytest.raises(Missing):
            hand(charlie, wallet, to="coastal")

    def test_of_a_disabled_wallet_is_no_refusal(self, both: Actor, wallet: Wallet) -> None:
        wallets.disable(actor=both, wallet_id=wallet.pk, now=NOW - timedelta(days=1))

        hand(both, wallet)

        assert wallet.disabled_at == NOW - timedelta(days=1)
