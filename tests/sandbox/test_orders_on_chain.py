"""What the client sends, and what the real contracts make of it."""

import json
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from jobs.ocean import orders, pricing
from jobs.ocean.chain import Chain
from jobs.ocean.errors import ChainError
from jobs.ocean.orders import OrderSeen
from jobs.ocean.pricing import FixedRate, GivenAway, OrderFee
from jobs.ocean.signing import Signer
from jobs.ocean.units import Address, Wei
from ocean_portal.sandbox import rpc
from ocean_portal.sandbox.chain import Chain as DevChain
from ocean_portal.sandbox.contracts import Contract, deploy, mint
from tests.sandbox.devchain import Clock
from tests.sandbox.onchain import ETHER, Payer, client_of, datatoken, fee_by

CONSUMER = Address("0x529043886F21D9bc1AE0feDb751e34265a246e47")
ONE = Wei(ETHER)


@pytest.fixture(scope="module")
def dev(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DevChain]:
    opened = DevChain(Path(tmp_path_factory.mktemp("chain")), clock=Clock())
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def contracts(dev: DevChain) -> dict[str, Any]:
    return deploy(dev)


@pytest.fixture(scope="module")
def server(dev: DevChain) -> Iterator[rpc.RpcServer]:
    running = rpc.serve(dev, port=0)
    yield running
    running.shutdown()


@pytest.fixture(autouse=True)
def afterwards_nothing_happened(dev: DevChain, contracts: dict[str, Any]) -> Iterator[None]:
    before = dev.rpc("evm_snapshot", [])
    yield
    dev.rpc("evm_setAutomine", [True])
    dev.rpc("evm_revert", [before])


@pytest.fixture
def chain(server: rpc.RpcServer) -> Iterator[Chain]:
    with client_of(server.url) as client:
        yield client


@pytest.fixture
def bob(dev: DevChain, chain: Chain) -> Payer:
    return Payer(chain=chain, signer=Signer(bytes(dev.account(5).key)))


