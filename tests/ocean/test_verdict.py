import pytest

from jobs.ocean.compute import (
    FAILURES,
    PHASES,
    JobReport,
    failure_number,
    parse_jobs,
    phase_of,
    same_job,
    verdict,
)
from jobs.ocean.errors import BadAnswer
from tests.ocean.wire import account, recording

ALL_NUMBERS = [1, 2, 10, 11, 12, 13, 14, 20, 21, 22, 30, 31, 32, 33, 40, 41, 42, 60, 61, 62, 70, 71]


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

    @pytest.mark.parametrize("number", sorted(FAILURES))
    @pytest.mark.parametrize("rewritten", [71, 70])
    def test_is_the_first_failure_even_when_the_node_rewrites_it(self, number, rewritten):
        judged = verdict(report(status=rewritten), first_failure=number)

        assert judged.state == "failed"
        assert judged.reason == FAILURES[number][0]

    @pytest.mark.parametrize(
        ("number", "reason"),
        [
            (2, "queue_expired"),
            (11, "image_pull"),
            (13, "image_build"),
            (14, "image_pull"),
            (21, "volumes"),
            (22, "container"),
            (31, "data_provisioning"),
            (32, "algorithm_provisioning"),
            (33, "upload"),
            (41, "algorithm"),
            (42, "disk_quota"),
            (61, "publish"),
            (62, "publish"),
        ],
    )
    def test_names_the_reason_of_every_failure_number(self, number, reason):
        judged = verdict(report(status=number))

        assert (judged.state, judged.reason) == ("failed", reason)

    def test_knows_a_reason_for_every_failure_number_and_for_no_other(self):
        assert set(FAILURES) == {2, 11, 13, 14, 21, 22, 31, 32, 33, 41, 42, 61, 62}
        assert [failure_number(report(status=number)) is not None for number in ALL_NUMBERS] == [
            number in FAILURES for number in ALL_NUMBERS
        ]

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
