"""Follows the chain and keeps the documents of all NFTs that the factory made.

In memory: at each start the events are read again from the first block.
Source: oceanprotocol/aquarius @ 131a9be : events/processors.py; recordings 01 to 04, 10.
"""

import json
import threading
import traceback
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from eth_abi.abi import decode
from eth_utils.address import to_checksum_address

from ocean_portal.sandbox.chain import Chain
from ocean_portal.sandbox.contracts import Contract
from ocean_portal.sandbox.encoding import RpcError
from ocean_portal.sandbox.indexing.shapes import problems
from ocean_portal.sandbox.provider.decryption import Published, Unreadable, open_document
from ocean_portal.sandbox.provider.ledger import topic
from ocean_portal.sandbox.publish import did_of

CREATED = topic("MetadataCreated(address,uint8,string,bytes,bytes,bytes32,uint256,uint256)")
UPDATED = topic("MetadataUpdated(address,uint8,string,bytes,bytes,bytes32,uint256,uint256)")
STATE = topic("MetadataState(address,uint8,uint256,uint256)")
LOOK_EVERY_S = 0.1
SOFT_DELETED = (2, 3)  # deprecated, revoked
RESTORING = (0, 1)  # active, end of life
KEPT = ("event", "nft", "datatokens", "stats")  # what stays of a document that was taken back


