"""The pages of jobs at a Provider: orders on the chain, ends that nobody tells, logs that come late; and own code."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client

from jobs.lifecycle import State
from jobs.models import Job, JobEvent, Network, Node, Transaction
from jobs.ocean import provider_refusals
from jobs.ocean.compute import CAPABILITIES
from jobs.ocean.node import OceanNode
from jobs.ocean.provider import Provider
from jobs.selectors import failures
from jobs.selectors.phases import LABELS
from tests import builders
from tests.builders import NOW
from tests.conftest import Cast
from tests.repo.source import ROOT

Status = Transaction.Status
HTMX = {"HX-Request": "true"}
EVIL = "<script>alert(1)</script>"
CODE = {"language": "python", "code": "print('<b>hello</b>')\n", "url": ""}


@pytest.fixture
def quay(cast: Cast) -> Node:
    """A Provider."""
    return builders.make_provider_node()


def address(job: Job) -> str:
    """Return where a job's page is."""
    return f"/coastal/jobs/{job.pk}/"


def shown(client: Client, url: str) -> str:
    """Return a page's text; it has to be there."""
    response = client.get(url)
    assert response.status_code == 200
    return response.text


def part(html: str, ident: str) -> str:
    """Return one section of a page."""
    found = re.search(rf'<section class="card" id="{ident}".*?</section>', html, re.S)
    assert found, ident
    return found[0]


def steps(html: str) -> list[tuple[str, str]]:
    """Return mark and label of the large steps of a page."""
    return re.findall(r'<li class="(\w*)"[^>]*><i></i><b>(\w+)</b>', html)


def provider_job(cast: Cast, quay: Node, **values: Any) -> Job:
    """Make a job at the Provider."""
    return builders.make_job(team=cast.team, node=quay, **({"state": State.PAYING} | values))


class TestOrders:
    def test_are_told_step_by_step(self, vera: Client, cast: Cast, quay: Node) -> None:
        job = provider_job(cast, quay)
        done = builders.make_transaction(job=job)
        builders.make_transaction(job=job, status=Status.SENT, told="Order Buoys 2025")
        builders.make_transaction(job=job, status=Status.PLANNED, told="Order Linear regression")

        orders = part(shown(vera, address(job)), "orders")

        assert "Get a datatoken of Buoys 2025 from its dispenser" in orders
        assert [word in orders for word in ("Confirmed", "Waiting for a block", "Planned")] == [True] * 3
        assert f'data-copy="{done.tx_hash}"' in orders
        assert f"{done.tx_hash[:6]}…{done.tx_hash[-4:]}" in orders
        assert "block 62, gas 187114" in orders
        assert "not sent yet" in orders

    @pytest.mark.parametrize(
        ("explorer", "linked"),
        [("https://explorer.example/", True), ("", False), ("javascript:alert(1)//", False)],
    )
    def test_link_to_the_explorer_where_there_is_one(
        self, vera: Client, cast: Cast, quay: Node, explorer: str, linked: bool
    ) -> None:
        job = provider_job(cast, quay)
        row = builders.make_transaction(job=job)
        Network.objects.update(explorer_url=explorer)

        orders = part(shown(vera, address(job)), "orders")

        assert (f'href="https://explorer.example/tx/{row.tx_hash}"' in orders) == linked
        assert "javascript:" not in orders

    @pytest.mark.parametrize(
        ("status", "word"),
        [(Status.REVERTED, "Reverted"), (Status.DROPPED, "Never mined"), (Status.PREPARED, "About")],
    )
    def test_tell_every_other_status(
        self, vera: Client, cast: Cast, quay: Node, status: str, word: str
    ) -> None:
        job = provider_job(cast, quay)
        builders.make_transaction(job=job, status=status, trouble=EVIL, told=EVIL)

        orders = part(shown(vera, address(job)), "orders")

        assert word in orders
        assert EVIL not in orders and "&lt;script&gt;" in orders

    def test_that_are_used_again_name_the_job_that_paid(self, vera: Client, cast: Cast, quay: Node) -> None:
        first = provider_job(cast, quay, state=State.SUCCEEDED, name="The first")
        data, algorithm = builders.make_order(job=first), builders.make_order(job=first)
        job = provider_job(cast, quay, state=State.RUNNING, algorithm_order=algorithm)
        job.inputs.update(order=data)

        orders = part(shown(vera, address(job)), "orders")

        assert orders.count(f'href="{address(first)}">The first</a> paid for it') == 2
        assert data.transaction.tx_hash in orders
        assert "<table" not in orders

    def test_of_the_job_s_own_are_not_called_used_again(self, vera: Client, cast: Cast, quay: Node) -> None:
        job = provider_job(cast, quay, state=State.RUNNING)
        job.inputs.update(order=builders.make_order(job=job))

        assert "is used again" not in shown(vera, address(job))

    def test_are_not_spoken_of_where_there_are_none(self, vera: Client, cast: Cast) -> None:
        html = shown(vera, address(builders.make_job(team=cast.team, state=State.RUNNING)))

        assert 'id="orders"' not in html and "#orders" not in html

    def test_arrive_on_an_open_page(self, vera: Client, cast: Cast, quay: Node) -> None:
        job = provider_job(cast, quay)
        builders.make_transaction(job=job)

        html = vera.get(f"{address(job)}status/?v=0.0", headers=HTMX).text

        assert '<section class="card" id="orders" hx-swap-oob="true"' in html

    def test_keep_the_query_budget(
        self, vera: Client, cast: Cast, quay: Node, django_assert_max_num_queries: Any
    ) -> None:
        first = provider_job(cast, quay, state=State.SUCCEEDED)
        job = provider_job(cast, quay, state=State.RUNNING, algorithm_order=builders.make_order(job=first))
        job.inputs.update(order=builders.make_order(job=first))
        for _ in range(5):
            builders.make_transaction(job=job)

        # 3 who is asking, 2 frame, 4 job, events, results, inputs, 1 transactions, 2 what is usual, 3 watched.
        with django_assert_max_num_queries(15):
            vera.get(address(job))


