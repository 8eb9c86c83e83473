"""Lines up what was measured beside what it is compared with and what it should be, as Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """One measured number.

    beside: the number that it is compared with, in the same unit; what: says what both are.
    most: the number that it should not exceed; None where there is no aim.
    """

    what: str
    value: float
    unit: str
    beside: float | None = None
    most: float | None = None

    @property
    def met(self) -> bool | None:
        """Say whether the aim is met, None where there is none."""
        return None if self.most is None else self.value <= self.most

    def cells(self) -> tuple[str, ...]:
        """Return the row's texts: what, measured, beside, ratio, aim, verdict."""
        return (
            self.what,
            shown(self.value, self.unit),
            "" if self.beside is None else shown(self.beside, self.unit),
            f"{self.value / self.beside:.2f}" if self.beside else "",
            "" if self.most is None else f"at most {shown(self.most, self.unit)}",
            {None: "", True: "ok", False: "not met"}[self.met],
        )


@dataclass(frozen=True)
class Part:
    """One part of the run: a heading, a sentence that says how it was measured, rows, and what was skipped and why."""

    title: str
    told: str
    rows: tuple[Row, ...] = ()
    more: str = ""


def shown(value: float, unit: str) -> str:
    """Write a number with its unit, as exact as its size deserves."""
    digits = 0 if float(value).is_integer() or abs(value) >= 100 else 1 if abs(value) >= 10 else 2
    return f"{value:,.{digits}f} {unit}".rstrip()


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Lay out a Markdown table whose columns stand below each other in a terminal too; numbers go to the right."""
    lines = [tuple(head), *(tuple(row) for row in rows)]
    widths = [max(3, *(len(line[i]) for line in lines)) for i in range(len(head))]

    def line(cells: Sequence[str]) -> str:
        padded = [
            c.ljust(w) if i == 0 else c.rjust(w) for i, (c, w) in enumerate(zip(cells, widths, strict=True))
        ]
        return f"| {' | '.join(padded)} |"

    rule = [":" + "-" * (widths[0] - 1), *("-" * (w - 1) + ":" for w in widths[1:])]
    return "\n".join([line(lines[0]), line(rule), *map(line, lines[1:])])


def written(part: Part) -> str:
    """Return a part as Markdown."""
    head = ("what", "measured", "beside", "ratio", "aim", "")
    pieces = [f"## {part.title}", part.told]
    pieces += [table(head, [row.cells() for row in part.rows])] if part.rows else []
    pieces += [part.more] if part.more else []
    return "\n\n".join(pieces)
