"""Paid compute on the sandbox's node: the recorded questions of 31 to 35, and real money on its own chain."""

import contextlib
import sqlite3
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import requests

from ocean_portal.sandbox.escrow import Authorization
from ocean_portal.sandbox.nodeorders import Order, OrderDesk, Wanted
from ocean_portal.sandbox.nodesettling import used_s
from ocean_portal.sandbox.prices import DOLLAR_PRICES, OCEAN_PRICES, FeeToken, lock_s
from tests.sandbox.client import CONTAINER, Client
from tests.sandbox.conftest import Bench, close_bench, make_bench
from tests.sandbox.paidbench import RecordedEscrow, RecordedLedger, Wallet, recorded_till
from tests.sandbox.recordings import scenario, shape
from tests.sandbox.running import Box, running_sandbox, start_sandbox
from tests.sandbox.test_node import assert_same

NOW = 1795330733.126
OCEAN_WEI = 10**18
COST_WEI = 11_100_000_000_000_000_000  # of the job of scenario 31
SUM, OTHER = (
    "did:op:177a60bb253acdaba6b6d33ffdf8f34d10ba5644ffa59514bce85c422ad6e27d",
    "did:op:67d223ae9eccf2bcec0f801d7074e1d422bb685a4250b34c59ccdab47a19041a",
)
NODE = "0xa0Ee7A142d267C1f36714E4a8F75612F20a79720"
# Numbers 2 to 5 of the public development mnemonic: each test that pays has an account of its own.
KEYS = (
    "0x5de4111afa1a4b94908f83103eb1f1706367c2e68ca870fc3fb9a804cdab365a",
    "0x7c852118294e51e653712a81e05800f419141751be58f605c371e15141b007a6",
    "0x47e179ec197488593b187f80a00eb0da91f1b9d0b13f8733639f19c30a34926a",
    "0x8b3a350cf5c34c9194ca85829a2df0ec3153be0318b5e2d3348e872092edffba",
)


@pytest.fixture
def escrow() -> RecordedEscrow:
    return RecordedEscrow()


@pytest.fixture
def recorded(tmp_path: Path, escrow: RecordedEscrow) -> Iterator[Bench]:
    """The recorded node with the documents, files and orders of scenarios 30 to 33."""
    bench = make_bench(tmp_path, till=recorded_till(escrow, mined_at=NOW, now=lambda: bench.now))
    for exchange in (scenario("30")[18], scenario("30")[19]):
        for ddo in exchange.json[0]:
            bench.store.put_ddo(name=ddo["metadata"]["name"], ddo=ddo)
    algorithm, other, data = (tmp_path / name for name in ("algo_sum.py", "other.py", "data.csv"))
    algorithm.write_text(scenario("32")[1].request["body"]["algorithm"]["meta"]["rawcode"])
    other.write_text("print(2)")
    data.write_text("country,year,value\nAT,2023,10.5\n")
    bench.assets.update({SUM: [{"local": str(algorithm)}], OTHER: [{"local": str(other)}]})
    for ddo in bench.store.ddos().values():
        bench.assets.setdefault(ddo["id"], [{"local": str(data)}])
    yield bench
    close_bench(bench)


def allowed(
    *, limit_wei: int = COST_WEI, seconds: int = 4200, locks: int = 1, used: tuple[int, int] = (0, 0)
) -> list[Authorization]:
    return [Authorization(limit_wei, used[0], seconds, locks, used[1])]


class TestInitialize:
    """Scenario 34, and what the others ask of initializeCompute."""

    @pytest.mark.parametrize("seq", range(1, 22))
    def test_prices_and_refusals_are_the_recorded_ones(self, recorded: Bench, seq: int) -> None:
        exchange = scenario("34")[seq]

        assert_same(exchange, exchange.ask(recorded.url))

    @pytest.mark.parametrize(
        ("number", "seq"),
        [("31", 1), ("31", 6), ("32", 1), ("32", 2), ("33", 1), ("33", 2), ("33", 3), ("33", 30), ("33", 39)],
    )
    def test_fees_signatures_orders_and_trust_are_the_recorded_ones(
        self, recorded: Bench, number: str, seq: int
    ) -> None:
        exchange = scenario(number)[seq]

        assert_same(exchange, exchange.ask(recorded.url))

    def test_node_without_a_chain_cannot_be_paid(self, bench: Bench) -> None:
        raw = {"meta": {"rawcode": "print(1)", "container": CONTAINER}}
        token = bench.environment.fees[0].address

        answer = Client(bench.url).initialize(algorithm=raw, payment={"chainId": 8996, "token": token})

        assert (answer.status_code, answer.text) == (500, "Cannot handle payments on chainId: 8996")


