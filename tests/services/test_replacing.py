"""Launches that cost money: agreed to each time, and in place of a job that waits for a person."""

from __future__ import annotations

import uuid
from dataclasses import replace
from datetime import timedelta

import pytest

from jobs.access import Actor
from jobs.errors import InvalidInput, NotAllowed
from jobs.lifecycle import State
from jobs.models import Job, JobEvent, Order, Team
from jobs.services import launching
from jobs.services.choosing import DatasetChoice, LaunchRequest
from tests import builders
from tests.builders import NOW
from tests.conftest import Cast
from tests.services.conftest import Place
from tests.services.fakes import queued
from tests.services.quay import Quay, order_of
from tests.services.steps import advance
from tests.services.test_launching import KEY

OCEAN = "0x5FbDB2315678afecb367f032d93F642f64180aa3"


@pytest.fixture
def wanted(place: Place) -> LaunchRequest:
    """A request for the paid part of an environment, at an agreed price."""
    return LaunchRequest(
        datasets=(DatasetChoice(ref=place.dataset.did),),
        algorithm=place.algorithm.did,
        environment=str(place.environment.pk),
        wallet="demo",
        paid=True,
        token=OCEAN,
        resources={"cpu": 2},
        max_duration_s=600,
        most={OCEAN: 10**30},
    )


def launch(actor: Actor, request: LaunchRequest, key: uuid.UUID = KEY) -> Job:
    return Job.objects.get(pk=launching.launch(actor=actor, request=request, launch_key=key, now=NOW))


class TestLaunch:
    def test_records_what_was_agreed_to(self, bob: Actor, wanted: LaunchRequest) -> None:
        job = launch(bob, wanted)

        assert (job.free, job.payment_token, job.resources) == (False, OCEAN, {"cpu": 2})
        assert job.most == {OCEAN: str(10**30)}
        assert job.needs_price


class TestRunningAgain:
    def test_what_costs_money_wants_a_price(self, bob: Actor, wanted: LaunchRequest) -> None:
        job = launch(bob, wanted)

        with pytest.raises(InvalidInput) as caught:
            launching.rerun(actor=bob, job_id=job.pk, launch_key=uuid.UUID(int=2), now=NOW)

        assert caught.value.code == "not_agreed"
        assert Job.objects.count() == 1

    def test_what_paid_for_an_asset_in_a_free_place_wants_one_too(
        self, bob: Actor, team: Team, place: Place
    ) -> None:
        job = builders.make_job(team=team, environment=place.environment, most={OCEAN: "5"})

        with pytest.raises(InvalidInput) as caught:
            launching.rerun(actor=bob, job_id=job.pk, launch_key=KEY, now=NOW)

        assert caught.value.code == "not_agreed"

    def test_asks_for_the_same_and_agrees_to_nothing(self, bob: Actor, wanted: LaunchRequest) -> None:
        again = launching.rerun_request(actor=bob, job_id=launch(bob, wanted).pk)

        assert (again.paid, again.token, again.resources, again.most) == (True, OCEAN, {"cpu": 2}, {})


class TestReplacing:
    @pytest.fixture
    def stuck(self, team: Team, cast: Cast, place: Place) -> Job:
        """A job of Bob's that waits for a person."""
        return builders.make_job(
            team=team,
            state=State.NEEDS_ATTENTION,
            attention_from=State.STARTING,
            launched_by=cast.bob,
            environment=place.environment,
        )

    def test_ends_the_other_job_in_the_same_commit(
        self, bob: Actor, wanted: LaunchRequest, stuck: Job
    ) -> None:
        job = launch(bob, replace(wanted, instead_of=stuck.pk, name="Elsewhere"))

        stuck.refresh_from_db()
        assert (stuck.state, stuck.reason, stuck.ended_at) == (State.CANCELLED, "replaced", NOW)
        event = JobEvent.objects.filter(job=stuck).order_by("-pk")[0]
        assert (event.after, event.actor_id) == (State.CANCELLED, bob.user_id)
        assert event.message == "Replaced by “Elsewhere”, which Bob launched in its place."
        assert job.state == State.REQUESTED

    @pytest.mark.parametrize("state", [State.STARTING, State.RUNNING, State.FAILED])
    def test_is_refused_for_a_job_that_does_not_wait(
        self, bob: Actor, team: Team, cast: Cast, wanted: LaunchRequest, state: State
    ) -> None:
        other = builders.make_job(team=team, state=state, launched_by=cast.bob)

        with pytest.raises(InvalidInput) as caught:
            launch(bob, replace(wanted, instead_of=other.pk))

        other.refresh_from_db()
        assert (caught.value.code, other.state) == ("not_waiting", state)
        assert Job.objects.count() == 1
        assert queued() == []

    def test_is_refused_for_a_job_of_another_team(
        self, bob: Actor, cast: Cast, wanted: LaunchRequest
    ) -> None:
        other = builders.make_job(
            team=cast.other_team, state=State.NEEDS_ATTENTION, attention_from=State.STARTING
        )

        with pytest.raises(InvalidInput) as caught:
            launch(bob, replace(wanted, instead_of=other.pk))

        assert caught.value.code == "not_waiting"

    def test_launches_nothing_when_somebody_else_was_faster(
        self, bob: Actor, wanted: LaunchRequest, stuck: Job, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # Patched by name: between the check and the commit the other job goes on.
        monkeypatch.setattr(launching.queue, "enqueue", lambda *_: Job.objects.update(state=State.STARTING))

        with pytest.raises(InvalidInput) as caught:
            launch(bob, replace(wanted, instead_of=stuck.pk))

        stuck.refresh_from_db()
        assert caught.value.code == "not_waiting"
        assert stuck.state == State.NEEDS_ATTENTION  # the test's own change was undone with the rest
        assert Job.objects.get() == stuck

    def test_needs_the_right_to_end_the_other_job(
        self, bob: Actor, wanted: LaunchRequest, stuck: Job, cast: Cast
    ) -> None:
        Job.objects.filter(pk=stuck.pk).update(launched_by=cast.alice)

        with pytest.raises(NotAllowed):
            launch(bob, replace(wanted, instead_of=stuck.pk))

        assert Job.objects.get() == stuck

    def test_is_done_once_by_a_double_click(self, bob: Actor, wanted: LaunchRequest, stuck: Job) -> None:
        wanted = replace(wanted, instead_of=stuck.pk)

        assert launch(bob, wanted) == launch(bob, wanted)
        assert JobEvent.objects.filter(job=stuck, after=State.CANCELLED).count() == 1

    def test_uses_the_orders_of_the_other_job(self, alice: Actor, quay: Quay) -> None:
        first = advance(quay.job(), quay.clock)
        order = order_of(first)
        Job.objects.filter(pk=first.pk).update(
            state=State.NEEDS_ATTENTION, attention_from=State.STARTING, node_job_id=""
        )
        quay.far.jobs = []
        mined = quay.mined()
        request = LaunchRequest(
            datasets=(DatasetChoice(ref=quay.dataset.did),),
            algorithm=quay.algorithm.did,
            environment=str(quay.environment.pk),
            wallet="demo",
            max_duration_s=first.max_duration_s // 2,
            instead_of=first.pk,
        )

        quay.clock.now += timedelta(seconds=5)
        second = advance(
            Job.objects.get(
                pk=launching.launch(actor=alice, request=request, launch_key=KEY, now=quay.clock())
            ),
            quay.clock,
        )

        assert order_of(second) == order
        assert Order.objects.get(pk=order.pk).held_by == second
        assert quay.mined() == mined
