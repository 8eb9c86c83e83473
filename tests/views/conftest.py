"""Two teams with everything in them, made once for modules that try many requests on them; and what tests of doors need."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from django.core.cache import cache
from django.http import HttpResponse
from django.test import Client, override_settings
from pytest_django import DjangoCaptureOnCommitCallbacks
from pytest_django.plugin import DjangoDbBlocker

from tests.views.doorstep import Post
from tests.views.peopled import World, make_world, tests_own_transaction


@pytest.fixture(scope="module")
def peopled(
    django_db_setup: None, django_db_blocker: DjangoDbBlocker, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[World, Path]]:
    """The world, and where its files are."""
    files = tmp_path_factory.mktemp("storage")
    with django_db_blocker.unblock(), tests_own_transaction():
        with override_settings(STORAGES=_storages(files)):
            world = make_world()
        yield world, files


@pytest.fixture
def world(peopled: tuple[World, Path], db: None, own_storage: None, settings: pytest.FixtureRequest) -> World:
    """The world for one test; `db` undoes what the test changes, inside the transaction that the world is in.

    That needs a connection which stays open between tests, as the one to a database in memory does.
    """
    found, files = peopled
    settings.STORAGES = _storages(files)  # type: ignore[attr-defined]
    return found


def _storages(files: Path) -> dict[str, object]:
    return {
        "default": {
            "BACKEND": "django.core.files.storage.FileSystemStorage",
            "OPTIONS": {"location": str(files)},
        },
        "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
    }


@pytest.fixture
def fresh_counts(db: None) -> None:
    """Let no test be stopped by the attempts of another."""
    cache.clear()


@pytest.fixture
def post(client: Client, django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks) -> Post:
    """Send a form from the test's browser, and let go the letters that leave with its commit."""

    def send(path: str, fields: dict[str, str] | None = None, **options: object) -> HttpResponse:
        with django_capture_on_commit_callbacks(execute=True):
            return client.post(path, fields or {}, **options)  # type: ignore[arg-type]

    return send
