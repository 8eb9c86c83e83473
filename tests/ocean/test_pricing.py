"""How datatokens can be had, as contracts tell it, and as contracts that lie tell it."""

import json
from dataclasses import replace
from typing import Any

import pytest
from eth_abi import decode, encode
from eth_utils.abi import function_signature_to_4byte_selector
from hypothesis import given
from hypothesis import strategies as st

from jobs.ocean import pricing
from jobs.ocean.chain import Chain
from jobs.ocean.contracts import ZERO
from jobs.ocean.errors import BadAnswer, ChainError
from jobs.ocean.pricing import ONE, Cost, FixedRate, GivenAway, OrderFee, Terms
from jobs.ocean.units import Address, Wei
from tests.ocean.wire import Answer, FakeWire, transport

TOKEN, BASE = Address("0x" + "12" * 20), Address("0x" + "34" * 20)
DISPENSER, EXCHANGE = Address("0x" + "56" * 20), Address("0x" + "78" * 20)
OWNER, MARKET = Address("0x" + "9a" * 20), Address("0x" + "bc" * 20)
EXCHANGE_ID = bytes.fromhex("cd" * 32)
REVERT = {"code": 3, "message": "execution reverted"}


class Contracts(FakeWire):
    """A wire behind which contracts answer: by address and selector, with values, bytes, or an error."""

    def __init__(self, told: dict[tuple[str, str], object]) -> None:
        super().__init__(Answer())
        self.told = {
            (at.lower(), function_signature_to_4byte_selector(signature)): answer
            for (at, signature), answer in told.items()
        }

    def send(self, request: Any, *args: Any, **rest: Any) -> Any:
        asked = json.loads(request.body)
        said = [self.say(one) for one in asked] if isinstance(asked, list) else self.say(asked)
        self.answers = [Answer.json(said)]
        return super().send(request, *args, **rest)

    def say(self, question: dict[str, Any]) -> dict[str, object]:
        (message, _block) = question["params"]
        key = (message["to"].lower(), bytes.fromhex(message["data"][2:10]))
        told = self.told.get(key, b"")
        outcome = {"error": told} if isinstance(told, dict) else {"result": "0x" + bytes(told).hex()}
        return {"jsonrpc": "2.0", "id": question["id"], **outcome}


def given_away(**changes: Any) -> bytes:
    told = {"active": True, "owner": OWNER, "mints": True, "most": 5, "keep": 7, "has": 0, "swapper": ZERO}
    types = ["bool", "address", "bool", "uint256", "uint256", "uint256", "address"]
    return encode(types, list((told | changes).values()))


def exchange(**changes: Any) -> bytes:
    told = {
        "owner": OWNER,
        "datatoken": TOKEN,
        "dt": 18,
        "base": BASE,
        "bt": 6,
        "rate": 2 * 10**18,
        "active": True,
        "supply": 100 * 10**18,
        "bt_supply": 0,
        "dt_balance": 0,
        "bt_balance": 0,
        "mint": True,
    }
    types = [
        "address",
        "address",
        "uint256",
        "address",
        "uint256",
        "uint256",
        "bool",
        *["uint256"] * 4,
        "bool",
    ]
    return encode(types, list((told | changes).values()))


def contracts(**changes: object) -> Chain:
    """A chain with a datatoken that is given away and sold, and changes to that by the name of an answer."""
    told: dict[str, tuple[str, str, object]] = {
        "template": (TOKEN, "getId()", encode(["uint8"], [2])),
        "fee": (
            TOKEN,
            "getPublishingMarketFee()",
            encode(["address", "address", "uint256"], [ZERO, ZERO, 0]),
        ),
        "dispensers": (TOKEN, "getDispensers()", encode(["address[]"], [[DISPENSER]])),
        "rates": (
            TOKEN,
            "getFixedRates()",
            encode(["(address,bytes32)[]"], [[(EXCHANGE, EXCHANGE_ID)]]),
        ),
        "status": (DISPENSER, "status(address)", given_away()),
        "exchange": (EXCHANGE, "getExchange(bytes32)", exchange()),
        "fees": (
            EXCHANGE,
            "getFeesInfo(bytes32)",
            encode(
                ["uint256", "address", "uint256", "uint256", "uint256"], [10**15, MARKET, 2 * 10**15, 0, 0]
            ),
        ),
        "swapper": (EXCHANGE, "getAllowedSwapper(bytes32)", encode(["address"], [ZERO])),
        "cost": (
            EXCHANGE,
            "calcBaseInGivenOutDT(bytes32,uint256,uint256)",
            encode(["uint256"] * 4, [2_006_000, 4_000, 2_000, 0]),
        ),
    }
    answers = {(at, signature): changes.get(name, answer) for name, (at, signature, answer) in told.items()}
    return Chain(transport(Contracts(answers)))


