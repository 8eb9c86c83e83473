"""Works out what a start takes: which orders are there, which have to be made, and what all of it costs.

Questions only: nothing is written, signed or sent. What a service or a chain says is compared with what the portal knows.
The same working out stands behind a quote on the launch page and behind the plan of a job.
"""

from __future__ import annotations

import uuid
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from functools import cached_property
from typing import Any

from django.db.models import Q

from jobs.errors import PortalError
from jobs.lifecycle import TERMINAL
from jobs.models import Asset, Environment, Job, Network, Node, Order, Transaction, Wallet
from jobs.ocean import escrow, orders, pricing
from jobs.ocean.chain import Chain
from jobs.ocean.compute import (
    AlgorithmInput,
    AssetInput,
    ComputeBackend,
    Needs,
    OrderNeed,
    PaymentNeed,
    ProviderFee,
    StartRequest,
    stored_environment,
)
from jobs.ocean.compute import Environment as EnvironmentOffer
from jobs.ocean.transactions import Call
from jobs.ocean.units import Address, Wei, from_wei

ONE_TOKEN = Wei(10**18)  # datatokens have 18 decimals; an order spends one
FEE_VALID_FOR = timedelta(days=1)  # of orders that cost nothing, so that the next launches find them good
FEE_MARGIN = timedelta(hours=1)
GAS_GUESS = 250_000  # of one of our calls; recorded: 44,000 to 154,000
# All transactions of a step must be in blocks before those of the next are signed; with room between them.
APPROVE_STEP, GET_STEP, FEE_STEP, ORDER_STEP, DEPOSIT_STEP, AUTHORIZE_STEP = 10, 20, 30, 40, 50, 60


class CannotOrder(PortalError):
    """What a start needs cannot be had. Nothing was sent for it."""

    code = "cannot_order"


@dataclass(frozen=True)
class Part:
    """One published input. index: of the service in its DDO."""

    name: str
    did: str
    service_id: str
    index: int
    datatoken: Address


@dataclass(frozen=True)
class Wish:
    """What is to be started. parts: the datasets in order, then the algorithm if it is published.

    request: without orders. job_id: None for a quote.
    """

    node: Node
    environment: Environment
    wallet: Wallet
    network: Network
    parts: tuple[Part, ...]
    request: StartRequest
    max_duration_s: int
    job_id: uuid.UUID | None = None

    @cached_property
    def offer(self) -> EnvironmentOffer:
        """What the service said of the environment."""
        return stored_environment(self.environment.raw, dialect=self.node.dialect)


@dataclass(frozen=True)
class Wanted:
    """An order to be made for the part at `place`.

    renews: the first order, whose fee it renews; replaces: the last one that did so, or the first itself.
    """

    place: int
    part: Part
    fee: ProviderFee
    renews: Order | None = None
    replaces: Order | None = None


@dataclass(frozen=True)
class Step:
    """A transaction that has to be made. told: what it is for; token, amount_wei: what it moves from the wallet at most.

    wanted: the order that it makes, None for the others.
    """

    step: int
    purpose: str
    told: str
    call: Call
    token: Address | None = None
    amount_wei: Wei = Wei(0)
    wanted: Wanted | None = None


@dataclass(frozen=True)
class Line:
    """One item of a price. token: None for what costs nothing."""

    what: str
    token: Address | None = None
    amount_wei: Wei = Wei(0)


@dataclass(frozen=True)
class Outlay:
    """All that a start takes.

    used: orders that are there, by place. spent: what the wallet pays in all, by token; the amount that a node locks counts
    whole. needed: what the wallet must hold for that now, by token: less where the escrow holds some. gas_wei: at the most.
    """

    used: Mapping[int, Order]
    steps: tuple[Step, ...]
    lines: tuple[Line, ...]
    payment: PaymentNeed | None
    spent: Mapping[Address, Wei]
    needed: Mapping[Address, Wei]
    balances: Mapping[Address, Wei]
    gas_wei: Wei
    coin_wei: Wei
    fee_until: datetime


def wish_of(job: Job, *, request: StartRequest) -> Wish:
    """Return what a job wants. Raises: CannotOrder."""
    rows = job.inputs.select_related("dataset").order_by("position")
    parts = [part_of(asset=row.dataset, service_id=row.service_id) for row in rows]
    if job.algorithm is not None:
        parts.append(part_of(asset=job.algorithm, service_id=job.algorithm_service_id))
    return Wish(
        node=job.node,
        environment=job.environment,
        wallet=job.wallet,
        network=network_of(node=job.node, environment=job.environment),
        parts=tuple(parts),
        request=request,
        max_duration_s=job.max_duration_s,
        job_id=job.pk,
    )


