"""The whole sandbox as a process: starting, ending, and being killed."""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ocean_portal.sandbox.contracts import ZERO_ADDRESS, Contract
from tests.sandbox.client import Client
from tests.sandbox.paidbench import Wallet
from tests.sandbox.providerclient import ProviderClient
from tests.sandbox.running import Box, running_sandbox, start_sandbox

COUNT = "import time\nfor i in range({}):\n    print(i, flush=True)\n    time.sleep(0.1)\n"


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Box]:
    """A sandbox with chain that the tests of this module share, since none of them changes it."""
    with running_sandbox(tmp_path_factory.mktemp("sandbox")) as running:
        yield running


def alive(box: Box, job: str) -> int | None:
    """Return the id of the runner of a job."""
    (path,) = box.state.glob(f"c2d_storage/*/{job.rpartition('-')[2]}/runner.lock")
    pid = json.loads(path.read_text())["pid"] if path.read_text() else None
    return pid if pid and Path(f"/proc/{pid}").exists() else None


class TestStart:
    def test_node_answers_and_sandbox_json_tells_where_everything_is(self, box: Box) -> None:
        client = Client(box.node_url)

        assert client.environment()["id"] == box.info["environment"]
        assert client.account.address == box.info["account"]["address"]
        names = [
            "Iris flowers",
            "Mauna Loa CO2",
            "US Constitution",
            "Summary statistics",
            "Linear regression",
            "Word count",
            "Failing example",
        ]
        priced = ["Iris flowers (priced", "Summary statistics (priced"]
        assert list(box.info["assets"]) == [
            *(*names, *(f"{name})" for name in priced)),
            *(*(f"{name} (v4)" for name in names), *(f"{name}, v4)" for name in priced)),
        ]
        told = [(asset["kind"], asset["dialect"]) for asset in box.info["assets"].values()]
        kinds = ["dataset"] * 3 + ["algorithm"] * 4 + ["dataset", "algorithm"]
        assert told == [(kind, dialect) for dialect in ("ocean-node", "provider-v4") for kind in kinds]

    def test_sandbox_json_tells_what_an_access_costs(self, box: Box) -> None:
        prices = {name: (asset["price"], asset["token"]) for name, asset in box.info["assets"].items()}

        ocean = box.info["contracts"]["Ocean"]
        assert prices.pop("Iris flowers (priced)") == ("2000000000000000000", ocean)
        assert prices.pop("Summary statistics (priced)") == ("500000000000000000", ocean)
        assert prices.pop("Iris flowers (priced, v4)") == ("2000000000000000000", ocean)
        assert prices.pop("Summary statistics (priced, v4)") == ("500000000000000000", ocean)
        assert set(prices.values()) == {("0", None)}

    def test_published_documents_are_served_and_are_on_the_chain(self, box: Box) -> None:
        client = Client(box.node_url)
        places = {
            "ocean-node": (box.node_url, box.node_url),
            "provider-v4": (box.aquarius_url, box.provider_url),
        }
        for name, asset in box.info["assets"].items():
            index, endpoint = places[asset["dialect"]]
            ddo = client.http.get(f"{index}/api/aquarius/assets/ddo/{asset['did']}", timeout=5).json()
            assert (ddo["id"], ddo["metadata"]["name"]) == (asset["did"], name)
            assert ddo["services"][0]["serviceEndpoint"] == endpoint
            call = {
                "jsonrpc": "2.0",
                "id": 1,
                "method": "eth_getCode",
                "params": [ddo["nftAddress"], "latest"],
            }
            assert len(client.http.post(box.rpc_url, json=call, timeout=5).json()["result"]) > 2

    def test_fees_are_taken_in_the_tokens_of_the_sandbox(self, box: Box) -> None:
        fees = Client(box.node_url).environment()["fees"]["8996"]

        assert [fee["feeToken"] for fee in fees] == [
            box.info["contracts"][name] for name in ("Ocean", "MockUSDC")
        ]

    @pytest.mark.parametrize("option", ["--node-port", "--chain-port", "--provider-port", "--aquarius-port"])
    def test_taken_port_is_named_with_the_way_out(self, tmp_path: Path, option: str) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = str(taken.getsockname()[1])
            names = ("--node-port", "--chain-port", "--provider-port", "--aquarius-port")
            ports = dict.fromkeys(names, "0") | {option: port}
            command = [sys.executable, "-m", "ocean_portal.sandbox", "--state", str(tmp_path)]
            command += [text for pair in ports.items() for text in pair]
            ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

        assert ended.returncode == 2
        assert f"Port {port}" in ended.stderr and option in ended.stderr
        assert "Traceback" not in ended.stderr

    def test_second_sandbox_on_the_same_folder_is_refused(self, box: Box) -> None:
        command = [sys.executable, "-m", "ocean_portal.sandbox", "--state", str(box.state), "--no-chain"]
        ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

        assert ended.returncode == 2
        assert "Another sandbox is running" in ended.stderr
        assert (box.state / "sandbox.json").exists()


