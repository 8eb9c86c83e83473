"""What may be launched, what is refused and at which field, and the wishes about a launched job."""

from __future__ import annotations

import uuid
from dataclasses import replace
from typing import Any

import pytest
from django.db import transaction

from jobs.access import Actor
from jobs.errors import InvalidInput, Missing, NotAllowed
from jobs.lifecycle import State
from jobs.models import Asset, Job, JobEvent, Team
from jobs.services import launching, wallets
from jobs.services.choosing import DatasetChoice, LaunchRequest
from tests import builders
from tests.builders import NOW, RAW_ENVIRONMENT
from tests.conftest import Cast
from tests.services.conftest import Place, run_together
from tests.services.fakes import queued

KEY = uuid.UUID(int=77)


@pytest.fixture
def request_(place: Place) -> LaunchRequest:
    """A request that can be launched."""
    return LaunchRequest(
        datasets=(DatasetChoice(ref=place.dataset.did),),
        algorithm=place.algorithm.did,
        environment="free",
        wallet="demo",
    )


def launch(actor: Actor, request: LaunchRequest, key: uuid.UUID = KEY) -> Job:
    return Job.objects.get(pk=launching.launch(actor=actor, request=request, launch_key=key, now=NOW))


def refusal(actor: Actor, request: LaunchRequest) -> InvalidInput:
    """Return why a request is refused; nothing may have been written."""
    with pytest.raises(InvalidInput) as caught:
        launching.launch(actor=actor, request=request, launch_key=KEY, now=NOW)
    assert Job.objects.count() == 0
    assert queued() == []
    return caught.value


def set_services(asset: Asset, *services: dict[str, Any]) -> None:
    asset.services = [asset.services[0] | service for service in services]
    asset.save()


