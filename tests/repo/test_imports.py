"""Who may import whom: the contracts in pyproject.toml are kept, and each of them would notice."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.repo.source import ROOT

# One planted import for each contract: (contract, module that gets the line, what it imports).
PLANTED = (
    ("wiring", "jobs/errors.py", "ocean_portal.urls"),
    ("layers", "jobs/models/teams.py", "jobs.selectors.portal"),
    ("client-layers", "jobs/ocean/units.py", "jobs.ocean.node"),
    ("client-is-pure", "jobs/ocean/parsing.py", "django"),
    ("one-caller", "jobs/selectors/jobs.py", "jobs.ocean.transport"),
    ("service-layers", "jobs/services/vault.py", "jobs.services.launching"),
    ("vault", "jobs/services/wallets.py", "cryptography"),
    ("wire-libraries", "jobs/previews.py", "requests"),
    ("queue-library", "jobs/services/running.py", "django_q"),
    ("thin-views", "jobs/views/wallets.py", "jobs.models"),
    ("sandbox-apart", "ocean_portal/sandbox/store.py", "jobs.lifecycle"),
)


def lint(root: Path) -> tuple[int, str]:
    """Run import-linter on a tree; return its exit code and what it said."""
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache", "--no-logo"]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False, timeout=120)
    return done.returncode, done.stdout + done.stderr


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """Give a copy of the two packages and their contracts."""
    for package in ("jobs", "ocean_portal"):
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def contracts() -> dict[str, str]:
    """Return id and name of every contract."""
    config = tomllib.loads((ROOT / "pyproject.toml").read_text())
    return {c["id"]: c["name"] for c in config["tool"]["importlinter"]["contracts"]}


class TestContracts:
    def test_are_all_kept(self) -> None:
        code, said = lint(ROOT)

        assert code == 0, said
        assert "0 broken" in said

    def test_each_notice_a_planted_import(self, copy: Path) -> None:
        for _, module, imported in PLANTED:
            path = copy / module
            path.write_text(f"{path.read_text()}\nimport {imported}\n")

        code, said = lint(copy)

        names = contracts()
        assert code == 1
        assert {contract for contract, _, _ in PLANTED} == set(names), "a contract has nothing planted"
        for contract, module, imported in PLANTED:
            importer = module.removesuffix(".py").replace("/", ".")
            assert f"{names[contract]} BROKEN" in said
            assert f"{importer} -> {imported} (l." in _about(said, names[contract]), contract

    @pytest.mark.parametrize("stray", ["jobs/utils.py", "jobs/ocean/misc.py", "jobs/services/helpers.py"])
    def test_want_a_layer_for_every_module(self, copy: Path, stray: str) -> None:
        (copy / stray).write_text("")

        code, said = lint(copy)

        assert code == 1
        assert Path(stray).stem in said


def _about(said: str, name: str) -> str:
    """Return what is said about one contract: the part under its name and a rule of the same length."""
    return said.split(f"{name}\n{'-' * len(name)}\n", 1)[1].split("\n---", 1)[0]
