"""Publishing on the sandbox chain: what is on chain and what the index answers, against recording 30."""

import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from eth_abi import decode
from eth_utils import to_checksum_address

from ocean_portal.sandbox.chain import ETHER, Chain
from ocean_portal.sandbox.contracts import Contract, deploy, mint
from ocean_portal.sandbox.encoding import RpcError
from ocean_portal.sandbox.publish import Published, did_of, publish_asset
from tests.sandbox.devchain import GENESIS_TIME, Clock

RECORDING = Path(__file__).parents[1] / "wire/ocean-node-3.2.0/30-publish-and-index.json"
METADATA = {
    "description": "Compute for any algorithm",
    "tags": ["test"],
    "author": "Local test network",
    "license": "https://creativecommons.org/licenses/by/4.0/",
    "additionalInformation": {"termsAndConditions": True},
}
ALGORITHM = {
    "language": "python",
    "version": "1.0",
    "container": {"entrypoint": "python3 $ALGO", "image": "python", "tag": "3.11", "checksum": "sha256:00"},
}
TRUST = {
    "publisherTrustedAlgorithmPublishers": ["*"],
    "publisherTrustedAlgorithms": [{"did": "*", "filesChecksum": "*", "containerSectionChecksum": "*"}],
    "allowRawAlgorithm": True,
    "allowNetworkAccess": False,
}
FILES = [{"type": "url", "url": "http://127.0.0.1:8010/data.csv", "method": "GET"}]
ACCESS = {
    "id": "algo-access",
    "type": "access",
    "timeout": 0,
    "files": FILES,
    "serviceEndpoint": "http://127.0.0.1:8001",
}
COMPUTE = ACCESS | {"id": "compute-1", "type": "compute", "compute": TRUST}


@pytest.fixture
def chain(tmp_path: Path) -> Iterator[Chain]:
    opened = Chain(tmp_path, clock=Clock())
    yield opened
    opened.close()


@pytest.fixture
def contracts(chain: Chain) -> dict[str, Any]:
    return deploy(chain)


@pytest.fixture
def publish(chain: Chain, contracts: dict[str, Any]) -> Callable[..., Published]:
    def publish(**changes: Any) -> Published:
        asked: dict[str, Any] = {
            "publisher_key_or_index": 0,
            "name": "Open readings",
            "symbol": "READ",
            "kind": "dataset",
            "metadata": METADATA,
            "service": COMPUTE,
            "seal_files": lambda plain: "0x" + json.dumps(plain).encode().hex(),
        }
        return publish_asset(chain, contracts, **(asked | changes))

    return publish


def recorded() -> list[dict[str, Any]]:
    """Return every asset that recording 30 shows, as the node's searches answered them."""
    exchanges = json.loads(RECORDING.read_text())["exchanges"]
    answers = [exchange["response"]["body"]["json"] for exchange in exchanges[17:19]]
    return [asset for answer in answers for asset in answer[0]]


def shape(value: Any) -> Any:
    """Reduce a document to its keys, in their order, and the types of its values."""
    if isinstance(value, dict):
        return [(key, shape(item)) for key, item in value.items()]
    if isinstance(value, list):
        return [shape(item) for item in value]
    return type(value).__name__


def find(**wanted: Any) -> dict[str, Any]:
    (found,) = (asset for asset in recorded() if asset["metadata"]["name"] in wanted.values())
    return found


class TestDidOf:
    def test_agrees_with_every_recorded_asset(self) -> None:
        assets = recorded()

        assert len(assets) >= 5
        for asset in assets:
            assert did_of(nft_address=asset["nftAddress"].lower(), chain_id=8996) == asset["id"]


