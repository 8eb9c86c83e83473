"""What we send, field by field, against what the recorded node was sent and took."""

import json

import pytest

from jobs.ocean import signing
from jobs.ocean.compute import AlgorithmInput, AssetInput, Container, ResultEntry, StartRequest
from jobs.ocean.errors import Refused
from jobs.ocean.signing import Token
from jobs.ocean.units import Address
from tests.ocean.wire import (
    ENVIRONMENT,
    Answer,
    FakeWire,
    Sent,
    account,
    accounts,
    node,
    recording,
    transport,
)

# The headers that a node reads; what else HTTP libraries send is their business.
READ_HEADERS = ("Content-Type", "Authorization")


def assert_equals_recorded(sent: Sent, exchange: dict) -> None:
    recorded = exchange["request"]
    assert sent.method == recorded["method"]
    assert sent.path == recorded["path"]
    assert sent.query == {name: str(value) for name, value in recorded["query"].items()}
    assert {name: sent.headers[name] for name in READ_HEADERS if name in sent.headers} == recorded["headers"]
    assert (json.loads(sent.body) if sent.body is not None else None) == recorded["body"]


def sent_by(exchange: dict, act) -> Sent:
    """Let the client act on a wire that gives the recorded answer, and return the one request it made."""
    client, wire = node(Answer.recorded(exchange))
    act(client)
    (sent,) = wire.sent
    return sent


def proof_of(exchange: dict, prove):
    fields = {**exchange["request"]["query"], **(exchange["request"]["body"] or {})}
    owner = accounts()[fields.get("consumerAddress") or fields["address"]]
    return prove(owner, nonce=int(fields["nonce"]), form="bytes")


def entry(index: int, kind: str = "output") -> ResultEntry:
    return ResultEntry(index=index, name="a", kind=kind, size=None)


def start_request(**changes) -> StartRequest:
    fields = {
        "environment_id": ENVIRONMENT,
        "datasets": (
            AssetInput(
                did="did:op:b606364a46ac320b5229731f8c50666af8eb8bf5fff7de3c514d766a5f8f2134",
                service_id="compute-1",
            ),
        ),
        "algorithm": AlgorithmInput(
            did="did:op:177a60bb253acdaba6b6d33ffdf8f34d10ba5644ffa59514bce85c422ad6e27d",
            service_id="algo-access",
            container=Container(
                entrypoint="python3 $ALGO", image="localhost:5000/c2d-python", tag="3.11", checksum=""
            ),
        ),
    }
    return StartRequest(**{**fields, **changes})


class TestStart:
    def test_of_assets_equals_the_recorded_request(self):
        exchange = recording("33")[42]

        sent = sent_by(
            exchange,
            lambda client: client.start_free(
                request=start_request(), proof=proof_of(exchange, signing.prove_start_free)
            ),
        )

        assert_equals_recorded(sent, exchange)

    @pytest.mark.parametrize(
        ("number", "seq", "changes"),
        [
            ("10", 2, {}),
            ("12", 1, {}),
            ("13", 1, {"max_duration_s": 6}),
            ("24", 5, {"queue_wait_s": 5}),
            ("24", 6, {"queue_wait_s": 120}),
        ],
    )
    def test_with_options_equals_the_recorded_request_but_for_the_code(self, number, seq, changes):
        # These carry code of the consumer, which the portal does not send: all but `algorithm` must agree.
        exchange = recording(number)[seq]
        request = start_request(datasets=(), **changes)

        sent = sent_by(
            exchange,
            lambda client: client.start_free(
                request=request, proof=proof_of(exchange, signing.prove_start_free)
            ),
        )

        ours, theirs = json.loads(sent.body), dict(exchange["request"]["body"])
        assert ours.pop("algorithm")["meta"]["container"] == theirs.pop("algorithm")["meta"]["container"]
        assert ours == theirs

    def test_with_a_token_equals_the_recorded_request_but_for_the_code(self):
        exchange = recording("15")[2]
        token = exchange["request"]["headers"]["Authorization"]

        sent = sent_by(
            exchange,
            lambda client: client.start_free(
                request=start_request(datasets=()), proof=Token(account(1).address, token)
            ),
        )

        assert sent.headers["Authorization"] == token
        ours, theirs = json.loads(sent.body), dict(exchange["request"]["body"])
        theirs.pop("additionalViewers", None)
        assert ours.keys() == theirs.keys()
        assert "nonce" not in ours
        assert "signature" not in ours

    def test_names_parameters_resources_and_tag_as_the_recordings_do(self):
        exchange = recording("33")[42]
        request = start_request(
            datasets=(AssetInput(did="did:a", service_id="s", userdata={"column": "x"}),),
            algorithm=AlgorithmInput(did="did:b", service_id="t", custom_data={"threshold": 3}),
            resources=(("cpu", 1), ("ram", 2)),
            tag="6f2c",
        )

        sent = sent_by(
            exchange,
            lambda client: client.start_free(
                request=request, proof=proof_of(exchange, signing.prove_start_free)
            ),
        )

        body = json.loads(sent.body)
        assert body["datasets"] == [{"documentId": "did:a", "serviceId": "s", "userdata": {"column": "x"}}]
        assert body["algorithm"] == {
            "documentId": "did:b",
            "serviceId": "t",
            "algocustomdata": recording("11")[2]["request"]["body"]["algorithm"]["algocustomdata"],
        }
        assert body["resources"] == [{"id": "cpu", "amount": 1}, {"id": "ram", "amount": 2}]
        assert body["metadata"] == {"tag": "6f2c"}

    def test_above_100_kB_is_refused_before_sending(self):
        client, wire = node(Answer.json([]))
        huge = AlgorithmInput(did="did:b", service_id="t", custom_data={"text": "x" * 100 * 1024})

        with pytest.raises(Refused) as caught:
            client.start_free(
                request=start_request(algorithm=huge), proof=signing.prove_start_free(account(1), nonce=1)
            )

        assert caught.value.code == "too_large"
        assert wire.sent == []


