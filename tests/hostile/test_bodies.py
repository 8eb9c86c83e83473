"""A node breaks HTTP: bodies without end, packed, cut off or dripping, heads that are none, redirects inside."""

from __future__ import annotations

import gzip
import json
import socket
import struct
import time
import tracemalloc
from typing import Any

import pytest

from jobs.lifecycle import State
from jobs.ocean.transport import READ_S
from jobs.services import results
from tests.hostile.cases import Case, named
from tests.hostile.conftest import SPEED, Wire
from tests.hostile.far_side import Ask, Script, repeats, sends
from tests.hostile.world import LOG, OUTPUTS, World, wire_job

pytestmark = pytest.mark.django_db

CUT = "broke the connection"
SLOW = "did not finish its answer in time"
ON = "sends us on to another address"
BODY_MAX = 10 * 2**20
# What is read in one go, and the heads: a far side's last piece is read before it is found too much.
PIECES = 2**18
LATE_MAX = 2**20  # where the deadline ends it: so many bytes let it pass, on a machine of any speed


def head(*lines: str, status: str = "200 OK") -> bytes:
    """Return the head of an answer."""
    return "\r\n".join([f"HTTP/1.1 {status}", *lines, "", ""]).encode("latin-1")


def http(name: str, script: Script, said: str, *, route: str = "jobs", **rest: Any) -> Case:
    """Break HTTP where the list of jobs is asked for."""

    def lie(world: World) -> None:
        world.bad.answers[route] = script

    return Case(name, lie, says=said, beats=1, **rest)


def raw(name: str, data: bytes, said: str, **rest: Any) -> Case:
    """Answer with these bytes."""
    return http(name, sends(data), said, **rest)


def resets(ask: Ask) -> None:
    """Reset the connection in the middle of the answer."""
    ask.send(head("Content-Length: 1000") + b"[")
    ask.request.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    ask.request.close()


