"""How a datatoken can be had, and for how much: given away, or sold at a fixed rate; and what an order of it costs.

Whoever published an asset chose its datatoken, so all of this is a stranger's word: it is what the contracts will do, no
more. Callers name a highest price with everything that they send.

A datatoken of template 2 lets nobody but itself buy of it: its exchanges and dispensers are for the datatoken alone, and
whoever has none orders in the transaction that gets it (`buy_and_order`, `dispense_and_order`).
Source: ocean-contracts 3.1.0, ERC20Template, ERC20TemplateEnterprise, FixedRateExchange, Dispenser; ocean-node
recording 33, notes, and provider-v4 recording 23.
"""

from collections.abc import Collection
from dataclasses import dataclass

from jobs.ocean import questions
from jobs.ocean.chain import Chain
from jobs.ocean.contracts import ZERO, ask, bytes32, call_of
from jobs.ocean.dues import ProviderFee
from jobs.ocean.errors import BadAnswer, ChainError
from jobs.ocean.orders import FEE_TYPES, NO_MARKET_FEE, dispenser_status, fee_values
from jobs.ocean.questions import Question
from jobs.ocean.transactions import Call
from jobs.ocean.units import Address, Wei

ONE = Wei(10**18)  # one datatoken, which is what one order spends; all datatokens have 18 decimals
_BASE = 10**18  # rates and fees are parts of this
# Source: ocean-contracts 3.1.0, ERC20TemplateEnterprise: OrderParams and FreParams.
_ORDER = f"(address,uint256,{FEE_TYPES},(address,address,uint256))"
_BUY_AND_ORDER = f"buyFromFreAndOrder({_ORDER},(address,bytes32,uint256,uint256,address))"
_DISPENSE_AND_ORDER = f"buyFromDispenserAndOrder({_ORDER},address)"
_TEMPLATE, _ORDER_FEE = "getId()", "getPublishingMarketFee()"
_DISPENSERS, _RATES = "getDispensers()", "getFixedRates()"
_EXCHANGE, _FEES_INFO, _SWAPPER = (
    "getExchange(bytes32)",
    "getFeesInfo(bytes32)",
    "getAllowedSwapper(bytes32)",
)
_MOST_WAYS = 5  # that are looked at, of each kind; recorded datatokens have one
_MOST_DECIMALS = 77
_ENTERPRISE = 2  # the number of the template


@dataclass(frozen=True)
class GivenAway:
    """A dispenser gives the datatoken away.

    max_tokens_wei: at a time. max_balance_wei: who has as much already gets none. only_for: the one address that gets
    any; None for everybody.
    """

    dispenser: Address
    max_tokens_wei: Wei
    max_balance_wei: Wei
    only_for: Address | None

    def can_order(self, *, terms: "Terms") -> bool:
        """Say whether `dispense_and_order` works: the dispenser then gives to the datatoken, not to who orders."""
        return terms.template == _ENTERPRISE and self.gives(
            amount_wei=ONE, to=terms.datatoken, has_wei=Wei(0)
        )

    def gives(self, *, amount_wei: Wei, to: Address, has_wei: Wei) -> bool:
        """Say whether it would give an address that has some already so much more."""
        return (
            self.only_for in (None, to)
            and 0 < amount_wei <= self.max_tokens_wei
            and has_wei < self.max_balance_wei
        )


@dataclass(frozen=True)
class FixedRate:
    """An exchange sells the datatoken for a base token.

    exchange_id: 0x and 64 digits. rate_wei: of the base token for one datatoken, as if it had 18 decimals.
    base_decimals: what it has in truth. market_fee, ocean_fee: on top, in parts of 10**18.
    supply_wei: how many datatokens it can sell. only_for: the one address that may buy; None for everybody.
    """

    exchange: Address
    exchange_id: str
    base_token: Address
    base_decimals: int
    rate_wei: Wei
    market_fee: int
    ocean_fee: int
    supply_wei: Wei
    only_for: Address | None

    def can_order(self, *, terms: "Terms") -> bool:
        """Say whether `buy_and_order` works: the buyer at the exchange is then the datatoken, not who pays."""
        return terms.template == _ENTERPRISE and self.only_for in (None, terms.datatoken)

    def cost(self, *, amount_wei: Wei = ONE) -> "Cost":
        """Work out what so many datatokens cost, as the exchange does: each step is rounded down.

        For a page that shows prices; before paying, ask the exchange itself with `read_cost`.
        Source: ocean-contracts 3.1.0, FixedRateExchange.calcBaseInGivenOutDT.
        """
        before = amount_wei * self.rate_wei * 10**self.base_decimals // 10**18 // _BASE
        market, ocean = before * self.market_fee // _BASE, before * self.ocean_fee // _BASE
        return Cost(
            total_wei=Wei(before + market + ocean), market_fee_wei=Wei(market), ocean_fee_wei=Wei(ocean)
        )


