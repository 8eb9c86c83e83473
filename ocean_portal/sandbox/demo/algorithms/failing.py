"""Reads its input and then fails, to show what a failed job looks like. Standard library only."""

import os
from pathlib import Path

DATA = Path(os.environ.get("DATA_ROOT", "/data"))


def inputs() -> list[Path]:
    """Return the input files: all in one folder on an Ocean Node, in one per data set behind a Provider."""
    found = [path for path in (DATA / "inputs").rglob("*") if path.is_file()]
    return sorted(path for path in found if path.name != "algoCustomData.json")


def title(path: Path) -> str:
    """Return what to call an input: behind a Provider files have numbers, and their folder the data set's id."""
    return path.name if path.parent.name == "inputs" else f"{path.parent.name[:8]}/{path.name}"


def share_of_missing(rows: list[dict[str, str]], column: str) -> float:
    """Return how many of the rows lack the column."""
    return sum(1 for row in rows if not row[column]) / len(rows)


def main() -> None:
    for path in inputs():
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
        print(f"{title(path)}: {len(lines)} lines", flush=True)
        rows = [dict(zip(lines[0].split(","), line.split(","), strict=False)) for line in lines[1:]]
        print("looking for the column 'no_such_column' ...", flush=True)
        print(share_of_missing(rows, "no_such_column"))
    raise SystemExit("there was no input to fail on")


main()
