"""The JSON-RPC methods of the sandbox chain, in the shapes that ethers 6 and web3 insist on."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, Any

import rlp
from eth.abc import BlockHeaderAPI
from eth.exceptions import HeaderNotFound
from eth_typing import BlockNumber, Hash32
from eth_utils.crypto import keccak

from ocean_portal.sandbox import encoding
from ocean_portal.sandbox.encoding import METHOD_NOT_FOUND, SERVER_ERROR, RpcError, invalid

if TYPE_CHECKING:
    from ocean_portal.sandbox.chain import Chain

_TIP = 10**9
# While the pending block is lent, it is the newest, and these need not know that it is not there yet.
_STATE_METHODS = ("eth_call", "eth_estimateGas", "eth_getBalance", "eth_getCode", "eth_getStorageAt")
# Each block is written for itself, and a client waits for all of them.
_MOST_BLOCKS = 10_000


def answer(chain: Chain, method: str, params: Sequence[Any]) -> Any:
    """Answer one call; the caller holds the chain's lock.

    Raises: RpcError, with the code and message that the client is to be told.
    """
    if method not in _METHODS:
        raise RpcError(METHOD_NOT_FOUND, f"the method {method} does not exist/is not available")
    function = _METHODS[method]
    try:
        inspect.signature(function).bind(chain, *params)
    except TypeError as error:
        raise invalid(f"wrong number of arguments: {error}") from error
    if method in _STATE_METHODS and "pending" in params:
        with chain.pending():
            return function(chain, *params)
    return function(chain, *params)


# Blocks.


def _header(chain: Chain, block: Any) -> BlockHeaderAPI | None:
    """Find the header that a tag, a number, a hash or an EIP-1898 object names."""
    if isinstance(block, dict):
        block = block.get("blockHash", block.get("blockNumber"))
    head = chain.head
    if block in (None, "latest", "pending", "safe", "finalized"):
        return head
    if block == "earliest":
        return chain.evm.get_canonical_block_header_by_number(BlockNumber(0))
    if isinstance(block, str) and len(block) == 66:
        try:
            return chain.evm.get_block_header_by_hash(Hash32(encoding.read_bytes(block, length=32)))
        except HeaderNotFound:
            return None
    number = encoding.read_number(block)
    return (
        chain.evm.get_canonical_block_header_by_number(BlockNumber(number))
        if number <= head.block_number
        else None
    )


def _known_header(chain: Chain, block: Any) -> BlockHeaderAPI:
    header = _header(chain, block)
    if header is None:
        raise RpcError(SERVER_ERROR, "header not found")
    return header


def _block(chain: Chain, block: Any, full: Any = False) -> dict[str, Any] | None:
    if block == "pending":
        return _pending_block(chain, full)
    header = _header(chain, block)
    if header is None:
        return None
    found = chain.evm.get_block_by_header(header)
    bodies = chain.store.bodies(header.block_number)
    return encoding.block_json(
        block=found,
        size=len(rlp.encode(found)),
        transactions=bodies if full else [body["hash"] for body in bodies],
    )


def _pending_block(chain: Chain, full: Any) -> dict[str, Any]:
    """Return the block that would be mined now, with those that wait and fit; its hash is not known yet."""
    with chain.pending() as header:
        if header is None:
            return encoding.header_json(chain.next_header())
        bodies = chain.store.bodies(header.block_number)
        places = {"blockHash": None, "blockNumber": None, "transactionIndex": None}
        listed = [body | places for body in bodies] if full else [body["hash"] for body in bodies]
        return encoding.header_json(header) | {"transactions": listed}


def _transaction_count_of(chain: Chain, block: Any) -> str | None:
    header = _header(chain, block)
    return encoding.number(len(chain.store.bodies(header.block_number))) if header else None


def _transaction_of(chain: Chain, block: Any, index: Any) -> dict[str, Any] | None:
    header = _header(chain, block)
    bodies = chain.store.bodies(header.block_number) if header else []
    position = encoding.read_number(index)
    return bodies[position] if position < len(bodies) else None


def _block_receipts(chain: Chain, block: Any) -> list[dict[str, Any]] | None:
    header = _header(chain, block)
    return chain.store.receipts(header.block_number) if header else None


# Accounts.


def _balance(chain: Chain, account: Any, block: Any = "latest") -> str:
    state = chain.state(_known_header(chain, block))
    return encoding.number(state.get_balance(encoding.read_address(account)))


def _nonce(chain: Chain, account: Any, block: Any = "latest") -> str:
    if block == "pending":
        return encoding.number(chain.pending_nonce(encoding.read_address(account)))
    state = chain.state(_known_header(chain, block))
    return encoding.number(state.get_nonce(encoding.read_address(account)))


def _code(chain: Chain, account: Any, block: Any = "latest") -> str:
    state = chain.state(_known_header(chain, block))
    return encoding.data(state.get_code(encoding.read_address(account)))


def _storage(chain: Chain, account: Any, slot: Any, block: Any = "latest") -> str:
    state = chain.state(_known_header(chain, block))
    return encoding.word(state.get_storage(encoding.read_address(account), encoding.read_number(slot)))


# Executing.


def _at(chain: Chain, block: Any) -> BlockHeaderAPI | None:
    """Return where a call is executed: none for the newest state at the present time."""
    return None if block in (None, "latest", "pending") else _known_header(chain, block)


def _call_object(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise invalid(f"invalid argument 0: {value!r} is not a transaction object")
    return value


def _call(chain: Chain, call: Any, block: Any = "latest", *_overrides: Any) -> str:
    return encoding.data(chain.execute(_call_object(call), _at(chain, block)))


def _estimate(chain: Chain, call: Any, block: Any = "latest", *_overrides: Any) -> str:
    return encoding.number(chain.estimate(_call_object(call), _at(chain, block)))


def _send_raw(chain: Chain, raw: Any) -> str:
    return chain.submit(encoding.read_bytes(raw))


def _send(chain: Chain, call: Any) -> str:
    """Sign with a development account's key, filling in what the client left out."""
    call = _call_object(call)
    sender = encoding.read_address(call.get("from"))
    signer = next(
        (account for account in chain.accounts if bytes.fromhex(account.address[2:]) == sender), None
    )
    if signer is None:
        raise RpcError(SERVER_ERROR, f"unknown account {call['from']}")
    tx: dict[str, Any] = {
        "chainId": chain.chain_id,
        "nonce": encoding.read_number(call["nonce"]) if call.get("nonce") else chain.pending_nonce(sender),
        "gas": encoding.read_number(call.get("gas") or answer(chain, "eth_estimateGas", [call, "pending"])),
        "value": encoding.read_number(call.get("value") or 0),
        "data": encoding.read_bytes(call.get("input") or call.get("data") or "0x"),
    }
    if call.get("to"):
        tx["to"] = encoding.address(encoding.read_address(call["to"]))
    if call.get("accessList"):
        tx["accessList"] = call["accessList"]
    if call.get("gasPrice"):
        tx["gasPrice"] = encoding.read_number(call["gasPrice"])
    else:
        tip = encoding.read_number(call.get("maxPriorityFeePerGas") or _TIP)
        most = call.get("maxFeePerGas") or 2 * encoding.base_fee(chain.next_header()) + tip
        tx |= {"maxPriorityFeePerGas": tip, "maxFeePerGas": encoding.read_number(most)}
    return chain.submit(bytes(signer.sign_transaction(tx).raw_transaction))