class TestStatus:
    def test_by_job_equals_the_recorded_request(self):
        exchange = recording("16")[8]
        job_id = exchange["request"]["query"]["jobId"]

        sent = sent_by(exchange, lambda client: client.job(job_id=job_id))

        assert_equals_recorded(sent, exchange)

    def test_by_owner_equals_the_recorded_request(self):
        exchange = recording("16")[11]
        owner = Address(exchange["request"]["query"]["consumerAddress"])

        sent = sent_by(exchange, lambda client: client.jobs_of(owner=owner))

        assert_equals_recorded(sent, exchange)


class TestResult:
    @pytest.mark.parametrize("seq", [9, 10, 11, 12])
    def test_equals_the_recorded_request(self, seq):
        exchange = recording("10")[seq]
        query = exchange["request"]["query"]

        def act(client):
            with client.open_result(
                job_id=query["jobId"],
                entry=entry(query["index"]),
                proof=proof_of(exchange, signing.prove_result),
                max_bytes=10_000,
                total_s=5,
            ) as body:
                list(body)

        assert_equals_recorded(sent_by(exchange, act), exchange)

    def test_with_a_token_equals_the_recorded_request(self):
        exchange = recording("15")[10]
        query = exchange["request"]["query"]
        token = Token(Address(query["consumerAddress"]), exchange["request"]["headers"]["Authorization"])

        def act(client):
            with client.open_result(
                job_id=query["jobId"], entry=entry(query["index"]), proof=token, max_bytes=10_000, total_s=5
            ) as body:
                list(body)

        assert_equals_recorded(sent_by(exchange, act), exchange)


class TestLogs:
    def test_equal_the_recorded_request(self):
        exchange = recording("14")[10]
        proof = proof_of(exchange, signing.prove_logs)

        def act(client):
            job_id = exchange["request"]["query"]["jobId"]
            with client.stream_log(job_id=job_id, proof=proof, max_bytes=10_000, total_s=5) as pieces:
                list(pieces)

        assert_equals_recorded(sent_by(exchange, act), exchange)


class TestStop:
    @pytest.mark.parametrize("seq", [6, 11])
    def test_equals_the_recorded_request(self, seq):
        exchange = recording("14")[seq]
        job_id = exchange["request"]["query"]["jobId"]

        sent = sent_by(
            exchange,
            lambda client: client.stop(job_id=job_id, proof=proof_of(exchange, signing.prove_stop)),
        )

        assert_equals_recorded(sent, exchange)

    def test_with_a_token_equals_the_recorded_request(self):
        exchange = recording("15")[18]
        query = exchange["request"]["query"]
        token = Token(Address(query["consumerAddress"]), exchange["request"]["headers"]["Authorization"])

        sent = sent_by(exchange, lambda client: client.stop(job_id=query["jobId"], proof=token))

        assert_equals_recorded(sent, exchange)


class TestTokens:
    @pytest.mark.parametrize("seq", [1, 23])
    def test_are_asked_for_as_recorded(self, seq):
        exchange = recording("15")[seq]

        sent = sent_by(
            exchange,
            lambda client: client.create_token(
                proof=proof_of(exchange, signing.prove_token),
                valid_until_ms=exchange["request"]["body"].get("validUntil"),
            ),
        )

        assert_equals_recorded(sent, exchange)

    def test_are_given_back_as_recorded(self):
        exchange = recording("15")[27]

        sent = sent_by(
            exchange,
            lambda client: client.invalidate_token(
                proof=proof_of(exchange, signing.prove_invalidate), token=exchange["request"]["body"]["token"]
            ),
        )

        assert_equals_recorded(sent, exchange)


class TestReads:
    @pytest.mark.parametrize(
        ("number", "seq", "act"),
        [
            ("01", 1, lambda client: client.identify()),
            ("01", 2, lambda client: client.nonce(address=account(8).address)),
            ("01", 5, lambda client: client.environments()),
            (
                "30",
                10,
                lambda client: client.get_ddo(
                    did="did:op:b606364a46ac320b5229731f8c50666af8eb8bf5fff7de3c514d766a5f8f2134"
                ),
            ),
        ],
    )
    def test_equal_the_recorded_requests(self, number, seq, act):
        exchange = recording(number)[seq]

        assert_equals_recorded(sent_by(exchange, act), exchange)


class TestEveryRequest:
    def test_goes_without_cookies_and_packing(self):
        wire = FakeWire(Answer(b"{}", 200, {"Set-Cookie": "a=b", "Content-Type": "application/json"}))

        with transport(wire) as plain:
            plain.get_json(path="/one")
            plain.get_json(path="/two")

        assert all("Cookie" not in sent.headers for sent in wire.sent)
        assert {sent.headers["Accept-Encoding"] for sent in wire.sent} == {"identity"}
