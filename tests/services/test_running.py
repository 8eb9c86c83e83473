"""Each step with a job: what is written before a request leaves, and what every answer makes of the job."""

from __future__ import annotations

import uuid
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from jobs import queue, tasks
from jobs.access import Actor
from jobs.lifecycle import State
from jobs.models import Job, JobEvent, NonceLease, Team
from jobs.ocean.compute import LogPiece
from jobs.ocean.errors import BadAnswer, Refused
from jobs.services import budget, gateway, launching, running
from jobs.services.budget import Purpose
from tests import builders
from tests.builders import NOW
from tests.services.fakes import (
    STRANGER,
    Clock,
    FakeNode,
    lost_answer,
    make_report,
    nonce_of,
    not_there,
    queued,
    refused,
)


@pytest.fixture
def job(team: Team) -> Job:
    """A job that was launched a moment ago."""
    return builders.make_job(team=team, requested_at=NOW, next_check_at=NOW, parameters={"column": "height"})


def advance(job: Job, clock: Clock) -> Job:
    running.advance(job_id=job.pk, clock=clock)
    job.refresh_from_db()
    assert job.lease_holder == ""
    return job


def sent(job: Job) -> int:
    return job.events.filter(kind=JobEvent.Kind.STARTED).count()


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


class TestLostAnswer:
    @pytest.fixture
    def lost(self, job: Job, far: FakeNode, clock: Clock) -> Job:
        """A job whose start was sent, but not answered."""
        far.will("start", lost_answer())
        advance(job, clock)
        assert job.state == State.STARTING
        assert job.start_sent_at == NOW
        return job

    def test_says_why_it_waits(self, lost: Job) -> None:
        assert lost.trouble == "The node did not answer in time."
        assert lost.next_check_at == NOW + running.LOOK_AGAIN

    def test_counts_as_a_change_that_pages_show(self, lost: Job, far: FakeNode, clock: Clock) -> None:
        before = lost.version
        far.will("jobs_of", lost_answer())
        clock.tick(15)

        advance(lost, clock)

        assert lost.version == before + 1

    def test_shows_its_trouble_under_a_new_version(self, job: Job, far: FakeNode, clock: Clock) -> None:
        versions: list[int] = []

        def fail(request: Any, proof: Any) -> Any:
            versions.append(Job.objects.get(pk=job.pk).version)
            raise lost_answer()

        far.will("start", fail)

        advance(job, clock)

        assert job.version == versions[0] + 1

    def test_adopts_the_job_that_the_node_lists_with_our_tag(
        self, lost: Job, far: FakeNode, clock: Clock
    ) -> None:
        far.jobs = [
            make_report(long_id="0x60962e6d-0xother", tag=str(uuid.UUID(int=1))),
            make_report(long_id="0x60962e6d-0xours", tag=str(lost.tag), status=20),
        ]
        clock.tick(15)

        advance(lost, clock)

        assert lost.state == State.RUNNING
        assert lost.node_job_id == "0x60962e6d-0xours"
        assert lost.node_status == 20
        assert lost.trouble == ""
        assert len(far.called("start")) == 1

    def test_is_not_repeated_after_one_look_in_vain(self, lost: Job, far: FakeNode, clock: Clock) -> None:
        clock.tick(15)

        advance(lost, clock)

        assert len(far.called("start")) == 1
        assert lost.next_check_at == clock() + running.LOOK_AGAIN

    def test_is_repeated_after_two_looks_in_vain(self, lost: Job, far: FakeNode, clock: Clock) -> None:
        for _ in range(2):
            clock.tick(15)
            advance(lost, clock)

        assert len(far.called("start")) == 2
        assert len(far.called("jobs_of")) == 2
        assert lost.state == State.RUNNING
        assert lost.start_attempts == 2

    def test_of_a_stranger_with_our_tag_is_not_adopted(self, lost: Job, far: FakeNode, clock: Clock) -> None:
        far.jobs = [make_report(long_id="0x60962e6d-0xtheirs", tag=str(lost.tag), owner=STRANGER)]
        clock.tick(15)

        advance(lost, clock)

        assert lost.state == State.STARTING

    def test_needs_attention_after_three_starts(self, lost: Job, far: FakeNode, clock: Clock) -> None:
        far.will("start", lost_answer(), lost_answer(), lost_answer())

        for _ in range(12):
            clock.tick(15)
            advance(lost, clock)

        assert lost.state == State.NEEDS_ATTENTION
        assert lost.reason == "start_lost"
        assert lost.attention_from == State.STARTING
        assert len(far.called("start")) == 3

    def test_keeps_waiting_when_the_look_fails(self, lost: Job, far: FakeNode, clock: Clock) -> None:
        far.will("jobs_of", *[not_there()] * 4)

        for _ in range(4):
            clock.tick(15)
            advance(lost, clock)

        assert len(far.called("start")) == 1
        assert lost.start_sent_at == NOW
        assert lost.missing_count == 0
        assert lost.state == State.STARTING

    def test_silences_everybody_when_the_look_was_one_too_many(
        self, lost: Job, far: FakeNode, clock: Clock
    ) -> None:
        far.will("jobs_of", refused("rate_limited", retryable=True, retry_after_s=40))
        clock.tick(15)

        advance(lost, clock)

        with pytest.raises(budget.OutOfBudget):
            budget.spend(node=lost.node, purpose=Purpose.ACT, now=clock.tick(39))

    def test_keeps_waiting_when_part_of_the_list_cannot_be_read(
        self, lost: Job, far: FakeNode, clock: Clock
    ) -> None:
        far.skipped = 1

        for _ in range(3):
            clock.tick(15)
            advance(lost, clock)

        assert len(far.called("start")) == 1
        assert lost.missing_count == 0

    def test_is_believed_when_the_answer_could_not_be_read(
        self, job: Job, far: FakeNode, clock: Clock
    ) -> None:
        far.will("start", BadAnswer("What is this?", code="job", maybe_happened=True))

        advance(job, clock)

        assert (job.state, job.start_sent_at) == (State.STARTING, NOW)

    def test_is_cancelled_only_after_looking_twice(
        self, lost: Job, far: FakeNode, clock: Clock, alice: Actor
    ) -> None:
        launching.cancel(actor=alice, job_id=lost.pk, now=clock.tick(1))

        advance(lost, clock)
        assert lost.state == State.STARTING
        clock.tick(15)
        advance(lost, clock)

        assert lost.state == State.CANCELLED
        assert "never showed" in lost.message
        assert len(far.called("start")) == 1

    def test_is_stopped_when_it_is_found_after_a_wish_to_cancel(
        self, lost: Job, far: FakeNode, clock: Clock, alice: Actor
    ) -> None:
        far.jobs = [make_report(long_id="0x60962e6d-0xours", tag=str(lost.tag))]
        launching.cancel(actor=alice, job_id=lost.pk, now=clock.tick(1))

        advance(lost, clock)
        advance(lost, clock)

        assert lost.state == State.RUNNING
        assert [call.given["job_id"] for call in far.called("stop")] == ["0x60962e6d-0xours"]

    def test_is_still_looked_for_when_the_repeat_certainly_failed(
        self, lost: Job, far: FakeNode, clock: Clock
    ) -> None:
        far.will("start", not_there())
        for _ in range(2):
            clock.tick(15)
            advance(lost, clock)

        assert lost.start_sent_at == NOW
        assert lost.start_attempts == 1


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
        Job.objects.filter(pk=job.pk).update(trouble_count=running.UNANSWERED_MAX)

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
        monkeypatch.setattr(running, "check", lambda **_: None)
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
        assert job.next_check_at == NOW + running.RETRY_STEP


