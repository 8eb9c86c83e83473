"""What wallets have in escrows: read from the chain by the worker, taken back and freed when a person asks.

A node locks the most that a job may cost when it starts it, and takes what it really cost up to an hour after its end.
What it took is read from the chain's own event, not from the node's word.
"""

from __future__ import annotations

from collections import defaultdict
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from django.db import transaction
from django.db.models import Q

from jobs.access import Action, Actor, require
from jobs.errors import CannotOrder, InvalidInput, Missing
from jobs.models import Act, EscrowAccount, Job, Transaction
from jobs.ocean import escrow
from jobs.ocean.chain import Chain
from jobs.ocean.errors import OceanError
from jobs.ocean.transactions import Call
from jobs.ocean.units import Address, Wei, to_wei
from jobs.services import audit, settling, tokens
from jobs.services.acting import plan_act
from jobs.services.budget import OutOfBudget
from jobs.services.gateway import Clock, NoChain, open_chain

LOOK_EVERY = timedelta(minutes=10)
LOOK_WHILE_ACTIVE = timedelta(minutes=2)
LOOK_SOONEST = timedelta(seconds=10)
LOOK_AGAIN_AFTER_TROUBLE = timedelta(minutes=1)
CLAIM = timedelta(seconds=30)
READINGS = 3


def claim_due(*, now: datetime) -> list[int]:
    """Return the accounts whose time to be looked at has come, pushed on so that no other process takes them too."""
    due = EscrowAccount.objects.filter(Q(next_look_at=None) | Q(next_look_at__lte=now))
    return [
        account.pk
        for account in due.only("pk", "next_look_at")
        if EscrowAccount.objects.filter(pk=account.pk, next_look_at=account.next_look_at).update(
            next_look_at=now + CLAIM
        )
    ]


def look(*, account_id: int, clock: Clock) -> None:
    """Read an account's funds and locks from the chain, and settle the jobs whose lock is gone: one question to each node.

    Safe to run twice, late, or never.
    """
    account = EscrowAccount.objects.select_related("wallet", "token__network").get(pk=account_id)
    now = clock()
    try:
        with open_chain(network=account.token.network) as chain:
            odd = _read(account=account, chain=chain, now=now)
            odd += _settle(account=account, chain=chain, clock=clock)
    except (OceanError, NoChain, CannotOrder) as error:
        EscrowAccount.objects.filter(pk=account.pk).update(
            trouble=error.message[:300], next_look_at=now + LOOK_AGAIN_AFTER_TROUBLE
        )
        return
    pause = _pause(account=account, now=now)
    EscrowAccount.objects.filter(pk=account.pk).update(trouble=" ".join(odd)[:300], next_look_at=now + pause)


def _settle(*, account: EscrowAccount, chain: Chain, clock: Clock) -> list[str]:
    """Settle what can be; return what is odd. A node that is away keeps no other node's jobs from it."""
    by_node: dict[int, list[Job]] = defaultdict(list)
    for job in settling.unlocked(account):
        by_node[job.node_id].append(job)
    odd: list[str] = []
    for jobs in by_node.values():
        try:
            odd += settling.settle(account=account, jobs=jobs, chain=chain, clock=clock)
        except (OceanError, OutOfBudget) as error:
            odd.append(error.message)
    return odd


def _pause(*, account: EscrowAccount, now: datetime) -> timedelta:
    """Return how long to wait: as long as something is not settled, half of the time that it has been over."""
    pause = LOOK_WHILE_ACTIVE if settling.active(account).exists() else LOOK_EVERY
    for job in settling.unsettled(account):
        pause = min(pause, max(LOOK_SOONEST, settling.over_for(job, now=now) / 2))
    return pause


def look_soon(*, actor: Actor, account_id: int, now: datetime) -> None:
    """Have the worker read an account at its next beat.

    Raises:
        NotAllowed, Missing
    """
    account = _account(actor=actor, account_id=account_id)
    require(actor, Action.SEE)
    EscrowAccount.objects.filter(pk=account.pk).update(next_look_at=now)


def withdraw(*, actor: Actor, account_id: int, amount: Decimal | None, now: datetime) -> None:
    """Take back what is available, or a part of it; the worker sends it.

    Raises:
        NotAllowed, Missing
        InvalidInput: more than there is, or nothing.
    """
    account = _account(actor=actor, account_id=account_id)
    require(actor, Action.MANAGE_ESCROW)
    token, there = account.token, int(account.available_wei)
    try:
        wei = there if amount is None else to_wei(amount, decimals=token.decimals)
    except ValueError as error:
        raise InvalidInput(str(error), field="amount") from None
    if not 0 < wei <= there:
        told = tokens.told(network=token.network, token=token.address, amount_wei=there)
        raise InvalidInput(f"There are {told} available; take all or a part of it.", field="amount")
    call = escrow.withdraw(
        escrow=Address(account.escrow), token=Address(token.address), amount_wei=Wei(int(wei))
    )
    told = tokens.told(network=token.network, token=token.address, amount_wei=wei)
    with transaction.atomic():
        _plan(
            actor=actor,
            account=account,
            purpose=Transaction.Purpose.WITHDRAWAL,
            told=f"Take {told} back from the escrow",
            call=call,
            amount_wei=int(wei),
        )
        after = {"amount": told, **_told(account)}
        audit.record(act=Act.ESCROW_WITHDRAWN, by=actor, now=now, thing=_thing(account), after=after)