class TestRefusedStart:
    """Scenarios 31 and 33."""

    @pytest.mark.parametrize(
        ("seq", "available", "authorizations"),
        [
            (2, 0, []),
            (3, COST_WEI, []),
            (4, COST_WEI, allowed(seconds=4199)),
            (5, COST_WEI, allowed(limit_wei=COST_WEI - 1)),
            (8, 0, allowed(used=(COST_WEI, 1))),
        ],
    )
    def test_says_what_is_wrong_with_the_escrow(
        self,
        recorded: Bench,
        escrow: RecordedEscrow,
        seq: int,
        available: int,
        authorizations: list[Authorization],
    ) -> None:
        exchange = scenario("31")[seq]
        escrow.available, escrow.allowed = available, authorizations

        assert_same(exchange, exchange.ask(recorded.url))

        assert escrow.created == []
        assert recorded.store.jobs() == recorded.store.planned_starts() == []

    def test_names_locks_when_there_may_be_no_more(self, recorded: Bench, escrow: RecordedEscrow) -> None:
        escrow.available, escrow.allowed = COST_WEI, allowed(limit_wei=2 * COST_WEI, used=(1, 1))

        answer = scenario("31")[7].ask(recorded.url)

        assert answer.json() == "No valid escrow auths found(too many active locks)"

    @pytest.mark.parametrize("seq", [*range(4, 19), 40])
    def test_checks_orders_trust_token_and_limits_as_recorded(self, recorded: Bench, seq: int) -> None:
        exchange = scenario("33")[seq]

        assert_same(exchange, exchange.ask(recorded.url))

    def test_order_is_over_when_the_service_says_so(self, recorded: Bench) -> None:
        recorded.now += 3601
        exchange = scenario("33")[19]

        answer = exchange.ask(recorded.url)

        dataset = exchange.request["body"]["datasets"][0]
        assert answer.status_code == 500
        assert answer.json() == (
            f"TxId Service {dataset['transferTxId']} is not valid for DDO {dataset['documentId']}"
            " and service compute-1"
        )

    def test_bad_output_is_found_when_the_money_is_locked(
        self, recorded: Bench, escrow: RecordedEscrow
    ) -> None:
        escrow.available, escrow.allowed = COST_WEI, allowed()
        exchange = scenario("31")[7]

        answer = exchange.ask(recorded.url, body=exchange.request["body"] | {"output": "00"})

        assert (answer.status_code, answer.json()[:14]) == (400, "Invalid output")
        assert len(escrow.created) == 1
        assert recorded.store.jobs() == []