class TestLease:
    def test_of_another_holder_keeps_this_one_away(self, job: Job, far: FakeNode, clock: Clock) -> None:
        Job.objects.filter(pk=job.pk).update(lease_holder="other", lease_until=NOW + timedelta(seconds=1))

        running.advance(job_id=job.pk, clock=clock)

        job.refresh_from_db()
        assert (job.state, job.lease_holder) == (State.REQUESTED, "other")
        assert far.calls == []

    def test_that_ran_out_is_taken_over(self, job: Job, far: FakeNode, clock: Clock) -> None:
        Job.objects.filter(pk=job.pk).update(lease_holder="dead", lease_until=NOW)

        advance(job, clock)

        assert job.state == State.RUNNING

    def test_lost_before_the_request_means_that_nothing_is_sent(
        self, job: Job, far: FakeNode, clock: Clock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def slow(**given: Any) -> None:
            # Patched by name, as the last thing before the row is written: waiting for the turn took too long.
            Job.objects.filter(pk=job.pk).update(lease_holder="other")

        monkeypatch.setattr(running, "check", slow)

        running.advance(job_id=job.pk, clock=clock)

        job.refresh_from_db()
        assert far.called("start") == []
        assert job.start_sent_at is None
        assert job.lease_holder == "other"

    def test_that_ran_out_before_the_request_means_that_nothing_is_sent(
        self, job: Job, far: FakeNode, clock: Clock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # The turn is somebody else's for 91 s; patched by name, so that waiting moves the test's clock.
        NonceLease.objects.create(
            node=job.node,
            address=job.wallet.address,
            holder="other",
            leased_until=NOW + timedelta(seconds=91),
        )
        monkeypatch.setattr(gateway.time, "sleep", lambda _: clock.tick(10))

        advance(job, clock)

        assert far.called("start") == []
        assert job.start_sent_at is None

    def test_is_renewed_when_the_request_leaves(
        self, job: Job, far: FakeNode, clock: Clock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        until = []

        def look(request: Any, proof: Any) -> Any:
            until.append(Job.objects.get(pk=job.pk).lease_until)
            return far.accept(request)

        far.will("start", look)
        # The turn is somebody else's for 40 s; patched by name, so that waiting moves the test's clock.
        NonceLease.objects.create(
            node=job.node,
            address=job.wallet.address,
            holder="other",
            leased_until=NOW + timedelta(seconds=40),
        )
        monkeypatch.setattr(gateway.time, "sleep", lambda _: clock.tick(10))

        advance(job, clock)

        assert until == [NOW + timedelta(seconds=40) + running.LEASE]

    def test_is_given_back_after_an_error_nobody_foresaw(self, job: Job, far: FakeNode, clock: Clock) -> None:
        far.will("start", ZeroDivisionError())

        with pytest.raises(ZeroDivisionError):
            running.advance(job_id=job.pk, clock=clock)

        job.refresh_from_db()
        assert job.lease_holder == ""

    def test_of_a_job_that_is_gone_is_nobody_s(self, db: None, clock: Clock) -> None:
        running.advance(job_id=uuid.UUID(int=5), clock=clock)


class TestCancelBeforeStart:
    def test_ends_the_job_without_a_request(
        self, job: Job, far: FakeNode, clock: Clock, alice: Actor
    ) -> None:
        launching.cancel(actor=alice, job_id=job.pk, now=NOW)

        advance(job, clock)

        assert (job.state, job.reason, job.ended_at) == (State.CANCELLED, "stopped", NOW)
        assert far.calls == []
        assert not job.events.filter(after=State.STARTING).exists()

    def test_ends_a_job_whose_start_did_not_leave_yet(
        self, job: Job, far: FakeNode, clock: Clock, alice: Actor
    ) -> None:
        far.will("start", not_there())
        advance(job, clock)
        launching.cancel(actor=alice, job_id=job.pk, now=NOW)

        advance(job, clock)

        assert job.state == State.CANCELLED
        assert len(far.calls) == 1

    def test_ends_a_job_that_needs_attention_before_it_was_sent(
        self, team: Team, far: FakeNode, clock: Clock, alice: Actor
    ) -> None:
        job = builders.make_job(team=team, state=State.NEEDS_ATTENTION, attention_from=State.REQUESTED)
        launching.cancel(actor=alice, job_id=job.pk, now=NOW)

        advance(job, clock)

        assert job.state == State.CANCELLED


class TestStop:
    @pytest.fixture
    def unwanted(self, team: Team) -> Job:
        """A running job that somebody asked to stop."""
        return builders.make_job(team=team, state=State.RUNNING, cancel_requested_at=NOW)

    def test_is_sent_once(self, unwanted: Job, far: FakeNode, clock: Clock) -> None:
        advance(unwanted, clock)
        clock.tick(19)
        advance(unwanted, clock)

        (call,) = far.called("stop")
        assert call.given["job_id"] == unwanted.node_job_id
        assert unwanted.stop_sent_at == NOW
        assert unwanted.events.filter(kind=JobEvent.Kind.STOP_SENT).count() == 1

    def test_has_the_job_looked_at_at_once(self, unwanted: Job, far: FakeNode, clock: Clock) -> None:
        advance(unwanted, clock)

        assert unwanted.next_check_at == NOW

    def test_is_sent_again_after_20_s_when_no_report_shows_it(
        self, unwanted: Job, far: FakeNode, clock: Clock
    ) -> None:
        advance(unwanted, clock)
        clock.tick(20)
        advance(unwanted, clock)

        assert len(far.called("stop")) == 2
        assert unwanted.stop_attempts == 2

    def test_is_not_sent_again_once_the_report_shows_it(
        self, unwanted: Job, far: FakeNode, clock: Clock
    ) -> None:
        advance(unwanted, clock)
        Job.objects.filter(pk=unwanted.pk).update(report={"stop_requested": True})
        clock.tick(60)
        advance(unwanted, clock)

        assert len(far.called("stop")) == 1

    def test_ends_after_five_refusals(self, unwanted: Job, far: FakeNode, clock: Clock) -> None:
        far.will("stop", *[refused("server_error", retryable=True, maybe_happened=True)] * 9)
        for _ in range(9):
            advance(unwanted, clock)
            clock.tick(30)

        assert len(far.called("stop")) == running.STOPS_MAX
        assert unwanted.state == State.RUNNING
        assert unwanted.trouble.startswith("Stopping failed: ")

    @pytest.mark.parametrize("silence", [not_there, lost_answer])
    def test_outlives_a_node_that_is_away(
        self, unwanted: Job, far: FakeNode, clock: Clock, silence: Any
    ) -> None:
        far.will("stop", *[silence()] * 9)
        for _ in range(10):
            advance(unwanted, clock)
            clock.tick(30)

        assert len(far.called("stop")) == 10
        assert unwanted.stop_attempts == 1

    def test_waits_for_the_budget_without_counting_as_sent(
        self, unwanted: Job, far: FakeNode, clock: Clock
    ) -> None:
        for _ in range(29):
            budget.spend(node=unwanted.node, purpose=Purpose.ACT, now=NOW)

        advance(unwanted, clock)

        assert (unwanted.stop_sent_at, unwanted.stop_attempts) == (None, 0)
        assert unwanted.next_check_at == NOW + timedelta(seconds=60.1)


class TestCrash:
    def test_puts_the_job_aside_for_a_person(
        self, job: Job, far: FakeNode, caplog: pytest.LogCaptureFixture
    ) -> None:
        far.will("start", ZeroDivisionError("1/0 of the secret"))

        tasks.advance(str(job.pk), group="from a later release")

        job.refresh_from_db()
        assert (job.state, job.reason) == (State.NEEDS_ATTENTION, "internal_error")
        assert job.attention_from == State.STARTING
        assert "ZeroDivisionError" in job.message
        assert "secret" not in job.message
        assert len(caplog.records) == 1

    def test_leaves_an_ended_job_alone(self, team: Team) -> None:
        job = builders.make_job(team=team, state=State.SUCCEEDED)

        running.report_crash(job_id=job.pk, error=ValueError(), now=NOW)

        job.refresh_from_db()
        assert job.state == State.SUCCEEDED


class TestPulse:
    def beat(self, clock: Clock, holder: str = "me") -> bool:
        return running.pulse(clock=clock, holder=holder)

    def test_enqueues_each_due_job_once_though_two_beat(self, job: Job, clock: Clock) -> None:
        assert self.beat(clock)
        clock.tick(1)
        assert self.beat(clock)

        assert queued() == [("advance", (str(job.pk),))]

    def test_leaves_a_job_to_another_process_that_claimed_it_in_between(
        self, team: Team, clock: Clock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        jobs = [builders.make_job(team=team, next_check_at=NOW - timedelta(seconds=9 - i)) for i in range(2)]
        enqueued = []

        def enqueue(task: str, job_id: uuid.UUID) -> None:
            enqueued.append(job_id)
            Job.objects.filter(pk=jobs[1].pk).update(next_check_at=NOW + running.CLAIM)

        # Patched by name: the other process comes between the query and the second claim.
        monkeypatch.setattr(queue, "enqueue", enqueue)

        self.beat(clock)

        assert enqueued == [jobs[0].pk]

    def test_makes_a_claimed_job_due_again_if_its_task_got_lost(self, job: Job, clock: Clock) -> None:
        self.beat(clock)
        clock.tick(running.CLAIM.total_seconds())
        self.beat(clock)

        assert len(queued()) == 2

    def test_asks_once_per_node_and_wallet_for_all_running_jobs(self, team: Team, clock: Clock) -> None:
        first = builders.make_job(team=team, state=State.RUNNING, next_check_at=NOW)
        builders.make_job(team=team, state=State.RUNNING, next_check_at=NOW - timedelta(seconds=5))
        other = builders.make_wallet(team=team, label="other", address=str(STRANGER))
        builders.make_job(team=team, state=State.RUNNING, next_check_at=NOW, wallet=other)

        self.beat(clock)

        assert queued() == [
            ("refresh", (first.node_id, first.wallet_id)),
            ("refresh", (first.node_id, other.pk)),
        ]

    def test_advances_a_running_job_that_somebody_wants_stopped(self, team: Team, clock: Clock) -> None:
        job = builders.make_job(team=team, state=State.RUNNING, next_check_at=NOW, cancel_requested_at=NOW)

        self.beat(clock)

        assert set(queued()) == {("advance", (str(job.pk),)), ("refresh", (job.node_id, job.wallet_id))}

    def test_collects_what_has_ended(self, team: Team, clock: Clock) -> None:
        job = builders.make_job(team=team, state=State.COLLECTING, next_check_at=NOW)

        self.beat(clock)

        assert queued() == [("collect", (str(job.pk),))]

    @pytest.mark.parametrize(
        ("state", "values"),
        [
            (State.SUCCEEDED, {"next_check_at": NOW}),
            (State.NEEDS_ATTENTION, {"next_check_at": NOW}),
            (State.RUNNING, {"next_check_at": NOW + timedelta(seconds=1)}),
            (State.RUNNING, {"next_check_at": NOW, "lease_until": NOW + timedelta(seconds=1)}),
            (State.RUNNING, {"next_check_at": None}),
        ],
    )
    def test_leaves_alone_what_is_not_due(
        self, team: Team, clock: Clock, state: State, values: dict[str, Any]
    ) -> None:
        builders.make_job(team=team, state=state, **values)

        self.beat(clock)

        assert queued() == []

    def test_retries_the_missing_results_of_an_ended_job_once(self, team: Team, clock: Clock) -> None:
        job = builders.make_job(team=team, state=State.SUCCEEDED)
        for _ in range(2):
            builders.make_result(job=job, data=None, next_try_at=NOW)

        self.beat(clock)
        clock.tick(1)
        self.beat(clock)

        assert queued() == [("collect", (str(job.pk),))]

    def test_leaves_the_results_of_a_collecting_job_to_the_job(self, team: Team, clock: Clock) -> None:
        job = builders.make_job(team=team, state=State.COLLECTING, next_check_at=NOW + timedelta(seconds=5))
        builders.make_result(job=job, data=None, next_try_at=NOW)

        self.beat(clock)

        assert queued() == []

    def test_looks_at_nodes_when_their_time_has_come(self, db: None, clock: Clock) -> None:
        due = builders.make_node(next_look_at=NOW)
        builders.make_node(
            name="Later", base_url="http://127.0.0.1:8002", next_look_at=clock.now + timedelta(1)
        )

        self.beat(clock)
        self.beat(clock)

        assert queued() == [("look_at_node", (due.pk,))]

    def test_has_one_holder(self, db: None, clock: Clock) -> None:
        assert self.beat(clock, "first")
        assert not self.beat(clock, "second")

        clock.tick(running.PULSE_LEASE.total_seconds())
        assert self.beat(clock, "second")
        assert not self.beat(clock, "first")

    def test_shows_when_it_last_beat(self, db: None, clock: Clock) -> None:
        self.beat(clock)
        clock.tick(7)
        self.beat(clock)

        assert running.Pulse.objects.get().beat_at == NOW + timedelta(seconds=7)

    def test_hands_over_to_the_next(self, db: None, clock: Clock) -> None:
        self.beat(clock, "first")

        running.hand_over_pulse(holder="first")

        assert queued() == [("pulse", ())]
        assert self.beat(clock, "second")

    def test_is_not_handed_over_by_who_lost_it(self, db: None, clock: Clock) -> None:
        self.beat(clock, "first")

        running.hand_over_pulse(holder="second")

        assert queued() == []

    def test_is_let_go_when_the_worker_stops(
        self, job: Job, clock: Clock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.beat(clock, "first")
        clock.tick(60)
        # Patched by name: the flag is shared memory of the worker's processes.
        monkeypatch.setattr(queue, "is_stopping", lambda: True)

        assert not self.beat(clock, "first")

        assert len(queued()) == 1
        assert running.Pulse.objects.get().holder == ""


class TestTasks:
    def test_have_names_that_resolve_to_functions_that_take_what_later_releases_add(self) -> None:
        for name in queue.Task:
            module, _, function = name.rpartition(".")
            assert module == "jobs.tasks"
            code = getattr(tasks, function).__code__
            assert code.co_flags & 0x08, f"{name} takes no **kwargs"

    def test_of_the_pulse_beats_and_hands_over(self, db: None, monkeypatch: pytest.MonkeyPatch) -> None:
        # Patched by name: the task reads the real clock for 50 s.
        monkeypatch.setattr(tasks, "PULSE_FOR_S", 0.03)
        monkeypatch.setattr(tasks, "BEAT_S", 0.01)

        tasks.pulse(unknown=1)

        assert [name for name, _ in queued()] == ["pulse"]
        assert running.Pulse.objects.get().beat_at is not None

    def test_of_the_pulse_ends_at_once_when_another_beats(self, db: None) -> None:
        running.pulse(clock=timezone.now, holder="other")

        tasks.pulse()

        assert queued() == []

    def test_advance_is_safe_to_run_twice(self, job: Job, far: FakeNode) -> None:
        for _ in range(2):
            tasks.advance(str(job.pk))

        assert len(far.jobs) == 1

    def test_refresh_is_safe_to_run_twice(self, team: Team, far: FakeNode) -> None:
        job = builders.make_job(team=team, state=State.RUNNING)
        far.set_job(job, status=60)
        for _ in range(2):
            tasks.refresh(job.node_id, job.wallet_id, later="argument")

        assert job.events.filter(kind=JobEvent.Kind.NODE_STATUS).count() == 1

    def test_collect_is_safe_to_run_twice(self, team: Team, far: FakeNode) -> None:
        job = builders.make_job(team=team, state=State.COLLECTING, outcome="succeeded")
        for _ in range(2):
            tasks.collect(str(job.pk))

        job.refresh_from_db()
        assert job.state == State.SUCCEEDED
        assert job.events.filter(after=State.SUCCEEDED).count() == 1

    def test_follow_is_safe_to_run_twice(self, team: Team, far: FakeNode) -> None:
        job = builders.make_job(
            team=team, state=State.RUNNING, watched_until=timezone.now() + timedelta(minutes=1)
        )
        far.log = [LogPiece(1, b"started\n")]
        for _ in range(2):
            tasks.follow(str(job.pk))

        assert job.log_chunks.count() == 1

    def test_look_at_node_is_safe_to_run_twice(self, db: None, far: FakeNode) -> None:
        node = builders.make_node()
        for _ in range(2):
            tasks.look_at_node(node.pk)

        assert node.environments.count() == 1
