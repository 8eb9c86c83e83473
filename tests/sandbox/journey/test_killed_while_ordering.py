"""Processes die and freeze at every durable fact of a job that needs orders: it runs once, and everything is paid once."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.sandbox.journey.facts import FACTS, NO_FACTS
from tests.sandbox.journey.hiding import hiding_jobs
from tests.sandbox.journey.killing import LANES, REPEATED, cases, freeze_at, kill_at, results_of_ended
from tests.sandbox.journey.money_facts import BLOCK_FACTS
from tests.sandbox.journey.nursery import Nursery
from tests.sandbox.journey.order_facts import FROZEN_ORDERING, ORDER_FACTS, ORDERED_FACTS
from tests.sandbox.journey.order_ways import ORDER_WAYS, OrderWay, block_comes, ordered_before
from tests.sandbox.journey.payer import Payer
from tests.sandbox.journey.portal import Portal, wait_for
from tests.sandbox.journey.provider_facts import EVERYDAY, PROVIDER_WAYS, provider_cases
from tests.sandbox.journey.ways import OF_THE_JOB, WISH, nothing, sql
from tests.sandbox.running import Box, running_sandbox, start_sandbox

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


@pytest.fixture
def payer(box: Box, template: Path, nursery: Nursery) -> Iterator[Payer]:
    portal = Payer(box=box, template=template, nursery=nursery)
    yield portal
    portal.close()
    portal.ledger.ask("evm_setAutomine", True)
    assert portal.overlooked == []


def assert_ended(portal: Payer, way: OrderWay) -> None:
    """The job has ended as its way says, has run as often as it says, and the chain has what it says."""
    found = results_of_ended(portal, way)
    assert way.files <= set(found)
    if way.runs and way.files:
        # A Provider names inputs by their DID: both datasets have arrived, by their length.
        assert b": 151 lines" in found["algorithm.log"] and b": 1130 lines" in found["algorithm.log"]
    mined = portal.mined()
    done = [one.call for one in mined if one.succeeded]
    assert (done.count("dispense"), done.count("order"), done.count("renewal")) == (
        way.dispensed,
        way.ordered,
        way.renewed,
    )
    assert (done.count("other") + done.count("transfer"), len(mined) - len(done)) == (way.others, way.failed)
    portal.assert_rows_agree_with_the_chain()


class TestFacts:
    def test_every_way_leads_to_a_fact(self) -> None:
        facts = [*ORDER_FACTS.values(), *ORDERED_FACTS.values()]

        assert {way for fact in facts for way, _ in fact.cases} == set(ORDER_WAYS)

    def test_no_fact_has_a_reason_not_to_be_one(self) -> None:
        assert (ORDER_FACTS.keys() | ORDERED_FACTS.keys()) & NO_FACTS.keys() == set()


class TestKilled:
    @pytest.mark.parametrize("run", REPEATED)
    @pytest.mark.parametrize(("at", "way", "nth"), [*cases(ORDER_FACTS | ORDERED_FACTS, ways=ORDER_WAYS)])
    def test_job_runs_once_and_everything_is_ordered_once_when_the_process_dies_right_after(
        self, payer: Payer, at: str, way: OrderWay, nth: int, run: int
    ) -> None:
        kill_at(at, portal=payer, way=way, nth=nth)

        assert_ended(payer, way)


def provider_params() -> Iterator[object]:
    """Yield the facts that every job passes, in turn for one lane and the other; few of them every day."""
    for number, (name, way, nth) in enumerate(provider_cases()):
        marks = [pytest.mark.xdist_group(LANES[number % len(LANES)])]
        if (name, nth) not in EVERYDAY or way != FACTS[name].way:
            marks.append(pytest.mark.long)
        yield pytest.param(name, PROVIDER_WAYS[way], nth, marks=marks, id=f"{name}, number {nth}, {way}")


class TestKilledAsAnyJob:
    @pytest.mark.parametrize(("at", "way", "nth"), [*provider_params()])
    def test_job_ends_as_it_should_when_the_process_dies_right_after(
        self, payer: Payer, at: str, way: OrderWay, nth: int
    ) -> None:
        kill_at(at, portal=payer, way=way, nth=nth)

        assert_ended(payer, way)


class TestFrozen:
    @pytest.mark.parametrize("run", REPEATED)
    @pytest.mark.parametrize(("at", "way", "nth"), [*cases(FROZEN_ORDERING, ways=ORDER_WAYS)])
    def test_woken_worker_sends_nothing_after_another_one_ended_the_job(
        self, payer: Payer, at: str, way: OrderWay, nth: int, run: int
    ) -> None:
        freeze_at(at, portal=payer, way=way, nth=nth, assert_ended=lambda: assert_ended(payer, way))


class TestFrozenAndStopped:
    @pytest.mark.xdist_group(LANES[0])
    @pytest.mark.parametrize("at", ["payments.carry_on: renew", "ordering._write: move"])
    def test_woken_worker_prepares_nothing_for_a_job_that_was_stopped_meanwhile(
        self, payer: Payer, at: str
    ) -> None:
        way = ORDER_WAYS["stopped when planned"]
        with payer.frozen_at(at, meanwhile=nothing):
            sql(WISH)(payer)
            payer.live()
            assert_ended(payer, way)

        payer.live()
        payer.wait_for_beat()
        assert_ended(payer, way)
        assert {row["status"] for row in payer.transactions()} == {"planned"}


class TestRunAgain:
    @pytest.mark.xdist_group(LANES[1])
    def test_tokens_that_a_stopped_job_got_and_did_not_spend_are_spent(self, payer: Payer) -> None:
        way = ORDER_WAYS["stopped when dispensed"]
        way.before(payer)
        payer.live()
        assert_ended(payer, way)
        payer.launch_again()

        assert_ended(payer, OrderWay())


class TestOrderTaken:
    @pytest.mark.xdist_group(LANES[1])
    def test_order_that_another_job_has_just_taken_is_made_anew(self, payer: Payer) -> None:
        ordered_before(payer)
        made = payer.interruption("budget.spend: update", how="halt")  # the known orders are chosen by now
        payer.bear(made)
        wait_for(made.halted.exists, "the plan to be made")
        other = payer.insert_job(state="NEEDS_ATTENTION", attention_from="STARTING")
        payer.write("UPDATE jobs_order SET held_by_id = ? WHERE asset_name = 'Iris flowers (v4)'", other)

        made.halted.unlink()

        assert_ended(payer, OrderWay(dispensed=4, ordered=4))
        (kept,) = payer.rows(
            "SELECT held_by_id FROM jobs_order WHERE asset_name = 'Iris flowers (v4)' LIMIT 1"
        )
        assert kept["held_by_id"] == other


class TestOrderInUse:
    @pytest.mark.xdist_group(LANES[0])
    def test_job_is_adopted_that_the_provider_showed_late_and_says_uses_the_order(self, payer: Payer) -> None:
        payer.set_seconds(5)
        with hiding_jobs(payer.box.provider_url) as (between, hidden):
            payer.write(OF_THE_JOB, between)
            payer.begin_to_die("starting._send_start.send: start")
            payer.wait_for_death()
            hidden.set()
            payer.live()
            wait_for(
                lambda: payer.hasten() or payer.job(payer.job_id)["start_attempts"] == 2, "the second start"
            )
            wait_for(lambda: payer.job(payer.job_id)["trouble"], "the Provider's answer to it")
            hidden.clear()

            assert_ended(payer, OrderWay())


@pytest.mark.xdist_group(LANES[1])
class TestSandboxKilled:
    @pytest.mark.parametrize(
        "at",
        ["sending.send: send", pytest.param("sending.send: update 3", marks=pytest.mark.long)],
    )
    def test_everything_is_ordered_once_when_the_chain_dies_with_the_worker_and_both_come_back(
        self, payer: Payer, box: Box, at: str
    ) -> None:
        payer.begin_to_die(at, nth=4)
        payer.wait_for_death()
        box.kill()
        again = start_sandbox(box.state)
        box.process, box.info = again.process, again.info

        payer.live()

        assert_ended(payer, OrderWay())

    def test_everything_is_ordered_once_when_the_chain_alone_dies_while_blocks_take_long(
        self, payer: Payer, box: Box
    ) -> None:
        payer.ledger.ask("evm_setAutomine", False)
        payer.live()
        wait_for(lambda: payer.rows("SELECT 1 FROM jobs_transaction WHERE status = 'sent'"), "a transaction")
        box.kill()
        again = start_sandbox(box.state)
        box.process, box.info = again.process, again.info

        block_comes(payer)

        assert_ended(payer, OrderWay())


# Each pulse looks whether it is time to look at the last blocks.
SHORT_PULSES = {"jobs.tasks.PULSE_FOR_S": 0.5}


def orders_are_forgotten(payer: Payer) -> None:
    """Let a job end, then let the chain forget the blocks with its orders, and what was dispensed stay."""
    payer.begin_to_die("sending._end: update", nth=3)
    payer.wait_for_death()
    before = payer.ledger.ask("evm_snapshot")
    payer.live()
    payer.end_of_job()
    payer.kill_worker()
    head = payer.ledger.head()
    payer.ledger.ask("evm_revert", before)
    while payer.ledger.head() <= head:  # a chain that is shorter says nothing yet of the blocks that it had
        payer.ledger.ask("evm_mine")
    assert [one.call for one in payer.mined()] == ["dispense"] * 3


class TestForgotten:
    @pytest.mark.xdist_group(LANES[0])
    @pytest.mark.parametrize("run", REPEATED)
    @pytest.mark.parametrize("at", [*BLOCK_FACTS])
    def test_orders_are_in_blocks_again_when_the_process_dies_that_looks_after_them(
        self, payer: Payer, at: str, run: int
    ) -> None:
        orders_are_forgotten(payer)

        payer.begin_to_die(at, seconds=SHORT_PULSES)
        payer.wait_for_death()
        payer.bear(payer.interruption("never", seconds=SHORT_PULSES))

        wait_for(lambda: payer.hasten() or len(payer.mined()) == 6, "the orders in new blocks")
        assert_ended(payer, OrderWay())
        told = [
            row["message"] for row in payer.rows("SELECT message FROM jobs_jobevent WHERE kind = 'payment'")
        ]
        assert sum("the chain has forgotten its block" in message for message in told) == 3
