"""Every exchange recorded at a Provider or Aquarius: sent field by field and understood, or named as unused."""

from collections.abc import Iterable
from dataclasses import dataclass

import pytest

from jobs.ocean.compute import ResultEntry
from jobs.ocean.errors import BadAnswer, OceanError, Rejected
from jobs.ocean.units import Address
from tests.ocean.provider_replay import Act, producing, read_result, start_request
from tests.ocean.provider_wire import (
    BOB,
    DATASET,
    answer,
    endpoints,
    is_cut,
    last,
    names,
    pen,
    provider,
    scenario,
)
from tests.ocean.test_every_recording import GOOD, assert_for_people

# Scenario, exchange: the code of the error that the answer is. Whatever is not named here must be understood.
REFUSALS = {
    **{("01-publish-dataset", n): "unknown_asset" for n in (1, 12)},
    **{("02-publish-algorithm", n): "unknown_asset" for n in (1, 9)},
    **{("04-publish-dataset-raw-allowed", n): "unknown_asset" for n in (1, 12)},
    ("11-aquarius-resolve-unknown", 1): "unknown_asset",
    # An Aquarius at the place of a Provider is recognised as what it is.
    **{
        (name, 1): "not_a_service"
        for name in (
            "33-start-with-reused-order",
            "40-compute-start",
            "46-compute-start-custom-data",
            "51-compute-start-raw",
            "63-compute-start-paid",
            "64-compute-start-two-datasets",
        )
    },
    ("80-nonce-missing-parameter", 1): "bad_request",
    ("81-status-missing-consumer", 1): "bad_request",
    ("82-start-access-service", 2): "not_computable",
    ("82-start-agreement-in-use", 2): "order_in_use",
    ("82-start-bad-container", 2): "image",
    ("82-start-bad-signature", 2): "signature",
    ("82-start-dataset-as-algorithm", 2): "not_algorithm",
    ("82-start-empty-algorithm-meta", 2): "bad_request",
    ("82-start-empty-body", 1): "bad_request",
    ("82-start-garbage-signature", 2): "signature",
    ("82-start-invalid-json", 1): "bad_request",
    ("82-start-missing-signature", 2): "token",
    ("82-start-no-algorithm", 2): "bad_request",
    ("82-start-nonce-not-a-number", 1): "bad_request",
    ("82-start-old-nonce", 1): "nonce",
    ("82-start-order-of-other-asset", 2): "order_invalid",
    ("82-start-other-consumer", 2): "order_invalid",
    ("82-start-other-environment", 2): "order_invalid",
    ("82-start-raw-not-allowed", 2): "raw_not_allowed",
    ("82-start-transaction-not-an-order", 2): "order_invalid",
    ("82-start-unknown-dataset", 2): "unknown_asset",
    ("82-start-unknown-environment", 2): "order_invalid",
    ("82-start-unknown-service", 2): "unknown_service",
    ("82-start-untrusted-algorithm", 2): "not_trusted",
    ("82-start-wrong-content-type", 2): "bad_request",
    ("83-result-not-finished", 2): "unknown_job",
    ("85-result-bad-signature", 2): "signature",
    ("85-result-index-not-a-number", 2): "bad_request",
    ("85-result-index-out-of-range", 2): "result_missing",
    ("85-result-message-order-swapped", 3): "signature",
    ("85-result-missing-everything", 1): "bad_request",
    ("85-result-missing-index", 2): "bad_request",
    ("85-result-negative-index", 2): "bad_request",
    ("85-result-old-nonce", 2): "nonce",
    ("85-result-other-owner", 2): "unknown_job",
    ("85-result-personal-sign-of-text", 3): "signature",
    ("85-result-reused-nonce", 3): "nonce",
    ("85-result-unknown-job", 2): "unknown_job",
    ("86-start-reused-nonce-string", 2): "nonce_reused",
    ("87-stop-bad-signature", 2): "signature",
    ("87-stop-missing-nonce", 1): "bad_request",
    ("87-stop-unknown-job", 2): "unknown_job",
    ("88-init-empty", 1): "bad_request",
    ("88-init-invalid-json", 1): "bad_request",
    ("88-init-past-valid-until", 1): "valid_until",
    ("88-init-raw-not-allowed", 1): "raw_not_allowed",
    ("88-init-unknown-algorithm", 1): "unknown_asset",
    ("88-init-unknown-dataset", 1): "unknown_asset",
    ("88-init-unknown-environment", 1): "unknown_environment",
    ("88-init-untrusted-algorithm", 1): "not_trusted",
    ("90-auth-token", 10): "token",
    ("90-auth-token-past-expiration", 2): "token_period",
    ("91-fileinfo-unknown-did", 1): "unknown_asset",
    ("92-aquarius-query-bad", 1): "server_error",
    ("92-aquarius-query-bad", 2): "bad_request",
    ("92-aquarius-query-paging", 1): "asset",
    ("96-operator-service-down-environments", 1): "gateway",
    ("96-operator-service-down-status", 1): "gateway",
    **{("97-download-only-provider", n): "no_compute" for n in (1, 2, 3, 4)},
    ("97-download-only-provider", 5): "bad_request",
}

