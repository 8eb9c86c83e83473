"""Balances are read from the chain by the worker, exactly, not too often, and keep their age when the chain is away."""

from __future__ import annotations

from datetime import timedelta

import pytest

from jobs import tasks
from jobs.access import Actor
from jobs.errors import Missing
from jobs.models import Balance, BalanceLook, Network, Token, Transaction
from jobs.services import balances, running, sending
from ocean_portal.sandbox.contracts import mint
from tests import builders
from tests.builders import NOW
from tests.services.fakes import OWNER, queued
from tests.services.payers import AWAY
from tests.services.quay import Quay

NOBODY = "0x00000000000000000000000000000000000000f1"  # no contract is there


def token(quay: Quay, name: str, *, decimals: int = 18) -> Token:
    """Let the portal know a token of the sandbox's chain."""
    return builders.make_token(
        name, network=quay.network, address=quay.deployed.contracts[name], decimals=decimals
    )


def due(quay: Quay, **values: object) -> BalanceLook:
    """Make the wallet's place on the network."""
    return BalanceLook.objects.create(
        wallet=quay.wallet, network=quay.network, **({"next_look_at": NOW} | values)
    )


def look(row: BalanceLook, quay: Quay) -> BalanceLook:
    """Let the worker read it; return the row as it is then."""
    balances.look(look_id=row.pk, clock=quay.clock)
    row.refresh_from_db()
    return row


def held() -> dict[str, int]:
    """Return what the portal knows, by the token's symbol."""
    rows = Balance.objects.select_related("token")
    return {row.token.symbol if row.token else "coin": int(row.amount_wei) for row in rows}


class TestLook:
    def test_reads_the_coin_and_every_token_to_the_last_digit(self, quay: Quay) -> None:
        token(quay, "Ocean")
        token(quay, "MockUSDC", decimals=6)
        mint(quay.chain, quay.deployed.contracts, token_name="Ocean", to=str(OWNER), amount_wei=10**18 + 1)
        mint(quay.chain, quay.deployed.contracts, token_name="MockUSDC", to=str(OWNER), amount_wei=1_000_007)

        row = look(due(quay), quay)

        assert held() == {
            "coin": int(quay.chain.rpc("eth_getBalance", [str(OWNER), "latest"]), 16),
            "Ocean": 10**18 + 1,
            "MockUSDC": 1_000_007,
        }
        assert (row.looked_at, row.asked_at, row.trouble) == (NOW, NOW, "")
        assert row.next_look_at == NOW + timedelta(days=1)
        assert row.gas_price_wei and row.gas_price_wei > 0

    def test_asks_in_one_request(self, quay: Quay) -> None:
        token(quay, "Ocean")
        token(quay, "MockUSDC", decimals=6)
        row = due(quay)
        quay.wire.asked.clear()
        before = quay.wire.requests

        look(row, quay)

        assert quay.wire.asked[0] == "eth_chainId"
        assert sorted(quay.wire.asked[1:]) == sorted(
            ["eth_getBalance", "eth_getBlockByNumber", "eth_maxPriorityFeePerGas", "eth_call", "eth_call"]
        )
        assert quay.wire.requests - before == 2  # which chain it is, and everything else

    def test_keeps_the_last_numbers_with_their_age_when_the_chain_is_away(self, quay: Quay) -> None:
        row = look(due(quay), quay)
        before = held()
        quay.clock.tick(3600)
        quay.wire.will("*", *[AWAY] * 9)

        look(row, quay)

        assert held() == before
        assert (row.looked_at, row.asked_at) == (NOW, NOW + timedelta(hours=1))
        assert row.trouble and "Traceback" not in row.trouble
        assert row.next_look_at == quay.clock() + balances.LOOK_AGAIN_AFTER_TROUBLE

    def test_says_which_token_does_not_answer_and_shows_no_old_number_of_it(self, quay: Quay) -> None:
        token(quay, "Ocean")
        builders.make_token("GONE", network=quay.network, address=NOBODY)

        row = look(due(quay), quay)

        assert set(held()) == {"coin", "Ocean"}
        assert "GONE (0x0000…00f1)" in row.trouble

    def test_reads_a_watched_address_too(self, quay: Quay) -> None:
        quay.wallet.encrypted_key = None
        quay.wallet.save()

        look(due(quay), quay)

        assert held()["coin"] > 0

    def test_that_took_longer_than_a_later_one_changes_nothing(self, quay: Quay) -> None:
        row = due(quay, looked_at=NOW + timedelta(seconds=1))

        look(row, quay)

        assert held() == {}

    def test_is_safe_to_run_twice_and_when_the_row_is_gone(self, quay: Quay) -> None:
        row = due(quay)

        tasks.look_at_balances(row.pk, later_release=True)
        tasks.look_at_balances(row.pk)
        tasks.look_at_balances(row.pk + 1)

        assert list(held()) == ["coin"]

    def test_of_more_tokens_than_fit_into_one_request_reads_all(self, quay: Quay) -> None:
        builders.make_token("Ocean", network=quay.network, address=quay.deployed.contracts["Ocean"])
        for number in range(60):
            builders.make_token(f"T{number}", network=quay.network, address=f"0x{number + 500:040x}")

        row = look(due(quay), quay)

        assert "Ocean" in held()
        assert "T59" in row.trouble or len(row.trouble) == 500