class TestStart:
    """What a start answers, and what a node does for it."""

    @pytest.mark.parametrize(("number", "seq"), [("31", 7), ("33", 19), ("33", 31)])
    def test_locks_the_price_for_as_long_as_was_said(
        self, recorded: Bench, escrow: RecordedEscrow, number: str, seq: int
    ) -> None:
        exchange = scenario(number)[seq]
        (expected,) = exchange.json
        escrow.available, escrow.allowed = 100 * OCEAN_WEI, allowed(limit_wei=100 * OCEAN_WEI, locks=9)
        escrow.lock_tx = expected["payment"]["lockTx"]

        answer = exchange.ask(recorded.url)

        (job,) = answer.json()
        assert answer.status_code == 200
        assert shape(job) == shape(expected)
        changing = ("jobId", "jobIdHash", "dateCreated")
        assert {k: v for k, v in job.items() if k not in changing} == {
            k: v for k, v in expected.items() if k not in changing
        }
        minutes = expected["maxJobDuration"] // 60
        price = 1_110_000_000_000_000_000 if number == "31" else 1_100_000_000_000_000_000
        assert escrow.created == [
            {
                "job": int(job["jobIdHash"], 16),
                "payer": expected["owner"],
                "token": expected["payment"]["token"],
                "amount_wei": minutes * price,
                "seconds": expected["maxJobDuration"] + 3600,
            }
        ]

    def test_strangers_token_pays_with_somebody_elses_money(
        self, recorded: Bench, escrow: RecordedEscrow
    ) -> None:
        escrow.available, escrow.allowed = COST_WEI, allowed()
        token = scenario("35")[1].ask(recorded.url).json()["token"]
        start = scenario("35")[2]

        answer = start.ask(recorded.url, headers=start.request["headers"] | {"Authorization": token})

        (job,) = answer.json()
        assert (job["owner"], job["isFree"]) == (start.json[0]["owner"], False)
        assert [lock["payer"] for lock in escrow.created] == [job["owner"]]

    @pytest.mark.parametrize("seq", [6, 11, 12, 13])
    def test_status_shows_the_payment_as_recorded(self, recorded: Bench, seq: int) -> None:
        (report,) = scenario("20")[seq].json
        recorded.put_job(report, {item["filename"]: bytes(item["filesize"]) for item in report["results"]})

        assert_same(scenario("20")[seq], scenario("20")[seq].ask(recorded.url))


class TestOrders:
    """What the node reads from an order."""

    TX = "0x602f3eb979229648b9c687bd2e4cfac421a2f4e32229bc8daf8140b74793dd86"  # scenario 33
    DATATOKEN = "0x669007f8b5cCd9AB360432140Db31885c9684ab3"

    def wanted(self, *, place: int = 0, service_id: str = "compute-1") -> Wanted:
        return Wanted(
            nft="0x", datatoken=self.DATATOKEN, service_id=service_id, service_index=place, timeout_s=60
        )

    def desk(self, *, later_s: float = 0) -> OrderDesk:
        return recorded_till(RecordedEscrow(), mined_at=NOW, now=lambda: NOW + later_s).orders

    def test_place_of_the_service_counts(self) -> None:
        assert self.desk().holds(tx_hash=self.TX, wanted=self.wanted())
        assert not self.desk().holds(tx_hash=self.TX, wanted=self.wanted(place=1))

    def test_renewed_order_is_as_old_as_the_first_one(self) -> None:
        class Renewed(RecordedLedger):
            def order(self, *, tx_hash: str) -> Order | None:
                first = super().order(tx_hash=TestOrders.TX)
                assert first is not None
                if tx_hash == TestOrders.TX:
                    return first
                return replace(first, started=(), reused=(TestOrders.TX,), mined_at=int(NOW) + 50)

        young = replace(self.desk(), ledger=Renewed(mined_at=NOW))
        old = replace(self.desk(later_s=61), ledger=Renewed(mined_at=NOW))

        assert young.holds(tx_hash="0x1", wanted=self.wanted())
        assert not old.holds(tx_hash="0x1", wanted=self.wanted())

    def test_fee_is_for_one_service_and_for_a_time(self) -> None:
        assert self.desk().fee_holds(tx_hash=self.TX, wanted=self.wanted())
        assert not self.desk().fee_holds(tx_hash=self.TX, wanted=self.wanted(service_id="other"))
        assert not self.desk(later_s=3602).fee_holds(tx_hash=self.TX, wanted=self.wanted())


