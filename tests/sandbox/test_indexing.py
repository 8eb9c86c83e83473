"""Aquarius follows the chain: documents that any client writes, however packed, and what becomes of them."""

import hashlib
import json
import lzma
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ocean_portal.sandbox.chain import Chain
from ocean_portal.sandbox.contracts import Contract, deploy
from ocean_portal.sandbox.indexing.indexer import CREATED, Indexer
from ocean_portal.sandbox.indexing.routes import Aquarius
from ocean_portal.sandbox.indexing.shapes import problems
from ocean_portal.sandbox.provider import accounts, ecies
from ocean_portal.sandbox.provider.switches import Switches
from ocean_portal.sandbox.publish import create_tokens, did_of
from ocean_portal.sandbox.wsgi import Call

SECRET = bytes(accounts.account(accounts.PROVIDER).key)
SOON_S = 0.5


class World:
    """A chain with the contracts, and an index that follows it."""

    def __init__(self, folder: Path) -> None:
        self.chain = Chain(folder)
        self.contracts = deploy(self.chain)
        self.indexer = Indexer(chain=self.chain, factory=self.contracts["ERC721Factory"], secret=SECRET)
        self.aquarius = Aquarius(
            indexer=self.indexer,
            chain_id=self.chain.chain_id,
            account=accounts.account(accounts.AQUARIUS),
            switches=Switches(folder=folder),
        )

    def create(self, name: str = "Readings") -> dict[str, Any]:
        """Make an NFT with a datatoken as a foreign client would, and return a document for it."""
        nft, datatoken, _ = create_tokens(
            chain=self.chain,
            contracts=self.contracts,
            publisher=self.chain.account(3),
            name=name,
            symbol="DT1",
            price=None,
        )
        return {
            "@context": ["https://w3id.org/did/v1"],
            "id": did_of(nft_address=nft, chain_id=self.chain.chain_id),
            "version": "4.1.0",
            "chainId": self.chain.chain_id,
            "nftAddress": nft,
            "metadata": {
                "created": "2026-11-22T07:08:10.102886",
                "updated": "2026-11-22T07:08:10.102886",
                "description": f"About {name}",
                "name": name,
                "type": "dataset",
                "author": "somebody",
                "license": "CC0",
            },
            "credentials": {"allow": [], "deny": []},
            "services": [
                {
                    "id": "0",
                    "type": "access",
                    "files": "0x04",
                    "datatokenAddress": datatoken,
                    "serviceEndpoint": "http://127.0.0.1:8030",
                    "timeout": 3600,
                }
            ],
        }

    def write(
        self, document: dict[str, Any], *, flags: int = 0, digest: bytes | None = None
    ) -> dict[str, Any]:
        """Store a document on the chain: flag 1 compresses it, flag 2 encrypts it."""
        plain = json.dumps(document).encode()
        packed = lzma.compress(plain) if flags & 1 else plain
        packed = ecies.encrypt(secret=SECRET, content=packed) if flags & 2 else packed
        return Contract(self.chain, "ERC721Template", document["nftAddress"]).send(
            self.chain.account(3),
            "setMetaData",
            0,
            "http://127.0.0.1:8030",
            "",
            bytes([flags]),
            packed,
            digest or hashlib.sha256(plain).digest(),
            [],
        )

    def set_state(self, document: dict[str, Any], state: int) -> None:
        nft = Contract(self.chain, "ERC721Template", document["nftAddress"])
        nft.send(self.chain.account(3), "setMetaDataState", state)

    def found(self, document: dict[str, Any]) -> dict[str, Any] | None:
        return self.indexer.document(did=document["id"])

    def ask(self, path: str, **query: str) -> Any:
        return json.loads(self.aquarius.answer(Call("GET", f"/api/aquarius/{path}", query=query)).body)

    def search(self, **question: Any) -> list[str]:
        """Return the names of the documents that a query finds, of the index of documents alone."""
        call = Call(
            "POST",
            "/api/aquarius/assets/query",
            headers={"content-type": "application/json"},
            content=json.dumps(question).encode(),
        )
        hits = json.loads(self.aquarius.answer(call).body)["hits"]["hits"]
        return [hit["_source"]["metadata"]["name"] for hit in hits if hit["_index"] == "oceandb"]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    world = World(tmp_path_factory.mktemp("chain"))
    world.indexer.open()
    yield world
    world.indexer.close()
    world.chain.close()


