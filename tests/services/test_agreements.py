"""The price that was seen is the price that is agreed to, for what it was shown for."""

from __future__ import annotations

import uuid
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from jobs.access import Actor
from jobs.services import agreements, choosing
from jobs.services.agreements import VALID_FOR, NotAgreed
from jobs.services.choosing import DatasetChoice, LaunchRequest
from tests import builders
from tests.builders import NOW
from tests.services.conftest import Place
from tests.services.test_launching import KEY

OCEAN = "0x5FbDB2315678afecb367f032d93F642f64180aa3"
MOST = {OCEAN: 2 * 10**60}  # more digits than a float has


@pytest.fixture
def wanted(place: Place) -> LaunchRequest:
    """A request for a paid place."""
    return LaunchRequest(
        datasets=(DatasetChoice(ref=place.dataset.did),),
        algorithm=place.algorithm.did,
        environment=str(place.environment.pk),
        wallet="demo",
        paid=True,
        max_duration_s=60,
    )


def seal(actor: Actor, request: LaunchRequest) -> str:
    plan = choosing.plan(actor=actor, request=request)
    return agreements.seal(actor=actor, plan=plan, most=MOST, now=NOW)


def read(actor: Actor, request: LaunchRequest, text: str, *, later: timedelta = timedelta()) -> Any:
    return agreements.agreed(actor=actor, request=request, text=text, launch_key=KEY, now=NOW + later)


class TestAgreed:
    def test_gives_back_what_was_shown(self, bob: Actor, wanted: LaunchRequest) -> None:
        assert read(bob, wanted, seal(bob, wanted)) == MOST

    def test_holds_for_another_name_and_other_parameters(self, bob: Actor, wanted: LaunchRequest) -> None:
        text = seal(bob, wanted)

        assert read(bob, replace(wanted, name="Other", parameters={"a": 1}, queue_wait_s=5), text) == MOST

    @pytest.mark.parametrize(
        "change",
        [{"max_duration_s": 61}, {"resources": {"cpu": 2}}, {"environment": "paid", "max_duration_s": 120}],
    )
    def test_is_for_what_it_was_shown_for(
        self, bob: Actor, wanted: LaunchRequest, change: dict[str, Any]
    ) -> None:
        text = seal(bob, wanted)

        with pytest.raises(NotAgreed) as caught:
            read(bob, replace(wanted, **change), text)

        assert caught.value.code == "price_outdated"
        assert "look at the price again" in caught.value.message

    def test_is_for_the_datasets_it_was_shown_for(
        self, bob: Actor, place: Place, wanted: LaunchRequest
    ) -> None:
        other = builders.make_asset(team=place.dataset.team, node=place.node, name="Other")
        text = seal(bob, wanted)

        with pytest.raises(NotAgreed):
            read(bob, replace(wanted, datasets=(DatasetChoice(ref=other.did),)), text)

    def test_is_not_another_person_s(self, bob: Actor, alice: Actor, wanted: LaunchRequest) -> None:
        with pytest.raises(NotAgreed):
            read(alice, wanted, seal(bob, wanted))

    def test_cannot_be_made_up(self, bob: Actor, wanted: LaunchRequest) -> None:
        text = seal(bob, wanted)

        for forged in (text[:-1] + ("a" if text[-1] != "a" else "b"), "nonsense", ":::", "e30:1:1"):
            with pytest.raises(NotAgreed):
                read(bob, wanted, forged)

    def test_ends(self, bob: Actor, wanted: LaunchRequest) -> None:
        text = seal(bob, wanted)

        assert read(bob, wanted, text, later=VALID_FOR) == MOST
        with pytest.raises(NotAgreed):
            read(bob, wanted, text, later=VALID_FOR + timedelta(seconds=1))

    def test_is_wanted_of_what_costs_money(self, bob: Actor, wanted: LaunchRequest) -> None:
        with pytest.raises(NotAgreed) as caught:
            read(bob, wanted, "")

        assert caught.value.code == "not_agreed"

    def test_is_not_wanted_of_a_free_start_at_a_node(self, bob: Actor, wanted: LaunchRequest) -> None:
        assert read(bob, replace(wanted, paid=False), "") == {}

    def test_is_not_wanted_of_the_second_click(self, bob: Actor, place: Place, wanted: LaunchRequest) -> None:
        builders.make_job(team=place.dataset.team, launch_key=KEY)

        assert read(bob, wanted, "") == {}
        with pytest.raises(NotAgreed):
            agreements.agreed(actor=bob, request=wanted, text="", launch_key=uuid.UUID(int=5), now=NOW)