class TestWhen:
    def test_a_new_wallet_is_read_by_the_next_pulse(self, quay: Quay) -> None:
        running.begin_pulse(now=NOW)
        running.pulse(clock=quay.clock, holder="me")

        row = BalanceLook.objects.get()
        assert (row.wallet, row.network) == (quay.wallet, quay.network)
        assert ("look_at_balances", (row.pk,)) in queued()

    def test_a_network_without_an_endpoint_is_left_alone(self, quay: Quay) -> None:
        Network.objects.update(rpc_url="")

        balances.note_missing(now=NOW)

        assert not BalanceLook.objects.exists()

    def test_two_beats_claim_a_look_once(self, quay: Quay) -> None:
        row = due(quay)

        assert balances.claim_due(now=NOW) == [row.pk]
        assert balances.claim_due(now=NOW) == []
        assert balances.claim_due(now=NOW + balances.CLAIM) == [row.pk]

    @pytest.mark.parametrize(("seconds", "soon"), [(59, False), (60, True)])
    def test_a_person_has_it_read_once_a_minute(
        self, quay: Quay, alice: Actor, seconds: int, soon: bool
    ) -> None:
        later = NOW + timedelta(days=1)
        row = due(quay, asked_at=NOW - timedelta(seconds=seconds), next_look_at=later)

        assert balances.look_soon(actor=alice, wallet_id=quay.wallet.pk, now=NOW)

        row.refresh_from_db()
        assert row.next_look_at == (NOW if soon else later)

    def test_a_person_who_asks_for_what_was_never_read_has_it_read(self, quay: Quay, vera: Actor) -> None:
        balances.look_soon(actor=vera, wallet_id=quay.wallet.pk, now=NOW)

        assert balances.claim_due(now=NOW) == [BalanceLook.objects.get().pk]

    def test_of_another_team_s_wallet_finds_none(self, quay: Quay, charlie: Actor) -> None:
        with pytest.raises(Missing):
            balances.look_soon(actor=charlie, wallet_id=quay.wallet.pk, now=NOW)

    def test_a_page_that_is_looked_at_has_old_numbers_read(self, quay: Quay, vera: Actor) -> None:
        later = NOW + timedelta(days=1)
        row = due(quay, asked_at=NOW - timedelta(minutes=11), next_look_at=later)

        balances.watch(actor=vera, now=NOW)

        row.refresh_from_db()
        assert row.next_look_at == NOW

    def test_a_page_of_another_team_has_none_read(self, quay: Quay, charlie: Actor) -> None:
        later = NOW + timedelta(days=1)
        row = due(quay, asked_at=NOW - timedelta(days=1), next_look_at=later)

        balances.watch(actor=charlie, now=NOW, wallet_id=quay.wallet.pk)

        row.refresh_from_db()
        assert row.next_look_at == later

    @pytest.mark.parametrize(("asked_s", "due_s"), [(600, 0), (10, 60)])
    def test_what_a_transaction_moved_is_read_soon_after_its_end(
        self, quay: Quay, asked_s: int, due_s: int
    ) -> None:
        row = due(quay, asked_at=NOW - timedelta(seconds=asked_s), next_look_at=NOW + timedelta(days=1))

        balances.moved(wallet_id=quay.wallet.pk, network_id=quay.network.pk, now=NOW)

        row.refresh_from_db()
        assert row.next_look_at == NOW + timedelta(seconds=due_s)

    def test_the_end_of_a_transaction_has_the_wallet_read(self, quay: Quay) -> None:
        row = due(quay, asked_at=NOW - timedelta(hours=1), next_look_at=NOW + timedelta(days=1))
        act = builders.make_act(wallet=quay.wallet, status=Transaction.Status.SENT, network=quay.network)

        sending._end(tx=act, status=Transaction.Status.CONFIRMED, now=NOW, message="Done.", facts={})

        row.refresh_from_db()
        assert row.next_look_at == NOW