def soon(condition: Callable[[], Any]) -> Any:
    """Wait a fraction of a second for something to become true, and return it."""
    deadline = time.monotonic() + SOON_S
    while time.monotonic() < deadline:
        if value := condition():
            return value
        time.sleep(0.01)
    raise AssertionError(f"not within {SOON_S} s")


class TestDocuments:
    @pytest.mark.parametrize("flags", [0, 1, 2, 3])
    def test_appear_within_a_fraction_of_a_second_however_they_are_packed(
        self, world: World, flags: int
    ) -> None:
        document = world.create()

        receipt = world.write(document, flags=flags)
        found = soon(lambda: world.found(document))

        assert {key: found[key] for key in document} == document
        assert found["event"]["tx"] == receipt["transactionHash"]
        assert world.ask("state/ddo", nft=document["nftAddress"])["valid"] is True

    def test_get_what_aquarius_adds_as_recorded(self, world: World) -> None:
        document = world.create("Tides")
        world.write(document)

        found = soon(lambda: world.found(document))

        assert list(found["nft"]) == [*("address", "name", "symbol", "state", "tokenURI", "owner", "created")]
        assert found["nft"]["owner"] == found["event"]["from"] == world.chain.account(3).address
        assert found["datatokens"] == [
            {
                "address": document["services"][0]["datatokenAddress"],
                "name": "Tides",
                "symbol": "DT1",
                "serviceId": "0",
            }
        ]
        assert found["stats"] == {"allocated": 0, "orders": -1, "price": {}}
        assert found["purgatory"] == {"state": False}

    def test_change_with_the_next_one_and_keep_their_creation(self, world: World) -> None:
        document = world.create()
        world.write(document, flags=3)
        first = soon(lambda: world.found(document))
        changed = document | {"metadata": document["metadata"] | {"name": "Readings, corrected"}}

        world.write(changed, flags=3)
        found = soon(lambda: (now := world.found(document)) and now != first and now)

        assert found["metadata"]["name"] == "Readings, corrected"
        assert found["nft"]["created"] == first["nft"]["created"]
        assert found["event"]["block"] > first["event"]["block"]

    @pytest.mark.parametrize(
        ("break_it", "words"),
        [
            ({"metadata": {"name": "no more than a name"}}, "MetadataShape"),
            ({"id": "did:op:" + "1" * 64}, "did is not valid for chain Id and nft address"),
        ],
    )
    def test_that_are_not_valid_stay_outside_with_a_reason(
        self, world: World, break_it: dict[str, Any], words: str
    ) -> None:
        document = world.create()

        world.write(document | break_it)
        state = soon(lambda: [one for one in world.indexer.states() if one["nft"] == document["nftAddress"]])

        assert state[0]["valid"] is False and words in state[0]["error"]
        assert world.found(document) is None

    def test_with_another_checksum_stay_outside(self, world: World) -> None:
        document = world.create()

        world.write(document, digest=b"\1" * 32)
        state = soon(lambda: [one for one in world.indexer.states() if one["nft"] == document["nftAddress"]])

        assert state[0]["error"] == "Checksum doesn't match."

    def test_that_break_the_reader_do_not_end_it(self, world: World) -> None:
        broken, good = world.create(), world.create()
        world.write(broken | {"id": 7, "services": "none"})

        world.write(good)

        assert soon(lambda: world.found(good))

    def test_are_read_again_at_the_next_start(self, world: World) -> None:
        document = world.create()
        world.write(document)
        found = soon(lambda: world.found(document))
        again = Indexer(chain=world.chain, factory=world.contracts["ERC721Factory"], secret=SECRET)

        again.catch_up()

        assert again.document(did=document["id"]) == found
        assert again.states() == world.indexer.states()


