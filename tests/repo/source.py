"""What the repository is made of: its files, its README, its settings; for the tests of its own promises."""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
README = ROOT / "README.md"
HOUSE = ROOT / "jobs" / "README.md"  # where the map is
TEMPLATES = ROOT / "templates"

# Where there is no git (an unpacked archive): what .gitignore leaves out.
_NOT_OURS = {".git", ".venv", "var", "staticfiles", "__pycache__", ".hypothesis"}


def files() -> list[Path]:
    """Return every file of the repository: tracked, or new and not ignored."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if listed.returncode == 0:
        found = [ROOT / name for name in listed.stdout.split("\0") if name]
    else:
        found = [
            path
            for path in ROOT.rglob("*")
            if not any(part in _NOT_OURS or part.endswith("_cache") for part in path.relative_to(ROOT).parts)
        ]
    return sorted(path for path in found if path.is_file())


def product_modules() -> Iterator[tuple[str, ast.Module]]:
    """Yield path and syntax tree of each module of the product, migrations aside."""
    for path in sorted((ROOT / "jobs").rglob("*.py")):
        if "migrations" not in path.parts:
            yield path.relative_to(ROOT).as_posix(), ast.parse(path.read_text())


def settings_names() -> set[str]:
    """Return the names of the environment variables that settings.py reads."""
    tree = ast.parse((ROOT / "ocean_portal" / "settings.py").read_text())
    calls = (node for node in ast.walk(tree) if isinstance(node, ast.Call) and node.args)
    first = (call.args[0] for call in calls)
    texts = (arg.value for arg in first if isinstance(arg, ast.Constant) and isinstance(arg.value, str))
    return {text for text in texts if re.fullmatch(r"[A-Z][A-Z0-9]*_[A-Z0-9_]+", text)}


def readme_section(title: str, *, of: Path = README) -> str:
    """Return a section of a README, without its heading."""
    found = re.search(rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", of.read_text(), re.M | re.S)
    assert found, f"{of.relative_to(ROOT)} has no section “{title}”"
    return found[1]


def readme_settings() -> set[str]:
    """Return the names in the README's table of settings."""
    return set(re.findall(r"^\| `([A-Z0-9_]+)` \|", readme_section("Settings"), re.M))


def readme_map() -> set[str]:
    """Return the paths of the map of the house; a folder ends in a slash.

    A line is: indentation (two spaces a level), names with one space between them, two spaces, what for.
    """
    block = re.search(r"```text\n(.*?)```", readme_section("Rooms", of=HOUSE), re.S)
    assert block, "the map is a text block"
    paths: set[str] = set()
    above: dict[int, str] = {}
    for line in block[1].splitlines():
        level = (len(line) - len(line.lstrip())) // 2
        names = re.split(r"\s{2,}", line.strip())[0].split(" ")
        parent = above.get(level - 1, "") if level else ""
        paths |= {parent + name for name in names}
        above[level] = parent + names[0]
    return paths
