"""Processes die at every durable fact of a job that costs money, in both dialects: all is paid once, to the wei."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.sandbox.journey.facts import FACTS, NO_FACTS, WISHES
from tests.sandbox.journey.killing import LANES, REPEATED, kill_at, results_of_ended
from tests.sandbox.journey.money_facts import (
    ACT_FACTS,
    ACT_PASSES,
    MONEY_FACTS,
    OF_A_WISH,
    OF_EACH,
    PASSED,
    paid_cases,
)
from tests.sandbox.journey.money_ways import (
    ALGORITHM,
    CALLS,
    CHARGED_WEI,
    FEE_MOST_WEI,
    FREE_DATASET,
    LONGEST_S,
    MONEY_WAYS,
    MOST_WEI,
    NODE,
    PRICED_DATASET,
    PRICES_WEI,
    PROVIDER,
    PaidWay,
    at_a_provider,
)
from tests.sandbox.journey.nursery import Nursery
from tests.sandbox.journey.order_facts import ORDER_FACTS, ORDERED_FACTS
from tests.sandbox.journey.portal import Portal, wait_for
from tests.sandbox.journey.spender import GIVEN_WEI, OCEAN_WEI, Spender
from tests.sandbox.journey.ways import QUEUE_LOST, sql
from tests.sandbox.running import Box, running_sandbox

DEPOSIT_WEI = 3 * OCEAN_WEI + 1
IDLE = {
    "a person withdraws": "Job.objects.update(state='CANCELLED', ended_at=clock(), next_check_at=None)\n"
    "token = Token.objects.get(symbol='OCEAN')\n"
    "EscrowAccount.objects.create(wallet=Wallet.objects.get(), token=token, "
    f"escrow=token.network.contracts['Escrow'], available_wei={DEPOSIT_WEI})",
    "asked": "from jobs.services import escrows\naccount = EscrowAccount.objects.get()\n"
    "escrows.withdraw(actor=actor, account_id=account.pk, amount=None, now=clock())",
}
# Of the free asset, the dataset for money and the algorithm for money, at each service.
NAMES = {NODE: ("{}", "{} (priced)"), PROVIDER: ("{} (v4)", "{} (priced, v4)")}


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Box]:
    with running_sandbox(tmp_path_factory.mktemp("spending") / "sandbox", settle=0.1) as box:
        yield box


@pytest.fixture(scope="module")
def templates(box: Box, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """For each dialect the folder of a portal with one launched job for money, and nothing done."""
    fresh = Portal(folder=tmp_path_factory.mktemp("template") / "var", box=box)
    fresh.set_up()
    folders = {}
    for dialect in CALLS:
        portal = Portal(folder=tmp_path_factory.mktemp("template") / "var", box=box)
        shutil.copytree(fresh.folder, portal.folder)
        launch_paid(portal, dialect=dialect)
        folders[dialect] = portal.folder
    return folders


def launch_paid(portal: Portal, *, dialect: str) -> None:
    """Record a job with two datasets where it costs money."""
    free, priced = NAMES[dialect]
    ocean = portal.box.info["contracts"]["Ocean"]
    portal.call(
        "from jobs.services.choosing import DatasetChoice, LaunchRequest\n"
        "request = LaunchRequest(\n"
        f"    datasets=(DatasetChoice(ref={priced.format(PRICED_DATASET)!r}), "
        f"DatasetChoice(ref={free.format(FREE_DATASET)!r})),\n"
        f"    algorithm={priced.format(ALGORITHM)!r}, environment='paid', wallet='demo',\n"
        f"    max_duration_s={LONGEST_S[dialect]}, most={{{ocean!r}: {20 * OCEAN_WEI}}},\n"
        ")\n"
        "answer = launching.launch(actor=actor, request=request, launch_key=uuid.uuid4(), now=clock())"
    )


@pytest.fixture(scope="module")
def idle_wallets(
    box: Box, templates: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    """The folders of portals with no job under way and something in the escrow, before and after it was asked back."""
    folders = {}
    earlier = templates[NODE]
    for name, code in IDLE.items():
        portal = Portal(folder=tmp_path_factory.mktemp("template") / "var", box=box)
        shutil.copytree(earlier, portal.folder)
        portal.call(code)
        folders[name] = earlier = portal.folder
    return folders


@pytest.fixture
def spender(
    request: pytest.FixtureRequest, box: Box, templates: dict[str, Path], nursery: Nursery
) -> Iterator[Spender]:
    dialect = request.getfixturevalue("dialect")
    portal = Spender(box=box, template=templates[dialect], nursery=nursery)
    yield portal
    portal.close()
    portal.ledger.ask("evm_setAutomine", True)
    assert portal.overlooked == []


def assert_paid_once(portal: Spender, way: PaidWay) -> None:
    """The job has ended as its way says, with one job at the service, and the chain has each payment once, to the wei."""
    found = results_of_ended(portal, way)
    assert way.files <= set(found)
    done, failed = portal.calls()
    expected = CALLS[portal.dialect] if way.calls is None else way.calls
    assert [call for call in done if call != "other"] == list(expected)
    assert (done.count("other"), len(failed)) == (way.others, way.failed)
    portal.assert_rows_agree_with_the_chain()
    spent = GIVEN_WEI - portal.balance
    if way.calls is not None:
        assert spent == 0
    elif portal.dialect == NODE:
        assert spent == PRICES_WEI + MOST_WEI
        portal.assert_compute_is_paid(charged_wei=CHARGED_WEI, most_wei=MOST_WEI)
    else:
        assert 0 < spent - PRICES_WEI <= FEE_MOST_WEI
        assert portal.funds == (0, 0)
    assert portal.differences() == []


class TestFacts:
    def test_every_way_leads_to_a_fact(self) -> None:
        ways = {way for _dialect, _name, way, _nth, _long in paid_cases()}

        assert ways == set(MONEY_WAYS)

    def test_no_fact_has_a_reason_not_to_be_one(self) -> None:
        facts = [*MONEY_FACTS, *OF_EACH, *PASSED, *OF_A_WISH, *ACT_PASSES]

        assert set(facts) & NO_FACTS.keys() == set()

    def test_what_more_is_killed_for_money_is_a_fact_without_it_too(self) -> None:
        known = {*FACTS, *ORDER_FACTS, *ORDERED_FACTS, *MONEY_FACTS}

        assert {*OF_EACH, *PASSED, *OF_A_WISH, *ACT_PASSES} <= known


def params() -> Iterator[object]:
    """Yield the cases, in turn for one lane and the other."""
    for number, (dialect, name, way, nth, is_long) in enumerate(paid_cases()):
        marks = [pytest.mark.xdist_group(LANES[number % len(LANES)])]
        if is_long:
            marks.append(pytest.mark.long)
        told = f"{dialect}, {name}, {way if way != 'plain' or nth == 1 else CALLS[dialect][nth - 1]} {nth}"
        here = MONEY_WAYS[way] if dialect == NODE else at_a_provider(MONEY_WAYS[way])
        yield pytest.param(dialect, name, here, nth, marks=marks, id=told)


class TestKilled:
    @pytest.mark.parametrize("run", REPEATED)
    @pytest.mark.parametrize(("dialect", "at", "way", "nth"), [*params()])
    def test_everything_is_paid_once_when_the_process_dies_right_after(
        self, spender: Spender, dialect: str, at: str, way: PaidWay, nth: int, run: int
    ) -> None:
        kill_at(at, portal=spender, way=way, nth=nth)

        assert_paid_once(spender, way)


def act_params() -> Iterator[object]:
    """Yield what happens to a wish, in turn for one lane and the other."""
    for number, (name, fact) in enumerate((ACT_FACTS | ACT_PASSES).items()):
        yield pytest.param(name, fact.way, marks=pytest.mark.xdist_group(LANES[number % len(LANES)]), id=name)


class TestWithdrawal:
    @pytest.mark.parametrize("run", REPEATED)
    @pytest.mark.parametrize(("at", "way"), [*act_params()])
    def test_money_comes_back_once_when_the_process_dies_right_after(
        self, box: Box, idle_wallets: dict[str, Path], nursery: Nursery, at: str, way: str, run: int
    ) -> None:
        template = idle_wallets["a person withdraws" if at in WISHES else "asked"]
        portal = Spender(box=box, template=template, nursery=nursery)
        portal.deposit_by_hand(DEPOSIT_WEI)
        if way == "queue lost":
            sql(QUEUE_LOST)(portal)

        if at in WISHES:
            portal.die_calling(at, WISHES[at])
        else:
            portal.begin_to_die(at)
            portal.wait_for_death()
        portal.live()

        wait_for(
            lambda: portal.hasten() or [row["status"] for row in portal.transactions()] == ["confirmed"],
            "the end of the transaction",
        )
        portal.wait_for_the_escrow()
        assert portal.calls() == (["approval", "deposit", "withdrawal"], [])
        portal.assert_rows_agree_with_the_chain()
        assert (portal.balance, portal.funds) == (GIVEN_WEI, (0, 0))
        # The ledger knows of no deposit: that is said, and nothing else.
        (difference,) = portal.differences()
        assert difference["kind"] == "escrow"
        assert "3.000000000000000001 OCEAN more." in difference["sentence"]
        portal.close()
        assert portal.overlooked == []