class TestCharges:
    """The arithmetic of prices."""

    @pytest.mark.parametrize(
        ("token", "resources", "seconds", "wei"),
        [
            ("ocean", {"cpu": 1, "ram": 1, "disk": 1}, 600, 11_100_000_000_000_000_000),
            ("ocean", {"cpu": 1, "ram": 1, "disk": 1}, 10, 1_110_000_000_000_000_000),
            ("ocean", {"cpu": 1, "ram": 1, "disk": 0}, 60, 1_100_000_000_000_000_000),
            ("ocean", {"cpu": 1, "ram": 1, "disk": 0}, 61, 2_200_000_000_000_000_000),
            ("ocean", {"cpu": 2, "ram": 3, "disk": 7}, 3600, 142_200_000_000_000_000_000),
            ("dollars", {"cpu": 1, "ram": 1, "disk": 1}, 60, 500_000),
            ("dollars", {"cpu": 2, "ram": 1, "disk": 1}, 61, 2_000_000),
        ],
    )
    def test_every_started_minute_of_every_resource_costs(
        self, token: str, resources: dict[str, float], seconds: int, wei: int
    ) -> None:
        fee = FeeToken("0x", 18, OCEAN_PRICES) if token == "ocean" else FeeToken("0x", 6, DOLLAR_PRICES)

        assert fee.in_wei(fee.cost(resources=resources, duration_s=seconds)) == wei

    def test_small_prices_are_rounded_to_the_smallest_unit(self) -> None:
        fee = FeeToken("0x", 6, (("cpu", 0.0000014),))

        assert fee.in_wei(fee.cost(resources={"cpu": 1}, duration_s=60)) == 1

    def test_waiting_counts_for_the_lock_and_not_for_the_price(self) -> None:
        assert lock_s(duration_s=60, queue_wait_s=600) == 4260

    @pytest.mark.parametrize(
        ("times", "charged"),
        [
            ({}, 10),
            ({"algo_started_at": 100.0, "algo_stopped_at": 100.5}, 10),
            ({"algo_started_at": 100.0, "algo_stopped_at": 161.0}, 61),
            ({"algo_started_at": 100.0, "algo_stopped_at": 900.0}, 120),
            ({"algo_started_at": 100.0, "finished_at": 130.0}, 30),
            ({"build_started_at": 40.0, "build_stopped_at": 90.0}, 50),
        ],
    )
    def test_what_ran_is_charged_within_the_limits(self, times: dict[str, float], charged: float) -> None:
        never = dict.fromkeys(
            ("algo_started_at", "algo_stopped_at", "build_started_at", "build_stopped_at", "finished_at")
        )

        assert used_s({**never, **times, "spec": {"max_job_duration": 120}}) == charged


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Box]:
    with running_sandbox(tmp_path_factory.mktemp("paid"), settle=0.1) as running:
        yield running


def wallet_of(box: Box, key: str) -> tuple[Client, Wallet]:
    return Client(box.node_url, key=key), Wallet(
        rpc_url=box.rpc_url, contracts=box.info["contracts"], key=key
    )


def raw(code: str) -> dict[str, Any]:
    return {"meta": {"rawcode": code, "container": CONTAINER}}


def pay_in(wallet: Wallet, payment: dict[str, Any], *, token: str = "Ocean", locks: int = 1) -> None:
    """Deposit and authorise exactly what initializeCompute asked for."""
    amount = int(payment["amount"])
    wallet.deposit(token, amount * locks)
    wallet.authorize(token, amount * locks, seconds=payment["minLockSeconds"], locks=locks)


def settled(report: dict[str, Any]) -> bool:
    return bool(report["status"] == 70)


