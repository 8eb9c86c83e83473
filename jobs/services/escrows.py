"""What wallets have in escrows: read from the chain by the worker, taken back and freed when a person asks.

A node locks the most that a job may cost when it starts it, and takes what it really cost up to an hour after its end.
What it took is read from the chain's own event, not from the node's word.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from django.db import transaction
from django.db.models import F, Q

from jobs.access import Action, Actor, require
from jobs.errors import CannotOrder, InvalidInput, Missing
from jobs.lifecycle import TERMINAL
from jobs.models import EscrowAccount, Job, JobEvent, Transaction
from jobs.ocean import escrow
from jobs.ocean.chain import Chain
from jobs.ocean.compute import JobReport, same_job
from jobs.ocean.errors import OceanError
from jobs.ocean.transactions import Call
from jobs.ocean.units import Address, Wei, to_wei
from jobs.services import tokens
from jobs.services.acting import plan_act
from jobs.services.budget import OutOfBudget, Purpose
from jobs.services.gateway import Clock, NoChain, open_chain, open_node

LOOK_EVERY = timedelta(minutes=10)
LOOK_WHILE_UNSETTLED = timedelta(minutes=2)
LOOK_AGAIN_AFTER_TROUBLE = timedelta(minutes=1)
CLAIM = timedelta(seconds=30)


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
    """Read an account's funds and locks from the chain, and settle the jobs whose lock is gone.

    Safe to run twice, late, or never.
    """
    account = EscrowAccount.objects.select_related("wallet", "token__network").get(pk=account_id)
    now = clock()
    try:
        with open_chain(network=account.token.network) as chain:
            _read(account=account, chain=chain, now=now)
            for job in _unsettled(account):
                _settle(job=job, account=account, chain=chain, clock=clock)
    except (OceanError, NoChain, CannotOrder) as error:
        EscrowAccount.objects.filter(pk=account.pk).update(
            trouble=error.message[:300], next_look_at=now + LOOK_AGAIN_AFTER_TROUBLE
        )
        return
    pause = LOOK_WHILE_UNSETTLED if _unsettled(account).exists() else LOOK_EVERY
    EscrowAccount.objects.filter(pk=account.pk).update(trouble="", next_look_at=now + pause)


def look_soon(*, actor: Actor, account_id: int, now: datetime) -> None:
    """Have the worker read an account at its next beat.

    Raises:
        NotAllowed, Missing
    """
    require(actor, Action.SEE)
    account = _account(actor=actor, account_id=account_id)
    EscrowAccount.objects.filter(pk=account.pk).update(next_look_at=now)


def withdraw(*, actor: Actor, account_id: int, amount: Decimal | None, now: datetime) -> None:
    """Take back what is available, or a part of it; the worker sends it.

    Raises:
        NotAllowed, Missing
        InvalidInput: more than there is, or nothing.
    """
    require(actor, Action.MANAGE_ESCROW)
    account = _account(actor=actor, account_id=account_id)
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
    _plan(
        actor=actor,
        account=account,
        purpose=Transaction.Purpose.WITHDRAWAL,
        told=f"Take {told} back from the escrow",
        call=call,
    )


def release(*, actor: Actor, account_id: int, now: datetime) -> None:
    """Free the locks that are over their time; the worker sends it.

    Raises:
        NotAllowed, Missing
        InvalidInput: there is none.
    """
    require(actor, Action.MANAGE_ESCROW)
    account = _account(actor=actor, account_id=account_id)
    over = [lock for lock in account.locks if lock["expires_at"] < now.timestamp()]
    if not over:
        raise InvalidInput("No lock of this account is over its time.", field="")
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


def _account(*, actor: Actor, account_id: int) -> EscrowAccount:
    account = (
        EscrowAccount.objects.filter(pk=account_id, wallet__team_id=actor.team_id)
        .select_related("wallet", "token__network")
        .first()
    )
    if account is None:
        raise Missing("There is no such account in this team.")
    return account


def _plan(*, actor: Actor, account: EscrowAccount, purpose: str, told: str, call: Call) -> None:
    plan_act(
        actor=actor,
        wallet=account.wallet,
        network=account.token.network,
        purpose=purpose,
        told=told,
        call=call,
    )


def _lock(account: EscrowAccount, lock: dict[str, Any]) -> escrow.Lock:
    return escrow.Lock(
        job_id=int(lock["id"]),
        payer=Address(account.wallet.address),
        token=Address(account.token.address),
        amount_wei=Wei(int(lock["amount_wei"])),
        expires_at=lock["expires_at"],
    )


def _read(*, account: EscrowAccount, chain: Chain, now: datetime) -> None:
    where = {
        "escrow": Address(account.escrow),
        "payer": Address(account.wallet.address),
        "token": Address(account.token.address),
    }
    funds = escrow.funds(chain, **where)
    locks = [
        {
            "id": str(lock.job_id),
            "payee": payee,
            "amount_wei": str(lock.amount_wei),
            "expires_at": lock.expires_at,
        }
        for payee in _payees(account)
        for lock in escrow.locks(chain, payee=Address(payee), **where)
    ]
    EscrowAccount.objects.filter(pk=account.pk).update(
        available_wei=funds.available_wei, locked_wei=funds.locked_wei, locks=locks, read_at=now
    )
    account.refresh_from_db()


def _payees(account: EscrowAccount) -> list[str]:
    jobs = Job.objects.filter(wallet=account.wallet, escrow_need__escrow=account.escrow)
    return sorted({need["payee"] for need in jobs.values_list("escrow_need", flat=True) if need})


def _unsettled(account: EscrowAccount) -> Any:
    """Return the jobs that have ended, and of which it is not known what the node took."""
    return Job.objects.filter(
        wallet=account.wallet,
        escrow_need__escrow=account.escrow,
        escrow_need__token=account.token.address,
        settled_at=None,
        state__in=TERMINAL,
        accepted_at__isnull=False,
    ).select_related("node")


def _settle(*, job: Job, account: EscrowAccount, chain: Chain, clock: Clock) -> None:
    """Note what the node took, once nothing of the job is locked any more."""
    now = clock()
    lock_id = int(job.lock_id) if job.lock_id else None
    if any(lock_id is not None and int(lock["id"]) == lock_id for lock in account.locks):
        return
    report = _report(job=job, account=account, clock=clock)
    paid = report.payment if report is not None else None
    claim_tx = (paid.claim_tx if paid else None) or job.claim_tx
    charged: int | None = None
    if claim_tx:
        receipt = chain.receipt(tx_hash=claim_tx)
        events = escrow.events_in(receipt.logs, escrow=Address(account.escrow)) if receipt else ()
        claims = [e for e in events if e.kind == "claimed" and e.job_id == lock_id]
        if not claims:
            return  # the node speaks of a claim that the chain does not show yet
        charged = sum(e.amount_wei for e in claims)
    elif paid is not None and paid.cancel_tx:
        charged = 0
    elif report is not None:
        return  # the node has not settled yet
    told = (
        "The node no longer knows this job; what it took cannot be told."
        if charged is None
        else f"The node took {tokens.told(network=account.token.network, token=account.token.address, amount_wei=charged)}."
    )
    with transaction.atomic():
        won = Job.objects.filter(pk=job.pk, settled_at=None).update(
            settled_at=now, charged_wei=charged, claim_tx=claim_tx or "", version=F("version") + 1
        )
        if won:
            JobEvent.objects.create(job=job, at=now, kind=JobEvent.Kind.PAYMENT, message=told)


def _report(*, job: Job, account: EscrowAccount, clock: Clock) -> JobReport | None:
    """Ask the node about a job that has ended; None when it no longer knows it.

    Raises:
        OceanError: nobody could be asked.
    """
    try:
        with open_node(node=job.node, purpose=Purpose.BACKGROUND, clock=clock) as backend:
            reports = backend.jobs_of(owner=Address(account.wallet.address))
    except OutOfBudget as error:
        raise CannotOrder(error.message) from None
    return next((r for r in reports if same_job(job.node_job_id, r.long_id)), None)