def part_of(*, asset: Asset, service_id: str) -> Part:
    """Find the service of an asset. Raises: CannotOrder."""
    for index, service in enumerate(asset.services):
        if service["id"] == service_id:
            return Part(
                name=asset.name,
                did=asset.did,
                service_id=service_id,
                index=index,
                datatoken=Address(service["datatoken"]),
            )
    raise CannotOrder(
        f"“{asset.name}” has no service “{service_id}” any more. Refresh it in the catalogue and launch again.",
        code="unknown_service",
    )


def network_of(*, node: Node, environment: Environment) -> Network:
    """Return the network that orders for an environment are made on.

    Raises:
        CannotOrder: the portal does not know it.
    """
    chain_id = environment.chain_id or node.network.chain_id
    network = Network.objects.filter(chain_id=chain_id).first()
    if network is None:
        raise CannotOrder(
            f"The environment takes orders on chain {chain_id}, which is not among this portal's networks. "
            "An operator can add it.",
            code="no_network",
        )
    return network


def refuse_wrong_chain(*, chain: Chain, network: Network) -> None:
    """Ask the endpoint which chain it is, before anything is believed or sent.

    Raises:
        CannotOrder: it is another one.
    """
    found = chain.chain_id()
    if found != network.chain_id:
        raise CannotOrder(
            f"The RPC endpoint of {network.name} is one of chain {found}, not of {network.chain_id}. "
            "An operator has to correct it.",
            code="wrong_chain",
        )


@dataclass(frozen=True)
class Asked:
    """What the service wants, beside the orders that the team has."""

    needs: Needs
    known: tuple[Order | None, ...]
    fee_until: datetime


def ask_service(*, wish: Wish, backend: ComputeBackend, now: datetime) -> Asked:
    """Ask a service what it wants to see on the chain; the team's good orders are offered to it.

    Raises:
        CannotOrder: it cannot reach a dataset's file.
        OceanError: from the service.
    """
    for part, dataset in zip(wish.parts, wish.request.datasets, strict=False):
        if isinstance(dataset, AssetInput):
            _refuse_unreachable(part=part, backend=backend)
    known = tuple(
        _known_order(wish=wish, part=part, consumer=wish.offer.consumer_address) for part in wish.parts
    )
    until = _fee_until(known=known, wish=wish, price=wish.offer.price_min, now=now)
    needs = backend.initialize(
        request=_offering(wish.request, known),
        consumer=wish.offer.consumer_address,
        payer=Address(wish.wallet.address),
        valid_until=int(until.timestamp()),
    )
    return Asked(needs=needs, known=known, fee_until=until)


def is_all_there(asked: Asked) -> bool:
    """Say whether a start needs nothing from the chain any more."""
    return asked.needs.payment is None and all(need.fee is None for need in asked.needs.orders)


def work_out(*, wish: Wish, asked: Asked, chain: Chain | None) -> Outlay:
    """Work out the transactions and the price. chain: None only where `is_all_there`.

    Raises:
        CannotOrder: what the service says does not fit what the portal knows, or a datatoken cannot be had.
        OceanError: from the chain.
    """
    used, wanted = _sorted_out(wish=wish, asked=asked)
    lines = [Line(f"“{wish.parts[place].name}”: an order that is there already") for place in sorted(used)]
    if chain is None:
        return Outlay(
            used=used,
            steps=(),
            lines=tuple(lines),
            payment=None,
            spent={},
            needed={},
            balances={},
            gas_wei=Wei(0),
            coin_wei=Wei(0),
            fee_until=asked.fee_until,
        )
    refuse_wrong_chain(chain=chain, network=wish.network)
    work = _Work(wish=wish, chain=chain, lines=lines)
    work.get_datatokens(wanted)
    work.order(wanted)
    if asked.needs.payment is not None:
        work.pay_into_escrow(asked.needs.payment)
    return work.outlay(used=used, payment=asked.needs.payment, fee_until=asked.fee_until)


