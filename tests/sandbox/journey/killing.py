"""How every kill test goes: a process dies or freezes at a durable fact, and another one ends the job as it should."""

from collections.abc import Callable, Iterator, Mapping

import pytest

from tests.sandbox.journey.facts import WISHES, Fact
from tests.sandbox.journey.mortal import Mortal
from tests.sandbox.journey.ways import Way

REPEATED = (1, pytest.param(2, marks=pytest.mark.long), pytest.param(3, marks=pytest.mark.long))
# Two lanes, so that two test processes share the work; each has a sandbox of its own.
LANES = ("killed-1", "killed-2")


def cases(facts: Mapping[str, Fact], *, ways: Mapping[str, Way]) -> Iterator[object]:
    """Yield each fact with each of its ways and numbers, in turn for one lane and the other."""
    for number, (name, fact) in enumerate(facts.items()):
        for way, nth in fact.cases:
            marks = [pytest.mark.xdist_group(LANES[number % len(LANES)])]
            if (way if way in fact.also else nth) in fact.long:
                marks.append(pytest.mark.long)
            more = f", number {nth}" if nth > 1 else f", {way}" if way in fact.also else ""
            yield pytest.param(name, ways[way], nth, marks=marks, id=name + more)


def kill_at(at: str, *, portal: Mortal, way: Way, nth: int) -> None:
    """Let a process die right after a fact on the way of a job, and a worker live after it."""
    if way.seconds:
        portal.set_seconds(way.seconds)
    way.before(portal)
    if at in WISHES:
        portal.die_calling(at, WISHES[at])
    else:
        portal.begin_to_die(at, nth=nth, seconds=way.shortened)
        way.meanwhile(portal)
        portal.wait_for_death(hurried=way.hurried)
    way.after(portal)
    portal.live()


def freeze_at(at: str, *, portal: Mortal, way: Way, nth: int, assert_ended: Callable[[], None]) -> None:
    """Freeze a worker at a fact, let another one end the job, and wake the first: it changes nothing any more."""
    if way.seconds:
        portal.set_seconds(way.seconds)
    way.before(portal)
    with portal.frozen_at(at, nth=nth, meanwhile=way.meanwhile):
        portal.live()
        assert_ended()
        before = portal.told()
    assert portal.told() == before
    assert_ended()


def results_of_ended(portal: Mortal, way: Way) -> dict[str, bytes]:
    """Return the results of a job that has ended as its way says, and that the service has run as often as it says."""
    job = portal.end_of_job()
    assert (job["state"], job["reason"]) == (way.state, way.reason), (job["message"], portal.worker_log())
    assert len(portal.at_node(portal.job_id)) == way.jobs
    assert (portal.runs(portal.job_id) if way.jobs else 0) == way.runs
    return portal.archived(portal.job_id)