class Indexer:
    """Answers what the index knows; secret: the key that encrypted documents are for."""

    def __init__(self, *, chain: Chain, factory: str, secret: bytes) -> None:
        self._chain = chain
        self._factory = Contract(chain, "ERC721Factory", factory)
        self._secret = secret
        self._lock = threading.RLock()
        self._documents: dict[str, dict[str, Any]] = {}
        self._states: dict[str, dict[str, Any]] = {}
        self._last_block = -1
        self._closing = threading.Event()

    def open(self) -> None:
        """Read what is on the chain, then go on following it in a thread."""
        self.catch_up()
        threading.Thread(target=self._follow, daemon=True).start()

    def close(self) -> None:
        """Stop following."""
        self._closing.set()

    @property
    def last_block(self) -> int:
        """The number of the last block that was read."""
        return self._last_block

    def document(self, *, did: str) -> dict[str, Any] | None:
        """Return the document of a DID, or None."""
        with self._lock:
            return self._documents.get(did)

    def documents(self) -> list[dict[str, Any]]:
        """Return all documents in the order in which they came."""
        with self._lock:
            return list(self._documents.values())

    def states(self) -> list[dict[str, Any]]:
        """Return what became of the last document of each NFT."""
        with self._lock:
            return list(self._states.values())

    def _follow(self) -> None:
        while not self._closing.wait(LOOK_EVERY_S):
            try:
                self.catch_up()
            except Exception:
                # The edge of the thread: a chain that closes, or one strange event, must not end it.
                if self._closing.is_set():
                    return
                traceback.print_exc()

    def catch_up(self) -> None:
        """Read the blocks that came since the last time."""
        with self._lock:
            head = int(self._chain.rpc("eth_blockNumber", []), 16)
            if head <= self._last_block:
                return
            wanted = {
                "fromBlock": hex(self._last_block + 1),
                "toBlock": hex(head),
                "topics": [[CREATED, UPDATED, STATE]],
            }
            # Before reading: a document that breaks the reader is left out, and not read for ever.
            self._last_block = head
            for log in self._chain.rpc("eth_getLogs", [wanted]):
                try:
                    self._take(log)
                except Exception as error:
                    self._note(log, f"{type(error).__name__}: {error}")

    def _take(self, log: Mapping[str, Any]) -> None:
        if log["topics"][0] == STATE:
            self._take_state(log)
        else:
            self._take_document(log)

    def _take_document(self, log: Mapping[str, Any]) -> None:
        nft = to_checksum_address(log["address"])
        if self._factory.call("erc721List", nft).lower() != nft.lower():
            self._note(log, "nft not deployed by our factory")
            return
        try:
            document = json.loads(open_document(published=published_in(log), secret=self._secret))
        except (Unreadable, ValueError) as error:
            self._note(log, str(error))
            return
        did = str(document["id"])
        old = self._documents.get(did)
        if old is not None and int(log["blockNumber"], 16) <= old["event"]["block"]:
            return
        made = self._with_extras(document, log, old)
        if errors := problems(document=made, chain_id=self._chain.chain_id, nft_address=nft):
            kind = "Updated" if old else "New"
            self._note(log, f"{kind} ddo has validation errors: {errors} \nfor record:\n {made}")
            return
        self._documents[did] = made
        self._note(log, None)

    def _with_extras(
        self, document: dict[str, Any], log: Mapping[str, Any], old: Mapping[str, Any] | None
    ) -> dict[str, Any]:
        """Add what Aquarius knows besides. Source: recording 10."""
        nft = Contract(self._chain, "ERC721Template", to_checksum_address(log["address"]))
        block = self._chain.rpc("eth_getBlockByHash", [log["blockHash"], False])
        moment = datetime.fromtimestamp(int(block["timestamp"], 16), tz=UTC).replace(tzinfo=None).isoformat()
        receipt = self._chain.rpc("eth_getTransactionReceipt", [log["transactionHash"]])
        return document | {
            "event": {
                "tx": log["transactionHash"],
                "block": int(log["blockNumber"], 16),
                "from": to_checksum_address(receipt["from"]),
                "contract": nft.address,
                "datetime": moment,
            },
            "nft": {
                "address": nft.address,
                "name": _asked(nft, "name"),
                "symbol": _asked(nft, "symbol"),
                "state": _values(log)[0],
                "tokenURI": _asked(nft, "tokenURI", 1),
                "owner": to_checksum_address(_asked(nft, "ownerOf", 1)),
                "created": old["nft"]["created"] if old else moment,
            },
            "datatokens": [self._datatoken(service) for service in document.get("services", [])],
            # Without a subgraph Aquarius knows neither orders nor prices. Source: recording 10.
            "stats": {"allocated": 0, "orders": -1, "price": {}},
            "purgatory": {"state": False},
        }

    def _datatoken(self, service: Mapping[str, Any]) -> dict[str, Any]:
        token = Contract(self._chain, "ERC20Template", service["datatokenAddress"])
        return {
            "address": service["datatokenAddress"],
            "name": _asked(token, "name"),
            "symbol": _asked(token, "symbol"),
            "serviceId": service["id"],
        }

    def _take_state(self, log: Mapping[str, Any]) -> None:
        """Follow a change of state; what was taken back can come again."""
        nft = to_checksum_address(log["address"])
        did = did_of(nft_address=nft, chain_id=self._chain.chain_id)
        document = self._documents.get(did)
        if document is None:
            return
        state = decode(["uint8", "uint256", "uint256"], bytes.fromhex(log["data"][2:]))[0]
        was = document["nft"]["state"]
        if state in RESTORING and was in SOFT_DELETED:
            del self._documents[did]
            receipt = self._chain.rpc("eth_getTransactionReceipt", [document["event"]["tx"]])
            for item in receipt["logs"]:
                if item["topics"][0] in (CREATED, UPDATED) and item["address"].lower() == nft.lower():
                    self._take_document(item)
            return
        if state in SOFT_DELETED and was not in SOFT_DELETED:
            document = {key: document[key] for key in KEPT}
        self._documents[did] = document | {"nft": document["nft"] | {"state": state}}

    def _note(self, log: Mapping[str, Any], error: str | None) -> None:
        nft = to_checksum_address(log["address"])
        did = did_of(nft_address=nft, chain_id=self._chain.chain_id)
        self._states[did] = {
            "nft": nft,
            "did": did,
            "chain_id": self._chain.chain_id,
            "tx_id": log["transactionHash"],
            "valid": error is None,
            "error": error,
        }


def published_in(log: Mapping[str, Any]) -> Published:
    """Return what an event of setMetaData carries."""
    _, _, flags, data, digest, _, _ = _values(log)
    return Published(data=data, flags=flags, digest=digest)


def _values(log: Mapping[str, Any]) -> tuple[Any, ...]:
    types = ["uint8", "string", "bytes", "bytes", "bytes32", "uint256", "uint256"]
    return tuple(decode(types, bytes.fromhex(log["data"][2:])))


def _asked(contract: Contract, name: str, *arguments: object) -> Any:
    """Ask a contract; what it does not tell is "", as in the original."""
    try:
        return contract.call(name, *arguments)
    except RpcError:
        return ""