class _Work:
    """Collects the steps of one outlay, and what they cost."""

    def __init__(self, *, wish: Wish, chain: Chain, lines: list[Line]) -> None:
        self._wish, self._chain, self._lines = wish, chain, lines
        self._payer = Address(wish.wallet.address)
        self._steps: list[Step] = []
        self._spent: dict[Address, int] = defaultdict(int)
        self._needed: dict[Address, int] = defaultdict(int)

    def get_datatokens(self, wanted: Sequence[Wanted]) -> None:
        """Take or buy the datatokens that new orders spend, as far as the wallet lacks them."""
        counts = Counter(w.part.datatoken for w in wanted if w.renews is None)
        names = {w.part.datatoken: w.part.name for w in wanted}
        drawn: dict[tuple[Address, Address], int] = defaultdict(int)
        for datatoken, count in counts.items():
            owned = orders.balance_of(self._chain, token=datatoken, owner=self._payer)
            missing = Wei(max(0, count * ONE_TOKEN - owned))
            if not missing:
                self._lines.append(Line(f"“{names[datatoken]}”: a datatoken that the wallet has"))
                continue
            price = self._price(datatoken=datatoken, name=names[datatoken], missing=missing, owned=owned)
            if isinstance(price, pricing.GivenAway):
                self._dispense(price, datatoken=datatoken, name=names[datatoken], amount_wei=missing)
            else:
                base, total = self._buy(price, name=names[datatoken], amount_wei=missing)
                drawn[base, price.exchange] += total
        for (token, exchange), amount in drawn.items():
            self._approve(
                APPROVE_STEP, token=token, spender=exchange, amount_wei=Wei(amount), whom="the exchange"
            )

    def _price(self, *, datatoken: Address, name: str, missing: Wei, owned: Wei) -> pricing.Price:
        known = self._wish.network.known_sellers()
        for price in pricing.read_price(self._chain, datatoken=datatoken, known=known):
            if isinstance(price, pricing.GivenAway):
                if price.gives(amount_wei=missing, to=self._payer, has_wei=owned):
                    return price
            elif price.only_for in (None, self._payer) and price.supply_wei >= missing:
                return price
        tokens = from_wei(missing).normalize()
        raise CannotOrder(
            f"The wallet “{self._wish.wallet.label}” lacks {tokens:f} datatoken of “{name}”, and nobody that this portal "
            "knows gives or sells it. Get one first, from whoever published it.",
            code="no_datatoken",
        )

    def _dispense(self, price: pricing.GivenAway, *, datatoken: Address, name: str, amount_wei: Wei) -> None:
        tokens = from_wei(amount_wei).normalize()
        call = orders.dispense(
            dispenser=price.dispenser, datatoken=datatoken, amount_wei=amount_wei, to=self._payer
        )
        self._lines.append(Line(f"“{name}”: given away"))
        told = f"Get {tokens:f} datatoken of “{name}” from its dispenser"
        self._add(GET_STEP, Transaction.Purpose.DISPENSE, told, call)

    def _buy(self, price: pricing.FixedRate, *, name: str, amount_wei: Wei) -> tuple[Address, int]:
        cost = pricing.read_cost(self._chain, price=price, amount_wei=amount_wei)
        tokens = from_wei(amount_wei).normalize()
        call = pricing.buy(price=price, amount_wei=amount_wei, max_base_wei=cost.total_wei)
        self._spend(f"“{name}”: {tokens:f} datatoken", token=price.base_token, amount_wei=cost.total_wei)
        self._add(
            GET_STEP,
            Transaction.Purpose.PURCHASE,
            f"Buy {tokens:f} datatoken of “{name}”",
            call,
            token=price.base_token,
            amount_wei=cost.total_wei,
        )
        return price.base_token, cost.total_wei

    def order(self, wanted: Sequence[Wanted]) -> None:
        """Make the orders; what their fees draw is allowed exactly."""
        drawn: dict[tuple[Address, Address], int] = defaultdict(int)
        for want in wanted:
            datatoken, fee = want.part.datatoken, want.fee
            if fee.amount_wei:
                drawn[fee.token, datatoken] += fee.amount_wei
                self._spend(
                    f"Fee of the service, with “{want.part.name}”", token=fee.token, amount_wei=fee.amount_wei
                )
            market = pricing.read_terms(self._chain, datatoken=datatoken).order_fee
            if market is not None and want.renews is None:
                drawn[market.token, datatoken] += market.amount_wei
                self._spend(
                    f"Fee of the market for “{want.part.name}”",
                    token=market.token,
                    amount_wei=market.amount_wei,
                )
            self._add_order(want)
        for (token, datatoken), amount in drawn.items():
            self._approve(
                FEE_STEP, token=token, spender=datatoken, amount_wei=Wei(amount), whom="the datatoken"
            )

    def _add_order(self, want: Wanted) -> None:
        part = want.part
        consumer = self._wish.offer.consumer_address
        if want.renews is not None:
            call = orders.reuse_order(
                datatoken=part.datatoken, order_tx=want.renews.transaction.tx_hash, fee=want.fee
            )
            purpose, told = Transaction.Purpose.RENEWAL, f"Renew the order of “{part.name}”"
        else:
            call = orders.start_order(
                datatoken=part.datatoken, consumer=consumer, service_index=part.index, fee=want.fee
            )
            purpose, told = Transaction.Purpose.ORDER, f"Order “{part.name}”"
        self._add(
            ORDER_STEP,
            purpose,
            told,
            call,
            token=want.fee.token if want.fee.amount_wei else None,
            amount_wei=want.fee.amount_wei,
            wanted=want,
        )

    def pay_into_escrow(self, need: PaymentNeed) -> None:
        """Deposit what is missing, and let the node lock exactly what it asked for beside what it has locked already."""
        place = {"escrow": need.escrow, "payer": self._payer, "token": need.token}
        funds = escrow.funds(self._chain, **place)
        missing = Wei(max(0, need.amount_wei - funds.available_wei))
        self._lines.append(Line("Compute time, at the most", token=need.token, amount_wei=need.amount_wei))
        self._spent[need.token] += need.amount_wei
        self._needed[need.token] += missing
        if missing:
            self._approve(
                FEE_STEP, token=need.token, spender=need.escrow, amount_wei=missing, whom="the escrow"
            )
            self._add(
                DEPOSIT_STEP,
                Transaction.Purpose.DEPOSIT,
                "Pay what is missing into the escrow",
                escrow.deposit(escrow=need.escrow, token=need.token, amount_wei=missing),
                token=need.token,
                amount_wei=missing,
            )
        allowed = escrow.authorization(self._chain, payee=need.payee, **place)
        locked = allowed.locked_wei if allowed else Wei(0)
        locks = allowed.locks if allowed else 0
        exactly = (locked + need.amount_wei, need.min_lock_s, locks + 1)
        if allowed is None or (allowed.max_locked_wei, allowed.max_lock_s, allowed.max_locks) != exactly:
            self._add(
                AUTHORIZE_STEP,
                Transaction.Purpose.AUTHORIZATION,
                "Let the node lock the job's amount, once",
                escrow.authorize(
                    escrow=need.escrow,
                    token=need.token,
                    payee=need.payee,
                    max_locked_wei=Wei(locked + need.amount_wei),
                    max_lock_s=need.min_lock_s,
                    max_locks=locks + 1,
                ),
            )

    def outlay(
        self, *, used: Mapping[int, Order], payment: PaymentNeed | None, fee_until: datetime
    ) -> Outlay:
        """Add everything up; the balances are read last."""
        tokens = set(self._spent) | set(self._needed)
        return Outlay(
            used=used,
            steps=tuple(sorted(self._steps, key=lambda step: step.step)),
            lines=tuple(self._lines),
            payment=payment,
            spent={token: Wei(amount) for token, amount in self._spent.items()},
            needed={token: Wei(amount) for token, amount in self._needed.items()},
            balances={
                token: orders.balance_of(self._chain, token=token, owner=self._payer) for token in tokens
            },
            gas_wei=Wei(self._chain.fees().max_fee_wei * GAS_GUESS * len(self._steps))
            if self._steps
            else Wei(0),
            coin_wei=self._chain.balance_wei(address=self._payer),
            fee_until=fee_until,
        )

    def _spend(self, what: str, *, token: Address, amount_wei: Wei) -> None:
        self._lines.append(Line(what, token=token, amount_wei=amount_wei))
        self._spent[token] += amount_wei
        self._needed[token] += amount_wei

    def _approve(self, step: int, *, token: Address, spender: Address, amount_wei: Wei, whom: str) -> None:
        """Let a contract draw exactly so much; what was allowed before is replaced."""
        if orders.allowance(self._chain, token=token, owner=self._payer, spender=spender) == amount_wei:
            return
        call = orders.approve(token=token, spender=spender, amount_wei=amount_wei)
        self._add(step, Transaction.Purpose.APPROVAL, f"Let {whom} draw exactly what it costs", call)

    def _add(self, step: int, purpose: str, told: str, call: Call, **more: Any) -> None:
        self._steps.append(Step(step=step, purpose=purpose, told=told[:200], call=call, **more))


