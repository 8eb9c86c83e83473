"""Prices, and buying with ordering in one transaction, against the real contracts on the sandbox's chain."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from jobs.ocean import orders, pricing
from jobs.ocean.chain import Chain
from jobs.ocean.compute import ProviderFee
from jobs.ocean.pricing import ONE, FixedRate, GivenAway, OrderFee, Terms
from jobs.ocean.signing import Signer
from jobs.ocean.units import Address, Wei
from ocean_portal.sandbox import contracts as sandbox_contracts
from ocean_portal.sandbox import rpc
from ocean_portal.sandbox.chain import Chain as DevChain
from ocean_portal.sandbox.contracts import Contract, deploy
from tests.sandbox.devchain import Clock
from tests.sandbox.onchain import ETHER, Payer, client_of, datatoken, fee_by

SERVICE, CONSUMER = 9, 8  # the accounts of a service, and of its environment
DOLLAR = 10**6


@pytest.fixture(scope="module")
def dev(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DevChain]:
    opened = DevChain(Path(tmp_path_factory.mktemp("chain")), clock=Clock())
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def contracts(dev: DevChain) -> dict[str, Any]:
    return deploy(dev)


@pytest.fixture(scope="module")
def chain(dev: DevChain, contracts: dict[str, Any]) -> Iterator[Chain]:
    server = rpc.serve(dev, port=0)
    with client_of(server.url) as client:
        yield client
    server.shutdown()


@pytest.fixture(autouse=True)
def afterwards_nothing_happened(dev: DevChain, contracts: dict[str, Any]) -> Iterator[None]:
    before = dev.rpc("evm_snapshot", [])
    yield
    dev.rpc("evm_revert", [before])


class Market:
    """The contracts of the sandbox, and Bob who buys there."""

    def __init__(self, dev: DevChain, contracts: dict[str, Any], chain: Chain) -> None:
        self.dev, self.contracts, self.chain = dev, contracts, chain
        self.bob = Payer(chain=chain, signer=Signer(bytes(dev.account(5).key)))
        self.ocean, self.dollars = Address(contracts["Ocean"]), Address(contracts["MockUSDC"])
        self.consumer = Address(dev.account(CONSUMER).address)
        self.exchange = Contract(dev, "FixedRateExchange", contracts["FixedPrice"])

    def publish(self, **wanted: Any) -> Terms:
        """Publish a datatoken and read how it can be had."""
        return pricing.read_terms(
            self.chain, datatoken=datatoken(self.dev, self.contracts, **wanted), known=None
        )

    def sold(self, **wanted: Any) -> tuple[Terms, FixedRate]:
        """Publish a datatoken that is for sale."""
        terms = self.publish(**wanted)
        (price,) = terms.prices
        assert isinstance(price, FixedRate)
        return terms, price

    def fee(self, *, amount_wei: int = 0) -> ProviderFee:
        """A fee of the service, in Ocean tokens."""
        until = self.chain.head().timestamp + 3_600
        return fee_by(self.dev, account=SERVICE, token=self.ocean, amount_wei=amount_wei, valid_until=until)

    def set_fees(self, *, ocean: int, others: int) -> None:
        """Set what Ocean's community takes of a swap for Ocean tokens, and of any other."""
        router = Contract(self.dev, "FactoryRouter", self.contracts["Router"])
        router.send(self.dev.account(0), "updateOPCFee", ocean, others, 0, 0)

    def has(self, token: Address, *, who: Address | None = None) -> int:
        return orders.balance_of(self.chain, token=token, owner=who or self.bob.address)

    def allowed(self, token: Address, *, spender: Address) -> int:
        return orders.allowance(self.chain, token=token, owner=self.bob.address, spender=spender)

    def allow(self, token: Address, *, spender: Address, amount_wei: int) -> None:
        self.bob.do(orders.approve(token=token, spender=spender, amount_wei=Wei(amount_wei)))


