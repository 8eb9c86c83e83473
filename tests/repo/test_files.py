"""The files themselves: nothing in them belongs to one machine."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.repo.source import ROOT, files

# In pieces, so that this file does not find itself.
HOMES = re.compile(r"(?<![\w.~}])/(?:" + "|".join(("home", "Users", "root", "work")) + r")/[\w.]")
INDEXES = re.compile(
    "|".join(("pypi" + r"\.org", "python" + "hosted", "index" + "-url", "dev" + "pi", "arti" + "factory")),
    re.I,
)
CONFLICT = re.compile(r"^(<{7} |>{7} )", re.M)


def foreign(text: str) -> list[str]:
    """Return what in a text belongs to a machine rather than to the project."""
    return [found[0] for pattern in (HOMES, INDEXES, CONFLICT) for found in pattern.finditer(text)]


class TestFiles:
    def test_name_no_path_and_no_package_index_of_a_machine(self) -> None:
        found: dict[str, list[str]] = {}
        for path in files():
            text = path.read_bytes().decode("utf-8", errors="replace")
            if "\0" not in text and (words := foreign(text)):
                found[path.relative_to(ROOT).as_posix()] = words

        assert found == {}

    @pytest.mark.parametrize(
        "planted",
        [
            "cd /" + "home/ada/portal",
            '"/' + 'root/.cache"',
            "--index" + "-url https://mirror.example/simple",
            "https://files.python" + "hosted.org/x",
            "<" * 7 + " HEAD",
        ],
    )
    def test_would_be_found_out(self, planted: str) -> None:
        assert foreign(planted)

    def test_keep_secrets_and_state_out(self) -> None:
        names = {path.relative_to(ROOT).as_posix() for path in files()}

        assert not [
            name for name in names if Path(name).name == ".env" or name.startswith(("var/", ".venv/"))
        ]

    def test_stay_small_enough_to_be_read(self) -> None:
        code = (p for p in files() if p.suffix == ".py" and p.is_relative_to(ROOT / "jobs"))
        own = (p for p in code if "migrations" not in p.parts)

        assert {p.name: n for p in own if (n := len(p.read_text().splitlines())) > 500} == {}
