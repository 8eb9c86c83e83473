"""A person's wish to stop a job, before it was started and while it runs."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from jobs.access import Actor
from jobs.lifecycle import State
from jobs.models import Job, JobEvent, Team
from jobs.services import budget, launching, running
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
        far.will("start_free", not_there())
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