# These were recorded for what they did on the chain, where the client has no part.
CHAIN_ONLY = {
    "05-mint-datatokens",
    "22-buy-datatokens-dispenser",
    "23-buy-datatokens-fixed-rate",
    "61-approve-provider-fee",
}

PUBLISHING = "the publisher's own call, which seals files and documents"
DOWNLOADING = "downloads without a job are not the client's"
ONE_STATUS = "one unsigned question brings all jobs of an owner"
BY_ITS_JOB = "a stop names the job alone, as recording 84 does; the document's id is not needed"
WRONG = "signed wrongly on purpose"
INNER = "between Provider and operator-service, where no client is"
OTHER_QUESTIONS = "documents are asked for whole, by their DID or by a search"
SEARCHED = "a search names the kinds of assets, and how many hits are wanted"


@dataclass(frozen=True)
class Unused:
    """Requests that the client does not send, and why. read: whether it understands their answers all the same."""

    name: str
    numbers: Iterable[int]
    reason: str
    read: bool = True


UNUSED = (
    Unused("01-publish-dataset", (4, 7, 8, 11), PUBLISHING, read=False),
    Unused("02-publish-algorithm", (4, 5, 8), PUBLISHING, read=False),
    Unused("03-update-dataset-trust-algorithm", (4, 7), PUBLISHING, read=False),
    Unused("04-publish-dataset-raw-allowed", (4, 7, 8, 11), PUBLISHING, read=False),
    Unused(
        "12-aquarius-search", (1,), SEARCHED, read=False
    ),  # the recording keeps but the begin of the answer
    Unused("13-aquarius-query", (1,), SEARCHED),
    Unused("20-c2d-environments", (3,), "the environments of all chains come with or without a chain"),
    Unused("21-free-c2d-environment", (3,), "the environments of all chains come with or without a chain"),
    Unused("41-compute-status-running", (6,), ONE_STATUS),
    Unused("42-compute-status-finished", (6,), ONE_STATUS),
    Unused("44-compute-result-logs-output", (6,), ONE_STATUS),
    Unused("45-compute-result-logs-algorithm", (6,), ONE_STATUS),
    Unused("52-compute-stop", (6,), BY_ITS_JOB),
    Unused("53-compute-status-stopped", (6,), ONE_STATUS),
    Unused("54-compute-status-algorithm-failed", (6,), ONE_STATUS),
    Unused("55-compute-status-data-provisioning-failed", (6,), ONE_STATUS),
    Unused("56-compute-status-algorithm-provisioning-failed", (6,), ONE_STATUS),
    Unused("70-pay-for-access-service", (6,), DOWNLOADING, read=False),
    Unused("71-download-asset", (12,), DOWNLOADING, read=False),
    Unused("80-method-not-allowed", (1,), "a method that no client uses", read=False),
    Unused("80-nonce-missing-parameter", (1,), "a nonce is asked for by an address"),
    Unused("80-nonce-unknown-address", (1,), "an Address is checksummed, and this one is mistyped"),
    Unused("80-options-preflight", (1,), "a browser's own question, which no server asks", read=False),
    Unused("80-unknown-path", (1,), "a path that no client asks for", read=False),
    Unused("81-status-lower-case-owner", (1,), "an Address is checksummed"),
    Unused("81-status-missing-consumer", (1,), "a status question names an owner"),
    Unused("81-status-other-owner", (1,), ONE_STATUS),
    Unused("81-status-unknown-job", (1,), ONE_STATUS),
    Unused("81-status-unknown-job-oceanpy", (6,), ONE_STATUS),
    Unused("81-status-unsigned", (1,), ONE_STATUS),
    Unused("82-start-algorithm-meta-as-string", (2,), "what an algorithm is goes as an object"),
    Unused("82-start-bad-container", (2,), "code comes with its whole container"),
    Unused("82-start-bad-signature", (2,), WRONG),
    Unused("82-start-empty-body", (1,), "a start has all its fields"),
    Unused("82-start-garbage-signature", (2,), WRONG),
    Unused("82-start-invalid-json", (1,), "a body is JSON and says so"),
    Unused("82-start-missing-signature", (2,), "a start has its whole proof"),
    Unused("82-start-no-algorithm", (2,), "a start has all its fields"),
    Unused("82-start-nonce-not-a-number", (1,), "a nonce is a whole number"),
    Unused("82-start-wrong-content-type", (2,), "a body is JSON and says so"),
    Unused("85-result-bad-signature", (2,), WRONG),
    Unused("85-result-index-not-a-number", (2,), "a result is asked for by its place in the list"),
    Unused("85-result-message-order-swapped", (3,), WRONG),
    Unused("85-result-missing-everything", (1,), "a result is asked for by job and place"),
    Unused("85-result-missing-index", (2,), "a result is asked for by job and place"),
    Unused("85-result-negative-index", (2,), "a result is asked for by its place in the list"),
    Unused("85-result-personal-sign-of-text", (3,), WRONG),
    Unused("85-result-range", (2,), "results are fetched whole", read=False),
    Unused("86-start-reused-nonce-string", (2,), "the nonce of a start goes as a number"),
    Unused("87-delete", (2,), "it deletes nothing, and no call of ours needs it", read=False),
    Unused("87-stop-bad-signature", (2,), WRONG),
    Unused("87-stop-finished-job", (2,), BY_ITS_JOB),
    Unused("87-stop-json-body", (2,), "a stop is asked for in the query"),
    Unused("87-stop-missing-nonce", (1,), "a stop has its whole proof"),
    Unused("87-stop-unknown-job", (2,), BY_ITS_JOB),
    Unused("88-init-empty", (1,), "the question names its datasets"),
    Unused("88-init-invalid-json", (1,), "a body is JSON and says so"),
    Unused("88-initialize-compute-service", (1,), DOWNLOADING, read=False),
    Unused("89-status-additional-datasets", (6,), ONE_STATUS),
    Unused("90-auth-token", (6,), BY_ITS_JOB),
    Unused("91-download-bad-order", (2,), DOWNLOADING, read=False),
    Unused("91-encrypt", (1, 2), PUBLISHING, read=False),
    Unused("91-validate-container", (1, 2), PUBLISHING, read=False),
    Unused("92-aquarius-chains", (1, 2), OTHER_QUESTIONS, read=False),
    Unused("92-aquarius-metadata", (1, 2), OTHER_QUESTIONS, read=False),
    Unused("92-aquarius-names", (1, 2), OTHER_QUESTIONS, read=False),
    Unused("92-aquarius-query-bad", (1, 2), SEARCHED),
    Unused("92-aquarius-query-paging", (1,), SEARCHED),
    Unused("92-aquarius-state", (1,), OTHER_QUESTIONS, read=False),
    Unused("92-aquarius-validate-content-type", (1,), PUBLISHING, read=False),
    Unused("92-aquarius-validate-invalid", (1,), PUBLISHING, read=False),
    Unused("92-aquarius-validate-not-json", (1,), PUBLISHING, read=False),
    Unused("95-inner-delete", (1,), INNER, read=False),
    Unused("95-inner-environments", (1,), INNER, read=False),
    Unused("95-inner-result", (1,), INNER, read=False),
    Unused("95-inner-start", (1, 3), INNER, read=False),
    Unused("95-inner-status", (1,), INNER, read=False),
    Unused("95-inner-stop", (1,), INNER, read=False),
    Unused("96-operator-service-down-status", (1,), ONE_STATUS),
    Unused("97-download-only-provider", (2, 3, 4, 5), "these calls have all their fields"),
)
NAMED = {(unused.name, n): unused for unused in UNUSED for n in unused.numbers}
EVERY = [
    pytest.param(name, exchange, id=f"{name}-{n}")
    for name in names()
    for n, exchange in scenario(name).items()
]
READ_THOUGH_UNUSED = [
    pytest.param(name, scenario(name)[n], id=f"{name}-{n}")
    for (name, n), unused in NAMED.items()
    if unused.read
]


