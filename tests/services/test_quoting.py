"""What a launch is said to cost: asked of a service in memory and of the sandbox's real chain."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
import requests
from eth_account import Account
from eth_account.messages import encode_defunct

from jobs.access import Actor
from jobs.errors import InvalidInput, NotAllowed
from jobs.lifecycle import State
from jobs.models import Environment, Job, SpendingLimit, Team, Token, Transaction, Wallet, WalletGrant
from jobs.ocean import orders
from jobs.ocean.compute import OrderNeed, ProviderFee
from jobs.ocean.errors import Unreachable
from jobs.ocean.units import Address, Wei
from jobs.services import quoting, teams
from jobs.services.budget import OutOfBudget
from jobs.services.choosing import DatasetChoice, LaunchRequest
from jobs.services.quoting import Quote
from ocean_portal.sandbox.chain import ETHER
from ocean_portal.sandbox.contracts import mint
from tests import builders
from tests.services.conftest import Place
from tests.services.fakes import OWNER, Clock, FarSides
from tests.services.payers import unsent
from tests.services.quay import PROVIDER_KEY, Quay, signed_fee

PAID = "paid-compute"


def wanted(quay: Quay | Place, **values: Any) -> LaunchRequest:
    request = LaunchRequest(
        datasets=(DatasetChoice(ref=quay.dataset.did),),
        algorithm=quay.algorithm.did,
        environment=str(quay.environment.pk),
        wallet="demo",
    )
    return replace(request, **values)


def ask(quay: Quay, actor: Actor, **values: Any) -> Quote:
    return quoting.quote(actor=actor, request=wanted(quay, **values), clock=quay.clock)


def refusal(quay: Quay, actor: Actor, **values: Any) -> InvalidInput:
    with pytest.raises(InvalidInput) as caught:
        ask(quay, actor, **values)
    return caught.value


def sell(quay: Quay, *, tokens: int = 100, limit: int | None = 100) -> str:
    """Let the network know the exchange, give the wallet Ocean tokens, and let a job spend some; return the token."""
    ocean = str(Address(quay.deployed.contracts["Ocean"]))
    quay.network.contracts = dict(quay.deployed.contracts)
    quay.network.save()
    mint(quay.chain, quay.deployed.contracts, "Ocean", str(OWNER), tokens * ETHER)
    if limit is not None:
        row = Token.objects.create(network=quay.network, address=ocean, symbol="OCEAN", decimals=18)
        SpendingLimit.objects.create(
            wallet=quay.wallet, token=row, per_job_wei=limit * ETHER, set_at=builders.NOW
        )
    return ocean


def paid_environment(quay: Quay, *, token: str) -> Environment:
    """Let the Provider take a fee of 3 tokens for a minute, in a token."""
    raw = {**builders.RAW_PROVIDER_ENVIRONMENT, "id": PAID, "priceMin": 3, "feeToken": token}
    row = builders.make_environment(
        node=quay.node, env_id=PAID, raw=raw, has_free_tier=False, free_room=0, description="Paid hall"
    )

    def needs(**given: Any) -> tuple[OrderNeed, ...]:
        said = quay.far.needs(**given)
        fee = fee_of(token, amount_wei=3 * ETHER, valid_until=given["valid_until"])
        return (replace(said[0], fee=fee), *said[1:])

    for _ in range(3):
        quay.far.will("initialize", needs)
    return row


def fee_of(token: str, *, amount_wei: int, valid_until: int) -> ProviderFee:
    """Sign a fee in a token of the test's own."""
    fee = replace(
        signed_fee(amount_wei=amount_wei, valid_until=valid_until),
        token=Address(token),
        amount_wei=Wei(amount_wei),
    )
    signed = Account.sign_message(encode_defunct(primitive=orders.fee_digest(fee)), PROVIDER_KEY)
    return replace(fee, v=signed.v, r=f"0x{signed.r:064x}", s=f"0x{signed.s:064x}")


