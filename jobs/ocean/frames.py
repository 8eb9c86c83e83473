"""Docker's log frames: what an Ocean Node sends as algorithm.log and as a live log, whatever the label."""

from jobs.ocean.compute import LogPiece

_HEADER = 8
# Docker writes frames of some kilobytes. A larger number is no length but text that looks like a header.
_FRAME_CAP = 16 * 1024 * 1024


class FrameDecoder:
    """Take frames apart as their bytes arrive, in whatever pieces.

    A frame is stream (1 is stdout, 2 stderr), three zero bytes, big-endian length, payload. From the first
    header that is none on, everything passes through as it is.
    Source: README of the recordings, "Results"; recording 14, exchange 10.
    """

    def __init__(self) -> None:
        self._held = b""
        self._left = 0
        self._stream = 1
        self._plain = False

    def feed(self, data: bytes) -> list[LogPiece]:
        """Give the pieces that are certain by now."""
        pieces: list[LogPiece] = []
        data = self._held + data
        self._held = b""
        while data:
            if self._plain:
                pieces.append(LogPiece(stream=1, data=data))
                break
            if self._left:
                payload, data = data[: self._left], data[self._left :]
                self._left -= len(payload)
                pieces.append(LogPiece(stream=self._stream, data=payload))
            elif not _may_be_header(data):
                self._plain = True
            elif len(data) < _HEADER:
                self._held = data
                break
            else:
                self._stream = data[0] or 1
                self._left = int.from_bytes(data[4:_HEADER], "big")
                data = data[_HEADER:]
        return pieces

    def finish(self) -> list[LogPiece]:
        """Give what was held back as the possible begin of a header."""
        held, self._held = self._held, b""
        return [LogPiece(stream=1, data=held)] if held else []


def _may_be_header(data: bytes) -> bool:
    if data[0] > 2 or any(data[1:4]):
        return False
    return len(data) < _HEADER or int.from_bytes(data[4:_HEADER], "big") <= _FRAME_CAP
