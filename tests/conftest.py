"""The cast, their team, and a browser that one of them has signed in to."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

import pytest
from django.db import connection
from django.test import Client, TransactionTestCase

from jobs.models import Team, User
from jobs.models.teams import Role
from tests import builders


@dataclass(frozen=True)
class Cast:
    """Alice owns `team`, Bob launches, Vera views; Charlie owns `other_team` and is outside."""

    team: Team
    other_team: Team
    alice: User
    bob: User
    vera: User
    charlie: User


@pytest.fixture
def cast(db: None) -> Cast:
    """The people that every test speaks of."""
    team = builders.make_team()
    other = builders.make_team("offshore", name="Offshore Lab")
    return Cast(
        team=team,
        other_team=other,
        alice=builders.make_member(team=team, username="alice", role=Role.OWNER),
        bob=builders.make_member(team=team, username="bob", role=Role.LAUNCHER),
        vera=builders.make_member(team=team, username="vera", role=Role.VIEWER),
        charlie=builders.make_member(team=other, username="charlie", role=Role.OWNER),
    )


@pytest.fixture
def sign_in(cast: Cast) -> Callable[[str], Client]:
    """Give a browser in which the named member of the cast is signed in."""

    def as_member(username: str) -> Client:
        client = Client()
        client.force_login(getattr(cast, username))
        return client

    return as_member


@pytest.fixture
def alice(sign_in: Callable[[str], Client]) -> Client:
    """Alice's browser: an owner's."""
    return sign_in("alice")


@pytest.fixture
def bob(sign_in: Callable[[str], Client]) -> Client:
    """Bob's browser: a launcher's."""
    return sign_in("bob")


@pytest.fixture
def vera(sign_in: Callable[[str], Client]) -> Client:
    """Vera's browser: a viewer's."""
    return sign_in("vera")


@pytest.fixture
def charlie(sign_in: Callable[[str], Client]) -> Client:
    """Charlie's browser: he is outside the team."""
    return sign_in("charlie")


@pytest.fixture(autouse=True)
def own_storage(settings: pytest.FixtureRequest, tmp_path: Path) -> None:
    """Keep what a test archives out of the portal's own storage."""
    storages = dict(settings.STORAGES)  # type: ignore[attr-defined]
    storages["default"] = {
        "BACKEND": "django.core.files.storage.FileSystemStorage",
        "OPTIONS": {"location": str(tmp_path / "storage")},
    }
    settings.STORAGES = storages  # type: ignore[attr-defined]
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]  # type: ignore[attr-defined]


@pytest.fixture(autouse=True, scope="session")
def flushable_record() -> Iterator[None]:
    """Let the tests' own database be emptied after a test that commits: the record refuses it, as it should."""
    guards = import_module("jobs.migrations.0007_append_only_record")
    flush = TransactionTestCase._fixture_teardown

    def teardown(case: TransactionTestCase) -> None:
        with connection.schema_editor() as editor:
            guards.unguard(None, editor)
        try:
            flush(case)
        finally:
            with connection.schema_editor() as editor:
                guards.guard(None, editor)

    TransactionTestCase._fixture_teardown = teardown  # type: ignore[method-assign]
    yield
    TransactionTestCase._fixture_teardown = flush  # type: ignore[method-assign]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say how long the kill matrix took in the slower of its lanes: it has a budget of 320 s with two."""
    lanes: dict[str, float] = {}
    cases: set[str] = set()
    for reports in terminalreporter.stats.values():
        for report in reports:
            if isinstance(report, pytest.TestReport) and "/test_killed_" in report.nodeid:
                lane = getattr(report, "worker_id", "")
                lanes[lane] = lanes.get(lane, 0.0) + report.duration
                cases.add(report.nodeid)
    if lanes:
        terminalreporter.write_line(f"The kill matrix: {len(cases)} cases in {max(lanes.values()):.0f} s.")
