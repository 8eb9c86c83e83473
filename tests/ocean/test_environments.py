import copy

import pytest

from jobs.ocean.environments import parse_environments
from jobs.ocean.errors import BadAnswer
from tests.ocean.wire import ENVIRONMENT, account, recording


def recorded(number: str, seq: int) -> list:
    return copy.deepcopy(recording(number)[seq]["response"]["body"]["json"])


class TestParseEnvironments:
    def test_reads_the_recorded_one(self):
        (environment,) = parse_environments(recorded("01", 5))

        assert environment.id == ENVIRONMENT
        assert environment.consumer_address == account(9).address
        assert environment.max_duration_s == 3600
        assert environment.storage_expiry_s == 604800
        assert not environment.network_allowed
        assert environment.free.max_jobs == 2
        assert environment.free.max_duration_s == 120
        assert [(one.id, one.max) for one in environment.free.resources] == [
            ("cpu", 1),
            ("ram", 2),
            ("disk", 1),
        ]
        assert environment.fees["8996"][0]["prices"][1] == {"id": "ram", "price": 0.1}
        assert (
            environment.raw["platform"] == environment.platform == {"architecture": "x86_64", "os": "linux"}
        )

    def test_counts_malformed_ones_and_keeps_the_others(self):
        good = recorded("01", 5)[0]

        parsed = parse_environments(
            [{**good, "maxJobDuration": "long"}, good, {**good, "free": {"maxJobs": -1}}, 7]
        )

        assert len(parsed) == 1
        assert parsed.skipped == 3

    @pytest.mark.parametrize(
        "answer", [{}, "x", None, [1], [{}], [{"id": ENVIRONMENT}], [{"id": "", "maxJobDuration": 1}]]
    )
    def test_refuses_what_it_cannot_read_at_all(self, answer):
        with pytest.raises(BadAnswer):
            parse_environments(answer)

    def test_takes_an_empty_list(self):
        assert len(parse_environments([])) == 0

    def test_takes_null_for_what_people_may_leave_out(self):
        answer = recorded("01", 5)
        answer[0] |= {"description": None, "fees": None, "free": None, "storageExpiry": None}

        assert parse_environments(answer).skipped == 0

    def test_takes_an_environment_without_a_free_tier(self):
        answer = recorded("01", 5)
        del answer[0]["free"]

        (environment,) = parse_environments(answer)

        assert environment.free is None
        assert environment.free_room == 0


class TestFreeRoom:
    def test_is_two_when_idle_and_none_when_busy(self):
        (idle,) = parse_environments(recorded("01", 5))
        (busy,) = parse_environments(recorded("24", 3))

        assert idle.free_room == 2
        assert busy.free_room == 0
        assert busy.free.running_jobs == 2

    @pytest.mark.parametrize(
        ("change", "room"),
        [
            (lambda answer: answer.update(runningfreeJobs=1), 1),
            (lambda answer: answer["free"].update(maxJobs=9), 2),
            (lambda answer: answer["free"]["resources"][0].update(inUse=1), 1),
            (lambda answer: answer["resources"][0].update(inUse=2), 0),
            (lambda answer: answer["resources"][1].update(inUse=7), 1),
            (lambda answer: answer["free"]["resources"][0].update(inUse=99), 0),
        ],
    )
    def test_is_what_the_scarcest_thing_leaves(self, change, room):
        answer = recorded("01", 5)
        change(answer[0])

        (environment,) = parse_environments(answer)

        assert environment.free_room == room


class TestAdmits:
    @pytest.mark.parametrize(
        ("access", "admitted"),
        [
            ({"addresses": [], "accessLists": []}, True),
            ({"addresses": [account(1).address.lower()], "accessLists": []}, True),
            ({"addresses": [account(2).address], "accessLists": []}, False),
            ({"addresses": [account(2).address], "accessLists": [{"8996": ["0x1"]}]}, None),
        ],
    )
    def test_says_what_the_lists_say(self, access, admitted):
        answer = recorded("01", 5)
        answer[0]["free"]["access"] = access

        (environment,) = parse_environments(answer)

        assert environment.free.admits(account(1).address) is admitted
