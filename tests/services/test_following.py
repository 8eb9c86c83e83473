"""A live log is read once, though every connection starts at its first line."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from jobs import queue
from jobs.lifecycle import State
from jobs.models import Job, LogChunk, Team
from jobs.ocean.compute import LogPiece
from jobs.services import budget, following
from jobs.services.budget import Purpose
from tests import builders
from tests.builders import NOW
from tests.services.fakes import Clock, FakeNode, lost_answer, queued, refused


@pytest.fixture
def job(team: Team, far: FakeNode) -> Job:
    """A job that runs and is watched; its log says three lines so far, one of them an error."""
    far.log = [LogPiece(1, b"one\n"), LogPiece(2, b"oops\n"), LogPiece(1, b"two\n")]
    return builders.make_job(team=team, state=State.RUNNING, watched_until=NOW + timedelta(seconds=20))


def follow(job: Job, clock: Clock) -> Job:
    following.follow(job_id=job.pk, clock=clock)
    job.refresh_from_db()
    return job


def log(job: Job) -> bytes:
    chunks = job.log_chunks.order_by("offset")
    assert all(a.offset + len(a.data) == b.offset for a, b in zip(chunks, list(chunks)[1:], strict=False))
    return b"".join(bytes(chunk.data) for chunk in chunks)


class TestFollow:
    def test_stores_pieces_with_stream_and_time_of_arrival(self, job: Job, clock: Clock) -> None:
        follow(job, clock)

        chunks = job.log_chunks.order_by("offset").values_list("offset", "stream", "data", "arrived_at")
        assert [(offset, stream, bytes(data), at) for offset, stream, data, at in chunks] == [
            (0, 1, b"one\n", NOW),
            (4, 2, b"oops\n", NOW),
            (9, 1, b"two\n", NOW),
        ]

    def test_skips_what_it_has(self, job: Job, far: FakeNode, clock: Clock) -> None:
        follow(job, clock)
        far.log = [LogPiece(1, b"one\n"), LogPiece(2, b"oops\n"), LogPiece(1, b"two\nthree\n")]
        clock.tick(10)

        follow(job, clock)

        assert log(job) == b"one\noops\ntwo\nthree\n"
        assert LogChunk.objects.order_by("-offset")[0].offset == 13

    def test_leaves_a_piece_to_a_follower_that_was_faster(
        self, job: Job, far: FakeNode, clock: Clock
    ) -> None:
        def overtaken() -> LogPiece:
            builders.make_log(job=job, text="oops\n")
            return LogPiece(2, b"oops\n")

        far.log = [LogPiece(1, b"one\n"), overtaken, LogPiece(1, b"two\n")]  # type: ignore[list-item]

        follow(job, clock)

        assert log(job) == b"one\noops\n"

    def test_rests_a_while_after_the_end_of_the_log(self, job: Job, far: FakeNode, clock: Clock) -> None:
        follow(job, clock)
        assert (job.follow_holder, job.follow_until) == ("", NOW + following.COOL_DOWN)

        follow(job, clock)

        assert len(far.called("stream_log")) == 1
        assert queued() == []

    @pytest.mark.parametrize("error", [refused("not_running", retryable=True), lost_answer()])
    def test_is_quiet_about_trouble(
        self, job: Job, far: FakeNode, clock: Clock, error: Exception, caplog: pytest.LogCaptureFixture
    ) -> None:
        far.will("stream_log", error)

        follow(job, clock)

        assert (job.trouble, job.state, job.follow_holder) == ("", State.RUNNING, "")
        assert caplog.records == []

    def test_keeps_what_came_before_the_stream_broke(self, job: Job, far: FakeNode, clock: Clock) -> None:
        far.will("stream_log", [LogPiece(1, b"one\n"), lost_answer()])

        follow(job, clock)

        assert log(job) == b"one\n"

    def test_hands_over_after_50_s_while_somebody_watches(
        self, job: Job, far: FakeNode, clock: Clock
    ) -> None:
        def late() -> LogPiece:
            clock.tick(50)
            Job.objects.filter(pk=job.pk).update(watched_until=clock() + timedelta(seconds=10))
            return LogPiece(1, b"late\n")

        far.will("stream_log", [late, LogPiece(1, b"never read\n")])

        follow(job, clock)

        assert log(job) == b"late\n"
        assert queued() == [("follow", (str(job.pk),))]
        assert (job.follow_holder, job.follow_until) == ("", None)

    def test_ends_after_50_s_when_nobody_watches(self, job: Job, far: FakeNode, clock: Clock) -> None:
        def late() -> LogPiece:
            clock.tick(50)
            return LogPiece(1, b"late\n")

        far.will("stream_log", [late])

        follow(job, clock)

        assert queued() == []

    def test_ends_when_the_worker_stops(
        self, job: Job, clock: Clock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # Patched by name: the flag is shared memory of the worker's processes.
        monkeypatch.setattr(queue, "is_stopping", lambda: True)

        follow(job, clock)

        assert log(job) == b"one\n"

    def test_stops_at_the_cap(
        self, job: Job, far: FakeNode, clock: Clock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(following, "LOG_MAX_BYTES", 13)  # patched by name: 20 MB take long
        follow(job, clock)
        clock.tick(10)
        assert far.called("stream_log")[0].given["max_bytes"] == 13

        follow(job, clock)

        assert len(far.called("stream_log")) == 1

    @pytest.mark.parametrize(
        "values",
        [
            {"state": State.COLLECTING},
            {"watched_until": NOW},
            {"watched_until": None},
            {"node_status": 30},
            {"node_status": None},
            {"follow_holder": "other", "follow_until": NOW + timedelta(seconds=1)},
        ],
    )
    def test_asks_nothing_about_what_is_not_to_be_followed(
        self, job: Job, far: FakeNode, clock: Clock, values: dict[str, Any]
    ) -> None:
        Job.objects.filter(pk=job.pk).update(**values)

        follow(job, clock)

        assert far.calls == []

    def test_takes_over_from_a_follower_that_died(self, job: Job, clock: Clock) -> None:
        Job.objects.filter(pk=job.pk).update(follow_holder="dead", follow_until=NOW)

        follow(job, clock)

        assert log(job) != b""

    @pytest.mark.parametrize(
        ("workers", "followers", "follows"), [(4, 1, True), (4, 2, False), (1, 0, True), (1, 1, False)]
    )
    def test_takes_at_most_half_of_the_workers(
        self, job: Job, clock: Clock, settings: Any, workers: int, followers: int, follows: bool
    ) -> None:
        settings.Q_CLUSTER = settings.Q_CLUSTER | {"workers": workers}
        for i in range(followers):
            builders.make_job(
                team=job.team,
                state=State.RUNNING,
                follow_holder=f"f{i}",
                follow_until=NOW + timedelta(seconds=30),
            )

        follow(job, clock)

        assert (log(job) != b"") == follows

    def test_leaves_the_last_third_of_the_budget_alone(self, job: Job, far: FakeNode, clock: Clock) -> None:
        for _ in range(19):
            budget.spend(node=job.node, purpose=Purpose.ACT, now=NOW)

        follow(job, clock)

        assert far.calls == []


class TestDue:
    """When the node is asked about a job whose log is read."""

    @pytest.fixture(autouse=True)
    def running_long(self, job: Job) -> None:
        Job.objects.filter(pk=job.pk).update(
            node_status_at=NOW - timedelta(minutes=1), next_check_at=NOW + timedelta(seconds=2)
        )

    def due_s(self, job: Job) -> float:
        job.refresh_from_db()
        assert job.next_check_at is not None
        return (job.next_check_at - NOW).total_seconds()

    def during(self, job: Job, far: FakeNode) -> list[float]:
        """Script a log; return when the job was due while the log flowed."""
        found: list[float] = []

        def look() -> LogPiece:
            found.append(self.due_s(job))
            return LogPiece(1, b"one\n")

        far.will("stream_log", [look])
        return found

    def test_is_30_s_away_while_it_flows(self, job: Job, far: FakeNode, clock: Clock) -> None:
        during = self.during(job, far)

        follow(job, clock)

        assert during == [30]

    @pytest.mark.parametrize("values", [{"cancel_requested_at": NOW}, {"trouble_count": 1}])
    def test_stays_as_it_was_when_a_person_wants_the_end_or_the_node_is_in_trouble(
        self, job: Job, far: FakeNode, clock: Clock, values: dict[str, Any]
    ) -> None:
        Job.objects.filter(pk=job.pk).update(**values)
        during = self.during(job, far)

        follow(job, clock)

        assert during == [2]
        assert self.due_s(job) == 2

    def test_is_when_the_job_may_be_over_once_it_has_ended(self, job: Job, clock: Clock) -> None:
        follow(job, clock)

        assert self.due_s(job) == 3.1

    def test_is_not_before_a_node_can_have_ended_the_job(self, job: Job, clock: Clock) -> None:
        Job.objects.filter(pk=job.pk).update(node_status_at=NOW, accepted_at=NOW - timedelta(seconds=5))

        follow(job, clock)

        assert (
            self.due_s(job) == 6.9
        )  # taken in, 4.3 s until the algorithm starts, 7.1 s to the end, 0.5 s to be sure

    def test_is_no_later_because_there_was_no_log(self, job: Job, far: FakeNode, clock: Clock) -> None:
        far.will("stream_log", refused("not_running", retryable=True))

        follow(job, clock)

        assert self.due_s(job) == 2

    def test_is_3_s_away_when_the_stream_broke(self, job: Job, far: FakeNode, clock: Clock) -> None:
        far.will("stream_log", [LogPiece(1, b"one\n"), lost_answer()])

        follow(job, clock)

        assert self.due_s(job) == 3.1

    def test_is_not_touched_once_the_job_is_collected(self, job: Job, far: FakeNode, clock: Clock) -> None:
        def ended() -> LogPiece:
            Job.objects.filter(pk=job.pk).update(
                state=State.COLLECTING, next_check_at=NOW + timedelta(seconds=90)
            )
            return LogPiece(1, b"one\n")

        far.will("stream_log", [ended])

        follow(job, clock)

        assert self.due_s(job) == 90
