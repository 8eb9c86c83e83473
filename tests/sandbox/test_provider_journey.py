"""Jobs on a real sandbox process, over orders on its chain: statuses, layout, results, restarts."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.sandbox.providerclient import CONTAINER, WEI, ProviderClient, parsed
from tests.sandbox.running import Box, running_sandbox, start_sandbox

LOOK = """
import json, os
from pathlib import Path
root = Path(os.environ["DATA_ROOT"])
print(json.dumps({
    "files": sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()),
    "dids": json.loads(os.environ["DIDS"]), "algorithm": os.environ["TRANSFORMATION_DID"],
    "custom": (root / "inputs" / "algoCustomData.json").read_text(),
}))
"""
IRIS, CO2, TEXT = "Iris flowers (v4)", "Mauna Loa CO2 (v4)", "US Constitution (v4)"
BOB_KEY = "0x5de4111afa1a4b94908f83103eb1f1706367c2e68ca870fc3fb9a804cdab365a"  # number 2 of the mnemonic


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Box]:
    with running_sandbox(tmp_path_factory.mktemp("provider") / "state") as box:
        yield box


@pytest.fixture
def client(box: Box) -> ProviderClient:
    return ProviderClient(box.info)


def order_alone(client: ProviderClient, name: str) -> str:
    """Order a data set for a raw algorithm, and return the transaction."""
    (paid,), _ = client.pay([client.asset(name)], client.raw("pass"))
    return str(paid["transferTxId"])


class TestSandboxJson:
    def test_tells_where_the_second_dialect_is(self, box: Box) -> None:
        root = requests.get(box.provider_url, timeout=5).json()

        assert root["providerAddresses"] == {"8996": box.info["provider"]["address"]}
        assert box.info["provider"]["environments"] == ["ocean-compute", "ocean-compute2"]
        assert requests.get(box.aquarius_url, timeout=5).json()["software"] == "Aquarius"


class TestCourse:
    def test_passes_the_recorded_statuses_and_results(self, client: ProviderClient) -> None:
        job = client.run([IRIS], client.asset("Summary statistics (v4)"))

        seen = client.wait(job)

        numbers = [report["status"] for report in seen]
        assert (numbers[0], numbers[-1]) == (1, 70)
        assert numbers == sorted(numbers) and set(numbers) <= {1, 20, 30, 40, 60, 70}
        assert {report["results"] for report in seen[:-1]} == {""}
        assert [item["type"] for item in seen[-1]["results"]] == [
            *("output", "output", "algorithmLog", "configrationLog", "publishLog")
        ]
        assert seen[-1]["inputDID"] == [client.asset(IRIS)["documentId"]]

    @pytest.mark.parametrize(
        ("datasets", "algorithm", "files", "words"),
        [
            ([CO2, TEXT], "Summary statistics (v4)", ["chart.svg", "summary.csv"], "2 input file(s)"),
            ([IRIS], "Linear regression (v4)", ["fit.svg", "model.json", "report.md"], "150 of 150 rows"),
            ([TEXT], "Word count (v4)", ["words.csv", "words.svg"], "100 %"),
            ([IRIS], "Failing example (v4)", [], "KeyError: 'no_such_column'"),
        ],
    )
    def test_every_demo_algorithm_runs_on_the_other_layout(
        self, client: ProviderClient, datasets: list[str], algorithm: str, files: list[str], words: str
    ) -> None:
        paid = client.asset(algorithm, algocustomdata={"seconds": 0})

        job = client.run(datasets, paid)

        assert client.wait(job)[-1]["status"] == 70
        results = client.files(job)
        assert list(results) == [*files, "algorithm.log", "configure.log", "publish.log"]
        assert words in results["algorithm.log"].decode()

    def test_finds_the_folders_and_variables_of_v4(self, client: ProviderClient) -> None:
        job = client.run([IRIS, CO2], client.raw(LOOK))

        client.wait(job)
        files = client.files(job)

        dids = [client.asset(name)["documentId"].removeprefix("did:op:") for name in (IRIS, CO2)]
        assert json.loads(files["algorithm.log"]) == {
            "files": sorted(
                [f"ddos/{did}" for did in dids]
                + [f"inputs/{did}/0" for did in dids]
                + ["inputs/algoCustomData.json", "transformations/algorithm"]
            ),
            "dids": dids,
            "algorithm": "",
            "custom": "{}",
        }
        assert files["configure.log"].decode().splitlines() == [
            *(f"input 0 did:op:{dids[0]}", f"ddo did:op:{dids[0]} 200", "download file 0 200 "),
            *(f"input 1 did:op:{dids[1]}", f"ddo did:op:{dids[1]} 200", "download file 0 200 "),
            "done with status 30",
        ]

    def test_counts_runs_in_the_nodes_table(self, box: Box, client: ProviderClient) -> None:
        job = client.run([IRIS], client.raw("pass"))
        client.wait(job)

        assert box.rows("SELECT count(*) FROM runs WHERE job_id = ?", job) == [(1,)]

    def test_an_entry_point_that_is_no_python_ends_with_a_reason_in_the_log(
        self, client: ProviderClient
    ) -> None:
        algorithm = client.raw("pass")
        algorithm["meta"]["container"] = CONTAINER | {"entrypoint": "node $ALGO"}

        job = client.run([IRIS], algorithm)

        assert client.wait(job)[-1]["status"] == 70
        assert b"only Python" in client.files(job)["algorithm.log"]

    def test_no_link_in_the_outputs_is_followed(self, client: ProviderClient) -> None:
        code = (
            "import os\nfrom pathlib import Path\nout = Path(os.environ['DATA_ROOT']) / 'outputs'\n"
            "(out / 'link').symlink_to('/etc/hostname')\n(out / 'folder').symlink_to('/etc')\n"
            "(out / 'real').write_text('x')\n"
        )

        job = client.run([IRIS], client.raw(code))

        client.wait(job)
        assert [item["filename"] for item in client.status(job)["results"] if item["type"] == "output"] == [
            "real"
        ]


class TestStop:
    def test_is_noted_at_once_and_ends_the_job_with_70(self, client: ProviderClient) -> None:
        job = client.run([IRIS], client.raw("import time\nprint('here', flush=True)\ntime.sleep(50)"))
        client.wait(job, until=lambda report: report["status"] == 40)

        (answer,) = client.stop(job).json()

        assert (answer["status"], answer["stopreq"], answer["results"]) == (40, 1, "")
        last = client.wait(job)[-1]
        assert (last["status"], last["stopreq"]) == (70, 1)

    def test_of_a_job_that_warms_up_never_runs_it(self, box: Box, client: ProviderClient) -> None:
        job = client.run([IRIS], client.raw("pass"))

        client.stop(job)

        assert client.wait(job)[-1]["status"] == 70
        assert box.rows("SELECT count(*) FROM runs WHERE job_id = ?", job) == [(0,)]


class TestOrders:
    def test_for_oneself_instead_of_the_environment_end_in_31(self, client: ProviderClient) -> None:
        entry = client.initialize([client.asset(IRIS)], client.raw("pass")).json()["datasets"][0]
        dataset = client.asset(IRIS, transferTxId=client.order(entry, consumer=client.address))

        job = client.start([dataset], client.raw("pass"))

        last = client.wait(job)[-1]
        assert (last["status"], last["statusText"]) == (31, "Data provisioning failed")
        # To the byte as long as recorded. Source: recording 55.
        assert [item["filesize"] for item in last["results"]] == [0, 425, 55]

    def test_of_the_algorithm_for_oneself_end_in_32(self, client: ProviderClient) -> None:
        answer = client.initialize([client.asset(IRIS)], client.asset("Word count (v4)")).json()
        dataset = client.asset(IRIS, transferTxId=client.order(answer["datasets"][0]))
        wrong = client.order(answer["algorithm"], consumer=client.address)

        job = client.start([dataset], client.asset("Word count (v4)", transferTxId=wrong))

        last = client.wait(job)[-1]
        assert (last["status"], last["statusText"]) == (32, "Algorithm provisioning failed")
        assert [item["filesize"] for item in last["results"]] == [0, 526, 55]

    def test_run_one_job_at_a_time_and_the_next_one_afterwards(self, client: ProviderClient) -> None:
        dataset = client.asset(IRIS, transferTxId=order_alone(client, IRIS))
        job = client.start([dataset], client.raw("import time\ntime.sleep(50)"))

        refused = client.post_start([dataset], client.raw("pass"))

        assert refused.json() == {"error": "`agreementId` already in use for other job."}
        client.stop(job)
        client.wait(job)
        assert client.post_start([dataset], client.raw("pass")).status_code == 200

    def test_that_are_good_cost_nothing_and_are_renewed_where_they_end_too_early(
        self, client: ProviderClient
    ) -> None:
        tx = order_alone(client, IRIS)
        dataset = client.asset(IRIS, transferTxId=tx)

        same = client.initialize([dataset], client.raw("pass"), valid_for_s=600).json()["datasets"][0]
        longer = client.initialize([dataset], client.raw("pass"), valid_for_s=9000).json()["datasets"][0]
        renewed = client.payer.reuse_order(longer, tx)

        assert same == {"validOrder": tx}
        assert longer["validOrder"] == tx and longer["providerFee"]["providerFeeAmount"] == "0"
        job = client.start([client.asset(IRIS, transferTxId=renewed)], client.raw("pass"))
        assert client.wait(job)[-1]["agreementId"] == renewed

    @pytest.mark.parametrize(
        ("change", "reason"),
        [
            ({"transferTxId": "0x" + "12" * 32}, {"dataset.serviceId": "order_invalid"}),
            ({"transferTxId": "nonsense"}, {"dataset.serviceId": "order_invalid"}),
            ({"serviceId": "access"}, {"dataset.serviceId": "main_service_compute"}),
        ],
    )
    def test_that_are_none_are_refused(
        self, client: ProviderClient, change: dict[str, str], reason: dict[str, str]
    ) -> None:
        dataset = client.asset(IRIS, transferTxId="0x" + "12" * 32) | change

        refused = client.post_start([dataset], client.raw("pass"))

        assert (refused.status_code, refused.json()) == (400, {"error": reason})

    def test_of_another_payer_are_refused(self, box: Box, client: ProviderClient) -> None:
        dataset = client.asset(IRIS, transferTxId=order_alone(client, IRIS))
        stranger = ProviderClient(box.info, key=BOB_KEY)

        refused = stranger.post_start([dataset], client.raw("pass"))

        assert refused.json() == {"error": {"dataset.serviceId": "order_invalid"}}


class TestPaidEnvironment:
    def pay(self, client: ProviderClient, *, approve: bool = True) -> tuple[dict[str, Any], dict[str, Any]]:
        paid = client.environment(1)
        entry = client.initialize(
            [client.asset(IRIS)], client.raw("pass"), environment=paid["id"], valid_for_s=600
        ).json()["datasets"][0]
        client.payer.dispense(client.info["contracts"]["Dispenser"], entry["datatoken"])
        if approve:
            amount = int(entry["providerFee"]["providerFeeAmount"])
            client.payer.approve(paid["feeToken"], entry["datatoken"], amount)
        return entry, paid

    def test_takes_its_fee_through_the_real_contract(self, client: ProviderClient) -> None:
        entry, paid = self.pay(client)

        tx = client.payer.start_order(entry, consumer=paid["consumerAddress"])
        job = client.start([client.asset(IRIS, transferTxId=tx)], client.raw("pass"), environment=paid["id"])

        # A cent of the token per minute, for almost ten minutes.
        assert 0.095 * WEI < int(entry["providerFee"]["providerFeeAmount"]) <= 0.1 * WEI
        assert parsed(entry["providerFee"]["providerData"])["environment"] == "ocean-compute2"
        assert client.wait(job)[-1]["status"] == 70

    @pytest.mark.parametrize(
        "forged", [{"providerFeeAmount": "0"}, {"r": "0x" + "11" * 32}, {"validUntil": 9999999999}]
    )
    def test_a_forged_fee_is_refused_by_the_real_contract(
        self, client: ProviderClient, forged: dict[str, Any]
    ) -> None:
        entry, paid = self.pay(client)
        entry["providerFee"] |= forged

        with pytest.raises(AssertionError, match="Invalid provider fee"):
            client.payer.start_order(entry, consumer=paid["consumerAddress"])

    def test_an_order_of_the_free_environment_is_no_order_here(self, client: ProviderClient) -> None:
        dataset = client.asset(IRIS, transferTxId=order_alone(client, IRIS))

        refused = client.post_start([dataset], client.raw("pass"), environment="ocean-compute2")

        assert refused.json() == {"error": {"dataset.serviceId": "order_invalid"}}

    def test_only_one_entry_carries_the_fee(self, client: ProviderClient) -> None:
        answer = client.initialize(
            [client.asset(IRIS), client.asset(CO2)],
            client.asset("Word count (v4)"),
            environment="ocean-compute2",
        ).json()

        fees = [item["providerFee"]["providerFeeAmount"] for item in answer["datasets"]]
        assert int(fees[0]) > 0
        assert [fees[1], answer["algorithm"]["providerFee"]["providerFeeAmount"]] == ["0", "0"]


class TestDownload:
    def test_gives_the_file_of_an_access_service_to_who_ordered_it(self, client: ProviderClient) -> None:
        query = {"documentId": client.asset(IRIS)["documentId"], "serviceId": "access"}
        entry = client.get("initialize", **query, consumerAddress=client.address).json()
        tx = client.order(entry, consumer=client.address, service_index=1)
        proof = client.signed(query["documentId"])

        answer = client.get("download", **query, **proof, transferTxId=tx, fileIndex="0")

        assert answer.headers["content-disposition"] == "attachment;filename=iris.csv"
        assert answer.text.startswith("sepal_length,")

    def test_gives_the_file_of_a_compute_service_to_nobody(self, client: ProviderClient) -> None:
        query = {"documentId": client.asset(CO2)["documentId"], "serviceId": "compute"}
        proof = client.signed(query["documentId"])

        answer = client.get(
            "download", **query, **proof, transferTxId=order_alone(client, CO2), fileIndex="0"
        )

        assert answer.status_code == 400
        assert "is not an access service" in answer.json()["error"]


class TestSwitches:
    def test_operator_service_is_away_while_its_file_is_there(self, box: Box, client: ProviderClient) -> None:
        dataset = client.asset(IRIS, transferTxId=order_alone(client, IRIS))
        switch = box.state / "operator-service.down"
        switch.write_text("0.3")
        started = time.monotonic()
        try:
            environments = client.get("computeEnvironments")
            took_s = time.monotonic() - started
            status = client.get("compute", consumerAddress=client.address)
            start = client.post_start([dataset], client.raw("pass"))
        finally:
            switch.unlink()

        assert environments.status_code == status.status_code == start.status_code == 503
        assert took_s > 0.3
        assert "Max retries exceeded" in status.json()["error"]
        assert start.json()["error"].startswith("Compute envs could not be retrieved")
        assert client.get("computeEnvironments").status_code == 200

    def test_aquarius_is_away_while_its_file_is_there(self, box: Box, client: ProviderClient) -> None:
        dataset = client.asset(IRIS, transferTxId=order_alone(client, IRIS))
        switch = box.state / "aquarius.down"
        switch.touch()
        try:
            index = requests.get(f"{box.aquarius_url}/", timeout=5)
            start = client.post_start([dataset], client.raw("pass"))
            info = client.post("fileinfo", {"did": dataset["documentId"], "serviceId": dataset["serviceId"]})
        finally:
            switch.unlink()

        assert index.status_code == 503 and "Service Temporarily Unavailable" in index.text
        assert start.json() == {"error": {"dataset.documentId": "did_not_found"}}
        assert info.json() == {"error": "Cannot resolve DID"}
        assert requests.get(f"{box.aquarius_url}/", timeout=5).status_code == 200


class TestKill:
    def test_a_job_goes_on_when_the_sandbox_is_killed(self, tmp_path: Path) -> None:
        first = start_sandbox(tmp_path)
        client = ProviderClient(first.info)
        job = client.run(
            [IRIS], client.raw("import time\nfor i in range(20):\n print(i, flush=True)\n time.sleep(.1)")
        )
        client.wait(job, until=lambda report: report["status"] == 40)
        time.sleep(0.3)
        first.kill()

        with running_sandbox(tmp_path) as second:
            again = ProviderClient(second.info)
            last = again.wait(job)[-1]

            assert last["status"] == 70
            assert again.files(job)["algorithm.log"].split() == [str(i).encode() for i in range(20)]
            assert second.rows("SELECT count(*) FROM runs WHERE job_id = ?", job) == [(1,)]
            assert second.info["assets"] == first.info["assets"]

    def test_documents_follow_the_provider_to_another_port(self, tmp_path: Path) -> None:
        first = start_sandbox(tmp_path)
        first.stop()
        taken = first.provider_url.rpartition(":")[2]
        port = int(taken) + 1 if int(taken) < 60000 else int(taken) - 1

        with running_sandbox(tmp_path, provider_port=port) as second:
            did = second.did(IRIS)
            document = requests.get(f"{second.aquarius_url}/api/aquarius/assets/ddo/{did}", timeout=5).json()
            client = ProviderClient(second.info)

            assert did == first.did(IRIS)
            assert {item["serviceEndpoint"] for item in document["services"]} == {second.provider_url}
            assert client.initialize([client.asset(IRIS)], client.raw("pass")).status_code == 200