def _refuse_unreachable(*, part: Part, backend: ComputeBackend) -> None:
    found = backend.file_info(file=AssetInput(did=part.did, service_id=part.service_id))
    if not len(found) or not all(file.valid for file in found):
        raise CannotOrder(
            f"The service cannot reach the file of “{part.name}”, so nothing was ordered. "
            "Ask its publisher whether it is still there.",
            code="file",
        )


def _known_order(*, wish: Wish, part: Part, consumer: str) -> Order | None:
    """Return the team's latest confirmed order of this part in this environment that no job uses now.

    A service files a job under one of its orders, and does not say which; each can have one running job at a time
    (provider-v4 recording 82-start-agreement-in-use).
    """
    return (
        Order.objects.filter(
            wallet=wish.wallet,
            did=part.did,
            service_id=part.service_id,
            consumer=consumer,
            datatoken=part.datatoken,
            transaction__status=Transaction.Status.CONFIRMED,
            transaction__network=wish.network,
        )
        .filter(not_held(wish.job_id))
        .select_related("transaction", "renews__transaction")
        .order_by("-pk")
        .first()
    )


def not_held(job_id: uuid.UUID | None) -> Q:
    """Return the condition for orders that a job may take: nobody's, its own, and those of jobs that have ended."""
    free = Q(held_by=None) | Q(held_by__state__in=TERMINAL)
    return free if job_id is None else free | Q(held_by=job_id)


