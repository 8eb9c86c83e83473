"""The steps of a job: what is done, what is under way, and how long it took."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from jobs.lifecycle import State
from jobs.selectors.phases import Course, Seen, current_step, steps, typical
from tests.builders import NOW

S = timedelta(seconds=1)
RUNNING = Course(
    state=State.RUNNING,
    attention_from="",
    node_status=40,
    first_failure=None,
    reason="",
    requested_at=NOW,
    accepted_at=NOW + 1 * S,
    algorithm_started_at=NOW + 20 * S,
    algorithm_stopped_at=None,
    collecting_at=None,
    ended_at=None,
    seen=(Seen(NOW + 1 * S, "image"), Seen(NOW + 12 * S, "volumes"), Seen(NOW + 21 * S, "running")),
)
DONE = replace(
    RUNNING,
    state=State.SUCCEEDED,
    node_status=70,
    algorithm_stopped_at=NOW + 50 * S,
    collecting_at=NOW + 55 * S,
    ended_at=NOW + 58 * S,
    seen=(*RUNNING.seen, Seen(NOW + 52 * S, "publishing")),
)


def marks(course: Course) -> dict[str, str]:
    return {step.key: step.mark for step in steps(course=course)}


def took(course: Course) -> dict[str, timedelta | None]:
    return {step.key: step.took for step in steps(course=course)}


class TestSteps:
    def test_of_a_running_job_end_where_it_is(self) -> None:
        assert marks(RUNNING) == {
            "accepted": "done",
            "image": "done",
            "data": "done",
            "running": "now",
            "publishing": "",
            "archived": "",
        }

    def test_tell_since_when_the_algorithm_runs_by_the_nodes_clock(self) -> None:
        (now,) = [step for step in steps(course=RUNNING) if step.mark == "now"]

        assert now.since == NOW + 20 * S

    def test_of_a_success_are_all_done_and_timed(self) -> None:
        assert set(marks(DONE).values()) == {"done"}
        assert took(DONE) == {
            "accepted": 1 * S,
            "image": 11 * S,
            "data": 9 * S,
            "running": 30 * S,
            "publishing": 3 * S,
            "archived": 3 * S,
        }

    def test_do_not_time_what_ended_unseen(self) -> None:
        unseen = replace(DONE, seen=(Seen(NOW + 1 * S, "image"), Seen(NOW + 21 * S, "running")))

        assert took(unseen)["image"] is None
        assert marks(unseen)["data"] == "done"
        assert took(unseen)["data"] is None

    def test_show_the_queue_only_if_the_job_was_queued(self) -> None:
        queued = replace(
            RUNNING, node_status=1, algorithm_started_at=None, seen=(Seen(NOW + 1 * S, "queued"),)
        )

        assert "queued" not in marks(RUNNING)
        assert marks(queued)["queued"] == "now"

    def test_of_a_job_that_expired_in_the_queue_end_there(self) -> None:
        expired = replace(
            RUNNING,
            state=State.FAILED,
            node_status=70,
            first_failure=2,
            algorithm_started_at=None,
            seen=(Seen(NOW + 1 * S, "queued"),),
            collecting_at=NOW + 60 * S,
            ended_at=NOW + 61 * S,
        )

        assert marks(expired) == {
            "accepted": "done",
            "queued": "bad",
            "image": "skipped",
            "data": "skipped",
            "running": "skipped",
            "publishing": "skipped",
            "archived": "done",
        }

    def test_of_a_failure_end_where_the_nodes_number_belongs(self) -> None:
        failed = replace(
            DONE, state=State.FAILED, first_failure=31, algorithm_started_at=None, seen=DONE.seen[:1]
        )

        assert marks(failed)["data"] == "bad"

    def test_of_a_failed_algorithm_are_bad_at_running(self) -> None:
        assert marks(replace(DONE, state=State.FAILED))["running"] == "bad"

    def test_of_a_refused_start_are_bad_at_the_door(self) -> None:
        refused = replace(
            RUNNING,
            state=State.FAILED,
            node_status=None,
            accepted_at=None,
            algorithm_started_at=None,
            seen=(),
            ended_at=NOW + 5 * S,
        )

        assert marks(refused)["accepted"] == "bad"
        assert marks(refused)["running"] == "skipped"

    def test_wait_where_the_job_waits_for_somebody(self) -> None:
        waiting = replace(RUNNING, state=State.NEEDS_ATTENTION, attention_from="RUNNING")

        assert marks(waiting)["running"] == "warn"

    def test_say_what_is_usual_only_of_what_is_to_come(self) -> None:
        told = steps(course=RUNNING, usual={"image": 5 * S, "running": 30 * S, "publishing": 4 * S})

        assert {step.key: step.usual for step in told if step.usual} == {
            "running": 30 * S,
            "publishing": 4 * S,
        }


class TestCurrentStep:
    def test_is_archiving_while_results_are_collected(self) -> None:
        assert current_step(replace(DONE, state=State.COLLECTING, ended_at=None)) == "archived"

    def test_is_the_last_one_seen_when_the_number_is_unknown(self) -> None:
        assert current_step(replace(RUNNING, node_status=999)) == "running"


class TestTypical:
    def test_is_the_median_of_three_or_more(self) -> None:
        slow = replace(DONE, algorithm_stopped_at=NOW + 120 * S)

        assert typical([DONE, DONE, slow])["running"] == 30 * S

    def test_says_nothing_of_two(self) -> None:
        assert typical([DONE, DONE]) == {}
