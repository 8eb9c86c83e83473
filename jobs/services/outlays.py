"""Works out what a start takes: the transactions that have to be made, and what all of it costs.

Questions only: nothing is written, signed or sent. The same working out stands behind a quote on the launch page and behind
the plan of a job.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from jobs.models import Order, Transaction
from jobs.ocean import escrow, orders, pricing, questions
from jobs.ocean.chain import Chain
from jobs.ocean.compute import PaymentNeed
from jobs.ocean.questions import Question
from jobs.ocean.transactions import Call
from jobs.ocean.units import Address, Wei, from_wei, plain
from jobs.services import asking, datatokens
from jobs.services.asking import Asked, Wanted, Wish

# The most gas that is set for one of our calls, with what `sending` adds to the estimate. On Ocean's contracts estimates
# are 44,000 to 225,000, and up to 510,000 for an order that gets its datatoken and pays all fees in different tokens.
GAS_GUESS, GAS_GUESS_IN_ONE = 300_000, 700_000
NOTHING = Wei(0)
# All transactions of a step must be in blocks before those of the next are signed; with room between them.
APPROVE_STEP, GET_STEP, FEE_STEP, ORDER_STEP, DEPOSIT_STEP, AUTHORIZE_STEP = 10, 20, 30, 40, 50, 60


@dataclass(frozen=True)
class Step:
    """A transaction that has to be made. told: what it is for; token, amount_wei: what it moves from the wallet at most.

    also: what it moves of other tokens. wanted: the order that it makes, None for the others. gets_datatoken: it gets the
    datatoken that this order spends as well.
    """

    step: int
    purpose: str
    told: str
    call: Call
    token: Address | None = None
    amount_wei: Wei = NOTHING
    also: Mapping[Address, Wei] = field(default_factory=dict)
    wanted: Wanted | None = None
    gets_datatoken: bool = False


@dataclass(frozen=True)
class Line:
    """One item of a price. token: None for what costs nothing."""

    what: str
    token: Address | None = None
    amount_wei: Wei = NOTHING


@dataclass(frozen=True)
class Outlay:
    """All that a start takes.

    used: orders that are there, by place. spent: what the wallet pays in all, by token; the amount that a node locks counts
    whole. needed: what the wallet must hold for that now, by token: less where the escrow holds some. gas_wei: at the most.
    in_escrow_wei: what the wallet has in the escrow now, locked or not.
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
    in_escrow_wei: Wei = NOTHING


def work_out(*, wish: Wish, asked: Asked, chain: Chain | None) -> Outlay:
    """Work out the transactions and the price. chain: None only where `is_all_there`.

    Raises:
        CannotOrder: what the service says does not fit what the portal knows, or a datatoken cannot be had.
        OceanError: from the chain.
    """
    used, wanted = asking.sorted_out(wish=wish, asked=asked)
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
            gas_wei=NOTHING,
            coin_wei=NOTHING,
            fee_until=asked.fee_until,
        )
    chain.ask_ahead(_first_questions(wish=wish, wanted=wanted, payment=asked.needs.payment))
    work = _Work(wish=wish, chain=chain, lines=lines)
    work.get_datatokens(wanted)
    work.order(wanted)
    if asked.needs.payment is not None:
        work.pay_into_escrow(asked.needs.payment)
    return work.outlay(used=used, payment=asked.needs.payment, fee_until=asked.fee_until)


def _first_questions(*, wish: Wish, wanted: Sequence[Wanted], payment: PaymentNeed | None) -> list[Question]:
    """Return what is asked in any case; what else there is to ask follows from the answers."""
    payer = Address(wish.wallet.address)
    found = [questions.coin(payer)]
    found += [questions.HEAD, questions.TIP] if wanted or payment else []
    drawn = [(want.fee.token, want.part.datatoken) for want in wanted if want.fee.amount_wei]
    drawn += [(payment.token, payment.escrow)] if payment else []
    for token, spender in drawn:
        found.append(questions.contract(token, "balanceOf(address)", payer))
        found.append(questions.contract(token, "allowance(address,address)", payer, spender))
    for datatoken in dict.fromkeys(want.part.datatoken for want in wanted if want.renews is None):
        found.append(questions.contract(datatoken, "balanceOf(address)", payer))
        found += pricing.first_questions(datatoken=datatoken)
    if payment is not None:
        found += escrow.first_questions(
            escrow=payment.escrow, payer=payer, token=payment.token, payee=payment.payee
        )
    return found


