"""Tells what a launch would cost, here and elsewhere, before anybody agrees to it.

Questions only: nothing is written but what tokens are called. This is the one place where a page waits for a far side: all
its questions together have a deadline.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from typing import Any

from jobs.access import Action, Actor, require
from jobs.errors import CannotOrder, InvalidInput, NotAllowed
from jobs.models import Environment, Token
from jobs.ocean.compute import AssetInput, Payment, StartRequest, stored_environment
from jobs.ocean.errors import OceanError
from jobs.ocean.units import Address, from_wei
from jobs.services import asking, choosing, grants, ordering, outlays, tokens
from jobs.services.asking import Wish
from jobs.services.budget import OutOfBudget, Purpose
from jobs.services.choosing import LaunchRequest, Plan
from jobs.services.gateway import Clock, NoChain, network_of, open_chain, open_node
from jobs.services.outlays import Outlay
from jobs.services.starts import algorithm_input

PATIENCE_S = 15.0  # of a person who waits for a price, for all questions together


@dataclass(frozen=True)
class Amount:
    """An amount as people read it. exact: of the token's decimals; wei: in its smallest unit."""

    token: str
    symbol: str
    exact: Decimal
    wei: int
    decimals: int


@dataclass(frozen=True)
class QuoteLine:
    """One item. amount: None for what costs nothing."""

    what: str
    amount: Amount | None


@dataclass(frozen=True)
class TokenSum:
    """What a launch takes of one token.

    total: in all. has: what the wallet holds. escrowed: the part that the escrow holds already. missing: 0 if nothing is.
    """

    total: Amount
    has: Amount
    escrowed: Amount
    missing: Amount


@dataclass(frozen=True)
class Quote:
    """What a launch would cost. troubles: why it could not be paid as things stand; none if it could.

    barred: why this person may not pay it, and who can change that; "" if they may.

    free: nothing is paid for the time. asked: whether anybody had to be asked; a free start at a node needs nothing.
    escrow: the time is paid from an escrow, afterwards and by the minute; else up front with an order.
    most: what a launch at this price agrees to, in wei by token. gas: of the network's own coin, at the most.
    transactions: how many would be sent. valid_until: of the service's fees. lasts_s, least_s: the longest that the job may
    take, and the shortest time that is charged.
    """

    lines: tuple[QuoteLine, ...]
    sums: tuple[TokenSum, ...]
    most: Mapping[str, int]
    transactions: int
    gas: Decimal
    coin: Decimal
    network: str
    environment: str
    node: str
    wallet: str
    free: bool
    asked: bool
    escrow: bool
    lasts_s: int
    least_s: int
    resources: tuple[tuple[str, float], ...]
    valid_until: datetime
    troubles: tuple[str, ...]
    plan: Plan
    barred: str = ""


@dataclass(frozen=True)
class Elsewhere:
    """A place where the same job could run. cost: of its time, in tokens; None where that is free.

    environment: the number of its row. token: an address, symbol: what it is called or "". here: it is what was chosen.
    """

    environment: int
    name: str
    node: str
    free: bool
    token: str
    symbol: str
    cost: Decimal | None
    here: bool

    @property
    def value(self) -> str:
        """What the launch form says for it: the environment, and what it is paid in."""
        return f"{self.environment}" if self.free else f"{self.environment}-paid {self.token}"


