"""The demo's algorithms and data, outside of any node: what they compute is checked against known numbers."""

import ast
import csv
import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

import ocean_portal.sandbox
from ocean_portal.sandbox.demo.assets import ASSETS

DEMO = Path(ocean_portal.sandbox.__file__).parent / "demo"
ALGORITHMS = sorted(path.name for path in (DEMO / "algorithms").glob("*.py"))


def run(
    folder: Path, algorithm: str, *inputs: str | Path, **custom: Any
) -> "subprocess.CompletedProcess[str]":
    """Run an algorithm on inputs (names of demo data, or paths) in a data folder laid out as a node does."""
    for name in ("inputs", "outputs"):
        (folder / name).mkdir(exist_ok=True)
    for item in inputs:
        source = DEMO / "data" / item if isinstance(item, str) else item
        (folder / "inputs" / source.name).write_bytes(source.read_bytes())
    (folder / "inputs" / "algoCustomData.json").write_text(json.dumps(custom))
    return subprocess.run(
        [sys.executable, "-I", DEMO / "algorithms" / algorithm],
        env=os.environ | {"DATA_ROOT": str(folder)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def table(folder: Path, name: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO((folder / "outputs" / name).read_text())))


class TestEveryAlgorithm:
    @pytest.mark.parametrize("name", ALGORITHMS)
    def test_uses_the_standard_library_only(self, name: str) -> None:
        tree = ast.parse((DEMO / "algorithms" / name).read_text())
        imported = {
            alias.name.partition(".")[0]
            for node in ast.walk(tree)
            if isinstance(node, ast.Import)
            for alias in node.names
        }
        imported |= {
            str(node.module).partition(".")[0] for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)
        }

        assert imported
        assert imported <= sys.stdlib_module_names

    @pytest.mark.parametrize(
        ("name", "inputs"),
        [("summary_statistics.py", ["iris.csv", "us-constitution.txt"]), ("regression.py", ["co2.csv"])],
    )
    def test_gives_the_same_bytes_every_time(self, tmp_path: Path, name: str, inputs: list[str]) -> None:
        outputs = []
        for folder in (tmp_path / "one", tmp_path / "two"):
            folder.mkdir()
            assert run(folder, name, *inputs).returncode == 0
            outputs.append({path.name: path.read_bytes() for path in (folder / "outputs").iterdir()})

        assert outputs[0] == outputs[1]

    def test_is_published_and_nothing_else_is(self) -> None:
        files = {asset.file for asset in ASSETS}

        data = {f"data/{path.name}" for path in (DEMO / "data").iterdir() if path.name != "README.md"}
        assert files == data | {f"algorithms/{name}" for name in ALGORITHMS}


class TestOtherLayout:
    """Behind a Provider v4 each data set has a folder of its own, and its files have numbers for names."""

    @pytest.mark.parametrize(
        ("name", "source"),
        [("summary_statistics.py", "iris.csv"), ("regression.py", "iris.csv"), ("word_count.py", "iris.csv")],
    )
    def test_gives_the_same_numbers_as_on_a_node(self, tmp_path: Path, name: str, source: str) -> None:
        flat, nested = tmp_path / "flat", tmp_path / "nested"
        for folder in (flat, nested):
            folder.mkdir()
        run(flat, name, source, seconds=0)

        put_nested(nested, "02c49e184a78", source)
        ended = run(nested, name, seconds=0)

        assert ended.returncode == 0
        assert "02c49e18/0: " in ended.stdout
        for path in (flat / "outputs").iterdir():
            other = (nested / "outputs" / path.name).read_text().replace("02c49e18/0", source)
            assert other == path.read_text()

    def test_knows_two_data_sets_apart_and_text_from_tables(self, tmp_path: Path) -> None:
        put_nested(tmp_path, "aaaaaaaaaaaa", "us-constitution.txt")
        put_nested(tmp_path, "bbbbbbbbbbbb", "co2.csv")

        run(tmp_path, "summary_statistics.py")

        lines = {(line["file"], line["column"]) for line in table(tmp_path, "summary.csv")}
        assert ("aaaaaaaa/0", "words per line") in lines and ("bbbbbbbb/0", "co2_ppm") in lines


def put_nested(folder: Path, did: str, source: str) -> None:
    """Lay an input out as a Provider's cluster does."""
    target = folder / "inputs" / did
    target.mkdir(parents=True)
    (target / "0").write_bytes((DEMO / "data" / source).read_bytes())


