import itertools

import pytest

from jobs.ocean.compute import JobReport, parse_jobs, same_job
from jobs.ocean.errors import BadAnswer
from jobs.ocean.verdicts import FAILURES, PHASES, Verdict, failure_number, phase_of, verdict
from tests.ocean.wire import account, recording

# Every number that ocean-node v3.2.0 has a name for (C2D.ts, C2DStatusNumber).
ALL_NUMBERS = [0, 1, 2, 10, 11, 12, 13, 14, 20, 21, 22, 30, 31, 32, 33, 40, 41, 42, 50, 60, 61, 62, 70, 71]
REASONS = {
    2: "queue_expired",
    11: "image_pull",
    13: "image_build",
    14: "image_pull",
    21: "volumes",
    22: "container",
    31: "data_provisioning",
    32: "algorithm_provisioning",
    33: "upload",
    41: "algorithm",
    42: "disk_quota",
    61: "publish",
    62: "publish",
}
# Exit code, out of memory, stop asked for: how a job stands that ended so, whatever number it has that is no failure.
EXITS = [
    ((0, False, False), ("succeeded", "")),
    ((0, None, False), ("succeeded", "")),
    ((None, None, False), ("unknown", "exit_unknown")),
    ((None, False, False), ("unknown", "exit_unknown")),
    ((1, False, False), ("failed", "exit_code")),
    ((-1, False, False), ("failed", "exit_code")),
    ((255, False, False), ("failed", "exit_code")),
    ((137, False, False), ("failed", "exit_code")),
    ((143, False, False), ("failed", "exit_code")),
    ((137, True, False), ("failed", "oom")),
    ((0, True, False), ("failed", "oom")),
    ((None, None, True), ("cancelled", "stopped")),
    ((0, False, True), ("cancelled", "stopped")),
    ((137, False, True), ("cancelled", "stopped")),
]


def report(**changes) -> JobReport:
    fields = {
        "job_id": "a",
        "long_id": "1-a",
        "owner": account(1).address,
        "environment": "1-b",
        "status": 71,
        "dateFinished": "1795330535.13",
        "algoStartTimestamp": "1795330500.0",
        "algoStopTimestamp": "1795330506.5",
        "maxJobDuration": 120,
        "terminationDetails": {"exitCode": 0, "OOMKilled": False},
    }
    return JobReport.model_validate({**fields, **changes})


def ended_with(code, *, oom=False, **changes) -> JobReport:
    return report(terminationDetails={"exitCode": code, "OOMKilled": oom}, **changes)


