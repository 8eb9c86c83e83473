"""Archived results go when the team's rule says so: told first, then deleted, and nothing else is touched."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.files.storage import FileSystemStorage, default_storage

from jobs import tasks
from jobs.access import Actor
from jobs.errors import Missing
from jobs.lifecycle import ACTIVE, State
from jobs.models import Act, AuditEntry, Job, JobEvent, Pulse, Result, Team
from jobs.services import audit, results, retention, running
from tests import builders
from tests.builders import NOW
from tests.conftest import Cast
from tests.services.conftest import run_together
from tests.services.fakes import Clock, FakeNode, entry, queued

RULE = 30


@pytest.fixture
def team(team: Team) -> Team:
    """The team keeps results for 30 days."""
    Team.objects.filter(pk=team.pk).update(results_kept_days=RULE)
    return team


@pytest.fixture
def job(team: Team) -> Job:
    """A job that ended 31 days ago and left two files."""
    return old_job(team)


def old_job(team: Team, *, days: float = RULE + 1, **values: Any) -> Job:
    ended = {"state": State.SUCCEEDED, "ended_at": NOW - timedelta(days=days)} | values
    job = builders.make_job(team=team, **ended)
    builders.make_result(job=job, name="summary.csv", data=b"a,b\n")
    builders.make_result(job=job, name="algorithm.log", kind="algorithmLog", data=b"epoch 1\n")
    return job


def stored() -> list[str]:
    """Return every file in the storage."""
    root = Path(default_storage.path(""))
    return sorted(path.name for path in root.rglob("*") if path.is_file())


def statuses(job: Job) -> set[str]:
    return set(job.results.values_list("status", flat=True))


class Killed(BaseException):
    """The process dies here: nothing catches it."""


class TestRun:
    def test_removes_what_is_older_than_the_rule(self, job: Job, clock: Clock) -> None:
        retention.run(clock=clock)

        assert stored() == []
        removed = list(job.results.order_by("index"))
        assert {(r.status, r.removed_at, r.file.name) for r in removed} == {("removed", NOW, "")}
        assert [(r.name, r.size, len(r.sha256)) for r in removed] == [
            ("summary.csv", 4, 64),
            ("algorithm.log", 8, 64),
        ]

    def test_tells_it_once_in_the_history_and_once_in_the_record(self, job: Job, clock: Clock) -> None:
        before = job.version

        retention.run(clock=clock)
        retention.run(clock=clock)

        event = JobEvent.objects.get(kind=JobEvent.Kind.REMOVED)
        assert event.message == "2 archived files removed: the team keeps results for 30 days."
        entry = AuditEntry.objects.get()
        assert (entry.act, entry.origin, entry.user_number) == (Act.RESULTS_REMOVED, audit.WORKER, None)
        assert (entry.kind, entry.object_id, entry.team_id) == ("job", str(job.pk), job.team_id)
        assert (entry.before, entry.after) == ({"files": 2, "bytes": 12}, {"files": 0, "kept_days": RULE})
        job.refresh_from_db()
        assert job.version == before + 1
        assert job.state == State.SUCCEEDED

    def test_keeps_what_is_younger(self, team: Team, clock: Clock) -> None:
        young = old_job(team, days=RULE - 0.01)

        retention.run(clock=clock)

        assert statuses(young) == {"archived"}
        assert len(stored()) == 2

    def test_keeps_everything_of_a_team_without_a_rule(self, cast: Cast, clock: Clock, team: Team) -> None:
        theirs = old_job(cast.other_team, days=5000)

        retention.run(clock=clock)

        assert statuses(theirs) == {"archived"}

    @pytest.mark.parametrize("state", sorted({*ACTIVE, State.NEEDS_ATTENTION} - {State.RUNNING}))
    def test_keeps_what_belongs_to_a_job_that_has_not_ended(
        self, team: Team, clock: Clock, state: State
    ) -> None:
        going = old_job(team, state=state)

        retention.run(clock=clock)

        assert statuses(going) == {"archived"}

    def test_leaves_alone_what_is_not_archived(self, job: Job, clock: Clock) -> None:
        waiting = builders.make_result(
            job=job, name="late.csv", data=None, status=Result.Status.FAILED, next_try_at=NOW
        )

        retention.run(clock=clock)

        waiting.refresh_from_db()
        assert (waiting.status, waiting.next_try_at, waiting.removed_at) == ("failed", NOW, None)

    def test_leaves_a_job_alone_whose_results_are_being_fetched(self, job: Job, clock: Clock) -> None:
        Job.objects.filter(pk=job.pk).update(lease_holder="them", lease_until=NOW + timedelta(seconds=9))

        retention.run(clock=clock)
        assert statuses(job) == {"archived"}

        clock.tick(10)
        retention.run(clock=clock)
        assert statuses(job) == {"removed"}

    def test_gives_the_lease_back(self, job: Job, clock: Clock) -> None:
        retention.run(clock=clock)

        job.refresh_from_db()
        assert (job.lease_holder, job.lease_until) == ("", None)

    def test_goes_by_the_rule_of_this_moment(self, job: Job, team: Team, clock: Clock) -> None:
        Team.objects.filter(pk=team.pk).update(results_kept_days=RULE + 2)

        retention.remove(job_id=job.pk, clock=clock)
        assert statuses(job) == {"archived"}

        Team.objects.filter(pk=team.pk).update(results_kept_days=None)
        retention.remove(job_id=job.pk, clock=clock)
        assert statuses(job) == {"archived"}

    def test_stops_after_a_minute_and_has_the_next_pulse_go_on(
        self, job: Job, team: Team, clock: Clock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        other = old_job(team, days=RULE + 5)
        retention.claim_run(now=NOW)
        delete = FileSystemStorage.delete

        def slowly(storage: FileSystemStorage, name: str) -> None:
            clock.tick(40)
            delete(storage, name)

        # Patched by name: a storage that takes its time.
        monkeypatch.setattr(FileSystemStorage, "delete", slowly)

        retention.run(clock=clock)

        assert (statuses(other), statuses(job)) == ({"removed"}, {"archived"})
        assert retention.claim_run(now=clock())

    def test_goes_on_with_the_next_file_where_one_cannot_be_deleted(
        self, job: Job, clock: Clock, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        stuck = job.results.get(index=0)
        delete = FileSystemStorage.delete

        def refuse(storage: FileSystemStorage, name: str) -> None:
            if name == stuck.file.name:
                raise PermissionError(13, "Permission denied")
            delete(storage, name)

        # Patched by name: a storage that refuses one file.
        with monkeypatch.context() as patched:
            patched.setattr(FileSystemStorage, "delete", refuse)
            retention.run(clock=clock)

        assert len(stored()) == 1
        assert "Permission denied" in caplog.text

        retention.run(clock=clock)
        assert stored() == []

    @pytest.mark.usefixtures("each_database")
    def test_by_two_at_once_tells_it_once(self, job: Job, clock: Clock) -> None:
        run_together(lambda: retention.run(clock=clock), lambda: retention.run(clock=clock))

        assert AuditEntry.objects.count() == JobEvent.objects.filter(kind=JobEvent.Kind.REMOVED).count() == 1
        assert stored() == []

    def test_as_a_task_is_safe_to_run_twice(self, job: Job) -> None:
        tasks.remove_results()  # by the real clock: everything of 2025 is old
        tasks.remove_results(unknown=1)

        assert statuses(job) == {"removed"}
        assert AuditEntry.objects.count() == 1


class TestKilled:
    """The process dies at each durable step; the next run ends what it began, and tells nothing twice."""

    def run_and_die(
        self, clock: Clock, monkeypatch: pytest.MonkeyPatch, place: Any, name: str, *, after: bool = False
    ) -> None:
        """Run until this function is called, or has just been."""
        real = getattr(place, name)

        def deadly(*args: Any, **given: Any) -> Any:
            if after:
                real(*args, **given)
            raise Killed

        # Patched by name: it is this line that the process does not outlive.
        with monkeypatch.context() as patched, pytest.raises(Killed):
            patched.setattr(place, name, deadly)
            retention.run(clock=clock)

    def run_again(self, clock: Clock, job: Job) -> None:
        clock.tick(retention.LEASE.total_seconds() + 1)  # the dead process's lease runs out
        retention.run(clock=clock)

        assert stored() == []
        assert set(job.results.values_list("status", "file")) == {("removed", "")}
        assert AuditEntry.objects.count() == JobEvent.objects.filter(kind=JobEvent.Kind.REMOVED).count() == 1

    def test_before_it_is_written_down_nothing_is_gone(
        self, job: Job, clock: Clock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.run_and_die(clock, monkeypatch, audit, "record", after=True)

        assert statuses(job) == {"archived"}
        assert len(stored()) == 2
        assert not AuditEntry.objects.exists()
        self.run_again(clock, job)

    @pytest.mark.parametrize("after", [False, True])
    def test_around_the_first_deletion_the_next_run_deletes_the_rest(
        self, job: Job, clock: Clock, monkeypatch: pytest.MonkeyPatch, after: bool
    ) -> None:
        self.run_and_die(clock, monkeypatch, FileSystemStorage, "delete", after=after)

        assert statuses(job) == {"removed"}
        assert len(stored()) == (1 if after else 2)
        self.run_again(clock, job)

    def test_what_was_left_over_goes_even_when_the_rule_is_gone(
        self, job: Job, team: Team, clock: Clock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.run_and_die(clock, monkeypatch, FileSystemStorage, "delete")
        Team.objects.filter(pk=team.pk).update(results_kept_days=None)

        assert retention.claim_run(now=clock())
        self.run_again(clock, job)


class TestClaimRun:
    def test_lets_one_caller_run_once_an_hour(self, team: Team) -> None:
        assert retention.claim_run(now=NOW)
        assert not retention.claim_run(now=NOW + timedelta(minutes=59))
        assert retention.claim_run(now=NOW + timedelta(minutes=60))

    def test_is_never_due_where_nobody_has_a_rule(self, cast: Cast) -> None:
        assert not retention.claim_run(now=NOW)
        assert not Pulse.objects.exists()

    def test_is_asked_by_the_pulse_at_its_beginning(self, team: Team) -> None:
        running.begin_pulse(now=NOW)
        running.begin_pulse(now=NOW + timedelta(minutes=1))

        assert queued() == [("remove_results", ())]


class TestWhatIsRemoved:
    def test_is_said_with_its_day_to_whoever_asks_for_it(self, job: Job, vera: Actor, clock: Clock) -> None:
        result = job.results.get(index=0)
        retention.run(clock=clock)

        for ask in (
            lambda: results.open_result(actor=vera, job_id=job.pk, result_id=result.pk, now=NOW),
            lambda: results.peek(actor=vera, job_id=job.pk, result_id=result.pk, max_bytes=10, now=NOW),
        ):
            with pytest.raises(Missing, match="removed on 2025-11-22 by the team's rule"):
                ask()

    def test_is_missing_to_whoever_had_read_its_row_just_before(
        self, job: Job, vera: Actor, clock: Clock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        result = job.results.get(index=0)
        exists = FileSystemStorage.exists

        def then_removed(storage: FileSystemStorage, name: str) -> bool:
            there = exists(storage, name)
            retention.run(clock=clock)
            return there

        # Patched by name: the worker comes between the look and the opening.
        monkeypatch.setattr(FileSystemStorage, "exists", then_removed)

        with pytest.raises(Missing, match="not in the portal's archive"):
            results.open_result(actor=vera, job_id=job.pk, result_id=result.pk, now=NOW)

    def test_is_not_fetched_again_with_a_result_that_is_late(
        self, team: Team, far: FakeNode, clock: Clock
    ) -> None:
        far.files = {0: b"a,b\n", 1: b"epoch 1\n", 2: b"late\n"}
        listed = [entry(0, "summary.csv"), entry(1, "algorithm.log", "algorithmLog"), entry(2, "late.csv")]
        job = old_job(team, report={"results": listed})
        builders.make_result(
            job=job,
            name="late.csv",
            data=None,
            status=Result.Status.FAILED,
            attempts=1,
            next_try_at=NOW,
        )
        retention.run(clock=clock)

        results.collect(job_id=job.pk, clock=clock)

        assert [call.given["index"] for call in far.called("open_result")] == [2]
        assert list(job.results.order_by("index").values_list("status", flat=True)) == [
            "removed",
            "removed",
            "archived",
        ]