def _fee_until(
    *, known: Sequence[Order | None], wish: Wish, price: Decimal | None, now: datetime
) -> datetime:
    """Return until when the fees have to count: no later than for the known orders that are good long enough.

    A service is asked for one time for all; a later one would have every order renewed. Where time costs, no more of it is
    asked for than the job may take.
    """
    longest = now + timedelta(seconds=wish.max_duration_s)
    at_least = longest if price else longest + FEE_MARGIN
    good = [order.fee_valid_until for order in known if order and order.fee_valid_until >= at_least]
    return min(good, default=at_least if price else max(at_least, now + FEE_VALID_FOR))


def _offering(request: StartRequest, known: Sequence[Order | None]) -> StartRequest:
    """Put the known orders into the request, in the order of the parts."""
    hashes = [order.transaction.tx_hash if order else "" for order in known]
    datasets = tuple(
        replace(dataset, order=tx_hash) if isinstance(dataset, AssetInput) else dataset
        for dataset, tx_hash in zip(request.datasets, hashes, strict=False)
    )
    algorithm = request.algorithm
    if isinstance(algorithm, AlgorithmInput):
        algorithm = replace(algorithm, order=hashes[-1])
    return replace(request, datasets=datasets, algorithm=algorithm)


def _sorted_out(*, wish: Wish, asked: Asked) -> tuple[dict[int, Order], list[Wanted]]:
    """Compare what the service wants with what there is: orders to be used, by place, and orders to be made."""
    needs = asked.needs.orders
    if len(needs) != len(wish.parts):
        raise CannotOrder("The service did not say for each asset what it wants ordered.", code="initialize")
    used: dict[int, Order] = {}
    wanted: list[Wanted] = []
    for place, (part, need, order) in enumerate(zip(wish.parts, needs, asked.known, strict=True)):
        if need.valid_order and (order is None or need.valid_order not in _hashes(order)):
            raise CannotOrder("The service speaks of an order that it was not offered.", code="initialize")
        if need.fee is None:
            if order is None or not need.valid_order:
                raise CannotOrder(f"The service wants nothing ordered for “{part.name}”.", code="initialize")
            used[place] = order
            continue
        _check_fee(wish=wish, part=part, need=need, fee=need.fee, until=int(asked.fee_until.timestamp()))
        if order is not None and need.valid_order:
            first = order.renews or order
            wanted.append(Wanted(place=place, part=part, fee=need.fee, renews=first, replaces=order))
        else:
            wanted.append(Wanted(place=place, part=part, fee=need.fee))
    return used, wanted


def _hashes(order: Order) -> set[str]:
    """Return the names of an order: its own, and that of the first order which it renews (see OrderNeed)."""
    return {order.transaction.tx_hash, *([order.renews.transaction.tx_hash] if order.renews else [])}


def _check_fee(*, wish: Wish, part: Part, need: OrderNeed, fee: ProviderFee, until: int) -> None:
    """Believe nothing of what is to be signed: token, payee, signature and time are compared with what is known.

    until: what the service was asked for, and repeats (provider-v4 recordings 30 and 32); a node's fee is not bound to a time
        (ocean-node recordings 31 and 33).
    """
    if need.datatoken is not None and need.datatoken != part.datatoken:
        raise CannotOrder(
            f"The service names another datatoken for “{part.name}” than its description.", code="datatoken"
        )
    addresses = wish.node.said.get("addresses", {})
    expected = addresses.get(str(wish.network.chain_id)) or wish.node.provider_address
    if expected and fee.address != Address(expected):
        raise CannotOrder(
            f"The fee for “{part.name}” is to go to an address that is not the service's.", code="fee"
        )
    orders.check_fee(fee)
    if not wish.node.can.escrow and fee.valid_until != until:
        raise CannotOrder(
            f"The fee for “{part.name}” is to count until another time than was asked for.", code="fee"
        )