@pytest.fixture
def market(dev: DevChain, contracts: dict[str, Any], chain: Chain) -> Market:
    return Market(dev, contracts, chain)


class TestTerms:
    def test_of_what_is_given_away_name_its_limits(self, market: Market) -> None:
        terms = market.publish()

        (given_away,) = terms.prices
        assert isinstance(given_away, GivenAway)
        assert (terms.template, terms.order_fee) == (1, None)
        assert given_away.gives(amount_wei=ONE, to=market.bob.address, has_wei=Wei(0))

    def test_of_what_is_sold_name_rate_and_fees(self, market: Market) -> None:
        terms, price = market.sold(price=3 * ETHER, base=market.dollars, base_decimals=6, market_fee=10**16)

        assert terms.template == 1
        assert (price.base_token, price.base_decimals, price.rate_wei) == (market.dollars, 6, 3 * ETHER)
        assert (price.market_fee, price.only_for) == (10**16, None)

    @pytest.mark.parametrize("price", [None, ETHER])
    def test_of_template_two_are_for_the_datatoken_alone(self, market: Market, price: int | None) -> None:
        terms = market.publish(price=price, template=2)

        assert terms.template == 2
        assert [way.only_for for way in terms.prices] == [terms.datatoken]
        assert [way.can_order(terms=terms) for way in terms.prices] == [True]

    def test_name_what_the_market_takes_for_an_order(self, market: Market) -> None:
        terms = market.publish(order_fee=7 * ETHER)

        assert terms.order_fee == OrderFee(
            to=Address(market.dev.account(0).address), token=market.ocean, amount_wei=Wei(7 * ETHER)
        )


class TestCost:
    @pytest.mark.parametrize("decimals", [6, 18])
    def test_is_the_exchanges_to_the_wei_at_any_rate_and_fee(self, market: Market, decimals: int) -> None:
        base = market.dollars if decimals == 6 else market.ocean
        terms, first = market.sold(price=ETHER, base=base, base_decimals=decimals)
        owner, number = market.dev.account(0), bytes.fromhex(first.exchange_id[2:])

        # Without shrinking, which would take minutes: whatever fails is as good as the smallest.
        @settings(max_examples=25, deadline=None, phases=[Phase.explicit, Phase.generate])
        @given(
            rate=st.integers(min_value=10**10, max_value=10**24),
            market_fee=st.just(0) | st.integers(min_value=10**14, max_value=10**17),
            ocean_fee=st.integers(min_value=0, max_value=10**17),
            amount=st.integers(min_value=1, max_value=10**21),
        )
        def compare(rate: int, market_fee: int, ocean_fee: int, amount: int) -> None:
            market.set_fees(ocean=ocean_fee, others=ocean_fee)
            market.exchange.send(owner, "setRate", number, rate)
            market.exchange.send(owner, "updateMarketFee", number, market_fee)
            (price,) = pricing.read_price(market.chain, datatoken=terms.datatoken)
            assert isinstance(price, FixedRate)
            assert (price.rate_wei, price.market_fee) == (rate, market_fee)

            for wei in (Wei(amount), ONE):
                assert price.cost(amount_wei=wei) == pricing.read_cost(
                    market.chain, price=price, amount_wei=wei
                )

        compare()

    @pytest.mark.parametrize("decimals", [6, 18])
    def test_is_what_is_taken_to_the_wei(self, market: Market, decimals: int) -> None:
        base = market.dollars if decimals == 6 else market.ocean
        sandbox_contracts.mint(market.dev, market.contracts, "MockUSDC", market.bob.address, 1_000 * DOLLAR)
        terms, price = market.sold(
            price=1_234_567_890_123_456_789, base=base, base_decimals=decimals, market_fee=10**15 + 7
        )
        cost = pricing.read_cost(market.chain, price=price)
        before = market.has(base)
        market.allow(base, spender=price.exchange, amount_wei=cost.total_wei)

        receipt = market.bob.do(pricing.buy(price=price, max_base_wei=cost.total_wei))

        assert receipt.status == "ok"
        assert before - market.has(base) == cost.total_wei == price.cost().total_wei
        assert (market.has(terms.datatoken), market.allowed(base, spender=price.exchange)) == (ONE, 0)

    def test_that_went_up_since_is_not_paid(self, market: Market) -> None:
        _, price = market.sold(price=ETHER)
        agreed = price.cost().total_wei
        market.allow(market.ocean, spender=price.exchange, amount_wei=2 * agreed)
        owner, number = market.dev.account(0), bytes.fromhex(price.exchange_id[2:])
        market.exchange.send(owner, "setRate", number, ETHER + 10**10)
        before = market.has(market.ocean)

        receipt = market.bob.do(pricing.buy(price=price, max_base_wei=agreed))

        assert receipt.status == "reverted"
        assert "Too many base tokens" in market.chain.revert_reason(receipt=receipt)
        assert market.has(market.ocean) == before


