"""Keeps alive what `make bench` runs: it is started seldom, and names what the product may rename."""

from __future__ import annotations

import importlib
import json
import re
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import pytest

from ocean_portal.sandbox.demo.assets import ASSETS
from tests.benchmarks import bench, pages, paid, portalside
from tests.benchmarks.oceanpy import LIFE, LIFE_AGAIN, PAY, STATUS_OF_MANY, Cost, compared
from tests.benchmarks.portalcalls import Calls
from tests.benchmarks.table import written

FOLDER = Path(bench.__file__).parent
OCEANPY = {
    PAY: Cost({"provider": 3, "chain": 22}, 0.25),
    STATUS_OF_MANY: Cost({"provider": 300}, 0.6),
    LIFE: Cost({"provider": 123, "aquarius": 4, "chain": 22}, late_s=4.0),
}
PORTAL = {
    PAY: Cost({"provider": 2, "chain": 12}, 0.125),
    STATUS_OF_MANY: Cost({"provider": 1}, 0.2),
    LIFE: Cost({"provider": 20}, late_s=2.0),
    LIFE_AGAIN: Cost({"provider": 12}, late_s=1.0),
}


class TestModules:
    @pytest.mark.parametrize("name", sorted(path.stem for path in FOLDER.glob("*.py")))
    def test_find_everything_that_they_import(self, name: str) -> None:
        assert importlib.import_module(f"tests.benchmarks.{name}")

    def test_ask_only_for_acts_of_the_portal_that_there_are(self) -> None:
        source = (
            Path(portalside.__file__).read_text() + Path(paid.__file__).read_text().partition("_launched(")[2]
        )
        asked = re.findall(r'(?:calls\.call\(|calls\.ask\(|do\([A-Z_]+, (?:calls, notes, )?)"(\w+)"', source)

        assert len(asked) > 10
        assert [name for name in asked if not callable(getattr(Calls, name, None))] == []

    def test_run_assets_of_the_demo(self) -> None:
        assert {bench.DATASET, bench.ALGORITHM, *paid.NODE_ASSETS} <= {asset.name for asset in ASSETS}


class TestComparison:
    def test_stands_beside_ocean_py_with_its_aims(self) -> None:
        lines = [
            re.sub(" +", " ", line) for line in written(compared(ours=PORTAL, theirs=OCEANPY)).splitlines()
        ]

        for line in (
            "| pay, new orders: requests; beside: ocean.py | 2 | 3 | 0.67 | | |",
            "| pay, new orders; beside: ocean.py | 125 ms | 250 ms | 0.50 | | |",
            "| status of 50 jobs: requests; beside: ocean.py | 1 | 300 | 0.00 | at most 1 | ok |",
            "| a job's life: requests; beside: ocean.py | 20 | 127 | 0.16 | at most 12.7 | not met |",
            "| a job's life: ended until all results are here | 2 s | 4 s | 0.50 | | |",
            "| a job's life, the same job again: requests; beside: ocean.py | 12 | 127 | 0.09 | at most 12.7 | ok |",
            "| pay, new orders | 3 | 0 | 22 | 250 ms | 2 | 0 | 12 | 125 ms |",
        ):
            assert line in lines

    def test_can_do_without_the_portal(self) -> None:
        assert "| ocean.py, a job's life: requests" in written(compared(ours={}, theirs=OCEANPY))


class TestPaidLaunch:
    def test_stands_beside_ocean_py_with_its_aims(self) -> None:
        ours = spent(quote=(3, 7), launch=(0, 0), pay=(3, 28), start=(1, 0))
        theirs = spent(quote=(3, 0), pay=(3, 104), start=(11, 0))

        told = written(paid.compared(ours=ours, theirs=theirs, at_node=ours))

        lines = [re.sub(" +", " ", line) for line in told.splitlines()]
        for line in (
            "| requests until RUNNING, quote included; beside: ocean.py | 42 | 121 | 0.35 | at most 60.5 | ok |",
            "| of this: JSON-RPC; beside: ocean.py | 35 | 104 | 0.34 | | |",
            "| inside a web request, without the quote's | 0 | | | at most 0 | ok |",
            "| time of all its acts; beside: ocean.py | 400 ms | 300 ms | 1.33 | | |",
            "| portal: check, buy and order | 3 | 0 | 0 | 28 |",
        ):
            assert line in lines


def spent(**acts: tuple[int, int]) -> paid.Spent:
    """Return what a side asked Provider and chain for; each act takes 100 ms."""
    names = {"quote": paid.QUOTE, "launch": paid.LAUNCH, "pay": paid.PAY, "start": paid.START}
    return paid.Spent(
        requests={
            names[act]: Counter({"provider": provider, "chain": chain})
            for act, (provider, chain) in acts.items()
        },
        seconds={names[act]: [0.1] * paid.TIMES for act in acts},
    )


class TestSummary:
    def test_names_the_day_the_load_and_each_aim_that_was_missed(self) -> None:
        part = compared(ours=PORTAL, theirs=OCEANPY)

        told = bench.summary([part], date=datetime(2025, 11, 22, tzinfo=UTC), loads=(0.25, 2.0))

        assert "on 2025-11-22" in told and "load 0.2 before the run and 2.0 at its end" in told
        assert told.endswith(
            "Aims not met: 1.\n\n- Against ocean.py, at a Provider: a job's life: requests; beside: ocean.py"
        )


class TestPages:
    @pytest.mark.django_db
    def test_are_all_listed_and_answer(
        self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(pages, "TIMES", 1)

        pages.main()

        told = json.loads(capsys.readouterr().out)
        assert told["unknown"] == []
        assert "| most queries (" in written(bench.pages_part(told))