def _body(chain: Chain, tx_hash: Any) -> dict[str, Any] | None:
    wanted = Hash32(encoding.read_bytes(tx_hash, length=32))
    waiting = chain.waiting.get(wanted)
    if waiting is not None:
        return encoding.transaction_json(tx=waiting, chain_id=chain.chain_id, header=None)
    return chain.store.body(encoding.data(wanted))


def _receipt(chain: Chain, tx_hash: Any) -> dict[str, Any] | None:
    return chain.store.receipt(encoding.data(encoding.read_bytes(tx_hash, length=32)))


# Logs.


def _alternatives(value: Any) -> list[str]:
    """Read one place of a filter: null is anything, a list is any of its members."""
    if value is None:
        return []
    return [
        encoding.data(encoding.read_bytes(item)) for item in (value if isinstance(value, list) else [value])
    ]


def _logs(chain: Chain, wanted: Any) -> list[dict[str, Any]]:
    if not isinstance(wanted, dict):
        raise invalid(f"invalid argument 0: {wanted!r} is not a filter object")
    if wanted.get("blockHash"):
        if wanted.get("fromBlock") or wanted.get("toBlock"):
            raise invalid("cannot specify both BlockHash and FromBlock/ToBlock, choose one or the other")
        header = _header(chain, wanted["blockHash"])
        if header is None:
            raise RpcError(SERVER_ERROR, "unknown block")
        first = last = int(header.block_number)
    else:
        first, last = (_height(chain, wanted.get(edge)) for edge in ("fromBlock", "toBlock"))
        if first > last:
            raise invalid("invalid block range params")
    return chain.store.logs(
        first=first,
        last=last,
        addresses=_alternatives(wanted.get("address")),
        topics=[_alternatives(topic) for topic in wanted.get("topics") or []],
    )


def _height(chain: Chain, block: Any) -> int:
    """Return the number that an edge of a range names; a number beyond the head is good."""
    if block is None or (isinstance(block, str) and not block.startswith("0x")):
        return _known_header(chain, block).block_number
    return encoding.read_number(block)


# Fees.


def _gas_price(chain: Chain) -> str:
    return encoding.number(encoding.base_fee(chain.next_header()) + _TIP)