class TestVerdict:
    @pytest.mark.parametrize("number", ALL_NUMBERS)
    def test_is_running_until_the_node_gives_an_end(self, number):
        judged = verdict(report(status=number, dateFinished=None, statusText="Running algorithm "))

        assert judged.state == "running"
        assert judged.sentence == "Running algorithm"

    @pytest.mark.parametrize("number", sorted(FAILURES["ocean-node"]))
    @pytest.mark.parametrize("rewritten", [71, 70])
    def test_is_the_first_failure_even_when_the_node_rewrites_it(self, number, rewritten):
        judged = verdict(report(status=rewritten), first_failure=number)

        assert judged.state == "failed"
        assert judged.reason == FAILURES["ocean-node"][number][0]

    def test_knows_a_reason_for_every_failure_number_and_for_no_other(self):
        assert {number: reason for number, (reason, _) in FAILURES["ocean-node"].items()} == REASONS

    @pytest.mark.parametrize(
        ("ended", "state", "reason"),
        [
            (ended_with(0), "succeeded", ""),
            (ended_with(0, status=70), "succeeded", ""),
            (ended_with(1), "failed", "exit_code"),
            (ended_with(None), "unknown", "exit_unknown"),
            (report(terminationDetails=None), "unknown", "exit_unknown"),
            (ended_with(137, oom=True), "failed", "oom"),
            (ended_with(137), "failed", "exit_code"),
            (ended_with(137, maxJobDuration=6), "failed", "time_limit"),
            (ended_with(143, maxJobDuration=6), "failed", "time_limit"),
            (ended_with(1, maxJobDuration=6), "failed", "exit_code"),
            (ended_with(137, maxJobDuration=None), "failed", "exit_code"),
            (ended_with(137, maxJobDuration=6, algoStopTimestamp="0"), "failed", "exit_code"),
            (ended_with(137, stopRequested=True), "cancelled", "stopped"),
            (ended_with(None, stopRequested=True), "cancelled", "stopped"),
            (ended_with(137, stopRequested=True, maxJobDuration=6), "cancelled", "stopped"),
            (ended_with(137, oom=True, stopRequested=True), "cancelled", "stopped"),
            (report(status=31, stopRequested=True), "failed", "data_provisioning"),
        ],
    )
    def test_reads_the_exit_only_at_the_end(self, ended, state, reason):
        judged = verdict(ended)

        assert (judged.state, judged.reason) == (state, reason)
        assert judged.sentence.endswith(".")

    def test_ignores_a_first_failure_that_is_none(self):
        assert verdict(report(), first_failure=40).state == "succeeded"

    @pytest.mark.parametrize(
        ("number", "seq", "state", "reason"),
        [
            ("10", 8, "succeeded", ""),
            ("12", 7, "failed", "exit_code"),
            ("13", 7, "failed", "time_limit"),
            ("14", 9, "cancelled", "stopped"),
            ("20", 11, "succeeded", ""),
            ("22", 5, "failed", "data_provisioning"),
            ("22", 21, "failed", "algorithm_provisioning"),
            ("23", 7, "failed", "oom"),
            ("24", 8, "failed", "queue_expired"),
        ],
    )
    def test_of_the_recorded_ends(self, number, seq, state, reason):
        (ended,) = parse_jobs(recording(number)[seq]["response"]["body"]["json"])

        judged = verdict(ended)

        assert (judged.state, judged.reason) == (state, reason)


def left(number: int, exit_: tuple, *, ended: bool = True) -> JobReport:
    """A report with this number; the exit is told at the end alone."""
    code, oom, stop = exit_
    return report(
        status=number,
        dateFinished="1795330535.13" if ended else None,
        terminationDetails={"exitCode": code, "OOMKilled": oom} if ended else None,
        stopRequested=stop,
    )


def followed(*reports: JobReport) -> Verdict:
    """Judge the last report as a caller does that keeps the first failure number it sees."""
    seen = [number for one in reports if (number := failure_number(one)) is not None]
    return verdict(reports[-1], first_failure=seen[0] if seen else None)


def standing(judged: Verdict) -> tuple[str, str]:
    return judged.state, judged.reason


class TestEveryNumber:
    """0 to 99, by every exit: seen early, late, and after the node was restarted and settled the job."""

    @pytest.mark.parametrize("number", range(100))
    def test_is_judged_the_same_whenever_it_was_seen(self, number):
        for exit_, by_exit in EXITS:
            early, late, settled = left(number, exit_, ended=False), left(number, exit_), left(70, exit_)
            expected = ("failed", REASONS[number]) if number in REASONS else by_exit

            assert standing(followed(early)) == ("running", "")
            assert standing(followed(late)) == expected, exit_
            assert standing(followed(early, late)) == expected, exit_
            assert standing(followed(early, settled)) == expected, exit_
            assert standing(followed(late, settled)) == expected, exit_
            assert standing(followed(early, early, late, left(71, exit_), settled)) == expected, exit_

    @pytest.mark.parametrize(("exit_", "by_exit"), EXITS)
    def test_that_was_never_seen_leaves_the_exit_to_judge_by(self, exit_, by_exit):
        unseen = left(40, exit_, ended=False)

        assert standing(followed(unseen, left(70, exit_))) == by_exit

    @pytest.mark.parametrize("first", sorted(REASONS))
    def test_of_a_failure_counts_when_it_is_the_first(self, first):
        exit_ = (None, None, False)

        for second in REASONS:
            judged = followed(left(first, exit_, ended=False), left(second, exit_), left(70, exit_))
            assert standing(judged) == ("failed", REASONS[first])

    @pytest.mark.parametrize("number", range(100))
    def test_is_a_success_only_by_an_exit_code_of_0_or_the_node_does_not_say(self, number):
        for (exit_, _), ended, seconds in itertools.product(EXITS, [True, False], [None, 0, 6]):
            one = left(number, exit_, ended=ended).model_copy(update={"max_duration_s": seconds})
            for first in [None, 40, 70, 99, *REASONS]:
                judged = verdict(one, first_failure=first)
                if judged.state == "succeeded":
                    assert ended and exit_[0] == 0
                    assert number not in REASONS and first not in REASONS
                if judged.state == "unknown":
                    assert "the node does not say" in judged.sentence
                assert judged.sentence.endswith(".")


