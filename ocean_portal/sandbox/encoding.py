"""JSON-RPC shapes of the sandbox chain: read what clients send, write blocks, transactions and receipts."""

from __future__ import annotations

from typing import Any

from eth.abc import BlockAPI, BlockHeaderAPI, ComputationAPI, LogAPI, ReceiptAPI, SignedTransactionAPI
from eth_abi.abi import decode
from eth_abi.exceptions import DecodingError
from eth_typing import Address
from eth_utils.address import to_checksum_address

REVERTED = 3
SERVER_ERROR = -32000
INVALID_PARAMS = -32602
METHOD_NOT_FOUND = -32601

# Source: Solidity documentation, "Error handling: Assert, Require, Revert and Exceptions".
_ERROR_SELECTOR = bytes.fromhex("08c379a0")
_PANIC_SELECTOR = bytes.fromhex("4e487b71")
_PANICS = {
    0x01: "assert(false)",
    0x11: "arithmetic underflow or overflow",
    0x12: "division or modulo by zero",
    0x21: "enum overflow",
    0x22: "invalid encoded storage byte array accessed",
    0x31: "out-of-bounds array access; popping on an empty array",
    0x32: "out-of-bounds access of an array or bytesN",
    0x41: "out of memory",
    0x51: "uninitialized function",
}


