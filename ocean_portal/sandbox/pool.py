"""The transactions that wait for a block: what a node takes in, what replaces what, and who goes first."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import lru_cache

from eth.abc import SignedTransactionAPI
from eth.vm.forks.cancun import CancunVM
from eth_typing import Address

from ocean_portal.sandbox import encoding
from ocean_portal.sandbox.encoding import SERVER_ERROR, RpcError

# Source: go-ethereum, core/txpool/legacypool/legacypool.go, DefaultConfig.PriceBump.
_BUMP_PERCENT = 10


@lru_cache(maxsize=1024)
def decode(raw: bytes) -> SignedTransactionAPI:
    """Read a signed transaction; reading it again costs nothing, nor does asking for its sender.

    Raises: RpcError when it is none, or of a type that the chain does not know.
    """
    if raw[:1] > b"\x02" and raw[:1] < b"\xc0":
        raise RpcError(SERVER_ERROR, "transaction type not supported")
    try:
        tx = CancunVM.get_transaction_builder().decode(raw)
        tx.check_signature_validity()
    except Exception as error:  # the decoder raises what rlp, the sedes and the curve raise
        raise RpcError(SERVER_ERROR, f"rlp: cannot decode transaction: {error}") from error
    return tx


def cost(tx: SignedTransactionAPI) -> int:
    """Return the most that a transaction may take from its sender, in wei."""
    return tx.gas * tx.max_fee_per_gas + tx.value


def tip(tx: SignedTransactionAPI, *, base_fee: int) -> int:
    """Return what a block gets per gas above its base fee, in wei; below 0 it cannot have the transaction."""
    return min(tx.max_priority_fee_per_gas, tx.max_fee_per_gas - base_fee)


class Pool:
    """What waits, oldest first, as the store has it at one moment. One sender has one transaction per nonce."""

    def __init__(self, raws: Iterable[bytes]) -> None:
        self.waiting = {tx.hash: tx for tx in map(decode, raws)}

    def at(self, sender: Address, nonce: int) -> SignedTransactionAPI | None:
        """Return what waits with this nonce."""
        matching = (tx for tx in self.waiting.values() if (tx.sender, tx.nonce) == (sender, nonce))
        return next(matching, None)

    def line(self, sender: Address, nonce: int) -> list[SignedTransactionAPI]:
        """Return a sender's transactions from this nonce up to the first gap."""
        own = {tx.nonce: tx for tx in self.waiting.values() if tx.sender == sender}
        found: list[SignedTransactionAPI] = []
        while following := own.get(nonce + len(found)):
            found.append(following)
        return found

    def lines(self, nonce_of: Callable[[Address], int]) -> list[list[SignedTransactionAPI]]:
        """Return the lines that blocks can take from, at least one transaction each; oldest sender first."""
        senders = dict.fromkeys(tx.sender for tx in self.waiting.values())
        return [line for sender in senders if (line := self.line(sender, nonce_of(sender)))]

    def refusal(self, tx: SignedTransactionAPI, *, nonce: int, balance: int) -> str | None:
        """Say in geth's words why a transaction cannot join; None when it can.

        nonce and balance (wei): the sender's in the newest block.
        Source: go-ethereum, core/txpool/validation.go (ValidateTransactionWithState), core/error.go and
        core/txpool/legacypool/list.go (Add).
        """
        others = [other for other in self.line(tx.sender, nonce) if other.nonce != tx.nonce]
        queued = sum(cost(other) for other in others)
        replaced = self.at(tx.sender, tx.nonce)
        if tx.nonce < nonce:
            return f"nonce too low: next nonce {nonce}, tx nonce {tx.nonce}"
        if cost(tx) > balance:
            return (
                f"insufficient funds for gas * price + value: address {encoding.address(tx.sender)} "
                f"have {balance} want {cost(tx)}"
            )
        if queued + cost(tx) > balance:
            return (
                f"insufficient funds for gas * price + value: balance {balance}, queued cost {queued}, "
                f"tx cost {cost(tx)}, overshot {queued + cost(tx) - balance}"
            )
        if replaced is not None and not _outbids(tx, replaced):
            return "replacement transaction underpriced"
        return None


def _outbids(new: SignedTransactionAPI, old: SignedTransactionAPI) -> bool:
    pairs = (
        (new.max_fee_per_gas, old.max_fee_per_gas),
        (new.max_priority_fee_per_gas, old.max_priority_fee_per_gas),
    )
    return all(bid > had and bid >= had * (100 + _BUMP_PERCENT) // 100 for bid, had in pairs)
