"""The table of moves, and the one mover."""

from __future__ import annotations

from datetime import timedelta
from itertools import pairwise, product
from typing import Any

import pytest

from jobs.lifecycle import ACTIVE, ARROWS, TERMINAL, IllegalMove, State, check
from jobs.models import Job, JobEvent
from tests import builders
from tests.builders import NOW
from tests.conftest import Cast
from tests.services.conftest import on_disk as on_disk
from tests.services.conftest import run_together


@pytest.fixture
def job(cast: Cast) -> Job:
    return builders.make_job(team=cast.team)


def move(job: Job, after: State = State.STARTING, **values: Any) -> bool:
    return Job.objects.move(job_id=job.pk, before=State.REQUESTED, after=after, now=NOW, **values)


def moves(job: Job) -> int:
    return job.events.filter(kind=JobEvent.Kind.STATE).exclude(before="").count()


class TestTable:
    def test_names_every_state(self) -> None:
        assert set(ARROWS) == set(State)

    def test_leads_nowhere_from_an_end(self) -> None:
        assert {state for state in State if not ARROWS[state]} == TERMINAL

    def test_keeps_active_and_ended_apart(self) -> None:
        rest = set(State) - ACTIVE - TERMINAL

        assert not ACTIVE & TERMINAL
        assert rest == {State.AWAITING_APPROVAL, State.NEEDS_ATTENTION}

    def test_lets_every_active_state_fail_be_cancelled_or_need_attention_and_come_back(self) -> None:
        for state in ACTIVE:
            assert {State.FAILED, State.CANCELLED, State.NEEDS_ATTENTION} <= ARROWS[state]
            assert state in ARROWS[State.NEEDS_ATTENTION]

    def test_reaches_success_only_through_collecting(self) -> None:
        # A person may end a job that stuck in collecting; the verdict was known before.
        ways = [state for state in State if State.SUCCEEDED in ARROWS[state]]
        assert ways == [State.COLLECTING, State.NEEDS_ATTENTION]

    def test_takes_a_free_and_a_paid_job_to_success(self) -> None:
        start = [State.STARTING, State.RUNNING, State.COLLECTING, State.SUCCEEDED]
        for path in ([State.REQUESTED, *start], [State.REQUESTED, State.PAYING, State.PAID, *start]):
            for before, after in pairwise(path):
                check(before=before, after=after)

    @pytest.mark.parametrize(
        ("before", "after"),
        [(b, a) for b, a in product(State, State) if a not in ARROWS[b]],
        ids=lambda state: str(state),
    )
    def test_has_no_other_move(self, before: State, after: State) -> None:
        with pytest.raises(IllegalMove):
            check(before=before, after=after)

    @pytest.mark.parametrize(
        ("before", "after"),
        [
            (State.RUNNING, State.SUCCEEDED),
            (State.REQUESTED, State.RUNNING),
            (State.STARTING, State.COLLECTING),
            (State.COLLECTING, State.RUNNING),
            (State.FAILED, State.REQUESTED),
        ],
    )
    def test_has_no_short_cut(self, before: State, after: State) -> None:
        assert after not in ARROWS[before]


