"""Every call that the portal can send, byte for byte.

`calldata.json` holds whole calls as hexadecimal text: made by web3 from the compilers' ABI and from the arguments of
recorded transactions, not by the client. Where no transaction of a kind was recorded, the entry says so.
"""

import inspect
import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from jobs.ocean import escrow, orders, pricing
from jobs.ocean.compute import ProviderFee
from jobs.ocean.contracts import ZERO
from jobs.ocean.escrow import Lock
from jobs.ocean.pricing import FixedRate, GivenAway
from jobs.ocean.transactions import Call
from jobs.ocean.units import Address, Wei
from tests.ocean.test_orders import by_the_book
from tests.ocean.wire import RECORDINGS

KNOWN: list[dict[str, Any]] = json.loads((Path(__file__).parent / "calldata.json").read_text())
NO_MARKET = [ZERO, ZERO, 0]


def fee_of(values: list[Any]) -> ProviderFee:
    """A fee from the contract's tuple."""
    to, token, amount, v, r, s, valid_until, data = values
    return ProviderFee(Address(to), Address(token), Wei(amount), valid_until, data, v, r, s)


def rate(exchange: str, exchange_id: str) -> FixedRate:
    """An exchange of which only the place counts."""
    return FixedRate(Address(exchange), exchange_id, ZERO, 18, Wei(0), 0, 0, Wei(0), None)


def start_order(to: Address, consumer: str, service_index: int, fee: list[Any], market: list[Any]) -> Call:
    assert market == NO_MARKET
    return orders.start_order(
        datatoken=to, consumer=Address(consumer), service_index=service_index, fee=fee_of(fee)
    )


def reuse_order(to: Address, order_tx: str, fee: list[Any]) -> Call:
    return orders.reuse_order(datatoken=to, order_tx=order_tx, fee=fee_of(fee))


def dispense(to: Address, datatoken: str, amount: int, receiver: str) -> Call:
    return orders.dispense(
        dispenser=to, datatoken=Address(datatoken), amount_wei=Wei(amount), to=Address(receiver)
    )


def approve(to: Address, spender: str, amount: int) -> Call:
    return orders.approve(token=to, spender=Address(spender), amount_wei=Wei(amount))


def buy(to: Address, exchange_id: str, amount: int, most: int, market: str, market_fee: int) -> Call:
    assert (market, market_fee) == (ZERO, 0)
    return pricing.buy(price=rate(to, exchange_id), amount_wei=Wei(amount), max_base_wei=Wei(most))


def buy_and_order(to: Address, order: list[Any], sale: list[Any]) -> Call:
    consumer, service_index, fee, market = order
    exchange, exchange_id, most, market_fee, market_address = sale
    assert (market, market_fee, market_address) == (NO_MARKET, 0, ZERO)
    return pricing.buy_and_order(
        datatoken=to,
        price=rate(exchange, exchange_id),
        max_base_wei=Wei(most),
        consumer=Address(consumer),
        service_index=service_index,
        fee=fee_of(fee),
    )


def dispense_and_order(to: Address, order: list[Any], dispenser: str) -> Call:
    consumer, service_index, fee, market = order
    assert market == NO_MARKET
    return pricing.dispense_and_order(
        datatoken=to,
        price=GivenAway(Address(dispenser), Wei(0), Wei(0), None),
        consumer=Address(consumer),
        service_index=service_index,
        fee=fee_of(fee),
    )


def deposit(to: Address, token: str, amount: int) -> Call:
    return escrow.deposit(escrow=to, token=Address(token), amount_wei=Wei(amount))


def withdraw(to: Address, tokens: list[str], amounts: list[int]) -> Call:
    (token,), (amount,) = tokens, amounts
    return escrow.withdraw(escrow=to, token=Address(token), amount_wei=Wei(amount))


def authorize(to: Address, token: str, payee: str, most: int, seconds: int, count: int) -> Call:
    return escrow.authorize(
        escrow=to,
        token=Address(token),
        payee=Address(payee),
        max_locked_wei=Wei(most),
        max_lock_s=seconds,
        max_locks=count,
    )


def cancel_expired_locks(
    to: Address, jobs: list[int], tokens: list[str], payers: list[str], payees: list[str]
) -> Call:
    (payee,) = set(payees)
    locks = [
        Lock(job_id=job, payer=Address(payer), token=Address(token), amount_wei=Wei(0), expires_at=0)
        for job, token, payer in zip(jobs, tokens, payers, strict=True)
    ]
    return escrow.cancel_expired_locks(escrow=to, payee=Address(payee), locks=locks)


# The contracts' names of what each function of the client writes.
CALLS: dict[str, Callable[..., Call]] = {
    "startOrder": start_order,
    "reuseOrder": reuse_order,
    "dispense": dispense,
    "approve": approve,
    "buyDT": buy,
    "buyFromFreAndOrder": buy_and_order,
    "buyFromDispenserAndOrder": dispense_and_order,
    "deposit": deposit,
    "withdraw": withdraw,
    "authorize": authorize,
    "cancelExpiredLocks": cancel_expired_locks,
}


def calls_of(module: ModuleType) -> set[str]:
    """The public functions of a module that give a call."""
    functions = inspect.getmembers(module, inspect.isfunction)
    return {
        name
        for name, function in functions
        if function.__module__ == module.__name__
        and not name.startswith("_")
        and function.__annotations__.get("return") is Call
    }


class TestCalldata:
    @pytest.mark.parametrize("known", KNOWN, ids=lambda known: f"{known['function']} {known['source'][:32]}")
    def test_is_what_was_written_with_other_means(self, known):
        call = CALLS[known["function"]](Address(known["to"]), *known["args"])

        assert "0x" + call.data.hex() == known["data"]
        assert (call.to, call.value_wei) == (known["to"], 0)

    @pytest.mark.parametrize("known", KNOWN, ids=lambda known: f"{known['function']} {known['source'][:32]}")
    def test_that_is_known_is_what_the_compilers_abi_says_today(self, known):
        assert "0x" + by_the_book(known["contract"], known["function"], *known["args"]).hex() == known["data"]

    def test_is_known_for_every_call_that_the_client_can_write(self):
        written = set().union(*(calls_of(module) for module in (orders, pricing, escrow)))

        assert written == {function.__name__ for function in CALLS.values()}
        assert {known["function"] for known in KNOWN} == set(CALLS)

    def test_is_known_for_every_transaction_that_was_recorded_with_its_arguments(self):
        recorded = [
            (note["contract"], note["function"], note["args"])
            for number in ("31", "32", "33")
            for note in json.loads(next(RECORDINGS.glob(f"{number}-*.json")).read_text())["notes"]
            if "on_chain" in note
        ]

        known = [(one["to"], one["function"], one["args"]) for one in KNOWN]
        assert len(recorded) > 20
        assert [one for one in recorded if one not in known] == []