class TestBuyAndOrder:
    def call(self, market: Market, terms: Terms, price: FixedRate, fee: ProviderFee, most: int) -> Any:
        return pricing.buy_and_order(
            datatoken=terms.datatoken,
            price=price,
            max_base_wei=Wei(most),
            consumer=market.consumer,
            service_index=3,
            fee=fee,
        )

    def test_is_one_transaction_that_leaves_an_order_and_takes_the_price_and_both_fees(
        self, market: Market
    ) -> None:
        terms, price = market.sold(price=4 * ETHER, template=2, market_fee=10**15, order_fee=2 * ETHER)
        fee = market.fee(amount_wei=3 * ETHER)
        assert price.can_order(terms=terms)
        assert terms.order_fee is not None
        cost = pricing.read_cost(market.chain, price=price).total_wei
        total = cost + fee.amount_wei + terms.order_fee.amount_wei
        market.allow(market.ocean, spender=terms.datatoken, amount_wei=total)
        before = market.has(market.ocean)

        receipt = market.bob.do(self.call(market, terms, price, fee, cost))

        order = orders.order_in(receipt, datatoken=terms.datatoken)
        assert order is not None
        assert (order.kind, order.order_tx, order.payer) == (
            "started",
            receipt.tx_hash,
            market.bob.address,
        )
        assert (order.consumer, order.service_index, order.amount_wei) == (market.consumer, 3, ONE)
        assert before - market.has(market.ocean) == total
        assert market.allowed(market.ocean, spender=terms.datatoken) == 0
        assert market.has(terms.datatoken) == 0

    def test_takes_dollars_for_the_price_and_ocean_for_the_fee(self, market: Market) -> None:
        sandbox_contracts.mint(market.dev, market.contracts, "MockUSDC", market.bob.address, 9 * DOLLAR)
        terms, price = market.sold(price=4 * ETHER, base=market.dollars, base_decimals=6, template=2)
        fee = market.fee(amount_wei=5)
        cost = pricing.read_cost(market.chain, price=price).total_wei
        market.allow(market.dollars, spender=terms.datatoken, amount_wei=cost)
        market.allow(market.ocean, spender=terms.datatoken, amount_wei=5)
        had = market.has(market.dollars), market.has(market.ocean)

        receipt = market.bob.do(self.call(market, terms, price, fee, cost))

        assert orders.order_in(receipt, datatoken=terms.datatoken) is not None
        assert (had[0] - market.has(market.dollars), had[1] - market.has(market.ocean)) == (cost, 5)

    @pytest.mark.parametrize("missing", ["price", "fee", "one wei of the highest price"])
    def test_happens_whole_or_not_at_all(self, market: Market, missing: str) -> None:
        terms, price = market.sold(price=4 * ETHER, template=2)
        fee = market.fee(amount_wei=3 * ETHER)
        cost = pricing.read_cost(market.chain, price=price).total_wei
        allowed = {"price": cost - 1, "fee": cost + fee.amount_wei - 1}.get(missing, cost + fee.amount_wei)
        market.allow(market.ocean, spender=terms.datatoken, amount_wei=allowed)
        before = market.has(market.ocean)

        most = cost - 1 if missing.startswith("one wei") else cost
        receipt = market.bob.do(self.call(market, terms, price, fee, most))

        assert receipt.status == "reverted"
        assert market.chain.revert_reason(receipt=receipt) not in ("", "it ran out of gas")
        assert (market.has(market.ocean), market.has(terms.datatoken)) == (before, 0)
        assert market.allowed(market.ocean, spender=terms.datatoken) == allowed

    def test_is_the_only_way_to_have_a_datatoken_of_template_two(self, market: Market) -> None:
        _, price = market.sold(price=ETHER, template=2)
        cost = price.cost().total_wei
        market.allow(market.ocean, spender=price.exchange, amount_wei=cost)

        receipt = market.bob.do(pricing.buy(price=price, max_base_wei=cost))

        assert receipt.status == "reverted"
        assert "not allowed to swap" in market.chain.revert_reason(receipt=receipt)

    def test_does_nothing_at_template_one_and_nobody_says_so(self, market: Market) -> None:
        terms, price = market.sold(price=ETHER, template=1)
        cost = price.cost().total_wei
        market.allow(market.ocean, spender=terms.datatoken, amount_wei=cost)
        before = market.has(market.ocean)

        receipt = market.bob.do(self.call(market, terms, price, market.fee(), cost))

        assert not price.can_order(terms=terms)
        assert (receipt.status, orders.order_in(receipt, datatoken=terms.datatoken)) == ("ok", None)
        assert market.has(market.ocean) == before


