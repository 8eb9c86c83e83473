"""The READMEs speak of what exists: the map, the commands, the links."""

from __future__ import annotations

import re

import pytest
from django.core.management import get_commands

from tests.repo.source import README, ROOT, readme_map

DEEPER = ("jobs/ocean", "jobs/services", "jobs/management/commands")


def rooms() -> set[str]:
    """Return what the map must show: every package and module of the product, and the program's own folders."""
    found = {p.parent.relative_to(ROOT).as_posix() + "/" for p in (ROOT / "jobs").rglob("__init__.py")}
    found |= {p.parent.relative_to(ROOT).as_posix() + "/" for p in ROOT.glob("ocean_portal/**/__init__.py")}
    found |= {p.relative_to(ROOT).as_posix() for p in ROOT.glob("jobs/*.py")}
    found |= {p.relative_to(ROOT).as_posix() for p in ROOT.glob("ocean_portal/*.py")}
    found |= {p.relative_to(ROOT).as_posix() for folder in DEEPER for p in (ROOT / folder).glob("*.py")}
    found |= {f"{p.parent.relative_to(ROOT).as_posix()}/" for p in ROOT.glob("tests/*/__init__.py")}
    return {room for room in found if not room.endswith("__init__.py")} | {"templates/", "static/"}


class TestMap:
    def test_leaves_no_room_out(self) -> None:
        assert rooms() - readme_map() == set()

    def test_shows_no_room_that_is_not_there(self) -> None:
        gone = {
            p for p in readme_map() if not ((ROOT / p).is_dir() if p.endswith("/") else (ROOT / p).is_file())
        }

        assert gone == set()


class TestCommands:
    def test_of_make_exist(self) -> None:
        targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M))

        assert set(re.findall(r"(?:^|`)make ([a-z-]+)", README.read_text(), re.M)) - targets == set()

    def test_of_manage_exist(self) -> None:
        used = set(re.findall(r"manage\.py ([a-z_]+)", README.read_text()))

        assert used - set(get_commands()) == set()
        assert {"create_team", "launch_job", "worker"} <= used


class TestText:
    def test_can_be_read_in_one_go(self) -> None:
        assert len(README.read_text().splitlines()) < 385

    @pytest.mark.parametrize("name", ["README.md", "CHANGELOG.md", "SECURITY.md", "jobs/README.md"])
    def test_links_to_files_that_exist(self, name: str) -> None:
        links = re.findall(r"\]\(([^)#]+)", (ROOT / name).read_text())
        local = [link for link in links if not link.startswith("http")]

        assert [link for link in local if not ((ROOT / name).parent / link).exists()] == []
