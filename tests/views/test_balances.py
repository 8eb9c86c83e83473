"""A wallet's balances on its page: exact, with their age, warned about when gas runs out, and nobody else's."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from jobs.models import BalanceLook, Wallet
from tests import builders
from tests.conftest import Cast
from tests.views.rendering import queries_while_rendering

EVIL = "<img src=x onerror=1>"
MOST = 2**256 - 1
PRICE = 300_000 * 10**9  # what one transaction costs at the price of builders.make_balances


@pytest.fixture
def wallet(cast: Cast) -> Wallet:
    return builders.make_wallet(team=cast.team)


def place(wallet: Wallet, what: str = "balances/") -> str:
    """Return an address of the wallet's."""
    return f"/coastal/wallets/{wallet.pk}/{what}"


def text(html: str) -> str:
    """Return what a person reads, in one line."""
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", html))


class TestFragment:
    def test_shows_every_digit_of_tokens_with_6_and_18_decimals(self, vera: Client, wallet: Wallet) -> None:
        ocean = builders.make_token("OCEAN")
        dollars = builders.make_token("USDC", address="0x" + "2" * 40, decimals=6)
        builders.make_balances(
            wallet=wallet, coin_wei=10**18 + 1, tokens={ocean: 123 * 10**18 + 1, dollars: 1_000_007}
        )

        said = text(vera.get(place(wallet)).text)

        assert "123.000000000000000001 OCEAN" in said
        assert "1.000007 USDC" in said
        assert "1.000000000000000001 of the network&#x27;s own coin" in said or (
            "1.000000000000000001 of the network's own coin" in said
        )

    @pytest.mark.parametrize("decimals", [0, 6, 18, 77])
    def test_shows_the_largest_amount_of_a_hostile_token(
        self, vera: Client, wallet: Wallet, decimals: int
    ) -> None:
        token = builders.make_token(EVIL[:20], decimals=decimals)
        builders.make_balances(wallet=wallet, tokens={token: MOST})

        html = vera.get(place(wallet)).text

        assert str(MOST) in re.sub(r"[,.]", "", html)
        assert "<img" not in html

    def test_counts_the_tokens_of_which_there_is_nothing(self, vera: Client, wallet: Wallet) -> None:
        builders.make_balances(wallet=wallet, tokens={builders.make_token("OCEAN"): 0})

        said = text(vera.get(place(wallet)).text)

        assert "Nothing of 1 other known token." in said
        assert "OCEAN" not in said

    def test_keeps_the_age_of_the_numbers_beside_the_trouble(self, vera: Client, wallet: Wallet) -> None:
        builders.make_balances(wallet=wallet, trouble=f"The chain is away. {EVIL}")

        html = vera.get(place(wallet)).text

        assert "The chain is away. &lt;img" in html
        assert 'The numbers are from <time datetime="2025-11-22T14:00:00+00:00"' in html

    def test_of_a_new_wallet_says_when_it_is_read(self, vera: Client, wallet: Wallet) -> None:
        assert "within a minute" in vera.get(place(wallet)).text

    def test_looks_again_while_it_is_being_read(self, vera: Client, wallet: Wallet) -> None:
        builders.make_balances(wallet=wallet)
        quiet = vera.get(place(wallet)).text
        BalanceLook.objects.update(next_look_at=timezone.now())
        busy = vera.get(place(wallet)).text

        assert ["every 3s" in html for html in (quiet, busy)] == [False, True]
        assert "being read" in busy

    def test_of_another_team_s_wallet_is_not_there(self, alice: Client, cast: Cast) -> None:
        theirs = builders.make_wallet(team=cast.other_team)
        builders.make_balances(wallet=theirs)

        assert alice.get(place(theirs)).status_code == 404

    def test_asks_nothing_while_rendering_and_never_reads_a_key(
        self, vera: Client, wallet: Wallet, django_assert_max_num_queries: Any
    ) -> None:
        builders.make_balances(wallet=wallet, tokens={builders.make_token(): 5})

        # session, person, memberships; looks, balances
        with django_assert_max_num_queries(5) as captured, queries_while_rendering() as late:
            vera.get(place(wallet))

        assert late == []
        assert not any("encrypted_key" in query["sql"] for query in captured.captured_queries)


class TestGas:
    @pytest.mark.parametrize(
        ("coin_wei", "price_wei", "said"),
        [
            (0, 10**9, "No gas"),
            (0, None, "No gas"),
            (1, 10**9, "enough for about 0 transactions"),
            (PRICE, 10**9, "enough for about 1 transaction at"),
            (10 * PRICE - 1, 10**9, "enough for about 9 transactions"),
        ],
    )
    def test_that_runs_out_is_said(
        self, vera: Client, wallet: Wallet, coin_wei: int, price_wei: int | None, said: str
    ) -> None:
        builders.make_balances(wallet=wallet, coin_wei=coin_wei, gas_price_wei=price_wei)

        assert said in text(vera.get(place(wallet)).text)

    @pytest.mark.parametrize(("coin_wei", "price_wei"), [(10 * PRICE, 10**9), (1, None), (1, 0)])
    def test_that_is_enough_or_unknown_is_not_spoken_of(
        self, vera: Client, wallet: Wallet, coin_wei: int, price_wei: int | None
    ) -> None:
        builders.make_balances(wallet=wallet, coin_wei=coin_wei, gas_price_wei=price_wei)

        html = vera.get(place(wallet)).text

        assert "No gas" not in html and "Little gas" not in html


class TestLook:
    def test_has_the_worker_read_them(self, vera: Client, wallet: Wallet) -> None:
        builders.make_network(rpc_url="http://127.0.0.1:8545")

        answer = vera.post(place(wallet, "balances/look/"))

        assert answer.status_code == 302
        assert BalanceLook.objects.get().next_look_at <= timezone.now()

    def test_twice_within_a_minute_reads_once(self, vera: Client, wallet: Wallet) -> None:
        later = timezone.now() + timedelta(days=1)
        builders.make_balances(wallet=wallet, asked_at=timezone.now(), next_look_at=later)

        vera.post(place(wallet, "balances/look/"))

        assert BalanceLook.objects.get().next_look_at == later

    def test_of_another_team_s_wallet_is_not_there(self, alice: Client, cast: Cast) -> None:
        theirs = builders.make_wallet(team=cast.other_team)

        assert alice.post(place(theirs, "balances/look/")).status_code == 404

    def test_says_when_there_is_no_network_to_read_from(self, vera: Client, wallet: Wallet) -> None:
        assert (
            "No network has an RPC endpoint" in vera.post(place(wallet, "balances/look/"), follow=True).text
        )
