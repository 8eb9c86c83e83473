"""What we send beyond the recorded requests; those, field by field: test_every_recording."""

import json
from typing import Any

import pytest
import requests

from jobs.ocean.compute import (
    AlgorithmInput,
    AssetInput,
    CodeAlgorithm,
    Container,
    StartRequest,
    UrlFile,
    UrlInput,
)
from jobs.ocean.errors import Refused, Rejected, Unreachable
from jobs.ocean.node import OceanNode
from jobs.ocean.signing import Pen
from tests.ocean.wire import ENVIRONMENT, Answer, FakeWire, account, node, recording, transport

# Whose start recording 33, exchange 42, is.
START = Pen(account(4), nonce=1)
CONTAINER = Container(entrypoint="python3 $ALGO", image="localhost:5000/c2d-python", tag="3.11", checksum="")
DID = "did:op:177a60bb253acdaba6b6d33ffdf8f34d10ba5644ffa59514bce85c422ad6e27d"


def start_request(**changes) -> StartRequest:
    fields = {
        "environment_id": ENVIRONMENT,
        "datasets": (),
        "algorithm": AlgorithmInput(did=DID, service_id="algo-access", container=CONTAINER),
    }
    return StartRequest(**{**fields, **changes})


def body_of(request: StartRequest) -> dict[str, Any]:
    client, wire = node(Answer.recorded(recording("33")[42]))
    client.start(request=request, proof=START)
    (sent,) = wire.sent
    return json.loads(sent.body)


class TestStart:
    def test_names_parameters_resources_and_tag(self):
        body = body_of(
            start_request(
                datasets=(AssetInput(did="did:a", service_id="s", userdata={"column": "x"}),),
                algorithm=AlgorithmInput(did="did:b", service_id="t", custom_data={"threshold": 3}),
                resources=(("cpu", 1), ("ram", 2)),
                tag="6f2c",
            )
        )

        assert body["datasets"] == [{"documentId": "did:a", "serviceId": "s", "userdata": {"column": "x"}}]
        assert body["algorithm"] == {
            "documentId": "did:b",
            "serviceId": "t",
            "algocustomdata": recording("11")[2]["request"]["body"]["algorithm"]["algocustomdata"],
        }
        assert body["resources"] == [{"id": "cpu", "amount": 1}, {"id": "ram", "amount": 2}]
        assert body["metadata"] == {"tag": "6f2c"}

    def test_says_nothing_of_what_was_not_asked_for(self):
        assert body_of(start_request()).keys() == {
            *("consumerAddress", "nonce", "signature", "environment", "algorithm", "datasets"),
        }

    def test_carries_the_headers_of_an_address(self):
        file = UrlFile(url="https://files.example/a.csv", method="POST", headers={"X-Key": "abc"})

        (dataset,) = body_of(start_request(datasets=(UrlInput(file),)))["datasets"]

        assert dataset == {
            "fileObject": {
                "type": "url",
                "url": "https://files.example/a.csv",
                "method": "POST",
                "headers": {"X-Key": "abc"},
            }
        }
        assert "abc" not in repr(file)

    @pytest.mark.parametrize(
        ("fields", "note"),
        [
            ({"metadata": "a text"}, "a text"),
            ({"metadata": {"name": "x"}}, {"name": "x"}),
            ({"metadata": {"name": "x"}, "tag": "6f2c"}, {"name": "x", "tag": "6f2c"}),
            ({"metadata": {"tag": "theirs"}, "tag": "6f2c"}, {"tag": "6f2c"}),
            ({"metadata": {}}, {}),
        ],
    )
    def test_puts_the_tag_into_the_metadata(self, fields, note):
        assert body_of(start_request(**fields))["metadata"] == note

    def test_has_no_place_for_a_tag_beside_a_text(self):
        with pytest.raises(ValueError, match="no place"):
            start_request(metadata="a text", tag="6f2c")

    @pytest.mark.parametrize(("fits", "too_long"), [("y" * 1_016, "y" * 1_017), ("𝛑" * 508, "𝛑" * 509)])
    def test_takes_metadata_of_1024_characters_as_javascript_counts_them(self, fits, too_long):
        assert body_of(start_request(metadata={"x": fits}))["metadata"] == {"x": fits}
        with pytest.raises(Refused) as caught:
            body_of(start_request(metadata={"x": too_long}))

        assert caught.value.code == "metadata_too_large"

    @pytest.mark.parametrize(
        "algorithm",
        [
            AlgorithmInput(did="did:b", service_id="t", custom_data={"text": "x" * 100 * 1024}),
            CodeAlgorithm(code="x" * 100 * 1024, container=CONTAINER),
        ],
    )
    def test_above_100_kB_is_refused_before_sending(self, algorithm):
        client, wire = node(Answer.json([]))

        with pytest.raises(Refused, match="102,400") as caught:
            client.start(request=start_request(algorithm=algorithm), proof=START)

        assert caught.value.code == "too_large"
        assert wire.sent == []


