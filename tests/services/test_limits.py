"""Owners set what one job may spend of a token; without that, nothing of it is spent."""

from __future__ import annotations

from decimal import Decimal

import pytest

from jobs.access import Actor
from jobs.errors import InvalidInput, Missing, NotAllowed
from jobs.models import Act, AuditEntry, SpendingLimit, Team, Token, Wallet
from jobs.services import demo, limits
from jobs.services.demo import LIMIT_PER_JOB
from tests import builders
from tests.builders import NOW
from tests.ocean.test_ddo import ALGORITHM, DID, recorded
from tests.services.fakes import STRANGER, Clock, FakeNode
from tests.services.test_demo_setup import INFO


@pytest.fixture
def wallet(team: Team) -> Wallet:
    return builders.make_wallet(team=team)


@pytest.fixture
def token(db: None) -> Token:
    network = builders.make_network()
    return Token.objects.create(network=network, address=STRANGER, symbol="USDC", decimals=6)


class TestSetLimit:
    def test_keeps_it_in_the_smallest_unit_with_who_and_when(
        self, alice: Actor, wallet: Wallet, token: Token
    ) -> None:
        limits.set_limit(actor=alice, wallet_id=wallet.pk, token_id=token.pk, amount=Decimal("2.5"), now=NOW)

        limit = SpendingLimit.objects.get()
        assert (limit.wallet, limit.token, limit.per_job_wei) == (wallet, token, 2_500_000)
        assert (limit.set_by_id, limit.set_at) == (alice.user_id, NOW)

    def test_is_in_the_record_with_what_it_was_before(
        self, alice: Actor, wallet: Wallet, token: Token
    ) -> None:
        for amount in (Decimal(7), Decimal("2.5")):
            limits.set_limit(actor=alice, wallet_id=wallet.pk, token_id=token.pk, amount=amount, now=NOW)

        first, second = AuditEntry.objects.order_by("number")
        told = {"token": STRANGER, "symbol": "USDC", "network": "Sandbox", "per_job": "7"}
        assert (first.act, first.object_id, first.before, first.after) == (
            Act.LIMIT_SET,
            str(wallet.pk),
            None,
            told,
        )
        assert (second.before, second.after) == (told, told | {"per_job": "2.5"})

    def test_is_refused_for_what_is_only_watched(self, alice: Actor, team: Team, token: Token) -> None:
        watched = builders.make_wallet(team=team, encrypted_key=None)

        with pytest.raises(InvalidInput) as caught:
            limits.set_limit(actor=alice, wallet_id=watched.pk, token_id=token.pk, amount=Decimal(1), now=NOW)

        assert caught.value.code == "watch_only"

    @pytest.mark.parametrize("amount", ["0", "0.000001", "1e20"])
    def test_takes_the_place_of_the_one_before(
        self, alice: Actor, wallet: Wallet, token: Token, amount: str
    ) -> None:
        for said in (Decimal(7), Decimal(amount)):
            limits.set_limit(actor=alice, wallet_id=wallet.pk, token_id=token.pk, amount=said, now=NOW)

        assert SpendingLimit.objects.get().per_job_wei == Decimal(amount) * 10**6

    @pytest.mark.parametrize("amount", ["-1", "NaN", "sNaN", "Infinity", "0.0000001", "1e72", "1e400"])
    def test_refuses_what_is_no_amount_of_that_token(
        self, alice: Actor, wallet: Wallet, token: Token, amount: str
    ) -> None:
        with pytest.raises(InvalidInput) as caught:
            limits.set_limit(
                actor=alice, wallet_id=wallet.pk, token_id=token.pk, amount=Decimal(amount), now=NOW
            )

        assert caught.value.field == "amount"
        assert not SpendingLimit.objects.exists()

    def test_takes_the_largest_amount_that_a_contract_knows(
        self, alice: Actor, wallet: Wallet, token: Token
    ) -> None:
        Token.objects.filter(pk=token.pk).update(decimals=0)

        limits.set_limit(
            actor=alice, wallet_id=wallet.pk, token_id=token.pk, amount=Decimal(2**256 - 1), now=NOW
        )

        assert SpendingLimit.objects.get().per_job_wei == 2**256 - 1

    @pytest.mark.parametrize("who", ["bob", "vera"])
    def test_is_not_for_everybody(
        self, request: pytest.FixtureRequest, wallet: Wallet, token: Token, who: str
    ) -> None:
        actor = request.getfixturevalue(who)

        with pytest.raises(NotAllowed):
            limits.set_limit(actor=actor, wallet_id=wallet.pk, token_id=token.pk, amount=Decimal(1), now=NOW)

        assert not SpendingLimit.objects.exists()

    def test_of_another_team_s_wallet_is_not_there(
        self, charlie: Actor, wallet: Wallet, token: Token
    ) -> None:
        with pytest.raises(Missing):
            limits.set_limit(
                actor=charlie, wallet_id=wallet.pk, token_id=token.pk, amount=Decimal(1), now=NOW
            )

    def test_of_a_token_that_nobody_knows_is_not_there(self, alice: Actor, wallet: Wallet) -> None:
        with pytest.raises(Missing):
            limits.set_limit(actor=alice, wallet_id=wallet.pk, token_id=404, amount=Decimal(1), now=NOW)


class TestDemo:
    def test_has_a_limit_for_every_token_and_keeps_what_a_person_set(
        self, far: FakeNode, token: Token, clock: Clock
    ) -> None:
        far.ddos = {DID: recorded(), ALGORITHM: recorded(ALGORITHM)}
        demo.set_up(info=INFO, clock=clock)
        first = SpendingLimit.objects.get()
        assert first.per_job_wei == LIMIT_PER_JOB * 10**6
        SpendingLimit.objects.update(per_job_wei=5)
        other = Token.objects.create(network=token.network, address="0x" + "12" * 20, symbol="O", decimals=18)

        demo.set_up(info=INFO, clock=clock)

        found = SpendingLimit.objects.values_list("token_id", "per_job_wei")
        assert dict(found) == {token.pk: 5, other.pk: LIMIT_PER_JOB * 10**18}