def outcome(act: Act, name: str, exchange: dict) -> str:
    """Let the client read the recorded answer; GOOD, or the code of the error, whose sentence is checked."""
    client, wire = provider(answer(name, exchange))
    try:
        act(client)
    except OceanError as error:
        assert isinstance(error, Rejected | BadAnswer)
        assert_for_people(error)
        return error.code
    assert len(wire.sent) == 1
    return GOOD


class TestEveryExchange:
    @pytest.mark.parametrize(("name", "exchange"), EVERY)
    def test_is_sent_and_understood_or_named_as_unused(self, name, exchange):
        act = producing(name, exchange)
        key = (name, exchange["n"])

        if key in NAMED:
            assert act is None, f"The client sends this now; it is no more unused: {NAMED[key].reason}."
            return
        assert act is not None, "The client cannot send this, and no reason is given."
        if not is_cut(name, exchange):
            assert outcome(act, name, exchange) == REFUSALS.get(key, GOOD)

    @pytest.mark.parametrize(("name", "exchange"), READ_THOUGH_UNUSED)
    def test_that_is_unused_is_understood_where_a_call_may_meet_its_answer(self, name, exchange):
        expected = REFUSALS.get((name, exchange["n"]), GOOD)

        assert outcome(reading(exchange), name, exchange) == expected