class TestJobsOfMany:
    def test_names_the_moment_as_nodes_write_moments(self):
        client, wire = node(Answer.json([]))

        client.jobs_of_many(owners=[account(1).address, account(2).address], ended_since=1795330758.38)

        assert json.loads(wire.sent[0].body) == {
            "command": "jobs",
            "consumerAddrs": [account(1).address, account(2).address],
            "fromTimestamp": "1795330758.380",
        }

    def test_asks_for_nobody_without_asking(self):
        client, wire = node(Answer.json([]))

        assert len(client.jobs_of_many(owners=[])) == 0
        assert wire.sent == []


class TestSearch:
    def test_says_words_and_kind_apart(self):
        client, wire = node(Answer.json([]))

        client.search_assets(text=" iris flowers ", kind="dataset", limit=7)

        body = json.loads(wire.sent[0].body)
        assert body["query"]["bool"]["filter"] == [{"term": {"metadata.type": "dataset"}}]
        ((matching,),) = [body["query"]["bool"]["must"]]
        assert matching["multi_match"]["query"] == "iris flowers"
        assert body["size"] == 7

    @pytest.mark.parametrize(("limit", "size"), [(0, 1), (100, 100), (5_000, 100)])
    def test_wants_one_to_a_hundred(self, limit, size):
        client, wire = node(Answer.json([]))

        client.search_assets(limit=limit)

        assert json.loads(wire.sent[0].body) == {"query": {"bool": {}}, "size": size}


class TestQuestionsByPost:
    @pytest.mark.parametrize(
        ("ask", "times"),
        [
            (lambda client: client.status(), 4),
            (lambda client: client.jobs_of_many(owners=[account(1).address]), 4),
            (lambda client: client.search_assets(), 4),
            # The node fetches the whole file for an answer; once is enough.
            (lambda client: client.file_info(file=UrlFile("https://files.example/a")), 1),
        ],
    )
    def test_are_repeated_and_never_may_have_happened(self, ask, times):
        wire = FakeWire(Answer.text("down", 503))
        client = OceanNode(transport(wire, retries=True))

        with pytest.raises(Rejected, match="does not answer") as caught:
            ask(client)

        assert len(wire.sent) == times
        assert {sent.method for sent in wire.sent} == {"POST"}
        assert not caught.value.maybe_happened

    def test_that_are_cut_off_have_changed_nothing(self):
        client, _ = node(requests.exceptions.ReadTimeout())

        with pytest.raises(Unreachable) as caught:
            client.status()

        assert not caught.value.maybe_happened


class TestEveryRequest:
    def test_goes_without_cookies_and_packing(self):
        wire = FakeWire(Answer(b"{}", 200, {"Set-Cookie": "a=b", "Content-Type": "application/json"}))

        with transport(wire) as plain:
            plain.get_json(path="/one")
            plain.get_json(path="/two")

        assert all("Cookie" not in sent.headers for sent in wire.sent)
        assert {sent.headers["Accept-Encoding"] for sent in wire.sent} == {"identity"}