class TestFreeStart:
    def test_at_a_node_asks_nobody(self, bob: Actor, place: Place, far_sides: FarSides, clock: Clock) -> None:
        found = quoting.quote(actor=bob, request=wanted(place, environment="free"), clock=clock)

        assert (found.asked, found.free, found.transactions, found.most) == (False, True, 0, {})
        assert far_sides.at(place.node.base_url).calls == []

    def test_at_a_provider_costs_the_gas_of_its_orders(self, bob: Actor, quay: Quay) -> None:
        found = ask(quay, bob)

        assert (found.asked, found.free, found.most, found.sums) == (True, True, {}, ())
        assert [line.what for line in found.lines] == [
            "“Buoys 2025”: given away",
            "“Linear regression”: given away",
        ]
        assert found.transactions == 4
        assert 0 < found.gas < found.coin
        assert found.troubles == ()

    def test_tells_that_the_gas_is_missing(self, bob: Actor, quay: Quay) -> None:
        Wallet.objects.filter(pk=quay.wallet.pk).update(address="0x" + "66" * 20)

        (trouble,) = ask(quay, bob).troubles

        assert "own coin for gas" in trouble


class TestPricedAsset:
    def test_is_told_to_the_wei_with_what_the_wallet_has(self, bob: Actor, quay: Quay) -> None:
        ocean = sell(quay)
        priced = quay.asset("sold", name="Iris")

        found = ask(quay, bob, datasets=(DatasetChoice(ref=priced.did),))

        (total,) = found.sums
        (line,) = [line for line in found.lines if line.amount]
        assert (line.what, line.amount) == ("“Iris”: 1 datatoken", total.total)
        assert total.total.wei >= ETHER
        assert total.total.exact == Decimal(total.total.wei) / ETHER
        assert (total.total.symbol, total.has.exact, total.missing.wei) == ("OCEAN", Decimal(100), 0)
        assert found.most == {ocean: total.total.wei}
        assert found.troubles == ()

    def test_tells_what_is_missing(self, bob: Actor, quay: Quay) -> None:
        sell(quay, tokens=0)
        priced = quay.asset("sold", name="Iris")

        found = ask(quay, bob, datasets=(DatasetChoice(ref=priced.did),))

        (total,) = found.sums
        assert total.missing.wei == total.total.wei
        assert "has 0 OCEAN" in found.troubles[0]

    @pytest.mark.parametrize("limit", [0, None])
    def test_above_the_wallet_s_limit_is_told(self, bob: Actor, quay: Quay, limit: int | None) -> None:
        sell(quay, limit=limit)
        priced = quay.asset("sold", name="Iris")

        (trouble,) = ask(quay, bob, datasets=(DatasetChoice(ref=priced.did),)).troubles

        assert "one job may spend 0" in trouble

    def test_that_nobody_sells_is_refused(self, bob: Actor, quay: Quay) -> None:
        priced = quay.asset("sold", name="Iris")

        error = refusal(quay, bob, datasets=(DatasetChoice(ref=priced.did),))

        assert (error.field, error.code) == ("environment", "no_datatoken")


class TestPaidPlaceOfAProvider:
    def test_is_paid_up_front_in_its_token(self, bob: Actor, quay: Quay) -> None:
        ocean = sell(quay)
        row = paid_environment(quay, token=ocean)

        found = ask(quay, bob, environment=str(row.pk), paid=True, max_duration_s=60)

        assert (found.free, found.escrow, found.environment, found.lasts_s) == (False, False, "Paid hall", 60)
        assert found.most == {ocean: 3 * ETHER}
        assert "Fee of the service, with “Buoys 2025”" in [line.what for line in found.lines]


