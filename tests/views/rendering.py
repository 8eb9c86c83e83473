"""Counts the queries of a page after its template has begun: templates get plain data and ask for nothing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.db import connection
from django.test.signals import template_rendered
from django.test.utils import CaptureQueriesContext


@contextmanager
def queries_while_rendering() -> Iterator[list[str]]:
    """Collect the queries made after the first template of the block began to render."""
    late: list[str] = []
    began_at: list[int] = []

    def note(**_: Any) -> None:
        began_at.append(len(captured))

    template_rendered.connect(note)
    try:
        with CaptureQueriesContext(connection) as captured:
            yield late
        assert began_at, "no template was rendered"
        late.extend(query["sql"] for query in captured.captured_queries[began_at[0] :])
    finally:
        template_rendered.disconnect(note)
