"""Reads the sandbox's chain for the Provider: orders with their fees, and what the NFTs say.

Source: ERC20Template and ERC721Template of the package ocean-contracts (events, getMetaData, isDeployed).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from eth_abi.abi import decode
from eth_utils.address import to_checksum_address
from eth_utils.crypto import keccak

from ocean_portal.sandbox.chain import Chain
from ocean_portal.sandbox.contracts import Contract

Event = TypeVar("Event")


def topic(signature: str) -> str:
    """Return the first topic of an event."""
    return "0x" + keccak(text=signature).hex()


ORDER_STARTED = topic("OrderStarted(address,address,uint256,uint256,uint256,address,uint256)")
ORDER_REUSED = topic("OrderReused(bytes32,address,uint256,uint256)")
PROVIDER_FEE = topic("ProviderFee(address,address,uint256,bytes,uint8,bytes32,bytes32,uint256)")


@dataclass(frozen=True)
class Started:
    """One OrderStarted event; times in seconds."""

    consumer: str
    payer: str
    amount_wei: int
    service_index: int
    at: int


@dataclass(frozen=True)
class Reused:
    """One OrderReused event: the transaction of the order that it renews."""

    order_tx: str
    at: int


@dataclass(frozen=True)
class Fee:
    """One ProviderFee event; valid_until in seconds."""

    address: str
    token: str
    amount_wei: int
    data: bytes
    v: int
    r: bytes
    s: bytes
    valid_until: int


@dataclass(frozen=True)
class Receipt:
    """What one transaction left behind, whatever contracts it touched; block_at in seconds."""

    tx_hash: str
    succeeded: bool
    block_at: int
    started: tuple[Started, ...]
    reused: tuple[Reused, ...]
    fees: tuple[Fee, ...]


class Ledger(Protocol):
    """What the Provider asks the chain."""

    def receipt(self, *, tx_hash: str) -> Receipt | None:
        """Return what a transaction left behind, None when there is no such one."""

    def state(self, *, nft: str) -> int:
        """Return the metadata state that an NFT's contract has now. Raises Exception for no contract."""

    def is_datatoken_of(self, *, nft: str, datatoken: str) -> bool:
        """Tell whether the NFT made this datatoken."""


class ChainLedger:
    """The Ledger of the sandbox's own chain."""

    def __init__(self, *, chain: Chain) -> None:
        self._chain = chain

    def receipt(self, *, tx_hash: str) -> Receipt | None:
        """Return what a transaction left behind. Raises RpcError for what is no hash."""
        raw = self._chain.rpc("eth_getTransactionReceipt", [tx_hash])
        if raw is None:
            return None
        block = self._chain.rpc("eth_getBlockByHash", [raw["blockHash"], False])
        return Receipt(
            tx_hash=raw["transactionHash"],
            succeeded=raw["status"] == "0x1",
            block_at=int(block["timestamp"], 16),
            started=_events(raw, ORDER_STARTED, _started),
            reused=_events(raw, ORDER_REUSED, _reused),
            fees=_events(raw, PROVIDER_FEE, _fee),
        )

    def state(self, *, nft: str) -> int:
        """Return the metadata state of an NFT. Raises RpcError or DecodingError for no contract."""
        return int(Contract(self._chain, "ERC721Template", nft).call("getMetaData")[2])

    def is_datatoken_of(self, *, nft: str, datatoken: str) -> bool:
        """Tell whether the NFT made this datatoken."""
        return bool(Contract(self._chain, "ERC721Template", nft).call("isDeployed", datatoken))


def _events(
    raw: Mapping[str, Any], wanted: str, read: Callable[[Mapping[str, Any]], Event]
) -> tuple[Event, ...]:
    return tuple(read(log) for log in raw["logs"] if log["topics"] and log["topics"][0] == wanted)


def _values(log: Mapping[str, Any], *types: str) -> tuple[Any, ...]:
    return tuple(decode(types, bytes.fromhex(log["data"][2:])))


def _indexed(log: Mapping[str, Any], place: int) -> str:
    return to_checksum_address(log["topics"][place][-40:])


def _started(log: Mapping[str, Any]) -> Started:
    payer, amount, index, at, _ = _values(log, "address", "uint256", "uint256", "uint256", "uint256")
    return Started(
        consumer=_indexed(log, 1),
        payer=to_checksum_address(payer),
        amount_wei=amount,
        service_index=index,
        at=at,
    )


def _reused(log: Mapping[str, Any]) -> Reused:
    order, _, at, _ = _values(log, "bytes32", "address", "uint256", "uint256")
    return Reused(order_tx="0x" + order.hex(), at=at)


def _fee(log: Mapping[str, Any]) -> Fee:
    amount, data, v, r, s, valid_until = _values(
        log, "uint256", "bytes", "uint8", "bytes32", "bytes32", "uint256"
    )
    return Fee(
        address=_indexed(log, 1),
        token=_indexed(log, 2),
        amount_wei=amount,
        data=data,
        v=v,
        r=r,
        s=s,
        valid_until=valid_until,
    )
