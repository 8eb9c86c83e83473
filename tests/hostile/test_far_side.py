"""A far side that is gone, broken, slow or hostile: a sentence for people, and nothing half made."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta

import pytest
from django.utils.module_loading import import_string
from django.utils.timezone import now
from django_q.models import OrmQ

from jobs.errors import PortalError
from jobs.lifecycle import State
from jobs.models import Asset, Environment, Job, JobEvent, Node, Team, Wallet
from jobs.services import catalogue, nodes, refreshing, running, teams
from tests import builders
from tests.hostile.conftest import SPEED
from tests.hostile.far_side import Ask, FarSide, Script, repeats, says, serving
from tests.sandbox.recordings import scenario

pytestmark = pytest.mark.django_db

DID = "did:op:" + "12" * 32


def plain(body: str, *, status: str = "200 OK", kind: str = "application/json") -> Script:
    """Answer with this text."""
    return lambda ask: ask.answer(body.encode(), status=status, kind=kind)


def sends_on(ask: Ask) -> None:
    """Answer with a redirect to a place of its own."""
    ask.send(f"HTTP/1.1 302 Found\r\nLocation: {ask.server.url}/inside\r\n\r\n".encode())


HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n"
PAGE = "<!DOCTYPE html><html><body><h1>It works!</h1></body></html>"
HTML = "text/html; charset=utf-8"
SAD = "is asked too often; it wants a pause of 42 s."

# What the far side answers; what is said about it; whether a start so answered may have arrived.
BAD: dict[str, tuple[Script, str, bool]] = {
    "page": (plain(PAGE, kind=HTML), "answers with a web page", True),
    "500": (
        plain("Internal Server Error", status="500 Internal Server Error", kind=HTML),
        "failed without saying why",
        True,
    ),
    "503": (
        plain(PAGE, status="503 Service Unavailable", kind=HTML),
        "the service behind it does not answer",
        True,
    ),
    "redirect": (sends_on, "sends us on to another address. That is not followed", True),
    "100 MB": (repeats(b"x" * 2**20, before=HEAD + b'["'), "sends more than", True),
    "a byte a second": (
        repeats(b" ", before=HEAD, pause_s=1 / SPEED),
        "did not finish its answer in time",
        True,
    ),
    "garbage": (plain('[{"status": 40, "jobId": '), "no JSON document", True),
    "429": (
        plain("Rate limit exceeded. Try again in 42 seconds.", status="429 Too Many Requests", kind=HTML),
        SAD,
        False,
    ),
}
GONE = "does not answer"


@pytest.fixture
def far() -> Iterator[FarSide]:
    """The far side that misbehaves."""
    with serving() as server:
        yield server


@pytest.fixture
def well() -> Iterator[FarSide]:
    """Another far side, which knows the recorded job."""
    with serving() as server:
        server.always = says(scenario("10")[6].content)
        yield server


@pytest.fixture
def team() -> Team:
    return builders.make_team()


@pytest.fixture
def wallet(team: Team) -> Wallet:
    """The wallet that jobs are signed with."""
    return builders.make_wallet(team=team, label="purse")


@pytest.fixture
def node(far: FarSide) -> Node:
    return builders.make_node(base_url=far.url, requests_per_minute=1000)


@pytest.fixture
def gone(far: FarSide, node: Node) -> Node:
    """The node, whose port nobody listens on any more."""
    with socket.create_server(("127.0.0.1", 0)) as closed:
        node.base_url = f"http://127.0.0.1:{closed.getsockname()[1]}"
    node.save()
    return node


def at(seconds: float) -> Callable[[], datetime]:
    """Return a clock that stands still, so many seconds after the builders' now."""
    moment = builders.NOW + timedelta(seconds=seconds)
    return lambda: moment


@pytest.fixture(params=[*BAD, "gone"])
def bad(request: pytest.FixtureRequest, far: FarSide) -> tuple[str, bool]:
    """Every bad far side in turn: what is said about it, and whether a start may have arrived there."""
    if request.param == "gone":
        request.getfixturevalue("gone")
        return GONE, False
    far.always, said, maybe = BAD[request.param]
    return said, maybe


class TestCatalogue:
    def test_adding_a_did_is_refused_with_what_the_node_did_and_adds_nothing(
        self, team: Team, node: Node, bad: tuple[str, bool]
    ) -> None:
        with pytest.raises(PortalError) as caught:
            catalogue.add(actor=teams.operator(team=team.slug), did=DID, clock=at(0))

        assert caught.value.code == "unreachable"
        assert caught.value.message.startswith("Whether this DID exists is not known")
        assert bad[0] in caught.value.message
        assert node.name in caught.value.message
        assert not Asset.objects.exists()


