"""Where a job may run: for free, for money, and what of it fits."""

from __future__ import annotations

from typing import Any

import pytest

from jobs.errors import InvalidInput
from jobs.models import Environment, SpendingLimit, Token
from jobs.services import places
from jobs.services.places import PAID, Place, PlaceWish
from tests import builders
from tests.services.conftest import Place as Desk

OCEAN = "0x5FbDB2315678afecb367f032d93F642f64180aa3"
USDC = "0xe7f1725E7734CE288F8367e1Bb143E90bb3F0512"


def priced(desk: Desk, env_id: str, *, fees: dict[str, float], **changes: Any) -> Environment:
    """Make an environment without a free tier. fees: the price of a core and minute, by token."""
    offered = [
        {"feeToken": token, "prices": [{"id": "cpu", "price": price}]} for token, price in fees.items()
    ]
    raw = {**builders.RAW_ENVIRONMENT, "id": env_id, "fees": {"8996": offered}, **changes}
    raw.pop("free")
    return builders.make_environment(
        node=desk.node, env_id=env_id, raw=raw, has_free_tier=False, description=env_id
    )


def find(desk: Desk, **wish: Any) -> Place:
    return places.find(
        wish=PlaceWish(**({"ref": PAID} | wish)),
        wallet=desk.wallet,
        node_ids={desk.node.pk},
        chain_ids={8996},
    )


def allow(desk: Desk, token: str, symbol: str) -> None:
    """Let a job spend some of a token."""
    row = Token.objects.create(network=desk.node.network, address=token, symbol=symbol, decimals=18)
    SpendingLimit.objects.create(wallet=desk.wallet, token=row, per_job_wei=1, set_at=builders.NOW)


class TestTheCheapest:
    def test_is_found_by_the_price_of_this_job(self, place: Desk) -> None:
        priced(place, "dear", fees={OCEAN: 9})
        cheap = priced(place, "cheap", fees={OCEAN: 0.5})

        assert find(place).environment == cheap

    @pytest.mark.parametrize(
        "wish", [{"max_duration_s": 3600}, {"resources": {"cpu": 2}}, {"resources": {"gpu": 1}}]
    )
    def test_is_not_one_that_gives_less_than_is_asked_for(self, place: Desk, wish: dict[str, Any]) -> None:
        small = [{"id": "cpu", "total": 1, "max": 1, "min": 1}, {"id": "ram", "total": 1, "max": 1, "min": 1}]
        priced(place, "small", fees={OCEAN: 0.5}, resources=small, maxJobDuration=60)
        gpu = [*builders.RAW_ENVIRONMENT["resources"], {"id": "gpu", "total": 1, "max": 1, "min": 0}]
        large = priced(place, "large", fees={OCEAN: 1}, resources=gpu)
        place.environment.delete()

        assert find(place, **wish).environment == large

    def test_is_paid_in_what_the_wallet_may_spend(self, place: Desk) -> None:
        both = priced(place, "both", fees={USDC: 1, OCEAN: 900})
        place.environment.delete()
        allow(place, OCEAN, "OCEAN")

        found = find(place)

        assert (found.environment, found.token) == (both, OCEAN)

    def test_is_refused_where_nothing_fits(self, place: Desk) -> None:
        with pytest.raises(InvalidInput) as caught:
            find(place, resources={"cpu": 64})

        assert caught.value.code == "no_paid_environment"


class TestResources:
    def test_above_what_a_job_gets_are_refused_with_the_numbers(self, place: Desk) -> None:
        found = find(place)

        with pytest.raises(InvalidInput, match="1 to 2 of cpu"):
            places.checked_resources(given={"cpu": 3}, place=found)

    def test_of_a_provider_come_as_they_are(self, place: Desk) -> None:
        node = builders.make_provider_node()
        raw = {**builders.RAW_PROVIDER_ENVIRONMENT, "priceMin": 1}
        row = builders.make_environment(node=node, raw=raw, has_free_tier=False)
        named = places.find(
            wish=PlaceWish(ref=str(row.pk), paid=True),
            wallet=place.wallet,
            node_ids={node.pk},
            chain_ids={8996},
        )

        assert places.checked_resources(given={"cpu": 1}, place=named, picked=True) is None
        with pytest.raises(InvalidInput, match="as it is"):
            places.checked_resources(given={"cpu": 1}, place=named)


class TestFreeOptions:
    def test_are_those_that_fit_with_the_most_room_first(self, place: Desk) -> None:
        roomy = builders.make_environment(node=place.node, env_id="roomy", free_room=5)
        priced(place, "paid", fees={OCEAN: 1})

        def found(**wish: Any) -> list[Environment]:
            options = places.free_options(
                wish=PlaceWish(ref="", **wish), node_ids={place.node.pk}, chain_ids={8996}
            )
            return [option.place.environment for option in options]

        assert found() == [roomy, place.environment]
        assert found(max_duration_s=121) == found(resources={"cpu": 2}) == []
