"""Ocean's own Python library, unmodified, against the sandbox's Provider and Aquarius: a client that we did not write."""

import base64
import json
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from tests.sandbox.oceanpy.journey import PUBLISHER, WEI, Journey, recorded_way, recording, served_files, walk
from tests.sandbox.oceanpy.library import VERSION, Missing, install, running_library
from tests.sandbox.running import running_sandbox
from tests.sandbox.taps import tapped

# The time to install the library, once, is in a fixture and not a test's.
# Its Python and its libraries take a minute to install: what everybody runs does not wait for them.
pytestmark = [
    pytest.mark.long,
    pytest.mark.xdist_group("oceanpy"),
    pytest.mark.timeout(60, func_only=True),
]

# What was recorded with the library itself, and is done again; a start with an order in use was recorded without it.
SCENARIOS = (
    "01-publish-dataset",
    "02-publish-algorithm",
    "03-update-dataset-trust-algorithm",
    "04-publish-dataset-raw-allowed",
    "05-mint-datatokens",
    "10-aquarius-resolve",
    "11-aquarius-resolve-unknown",
    "12-aquarius-search",
    "13-aquarius-query",
    "20-c2d-environments",
    "21-free-c2d-environment",
    "22-buy-datatokens-dispenser",
    "23-buy-datatokens-fixed-rate",
    "30-pay-for-compute-service",
    "31-pay-again-reuses-order",
    "32-pay-again-longer-reuse-order",
    "40-compute-start",
    "41-compute-status-running",
    "42-compute-status-finished",
    "43-compute-result-0-output",
    "43-compute-result-1-output",
    "43-compute-result-2-algorithmLog",
    "43-compute-result-3-configrationLog",
    "43-compute-result-4-publishLog",
    "44-compute-result-logs-output",
    "45-compute-result-logs-algorithm",
    "46-compute-start-custom-data",
    "50-pay-raw-algorithm",
    "51-compute-start-raw",
    "52-compute-stop",
    "53-compute-status-stopped",
    "54-compute-status-algorithm-failed",
    "55-compute-status-data-provisioning-failed",
    "60-provider-fees-preview",
    "61-approve-provider-fee",
    "62-pay-paid-environment",
    "63-compute-start-paid",
    "64-compute-start-two-datasets",
    "70-pay-for-access-service",
    "71-download-asset",
    "81-status-unknown-job-oceanpy",
)
SAME_ANSWER = [name for name in SCENARIOS if name[:2] in {"20", "21", "40", "41", "42", "46", "51"}]
SAME_ANSWER += [name for name in SCENARIOS if name[:2] in {"52", "53", "54", "55", "60"}]
# While it was recorded, the payer's balance was read before and after: two contracts, four calls.
READ_BESIDE = {"62-pay-paid-environment": Counter({"eth_call": 4, "eth_chainId": 4})}


@pytest.fixture(scope="module")
def journey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Journey]:
    """Everything that the tests look at, done once."""
    try:
        python = install()
    except Missing as error:
        pytest.skip(f"ocean.py {VERSION}: {error}")
    with (
        running_sandbox(tmp_path_factory.mktemp("oceanpy"), step=0.1) as box,
        served_files() as files,
        tapped(provider=box.provider_url, aquarius=box.aquarius_url, chain=box.rpc_url) as (urls, notes),
        running_library(
            python=python,
            contracts=box.info["contracts"],
            publisher=PUBLISHER,
            consumer=box.info["account"]["private_key"],
            provider_url=urls["provider"],
            aquarius_url=urls["aquarius"],
            rpc_url=urls["chain"],
        ) as library,
    ):
        yield walk(library, notes, files=files)


def value(journey: Journey, scenario: str) -> Any:
    return journey.acts[scenario].value


def text(journey: Journey, scenario: str, index: int | None = None) -> str:
    """Return the content that an act gave, or the one at an index."""
    given = value(journey, scenario)
    return base64.b64decode(given if index is None else given[index]).decode()


def refusal(journey: Journey, scenario: str) -> tuple[str, str]:
    """Return the class and the message of what the library threw."""
    refused = journey.acts[scenario].refused
    assert refused is not None
    return refused.kind, str(refused)