def quote(*, actor: Actor, request: LaunchRequest, clock: Clock, purpose: Purpose = Purpose.WATCH) -> Quote:
    """Ask the service and the chain what a launch would cost now.

    purpose: how much of the service's budget this may use; a price that only follows somebody's typing leaves the rest.
    Raises:
        NotAllowed: the role does not include launching.
        InvalidInput: something entered cannot be used, or what is asked for cannot be had; its field is named.
    """
    require(actor, Action.LAUNCH)
    plan = choosing.plan(actor=actor, request=request)
    now = clock()
    if plan.free and not plan.takes_orders:
        return _free(plan=plan, now=now)
    end = time.monotonic() + PATIENCE_S

    def patience() -> float:
        return end - time.monotonic()

    try:
        wish = _wish(plan)
        with open_node(node=wish.node, purpose=purpose, clock=clock, patience=patience) as backend:
            asked = asking.ask_service(wish=wish, backend=backend, now=now)
        with open_chain(network=wish.network, patience=patience) as chain:
            outlay = outlays.work_out(wish=wish, asked=asked, chain=chain)
            tokens.learn(chain=chain, network=wish.network, addresses=outlay.spent)
    except OceanError as error:
        then = " Look at the price again in a moment." if error.retryable else ""
        raise InvalidInput(f"{error.message}{then}", field="environment", code=error.code) from None
    except OutOfBudget as error:
        seconds = max(1, -int((now - error.available_at).total_seconds() // 1))
        raise InvalidInput(
            f"{wish.node.name} was asked as often as it allows in a minute, so its price is not known now. "
            f"Look at the price again in {seconds} s.",
            field="environment",
            code=error.code,
        ) from None
    except (CannotOrder, NoChain) as error:
        raise InvalidInput(error.message, field="environment", code=error.code) from None
    return replace(_told(plan=plan, wish=wish, outlay=outlay), barred=_barred(actor=actor, plan=plan))


def elsewhere(*, actor: Actor, request: LaunchRequest) -> tuple[Elsewhere, ...]:
    """Return every place where the same job could run, with what its time would cost there: free ones, then the cheapest.

    No far side is called: prices are as the environments last told them, without orders and gas.
    Raises:
        NotAllowed: the role does not include launching.
        InvalidInput: something entered cannot be used; its field is named.
    """
    require(actor, Action.LAUNCH)
    options = choosing.options(actor=actor, request=request)
    try:
        plan = choosing.plan(actor=actor, request=request)
        chosen = (plan.environment.pk, plan.free, plan.payment_token)
    except InvalidInput:  # no place that fits is chosen yet; the others can be named all the same
        chosen = (0, True, "")
    symbols = {
        (chain, address): symbol
        for chain, address, symbol in Token.objects.values_list("network__chain_id", "address", "symbol")
    }
    found = []
    for option in options:
        row, place = option.place.environment, option.place
        chain_id = row.chain_id or row.node.network.chain_id
        found.append(
            Elsewhere(
                environment=row.pk,
                name=_name(row),
                node=row.node.name,
                free=place.free,
                token=place.token,
                symbol=symbols.get((chain_id, place.token), ""),
                cost=None if place.free else option.cost,
                here=(row.pk, place.free, place.token) == chosen,
            )
        )
    return tuple(found)


def _barred(*, actor: Actor, plan: Plan) -> str:
    try:
        require(actor, Action.LAUNCH_PAID)
        grants.require_grant(actor=actor, wallet=plan.wallet)
    except NotAllowed as error:
        return error.message
    return ""


def _free(*, plan: Plan, now: datetime) -> Quote:
    return Quote(
        lines=(),
        sums=(),
        most={},
        transactions=0,
        gas=Decimal(0),
        coin=Decimal(0),
        network=plan.environment.node.network.name,
        asked=False,
        escrow=False,
        valid_until=now,
        troubles=(),
        **_place(plan),
    )


def _place(plan: Plan) -> dict[str, Any]:
    """Return what a quote says of the place, whatever it costs."""
    offer = stored_environment(plan.environment.raw, dialect=plan.environment.node.dialect)
    tier = offer.free if plan.free else None
    return {
        "environment": _name(plan.environment),
        "node": plan.environment.node.name,
        "wallet": plan.wallet.label,
        "free": plan.free,
        "lasts_s": plan.max_duration_s,
        "least_s": tier.min_duration_s if tier else offer.min_duration_s,
        "resources": tuple((plan.resources or {}).items()),
        "plan": plan,
    }


def _name(environment: Environment) -> str:
    return environment.description or environment.env_id[:16]


def _told(*, plan: Plan, wish: Wish, outlay: Outlay) -> Quote:
    named = {token.address: token for token in Token.objects.filter(network=wish.network)}

    def amount(token: str, wei: int) -> Amount:
        row = named.get(token)  # None where the portal remembers no more tokens of this network
        symbol = row.symbol if row else f"of the smallest unit of {token}"
        decimals = row.decimals if row else 0
        return Amount(
            token=token,
            symbol=symbol,
            exact=from_wei(wei, decimals=decimals),
            wei=int(wei),
            decimals=decimals,
        )

    def sum_of(token: Address) -> TokenSum:
        spent, needed, has = (
            int(amounts.get(token, 0)) for amounts in (outlay.spent, outlay.needed, outlay.balances)
        )
        return TokenSum(
            total=amount(token, spent),
            has=amount(token, has),
            escrowed=amount(token, spent - needed),
            missing=amount(token, max(0, needed - has)),
        )

    agreed = {} if plan.free else {plan.payment_token: 0}
    return Quote(
        lines=tuple(
            QuoteLine(what=line.what, amount=amount(line.token, line.amount_wei) if line.token else None)
            for line in outlay.lines
        ),
        sums=tuple(sum_of(token) for token in outlay.spent),
        most=agreed | {str(token): int(amount_wei) for token, amount_wei in outlay.spent.items()},
        transactions=len(outlay.steps),
        gas=from_wei(outlay.gas_wei),
        coin=from_wei(outlay.coin_wei),
        network=wish.network.name,
        asked=True,
        escrow=outlay.payment is not None,
        valid_until=outlay.fee_until,
        troubles=_troubles(wish=wish, outlay=outlay),
        **_place(plan),
    )


def _troubles(*, wish: Wish, outlay: Outlay) -> tuple[str, ...]:
    """Return why the outlay could not be paid now: what the wallet lacks, and what its limits do not allow."""
    found = []
    for refuse in (ordering.refuse_what_the_wallet_lacks, ordering.refuse_above_the_limits):
        try:
            refuse(wish=wish, outlay=outlay)
        except CannotOrder as error:
            found.append(error.message)
    return tuple(found)


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
        instead_of=plan.instead_of,
    )
