"""Turns transactions into what pages show of them: what for, how far, why one waits, and what a person may do about it."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from jobs.access import Action, Actor
from jobs.errors import Missing
from jobs.models import Transaction
from jobs.selectors.amounts import Amount, Names, names

WAITS_FROM = timedelta(minutes=1)  # a block takes seconds: what waits longer has a reason
_STATUS = {
    Transaction.Status.PLANNED: ("idle", "Planned"),
    Transaction.Status.PREPARED: ("run", "About to be sent"),
    Transaction.Status.SENT: ("run", "Waiting for a block"),
    Transaction.Status.CONFIRMED: ("ok", "Confirmed"),
    Transaction.Status.REVERTED: ("bad", "Reverted"),
    Transaction.Status.REFUSED: ("bad", "Not sent"),
    Transaction.Status.DROPPED: ("bad", "Never mined"),
    Transaction.Status.CANCELLED: ("off", "Cancelled"),
    Transaction.Status.WITHDRAWN: ("off", "Not sent, not needed"),
}
_WISHES = {
    Transaction.Wish.FASTER: "A person asked to speed it up; the worker sends it anew at a higher fee.",
    Transaction.Wish.CANCEL: "A person asked to cancel it; the worker sends an empty one in its place.",
}
_LONE = (
    "No block has taken it yet: the chain may be busy, or ask for more than it offers for its gas. "
    "The portal keeps sending it."
)


@dataclass(frozen=True)
class Hash:
    """What a transaction is known by on its chain. link: at the network's explorer, "" if it has none."""

    tx_hash: str
    link: str


@dataclass(frozen=True)
class TransactionRow:
    """A transaction. kind, word: how its status is told; at: when that was.

    amounts: what it moves at most, empty for nothing. earlier: what the same number was used for before, newest first.
    waits_since, why: only of one that has waited longer than usual. wish: what a person wants of it, in words.
    may_speed_up, may_cancel, may_fill: what this person may do about it now; take_back: nothing was signed yet.
    """

    id: int
    told: str
    kind: str
    word: str
    now: Hash
    earlier: tuple[Hash, ...]
    network: str
    wallet: str
    amounts: tuple[Amount, ...]
    block: int | None
    gas: int | None
    at: datetime | None
    trouble: str
    wish: str
    waits_since: datetime | None
    why: str
    asked_by: str
    may_speed_up: bool
    may_cancel: bool
    may_fill: bool
    take_back: bool


def rows_of(
    found: Sequence[Transaction], *, actor: Actor, known: Names | None = None, now: datetime
) -> tuple[TransactionRow, ...]:
    """Show transactions whose networks and wallets are at hand; one query for their tokens unless those are `known`.

    One query more where one of them waits for too long.
    """
    said = known or names(addresses=[token for tx in found for token, _wei in tx.moved])
    blocked = _blocked([tx for tx in found if _waits(tx, now=now)])
    return tuple(_row(tx, actor=actor, said=said, blocked=blocked.get(tx.pk, ""), now=now) for tx in found)


def home_of(*, team_id: int, transaction_id: int) -> uuid.UUID | None:
    """Return the job whose page shows a transaction; None for one that a person asked for outside of any job.

    Raises:
        Missing: no such transaction in this team.
    """
    found = Transaction.objects.filter(pk=transaction_id, wallet__team_id=team_id).values_list("job_id")
    row = found.first()
    if row is None:
        raise Missing("There is no such transaction in this team.")
    return row[0]


def link(tx: Transaction, tx_hash: str | None = None) -> str:
    """Return where a transaction is shown at its network's explorer; "" where there is none. Its network is at hand."""
    wanted = tx.tx_hash if tx_hash is None else tx_hash
    explorer = tx.network.explorer_url.rstrip("/")
    return f"{explorer}/tx/{wanted}" if wanted and explorer.startswith(("https://", "http://")) else ""


def _row(tx: Transaction, *, actor: Actor, said: Names, blocked: str, now: datetime) -> TransactionRow:
    kind, word = _STATUS[Transaction.Status(tx.status)]
    waits = _waits(tx, now=now)
    may = actor.may(Action.UNSTICK)
    # What is about to be sent needs nobody's help, unless the chain does not take it.
    stuck = tx.status == Transaction.Status.SENT or (
        tx.status == Transaction.Status.PREPARED and (waits or bool(tx.trouble))
    )
    take_back = tx.job_id is None and tx.status == Transaction.Status.PLANNED
    return TransactionRow(
        id=tx.pk,
        told=tx.told,
        kind="warn" if waits else kind,
        word=word,
        now=Hash(tx_hash=tx.tx_hash, link=link(tx)),
        earlier=tuple(_earlier(tx)),
        network=tx.network.name,
        wallet=tx.wallet.label,
        amounts=tuple(
            said.amount(chain_id=tx.network.chain_id, token=token, wei=wei) for token, wei in tx.moved
        ),
        block=tx.block_number,
        gas=tx.gas_used,
        at=tx.confirmed_at or tx.sent_at,
        trouble=tx.trouble,
        wish=_WISHES.get(Transaction.Wish(tx.wish), "") if tx.wish else "",
        waits_since=(tx.sent_at or tx.prepared_at) if waits else None,
        why=(blocked or ("" if tx.trouble else _LONE)) if waits else "",
        asked_by=str(tx.asked_by) if tx.job_id is None and tx.asked_by else "",
        may_speed_up=may and stuck and not tx.wish and not tx.cancels,
        may_cancel=may and (take_back or (stuck and tx.wish != Transaction.Wish.CANCEL and not tx.cancels)),
        may_fill=may and tx.is_behind_a_gap,
        take_back=take_back,
    )


def _earlier(tx: Transaction) -> Iterable[Hash]:
    for version in reversed(tx.earlier):
        if version["tx_hash"] != tx.tx_hash:
            yield Hash(tx_hash=version["tx_hash"], link=link(tx, version["tx_hash"]))


def _waits(tx: Transaction, *, now: datetime) -> bool:
    since = tx.sent_at or tx.prepared_at
    return tx.status in Transaction.UNDER_WAY and since is not None and now - since >= WAITS_FROM


def _blocked(waiting: Sequence[Transaction]) -> dict[int, str]:
    """Say of those that cannot be mined before another one of their wallet which one that is; one query, or none."""
    if not waiting:
        return {}
    mine = Transaction.objects.under_way().filter(
        wallet__in={tx.wallet_id for tx in waiting}, network__in={tx.network_id for tx in waiting}
    )
    queue = list(mine.values_list("wallet_id", "network_id", "nonce", "told").order_by("nonce"))
    found: dict[int, str] = {}
    for tx in waiting:
        first = next((row for row in queue if row[:2] == (tx.wallet_id, tx.network_id)), None)
        if first is not None and first[2] is not None and first[2] < (tx.nonce or 0):
            found[tx.pk] = (
                f"A chain takes a wallet's transactions in the order of their numbers: this one is number {tx.nonce}, and "
                f"number {first[2]} (“{first[3]}”) still waits. Speed up that one."
            )
    return found