class TestDispenseAndOrder:
    def test_leaves_an_order_and_takes_the_fees_alone(self, market: Market) -> None:
        terms = market.publish(template=2, order_fee=2 * ETHER)
        (price,) = terms.prices
        assert isinstance(price, GivenAway)
        fee = market.fee(amount_wei=3 * ETHER)
        market.allow(market.ocean, spender=terms.datatoken, amount_wei=5 * ETHER)
        before = market.has(market.ocean)

        receipt = market.bob.do(
            pricing.dispense_and_order(
                datatoken=terms.datatoken, price=price, consumer=market.consumer, service_index=1, fee=fee
            )
        )

        order = orders.order_in(receipt, datatoken=terms.datatoken)
        assert order is not None
        assert (order.payer, order.consumer, order.service_index) == (market.bob.address, market.consumer, 1)
        assert before - market.has(market.ocean) == 5 * ETHER
        assert market.has(terms.datatoken) == 0

    def test_is_the_only_way_to_have_a_datatoken_of_template_two(self, market: Market) -> None:
        terms = market.publish(template=2)
        (price,) = terms.prices
        assert isinstance(price, GivenAway)

        receipt = market.bob.do(
            orders.dispense(
                dispenser=price.dispenser, datatoken=terms.datatoken, amount_wei=ONE, to=market.bob.address
            )
        )

        assert receipt.status == "reverted"
        assert "not allowed to request DT" in market.chain.revert_reason(receipt=receipt)


class TestStartOrder:
    def test_spends_a_datatoken_of_template_two_that_the_wallet_has(self, market: Market) -> None:
        terms = market.publish(template=2)
        minted = Contract(market.dev, "ERC20TemplateEnterprise", terms.datatoken)
        minted.send(market.dev.account(0), "mint", market.bob.address, ONE)

        receipt = market.bob.do(
            orders.start_order(
                datatoken=terms.datatoken, consumer=market.consumer, service_index=0, fee=market.fee()
            )
        )

        assert orders.order_in(receipt, datatoken=terms.datatoken) is not None
        assert market.has(terms.datatoken) == 0
