"""The system checks: settings that would lose or repeat work are refused."""

from __future__ import annotations

from typing import Any

import pytest
from django.conf import settings as configured
from pytest_django import Settings

from jobs.checks import queue_settings
from jobs.queue import TIME_LIMITS_S


def found() -> list[str | None]:
    return [message.id for message in queue_settings()]


class TestQueueSettings:
    def test_are_good_as_they_come(self) -> None:
        assert found() == []

    @pytest.mark.parametrize(
        ("wrong", "expected"),
        [
            ({"ack_failures": False}, "jobs.E001"),
            ({"max_attempts": 0}, "jobs.E001"),
            ({"max_attempts": 2}, "jobs.E001"),
            ({"retry": 119}, "jobs.E002"),
            ({"retry": 120}, "jobs.E002"),
            ({"orm": None}, "jobs.E003"),
            ({"workers": 3}, "jobs.E004"),
        ],
    )
    def test_are_refused_when_they_would_lose_or_repeat_work(
        self, settings: Settings, wrong: dict[str, Any], expected: str
    ) -> None:
        settings.Q_CLUSTER = configured.Q_CLUSTER | {"timeout": 120} | wrong

        assert found() == [expected]

    def test_let_no_task_run_longer_than_the_queue_waits(self) -> None:
        limits = [configured.Q_CLUSTER["timeout"], *TIME_LIMITS_S.values()]

        assert max(limits) < configured.Q_CLUSTER["retry"]
