"""Processes die and freeze at every durable fact of a job that needs orders: it runs once, and everything is paid once."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.sandbox.journey.facts import NO_FACTS, Fact
from tests.sandbox.journey.nursery import Nursery
from tests.sandbox.journey.order_facts import FROZEN_ORDERING, ORDER_FACTS, ORDERED_FACTS
from tests.sandbox.journey.order_ways import ORDER_WAYS, OrderWay
from tests.sandbox.journey.payer import Payer
from tests.sandbox.journey.portal import Portal
from tests.sandbox.journey.test_killed_anywhere import LANES, REPEATED
from tests.sandbox.running import Box, running_sandbox

DATASETS = ("Iris flowers (v4)", "US Constitution (v4)")


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Box]:
    with running_sandbox(tmp_path_factory.mktemp("paying") / "sandbox") as box:
        yield box


@pytest.fixture(scope="module")
def template(box: Box, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a portal with one launched job with two datasets, and nothing done."""
    portal = Portal(folder=tmp_path_factory.mktemp("template") / "var", box=box)
    portal.set_up()
    ended = portal.launch("Word count (v4)", datasets=DATASETS, params={"seconds": 0}, wait=False)
    assert ended.code == 0, ended.stderr
    return portal.folder


@pytest.fixture(scope="module")
def nursery(box: Box, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nursery]:
    """What starts the workers of one portal after another, all in the same folder."""
    folder = tmp_path_factory.mktemp("nursery")
    nursery = Nursery(
        environment=Portal(folder=folder / "var", box=box).environment,
        folder=folder / "var",
        exits=folder / "exits",
    )
    yield nursery
    nursery.close()


@pytest.fixture
def payer(box: Box, template: Path, nursery: Nursery) -> Iterator[Payer]:
    portal = Payer(box=box, template=template, nursery=nursery)
    yield portal
    portal.close()
    portal.ledger.ask("evm_setAutomine", True)
    assert portal.overlooked == []


def assert_ended(portal: Payer, way: OrderWay) -> None:
    """The job has ended as its way says, has run as often as it says, and the chain has what it says."""
    job = portal.end_of_job()
    assert (job["state"], job["reason"]) == (way.state, way.reason), (job["message"], portal.worker_log())
    assert len(portal.at_node(portal.job_id)) == way.jobs
    assert (portal.runs(portal.job_id) if way.jobs else 0) == way.runs
    found = portal.archived(portal.job_id)
    assert way.files <= set(found)
    if way.runs:
        # A Provider names inputs by their DID: both datasets have arrived, by their length.
        assert b": 151 lines" in found["algorithm.log"] and b": 1130 lines" in found["algorithm.log"]
    mined = portal.mined()
    done = [one.call for one in mined if one.succeeded]
    assert (done.count("dispense"), done.count("order"), done.count("renewal")) == (
        way.dispensed,
        way.ordered,
        way.renewed,
    )
    assert (done.count("other"), len(mined) - len(done)) == (way.others, way.failed)
    portal.assert_rows_agree_with_the_chain()


class TestFacts:
    def test_every_way_leads_to_a_fact(self) -> None:
        facts = [*ORDER_FACTS.values(), *ORDERED_FACTS.values()]

        assert {way for fact in facts for way, _ in fact.cases} == set(ORDER_WAYS)

    def test_no_fact_has_a_reason_not_to_be_one(self) -> None:
        assert (ORDER_FACTS.keys() | ORDERED_FACTS.keys()) & NO_FACTS.keys() == set()


def cases(facts: dict[str, Fact]) -> Iterator[object]:
    """Yield each fact with each of its ways and numbers, in turn for one lane and the other."""
    for number, (name, fact) in enumerate(facts.items()):
        for way, nth in fact.cases:
            lane = pytest.mark.xdist_group(LANES[number % len(LANES)])
            more = f", number {nth}" if nth > 1 else f", {way}" if way in fact.also else ""
            yield pytest.param(name, ORDER_WAYS[way], nth, marks=lane, id=name + more)


class TestKilled:
    @pytest.mark.parametrize("run", REPEATED)
    @pytest.mark.parametrize(("at", "way", "nth"), [*cases(ORDER_FACTS | ORDERED_FACTS)])
    def test_job_runs_once_and_everything_is_ordered_once_when_the_process_dies_right_after(
        self, payer: Payer, at: str, way: OrderWay, nth: int, run: int
    ) -> None:
        way.before(payer)

        payer.begin_to_die(at, nth=nth, seconds=way.shortened)
        way.meanwhile(payer)
        payer.wait_for_death(hurried=way.hurried)
        way.after(payer)
        payer.live()

        assert_ended(payer, way)


class TestFrozen:
    @pytest.mark.parametrize("run", REPEATED)
    @pytest.mark.parametrize(("at", "way", "nth"), [*cases(FROZEN_ORDERING)])
    def test_woken_worker_sends_nothing_after_another_one_ended_the_job(
        self, payer: Payer, at: str, way: OrderWay, nth: int, run: int
    ) -> None:
        way.before(payer)

        with payer.frozen_at(at, nth=nth, meanwhile=way.meanwhile):
            payer.live()
            assert_ended(payer, way)
            before = payer.told()

        assert payer.told() == before
        assert_ended(payer, way)
