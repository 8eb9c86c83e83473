"""The Escrow contract as the node uses it: it locks a payer's money, claims what a job cost, gives back the rest.

The contract is that of ocean-contracts 3.1.0, whose claims name a job type and providers of subsidies; the node has
neither. Source: the package's Escrow; oceanprotocol/contracts @ v2.6.0 : contracts/escrow/Escrow.sol for the rest.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Protocol

from eth_abi.abi import decode
from eth_account.signers.local import LocalAccount
from eth_utils.address import to_checksum_address
from eth_utils.crypto import keccak

from ocean_portal.sandbox.chain import Chain
from ocean_portal.sandbox.contracts import ZERO_ADDRESS, Contract

_NO_JOB_TYPE = 0
_EVENTS = {
    "Lock": ("address", "address", "uint256", "uint256", "uint256", "address"),
    "Claimed": ("address", "uint256", "address", "address", "uint256", "bytes"),
    "Canceled": ("address", "uint256", "address", "address", "uint256"),
}
_TOPICS = {name: "0x" + keccak(text=f"{name}({','.join(types)})").hex() for name, types in _EVENTS.items()}


@dataclass(frozen=True)
class Authorization:
    """What a payer allows the node: wei, seconds, and a number of locks."""

    max_locked_wei: int
    locked_wei: int
    max_lock_s: int
    max_locks: int
    locks: int


@dataclass(frozen=True)
class Lock:
    """Money that waits for a job's end; expires_at in seconds of the chain."""

    job: int
    payer: str
    amount_wei: int
    expires_at: int
    token: str


@dataclass(frozen=True)
class Claim:
    """The end of a lock: the transaction, and how much of it was taken."""

    tx_hash: str
    amount_wei: int


class Escrow(Protocol):
    """What the node asks of and does with the contract; amounts in wei, times in seconds."""

    @property
    def address(self) -> str:
        """The contract's address."""

    def available_wei(self, *, payer: str, token: str) -> int:
        """Return what a payer has deposited and nobody has locked."""

    def authorizations(self, *, payer: str, token: str) -> list[Authorization]:
        """Return what a payer allows this node."""

    def locks(self) -> list[Lock]:
        """Return all locks of this node."""

    def now(self) -> int:
        """Return the chain's time."""

    def create(self, *, job: int, payer: str, token: str, amount_wei: int, seconds: int) -> str:
        """Lock money and return the transaction. Raises RpcError with the contract's reason."""

    def claim(self, *, lock: Lock, amount_wei: int, proof: str) -> str:
        """Take money, give back the rest, and return the transaction. Raises RpcError."""

    def cancel(self, *, lock: Lock) -> str:
        """Give an expired lock back and return the transaction. Raises RpcError."""

    def locked_in(self, *, job: int) -> str | None:
        """Return the transaction that locked for a job, None when none did."""

    def claimed_in(self, *, job: int) -> Claim | None:
        """Return the claim of a job's lock, None when there is none."""

    def cancelled_in(self, *, job: int) -> str | None:
        """Return the transaction that gave a job's lock back, None when none did."""


class ChainEscrow:
    """The Escrow on the sandbox's own chain; account: the node's, which is the payee."""

    def __init__(self, *, chain: Chain, address: str, account: LocalAccount) -> None:
        self._chain = chain
        self._account = account
        self._contract = Contract(chain, "Escrow", address)

    @property
    def address(self) -> str:
        """The contract's address."""
        return self._contract.address

    def available_wei(self, *, payer: str, token: str) -> int:
        """Return what a payer has deposited and nobody has locked."""
        available, _ = self._contract.call("getUserFunds", payer, token)
        return int(available)

    def authorizations(self, *, payer: str, token: str) -> list[Authorization]:
        """Return what a payer allows this node."""
        found = self._contract.call("getAuthorizations", token, payer, self._account.address)
        return [Authorization(*values) for _, *values in found]

    def locks(self) -> list[Lock]:
        """Return all locks of this node."""
        found = self._contract.call("getLocks", ZERO_ADDRESS, ZERO_ADDRESS, self._account.address)
        return [
            Lock(job, to_checksum_address(payer), amount, expires_at, to_checksum_address(token))
            for job, payer, amount, expires_at, token, *_ in found
        ]

    def now(self) -> int:
        """Return the time that the next block would have, which is what the contract compares with."""
        with self._chain.lock:
            return self._chain.next_header().timestamp

    def create(self, *, job: int, payer: str, token: str, amount_wei: int, seconds: int) -> str:
        """Lock money and return the transaction. Raises RpcError with the contract's reason."""
        return self._send("createLock", job, token, payer, amount_wei, seconds)

    def claim(self, *, lock: Lock, amount_wei: int, proof: str) -> str:
        """Take money, give back the rest, and return the transaction. Raises RpcError."""
        return self._send(
            "claimLockAndWithdraw",
            *(lock.job, lock.token, lock.payer, amount_wei, proof.encode(), _NO_JOB_TYPE, []),
        )

    def cancel(self, *, lock: Lock) -> str:
        """Give an expired lock back and return the transaction. Raises RpcError."""
        return self._send("cancelExpiredLock", lock.job, lock.token, lock.payer, self._account.address)

    def locked_in(self, *, job: int) -> str | None:
        """Return the transaction that locked for a job, None when none did."""
        return next((tx for tx, values in self._events("Lock") if values[2] == job), None)

    def claimed_in(self, *, job: int) -> Claim | None:
        """Return the claim of a job's lock, None when there is none."""
        found = (Claim(tx, values[2]) for tx, values in self._events("Claimed") if values[0] == job)
        return next(found, None)

    def cancelled_in(self, *, job: int) -> str | None:
        """Return the transaction that gave a job's lock back, None when none did."""
        return next((tx for tx, values in self._events("Canceled") if values[0] == job), None)

    def _send(self, function: str, *args: Any) -> str:
        return str(self._contract.send(self._account, function, *args)["transactionHash"])

    def _events(self, name: str) -> list[tuple[str, tuple[Any, ...]]]:
        """Return the contract's events with the values that are not indexed, newest last."""
        wanted = {"address": self.address, "fromBlock": "0x0", "topics": [_TOPICS[name]]}
        logs: list[Mapping[str, Any]] = self._chain.rpc("eth_getLogs", [wanted])
        # All of Lock's values are in the data; of the others payee and payer are topics.
        types = _EVENTS[name] if name == "Lock" else (_EVENTS[name][1], _EVENTS[name][2], *_EVENTS[name][4:])
        return [(log["transactionHash"], decode(types, bytes.fromhex(log["data"][2:]))) for log in logs]


def job_number(job_id: str) -> int:
    """Return the number under which a job's lock is kept. Source: recording 31: jobIdHash and the lock's job."""
    return int.from_bytes(sha256(job_id.encode()).digest())
