"""What the demo keeps in memory: its own processes, idle after a job, with everything that they started."""

from __future__ import annotations

import json
import time
from pathlib import Path

import psutil  # type: ignore[import-untyped]  # carries no types

from tests.benchmarks.site import Visitor, free_ports
from tests.benchmarks.table import Part, Row
from tests.browser.conftest import Demo

MIB = 2**20
MOST_MIB = 600
IDLE_S = 3.0
PAGES = ("", "jobs/", "jobs/launch/", "catalogue/", "environments/", "wallets/")
# What a process's command line tells it by.
PARTS = {
    "ocean_portal.sandbox": "sandbox (node, chain, Provider and Aquarius)",
    "worker": "worker",
    "ocean_portal.wsgi": "web server",
}


def measure(*, folder: Path) -> Part:
    """Start `make demo`, use its pages and run a job as a person would, and weigh its processes."""
    portal, node, chain, provider, aquarius = free_ports(5)
    demo = Demo(folder=folder, ports=(portal, node, chain, provider, aquarius))
    try:
        demo.start()
        _use(demo)
        time.sleep(IDLE_S)
        assert demo.process is not None
        weights = _weigh(psutil.Process(demo.process.pid))
    finally:
        if demo.process is not None:
            demo.stop()
    rows = [Row("the demo, all together", sum(mib for mib, _ in weights.values()), "MiB", most=MOST_MIB)]
    rows += [
        Row(f"of this: {name}, processes: {count}", mib, "MiB") for name, (mib, count) in weights.items()
    ]
    return Part(
        title="Memory of the demo",
        told=f"`make demo`, {IDLE_S:.0f} s after a watched job and a visit to every page. Proportional set size: what "
        "processes share is shared out between them, so that the sum is what the machine misses.",
        rows=tuple(rows),
    )


def _use(demo: Demo) -> None:
    visitor = Visitor(demo.url, name="liam")
    for page in PAGES:
        visitor.get(f"/demo/{page}")
    assets = json.loads((demo.folder / "var" / "sandbox" / "sandbox.json").read_text())["assets"]
    dataset, algorithm = (str(assets[name]["did"]) for name in ("Iris flowers", "Summary statistics"))
    visitor.watch(visitor.click(visitor.prepare(dataset=dataset, algorithm=algorithm)))


def _weigh(root: psutil.Process) -> dict[str, tuple[float, int]]:
    """Return MiB and number of processes of each part of the demo, and of what started them."""
    weights: dict[str, tuple[float, int]] = {}
    families = {"what starts the three": [root]}
    for starter in root.children():
        families["what starts the three"].append(starter)
        (child,) = starter.children()
        words = " ".join(child.cmdline())
        name = next(told for mark, told in PARTS.items() if mark in words)
        families[name] = [child, *child.children(recursive=True)]
    for name, family in families.items():
        weights[name] = (sum(process.memory_full_info().pss for process in family) / MIB, len(family))
    assert weights.keys() > set(PARTS.values()), weights
    return weights