def shape(found: Any) -> Any:
    """Return the names and types in an answer."""
    if isinstance(found, dict):
        return {name: shape(item) for name, item in found.items()}
    if isinstance(found, list):
        return [shape(item) for item in found[:1]]
    return type(found).__name__


class TestEveryRecordedCall:
    @pytest.mark.parametrize("scenario", SCENARIOS)
    def test_asks_the_sandbox_what_it_asked_the_real_programs(self, journey: Journey, scenario: str) -> None:
        assert journey.acts[scenario].way == recorded_way(scenario)

    @pytest.mark.parametrize("scenario", SCENARIOS)
    def test_asks_its_chain_what_it_asked_theirs(self, journey: Journey, scenario: str) -> None:
        recorded = Counter(recording(scenario).get("chain", {}).get("rpc_calls", {}))

        assert journey.acts[scenario].rpc_calls + READ_BESIDE.get(scenario, Counter()) == recorded

    @pytest.mark.parametrize("scenario", SAME_ANSWER)
    def test_gives_what_looks_like_the_recorded_answer(self, journey: Journey, scenario: str) -> None:
        assert shape(value(journey, scenario)) == shape(recording(scenario)["returned"])


class TestPublishing:
    def test_ends_with_the_document_in_the_index(self, journey: Journey) -> None:
        published, updated, found = (
            value(journey, "01-publish-dataset"),
            value(journey, "03-update-dataset-trust-algorithm"),
            value(journey, "10-aquarius-resolve"),
        )

        assert published["did"] == updated["did"] == found["id"]
        assert updated["document"] == found
        assert [service["type"] for service in found["services"]] == ["access", "compute"]
        assert {item["serviceId"] for item in found["datatokens"]} == {"0", "1"}

    def test_of_an_update_stores_the_trusted_algorithm_and_its_checksums(self, journey: Journey) -> None:
        terms = value(journey, "10-aquarius-resolve")["services"][1]["compute"]
        (trusted,) = terms["publisherTrustedAlgorithms"]

        assert trusted["did"] == value(journey, "02-publish-algorithm")["did"]
        assert len(trusted["filesChecksum"]) == len(trusted["containerSectionChecksum"]) == 64
        before = value(journey, "01-publish-dataset")["document"]["services"][1]["compute"]
        assert before["publisherTrustedAlgorithms"] == []

    def test_makes_the_assets_found(self, journey: Journey) -> None:
        dataset, algorithm = (
            value(journey, name)["did"] for name in ("01-publish-dataset", "02-publish-algorithm")
        )

        assert value(journey, "12-aquarius-search") == [dataset]
        assert algorithm in value(journey, "13-aquarius-query")
        assert dataset not in value(journey, "13-aquarius-query")
        assert value(journey, "11-aquarius-resolve-unknown") is None


class TestPaying:
    def test_spends_a_token_of_each_asset_the_first_time_alone(self, journey: Journey) -> None:
        assert value(journey, "balances") == [[5, 2], [4, 1], [4, 1], [4, 1]]

    def test_again_takes_the_orders_that_are_still_good(self, journey: Journey) -> None:
        assert value(journey, "31-pay-again-reuses-order") == value(journey, "30-pay-for-compute-service")

    def test_for_longer_renews_the_orders_on_the_chain(self, journey: Journey) -> None:
        first, longer = (
            value(journey, name) for name in ("30-pay-for-compute-service", "32-pay-again-longer-reuse-order")
        )

        assert not set(first.values()) & set(longer.values())
        assert value(journey, "41-compute-status-running")["agreementId"] == longer["algorithm"]

    def test_in_the_paid_environment_takes_exactly_the_fee(self, journey: Journey) -> None:
        told, taken = value(journey, "fee")

        assert told == taken
        assert 0.09 * WEI < told <= 0.1 * WEI  # a cent of a token per minute, for ten minutes
        assert value(journey, "status of the paid job")["status"] == 70


