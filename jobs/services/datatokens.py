"""Finds who gives or sells the datatokens that orders spend, and how many a wallet lacks.

Questions only: nothing is written, signed or sent.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable

from django.db.models import Q

from jobs.errors import CannotOrder
from jobs.lifecycle import TERMINAL
from jobs.models import Job, Network, Order, Transaction, Wallet
from jobs.ocean import orders, pricing
from jobs.ocean.chain import Chain
from jobs.ocean.pricing import GivenAway, Price, Terms
from jobs.ocean.transactions import Call
from jobs.ocean.units import Address, Wei, from_wei, plain

ONE_TOKEN = 10**18  # datatokens have 18 decimals; an order spends one
DISPENSES_MAX = 10  # for one job, those that others used up included


def lacking(
    chain: Chain,
    *,
    network: Network,
    wallet: Wallet,
    job_id: uuid.UUID | None,
    datatoken: Address,
    count: int,
) -> tuple[Wei, Wei]:
    """Return how much a wallet lacks of a datatoken to order `count` times, and how much it has.

    What other jobs have planned to spend is not there for this one.
    """
    # What an ended job had planned is never sent; what was signed for it is.
    planned = Q(transaction__status=Transaction.Status.PLANNED) & ~Q(transaction__job__state__in=TERMINAL)
    signed = Q(transaction__status__in=Transaction.UNDER_WAY)
    promised = Order.objects.filter(planned | signed).filter(
        wallet__address=wallet.address,
        datatoken=datatoken,
        renews=None,
        gets_datatoken=False,
        transaction__network=network,
    )
    if job_id is not None:
        promised = promised.exclude(transaction__job=job_id)
    owned = orders.balance_of(chain, token=datatoken, owner=Address(wallet.address))
    missing = (count + promised.count()) * ONE_TOKEN - owned
    return Wei(max(0, min(missing, count * ONE_TOKEN))), owned


def terms_of(chain: Chain, *, network: Network, datatoken: Address) -> Terms:
    """Return how a datatoken can be had from those whom the operator named, and what an order of it takes."""
    return pricing.read_terms(chain, datatoken=datatoken, known=network.known_sellers())


def with_orders(terms: Terms, *, count: int) -> Price | None:
    """Return the best way to get datatokens by the orders that spend them, one each; None where there is none.

    A datatoken of template 2 lets nobody but itself buy of it: this is the only way to have it from there. One of
    template 1 takes such a call, does nothing, and does not say so.
    """
    for price in terms.prices:
        enough = isinstance(price, GivenAway) or price.supply_wei >= count * ONE_TOKEN
        if enough and price.can_order(terms=terms):
            return price
    return None


def seller(
    prices: Iterable[Price],
    *,
    wallet: Wallet,
    name: str,
    amount_wei: Wei,
    owned_wei: Wei,
) -> Price:
    """Return the best way to get so much of a datatoken: given away, else at the lowest rate.

    prices: of those whom the operator named, as `pricing.read_price` sorts them.
    owned_wei: what the wallet has of it now; a dispenser may give to those with less alone.
    Raises:
        CannotOrder: nobody whom the operator named gives or sells it, or not so much.
    """
    owner = Address(wallet.address)
    for price in prices:
        if isinstance(price, GivenAway):
            if price.gives(amount_wei=amount_wei, to=owner, has_wei=owned_wei):
                return price
        elif price.only_for in (None, owner) and price.supply_wei >= amount_wei:
            return price
    raise CannotOrder(
        f"The wallet “{wallet.label}” lacks {_told(amount_wei)} datatoken of “{name}”, and nobody that this portal "
        "knows gives or sells it. Get one first, from whoever published it.",
        code="no_datatoken",
    )


def dispensed(
    price: GivenAway, *, datatoken: Address, name: str, amount_wei: Wei, to: Address
) -> tuple[str, Call]:
    """Return the call that gets datatokens from their dispenser, and what it is for."""
    told = f"Get {_told(amount_wei)} datatoken of “{name}” from its dispenser"
    call = orders.dispense(dispenser=price.dispenser, datatoken=datatoken, amount_wei=amount_wei, to=to)
    return told[:200], call


def missing_token(*, tx: Transaction, chain: Chain, network: Network, job: Job) -> tuple[str, Call] | None:
    """Return the call that gets the datatoken an order would spend, where all the wallet has is spent, or about to be.

    None too for an order that gets its datatoken itself.
    Raises:
        CannotOrder: it has to be bought; nobody agreed to buy it twice.
    """
    order = Order.objects.filter(transaction=tx, renews=None, gets_datatoken=False).first()
    if order is None:
        return None
    datatoken, owner = Address(order.datatoken), Address(tx.wallet.address)
    mined = chain.mined_nonce(address=owner)
    owned = orders.balance_of(chain, token=datatoken, owner=owner)
    others = Order.objects.exclude(pk=order.pk)
    about_to_spend = others.filter(
        wallet__address=owner,
        datatoken=datatoken,
        renews=None,
        gets_datatoken=False,
        transaction__network=network,
        transaction__status__in=Transaction.UNDER_WAY,
        transaction__nonce__gte=mined,
    ).count()
    if owned >= (about_to_spend + 1) * ONE_TOKEN:
        return None
    if chain.mined_nonce(address=owner) != mined:  # what was mined in between was counted twice
        return missing_token(tx=tx, chain=chain, network=network, job=job)
    if Transaction.objects.filter(job=job, purpose=Transaction.Purpose.DISPENSE).count() >= DISPENSES_MAX:
        return None
    price = seller(
        pricing.read_price(chain, datatoken=datatoken, known=network.known_sellers()),
        wallet=tx.wallet,
        name=order.asset_name,
        amount_wei=Wei(ONE_TOKEN),
        owned_wei=owned,
    )
    if not isinstance(price, GivenAway):
        raise CannotOrder(
            f"The datatoken of “{order.asset_name}” that this job was to spend is gone from the wallet "
            f"“{tx.wallet.label}”. Go on to have the price worked out again.",
            code="datatoken_gone",
        )
    return dispensed(price, datatoken=datatoken, name=order.asset_name, amount_wei=Wei(ONE_TOKEN), to=owner)


def _told(amount_wei: Wei) -> str:
    return plain(from_wei(amount_wei))