class TestSteps:
    @pytest.mark.parametrize(
        ("state", "word", "mark"),
        [
            (State.REQUESTED, "Waiting to start", "now"),
            (State.PAYING, "Ordering", "now"),
            (State.PAID, "Ordered", "done"),
            (State.STARTING, "Starting", "done"),
        ],
    )
    def test_begin_with_ordering(
        self, vera: Client, cast: Cast, quay: Node, state: State, word: str, mark: str
    ) -> None:
        job = provider_job(cast, quay, state=state)

        html = shown(vera, address(job))

        assert steps(html)[0] == (mark, "Ordering")
        assert re.search(rf"</svg>\s*{word}</span>", html)
        assert word in shown(vera, "/coastal/jobs/") and word in shown(vera, "/coastal/")

    def test_tell_how_long_ordering_took(self, vera: Client, cast: Cast, quay: Node) -> None:
        job = provider_job(cast, quay, state=State.STARTING)
        builders.make_event(job=job, at=job.requested_at + timedelta(seconds=7), after=State.PAID)

        assert "<b>Ordering</b><small>\n    0:07" in shown(vera, address(job))

    def test_end_at_ordering_where_it_failed(self, vera: Client, cast: Cast, quay: Node) -> None:
        job = provider_job(cast, quay, state=State.FAILED, accepted_at=None, reason="reverted")

        html = shown(vera, address(job))

        assert steps(html)[0] == ("bad", "Ordering")
        assert "Nothing but gas was spent." in html

    def test_say_no_more_than_the_service_tells(self, vera: Client, cast: Cast, quay: Node) -> None:
        job = provider_job(
            cast, quay, state=State.RUNNING, node_status=1, node_status_text="Warming up", start_sent_at=NOW
        )

        html = shown(vera, address(job))

        assert "Warming up." in html
        assert "Queued" not in html
        assert [label for _, label in steps(html)] == [
            LABELS[key] for key in ("ordering", "accepted", "data", "running", "publishing", "archived")
        ]


class TestEnd:
    @pytest.fixture
    def untold(self, cast: Cast, quay: Node) -> Job:
        return provider_job(
            cast,
            quay,
            state=State.SUCCEEDED,
            reason="exit_unknown",
            message="The job ended, but the node does not say how. Its logs may tell.",
        )

    def test_that_is_not_told_is_no_bare_success(self, vera: Client, untold: Job) -> None:
        builders.make_result(job=untold, name="algorithm.log", kind="algorithmLog", data=b"Traceback: no\n")
        pages = [shown(vera, url) for url in (address(untold), "/coastal/jobs/", "/coastal/")]

        assert all(re.search(r"</svg> ?Ended</span>", html) for html in pages)
        assert not any(re.search(r"</svg> ?Succeeded</span>", html) for html in pages)
        assert 'the service does not tell how: <a href="#log">see the log</a>' in pages[0]
        assert "Traceback: no" in pages[0]
        assert "This one tells no exit code" in pages[0]
        assert "<span>Ended, not told how</span><b>1</b>" in pages[2]

    def test_that_is_told_is_a_success(self, vera: Client, cast: Cast) -> None:
        html = shown(vera, address(builders.make_job(team=cast.team, state=State.SUCCEEDED)))

        assert re.search(r"</svg> ?Succeeded</span>", html)
        assert "does not tell how" not in html

    def test_is_called_so_in_the_history_too(self, vera: Client, untold: Job) -> None:
        builders.make_event(
            job=untold,
            at=NOW,
            kind=JobEvent.Kind.STATE,
            before=State.COLLECTING,
            after=State.SUCCEEDED,
            reason="exit_unknown",
        )

        assert "<span>Ended</span>" in part(shown(vera, address(untold)), "history")

    @pytest.mark.parametrize(
        "reason",
        [
            *(
                "order_invalid",
                "order_in_use",
                "not_trusted",
                "raw_not_allowed",
                "file",
                "insufficient_funds",
            ),
            *("reverted", "no_chain", "dispenser", "fees_not_paid", "algorithm_changed", "asset_disabled"),
            *("not_allowed", "denied", "no_compute", "other_provider", "unknown_asset", "image"),
        ],
    )
    def test_says_what_to_do_next_for_every_reason(
        self, vera: Client, cast: Cast, quay: Node, reason: str
    ) -> None:
        job = provider_job(cast, quay, state=State.FAILED, reason=reason, message="It was refused.")

        html = shown(vera, address(job))

        assert failures.NEXT[reason] != failures.next_step("never heard of")
        assert failures.NEXT[reason].replace("'", "&#x27;") in html

    def test_has_words_for_all_that_the_services_and_a_provider_refuse(self) -> None:
        sources = (ROOT / "jobs/services" / name for name in ("ordering.py", "payments.py"))
        codes = {code for path in sources for code in re.findall(r'code="([a-z_]+)"', path.read_text())}
        codes |= {saying.code for saying in (*provider_refusals._REASONS, *provider_refusals._SENTENCES)}
        # What a person can do nothing about, or what never ends a job.
        bare = {"bad_request", "nonce", "result_missing", "unknown_job"}

        assert codes - set(failures.NEXT) == bare


