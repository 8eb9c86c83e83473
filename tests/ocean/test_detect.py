"""Who is there: by the recorded root documents, and by what else people enter."""

from typing import Any

import pytest

from jobs.ocean.detect import detect
from jobs.ocean.errors import BadAnswer, OceanError, Rejected, Unreachable
from jobs.ocean.node import OceanNode
from jobs.ocean.provider import Provider
from tests.ocean.provider_wire import BOB, answer, endpoints, root, scenario
from tests.ocean.test_every_recording import assert_for_people
from tests.ocean.wire import Answer, FakeWire, recording, transport

PROVIDER = answer("30-pay-for-compute-service", scenario("30-pay-for-compute-service")[1])
AQUARIUS = answer("40-compute-start", scenario("40-compute-start")[1])
NODE = Answer.recorded(recording("01")[1])


class TestDetect:
    def test_finds_a_provider_with_its_calls(self):
        wire = FakeWire(PROVIDER)

        found = detect(transport(wire))

        assert (found.dialect, found.software, found.version) == ("provider-v4", "Provider", "2.1.6")
        assert found.chain_ids == (8996,)
        assert found.address == "0xe08A1dAe983BC701D05E492DB80e0144f8f4b909"
        assert found.addresses == {8996: found.address}
        assert found.endpoints == endpoints()
        assert [sent.path for sent in wire.sent] == ["/"]

    def test_finds_an_ocean_node(self):
        found = detect(transport(FakeWire(NODE)))

        assert (found.dialect, found.software, found.chain_ids) == ("ocean-node", "Ocean-Node", (8996,))
        assert found.endpoints == {}

    @pytest.mark.parametrize(
        ("found", "said"),
        [
            (AQUARIUS, "This is an Aquarius: it goes into the field for metadata"),
            # Source: operator-service v1.0.1, run.py and constants.py.
            (Answer.json({"software": "Operator service", "version": "1.0.1"}), "operator-service behind"),
            (Answer.text("<!DOCTYPE html><html>Welcome to nginx!</html>"), "A web page"),
            (Answer.text("<!doctype html><html>404</html>", 404), "nothing at this address"),
            (Answer.text("Access deployed subgraphs by deployment ID at /subgraphs/id/<ID>"), "subgraph"),
            (Answer.json({"data": None}), "GraphQL"),
            (Answer.json({"errors": [{"message": "no query"}]}), "GraphQL"),
            (Answer.json({"jsonrpc": "2.0", "error": {"code": -32600}}), "RPC of a chain"),
            (Answer.json({"jsonrpc": "2.0", "error": {"code": -32600}}, 400), "RPC of a chain"),
            (Answer.text("method not allowed", 405), "nothing at this address"),
            (Answer(b""), "empty answer"),
            (Answer.text("hello"), "no JSON"),
            (Answer.json({}), "no compute service"),
            (Answer.json([]), "no compute service"),
            (Answer.json(None), "no compute service"),
            (Answer.json("Provider"), "no compute service"),
            (Answer.json({"software": ["Provider"]}), "no compute service"),
            (Answer.json({"software": "<b>Provider</b>"}), "no compute service"),
            (Answer(b"[" * 100_000), "no JSON"),
        ],
    )
    def test_says_what_else_it_found(self, found, said):
        with pytest.raises(BadAnswer) as caught:
            detect(transport(FakeWire(found)))

        assert caught.value.code == "not_a_service"
        assert said in caught.value.message
        assert_for_people(caught.value)

    def test_tells_nobody_there_from_something_else_there(self):
        with pytest.raises(Unreachable):
            detect(transport(FakeWire(ConnectionResetError())))
        with pytest.raises(Rejected) as down:
            detect(transport(FakeWire(Answer.text("down", 503))))
        with pytest.raises(Rejected) as limited:
            detect(transport(FakeWire(Answer.text("Try again in 5 seconds", 429))))

        assert (down.value.code, limited.value.code) == ("gateway", "rate_limited")

    def test_asks_once(self):
        wire = FakeWire(Answer.text("down", 503))

        with pytest.raises(OceanError):
            detect(transport(wire, retries=True))

        assert len(wire.sent) == 1


def changed(**changes: Any) -> dict[str, Any]:
    return {**root(), **changes}


def placed(place: object, *, name: str = "computeStatus") -> dict[str, Any]:
    return changed(serviceEndpoints={**root()["serviceEndpoints"], name: place})


class TestHostileRoots:
    @pytest.mark.parametrize(
        "document",
        [
            changed(chainIds=None),
            changed(chainIds=["mainnet"]),
            changed(chainIds=[-1]),
            changed(chainIds=[0]),
            changed(chainIds=[2**60]),
            changed(chainIds=5),
            changed(providerAddresses=None),
            changed(providerAddresses={}),
            changed(providerAddresses=[BOB]),
            changed(providerAddresses={"8996": "0x1"}),
            changed(providerAddresses={"x": BOB}),
            changed(providerAddresses={"8996": None}),
            changed(serviceEndpoints=None),
            changed(serviceEndpoints=[]),
            changed(serviceEndpoints={f"a{n}": ["GET", "/api/a"] for n in range(200)}),
            placed(["TRACE", "/api/services/compute"]),
            placed(["CONNECT", "/api/services/compute"]),
            placed(["GET", "https://evil.example/api/services/compute"]),
            placed(["GET", "//evil.example/api/services/compute"]),
            placed(["GET", "/api/services/../../admin"]),
            placed(["GET", "/api/services/compute?jobId=1"]),
            placed(["GET", "/api/services/" + "a" * 1_000]),
            placed(["GET", "/other"]),
            placed(["GET", 5]),
            placed(["GET", "/api/services/compute", "more"]),
            placed("GET"),
            placed(None),
            placed({"method": "GET"}),
            placed(["GET", "/api/a"], name="<script>"),
            placed(["GET", "/api/a"], name="a" * 100),
        ],
    )
    def test_of_a_provider_are_no_service(self, document):
        with pytest.raises(BadAnswer) as caught:
            detect(transport(FakeWire(Answer.json(document))))

        assert caught.value.code == "not_a_service"
        assert "evil" not in caught.value.message
        assert_for_people(caught.value)

    def test_have_a_version_that_is_cut_and_cleaned(self):
        found = detect(transport(FakeWire(Answer.json(changed(version="\u202e" + "9" * 500)))))

        assert found.version == "9" * 40


class TestIdentify:
    def test_of_each_dialect_refuses_the_other(self):
        node, provider = transport(FakeWire(NODE)), transport(FakeWire(PROVIDER))

        with pytest.raises(BadAnswer, match="This is a Provider and no Ocean Node") as no_node:
            OceanNode(provider).identify()
        with pytest.raises(BadAnswer, match="This is an Ocean Node and no Provider") as no_provider:
            Provider(node, aquarius=None, endpoints={}).identify()

        assert (no_node.value.code, no_provider.value.code) == ("not_a_node", "not_a_provider")
