"""The wallets page: who sees what, and that a key goes in and never comes out."""

from __future__ import annotations

import json
import logging

import pytest
from django.test import Client
from eth_account import Account
from pytest_django import DjangoAssertNumQueries

from jobs.models import Wallet
from tests import builders
from tests.conftest import Cast
from tests.views.rendering import queries_while_rendering

PAGE = "/coastal/wallets/"
KEY = "0x" + "07" * 32
ADDRESS = Account.from_key(KEY).address


def bring(client: Client, **changes: str) -> object:
    """Post the form that brings a key."""
    entered = {"old-label": "lab", "old-secret": KEY, "old-password": ""}
    return client.post(f"{PAGE}import/", entered | {f"old-{name}": value for name, value in changes.items()})


class TestList:
    def test_shows_label_address_and_last_use(self, vera: Client, cast: Cast) -> None:
        wallet = builders.make_wallet(team=cast.team, created_by=cast.alice)
        builders.make_job(team=cast.team, wallet=wallet)
        builders.make_wallet(team=cast.other_team, label="foreign")

        html = vera.get(PAGE).text

        assert all(text in html for text in ("demo", wallet.address, "by Alice"))
        assert "never" not in html
        assert "foreign" not in html

    def test_offers_changes_to_those_who_may(self, alice: Client, bob: Client, cast: Cast) -> None:
        builders.make_wallet(team=cast.team)

        assert (
            alice.get(PAGE).text.count("<form") == bob.get(PAGE).text.count("<form") + 3
        )  # no token is known

    def test_puts_disabled_wallets_last(self, vera: Client, cast: Cast) -> None:
        builders.make_wallet(team=cast.team, label="a-disabled", disabled_at=builders.NOW)
        builders.make_wallet(team=cast.team, label="z-usable", address=ADDRESS)

        html = vera.get(PAGE).text

        assert html.index("z-usable") < html.index("a-disabled")
        assert "Disabled" in html

    def test_does_not_exist_for_somebody_outside(self, charlie: Client) -> None:
        assert charlie.get(PAGE).status_code == 404

    def test_never_reads_a_key(
        self, alice: Client, cast: Cast, django_assert_max_num_queries: DjangoAssertNumQueries
    ) -> None:
        for number in range(5):
            builders.make_wallet(team=cast.team, label=f"wallet {number}", address=f"0x{number:040x}")

        # session, person, memberships; wallets with their last use, limits, tokens for the form; one for the frame
        with django_assert_max_num_queries(7) as captured:
            alice.get(PAGE)

        assert not any("encrypted_key" in query["sql"] for query in captured.captured_queries)

    def test_asks_nothing_while_rendering(self, alice: Client, cast: Cast) -> None:
        builders.make_wallet(team=cast.team, created_by=cast.alice)

        with queries_while_rendering() as late:
            alice.get(PAGE)

        assert late == []


class TestGenerate:
    def test_makes_a_wallet(self, alice: Client, cast: Cast) -> None:
        response = alice.post(f"{PAGE}generate/", {"new-label": "lab"})

        wallet = Wallet.objects.get()
        assert response.headers["Location"] == PAGE
        assert (wallet.team, wallet.label, wallet.created_by) == (cast.team, "lab", cast.alice)

    def test_says_beside_the_label_that_it_is_taken(self, alice: Client, cast: Cast) -> None:
        builders.make_wallet(team=cast.team, label="lab")

        response = alice.post(f"{PAGE}generate/", {"new-label": "LAB"})

        assert response.status_code == 400
        assert 'id="id_new-label_error">The team already has a wallet with this label.' in response.text
        assert 'value="LAB"' in response.text

    def test_asks_for_a_label(self, alice: Client) -> None:
        assert "A wallet needs a label." in alice.post(f"{PAGE}generate/", {"new-label": " "}).text

    def test_is_refused_to_those_who_may_not(self, bob: Client, vera: Client) -> None:
        statuses = [c.post(f"{PAGE}generate/", {"new-label": "x"}).status_code for c in (bob, vera)]

        assert statuses == [403, 403]
        assert not Wallet.objects.exists()


class TestImport:
    @pytest.mark.parametrize(
        ("secret", "password"),
        [
            (KEY, ""),
            (KEY.removeprefix("0x"), ""),
            (json.dumps(Account.encrypt(KEY, "pw", iterations=2)), "pw"),
        ],
        ids=["hex", "hex without 0x", "keystore"],
    )
    def test_keeps_a_key_in_each_form(self, alice: Client, secret: str, password: str) -> None:
        bring(alice, secret=secret, password=password)

        assert Wallet.objects.get().address == ADDRESS

    @pytest.mark.parametrize("secret", ["not a key", "0x" + "zz" * 32, '{"crypto": {}}', "00" * 32])
    def test_says_beside_the_key_that_it_is_none_and_never_sends_it_back(
        self, alice: Client, secret: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.DEBUG)

        response = bring(alice, secret=secret, password="a password")

        assert response.status_code == 400
        assert 'id="id_old-secret_error">' in response.text
        assert 'value="lab"' in response.text
        assert secret not in response.text
        assert "a password" not in response.text
        assert secret not in caplog.text
        assert not Wallet.objects.exists()

    def test_refuses_a_publicly_known_key_beside_a_real_network(self, alice: Client) -> None:
        builders.make_network(chain_id=1, name="Mainnet", is_sandbox=False)
        known = "0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80"

        response = bring(alice, secret=known)

        assert "publicly known development key" in response.text
        assert not Wallet.objects.exists()

    def test_does_not_show_the_key_on_the_next_page(self, alice: Client) -> None:
        bring(alice)

        html = alice.get(PAGE).text

        assert ADDRESS in html
        assert KEY.removeprefix("0x") not in html

    def test_is_refused_to_those_who_may_not(self, bob: Client, vera: Client) -> None:
        assert [bring(client).status_code for client in (bob, vera)] == [403, 403]
        assert not Wallet.objects.exists()


class TestDisable:
    def test_disables_the_wallet(self, alice: Client, cast: Cast) -> None:
        wallet = builders.make_wallet(team=cast.team)

        alice.post(f"{PAGE}{wallet.pk}/disable/")

        wallet.refresh_from_db()
        assert wallet.disabled_at is not None

    def test_is_refused_to_those_who_may_not(self, bob: Client, cast: Cast) -> None:
        wallet = builders.make_wallet(team=cast.team)

        assert bob.post(f"{PAGE}{wallet.pk}/disable/").status_code == 403

    def test_of_another_team_s_wallet_is_not_there(self, alice: Client, cast: Cast) -> None:
        wallet = builders.make_wallet(team=cast.other_team)

        assert alice.post(f"{PAGE}{wallet.pk}/disable/").status_code == 404

    def test_does_nothing_when_it_is_only_looked_at(self, alice: Client, cast: Cast) -> None:
        wallet = builders.make_wallet(team=cast.team)

        assert alice.get(f"{PAGE}{wallet.pk}/disable/").status_code == 405
