"""Ocean's own JavaScript library, unmodified, against the sandbox: a client that we did not write."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.sandbox.client import CONTAINER, members, text_of
from tests.sandbox.oceanjs.library import (
    VERSIONS,
    Library,
    Refused,
    Stream,
    install,
    run_script,
    running_library,
)
from tests.sandbox.running import Box, running_sandbox

pytestmark = pytest.mark.xdist_group("oceanjs")

DEADLINE_S = 30.0
LINES = 600
# A minute of lines, unless somebody stops it.
SLOW = f"import time\nfor i in range({LINES}):\n    print('line', i, flush=True)\n    time.sleep(0.1)\n"
QUICK = SLOW.replace(str(LINES), "15")
MEASURE = """
import os, pathlib
data = pathlib.Path(os.environ['DATA_ROOT'])
sizes = {path.name: path.stat().st_size for path in (data / 'inputs').iterdir()}
(data / 'outputs' / 'sizes.txt').write_text(f"{sizes['iris.csv']} bytes")
print('measured')
"""
RECIPIENT = "0x15d34AAf54267DB7D7c367839AAf71A00a2C6A65"  # number 4 of the public development mnemonic


def raw(code: str) -> dict[str, Any]:
    """Describe code of one's own as the library's users do."""
    return {"meta": {"rawcode": code, "container": CONTAINER}}


@dataclass(frozen=True)
class Ocean:
    """The library's functions for compute on the sandbox's node; by is an account or a token."""

    library: Library
    box: Box

    def call(self, name: str, *args: object) -> Any:
        """Call a function whose first argument is the node's URL."""
        return self.library.call(name, self.box.node_url, *args)

    def start(
        self, algorithm: dict[str, Any], *, datasets: Sequence[str] = (), by: str = "$wallet"
    ) -> dict[str, Any]:
        """Start a free job and return what the node said of it."""
        (environment,) = self.call("getComputeEnvironments")
        assets = [{"documentId": self.box.did(name), "serviceId": "compute"} for name in datasets]
        resources = [{"id": item["id"], "amount": item["min"]} for item in environment["free"]["resources"]]
        metadata = {"title": "tides"}
        (job,) = self.call("freeComputeStart", by, environment["id"], assets, algorithm, resources, metadata)
        return dict(job)

    def status(self, job: str, *, by: str = "$wallet") -> dict[str, Any]:
        (report,) = self.call("computeStatus", by, job)
        return dict(report)

    def wait(self, job: str, *, until: Callable[[dict[str, Any]], bool] | None = None) -> dict[str, Any]:
        """Poll until the job ended, or the condition holds."""
        deadline = time.monotonic() + DEADLINE_S
        while time.monotonic() < deadline:
            report = self.status(job)
            if until(report) if until else report["dateFinished"] is not None:
                return report
            time.sleep(0.05)
        raise AssertionError(f"waited in vain; last seen: {report}")

    def stop(self, job: str, *, by: str = "$wallet") -> list[dict[str, Any]]:
        """Ask a job to end; this function takes the node's URL second."""
        return list(self.library.call("computeStop", job, self.box.node_url, by))

    def new_token(self) -> str:
        return str(self.library.call("generateAuthToken", "$wallet", self.box.node_url))

    def results(self, job: str) -> dict[str, bytes]:
        """Fetch every result of an ended job; the bytes by file name."""
        fetched: dict[str, bytes] = {}
        for result in self.status(job)["results"]:
            stream: Stream = self.call("getComputeResult", "$wallet", job, result["index"])
            fetched[result["filename"]] = stream.content
        return fetched

    def kept(self, job: str) -> dict[str, bytes]:
        """Read the result files of a job in the node's own folder."""
        (folder,) = self.box.state.glob(f"c2d_storage/*/{job.rpartition('-')[2]}")
        paths = [*(folder / "logs").iterdir(), folder / "outputs.tar"]
        return {path.name: path.read_bytes() for path in paths if path.name != "runner.log"}  # not the job's


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Box]:
    with running_sandbox(tmp_path_factory.mktemp("oceanjs"), step=0.1, settle=1) as running:
        yield running


@pytest.fixture(scope="module", params=VERSIONS)
def folder(request: pytest.FixtureRequest) -> Path:
    return install(version=request.param)


