"""When a node is asked about a watched job, and how often on a job's way: played on a node at the recorded pace."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
from django_q.models import OrmQ

from jobs import queue
from jobs.lifecycle import State
from jobs.models import Job, Node, Team
from jobs.ocean.compute import JobReport, LogPiece
from jobs.services import following, pacing, refreshing, results, running
from jobs.services.pacing import RECORDED, Pace, Sight
from tests import builders
from tests.builders import NOW
from tests.services.fakes import Clock, FakeNode, make_report, refused

# Seconds after the start was taken in. Source: recording 10, its timeline; dateCreated, algoStartTimestamp, dateFinished.
TRIVIAL = ((0.0, 10), (0.27, 20), (2.05, 30), (4.09, 40), (9.46, 60), (11.4, 71))
STARTED, FINISHED = 4.33, 11.4
RESULTS = ("image.log", "configuration.log", "algorithm.log", "outputs.tar")
BEAT_S = 1.0
PAGE_ASKS_EVERY_S = 2.0


def after(seconds: float) -> datetime:
    """Return the moment so many seconds after NOW."""
    return NOW + timedelta(seconds=seconds)


def long_run(log_ends: float) -> tuple[tuple[float, int], ...]:
    """Return the course of a job whose algorithm ends so late: noticed in one step, stored in another.

    Source: recording 14.
    """
    return (*TRIVIAL[:4], (log_ends + 1.9, 60), (log_ends + 3.95, 71))


class Life:
    """A worker's beats, an open page and a node that takes its steps, all by one clock."""

    def __init__(
        self,
        *,
        job: Job,
        far: FakeNode,
        clock: Clock,
        course: tuple[tuple[float, int], ...],
        watched: bool = True,
    ) -> None:
        self.job, self.far, self.clock, self.course, self.watched = job, far, clock, course, watched
        self.taken_at: datetime | None = None
        self.log_ends: float | None = None
        self.waits: list[float] = []
        self._next_beat = clock.now
        queue.enqueue(queue.Task.ADVANCE, job.pk)
        far.script["start"] = [self._take]
        far.script["jobs_of"] = [self._tell] * 200
        far.script["stream_log"] = [self._stream] * 20
        far.files = dict.fromkeys(range(len(RESULTS)), b"x")

    def first_beat_at(self, moment: datetime) -> None:
        """Let the worker beat first at this moment, and each second from then on."""
        self._next_beat = moment

    def go_on(self, *, until: Callable[[], bool]) -> None:
        """Let a tenth of a second pass at a time, a beat each second and a poll of the page each two."""
        while not until():
            assert self.clock.now < after(600)
            tenths = round((self.clock.now - NOW).total_seconds() * 10)
            if self.watched and tenths % round(PAGE_ASKS_EVERY_S * 10) == 3:
                refreshing.watch(job_id=self.job.pk, now=self.clock())
            if self.clock.now >= self._next_beat:
                self._next_beat = self.clock.now + timedelta(seconds=BEAT_S)
                running.pulse(clock=self.clock, holder="pulse")
            self._work()
            self.clock.tick(0.1)

    def end(self) -> Job:
        """Live until the job has ended; return it."""
        self.go_on(until=lambda: not Job.objects.filter(pk=self.job.pk, state__in=_UNDER_WAY).exists())
        self.job.refresh_from_db()
        return self.job

    @property
    def asked(self) -> list[str]:
        """The requests for this job, by name; the node's environments are looked at whether or not a job runs."""
        return [call.name for call in self.far.calls if call.name not in ("identify", "environments")]

    @property
    def late_s(self) -> float:
        """Seconds from the node's end of the job until its results were here."""
        assert self.taken_at is not None and self.job.ended_at is not None
        return (self.job.ended_at - self.taken_at).total_seconds() - self.course[-1][0]

    def _work(self) -> None:
        while (row := OrmQ.objects.order_by("pk").first()) is not None:
            name, ids = str(row.task["func"]).rpartition(".")[2], row.task["args"]
            row.delete()
            acts: dict[str, Callable[..., Any]] = {
                "advance": lambda job: running.advance(job_id=uuid.UUID(job), clock=self.clock),
                "refresh": lambda node, wallet: refreshing.refresh(
                    node_id=node, wallet_id=wallet, clock=self.clock
                ),
                "follow": lambda job: following.follow(job_id=uuid.UUID(job), clock=self.clock),
                "collect": lambda job: results.collect(job_id=uuid.UUID(job), clock=self.clock),
                "look_at_node": lambda node: None,
            }
            acts[name](*ids)

    def _take(self, **given: Any) -> JobReport:
        self.taken_at = self.clock.now
        return self.far.accept(**given)

    @property
    def _seconds(self) -> float:
        assert self.taken_at is not None
        return (self.clock.now - self.taken_at).total_seconds()

    def _tell(self, **_: Any) -> Any:
        status = [number for at, number in self.course if at <= self._seconds][-1]
        (taken,) = self.far.jobs
        assert self.taken_at is not None
        values: dict[str, Any] = {"status": status, "created_at": self.taken_at.timestamp()}
        if self._seconds >= STARTED:
            values["algo_started_at"] = self.taken_at.timestamp() + STARTED
        if status == 71:
            values |= {
                "finished_at": self.taken_at.timestamp() + self.course[-1][0],
                "exit_code": 0,
                "results": [{"index": n, "name": name, "kind": "output"} for n, name in enumerate(RESULTS)],
            }
        return [make_report(long_id=taken.long_id, tag=taken.tag, **values)]

    def _stream(self, **_: Any) -> Any:
        if self.log_ends is None or not STARTED <= self._seconds < self.log_ends:
            raise refused("not_running", retryable=True)
        asked = len(self.far.called("jobs_of"))

        def flow() -> LogPiece:
            # The worker's other processes go on meanwhile; another follower is asked for and stands back.
            self.go_on(until=lambda: self._seconds >= (self.log_ends or 0) or self._seconds > 45)
            self.waits.append(len(self.far.called("jobs_of")) - asked)
            return LogPiece(1, b"one\n")

        return [flow]


