"""The wallets page: who sees what, and that a key goes in and never comes out."""

from __future__ import annotations

from django.test import Client
from eth_account import Account
from pytest_django import DjangoAssertNumQueries

from tests import builders
from tests.conftest import Cast
from tests.views.rendering import queries_while_rendering

PAGE = "/coastal/wallets/"
KEY = "0x" + "07" * 32
ADDRESS = Account.from_key(KEY).address


class TestList:
    def test_shows_label_address_and_last_use(self, vera: Client, cast: Cast) -> None:
        wallet = builders.make_wallet(team=cast.team, created_by=cast.alice)
        builders.make_job(team=cast.team, wallet=wallet)
        builders.make_wallet(team=cast.other_team, label="foreign")

        html = vera.get(PAGE).text

        assert all(text in html for text in ("demo", wallet.address, "by Alice"))
        assert "never" not in html
        assert "foreign" not in html

    def test_offers_to_add_one_to_those_who_may(self, alice: Client, bob: Client, cast: Cast) -> None:
        assert f"{PAGE}add/" in alice.get(PAGE).text
        assert f"{PAGE}add/" not in bob.get(PAGE).text

    def test_names_who_may_spend_from_which(self, vera: Client, cast: Cast) -> None:
        builders.granted(builders.make_wallet(team=cast.team))
        builders.make_wallet(team=cast.team, label="spare", address=ADDRESS)

        html = " ".join(vera.get(PAGE).text.split())

        assert "Alice, Bob" in html and "nobody" in html

    def test_says_what_is_only_watched(self, vera: Client, cast: Cast) -> None:
        builders.make_wallet(team=cast.team, encrypted_key=None)

        html = vera.get(PAGE).text

        assert "Only watched" in html
        assert "no limit set" not in html

    def test_counts_a_signed_transaction_as_use(self, vera: Client, cast: Cast) -> None:
        wallet = builders.make_wallet(team=cast.team)
        builders.make_act(wallet=wallet, status="sent", prepared_at=builders.NOW)

        assert builders.NOW.isoformat() in vera.get(PAGE).text

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

        # session, person, memberships; wallets with their last use, grants, limits, tokens for the form; one for the frame
        with django_assert_max_num_queries(8) as captured:
            alice.get(PAGE)

        read = [query["sql"].replace('"encrypted_key" IS NULL', "") for query in captured.captured_queries]
        assert not any("encrypted_key" in sql for sql in read)

    def test_asks_nothing_while_rendering(self, alice: Client, cast: Cast) -> None:
        builders.make_wallet(team=cast.team, created_by=cast.alice)

        with queries_while_rendering() as late:
            alice.get(PAGE)

        assert late == []