Price = GivenAway | FixedRate


@dataclass(frozen=True)
class Cost:
    """What datatokens cost, in the base token's smallest unit. total_wei: with the fees."""

    total_wei: Wei
    market_fee_wei: Wei
    ocean_fee_wei: Wei


@dataclass(frozen=True)
class OrderFee:
    """What the market that published a datatoken takes for every order of it, beside the datatoken itself.

    The datatoken contract draws it from whoever orders, who has to let it (`orders.approve`).
    """

    to: Address
    token: Address
    amount_wei: Wei


@dataclass(frozen=True)
class Terms:
    """How a datatoken can be had and what an order takes.

    template: 1 or 2; what 2 gives or sells is had in the order's transaction alone (`buy_and_order`, `dispense_and_order`).
    prices: empty where nobody gives or sells it. order_fee: None for no fee; renewing an order (reuseOrder) takes none.
    """

    datatoken: Address
    template: int
    prices: tuple[Price, ...]
    order_fee: OrderFee | None


def read_terms(chain: Chain, *, datatoken: Address, known: Collection[Address] | None = None) -> Terms:
    """Ask a datatoken, and the contracts that it names, how it can be had.

    known: the exchanges and dispensers that the network's operator named; others are left out. None: all.
    Raises: BadAnswer "contract" when there is no datatoken.
    """
    return Terms(
        datatoken=datatoken,
        template=int(ask(chain, datatoken, _TEMPLATE, ["uint8"])[0]),
        prices=read_price(chain, datatoken=datatoken, known=known),
        order_fee=read_order_fee(chain, datatoken=datatoken),
    )


def read_order_fee(chain: Chain, *, datatoken: Address) -> OrderFee | None:
    """Ask a datatoken what its market takes for an order; None for nothing.

    Raises: BadAnswer "contract" when there is no datatoken.
    """
    to, token, amount = ask(chain, datatoken, _ORDER_FEE, ["address", "address", "uint256"])
    fee = OrderFee(to=Address.parse(to), token=Address.parse(token), amount_wei=Wei(int(amount)))
    taken = fee.amount_wei > 0 and ZERO not in (fee.to, fee.token)
    return fee if taken else None


def first_questions(*, datatoken: Address) -> list[Question]:
    """Return what read_terms begins with, for `Chain.ask_ahead`."""
    asked = (_TEMPLATE, _ORDER_FEE, _DISPENSERS, _RATES)
    return [questions.contract(datatoken, signature) for signature in asked]


def read_price(
    chain: Chain, *, datatoken: Address, known: Collection[Address] | None = None
) -> tuple[Price, ...]:
    """Ask a datatoken how it can be had: what is given away first, then by the rate. Empty: it cannot.

    known: as in read_terms. What is switched off or sold out is left out.
    Raises: BadAnswer "contract" when there is no datatoken.
    """
    dispensers = ask(chain, datatoken, _DISPENSERS, ["address[]"])[0]
    rates = ask(chain, datatoken, _RATES, ["(address,bytes32)[]"])[0]
    chain.ask_ahead(
        [
            questions.contract(Address.parse(place), signature, number)
            for place, number in rates[:_MOST_WAYS]
            if known is None or Address.parse(place) in known
            for signature in (_EXCHANGE, _FEES_INFO, _SWAPPER)
        ]
    )
    given = (
        _given_away(chain, datatoken=datatoken, dispenser=place)
        for place in _trusted(dispensers[:_MOST_WAYS], known)
    )
    sold = (
        _fixed_rate(chain, datatoken=datatoken, exchange=Address.parse(place), exchange_id=number)
        for place, number in rates[:_MOST_WAYS]
        if known is None or Address.parse(place) in known
    )
    sold_by_rate = sorted((way for way in sold if way is not None), key=lambda way: way.rate_wei)
    return (*(way for way in given if way is not None), *sold_by_rate)


def read_cost(chain: Chain, *, price: FixedRate, amount_wei: Wei = ONE) -> Cost:
    """Ask the exchange itself what so many datatokens cost now.

    Raises: BadAnswer "contract" when its sums make no sense; ChainError "reverted" for an exchange that is gone.
    """
    total, ocean, market, consumed = ask(
        chain,
        price.exchange,
        "calcBaseInGivenOutDT(bytes32,uint256,uint256)",
        ["uint256"] * 4,
        bytes32(price.exchange_id),
        amount_wei,
        0,
    )
    if total < ocean + market or consumed != 0:
        raise BadAnswer(
            f"The exchange {price.exchange} asks for fees that are no part of the price.", code="contract"
        )
    return Cost(total_wei=Wei(total), market_fee_wei=Wei(market), ocean_fee_wei=Wei(ocean))


