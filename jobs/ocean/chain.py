"""A chain over JSON-RPC: reads it, sends what is signed, and says in words why it refuses.

An RPC endpoint is a far side like any other: its answers are bounded, and its numbers checked. Signing is not done here.
Source: ethereum/execution-apis, JSON-RPC specification; EIP-1559 for fees.
"""

import re
from dataclasses import dataclass
from itertools import count
from typing import Any

from eth_abi.abi import decode
from eth_abi.exceptions import DecodingError
from eth_utils.crypto import keccak

from jobs.ocean.errors import BadAnswer, ChainError, OceanError, Unreachable
from jobs.ocean.transport import READ_S, Transport
from jobs.ocean.units import Address, Wei, clean_text

_QUANTITY = re.compile(r"0x[0-9a-fA-F]{1,64}")
_DATA = re.compile(r"0x(?:[0-9a-fA-F]{2})*")
_HASH = re.compile(r"0x[0-9a-fA-F]{64}")
_MAX_LOGS = 1_000
_MAX_TOPICS = 4
_ANSWER_CAP = 5 * 1024 * 1024
_PRIORITY_FEE = Wei(1_500_000_000)  # where the endpoint suggests none; what wallets use by default
_SELECTOR_ERROR, _SELECTOR_PANIC = bytes.fromhex("08c379a0"), bytes.fromhex("4e487b71")
# Source: Solidity documentation, "Panic via assert and Error via require".
_PANICS = {
    0x01: "an assertion failed",
    0x11: "a number ran over",
    0x12: "a division by zero",
    0x32: "no such element",
}

# Words of endpoints for what a chain does not take, as geth, erigon, nethermind, hardhat and ganache say it.
_SAYINGS: tuple[tuple[re.Pattern[str], str, str], ...] = tuple(
    (re.compile(words, re.IGNORECASE), code, sentence)
    for words, code, sentence in (
        (
            r"insufficient funds|enough funds|insufficient balance for transfer",
            "insufficient_funds",
            "The wallet has not enough of the chain's own coin for the gas of this transaction.",
        ),
        (
            r"nonce too low|nonce has already been used|OldNonce|invalid nonce.*expected",
            "nonce_too_low",
            "A transaction of this wallet with the same number is on the chain already.",
        ),
        (
            r"underpriced|fee too low|replacement.*(?:gas|fee)|transaction with the same nonce",
            "underpriced",
            "The fee of this transaction is too low for the chain at the moment.",
        ),
        (
            r"already known|known transaction|AlreadyKnown|already imported|already exists",
            "already_known",
            "The chain knows this transaction already.",
        ),
        (
            r"limit exceeded|rate.?limit|too many requests",
            "rate_limited",
            "The chain's endpoint is asked too often.",
        ),
        (
            r"execution reverted|revert|VM Exception|out of gas|invalid opcode",
            "reverted",
            "The contract refused.",
        ),
    )
)
_RETRYABLE = {"underpriced", "rate_limited", "rpc", "insufficient_funds"}


@dataclass(frozen=True)
class Block:
    """The newest block. timestamp: seconds since the epoch; base_fee_wei: None on chains without one."""

    number: int
    hash: str
    timestamp: int
    base_fee_wei: Wei | None


@dataclass(frozen=True)
class Fees:
    """What one unit of gas may cost in wei: all in all, and of that for whoever makes the block."""

    max_fee_wei: Wei
    priority_fee_wei: Wei


@dataclass(frozen=True)
class Log:
    """An event of a contract. topics: 32 bytes each, the event's own hash first."""

    address: Address
    topics: tuple[bytes, ...]
    data: bytes


@dataclass(frozen=True)
class Receipt:
    """That a transaction is in a block. ok: False when the contract refused; then only its gas was used."""

    tx_hash: str
    ok: bool
    block_number: int
    block_hash: str
    gas_used: int
    logs: tuple[Log, ...]


