"""Gets the datatokens that orders spend, from those who give them away."""

from __future__ import annotations

from jobs.errors import CannotOrder
from jobs.models import Job, Network, Order, Transaction
from jobs.ocean import orders
from jobs.ocean.chain import Chain
from jobs.ocean.transactions import Call
from jobs.ocean.units import Address, Wei, from_wei

ONE_TOKEN = 10**18  # datatokens have 18 decimals; an order spends one
DISPENSES_MAX = 10  # for one job, those that others used up included
DISPENSE_STEP, ORDER_STEP = 10, 20  # with room between them


def dispensed(
    *,
    chain: Chain,
    network: Network,
    job: Job,
    datatoken: Address,
    name: str,
    amount_wei: Wei,
    owned_wei: Wei,
) -> tuple[int, str, str, Call]:
    """Return the call that gets datatokens from their dispenser: its step, its purpose, what it is for, and itself.

    owned_wei: what the wallet has of them now; a dispenser may give to those with less alone.
    Raises:
        CannotOrder: nobody gives them away, or not so many.
    """
    tokens = from_wei(amount_wei).normalize()
    no_way = CannotOrder(
        f"The wallet “{job.wallet.label}” lacks {tokens:f} datatoken of “{name}”, and nobody gives them away. "
        "Get one first, from whoever published it.",
        code="no_datatoken",
    )
    address = network.contracts.get("Dispenser")
    if not address:
        raise no_way
    dispenser = Address(address)
    status = orders.dispenser_status(chain, dispenser=dispenser, datatoken=datatoken)
    may_take = status.allowed_swapper in (None, Address(job.wallet.address))
    in_stock = status.is_minter or status.balance_wei >= amount_wei
    enough = status.max_tokens_wei >= amount_wei and status.max_balance_wei > owned_wei and in_stock
    if not status.active or not enough or not may_take:
        raise no_way
    call = orders.dispense(
        dispenser=dispenser, datatoken=datatoken, amount_wei=amount_wei, to=Address(job.wallet.address)
    )
    told = f"Get {tokens:f} datatoken of “{name}” from its dispenser"
    return DISPENSE_STEP, Transaction.Purpose.DISPENSE, told[:200], call


def missing_token(
    *, tx: Transaction, chain: Chain, network: Network, job: Job
) -> tuple[int, str, str, Call] | None:
    """Return the call that gets the datatoken an order would spend, where all the wallet has is spent, or about to be."""
    order = Order.objects.filter(transaction=tx, renews=None).first()
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
        transaction__network=network,
        transaction__status__in=[Transaction.Status.PREPARED, Transaction.Status.SENT],
        transaction__nonce__gte=mined,
    ).count()
    if owned >= (about_to_spend + 1) * ONE_TOKEN:
        return None
    if chain.mined_nonce(address=owner) != mined:  # what was mined in between was counted twice
        return missing_token(tx=tx, chain=chain, network=network, job=job)
    if Transaction.objects.filter(job=job, purpose=Transaction.Purpose.DISPENSE).count() >= DISPENSES_MAX:
        return None
    return dispensed(
        chain=chain,
        network=network,
        job=job,
        datatoken=datatoken,
        name=order.asset_name,
        amount_wei=Wei(ONE_TOKEN),
        owned_wei=owned,
    )
