"""Linear regression by ordinary least squares, checked by cross-validation. Standard library only.

Parameters: target (a numeric column; default: the last one), features (a list of numeric columns;
default: all others), folds (2 to 20; default 5). Writes report.md, model.json and fit.svg.
"""

import csv
import json
import math
import os
from html import escape
from pathlib import Path

DATA = Path(os.environ.get("DATA_ROOT", "/data"))
STYLE = """
svg { background: #ffffff; font: 13px system-ui, sans-serif } text { fill: #24292f } .axis { stroke: #8c959f }
circle { fill: #0969da; fill-opacity: .45 } .ideal { stroke: #cf222e; stroke-width: 2 }
@media (prefers-color-scheme: dark) { svg { background: #0d1117 } text { fill: #e6edf3 }
.axis { stroke: #6e7681 }
circle { fill: #58a6ff; fill-opacity: .5 } .ideal { stroke: #ff7b72 } }
"""


def inputs() -> list[Path]:
    """Return the input files: all in one folder on an Ocean Node, in one per data set behind a Provider."""
    found = [path for path in (DATA / "inputs").rglob("*") if path.is_file()]
    return sorted(path for path in found if path.name != "algoCustomData.json")


def title(path: Path) -> str:
    """Return what to call an input: behind a Provider files have numbers, and their folder the data set's id."""
    return path.name if path.parent.name == "inputs" else f"{path.parent.name[:8]}/{path.name}"


def read_table() -> tuple[str, dict[str, list[float]]]:
    """Return (file name, {column: numbers}) of the first CSV input with two numeric columns.

    Rows with gaps are left out.
    """
    for path in inputs():
        if path.suffix.lower() not in (".csv", ""):
            continue
        with path.open(newline="", encoding="utf-8", errors="replace") as file:
            rows = list(csv.DictReader(file))
        numeric = [
            name
            for name in (rows[0] if rows else {})
            if name and all(is_number(row[name]) or not row[name] for row in rows)
        ]
        numeric = [name for name in numeric if any(row[name] for row in rows)]
        if len(numeric) >= 2:
            whole = [row for row in rows if all(row[name] for name in numeric)]
            print(
                f"{title(path)}: {len(whole)} of {len(rows)} rows are complete; numeric: {', '.join(numeric)}",
                flush=True,
            )
            return title(path), {name: [float(row[name]) for row in whole] for name in numeric}
    raise SystemExit("no CSV input with two numeric columns")


def is_number(text: str | None) -> bool:
    try:
        return math.isfinite(float(text or ""))
    except ValueError:
        return False


def solve(matrix: list[list[float]], right: list[float]) -> list[float]:
    """Solve a small linear system by elimination with pivoting."""
    size = len(right)
    rows = [[*matrix[i], right[i]] for i in range(size)]
    for column in range(size):
        pivot = max(range(column, size), key=lambda row: abs(rows[row][column]))
        if abs(rows[pivot][column]) < 1e-12:
            raise SystemExit("the features say the same thing twice: leave one out")
        rows[column], rows[pivot] = rows[pivot], rows[column]
        for row in range(column + 1, size):
            factor = rows[row][column] / rows[column][column]
            rows[row] = [a - factor * b for a, b in zip(rows[row], rows[column], strict=True)]
    answer = [0.0] * size
    for row in reversed(range(size)):
        known = sum(rows[row][column] * answer[column] for column in range(row + 1, size))
        answer[row] = (rows[row][size] - known) / rows[row][row]
    return answer


def fit(xs: list[list[float]], ys: list[float]) -> list[float]:
    """Return intercept and coefficients; columns are centred first, for the sake of the arithmetic."""
    count, width = len(ys), len(xs[0])
    means = [sum(row[i] for row in xs) / count for i in range(width)]
    mean = sum(ys) / count
    centred = [[row[i] - means[i] for i in range(width)] for row in xs]
    matrix = [[sum(row[i] * row[j] for row in centred) for j in range(width)] for i in range(width)]
    right = [sum(row[i] * (y - mean) for row, y in zip(centred, ys, strict=True)) for i in range(width)]
    slopes = solve(matrix, right)
    return [mean - sum(s * m for s, m in zip(slopes, means, strict=True)), *slopes]


def predict(model: list[float], row: list[float]) -> float:
    return model[0] + sum(slope * x for slope, x in zip(model[1:], row, strict=True))


