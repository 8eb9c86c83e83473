"""A step with a job: who may take it, and what becomes of an error nobody foresaw."""

from __future__ import annotations

import uuid
from datetime import timedelta
from typing import Any

import pytest

from jobs import tasks
from jobs.lifecycle import State
from jobs.models import Job, NonceLease, Team
from jobs.services import gateway, running, starting
from tests import builders
from tests.builders import NOW
from tests.services.fakes import (
    Clock,
    FakeNode,
)
from tests.services.steps import advance


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

        monkeypatch.setattr(starting, "check", slow)

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

        assert until == [NOW + timedelta(seconds=40) + starting.LEASE]

    def test_is_given_back_after_an_error_nobody_foresaw(self, job: Job, far: FakeNode, clock: Clock) -> None:
        far.will("start", ZeroDivisionError())

        with pytest.raises(ZeroDivisionError):
            running.advance(job_id=job.pk, clock=clock)

        job.refresh_from_db()
        assert job.lease_holder == ""

    def test_of_a_job_that_is_gone_is_nobody_s(self, db: None, clock: Clock) -> None:
        running.advance(job_id=uuid.UUID(int=5), clock=clock)


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