class TestPublishAsset:
    def test_dataset_has_the_shape_of_a_recorded_one(self, publish: Callable[..., Published]) -> None:
        assert shape(publish().ddo) == shape(find(name="Open readings"))

    def test_algorithm_has_the_shape_of_a_recorded_one(self, publish: Callable[..., Published]) -> None:
        published = publish(kind="algorithm", metadata=METADATA | {"algorithm": ALGORITHM}, service=ACCESS)

        assert shape(published.ddo) == shape(find(name="Sum of a column"))
        assert published.ddo["metadata"]["type"] == "algorithm"

    def test_priced_dataset_has_the_shape_of_a_recorded_one(
        self, contracts: dict[str, Any], publish: Callable[..., Published]
    ) -> None:
        trusted = TRUST | {"publisherTrustedAlgorithmPublishers": []}

        published = publish(price=2 * ETHER, service=COMPUTE | {"compute": trusted})

        assert shape(published.ddo) == shape(find(name="Restricted readings"))
        (price,) = published.ddo["indexedMetadata"]["stats"][0]["prices"]
        assert price["price"] == "2.0"
        assert price["token"] == contracts["Ocean"]

    def test_index_tells_what_the_chain_holds(self, chain: Chain, publish: Callable[..., Published]) -> None:
        published = publish(publisher_key_or_index=2)

        indexed = published.ddo["indexedMetadata"]
        receipt = chain.rpc("eth_getTransactionReceipt", [published.tx_hash])
        block = chain.rpc("eth_getBlockByHash", [receipt["blockHash"], False])
        nft = Contract(chain, "ERC721Template", published.nft_address)
        token = Contract(chain, "ERC20Template", published.datatoken_address)
        assert published.did == published.ddo["id"] == did_of(nft_address=nft.address, chain_id=8996)
        assert indexed["nft"]["owner"] == to_checksum_address(nft.call("ownerOf", 1))
        assert indexed["nft"]["owner"] == chain.account(2).address
        assert indexed["event"]["block"] == int(receipt["blockNumber"], 16)
        assert indexed["event"]["from"] == receipt["from"]
        assert indexed["event"]["contract"] == receipt["to"] == published.nft_address
        assert int(block["timestamp"], 16) == GENESIS_TIME + 1
        assert indexed["event"]["datetime"] == "2023-11-14T22:13:21.000Z"
        assert indexed["nft"]["created"] == "2023-11-14T22:13:21Z"
        assert published.ddo["metadata"]["created"] == "2023-11-14T22:13:20Z"
        assert (token.call("name"), token.call("symbol")) == ("Open readings", "READ")
        assert published.ddo["datatokens"] == [
            {"address": token.address, "name": "Open readings", "symbol": "READ", "serviceId": "compute-1"}
        ]

    def test_document_on_chain_is_the_indexed_one_unencrypted(
        self, chain: Chain, publish: Callable[..., Published]
    ) -> None:
        published = publish()

        (log,) = chain.rpc("eth_getTransactionReceipt", [published.tx_hash])["logs"]
        state, url, flags, document, checksum, _, _ = decode(
            ["uint8", "string", "bytes", "bytes", "bytes32", "uint256", "uint256"],
            bytes.fromhex(log["data"][2:]),
        )
        assert (state, url, flags) == (0, "http://127.0.0.1:8001", b"\x00")
        assert checksum == hashlib.sha256(document).digest()
        on_chain = json.loads(document)
        assert on_chain == {key: published.ddo[key] for key in on_chain}
        assert set(published.ddo) - set(on_chain) == {"datatokens", "indexedMetadata"}

    def test_files_are_sealed_with_their_addresses(self, publish: Callable[..., Published]) -> None:
        published = publish()

        sealed = bytes.fromhex(published.ddo["services"][0]["files"][2:])
        assert json.loads(sealed) == {
            "nftAddress": published.nft_address,
            "datatokenAddress": published.datatoken_address,
            "files": FILES,
        }

    def test_free_asset_can_be_dispensed_by_anybody(
        self, chain: Chain, contracts: dict[str, Any], publish: Callable[..., Published]
    ) -> None:
        published = publish()
        bob = chain.account(4)

        dispenser = Contract(chain, "Dispenser", contracts["Dispenser"])
        dispenser.send(bob, "dispense", published.datatoken_address, ETHER, bob.address)

        token = Contract(chain, "ERC20Template", published.datatoken_address)
        assert token.call("balanceOf", bob.address) == ETHER

    def test_priced_asset_is_bought_for_its_price(
        self, chain: Chain, contracts: dict[str, Any], publish: Callable[..., Published]
    ) -> None:
        published = publish(price=2 * ETHER)
        bob = chain.account(4)
        (price,) = published.ddo["indexedMetadata"]["stats"][0]["prices"]
        ocean = Contract(chain, "OceanToken", contracts["Ocean"])
        exchange = Contract(chain, "FixedRateExchange", price["contract"])
        before = ocean.call("balanceOf", bob.address)

        ocean.send(bob, "approve", exchange.address, 3 * ETHER)
        exchange_id = bytes.fromhex(price["exchangeId"][2:])
        exchange.send(bob, "buyDT", exchange_id, ETHER, 3 * ETHER, "0x" + "00" * 20, 0)

        # The price, and the community's fee of 0.1 % for a token that the router knows.
        assert before - ocean.call("balanceOf", bob.address) == 2 * ETHER * 1001 // 1000

    def test_key_may_name_the_publisher(self, chain: Chain, publish: Callable[..., Published]) -> None:
        key = "0x" + bytes(chain.account(3).key).hex()

        published = publish(publisher_key_or_index=key)

        assert published.ddo["indexedMetadata"]["nft"]["owner"] == chain.account(3).address

    def test_two_assets_of_one_name_are_two(self, publish: Callable[..., Published]) -> None:
        assert publish().did != publish().did