def quality(model: list[float], xs: list[list[float]], ys: list[float]) -> tuple[float, float]:
    """Return (r squared, root mean square error)."""
    mean = sum(ys) / len(ys)
    missed = sum((y - predict(model, row)) ** 2 for row, y in zip(xs, ys, strict=True))
    spread = sum((y - mean) ** 2 for y in ys)
    return (1 - missed / spread if spread else 0.0), math.sqrt(missed / len(ys))


def draw(model: list[float], xs: list[list[float]], ys: list[float], target: str) -> str:
    """Return an SVG of predicted against real values, at most about 400 points."""
    pairs = [(y, predict(model, row)) for row, y in zip(xs, ys, strict=True)][:: max(1, len(ys) // 400)]
    low, high = min(map(min, pairs)), max(map(max, pairs))
    span = (high - low) or 1.0
    points = [(70 + 420 * (y - low) / span, 460 - 420 * (guess - low) / span) for y, guess in pairs]
    dots = "\n".join(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3"/>' for x, y in points)
    return f"""<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 520 520" role="img">
<title>Predicted against real {escape(target)}</title><style>{STYLE}</style>
<line class="axis" x1="70" y1="460" x2="490" y2="460"/><line class="axis" x1="70" y1="40" x2="70" y2="460"/>
<line class="ideal" x1="70" y1="460" x2="490" y2="40"/>
{dots}
<text x="280" y="500" text-anchor="middle">real {escape(target)}</text>
<text x="24" y="250" text-anchor="middle" transform="rotate(-90 24 250)">predicted</text>
<text x="70" y="478">{low:g}</text><text x="490" y="478" text-anchor="end">{high:g}</text>
</svg>
"""


def main() -> None:
    custom = json.loads((DATA / "inputs" / "algoCustomData.json").read_text() or "{}")
    name, table = read_table()
    target = custom.get("target") or list(table)[-1]
    features = custom.get("features") or [column for column in table if column != target]
    if unknown := [column for column in [target, *features] if column not in table]:
        raise SystemExit(f"no such numeric column: {', '.join(unknown)}")
    ys = table[target]
    xs = [list(row) for row in zip(*(table[column] for column in features), strict=True)]
    folds = min(20, max(2, int(custom.get("folds") or 5)))
    if len(ys) < 2 * folds or len(ys) < len(features) + folds + 1:
        raise SystemExit(f"{len(ys)} complete rows are too few")
    print(f"explaining {target} by {', '.join(features)}; {folds} folds", flush=True)
    scores = []
    for fold in range(folds):
        # Every n-th row is held back, so that sorted tables are split fairly, always alike.
        train = [i for i in range(len(ys)) if i % folds != fold]
        test = [i for i in range(len(ys)) if i % folds == fold]
        model = fit([xs[i] for i in train], [ys[i] for i in train])
        scores.append(quality(model, [xs[i] for i in test], [ys[i] for i in test]))
        print(f"fold {fold + 1} of {folds}: r2 {scores[-1][0]:.4f}, rmse {scores[-1][1]:.4f}", flush=True)
    model = fit(xs, ys)
    r2, rmse = quality(model, xs, ys)
    write(name, target, features, scores, model, r2, rmse, len(ys))
    (DATA / "outputs" / "fit.svg").write_text(draw(model, xs, ys, target), encoding="utf-8")
    print(f"all rows: r2 {r2:.4f}, rmse {rmse:.4f}; wrote report.md, model.json and fit.svg")


def write(
    name: str,
    target: str,
    features: list[str],
    scores: list[tuple[float, float]],
    model: list[float],
    r2: float,
    rmse: float,
    count: int,
) -> None:
    """Write the report for people and the model for programs."""
    terms = "\n".join(
        f"| {feature} | {slope:.6g} |" for feature, slope in zip(features, model[1:], strict=True)
    )
    rows = "\n".join(f"| {number} | {a:.4f} | {b:.4f} |" for number, (a, b) in enumerate(scores, 1))
    report = f"""# Linear regression: {target}

{count} rows of {name}. r² {r2:.4f}, root mean square error {rmse:.4f}.

| term | coefficient |
| --- | --- |
| intercept | {model[0]:.6g} |
{terms}

## Cross-validation

| fold | r² | rmse |
| --- | --- | --- |
{rows}
"""
    (DATA / "outputs" / "report.md").write_text(report, encoding="utf-8")
    coefficients = dict(zip(features, (round(slope, 10) for slope in model[1:]), strict=True))
    facts = {
        "target": target,
        "intercept": round(model[0], 10),
        "coefficients": coefficients,
        "r2": round(r2, 10),
    }
    (DATA / "outputs" / "model.json").write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")


main()