def release(*, actor: Actor, account_id: int, now: datetime) -> None:
    """Free the locks that are over their time; the worker sends it.

    Raises:
        NotAllowed, Missing
        InvalidInput: there is none.
    """
    account = _account(actor=actor, account_id=account_id)
    require(actor, Action.MANAGE_ESCROW)
    over = [lock for lock in account.locks if lock["expires_at"] < now.timestamp()]
    if not over:
        raise InvalidInput("No lock of this account is over its time.", field="")
    with transaction.atomic():
        for payee in {lock["payee"] for lock in over}:
            call = escrow.cancel_expired_locks(
                escrow=Address(account.escrow),
                payee=Address(payee),
                locks=[_lock(account, lock) for lock in over if lock["payee"] == payee],
            )
            _plan(
                actor=actor,
                account=account,
                purpose=Transaction.Purpose.RELEASE,
                told="Free locks that are over their time",
                call=call,
            )
        after = {"locks": [lock["id"] for lock in over], **_told(account)}
        audit.record(act=Act.ESCROW_RELEASED, by=actor, now=now, thing=_thing(account), after=after)


def _thing(account: EscrowAccount) -> audit.Thing:
    return audit.Thing("escrow", str(account.pk), f"{account.wallet.label}, {account.token.symbol}")


def _told(account: EscrowAccount) -> dict[str, Any]:
    return {
        "wallet": account.wallet.label,
        "address": account.wallet.address,
        "token": account.token.address,
        "escrow": account.escrow,
        "network": account.token.network.name,
    }


def _account(*, actor: Actor, account_id: int) -> EscrowAccount:
    account = (
        EscrowAccount.objects.filter(pk=account_id, wallet__team_id=actor.team_id)
        .select_related("wallet", "token__network")
        .first()
    )
    if account is None:
        raise Missing("There is no such account in this team.")
    return account


def _plan(
    *, actor: Actor, account: EscrowAccount, purpose: str, told: str, call: Call, amount_wei: int = 0
) -> None:
    plan_act(
        actor=actor,
        wallet=account.wallet,
        network=account.token.network,
        purpose=purpose,
        told=told,
        call=call,
        token=account.token.address if amount_wei else "",
        amount_wei=amount_wei,
    )


def _lock(account: EscrowAccount, lock: dict[str, Any]) -> escrow.Lock:
    return escrow.Lock(
        job_id=int(lock["id"]),
        payer=Address(account.wallet.address),
        token=Address(account.token.address),
        amount_wei=Wei(int(lock["amount_wei"])),
        expires_at=lock["expires_at"],
    )


def _read(*, account: EscrowAccount, chain: Chain, now: datetime) -> list[str]:
    """Read funds and locks; return what is odd about them."""
    where = {
        "escrow": Address(account.escrow),
        "payer": Address(account.wallet.address),
        "token": Address(account.token.address),
    }
    for _ in range(READINGS):  # a block in between may change the one and not the other
        funds = escrow.funds(chain, **where)
        locks: list[dict[str, Any]] = [
            {
                "id": str(lock.job_id),
                "payee": payee,
                "amount_wei": str(lock.amount_wei),
                "expires_at": lock.expires_at,
            }
            for payee in _payees(account)
            for lock in escrow.locks(chain, payee=Address(payee), **where)
        ]
        elsewhere = funds.locked_wei - sum(int(lock["amount_wei"]) for lock in locks)
        if not elsewhere:
            break
    EscrowAccount.objects.filter(pk=account.pk).update(
        available_wei=funds.available_wei, locked_wei=funds.locked_wei, locks=locks, read_at=now
    )
    account.available_wei, account.locked_wei = funds.available_wei, funds.locked_wei
    account.locks, account.read_at = locks, now
    if elsewhere <= 0:
        return []
    told = tokens.told(network=account.token.network, token=account.token.address, amount_wei=elsewhere)
    return [f"{told} more are locked, by somebody who runs no job of this portal."]


def _payees(account: EscrowAccount) -> list[str]:
    jobs = Job.objects.filter(settling.of_account(account))
    return sorted({need["payee"] for need in jobs.values_list("escrow_need", flat=True) if need})