class TestPhases:
    @pytest.mark.parametrize("number", ALL_NUMBERS)
    def test_cover_every_number(self, number):
        assert phase_of(number) is not None

    def test_are_none_for_a_number_from_the_future(self):
        assert phase_of(55) is None

    def test_come_in_the_order_in_which_jobs_pass_them(self):
        keys = [phase.key for phase in PHASES]
        changes = [one for one in recording("10").values() if one["title"].startswith("status changed")]

        passed = [phase_of(one["response"]["body"]["json"][0]["status"]) for one in changes]

        assert keys == ["queued", "image", "volumes", "data", "running", "publishing", "done"]
        assert passed == keys[1:]


class TestSameJob:
    @pytest.mark.parametrize(
        ("one", "other", "same"),
        [
            ("0x6-ab", "ab", True),
            ("ab", "ab", True),
            ("0x6-ab", "0x6-ab", True),
            ("0x6-ab", "0x7-ab", False),
            ("0x6-ab", "ac", False),
        ],
    )
    def test_looks_through_the_engine(self, one, other, same):
        assert same_job(one, other) is same
        assert same_job(other, one) is same


class TestJobReport:
    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("status", "71"),
            ("status", True),
            ("status", -1),
            ("status", 10**9),
            ("owner", "somebody"),
            ("dateFinished", "yesterday"),
            ("dateFinished", "nan"),
            ("dateFinished", "1e300"),
            ("dateFinished", -5),
            ("dateFinished", True),
            ("dateFinished", []),
            ("results", "all"),
            ("results", [{"filename": "a", "type": "output", "index": "0"}]),
            ("results", [{"filename": "a", "type": "output", "index": 0, "filesize": -1}]),
            ("results", [{"filename": "a", "type": "output", "index": 0}] * 1_001),
            ("stopRequested", "no"),
            ("terminationDetails", {"exitCode": "0", "OOMKilled": False}),
            ("terminationDetails", {"exitCode": 0, "OOMKilled": "no"}),
            ("maxJobDuration", -1),
            ("jobId", 7),
            ("environment", None),
            ("statusText", 5),
        ],
    )
    def test_with_a_wrong_field_is_a_bad_answer(self, field, value):
        good = recording("10")[8]["response"]["body"]["json"][0]

        with pytest.raises(BadAnswer):
            parse_jobs([{**good, field: value}])

    def test_cleans_what_people_see(self):
        good = recording("10")[8]["response"]["body"]["json"][0]
        nasty = {"filename": "a\u202egpj.\x00exe", "type": "output\n", "index": 0}

        (read,) = parse_jobs([{**good, "results": [nasty], "statusText": "x" * 1_000}])

        assert read.results[0].name == "agpj.exe"
        assert read.results[0].kind == "output"
        assert len(read.status_text) == 200

    def test_is_frozen_and_keeps_what_was_sent(self):
        good = recording("10")[8]["response"]["body"]["json"][0]

        (read,) = parse_jobs([good])

        assert read.raw == good
        with pytest.raises(ValueError, match="frozen"):
            read.status = 1
