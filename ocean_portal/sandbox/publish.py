"""Publish the demo datasets and algorithms on the sandbox chain, and index them as an Ocean Node would."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from eth_account import Account
from eth_account.signers.local import LocalAccount
from eth_utils.address import to_checksum_address
from eth_utils.crypto import keccak

from ocean_portal.sandbox.chain import ETHER, Chain
from ocean_portal.sandbox.contracts import ZERO_ADDRESS, Contract

_NFT_SYMBOL = "NFT"
_PLAIN = b"\x00"  # flags of setMetaData: neither encrypted nor compressed
_ACTIVE = 0
_CAP_WEI = 100_000 * ETHER
# Nobody needs more free tokens at a time than this, and a dispenser wants some limit.
_DISPENSED_WEI = 100 * ETHER
_NFT_CREATED = (
    "0x" + keccak(text="NFTCreated(address,address,string,address,string,string,bool,address)").hex()
)
_TOKEN_CREATED = "0x" + keccak(text="TokenCreated(address,address,string,string,uint256,address)").hex()


@dataclass(frozen=True)
class Published:
    """An asset on the chain; ddo is the document as the node's index answers it."""

    did: str
    nft_address: str
    datatoken_address: str
    tx_hash: str
    ddo: dict[str, Any]


def publish_asset(
    chain: Chain,
    contracts: Mapping[str, Any],
    *,
    publisher_key_or_index: str | int,
    name: str,
    symbol: str,
    kind: Literal["dataset", "algorithm"],
    metadata: Mapping[str, Any],
    service: Mapping[str, Any],
    seal_files: Callable[[dict[str, Any]], str],
    price: int | None = None,
) -> Published:
    """Create NFT and datatoken in one transaction, write the DDO (4.1.0) on chain, and return it as indexed.

    name, symbol: of the datatoken; the asset has the same name.
    metadata: description, author, license, tags, ... and, for algorithms, `algorithm` with its container.
    service: id, type, timeout, serviceEndpoint, `compute` if there is one, `files` as a list of file objects.
    seal_files: turns the file objects with their addresses into the opaque hex text of the DDO.
    price: of one access, in wei of the Ocean token; without it a dispenser gives datatokens away.
    Raises: RpcError when the chain refuses, with its reason.
    Source: recording 30, exchanges 1 to 10.
    """
    publisher = _publisher(chain, publisher_key_or_index)
    nft_address, datatoken_address, created_at = create_tokens(
        chain=chain, contracts=contracts, publisher=publisher, name=name, symbol=symbol, price=price
    )
    moment = f"{created_at:%Y-%m-%dT%H:%M:%SZ}"
    sealed = seal_files(
        {"nftAddress": nft_address, "datatokenAddress": datatoken_address, "files": service["files"]}
    )
    ddo: dict[str, Any] = {
        "@context": ["https://w3id.org/did/v1"],
        "id": did_of(nft_address=nft_address, chain_id=chain.chain_id),
        "version": "4.1.0",
        "chainId": chain.chain_id,
        "nftAddress": nft_address,
        "metadata": {"created": moment, "updated": moment, "type": kind, "name": name, **metadata},
        "services": [_service(service, sealed, datatoken_address)],
    }
    document = json.dumps(ddo, separators=(",", ":"), ensure_ascii=False).encode()
    receipt = Contract(chain, "ERC721Template", nft_address).send(
        publisher,
        "setMetaData",
        _ACTIVE,
        service["serviceEndpoint"],
        "",
        _PLAIN,
        document,
        hashlib.sha256(document).digest(),
        [],
    )
    token = {
        "datatokenAddress": datatoken_address,
        "name": name,
        "symbol": symbol,
        "serviceId": service["id"],
    }
    indexed_at = _time_of(chain, receipt)
    indexed = {
        "stats": [token | {"orders": 0, "prices": [_price(chain, contracts, datatoken_address, price)]}],
        "nft": {
            "state": _ACTIVE,
            "address": nft_address,
            "name": name,
            "symbol": _NFT_SYMBOL,
            "owner": publisher.address,
            "created": f"{indexed_at:%Y-%m-%dT%H:%M:%SZ}",
            "tokenURI": "",
        },
        "event": {
            "txid": receipt["transactionHash"],
            "from": publisher.address,
            "contract": nft_address,
            "block": int(receipt["blockNumber"], 16),
            "datetime": f"{indexed_at:%Y-%m-%dT%H:%M:%S.000Z}",
        },
        "purgatory": {"state": False},
    }
    datatoken = {"address": datatoken_address, "name": name, "symbol": symbol, "serviceId": service["id"]}
    return Published(
        did=ddo["id"],
        nft_address=nft_address,
        datatoken_address=datatoken_address,
        tx_hash=receipt["transactionHash"],
        ddo=ddo | {"datatokens": [datatoken], "indexedMetadata": indexed},
    )