def _fee_history(chain: Chain, count: Any, newest: Any, percentiles: Any = None) -> dict[str, Any]:
    last = _known_header(chain, newest).block_number
    # As geth: at most 1024 blocks, and never more than there are; block 0 counts as one.
    first = max(0, last + 1 - min(encoding.read_number(count), 1024))
    headers = [
        chain.evm.get_canonical_block_header_by_number(BlockNumber(number))
        for number in range(first, last + 1)
    ]
    following = chain.evm.create_header_from_parent(headers[-1]) if headers else chain.head
    history: dict[str, Any] = {
        "oldestBlock": encoding.number(first),
        "baseFeePerGas": [encoding.number(encoding.base_fee(header)) for header in (*headers, following)],
        "gasUsedRatio": [header.gas_used / header.gas_limit for header in headers],
    }
    if percentiles:
        history["reward"] = [_rewards(chain, header, percentiles) for header in headers]
    return history


def _rewards(chain: Chain, header: BlockHeaderAPI, percentiles: Sequence[float]) -> list[str]:
    """Return the tips per gas (wei) below which these percentages of a block's gas were paid for.

    Source: go-ethereum, eth/gasprice/feehistory.go (processBlock).
    """
    base_fee = encoding.base_fee(header)
    paid = sorted(
        (int(receipt["effectiveGasPrice"], 16) - base_fee, int(receipt["gasUsed"], 16))
        for receipt in chain.store.receipts(header.block_number)
    )
    totals = list(accumulate(gas for _, gas in paid))
    rewards = []
    for percentile in percentiles:
        reached = (
            tip
            for (tip, _), total in zip(paid, totals, strict=True)
            if total * 100 >= header.gas_used * percentile
        )
        rewards.append(encoding.number(next(reached, 0)))
    return rewards


# What only development chains have.
# Source: NomicFoundation/edr @ a81dc28 : crates/edr_provider/src/requests/eth/evm.rs (Hardhat's chain). Where
# Hardhat answers a decimal string ("60", "0"), these answer as ganache and foundry-rs/foundry @ f1510ce :
# crates/anvil/src/eth/api.rs do (60, "0x0").


def _set_automine(chain: Chain, on: Any) -> bool:
    if not isinstance(on, bool):
        raise invalid(f"invalid argument: {on!r:.80} is not true or false")
    chain.set_automine(on)
    return True


def _mine(chain: Chain, wanted: Any = None) -> str:
    """Mine a block; wanted: its timestamp, or an object with `timestamp` and the number of `blocks`."""
    options = wanted if isinstance(wanted, dict) else {"timestamp": wanted}
    if unknown := options.keys() - {"timestamp", "blocks"}:
        raise invalid(f"evm_mine knows timestamp and blocks, not {', '.join(sorted(unknown))}")
    timestamp, blocks = options.get("timestamp"), options.get("blocks")
    count = 1 if blocks is None else encoding.read_number(blocks)
    if count > _MOST_BLOCKS:
        raise invalid(f"{count} blocks are more than {_MOST_BLOCKS}")
    chain.mine(blocks=count, timestamp=None if timestamp is None else encoding.read_number(timestamp))
    return "0x0"


def _hash(_chain: Chain, value: Any) -> str:
    return encoding.data(keccak(encoding.read_bytes(value)))


_METHODS: dict[str, Callable[..., Any]] = {
    "eth_accounts": lambda chain: [account.address for account in chain.accounts],
    "eth_blockNumber": lambda chain: encoding.number(chain.head.block_number),
    "eth_call": _call,
    "eth_chainId": lambda chain: encoding.number(chain.chain_id),
    "eth_estimateGas": _estimate,
    "eth_feeHistory": _fee_history,
    "eth_gasPrice": _gas_price,
    "eth_getBalance": _balance,
    "eth_getBlockByHash": _block,
    "eth_getBlockByNumber": _block,
    "eth_getBlockReceipts": _block_receipts,
    "eth_getBlockTransactionCountByHash": _transaction_count_of,
    "eth_getBlockTransactionCountByNumber": _transaction_count_of,
    "eth_getCode": _code,
    "eth_getLogs": _logs,
    "eth_getStorageAt": _storage,
    "eth_getTransactionByBlockHashAndIndex": _transaction_of,
    "eth_getTransactionByBlockNumberAndIndex": _transaction_of,
    "eth_getTransactionByHash": _body,
    "eth_getTransactionCount": _nonce,
    "eth_getTransactionReceipt": _receipt,
    "eth_maxPriorityFeePerGas": lambda _chain: encoding.number(_TIP),
    "eth_sendRawTransaction": _send_raw,
    "eth_sendTransaction": _send,
    "eth_syncing": lambda _chain: False,
    "evm_increaseTime": lambda chain, seconds: chain.increase_time(encoding.read_number(seconds)),
    "evm_mine": _mine,
    "evm_revert": lambda chain, snapshot: chain.revert(encoding.read_number(snapshot)),
    "evm_setAutomine": _set_automine,
    "evm_snapshot": lambda chain: encoding.number(chain.snapshot()),
    "net_listening": lambda _chain: True,
    "net_version": lambda chain: str(chain.chain_id),
    "web3_clientVersion": lambda _chain: "OceanPortalSandbox/py-evm",
    "web3_sha3": _hash,
}