def until(holds: Callable[[], bool], *, seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


class TestPaidJob:
    """Real orders, locks and claims on the sandbox's own chain."""

    def test_with_priced_assets_costs_what_it_used_to_the_wei(self, box: Box) -> None:
        client, wallet = wallet_of(box, KEYS[0])
        names = ("Summary statistics (priced)", "Iris flowers (priced)")
        algorithm, dataset = (
            {"documentId": box.did(name), "serviceId": box.info["assets"][name]["service_id"]}
            for name in names
        )
        asked = {"chainId": 8996, "token": box.info["contracts"]["Ocean"]}
        before, node_before = wallet.balance("Ocean"), wallet.balance("Ocean", NODE)

        said = client.initialize(
            datasets=[dataset], algorithm=algorithm, payment=asked, maxJobDuration=61
        ).json()
        for described, asset, name in zip(
            (said["algorithm"], *said["datasets"]), (algorithm, dataset), names, strict=True
        ):
            price_wei = int(box.info["assets"][name]["price"])
            asset["transferTxId"] = wallet.order(described, price_wei=price_wei)
        again = client.initialize(
            datasets=[dataset], algorithm=algorithm, payment=asked, maxJobDuration=61
        ).json()
        pay_in(wallet, said["payment"])
        spent_on_orders = before - wallet.balance("Ocean") - int(said["payment"]["amount"])
        started = client.post_paid_start(
            datasets=[dataset], algorithm=algorithm, payment=asked, maxJobDuration=61, metadata={"tag": "t"}
        )
        job = started.json()[0]["jobId"]
        locked = wallet.funds("Ocean")
        report = client.wait(job, until=settled)[-1]

        assert said["payment"]["amount"] == str(2_200_000_000_000_000_000)
        assert [again["algorithm"]["validOrder"], again["datasets"][0]["validOrder"]] == [
            algorithm["transferTxId"],
            dataset["transferTxId"],
        ]
        assert "providerFee" not in again["algorithm"]
        assert spent_on_orders == 2_502_500_000_000_000_000  # 2 and 0.5, and 0.1 % for the community
        assert locked == (0, 2_200_000_000_000_000_000)
        payment = report["payment"]
        assert (report["isFree"], report["metadata"], payment["cost"]) == (False, {"tag": "t"}, 1.1)
        assert payment["lockTx"].startswith("0x") and payment["claimTx"].startswith("0x")
        assert payment["cancelTx"] is None
        assert wallet.funds("Ocean") == (1_100_000_000_000_000_000, 0)
        assert wallet.balance("Ocean", NODE) - node_before == 1_098_900_000_000_000_000  # less 0.1 %
        assert list(client.outputs(job)) == ["outputs", "outputs/chart.svg", "outputs/summary.csv"]

    def test_failed_job_is_charged_in_a_token_of_six_decimals(self, box: Box) -> None:
        client, wallet = wallet_of(box, str(box.info["account"]["private_key"]))
        asked = {"chainId": 8996, "token": box.info["contracts"]["MockUSDC"]}
        algorithm = raw("raise SystemExit(3)")
        said = client.initialize(algorithm=algorithm, payment=asked, maxJobDuration=120).json()
        pay_in(wallet, said["payment"], token="MockUSDC")

        (started,) = client.post_paid_start(algorithm=algorithm, payment=asked, maxJobDuration=120).json()
        report = client.wait(started["jobId"], until=settled)[-1]

        assert said["payment"]["amount"] == "1000000"
        assert report["terminationDetails"]["exitCode"] == 3
        assert report["payment"]["cost"] == 0.5
        assert wallet.funds("MockUSDC") == (500_000, 0)
        wallet.withdraw("MockUSDC")
        assert wallet.balance("MockUSDC") == 10_000 * 10**6 - 500_000

    def test_is_listed_with_its_payment_and_may_use_more_than_a_free_one(self, box: Box) -> None:
        client, wallet = wallet_of(box, KEYS[1])
        asked = {"chainId": 8996, "token": box.info["contracts"]["Ocean"]}
        resources = [{"id": "cpu", "amount": 2}, {"id": "ram", "amount": 4}]
        algorithm = raw("print('much')")
        said = client.initialize(
            algorithm=algorithm, payment=asked | {"resources": resources}, maxJobDuration=60
        ).json()
        pay_in(wallet, said["payment"])

        (started,) = client.post_paid_start(
            token=client.token(),
            algorithm=algorithm,
            payment=asked,
            resources=resources,
            maxJobDuration=60,
        ).json()
        environment = client.environment()
        client.wait(started["jobId"], until=settled)

        assert {item["id"]: item["inUse"] for item in environment["resources"]}["ram"] == 4
        assert {item["inUse"] for item in environment["free"]["resources"]} == {0}
        listed = requests.post(
            box.node_url + "/directCommand",
            json={"command": "jobs", "consumerAddrs": [client.account.address]},
            timeout=10,
        ).json()
        assert [(job["isFree"], job["payment"]["cost"]) for job in listed] == [(False, 2.4)]

    def test_expired_lock_goes_back_when_anybody_asks(self, box: Box) -> None:
        client, wallet = wallet_of(box, KEYS[2])
        _, stranger = wallet_of(box, KEYS[3])
        asked = {"chainId": 8996, "token": box.info["contracts"]["Ocean"]}
        bad = {"meta": {"rawcode": "print(1)", "container": CONTAINER | {"image": "nobody/knows"}}}
        said = client.initialize(algorithm=bad, payment=asked, maxJobDuration=60).json()
        pay_in(wallet, said["payment"])

        answer = client.post_paid_start(algorithm=bad, payment=asked, maxJobDuration=60)
        (lock,) = [lock for lock in wallet.locks() if lock[1].lower() == wallet.account.address.lower()]
        too_early = stranger.escrow.send(
            stranger.account, "cancelExpiredLock", *lock[:1], lock[4], lock[1], NODE
        )
        still = wallet.funds("Ocean")
        stranger.chain.rpc("evm_increaseTime", [7200])
        stranger.escrow.send(stranger.account, "cancelExpiredLock", *lock[:1], lock[4], lock[1], NODE)

        assert answer.status_code == 400 and "Cannot find image" in answer.json()
        assert too_early["logs"] == []
        assert still == (0, 1_100_000_000_000_000_000)
        assert wallet.funds("Ocean") == (1_100_000_000_000_000_000, 0)


def rewrite(box: Box, *statements: tuple[str, tuple[object, ...]]) -> None:
    """Bring the node's database to where it was at an earlier moment."""
    with contextlib.closing(sqlite3.connect(box.state / "node.sqlite3")) as db, db:
        for sql, values in statements:
            db.execute(sql, values)


def forget_job(box: Box, job_id: str) -> None:
    """As if the process had died when the money was locked, and before the job was noted."""
    rewrite(
        box,
        (
            "INSERT INTO paid_starts SELECT id, owner, spec, json_set(payment, '$.lockTx', NULL)"
            " FROM jobs WHERE id = ?",
            (job_id,),
        ),
        ("DELETE FROM jobs WHERE id = ?", (job_id,)),
    )


def forget_claim(box: Box, job_id: str) -> None:
    """As if the process had died when the lock was claimed, and before that was noted."""
    rewrite(
        box,
        (
            "UPDATE jobs SET status = 71, payment = json_set(payment, '$.claimTx', NULL, '$.cost', 0)"
            " WHERE id = ?",
            (job_id,),
        ),
    )


class TestRestart:
    """A node that dies between the lock and the job, or between the claim and its note."""

    def test_lock_whose_start_died_gets_its_job_and_is_claimed_once(self, tmp_path: Path) -> None:
        box = start_sandbox(tmp_path, settle=3600)
        client, wallet = wallet_of(box, KEYS[0])
        asked = {"chainId": 8996, "token": box.info["contracts"]["Ocean"]}
        algorithm = raw("print('paid')")
        said = client.initialize(algorithm=algorithm, payment=asked, maxJobDuration=60).json()
        pay_in(wallet, said["payment"], locks=2)
        (started,) = client.post_paid_start(algorithm=algorithm, payment=asked, maxJobDuration=60).json()
        client.wait(started["jobId"])
        job_id = started["jobId"].rpartition("-")[2]
        box.kill()
        forget_job(box, job_id)

        with running_sandbox(tmp_path, settle=0.1) as box:
            client, wallet = wallet_of(box, KEYS[0])
            report = client.wait(started["jobId"], until=settled)[-1]

            assert report["payment"] == started["payment"] | {
                "claimTx": report["payment"]["claimTx"],
                "cost": 1.1,
            }
            assert wallet.funds("Ocean") == (1_100_000_000_000_000_000, 0)
            assert wallet.locks() == []
            assert box.rows("SELECT count(*) FROM paid_starts") == [(0,)]
            forget_claim(box, job_id)
            until(lambda: client.status(started["jobId"])["status"] == 70)
            assert client.status(started["jobId"])["payment"] == report["payment"]
            assert wallet.funds("Ocean") == (1_100_000_000_000_000_000, 0)

    def test_start_that_had_not_locked_is_forgotten(self, tmp_path: Path) -> None:
        box = start_sandbox(tmp_path)
        box.stop()
        rewrite(box, ("INSERT INTO paid_starts VALUES ('abab', '0x', '{}', '{}')", ()))

        with running_sandbox(tmp_path) as again:
            assert again.rows("SELECT count(*) FROM jobs") == [(0,)]
            assert again.rows("SELECT count(*) FROM paid_starts") == [(0,)]