_UNDER_WAY = (State.REQUESTED, State.STARTING, State.RUNNING, State.COLLECTING)


@pytest.fixture
def job(team: Team) -> Job:
    """A job that was launched a moment ago; its node is looked at by nobody else."""
    job = builders.make_job(team=team, requested_at=NOW)
    Node.objects.update(next_look_at=None)
    return job


class TestWayOfAJob:
    @pytest.mark.parametrize("beat", [0.0, 0.2, 0.4, 0.6, 0.8])
    @pytest.mark.parametrize("log_ends", [None, 5.5], ids=["log over before it was asked for", "log read"])
    def test_that_is_watched_takes_eight_requests_and_its_end_is_seen_in_under_3_s(
        self, job: Job, far: FakeNode, clock: Clock, log_ends: float | None, beat: float
    ) -> None:
        life = Life(job=job, far=far, clock=clock, course=TRIVIAL)
        life.log_ends = log_ends
        life.first_beat_at(after(beat))

        assert life.end().state == State.SUCCEEDED

        assert life.asked == [
            "start",
            "jobs_of",
            "stream_log",
            "jobs_of",
            *["open_result"] * len(RESULTS),
        ]
        assert life.late_s < 3

    def test_that_nobody_watches_takes_six_requests(self, job: Job, far: FakeNode, clock: Clock) -> None:
        life = Life(job=job, far=far, clock=clock, course=TRIVIAL, watched=False)

        assert life.end().state == State.SUCCEEDED

        assert life.asked == ["start", "jobs_of", *["open_result"] * len(RESULTS)]

    @pytest.mark.parametrize("log_ends", [9.4, 12.0, 29.0, 40.0])
    def test_of_a_longer_run_is_told_by_its_log_and_confirmed_by_the_node(
        self, job: Job, far: FakeNode, clock: Clock, log_ends: float
    ) -> None:
        life = Life(job=job, far=far, clock=clock, course=long_run(log_ends))
        life.log_ends = log_ends

        assert life.end().state == State.SUCCEEDED

        assert life.waits[0] <= log_ends // 30  # questions while the log flowed: one each 30 s
        assert life.asked.count("jobs_of") <= 4
        assert life.late_s < 3

    def test_that_begins_to_be_watched_after_its_end_is_asked_about_at_once(
        self, job: Job, far: FakeNode, clock: Clock
    ) -> None:
        life = Life(job=job, far=far, clock=clock, course=TRIVIAL, watched=False)
        life.go_on(until=lambda: clock.now >= after(13))
        life.watched = True

        ended = life.end()

        assert ended.ended_at is not None
        assert ended.ended_at < after(17)

    def test_goes_on_when_the_log_ends_and_the_node_says_nothing_of_an_end(
        self, job: Job, far: FakeNode, clock: Clock
    ) -> None:
        life = Life(job=job, far=far, clock=clock, course=TRIVIAL[:4])
        life.log_ends = 10.0

        life.go_on(until=lambda: clock.now >= after(40))

        job.refresh_from_db()
        assert (job.state, job.node_status) == (State.RUNNING, 40)


