"""One request for all jobs of a wallet, and what each answer makes of each job."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from jobs.lifecycle import State
from jobs.models import Job, JobEvent, Team
from jobs.ocean.errors import BadAnswer
from jobs.services import budget, refreshing
from jobs.services.budget import Purpose
from tests import builders
from tests.builders import NOW
from tests.services.fakes import (
    STRANGER,
    Clock,
    FakeNode,
    FarSides,
    ended,
    entry,
    lost_answer,
    make_report,
    not_there,
    queued,
    refused,
)


@pytest.fixture
def job(team: Team) -> Job:
    """A running job whose algorithm runs."""
    return builders.make_job(team=team, state=State.RUNNING, next_check_at=NOW)


def refresh(job: Job, clock: Clock) -> Job:
    refreshing.refresh(node_id=job.node_id, wallet_id=job.wallet_id, clock=clock)
    job.refresh_from_db()
    return job


def statuses(job: Job) -> list[int]:
    events = job.events.filter(kind=JobEvent.Kind.NODE_STATUS).order_by("pk")
    return [event.data["status"] for event in events]


class TestRefresh:
    def test_asks_once_for_all_jobs_of_a_wallet(self, team: Team, far: FakeNode, clock: Clock) -> None:
        jobs = [builders.make_job(team=team, state=State.RUNNING) for _ in range(3)]
        for i, job in enumerate(jobs):
            far.set_job(job, status=(20, 30, 60)[i])

        refresh(jobs[0], clock)

        assert len(far.calls) == 1
        assert [Job.objects.get(pk=job.pk).node_status for job in jobs] == [20, 30, 60]

    def test_asks_nothing_when_no_job_runs(self, team: Team, far: FakeNode, clock: Clock) -> None:
        job = builders.make_job(team=team, state=State.SUCCEEDED)

        refresh(job, clock)

        assert far.calls == []

    def test_tells_a_new_status_once(self, job: Job, far: FakeNode, clock: Clock) -> None:
        far.set_job(job, status=60, status_text="Publishing results ")
        before = job.version
        refresh(job, clock)
        clock.tick(3)
        refresh(job, clock)

        assert statuses(job) == [60]
        assert job.version == before + 1
        assert job.node_status_at == NOW
        assert job.report_at == clock()
        assert job.events.get(kind=JobEvent.Kind.NODE_STATUS).message == "Publishing results"

    def test_finds_a_job_whose_long_id_the_answer_cut_short(
        self, job: Job, far: FakeNode, clock: Clock
    ) -> None:
        short = job.node_job_id.partition("-")[2]
        far.jobs = [make_report(long_id=short, job_id=short, status=60)]

        refresh(job, clock)

        assert job.node_status == 60

    def test_leaves_out_what_the_node_says_of_others(self, job: Job, far: FakeNode, clock: Clock) -> None:
        far.set_job(job, status=60, owner=STRANGER)

        refresh(job, clock)

        assert job.node_status == 40
        assert job.missing_count == 1

    def test_notes_that_the_node_answered(self, job: Job, far: FakeNode, clock: Clock) -> None:
        far.set_job(job)
        clock.tick(5)

        refresh(job, clock)

        job.node.refresh_from_db()
        assert job.node.answered_at == clock()

    def test_does_not_let_an_older_answer_replace_a_newer_one(
        self, job: Job, far: FakeNode, clock: Clock
    ) -> None:
        older = far.set_job(job, status=40)
        newer = far.set_job(job, status=60)
        refreshing.apply_report(job=job, report=newer, asked_at=NOW + timedelta(seconds=3))
        job.refresh_from_db()

        refreshing.apply_report(job=job, report=older, asked_at=NOW)

        job.refresh_from_db()
        assert (job.node_status, statuses(job)) == (60, [60])

    def test_does_not_let_an_older_answer_end_a_job(self, job: Job, far: FakeNode) -> None:
        older = far.set_job(job, **ended())
        newer = far.set_job(job, status=60)
        refreshing.apply_report(job=job, report=newer, asked_at=NOW + timedelta(seconds=3))

        refreshing.apply_report(job=job, report=older, asked_at=NOW)

        job.refresh_from_db()
        assert job.state == State.RUNNING

    def test_writes_nothing_about_a_job_that_ended_meanwhile(self, team: Team, far: FakeNode) -> None:
        job = builders.make_job(team=team, state=State.FAILED)
        report = far.set_job(job, status=60)

        refreshing.apply_report(job=job, report=report, asked_at=NOW)

        job.refresh_from_db()
        assert job.node_status == 70
        assert statuses(job) == []

    def test_tells_a_status_once_though_two_processes_read_the_row_before(
        self, job: Job, far: FakeNode
    ) -> None:
        report = far.set_job(job, status=60)
        mine, theirs = Job.objects.get(pk=job.pk), Job.objects.get(pk=job.pk)
        refreshing.apply_report(job=mine, report=report, asked_at=NOW)

        refreshing.apply_report(job=theirs, report=report, asked_at=NOW + timedelta(seconds=1))

        assert statuses(job) == [60]

    @pytest.mark.parametrize(("status", "seconds"), [(1, 3), (60, 1)])
    def test_asks_again_sooner_when_results_are_being_stored(
        self, job: Job, far: FakeNode, clock: Clock, status: int, seconds: int
    ) -> None:
        Job.objects.filter(pk=job.pk).update(watched_until=NOW + timedelta(seconds=20))
        far.will("jobs_of", [make_report(long_id=job.node_job_id, status=status)])

        refresh(job, clock)

        job.refresh_from_db()
        assert job.next_check_at == NOW + timedelta(seconds=seconds)

    def test_has_a_watched_running_job_followed(self, job: Job, far: FakeNode, clock: Clock) -> None:
        refreshing.watch(job_id=job.pk, now=NOW)
        far.set_job(job)

        refresh(job, clock)

        assert queued() == [("follow", (str(job.pk),))]

    @pytest.mark.parametrize(("status", "watched"), [(40, False), (60, True)])
    def test_does_not_follow_what_nobody_watches_or_does_not_run(
        self, job: Job, far: FakeNode, clock: Clock, status: int, watched: bool
    ) -> None:
        if watched:
            refreshing.watch(job_id=job.pk, now=NOW)
        far.set_job(job, status=status)

        refresh(job, clock)

        assert queued() == []


class TestPace:
    def test_is_30_s_for_what_nobody_watches(self, job: Job, far: FakeNode, clock: Clock) -> None:
        far.set_job(job)

        refresh(job, clock)

        assert job.next_check_at == NOW + timedelta(seconds=30)

    def test_is_3_s_for_what_somebody_watches_and_takes_long(
        self, job: Job, far: FakeNode, clock: Clock
    ) -> None:
        refreshing.watch(job_id=job.pk, now=NOW)
        Job.objects.filter(pk=job.pk).update(node_status_at=NOW - timedelta(minutes=1))
        far.set_job(job)

        refresh(job, clock)

        assert job.next_check_at == NOW + timedelta(seconds=3)

    def test_is_the_node_s_own_for_what_has_just_begun(self, job: Job, far: FakeNode, clock: Clock) -> None:
        refreshing.watch(job_id=job.pk, now=NOW)
        Job.objects.filter(pk=job.pk).update(accepted_at=NOW)
        far.set_job(job, status=20)

        refresh(job, clock)

        assert job.next_check_at == NOW + timedelta(seconds=4.8)

    @pytest.mark.parametrize(
        ("values", "seconds"),
        [
            ({}, 30),
            ({"follow_until": NOW}, 3),  # its follower died
            ({"follow_holder": ""}, 3),  # it rests
            ({"cancel_requested_at": NOW}, 3),  # a person waits for the end
        ],
    )
    def test_is_30_s_while_the_log_flows(
        self, job: Job, far: FakeNode, clock: Clock, values: dict[str, Any], seconds: int
    ) -> None:
        followed = {"follow_holder": "other", "follow_until": NOW + timedelta(seconds=40)}
        Job.objects.filter(pk=job.pk).update(
            node_status_at=NOW - timedelta(minutes=1),
            watched_until=NOW + timedelta(seconds=20),
            **(followed | values),
        )
        far.set_job(job)

        refresh(job, clock)

        assert job.next_check_at == NOW + timedelta(seconds=seconds)

    def test_heeds_somebody_who_came_while_the_node_was_asked(self, job: Job, far: FakeNode) -> None:
        stale = Job.objects.get(pk=job.pk)
        report = far.set_job(job, status=60)
        refreshing.watch(job_id=job.pk, now=NOW)

        refreshing.apply_report(job=stale, report=report, asked_at=NOW)

        job.refresh_from_db()
        assert job.next_check_at == NOW + timedelta(seconds=1)

    def test_slows_down_as_long_as_the_node_is_silent(self, job: Job, far: FakeNode, clock: Clock) -> None:
        far.will("jobs_of", *[not_there()] * 6)
        pauses = []
        for _ in range(6):
            refresh(job, clock)
            assert job.next_check_at is not None
            pauses.append((job.next_check_at - clock()).total_seconds())
            clock.now = job.next_check_at

        assert pauses == [30, 60, 120, 240, 300, 300]
        assert job.trouble == "Nobody answers at the node's address."

    def test_stays_at_30_s_in_trouble_while_somebody_watches(
        self, job: Job, far: FakeNode, clock: Clock
    ) -> None:
        Job.objects.filter(pk=job.pk).update(trouble_count=5, watched_until=NOW + timedelta(seconds=20))
        far.will("jobs_of", not_there())

        refresh(job, clock)

        assert job.next_check_at == NOW + timedelta(seconds=30)

    def test_counts_the_pause_from_the_end_of_a_slow_failure(
        self, job: Job, far: FakeNode, clock: Clock
    ) -> None:
        def time_out(owner: Any) -> Any:
            clock.tick(25)
            raise lost_answer()

        far.will("jobs_of", time_out)

        refresh(job, clock)

        assert job.next_check_at == NOW + timedelta(seconds=55)

    def test_is_the_budget_s_when_that_is_used_up(self, job: Job, far: FakeNode, clock: Clock) -> None:
        for _ in range(14):
            budget.spend(node=job.node, purpose=Purpose.ACT, now=NOW)

        refresh(job, clock)

        assert far.calls == []
        assert job.next_check_at == NOW + timedelta(seconds=60.1)
        assert job.trouble == ""

    def test_may_use_more_of_the_budget_while_somebody_watches(
        self, job: Job, far: FakeNode, clock: Clock
    ) -> None:
        far.set_job(job)
        refreshing.watch(job_id=job.pk, now=NOW)
        for _ in range(18):
            budget.spend(node=job.node, purpose=Purpose.ACT, now=NOW)

        refresh(job, clock)
        refresh(job, clock)

        assert len(far.calls) == 1


class TestTrouble:
    @pytest.mark.parametrize(
        "error", [not_there(), lost_answer(), refused("server_error"), BadAnswer("No list.", code="jobs")]
    )
    def test_is_told_and_gone_with_the_next_answer(
        self, job: Job, far: FakeNode, clock: Clock, error: Any
    ) -> None:
        far.will("jobs_of", error)
        far.set_job(job)
        before = job.version

        refresh(job, clock)
        assert (job.state, job.trouble, job.version) == (State.RUNNING, error.message, before + 1)
        clock.tick(30)
        refresh(job, clock)

        assert (job.trouble, job.trouble_count, job.version) == ("", 0, before + 2)

    def test_of_one_node_does_not_touch_the_jobs_of_another(
        self, job: Job, far_sides: FarSides, clock: Clock
    ) -> None:
        away = builders.make_node(name="Away", base_url="http://127.0.0.1:8002")
        lost = builders.make_job(team=job.team, node=away, state=State.RUNNING)
        far_sides.at("http://127.0.0.1:8002").will("jobs_of", not_there())
        far_sides.at("http://127.0.0.1:8001").set_job(job, status=60)

        refresh(lost, clock)
        refresh(job, clock)

        assert lost.trouble != ""
        assert (job.trouble, job.node_status) == ("", 60)

    def test_after_too_many_requests_silences_everybody(self, job: Job, far: FakeNode, clock: Clock) -> None:
        far.will("jobs_of", refused("rate_limited", retryable=True, retry_after_s=20))

        refresh(job, clock)
        clock.tick(19)
        refresh(job, clock)

        assert len(far.calls) == 1


class TestMissing:
    def test_is_told_but_not_believed_at_once(self, job: Job, far: FakeNode, clock: Clock) -> None:
        for _ in range(2):
            refresh(job, clock)
            clock.tick(3)

        assert (job.state, job.missing_count) == (State.RUNNING, 2)
        assert "did not contain this job" in job.trouble

    def test_is_believed_the_third_time(self, job: Job, far: FakeNode, clock: Clock) -> None:
        for _ in range(3):
            refresh(job, clock)
            clock.tick(3)

        assert (job.state, job.reason) == (State.NEEDS_ATTENTION, "node_forgot")
        assert job.attention_from == State.RUNNING

    def test_is_forgotten_when_the_job_is_there_again(self, job: Job, far: FakeNode, clock: Clock) -> None:
        refresh(job, clock)
        clock.tick(3)
        far.set_job(job)

        refresh(job, clock)

        assert (job.missing_count, job.trouble) == (0, "")

    def test_is_not_concluded_from_a_list_that_could_not_be_read_in_full(
        self, job: Job, far: FakeNode, clock: Clock
    ) -> None:
        far.skipped = 1

        refresh(job, clock)

        assert job.missing_count == 0

    def test_is_not_concluded_for_a_job_that_is_younger_than_the_question(
        self, job: Job, far: FakeNode, clock: Clock
    ) -> None:
        Job.objects.filter(pk=job.pk).update(accepted_at=NOW + timedelta(seconds=1))

        refresh(job, clock)

        assert job.missing_count == 0


class TestEnd:
    def end(self, job: Job, far: FakeNode, clock: Clock, **values: Any) -> Job:
        far.set_job(job, **ended(**values))
        return refresh(job, clock)

    @pytest.mark.parametrize(
        ("values", "outcome", "reason"),
        [
            ({}, "succeeded", ""),
            ({"status": 70}, "succeeded", ""),
            ({"exit_code": 1}, "failed", "exit_code"),
            ({"exit_code": 137, "oom_killed": True}, "failed", "oom"),
            (
                {
                    "exit_code": 137,
                    "algo_started_at": NOW.timestamp() - 190,
                    "algo_stopped_at": NOW.timestamp() - 70,
                },
                "failed",
                "time_limit",
            ),
            ({"exit_code": 137, "stop_requested": True}, "cancelled", "stopped"),
            ({"status": 2, "exit_code": None}, "failed", "queue_expired"),
            ({"status": 31, "exit_code": None}, "failed", "data_provisioning"),
            ({"exit_code": None, "oom_killed": None}, "succeeded", "exit_unknown"),
        ],
    )
    def test_is_judged_before_anything_is_collected(
        self,
        job: Job,
        far: FakeNode,
        clock: Clock,
        values: dict[str, Any],
        outcome: str,
        reason: str,
    ) -> None:
        self.end(job, far, clock, **values)

        assert (job.state, job.outcome, job.reason) == (State.COLLECTING, outcome, reason)
        assert job.message
        assert queued() == [("collect", (str(job.pk),))]

    def test_without_a_word_about_the_exit_says_so(self, job: Job, far: FakeNode, clock: Clock) -> None:
        self.end(job, far, clock, exit_code=None)

        assert "does not say how" in job.message

    def test_keeps_what_the_node_said(self, job: Job, far: FakeNode, clock: Clock) -> None:
        self.end(job, far, clock, results=[entry(0, "outputs.tar", size=10)])

        assert job.exit_code == 0
        assert job.finished_at == NOW - timedelta(seconds=60)
        assert job.algorithm_started_at == NOW - timedelta(seconds=90)
        assert job.node_expires_at == NOW - timedelta(seconds=60) + timedelta(days=7)
        assert job.report is not None
        assert job.report["results"][0]["name"] == "outputs.tar"
        assert "metadata" not in job.report

    def test_takes_any_storage_time_that_a_node_may_claim(
        self, job: Job, far: FakeNode, clock: Clock
    ) -> None:
        job.environment.raw = job.environment.raw | {"storageExpiry": 10**12}
        job.environment.save()

        self.end(job, far, clock)

        assert job.state == State.COLLECTING
        assert job.node_expires_at is not None

    def test_remembers_the_first_failure_though_the_node_says_70_later(
        self, job: Job, far: FakeNode, clock: Clock
    ) -> None:
        far.set_job(job, status=31, status_text="Data provisioning failed")
        refresh(job, clock)
        clock.tick(3)

        self.end(job, far, clock, status=70)

        assert job.first_failure == 31
        assert (job.outcome, job.reason) == ("failed", "data_provisioning")

    def test_remembers_a_failure_that_another_process_saw_meanwhile(self, job: Job, far: FakeNode) -> None:
        stale = Job.objects.get(pk=job.pk)
        failed = far.set_job(job, status=32)
        refreshing.apply_report(job=job, report=failed, asked_at=NOW)
        over = far.set_job(job, **ended(status=70))

        refreshing.apply_report(job=stale, report=over, asked_at=NOW + timedelta(seconds=1))

        job.refresh_from_db()
        assert (job.first_failure, job.reason) == (32, "algorithm_provisioning")

    def test_is_reached_again_when_the_process_died_in_between(
        self, job: Job, far: FakeNode, clock: Clock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def die(**_: Any) -> None:
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(refreshing, "_end", die)  # patched by name: the process ends after the first write
            with pytest.raises(KeyboardInterrupt):
                self.end(job, far, clock)
        job.refresh_from_db()
        assert (job.state, job.node_status) == (State.RUNNING, 71)
        clock.tick(3)

        refresh(job, clock)

        assert job.state == State.COLLECTING

    def test_happens_once(self, job: Job, far: FakeNode, clock: Clock) -> None:
        self.end(job, far, clock)
        clock.tick(3)
        refresh(job, clock)

        assert job.events.filter(after=State.COLLECTING).count() == 1


class TestWatch:
    def test_writes_at_most_every_10_s(self, job: Job) -> None:
        written = [
            refreshing.watch(job_id=job.pk, now=NOW + timedelta(seconds=s)) for s in (0, 5, 10, 11, 20)
        ]

        assert written == [True, False, False, True, False]

    def test_counts_for_20_s(self, job: Job) -> None:
        refreshing.watch(job_id=job.pk, now=NOW)

        job.refresh_from_db()
        assert job.watched_until == NOW + timedelta(seconds=20)

    def test_has_the_job_asked_about_at_once(self, job: Job) -> None:
        Job.objects.filter(pk=job.pk).update(next_check_at=NOW + timedelta(seconds=25))

        refreshing.watch(job_id=job.pk, now=NOW)

        job.refresh_from_db()
        assert job.next_check_at == NOW

    def test_waits_for_what_is_due_to_change_when_the_last_answer_is_fresh(self, job: Job) -> None:
        fresh = {"report_at": NOW - timedelta(seconds=1), "node_status": 10, "accepted_at": NOW}
        Job.objects.filter(pk=job.pk).update(next_check_at=NOW + timedelta(seconds=25), **fresh)

        refreshing.watch(job_id=job.pk, now=NOW)

        job.refresh_from_db()
        assert job.next_check_at == NOW + timedelta(seconds=4.8)

    def test_asks_no_earlier_because_somebody_goes_on_watching(self, job: Job) -> None:
        later = NOW + timedelta(seconds=25)
        Job.objects.filter(pk=job.pk).update(next_check_at=later, watched_until=NOW + timedelta(seconds=5))

        assert refreshing.watch(job_id=job.pk, now=NOW)

        job.refresh_from_db()
        assert job.next_check_at == later

    def test_leaves_a_pause_after_trouble_as_it_is(self, job: Job) -> None:
        later = NOW + timedelta(seconds=25)
        Job.objects.filter(pk=job.pk).update(next_check_at=later, trouble_count=1)

        refreshing.watch(job_id=job.pk, now=NOW)

        job.refresh_from_db()
        assert job.next_check_at == later

    def test_writes_nothing_about_an_ended_job(self, team: Team) -> None:
        job = builders.make_job(team=team, state=State.SUCCEEDED)

        assert not refreshing.watch(job_id=job.pk, now=NOW)


class TestCheckNow:
    def test_makes_active_jobs_due(self, job: Job, team: Team) -> None:
        done = builders.make_job(team=team, state=State.SUCCEEDED)

        count = refreshing.check_now(job_ids=[job.pk, done.pk], now=NOW - timedelta(seconds=9))

        assert count == 1
        assert list(Job.objects.due(now=NOW - timedelta(seconds=9))) == [job]
