"""What is at an address: told by recorded answers over the real client, from the root document to the refusal."""

from __future__ import annotations

from typing import Any

import pytest
import requests

from jobs.errors import InvalidInput
from jobs.ocean.transport import Transport
from jobs.services import nodes
from jobs.services.nodes import Detected, NodeSilent
from tests.builders import NOW
from tests.ocean import provider_wire
from tests.ocean.wire import Answer, FakeWire, recording
from tests.services.fakes import Clock

BASE, META = "https://provider.example", "https://aquarius.example"
ROOT = Answer.json(provider_wire.root())
CHAINS = provider_wire.answer("92-aquarius-chains", provider_wire.scenario("92-aquarius-chains")[1])
AQUARIUS = Answer.json({"plugin": "module", "software": "Aquarius", "version": "5.1.8"})
NODE = Answer.recorded(recording("01")[1])


class Wires:
    """The answers by address, and a transport that plays them."""

    def __init__(self) -> None:
        self.at: dict[str, FakeWire] = {}

    def answer(self, url: str, *answers: Answer | Exception) -> None:
        """Let an address answer."""
        self.at[url] = FakeWire(*answers)

    def transport(self, url: str, **options: Any) -> Transport:
        """Make a real transport over a played wire."""
        return Transport(url, adapter=self.at.setdefault(url, FakeWire(Answer())), **options)


@pytest.fixture
def wires(monkeypatch: pytest.MonkeyPatch) -> Wires:
    played = Wires()
    # Patched by name: the service opens its own connections, and this is where they begin.
    monkeypatch.setattr(nodes, "Transport", played.transport)
    return played


def detect(clock: Clock, metadata_url: str = META) -> Detected:
    return nodes.detect(base_url=BASE, metadata_url=metadata_url, allow_private=False, clock=clock)


class TestProvider:
    def test_is_known_with_its_endpoints_and_its_aquarius(self, wires: Wires, clock: Clock) -> None:
        wires.answer(BASE, ROOT)
        wires.answer(META, CHAINS)

        found = detect(clock)

        assert (found.dialect, found.software, found.version, found.chain_ids) == (
            "provider-v4",
            "Provider",
            provider_wire.root()["version"],
            (8996,),
        )
        assert found.address == provider_wire.root()["providerAddresses"]["8996"]
        assert found.said["endpoints"]["computeStart"] == ["POST", "/api/services/compute"]
        assert found.said["identified_at"] == NOW.isoformat()
        assert [len(wire.sent) for wire in wires.at.values()] == [1, 1]

    def test_without_an_aquarius_is_asked_for_one(self, wires: Wires, clock: Clock) -> None:
        wires.answer(BASE, ROOT)

        with pytest.raises(InvalidInput, match="Enter the address of the Aquarius") as caught:
            detect(clock, metadata_url="")

        assert (caught.value.field, caught.value.code) == ("metadata_url", "no_aquarius")

    @pytest.mark.parametrize(
        "answer",
        [
            Answer.json({"error": "not found"}, status=404),
            Answer.text("<html>Hello</html>"),
            Answer.json([8996]),
            Answer.json({"software": "Aquarius"}),
            ROOT,
        ],
        ids=["404", "a page", "a list", "another document", "a Provider"],
    )
    def test_with_an_aquarius_that_is_none_is_refused(
        self, wires: Wires, clock: Clock, answer: Answer
    ) -> None:
        wires.answer(BASE, ROOT)
        wires.answer(META, answer)

        with pytest.raises(InvalidInput) as caught:
            detect(clock)

        assert caught.value.field == "metadata_url"
        assert "aquarius.example" in caught.value.message

    @pytest.mark.parametrize("answer", [requests.ConnectionError("no"), Answer.json({}, status=503)])
    def test_with_a_silent_aquarius_is_not_refused_but_unknown(
        self, wires: Wires, clock: Clock, answer: Answer | Exception
    ) -> None:
        wires.answer(BASE, ROOT)
        wires.answer(META, answer)

        with pytest.raises(NodeSilent) as caught:
            detect(clock)

        assert caught.value.field == "metadata_url"


class TestOceanNode:
    def test_is_known_and_wants_no_aquarius(self, wires: Wires, clock: Clock) -> None:
        wires.answer(BASE, NODE)

        found = detect(clock, metadata_url="")

        assert (found.dialect, found.software) == ("ocean-node", "Ocean-Node")
        with pytest.raises(InvalidInput, match="Leave the Aquarius empty"):
            detect(clock)


class TestNeither:
    @pytest.mark.parametrize(
        ("answer", "said"),
        [
            (AQUARIUS, "This is an Aquarius"),
            (Answer.text("<html><body>Welcome</body></html>"), "A web page is no compute service"),
            (Answer.json({"jsonrpc": "2.0", "error": {}}), "RPC of a chain"),
            (Answer.json({"software": "<script>"}), "no compute service"),
            (Answer.json({"error": "x"}, status=404), "no compute service"),
        ],
    )
    def test_is_refused_with_what_was_found(
        self, wires: Wires, clock: Clock, answer: Answer, said: str
    ) -> None:
        wires.answer(BASE, answer)

        with pytest.raises(InvalidInput) as caught:
            detect(clock)

        assert said in caught.value.message
        assert "<script>" not in caught.value.message
        assert caught.value.field == "base_url"

    @pytest.mark.parametrize("answer", [requests.ConnectionError("no"), Answer.json({}, status=503)])
    def test_is_not_said_of_what_does_not_answer(
        self, wires: Wires, clock: Clock, answer: Answer | Exception
    ) -> None:
        wires.answer(BASE, answer)

        with pytest.raises(NodeSilent) as caught:
            detect(clock)

        assert caught.value.field == "base_url"

    @pytest.mark.parametrize("url", ["ftp://x.example", "https://user@x.example", "nonsense"])
    def test_is_said_of_an_address_that_is_none(self, clock: Clock, url: str) -> None:
        with pytest.raises(InvalidInput) as caught:
            nodes.detect(base_url=url, metadata_url="", allow_private=False, clock=clock)

        assert caught.value.field == "base_url"

    def test_is_said_of_an_address_of_this_machine(self, clock: Clock) -> None:
        with pytest.raises(InvalidInput) as caught:
            nodes.detect(base_url="http://127.0.0.1:9", metadata_url="", allow_private=False, clock=clock)

        assert caught.value.field == "base_url"
