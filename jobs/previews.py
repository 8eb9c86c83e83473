"""Bounded readers of result files: a look at a stranger's bytes that runs nothing. No Django.

Each takes the first bytes of a file and says what was left out.
"""

from __future__ import annotations

import csv
import io
import re
import sys
from dataclasses import dataclass
from pathlib import PurePosixPath

HEAD_BYTES = 256 * 1024
ROWS_MAX = 200
COLUMNS_MAX = 40
CELL_MAX = 200
TEXT_MAX = 60_000
IMAGE_MAX_BYTES = 20 * 2**20

_MAGIC = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
)
_SVG = re.compile(
    # Nothing that matched is ever given back: of many comments there are exponentially many readings.
    rb"\A(?:\xef\xbb\xbf)?+\s*+(?>(?:<\?xml[^>]*+>|<!--.*?-->|<!DOCTYPE svg[^>\[]*+>)\s*+)*+<svg[\s>]",
    re.DOTALL,
)
_TABLES = {".csv": ",", ".tsv": "\t"}
_TURNING = re.compile("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")


@dataclass(frozen=True)
class Preview:
    """What can be shown of a file.

    kind: image (shown by its own address), table (header and rows), text, or none (note says why).
    """

    kind: str
    content_type: str = ""
    text: str = ""
    header: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()
    note: str = ""


def preview(*, name: str, head: bytes, size: int) -> Preview:
    """Return what can be shown of a file. head: its first HEAD_BYTES; size: of the whole, in bytes."""
    if not head:
        return Preview(kind="none", note="The file is empty.")
    image = image_type(head)
    if image:
        if size > IMAGE_MAX_BYTES:
            return Preview(kind="none", note="The image is too large to be shown here.")
        return Preview(kind="image", content_type=image)
    if _binary(head):
        return Preview(kind="none", note="This is not text, a table or an image that can be shown here.")
    separator = _TABLES.get(PurePosixPath(name).suffix.lower())
    if separator:
        return table(head=head, size=size, separator=separator)
    return text(head=head, size=size)


def image_type(head: bytes) -> str | None:
    """Name the type of an image by its first bytes, None if it is none that browsers show."""
    for magic, kind in _MAGIC:
        if head.startswith(magic):
            return kind
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "image/webp"
    return "image/svg+xml" if _SVG.match(head[:4096]) else None


def text(*, head: bytes, size: int) -> Preview:
    """Return the beginning of a text; control characters are shown as symbols."""
    cut = head[:TEXT_MAX]
    shown = _visible(cut.decode("utf-8", errors="replace"))
    note = f"The first {len(cut):,} of {size:,} bytes." if size > len(cut) else ""
    return Preview(kind="text", text=shown, note=note)


def table(*, head: bytes, size: int, separator: str) -> Preview:
    """Return header and first rows of a table; what is no table is returned as text."""
    decoded = head.decode("utf-8-sig", errors="replace")
    if size > len(head):
        decoded = decoded.rpartition("\n")[0]  # the last line may lack its end
    csv.field_size_limit(min(sys.maxsize, HEAD_BYTES))
    reader = csv.reader(io.StringIO(decoded, newline=""), delimiter=separator)
    rows: list[tuple[str, ...]] = []
    more = widest = 0
    try:
        for row in reader:
            widest = max(widest, len(row))
            if len(rows) <= ROWS_MAX:
                rows.append(tuple(_cell(value) for value in row[:COLUMNS_MAX]))
            else:
                more += 1
    except csv.Error:
        return text(head=head, size=size)
    if not rows:
        return text(head=head, size=size)
    return Preview(
        kind="table", header=rows[0], rows=tuple(rows[1:]), note=_left_out(more, widest, size > len(head))
    )


def _left_out(more: int, widest: int, cut: bool) -> str:
    said = []
    if cut:
        said.append(f"the first {ROWS_MAX} rows at most; the file goes on")
    elif more:
        said.append(f"the first {ROWS_MAX} of {ROWS_MAX + more:,} rows")
    if widest > COLUMNS_MAX:
        said.append(f"the first {COLUMNS_MAX} of {widest} columns")
    return f"Shown: {', '.join(said)}." if said else ""


def _cell(value: str) -> str:
    shown = _visible(value)
    return shown if len(shown) <= CELL_MAX else f"{shown[:CELL_MAX]}…"


def _visible(value: str) -> str:
    """Show control characters as symbols, and replace those that turn the reading direction."""
    value = value.replace("\r\n", "\n")
    table = {i: 0x2400 + i for i in range(32) if chr(i) not in "\n\t"} | {127: 0x2421}
    return _TURNING.sub("\N{REPLACEMENT CHARACTER}", value.translate(table))


def _binary(head: bytes) -> bool:
    sample = head[:4096]
    odd = sum(byte < 9 or 13 < byte < 27 or 27 < byte < 32 for byte in sample)
    return b"\0" in sample or odd > len(sample) // 20
