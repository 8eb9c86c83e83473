"""A wallet's own page: what it is, who may spend from it, and what each role can do about it."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client
from pytest_django import DjangoAssertNumQueries

from jobs.models import Membership, Wallet, WalletGrant
from jobs.models.teams import Role
from tests import builders
from tests.conftest import Cast
from tests.views.rendering import queries_while_rendering

PAGE = "/coastal/wallets/"


@pytest.fixture
def wallet(cast: Cast) -> Wallet:
    return builders.make_wallet(team=cast.team, created_by=cast.alice)


def as_role(sign_in: Any, cast: Cast, role: Role) -> Client:
    """Sign Vera in, in another role."""
    Membership.objects.filter(user=cast.vera).update(role=role)
    client: Client = sign_in("vera")
    return client


class TestDetail:
    def test_shows_what_it_is(self, vera: Client, cast: Cast, wallet: Wallet) -> None:
        builders.make_job(team=cast.team, wallet=wallet)
        builders.make_grant(wallet=wallet, user=cast.bob, granted_by=cast.alice)
        builders.make_limit(wallet=wallet)

        html = vera.get(f"{PAGE}{wallet.pk}/").text

        shown = (wallet.address, "by Alice", "The portal signs with its key", "Bob", "launcher", "OCEAN")
        assert all(text in html for text in shown)
        assert "Keep little in a wallet here" in html
        assert "Whoever holds a node's token can act there for anyone" in html

    def test_has_the_places_of_balances_and_node_tokens(self, vera: Client, wallet: Wallet) -> None:
        html = vera.get(f"{PAGE}{wallet.pk}/").text

        assert 'id="balances"' in html and 'id="node-tokens"' in html

    def test_of_a_watched_address_says_what_it_cannot_do(self, alice: Client, cast: Cast) -> None:
        watched = builders.make_wallet(team=cast.team, encrypted_key=None)

        html = alice.get(f"{PAGE}{watched.pk}/").text

        assert "it signs nothing, pays nothing, and cannot be granted" in html
        assert "/grant/" not in html and "/hand-over/" not in html and 'id="node-tokens"' not in html

    def test_of_a_disabled_wallet_says_what_goes_on(self, alice: Client, cast: Cast) -> None:
        disabled = builders.make_wallet(team=cast.team, disabled_at=builders.NOW)

        html = alice.get(f"{PAGE}{disabled.pk}/").text

        assert "Jobs that ran then go on to their end" in html
        assert f"{PAGE}{disabled.pk}/enable/" in html and "/disable/" not in html

    @pytest.mark.parametrize(
        ("role", "offered"),
        [
            (Role.OWNER, {"grant", "disable", "hand-over"}),
            (Role.ADMIN, {"disable"}),
            (Role.TREASURER, {"grant"}),
            (Role.CURATOR, set()),
            (Role.LAUNCHER, set()),
            (Role.VIEWER, set()),
            (Role.AUDITOR, set()),
        ],
    )
    def test_offers_what_the_role_may(
        self, sign_in: Any, cast: Cast, wallet: Wallet, role: Role, offered: set[str]
    ) -> None:
        html = as_role(sign_in, cast, role).get(f"{PAGE}{wallet.pk}/").text

        acts = ("grant", "disable", "hand-over")
        assert {act for act in acts if f"{PAGE}{wallet.pk}/{act}/" in html} == offered

    def test_names_whose_grant_counts_for_nothing(self, vera: Client, cast: Cast, wallet: Wallet) -> None:
        builders.make_grant(wallet=wallet, user=cast.vera)
        builders.make_grant(wallet=wallet, user=cast.charlie)

        html = vera.get(f"{PAGE}{wallet.pk}/").text

        assert html.count("that role launches nothing that costs money") == 2
        assert "no member any more" in html

    def test_of_another_team_s_is_not_there(self, alice: Client, cast: Cast) -> None:
        theirs = builders.make_wallet(team=cast.other_team)

        assert [alice.get(f"{PAGE}{pk}/").status_code for pk in (theirs.pk, 404)] == [404, 404]

    def test_takes_few_queries_and_reads_no_key(
        self, alice: Client, cast: Cast, wallet: Wallet, django_assert_max_num_queries: DjangoAssertNumQueries
    ) -> None:
        builders.granted(wallet)

        # session, person, memberships; wallet, grants by name, limits, members, grants, other teams; balances 3,
        # node tokens 4; one for the frame
        with django_assert_max_num_queries(17) as captured:
            alice.get(f"{PAGE}{wallet.pk}/")

        read = [query["sql"] for query in captured.captured_queries if "encrypted_key" in query["sql"]]
        assert all('"encrypted_key" IS NULL' in sql and sql.count("encrypted_key") <= 2 for sql in read)

    def test_asks_nothing_while_rendering(self, alice: Client, cast: Cast, wallet: Wallet) -> None:
        builders.granted(wallet)

        with queries_while_rendering() as late:
            alice.get(f"{PAGE}{wallet.pk}/")

        assert late == []


class TestGrant:
    def grant(self, client: Client, wallet: Wallet, user: Any) -> Any:
        return client.post(f"{PAGE}{wallet.pk}/grant/", {"grant-user": user})

    @pytest.mark.parametrize("role", [Role.OWNER, Role.TREASURER])
    def test_is_given(self, sign_in: Any, cast: Cast, wallet: Wallet, role: Role) -> None:
        answer = self.grant(as_role(sign_in, cast, role), wallet, cast.bob.pk)

        assert answer.headers["Location"] == f"{PAGE}{wallet.pk}/"
        assert (WalletGrant.objects.get().user, WalletGrant.objects.get().granted_by) == (cast.bob, cast.vera)

    def test_is_refused_to_who_may_not(self, sign_in: Any, cast: Cast, wallet: Wallet) -> None:
        others = set(Role) - {Role.OWNER, Role.TREASURER}

        statuses = {
            self.grant(as_role(sign_in, cast, role), wallet, cast.bob.pk).status_code for role in others
        }

        assert statuses == {403}
        assert not WalletGrant.objects.exists()

    def test_offers_and_takes_members_alone_whose_role_spends(
        self, alice: Client, cast: Cast, wallet: Wallet
    ) -> None:
        html = alice.get(f"{PAGE}{wallet.pk}/").text

        assert "Bob, launcher" in html and "Vera, viewer" not in html
        for wrong in (cast.vera.pk, cast.charlie.pk, "", "x", "9" * 40, "<b>"):
            answer = self.grant(alice, wallet, wrong)
            assert (answer.status_code, "grant-user_error" in answer.text) == (400, True)
        assert not WalletGrant.objects.exists()

    def test_of_another_team_s_wallet_is_not_there(self, alice: Client, cast: Cast) -> None:
        theirs = builders.make_wallet(team=cast.other_team)

        assert self.grant(alice, theirs, cast.bob.pk).status_code == 404


class TestTakeBack:
    def take(self, client: Client, wallet: Wallet, user: int) -> Any:
        return client.post(f"{PAGE}{wallet.pk}/grants/{user}/take-back/")

    def test_ends_it(self, alice: Client, cast: Cast, wallet: Wallet) -> None:
        builders.make_grant(wallet=wallet, user=cast.bob)

        answers = [self.take(alice, wallet, cast.bob.pk).status_code for _ in range(2)]

        assert answers == [302, 302]
        assert not WalletGrant.objects.exists()

    def test_is_refused_to_who_may_not(self, sign_in: Any, cast: Cast, wallet: Wallet) -> None:
        builders.make_grant(wallet=wallet, user=cast.bob)

        client = as_role(sign_in, cast, Role.ADMIN)

        assert self.take(client, wallet, cast.bob.pk).status_code == 403
        assert WalletGrant.objects.exists()

    def test_of_another_team_s_wallet_is_not_there(self, alice: Client, cast: Cast) -> None:
        theirs = builders.make_wallet(team=cast.other_team)

        assert self.take(alice, theirs, cast.charlie.pk).status_code == 404


@pytest.mark.parametrize("act", ["disable", "enable"])
class TestSwitch:
    def test_disables_and_enables(self, alice: Client, cast: Cast, act: str) -> None:
        was = None if act == "disable" else builders.NOW
        wallet = builders.make_wallet(team=cast.team, disabled_at=was)

        answer = alice.post(f"{PAGE}{wallet.pk}/{act}/")

        wallet.refresh_from_db()
        assert answer.headers["Location"] == f"{PAGE}{wallet.pk}/"
        assert (wallet.disabled_at is not None) == (act == "disable")

    def test_is_refused_to_those_who_may_not(self, bob: Client, wallet: Wallet, act: str) -> None:
        assert bob.post(f"{PAGE}{wallet.pk}/{act}/").status_code == 403

    def test_of_another_team_s_wallet_is_not_there(self, alice: Client, cast: Cast, act: str) -> None:
        theirs = builders.make_wallet(team=cast.other_team)

        assert alice.post(f"{PAGE}{theirs.pk}/{act}/").status_code == 404

    def test_does_nothing_when_it_is_only_looked_at(self, alice: Client, wallet: Wallet, act: str) -> None:
        assert alice.get(f"{PAGE}{wallet.pk}/{act}/").status_code == 405
