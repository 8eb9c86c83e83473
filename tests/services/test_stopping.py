"""A person's wish to stop a job, before it was started and while it runs."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from jobs.access import Actor
from jobs.lifecycle import State
from jobs.models import Job, JobEvent, Team
from jobs.services import budget, launching, stopping
from jobs.services.budget import Purpose
from tests import builders
from tests.builders import NOW
from tests.services.fakes import (
    Clock,
    FakeNode,
    lost_answer,
    not_there,
    refused,
)
from tests.services.steps import advance


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

        assert len(far.called("stop")) == stopping.STOPS_MAX
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


class TestNeverEnded:
    """A node that lies, or is gone, must not keep a job for ever that nobody wants."""

    LONGEST = timedelta(seconds=120 + 120)  # what builders.make_job lets a job wait and run

    @pytest.fixture
    def unwanted(self, team: Team, far: FakeNode) -> Job:
        """A running job, accepted at NOW, that somebody asked to stop at once; its node says that it runs on."""
        values = {"accepted_at": NOW, "cancel_requested_at": NOW}
        job = builders.make_job(team=team, state=State.RUNNING, **values)
        far.set_job(job, stop_requested=True)
        return job

    def over(self, clock: Clock) -> None:
        """Let all the time pass that the node has."""
        clock.now = NOW + self.LONGEST + stopping.STOP_PATIENCE

    def test_puts_the_job_aside_for_a_person(self, unwanted: Job, far: FakeNode, clock: Clock) -> None:
        self.over(clock)

        advance(unwanted, clock)

        assert (unwanted.state, unwanted.reason) == (State.NEEDS_ATTENTION, "never_ended")
        assert "although a stop was asked for" in unwanted.message
        assert far.called("stop") == []

    def test_is_not_said_before(self, unwanted: Job, clock: Clock) -> None:
        self.over(clock)
        clock.tick(-1)

        advance(unwanted, clock)

        assert unwanted.state == State.RUNNING

    def test_is_said_of_a_node_that_is_away_too(self, unwanted: Job, far: FakeNode, clock: Clock) -> None:
        Job.objects.filter(pk=unwanted.pk).update(report=None)
        far.will("stop", not_there())
        advance(unwanted, clock)
        assert unwanted.trouble.startswith("Stopping failed: ")
        self.over(clock)

        advance(unwanted, clock)

        assert unwanted.reason == "never_ended"

    def test_gives_the_node_time_after_a_late_wish(self, unwanted: Job, clock: Clock) -> None:
        Job.objects.filter(pk=unwanted.pk).update(cancel_requested_at=NOW + timedelta(hours=3))
        clock.now = NOW + timedelta(hours=3, minutes=9)
        advance(unwanted, clock)
        assert unwanted.state == State.RUNNING

        clock.now = NOW + timedelta(hours=3, minutes=10)
        advance(unwanted, clock)

        assert unwanted.state == State.NEEDS_ATTENTION

    def test_lets_a_person_end_the_job_here(self, unwanted: Job, bob: Actor, clock: Clock) -> None:
        Job.objects.filter(pk=unwanted.pk).update(launched_by_id=bob.user_id)
        self.over(clock)
        advance(unwanted, clock)

        assert launching.give_up(actor=bob, job_id=unwanted.pk, now=clock())

        unwanted.refresh_from_db()
        assert (unwanted.state, unwanted.reason) == (State.FAILED, "never_ended")

    def test_waits_anew_for_a_person_who_goes_on(self, unwanted: Job, alice: Actor, clock: Clock) -> None:
        self.over(clock)
        advance(unwanted, clock)
        launching.go_on(actor=alice, job_id=unwanted.pk, now=clock())
        clock.tick(stopping.STOP_PATIENCE.total_seconds() - 1)
        advance(unwanted, clock)
        assert unwanted.state == State.RUNNING

        clock.tick(1)
        advance(unwanted, clock)

        assert (unwanted.state, unwanted.reason) == (State.NEEDS_ATTENTION, "never_ended")
