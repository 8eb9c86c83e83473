"""A page waits for a price and for nothing else: no other request about a launch reaches a node or a chain."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client

from jobs.models import Job
from jobs.services import gateway
from tests.views.test_launch import KEY, PAGE, Desk

# Its fixtures are used here too: a desk where jobs can be paid, and what stands in for the answers to a quote.
from tests.views.test_launch_price import FarSide, agreed, ask, desk, far, paid

__all__ = ["desk", "far"]


@pytest.fixture
def reached(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The addresses that anybody wanted to call. Patched by name, because all calls begin there."""
    urls: list[str] = []

    def transport(base_url: str, **_: Any) -> None:
        urls.append(base_url)
        raise AssertionError(f"{base_url} was to be asked")

    monkeypatch.setattr(gateway, "Transport", transport)
    return urls


class TestLaunch:
    def test_at_a_price_that_was_seen_reaches_nobody(
        self, bob: Client, desk: Desk, far: FarSide, reached: list[str]
    ) -> None:
        seal = agreed(ask(bob, paid(desk)))

        answers = [bob.post(PAGE, paid(desk, agreed=seal)).status_code for _ in range(2)]

        assert answers == [302, 302]
        assert (Job.objects.count(), len(far.asked), reached) == (1, 1, [])

    def test_of_a_free_start_reaches_nobody(self, bob: Client, desk: Desk, reached: list[str]) -> None:
        answer = bob.post(PAGE, desk.filled())

        assert (answer.status_code, Job.objects.count(), reached) == (302, 1, [])

    def test_without_a_price_asks_for_one_and_no_more(
        self, bob: Client, desk: Desk, far: FarSide, reached: list[str]
    ) -> None:
        answer = bob.post(PAGE, paid(desk))

        assert (answer.status_code, Job.objects.count()) == (200, 0)
        assert (len(far.asked), reached) == (1, [])


class TestPages:
    def test_about_a_paid_job_reach_nobody(
        self, bob: Client, desk: Desk, far: FarSide, reached: list[str]
    ) -> None:
        bob.post(PAGE, paid(desk, agreed=agreed(ask(bob, paid(desk))), launch_key=KEY))
        job = f"/coastal/jobs/{Job.objects.get().pk}/"
        pages = ["/coastal/", "/coastal/jobs/", job, f"{job}status/", PAGE, f"{PAGE}parameters/"]

        answers = [bob.get(page).status_code for page in [*pages, "/coastal/wallets/"]]

        assert set(answers) <= {200, 204}
        assert (len(far.asked), reached) == (1, [])