RATE = FixedRate(
    exchange=EXCHANGE,
    exchange_id="0x" + EXCHANGE_ID.hex(),
    base_token=BASE,
    base_decimals=6,
    rate_wei=Wei(2 * 10**18),
    market_fee=10**15,
    ocean_fee=2 * 10**15,
    supply_wei=Wei(100 * 10**18),
    only_for=None,
)
FREE = GivenAway(dispenser=DISPENSER, max_tokens_wei=Wei(5), max_balance_wei=Wei(7), only_for=None)
NONE_GIVEN = encode(["address[]"], [[]])
NONE_SOLD = encode(["(address,bytes32)[]"], [[]])


class TestReadPrice:
    def test_tells_what_is_given_away_before_what_is_sold(self):
        assert pricing.read_price(contracts(), datatoken=TOKEN) == (FREE, RATE)

    def test_is_empty_where_nobody_gives_or_sells(self):
        chain = contracts(dispensers=NONE_GIVEN, rates=NONE_SOLD)

        assert pricing.read_price(chain, datatoken=TOKEN) == ()

    def test_puts_the_lower_rate_first(self):
        other = "0x" + "77" * 32
        rates = encode(
            ["(address,bytes32)[]"], [[(EXCHANGE, EXCHANGE_ID), (EXCHANGE, bytes.fromhex(other[2:]))]]
        )
        chain = contracts(rates=rates, dispensers=NONE_GIVEN)

        found = pricing.read_price(chain, datatoken=TOKEN)

        assert [way.exchange_id for way in found] == [RATE.exchange_id, other]

    @pytest.mark.parametrize(
        "status",
        [
            given_away(active=False),
            given_away(mints=False),
            b"",
            b"\x01",
            b"\xff" * 224,
            REVERT,
        ],
    )
    def test_leaves_out_a_dispenser_that_gives_nothing(self, status):
        assert pricing.read_price(contracts(status=status), datatoken=TOKEN) == (RATE,)

    def test_counts_what_a_dispenser_has_that_makes_none(self):
        (given, _sold) = pricing.read_price(contracts(status=given_away(mints=False, has=3)), datatoken=TOKEN)

        assert given.max_tokens_wei == 3

    @pytest.mark.parametrize(
        "changes",
        [
            {"exchange": exchange(active=False)},
            {"exchange": exchange(datatoken=OWNER)},
            {"exchange": exchange(supply=10**18 - 1)},
            {"exchange": exchange(bt=78)},
            {"exchange": b""},
            {"exchange": b"\xff" * 384},
            {"exchange": REVERT},
            {"fees": b""},
            {"swapper": b"\xff" * 32},
        ],
    )
    def test_leaves_out_an_exchange_that_sells_nothing_of_it(self, changes):
        assert pricing.read_price(contracts(**changes), datatoken=TOKEN) == (FREE,)

    def test_tells_for_whom_alone_it_is(self):
        chain = contracts(status=given_away(swapper=OWNER), swapper=encode(["address"], [MARKET]))

        given, sold = pricing.read_price(chain, datatoken=TOKEN)

        assert (given.only_for, sold.only_for) == (OWNER, MARKET)

    def test_leaves_out_contracts_that_the_operator_does_not_know(self):
        assert pricing.read_price(contracts(), datatoken=TOKEN, known=[DISPENSER]) == (FREE,)
        assert pricing.read_price(contracts(), datatoken=TOKEN, known=[EXCHANGE]) == (RATE,)
        assert pricing.read_price(contracts(), datatoken=TOKEN, known=[]) == ()

    def test_looks_at_a_few_ways_of_a_datatoken_that_names_a_thousand(self):
        many = encode(["address[]"], [[DISPENSER] * 1_000])

        found = pricing.read_price(contracts(dispensers=many, rates=NONE_SOLD), datatoken=TOKEN)

        assert len(found) == 5

    @pytest.mark.parametrize(
        "changes",
        [
            {"dispensers": b""},
            {"dispensers": (2**255).to_bytes(32, "big")},
            {"dispensers": encode(["uint256", "uint256"], [32, 2**200])},
            {"rates": b""},
            {"rates": encode(["uint256", "uint256"], [32, 2**60])},
        ],
    )
    def test_refuses_an_address_that_is_no_datatoken(self, changes):
        with pytest.raises(BadAnswer) as caught:
            pricing.read_price(contracts(**changes), datatoken=TOKEN)

        assert caught.value.code == "contract"

    @pytest.mark.parametrize("name", ["status", "exchange"])
    def test_does_not_take_the_endpoints_trouble_for_the_contracts(self, name):
        busy = {"code": -32005, "message": "daily request count exceeded, request rate limited"}

        with pytest.raises(ChainError) as caught:
            pricing.read_price(contracts(**{name: busy}), datatoken=TOKEN)

        assert caught.value.code == "rate_limited"