@pytest.fixture(scope="module")
def ocean(folder: Path, box: Box) -> Iterator[Ocean]:
    with running_library(folder=folder, key=box.info["account"]["private_key"]) as library:
        yield Ocean(library, box)


def runs(report: dict[str, Any]) -> bool:
    """Tell whether the algorithm has begun."""
    return report["algoStartTimestamp"] != "0"


class TestNode:
    def test_lists_its_environments(self, ocean: Ocean) -> None:
        (environment,) = ocean.call("getComputeEnvironments")

        assert environment["id"] == ocean.box.info["environment"]
        assert [item["id"] for item in environment["free"]["resources"]] == ["cpu", "ram", "disk"]

    def test_serves_documents(self, ocean: Ocean) -> None:
        document = ocean.call("resolveDdo", ocean.box.did("Iris flowers"))

        assert document["metadata"]["name"] == "Iris flowers"
        assert ocean.call("resolveDdo", "did:op:" + "0" * 64) is None

    def test_counts_the_nonce_of_each_signed_call(self, ocean: Ocean) -> None:
        owner = ocean.box.info["account"]["address"]
        before = ocean.call("getNonce", owner)

        ocean.new_token()

        assert ocean.call("getNonce", owner) == before + 1

    def test_refuses_a_start_with_its_own_words(self, ocean: Ocean) -> None:
        with pytest.raises(Refused, match="Invalid C2D Environment"):
            ocean.call("freeComputeStart", "$wallet", "0x1-0x2", [], raw("print(1)"))


class TestFreeJob:
    def test_with_published_assets_runs_to_its_end_and_gives_every_result(self, ocean: Ocean) -> None:
        algorithm = {
            "documentId": ocean.box.did("Summary statistics"),
            "serviceId": "access",
            "meta": {"container": CONTAINER},
        }
        job = ocean.start(algorithm, datasets=["Iris flowers", "US Constitution"])["jobId"]

        report = ocean.wait(job)
        results = ocean.results(job)

        assert report["terminationDetails"] == {"exitCode": 0, "OOMKilled": False}
        assert report["metadata"] == {"title": "tides"}
        assert results == ocean.kept(job)
        assert list(results) == ["image.log", "configuration.log", "algorithm.log", "outputs.tar"]
        assert list(members(results["outputs.tar"])) == [
            "outputs",
            "outputs/chart.svg",
            "outputs/summary.csv",
        ]

    def test_with_code_of_ones_own_reads_a_published_dataset(self, ocean: Ocean) -> None:
        job = ocean.start(raw(MEASURE), datasets=["Iris flowers"])["jobId"]

        ocean.wait(job)
        results = ocean.results(job)

        assert results == ocean.kept(job)
        assert text_of(results["algorithm.log"]) == "measured\n"
        assert members(results["outputs.tar"])["outputs/sizes.txt"] == b"3858 bytes"

    def test_has_a_result_address_that_needs_nothing_else(self, ocean: Ocean) -> None:
        job = ocean.start(raw("print('here')"))["jobId"]
        ocean.wait(job)

        answer = requests.get(ocean.call("getComputeResultUrl", "$wallet", job, 2), timeout=10)

        assert answer.status_code == 200
        assert text_of(answer.content) == "here\n"

    def test_streams_its_log_while_it_runs(self, ocean: Ocean) -> None:
        job = ocean.start(raw(QUICK))["jobId"]
        ocean.wait(job, until=runs)

        stream: Stream = ocean.call("computeStreamableLogs", "$wallet", job)

        first, last = stream.chunks[0][0], stream.chunks[-1][0]
        assert text_of(stream.content) == "".join(f"line {number}\n" for number in range(15))
        assert last - first > 500, "the lines came all at once"
        ocean.wait(job)

    def test_ends_early_when_it_is_stopped(self, ocean: Ocean) -> None:
        job = ocean.start(raw(SLOW))["jobId"]
        ocean.wait(job, until=runs)

        (asked,) = ocean.stop(job)

        report = ocean.wait(job)
        lines = text_of(ocean.results(job)["algorithm.log"]).splitlines()
        assert asked["stopRequested"] is True
        assert report["stopRequested"] is True
        assert 0 < len(lines) < LINES