class TestTables:
    def test_name_each_exchange_once(self):
        named = [(unused.name, n) for unused in UNUSED for n in unused.numbers]

        assert len(named) == len(set(named))

    def test_name_recorded_exchanges_alone(self):
        known = {(name, n) for name in names() for n in scenario(name)}

        assert set(NAMED) <= known
        assert set(REFUSALS) <= known - {key for key, unused in NAMED.items() if not unused.read}

    def test_name_every_scenario_without_exchanges(self):
        assert {name for name in names() if not scenario(name)} == CHAIN_ONLY

    def test_leave_most_exchanges_to_the_client(self):
        assert len(EVERY) - len(NAMED) > 350

    def test_give_reasons_that_say_something(self):
        assert all(len(unused.reason.split()) > 3 for unused in UNUSED)

    def test_know_every_answer_that_the_recordings_cut(self):
        cut = {
            (name, n) for name in names() for n, exchange in scenario(name).items() if is_cut(name, exchange)
        }

        assert cut == {("12-aquarius-search", 1), ("86-start-reused-nonce-string", 3)}


def reading(exchange: dict) -> Act:
    """The call that would meet this answer, whatever it sends itself."""
    request = exchange["request"]
    entry = ResultEntry(index=0, name="x", kind="output", size=None)
    match request["method"], request["path"]:
        case "GET", "/api/services/nonce":
            return lambda client: client.nonce(address=Address(BOB))
        case "GET", "/api/services/computeEnvironments":
            return lambda client: client.environments()
        case "POST", "/api/services/initializeCompute":
            return lambda client: client.initialize(
                request=a_start(), consumer=Address(BOB), payer=Address(BOB), valid_until=1
            )
        case "POST", "/api/services/compute":
            return lambda client: client.start(request=a_start(), proof=pen())
        case "GET", "/api/services/compute":
            return lambda client: client.jobs_of(owner=Address(BOB))
        case "PUT", "/api/services/compute":
            return lambda client: client.stop(job_id="0" * 32, proof=pen())
        case "GET", "/api/services/computeResult":
            return lambda client: read_result(client, entry, job_id="0" * 32, proof=pen())
        case "POST", "/api/aquarius/assets/query":
            return lambda client: client.search_assets()
        case "GET", path if path.startswith("/api/aquarius/assets/ddo/"):
            return lambda client: client.get_ddo(did=DATASET)
    raise AssertionError(f"no call of ours meets {request['method']} {request['path']}")


def a_start():
    """The start of recording 40."""
    body = last("40-compute-start")["request"]["body_json"]
    return start_request(body, datasets=[body["dataset"]], environment=body["environment"])


class TestEndpoints:
    def test_are_those_of_every_recorded_root(self):
        client, _ = provider(answer("30-pay-for-compute-service", scenario("30-pay-for-compute-service")[1]))

        assert client.identify().endpoints == endpoints()
