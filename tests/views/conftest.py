"""What tests of the doors need."""

from __future__ import annotations

import pytest
from django.core.cache import cache
from django.http import HttpResponse
from django.test import Client
from pytest_django import DjangoCaptureOnCommitCallbacks

from tests.views.doorstep import Post


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