def did_of(*, nft_address: str, chain_id: int) -> str:
    """Compute the DID of an NFT: its checksummed address and the decimal chain id, hashed together.

    Source: recording 30, exchange 2.
    """
    return "did:op:" + hashlib.sha256(f"{to_checksum_address(nft_address)}{chain_id}".encode()).hexdigest()


def _publisher(chain: Chain, key_or_index: str | int) -> LocalAccount:
    if isinstance(key_or_index, int):
        return chain.account(key_or_index)
    account: LocalAccount = Account.from_key(key_or_index)
    return account


def create_tokens(
    *,
    chain: Chain,
    contracts: Mapping[str, Any],
    publisher: LocalAccount,
    name: str,
    symbol: str,
    price: int | None,
) -> tuple[str, str, datetime]:
    """Create the NFT with its datatoken and a way to get one; return both addresses and the block's time.

    price: in wei of the Ocean token; without it a dispenser. Raises RpcError.
    """
    owner = publisher.address
    nft = (name, _NFT_SYMBOL, 1, "", True, owner)
    datatoken: tuple[Any, ...] = (
        1,
        [name, symbol],
        [owner, owner, ZERO_ADDRESS, ZERO_ADDRESS],
        [_CAP_WEI, 0],
        [],
    )
    factory = Contract(chain, "ERC721Factory", contracts["ERC721Factory"])
    if price is None:
        dispenser = (contracts["Dispenser"], _DISPENSED_WEI, _DISPENSED_WEI, True, ZERO_ADDRESS)
        receipt = factory.send(publisher, "createNftWithErc20WithDispenser", nft, datatoken, dispenser)
    else:
        exchange = (
            contracts["FixedPrice"],
            [contracts["Ocean"], owner, ZERO_ADDRESS, ZERO_ADDRESS],
            [18, 18, price, 0, 1],
        )
        receipt = factory.send(publisher, "createNftWithErc20WithFixedRate", nft, datatoken, exchange)
    logs = {log["topics"][0]: log for log in receipt["logs"] if log["address"] == factory.address}
    nft_address = to_checksum_address(logs[_NFT_CREATED]["data"][2:66][-40:])
    datatoken_address = to_checksum_address(logs[_TOKEN_CREATED]["topics"][1][-40:])
    return nft_address, datatoken_address, _time_of(chain, receipt)


def _service(service: Mapping[str, Any], sealed: str, datatoken_address: str) -> dict[str, Any]:
    """Put a service together in the order of the recordings, with the sealed files in place of the plain."""
    first = {key: service[key] for key in ("id", "type", "timeout")}
    rest = {key: value for key, value in service.items() if key not in (*first, "files", "serviceEndpoint")}
    return {
        **first,
        **rest,
        "files": sealed,
        "datatokenAddress": datatoken_address,
        "serviceEndpoint": service["serviceEndpoint"],
    }


def _price(
    chain: Chain, contracts: Mapping[str, Any], datatoken_address: str, price: int | None
) -> dict[str, Any]:
    """Write what the index says of the price. Source: recording 30, exchange 18."""
    if price is None:
        return {
            "type": "dispenser",
            "price": "0",
            "contract": contracts["Dispenser"],
            "token": datatoken_address,
        }
    exchange = Contract(chain, "FixedRateExchange", contracts["FixedPrice"])
    return {
        "type": "fixedrate",
        "price": _units(price),
        "token": contracts["Ocean"],
        "contract": contracts["FixedPrice"],
        "exchangeId": "0x" + exchange.call("generateExchangeId", contracts["Ocean"], datatoken_address).hex(),
    }


def _units(amount_wei: int) -> str:
    """Write an amount of 18 decimals with at least one of them, as ethers does ("2.0")."""
    whole, fraction = divmod(amount_wei, ETHER)
    return f"{whole}.{f'{fraction:018d}'.rstrip('0') or '0'}"


def _time_of(chain: Chain, receipt: Mapping[str, Any]) -> datetime:
    block = chain.rpc("eth_getBlockByHash", [receipt["blockHash"], False])
    return datetime.fromtimestamp(int(block["timestamp"], 16), tz=UTC)
