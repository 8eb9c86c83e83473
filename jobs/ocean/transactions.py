"""Transactions of a chain: what is signed, and what a chain says of blocks, transactions and receipts.

Amounts are Wei of the chain's own coin. Hashes are 0x and 64 small hexadecimal digits. Numbers are below 2**63, so
that a database takes them; amounts below 2**256.
Source of the names on the wire: Ethereum's execution-apis, as of October 2024.
"""

import re
from dataclasses import dataclass, field
from typing import Any, Literal

from jobs.ocean.errors import BadAnswer
from jobs.ocean.units import Address, Wei

MAX_NUMBER = 2**63
MAX_AMOUNT = 2**256
# An order leaves some ten logs of less than 1 kB each (provider-v4 recordings 30 and 62).
_MAX_LOGS = 1_000
_MAX_DATA = 64 * 1024
_END_OF_TIME = 10**11
# Some chains write leading zeros, which the specification forbids.
_QUANTITY = re.compile(r"0x[0-9a-fA-F]{1,64}")
_HASH = re.compile(r"0x[0-9a-fA-F]{64}")
_BYTES = re.compile(r"0x(?:[0-9a-fA-F]{2})*+")


NOTHING = Wei(0)


@dataclass(frozen=True)
class Call:
    """What a contract is to be called with, before it is priced and signed."""

    to: Address
    data: bytes
    value_wei: Wei = NOTHING


@dataclass(frozen=True)
class Transaction:
    """A transaction to sign, of type 2 (EIP-1559). gas: the limit, in units of gas; the fees are per unit.

    Raises: ValueError for a number that no chain would take.
    """

    chain_id: int
    nonce: int
    to: Address
    data: bytes
    value_wei: Wei
    gas: int
    max_fee_wei: Wei
    priority_fee_wei: Wei

    def __post_init__(self) -> None:
        numbers, amounts = (self.chain_id, self.nonce, self.gas), (self.value_wei, self.max_fee_wei)
        if not all(0 <= number < MAX_NUMBER for number in numbers) or not self.chain_id:
            raise ValueError("A transaction's chain, nonce and gas are numbers of a chain.")
        if not all(0 <= amount < MAX_AMOUNT for amount in amounts):
            raise ValueError("A transaction's amounts are between 0 and 2**256.")
        if not 0 <= self.priority_fee_wei <= self.max_fee_wei:
            raise ValueError("The tip is part of the fee: it is not above it.")

    @property
    def most_wei(self) -> Wei:
        """The most that the transaction can take from its sender."""
        return Wei(self.value_wei + self.gas * self.max_fee_wei)


@dataclass(frozen=True)
class SignedTransaction:
    """A transaction as a chain takes it. Whoever has the bytes can send them, once."""

    raw: bytes = field(repr=False)
    hash: str


@dataclass(frozen=True)
class Block:
    """A block. timestamp: seconds since the epoch; base_fee_wei: None on a chain without one."""

    number: int
    hash: str
    timestamp: int
    base_fee_wei: Wei | None


@dataclass(frozen=True)
class Fees:
    """What a unit of gas may cost: in all, and of that for whoever makes the block."""

    max_fee_wei: Wei
    priority_fee_wei: Wei


@dataclass(frozen=True)
class Log:
    """What a contract left behind in a transaction. tx_hash, block_number: of that; "" and None where it is not said."""

    address: Address
    topics: tuple[bytes, ...]
    data: bytes
    tx_hash: str = ""
    block_number: int | None = None


@dataclass(frozen=True)
class Receipt:
    """What became of a transaction. gas_price_wei: paid per unit of gas; None where the chain does not say."""

    tx_hash: str
    status: Literal["ok", "reverted"]
    block_number: int
    block_hash: str
    gas_used: int
    gas_price_wei: Wei | None
    logs: tuple[Log, ...]

    @property
    def cost_wei(self) -> Wei | None:
        """What the gas cost. A chain that lives on another one may take more."""
        return None if self.gas_price_wei is None else Wei(self.gas_used * self.gas_price_wei)


@dataclass(frozen=True)
class KnownTransaction:
    """A transaction that the chain knows. block_number: None while it waits; to: None when it makes a contract."""

    tx_hash: str
    sender: Address
    nonce: int
    to: Address | None
    data: bytes = field(repr=False)
    value_wei: Wei
    gas: int
    block_number: int | None

    @property
    def pending(self) -> bool:
        """Say whether it still waits for its block."""
        return self.block_number is None


def read_number(value: object, *, what: str) -> int:
    """Read a count as JSON-RPC writes it. Raises: BadAnswer."""
    number = _quantity(value)
    if number is None or number >= MAX_NUMBER:
        raise _unreadable(what)
    return number


def read_amount(value: object, *, what: str) -> Wei:
    """Read an amount below 2**256. Raises: BadAnswer."""
    amount = _quantity(value)
    if amount is None:
        raise _unreadable(what)
    return Wei(amount)