class TestDeploy:
    def test_templates_are_known_to_the_factory(self, chain: Chain, contracts: dict[str, Any]) -> None:
        factory = Contract(chain, "ERC721Factory", contracts["ERC721Factory"])

        assert factory.call("getCurrentTemplateCount") == 2
        for index in ("1", "2"):
            template, active = factory.call("getTokenTemplate", int(index))
            assert (template.lower(), active) == (contracts["ERC20Template"][index].lower(), True)

    def test_router_trusts_exchange_dispenser_and_factory(
        self, chain: Chain, contracts: dict[str, Any]
    ) -> None:
        router = Contract(chain, "FactoryRouter", contracts["Router"])

        assert router.call("isFixedRateContract", contracts["FixedPrice"])
        assert router.call("isDispenserContract", contracts["Dispenser"])
        assert router.call("factory").lower() == contracts["ERC721Factory"].lower()

    def test_addresses_are_those_of_the_recordings_network(self, contracts: dict[str, Any]) -> None:
        # The first contract of account 0 has the same address on every development chain.
        assert (
            contracts["Ocean"]
            == find(name="Restricted readings")["indexedMetadata"]["stats"][0]["prices"][0]["token"]
        )
        assert contracts["chainId"] == 8996

    def test_escrow_takes_a_deposit(self, chain: Chain, contracts: dict[str, Any]) -> None:
        bob = chain.account(4)
        escrow = Contract(chain, "Escrow", contracts["Escrow"])
        Contract(chain, "OceanToken", contracts["Ocean"]).send(bob, "approve", escrow.address, ETHER)

        escrow.send(bob, "deposit", contracts["Ocean"], ETHER)

        available, locked = escrow.call("getUserFunds", bob.address, contracts["Ocean"])
        assert (available, locked) == (ETHER, 0)


class TestMint:
    @pytest.mark.parametrize(
        ("token", "artifact"), [("Ocean", "OceanToken"), ("MockUSDC", "MockERC20Decimals")]
    )
    def test_tokens_arrive(self, chain: Chain, contracts: dict[str, Any], token: str, artifact: str) -> None:
        stranger = "0x00000000000000000000000000000000000000AA"

        mint(chain, contracts, token, stranger, 12_345)

        assert Contract(chain, artifact, contracts[token]).call("balanceOf", stranger) == 12_345

    def test_ether_arrives(self, chain: Chain, contracts: dict[str, Any]) -> None:
        stranger = "0x00000000000000000000000000000000000000aA"

        mint(chain, contracts, "ether", stranger, 12_345)

        assert int(chain.rpc("eth_getBalance", [stranger]), 16) == 12_345

    def test_unknown_token_is_named(self, chain: Chain, contracts: dict[str, Any]) -> None:
        with pytest.raises(KeyError, match="DOGE"):
            mint(chain, contracts, "DOGE", chain.account(1).address, 1)

    def test_too_much_says_why(self, chain: Chain, contracts: dict[str, Any]) -> None:
        with pytest.raises(RpcError, match="insufficient funds"):
            mint(chain, contracts, "ether", chain.account(1).address, 10**30)
        with pytest.raises(RpcError, match="transfer amount exceeds balance"):
            mint(chain, contracts, "MockUSDC", chain.account(1).address, 10**30)
