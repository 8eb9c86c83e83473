import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.ocean.frames import FrameDecoder
from tests.ocean.wire import recorded_body, recording


def frame(stream: int, payload: bytes) -> bytes:
    return bytes([stream, 0, 0, 0]) + len(payload).to_bytes(4, "big") + payload


def decode(*chunks: bytes) -> list[tuple[int, bytes]]:
    """All pieces, neighbours of one stream joined."""
    decoder = FrameDecoder()
    joined: list[tuple[int, bytes]] = []
    for piece in [*(piece for chunk in chunks for piece in decoder.feed(chunk)), *decoder.finish()]:
        if joined and joined[-1][0] == piece.stream:
            joined[-1] = (piece.stream, joined[-1][1] + piece.data)
        else:
            joined.append((piece.stream, piece.data))
    return joined


class TestFrameDecoder:
    def test_reads_the_recorded_log(self):
        assert decode(recorded_body(recording("10")[11]["response"])) == [
            (1, b"to stdout\n"),
            (2, b"to stderr\n"),
        ]

    @given(
        frames=st.lists(st.tuples(st.sampled_from([1, 2]), st.binary(min_size=1, max_size=30)), max_size=6),
        cuts=st.lists(st.integers(0, 200), max_size=8),
    )
    def test_gives_the_same_however_the_bytes_arrive(self, frames, cuts):
        data = b"".join(frame(stream, payload) for stream, payload in frames)
        edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]

        chunks = [data[start:end] for start, end in itertools.pairwise(edges)]

        assert decode(*chunks) == decode(data)
        assert b"".join(data for _, data in decode(*chunks)) == b"".join(payload for _, payload in frames)

    @pytest.mark.parametrize(
        "text",
        [
            b"plain text, no frames at all",
            b"x",
            b"\x01",
            b"\x01\0\0\0\0",
            b"\x01\0\0\x01\0\0\0\x01a",
            b"\x01\0\0\0\xff\xff\xff\xffhuge",
            b"\x03\0\0\0\0\0\0\x01a",
        ],
    )
    def test_passes_through_what_is_no_frame(self, text):
        assert b"".join(data for _, data in decode(text)) == text

    def test_passes_through_what_follows_the_last_good_frame(self):
        assert decode(frame(2, b"ok") + b"then text") == [(2, b"ok"), (1, b"then text")]

    def test_gives_what_came_of_a_frame_that_breaks_off(self):
        assert decode(frame(1, b"whole")[:-2]) == [(1, b"who")]

    def test_does_not_wait_for_the_end_of_a_frame(self):
        decoder = FrameDecoder()

        pieces = decoder.feed(frame(1, b"x" * 100)[:20])

        assert pieces[0].data == b"x" * 12

    def test_skips_empty_frames(self):
        assert decode(frame(1, b"") + frame(2, b"a")) == [(2, b"a")]
