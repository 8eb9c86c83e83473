"""`make bench`: measures the portal on this machine, prints a table for each part, and keeps them in RESULTS.md.

Every number is measured in this run, and beside it stands what it is compared with, in the same run: ratios travel
between machines, times do not. Nothing else should run meanwhile.
"""

from __future__ import annotations

import os
import platform
import tempfile
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import django

from tests.benchmarks import archive, clicks, endings, memory, oceanpy, paid, portalside
from tests.benchmarks.site import open_site, run_alone
from tests.benchmarks.table import Part, Row, shown, table, written

RESULTS = Path(__file__).with_name("RESULTS.md")
QUICK_STEP_S = 0.05  # where the node's own pace does not matter
QUERIES_MOST = 14
DATASET, ALGORITHM = "Iris flowers", "Summary statistics"


def main() -> None:
    """Measure everything, print it, and write RESULTS.md. A missed aim is told, and is no error: times are no tests."""
    load = os.getloadavg()[0]
    parts: list[Part] = []
    with tempfile.TemporaryDirectory(prefix="ocean-portal-bench-") as folder:
        for part in _parts(Path(folder)):
            print(written(part), end="\n\n", flush=True)
            parts.append(part)
    told = summary(parts, date=datetime.now(UTC), loads=(load, os.getloadavg()[0]))
    RESULTS.write_text("\n\n".join(["# What was measured", told, *map(written, parts)]) + "\n")
    print(told)


def summary(parts: Sequence[Part], *, date: datetime, loads: tuple[float, float]) -> str:
    """Say when and where it was measured, and which aims were not met. loads: before the run and at its end."""
    missed = [f"{part.title}: {row.what}" for part in parts for row in part.rows if row.met is False]
    lines = [
        f"Written by `make bench` on {date:%Y-%m-%d}, with Python {platform.python_version()} and Django "
        f"{django.__version__}, on {os.cpu_count()} cores of {platform.system()}; load {loads[0]:.1f} before the run and "
        f"{loads[1]:.1f} at its end, its own included. Take the ratios, not the times.",
        f"Aims not met: {len(missed)}." if missed else "Every aim is met.",
    ]
    return "\n\n".join([*lines, *(["\n".join(f"- {what}" for what in missed)] if missed else [])])


def _parts(folder: Path) -> Iterator[Part]:
    with open_site(folder / "site", step=QUICK_STEP_S) as site:
        assets = {"dataset": site.box.did(DATASET), "algorithm": site.box.did(ALGORITHM)}
        yield clicks.measure(site, **assets)
        yield endings.measure(site, **assets)
        yield pages_part(run_alone(site, folder=folder / "pages", call="pages.main()"))
        yield archive.measure(site, folder=folder)
    ours = partial(portalside.measure, folder=folder / "portals")
    yield oceanpy.measure(folder=folder / "oceanpy", portal=ours)
    yield paid.measure(folder=folder / "paid")
    yield memory.measure(folder=folder)


def pages_part(told: dict[str, Any]) -> Part:
    """Lay out what the process that asked for the pages told."""
    pages = told["pages"]
    lines = [
        (
            page["label"],
            str(page["status"]),
            str(page["queries"]),
            shown(page["bytes"] / 1000, "kB"),
            shown(page["ms"], "ms"),
        )
        for page in pages
    ]

    def largest(
        what: Callable[[dict[str, Any]], float], title: str, unit: str, most: float | None = None
    ) -> Row:
        page = max(pages, key=what)
        return Row(f"{title} ({page['label']})", what(page), unit, most=most)

    return Part(
        title="Pages and fragments",
        told=f"A team with {told['jobs']} jobs, asked in the process itself, signed in as its owner. Queries of a "
        f"request after the first one, the note that somebody watches included; times are medians of {told['times']}."
        + (
            f" Not measured, because nobody listed them: {', '.join(told['unknown'])}."
            if told["unknown"]
            else ""
        ),
        rows=(
            largest(lambda page: page["queries"], "most queries", "", QUERIES_MOST),
            largest(lambda page: page["ms"], "slowest", "ms"),
            largest(lambda page: page["bytes"] / 1000, "largest", "kB"),
        ),
        more=table(("page", "status", "queries", "size", "server time"), lines),
    )


if __name__ == "__main__":
    main()
