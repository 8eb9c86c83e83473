"""A start: what is written before it leaves, and what every answer to it makes of the job."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from jobs.lifecycle import State
from jobs.models import Job, JobEvent, NonceLease
from jobs.ocean.errors import Refused
from jobs.services import budget, starting
from jobs.services.budget import Purpose
from tests.builders import NOW
from tests.services.fakes import (
    Clock,
    FakeNode,
    make_report,
    nonce_of,
    not_there,
    refused,
)
from tests.services.steps import advance, sent


class TestStart:
    def test_brings_a_launched_job_to_running_in_one_step(
        self, job: Job, far: FakeNode, clock: Clock
    ) -> None:
        advance(job, clock)

        assert job.state == State.RUNNING
        assert job.node_job_id == far.jobs[0].long_id
        assert job.node_status == 10
        assert job.accepted_at == NOW
        moves = job.events.filter(kind=JobEvent.Kind.STATE).order_by("pk").values_list("before", "after")
        assert list(moves)[1:] == [("REQUESTED", "STARTING"), ("STARTING", "RUNNING")]

    def test_sends_what_was_launched_with_the_tag(self, job: Job, far: FakeNode, clock: Clock) -> None:
        advance(job, clock)

        (call,) = far.called("start")
        request = call.given["request"]
        assert request.tag == str(job.tag)
        assert request.environment_id == job.environment.env_id
        assert [(x.did, x.service_id) for x in request.datasets] == [
            (job.inputs.get().dataset.did, "compute-1")
        ]
        assert request.algorithm.did == job.algorithm.did
        assert request.algorithm.container.image == "python"
        assert request.algorithm.custom_data == {"column": "height"}
        assert (request.max_duration_s, request.queue_wait_s) == (120, 120)

    def test_does_not_ask_to_wait_when_no_wait_was_wanted(
        self, job: Job, far: FakeNode, clock: Clock
    ) -> None:
        Job.objects.filter(pk=job.pk).update(queue_wait_s=0)

        advance(job, clock)

        assert far.called("start")[0].given["request"].queue_wait_s is None

    def test_is_written_down_before_it_is_sent(self, job: Job, far: FakeNode, clock: Clock) -> None:
        seen: dict[str, Any] = {}

        def look(request: Any, proof: Any) -> Any:
            row = Job.objects.get(pk=job.pk)
            seen.update(
                state=row.state, sent_at=row.start_sent_at, attempts=row.start_attempts, events=sent(row)
            )
            seen["nonce"] = NonceLease.objects.get(address=job.wallet.address).last_nonce
            return far.accept(request)

        far.will("start", look)

        advance(job, clock)

        assert seen == {
            "state": State.STARTING,
            "sent_at": NOW,
            "attempts": 1,
            "events": 1,
            "nonce": nonce_of(far.called("start")[0]),
        }

    def test_is_not_repeated_by_a_second_run(self, job: Job, far: FakeNode, clock: Clock) -> None:
        advance(job, clock)
        advance(job, clock)

        assert len(far.called("start")) == 1
        assert job.state == State.RUNNING

    def test_ends_in_collecting_when_the_answer_says_that_it_is_over(
        self, job: Job, far: FakeNode, clock: Clock
    ) -> None:
        far.will(
            "start",
            lambda request, proof: make_report(
                long_id="e-0x1", tag=request.tag, status=11, finished_at=NOW.timestamp()
            ),
        )

        advance(job, clock)

        assert job.state == State.COLLECTING
        assert (job.outcome, job.reason) == ("failed", "image_pull")


class TestRefusedStart:
    @pytest.mark.parametrize(
        "code",
        [
            "too_many_resources",
            "signature",
            "token",
            "unknown_environment",
            "image",
            "metadata_too_large",
            "unknown_asset",
            "not_authorized",
            "bad_request",
        ],
    )
    def test_fails_the_job_with_the_node_s_reason(
        self, job: Job, far: FakeNode, clock: Clock, code: str
    ) -> None:
        far.will("start", refused(code))

        advance(job, clock)

        assert (job.state, job.reason) == (State.FAILED, code)
        assert job.message == f"The node said no: {code}."
        assert job.ended_at == NOW

    def test_fails_the_job_when_our_guard_refused(self, job: Job, far: FakeNode, clock: Clock) -> None:
        far.will("start", Refused("That address is private.", code="address"))

        advance(job, clock)

        assert (job.state, job.reason) == (State.FAILED, "address")

    def test_fails_the_job_as_busy_although_busy_may_pass(
        self, job: Job, far: FakeNode, clock: Clock
    ) -> None:
        far.will("start", refused("busy", retryable=True))

        advance(job, clock)

        assert (job.state, job.reason) == (State.FAILED, "busy")

    def test_is_tried_later_after_too_many_requests(self, job: Job, far: FakeNode, clock: Clock) -> None:
        far.will("start", refused("rate_limited", retryable=True, retry_after_s=40))

        advance(job, clock)
        assert job.state == State.STARTING
        assert job.start_sent_at is None
        assert job.next_check_at == NOW + timedelta(seconds=40)
        clock.tick(41)
        advance(job, clock)

        assert job.state == State.RUNNING
        assert far.called("jobs_of") == []

    def test_silences_everybody_after_too_many_requests(self, job: Job, far: FakeNode, clock: Clock) -> None:
        far.will("start", refused("rate_limited", retryable=True, retry_after_s=40))

        advance(job, clock)

        with pytest.raises(budget.OutOfBudget) as caught:
            budget.spend(node=job.node, purpose=Purpose.ACT, now=clock.tick(39))
        assert caught.value.available_at == NOW + timedelta(seconds=40.2)

    def test_that_never_arrived_is_sent_again_without_a_look(
        self, job: Job, far: FakeNode, clock: Clock
    ) -> None:
        far.will("start", *[not_there()] * 4)
        pauses = []
        for _ in range(4):
            advance(job, clock)
            assert (job.state, job.start_sent_at, job.start_attempts) == (State.STARTING, None, 0)
            assert job.next_check_at is not None
            pauses.append((job.next_check_at - clock()).total_seconds())
            clock.now = job.next_check_at

        advance(job, clock)

        assert pauses == [10, 20, 40, 80]
        assert job.state == State.RUNNING
        assert far.called("jobs_of") == []

    def test_needs_attention_when_the_node_is_away_for_hours(
        self, job: Job, far: FakeNode, clock: Clock
    ) -> None:
        far.will("start", not_there())
        Job.objects.filter(pk=job.pk).update(trouble_count=starting.UNANSWERED_MAX)

        advance(job, clock)

        assert (job.state, job.reason) == (State.NEEDS_ATTENTION, "start_unanswered")


class TestBudget:
    def test_leaves_the_job_untouched_until_it_fits(self, job: Job, far: FakeNode, clock: Clock) -> None:
        for _ in range(29):
            budget.spend(node=job.node, purpose=Purpose.ACT, now=NOW - timedelta(seconds=50))

        advance(job, clock)

        assert far.calls == []
        assert sent(job) == 0
        assert (job.state, job.start_sent_at, job.start_attempts) == (State.STARTING, None, 0)
        assert job.next_check_at == NOW + timedelta(seconds=10.1)

    def test_forgets_the_attempt_when_another_process_took_the_last_request(
        self, job: Job, far: FakeNode, clock: Clock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # Patched by name: between the look at the budget and the request, another process spends.
        monkeypatch.setattr(starting, "check", lambda **_: None)
        for _ in range(29):
            budget.spend(node=job.node, purpose=Purpose.ACT, now=NOW - timedelta(seconds=50))

        advance(job, clock)

        assert (job.start_sent_at, job.start_attempts) == (None, 0)


class TestNonce:
    def test_is_read_back_and_raised_when_it_was_refused(self, job: Job, far: FakeNode, clock: Clock) -> None:
        far.last_nonce = int((NOW + timedelta(days=1)).timestamp() * 1000)
        far.will("start", refused("nonce", retryable=True))

        advance(job, clock)

        first, second = (nonce_of(call) for call in far.called("start"))
        assert first < far.last_nonce < second
        assert job.state == State.RUNNING
        assert len(far.jobs) == 1

    def test_refused_twice_is_tried_again_later(self, job: Job, far: FakeNode, clock: Clock) -> None:
        far.will("start", refused("nonce", retryable=True), refused("nonce", retryable=True))

        advance(job, clock)

        assert (job.state, job.start_sent_at) == (State.STARTING, None)
        assert job.next_check_at == NOW + starting.RETRY_STEP