class TestLook:
    def test_node_is_marked_with_what_it_did_and_its_environments_stay(
        self, node: Node, bad: tuple[str, bool]
    ) -> None:
        builders.make_environment(node=node)

        assert not nodes.look(node_id=node.pk, clock=at(0))

        node.refresh_from_db()
        assert bad[0] in node.trouble
        assert node.next_look_at is not None and node.next_look_at > builders.NOW
        assert Environment.objects.get().gone_at is None


class TestRefresh:
    def test_job_goes_on_with_the_trouble_told_and_is_asked_about_again(
        self, team: Team, node: Node, bad: tuple[str, bool]
    ) -> None:
        job = builders.make_job(team=team, state=State.RUNNING, node=node)

        refreshing.refresh(node_id=node.pk, wallet_id=job.wallet_id, clock=at(0))

        job.refresh_from_db()
        assert (job.state, job.node_status, job.missing_count) == (State.RUNNING, 40, 0)
        assert bad[0] in job.trouble
        assert job.next_check_at is not None and job.next_check_at > builders.NOW
        assert JobEvent.objects.filter(job=job).count() == 1  # its first

    def test_job_at_another_node_goes_on_all_the_same(
        self, team: Team, wallet: Wallet, node: Node, bad: tuple[str, bool], well: FarSide
    ) -> None:
        (report,) = scenario("10")[6].json
        Wallet.objects.update(address=report["owner"])
        good = builders.make_node(name="Good node", base_url=well.url)
        stuck = builders.make_job(team=team, state=State.RUNNING, node=node)
        other = builders.make_job(
            team=team,
            state=State.RUNNING,
            node=good,
            environment=builders.make_environment(node=good),
            node_job_id=report["jobId"],
            node_status=10,
        )
        Job.objects.update(next_check_at=builders.NOW)

        assert running.pulse(clock=now, holder="the test")
        asked = [row.task for row in OrmQ.objects.order_by("pk")]
        for task in asked:
            import_string(task["func"])(*task["args"])

        stuck.refresh_from_db()
        other.refresh_from_db()
        assert sorted(task["args"] for task in asked) == [(node.pk, wallet.pk), (good.pk, wallet.pk)]
        assert bad[0] in stuck.trouble
        assert (other.node_status, other.trouble) == (report["status"], "")


class TestStart:
    def test_job_is_neither_lost_nor_sent_blindly_again(
        self, team: Team, node: Node, bad: tuple[str, bool], far: FarSide
    ) -> None:
        said, maybe = bad
        job = builders.make_job(team=team, node=node)

        running.advance(job_id=job.pk, clock=at(0))

        job.refresh_from_db()
        assert (job.state, job.lease_holder, job.node_job_id) == (State.STARTING, "", "")
        assert said in job.trouble
        assert (job.start_sent_at is not None) == maybe
        assert job.next_check_at is not None and job.next_check_at > builders.NOW
        assert far.asked == (["start"] if said != GONE else [])

    def test_next_step_looks_before_it_sends_again_where_the_start_may_have_arrived(
        self, team: Team, node: Node, bad: tuple[str, bool], far: FarSide
    ) -> None:
        job = builders.make_job(team=team, node=node)
        running.advance(job_id=job.pk, clock=at(0))
        far.always = says([])
        Node.objects.update(base_url=far.url)
        far.asked.clear()

        running.advance(job_id=job.pk, clock=at(120))

        assert far.asked == (["jobs"] if bad[1] else ["start"])

    def test_address_that_only_an_operator_can_allow_ends_the_job_before_anything_is_sent(
        self, team: Team, node: Node, far: FarSide
    ) -> None:
        Node.objects.update(allow_private=False)
        job = builders.make_job(team=team, node=node)

        running.advance(job_id=job.pk, clock=at(0))

        job.refresh_from_db()
        assert (job.state, job.reason) == (State.FAILED, "address")
        assert "inside a network" in job.message
        assert far.asked == []

    def test_redirect_is_not_followed(self, team: Team, node: Node, far: FarSide) -> None:
        far.always = sends_on
        job = builders.make_job(team=team, node=node)

        running.advance(job_id=job.pk, clock=at(0))
        nodes.look(node_id=node.pk, clock=at(1))

        assert Job.objects.get().state == State.STARTING
        assert far.asked == ["start", "root"]


class TestTooMany:
    def test_nothing_is_asked_before_the_pause_that_the_node_wants_is_over(
        self, team: Team, node: Node, far: FarSide
    ) -> None:
        far.always = BAD["429"][0]
        nodes.look(node_id=node.pk, clock=at(0))
        far.asked.clear()
        far.always = says([])

        assert not nodes.look(node_id=node.pk, clock=at(41))
        assert far.asked == []
        nodes.look(node_id=node.pk, clock=at(43))

        assert far.asked != []
