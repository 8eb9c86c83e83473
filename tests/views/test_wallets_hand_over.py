"""Handing a wallet to another team: what is said before, what is in the way, and who may."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client

from jobs.lifecycle import State
from jobs.models import Membership, Wallet
from jobs.models.teams import Role
from tests import builders
from tests.conftest import Cast

PAGE = "/coastal/wallets/"


@pytest.fixture
def wallet(cast: Cast) -> Wallet:
    Membership.objects.create(team=cast.other_team, user=cast.alice, role=Role.OWNER)
    return builders.make_wallet(team=cast.team)


def page(wallet: Wallet) -> str:
    return f"{PAGE}{wallet.pk}/hand-over/"


def give(client: Client, wallet: Wallet, **changes: str) -> Any:
    entered = {"to": "offshore", "label": "theirs"} | changes
    return client.post(page(wallet), {f"over-{name}": value for name, value in entered.items()})


class TestPage:
    def test_says_what_moves_and_what_does_not(self, alice: Client, wallet: Wallet) -> None:
        html = alice.get(page(wallet)).text

        assert "Offshore Lab" in html and "The key moves" in html
        assert "Hand it over</button>" in html

    def test_says_what_is_in_the_way_and_offers_nothing(self, alice: Client, wallet: Wallet) -> None:
        builders.make_job(team=wallet.team, wallet=wallet, state=State.RUNNING, name="<b>Tides</b>")

        html = alice.get(page(wallet)).text

        assert "Jobs of it are not over yet: “&lt;b&gt;Tides&lt;/b&gt;”." in html
        assert "Hand it over</button>" not in html

    def test_says_where_there_is_no_team_to_hand_it_to(
        self, alice: Client, cast: Cast, wallet: Wallet
    ) -> None:
        Membership.objects.filter(user=cast.alice, team=cast.other_team).update(role=Role.ADMIN)

        assert "You own no other team." in alice.get(page(wallet)).text

    def test_of_a_watched_address_says_that_there_is_no_key(self, alice: Client, wallet: Wallet) -> None:
        Wallet.objects.update(encrypted_key=None)

        assert "no key here to hand over" in alice.get(page(wallet)).text

    @pytest.mark.parametrize("who", ["bob", "vera"])
    def test_is_forbidden_to_others(self, sign_in: Any, wallet: Wallet, who: str) -> None:
        client = sign_in(who)

        assert (client.get(page(wallet)).status_code, give(client, wallet).status_code) == (403, 403)

    def test_of_another_team_s_wallet_is_not_there(self, alice: Client, cast: Cast, wallet: Wallet) -> None:
        theirs = builders.make_wallet(team=cast.other_team)

        assert (alice.get(page(theirs)).status_code, give(alice, theirs).status_code) == (404, 404)


class TestGive:
    def test_moves_the_wallet_and_goes_there(self, alice: Client, cast: Cast, wallet: Wallet) -> None:
        answer = give(alice, wallet)

        new = Wallet.objects.get(team=cast.other_team)
        assert answer.headers["Location"] == f"/offshore/wallets/{new.pk}/"
        assert (new.label, new.watch_only, Wallet.objects.get(pk=wallet.pk).watch_only) == (
            "theirs",
            False,
            True,
        )
        assert "Disabled" in alice.get(f"{PAGE}{wallet.pk}/").text

    @pytest.mark.parametrize(
        ("changes", "field"),
        [
            ({"to": ""}, "to"),
            ({"to": "coastal"}, "to"),
            ({"to": "<b>"}, "to"),
            ({"label": ""}, "label"),
            ({"label": "x" * 61}, "label"),
        ],
    )
    def test_says_beside_the_field_what_is_wrong(
        self, alice: Client, wallet: Wallet, changes: dict[str, str], field: str
    ) -> None:
        answer = give(alice, wallet, **changes)

        assert (answer.status_code, f"id_over-{field}_error" in answer.text) == (400, True)

    def test_is_refused_while_something_is_in_the_way(self, alice: Client, wallet: Wallet) -> None:
        builders.make_job(team=wallet.team, wallet=wallet, state=State.RUNNING)

        answer = give(alice, wallet)

        assert (answer.status_code, "not over yet" in answer.text) == (400, True)
        assert not Wallet.objects.get(pk=wallet.pk).watch_only