class TestMove:
    def test_changes_state_and_version_with_one_event(self, job: Job, cast: Cast) -> None:
        won = move(job, reason="r", message="m", actor_id=cast.bob.pk, data={"a": 1}, start_attempts=2)

        assert won
        job.refresh_from_db()
        assert (job.state, job.reason, job.message, job.start_attempts) == (State.STARTING, "r", "m", 2)
        assert job.version == 2
        event = job.events.get(after=State.STARTING)
        assert (event.before, event.reason, event.message) == (State.REQUESTED, "r", "m")
        assert (event.actor_id, event.data, event.at) == (cast.bob.pk, {"a": 1}, NOW)

    def test_is_won_once_of_two(self, job: Job) -> None:
        assert [move(job), move(job)] == [True, False]
        assert moves(job) == 1

    def test_is_won_once_of_many_threads(self, on_disk: None, cast: Cast) -> None:
        job = builders.make_job(team=cast.team)

        outcomes = run_together(*[lambda: move(job)] * 6)

        assert sorted(outcomes) == [False] * 5 + [True]
        assert moves(job) == 1

    def test_keeps_neither_when_the_event_fails(self, job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
        def fail(**_: Any) -> None:
            raise OSError

        # Patched by name: the second half of the transaction fails.
        monkeypatch.setattr(JobEvent.objects, "create", fail)

        with pytest.raises(OSError):
            move(job)

        job.refresh_from_db()
        assert (job.state, job.version) == (State.REQUESTED, 1)

    def test_refuses_what_the_table_does_not_have(self, job: Job) -> None:
        with pytest.raises(IllegalMove):
            move(job, State.RUNNING)

    def test_is_lost_when_the_lease_is_somebody_else_s(self, job: Job) -> None:
        Job.objects.filter(pk=job.pk).update(lease_holder="other")

        assert not move(job, holder="me")
        assert move(job, holder="other")

    def test_remembers_where_attention_was_needed(self, job: Job) -> None:
        move(job, State.NEEDS_ATTENTION)

        job.refresh_from_db()
        assert job.attention_from == State.REQUESTED


class TestRecord:
    def test_sets_columns_with_one_event(self, job: Job) -> None:
        won = Job.objects.record(
            job_id=job.pk, kind=JobEvent.Kind.STOP_WISH, now=NOW, message="m", cancel_requested_at=NOW
        )

        assert won
        job.refresh_from_db()
        assert (job.cancel_requested_at, job.version) == (NOW, 2)
        assert job.events.get(kind=JobEvent.Kind.STOP_WISH).message == "m"

    def test_writes_nothing_when_the_row_is_not_as_expected(self, job: Job) -> None:
        won = Job.objects.record(
            job_id=job.pk,
            kind=JobEvent.Kind.STOP_WISH,
            now=NOW,
            expect={"state": State.RUNNING},
            cancel_requested_at=NOW,
        )

        assert not won
        job.refresh_from_db()
        assert (job.cancel_requested_at, job.version) == (None, 1)
        assert not job.events.filter(kind=JobEvent.Kind.STOP_WISH).exists()


class TestLease:
    def claim(self, job: Job, holder: str, *, at: int = 0) -> bool:
        now = NOW + timedelta(seconds=at)
        return Job.objects.claim(job_id=job.pk, holder=holder, now=now, until=now + timedelta(seconds=10))

    def renew(self, job: Job, holder: str, *, at: int) -> bool:
        now = NOW + timedelta(seconds=at)
        return Job.objects.renew(job_id=job.pk, holder=holder, now=now, until=now + timedelta(seconds=10))

    def test_has_one_holder(self, job: Job) -> None:
        assert [self.claim(job, "a"), self.claim(job, "b")] == [True, False]

    def test_runs_out(self, job: Job) -> None:
        self.claim(job, "a")

        assert not self.claim(job, "b", at=9)
        assert self.claim(job, "b", at=10)

    def test_is_renewed_by_its_holder_only(self, job: Job) -> None:
        self.claim(job, "a")

        assert self.renew(job, "a", at=9)
        assert not self.renew(job, "b", at=9)
        assert not self.claim(job, "b", at=18)

    def test_is_not_renewed_once_it_ran_out(self, job: Job) -> None:
        self.claim(job, "a")

        assert not self.renew(job, "a", at=10)

    def test_is_given_back_by_its_holder_only(self, job: Job) -> None:
        self.claim(job, "a")
        Job.objects.release(job_id=job.pk, holder="b")
        assert not self.claim(job, "b")

        Job.objects.release(job_id=job.pk, holder="a")

        assert self.claim(job, "b")