class TestReadTerms:
    def test_tells_template_and_prices(self):
        terms = pricing.read_terms(contracts(), datatoken=TOKEN)

        assert (terms.template, terms.prices, terms.order_fee) == (2, (FREE, RATE), None)

    def test_tells_what_an_order_takes_beside(self):
        fee = encode(["address", "address", "uint256"], [MARKET, BASE, 12])

        terms = pricing.read_terms(contracts(fee=fee), datatoken=TOKEN)

        assert terms.order_fee == OrderFee(to=MARKET, token=BASE, amount_wei=Wei(12))

    @pytest.mark.parametrize("values", [[ZERO, BASE, 12], [MARKET, ZERO, 12], [MARKET, BASE, 0]])
    def test_knows_a_fee_that_the_contract_does_not_take(self, values):
        fee = encode(["address", "address", "uint256"], values)

        assert pricing.read_terms(contracts(fee=fee), datatoken=TOKEN).order_fee is None


class TestGives:
    @pytest.mark.parametrize(
        ("amount", "has", "to", "gives"),
        [(5, 6, OWNER, True), (6, 0, OWNER, False), (5, 7, OWNER, False), (0, 0, OWNER, False)],
    )
    def test_within_its_limits(self, amount, has, to, gives):
        assert FREE.gives(amount_wei=Wei(amount), to=to, has_wei=Wei(has)) is gives

    def test_only_to_whom_it_is_for(self):
        private = GivenAway(DISPENSER, Wei(5), Wei(7), only_for=OWNER)

        assert private.gives(amount_wei=Wei(1), to=OWNER, has_wei=Wei(0))
        assert not private.gives(amount_wei=Wei(1), to=MARKET, has_wei=Wei(0))


class TestCost:
    def test_is_asked_of_the_exchange(self):
        assert pricing.read_cost(contracts(), price=RATE) == Cost(Wei(2_006_000), Wei(2_000), Wei(4_000))

    def test_is_worked_out_as_the_exchange_does(self):
        assert RATE.cost() == Cost(Wei(2_006_000), Wei(2_000), Wei(4_000))

    @pytest.mark.parametrize("sums", [[5, 4, 2, 0], [5, 0, 0, 1], [0, 2**255, 0, 0]])
    def test_that_makes_no_sense_is_a_bad_answer(self, sums):
        with pytest.raises(BadAnswer):
            pricing.read_cost(contracts(cost=encode(["uint256"] * 4, sums)), price=RATE)

    @given(
        amount=st.integers(min_value=0, max_value=10**24),
        rate=st.integers(min_value=10**9, max_value=10**27),
        decimals=st.sampled_from([6, 8, 18]),
        market=st.integers(min_value=0, max_value=10**17),
        ocean=st.integers(min_value=0, max_value=10**17),
    )
    def test_never_is_more_than_the_exact_price_nor_less_by_more_than_its_three_roundings(
        self, amount, rate, decimals, market, ocean
    ):
        price = FixedRate(EXCHANGE, RATE.exchange_id, BASE, decimals, Wei(rate), market, ocean, Wei(0), None)

        cost = price.cost(amount_wei=Wei(amount))

        exact = amount * rate * 10**decimals * (10**18 + market + ocean)
        assert cost.total_wei * 10**54 <= exact < (cost.total_wei + 4) * 10**54
        assert cost.total_wei >= cost.market_fee_wei + cost.ocean_fee_wei


class TestCanOrder:
    @pytest.mark.parametrize(
        ("template", "only_for", "can"),
        [(2, None, True), (1, None, False), (2, TOKEN, True), (2, OWNER, False)],
    )
    def test_in_one_transaction_where_the_datatoken_may_buy(self, template, only_for, can):
        sold = replace(RATE, only_for=only_for)
        given = GivenAway(DISPENSER, max_tokens_wei=ONE, max_balance_wei=Wei(1), only_for=only_for)
        terms = Terms(datatoken=TOKEN, template=template, prices=(given, sold), order_fee=None)

        assert (given.can_order(terms=terms), sold.can_order(terms=terms)) == (can, can)

    @pytest.mark.parametrize("limits", [(ONE - 1, 1), (ONE, 0)])
    def test_not_where_the_dispenser_gives_less_than_an_order_takes(self, limits):
        given = GivenAway(DISPENSER, *map(Wei, limits), only_for=TOKEN)
        terms = Terms(datatoken=TOKEN, template=2, prices=(given,), order_fee=None)

        assert not given.can_order(terms=terms)


class TestBuy:
    def test_names_the_highest_price(self):
        call = pricing.buy(price=RATE, max_base_wei=Wei(2_006_000))

        assert call.to == EXCHANGE
        assert call.data[:4].hex() == "68c4b7e9"  # as recorded: provider-v4, 23
        assert decode(["bytes32", "uint256", "uint256", "address", "uint256"], call.data[4:]) == (
            EXCHANGE_ID,
            ONE,
            2_006_000,
            ZERO,
            0,
        )