class TestPaidJob:
    def test_is_priced_ordered_locked_run_and_charged(self, ocean: Ocean, folder: Path) -> None:
        info = ocean.box.info
        names = ("Summary statistics (priced)", "Iris flowers (priced)")
        algorithm, dataset = (
            {"documentId": ocean.box.did(name), "serviceId": info["assets"][name]["service_id"]}
            for name in names
        )
        token, resources = (
            info["contracts"]["Ocean"],
            [{"id": "cpu", "amount": 1}, {"id": "ram", "amount": 2}],
        )

        said = ocean.library.call(
            "initializeCompute",
            *([dataset], algorithm, info["environment"], token, 60, ocean.box.node_url),
            *(info["account"]["address"], resources, 8996),
        )
        prices = [info["assets"][name]["price"] for name in names]
        items = [
            described | {"price": str(int(price) / 10**18)}
            for described, price in zip((said["algorithm"], *said["datasets"]), prices, strict=True)
        ]
        given = {
            "rpc_url": ocean.box.rpc_url,
            "key": info["account"]["private_key"],
            "contracts": info["contracts"],
            "items": items,
            "payment": said["payment"],
        }
        paid = run_script("pay.mjs", folder=folder, given=given)
        algorithm["transferTxId"], dataset["transferTxId"] = paid["orders"]
        (job,) = ocean.call(
            "computeStart",
            *("$wallet", info["environment"], [dataset], algorithm, 60, token, resources, 8996),
            {"title": "paid tides"},
        )
        report = ocean.wait(job["jobId"], until=lambda report: report["status"] == 70)
        results = ocean.results(job["jobId"])

        assert said["payment"]["amount"] == paid["available"] == str(12 * 10**17)
        assert (job["isFree"], report["metadata"]) == (False, {"title": "paid tides"})
        assert report["terminationDetails"] == {"exitCode": 0, "OOMKilled": False}
        assert (report["payment"]["cost"], report["payment"]["cancelTx"]) == (1.2, None)
        assert results == ocean.kept(job["jobId"])
        assert "outputs/summary.csv" in members(results["outputs.tar"])


class TestToken:
    def test_starts_follows_and_stops_a_job_without_a_key(self, ocean: Ocean) -> None:
        owner = ocean.box.info["account"]["address"]
        token = ocean.new_token()
        nonce = ocean.call("getNonce", owner)

        started = ocean.start(raw(SLOW), by=token)
        job = started["jobId"]
        ocean.wait(job, until=runs)
        assert ocean.status(job, by=token)["owner"] == started["owner"] == owner
        ocean.stop(job, by=token)
        ocean.wait(job)

        assert ocean.status(job)["stopRequested"] is True
        assert ocean.call("getNonce", owner) == nonce, "somebody signed"

    def test_is_refused_once_it_is_revoked(self, ocean: Ocean) -> None:
        token = ocean.new_token()
        job = ocean.start(raw("print(1)"), by=token)["jobId"]
        ocean.wait(job)

        answer = ocean.library.call("invalidateAuthToken", "$wallet", token, ocean.box.node_url)

        assert answer == {"success": True}
        with pytest.raises(Refused, match="Invalid token"):
            ocean.start(raw("print(1)"), by=token)


class TestChain:
    def test_serves_ethers_and_the_libraries_contracts(self, folder: Path, box: Box) -> None:
        account, contracts = box.info["account"], box.info["contracts"]

        given = {
            "rpc_url": box.rpc_url,
            "key": account["private_key"],
            "ocean": contracts["Ocean"],
            "nft_factory": contracts["ERC721Factory"],
            "recipient": RECIPIENT,
        }
        seen = run_script("chain.mjs", folder=folder, given=given)

        assert seen["network"]["chainId"] == "8996"
        assert seen["block"]["number"] > 0 and seen["block"]["hash"] == seen["receipt_parent"]
        assert int(seen["fees"]["maxFeePerGas"]) > int(seen["fees"]["maxPriorityFeePerGas"]) > 0
        assert seen["symbol"] == "OCEAN"
        assert (seen["receipt"]["status"], seen["receipt"]["from"]) == (1, account["address"])
        assert seen["found"]["blockHash"] == seen["receipt"]["blockHash"]
        assert float(seen["after"]) - float(seen["before"]) == 1.5
        assert [log["transactionHash"] for log in seen["transfers"]] == [seen["sent"]]
        assert seen["refusal"] == {
            "code": "CALL_EXCEPTION",
            "reason": "ERC20: transfer amount exceeds balance",
        }
        assert seen["made_here"] is True
