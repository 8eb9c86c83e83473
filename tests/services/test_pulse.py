"""The pulse finds what is due, and the worker's tasks do it."""

from __future__ import annotations

import uuid
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from jobs import queue, tasks
from jobs.lifecycle import State
from jobs.models import Job, JobEvent, Team
from jobs.ocean.compute import LogPiece
from jobs.services import running
from tests import builders
from tests.builders import NOW
from tests.services.fakes import (
    STRANGER,
    Clock,
    FakeNode,
    queued,
)


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