BOMB = gzip.compress(b" " * 64 * 2**20)
CASES = [
    raw("chunks that are none", head("Transfer-Encoding: chunked") + b"xyz\r\n[]", CUT),
    raw("a chunk of minus one", head("Transfer-Encoding: chunked") + b"-1\r\n[]\r\n0\r\n\r\n", CUT),
    raw("a chunk of 10^18 bytes", head("Transfer-Encoding: chunked") + b"DE0B6B3A7640000\r\n[]", CUT),
    raw("a chunk's length without end", head("Transfer-Encoding: chunked") + b"0" * 100_000, CUT),
    raw("Content-Length too long", head("Content-Length: 1000") + b"[]", CUT),
    raw("Content-Length too short", head("Content-Length: 1") + b"[]", "no JSON document"),
    raw("Content-Length of 10^18", head("Content-Length: 1000000000000000000") + b"[]", CUT),
    raw("two Content-Lengths", head("Content-Length: 2", "Content-Length: 4") + b"[]", CUT),
    raw("negative Content-Length", head("Content-Length: -7") + b"{}", "no list"),
    raw("Content-Length in words", head("Content-Length: two") + b"{}", "no list"),
    raw(
        "packed though asked not to",
        head("Content-Encoding: gzip") + gzip.compress(b"[]"),
        "packs its answers",
    ),
    raw("says packed and is not", head("Content-Encoding: gzip") + b"[]", "packs its answers"),
    raw("packed by a way nobody knows", head("Content-Encoding: zip, br, xyz") + b"[]", "packs its answers"),
    raw("packed and not said", head() + gzip.compress(b"[]"), "no JSON document"),
    raw("a bomb of 64 MB", head("Content-Encoding: gzip") + BOMB, "packs its answers"),
    raw("a bomb as an error", head("Content-Encoding: gzip", status="500 Oops") + BOMB, "without saying why"),
    raw("a header of 1 MB", b"HTTP/1.1 200 OK\r\nX: " + b"x" * 2**20 + b"\r\n\r\n[]", CUT),
    raw("10,000 headers", head(*["X: y"] * 10_000) + b"[]", CUT),
    raw("HTTP/0.9", b"[]", CUT),
    raw("a page without a head", b"<html><body>" + b"x" * 100_000, CUT),
    raw("HTTP of another galaxy", b"HTTP/7.5 200 OK\r\n\r\n[]", CUT),
    raw("a status that is no number", b"HTTP/1.1 abc OK\r\n\r\n[]", CUT),
    raw("status 999", head(status="999 Hm") + b"[]", "without saying why"),
    raw("status 103", head(status="103 Early Hints") + b"[]", "protocol does not know"),
    raw("204", head(status="204 No Content"), "protocol does not know"),
    raw("206", head("Content-Range: bytes 0-1/9", status="206 Partial") + b"[]", "protocol does not know"),
    raw("304 without having been asked", head(status="304 Not Modified"), ON),
    raw(
        "401 with a wish for a password",
        head('WWW-Authenticate: Basic realm="x"', status="401 No"),
        "not accept",
    ),
    raw("407", head('Proxy-Authenticate: Basic realm="x"', status="407 No"), "not accept"),
    raw("413", head(status="413 No"), "too large"),
    raw("redirect to a file", head("Location: file:///etc/passwd", status="302 Found"), ON),
    raw("redirect to the metadata service", head("Location: http://169.254.169.254/", status="307 No"), ON),
    raw("redirect to nowhere", head("Location: http://[::1", status="301 No"), ON),
    raw("redirect to no text", head("Location: \xff\xfe", status="308 No"), ON),
    raw("redirect with a bomb", head("Location: /", "Content-Encoding: gzip", status="302 No") + BOMB, ON),
    raw(
        "cookies",
        head(*[f"Set-Cookie: a{n}={'x' * 4000}; Domain=localhost" for n in range(50)]) + b"{}",
        "no list",
    ),
    raw("a header without a colon", head("this is no header") + b"{}", "no list"),
    raw("a header that goes on", head("X: y", " <script>", "\tz") + b"{}", "no list"),
    raw("nothing at all", b"", CUT),
    raw("only a line end", b"\r\n\r\n", CUT),
    http("a reset in the middle", resets, CUT),
    http("bytes without end", repeats(b" " * 65536), "sends more than 10,485,760 bytes"),
    http(
        "chunks without end",
        repeats(b"8000\r\n" + b" " * 0x8000 + b"\r\n", before=head("Transfer-Encoding: chunked")),
        "sends more than",
    ),
    http(
        "chunks of one byte without end",
        repeats(b"1\r\n[\r\n", before=head("Transfer-Encoding: chunked")),
        SLOW,
    ),
    http(
        "trailers without end",
        repeats(b"X: y\r\n" * 1_000, before=head("Transfer-Encoding: chunked") + b"2\r\n[]\r\n0\r\n"),
        SLOW,
    ),
    http("headers without end", repeats(b"X: y\r\n", before=b"HTTP/1.1 200 OK\r\n"), CUT),
    http("100 Continue without end", repeats(b"HTTP/1.1 100 Continue\r\n\r\n", before=b""), SLOW),
    http("a redirect without end", repeats(b"x" * 65536, before=head("Location: /", status="302 No")), ON),
    http("an error without end", repeats(b"x" * 65536, before=head(status="500 No")), "without saying why"),
    http("a byte now and then", repeats(b" ", pause_s=0.02), SLOW),
    http("a head, a byte now and then", repeats(b"x", before=b"HTTP/1.1 200 OK\r\nX: ", pause_s=0.02), SLOW),
    http("an error, a byte now and then", repeats(b"x", before=head(status="500 No"), pause_s=0.02), SLOW),
]