class RpcError(Exception):
    """What a JSON-RPC client is told instead of a result."""

    def __init__(self, code: int, message: str, data: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.data = data


def invalid(message: str) -> RpcError:
    """Make the error for parameters that cannot be understood."""
    return RpcError(INVALID_PARAMS, message)


# Reading.


def read_number(value: object) -> int:
    """Read a quantity ("0x1f").

    Raises: RpcError when it is none.
    """
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    if isinstance(value, str) and value.startswith("0x"):
        try:
            return int(value, 16)
        except ValueError:
            pass
    raise invalid(f"invalid argument: {value!r:.80} is not a hex quantity")


def read_bytes(value: object, *, length: int | None = None) -> bytes:
    """Read hex data ("0x00ff"), of a fixed length in bytes where one is given.

    Raises: RpcError when it is none.
    """
    if isinstance(value, str) and value.startswith("0x"):
        try:
            data = bytes.fromhex(value[2:])
        except ValueError:
            data = None
        if data is not None and length in (None, len(data)):
            return data
    wanted = "hex data" if length is None else f"hex data of {length} bytes"
    raise invalid(f"invalid argument: {value!r:.80} is not {wanted}")


def read_address(value: object) -> Address:
    """Read a 20-byte address, in any case.

    Raises: RpcError when it is none.
    """
    return Address(read_bytes(value, length=20))


# Writing.


def number(value: int) -> str:
    """Write a quantity."""
    return hex(value)


def data(value: bytes | None) -> str:
    """Write hex data; None is empty."""
    return "0x" + (value or b"").hex()


def word(value: int) -> str:
    """Write a 32-byte word."""
    return f"0x{value:064x}"


def address(value: bytes) -> str | None:
    """Write a checksummed address; none for the empty one, which is the `to` of a creation."""
    return to_checksum_address(value) if value else None


def bloom(value: int) -> str:
    """Write the 256 bytes of a log bloom."""
    return f"0x{value:0512x}"


def block_json(*, block: BlockAPI, size: int, transactions: list[Any]) -> dict[str, Any]:
    """Write a mined block; transactions: bodies or hashes, as the client asked for."""
    header = block.header
    return {
        **header_json(header),
        "hash": data(header.hash),
        "nonce": data(header.nonce),
        "logsBloom": bloom(header.bloom),
        "miner": address(header.coinbase),
        "size": number(size),
        "transactions": transactions,
    }


def header_json(header: BlockHeaderAPI) -> dict[str, Any]:
    """Write what a mined and a pending block have in common; what only a mined one knows is null."""
    return {
        "number": number(header.block_number),
        "hash": None,
        "nonce": None,
        "logsBloom": None,
        "miner": None,
        "parentHash": data(header.parent_hash),
        "sha3Uncles": data(header.uncles_hash),
        "transactionsRoot": data(header.transaction_root),
        "stateRoot": data(header.state_root),
        "receiptsRoot": data(header.receipt_root),
        "difficulty": number(header.difficulty),
        "totalDifficulty": "0x0",
        "extraData": data(header.extra_data),
        "gasLimit": number(header.gas_limit),
        "gasUsed": number(header.gas_used),
        "timestamp": number(header.timestamp),
        "mixHash": data(header.mix_hash),
        "baseFeePerGas": number(base_fee(header)),
        "withdrawalsRoot": data(header.withdrawals_root),
        "blobGasUsed": number(header.blob_gas_used or 0),
        "excessBlobGas": number(header.excess_blob_gas or 0),
        "parentBeaconBlockRoot": data(header.parent_beacon_block_root),
        "size": "0x0",
        "transactions": [],
        "uncles": [],
        "withdrawals": [],
    }


def transaction_json(
    *, tx: SignedTransactionAPI, chain_id: int, header: BlockHeaderAPI | None, position: int = 0
) -> dict[str, Any]:
    """Write a transaction; header and position: of and in its block, no header while it waits for one."""
    kind = getattr(tx, "type_id", None) or 0
    body: dict[str, Any] = {
        "hash": data(tx.hash),
        "type": number(kind),
        "nonce": number(tx.nonce),
        "blockHash": data(header.hash) if header else None,
        "blockNumber": number(header.block_number) if header else None,
        "transactionIndex": number(position) if header else None,
        "from": address(tx.sender),
        "to": address(tx.to),
        "value": number(tx.value),
        "gas": number(tx.gas),
        "input": data(tx.data),
        "r": number(tx.r),
        "s": number(tx.s),
    }
    if kind:
        accesses = [
            {"address": address(account), "storageKeys": [word(slot) for slot in slots]}
            for account, slots in tx.access_list
        ]
        body |= {
            "chainId": number(chain_id),
            "accessList": accesses,
            "yParity": number(tx.y_parity),
            "v": number(tx.y_parity),
        }
    else:
        body["v"] = number(tx.v)  # type: ignore[attr-defined]  # only legacy transactions have it
        if tx.chain_id is not None:
            body["chainId"] = number(tx.chain_id)
    if kind == 2:
        body["maxFeePerGas"] = number(tx.max_fee_per_gas)
        body["maxPriorityFeePerGas"] = number(tx.max_priority_fee_per_gas)
        body["gasPrice"] = number(gas_price(tx=tx, header=header))
    else:
        body["gasPrice"] = number(tx.gas_price)
    return body


def base_fee(header: BlockHeaderAPI) -> int:
    """Return a block's base fee per gas, in wei; its type allows for blocks of old, which had none."""
    return header.base_fee_per_gas or 0


def gas_price(*, tx: SignedTransactionAPI, header: BlockHeaderAPI | None) -> int:
    """Return what one unit of gas costs the sender, in wei; before it is mined, the most that it may."""
    if header is None:
        return tx.max_fee_per_gas
    return min(tx.max_fee_per_gas, base_fee(header) + tx.max_priority_fee_per_gas)


def receipt_json(
    *,
    tx: SignedTransactionAPI,
    receipt: ReceiptAPI,
    computation: ComputationAPI,
    created: bytes,
    header: BlockHeaderAPI,
    position: int,
    gas_before: int,
    logs_before: int,
) -> dict[str, Any]:
    """Write the receipt of a transaction; created: the new contract's address, or empty.

    position: in the block; gas_before, logs_before: what the transactions before it in the block used and wrote.
    """
    place = {
        "transactionHash": data(tx.hash),
        "transactionIndex": number(position),
        "blockHash": data(header.hash),
        "blockNumber": number(header.block_number),
    }
    return {
        **place,
        "type": number(getattr(tx, "type_id", None) or 0),
        "status": number(int(computation.is_success)),
        "from": address(tx.sender),
        "to": address(tx.to),
        "contractAddress": address(created),
        # py-evm's receipts, as those that are hashed into a block, count the gas from the block's beginning.
        "gasUsed": number(receipt.gas_used - gas_before),
        "cumulativeGasUsed": number(receipt.gas_used),
        "effectiveGasPrice": number(gas_price(tx=tx, header=header)),
        "logsBloom": bloom(receipt.bloom),
        "logs": [_log_json(log, index, place) for index, log in enumerate(receipt.logs, logs_before)],
    }


def _log_json(log: LogAPI, position: int, place: dict[str, str]) -> dict[str, Any]:
    return {
        **place,
        "logIndex": number(position),
        "address": address(log.address),
        "topics": [word(topic) for topic in log.topics],
        "data": data(log.data),
        "removed": False,
    }


def failure(computation: ComputationAPI) -> RpcError:
    """Say why an execution failed, as geth words it: a revert carries its bytes and, if given, its reason.

    Source: go-ethereum, internal/ethapi/errors.go (newRevertError) and core/vm/errors.go.
    """
    output = computation.output
    kind = type(computation.error).__name__
    if kind == "Revert":
        reason = _reason(output)
        return RpcError(
            REVERTED, f"execution reverted: {reason}" if reason else "execution reverted", data(output)
        )
    words = {
        "OutOfGas": "out of gas",
        "InvalidInstruction": "invalid opcode",
        "InvalidJumpDestination": "invalid jump destination",
        "StackDepthLimit": "max call depth exceeded",
        "InsufficientFunds": "insufficient balance for transfer",
    }
    return RpcError(SERVER_ERROR, words.get(kind, f"execution failed: {kind}"))


def _reason(output: bytes) -> str | None:
    try:
        if output[:4] == _ERROR_SELECTOR:
            text: str = decode(["string"], output[4:])[0]
            return text
        if output[:4] == _PANIC_SELECTOR:
            code: int = decode(["uint256"], output[4:])[0]
            return f"panic: {_PANICS.get(code, 'unknown panic code')} ({code:#04x})"
    except DecodingError:
        pass
    return None
