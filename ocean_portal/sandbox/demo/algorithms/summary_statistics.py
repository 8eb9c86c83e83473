"""Describes every input: numeric columns of CSV files, size and words of anything else.

Standard library only; runs unchanged on a real Ocean Node. Writes summary.csv and chart.svg.
"""

import csv
import json
import os
import statistics
from collections.abc import Iterator
from html import escape
from pathlib import Path
from typing import Any

DATA = Path(os.environ.get("DATA_ROOT", "/data"))
HEADER = ["file", "column", "count", "missing", "mean", "sd", "min", "q1", "median", "q3", "max"]
# Legible on white and on dark pages alike: the picture brings its own pair of colours for each.
STYLE = """
svg { background: #ffffff; font: 13px system-ui, sans-serif } text { fill: #24292f } .soft { fill: #57606a }
.axis { stroke: #8c959f } .box { fill: #9ecbff; stroke: #0969da } .middle { stroke: #0a3069; stroke-width: 2 }
@media (prefers-color-scheme: dark) { svg { background: #0d1117 } text { fill: #e6edf3 }
.soft { fill: #9198a1 }
.axis { stroke: #6e7681 } .box { fill: #1f4b80; stroke: #58a6ff } .middle { stroke: #cae8ff } }
"""


def inputs() -> list[Path]:
    """Return the input files: all in one folder on an Ocean Node, in one per data set behind a Provider."""
    found = [path for path in (DATA / "inputs").rglob("*") if path.is_file()]
    return sorted(path for path in found if path.name != "algoCustomData.json")


def title(path: Path) -> str:
    """Return what to call an input: behind a Provider files have numbers, and their folder the data set's id."""
    return path.name if path.parent.name == "inputs" else f"{path.parent.name[:8]}/{path.name}"


def numeric_columns(path: Path) -> Iterator[tuple[str, list[float], int]]:
    """Yield (name, numbers, missing) of each column whose filled cells are all numbers."""
    with path.open(newline="", encoding="utf-8", errors="replace") as file:
        try:
            rows = list(csv.reader(file))
        except csv.Error:  # no table at all
            rows = []
    if not rows:
        return
    for place, name in enumerate(rows[0]):
        cells = [row[place].strip() if place < len(row) else "" for row in rows[1:]]
        filled = [cell for cell in cells if cell]
        try:
            numbers = [float(cell) for cell in filled]
        except ValueError:
            continue
        if numbers:
            yield name, numbers, len(cells) - len(filled)


def describe(file: str, column: str, numbers: list[float], missing: int) -> list[Any]:
    """Return one line of the summary."""
    low, middle, high = (
        statistics.quantiles(numbers, n=4, method="inclusive") if len(numbers) > 1 else numbers * 3
    )
    spread = statistics.stdev(numbers) if len(numbers) > 1 else 0.0
    values = [statistics.fmean(numbers), spread, min(numbers), low, middle, high, max(numbers)]
    return [file, column, len(numbers), missing, *(round(value, 4) for value in values)]


def draw(lines: list[list[Any]]) -> str:
    """Return an SVG with one box plot per line of the summary, each on its own scale."""
    height = 60 + 46 * len(lines)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 760 {height}" role="img">',
        f"<title>Spread of {len(lines)} columns</title><style>{STYLE}</style>",
        '<text x="20" y="28" font-size="17">Smallest, quartiles, largest</text>',
    ]
    for number, (file, column, *_, least, low, middle, high, most) in enumerate(lines):
        y = 66 + 46 * number
        span = (most - least) or 1.0
        width = max(380 * (high - low) / span, 1)
        at = [280 + 380 * (value - least) / span for value in (least, low, middle, high, most)]
        parts += [
            f'<text x="20" y="{y}">{escape(column[:30])}</text>',
            f'<text x="20" y="{y + 15}" class="soft" font-size="11">{escape(file[:38])}</text>',
            f'<line class="axis" x1="{at[0]:.1f}" y1="{y}" x2="{at[4]:.1f}" y2="{y}"/>',
            f'<rect class="box" x="{at[1]:.1f}" y="{y - 11}" width="{width:.1f}" height="22" rx="3"/>',
            f'<line class="middle" x1="{at[2]:.1f}" y1="{y - 11}" x2="{at[2]:.1f}" y2="{y + 11}"/>',
            f'<text x="272" y="{y + 4}" text-anchor="end" font-size="11">{least:g}</text>',
            f'<text x="668" y="{y + 4}" font-size="11">{most:g}</text>',
        ]
    return "\n".join([*parts, "</svg>", ""])


def main() -> None:
    custom = json.loads((DATA / "inputs" / "algoCustomData.json").read_text() or "{}")
    if custom:
        print("parameters:", json.dumps(custom, sort_keys=True))
    lines = []
    paths = inputs()
    print(f"{len(paths)} input file(s)", flush=True)
    for path in paths:
        # Behind a Provider no name tells what a file is.
        found = list(numeric_columns(path)) if path.suffix.lower() in (".csv", "") else []
        if found:
            print(f"{title(path)}: {len(found)} numeric column(s)", flush=True)
            lines += [describe(title(path), *column) for column in found]
        else:
            text = path.read_text(encoding="utf-8", errors="replace")
            counts = [len(line.split()) for line in text.splitlines()] or [0]
            print(
                f"{title(path)}: {len(counts)} lines, {sum(counts)} words, {len(text)} characters", flush=True
            )
            lines.append(describe(title(path), "words per line", [float(count) for count in counts], 0))
    outputs = DATA / "outputs"
    with (outputs / "summary.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows([HEADER, *lines])
    (outputs / "chart.svg").write_text(draw(lines), encoding="utf-8")
    for line in lines:
        print(f"  {line[1]}: mean {line[4]}, from {line[6]} to {line[10]}")
    print("wrote summary.csv and chart.svg")


main()
