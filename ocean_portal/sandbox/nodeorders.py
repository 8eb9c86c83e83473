"""Reads orders from the chain and judges them as an Ocean Node does.

Source: recordings 31 and 33; ocean-node v3.2.0, validateOrders.ts and feesHandler.ts, verifyProviderFees.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from eth_abi.abi import decode
from eth_utils.address import to_checksum_address
from eth_utils.crypto import keccak

from ocean_portal.sandbox.chain import Chain
from ocean_portal.sandbox.contracts import Contract
from ocean_portal.sandbox.encoding import RpcError

Event = TypeVar("Event")


def _topic(signature: str) -> str:
    return "0x" + keccak(text=signature).hex()


_STARTED = _topic("OrderStarted(address,address,uint256,uint256,uint256,address,uint256)")
_REUSED = _topic("OrderReused(bytes32,address,uint256,uint256)")
_FEE = _topic("ProviderFee(address,address,uint256,bytes,uint8,bytes32,bytes32,uint256)")


@dataclass(frozen=True)
class Started:
    """Who may use what was ordered."""

    consumer: str
    payer: str
    service_index: int


@dataclass(frozen=True)
class PaidFee:
    """A provider fee in an order; data: what it says of the service."""

    provider: str
    data: bytes
    valid_for_s: int


@dataclass(frozen=True)
class Order:
    """What one transaction left behind; datatoken: the contract that was called; mined_at in seconds."""

    datatoken: str
    mined_at: int
    started: tuple[Started, ...]
    reused: tuple[str, ...]
    fees: tuple[PaidFee, ...]


@dataclass(frozen=True)
class Wanted:
    """The service that an order must be for; timeout_s: how long it holds, 0 for ever."""

    nft: str
    datatoken: str
    service_id: str
    service_index: int
    timeout_s: int


class Ledger(Protocol):
    """What is asked of the chain."""

    def order(self, *, tx_hash: str) -> Order | None:
        """Return what a transaction left behind, None when there is no such one."""

    def is_datatoken_of(self, *, nft: str, datatoken: str) -> bool:
        """Tell whether the NFT made this datatoken."""


class ChainLedger:
    """The Ledger of the sandbox's own chain."""

    def __init__(self, *, chain: Chain) -> None:
        self._chain = chain

    def order(self, *, tx_hash: str) -> Order | None:
        """Return what a transaction left behind, None when there is no such one."""
        try:
            raw = self._chain.rpc("eth_getTransactionReceipt", [tx_hash])
        except RpcError:  # not even a hash
            return None
        if raw is None or raw["to"] is None:
            return None
        block = self._chain.rpc("eth_getBlockByHash", [raw["blockHash"], False])
        return Order(
            datatoken=raw["to"],
            mined_at=int(block["timestamp"], 16),
            started=_events(raw, _STARTED, _started),
            reused=_events(raw, _REUSED, _reused),
            fees=_events(raw, _FEE, _fee),
        )

    def is_datatoken_of(self, *, nft: str, datatoken: str) -> bool:
        """Tell whether the NFT made this datatoken."""
        return bool(Contract(self._chain, "ERC721Template", nft).call("isDeployed", datatoken))


@dataclass(frozen=True)
class OrderDesk:
    """Judges orders; consumer: whom they must be for, provider: who must have signed their fees."""

    ledger: Ledger
    consumer: str
    provider: str
    now: Callable[[], float]

    def holds(self, *, tx_hash: str, wanted: Wanted) -> bool:
        """Tell whether an order gives the environment access to a service now.

        A renewed order holds as long as the first one did: the node looks at that one's block.
        """
        called = self.ledger.order(tx_hash=tx_hash)
        if called is None or called.datatoken.lower() != wanted.datatoken.lower():
            return False
        order = self.ledger.order(tx_hash=called.reused[0]) if called.reused else called
        if order is None:
            return False
        ours = [event for event in order.started if self.consumer in (event.consumer, event.payer)]
        if not ours or ours[0].service_index != wanted.service_index:
            return False
        if not self.ledger.is_datatoken_of(nft=wanted.nft, datatoken=wanted.datatoken):
            return False
        return not wanted.timeout_s or self.now() - order.mined_at <= wanted.timeout_s

    def fee_holds(self, *, tx_hash: str, wanted: Wanted) -> bool:
        """Tell whether an order carries a fee of this node for a service that is not over yet."""
        order = self.ledger.order(tx_hash=tx_hash)
        return order is not None and any(
            fee.provider == self.provider
            and _names(fee.data, wanted)
            and (not fee.valid_for_s or self.now() - order.mined_at <= fee.valid_for_s)
            for fee in order.fees
        )


def _names(data: bytes, wanted: Wanted) -> bool:
    try:
        said = json.loads(data)
        return bool(said["id"] == wanted.service_id and said["dt"].lower() == wanted.datatoken.lower())
    except (ValueError, TypeError, KeyError, AttributeError):
        return False


def _events(
    raw: Mapping[str, Any], wanted: str, read: Callable[[Mapping[str, Any]], Event]
) -> tuple[Event, ...]:
    return tuple(read(log) for log in raw["logs"] if log["topics"] and log["topics"][0] == wanted)


def _values(log: Mapping[str, Any], *types: str) -> tuple[Any, ...]:
    return tuple(decode(types, bytes.fromhex(log["data"][2:])))


def _started(log: Mapping[str, Any]) -> Started:
    payer, _, index, _, _ = _values(log, "address", "uint256", "uint256", "uint256", "uint256")
    consumer = to_checksum_address(log["topics"][1][-40:])
    return Started(consumer=consumer, payer=to_checksum_address(payer), service_index=index)


def _reused(log: Mapping[str, Any]) -> str:
    return "0x" + bytes(_values(log, "bytes32", "address", "uint256", "uint256")[0]).hex()


def _fee(log: Mapping[str, Any]) -> PaidFee:
    _, data, _, _, _, valid = _values(log, "uint256", "bytes", "uint8", "bytes32", "bytes32", "uint256")
    return PaidFee(provider=to_checksum_address(log["topics"][1][-40:]), data=data, valid_for_s=valid)
