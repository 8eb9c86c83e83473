"""What the team's wallets have in escrows, as it was last read from the chain, and what people wanted done from wallets."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal

from django.db.models import QuerySet

from jobs.access import Action, Actor, require
from jobs.errors import InvalidInput, Missing
from jobs.models import EscrowAccount, Job, Transaction
from jobs.ocean.units import from_wei, to_wei
from jobs.selectors.amounts import Amount
from jobs.selectors.ledger import Comparison, last_comparison
from jobs.selectors.transactions import TransactionRow, rows_of

ACTS_SHOWN = 20
_FAR = 253_370_764_800  # the year 9999: what a contract says of a time has no bounds
_OPEN = (Transaction.Status.PLANNED, *Transaction.UNDER_WAY)


@dataclass(frozen=True)
class LockRow:
    """Money that waits for a job. job_id: None for a job that the portal does not know. over: its time has run out."""

    amount: Amount
    payee: str
    expires_at: datetime
    over: bool
    job_id: uuid.UUID | None
    job_name: str


@dataclass(frozen=True)
class AccountRow:
    """What a wallet has of one token in one escrow. being_read: the worker reads it at its next beat.

    may_withdraw, may_release: this person may, and there is something to take or to free.
    """

    id: int
    wallet: str
    wallet_address: str
    network: str
    escrow: str
    token: str
    symbol: str
    decimals: int
    available: Amount
    locked: Amount
    locks: tuple[LockRow, ...]
    read_at: datetime | None
    being_read: bool
    trouble: str
    may_withdraw: bool
    may_release: bool


@dataclass(frozen=True)
class Taking:
    """What would be taken back from an account, and what would stay available there."""

    taken: Amount
    left: Amount


@dataclass(frozen=True)
class EscrowBoard:
    """The escrow page.

    any_open: something that was sent can be sped up or cancelled by this person. busy: looking again soon makes sense.
    """

    accounts: tuple[AccountRow, ...]
    acts: tuple[TransactionRow, ...]
    any_open: bool
    may_manage: bool
    busy: bool
    comparison: Comparison | None


def board(*, actor: Actor, now: datetime) -> EscrowBoard:
    """Return what the escrow page shows; four queries, two more for what is locked and for tokens of transactions."""
    rows = list(_accounts(actor).order_by("wallet__label", "wallet_id", "token__symbol", "pk"))
    may = actor.may(Action.MANAGE_ESCROW)
    jobs = _jobs_by_lock(rows)
    accounts = tuple(_row(row, jobs=jobs, may=may, now=now) for row in rows)
    found = Transaction.objects.filter(job=None, wallet__team_id=actor.team_id)
    found = found.select_related("network", "wallet", "asked_by")
    acts = list(found.defer("data", "signed", "wallet__encrypted_key").order_by("-pk")[:ACTS_SHOWN])
    told = rows_of(acts, actor=actor, now=now)
    return EscrowBoard(
        accounts=accounts,
        acts=told,
        any_open=any(row.may_speed_up or (row.may_cancel and not row.take_back) for row in told),
        may_manage=may,
        busy=any(row.being_read for row in accounts) or any(tx.status in _OPEN for tx in acts),
        comparison=last_comparison(team_id=actor.team_id),
    )


def account(*, actor: Actor, account_id: int, now: datetime) -> AccountRow:
    """Return one account for whoever may take from it.

    Raises:
        NotAllowed
        Missing: no such account in this team.
    """
    row = _accounts(actor).filter(pk=account_id).first()
    if row is None:
        raise Missing("There is no such account in this team.")
    require(actor, Action.MANAGE_ESCROW)
    return _row(row, jobs={}, may=True, now=now)


def taking(*, account: AccountRow, amount: Decimal | None) -> Taking:
    """Work out what taking back an amount would do; None is all that is there. The service asks the same again.

    Raises:
        InvalidInput: more than there is, nothing, or finer than the token.
    """
    there = account.available
    try:
        wei = there.wei if amount is None else int(to_wei(amount, decimals=account.decimals))
    except ValueError as error:
        raise InvalidInput(str(error), field="amount") from None
    if not 0 < wei <= there.wei:
        raise InvalidInput(
            f"There are {there.exact:f} {there.symbol} available; take all or a part of it.", field="amount"
        )

    def of(number: int) -> Amount:
        return replace(there, wei=number, exact=from_wei(number, decimals=account.decimals))

    return Taking(taken=of(wei), left=of(there.wei - wei))


def until(expires_at: int) -> datetime:
    """Turn the seconds that a contract says into a time."""
    return datetime.fromtimestamp(max(0, min(int(expires_at), _FAR)), tz=UTC)


def _accounts(actor: Actor) -> QuerySet[EscrowAccount]:
    rows = EscrowAccount.objects.filter(wallet__team_id=actor.team_id)
    return rows.select_related("wallet", "token__network").defer("wallet__encrypted_key")


def _row(
    row: EscrowAccount, *, jobs: dict[tuple[int, str], tuple[uuid.UUID, str]], may: bool, now: datetime
) -> AccountRow:
    token = row.token

    def amount(wei: int) -> Amount:
        exact = from_wei(int(wei), decimals=token.decimals)
        return Amount(wei=int(wei), exact=exact, symbol=token.symbol or "tokens", token=token.address)

    locks = []
    for lock in row.locks:
        job_id, name = jobs.get((row.wallet_id, str(lock["id"])), (None, ""))
        locks.append(
            LockRow(
                amount=amount(int(lock["amount_wei"])),
                payee=lock["payee"],
                expires_at=until(lock["expires_at"]),
                over=lock["expires_at"] < now.timestamp(),
                job_id=job_id,
                job_name=name,
            )
        )
    return AccountRow(
        id=row.pk,
        wallet=row.wallet.label,
        wallet_address=row.wallet.address,
        network=token.network.name,
        escrow=row.escrow,
        token=token.address,
        symbol=token.symbol or "tokens",
        decimals=token.decimals,
        available=amount(row.available_wei),
        locked=amount(row.locked_wei),
        locks=tuple(sorted(locks, key=lambda lock: lock.expires_at)),
        read_at=row.read_at,
        being_read=row.read_at is None or row.next_look_at is None or row.next_look_at <= now,
        trouble=row.trouble,
        may_withdraw=may and row.available_wei > 0,
        may_release=may and any(lock.over for lock in locks),
    )


def _jobs_by_lock(rows: list[EscrowAccount]) -> dict[tuple[int, str], tuple[uuid.UUID, str]]:
    """Return the jobs that locks belong to, by wallet and lock; one query, none without locks."""
    ids = {str(lock["id"]) for row in rows for lock in row.locks}
    if not ids:
        return {}
    mine = Job.objects.filter(wallet__in={row.wallet_id for row in rows}, lock_id__in=ids)
    return {
        (wallet_id, lock_id): (pk, name)
        for pk, name, wallet_id, lock_id in mine.values_list("pk", "name", "wallet_id", "lock_id")
    }