@dataclass(frozen=True)
class _WithOrder:
    """How an order gets its datatoken itself. cost_wei: of the base token, with the fees; 0 where it is given away."""

    price: pricing.Price
    cost_wei: Wei = NOTHING


class _Work:
    """Collects the steps of one outlay, and what they cost."""

    def __init__(self, *, wish: Wish, chain: Chain, lines: list[Line]) -> None:
        self._wish, self._chain, self._lines = wish, chain, lines
        self._payer = Address(wish.wallet.address)
        self._steps: list[Step] = []
        self._spent: dict[Address, int] = defaultdict(int)
        self._needed: dict[Address, int] = defaultdict(int)
        self._in_escrow = NOTHING
        self._with_order: dict[int, _WithOrder] = {}
        self._market_fees: dict[Address, pricing.OrderFee | None] = {}

    def get_datatokens(self, wanted: Sequence[Wanted]) -> None:
        """Take or buy the datatokens that new orders spend, as far as the wallet lacks them.

        What can be had with its order alone is left to `order`.
        """
        counts = Counter(w.part.datatoken for w in wanted if w.renews is None)
        names = {w.part.datatoken: w.part.name for w in wanted}
        wallet, network = self._wish.wallet, self._wish.network
        drawn: dict[tuple[Address, Address], int] = defaultdict(int)
        for datatoken, count in counts.items():
            name = names[datatoken]
            missing, owned = datatokens.lacking(
                self._chain,
                network=network,
                wallet=wallet,
                job_id=self._wish.job_id or self._wish.instead_of,
                datatoken=datatoken,
                count=count,
            )
            if not missing:
                self._lines.append(Line(f"“{name}”: a datatoken that the wallet has"))
                continue
            terms = datatokens.terms_of(self._chain, network=network, datatoken=datatoken)
            self._market_fees[datatoken] = terms.order_fee
            if self._get_with_orders(terms, wanted=wanted, missing_wei=missing):
                continue
            price = datatokens.seller(
                terms.prices, wallet=wallet, name=name, amount_wei=missing, owned_wei=owned
            )
            if isinstance(price, pricing.GivenAway):
                told, call = datatokens.dispensed(
                    price, datatoken=datatoken, name=name, amount_wei=missing, to=self._payer
                )
                self._lines.append(Line(f"“{name}”: given away"))
                self._add(GET_STEP, Transaction.Purpose.DISPENSE, told, call)
            else:
                base, total = self._buy(price, name=name, amount_wei=missing)
                drawn[base, price.exchange] += total
        for (token, exchange), amount in drawn.items():
            self._approve(
                APPROVE_STEP, token=token, spender=exchange, amount_wei=Wei(amount), whom="the exchange"
            )

    def _get_with_orders(self, terms: pricing.Terms, *, wanted: Sequence[Wanted], missing_wei: Wei) -> bool:
        """Let so many orders get their datatoken themselves, if the datatoken lets them; one call gets exactly one."""
        count = int(-(-missing_wei // pricing.ONE))
        price = datatokens.with_orders(terms, count=count)
        if price is None:
            return False
        cost = NOTHING
        if isinstance(price, pricing.FixedRate):
            cost = pricing.read_cost(self._chain, price=price).total_wei
        places = [w.place for w in wanted if w.renews is None and w.part.datatoken == terms.datatoken]
        for place in places[-count:]:
            self._with_order[place] = _WithOrder(price=price, cost_wei=cost)
        return True

    def _buy(self, price: pricing.FixedRate, *, name: str, amount_wei: Wei) -> tuple[Address, int]:
        cost = pricing.read_cost(self._chain, price=price, amount_wei=amount_wei)
        tokens = plain(from_wei(amount_wei))
        call = pricing.buy(price=price, amount_wei=amount_wei, max_base_wei=cost.total_wei)
        self._spend(f"“{name}”: {tokens} datatoken", token=price.base_token, amount_wei=cost.total_wei)
        self._add(
            GET_STEP,
            Transaction.Purpose.PURCHASE,
            f"Buy {tokens} datatoken of “{name}”",
            call,
            token=price.base_token,
            amount_wei=cost.total_wei,
        )
        return price.base_token, cost.total_wei

    def order(self, wanted: Sequence[Wanted]) -> None:
        """Make the orders; what is drawn with them is allowed exactly."""
        drawn: dict[tuple[Address, Address], int] = defaultdict(int)
        for want in wanted:
            moves: dict[Address, int] = defaultdict(int)
            for what, token, amount in self._paid_with(want):
                self._spend(what, token=token, amount_wei=amount)
                moves[token] += amount
                drawn[token, want.part.datatoken] += amount
            self._add_order(want, moves=moves)
        for (token, datatoken), total in drawn.items():
            self._approve(
                FEE_STEP, token=token, spender=datatoken, amount_wei=Wei(total), whom="the datatoken"
            )

    def _paid_with(self, want: Wanted) -> Iterator[tuple[str, Address, Wei]]:
        """Yield what the datatoken draws with an order: what for, the token, and how much of it."""
        name, datatoken, fee = want.part.name, want.part.datatoken, want.fee
        way = self._with_order.get(want.place)
        if way is not None and isinstance(way.price, pricing.FixedRate):
            yield f"“{name}”: 1 datatoken, bought with its order", way.price.base_token, way.cost_wei
        elif way is not None:
            self._lines.append(Line(f"“{name}”: given away with its order"))
        if fee.amount_wei:
            yield f"Fee of the service, with “{name}”", fee.token, fee.amount_wei
        market = None if want.renews else self._market_fee(datatoken)  # a renewal takes none
        if market is not None:
            yield f"Fee of the market for “{name}”", market.token, market.amount_wei

    def _market_fee(self, datatoken: Address) -> pricing.OrderFee | None:
        if datatoken not in self._market_fees:
            self._market_fees[datatoken] = pricing.read_order_fee(self._chain, datatoken=datatoken)
        return self._market_fees[datatoken]

    def _add_order(self, want: Wanted, *, moves: Mapping[Address, int]) -> None:
        purpose, told, call = self._order_call(want)
        token = next(iter(moves), None)
        self._add(
            ORDER_STEP,
            purpose,
            told,
            call,
            token=token,
            amount_wei=NOTHING if token is None else Wei(moves[token]),
            also={other: Wei(wei) for other, wei in moves.items() if other != token},
            wanted=want,
            gets_datatoken=want.place in self._with_order,
        )

    def _order_call(self, want: Wanted) -> tuple[str, str, Call]:
        part, way = want.part, self._with_order.get(want.place)
        if want.renews is not None:
            call = orders.reuse_order(
                datatoken=part.datatoken, order_tx=want.renews.transaction.tx_hash, fee=want.fee
            )
            return Transaction.Purpose.RENEWAL, f"Renew the order of “{part.name}”", call
        what: dict[str, Any] = {
            "datatoken": part.datatoken,
            "consumer": self._wish.offer.consumer_address,
            "service_index": part.index,
            "fee": want.fee,
        }
        if way is None:
            return Transaction.Purpose.ORDER, f"Order “{part.name}”", orders.start_order(**what)
        if isinstance(way.price, pricing.FixedRate):
            call = pricing.buy_and_order(price=way.price, max_base_wei=way.cost_wei, **what)
            return Transaction.Purpose.ORDER, f"Buy and order “{part.name}”", call
        call = pricing.dispense_and_order(price=way.price, **what)
        return Transaction.Purpose.ORDER, f"Get “{part.name}” from its dispenser and order it", call

    def pay_into_escrow(self, need: PaymentNeed) -> None:
        """Deposit what is missing, and let the node lock exactly what it asked for beside what it has locked already."""
        place = {"escrow": need.escrow, "payer": self._payer, "token": need.token}
        funds = escrow.funds(self._chain, **place)
        self._in_escrow = Wei(funds.available_wei + funds.locked_wei)
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
        locked = allowed.locked_wei if allowed else NOTHING
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
            gas_wei=self._gas(),
            coin_wei=self._chain.balance_wei(address=self._payer),
            fee_until=fee_until,
            in_escrow_wei=self._in_escrow,
        )

    def _gas(self) -> Wei:
        gas = sum(GAS_GUESS_IN_ONE if step.gets_datatoken else GAS_GUESS for step in self._steps)
        return Wei(self._chain.fees().max_fee_wei * gas) if gas else NOTHING

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
