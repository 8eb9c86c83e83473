"""The migrations say what the models say, and stand in one line."""

from __future__ import annotations

from collections import Counter

import pytest
from django.core.management import call_command
from django.db.migrations.loader import MigrationLoader

from tests.repo.source import ROOT


class TestMigrations:
    @pytest.mark.django_db
    def test_leave_nothing_of_the_models_out(self) -> None:
        call_command(
            "makemigrations", check=True, dry_run=True, verbosity=0
        )  # exits when something is missing

    def test_have_numbers_without_gap_or_twin(self) -> None:
        numbers = Counter(path.name[:4] for path in (ROOT / "jobs" / "migrations").glob("[0-9]*.py"))

        assert numbers == {f"{i:04}": 1 for i in range(1, len(numbers) + 1)}

    def test_have_one_end(self) -> None:
        loader = MigrationLoader(None)

        assert loader.detect_conflicts() == {}
        assert len(loader.graph.leaf_nodes("jobs")) == 1
