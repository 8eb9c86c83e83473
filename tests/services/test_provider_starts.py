"""A start at a Provider, where a job is known by its order alone, and an order has one running job at a time."""

from __future__ import annotations

from typing import Any

import pytest
from pytest_django import DjangoAssertNumQueries

from jobs.lifecycle import State
from jobs.models import Job
from jobs.services import starting
from tests.services.fakes import lost_answer, refused
from tests.services.quay import Quay
from tests.services.steps import advance


@pytest.fixture
def lost(quay: Quay) -> Job:
    """A job that has paid, and whose start was not answered."""
    quay.give("dataset")
    job = quay.job(own_algorithm={"code": "1", "language": ""})
    quay.far.will("start", lost_answer())
    advance(job, quay.clock)
    assert (job.state, job.start_attempts) == (State.STARTING, 1)
    return job


def look(quay: Quay, job: Job, *, times: int) -> Job:
    for _ in range(times):
        quay.clock.tick(starting.LOOK_AGAIN.total_seconds())
        advance(job, quay.clock)
    return job


class TestLostStart:
    def test_is_found_by_its_order(self, quay: Quay, lost: Job) -> None:
        quay.far.accept(starting.start_request(lost))

        look(quay, lost, times=1)

        assert (lost.state, lost.node_job_id) == (State.RUNNING, quay.far.jobs[0].long_id)
        assert len(quay.far.called("start")) == 1

    def test_is_found_among_many_with_few_questions_to_the_database(
        self, quay: Quay, lost: Job, django_assert_max_num_queries: DjangoAssertNumQueries
    ) -> None:
        quay.far.accept(starting.start_request(lost))
        (mine,) = quay.far.jobs
        others = [
            mine.model_copy(update={"job_id": f"{n:032x}", "agreement_id": f"0x{n:064x}"})
            for n in range(1, 51)
        ]

        with django_assert_max_num_queries(8):
            found = starting._this_job(job=lost, reports=[*others, mine])

        assert found == mine

    def test_that_arrives_late_is_looked_for_and_not_given_up(self, quay: Quay, lost: Job) -> None:
        def arrives_now(request: Any, proof: Any) -> Any:
            quay.far.accept(request)  # the first one, which was on its way
            raise refused("order_in_use")

        quay.far.will("start", arrives_now)

        look(quay, lost, times=2)

        assert (lost.state, lost.start_attempts) == (State.RUNNING, 2)
        assert lost.node_job_id == quay.far.jobs[0].long_id
        assert len(quay.far.jobs) == 1

    def test_with_a_nonce_that_was_used_before_is_looked_for(self, quay: Quay) -> None:
        quay.give("dataset")
        job = quay.job(own_algorithm={"code": "1", "language": ""})

        def runs_all_the_same(request: Any, proof: Any) -> Any:
            quay.far.accept(request)
            raise refused("nonce_reused", maybe_happened=True)

        quay.far.will("start", runs_all_the_same)

        advance(job, quay.clock)
        assert job.state == State.STARTING
        look(quay, job, times=1)

        assert job.state == State.RUNNING
        assert (len(quay.far.called("start")), len(quay.far.jobs)) == (1, 1)

    def test_is_never_taken_for_a_job_of_the_same_order_from_before(self, quay: Quay, lost: Job) -> None:
        quay.far.accept(starting.start_request(lost))
        look(quay, lost, times=1)
        quay.far.end_jobs()
        Job.objects.filter(pk=lost.pk).update(state=State.SUCCEEDED)
        again = quay.job(own_algorithm={"code": "1", "language": ""})
        quay.far.will("start", lost_answer())
        advance(again, quay.clock)
        assert again.seen_before == [quay.far.jobs[0].long_id]

        look(quay, again, times=2)

        assert again.state == State.RUNNING
        assert again.node_job_id == quay.far.jobs[1].long_id
        assert quay.orders_on_chain() == 1


class TestOrderInUse:
    def test_by_the_same_start_that_was_delivered_twice_is_the_job_itself(self, quay: Quay) -> None:
        def twice(request: Any, proof: Any) -> Any:
            quay.far.accept(request)
            raise refused("order_in_use")

        quay.give("dataset")
        quay.far.will("start", twice)

        job = advance(quay.job(own_algorithm={"code": "1", "language": ""}), quay.clock)

        assert (job.state, job.node_job_id) == (State.RUNNING, quay.far.jobs[0].long_id)
        assert len(quay.far.called("start")) == 1

    def test_at_the_first_start_fails_the_job(self, quay: Quay) -> None:
        quay.give("dataset")
        quay.far.will("start", refused("order_in_use"))

        job = advance(quay.job(own_algorithm={"code": "1", "language": ""}), quay.clock)

        assert (job.state, job.reason) == (State.FAILED, "order_in_use")

    def test_by_nobody_that_the_list_shows_needs_a_person_in_the_end(self, quay: Quay, lost: Job) -> None:
        quay.far.will("start", *[refused("order_in_use")] * 5)

        look(quay, lost, times=10)

        assert (lost.state, lost.reason) == (State.NEEDS_ATTENTION, "start_lost")
        assert len(quay.far.called("start")) == starting.STARTS_MAX