class TestLaunch:
    def test_records_the_job_with_inputs_event_and_queue_row(
        self, bob: Actor, place: Place, request_: LaunchRequest
    ) -> None:
        job = launch(bob, request_)

        assert (job.state, job.launched_by_id, job.team_id) == (State.REQUESTED, bob.user_id, bob.team_id)
        assert (job.node, job.environment, job.wallet) == (place.node, place.environment, place.wallet)
        assert (job.algorithm.did, job.algorithm_service_id) == (place.algorithm.did, "access-1")
        assert job.container == builders.CONTAINER
        assert job.next_check_at == NOW
        assert job.free
        assert [(x.position, x.dataset.did, x.service_id) for x in job.inputs.all()] == [
            (0, place.dataset.did, "compute-1")
        ]
        event = job.events.get()
        assert (event.after, event.actor_id, event.at) == (State.REQUESTED, bob.user_id, NOW)
        assert queued() == [("advance", (str(job.pk),))]

    def test_takes_the_environment_s_limit_for_duration_and_wait(
        self, bob: Actor, request_: LaunchRequest
    ) -> None:
        job = launch(bob, request_)

        assert (job.max_duration_s, job.queue_wait_s) == (120, 120)

    def test_takes_what_was_entered(self, bob: Actor, request_: LaunchRequest) -> None:
        job = launch(
            bob, replace(request_, max_duration_s=60, queue_wait_s=0, name="  Swell  ", parameters={"a": [1]})
        )

        assert (job.max_duration_s, job.queue_wait_s, job.name) == (60, 0, "Swell")
        assert job.parameters == {"a": [1]}

    def test_names_the_job_after_what_it_runs(self, bob: Actor, request_: LaunchRequest) -> None:
        assert launch(bob, request_).name == "Linear regression, Buoys 2025"

    def test_gives_the_same_job_on_a_double_click(self, bob: Actor, request_: LaunchRequest) -> None:
        first = launch(bob, request_)
        second = launch(bob, request_)

        assert first.pk == second.pk
        assert Job.objects.count() == 1
        assert len(queued()) == 1

    def test_gives_the_same_job_though_the_form_changed_in_between(
        self, bob: Actor, request_: LaunchRequest
    ) -> None:
        first = launch(bob, request_)

        assert launch(bob, replace(request_, wallet="nonsense")).pk == first.pk

    def test_refuses_a_key_that_another_team_has_used(
        self, bob: Actor, charlie: Actor, request_: LaunchRequest
    ) -> None:
        other = Team.objects.get(pk=charlie.team_id)
        builders.make_job(team=other, launch_key=KEY)

        with pytest.raises(InvalidInput) as caught:
            launch(bob, request_)

        assert caught.value.code == "used_key"
        assert queued() == []

    def test_leaves_nothing_behind_when_it_is_rolled_back(self, bob: Actor, request_: LaunchRequest) -> None:
        with pytest.raises(ZeroDivisionError), transaction.atomic():
            launch(bob, request_)
            raise ZeroDivisionError

        assert Job.objects.count() == JobEvent.objects.count() == 0
        assert queued() == []

    def test_leaves_nothing_behind_when_the_queue_cannot_be_written(
        self, bob: Actor, request_: LaunchRequest, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fail(*_: Any) -> None:
            raise OSError

        # Patched by name: the last step inside the transaction fails.
        monkeypatch.setattr(launching.queue, "enqueue", fail)

        with pytest.raises(OSError):
            launch(bob, request_)

        assert Job.objects.count() == 0

    def test_is_not_for_viewers(self, vera: Actor, request_: LaunchRequest) -> None:
        with pytest.raises(NotAllowed) as caught:
            launch(vera, request_)

        assert "viewer" in caught.value.message

    def test_does_not_show_a_viewer_that_a_key_was_used(
        self, bob: Actor, vera: Actor, request_: LaunchRequest
    ) -> None:
        launch(bob, request_)

        with pytest.raises(NotAllowed):
            launch(vera, request_)

    def test_of_one_key_in_two_threads_makes_one_job(
        self, on_disk: None, bob: Actor, request_: LaunchRequest
    ) -> None:
        def click() -> Any:
            return launching.launch(actor=bob, request=request_, launch_key=KEY, now=NOW)

        ids = run_together(click, click, click)

        assert ids == [Job.objects.get().pk] * 3
        assert len(queued()) == 1


class TestDatasets:
    def choose(self, request: LaunchRequest, *refs: str | DatasetChoice) -> LaunchRequest:
        choices = tuple(ref if isinstance(ref, DatasetChoice) else DatasetChoice(ref) for ref in refs)
        return replace(request, datasets=choices)

    def test_are_found_by_name(self, bob: Actor, request_: LaunchRequest) -> None:
        job = launch(bob, self.choose(request_, "buoys 2025"))

        assert job.inputs.get().dataset.name == "Buoys 2025"

    def test_may_be_several(self, bob: Actor, place: Place, request_: LaunchRequest) -> None:
        second = builders.make_asset(team=place.dataset.team, node=place.node, name="Tides")

        job = launch(bob, self.choose(request_, second.did, place.dataset.did))

        inputs = job.inputs.order_by("position").values_list("dataset__name", flat=True)
        assert list(inputs) == ["Tides", "Buoys 2025"]

    @pytest.mark.parametrize(
        ("ref", "code"),
        [
            ("did:op:" + "e" * 64, "unknown_did"),
            ("did:op:123", "malformed_did"),
            ("Boys 2025", "unknown_name"),
            ("", "invalid"),
        ],
    )
    def test_are_refused_when_unknown(self, bob: Actor, request_: LaunchRequest, ref: str, code: str) -> None:
        error = refusal(bob, self.choose(request_, ref))

        assert (error.field, error.code) == ("datasets", code)

    def test_are_refused_when_there_are_none(self, bob: Actor, request_: LaunchRequest) -> None:
        assert refusal(bob, self.choose(request_)).field == "datasets"

    def test_are_refused_when_there_are_too_many(self, bob: Actor, request_: LaunchRequest) -> None:
        assert "at most 20" in refusal(bob, self.choose(request_, *["x"] * 21)).message

    def test_are_refused_when_one_is_an_algorithm(
        self, bob: Actor, place: Place, request_: LaunchRequest
    ) -> None:
        for ref in (place.algorithm.did, place.algorithm.name):
            error = refusal(bob, self.choose(request_, ref))

            assert (error.field, error.code) == ("datasets", "wrong_kind")

    def test_of_another_team_are_unknown(
        self, bob: Actor, charlie: Actor, place: Place, request_: LaunchRequest
    ) -> None:
        theirs = builders.make_asset(team=Team.objects.get(pk=charlie.team_id), node=place.node)

        assert refusal(bob, self.choose(request_, theirs.did)).code == "unknown_did"

    def test_with_one_name_are_refused_with_the_candidates(
        self, bob: Actor, place: Place, request_: LaunchRequest
    ) -> None:
        twin = builders.make_asset(team=place.dataset.team, node=place.node)

        error = refusal(bob, self.choose(request_, "Buoys 2025"))

        assert (error.field, error.code) == ("datasets", "ambiguous_name")
        assert error.candidates == (
            f"Buoys 2025 ({place.dataset.did})",
            f"Buoys 2025 ({twin.did})",
        )

    def test_are_refused_without_a_compute_service(
        self, bob: Actor, place: Place, request_: LaunchRequest
    ) -> None:
        set_services(place.dataset, {"type": "access"})

        error = refusal(bob, request_)

        assert (error.field, error.code) == ("datasets", "no_compute_service")

    def test_are_refused_with_a_service_for_download(
        self, bob: Actor, place: Place, request_: LaunchRequest
    ) -> None:
        set_services(place.dataset, {}, {"id": "access-9", "type": "access"})

        error = refusal(bob, self.choose(request_, DatasetChoice(place.dataset.did, "access-9")))

        assert (error.field, error.code) == ("datasets", "no_compute_service")

    def test_are_refused_with_an_unknown_service(
        self, bob: Actor, place: Place, request_: LaunchRequest
    ) -> None:
        error = refusal(bob, self.choose(request_, DatasetChoice(place.dataset.did, "nope")))

        assert (error.field, error.candidates) == ("datasets", ("compute-1",))

    def test_with_several_compute_services_need_one_named(
        self, bob: Actor, place: Place, request_: LaunchRequest
    ) -> None:
        set_services(place.dataset, {"id": "one"}, {"id": "two"})

        assert refusal(bob, request_).candidates == ("one", "two")
        named = self.choose(request_, DatasetChoice(place.dataset.did, "two"))
        assert launch(bob, named).inputs.get().service_id == "two"

    def test_are_refused_when_chosen_twice(self, bob: Actor, place: Place, request_: LaunchRequest) -> None:
        error = refusal(bob, self.choose(request_, place.dataset.did, place.dataset.name))

        assert "twice" in error.message

    def test_served_by_a_node_that_is_not_ours_are_refused(
        self, bob: Actor, place: Place, request_: LaunchRequest
    ) -> None:
        set_services(place.dataset, {"endpoint": "https://elsewhere.example"})

        error = refusal(bob, request_)

        assert (error.field, error.code) == ("datasets", "unknown_node")
        assert "https://elsewhere.example" in error.message

    def test_at_different_nodes_are_refused(self, bob: Actor, place: Place, request_: LaunchRequest) -> None:
        away = builders.make_node(name="Away", base_url="http://127.0.0.1:8002")
        far = builders.make_asset(team=place.dataset.team, node=away, name="Tides")

        error = refusal(bob, self.choose(request_, place.dataset.did, far.did))

        assert (error.field, error.code) == ("datasets", "different_nodes")

    def test_are_served_by_a_node_whose_address_is_written_in_another_way(
        self, bob: Actor, place: Place, request_: LaunchRequest
    ) -> None:
        set_services(place.dataset, {"endpoint": "HTTP://127.0.0.1:8001/"})

        assert launch(bob, request_).node == place.node


class TestAlgorithm:
    @pytest.mark.parametrize(
        ("ref", "code"),
        [("did:op:" + "e" * 64, "unknown_did"), ("did:op:1", "malformed_did"), ("", "invalid")],
    )
    def test_is_refused_when_unknown(self, bob: Actor, request_: LaunchRequest, ref: str, code: str) -> None:
        error = refusal(bob, replace(request_, algorithm=ref))

        assert (error.field, error.code) == ("algorithm", code)

    def test_is_refused_when_it_is_a_dataset(self, bob: Actor, place: Place, request_: LaunchRequest) -> None:
        error = refusal(bob, replace(request_, algorithm=place.dataset.did))

        assert (error.field, error.code) == ("algorithm", "wrong_kind")

    @pytest.mark.parametrize("container", [None, {}, {"image": ""}])
    def test_is_refused_without_a_container(
        self, bob: Actor, place: Place, request_: LaunchRequest, container: Any
    ) -> None:
        Asset.objects.filter(pk=place.algorithm.pk).update(container=container)

        error = refusal(bob, request_)

        assert (error.field, "container" in error.message) == ("algorithm", True)

    def test_is_refused_without_a_service(self, bob: Actor, place: Place, request_: LaunchRequest) -> None:
        Asset.objects.filter(pk=place.algorithm.pk).update(services=[])

        assert refusal(bob, request_).field == "algorithm"


class TestEnvironment:
    def test_is_found_by_row_and_by_the_node_s_id(
        self, bob: Actor, place: Place, request_: LaunchRequest
    ) -> None:
        for i, ref in enumerate((str(place.environment.pk), place.environment.env_id)):
            job = launch(bob, replace(request_, environment=ref), uuid.UUID(int=i))
            assert job.environment == place.environment

    def test_free_is_the_free_tier_with_the_most_room(
        self, bob: Actor, place: Place, request_: LaunchRequest
    ) -> None:
        roomy = builders.make_environment(node=place.node, env_id="0x6-roomy", free_room=5)
        builders.make_environment(node=place.node, env_id="0x6-gone", free_room=9, gone_at=NOW)
        builders.make_environment(node=place.node, env_id="0x6-paid", free_room=9, has_free_tier=False)
        away = builders.make_node(name="Away", base_url="http://127.0.0.1:8002")
        builders.make_environment(node=away, free_room=9)

        assert launch(bob, request_).environment == roomy

    def test_free_may_be_full_since_a_job_can_wait(
        self, bob: Actor, place: Place, request_: LaunchRequest
    ) -> None:
        place.environment.free_room = 0
        place.environment.save()

        assert launch(bob, request_).environment == place.environment

    @pytest.mark.parametrize(
        ("ref", "code"), [("", "invalid"), ("9999", "unknown_environment"), ("²", "unknown_environment")]
    )
    def test_is_refused_when_unknown(self, bob: Actor, request_: LaunchRequest, ref: str, code: str) -> None:
        error = refusal(bob, replace(request_, environment=ref))

        assert (error.field, error.code) == ("environment", code)

    def test_is_refused_when_it_is_gone(self, bob: Actor, place: Place, request_: LaunchRequest) -> None:
        place.environment.gone_at = NOW
        place.environment.save()

        by_row = refusal(bob, replace(request_, environment=str(place.environment.pk)))
        by_wish = refusal(bob, request_)

        assert (by_row.field, by_row.code) == ("environment", "unknown_environment")
        assert (by_wish.field, by_wish.code) == ("environment", "no_free_tier")

    def test_is_refused_at_a_node_that_does_not_serve_the_data(
        self, bob: Actor, place: Place, request_: LaunchRequest
    ) -> None:
        away = builders.make_node(name="Away", base_url="http://127.0.0.1:8002")
        elsewhere = builders.make_environment(node=away, env_id="0x6-away")

        error = refusal(bob, replace(request_, environment=elsewhere.env_id))

        assert error.candidates == (place.environment.env_id,)

    def test_without_a_free_tier_wants_a_price_to_be_agreed_to(
        self, bob: Actor, place: Place, request_: LaunchRequest
    ) -> None:
        paid = {key: value for key, value in RAW_ENVIRONMENT.items() if key != "free"}
        place.environment.raw = paid
        place.environment.has_free_tier = False
        place.environment.save()

        error = refusal(bob, replace(request_, environment=str(place.environment.pk)))

        assert (error.field, error.code) == ("environment", "not_agreed")

    @pytest.mark.parametrize("seconds", [0, -1, 121])
    def test_limits_the_duration(self, bob: Actor, request_: LaunchRequest, seconds: int) -> None:
        error = refusal(bob, replace(request_, max_duration_s=seconds))

        assert error.field == "max_duration_s"
        assert "between 1 and 120" in error.message

    @pytest.mark.parametrize("seconds", [-1, 7 * 86_400 + 1])
    def test_limits_the_wait(self, bob: Actor, request_: LaunchRequest, seconds: int) -> None:
        assert refusal(bob, replace(request_, queue_wait_s=seconds)).field == "queue_wait_s"


class TestWallet:
    def test_is_found_by_label_and_by_row(self, bob: Actor, place: Place, request_: LaunchRequest) -> None:
        for i, ref in enumerate(("DEMO", str(place.wallet.pk))):
            assert launch(bob, replace(request_, wallet=ref), uuid.UUID(int=i)).wallet == place.wallet

    @pytest.mark.parametrize("ref", ["", "nope", "9999"])
    def test_is_refused_when_unknown(self, bob: Actor, request_: LaunchRequest, ref: str) -> None:
        error = refusal(bob, replace(request_, wallet=ref))

        assert (error.field, error.code, error.candidates) == ("wallet", "unknown_wallet", ("demo",))

    def test_is_refused_when_disabled(self, alice: Actor, place: Place, request_: LaunchRequest) -> None:
        wallets.disable(actor=alice, wallet_id=place.wallet.pk, now=NOW)

        assert refusal(alice, request_).code == "unknown_wallet"

    def test_of_another_team_is_refused(
        self, bob: Actor, charlie: Actor, place: Place, request_: LaunchRequest
    ) -> None:
        theirs = builders.make_wallet(team=Team.objects.get(pk=charlie.team_id), label="theirs")

        for ref in ("theirs", str(theirs.pk)):
            assert refusal(bob, replace(request_, wallet=ref)).code == "unknown_wallet"


class TestParameters:
    @pytest.fixture(autouse=True)
    def wanted(self, place: Place) -> None:
        place.algorithm.consumer_parameters = [
            {"name": "column", "type": "text", "required": True, "default": None},
            {"name": "degree", "type": "number", "required": True, "default": 2},
            {"name": "robust", "type": "boolean", "required": False, "default": None},
        ]
        place.algorithm.save()

    def test_are_filled_in_with_their_defaults(self, bob: Actor, request_: LaunchRequest) -> None:
        job = launch(bob, replace(request_, parameters={"column": "height", "extra": 1}))

        assert job.parameters == {"column": "height", "degree": 2, "extra": 1}

    @pytest.mark.parametrize("value", [0, False])
    def test_may_be_zero_or_false(self, bob: Actor, request_: LaunchRequest, value: Any) -> None:
        job = launch(bob, replace(request_, parameters={"column": value, "degree": value}))

        assert job.parameters == {"column": value, "degree": value}

    @pytest.mark.parametrize("given", [None, {}, {"column": ""}, {"column": None}])
    def test_are_refused_when_one_is_missing(self, bob: Actor, request_: LaunchRequest, given: Any) -> None:
        error = refusal(bob, replace(request_, parameters=given))

        assert (error.field, error.code) == ("parameters", "missing_parameter")
        assert "column" in error.message

    def test_are_refused_when_they_are_too_large(self, bob: Actor, request_: LaunchRequest) -> None:
        error = refusal(bob, replace(request_, parameters={"column": "x" * 20_000}))

        assert (error.field, "20 kB" in error.message) == ("parameters", True)

    @pytest.mark.parametrize("value", [float("nan"), float("inf")])
    def test_are_refused_when_no_json_can_hold_them(
        self, bob: Actor, request_: LaunchRequest, value: float
    ) -> None:
        assert refusal(bob, replace(request_, parameters={"column": value})).field == "parameters"


class TestRerun:
    @pytest.fixture
    def done(self, alice: Actor, request_: LaunchRequest) -> Job:
        return launch(
            alice,
            replace(request_, parameters={"a": 1}, max_duration_s=60, queue_wait_s=5, name="Swell"),
            uuid.UUID(int=1),
        )

    def test_launches_the_same_with_the_rights_of_who_asks(self, bob: Actor, done: Job) -> None:
        job_id = launching.rerun(actor=bob, job_id=done.pk, launch_key=KEY, now=NOW)

        again = Job.objects.get(pk=job_id)
        same = [
            "name",
            "wallet",
            "node",
            "environment",
            "algorithm",
            "algorithm_service_id",
            "container",
            "parameters",
            "max_duration_s",
            "queue_wait_s",
        ]
        assert [getattr(again, name) for name in same] == [getattr(done, name) for name in same]
        assert again.inputs.get().dataset == done.inputs.get().dataset
        assert (again.rerun_of, again.launched_by_id) == (done, bob.user_id)
        assert again.tag != done.tag

    def test_is_not_for_viewers(self, vera: Actor, done: Job) -> None:
        with pytest.raises(NotAllowed):
            launching.rerun(actor=vera, job_id=done.pk, launch_key=KEY, now=NOW)

    def test_of_another_team_s_job_is_missing(self, charlie: Actor, done: Job) -> None:
        with pytest.raises(Missing):
            launching.rerun_request(actor=charlie, job_id=done.pk)

    def test_says_when_the_wallet_is_no_longer_usable(self, alice: Actor, done: Job) -> None:
        wallets.disable(actor=alice, wallet_id=done.wallet_id, now=NOW)

        with pytest.raises(InvalidInput) as caught:
            launching.rerun(actor=alice, job_id=done.pk, launch_key=KEY, now=NOW)

        assert caught.value.field == "wallet"

    def test_says_when_the_environment_is_gone(self, alice: Actor, done: Job) -> None:
        done.environment.gone_at = NOW
        done.environment.save()

        with pytest.raises(InvalidInput) as caught:
            launching.rerun(actor=alice, job_id=done.pk, launch_key=KEY, now=NOW)

        assert caught.value.field == "environment"


class TestCancel:
    def test_notes_the_wish_once(self, bob: Actor, place: Place) -> None:
        job = builders.make_job(team=place.dataset.team, state=State.RUNNING, launched_by_id=bob.user_id)

        wishes = [launching.cancel(actor=bob, job_id=job.pk, now=NOW) for _ in range(2)]

        assert wishes == [True, False]
        job.refresh_from_db()
        assert (job.cancel_requested_at, job.cancel_requested_by_id) == (NOW, bob.user_id)
        assert (job.state, job.next_check_at) == (State.RUNNING, NOW)
        assert job.events.filter(kind=JobEvent.Kind.STOP_WISH).count() == 1
        assert queued() == [("advance", (str(job.pk),))]

    def test_of_a_colleague_s_job_is_for_owners(self, alice: Actor, bob: Actor, place: Place) -> None:
        job = builders.make_job(team=place.dataset.team, state=State.RUNNING, launched_by_id=alice.user_id)

        with pytest.raises(NotAllowed):
            launching.cancel(actor=bob, job_id=job.pk, now=NOW)
        assert launching.cancel(actor=alice, job_id=job.pk, now=NOW)

    def test_is_not_for_viewers_even_of_what_they_once_launched(self, vera: Actor, place: Place) -> None:
        job = builders.make_job(team=place.dataset.team, state=State.RUNNING, launched_by_id=vera.user_id)

        with pytest.raises(NotAllowed):
            launching.cancel(actor=vera, job_id=job.pk, now=NOW)

    def test_of_another_team_s_job_is_missing(self, charlie: Actor, place: Place) -> None:
        job = builders.make_job(team=place.dataset.team, state=State.RUNNING)

        with pytest.raises(Missing):
            launching.cancel(actor=charlie, job_id=job.pk, now=NOW)

    def test_of_an_ended_job_changes_nothing(self, alice: Actor, place: Place) -> None:
        job = builders.make_job(team=place.dataset.team, state=State.SUCCEEDED)

        assert not launching.cancel(actor=alice, job_id=job.pk, now=NOW)
        assert queued() == []


class TestAttention:
    @pytest.fixture
    def stuck(self, cast: Cast, place: Place) -> Job:
        """Bob's job, which waits for a person after its start got lost."""
        return builders.make_job(
            team=place.dataset.team,
            launched_by=cast.bob,
            state=State.NEEDS_ATTENTION,
            attention_from=State.STARTING,
            reason="start_lost",
            message="The node's list never showed the job.",
            start_sent_at=NOW,
            start_attempts=3,
            missing_count=1,
            trouble="x",
            trouble_count=7,
        )

    def test_is_over_when_somebody_goes_on(self, bob: Actor, stuck: Job) -> None:
        assert launching.go_on(actor=bob, job_id=stuck.pk, now=NOW)

        stuck.refresh_from_db()
        assert (stuck.state, stuck.reason) == (State.STARTING, "")
        assert stuck.message == f"{bob.name} asked the portal to go on."
        assert (stuck.trouble_count, stuck.start_attempts, stuck.missing_count) == (0, 0, 0)
        assert (stuck.start_sent_at, stuck.next_check_at) == (NOW, NOW)
        assert queued() == [("advance", (str(stuck.pk),))]

    def test_leaves_the_verdict_of_a_job_that_was_collecting(self, bob: Actor, stuck: Job) -> None:
        builders.make_event(
            job=stuck,
            at=NOW,
            after=State.COLLECTING,
            before=State.RUNNING,
            reason="exit_code",
            message="The algorithm ended with exit code 1.",
        )
        Job.objects.filter(pk=stuck.pk).update(attention_from=State.COLLECTING, reason="internal_error")

        assert launching.go_on(actor=bob, job_id=stuck.pk, now=NOW)

        stuck.refresh_from_db()
        assert (stuck.state, stuck.reason) == (State.COLLECTING, "exit_code")
        assert stuck.message == f"{bob.name} asked the portal to go on. The algorithm ended with exit code 1."

    def test_is_over_when_somebody_gives_up(self, bob: Actor, stuck: Job) -> None:
        assert launching.give_up(actor=bob, job_id=stuck.pk, now=NOW)

        stuck.refresh_from_db()
        assert (stuck.state, stuck.reason, stuck.ended_at) == (State.FAILED, "start_lost", NOW)
        assert stuck.message.endswith("ended the job here. The node's list never showed the job.")

    def test_is_not_for_viewers(self, vera: Actor, stuck: Job) -> None:
        for act in (launching.go_on, launching.give_up):
            with pytest.raises(NotAllowed):
                act(actor=vera, job_id=stuck.pk, now=NOW)

    def test_of_another_team_s_job_is_missing(self, charlie: Actor, stuck: Job) -> None:
        for act in (launching.go_on, launching.give_up):
            with pytest.raises(Missing):
                act(actor=charlie, job_id=stuck.pk, now=NOW)

    @pytest.mark.parametrize("state", [State.RUNNING, State.SUCCEEDED])
    def test_that_is_not_needed_changes_nothing(self, alice: Actor, place: Place, state: State) -> None:
        job = builders.make_job(team=place.dataset.team, state=state)

        assert not launching.go_on(actor=alice, job_id=job.pk, now=NOW)
        assert not launching.give_up(actor=alice, job_id=job.pk, now=NOW)

    def test_of_a_colleague_is_not_a_launcher_s_to_end(self, alice: Actor, bob: Actor, place: Place) -> None:
        job = builders.make_job(
            team=place.dataset.team, state=State.NEEDS_ATTENTION, attention_from=State.RUNNING
        )
        for act in (launching.go_on, launching.give_up):
            with pytest.raises(NotAllowed):
                act(actor=bob, job_id=job.pk, now=NOW)

        assert launching.give_up(actor=alice, job_id=job.pk, now=NOW)

    def test_given_up_while_collecting_ends_with_the_verdict(self, alice: Actor, place: Place) -> None:
        job = builders.make_job(
            team=place.dataset.team,
            state=State.NEEDS_ATTENTION,
            attention_from=State.COLLECTING,
            outcome="succeeded",
        )

        launching.give_up(actor=alice, job_id=job.pk, now=NOW)

        job.refresh_from_db()
        assert job.state == State.SUCCEEDED

    def test_ends_when_the_job_is_to_be_stopped_at_its_node(self, alice: Actor, place: Place) -> None:
        job = builders.make_job(
            team=place.dataset.team, state=State.NEEDS_ATTENTION, attention_from=State.RUNNING
        )

        assert launching.cancel(actor=alice, job_id=job.pk, now=NOW)

        job.refresh_from_db()
        assert (job.state, job.cancel_requested_at) == (State.RUNNING, NOW)
