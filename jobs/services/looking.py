"""What a chain is asked before a transaction is signed, and while it waits: several questions at once, of no old view.

Nothing is written, signed or sent here.
"""

from __future__ import annotations

from collections.abc import Sequence

from django.db.models import Max

from jobs.models import Network, Transaction
from jobs.ocean import questions
from jobs.ocean.chain import Chain
from jobs.ocean.errors import ChainError
from jobs.ocean.questions import Question
from jobs.ocean.transactions import Call
from jobs.ocean.units import Address, Wei


def call_of(tx: Transaction) -> Call:
    """Return the call that a transaction is to make."""
    return Call(to=Address(tx.to), data=bytes(tx.data), value_wei=Wei(int(tx.value_wei)))


def look_ahead(*, rows: Sequence[Transaction], chain: Chain) -> None:
    """Ask in one request what `prepare` asks for each of some transactions of a wallet, the datatokens aside.

    These are looked at when the wallet's next number is known.
    """
    chain.forget()
    wanted: list[Question] = []
    for tx in rows:
        sender = Address(tx.wallet.address)
        wanted += [questions.gas(sender, call_of(tx)), questions.next_nonce(sender)]
        wanted += [questions.HEAD, questions.TIP]
    chain.ask_ahead(wanted)


def look_for_receipts(*, rows: Sequence[Transaction], chain: Chain) -> None:
    """Ask in one request what `find` asks for each of some transactions."""
    chain.forget()
    if len(rows) > 1:
        chain.ask_ahead([*(questions.receipt(tx.tx_hash) for tx in rows), *[questions.HEAD] * len(rows)])


def refuse_an_old_view(*, chain: Chain, network: Network, address: str) -> None:
    """Believe nothing of an endpoint that does not know a block yet in which the wallet's own transactions are.

    What was bought there would be missing to it, and would be bought again.

    Raises:
        ChainError: "old_block", with the numbers; it may pass.
    """
    ours = network.transactions.filter(wallet__address=address, status=Transaction.Status.CONFIRMED)
    newest = ours.aggregate(newest=Max("block_number"))["newest"]
    if newest is None:
        return
    head = chain.head().number
    if head < newest:
        raise ChainError(
            f"The RPC endpoint of {network.name} answers from block {head}, and this wallet has transactions in block "
            f"{newest}. Nothing is decided until it has caught up.",
            code="old_block",
            retryable=True,
        )