class TestStates:
    def test_of_an_nft_are_followed_and_a_revoked_document_is_emptied_until_it_comes_back(
        self, world: World
    ) -> None:
        document = world.create()
        world.write(document, flags=3)
        before = soon(lambda: world.found(document))

        world.set_state(document, 5)
        unlisted = soon(lambda: (now := world.found(document)) and now["nft"]["state"] == 5 and now)
        world.set_state(document, 3)
        revoked = soon(lambda: (now := world.found(document)) and now["nft"]["state"] == 3 and now)
        world.set_state(document, 0)
        back = soon(lambda: (now := world.found(document)) and now["nft"]["state"] == 0 and now)

        assert unlisted["metadata"] == document["metadata"]
        assert list(revoked) == ["event", "nft", "datatokens", "stats"]
        assert back["metadata"] == before["metadata"]

    def test_are_the_same_after_a_new_start(self, world: World) -> None:
        document = world.create()
        world.write(document)
        world.set_state(document, 3)
        again = Indexer(chain=world.chain, factory=world.contracts["ERC721Factory"], secret=SECRET)

        again.catch_up()

        found = again.document(did=document["id"])
        assert found is not None and "metadata" not in found


class TestSearch:
    @pytest.fixture(autouse=True)
    def _three_documents(self, world: World) -> None:
        for name in ("Harbour log", "Harbour map", "Mountain log"):
            if name not in [
                item["metadata"]["name"] for item in world.indexer.documents() if "metadata" in item
            ]:
                world.write(world.create(name))
        world.indexer.catch_up()

    @pytest.mark.parametrize(
        ("question", "names"),
        [
            ({"query_string": {"query": "mountain"}}, {"Mountain log"}),
            ({"match": {"metadata.name": "harbour"}}, {"Harbour log", "Harbour map"}),
            (
                {
                    "bool": {
                        "must": [{"match": {"metadata.name": "log"}}],
                        "filter": [{"term": {"chainId": 8996}}],
                    }
                },
                {"Harbour log", "Mountain log"},
            ),
            ({"term": {"chainId": 1}}, set()),
        ],
    )
    def test_finds_by_words_and_fields(self, world: World, question: dict[str, Any], names: set[str]) -> None:
        assert set(world.search(query=question)) == names

    def test_finds_by_id(self, world: World) -> None:
        named = {item["metadata"]["name"]: item for item in world.indexer.documents() if "metadata" in item}
        wanted = named["Harbour map"]

        assert world.search(query={"ids": {"values": [wanted["id"]]}}) == ["Harbour map"]
        assert world.search(query={"terms": {"_id": [wanted["id"]]}}) == ["Harbour map"]

    def test_sorts_and_pages(self, world: World) -> None:
        harbour = {"query": {"match": {"metadata.name": "harbour"}}}
        by_name = {"sort": {"metadata.name.keyword": {"order": "desc"}}}

        assert world.search(**harbour, **by_name) == ["Harbour map", "Harbour log"]
        assert world.search(**harbour, **by_name, **{"from": 1, "size": 1}) == ["Harbour log"]


class TestShapes:
    def test_find_nothing_in_a_good_document_and_name_each_fault(self, world: World) -> None:
        document = world.create()
        ids = {"chain_id": document["chainId"], "nft_address": document["nftAddress"]}

        assert problems(document=document, **ids) == {}
        faults = {
            "services": [{"id": "0"}],
            "metadata": document["metadata"] | {"created": "yesterday"},
            "version": None,
        }
        assert problems(document=document | faults, **ids) == {
            "version": "Less than 1 value on schema1:version",
            "services": "Value does not conform to Shape schema1:ServiceShape",
            "metadata": "created is not in iso format.",
        }


class TestFactory:
    def test_a_contract_that_the_factory_did_not_make_is_not_indexed(self, world: World) -> None:
        # Code that emits MetadataCreated while it is deployed, from the address that it gets.
        code = "0x7f" + CREATED[2:] + "60006000a1"
        receipt = world.chain.send(world.chain.account(3), {"data": code})

        world.indexer.catch_up()

        errors = {one["nft"]: one["error"] for one in world.indexer.states()}
        assert errors[receipt["contractAddress"]] == "nft not deployed by our factory"