class TestFailure:
    def test_of_the_service_says_what_to_do(self, bob: Actor, quay: Quay) -> None:
        quay.far.will("initialize", Unreachable("quay does not answer.", code="timeout", retryable=True))

        error = refusal(quay, bob)

        assert error.field == "environment"
        assert error.message == "quay does not answer. Look at the price again in a moment."

    def test_of_the_chain_says_what_to_do(self, bob: Actor, quay: Quay) -> None:
        quay.wire.will("eth_chainId", requests.exceptions.ConnectionError("nobody there"))

        assert "Look at the price again" in refusal(quay, bob).message

    def test_of_a_chain_that_is_another_one_is_told(self, bob: Actor, quay: Quay) -> None:
        quay.wire.will("eth_chainId", {"result": "0x1"})

        error = refusal(quay, bob)

        assert error.code == "wrong_chain"

    def test_of_patience_ends_the_questions(
        self, bob: Actor, quay: Quay, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # Patched by name: nobody waits twenty seconds in a test.
        monkeypatch.setattr(quoting, "PATIENCE_S", 0.0)

        error = refusal(quay, bob)

        assert error.code == "deadline"
        assert quay.wire.asked == []

    def test_for_want_of_requests_says_when_to_come_back(self, bob: Actor, quay: Quay) -> None:
        late = OutOfBudget(node="Quay provider", available_at=quay.clock() + timedelta(seconds=30))
        quay.far.will("file_info", late)

        error = refusal(quay, bob)

        assert error.code == "out_of_budget"
        assert error.message.endswith("Look at the price again in 30 s.")

    def test_leaves_nothing_behind(self, bob: Actor, quay: Quay) -> None:
        quay.wire.will("eth_chainId", requests.exceptions.ConnectionError("nobody there"))

        refusal(quay, bob)

        assert not Job.objects.exists()
        assert not Transaction.objects.exists()


class TestBarred:
    def test_says_who_can_grant_the_wallet(self, bob: Actor, quay: Quay) -> None:
        assert ask(quay, bob).barred == ""
        WalletGrant.objects.all().delete()

        found = ask(quay, bob)

        assert found.barred.startswith("Nobody has granted you the use of the wallet “demo”")
        assert found.barred.endswith("Alice can grant it to you.")

    def test_is_nobody_from_what_sends_no_transaction(
        self, bob: Actor, place: Place, far_sides: FarSides, clock: Clock
    ) -> None:
        WalletGrant.objects.all().delete()

        assert quoting.quote(actor=bob, request=wanted(place, environment="free"), clock=clock).barred == ""

    def test_is_no_operator_s_command(self, team: Team, quay: Quay) -> None:
        WalletGrant.objects.all().delete()

        assert ask(quay, teams.operator(team=team.slug)).barred == ""


class TestRights:
    def test_are_those_of_launching(self, vera: Actor, quay: Quay) -> None:
        with pytest.raises(NotAllowed):
            ask(quay, vera)
        with pytest.raises(NotAllowed):
            quoting.elsewhere(actor=vera, request=wanted(quay))

        assert quay.far.calls == []


class TestReplacing:
    def test_counts_what_the_other_job_has_ordered_as_there(
        self, bob: Actor, alice: Actor, quay: Quay
    ) -> None:
        first = unsent(quay)
        Job.objects.filter(pk=first.pk).update(
            state=State.NEEDS_ATTENTION, attention_from=State.PAYING, launched_by_id=bob.user_id
        )
        alone = ask(quay, bob)

        instead = ask(quay, bob, instead_of=first.pk)

        assert "“Buoys 2025”: given away" in [line.what for line in alone.lines]
        assert "“Buoys 2025”: a datatoken that the wallet has" in [line.what for line in instead.lines]


class TestElsewhere:
    def test_lists_free_places_first_then_the_cheapest(self, bob: Actor, place: Place, team: Any) -> None:
        Token.objects.create(
            network=place.node.network,
            address="0x5FbDB2315678afecb367f032d93F642f64180aa3",
            symbol="OCEAN",
            decimals=18,
        )
        dear = {
            "8996": [
                {
                    "feeToken": "0x5FbDB2315678afecb367f032d93F642f64180aa3",
                    "prices": [{"id": "cpu", "price": 9}],
                }
            ]
        }
        raw = {**builders.RAW_ENVIRONMENT, "id": "dear", "fees": dear}
        raw.pop("free")
        builders.make_environment(
            node=place.node, env_id="dear", raw=raw, has_free_tier=False, description="Dear"
        )

        found = quoting.elsewhere(actor=bob, request=wanted(place, paid=True, max_duration_s=60))

        assert [(x.name, x.free, x.cost, x.here) for x in found] == [
            ("Paid and free environment", True, None, False),
            ("Paid and free environment", False, Decimal("1.1"), True),
            ("Dear", False, Decimal(9), False),
        ]
        assert found[1].symbol == "OCEAN"
        assert found[1].value == f"{place.environment.pk}-paid 0x5FbDB2315678afecb367f032d93F642f64180aa3"
        assert found[0].value == str(place.environment.pk)

    def test_leaves_out_what_does_not_fit(self, bob: Actor, place: Place) -> None:
        long = quoting.elsewhere(actor=bob, request=wanted(place, paid=True, max_duration_s=600))
        large = quoting.elsewhere(actor=bob, request=wanted(place, paid=True, resources={"cpu": 2}))
        huge = quoting.elsewhere(actor=bob, request=wanted(place, paid=True, resources={"cpu": 64}))

        assert ([x.free for x in long], [x.free for x in large], huge) == ([False], [False], ())

    def test_is_known_though_no_place_is_chosen_that_fits(self, bob: Actor, place: Place) -> None:
        found = quoting.elsewhere(actor=bob, request=wanted(place, environment="free", max_duration_s=600))

        assert [(x.free, x.here) for x in found] == [(False, False)]
