"""Every recorded question to Provider and Aquarius is asked again, signatures included, or named with a reason."""

import json
from collections.abc import Iterator
from operator import itemgetter
from typing import Any

import pytest
import requests

from ocean_portal.sandbox.provider import accounts
from ocean_portal.sandbox.provider.fees import FeeDesk
from tests.sandbox.providerclient import parsed
from tests.sandbox.v4bench import V4Bench, trusting_documents, v4_bench
from tests.sandbox.v4recordings import BOB, NAMED_HEADERS, Exchange, exchanges, fees_in, masked, scenarios

INNER = "asked by Provider of operator-service; in the sandbox both are one process"
CUT = "the recording keeps but the begin of the answer"
CUT_QUESTION = "the recording keeps but the begin of what was sent"
STAND_IN = "the answer's order and number come from the database that stood in for Elasticsearch"
CHECKSUM = "the recorded algorithm's text, which the answer hashes, is not in the recording"
# (scenario, exchange): why it is not sent, or why its body is not compared. All else is, to the byte.
NOT_SENT = {
    (exchange.scenario, exchange.n): INNER for exchange in exchanges() if exchange.to == "operator-service"
} | {(exchange.scenario, exchange.n): CUT_QUESTION for exchange in exchanges() if exchange.asks_cut}
NOT_COMPARED = {
    ("03-update-dataset-trust-algorithm", 3): CHECKSUM,
    ("12-aquarius-search", 1): CUT,
    ("86-start-reused-nonce-string", 3): CUT,
    ("92-aquarius-query-paging", 1): STAND_IN,
}
# Nonces that were stored before, of which only an answer tells.
NOT_ASKED_FOR = {"70-pay-for-access-service": "26", "82-start-old-nonce": "27"}
# Postgres gave its rows without an order; ours come oldest first.
UNORDERED = ("81-status-all-jobs-of-consumer",)
ENCRYPTED = "/api/services/encrypt"
SWITCHES = {"96": ("operator-service.down", "0"), "97": ("operator-service.unset", "")}


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[V4Bench]:
    with v4_bench(tmp_path_factory.mktemp("recorded")) as bench:
        yield bench


@pytest.fixture
def bench(servers: V4Bench) -> V4Bench:
    """The servers, which remember nothing."""
    servers.reset()
    return servers


def first_job() -> dict[str, Any]:
    """The job that most scenarios speak of, as it ended."""
    return dict(json.loads(scenarios()["42-compute-status-finished"][-1].body)[0])


def stage(bench: V4Bench, exchange: Exchange) -> None:
    """Put index and jobs into the state in which the recorded ones were asked."""
    path, status = exchange.request["path"], exchange.response["status"]
    place = path.rpartition("/")[2]
    bench.index.known = trusting_documents()
    for fee in fees_in(exchange):
        bench.now = parsed(fee["providerData"])["timestamp"]
    if "/assets/ddo/did:" in path:
        bench.index.known.pop(place, None)
        if status == 200:
            bench.index.known[place] = json.loads(exchange.body)
    if (
        place == "compute"
        and exchange.request["method"] in ("GET", "PUT")
        and status == 200
        and not exchange.is_cut
    ):
        for report in json.loads(exchange.body):
            bench.put_job(report, stopreq=0 if exchange.request["method"] == "PUT" else None)
    if place == "computeResult":
        bench.put_job(first_job())
    if exchange.scenario == "83-result-not-finished":
        bench.put_job(running_job())
    if exchange.scenario == "82-start-agreement-in-use":
        bench.put_job(running_job())


def running_job() -> dict[str, Any]:
    """The job that was running when others asked for its order and its result."""
    return dict(json.loads(scenarios()["82-start-algorithm-meta-as-string"][-1].body)[0])


def stage_nonces(bench: V4Bench, found: tuple[Exchange, ...]) -> None:
    """Store the nonces that the scenario begins with."""
    for exchange in found:
        if exchange.request["path"] == "/api/services/nonce" and exchange.response["status"] == 200:
            nonce = json.loads(exchange.body)["nonce"]
            if nonce != "1":  # else it becomes that by being asked for
                bench.parts.memory.store_nonce(address=exchange.query["userAddress"], nonce=nonce)
            return
    if stored := NOT_ASKED_FOR.get(found[0].scenario):
        bench.parts.memory.store_nonce(address=BOB, nonce=stored)


def assert_same(exchange: Exchange, answer: requests.Response) -> None:
    """Compare status, named headers and body with the recorded ones."""
    assert answer.status_code == exchange.response["status"], answer.text
    starts = exchange.request["method"] == "POST" and exchange.request["path"].endswith("/compute")
    wanted = {name: value for name, value in exchange.response["headers"].items() if name in NAMED_HEADERS}
    given = {name: answer.headers[name] for name in NAMED_HEADERS if name in answer.headers}
    compared = (exchange.scenario, exchange.n) not in NOT_COMPARED
    same_length = (
        masked(exchange.body, new_job=starts) == exchange.body or exchange.request["path"] == ENCRYPTED
    )
    if not (compared and same_length):
        wanted.pop("content-length", None)
        given.pop("content-length", None)
    assert {k: masked(v) for k, v in given.items()} == {k: masked(v) for k, v in wanted.items()}
    if exchange.request["path"] == ENCRYPTED and answer.status_code == 201:
        assert answer.text.startswith("0x04")
    elif exchange.scenario in UNORDERED:
        by_id = itemgetter("jobId")
        assert sorted(answer.json(), key=by_id) == sorted(json.loads(exchange.body), key=by_id)
    elif compared:
        assert masked(answer.text, new_job=starts) == masked(exchange.body, new_job=starts)


class TestEveryScenario:
    @pytest.mark.parametrize("name", [name for name in scenarios() if scenarios()[name]])
    def test_is_answered_as_recorded(self, bench: V4Bench, name: str) -> None:
        found = scenarios()[name]
        stage_nonces(bench, found)
        if switch := SWITCHES.get(name[:2]):
            (bench.state / switch[0]).write_text(switch[1])

        for exchange in found:
            if (exchange.scenario, exchange.n) not in NOT_SENT:
                stage(bench, exchange)
                assert_same(exchange, exchange.ask(bench.url(exchange.to)))


class TestTables:
    def test_name_recorded_exchanges_alone(self) -> None:
        known = {(exchange.scenario, exchange.n) for exchange in exchanges()}

        assert set(NOT_SENT) | set(NOT_COMPARED) <= known
        assert not set(NOT_SENT) & set(NOT_COMPARED)

    def test_leave_nearly_all_to_be_compared(self) -> None:
        assert len(list(exchanges())) > 470
        assert len(NOT_SENT) + len(NOT_COMPARED) <= 15

    def test_give_reasons_that_say_something(self) -> None:
        assert all(len(reason.split()) > 5 for reason in (NOT_SENT | NOT_COMPARED).values())


class TestFees:
    @pytest.mark.parametrize(
        "fee", [fee for exchange in exchanges() for fee in fees_in(exchange)], ids=lambda fee: fee["r"][:10]
    )
    def test_are_signed_to_the_byte_as_recorded(self, fee: dict[str, Any]) -> None:
        said = parsed(fee["providerData"])
        desk = FeeDesk(account=accounts.account(accounts.PROVIDER), token=fee["providerFeeToken"])

        offer = desk.offer(
            amount=int(fee["providerFeeAmount"]),
            valid_until=fee["validUntil"],
            environment_id=said["environment"],
            datatoken=said["dt"],
            service_id=said["id"],
            now=said["timestamp"],
        )

        assert offer == fee
