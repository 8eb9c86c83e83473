"""A start whose answer was lost: the node's list is searched for it before it is sent again."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

import pytest

from jobs.access import Actor
from jobs.lifecycle import State
from jobs.models import Job
from jobs.ocean.errors import BadAnswer
from jobs.services import budget, launching, starting
from jobs.services.budget import Purpose
from tests.builders import NOW
from tests.services.fakes import (
    STRANGER,
    Clock,
    FakeNode,
    lost_answer,
    make_report,
    not_there,
    refused,
)
from tests.services.steps import advance


def arrived_twice(far: FakeNode) -> Callable[..., Any]:
    """Take a start as a node does that gets the same bytes twice, and answers the second time."""

    def answer(request: Any, proof: Any) -> Any:
        far.last_nonce = proof.nonce
        raise refused("nonce", retryable=True)

    return answer


class TestLostAnswer:
    @pytest.fixture
    def lost(self, job: Job, far: FakeNode, clock: Clock) -> Job:
        """A job whose start was sent, but not answered."""
        far.will("start", lost_answer())
        advance(job, clock)
        assert job.state == State.STARTING
        assert job.start_sent_at == NOW
        return job

    def test_says_why_it_waits(self, lost: Job) -> None:
        assert lost.trouble == "The node did not answer in time."
        assert lost.next_check_at == NOW + starting.LOOK_AGAIN

    def test_counts_as_a_change_that_pages_show(self, lost: Job, far: FakeNode, clock: Clock) -> None:
        before = lost.version
        far.will("jobs_of", lost_answer())
        clock.tick(15)

        advance(lost, clock)

        assert lost.version == before + 1

    def test_shows_its_trouble_under_a_new_version(self, job: Job, far: FakeNode, clock: Clock) -> None:
        versions: list[int] = []

        def fail(request: Any, proof: Any) -> Any:
            versions.append(Job.objects.get(pk=job.pk).version)
            raise lost_answer()

        far.will("start", fail)

        advance(job, clock)

        assert job.version == versions[0] + 1

    def test_adopts_the_job_that_the_node_lists_with_our_tag(
        self, lost: Job, far: FakeNode, clock: Clock
    ) -> None:
        far.jobs = [
            make_report(long_id="0x60962e6d-0xother", tag=str(uuid.UUID(int=1))),
            make_report(long_id="0x60962e6d-0xours", tag=str(lost.tag), status=20),
        ]
        clock.tick(15)

        advance(lost, clock)

        assert lost.state == State.RUNNING
        assert lost.node_job_id == "0x60962e6d-0xours"
        assert lost.node_status == 20
        assert lost.trouble == ""
        assert len(far.called("start")) == 1

    def test_is_not_repeated_after_one_look_in_vain(self, lost: Job, far: FakeNode, clock: Clock) -> None:
        clock.tick(15)

        advance(lost, clock)

        assert len(far.called("start")) == 1
        assert lost.next_check_at == clock() + starting.LOOK_AGAIN

    def test_is_repeated_after_two_looks_in_vain(self, lost: Job, far: FakeNode, clock: Clock) -> None:
        for _ in range(2):
            clock.tick(15)
            advance(lost, clock)

        assert len(far.called("start")) == 2
        assert len(far.called("jobs_of")) == 2
        assert lost.state == State.RUNNING
        assert lost.start_attempts == 2

    def test_is_not_sent_again_where_the_node_had_it_twice_and_refuses_the_second_for_its_nonce(
        self, job: Job, far: FakeNode, clock: Clock
    ) -> None:
        far.will("start", arrived_twice(far))

        advance(job, clock)

        assert (job.state, job.start_sent_at, job.start_attempts) == (State.STARTING, NOW, 1)
        clock.tick(15)
        far.jobs = [make_report(long_id="0x60962e6d-0xours", tag=str(job.tag), status=20)]
        advance(job, clock)
        assert (job.state, job.node_job_id) == (State.RUNNING, "0x60962e6d-0xours")
        assert len(far.called("start")) == 1

    def test_is_not_sent_again_where_nobody_says_whose_nonce_it_was(
        self, job: Job, far: FakeNode, clock: Clock
    ) -> None:
        far.will("start", arrived_twice(far))
        far.will("nonce", not_there())

        advance(job, clock)

        assert (job.state, job.start_sent_at) == (State.STARTING, NOW)
        assert len(far.called("start")) == 1

    def test_is_looked_for_again_when_its_order_is_in_use_at_the_second_start(
        self, lost: Job, far: FakeNode, clock: Clock
    ) -> None:
        far.will("start", refused("order_in_use"))
        for _ in range(2):
            clock.tick(15)
            advance(lost, clock)
        assert (lost.state, lost.start_attempts) == (State.STARTING, 2)
        far.jobs = [make_report(long_id="0x60962e6d-0xours", tag=str(lost.tag), status=20)]
        clock.tick(15)

        advance(lost, clock)

        assert (lost.state, lost.node_job_id) == (State.RUNNING, "0x60962e6d-0xours")
        assert len(far.called("start")) == 2

    def test_of_a_stranger_with_our_tag_is_not_adopted(self, lost: Job, far: FakeNode, clock: Clock) -> None:
        far.jobs = [make_report(long_id="0x60962e6d-0xtheirs", tag=str(lost.tag), owner=STRANGER)]
        clock.tick(15)

        advance(lost, clock)

        assert lost.state == State.STARTING

    def test_needs_attention_after_three_starts(self, lost: Job, far: FakeNode, clock: Clock) -> None:
        far.will("start", lost_answer(), lost_answer(), lost_answer())

        for _ in range(12):
            clock.tick(15)
            advance(lost, clock)

        assert lost.state == State.NEEDS_ATTENTION
        assert lost.reason == "start_lost"
        assert lost.attention_from == State.STARTING
        assert len(far.called("start")) == 3

    def test_keeps_waiting_when_the_look_fails(self, lost: Job, far: FakeNode, clock: Clock) -> None:
        far.will("jobs_of", *[not_there()] * 4)

        for _ in range(4):
            clock.tick(15)
            advance(lost, clock)

        assert len(far.called("start")) == 1
        assert lost.start_sent_at == NOW
        assert lost.missing_count == 0
        assert lost.state == State.STARTING

    def test_silences_everybody_when_the_look_was_one_too_many(
        self, lost: Job, far: FakeNode, clock: Clock
    ) -> None:
        far.will("jobs_of", refused("rate_limited", retryable=True, retry_after_s=40))
        clock.tick(15)

        advance(lost, clock)

        with pytest.raises(budget.OutOfBudget):
            budget.spend(node=lost.node, purpose=Purpose.ACT, now=clock.tick(39))

    def test_keeps_waiting_when_part_of_the_list_cannot_be_read(
        self, lost: Job, far: FakeNode, clock: Clock
    ) -> None:
        far.skipped = 1

        for _ in range(3):
            clock.tick(15)
            advance(lost, clock)

        assert len(far.called("start")) == 1
        assert lost.missing_count == 0

    def test_is_believed_when_the_answer_could_not_be_read(
        self, job: Job, far: FakeNode, clock: Clock
    ) -> None:
        far.will("start", BadAnswer("What is this?", code="job", maybe_happened=True))

        advance(job, clock)

        assert (job.state, job.start_sent_at) == (State.STARTING, NOW)

    def test_is_cancelled_only_after_looking_twice(
        self, lost: Job, far: FakeNode, clock: Clock, alice: Actor
    ) -> None:
        launching.cancel(actor=alice, job_id=lost.pk, now=clock.tick(1))

        advance(lost, clock)
        assert lost.state == State.STARTING
        clock.tick(15)
        advance(lost, clock)

        assert lost.state == State.CANCELLED
        assert "never showed" in lost.message
        assert len(far.called("start")) == 1

    def test_is_stopped_when_it_is_found_after_a_wish_to_cancel(
        self, lost: Job, far: FakeNode, clock: Clock, alice: Actor
    ) -> None:
        far.jobs = [make_report(long_id="0x60962e6d-0xours", tag=str(lost.tag))]
        launching.cancel(actor=alice, job_id=lost.pk, now=clock.tick(1))

        advance(lost, clock)
        advance(lost, clock)

        assert lost.state == State.RUNNING
        assert [call.given["job_id"] for call in far.called("stop")] == ["0x60962e6d-0xours"]

    def test_is_still_looked_for_when_the_repeat_certainly_failed(
        self, lost: Job, far: FakeNode, clock: Clock
    ) -> None:
        far.will("start", not_there())
        for _ in range(2):
            clock.tick(15)
            advance(lost, clock)

        assert lost.start_sent_at == NOW
        assert lost.start_attempts == 1
