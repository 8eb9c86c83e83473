"""A chain over JSON-RPC: reads it, and sends what is signed.

An RPC endpoint is a far side like any other: its answers are bounded, and its numbers checked. Signing is not done here.
Source: ethereum/execution-apis, JSON-RPC specification; EIP-1559 for fees.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any

from eth_utils.crypto import keccak

from jobs.ocean.answers import Reply
from jobs.ocean.chain_refusals import explain_error
from jobs.ocean.errors import BadAnswer, ChainError, OceanError, Refused, Rejected
from jobs.ocean.transport import READ_S, Transport
from jobs.ocean.units import Address, Wei

_QUANTITY = re.compile(r"0x[0-9a-fA-F]{1,64}")
_DATA = re.compile(r"0x(?:[0-9a-fA-F]{2})*")
_HASH = re.compile(r"0x[0-9a-fA-F]{64}")
_MAX_LOGS = 1_000
_MAX_TOPICS = 4
_ANSWER_CAP = 5 * 1024 * 1024
_PRIORITY_FEE = Wei(1_500_000_000)  # where the endpoint suggests none; what wallets use by default
_FITS_A_ROW = 2**63  # block numbers, nonces and the like, which are kept in 64 bits with a sign
_END_OF_TIME = 10**11
# An endpoint that lies about these two could have a wallet emptied by its gas. Recorded: calls of 44,000 to 300,000.
_MOST_GAS = 100_000_000
_MOST_FOR_GAS = Wei(10**15)  # a million gwei
# What shared endpoints give at most in one answer is 1,000 to 10,000 blocks.
MAX_LOG_BLOCKS = 1_000


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
    """An event of a contract. topics: 32 bytes each, the event's own hash first.

    tx_hash, block_number: where it stands; "" and None for a log that does not say.
    """

    address: Address
    topics: tuple[bytes, ...]
    data: bytes
    tx_hash: str = ""
    block_number: int | None = None


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
    """Speak with one RPC endpoint. Every method may raise Unreachable, Rejected, BadAnswer and ChainError."""

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
            timestamp=self._quantity(block.get("timestamp"), below=_END_OF_TIME),
            base_fee_wei=None if base_fee is None else self._price(base_fee),
        )

    def block_hash(self, number: int) -> str | None:
        """Return the hash of the block with this number; None where the chain is not that long."""
        block = self._ask("eth_getBlockByNumber", [hex(number), False])
        if block is None:
            return None
        if not isinstance(block, dict) or self._quantity(block.get("number")) != number:
            raise self._bad("another block than the one asked for")
        return self._hash(block.get("hash"))

    def balance_wei(self, address: Address) -> Wei:
        """Ask how much of the chain's own coin an address has."""
        return Wei(self._number("eth_getBalance", [str(address), "latest"], below=2**256))

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

        Raises: ChainError "reverted" with the contract's reason, when it would refuse; "insufficient_funds";
        BadAnswer for more gas than any of our transactions can use.
        """
        asked = _message(sender=sender, to=to, data=data, value_wei=value_wei)
        return self._number("eth_estimateGas", [asked], below=_MOST_GAS)

    def fees(self) -> Fees:
        """Ask what gas costs; twice the base fee is allowed for, so that six full blocks in a row do not matter.

        Raises: BadAnswer for more than a million gwei, which no chain asks.
        """
        base_fee = self.head().base_fee_wei
        if base_fee is None:
            price = self._price(self._ask("eth_gasPrice", []))
            return Fees(max_fee_wei=price, priority_fee_wei=price)
        try:
            tip = self._price(self._ask("eth_maxPriorityFeePerGas", []))
        except ChainError as error:
            if error.code != "unknown_method":
                raise
            tip = _PRIORITY_FEE  # a method that not every endpoint has
        return Fees(max_fee_wei=Wei(2 * base_fee + tip), priority_fee_wei=tip)

    def send(self, signed: bytes) -> None:
        """Send a signed transaction. The same bytes may be sent again: the chain takes them once.

        Raises: ChainError "nonce_too_low", "underpriced", "insufficient_funds" and the like, after which the chain has
        not taken it; anything with `maybe_happened`, after which the same bytes can be sent again.
        """
        try:
            tx_hash = self._hash(self._ask("eth_sendRawTransaction", ["0x" + signed.hex()], is_write=True))
            if tx_hash != "0x" + keccak(signed).hex():
                raise self._bad("the hash of another transaction")
        except ChainError as error:
            if error.code != "already_known":
                raise
        except BadAnswer as error:
            raise BadAnswer(error.message, code=error.code, maybe_happened=True) from None

    def receipt(self, tx_hash: str) -> Receipt | None:
        """Look for a transaction in the blocks; None while it is in none."""
        found = self._ask("eth_getTransactionReceipt", [tx_hash])
        if found is None:
            return None
        if not isinstance(found, dict) or str(found.get("transactionHash")).lower() != tx_hash.lower():
            raise self._bad("the receipt of another transaction")
        if found.get("blockHash") is None or found.get("blockNumber") is None:
            return None  # some endpoints write a receipt before there is a block
        logs = found.get("logs")
        if not isinstance(logs, list) or len(logs) > _MAX_LOGS:
            raise self._bad("a receipt with unreadable events")
        return Receipt(
            tx_hash=tx_hash.lower(),
            ok=self._quantity(found.get("status"), below=2) == 1,
            block_number=self._quantity(found.get("blockNumber")),
            block_hash=self._hash(found.get("blockHash")),
            gas_used=self._quantity(found.get("gasUsed")),
            logs=tuple(self._log(log) for log in logs),
        )

    def logs(
        self,
        *,
        address: Address,
        topics: Sequence[bytes | Sequence[bytes] | None],
        from_block: int,
        to_block: int,
    ) -> tuple[Log, ...]:
        """List the events of a contract in some blocks, both ends included, oldest first.

        topics: by position; None takes any, several are alternatives. At most MAX_LOG_BLOCKS blocks at a time.
        Raises: Refused "too_many_blocks"; ChainError "too_many_logs" where the endpoint wants fewer blocks at a time.
        """
        if not 0 <= from_block <= to_block < from_block + MAX_LOG_BLOCKS:
            raise Refused(
                f"Events are asked for by at most {MAX_LOG_BLOCKS:,} blocks at a time.",
                code="too_many_blocks",
            )
        wanted = [None if topic is None else _alternatives(topic) for topic in topics]
        found = self._ask(
            "eth_getLogs",
            [
                {
                    "address": str(address),
                    "topics": [each and ["0x" + topic.hex() for topic in each] for each in wanted],
                    "fromBlock": hex(from_block),
                    "toBlock": hex(to_block),
                }
            ],
        )
        if not isinstance(found, list):
            raise self._bad("unreadable events")
        if len(found) > _MAX_LOGS:
            raise ChainError(
                f"{self._transport.host} lists more than {_MAX_LOGS:,} events; ask for fewer blocks at a time.",
                code="too_many_logs",
            )
        logs = [self._log(log) for log in found if not (isinstance(log, dict) and log.get("removed") is True)]
        for log in logs:
            fits = len(log.topics) >= len(wanted) and all(
                each is None or topic in each for each, topic in zip(wanted, log.topics, strict=False)
            )
            if log.address != address or not fits or not log.tx_hash:
                raise self._bad("events that were not asked for")
            if log.block_number is None or not from_block <= log.block_number <= to_block:
                raise self._bad("events of other blocks")
        return tuple(logs)

    def is_known(self, tx_hash: str) -> bool:
        """Say whether the endpoint has heard of a transaction, in a block or waiting."""
        found = self._ask("eth_getTransactionByHash", [tx_hash])
        if found is None:
            return False
        if not isinstance(found, dict) or str(found.get("hash")).lower() != tx_hash.lower():
            raise self._bad("another transaction than the one asked for")
        return True

    def revert_reason(self, *, sender: Address, to: Address, data: bytes, value_wei: Wei, block: int) -> str:
        """Say why a transaction was refused, by asking the same of the block before it; in words that may be shown."""
        asked = _message(sender=sender, to=to, data=data, value_wei=value_wei)
        try:
            self._ask("eth_call", [asked, hex(max(0, block - 1))])
        except OceanError as error:
            # Anything else is about the question, such as a block that is too old for this endpoint.
            reverted = isinstance(error, ChainError) and error.code == "reverted"
            return error.message if reverted else "The endpoint does not say why."
        return "It does not say why; asked again, the contract would take it."

    def _ask(self, method: str, params: list[Any], *, is_write: bool = False) -> Any:
        number = next(self._ids)
        question = {"jsonrpc": "2.0", "id": number, "method": method, "params": params}
        if is_write:
            answer = self._transport.send_json(
                method="POST",
                path="",
                body=question,
                explain=self._explain,
                total_s=READ_S,
                cap_bytes=_ANSWER_CAP,
            )
        else:
            answer = self._transport.get_json(
                path="",
                question=question,
                explain=self._explain,
                total_s=READ_S,
                cap_bytes=_ANSWER_CAP,
            )
        if not isinstance(answer, dict):
            raise self._bad("no JSON-RPC")
        error, told = answer.get("error"), answer.get("id")
        # An endpoint that did not read the question, or will not, does not know its number.
        if error is not None and (told is None or told == number):
            raise explain_error(error, host=self._transport.host, is_write=is_write)
        if told != number or isinstance(told, bool):
            raise self._bad("no JSON-RPC")
        if error is not None or "result" not in answer:
            raise self._bad("an answer without a result")
        return answer["result"]

    def _explain(self, reply: Reply) -> OceanError | None:
        """Explain an answer that is not 200: some endpoints say all refusals so."""
        error = reply.document.get("error") if isinstance(reply.document, dict) else None
        if reply.status == 429:
            return None
        if reply.status in (401, 403):
            return Rejected(
                f"{reply.host} does not admit this portal. An operator has to look at the address of the endpoint,"
                " which may lack its key.",
                code="not_authorized",
            )
        if isinstance(error, dict) and reply.status < 500:
            return explain_error(error, host=reply.host, is_write=reply.is_write)
        return None

    def _number(self, method: str, params: list[Any], *, below: int = _FITS_A_ROW) -> int:
        return self._quantity(self._ask(method, params), below=below)

    def _quantity(self, value: object, *, below: int = _FITS_A_ROW) -> int:
        if not isinstance(value, str) or not _QUANTITY.fullmatch(value):
            raise self._bad("a number that is none")
        number = int(value, 16)
        if number >= below:
            raise self._bad("a number beyond all reason")
        return number

    def _price(self, value: object) -> Wei:
        return Wei(self._quantity(value, below=_MOST_FOR_GAS + 1))

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
            raise self._bad("unreadable events")
        try:
            address = Address.parse(str(log.get("address")).lower())
        except ValueError:
            raise self._bad("unreadable events") from None
        tx_hash, number = log.get("transactionHash"), log.get("blockNumber")
        return Log(
            address=address,
            topics=tuple(bytes.fromhex(self._hash(topic)[2:]) for topic in topics),
            data=self._data(log.get("data")),
            tx_hash="" if tx_hash is None else self._hash(tx_hash),
            block_number=None if number is None else self._quantity(number),
        )

    def _bad(self, what: str) -> BadAnswer:
        return BadAnswer(
            f"{self._transport.host} sent {what}. It may be no endpoint of a chain.", code="rpc_answer"
        )


def _alternatives(topic: bytes | Sequence[bytes]) -> list[bytes]:
    return [topic] if isinstance(topic, bytes) else list(topic)


def _message(*, sender: Address | None, to: Address, data: bytes, value_wei: Wei) -> dict[str, str]:
    message = {"to": str(to), "data": "0x" + data.hex()}
    if sender is not None:
        message["from"] = str(sender)
    return message if not value_wei else {**message, "value": hex(value_wei)}


def event_topic(signature: str) -> bytes:
    """Give the first topic of an event from its signature, such as "Transfer(address,address,uint256)"."""
    return bytes(keccak(text=signature))
