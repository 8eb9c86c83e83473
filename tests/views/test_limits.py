"""What one job may spend from a wallet: who sees it, who sets it, and what is refused."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.test import Client

from jobs.models import SpendingLimit, Wallet
from tests import builders
from tests.conftest import Cast

PAGE = "/coastal/wallets/"
LIMIT = f"{PAGE}limit/"
EVIL = "<img src=x onerror=1>"


@pytest.fixture
def wallet(cast: Cast) -> Wallet:
    return builders.make_wallet(team=cast.team)


def entered(wallet: Wallet, amount: str = "2.5", **changes: Any) -> dict[str, Any]:
    """Fill the form in."""
    token = changes.pop("token", None) or builders.make_token().pk
    return {"limit-wallet": wallet.pk, "limit-token": token, "limit-amount": amount}


def text(html: str) -> str:
    """Return what a person reads of a page, in one line."""
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", html))


class TestList:
    def test_says_who_set_which_limit(self, vera: Client, cast: Cast, wallet: Wallet) -> None:
        builders.make_limit(wallet=wallet, set_by=cast.alice)

        html = vera.get(PAGE).text

        assert "10 OCEAN" in text(html) and "by Alice" in html
        assert builders.TOKEN in html

    def test_says_that_nothing_can_be_spent_without_one(self, vera: Client, wallet: Wallet) -> None:
        html = vera.get(PAGE).text

        assert "demo no limit set no token can be spent" in text(html)
        assert "Of a token without a limit nothing can be spent" in html

    def test_shows_none_of_another_team(self, vera: Client, cast: Cast, wallet: Wallet) -> None:
        builders.make_limit(wallet=builders.make_wallet(team=cast.other_team), per_job_wei=123 * 10**18)

        assert "123" not in text(vera.get(PAGE).text)

    @pytest.mark.parametrize("decimals", [0, 6, 18, 77])
    def test_shows_every_digit_and_a_hostile_symbol_as_text(
        self, alice: Client, wallet: Wallet, decimals: int
    ) -> None:
        token = builders.make_token(EVIL[:20], decimals=decimals)
        builders.make_limit(wallet=wallet, token=token, per_job_wei=2**256 - 1)

        html = alice.get(PAGE).text

        digits = re.sub(r"[,.]", "", html)
        assert str(2**256 - 1) in digits
        assert "<img src=x" not in html


class TestForm:
    @pytest.mark.parametrize("who", ["bob", "vera"])
    def test_is_for_owners_and_treasurers_alone(self, sign_in: Any, wallet: Wallet, who: str) -> None:
        client = sign_in(who)

        shown, answer = client.get(PAGE).text, client.post(LIMIT, entered(wallet))

        assert LIMIT not in shown and "An owner or treasurer of the team sets the limits." in shown
        assert answer.status_code == 403
        assert not SpendingLimit.objects.exists()

    def test_is_not_there_for_somebody_outside(self, charlie: Client, wallet: Wallet) -> None:
        assert charlie.post(LIMIT, entered(wallet)).status_code == 404

    def test_says_why_there_is_nothing_to_choose(self, alice: Client, wallet: Wallet) -> None:
        assert "No token is known yet." in alice.get(PAGE).text

    def test_names_tokens_so_that_two_with_one_symbol_differ(self, alice: Client, wallet: Wallet) -> None:
        builders.make_token()
        builders.make_token(address="0x" + "12" * 20)

        html = alice.get(PAGE).text

        assert "OCEAN on Sandbox (0x5FbD…0aa3)" in html and "OCEAN on Sandbox (0x1212…1212)" in html


class TestSet:
    def test_keeps_the_limit_and_who_set_it(self, alice: Client, cast: Cast, wallet: Wallet) -> None:
        answer = alice.post(LIMIT, entered(wallet, "2.000000000000000001"))

        limit = SpendingLimit.objects.get()
        assert answer.headers["Location"] == PAGE
        assert (limit.wallet, limit.per_job_wei, limit.set_by) == (wallet, 2 * 10**18 + 1, cast.alice)

    def test_takes_the_place_of_the_one_before(self, alice: Client, wallet: Wallet) -> None:
        for amount in ("1", "3", "0"):
            alice.post(LIMIT, entered(wallet, amount))

        assert SpendingLimit.objects.get().per_job_wei == 0
        assert "nothing can be spent" in alice.get(PAGE).text

    @pytest.mark.parametrize(
        ("amount", "sentence"),
        [
            ("", "Enter an amount."),
            ("-1", "greater than or equal to 0"),
            ("1.0000000000000000001", "has 18 decimal places"),
            ("1e999999", "more than 160 digits"),
            ("9" * 78, "larger than any token can have"),
            ("NaN", "Enter an amount in digits"),
            (EVIL, "Enter an amount in digits"),
        ],
    )
    def test_says_beside_the_amount_what_is_wrong(
        self, alice: Client, wallet: Wallet, amount: str, sentence: str
    ) -> None:
        answer = alice.post(LIMIT, entered(wallet, amount))

        assert answer.status_code == 400
        assert 'id="id_limit-amount_error">' in answer.text and sentence in answer.text
        assert EVIL not in answer.text
        assert not SpendingLimit.objects.exists()

    def test_knows_the_decimals_of_the_token(self, alice: Client, wallet: Wallet) -> None:
        token = builders.make_token("USDC", address="0x" + "12" * 20, decimals=6)

        refused = alice.post(LIMIT, entered(wallet, "1.0000001", token=token.pk))
        alice.post(LIMIT, entered(wallet, "1.000001", token=token.pk))

        assert "The token has 6 decimal places" in refused.text
        assert SpendingLimit.objects.get().per_job_wei == 1_000_001

    def test_of_another_team_s_wallet_is_refused(self, alice: Client, cast: Cast, wallet: Wallet) -> None:
        theirs = builders.make_wallet(team=cast.other_team)

        answer = alice.post(LIMIT, entered(theirs))

        assert answer.status_code == 400
        assert "limit-wallet_error" in answer.text
        assert not SpendingLimit.objects.exists()