def seen(phase: str | None, *, at: float = 4.6, started_after: float | None = None) -> Sight:
    """Return what is known of a job that was taken in at NOW."""
    started = None if started_after is None else timedelta(seconds=started_after)
    return Sight(accepted_at=NOW, phase=phase, seen_at=after(at), started_after=started)


class TestNextLook:
    @pytest.mark.parametrize(
        ("sight", "now", "expected"),
        [
            (seen("image", at=0), 0, 4.8),
            (seen("data", at=3), 3, 4.8),
            (seen("data", at=4.8), 4.8, 7.8),
            (seen("queued", at=0), 0, 3),
            (seen(None, at=0), 0, 3),
            (seen("running"), 4.6, 11.9),
            (seen("running", started_after=5), 5, 12.2),
            (seen("running", started_after=90), 5, 12.2),
            (seen("running", at=60), 60, 64.6),
            (seen("running", at=60), 64.6, 67.6),
            (seen("publishing", at=60), 60, 61),
        ],
    )
    def test_is_when_something_is_due_to_change_and_else_in_3_s(
        self, sight: Sight, now: float, expected: float
    ) -> None:
        at = pacing.next_look(sight=sight, pace=RECORDED, now=after(now))

        assert (at - NOW).total_seconds() == pytest.approx(expected)


class TestNextLookWithoutLog:
    @pytest.mark.parametrize(
        ("sight", "usual_s", "now", "expected"),
        [
            (seen("queued", at=0), None, 0, 3),
            (seen("queued", at=0), None, 30, 40),
            (seen("data", at=3), 56, 3, 6),
            (seen("running", at=9), None, 9, 12),
            (seen("running", at=9), None, 39, 49),
            (seen("running", at=9), None, 900, 930),
            (seen("running", at=9), 30, 9, 30.5),
            (seen("running", at=9), 30, 30.5, 37.7),
            (seen("running", at=9), 3600, 9, 39),
            (seen("publishing", at=60), 30, 60, 61),
            (seen("publishing", at=60), None, 90, 100),
            (seen(None, at=0), None, 0, 3),
        ],
    )
    def test_is_when_the_same_job_was_over_and_else_later_the_longer_a_step_lasts(
        self, sight: Sight, usual_s: float | None, now: float, expected: float
    ) -> None:
        usual = None if usual_s is None else timedelta(seconds=usual_s)

        at = pacing.next_look_without_log(sight=sight, usual=usual, now=after(now))

        assert (at - NOW).total_seconds() == pytest.approx(expected, abs=0.05)


