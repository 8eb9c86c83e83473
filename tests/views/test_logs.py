"""Logs as lines: live pieces, archived text, and what strangers print."""

from __future__ import annotations

from datetime import timedelta

import pytest

from jobs.access import Actor
from jobs.errors import Missing, NotAllowed
from jobs.lifecycle import State
from jobs.models import Job, Team
from jobs.models.teams import Role
from jobs.selectors import logs
from tests import builders
from tests.builders import NOW
from tests.conftest import Cast

LATER = NOW + timedelta(seconds=10)


def texts(part: logs.LogPart) -> list[tuple[str, bool]]:
    return [(line.text, line.error) for line in part.lines]


def of(team: Team, role: Role = Role.VIEWER) -> Actor:
    return Actor(user_id=None, name="Vera", team_id=team.pk, role=role)


@pytest.fixture
def job(cast: Cast) -> Job:
    return builders.make_job(team=cast.team, state=State.RUNNING)


class TestArchived:
    def test_is_read_line_by_line(self) -> None:
        assert texts(logs.archived(b"one\ntwo", cut=False)) == [("one", False), ("two", False)]

    def test_drops_the_half_line_at_the_beginning_of_a_tail(self) -> None:
        assert texts(logs.archived(b"lf\nwhole\n", cut=True)) == [("whole", False)]


class TestLine:
    @pytest.mark.parametrize(
        ("printed", "shown"),
        [
            (b"\x1b[31mred\x1b[0m", "red"),
            (b"\x1b]0;title\x07text", "text"),
            (b"10 %\r20 %\r30 %", "30 %"),
            (b"end\r", "end"),
            (b"a\x00\x08b", "ab"),
            ("a\u202eb".encode(), "ab"),
            (b"caf\xe9", "caf\ufffd"),
            (b"tab\there", "tab\there"),
        ],
    )
    def test_shows_what_a_terminal_would_and_nothing_else(self, printed: bytes, shown: str) -> None:
        assert texts(logs.archived(printed + b"\n", cut=False)) == [(shown, False)]

    def test_is_cut_when_it_is_endless(self) -> None:
        (line,) = logs.archived(b"x" * 10_000 + b"\n", cut=False).lines

        assert line.text.endswith("… (6000 more characters)")


class TestMore:
    def test_returns_whole_lines_and_where_to_go_on(self, cast: Cast, job: Job) -> None:
        builders.make_log(job=job, text="one\ntw", at=NOW)

        first = logs.more(actor=of(cast.team), job_id=job.pk, after=0, now=NOW)
        builders.make_log(job=job, text="o\nthree\n", at=NOW)
        second = logs.more(actor=of(cast.team), job_id=job.pk, after=first.offset, now=NOW)

        assert (texts(first), first.offset) == ([("one", False)], 4)
        assert (texts(second), second.offset) == ([("two", False), ("three", False)], 14)

    def test_shows_an_unfinished_line_once_it_has_settled(self, cast: Cast, job: Job) -> None:
        builders.make_log(job=job, text="progress 10 %", at=NOW)

        part = logs.more(actor=of(cast.team), job_id=job.pk, after=0, now=LATER)

        assert (texts(part), part.offset) == ([("progress 10 %", False)], 13)

    def test_keeps_streams_apart(self, cast: Cast, job: Job) -> None:
        builders.make_log(job=job, text="out", stream=1)
        builders.make_log(job=job, text="err\n", stream=2)

        part = logs.more(actor=of(cast.team), job_id=job.pk, after=0, now=NOW)

        assert texts(part) == [("out", False), ("err", True)]

    def test_ends_with_the_job(self, cast: Cast) -> None:
        ended = builders.make_job(team=cast.team, state=State.SUCCEEDED)

        assert logs.more(actor=of(cast.team), job_id=ended.pk, after=0, now=NOW).ended

    def test_does_not_know_another_teams_job(self, cast: Cast, job: Job) -> None:
        with pytest.raises(Missing):
            logs.more(actor=of(cast.other_team), job_id=job.pk, after=0, now=NOW)

    @pytest.mark.parametrize("role", [Role.TREASURER, Role.AUDITOR])
    def test_is_not_for_those_who_look_after_money(self, cast: Cast, job: Job, role: Role) -> None:
        with pytest.raises(NotAllowed):
            logs.more(actor=of(cast.team, role), job_id=job.pk, after=0, now=NOW)
        with pytest.raises(Missing):  # not even there, so not forbidden
            logs.more(actor=of(cast.other_team, role), job_id=job.pk, after=0, now=NOW)


class TestLive:
    def test_shows_the_end_of_a_long_log(self, job: Job) -> None:
        for _ in range(5):
            builders.make_log(job=job, text=("x" * 59_999) + "\n")

        part = logs.live(job_id=job.pk, now=LATER)

        assert part.cut
        assert part.offset == 300_000
        assert sum(len(line.text) for line in part.lines) < logs.SHOWN_BYTES