class Chain:
    """Speak with one RPC endpoint. Every method may raise Unreachable, BadAnswer and ChainError."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._ids = count(1)

    def chain_id(self) -> int:
        """Ask which chain this is."""
        return self._number("eth_chainId", [])

    def head(self) -> Block:
        """Read the newest block."""
        block = self._ask("eth_getBlockByNumber", ["latest", False])
        if not isinstance(block, dict):
            raise self._bad("no newest block")
        base_fee = block.get("baseFeePerGas")
        return Block(
            number=self._quantity(block.get("number")),
            hash=self._hash(block.get("hash")),
            timestamp=self._quantity(block.get("timestamp")),
            base_fee_wei=None if base_fee is None else Wei(self._quantity(base_fee)),
        )

    def block_hash(self, number: int) -> str | None:
        """Return the hash of the block with this number; None where the chain is not that long."""
        block = self._ask("eth_getBlockByNumber", [hex(number), False])
        return None if block is None else self._hash(block.get("hash") if isinstance(block, dict) else None)

    def balance_wei(self, address: Address) -> Wei:
        """Ask how much of the chain's own coin an address has."""
        return Wei(self._number("eth_getBalance", [str(address), "latest"]))

    def nonce(self, address: Address) -> int:
        """Ask for the number of the next transaction of an address, those that wait included."""
        return self._number("eth_getTransactionCount", [str(address), "pending"])

    def mined_nonce(self, address: Address) -> int:
        """Ask how many transactions of an address are in blocks: every lower number is used up for good."""
        return self._number("eth_getTransactionCount", [str(address), "latest"])

    def call(self, *, to: Address, data: bytes, sender: Address | None = None) -> bytes:
        """Ask a contract without a transaction.

        Raises: ChainError "reverted" with the contract's reason.
        """
        asked = _message(sender=sender, to=to, data=data, value_wei=Wei(0))
        return self._data(self._ask("eth_call", [asked, "latest"]))

    def estimate_gas(self, *, sender: Address, to: Address, data: bytes, value_wei: Wei) -> int:
        """Ask how much gas a transaction would use.

        Raises: ChainError "reverted" with the contract's reason, when it would refuse; "insufficient_funds".
        """
        return self._number(
            "eth_estimateGas", [_message(sender=sender, to=to, data=data, value_wei=value_wei)]
        )

    def fees(self) -> Fees:
        """Ask what gas costs; twice the base fee is allowed for, so that six full blocks in a row do not matter."""
        base_fee = self.head().base_fee_wei
        if base_fee is None:
            price = Wei(self._number("eth_gasPrice", []))
            return Fees(max_fee_wei=price, priority_fee_wei=price)
        try:
            tip = Wei(self._number("eth_maxPriorityFeePerGas", []))
        except ChainError:
            tip = _PRIORITY_FEE  # a method that not every endpoint has
        return Fees(max_fee_wei=Wei(2 * base_fee + tip), priority_fee_wei=tip)

    def send(self, signed: bytes) -> None:
        """Send a signed transaction. The same bytes may be sent again: the chain takes them once.

        Raises: ChainError "nonce_too_low", "underpriced", "insufficient_funds"; Unreachable with `maybe_happened`, after
        which the same bytes can be sent again.
        """
        try:
            self._ask("eth_sendRawTransaction", ["0x" + signed.hex()])
        except ChainError as error:
            if error.code != "already_known":
                raise
        except Unreachable as error:
            raise Unreachable(
                error.message, code=error.code, retryable=True, maybe_happened=True, retry_after_s=None
            ) from None

    def receipt(self, tx_hash: str) -> Receipt | None:
        """Look for a transaction in the blocks; None while it is in none."""
        found = self._ask("eth_getTransactionReceipt", [tx_hash])
        if found is None:
            return None
        if not isinstance(found, dict) or str(found.get("transactionHash")).lower() != tx_hash.lower():
            raise self._bad("the receipt of another transaction")
        logs = found.get("logs")
        if not isinstance(logs, list) or len(logs) > _MAX_LOGS:
            raise self._bad("a receipt with unreadable events")
        return Receipt(
            tx_hash=tx_hash,
            ok=self._quantity(found.get("status")) == 1,
            block_number=self._quantity(found.get("blockNumber")),
            block_hash=self._hash(found.get("blockHash")),
            gas_used=self._quantity(found.get("gasUsed")),
            logs=tuple(self._log(log) for log in logs),
        )

    def is_known(self, tx_hash: str) -> bool:
        """Say whether the endpoint has heard of a transaction, in a block or waiting."""
        return self._ask("eth_getTransactionByHash", [tx_hash]) is not None

    def revert_reason(self, *, sender: Address, to: Address, data: bytes, value_wei: Wei, block: int) -> str:
        """Say why a transaction was refused, by asking the same of the block before it; in words that may be shown."""
        asked = _message(sender=sender, to=to, data=data, value_wei=value_wei)
        try:
            self._ask("eth_call", [asked, hex(max(0, block - 1))])
        except ChainError as error:
            return error.message
        except OceanError:
            return "The endpoint does not say why."
        return "It does not say why; asked again, the contract would take it."

    def _ask(self, method: str, params: list[Any]) -> Any:
        number = next(self._ids)
        answer = self._transport.get_json(
            path="",
            question={"jsonrpc": "2.0", "id": number, "method": method, "params": params},
            # Sending the same bytes again is harmless, but what it came to is for the caller to decide.
            retry=method != "eth_sendRawTransaction",
            total_s=READ_S,
            cap_bytes=_ANSWER_CAP,
        )
        if not isinstance(answer, dict) or answer.get("id") != number:
            raise self._bad("no JSON-RPC")
        if answer.get("error") is not None:
            raise self._refusal(answer["error"])
        if "result" not in answer:
            raise self._bad("an answer without a result")
        return answer["result"]

    def _refusal(self, error: object) -> ChainError:
        message = error.get("message") if isinstance(error, dict) else error
        text = message if isinstance(message, str) else ""
        data = error.get("data") if isinstance(error, dict) else None
        if isinstance(data, dict):  # ganache and hardhat wrap it
            data = data.get("result", data.get("data"))
        reason = _reason(data, text)
        for words, code, sentence in _SAYINGS:
            if words.search(text) or (code == "reverted" and reason):
                said = f"{sentence} It says: {reason}." if code == "reverted" and reason else sentence
                return ChainError(said, code=code, retryable=code in _RETRYABLE)
        return ChainError(
            f"{self._transport.host} did not answer the question and gives a reason that is not known.",
            code="rpc",
            retryable=True,
        )

    def _number(self, method: str, params: list[Any]) -> int:
        return self._quantity(self._ask(method, params))

    def _quantity(self, value: object) -> int:
        if not isinstance(value, str) or not _QUANTITY.fullmatch(value):
            raise self._bad("a number that is none")
        return int(value, 16)

    def _data(self, value: object) -> bytes:
        if not isinstance(value, str) or not _DATA.fullmatch(value):
            raise self._bad("data that is none")
        return bytes.fromhex(value[2:])

    def _hash(self, value: object) -> str:
        if not isinstance(value, str) or not _HASH.fullmatch(value):
            raise self._bad("a hash that is none")
        return value.lower()

    def _log(self, log: object) -> Log:
        topics = log.get("topics") if isinstance(log, dict) else None
        if not isinstance(log, dict) or not isinstance(topics, list) or len(topics) > _MAX_TOPICS:
            raise self._bad("a receipt with unreadable events")
        try:
            address = Address.parse(str(log.get("address")).lower())
        except ValueError:
            raise self._bad("a receipt with unreadable events") from None
        return Log(
            address=address,
            topics=tuple(bytes.fromhex(self._hash(topic)[2:]) for topic in topics),
            data=self._data(log.get("data")),
        )

    def _bad(self, what: str) -> BadAnswer:
        return BadAnswer(
            f"{self._transport.host} sent {what}. It may be no endpoint of a chain.", code="rpc_answer"
        )