class TestLog:
    @pytest.mark.parametrize("state", [State.PAYING, State.RUNNING, State.COLLECTING])
    def test_is_promised_for_the_end_where_there_is_no_live_one(
        self, vera: Client, cast: Cast, quay: Node, state: State
    ) -> None:
        html = part(shown(vera, address(provider_job(cast, quay, state=state))), "log")

        assert "The whole log comes here when the job has ended." in html
        assert "log-poll" not in html

    def test_that_is_spelt_as_providers_do_has_its_name(self, vera: Client, cast: Cast, quay: Node) -> None:
        job = provider_job(cast, quay, state=State.SUCCEEDED)
        builders.make_result(job=job, name="configure.log", kind="configrationLog")

        assert "Configuration log" in part(shown(vera, address(job)), "results")


class TestOwnCode:
    def test_is_shown_as_text_with_its_container(self, vera: Client, cast: Cast) -> None:
        job = builders.make_job(team=cast.team, own_algorithm=CODE, state=State.RUNNING)

        inputs = part(shown(vera, address(job)), "inputs")

        assert "Code of one's own, python" in inputs
        assert "print(&#x27;&lt;b&gt;hello&lt;/b&gt;&#x27;)" in inputs
        assert "python3 $ALGO" in inputs and builders.CONTAINER["checksum"] in inputs
        assert "<details>" in inputs

    def test_by_its_address_is_no_link(self, vera: Client, cast: Cast) -> None:
        code = {"language": "", "code": "", "url": "https://code.example/a.py?<x>"}
        job = builders.make_job(team=cast.team, own_algorithm=code)

        inputs = part(shown(vera, address(job)), "inputs")

        assert "<code>https://code.example/a.py?&lt;x&gt;</code>" in inputs
        assert "Its container" in inputs

    @pytest.mark.parametrize("field", ["language", "code", "url"])
    def test_shows_hostile_text_as_text(self, vera: Client, cast: Cast, field: str) -> None:
        job = builders.make_job(
            team=cast.team,
            own_algorithm=CODE | {field: EVIL},
            container=dict.fromkeys(builders.CONTAINER, EVIL),
        )

        for url in (address(job), "/coastal/jobs/", "/coastal/"):
            html = shown(vera, url)
            assert EVIL not in html
        assert "&lt;script&gt;" in shown(vera, address(job))

    def test_has_a_name_in_lists(self, vera: Client, cast: Cast) -> None:
        builders.make_job(team=cast.team, own_algorithm=CODE, name="Mine")

        assert "Own code (python) · Buoys 2025" in shown(vera, "/coastal/jobs/")


class TestUserdata:
    def test_is_shown_as_text_with_its_dataset(self, vera: Client, cast: Cast) -> None:
        job = builders.make_job(team=cast.team)
        job.inputs.update(userdata={"year": EVIL})

        inputs = part(shown(vera, address(job)), "inputs")

        assert "&quot;year&quot;: &quot;&lt;script&gt;" in inputs


def test_what_a_dialect_can_do_is_what_its_client_says() -> None:
    clients = {Node.Dialect.OCEAN_NODE: OceanNode, Node.Dialect.PROVIDER: Provider}

    assert {dialect: client.capabilities for dialect, client in clients.items()} == CAPABILITIES
