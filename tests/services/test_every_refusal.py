"""Every refusal recorded at a Provider or Aquarius: what it makes of a job or a form, and that nothing is tried twice.

The real client over a wire that answers as recorded; the services above it and the database are real too.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests
from requests.adapters import HTTPAdapter

from jobs.access import Actor
from jobs.errors import InvalidInput
from jobs.lifecycle import State
from jobs.models import Asset, Job, Node, Result, Team
from jobs.ocean.transport import Transport
from jobs.services import catalogue, gateway, nodes, refreshing, results, starting
from jobs.services.catalogue import NodesUnreachable
from tests import builders
from tests.builders import NOW
from tests.ocean.provider_wire import DATASET, answer, endpoints, names, scenario
from tests.ocean.test_every_provider_recording import NAMED, REFUSALS
from tests.ocean.wire import Answer, FakeWire
from tests.services.fakes import OWNER, Clock, entry
from tests.services.steps import advance

JOB_ID = "5f" * 16
COMPUTE, RESULT = "/api/services/compute", "/api/services/computeResult"
INITIALIZE, FILE = "/api/services/initializeCompute", "/api/services/fileinfo"
NONCE, ENVIRONMENTS = "/api/services/nonce", "/api/services/computeEnvironments"
DDO, QUERY = "/api/aquarius/assets/ddo/", "/api/aquarius/assets/query"
Call = tuple[str, str]


class RecordedWire(HTTPAdapter):
    """Answers each call in its own way, and counts what was asked."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[Call] = []
        self.answers: dict[Call, list[Answer]] = {
            ("GET", COMPUTE): [Answer.json([])],
            ("GET", NONCE): [Answer.json({"nonce": 1})],
            ("POST", FILE): [Answer.json([{"valid": True, "type": "url", "index": 0}])],
            ("GET", DDO): [
                Answer.json({"id": "did:op:" + "1" * 64})
            ],  # the index is there: a refusal is believed
        }

    def send(self, request: requests.PreparedRequest, *_: Any, **__: Any) -> requests.Response:
        path = urlsplit(request.url or "").path
        call = (request.method or "", DDO if path.startswith(DDO) else path)
        self.asked.append(call)
        waiting = self.answers[call]
        return FakeWire(waiting.pop(0) if len(waiting) > 1 else waiting[0]).send(request)


@dataclass
class Pier:
    """A Provider and its Aquarius as recorded, and a team that wants something of them."""

    node: Node
    alice: Actor
    clock: Clock
    wire: RecordedWire = field(default_factory=RecordedWire)

    def job(self, state: State, **values: Any) -> Job:
        """Make a job in a state, with the orders that it needs."""
        defaults: dict[str, Any] = {
            "state": state,
            "node": self.node,
            "queue_wait_s": 0,
            "next_check_at": NOW,
        }
        job = builders.make_job(**({"team": self.team} | defaults | values))
        if state != State.REQUESTED:
            job.inputs.update(order=builders.make_order(job=job))
        return job

    @property
    def team(self) -> Team:
        """Alice's team."""
        return Team.objects.get(pk=self.alice.team_id)