class TestSummaryStatistics:
    def test_knows_the_irises(self, tmp_path: Path) -> None:
        run(tmp_path, "summary_statistics.py", "iris.csv")

        lines = {line["column"]: line for line in table(tmp_path, "summary.csv")}
        # The well-known numbers of Fisher's table.
        assert list(lines) == ["sepal_length", "sepal_width", "petal_length", "petal_width"]
        sepal = lines["sepal_length"]
        assert [sepal[key] for key in ("count", "mean", "sd", "min", "median", "max")] == [
            "150",
            "5.8433",
            "0.8281",
            "4.3",
            "5.8",
            "7.9",
        ]
        assert [lines["petal_length"][key] for key in ("q1", "median", "q3")] == ["1.6", "4.35", "5.1"]

    def test_counts_gaps_and_describes_text(self, tmp_path: Path) -> None:
        run(tmp_path, "summary_statistics.py", "co2.csv", "us-constitution.txt")

        lines = {(line["file"], line["column"]): line for line in table(tmp_path, "summary.csv")}
        assert lines["co2.csv", "co2_ppm"]["missing"] == "59"
        assert lines["us-constitution.txt", "words per line"]["count"] == "1130"

    def test_chart_is_a_picture_with_a_box_per_column(self, tmp_path: Path) -> None:
        run(tmp_path, "summary_statistics.py", "iris.csv")

        tree = ElementTree.parse(tmp_path / "outputs" / "chart.svg")
        boxes = [node for node in tree.iter("{http://www.w3.org/2000/svg}rect") if node.get("class") == "box"]
        assert len(boxes) == 4

    def test_names_in_the_data_cannot_break_the_chart(self, tmp_path: Path) -> None:
        odd = tmp_path / "odd.csv"
        odd.write_text('"<b>&",plain\n1,2\n')

        assert run(tmp_path, "summary_statistics.py", odd).returncode == 0

        texts = [node.text for node in ElementTree.parse(tmp_path / "outputs" / "chart.svg").iter()]
        assert "<b>&" in texts


class TestRegression:
    def test_finds_a_plane_that_is_there(self, tmp_path: Path) -> None:
        plane = tmp_path / "plane.csv"
        rows = [(x, (x * 7) % 11) for x in range(40)]
        plane.write_text("x,y,z\n" + "".join(f"{x},{y},{2 * x - 3 * y + 5}\n" for x, y in rows))

        assert run(tmp_path, "regression.py", plane).returncode == 0

        model = json.loads((tmp_path / "outputs" / "model.json").read_text())
        assert model["intercept"] == pytest.approx(5)
        assert model["coefficients"] == {"x": pytest.approx(2), "y": pytest.approx(-3)}
        assert model["r2"] == pytest.approx(1)

    def test_sees_carbon_dioxide_rise(self, tmp_path: Path) -> None:
        ended = run(tmp_path, "regression.py", "co2.csv", folds=4)

        model = json.loads((tmp_path / "outputs" / "model.json").read_text())
        assert model["coefficients"]["year"] == pytest.approx(1.343, abs=0.001)
        assert model["r2"] == pytest.approx(0.9737, abs=0.0001)
        assert ended.stdout.count("fold ") == 4
        ElementTree.parse(tmp_path / "outputs" / "fit.svg")
        assert "| year | 1.34295 |" in (tmp_path / "outputs" / "report.md").read_text()

    def test_takes_target_and_features_from_the_parameters(self, tmp_path: Path) -> None:
        run(tmp_path, "regression.py", "iris.csv", target="petal_length", features=["petal_width"])

        model = json.loads((tmp_path / "outputs" / "model.json").read_text())
        # The slope that every textbook has for this pair.
        assert model["coefficients"] == {"petal_width": pytest.approx(2.2299, abs=0.0001)}

    @pytest.mark.parametrize(
        ("inputs", "custom", "words"),
        [
            (["us-constitution.txt"], {}, "no CSV input"),
            (["iris.csv"], {"target": "smell"}, "no such numeric column: smell"),
        ],
    )
    def test_says_what_is_wrong(
        self, tmp_path: Path, inputs: list[str], custom: dict[str, Any], words: str
    ) -> None:
        ended = run(tmp_path, "regression.py", *inputs, **custom)

        assert ended.returncode == 1
        assert words in ended.stderr and "Traceback" not in ended.stderr


class TestWordCount:
    def test_counts_and_tells_its_progress(self, tmp_path: Path) -> None:
        ended = run(tmp_path, "word_count.py", "us-constitution.txt", seconds=0)

        words = table(tmp_path, "words.csv")
        assert words[0]["word"] == "the"
        text = (DEMO / "data" / "us-constitution.txt").read_text().lower().split()
        assert (
            int(next(line["count"] for line in words if line["word"] == "president"))
            >= text.count("president")
            > 0
        )
        assert ended.stdout.count(" %  ") == 30
        ElementTree.parse(tmp_path / "outputs" / "words.svg")


class TestFailing:
    def test_fails_with_a_traceback_after_reading(self, tmp_path: Path) -> None:
        ended = run(tmp_path, "failing.py", "iris.csv")

        assert ended.returncode == 1
        assert "iris.csv: 151 lines" in ended.stdout
        assert ended.stderr.startswith("Traceback") and "KeyError: 'no_such_column'" in ended.stderr
        assert list((tmp_path / "outputs").iterdir()) == []


class TestData:
    def test_every_file_has_its_source_and_licence_named(self) -> None:
        readme = (DEMO / "data" / "README.md").read_text()

        for path in (DEMO / "data").iterdir():
            assert path.name == "README.md" or f"`{path.name}`" in readme

    def test_irises_are_fifty_of_each_species(self) -> None:
        rows = list(csv.DictReader(io.StringIO((DEMO / "data" / "iris.csv").read_text())))

        species = [row["species"] for row in rows]
        assert {name: species.count(name) for name in species} == {
            "setosa": 50,
            "versicolor": 50,
            "virginica": 50,
        }