def read_bytes(value: object, *, what: str) -> bytes:
    """Read at most 64 kB. Raises: BadAnswer."""
    if not isinstance(value, str) or len(value) > 2 + 2 * _MAX_DATA or not _BYTES.fullmatch(value):
        raise _unreadable(what)
    return bytes.fromhex(value[2:])


def read_hash(value: object, *, what: str) -> str:
    """Read a hash. Raises: BadAnswer."""
    if not isinstance(value, str) or not _HASH.fullmatch(value):
        raise _unreadable(what)
    return value.lower()


def read_address(value: object, *, what: str) -> Address:
    """Read an address in any capitalisation. Raises: BadAnswer."""
    try:
        return Address(value.lower() if isinstance(value, str) else "")
    except ValueError:
        raise _unreadable(what) from None


def parse_block(answer: object) -> Block:
    """Read a block. Raises: BadAnswer naming what cannot be read."""
    entry = _object(answer, what="block")
    timestamp = read_number(entry.get("timestamp"), what="block's time")
    if timestamp >= _END_OF_TIME:
        raise _unreadable("block's time")
    fee = entry.get("baseFeePerGas")
    return Block(
        number=read_number(entry.get("number"), what="block's number"),
        hash=read_hash(entry.get("hash"), what="block's hash"),
        timestamp=timestamp,
        base_fee_wei=None if fee is None else read_amount(fee, what="block's fee"),
    )


def parse_receipt(answer: object) -> Receipt | None:
    """Read a receipt; None while the transaction waits. Raises: BadAnswer naming what cannot be read."""
    if answer is None:
        return None
    entry = _object(answer, what="receipt")
    if entry.get("blockNumber") is None:
        return None
    # Strictly: a true, a missing or a third status must not pass for a success.
    status = read_number(entry.get("status"), what="receipt's status")
    if status > 1:
        raise _unreadable("receipt's status")
    price, logs = entry.get("effectiveGasPrice"), entry.get("logs")
    if not isinstance(logs, list) or len(logs) > _MAX_LOGS:
        raise _unreadable("receipt's logs")
    return Receipt(
        tx_hash=read_hash(entry.get("transactionHash"), what="receipt's hash"),
        status="ok" if status else "reverted",
        block_number=read_number(entry.get("blockNumber"), what="receipt's block"),
        block_hash=read_hash(entry.get("blockHash"), what="receipt's block"),
        gas_used=read_number(entry.get("gasUsed"), what="receipt's gas"),
        gas_price_wei=None if price is None else read_amount(price, what="receipt's gas price"),
        logs=tuple(parse_log(log) for log in logs),
    )


def parse_transaction(answer: object) -> KnownTransaction | None:
    """Read a transaction; None where the chain knows none. Raises: BadAnswer naming what cannot be read."""
    if answer is None:
        return None
    entry = _object(answer, what="transaction")
    to, block = entry.get("to"), entry.get("blockNumber")
    return KnownTransaction(
        tx_hash=read_hash(entry.get("hash"), what="transaction's hash"),
        sender=read_address(entry.get("from"), what="transaction's sender"),
        nonce=read_number(entry.get("nonce"), what="transaction's nonce"),
        to=None if to is None else read_address(to, what="transaction's target"),
        data=read_bytes(entry.get("input"), what="transaction's data"),
        value_wei=read_amount(entry.get("value"), what="transaction's value"),
        gas=read_number(entry.get("gas"), what="transaction's gas"),
        block_number=None if block is None else read_number(block, what="transaction's block"),
    )


def parse_log(answer: object) -> Log:
    """Read an event. Raises: BadAnswer naming what cannot be read."""
    entry = _object(answer, what="log")
    topics, tx_hash, block = entry.get("topics"), entry.get("transactionHash"), entry.get("blockNumber")
    if not isinstance(topics, list) or len(topics) > 4:
        raise _unreadable("log's topics")
    return Log(
        address=read_address(entry.get("address"), what="log's address"),
        topics=tuple(bytes.fromhex(read_hash(topic, what="log's topic")[2:]) for topic in topics),
        data=read_bytes(entry.get("data"), what="log's data"),
        tx_hash="" if tx_hash is None else read_hash(tx_hash, what="log's transaction"),
        block_number=None if block is None else read_number(block, what="log's block"),
    )


def _quantity(value: object) -> int | None:
    if not isinstance(value, str) or not _QUANTITY.fullmatch(value):
        return None
    return int(value, 16)


def _object(answer: object, *, what: str) -> dict[str, Any]:
    if not isinstance(answer, dict):
        raise _unreadable(what)
    return answer


def _unreadable(what: str) -> BadAnswer:
    return BadAnswer(f"The chain's node sent an unreadable {what}.", code="chain_answer")