class TestUsualLength:
    def ended(self, team: Team, *, took: float, **values: Any) -> Job:
        """Make a job that has succeeded after so many seconds, by its Provider's clock."""
        report = {"created_at": 1000.0, "finished_at": 1000.0 + took}
        return builders.make_job(team=team, **({"state": State.SUCCEEDED, "report": report} | values))

    def test_is_unknown_where_the_job_never_ran_before(self, job: Job) -> None:
        assert pacing.usual_length(job=job) is None

    def test_is_the_quickest_of_the_same_jobs(self, job: Job, team: Team) -> None:
        for took in (60, 50, 70):
            self.ended(team, took=took)

        assert pacing.usual_length(job=job) == timedelta(seconds=50)

    def test_passes_over_what_was_another_job_or_went_wrong(self, job: Job, team: Team) -> None:
        self.ended(team, took=1, parameters={"rows": 5})
        self.ended(team, took=1, state=State.FAILED)
        self.ended(team, took=1, datasets=[builders.make_asset(team=team, node=job.node)])

        assert pacing.usual_length(job=job) is None


class TestLookAgain:
    @pytest.mark.parametrize(
        ("dialect", "expected"), [(Node.Dialect.PROVIDER, 89), (Node.Dialect.OCEAN_NODE, 72)]
    )
    def test_goes_by_the_time_that_a_step_lasts_only_where_there_is_no_live_log(
        self, team: Team, dialect: str, expected: float
    ) -> None:
        running = builders.make_job(
            team=team,
            node=builders.make_node(dialect=dialect),
            state=State.RUNNING,
            accepted_at=NOW,
            node_status_at=after(9),
        )

        at = pacing.look_again(job=running, now=after(69))

        assert at == after(expected)


class TestPaceOf:
    def ended(self, team: Team, *, lead: float, rest: float, ago: int = 0, **values: Any) -> Job:
        """Make a job that ended, with what its node said of the times."""
        report = {"created_at": 1000.0, "algo_started_at": 1000.0 + lead, "finished_at": 1000.0 + lead + rest}
        times = {"requested_at": NOW - timedelta(minutes=ago), "finished_at": NOW}
        return builders.make_job(team=team, **({"state": State.SUCCEEDED, "report": report} | times | values))

    def test_is_as_recorded_where_nothing_is_known(self, job: Job) -> None:
        assert pacing.pace_of(job=job) == RECORDED

    def test_is_the_quickest_of_the_last_jobs(self, job: Job, team: Team) -> None:
        for lead, rest in ((2, 9), (3, 4), (5, 80)):
            self.ended(team, lead=lead, rest=rest)

        assert pacing.pace_of(job=job) == Pace(lead=timedelta(seconds=2), rest=timedelta(seconds=4))

    def test_is_not_much_slower_than_recorded_because_the_next_job_may_be_shorter(
        self, job: Job, team: Team
    ) -> None:
        self.ended(team, lead=60, rest=600)

        assert pacing.pace_of(job=job) == Pace(lead=timedelta(seconds=5.3), rest=timedelta(seconds=8.1))

    def test_forgets_what_was_long_ago(self, job: Job, team: Team) -> None:
        self.ended(team, lead=1, rest=1, ago=90)
        for ago in range(pacing.SHOWN_BY):
            self.ended(team, lead=4, rest=7, ago=ago)

        assert pacing.pace_of(job=job).lead == timedelta(seconds=4)

    @pytest.mark.parametrize("lie", [-5.0, 1e300])
    def test_is_not_led_astray_by_times_that_cannot_be(self, job: Job, team: Team, lie: float) -> None:
        self.ended(team, lead=lie, rest=lie)

        pace = pacing.pace_of(job=job)

        assert all(timedelta(0) <= took <= timedelta(seconds=8.1) for took in (pace.lead, pace.rest))

    def test_passes_over_jobs_that_never_ran(self, job: Job, team: Team) -> None:
        self.ended(team, lead=1, rest=1, report={"created_at": 1000.0, "algo_started_at": None})
        self.ended(team, lead=1, rest=1, report=None)

        assert pacing.pace_of(job=job) == RECORDED
