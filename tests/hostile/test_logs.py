"""A job's log is bytes that a stranger's program wrote: live, without end, in frames that lie."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from django.test import Client

from jobs.lifecycle import State
from jobs.models import Job, LogChunk, Membership
from jobs.models.teams import Role
from jobs.services import following
from tests import builders
from tests.hostile.far_side import Script, repeats, sends
from tests.hostile.world import World, entry, running_now, wire_job

pytestmark = pytest.mark.django_db

CAP = 200_000
HEAD = b"HTTP/1.1 200 OK\r\n\r\n"
LINE = b"a line of the log\n"


def frame(data: bytes, *, stream: int = 1, length: int | None = None) -> bytes:
    """Wrap data as Docker does, with a length that may lie."""
    return bytes([stream, 0, 0, 0]) + (len(data) if length is None else length).to_bytes(4, "big") + data


@pytest.fixture
def watched(world: World, monkeypatch: pytest.MonkeyPatch) -> World:
    """The job at the bad node runs, and somebody looks at its page. The cap is patched: 20 MB take seconds."""
    monkeypatch.setattr(following, "LOG_MAX_BYTES", CAP)
    monkeypatch.setattr(following, "PIECES_MAX", 500)
    world.bad.listed = [running_now(world.victim)]
    Job.objects.filter(pk=world.victim.pk).update(
        node_status=40, watched_until=world.clock() + following.FOLLOW_FOR * 10
    )
    return world


@pytest.fixture
def page(world: World) -> Callable[[str], str]:
    """Open a page of the job at the bad node."""
    client = Client()
    user = builders.make_user("vera")
    Membership.objects.create(team=world.team, user=user, role=Role.VIEWER)
    client.force_login(user)

    def visit(path: str = "") -> str:
        response = client.get(f"/{world.team.slug}/jobs/{world.victim.pk}/{path}")
        assert response.status_code == 200
        return response.text

    return visit


def kept(world: World) -> bytes:
    """Return what is stored of the live log."""
    chunks = LogChunk.objects.filter(job=world.victim).order_by("offset")
    return b"".join(bytes(chunk.data) for chunk in chunks)


ENDLESS = {
    "text": repeats(LINE * 1_000),
    "one line": repeats(b"x" * 65_536),
    "frames": repeats(frame(LINE) * 1_000),
    "frames of one byte": repeats(frame(b"x") * 1_000),
    "empty frames": repeats(frame(b"") * 1_000),
    "two streams in turn": repeats((frame(LINE) + frame(LINE, stream=2)) * 50),
    "zeros": repeats(b"\0" * 65_536),
}


class TestLiveLog:
    @pytest.mark.parametrize("script", ENDLESS.values(), ids=ENDLESS)
    def test_without_end_is_cut_at_the_cap(
        self, watched: World, script: Script, page: Callable[[str], str], caplog: pytest.LogCaptureFixture
    ) -> None:
        watched.bad.answers["log"] = script

        watched.run(beats=3)

        watched.assert_sound(caplog)
        watched.assert_other_ended_well()
        assert "log" in watched.bad.asked
        assert len(kept(watched)) <= CAP
        assert LogChunk.objects.count() <= following.PIECES_MAX
        assert watched.bad.sent < len(watched.bad.asked) * 12 * 2**20
        assert "Bad node" in page("")

    def test_of_a_byte_now_and_then_ends_with_the_followers_time(self, watched: World) -> None:
        watched.bad.answers["log"] = repeats(b".", pause_s=0.05)
        began = time.monotonic()

        watched.run(beats=1)

        assert time.monotonic() - began < 4
        assert kept(watched).startswith(b"....")

    @pytest.mark.parametrize(
        ("sent", "stored"),
        [
            (frame(b"abc", length=2**32 - 1), frame(b"abc", length=2**32 - 1)),
            (frame(b"abc", length=10_000), b"abc"),
            (frame(b"abc", length=1) + b"d", b"abcd"),
            (frame(b"abc", length=0) + frame(b"def"), b"abc" + frame(b"def")),
            (frame(b"a", stream=200), frame(b"a", stream=200)),
            (b"\x01\0\0\0", b"\x01\0\0\0"),
            (bytes(range(256)), bytes(range(256))),
            (b"\x1b[2J\x1b]0;owned\x07<script>alert(1)</script>\n", None),
        ],
        ids=["4 GB", "10,000", "too short", "nothing", "no stream", "half a head", "garbage", "escapes"],
    )
    def test_in_frames_that_lie_loses_nothing_and_shows_nothing_harmful(
        self,
        watched: World,
        sent: bytes,
        stored: bytes | None,
        page: Callable[[str], str],
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        watched.bad.answers["log"] = sends(HEAD + sent)

        watched.run(beats=1)
        shown = page("") + page("log/?after=0")

        watched.assert_sound(caplog)
        assert kept(watched) == (sent if stored is None else stored)
        assert "<script>alert" not in shown
        assert not set(map(chr, (*range(9), *range(14, 32), 0x202E))) & set(shown)

    def test_that_says_something_else_the_next_time_does_not_rewrite_what_is_kept(
        self, watched: World
    ) -> None:
        watched.bad.answers["log"] = sends(HEAD + b"first and long\n")
        watched.run(beats=1)
        watched.bad.answers["log"] = sends(HEAD + b"second\n")
        watched.run(beats=2)

        assert kept(watched) == b"first and long\n"


class TestArchivedLog:
    @pytest.mark.parametrize(
        "data",
        [
            frame(b"<script>alert(1)</script>\x1b[2J\n") * 100,
            bytes(range(256)) * 100,
            b"x" * 2 * 2**20,
            frame(b"\xff\xfe\xfd"),
            b"\n" * 300_000,
            frame(b"") * 10_000,
            "\u202e\u2066".encode() * 1_000,
        ],
        ids=["markup", "garbage", "one line", "no text", "only line ends", "empty frames", "turning"],
    )
    def test_is_kept_and_shown_harmlessly(
        self, world: World, data: bytes, page: Callable[[str], str], caplog: pytest.LogCaptureFixture
    ) -> None:
        world.bad.listed = [wire_job(world.victim, results=[entry(0, "algorithm.log", "algorithmLog")])]
        world.bad.files[0] = data

        world.run(beats=2)
        result = world.victim.results.get()
        shown = page("") + page(f"results/{result.pk}/")

        world.assert_sound(caplog)
        world.assert_other_ended_well()
        world.victim.refresh_from_db()
        assert (world.victim.state, result.status) == (State.SUCCEEDED, "archived")
        assert "<script>alert" not in shown
        assert "\u202e" not in shown
        assert len(shown) < 2 * 2**20
