"""A development chain on disk: py-evm (the engine of web3's tester backend) with its state in SQLite."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

from eth._utils.address import generate_contract_address
from eth.abc import BlockHeaderAPI, ComputationAPI, SignedTransactionAPI, StateAPI
from eth.chains.base import MiningChain
from eth.exceptions import CanonicalHeadNotFound
from eth.vm.forks.cancun import CancunVM
from eth.vm.spoof import SpoofTransaction
from eth_account import Account
from eth_account.hdaccount import key_from_seed, seed_from_mnemonic
from eth_account.signers.local import LocalAccount
from eth_typing import Address
from eth_utils.exceptions import ValidationError

from ocean_portal.sandbox import encoding, methods
from ocean_portal.sandbox.chainstore import ChainStore
from ocean_portal.sandbox.encoding import SERVER_ERROR, RpcError

CHAIN_ID = 8996
# The mnemonic that every development chain uses; anybody can spend what its accounts hold.
MNEMONIC = "test test test test test test test test test test test junk"
ACCOUNTS = 10
ETHER = 10**18
TIP = 10**9
_GAS_LIMIT = 30_000_000
# Genesis lies this far in the past, so that the deployment's many blocks need not lie in the future.
_HISTORY_S = 120


class _Evm(MiningChain):
    chain_id = CHAIN_ID
    vm_configuration = ((0, CancunVM),)  # type: ignore[assignment]  # py-evm takes plain integers, as its own chains do

    def create_header_from_parent(self, parent_header: BlockHeaderAPI, **fields: Any) -> BlockHeaderAPI:
        # Without this the gas limit of near-empty blocks would fall from block to block.
        fields.setdefault("gas_limit", parent_header.gas_limit)
        return super().create_header_from_parent(parent_header, **fields)


class Chain:
    """Mine one block per transaction, at once, and keep everything in `chain.sqlite3` in a folder.

    Safe to use from several threads. A process killed at any moment leaves whole blocks behind.
    """

    chain_id = CHAIN_ID

    def __init__(self, folder: Path, *, clock: Callable[[], float] = time.time) -> None:
        """Open the chain in this folder, or create it with ten funded accounts.

        Raises: RuntimeError when another process has it open.
        """
        self.lock = threading.RLock()
        self.waiting: dict[bytes, SignedTransactionAPI] = {}
        self._clock = clock
        self._in_the_past = False
        folder.mkdir(parents=True, exist_ok=True)
        self.store = ChainStore(folder / "chain.sqlite3")
        try:
            self.evm = _Evm(self.store)
        except CanonicalHeadNotFound:
            with self.store.transaction():
                self.evm = self._create()

    def close(self) -> None:
        """Let another process open the chain."""
        with self.lock:
            self.store.close()

    # What the sandbox's other modules use.

    def account(self, index: int) -> LocalAccount:
        """Return one of the ten development accounts (0 to 9)."""
        return self.accounts[index]

    def rpc(self, method: str, params: list[Any]) -> Any:
        """Answer one JSON-RPC call.

        Raises: RpcError, with the code and message that the client is to be told.
        """
        with self.lock:
            return methods.answer(self, method, params)

    def send(self, account: LocalAccount, tx: dict[str, Any]) -> dict[str, Any]:
        """Sign and mine a transaction, and return its JSON-RPC receipt.

        tx: `to`, `data` as hex, `value` in wei, all optional. Nonce, gas and fees are filled in.
        Raises: RpcError when it would revert, with the reason; nothing is mined then.
        """
        with self.lock:
            call = {"from": account.address, **tx}
            filled = {
                "type": 2,
                "chainId": CHAIN_ID,
                "nonce": self.state().get_nonce(encoding.read_address(account.address)),
                "gas": self.estimate(call),
                "maxFeePerGas": 2 * encoding.base_fee(self.next_header()) + TIP,
                "maxPriorityFeePerGas": TIP,
                "value": 0,
                **tx,
            }
            if tx.get("to"):
                filled["to"] = encoding.address(encoding.read_address(tx["to"]))
            tx_hash = self.submit(bytes(account.sign_transaction(filled).raw_transaction))
            receipt = self.store.receipt(tx_hash)
            if receipt is None or receipt["status"] != "0x1":
                raise RpcError(SERVER_ERROR, f"transaction {tx_hash} was sent but failed")
            return receipt

    @contextmanager
    def in_the_past(self) -> Iterator[None]:
        """Mine what comes meanwhile at one second after the block before, instead of at the present time."""
        with self.lock:
            self._in_the_past = True
            try:
                yield
            finally:
                self._in_the_past = False

    # What the JSON-RPC methods use; they hold the lock.

    @property
    def head(self) -> BlockHeaderAPI:
        """The header of the newest block."""
        return self.evm.get_canonical_head()

    def next_header(self) -> BlockHeaderAPI:
        """Return the header on which the next transaction will be executed.

        Its time follows the clock, and runs ahead by a second per block where blocks come faster than that.
        """
        head = self.head
        soonest = head.timestamp + 1
        timestamp = soonest if self._in_the_past else max(int(self._clock()), soonest)
        return self.evm.create_header_from_parent(head, timestamp=timestamp)

    def state(self, header: BlockHeaderAPI | None = None) -> StateAPI:
        """Return the state after a block, by default the newest."""
        return self.evm.get_vm(header or self.head).state

    def submit(self, raw: bytes) -> str:
        """Mine a signed transaction, or keep it until the nonces before it have come; return its hash.

        Raises: RpcError in the words of geth when it is not valid. A transaction that reverts is mined.
        """
        tx = self._decode(raw)
        tx_hash = encoding.data(tx.hash)
        if tx.hash in self.waiting:
            raise RpcError(SERVER_ERROR, "already known")
        mined = self.store.receipt(tx_hash)
        # A real node still has a transaction of the newest block in its pool for a moment; of older ones
        # it only knows that their nonce is used.
        if mined and mined["blockHash"] == encoding.data(self.head.hash):
            raise RpcError(SERVER_ERROR, "already known")
        expected = self.state().get_nonce(tx.sender)
        self._check(tx, expected)
        self.waiting[tx.hash] = tx
        while ready := self._ready(tx.sender):
            del self.waiting[ready.hash]
            try:
                self._mine(ready)
            except RpcError:
                if ready is tx:
                    raise
                # One that had waited is no longer payable: it is dropped, and its sender will miss it.
                break
        return tx_hash

    def execute(self, call: dict[str, Any], header: BlockHeaderAPI | None = None) -> bytes:
        """Run a call without a trace, on the newest state at the present time or after a given block.

        Raises: RpcError when it fails, with the revert's reason.
        """
        computation = self._try(call, header or self._now(), gas=self._gas(call))
        if computation.is_error:
            raise encoding.failure(computation)
        return computation.output

    def estimate(self, call: dict[str, Any], header: BlockHeaderAPI | None = None) -> int:
        """Return an amount of gas with which the call succeeds, and which is close to the least.

        Raises: RpcError when it fails with all the gas of a block.
        """
        header = header or self._now()
        limit = self._gas(call)
        first = self._try(call, header, gas=limit)
        if first.is_error:
            raise encoding.failure(first)
        # Gas that is refunded at the end must be there first; a call may pass on only 63 of 64 parts of it.
        spent = limit - first.get_gas_remaining()
        for gas in (spent, min(limit, spent * 64 // 63 + 2300)):
            if self._succeeds(call, header, gas=gas):
                return gas
        too_little = spent
        while limit - too_little > 1000:
            middle = (limit + too_little) // 2
            if self._succeeds(call, header, gas=middle):
                limit = middle
            else:
                too_little = middle
        return limit

    @cached_property
    def accounts(self) -> list[LocalAccount]:
        """The development accounts, whose keys the chain knows."""
        seed = seed_from_mnemonic(MNEMONIC, "")
        return [Account.from_key(key_from_seed(seed, f"m/44'/60'/0'/0/{index}")) for index in range(ACCOUNTS)]

    # Inside.

    def _create(self) -> _Evm:
        funded = {"balance": 10_000 * ETHER, "nonce": 0, "code": b"", "storage": {}}
        genesis = {
            "difficulty": 0,
            "gas_limit": _GAS_LIMIT,
            "timestamp": int(self._clock()) - _HISTORY_S,
            "nonce": bytes(8),
        }
        state = {bytes.fromhex(account.address[2:]): funded for account in self.accounts}
        created = _Evm.from_genesis(self.store, genesis, state)  # type: ignore[arg-type]  # its types know no plain bytes
        assert isinstance(created, _Evm)
        return created

    def _now(self) -> BlockHeaderAPI:
        """Return the newest header with the present time, as if blocks kept coming on an idle chain."""
        head = self.head
        return head.copy(timestamp=max(int(self._clock()), head.timestamp))

    def _decode(self, raw: bytes) -> SignedTransactionAPI:
        if raw[:1] > b"\x02" and raw[:1] < b"\xc0":
            raise RpcError(SERVER_ERROR, "transaction type not supported")
        try:
            tx = CancunVM.get_transaction_builder().decode(raw)
            tx.check_signature_validity()
        except Exception as error:  # the decoder raises what rlp, the sedes and the curve raise
            raise RpcError(SERVER_ERROR, f"rlp: cannot decode transaction: {error}") from error
        if tx.chain_id not in (None, CHAIN_ID):
            raise RpcError(SERVER_ERROR, f"invalid chain id for signer: have {tx.chain_id} want {CHAIN_ID}")
        return tx

    def _check(self, tx: SignedTransactionAPI, expected: int) -> None:
        """Refuse what a node's pool refuses.

        Source: go-ethereum, core/txpool/validation.go and core/error.go.
        """
        sender = encoding.address(tx.sender)
        base_fee = encoding.base_fee(self.next_header())
        cost = tx.gas * tx.max_fee_per_gas + tx.value
        balance = self.state().get_balance(tx.sender)
        problem = None
        if tx.nonce < expected:
            problem = f"nonce too low: next nonce {expected}, tx nonce {tx.nonce}"
        elif tx.gas > _GAS_LIMIT:
            problem = "exceeds block gas limit"
        elif tx.gas < tx.intrinsic_gas:
            problem = f"intrinsic gas too low: gas {tx.gas}, minimum needed {tx.intrinsic_gas}"
        elif tx.max_priority_fee_per_gas > tx.max_fee_per_gas:
            problem = "max priority fee per gas higher than max fee per gas"
        elif tx.max_fee_per_gas < base_fee:
            problem = (
                f"max fee per gas less than block base fee: address {sender}, "
                f"maxFeePerGas: {tx.max_fee_per_gas}, baseFee: {base_fee}"
            )
        elif cost > balance:
            problem = (
                f"insufficient funds for gas * price + value: address {sender} have {balance} want {cost}"
            )
        elif any((other.sender, other.nonce) == (tx.sender, tx.nonce) for other in self.waiting.values()):
            problem = "replacement transaction underpriced"
        if problem:
            raise RpcError(SERVER_ERROR, problem)

    def _ready(self, sender: Address) -> SignedTransactionAPI | None:
        nonce = self.state().get_nonce(sender)
        matching = (tx for tx in self.waiting.values() if (tx.sender, tx.nonce) == (sender, nonce))
        return next(matching, None)

    def _mine(self, tx: SignedTransactionAPI) -> None:
        try:
            with self.store.transaction():
                self.evm.header = self.next_header()
                result, receipts, computations = self.evm.mine_all([tx])
                header = result.imported_block.header
                created = generate_contract_address(tx.sender, tx.nonce) if not tx.to else b""
                self.store.add_transaction(
                    block=header.block_number,
                    body=encoding.transaction_json(tx=tx, chain_id=CHAIN_ID, header=header),
                    receipt=encoding.receipt_json(
                        tx=tx,
                        receipt=receipts[0],
                        computation=computations[0],
                        created=created,
                        header=header,
                    ),
                )
        except ValidationError as error:
            raise RpcError(SERVER_ERROR, str(error)) from error

    def _gas(self, call: dict[str, Any]) -> int:
        asked = encoding.read_number(call["gas"]) if call.get("gas") is not None else _GAS_LIMIT
        return min(asked, _GAS_LIMIT)

    def _succeeds(self, call: dict[str, Any], header: BlockHeaderAPI, *, gas: int) -> bool:
        return not self._try(call, header, gas=gas).is_error

    def _try(self, call: dict[str, Any], header: BlockHeaderAPI, *, gas: int) -> ComputationAPI:
        """Execute a call for free on a state that is thrown away."""
        state = self.evm.get_vm(header.copy(base_fee_per_gas=0)).state
        sender = encoding.read_address(call.get("from") or "0x" + "00" * 20)
        unsigned = CancunVM.get_transaction_builder().new_unsigned_dynamic_fee_transaction(  # type: ignore[attr-defined]  # not in its ABC
            chain_id=CHAIN_ID,
            # A nonce that the client sends along plays no part in a call.
            nonce=state.get_nonce(sender),
            max_priority_fee_per_gas=0,
            max_fee_per_gas=0,
            gas=gas,
            to=encoding.read_address(call["to"]) if call.get("to") else b"",
            value=encoding.read_number(call.get("value") or 0),
            data=encoding.read_bytes(call.get("input") or call.get("data") or "0x"),
            access_list=(),
        )
        if gas < unsigned.intrinsic_gas:
            raise RpcError(
                SERVER_ERROR, f"intrinsic gas too low: gas {gas}, minimum needed {unsigned.intrinsic_gas}"
            )
        balance = state.get_balance(sender)
        if unsigned.value > balance:
            raise RpcError(
                SERVER_ERROR,
                "insufficient funds for gas * price + value: "
                f"address {encoding.address(sender)} have {balance} want {unsigned.value}",
            )
        return state.apply_transaction(SpoofTransaction(unsigned, from_=sender))  # type: ignore[arg-type]  # acts as one