class TestMoney:
    """What one needs to try payments: things with a price, a place with a price, and tokens."""

    @pytest.fixture
    def wallet(self, box: Box) -> Wallet:
        return Wallet(
            rpc_url=box.rpc_url, contracts=box.info["contracts"], key=box.info["account"]["private_key"]
        )

    @pytest.mark.parametrize("dialect", ["ocean-node", "provider-v4"])
    def test_dataset_and_algorithm_are_for_sale_in_both_dialects(
        self, box: Box, wallet: Wallet, dialect: str
    ) -> None:
        index = {"ocean-node": box.node_url, "provider-v4": box.aquarius_url}[dialect]
        exchange = Contract(wallet.chain, "FixedRateExchange", box.info["contracts"]["FixedPrice"])
        asked: dict[str, int] = {}
        for asset in box.info["assets"].values():
            if asset["dialect"] == dialect and asset["token"] is not None:
                url = f"{index}/api/aquarius/assets/ddo/{asset['did']}"
                (service,) = Client(box.node_url).http.get(url, timeout=5).json()["services"]
                exchange_id = exchange.call("generateExchangeId", asset["token"], service["datatokenAddress"])
                told, ether = int(asset["price"]), 10**18
                # The exchange keeps 0.1 % for the community.
                assert exchange.call("calcBaseInGivenOutDT", exchange_id, ether, 0)[0] == told * 1001 // 1000
                asked[asset["kind"]] = told

        assert asked == {"dataset": 2 * 10**18, "algorithm": 5 * 10**17}

    def test_place_that_costs_something_is_there_in_both_dialects(self, box: Box) -> None:
        ocean, dollars = (box.info["contracts"][name] for name in ("Ocean", "MockUSDC"))

        node, provider = Client(box.node_url).environment(), ProviderClient(box.info).environment(1)

        prices = {fee["feeToken"]: fee["prices"] for fee in node["fees"]["8996"]}
        assert set(prices) == {ocean, dollars}
        assert all(price["price"] > 0 for listed in prices.values() for price in listed)
        assert (provider["feeToken"], float(provider["priceMin"])) == (ocean, 0.01)

    def test_demo_account_can_pay_for_all_of_it(self, box: Box, wallet: Wallet) -> None:
        ether = int(wallet.chain.rpc("eth_getBalance", [wallet.account.address, "latest"]), 16)

        assert wallet.account.address == box.info["account"]["address"] != ZERO_ADDRESS
        assert wallet.balance("Ocean") == 100_000 * 10**18
        assert wallet.balance("MockUSDC") == 10_000 * 10**6
        assert ether >= 10**18


class TestDemoAssets:
    @pytest.mark.parametrize(
        ("datasets", "algorithm", "custom", "exit_code", "files"),
        [
            (["Iris flowers"], "Summary statistics", {}, 0, ["chart.svg", "summary.csv"]),
            (["Mauna Loa CO2", "US Constitution"], "Summary statistics", {}, 0, ["chart.svg", "summary.csv"]),
            (["Iris flowers"], "Linear regression", {}, 0, ["fit.svg", "model.json", "report.md"]),
            (["US Constitution"], "Word count", {"seconds": 0}, 0, ["words.csv", "words.svg"]),
            (["Iris flowers"], "Failing example", {}, 1, []),
        ],
    )
    def test_published_algorithm_runs_on_published_data(
        self,
        box: Box,
        datasets: list[str],
        algorithm: str,
        custom: dict[str, object],
        exit_code: int,
        files: list[str],
    ) -> None:
        client = Client(box.node_url)
        dids = [box.did(name) for name in datasets]
        job = client.start_asset(box.did(algorithm), datasets=dids, algocustomdata=custom)

        report = client.wait(job)[-1]

        assert report["terminationDetails"]["exitCode"] == exit_code, client.log(job)
        assert list(client.outputs(job)) == ["outputs", *(f"outputs/{name}" for name in files)]
        assert client.log(job)


class TestMove:
    def test_documents_name_the_new_port_and_keep_their_dids(self, tmp_path: Path) -> None:
        first = start_sandbox(tmp_path, chain=False)
        first.stop()
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]

        with running_sandbox(tmp_path, chain=False, node_port=port) as second:
            assert second.node_url == f"http://127.0.0.1:{port}"
            assert second.info["assets"] == first.info["assets"]
            for name in second.info["assets"]:
                url = f"{second.node_url}/api/aquarius/assets/ddo/{second.did(name)}"
                ddo = Client(second.node_url).http.get(url, timeout=5).json()
                assert {service["serviceEndpoint"] for service in ddo["services"]} == {second.node_url}


