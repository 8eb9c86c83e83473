"""The pinned requirements: exact, from no particular index, and what pyproject.toml asks for."""

from __future__ import annotations

import re
import tomllib

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.repo.source import ROOT

EXACT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*==[0-9][A-Za-z0-9.]*")


def pins(name: str) -> list[str]:
    """Return the lines of a requirements file that say something."""
    lines = (line.strip() for line in (ROOT / name).read_text().splitlines())
    return [line for line in lines if line and not line.startswith("#")]


def wanted() -> list[str]:
    """Return the dependencies that pyproject.toml declares."""
    declared: list[str] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    return declared


class TestRequirements:
    def test_for_running_are_exact_and_name_no_index(self) -> None:
        assert [line for line in pins("requirements.txt") if not EXACT.fullmatch(line)] == []

    def test_for_developing_are_exact_and_build_on_those_for_running(self) -> None:
        odd = [line for line in pins("requirements-dev.txt") if not EXACT.fullmatch(line)]

        assert odd == ["-r requirements.txt"]

    def test_pin_nothing_twice(self) -> None:
        every = pins("requirements.txt") + pins("requirements-dev.txt")[1:]
        names = [canonicalize_name(line.partition("==")[0]) for line in every]

        assert sorted(set(names)) == sorted(names)

    @pytest.mark.parametrize("declared", wanted())
    def test_pin_a_version_that_the_project_asks_for(self, declared: str) -> None:
        pinned = dict(line.split("==") for line in pins("requirements.txt"))
        versions = {canonicalize_name(name): version for name, version in pinned.items()}
        requirement = Requirement(declared)

        assert requirement.specifier.contains(versions[canonicalize_name(requirement.name)], prereleases=True)


class TestProject:
    def test_says_of_each_dependency_what_we_would_otherwise_write(self) -> None:
        text = (ROOT / "pyproject.toml").read_text()
        block = text.split("dependencies = [\n", 1)[1].split("\n]", 1)[0]

        assert len(block.splitlines()) == len(wanted())
        assert all(re.search(r'",\s+# \S', line) for line in block.splitlines())
