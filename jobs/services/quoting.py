"""Tells what a launch would cost, before anybody agrees to it.

Questions only: nothing is written but what tokens are called.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from jobs.access import Action, Actor, require
from jobs.errors import CannotOrder, InvalidInput
from jobs.models import Token
from jobs.ocean.compute import AssetInput, Payment, StartRequest
from jobs.ocean.errors import OceanError
from jobs.ocean.units import Address, from_wei
from jobs.services import asking, choosing, ordering, outlays, tokens
from jobs.services.asking import Wish
from jobs.services.budget import OutOfBudget, Purpose
from jobs.services.choosing import LaunchRequest, Plan
from jobs.services.gateway import Clock, NoChain, network_of, open_chain, open_node
from jobs.services.outlays import Outlay
from jobs.services.starts import algorithm_input


@dataclass(frozen=True)
class Amount:
    """An amount as people read it. exact: of the token's decimals; wei: in its smallest unit."""

    token: str
    symbol: str
    exact: Decimal
    wei: int


@dataclass(frozen=True)
class QuoteLine:
    """One item. amount: None for what costs nothing."""

    what: str
    amount: Amount | None


@dataclass(frozen=True)
class TokenSum:
    """What a launch takes of one token: in all, what the wallet has, and what is missing now (0 if nothing)."""

    total: Amount
    has: Amount
    missing: Amount


@dataclass(frozen=True)
class Quote:
    """What a launch would cost. trouble: why it could not be paid as things stand, "" if it could.

    gas: of the network's own coin, at the most. transactions: how many would be sent. valid_until: of the service's fees.
    """

    lines: tuple[QuoteLine, ...]
    sums: tuple[TokenSum, ...]
    transactions: int
    gas: Decimal
    coin: Decimal
    network: str
    environment: str
    valid_until: datetime
    trouble: str

    @property
    def most(self) -> dict[str, int]:
        """What a launch at this price agrees to, in wei by token."""
        return {item.total.token: item.total.wei for item in self.sums}


def quote(*, actor: Actor, request: LaunchRequest, clock: Clock) -> Quote:
    """Ask the service and the chain what a launch would cost now.

    Raises:
        NotAllowed: the role does not include launching.
        InvalidInput: something entered cannot be used, or what is asked for cannot be had; its field is named.
    """
    require(actor, Action.LAUNCH)
    plan = choosing.plan(actor=actor, request=request)
    now = clock()
    try:
        wish = _wish(plan)
        with open_node(node=wish.node, purpose=Purpose.ACT, clock=clock) as backend:
            asked = asking.ask_service(wish=wish, backend=backend, now=now)
        with open_chain(network=wish.network) as chain:
            outlay = outlays.work_out(wish=wish, asked=asked, chain=chain)
            tokens.learn(chain=chain, network=wish.network, addresses=outlay.spent)
    except (CannotOrder, NoChain, OutOfBudget, OceanError) as error:
        raise InvalidInput(error.message, field="environment", code=error.code) from None
    return _told(wish=wish, outlay=outlay)


def _told(*, wish: Wish, outlay: Outlay) -> Quote:
    named = {token.address: token for token in Token.objects.filter(network=wish.network)}

    def amount(token: str, wei: int) -> Amount:
        row = named[token]
        return Amount(
            token=token, symbol=row.symbol, exact=from_wei(wei, decimals=row.decimals), wei=int(wei)
        )

    return Quote(
        lines=tuple(
            QuoteLine(what=line.what, amount=amount(line.token, line.amount_wei) if line.token else None)
            for line in outlay.lines
        ),
        sums=tuple(
            TokenSum(
                total=amount(token, spent),
                has=amount(token, outlay.balances.get(token, 0)),
                missing=amount(token, max(0, outlay.needed.get(token, 0) - outlay.balances.get(token, 0))),
            )
            for token, spent in outlay.spent.items()
        ),
        transactions=len(outlay.steps),
        gas=from_wei(outlay.gas_wei),
        coin=from_wei(outlay.coin_wei),
        network=wish.network.name,
        environment=str(wish.environment),
        valid_until=outlay.fee_until,
        trouble=_trouble(wish=wish, outlay=outlay),
    )


def _trouble(*, wish: Wish, outlay: Outlay) -> str:
    try:
        ordering.refuse_what_the_wallet_lacks(wish=wish, outlay=outlay)
        ordering.refuse_above_the_limits(wish=wish, outlay=outlay)
    except CannotOrder as error:
        return error.message
    return ""


def _wish(plan: Plan) -> Wish:
    parts = [asking.part_of(asset=x.dataset, service_id=x.service["id"]) for x in plan.inputs]
    if plan.algorithm.asset is not None:
        parts.append(asking.part_of(asset=plan.algorithm.asset, service_id=plan.algorithm.service_id))
    node = plan.environment.node
    network = network_of(node=node, environment=plan.environment)
    paid = not plan.free and node.can.escrow
    return Wish(
        node=node,
        environment=plan.environment,
        wallet=plan.wallet,
        network=network,
        parts=tuple(parts),
        request=StartRequest(
            environment_id=plan.environment.env_id,
            datasets=tuple(
                AssetInput(did=x.dataset.did, service_id=x.service["id"], userdata=x.userdata)
                for x in plan.inputs
            ),
            algorithm=algorithm_input(
                asset=plan.algorithm.asset,
                service_id=plan.algorithm.service_id,
                own=plan.algorithm.own,
                container=plan.algorithm.container,
                parameters=plan.parameters,
            ),
            max_duration_s=plan.max_duration_s,
            queue_wait_s=plan.queue_wait_s or None,
            resources=tuple(plan.resources.items()) if plan.resources else None,
            payment=Payment(chain_id=network.chain_id, token=Address(plan.payment_token)) if paid else None,
        ),
        max_duration_s=plan.max_duration_s,
        free=plan.free,
    )