def buy(*, price: FixedRate, amount_wei: Wei = ONE, max_base_wei: Wei) -> Call:
    """Buy datatokens. The exchange draws the base token, so it is whom the payer lets draw (`orders.approve`).

    max_base_wei: the most that it may come to, fees included; for more the exchange refuses.
    Source: provider-v4 recording 23, selector 0x68c4b7e9.
    """
    return call_of(
        price.exchange,
        "buyDT(bytes32,uint256,uint256,address,uint256)",
        bytes32(price.exchange_id),
        amount_wei,
        max_base_wei,
        ZERO,
        0,
    )


def buy_and_order(
    *,
    datatoken: Address,
    price: FixedRate,
    max_base_wei: Wei,
    consumer: Address,
    service_index: int,
    fee: ProviderFee,
) -> Call:
    """Buy one datatoken of template 2 and spend it for an order, in one transaction that happens whole or not at all.

    The datatoken draws all of it from the payer, so it alone is whom the payer lets draw: the price, the service's fee
    and the market's (`Terms.order_fee`), added up by token. Only where `price.can_order`.
    max_base_wei: as in buy; consumer, fee: as in `orders.start_order`.
    Raises: BadAnswer "fee" for a fee that no contract can read.
    Source: ocean-node recording 33, notes: 298,362 units of gas; ocean-contracts 3.1.0, ERC20TemplateEnterprise.
    """
    return call_of(
        datatoken,
        _BUY_AND_ORDER,
        (consumer, service_index, fee_values(fee), NO_MARKET_FEE),
        (price.exchange, bytes32(price.exchange_id), max_base_wei, 0, ZERO),
    )


def dispense_and_order(
    *, datatoken: Address, price: GivenAway, consumer: Address, service_index: int, fee: ProviderFee
) -> Call:
    """Get one datatoken of template 2 for nothing and spend it for an order, in one transaction.

    The datatoken draws the fees of service and market from the payer. Only where `price.can_order`.
    Raises: BadAnswer "fee" for a fee that no contract can read.
    Source: ocean-contracts 3.1.0, ERC20TemplateEnterprise.buyFromDispenserAndOrder.
    """
    return call_of(
        datatoken,
        _DISPENSE_AND_ORDER,
        (consumer, service_index, fee_values(fee), NO_MARKET_FEE),
        price.dispenser,
    )


def _trusted(places: Collection[str], known: Collection[Address] | None) -> list[Address]:
    found = [Address.parse(place) for place in places]
    return found if known is None else [place for place in found if place in known]


def _given_away(chain: Chain, *, datatoken: Address, dispenser: Address) -> GivenAway | None:
    try:
        status = dispenser_status(chain, dispenser=dispenser, datatoken=datatoken)
    except (BadAnswer, ChainError) as error:
        _raise_unless_the_contracts_fault(error)
        return None
    if not status.active or not (status.is_minter or status.balance_wei):
        return None
    most = status.max_tokens_wei if status.is_minter else min(status.max_tokens_wei, status.balance_wei)
    return GivenAway(
        dispenser=dispenser,
        max_tokens_wei=Wei(most),
        max_balance_wei=status.max_balance_wei,
        only_for=status.allowed_swapper,
    )


def _fixed_rate(
    chain: Chain, *, datatoken: Address, exchange: Address, exchange_id: bytes
) -> FixedRate | None:
    types = ["address", "address", "uint256", "address", "uint256", "uint256", "bool", *["uint256"] * 5]
    try:
        # The last of the twelve is a bool; as a number it is read as well, and not needed.
        told = ask(chain, exchange, _EXCHANGE, types, exchange_id)
        market_fee, _collector, ocean_fee, _market, _ocean = ask(
            chain,
            exchange,
            _FEES_INFO,
            ["uint256", "address", "uint256", "uint256", "uint256"],
            exchange_id,
        )
        swapper = Address.parse(ask(chain, exchange, _SWAPPER, ["address"], exchange_id)[0])
    except (BadAnswer, ChainError) as error:
        _raise_unless_the_contracts_fault(error)
        return None
    _owner, sold, _decimals, base_token, base_decimals, rate, active, supply = told[:8]
    if not active or Address.parse(sold) != datatoken or supply < ONE or base_decimals > _MOST_DECIMALS:
        return None
    return FixedRate(
        exchange=exchange,
        exchange_id="0x" + exchange_id.hex(),
        base_token=Address.parse(base_token),
        base_decimals=base_decimals,
        rate_wei=Wei(rate),
        market_fee=market_fee,
        ocean_fee=ocean_fee,
        supply_wei=Wei(supply),
        only_for=None if swapper == ZERO else swapper,
    )


def _raise_unless_the_contracts_fault(error: BadAnswer | ChainError) -> None:
    """Go on where a contract that a datatoken names is none: there may be another way to have the datatoken."""
    if error.code not in ("abi", "contract", "reverted"):
        raise error