@pytest.mark.parametrize("case", CASES, ids=named)
def test_answer_that_breaks_http_is_told_and_harms_nobody(
    case: Case, world: World, wire: Wire, caplog: pytest.LogCaptureFixture
) -> None:
    late = case.says == SLOW
    wire.byte_takes_s = READ_S / LATE_MAX if late else 0
    began = time.monotonic()

    case.play(world, caplog)

    assert time.monotonic() - began < 5
    assert wire.taken < (LATE_MAX if late else BODY_MAX) + PIECES
    assert not any("authorization" in asked.lower() or "cookie" in asked.lower() for asked in world.bad.heads)


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
@pytest.mark.parametrize("status", ["302 Found", "500 Oops", "200 OK"])
def test_bomb_is_never_unpacked(world: World, status: str, encoding: str) -> None:
    world.bad.answers["jobs"] = sends(
        head(f"Content-Encoding: {encoding}", "Location: /", status=status) + BOMB
    )
    tracemalloc.start()

    world.run(beats=1)

    _now, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 16 * 2**20


def test_malformed_head_of_a_signed_answer_puts_no_signature_into_the_log(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.bad.answers["result"] = sends(head("no header at all", "Content-Length: 3") + b"abc")

    world.run()

    assert "signature" not in caplog.text
    world.assert_sound(caplog)


class TestDrippingResult:
    """The lease of a job lasts 120 s; a download may take hours. What drips must not outlast the lease unseen."""

    @pytest.mark.parametrize(
        "before",
        [
            b"",
            b"HTTP/1.1 200 OK\r\nX: ",
            b"HTTP/1.1 500 Oops\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        ],
        ids=["status line", "head", "error", "length of a chunk"],
    )
    def test_is_given_up_before_the_lease_is_over(
        self, world: World, caplog: pytest.LogCaptureFixture, before: bytes
    ) -> None:
        drop = b"0" if before else b"H"
        world.bad.listed = [wire_job(world.victim, results=[{"filename": "a", "type": "output", "index": 0}])]
        world.bad.answers["result"] = repeats(drop, before=before, pause_s=0.05)
        began = time.monotonic()

        world.run(beats=2, step_s=0)

        assert world.bad.asked.count("result") == 1
        assert (time.monotonic() - began) * SPEED < 120
        world.assert_sound(caplog)
        assert world.victim.results.get().trouble != ""

    def test_of_empty_frames_keeps_the_lease(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        asked: list[int] = []
        real = results._renewer

        def counting(**given: Any) -> Any:
            alive = real(**given)

            def noting(size: int) -> None:
                asked.append(size)
                alive(size)

            return noting

        monkeypatch.setattr(results, "_renewer", counting)  # to see who says that it is alive, and how often
        frames = [b"\x01\0\0\0\0\0\0\0"] * 20

        def script(ask: Ask) -> None:
            ask.send(head())
            for frame in frames:
                ask.send(frame)
                time.sleep(0.01)

        world.bad.listed = [
            wire_job(world.victim, results=[{"filename": "a", "type": "algorithmLog", "index": 0}])
        ]
        world.bad.answers["result"] = script

        world.run(beats=2)

        assert sum(size == 0 for size in asked) >= 10


def test_honest_answer_in_odd_but_legal_http_is_taken(world: World, caplog: pytest.LogCaptureFixture) -> None:
    listed = json.dumps([wire_job(world.victim)]).encode()
    pieces = b"".join(b"%x;ext=1\r\n%s\r\n" % (1, listed[n : n + 1]) for n in range(len(listed)))
    world.bad.answers["jobs"] = sends(
        head(status="100 Continue") + head("transfer-ENCODING: chunked") + pieces + b"0\r\nX: y\r\n\r\n"
    )

    world.run()

    world.assert_sound(caplog)
    world.victim.refresh_from_db()
    assert world.victim.state == State.SUCCEEDED
    assert world.archived(world.victim)["outputs.tar"] == OUTPUTS != LOG