class TestEnd:
    def test_sigterm_ends_it_within_two_seconds_and_its_algorithms_too(self, tmp_path: Path) -> None:
        box = start_sandbox(tmp_path, chain=False)
        client = Client(box.node_url)
        job = client.start(COUNT.format(600))
        client.wait(job, until=lambda report: report["algoStartTimestamp"] != "0")
        runner = alive(box, job)
        started = time.monotonic()

        assert box.stop() == 0

        assert time.monotonic() - started < 2
        assert runner is not None
        assert alive(box, job) is None
        assert not (tmp_path / "sandbox.json").exists()

    def test_job_that_was_running_runs_again_at_the_next_start(self, tmp_path: Path) -> None:
        first = start_sandbox(tmp_path, chain=False)
        job = Client(first.node_url).start(COUNT.format(30))
        Client(first.node_url).wait(job, until=lambda report: report["algoStartTimestamp"] != "0")
        first.stop()

        with running_sandbox(tmp_path, chain=False) as second:
            client = Client(second.node_url)
            report = client.wait(job)[-1]
            assert report["terminationDetails"]["exitCode"] == 0
            assert client.log(job).split() == [str(number) for number in range(30)]
            runs = second.rows("SELECT count(*) FROM runs WHERE job_id = ?", report["jobId"])
            assert runs == [(2,)]


class TestKill:
    """SIGKILL: everything that was promised is there at the next start."""

    def test_running_algorithm_goes_on_and_is_not_run_twice(self, tmp_path: Path) -> None:
        first = start_sandbox(tmp_path, chain=False)
        job = Client(first.node_url).start(COUNT.format(30))
        Client(first.node_url).wait(job, until=lambda report: report["algoStartTimestamp"] != "0")
        first.kill()

        with running_sandbox(tmp_path, chain=False) as second:
            client = Client(second.node_url)
            report = client.wait(job)[-1]
            assert report["terminationDetails"]["exitCode"] == 0
            assert client.log(job).split() == [str(number) for number in range(30)]
            assert second.rows("SELECT count(*) FROM runs WHERE job_id = ?", report["jobId"]) == [(1,)]

    def test_algorithm_that_ended_meanwhile_is_published(self, tmp_path: Path) -> None:
        first = start_sandbox(tmp_path, chain=False)
        job = Client(first.node_url).start(COUNT.format(5))
        Client(first.node_url).wait(job, until=lambda report: report["algoStartTimestamp"] != "0")
        first.kill()
        deadline = time.monotonic() + 10
        while alive(first, job) and time.monotonic() < deadline:
            time.sleep(0.05)

        with running_sandbox(tmp_path, chain=False) as second:
            report = Client(second.node_url).wait(job)[-1]
            assert report["terminationDetails"]["exitCode"] == 0

    def test_killed_runner_makes_the_job_run_again(self, tmp_path: Path) -> None:
        first = start_sandbox(tmp_path, chain=False)
        job = Client(first.node_url).start(COUNT.format(20))
        Client(first.node_url).wait(job, until=lambda report: report["algoStartTimestamp"] != "0")
        first.kill()
        os.kill(alive(first, job) or 0, 9)

        with running_sandbox(tmp_path, chain=False) as second:
            report = Client(second.node_url).wait(job)[-1]
            assert report["terminationDetails"]["exitCode"] == 0
            assert second.rows("SELECT count(*) FROM runs WHERE job_id = ?", report["jobId"]) == [(2,)]

    @pytest.mark.parametrize("status", [10, 20, 30, 60])
    def test_job_in_any_phase_reaches_its_end(self, tmp_path: Path, status: int) -> None:
        first = start_sandbox(tmp_path, chain=False, step=0.4)
        client = Client(first.node_url)
        job = client.start("print('done')")
        client.wait(job, until=lambda report: report["status"] >= status)
        first.kill()

        with running_sandbox(tmp_path, chain=False) as second:
            client = Client(second.node_url)
            assert client.wait(job)[-1]["terminationDetails"]["exitCode"] == 0
            assert client.log(job) == "done\n"

    def test_finished_jobs_nonces_and_addresses_are_kept(self, tmp_path: Path) -> None:
        first = start_sandbox(tmp_path)
        client = Client(first.node_url)
        job = client.start_asset(first.did("Summary statistics"), datasets=[first.did("Iris flowers")])
        client.wait(job)
        outputs = client.outputs(job)
        first.kill()

        with running_sandbox(tmp_path) as second:
            same = ("chain_id", "rpc_url", "node_url", "environment", "contracts", "assets", "account")
            assert [second.info[key] for key in same] == [first.info[key] for key in same]
            again = Client(second.node_url)
            query = {"userAddress": client.account.address}
            answer = again.http.get(second.node_url + "/api/services/nonce", params=query, timeout=5).json()
            assert answer == {"nonce": str(client.nonce)}
            assert again.outputs(job) == outputs

    @pytest.mark.parametrize("killed_after", [2, 9])
    def test_killed_while_publishing_it_publishes_the_rest_once(
        self, tmp_path: Path, killed_after: int
    ) -> None:
        command = [sys.executable, "-m", "ocean_portal.sandbox", "--state", str(tmp_path)]
        for name in ("node", "chain", "provider", "aquarius"):
            command += [f"--{name}-port", "0"]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        published: dict[str, str] = {}
        while len(published) < killed_after:
            kind, _, rest = process.stdout.readline().partition(" ")
            if kind in ("Dataset", "Algorithm"):
                name, _, did = rest.strip().rpartition("  ")
                published[name] = did
        process.kill()
        process.wait()
        process.stdout.close()

        with running_sandbox(tmp_path) as box:
            assert len(box.info["assets"]) == 18
            assert {name: box.did(name) for name in published} == published