@pytest.fixture
def pier(alice: Actor, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Pier:
    node = builders.make_provider_node(
        requests_per_minute=1_000,
        said={
            "identified_at": NOW.isoformat(),
            "endpoints": {name: list(place) for name, place in endpoints().items()},
        },
    )
    builders.make_environment(node=node)
    made = Pier(node=node, alice=alice, clock=clock)
    # Patched by name: the gateway is where rows become clients. Everything but the wire is real.
    monkeypatch.setattr(
        gateway,
        "Transport",
        lambda url, **values: Transport(url, **{**values, "sleep": None}, adapter=made.wire),
    )
    return made


@dataclass(frozen=True)
class Outcome:
    """What people see in the end. state: of the job, "" where there is none; times: how often the call was made."""

    state: str
    code: str
    sentence: str
    times: int


def start(pier: Pier) -> Outcome:
    job = pier.job(State.STARTING)
    advance(job, pier.clock)
    return _of_job(pier, job, ("POST", COMPUTE))


def stop(pier: Pier) -> Outcome:
    job = pier.job(State.RUNNING, node_job_id=JOB_ID, cancel_requested_at=NOW)
    advance(job, pier.clock)
    return _of_job(pier, job, ("PUT", COMPUTE))


def status(pier: Pier) -> Outcome:
    job = pier.job(State.RUNNING, node_job_id=JOB_ID)
    refreshing.refresh(node_id=pier.node.pk, wallet_id=job.wallet_id, clock=pier.clock)
    job.refresh_from_db()
    return _of_job(pier, job, ("GET", COMPUTE))


def initialize(pier: Pier) -> Outcome:
    job = pier.job(State.REQUESTED)
    advance(job, pier.clock)
    assert not job.transactions.exists()
    return _of_job(pier, job, ("POST", INITIALIZE))


def file_info(pier: Pier) -> Outcome:
    job = pier.job(State.REQUESTED)
    advance(job, pier.clock)
    assert ("POST", INITIALIZE) not in pier.wire.asked
    return _of_job(pier, job, ("POST", FILE))


def result(pier: Pier) -> Outcome:
    job = pier.job(
        State.COLLECTING, node_job_id=JOB_ID, outcome="succeeded", report={"results": [entry(0, "out.csv")]}
    )
    results.collect(job_id=job.pk, clock=pier.clock)
    job.refresh_from_db()
    row = Result.objects.get(job=job)
    assert row.attempts == 1
    return Outcome(job.state, row.status, row.trouble, pier.wire.asked.count(("GET", RESULT)))


def nonce(pier: Pier) -> Outcome:
    pier.wire.answers["POST", COMPUTE] = [answer("82-start-old-nonce", scenario("82-start-old-nonce")[1])]
    job = pier.job(State.STARTING)
    advance(job, pier.clock)
    assert pier.wire.asked.count(("POST", COMPUTE)) == 1
    return _of_job(pier, job, ("GET", NONCE))


def environments(pier: Pier) -> Outcome:
    return _of_node(pier, ("GET", ENVIRONMENTS))


def root(pier: Pier) -> Outcome:
    pier.clock.tick(7200)
    return _of_node(pier, ("GET", "/"))


def document(pier: Pier) -> Outcome:
    with pytest.raises((InvalidInput, NodesUnreachable)) as caught:
        catalogue.add(actor=pier.alice, did=DATASET, clock=pier.clock)
    assert not Asset.objects.exists()
    return Outcome("", caught.value.code, caught.value.message, pier.wire.asked.count(("GET", DDO)))


def search(pier: Pier) -> Outcome:
    found = catalogue.search(actor=pier.alice, text="iris", kind="", clock=pier.clock)
    assert found.found == ()
    return Outcome("", "", " ".join(found.silent), pier.wire.asked.count(("POST", QUERY)))


def _of_job(pier: Pier, job: Job, call: Call) -> Outcome:
    return Outcome(job.state, job.reason, job.message or job.trouble, pier.wire.asked.count(call))


def _of_node(pier: Pier, call: Call) -> Outcome:
    assert not nodes.look(node_id=pier.node.pk, clock=pier.clock)
    pier.node.refresh_from_db()
    return Outcome("", "", pier.node.trouble, pier.wire.asked.count(call))


ACTS: dict[Call, Callable[[Pier], Outcome]] = {
    ("POST", COMPUTE): start,
    ("PUT", COMPUTE): stop,
    ("GET", COMPUTE): status,
    ("POST", INITIALIZE): initialize,
    ("POST", FILE): file_info,
    ("GET", RESULT): result,
    ("GET", NONCE): nonce,
    ("GET", ENVIRONMENTS): environments,
    ("GET", "/"): root,
    ("GET", DDO): document,
    ("POST", QUERY): search,
}


def call_of(name: str, n: int) -> Call:
    request = scenario(name)[n]["request"]
    path = request["path"]
    return request["method"], DDO if path.startswith(DDO) else path


@dataclass(frozen=True)
class Ending:
    """How a refusal has to end. words: of the sentence; times: how often the call may be made."""

    state: str
    code: str
    words: str
    times: int = 1


# A refused nonce is certain not to have been taken, so a call is made once more with a higher one.
ENDINGS: dict[tuple[str, int], Ending] = {
    ("01-publish-dataset", 1): Ending("", "unknown_did", "None of the portal's nodes knows this DID"),
    ("01-publish-dataset", 12): Ending("", "unknown_did", "None of the portal's nodes knows this DID"),
    ("02-publish-algorithm", 1): Ending("", "unknown_did", "None of the portal's nodes knows this DID"),
    ("02-publish-algorithm", 9): Ending("", "unknown_did", "None of the portal's nodes knows this DID"),
    ("04-publish-dataset-raw-allowed", 1): Ending("", "unknown_did", "None of the portal's nodes knows"),
    ("04-publish-dataset-raw-allowed", 12): Ending("", "unknown_did", "None of the portal's nodes knows"),
    ("11-aquarius-resolve-unknown", 1): Ending("", "unknown_did", "None of the portal's nodes knows this"),
    ("33-start-with-reused-order", 1): Ending("", "", "This is an Aquarius: it goes into the field for"),
    ("40-compute-start", 1): Ending("", "", "This is an Aquarius: it goes into the field for metadata."),
    ("46-compute-start-custom-data", 1): Ending("", "", "This is an Aquarius: it goes into the field for"),
    ("51-compute-start-raw", 1): Ending("", "", "This is an Aquarius: it goes into the field for"),
    ("63-compute-start-paid", 1): Ending("", "", "This is an Aquarius: it goes into the field for"),
    ("64-compute-start-two-datasets", 1): Ending("", "", "This is an Aquarius: it goes into the field for"),
    ("80-nonce-missing-parameter", 1): Ending("STARTING", "", "The node has had this request before"),
    ("81-status-missing-consumer", 1): Ending("RUNNING", "", "The request lacks a usable consumerAddress"),
    ("82-start-access-service", 2): Ending("FAILED", "not_computable", "The chosen service of the dataset"),
    ("82-start-agreement-in-use", 2): Ending("FAILED", "order_in_use", "Another job with the same orders"),
    ("82-start-bad-container", 2): Ending("FAILED", "image", "The container of the algorithm lacks its"),
    ("82-start-bad-signature", 2): Ending("FAILED", "signature", "The Provider does not accept the"),
    ("82-start-dataset-as-algorithm", 2): Ending("FAILED", "not_algorithm", "The asset that was given as"),
    ("82-start-empty-algorithm-meta", 2): Ending("FAILED", "bad_request", "The request lacks something"),
    ("82-start-empty-body", 1): Ending("FAILED", "bad_request", "The request lacks a usable"),
    ("82-start-garbage-signature", 2): Ending("FAILED", "signature", "The Provider does not accept the"),
    ("82-start-invalid-json", 1): Ending("FAILED", "bad_request", "The request lacks a usable"),
    ("82-start-missing-signature", 2): Ending("FAILED", "token", "The Provider does not accept the token"),
    ("82-start-no-algorithm", 2): Ending("FAILED", "bad_request", "The request lacks a usable"),
    ("82-start-nonce-not-a-number", 1): Ending("FAILED", "bad_request", "The request lacks a usable"),
    ("82-start-old-nonce", 1): Ending("STARTING", "", "The Provider has seen a newer request of this", 2),
    ("82-start-order-of-other-asset", 2): Ending("FAILED", "order_invalid", "The Provider does not accept"),
    ("82-start-other-consumer", 2): Ending("FAILED", "order_invalid", "The Provider does not accept the"),
    ("82-start-other-environment", 2): Ending("FAILED", "order_invalid", "The Provider does not accept"),
    ("82-start-raw-not-allowed", 2): Ending("FAILED", "raw_not_allowed", "The publisher of the dataset"),
    ("82-start-transaction-not-an-order", 2): Ending("FAILED", "order_invalid", "The Provider does not"),
    ("82-start-unknown-dataset", 2): Ending("FAILED", "unknown_asset", "The Provider does not know the"),
    ("82-start-unknown-environment", 2): Ending("FAILED", "order_invalid", "The Provider does not accept"),
    ("82-start-unknown-service", 2): Ending("FAILED", "unknown_service", "The asset of the dataset has no"),
    ("82-start-untrusted-algorithm", 2): Ending("FAILED", "not_trusted", "The publisher of the dataset"),
    ("82-start-wrong-content-type", 2): Ending("FAILED", "bad_request", "The request lacks a usable"),
    ("83-result-not-finished", 2): Ending("COLLECTING", "failed", "The Provider has no results of such a"),
    ("85-result-bad-signature", 2): Ending("COLLECTING", "failed", "The Provider does not accept the"),
    ("85-result-index-not-a-number", 2): Ending("COLLECTING", "failed", "The Provider counts results from"),
    ("85-result-index-out-of-range", 2): Ending("COLLECTING", "failed", "The Provider has no such result"),
    ("85-result-message-order-swapped", 3): Ending("COLLECTING", "failed", "The Provider does not accept"),
    ("85-result-missing-everything", 1): Ending("COLLECTING", "failed", "The request lacks a usable"),
    ("85-result-missing-index", 2): Ending("COLLECTING", "failed", "The request lacks a usable index"),
    ("85-result-negative-index", 2): Ending("COLLECTING", "failed", "The Provider counts results from 0"),
    ("85-result-old-nonce", 2): Ending("COLLECTING", "failed", "The Provider has seen a newer request of", 2),
    ("85-result-other-owner", 2): Ending("COLLECTING", "failed", "The Provider has no results of such a"),
    ("85-result-personal-sign-of-text", 3): Ending("COLLECTING", "failed", "The Provider does not accept"),
    ("85-result-reused-nonce", 3): Ending("COLLECTING", "failed", "The Provider has seen this nonce of", 2),
    ("85-result-unknown-job", 2): Ending("COLLECTING", "failed", "The Provider has no results of such a"),
    ("86-start-reused-nonce-string", 2): Ending("STARTING", "", "The Provider has seen this nonce before."),
    ("87-stop-bad-signature", 2): Ending("RUNNING", "", "The Provider does not accept the wallet's"),
    ("87-stop-missing-nonce", 1): Ending("RUNNING", "", "The request lacks a usable nonce, without which"),
    ("87-stop-unknown-job", 2): Ending("RUNNING", "", "has no such job of this wallet, so there was"),
    ("88-init-empty", 1): Ending("FAILED", "bad_request", "The request lacks a usable consumerAddress"),
    ("88-init-invalid-json", 1): Ending("FAILED", "bad_request", "The request lacks a usable"),
    ("88-init-past-valid-until", 1): Ending("FAILED", "valid_until", "The time until which the job is to"),
    ("88-init-raw-not-allowed", 1): Ending("FAILED", "raw_not_allowed", "The publisher of the dataset"),
    ("88-init-unknown-algorithm", 1): Ending("FAILED", "unknown_asset", "The Provider does not know the"),
    ("88-init-unknown-dataset", 1): Ending("FAILED", "unknown_asset", "The Provider does not know the"),
    ("88-init-unknown-environment", 1): Ending("FAILED", "unknown_environment", "The Provider does not"),
    ("88-init-untrusted-algorithm", 1): Ending("FAILED", "not_trusted", "The publisher of the dataset has"),
    ("90-auth-token", 10): Ending("COLLECTING", "failed", "The Provider does not accept the token any"),
    ("91-fileinfo-unknown-did", 1): Ending("FAILED", "unknown_asset", "The Provider does not know the"),
    ("92-aquarius-query-bad", 1): Ending("", "", "failed without saying why. Its operator's log may tell"),
    ("92-aquarius-query-bad", 2): Ending("", "", "did not accept the request and does not say why"),
    ("92-aquarius-query-paging", 1): Ending("", "", "The node found an asset without a DID"),
    ("96-operator-service-down-environments", 1): Ending("", "", "is there, but the service behind it"),
    ("96-operator-service-down-status", 1): Ending("RUNNING", "", "is there, but the service behind it"),
    ("97-download-only-provider", 1): Ending("", "", "This Provider hands out files alone and runs no"),
    ("97-download-only-provider", 2): Ending("RUNNING", "", "This Provider hands out files alone and runs"),
    ("97-download-only-provider", 3): Ending("FAILED", "no_compute", "This Provider hands out files alone"),
    ("97-download-only-provider", 4): Ending("COLLECTING", "failed", "This Provider hands out files alone"),
    ("97-download-only-provider", 5): Ending("FAILED", "bad_request", "The request lacks a usable"),
}
NOT_HERE = {
    ("90-auth-token-past-expiration", 2): "no service of the portal asks for tokens",
}
EVERY = [pytest.param(key, ending, id=f"{key[0]}-{key[1]}") for key, ending in ENDINGS.items()]


def played(pier: Pier, key: tuple[str, int]) -> Outcome:
    """Let the portal do what meets this refusal."""
    name, n = key
    pier.wire.answers[call_of(name, n)] = [answer(name, scenario(name)[n])]
    return ACTS[call_of(name, n)](pier)


class TestEveryRefusal:
    @pytest.mark.parametrize(("key", "ending"), EVERY)
    def test_ends_in_a_sentence_and_a_state_that_tells_the_truth(
        self, pier: Pier, key: tuple[str, int], ending: Ending
    ) -> None:
        outcome = played(pier, key)

        assert ending.words in outcome.sentence
        assert outcome == Outcome(ending.state, ending.code, outcome.sentence, ending.times)
        # Nothing of what a Provider repeats: signatures, hashes, whole requests.
        assert not re.search(r"0x[0-9a-fA-F]{20}|Traceback|rawcode", outcome.sentence)
        assert outcome.sentence.endswith(".")

    @pytest.mark.parametrize(
        "key", [pytest.param(key, id=f"{key[0]}-{key[1]}") for key in ENDINGS if call_of(*key)[1] == COMPUTE]
    )
    def test_is_not_met_again_at_once(self, pier: Pier, key: tuple[str, int]) -> None:
        before = played(pier, key).times

        for job in Job.objects.exclude(state=State.RUNNING) | Job.objects.exclude(cancel_requested_at=None):
            advance(job, pier.clock)

        call = call_of(*key)
        again = 2 if key in AGAIN else 0
        assert pier.wire.asked.count(call) == before + (again if call[0] != "GET" else 0)


# What certainly did not happen, and may pass by itself.
AGAIN = {("82-start-old-nonce", 1)}


class TestNonceUsedBefore:
    KEY = ("86-start-reused-nonce-string", 2)

    def test_leaves_a_job_that_runs_to_be_found_and_not_started_twice(self, pier: Pier) -> None:
        played(pier, self.KEY)
        job = Job.objects.get()
        assert job.start_sent_at == NOW
        order = job.inputs.get().order
        assert order is not None
        pier.wire.answers["GET", COMPUTE] = [listed(order.transaction.tx_hash)]
        pier.clock.tick(starting.LOOK_AGAIN.total_seconds())

        advance(job, pier.clock)

        assert (job.state, job.node_job_id) == (State.RUNNING, JOB_ID)
        assert pier.wire.asked.count(("POST", COMPUTE)) == 1

    def test_of_a_job_that_never_ran_is_started_again_after_two_looks(self, pier: Pier) -> None:
        played(pier, self.KEY)
        job = Job.objects.get()
        pier.wire.answers["POST", COMPUTE] = [listed("0x" + "00" * 32)]

        for looks in (1, 2):
            assert pier.wire.asked.count(("POST", COMPUTE)) == 1
            pier.clock.tick(starting.LOOK_AGAIN.total_seconds())
            advance(job, pier.clock)
            assert pier.wire.asked.count(("GET", COMPUTE)) == looks

        assert pier.wire.asked.count(("POST", COMPUTE)) == 2


def listed(agreement: str) -> Answer:
    """A list of one job under this order, as recorded otherwise."""
    (job,) = scenario("40-compute-start")[11]["response"]["body_json"]
    return Answer.json([job | {"agreementId": agreement, "owner": str(OWNER), "jobId": JOB_ID}])


class TestTable:
    def test_names_every_recorded_refusal_or_says_why_not(self) -> None:
        refused = {
            (name, n)
            for name in names()
            for n, exchange in scenario(name).items()
            if _status(name, exchange) >= 400
        }
        without = {key for key, unused in NAMED.items() if not unused.read}

        assert (set(REFUSALS) | refused) - without == set(ENDINGS) | set(NOT_HERE)
        assert not set(ENDINGS) & set(NOT_HERE)

    def test_says_of_each_job_what_its_code_is(self) -> None:
        for key, ending in ENDINGS.items():
            if ending.state == State.FAILED:
                assert ending.code == REFUSALS[key]


def _status(name: str, exchange: dict[str, Any]) -> int:
    return int(answer(name, exchange).status)
