"""Counts the words of its inputs slowly enough to be watched. Standard library only.

Parameter seconds (default 30): about how long it takes. Writes words.csv and words.svg.
"""

import csv
import json
import os
import re
import time
from collections import Counter
from html import escape
from pathlib import Path
from typing import Any

DATA = Path(os.environ.get("DATA_ROOT", "/data"))
STEPS = 30
TOP = 20
STYLE = """
svg { background: #ffffff; font: 13px system-ui, sans-serif } text { fill: #24292f } rect { fill: #0969da }
@media (prefers-color-scheme: dark) { svg { background: #0d1117 } text { fill: #e6edf3 }
rect { fill: #58a6ff } }
"""


def inputs() -> list[Path]:
    """Return the input files: all in one folder on an Ocean Node, in one per data set behind a Provider."""
    found = [path for path in (DATA / "inputs").rglob("*") if path.is_file()]
    return sorted(path for path in found if path.name != "algoCustomData.json")


def title(path: Path) -> str:
    """Return what to call an input: behind a Provider files have numbers, and their folder the data set's id."""
    return path.name if path.parent.name == "inputs" else f"{path.parent.name[:8]}/{path.name}"


def seconds_wanted(custom: dict[str, Any]) -> float:
    """Return the parameter, within what makes sense."""
    try:
        return min(100.0, max(0.0, float(custom.get("seconds", 30))))
    except (TypeError, ValueError):
        return 30.0


def draw(words: list[tuple[str, int]]) -> str:
    """Return an SVG with a bar per word."""
    height = 60 + 24 * len(words)
    most = words[0][1] if words else 1
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 640 {height}" role="img">',
        f"<title>The {len(words)} most frequent words</title><style>{STYLE}</style>",
        f'<text x="20" y="28" font-size="17">The {len(words)} most frequent words</text>',
    ]
    for number, (word, count) in enumerate(words):
        y = 60 + 24 * number
        parts += [
            f'<text x="120" y="{y}" text-anchor="end">{escape(word[:14])}</text>',
            f'<rect x="130" y="{y - 12}" width="{max(1, 430 * count / most):.1f}" height="15" rx="2"/>',
            f'<text x="{138 + 430 * count / most:.1f}" y="{y}">{count}</text>',
        ]
    return "\n".join([*parts, "</svg>", ""])


def main() -> None:
    custom = json.loads((DATA / "inputs" / "algoCustomData.json").read_text() or "{}")
    pause_s = seconds_wanted(custom) / STEPS
    lines: list[str] = []
    for path in inputs():
        found = path.read_text(encoding="utf-8", errors="replace").splitlines()
        print(f"reading {title(path)}: {len(found)} lines", flush=True)
        lines += found
    counts: Counter[str] = Counter()
    for step in range(STEPS):
        part = lines[step * len(lines) // STEPS : (step + 1) * len(lines) // STEPS]
        for line in part:
            counts.update(re.findall(r"[^\W\d_]+", line.lower()))
        print(
            f"{(step + 1) * 100 // STEPS:3d} %  {counts.total()} words, {len(counts)} different", flush=True
        )
        time.sleep(pause_s)
    words = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    with (DATA / "outputs" / "words.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows([["word", "count"], *words])
    (DATA / "outputs" / "words.svg").write_text(draw(words[:TOP]), encoding="utf-8")
    print(f"done: {counts.total()} words, {len(counts)} different; wrote words.csv and words.svg")


main()
