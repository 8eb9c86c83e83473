"""Processes die and freeze at every durable fact on the way of a free job; the job ends as it should, run once."""

from collections.abc import Collection, Iterator
from pathlib import Path

import pytest
import requests

from tests.sandbox.journey.facts import ASIDE, FACTS, FROZEN, NO_FACTS, ON_THE_WAY
from tests.sandbox.journey.interrupted import LIBRARY
from tests.sandbox.journey.killing import REPEATED, cases, freeze_at, kill_at, results_of_ended
from tests.sandbox.journey.money_facts import ACT_FACTS, BLOCK_FACTS, MONEY_FACTS
from tests.sandbox.journey.mortal import Mortal
from tests.sandbox.journey.nursery import Nursery
from tests.sandbox.journey.order_facts import ORDER_FACTS
from tests.sandbox.journey.portal import Portal, wait_for
from tests.sandbox.journey.ways import WAYS, Way
from tests.sandbox.journey.web import Person, served
from tests.sandbox.journey.writes import QUEUE, SERVICES, writes
from tests.sandbox.running import Box, running_sandbox, start_sandbox


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Box]:
    with running_sandbox(tmp_path_factory.mktemp("mortal") / "sandbox", chain=False) as box:
        yield box


@pytest.fixture(scope="module")
def template(box: Box, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a portal with one launched job, and nothing done."""
    portal = Portal(folder=tmp_path_factory.mktemp("template") / "var", box=box)
    portal.set_up()
    assert portal.launch("Word count", params={"seconds": 0}, wait=False).code == 0
    return portal.folder


@pytest.fixture
def mortal(box: Box, template: Path, nursery: Nursery) -> Iterator[Mortal]:
    portal = Mortal(box=box, template=template, nursery=nursery)
    yield portal
    portal.close()
    assert portal.overlooked == []


def assert_ended(portal: Mortal, way: Way, *, files: Collection[str] | None = None) -> None:
    """The job has ended as its way says, and the node has run it as often as it says."""
    found = results_of_ended(portal, way)
    if not portal.rows("SELECT 1 FROM jobs_result WHERE status <> 'archived' AND path = ''"):
        assert "could not be fetched" not in portal.job(portal.job_id)["message"]
    assert set(way.files if files is None else files) <= set(found)
    if files is None and "words.csv" in way.files:
        assert found["words.csv"].startswith(b"word,count\n")
        assert b"100 %" in found["algorithm.log"]


# Every fact once, and what is none.
KNOWN = [*FACTS, *ORDER_FACTS, *MONEY_FACTS, *ACT_FACTS, *BLOCK_FACTS, *NO_FACTS]


class TestFacts:
    def test_every_durable_write_of_the_services_is_a_fact_with_a_case_or_has_a_reason(self) -> None:
        paths = [SERVICES / f"{name}.py" for name in ON_THE_WAY] + [QUEUE]
        written = {write.name for path in paths for write in writes(path)} | set(LIBRARY.values())

        assert sorted(KNOWN) == sorted(written)

    def test_every_service_is_on_the_way_or_aside(self) -> None:
        there = {path.stem for path in SERVICES.glob("*.py")} - {"__init__"}

        assert ON_THE_WAY | set(ASIDE) == there

    def test_every_way_leads_to_a_fact(self) -> None:
        assert {way for fact in FACTS.values() for way, _ in fact.cases} == set(WAYS)

    def test_what_commits_with_a_fact_names_one(self) -> None:
        together = [
            why.removeprefix("commits with ") for why in NO_FACTS.values() if why.startswith("commits with ")
        ]

        assert [name for name in together if name not in KNOWN] == []


class TestKilled:
    @pytest.mark.parametrize("run", REPEATED)
    @pytest.mark.parametrize(("at", "way", "nth"), [*cases(FACTS, ways=WAYS)])
    def test_job_ends_as_it_should_when_the_process_dies_right_after(
        self, mortal: Mortal, at: str, way: Way, nth: int, run: int
    ) -> None:
        kill_at(at, portal=mortal, way=way, nth=nth)

        assert_ended(mortal, way)


class TestFrozen:
    @pytest.mark.parametrize("run", REPEATED)
    @pytest.mark.parametrize(("at", "way", "nth"), [*cases(FROZEN, ways=WAYS)])
    def test_woken_worker_writes_nothing_wrong_after_another_one_ended_the_job(
        self, mortal: Mortal, at: str, way: Way, nth: int, run: int
    ) -> None:
        freeze_at(at, portal=mortal, way=way, nth=nth, assert_ended=lambda: assert_ended(mortal, way))


@pytest.mark.xdist_group("killed-1")
class TestLaunching:
    @pytest.mark.parametrize("run", REPEATED)
    @pytest.mark.parametrize(("how", "recorded"), [("kill", 1), ("kill uncommitted", 0)])
    def test_same_form_sent_again_is_one_job_when_the_web_process_died_in_the_launch(
        self, mortal: Mortal, how: str, recorded: int, run: int
    ) -> None:
        before, liam = mortal.count_jobs(), Person()
        dying = mortal.interruption("launching.launch: enqueue ADVANCE", how=how)
        with served(mortal, python=dying.command()) as server:
            liam.sign_in(server.url)
            form = liam.open_form(server.url, mortal)
            with pytest.raises(requests.ConnectionError):
                liam.launch(server.url, form)
            server.wait_for_death()
        assert mortal.count_jobs() == before + recorded

        with served(mortal) as server:
            answers = [liam.launch(server.url, form) for _ in range(2)]

        assert {answer.status_code for answer in answers} == {302}
        assert len({answer.headers["Location"] for answer in answers}) == 1
        assert mortal.count_jobs() == before + 1
        mortal.job_id = answers[0].headers["Location"].strip("/").rpartition("/")[2]
        mortal.live()
        assert_ended(mortal, WAYS["plain"], files={"algorithm.log", "outputs.tar"})


@pytest.mark.xdist_group("killed-2")
class TestNodeKilled:
    @pytest.mark.parametrize("run", REPEATED)
    @pytest.mark.parametrize("at", ["starting._send_start.send: start", "starting._accepted: move RUNNING"])
    def test_job_ends_as_it_should_when_the_node_dies_with_the_worker_and_both_come_back(
        self, mortal: Mortal, box: Box, at: str, run: int
    ) -> None:
        mortal.set_seconds(2)
        mortal.begin_to_die(at)
        mortal.wait_for_death()
        node_dies_and_comes_back(box)

        mortal.live()

        assert_ended(mortal, WAYS["plain"])

    @pytest.mark.parametrize("run", REPEATED)
    def test_job_ends_as_it_should_when_the_node_alone_dies_while_the_algorithm_runs(
        self, mortal: Mortal, box: Box, run: int
    ) -> None:
        mortal.set_seconds(2)
        mortal.live()
        mortal.wait_for_state(mortal.job_id, "RUNNING")
        wait_for(lambda: mortal.runs(mortal.job_id), "the start of the algorithm")

        node_dies_and_comes_back(box)

        assert_ended(mortal, WAYS["plain"])


def node_dies_and_comes_back(box: Box) -> None:
    """Kill the node and start it again on what it had stored; algorithms go on, as containers do."""
    box.kill()
    again = start_sandbox(box.state, chain=False)
    box.process, box.info = again.process, again.info