def call_evm(server: rpc.RpcServer, method: str, *params: Any) -> Any:
    """Ask the chain what only development chains do, as any client would."""
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": list(params)}).encode()
    request = urllib.request.Request(server.url, body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.loads(answer.read())["result"]


def free_fee(dev: DevChain, contracts: dict[str, Any], *, amount_wei: int = 0) -> Any:
    return fee_by(
        dev, account=9, token=contracts["Ocean"], amount_wei=amount_wei, valid_until=dev.now() + 86_400
    )


class TestReading:
    def test_agrees_with_the_chain(self, dev: DevChain, chain: Chain, bob: Payer) -> None:
        head = chain.head()

        assert chain.chain_id() == 8996
        assert head.number == dev.head.block_number
        assert chain.block_hash(head.number) == head.hash
        assert chain.block_hash(head.number + 1) is None
        assert head.base_fee_wei is not None
        assert chain.balance_wei(bob.address) == 10_000 * ETHER
        assert chain.nonce(bob.address) == chain.mined_nonce(bob.address) == 0
        assert chain.fees().max_fee_wei > head.base_fee_wei

    def test_tells_symbol_and_decimals_of_tokens(self, chain: Chain, contracts: dict[str, Any]) -> None:
        assert orders.token_info(chain, token=Address(contracts["Ocean"])).decimals == 18
        dollars = orders.token_info(chain, token=Address(contracts["MockUSDC"]))
        assert (dollars.symbol, dollars.decimals) == ("USDC", 6)


class TestFreeOrder:
    def test_is_dispensed_ordered_and_renewed(
        self, dev: DevChain, chain: Chain, contracts: dict[str, Any], bob: Payer
    ) -> None:
        token, dispenser = datatoken(dev, contracts), Address(contracts["Dispenser"])
        fee = free_fee(dev, contracts)

        taken = bob.do(orders.dispense(dispenser=dispenser, datatoken=token, amount_wei=ONE, to=bob.address))
        ordered = bob.do(orders.start_order(datatoken=token, consumer=CONSUMER, service_index=2, fee=fee))
        renewed = bob.do(orders.reuse_order(datatoken=token, order_tx=ordered.tx_hash, fee=fee))

        assert taken.ok
        assert orders.order_in(taken, datatoken=token) is None
        assert orders.order_in(ordered, datatoken=token) == OrderSeen(
            kind="started", payer=bob.address, consumer=CONSUMER, service_index=2
        )
        assert orders.order_in(renewed, datatoken=token) == OrderSeen(
            kind="reused", payer=bob.address, order_tx=ordered.tx_hash
        )
        assert orders.balance_of(chain, token=token, owner=bob.address) == 0
        assert chain.is_known(ordered.tx_hash)

    def test_in_one_transaction_where_the_template_can(
        self, dev: DevChain, chain: Chain, contracts: dict[str, Any], bob: Payer
    ) -> None:
        token, fee = datatoken(dev, contracts, template=2), free_fee(dev, contracts)
        terms = pricing.read_terms(chain, datatoken=token)
        (way,) = terms.prices
        assert isinstance(way, GivenAway)

        receipt = bob.do(
            orders.dispense_and_order(
                datatoken=token, consumer=CONSUMER, service_index=0, fee=fee, dispenser=way.dispenser
            )
        )

        assert terms.template == 2
        assert orders.order_in(receipt, datatoken=token) == OrderSeen("started", bob.address, CONSUMER, 0)

    def test_pays_the_fee_of_a_service_that_was_let_draw_it(
        self, dev: DevChain, chain: Chain, contracts: dict[str, Any], bob: Payer
    ) -> None:
        token, ocean = datatoken(dev, contracts), Address(contracts["Ocean"])
        fee = free_fee(dev, contracts, amount_wei=7)
        bob.do(
            orders.dispense(
                dispenser=Address(contracts["Dispenser"]), datatoken=token, amount_wei=ONE, to=bob.address
            )
        )
        before = orders.balance_of(chain, token=ocean, owner=fee.address)

        bob.do(orders.approve(token=ocean, spender=token, amount_wei=Wei(7)))
        allowed = orders.allowance(chain, token=ocean, owner=bob.address, spender=token)
        receipt = bob.do(orders.start_order(datatoken=token, consumer=CONSUMER, service_index=0, fee=fee))

        assert (allowed, receipt.ok) == (7, True)
        assert orders.fee_is_signed(fee)
        # The community takes its part of the fee of a service.
        assert 0 < orders.balance_of(chain, token=ocean, owner=fee.address) - before <= 7


class TestPrice:
    def test_of_what_is_given_away(self, dev: DevChain, chain: Chain, contracts: dict[str, Any]) -> None:
        terms = pricing.read_terms(chain, datatoken=datatoken(dev, contracts))

        assert (terms.template, terms.order_fee) == (1, None)
        assert terms.prices == (
            GivenAway(Address(contracts["Dispenser"]), Wei(100 * ETHER), Wei(100 * ETHER), None),
        )

    @pytest.mark.parametrize(("name", "decimals"), [("Ocean", 18), ("MockUSDC", 6)])
    @pytest.mark.parametrize(
        ("price", "market_fee"), [(ETHER, 0), (1_234_567_890_123_456_789, 12_345_678_901_234_567)]
    )
    def test_is_what_the_exchange_takes_to_the_wei(
        self,
        dev: DevChain,
        chain: Chain,
        contracts: dict[str, Any],
        bob: Payer,
        name: str,
        decimals: int,
        price: int,
        market_fee: int,
    ) -> None:
        base = Address(contracts[name])
        mint(dev, contracts, name, bob.address, 100 * 10**decimals)
        token = datatoken(
            dev, contracts, price=price, base=base, base_decimals=decimals, market_fee=market_fee
        )
        (way,) = pricing.read_price(chain, datatoken=token)
        assert isinstance(way, FixedRate)
        had = orders.balance_of(chain, token=base, owner=bob.address)

        cost = pricing.read_cost(chain, price=way)
        bob.do(orders.approve(token=base, spender=way.exchange, amount_wei=cost.total_wei))
        receipt = bob.do(pricing.buy(price=way, max_base_wei=cost.total_wei))

        assert receipt.ok
        assert cost == way.cost()
        assert (way.rate_wei, way.base_token, way.base_decimals, way.market_fee) == (
            price,
            base,
            decimals,
            market_fee,
        )
        assert orders.balance_of(chain, token=base, owner=bob.address) == had - cost.total_wei
        assert orders.balance_of(chain, token=token, owner=bob.address) == ETHER

    def test_that_went_up_in_between_is_not_paid(
        self, dev: DevChain, chain: Chain, contracts: dict[str, Any], bob: Payer
    ) -> None:
        token = datatoken(dev, contracts, price=2 * ETHER)
        (way,) = pricing.read_price(chain, datatoken=token)
        assert isinstance(way, FixedRate)
        cost = pricing.read_cost(chain, price=way)
        bob.do(orders.approve(token=way.base_token, spender=way.exchange, amount_wei=Wei(10 * ETHER)))
        Contract(dev, "FixedRateExchange", way.exchange).send(
            dev.account(0), "setRate", bytes.fromhex(way.exchange_id[2:]), 3 * ETHER
        )

        with pytest.raises(ChainError, match="Too many base tokens") as caught:
            call = pricing.buy(price=way, max_base_wei=cost.total_wei)
            chain.estimate_gas(sender=bob.address, to=call.to, data=call.data, value_wei=call.value_wei)

        assert caught.value.code == "reverted"

    def test_is_paid_and_ordered_in_one_transaction_where_the_template_can(
        self, dev: DevChain, chain: Chain, contracts: dict[str, Any], bob: Payer
    ) -> None:
        token = datatoken(dev, contracts, price=2 * ETHER, template=2)
        (way,) = pricing.read_price(chain, datatoken=token)
        assert isinstance(way, FixedRate)
        cost, had = way.cost(), orders.balance_of(chain, token=way.base_token, owner=bob.address)

        bob.do(orders.approve(token=way.base_token, spender=token, amount_wei=cost.total_wei))
        receipt = bob.do(
            orders.buy_and_order(
                datatoken=token,
                consumer=CONSUMER,
                service_index=1,
                fee=free_fee(dev, contracts),
                exchange=way.exchange,
                exchange_id=way.exchange_id,
                max_base_wei=cost.total_wei,
            )
        )

        assert orders.order_in(receipt, datatoken=token) == OrderSeen("started", bob.address, CONSUMER, 1)
        spent = had - orders.balance_of(chain, token=way.base_token, owner=bob.address)
        assert spent == cost.total_wei
        assert orders.allowance(chain, token=way.base_token, owner=bob.address, spender=token) == 0

    def test_of_an_order_is_taken_beside(
        self, dev: DevChain, chain: Chain, contracts: dict[str, Any], bob: Payer
    ) -> None:
        token, ocean = datatoken(dev, contracts, order_fee=11), Address(contracts["Ocean"])
        bob.do(
            orders.dispense(
                dispenser=Address(contracts["Dispenser"]), datatoken=token, amount_wei=ONE, to=bob.address
            )
        )
        had = orders.balance_of(chain, token=ocean, owner=bob.address)

        terms = pricing.read_terms(chain, datatoken=token)
        bob.do(orders.approve(token=ocean, spender=token, amount_wei=Wei(11)))
        order = orders.start_order(
            datatoken=token, consumer=CONSUMER, service_index=0, fee=free_fee(dev, contracts)
        )

        assert terms.order_fee == OrderFee(Address(dev.account(0).address), ocean, Wei(11))
        assert bob.do(order).ok
        assert orders.balance_of(chain, token=ocean, owner=bob.address) == had - 11


class TestRefusals:
    def test_of_an_order_without_a_datatoken_have_their_reason(
        self, dev: DevChain, chain: Chain, contracts: dict[str, Any], bob: Payer
    ) -> None:
        token = datatoken(dev, contracts)
        call = orders.start_order(
            datatoken=token, consumer=CONSUMER, service_index=0, fee=free_fee(dev, contracts)
        )

        with pytest.raises(ChainError, match=r"The contract refused\. It says: ") as caught:
            chain.estimate_gas(sender=bob.address, to=call.to, data=call.data, value_wei=call.value_wei)
        receipt = bob.do(call)
        why = chain.revert_reason(
            sender=bob.address,
            to=call.to,
            data=call.data,
            value_wei=call.value_wei,
            block=receipt.block_number,
        )

        assert caught.value.code == "reverted"
        assert not receipt.ok
        assert orders.order_in(receipt, datatoken=token) is None
        assert why == caught.value.message

    def test_of_a_fee_that_was_changed(
        self, dev: DevChain, chain: Chain, contracts: dict[str, Any], bob: Payer
    ) -> None:
        token, dispenser = datatoken(dev, contracts), Address(contracts["Dispenser"])
        bob.do(orders.dispense(dispenser=dispenser, datatoken=token, amount_wei=ONE, to=bob.address))
        other = fee_by(dev, account=8, token=contracts["Ocean"], amount_wei=0, valid_until=dev.now() + 9)
        forged = type(other)(**{**vars(other), "address": Address(dev.account(9).address)})
        call = orders.start_order(datatoken=token, consumer=CONSUMER, service_index=0, fee=forged)

        with pytest.raises(ChainError, match="Invalid provider fee"):
            chain.estimate_gas(sender=bob.address, to=call.to, data=call.data, value_wei=call.value_wei)

        assert not orders.fee_is_signed(forged)

    def test_of_a_dispenser_that_gives_no_more(
        self, dev: DevChain, chain: Chain, contracts: dict[str, Any], bob: Payer
    ) -> None:
        token, dispenser = datatoken(dev, contracts), Address(contracts["Dispenser"])
        call = orders.dispense(
            dispenser=dispenser, datatoken=token, amount_wei=Wei(101 * ETHER), to=bob.address
        )

        with pytest.raises(ChainError, match="Amount too high"):
            chain.estimate_gas(sender=bob.address, to=call.to, data=call.data, value_wei=call.value_wei)

    def test_of_a_wallet_without_coins(self, chain: Chain, contracts: dict[str, Any]) -> None:
        poor = Payer(chain=chain, signer=Signer("0x" + "11" * 32))
        call = orders.approve(token=Address(contracts["Ocean"]), spender=CONSUMER, amount_wei=Wei(1))

        with pytest.raises(ChainError) as caught:
            poor.send(call)

        assert caught.value.code == "insufficient_funds"
        assert not caught.value.maybe_happened


class TestSending:
    def approval(self, contracts: dict[str, Any], amount: int = 1) -> Any:
        return orders.approve(token=Address(contracts["Ocean"]), spender=CONSUMER, amount_wei=Wei(amount))

    def test_the_same_bytes_twice_is_one_transaction(
        self, chain: Chain, contracts: dict[str, Any], bob: Payer, server: rpc.RpcServer
    ) -> None:
        call_evm(server, "evm_setAutomine", False)

        first = bob.send(self.approval(contracts))
        chain.send(first.raw)
        waiting = chain.receipt(first.hash)
        call_evm(server, "evm_mine")

        assert waiting is None
        assert chain.receipt(first.hash) is not None
        assert chain.mined_nonce(bob.address) == 1

    def test_the_same_bytes_long_after_says_that_the_nonce_is_used(
        self, chain: Chain, contracts: dict[str, Any], bob: Payer, server: rpc.RpcServer
    ) -> None:
        first = bob.send(self.approval(contracts))
        call_evm(server, "evm_mine")

        with pytest.raises(ChainError) as caught:
            chain.send(first.raw)

        assert caught.value.code == "nonce_too_low"
        assert chain.receipt(first.hash) is not None  # and that is where to look then

    def test_more_for_the_same_nonce_replaces_what_waits(
        self, chain: Chain, contracts: dict[str, Any], bob: Payer, server: rpc.RpcServer
    ) -> None:
        call_evm(server, "evm_setAutomine", False)
        slow = bob.send(self.approval(contracts))
        fees = chain.fees()
        dearer = {"max_fee_wei": fees.max_fee_wei * 2, "priority_fee_wei": fees.priority_fee_wei * 2}

        with pytest.raises(ChainError) as caught:
            bob.send(self.approval(contracts, amount=2), nonce=0)
        fast = bob.send(self.approval(contracts, amount=3), nonce=0, **dearer)
        call_evm(server, "evm_mine")

        assert caught.value.code == "underpriced"
        assert chain.receipt(fast.hash) is not None
        assert chain.receipt(slow.hash) is None
        assert not chain.is_known(slow.hash)
        spender = {"owner": bob.address, "spender": CONSUMER}
        assert orders.allowance(chain, token=Address(contracts["Ocean"]), **spender) == 3

    def test_after_a_gap_waits_for_it_to_be_filled(
        self, chain: Chain, contracts: dict[str, Any], bob: Payer
    ) -> None:
        second = bob.send(self.approval(contracts, amount=2), nonce=1)

        waiting = (chain.receipt(second.hash), chain.is_known(second.hash), chain.nonce(bob.address))
        first = bob.send(self.approval(contracts), nonce=0)

        assert waiting == (None, True, 0)
        found = [chain.receipt(one.hash) for one in (first, second)]
        assert all(receipt is not None and receipt.ok for receipt in found)
        assert chain.nonce(bob.address) == chain.mined_nonce(bob.address) == 2

    def test_what_waits_counts_for_the_next_nonce_but_not_as_mined(
        self, chain: Chain, contracts: dict[str, Any], bob: Payer, server: rpc.RpcServer
    ) -> None:
        call_evm(server, "evm_setAutomine", False)

        bob.send(self.approval(contracts))

        assert (chain.nonce(bob.address), chain.mined_nonce(bob.address)) == (1, 0)

    def test_for_another_chain_is_refused(self, chain: Chain, contracts: dict[str, Any], bob: Payer) -> None:
        with pytest.raises(ChainError) as caught:
            bob.send(self.approval(contracts), chain_id=1)

        assert caught.value.code == "wrong_chain"

    def test_what_runs_out_of_gas_is_mined_all_the_same(
        self, chain: Chain, contracts: dict[str, Any], bob: Payer
    ) -> None:
        sent = bob.send(self.approval(contracts), gas=30_000)

        receipt = chain.receipt(sent.hash)

        assert receipt is not None
        assert (receipt.ok, receipt.logs, receipt.gas_used) == (False, (), 30_000)


class TestReorganisation:
    def test_is_seen_by_the_receipt_that_is_gone_and_the_hash_that_changed(
        self, chain: Chain, contracts: dict[str, Any], bob: Payer, server: rpc.RpcServer
    ) -> None:
        before = call_evm(server, "evm_snapshot")
        call = orders.approve(token=Address(contracts["Ocean"]), spender=CONSUMER, amount_wei=Wei(1))
        sent = bob.send(call)
        seen = chain.receipt(sent.hash)
        assert seen is not None

        call_evm(server, "evm_revert", before)
        gone = chain.receipt(sent.hash), chain.is_known(sent.hash), chain.mined_nonce(bob.address)
        chain.send(sent.raw)
        again = chain.receipt(sent.hash)

        assert gone == (None, False, 0)
        assert again is not None
        assert (again.block_number, again.ok) == (seen.block_number, True)
        assert again.block_hash != seen.block_hash
        assert chain.block_hash(seen.block_number) == again.block_hash
