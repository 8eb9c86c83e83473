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
from eth.abc import BlockHeaderAPI, ComputationAPI, ReceiptAPI, SignedTransactionAPI, StateAPI
from eth.chains.base import MiningChain
from eth.exceptions import CanonicalHeadNotFound
from eth.vm.forks.cancun import CancunVM
from eth.vm.spoof import SpoofTransaction
from eth_account import Account
from eth_account.hdaccount import key_from_seed, seed_from_mnemonic
from eth_account.signers.local import LocalAccount
from eth_typing import Address, Hash32
from eth_utils.exceptions import ValidationError

from ocean_portal.sandbox import encoding, methods, pool
from ocean_portal.sandbox.chainstore import AUTOMINE, REVERTS, TIME_OFFSET_S, ChainStore
from ocean_portal.sandbox.encoding import SERVER_ERROR, RpcError, invalid
from ocean_portal.sandbox.pool import Pool

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

    With automine off, transactions wait in a pool until somebody has blocks mined. Pool, snapshots and
    settings are in the file too.
    Safe to use from several threads. A process killed at any moment leaves whole blocks behind.
    """

    chain_id = CHAIN_ID

    def __init__(self, folder: Path, *, clock: Callable[[], float] = time.time) -> None:
        """Open the chain in this folder, or create it with ten funded accounts.

        Raises: RuntimeError when another process has it open.
        """
        self.lock = threading.RLock()
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

        tx: `to`, `data` as hex, `value` in wei, all optional. Nonce, gas and fees are filled in. It is mined at
        once, with automine on or off, and takes the account's next nonce: what waits with that is dropped.
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
            signed = self._decode(bytes(account.sign_transaction(filled).raw_transaction))
            self._check(signed, beside=Pool([]))
            self._mine_now(signed)
            receipt = self.store.receipt(encoding.data(signed.hash))
            if receipt is None or receipt["status"] != "0x1":
                raise RpcError(SERVER_ERROR, f"transaction {encoding.data(signed.hash)} was sent but failed")
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

    @property
    def automine(self) -> bool:
        """Whether a transaction is mined as soon as it is sent."""
        return bool(self.store.setting(AUTOMINE))

    def set_automine(self, on: bool) -> None:
        """Mine at once from now on, or let transactions wait. What waits already does so until the next block."""
        with self.store.transaction():
            self.store.change_setting(AUTOMINE, int(on))

    def now(self) -> int:
        """Return the chain's time: the clock's, plus what was asked for with increase_time."""
        return int(self._clock()) + self.store.setting(TIME_OFFSET_S)

    def increase_time(self, seconds: int) -> int:
        """Put the chain's time forward, and return by how much it is ahead of the clock now, in seconds."""
        with self.store.transaction():
            ahead = self.store.setting(TIME_OFFSET_S) + seconds
            self.store.change_setting(TIME_OFFSET_S, ahead)
        return ahead

    def next_header(self) -> BlockHeaderAPI:
        """Return the header on which the next transaction will be executed.

        Its time follows the clock, and runs ahead by a second per block where blocks come faster than that.
        """
        head = self.head
        soonest = head.timestamp + 1
        timestamp = soonest if self._in_the_past else max(self.now(), soonest)
        # The same transactions at the same time would make the very block that a revert has forgotten;
        # clients notice a reorganisation by another hash, so each revert leaves its mark on later blocks.
        reverts = self.store.setting(REVERTS)
        mark = reverts.to_bytes((reverts.bit_length() + 7) // 8, "big")
        return self.evm.create_header_from_parent(head, timestamp=timestamp, extra_data=mark)

    def state(self, header: BlockHeaderAPI | None = None) -> StateAPI:
        """Return the state after a block, by default the newest."""
        return self.evm.get_vm(header or self.head).state

    @property
    def waiting(self) -> dict[Hash32, SignedTransactionAPI]:
        """The pool: signed transactions by hash, oldest first."""
        return self._pool().waiting

    def pending_nonce(self, sender: Address) -> int:
        """Return the nonce after those that are mined and those that wait without a gap."""
        nonce = self.state().get_nonce(sender)
        return nonce + len(self._pool().line(sender, nonce))

    @contextmanager
    def pending(self) -> Iterator[BlockHeaderAPI | None]:
        """Lend the chain as it would be with the next block, and forget it afterwards.

        The header is that block's; None, and nothing is different, when no waiting transaction could be in it.
        """
        if not self._executable():
            yield None
            return
        with self.store.rehearsal():
            self._build()
            yield self.head

    def submit(self, raw: bytes) -> str:
        """Mine a signed transaction, or keep it until its turn; return its hash.

        Its turn comes with a block and after the nonces before it. With automine on, sending it makes the
        block, and others for all that waits and can be executed.
        Raises: RpcError in the words of geth when it is not valid. A transaction that reverts is mined.
        """
        tx = self._decode(raw)
        tx_hash = encoding.data(tx.hash)
        waiting = self._pool()
        if tx.hash in waiting.waiting:
            raise RpcError(SERVER_ERROR, "already known")
        mined = self.store.receipt(tx_hash)
        # A real node still has a transaction of the newest block in its pool for a moment; of older ones
        # it only knows that their nonce is used.
        if mined and mined["blockHash"] == encoding.data(self.head.hash):
            raise RpcError(SERVER_ERROR, "already known")
        self._check(tx, beside=waiting)
        if self.automine and tx.nonce == self.state().get_nonce(tx.sender):
            self._mine_now(tx)
            return tx_hash
        with self.store.transaction():
            replaced = waiting.at(tx.sender, tx.nonce)
            if replaced is not None:
                self.store.drop_waiting(encoding.data(replaced.hash))
            self.store.add_waiting(tx_hash=tx_hash, raw=raw)
            self._settle()
        return tx_hash

    def mine(self, *, blocks: int = 1, timestamp: int | None = None) -> None:
        """Mine blocks of what waits and fits, best paying first; empty ones when nothing does.

        timestamp: of the first block, in seconds; the chain's time goes on from there.
        Raises: RpcError when it is not later than the newest block's; nothing is mined then.
        Source: NomicFoundation/edr @ a81dc28 : crates/edr_provider/src/data.rs (next_block_timestamp).
        """
        newest = self.head.timestamp
        if timestamp is not None and timestamp <= newest:
            raise invalid(f"timestamp {timestamp} is not later than the previous block's timestamp {newest}")
        for _ in range(blocks):
            with self.store.transaction():
                if timestamp is not None:
                    self.store.change_setting(TIME_OFFSET_S, timestamp - int(self._clock()))
                    timestamp = None
                self._build()

    def snapshot(self) -> int:
        """Remember state, blocks, pool and time as they are; return the snapshot's id, which is never used again."""
        with self.store.transaction():
            return self.store.take_snapshot()

    def revert(self, snapshot: int) -> bool:
        """Make everything as it was at a snapshot, and use it and all later ones up; False for an unknown one.

        To clients it is a reorganisation: blocks, transactions and logs since then are gone, and blocks that come
        instead have other hashes. Automine stays as it is.
        """
        with self.store.transaction():
            if not self.store.restore(snapshot):
                return False
            self.store.forget_blocks(after=self.head.block_number)
            self.store.change_setting(REVERTS, self.store.setting(REVERTS) + 1)
            return True

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
        return head.copy(timestamp=max(self.now(), head.timestamp))

    def _pool(self) -> Pool:
        return Pool(self.store.waiting())

    def _decode(self, raw: bytes) -> SignedTransactionAPI:
        tx = pool.decode(raw)
        if tx.chain_id not in (None, CHAIN_ID):
            raise RpcError(SERVER_ERROR, f"invalid chain id for signer: have {tx.chain_id} want {CHAIN_ID}")
        return tx

    def _check(self, tx: SignedTransactionAPI, *, beside: Pool) -> None:
        """Refuse what a node's pool refuses, with those beside it in the pool.

        Source: go-ethereum, core/txpool/validation.go and core/error.go.
        """
        base_fee = encoding.base_fee(self.next_header())
        nonce = self.state().get_nonce(tx.sender)
        problem = None
        if tx.nonce >= nonce:
            problem = self._misfit(tx, base_fee=base_fee)
        problem = problem or beside.refusal(tx, nonce=nonce, balance=self.state().get_balance(tx.sender))
        if problem:
            raise RpcError(SERVER_ERROR, problem)

    def _misfit(self, tx: SignedTransactionAPI, *, base_fee: int) -> str | None:
        """Say what is wrong with a transaction whoever sent it."""
        if tx.gas > _GAS_LIMIT:
            return "exceeds block gas limit"
        if tx.gas < tx.intrinsic_gas:
            return f"intrinsic gas too low: gas {tx.gas}, minimum needed {tx.intrinsic_gas}"
        if tx.max_priority_fee_per_gas > tx.max_fee_per_gas:
            return "max priority fee per gas higher than max fee per gas"
        # Who mines at once cannot mine this; who waits may wait for the base fee to fall.
        if tx.max_fee_per_gas < base_fee and self.automine:
            return (
                f"max fee per gas less than block base fee: address {encoding.address(tx.sender)}, "
                f"maxFeePerGas: {tx.max_fee_per_gas}, baseFee: {base_fee}"
            )
        return None

    def _mine_now(self, tx: SignedTransactionAPI) -> None:
        """Mine a block of one transaction, whatever waits; with automine on, what waits comes after it."""
        with self.store.transaction():
            self._build(tx)
            self._settle()

    def _settle(self) -> None:
        """With automine on, mine until nothing that waits can be executed; inside a transaction."""
        while self.automine and self._executable():
            self._build()

    def _executable(self) -> list[list[SignedTransactionAPI]]:
        """Return what the next block may take: per sender, in the order of nonces."""
        base_fee = encoding.base_fee(self.next_header())
        lines = self._pool().lines(self.state().get_nonce)
        return [line for line in lines if pool.tip(line[0], base_fee=base_fee) >= 0]

    def _build(self, only: SignedTransactionAPI | None = None) -> None:
        """Add a block of this transaction, or of all that wait and fit, to the chain; inside a transaction.

        Raises: RpcError when it cannot be executed. One that had waited and cannot be any more is dropped,
        and its sender will miss it.
        """
        lines = [[only]] if only else self._executable()
        self.evm.header = self.next_header()
        base_fee = encoding.base_fee(self.evm.header)
        taken: list[tuple[SignedTransactionAPI, ReceiptAPI, ComputationAPI]] = []
        while lines:
            # Of those who pay the same, the one whose sender came first: max keeps the first of equals.
            line = max(lines, key=lambda line: pool.tip(line[0], base_fee=base_fee))
            tx = line.pop(0)
            try:
                if tx.gas > self.evm.header.gas_limit - self.evm.header.gas_used:
                    line.clear()
                else:
                    _, receipt, computation = self.evm.apply_transaction(tx)
                    taken.append((tx, receipt, computation))
            except ValidationError as error:
                if only:
                    raise RpcError(SERVER_ERROR, str(error)) from error
                self.store.drop_waiting(encoding.data(tx.hash))
                line.clear()
            lines = [line for line in lines if line and pool.tip(line[0], base_fee=base_fee) >= 0]
        header = self.evm.mine_block().header
        self._index(header, taken)
        self._drop_outdated()

    def _index(
        self, header: BlockHeaderAPI, taken: list[tuple[SignedTransactionAPI, ReceiptAPI, ComputationAPI]]
    ) -> None:
        gas = logs = 0
        for position, (tx, receipt, computation) in enumerate(taken):
            created = generate_contract_address(tx.sender, tx.nonce) if not tx.to else b""
            self.store.add_transaction(
                block=header.block_number,
                body=encoding.transaction_json(tx=tx, chain_id=CHAIN_ID, header=header, position=position),
                receipt=encoding.receipt_json(
                    tx=tx,
                    receipt=receipt,
                    computation=computation,
                    created=created,
                    header=header,
                    position=position,
                    gas_before=gas,
                    logs_before=logs,
                ),
            )
            gas, logs = receipt.gas_used, logs + len(receipt.logs)

    def _drop_outdated(self) -> None:
        """Take out of the pool what a new block made impossible: a used nonce, or more than the sender has."""
        state = self.state()
        for tx in self._pool().waiting.values():
            if tx.nonce < state.get_nonce(tx.sender) or pool.cost(tx) > state.get_balance(tx.sender):
                self.store.drop_waiting(encoding.data(tx.hash))

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
