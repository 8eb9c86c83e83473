"""What wallets hold on the networks: read from the chains by the worker, kept with the age of the reading.

Somebody looks at a wallet's page, or one of its transactions has ended: then it is read soon, at most once a minute for a
wallet and network. Else once a day. No page asks a chain.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import Exists, OuterRef, Q

from jobs.access import Action, Actor, require
from jobs.errors import CannotOrder, Missing
from jobs.models import Balance, BalanceLook, Network, Token, Wallet
from jobs.ocean import orders, questions
from jobs.ocean.chain import Chain
from jobs.ocean.errors import OceanError, Unreachable
from jobs.ocean.questions import Question
from jobs.ocean.units import Address, Wei
from jobs.services.gateway import Clock, NoChain, open_chain

LOOK_EVERY = timedelta(days=1)
LOOK_SOONEST = timedelta(minutes=1)
STALE_AFTER = timedelta(minutes=10)  # a page that is looked at has older numbers read anew
LOOK_AGAIN_AFTER_TROUBLE = timedelta(minutes=15)
CLAIM = timedelta(minutes=2)
BATCH = 50
NEW_AT_ONCE = 200
AT_ONCE = 45  # questions in one request: endpoints have limits of their own


def look_soon(*, actor: Actor, wallet_id: int, now: datetime) -> bool:
    """Have the worker read a wallet's balances at its next beat; return whether there is a network to read them from.

    What was read less than a minute ago is not read again.

    Raises:
        NotAllowed, Missing
    """
    require(actor, Action.SEE)
    if not Wallet.objects.filter(pk=wallet_id, team_id=actor.team_id).exists():
        raise Missing("There is no such wallet in this team.")
    networks = Network.objects.exclude(rpc_url="").values_list("pk", flat=True)
    BalanceLook.objects.bulk_create(
        [BalanceLook(wallet_id=wallet_id, network_id=pk, next_look_at=now) for pk in networks],
        ignore_conflicts=True,
    )
    _hasten(Q(wallet_id=wallet_id), older_than=LOOK_SOONEST, now=now)
    return bool(networks)


def watch(*, actor: Actor, now: datetime, wallet_id: int | None = None) -> None:
    """Note that somebody looks at the wallets, or at one of them: numbers that are some minutes old are read anew.

    One conditional update; another team's wallets are not touched.
    """
    seen = Q(wallet__team_id=actor.team_id)
    if wallet_id is not None:
        seen &= Q(wallet_id=wallet_id)
    _hasten(seen, older_than=STALE_AFTER, now=now)


def moved(*, wallet_id: int, network_id: int, now: datetime) -> None:
    """Note that a transaction of a wallet has ended on a network: it holds other amounts now."""
    there = Q(wallet_id=wallet_id, network_id=network_id)
    later = now + LOOK_SOONEST
    BalanceLook.objects.filter(there, asked_at__gt=now - LOOK_SOONEST, next_look_at__gt=later).update(
        next_look_at=later
    )
    _hasten(there, older_than=LOOK_SOONEST, now=now)


def _hasten(which: Q, *, older_than: timedelta, now: datetime) -> None:
    old = Q(asked_at=None) | Q(asked_at__lte=now - older_than)
    BalanceLook.objects.filter(which, old, next_look_at__gt=now).exclude(network__rpc_url="").update(
        next_look_at=now
    )


def note_missing(*, now: datetime) -> None:
    """Have the balances of new wallets, and those on new networks, read at the next beat."""
    for network in Network.objects.exclude(rpc_url="").only("pk"):
        looks = BalanceLook.objects.filter(wallet=OuterRef("pk"), network=network)
        new = Wallet.objects.filter(~Exists(looks)).values_list("pk", flat=True)[:NEW_AT_ONCE]
        BalanceLook.objects.bulk_create(
            [BalanceLook(wallet_id=pk, network=network, next_look_at=now) for pk in new],
            ignore_conflicts=True,
        )


def claim_due(*, now: datetime) -> list[int]:
    """Return the looks whose time has come, pushed on so that no other process takes them too."""
    due = BalanceLook.objects.filter(next_look_at__lte=now).order_by("next_look_at", "pk")[:BATCH]
    return [
        look.pk
        for look in due.only("pk", "next_look_at")
        if BalanceLook.objects.filter(pk=look.pk, next_look_at=look.next_look_at).update(
            next_look_at=now + CLAIM
        )
    ]


def look(*, look_id: int, clock: Clock) -> None:
    """Read what a wallet holds of a network's own coin and of each token that is known there.

    Safe to run twice, late, or never. Where the chain is away the last numbers stay, with their age.
    """
    row = BalanceLook.objects.select_related("wallet", "network").defer("wallet__encrypted_key")
    found = row.filter(pk=look_id).first()
    if found is None:
        return
    now = clock()
    BalanceLook.objects.filter(pk=look_id).update(asked_at=now)
    try:
        with open_chain(network=found.network) as chain:
            gas_price, held, silent = _read(look=found, chain=chain)
    except NoChain:
        BalanceLook.objects.filter(pk=look_id).update(
            trouble="The network has no RPC endpoint any more.", next_look_at=now + LOOK_EVERY
        )
        return
    except (OceanError, CannotOrder) as error:
        BalanceLook.objects.filter(pk=look_id).update(
            trouble=error.message[:500], next_look_at=now + LOOK_AGAIN_AFTER_TROUBLE
        )
        return
    told = f"No answer came from the contract of {', '.join(silent)}." if silent else ""
    with transaction.atomic():
        older = Q(looked_at=None) | Q(looked_at__lt=now)  # a look that took longer has seen less
        newest = BalanceLook.objects.filter(older, pk=look_id).update(
            looked_at=now, next_look_at=now + LOOK_EVERY, gas_price_wei=gas_price, trouble=told[:500]
        )
        if newest:
            Balance.objects.filter(look_id=look_id).delete()
            Balance.objects.bulk_create(
                [Balance(look_id=look_id, token_id=pk, amount_wei=wei) for pk, wei in held.items()]
            )


def _read(*, look: BalanceLook, chain: Chain) -> tuple[Wei | None, dict[int | None, Wei], list[str]]:
    """Return what a unit of gas is offered for, what there is by token (None: the coin), and which tokens say nothing."""
    owner = Address(look.wallet.address)
    tokens = list(Token.objects.filter(network=look.network).order_by("pk"))
    wanted: list[Question] = [questions.coin(owner), questions.HEAD, questions.TIP]
    wanted += [questions.contract(Address(token.address), "balanceOf(address)", owner) for token in tokens]
    for start in range(0, len(wanted), AT_ONCE):
        chain.ask_ahead(wanted[start : start + AT_ONCE])
    held: dict[int | None, Wei] = {None: chain.balance_wei(address=owner)}
    try:
        gas_price: Wei | None = chain.fees().max_fee_wei
    except Unreachable:
        raise
    except OceanError:
        gas_price = None
    silent: list[str] = []
    for token in tokens:
        try:
            held[token.pk] = orders.balance_of(chain, token=Address(token.address), owner=owner)
        except OceanError as error:
            if error.retryable:
                raise
            silent.append(f"{token.symbol} ({token.address[:6]}…{token.address[-4:]})")
    return gas_price, held, silent