class TestJob:
    def test_has_not_ended_right_after_its_start(self, journey: Journey) -> None:
        report = value(journey, "41-compute-status-running")

        assert (report["dateFinished"], report["results"], report["ok"]) == (None, "", True)
        assert report["jobId"] == value(journey, "40-compute-start")

    def test_ends_with_results_in_the_recorded_order(self, journey: Journey) -> None:
        report = value(journey, "42-compute-status-finished")
        recorded = recording("42-compute-status-finished")["returned"]

        assert (report["status"], report["statusText"]) == (70, "Job finished")
        assert [(item["filename"], item["type"]) for item in report["results"]] == [
            (item["filename"], item["type"]) for item in recorded["results"]
        ]

    def test_gives_every_result(self, journey: Journey) -> None:
        results = value(journey, "42-compute-status-finished")["results"]
        contents = [
            text(journey, f"43-compute-result-{index}-{item['type']}") for index, item in enumerate(results)
        ]

        assert contents[:3] == ['{"rows": 3, "said": {}}', "means computed\n", "computed 3 rows\n"]
        assert "done with status 30" in contents[3]
        assert contents[4].startswith("publishing outputs of ")
        assert [item["filesize"] for item in results] == [len(content) for content in contents]

    def test_gives_its_results_by_type(self, journey: Journey) -> None:
        assert text(journey, "44-compute-result-logs-output", 1) == "means computed\n"
        assert text(journey, "45-compute-result-logs-algorithm", 0) == "computed 3 rows\n"

    def test_gets_the_parameters_that_were_given(self, journey: Journey) -> None:
        assert json.loads(text(journey, "result with custom data")) == {"rows": 3, "said": {"rounds": 3}}

    def test_has_one_data_set_though_two_were_given(self, journey: Journey) -> None:
        """The library drops the others without a word; whoever has more calls Provider otherwise."""
        report = value(journey, "status of the job with two")

        assert report["inputDID"] == [value(journey, "01-publish-dataset")["did"]]

    def test_that_is_stopped_ends_with_what_it_had_said(self, journey: Journey) -> None:
        asked, ended = (value(journey, name) for name in ("52-compute-stop", "53-compute-status-stopped"))
        lines = text(journey, "log of the stopped job", 0).splitlines()

        assert (asked["status"], asked["stopreq"]) == (40, 1)
        assert (ended["status"], ended["stopreq"]) == (70, 1)
        assert 0 < len(lines) < 600

    def test_that_fails_ends_like_any_other(self, journey: Journey) -> None:
        report = value(journey, "54-compute-status-algorithm-failed")

        assert (report["status"], report["statusText"], report["ok"]) == (70, "Job finished", True)
        assert text(journey, "log of the failed job", 0) == "about to fail\n"

    def test_whose_order_is_for_the_wrong_wallet_gets_no_data(self, journey: Journey) -> None:
        report = value(journey, "55-compute-status-data-provisioning-failed")

        assert (report["status"], report["ok"]) == (31, False)


class TestDownload:
    def test_gives_the_published_file(self, journey: Journey) -> None:
        files = value(journey, "71-download-asset")

        assert list(files) == ["file0"]
        assert base64.b64decode(files["file0"]) == b"x0,x1\n1,2\n3,4\n5,6\n"


class TestRefusal:
    def test_of_an_unknown_job_is_what_was_recorded(self, journey: Journey) -> None:
        raised = recording("81-status-unknown-job-oceanpy")["raised"]

        assert refusal(journey, "81-status-unknown-job-oceanpy") == (raised["type"], raised["message"])

    @pytest.mark.parametrize(
        ("scenario", "reason"),
        [
            ("82-start-agreement-in-use", "`agreementId` already in use for other job."),
            ("88-init-raw-not-allowed", "{'dataset': 'no_raw_algo_allowed'}"),
            ("start without an order", "{'dataset.serviceId': 'order_invalid'}"),
        ],
    )
    def test_comes_through_in_providers_words(self, journey: Journey, scenario: str, reason: str) -> None:
        kind, message = refusal(journey, scenario)

        assert kind == "DataProviderException"
        assert message.endswith(f" failed: {reason}")
