"""What people want done from a wallet: transactions outside of any job, and those that wait sped up or cancelled."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from django.db import transaction
from django.db.models import Q

from jobs import queue
from jobs.access import Action, Actor, require
from jobs.errors import CannotOrder, InvalidInput, Missing
from jobs.lifecycle import State
from jobs.models import Act, Job, JobEvent, Network, Transaction, Wallet
from jobs.ocean.errors import ChainError, OceanError
from jobs.ocean.transactions import Call
from jobs.ocean.units import Address
from jobs.services import audit, grants
from jobs.services.gateway import Clock, NoChain, open_chain
from jobs.services.payments import see_to
from jobs.services.sending import plan_one, prepare
from jobs.services.vault import VaultLocked

ACTS_MAX = 50
LOOK_AGAIN = timedelta(seconds=15)
_ASKED = {Transaction.Wish.FASTER: "asked to speed it up", Transaction.Wish.CANCEL: "asked to cancel it"}
_ACTS = {
    Transaction.Wish.FASTER: Act.TRANSACTION_SPED_UP,
    Transaction.Wish.CANCEL: Act.TRANSACTION_CANCELLED,
}
_OPEN = (Transaction.Status.PLANNED, *Transaction.UNDER_WAY)


def speed_up(*, actor: Actor, transaction_id: int, now: datetime) -> None:
    """Have a waiting transaction sent anew with the same number and a higher fee. Raises: as `cancel`."""
    _wish(actor=actor, transaction_id=transaction_id, wish=Transaction.Wish.FASTER, now=now)


def cancel(*, actor: Actor, transaction_id: int, now: datetime) -> None:
    """Have an empty transaction sent in the place of a waiting one; whichever is mined first counts.

    What a person wanted outside of any job and nobody has signed yet is just not sent.

    Raises:
        NotAllowed, Missing
        InvalidInput: it does not wait any more.
    """
    _transaction(actor=actor, transaction_id=transaction_id)
    require(actor, Action.UNSTICK)
    planned = Transaction.objects.filter(
        pk=transaction_id, wallet__team_id=actor.team_id, job=None, status=Transaction.Status.PLANNED
    )
    told = f"{actor.name} took it back before it was sent."
    with transaction.atomic():
        withdrawn = planned.update(status=Transaction.Status.WITHDRAWN, trouble=told[:300])
        if withdrawn:
            tx = _transaction(actor=actor, transaction_id=transaction_id)
            was = {"status": Transaction.Status.PLANNED}
            audit.record(act=Act.TRANSACTION_CANCELLED, by=actor, now=now, **(_told(tx) | {"before": was}))
    if not withdrawn:
        _wish(actor=actor, transaction_id=transaction_id, wish=Transaction.Wish.CANCEL, now=now)


def _wish(*, actor: Actor, transaction_id: int, wish: Transaction.Wish, now: datetime) -> None:
    """Note what a person wants; the worker does it."""
    tx = _transaction(actor=actor, transaction_id=transaction_id)
    require(actor, Action.UNSTICK)
    grants.refuse_watched(tx.wallet)
    with transaction.atomic():
        waiting = Transaction.objects.under_way().filter(pk=tx.pk)
        if not waiting.update(wish=wish, next_look_at=now):
            raise InvalidInput("This transaction does not wait any more.", field="")
        if tx.job_id is not None:
            JobEvent.objects.create(
                job_id=tx.job_id,
                at=now,
                kind=JobEvent.Kind.PAYMENT,
                message=f"{tx.told}: {actor.name} {_ASKED[wish]}."[:500],
                actor_id=actor.user_id,
                data={"tx_hash": tx.tx_hash},
            )
        if tx.job_id is None:
            queue.enqueue(queue.Task.ACT, tx.wallet_id, tx.network_id)
        elif Job.objects.filter(pk=tx.job_id, state=State.PAYING).update(next_check_at=now):
            queue.enqueue(queue.Task.ADVANCE, tx.job_id)
        else:
            queue.enqueue(queue.Task.SETTLE, tx.job_id)
        audit.record(act=_ACTS[wish], by=actor, now=now, **_told(tx))


def _told(tx: Transaction) -> dict[str, Any]:
    """Return what the audit record tells of a transaction that a person does something about."""
    return {
        "thing": audit.Thing("transaction", str(tx.pk), tx.told),
        "before": {"status": tx.status, "hash": tx.tx_hash, "number": tx.nonce},
        "after": {"wallet": tx.wallet.label, "network": tx.network.name, "job": tx.job_id},
    }


def fill(*, actor: Actor, transaction_id: int, now: datetime) -> None:
    """Have an empty transaction take the place of a lost one that a waiting transaction waits behind.

    Another program's transaction that the chain has forgotten leaves a gap in the wallet's numbers: all later ones wait
    for it, and neither a higher fee nor cancelling helps them. Where the lost one turns up after all, one of the two is
    mined and the other never.

    Raises:
        NotAllowed, Missing
        InvalidInput: it does not wait any more, or this is under way already.
    """
    tx = _transaction(actor=actor, transaction_id=transaction_id)
    require(actor, Action.UNSTICK)
    if tx.status not in Transaction.UNDER_WAY:
        raise InvalidInput("This transaction does not wait any more.", field="")
    with transaction.atomic():
        plan_act(
            actor=actor,
            wallet=tx.wallet,
            network=tx.network,
            purpose=Transaction.Purpose.FILL,
            told="Take the place of a lost transaction",
            call=Call(to=Address(tx.wallet.address), data=b""),
        )
        audit.record(act=Act.GAP_FILLED, by=actor, now=now, **_told(tx))


def _transaction(*, actor: Actor, transaction_id: int) -> Transaction:
    rows = Transaction.objects.filter(pk=transaction_id, wallet__team_id=actor.team_id)
    tx = rows.select_related("wallet", "network").first()
    if tx is None:
        raise Missing("There is no such transaction in this team.")
    return tx


def plan_act(
    *,
    actor: Actor,
    wallet: Wallet,
    network: Network,
    purpose: str,
    told: str,
    call: Call,
    token: str = "",
    amount_wei: int = 0,
) -> Transaction:
    """Write down one transaction that a person wants from a wallet; its queue row commits with it.

    The audit record is the caller's: an act may be more than one of them.
    token, amount_wei: what it moves; back to the wallet, for what is taken out of an escrow.
    Raises:
        InvalidInput: the same is under way already, or the wallet is only watched.
    """
    same = Transaction.objects.filter(
        job=None, wallet=wallet, network=network, purpose=purpose, to=call.to, data=call.data
    )
    with transaction.atomic():
        # Two clicks at once: the second sees the first's row. And nobody hands the wallet over meanwhile.
        grants.refuse_watched(Wallet.objects.select_for_update().get(pk=wallet.pk))
        if same.filter(status__in=_OPEN).exists():
            raise InvalidInput("The same is under way already; wait until it is done.", field="")
        tx = plan_one(
            job=None,
            wallet=wallet,
            network=network,
            step=0,
            purpose=purpose,
            told=told,
            call=call,
            token=token,
            amount_wei=amount_wei,
            asked_by_id=actor.user_id,
        )
        queue.enqueue(queue.Task.ACT, wallet.pk, network.pk)
    return tx


def act(*, wallet_id: int, network_id: int, clock: Clock) -> None:
    """Bring forward what people want done from a wallet.

    What hinders one of them holds up no other; its row says what it is.
    Safe to run twice, late, or never.

    Raises:
        NoChain, CannotOrder, OceanError: the chain could not be asked; the rows say so too.
    """
    network = Network.objects.get(pk=network_id)
    rows = Transaction.objects.filter(job=None, wallet_id=wallet_id, network=network)
    try:
        with open_chain(network=network) as chain:
            for tx in rows.in_order(Transaction.Status.PLANNED):
                try:
                    prepare(tx=tx, chain=chain, network=network, job=None, holder="", clock=clock)
                except (CannotOrder, VaultLocked, ChainError) as error:
                    planned = rows.filter(pk=tx.pk, status=Transaction.Status.PLANNED)
                    planned.update(trouble=error.message[:300])
            see_to(rows, chain=chain, network=network, now=clock())
    except ChainError:
        raise  # it answered, and the row of whom it concerns says what
    except (CannotOrder, NoChain, OceanError) as error:
        rows.filter(status__in=_OPEN).update(trouble=error.message[:300])
        raise


def claim_acts(*, now: datetime) -> set[tuple[int, int]]:
    """Return the wallets and networks where something is to be done, pushed on so that no other process takes it too."""
    due = Transaction.objects.filter(job=None, status__in=_OPEN).filter(
        Q(next_look_at__isnull=True) | Q(next_look_at__lte=now)
    )
    claimed: set[tuple[int, int]] = set()
    for tx in due.only("pk", "wallet_id", "network_id", "next_look_at")[:ACTS_MAX]:
        if Transaction.objects.filter(pk=tx.pk, next_look_at=tx.next_look_at).update(
            next_look_at=now + LOOK_AGAIN
        ):
            claimed.add((tx.wallet_id, tx.network_id))
    return claimed
