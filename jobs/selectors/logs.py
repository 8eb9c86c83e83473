"""Reads logs: what came in live, and what was archived. A log is bytes from a stranger's program."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from jobs.access import Action, Actor, require
from jobs.errors import Missing
from jobs.lifecycle import TERMINAL
from jobs.models import Job, LogChunk

SHOWN_BYTES = 200_000
_CHUNKS_MAX = 4_000
_CHUNK_BYTES_MAX = 64 * 1024  # as the follower stores them
_LINE_MAX = 4_000
LINES_MAX = 5_000  # at once; a browser is slow with more, and a log may be nothing but line ends
_SETTLED = timedelta(seconds=3)  # a line without its end is shown after this
_STDERR = 2
_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-Z\\-_])")
# Control characters but tab, and the ones that turn the direction of what follows.
_UNSEEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")


@dataclass(frozen=True)
class LogLine:
    """A line, fit to show. at: when it arrived here, None for an archived log (its lines carry no time)."""

    text: str
    error: bool
    at: datetime | None = None


@dataclass(frozen=True)
class LogPart:
    """Some lines of a log. offset: where to go on reading; cut: whether earlier lines were left out."""

    lines: tuple[LogLine, ...]
    offset: int
    cut: bool = False
    ended: bool = False


@dataclass(frozen=True)
class _Piece:
    stream: int
    data: bytes
    at: datetime | None = None


def live(*, job_id: uuid.UUID, now: datetime) -> LogPart:
    """Return the end of a job's live log; one query. The job must have been looked up in the team before."""
    chunks = list(LogChunk.objects.filter(job_id=job_id).order_by("-offset")[:_CHUNKS_MAX])[::-1]
    if not chunks:
        return LogPart(lines=(), offset=0)
    end = chunks[-1].offset + len(chunks[-1].data)
    start = max(chunks[0].offset, end - SHOWN_BYTES)
    return _part(chunks, start=start, now=now, cut=start > 0)


def more(*, actor: Actor, job_id: uuid.UUID, after: int, now: datetime) -> LogPart:
    """Return the whole lines of a live log that came after an offset; two queries.

    Raises:
        Missing: no such job in this team.
        NotAllowed
    """
    state = Job.objects.filter(team_id=actor.team_id, pk=job_id).values_list("state", flat=True).first()
    if state is None:
        raise Missing("There is no such job in this team.")
    require(actor, Action.SEE_LOGS)
    if state in TERMINAL:
        return LogPart(lines=(), offset=after, ended=True)
    rows = LogChunk.objects.filter(job_id=job_id, offset__gt=after - _CHUNK_BYTES_MAX).order_by("offset")
    chunks, size = [], 0
    for chunk in rows[:_CHUNKS_MAX].iterator(chunk_size=100):
        chunks.append(chunk)
        size += len(chunk.data)
        if size > SHOWN_BYTES:  # the next question goes on from there
            break
    return _part(chunks, start=after, now=now)


def archived(data: bytes, *, cut: bool, offset: int = 0) -> LogPart:
    """Return the lines of an archived log. cut: whether `data` is only its end."""
    whole = data.splitlines(keepends=True)
    if len(whole) > LINES_MAX:
        data, cut = b"".join(whole[-LINES_MAX - 1 :]), True
    lines, _held = _lines([_Piece(1, data)])
    if cut:
        lines = lines[1:]  # the first one lacks its beginning
    return LogPart(lines=tuple(lines), offset=offset, cut=cut, ended=True)


def _part(chunks: list[LogChunk], *, start: int, now: datetime, cut: bool = False) -> LogPart:
    pieces = [
        _Piece(chunk.stream, bytes(chunk.data)[max(0, start - chunk.offset) :], chunk.arrived_at)
        for chunk in chunks
        if chunk.offset + len(chunk.data) > start
    ]
    settled = bool(pieces) and pieces[-1].at is not None and now - pieces[-1].at >= _SETTLED
    lines, held = _lines(pieces, hold=not settled)
    offset = start + sum(len(piece.data) for piece in pieces) - held
    return LogPart(lines=tuple(lines[-LINES_MAX:]), offset=offset, cut=cut or len(lines) > LINES_MAX)


def _lines(pieces: Iterable[_Piece], *, hold: bool = False) -> tuple[list[LogLine], int]:
    """Join pieces to lines; return them, and how many bytes of an unfinished last line were held back."""
    lines: list[LogLine] = []
    rest = _Piece(1, b"")
    for piece in pieces:
        if rest.data and piece.stream != rest.stream:
            lines.append(_line(rest))
            rest = _Piece(piece.stream, b"")
        *whole, tail = (rest.data + piece.data).split(b"\n")
        lines.extend(_line(_Piece(piece.stream, data, piece.at)) for data in whole)
        rest = _Piece(piece.stream, tail, piece.at)
    if rest.data and hold and len(rest.data) < _LINE_MAX:
        return lines, len(rest.data)
    if rest.data:
        lines.append(_line(rest))
    return lines, 0


def _line(piece: _Piece) -> LogLine:
    text = piece.data.decode("utf-8", errors="replace").removesuffix("\r")
    text = text.rsplit("\r", 1)[-1]  # what a terminal would show of a progress bar
    text = _UNSEEN.sub("", _ESCAPES.sub("", text))
    if len(text) > _LINE_MAX:
        text = f"{text[:_LINE_MAX]}… ({len(text) - _LINE_MAX} more characters)"
    return LogLine(text=text, error=piece.stream == _STDERR, at=piece.at)
