"""A node lies in its list of jobs: what it says of ours, of others', and of nothing at all."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from jobs.lifecycle import State
from jobs.models import Job
from tests.builders import NOW
from tests.hostile.cases import Case, named
from tests.hostile.far_side import says
from tests.hostile.world import World, running_now, wire_job
from tests.services.fakes import STRANGER

pytestmark = pytest.mark.django_db


def field(name: str, value: Any, **rest: Any) -> Case:
    """Say something else in one field of an ended job."""
    shown = str(value) if len(str(value)) < 40 else f"{str(value)[:20]}…"

    def lie(world: World) -> None:
        world.bad.listed = [wire_job(world.victim, **{name: value})]

    return Case(f"{name} is {shown!a}", lie, **rest)


def raw(name: str, text: str, **rest: Any) -> Case:
    """Say something in one field that json.dumps would not write."""

    def lie(world: World) -> None:
        marked = json.dumps([wire_job(world.victim, **{name: "HERE"})])
        world.bad.answers["jobs"] = says(marked.replace('"HERE"', text).encode())

    return Case(f"{name} is {text}", lie, **rest)


def listing(name: str, make: Callable[[World], Any], **rest: Any) -> Case:
    """List something else altogether."""

    def lie(world: World) -> None:
        world.bad.answers["jobs"] = says(make(world))

    return Case(name, lie, **rest)


DONE = State.SUCCEEDED
UNREADABLE: dict[str, Any] = {"says": "unreadable"}
NO_LIST: dict[str, Any] = {"says": "list of jobs is no list"}
NOT_JSON: dict[str, Any] = {"says": "no JSON document"}
CASES = [
    listing(
        "only a stranger's job",
        lambda w: [wire_job(w.victim, owner=STRANGER)],
        state=State.NEEDS_ATTENTION,
        says="no longer knows this job",
        beats=5,
    ),
    listing(
        "a stranger's failed job with our id before ours",
        lambda w: [wire_job(w.victim, owner=STRANGER, status=41), wire_job(w.victim)],
        state=DONE,
    ),
    listing(
        "two jobs with one id, the first still running",
        lambda w: [running_now(w.victim), wire_job(w.victim)],
    ),
    listing(
        "our tag on a job with another id",
        lambda w: [wire_job(w.victim, jobId="77" * 32)],
        state=State.NEEDS_ATTENTION,
        beats=5,
    ),
    listing("an empty list", lambda w: [], state=State.NEEDS_ATTENTION, says="no longer knows", beats=5),
    listing("an object", lambda w: wire_job(w.victim), **NO_LIST),
    listing("null", lambda w: None, **NO_LIST),
    listing("a number", lambda w: 7, **NO_LIST),
    listing("a text", lambda w: "Internal <b>error</b>", **NO_LIST),
    listing("a list of lists", lambda w: [[wire_job(w.victim)]], says="no object"),
    listing("numbers around ours", lambda w: [1, None, wire_job(w.victim), "x", []], state=DONE),
    listing(
        "20,000 entries and ours last: it is not believed to be gone",
        lambda w: [*[running_now(w.victim, jobId=f"{n:064x}") for n in range(20_000)], wire_job(w.victim)],
        beats=4,
    ),
    listing(
        "another job's id has path parts",
        lambda w: [wire_job(w.victim, jobId="../../../etc/passwd"), wire_job(w.victim)],
        state=DONE,
    ),
    listing(
        "another job's id has control characters",
        lambda w: [wire_job(w.victim, jobId="a\r\nX: y\0\x1b[2J"), wire_job(w.victim)],
        state=DONE,
    ),
    listing(
        "another job's id has 1 MB",
        lambda w: [wire_job(w.victim, jobId="a" * 2**20), wire_job(w.victim)],
        state=DONE,
    ),
    listing("an id of 10 MB", lambda w: [wire_job(w.victim, jobId="a" * 10 * 2**20)], says="not read"),
    listing("100 brackets deep", lambda w: b"[" * 100 + b"]" * 100, **NOT_JSON),
    listing("a million brackets", lambda w: b"[" * 1_000_000, **NOT_JSON),
    listing("UTF-16", lambda w: json.dumps([wire_job(w.victim)]).encode("utf-16"), **NOT_JSON),
    listing("half a character", lambda w: b'["\xc3"]', **NOT_JSON),
    listing("a number of a million digits", lambda w: b"[" + b"9" * 1_000_000 + b"]", **NOT_JSON),
    field("owner", "0x" + "00" * 20, state=State.NEEDS_ATTENTION, beats=5),
    field("owner", "nobody", **UNREADABLE),
    field("owner", [STRANGER], **UNREADABLE),
    field("jobId", None, says="without its id"),
    field("jobId", "", **UNREADABLE),
    field("environment", "e" * 1_000, **UNREADABLE),
    field("status", "71", **UNREADABLE),
    field("status", -1, **UNREADABLE),
    field("status", 10**30, **UNREADABLE),
    field("status", 71.5, **UNREADABLE),
    field("status", True, **UNREADABLE),
    field("status", None, **UNREADABLE),
    field("status", 9_999, state=DONE),
    raw("status", "NaN", **NOT_JSON),
    raw("status", "1e999", **NOT_JSON),
    field("statusText", "<script>alert(1)</script>\u202e" * 50_000, state=DONE),
    field("statusText", {"text": "x"}, **UNREADABLE),
    field("dateFinished", "NaN", **UNREADABLE),
    field("dateFinished", "Infinity", **UNREADABLE),
    field("dateFinished", "soon", **UNREADABLE),
    field("dateFinished", -5, **UNREADABLE),
    field("dateFinished", "253402300799", **UNREADABLE),
    field("dateFinished", [1], **UNREADABLE),
    raw("dateFinished", "-1e999", **NOT_JSON),
    field("dateFinished", str(NOW.timestamp() + 3_000 * 365 * 86_400), state=DONE),
    field("algoStartTimestamp", "99999999999", state=DONE),
    field("algoStopTimestamp", "9" * 400, **UNREADABLE),
    field("maxJobDuration", 10**30, **UNREADABLE),
    field("maxJobDuration", -1, **UNREADABLE),
    field("stopRequested", "false", **UNREADABLE),
    field("terminationDetails", {"exitCode": 10**30}, **UNREADABLE),
    field("terminationDetails", {"exitCode": -(2**31) - 1}, **UNREADABLE),
    field("terminationDetails", {"exitCode": "0"}, **UNREADABLE),
    field("terminationDetails", {"exitCode": False}, **UNREADABLE),
    field("terminationDetails", {"exitCode": 0.0}, **UNREADABLE),
    field("terminationDetails", {"exitCode": -1}, state=State.FAILED, says="exit code -1"),
    field("terminationDetails", [], state=DONE, says="does not say how"),
    field("terminationDetails", "exited well", state=DONE, says="does not say how"),
    field("metadata", "x" * 100_000, state=DONE),
    field("results", None, says="not what it left"),
    field("results", 7, **UNREADABLE),
    field("results", {"0": "outputs.tar"}, **UNREADABLE),
]


@pytest.mark.parametrize("case", CASES, ids=named)
def test_lie_in_a_list_of_jobs_is_told_or_ignored_and_harms_nobody(
    case: Case, world: World, caplog: pytest.LogCaptureFixture
) -> None:
    case.play(world, caplog)


def test_list_that_is_one_lie_after_the_other_does_not_keep_a_wallets_other_jobs(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    second = world.job()
    lies: dict[str, Any] = {"terminationDetails": {"exitCode": 10**30}, "dateFinished": "1" * 400}
    world.bad.listed = [wire_job(world.victim, **lies), wire_job(second)]

    world.run(beats=2)

    world.assert_sound(caplog)
    second.refresh_from_db()
    assert second.state == State.SUCCEEDED
    assert Job.objects.get(pk=world.victim.pk).state == State.RUNNING


def test_end_in_the_far_future_does_not_keep_the_portal_asking_for_ever(world: World) -> None:
    future = NOW.timestamp() + 1_000 * 365 * 86_400
    world.bad.listed = [wire_job(world.victim, dateFinished=str(future))]

    world.run(beats=2)

    world.victim.refresh_from_db()
    assert world.victim.finished_at is not None and world.victim.finished_at <= world.clock()
    assert world.victim.node_expires_at is not None
    assert (world.victim.node_expires_at - NOW).days <= 8  # the environment keeps results for a week


def test_end_that_is_taken_back_changes_nothing(world: World, caplog: pytest.LogCaptureFixture) -> None:
    world.run(beats=2)
    world.bad.listed = [wire_job(world.victim, status=41, terminationDetails={"exitCode": 1})]

    world.run(beats=3)

    world.assert_sound(caplog)
    world.victim.refresh_from_db()
    assert (world.victim.state, world.victim.exit_code) == (State.SUCCEEDED, 0)