def _message(*, sender: Address | None, to: Address, data: bytes, value_wei: Wei) -> dict[str, str]:
    message = {"to": str(to), "data": "0x" + data.hex()}
    if sender is not None:
        message["from"] = str(sender)
    return message if not value_wei else {**message, "value": hex(value_wei)}


def _reason(data: object, text: str) -> str:
    """Return a contract's own words, cleaned and cut; "" where it gave none."""
    raw = bytes.fromhex(data[2:]) if isinstance(data, str) and _DATA.fullmatch(data) else b""
    try:
        if raw.startswith(_SELECTOR_ERROR):
            return clean_text(str(decode(["string"], raw[4:])[0]), limit=200)
        if raw.startswith(_SELECTOR_PANIC):
            number = int(decode(["uint256"], raw[4:])[0])
            return _PANICS.get(number, f"panic {number}")
    except (DecodingError, OverflowError, UnicodeDecodeError):
        return ""
    match = re.search(
        r"(?:execution reverted|reverted with reason string|revert):?\s*'?([^']{1,300})'?$", text
    )
    return clean_text(match[1], limit=200) if match else ""


def event_topic(signature: str) -> bytes:
    """Give the first topic of an event from its signature, such as "Transfer(address,address,uint256)"."""
    return bytes(keccak(text=signature))
