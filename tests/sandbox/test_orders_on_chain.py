"""The client's orders against the real contracts, on the sandbox's chain, over HTTP."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import pytest
from eth_account import Account
from eth_account.messages import encode_defunct

from jobs.ocean.chain import Chain
from jobs.ocean.compute import ProviderFee
from jobs.ocean.errors import BadAnswer, ChainError
from jobs.ocean.orders import (
    ORDER_PRICE_WEI,
    allowance,
    approve,
    balance_of,
    check_fee,
    dispense,
    dispenser_status,
    fee_digest,
    order_in,
    reuse_order,
    start_order,
    token_info,
)
from jobs.ocean.signing import Signer
from jobs.ocean.transactions import Call, Receipt, SignedTransaction, Transaction
from jobs.ocean.transport import Transport
from jobs.ocean.units import Address, Wei
from ocean_portal.sandbox import chain as development
from ocean_portal.sandbox import rpc
from ocean_portal.sandbox.chain import ETHER
from ocean_portal.sandbox.contracts import deploy
from ocean_portal.sandbox.publish import publish_asset
from tests.ocean.wire import account
from tests.sandbox.devchain import GENESIS_TIME, Clock

PAYER, POOR = account(5), Signer("0x" + "77" * 32)
# The environment's address: whom the order is for, not who pays.
ENVIRONMENT = account(9).address
PROVIDER_KEY = "0x" + "5e" * 32
PROVIDER = Address(Account.from_key(PROVIDER_KEY).address)


@dataclass(frozen=True)
class World:
    """A chain with one dispensed asset, and the client that looks at it from outside."""

    client: Chain
    ocean: Address
    dispenser: Address
    datatoken: Address


@pytest.fixture(scope="module")
def deployed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[rpc.RpcServer, Any, Any]]:
    """Deploy once; each test publishes what it spends."""
    opened = development.Chain(tmp_path_factory.mktemp("chain"), clock=Clock())
    server = rpc.serve(opened, port=0)
    yield server, opened, deploy(opened)
    server.shutdown()
    opened.close()


@pytest.fixture
def world(deployed: tuple[rpc.RpcServer, Any, Any]) -> Iterator[World]:
    server, _, contracts = deployed
    transport = Transport(
        server.url, admit=lambda: None, allow_private=True, monotonic=time.monotonic, user_agent="test"
    )
    with transport:
        yield World(
            client=Chain(transport),
            ocean=Address(contracts["Ocean"]),
            dispenser=Address(contracts["Dispenser"]),
            datatoken=published(deployed),
        )


def published(deployed: tuple[rpc.RpcServer, Any, Any], *, price_wei: int | None = None) -> Address:
    """Publish an asset, from a dispenser unless it has a price, and give its datatoken."""
    _, opened, contracts = deployed
    asset = publish_asset(
        opened,
        contracts,
        publisher_key_or_index=0,
        name="Readings",
        symbol="READ",
        kind="dataset",
        metadata={},
        service={"id": "a", "type": "compute", "timeout": 0, "files": [], "serviceEndpoint": "http://node"},
        seal_files=lambda plain: "0x00",
        price=price_wei,
    )
    return Address(asset.datatoken_address)


def provider_fee(
    world: World, *, amount_wei: int = 0, valid_until: int = GENESIS_TIME + 9_999
) -> ProviderFee:
    """Sign a fee as a Provider does."""
    fee = ProviderFee(
        address=PROVIDER,
        token=world.ocean,
        amount_wei=Wei(amount_wei),
        valid_until=valid_until,
        data="0x7b7d",
        v=27,
        r="0x" + "00" * 32,
        s="0x" + "00" * 32,
    )
    signed = Account.sign_message(encode_defunct(primitive=fee_digest(fee)), PROVIDER_KEY)
    return replace(fee, v=signed.v, r=f"0x{signed.r:064x}", s=f"0x{signed.s:064x}")


def signed(
    world: World, call: Call, *, signer: Signer = PAYER, ahead: int = 0, gas: int | None = None
) -> SignedTransaction:
    """Price and sign a call, as a caller of the client has to. ahead: how far past the next nonce."""
    fees = world.client.fees()
    if gas is None:
        gas = world.client.estimate_gas(
            sender=signer.address, to=call.to, data=call.data, value_wei=call.value_wei
        )
    return signer.sign_transaction(
        Transaction(
            chain_id=world.client.chain_id(),
            nonce=world.client.nonce(address=signer.address) + ahead,
            to=call.to,
            data=call.data,
            value_wei=call.value_wei,
            gas=gas,
            max_fee_wei=fees.max_fee_wei,
            priority_fee_wei=fees.priority_fee_wei,
        )
    )


def mined(world: World, call: Call, *, gas: int | None = None) -> Receipt:
    """Send a call and give its receipt; the chain mines at once."""
    tx = signed(world, call, gas=gas)
    assert world.client.send(signed=tx.raw) == tx.hash
    receipt = world.client.receipt(tx_hash=tx.hash)
    assert receipt is not None
    return receipt


def dispensed(world: World, *, tokens: int) -> Receipt:
    return mined(
        world,
        dispense(
            dispenser=world.dispenser,
            datatoken=world.datatoken,
            amount_wei=Wei(tokens * ETHER),
            to=PAYER.address,
        ),
    )


def ordered(world: World, *, fee: ProviderFee, gas: int | None = None) -> Receipt:
    return mined(
        world,
        start_order(datatoken=world.datatoken, consumer=ENVIRONMENT, service_index=0, fee=fee),
        gas=gas,
    )


class TestDispense:
    def test_gives_datatokens(self, world: World) -> None:
        status = dispenser_status(world.client, dispenser=world.dispenser, datatoken=world.datatoken)
        receipt = dispensed(world, tokens=2)

        assert (status.active, status.is_minter, status.allowed_swapper) == (True, True, None)
        assert status.max_tokens_wei == status.max_balance_wei == 100 * ETHER
        assert receipt.status == "ok"
        assert balance_of(world.client, token=world.datatoken, owner=PAYER.address) == 2 * ETHER

    def test_refuses_who_has_enough_and_says_why(self, world: World) -> None:
        dispensed(world, tokens=100)

        with pytest.raises(ChainError) as caught:
            dispensed(world, tokens=1)

        assert (caught.value.code, caught.value.reason) == ("reverted", "Caller balance too high")

    def test_of_a_datatoken_for_sale_is_not_active(
        self, world: World, deployed: tuple[rpc.RpcServer, Any, Any]
    ) -> None:
        for_sale = published(deployed, price_wei=ETHER)

        status = dispenser_status(world.client, dispenser=world.dispenser, datatoken=for_sale)

        assert not status.active

    def test_of_what_is_no_datatoken_is_refused(self, world: World) -> None:
        with pytest.raises(ChainError) as caught:
            dispenser_status(world.client, dispenser=world.dispenser, datatoken=world.ocean)

        assert caught.value.code == "reverted"

    def test_token_is_written_with_its_symbol(self, world: World) -> None:
        token = token_info(world.client, token=world.datatoken)

        assert (token.symbol, token.decimals) == ("READ", 18)

    def test_contract_that_is_none_is_named_so(self, world: World) -> None:
        with pytest.raises(BadAnswer) as caught:
            balance_of(world.client, token=ENVIRONMENT, owner=PAYER.address)

        assert caught.value.code == "abi"


class TestStartOrder:
    def test_spends_one_datatoken_and_proves_itself(self, world: World) -> None:
        dispensed(world, tokens=2)

        receipt = ordered(world, fee=provider_fee(world))

        order = order_in(receipt, datatoken=world.datatoken)
        assert order is not None
        assert (order.kind, order.order_tx) == ("started", receipt.tx_hash)
        assert (order.consumer, order.payer) == (ENVIRONMENT, PAYER.address)
        assert (order.amount_wei, order.service_index) == (ORDER_PRICE_WEI, 0)
        assert world.client.head().timestamp == order.at
        assert balance_of(world.client, token=world.datatoken, owner=PAYER.address) == ETHER

    def test_pays_the_fee_that_was_approved(self, world: World) -> None:
        fee = provider_fee(world, amount_wei=3 * ETHER // 10)
        before = balance_of(world.client, token=world.ocean, owner=PROVIDER)
        dispensed(world, tokens=1)
        mined(world, approve(token=world.ocean, spender=world.datatoken, amount_wei=fee.amount_wei))
        allowed = allowance(world.client, token=world.ocean, owner=PAYER.address, spender=world.datatoken)

        receipt = ordered(world, fee=fee)

        check_fee(fee)
        assert order_in(receipt, datatoken=world.datatoken) is not None
        assert allowed == fee.amount_wei
        assert allowance(world.client, token=world.ocean, owner=PAYER.address, spender=world.datatoken) == 0
        paid = balance_of(world.client, token=world.ocean, owner=PROVIDER) - before
        # The community takes its share of it.
        assert 0 < paid <= fee.amount_wei

    def test_without_a_datatoken_is_refused_before_it_costs(self, world: World) -> None:
        with pytest.raises(ChainError) as caught:
            ordered(world, fee=provider_fee(world))

        assert (caught.value.code, caught.value.reason) == (
            "reverted",
            "Not enough datatokens to start Order",
        )

    def test_without_a_datatoken_leaves_a_receipt_with_a_reason_to_find(self, world: World) -> None:
        receipt = ordered(world, fee=provider_fee(world), gas=300_000)

        assert receipt.status == "reverted"
        assert order_in(receipt, datatoken=world.datatoken) is None
        assert world.client.revert_reason(receipt=receipt) == "Not enough datatokens to start Order"

    def test_with_a_fee_of_somebody_else_is_refused_by_us_and_by_the_contract(self, world: World) -> None:
        dispensed(world, tokens=1)
        forged = replace(provider_fee(world), valid_until=GENESIS_TIME + 99_999)

        with pytest.raises(BadAnswer):
            check_fee(forged)
        with pytest.raises(ChainError) as caught:
            ordered(world, fee=forged)

        assert caught.value.reason == "Invalid provider fee"

    def test_that_runs_out_of_gas_says_so(self, world: World) -> None:
        dispensed(world, tokens=1)

        receipt = ordered(world, fee=provider_fee(world), gas=60_000)

        assert receipt.status == "reverted"
        assert world.client.revert_reason(receipt=receipt) == "it ran out of gas"


class TestReuseOrder:
    def test_names_the_order_that_it_renews(self, world: World) -> None:
        dispensed(world, tokens=1)
        first = ordered(world, fee=provider_fee(world))
        later = provider_fee(world, valid_until=GENESIS_TIME + 99_999)

        receipt = mined(world, reuse_order(datatoken=world.datatoken, order_tx=first.tx_hash, fee=later))

        order = order_in(receipt, datatoken=world.datatoken)
        assert order is not None
        assert (order.kind, order.order_tx, order.payer) == ("reused", first.tx_hash, PAYER.address)
        assert receipt.tx_hash != first.tx_hash
        assert balance_of(world.client, token=world.datatoken, owner=PAYER.address) == 0


class TestSending:
    def test_twice_is_one_transaction(self, world: World) -> None:
        call = dispense(
            dispenser=world.dispenser, datatoken=world.datatoken, amount_wei=Wei(ETHER), to=PAYER.address
        )
        tx = signed(world, call)

        hashes = [world.client.send(signed=tx.raw) for _ in range(2)]
        dispensed(world, tokens=1)
        # Now the chain speaks of the nonce; before it knew the transaction itself.
        hashes.append(world.client.send(signed=tx.raw))

        assert hashes == [tx.hash] * 3
        assert balance_of(world.client, token=world.datatoken, owner=PAYER.address) == 2 * ETHER

    def test_other_bytes_with_a_used_nonce_is_refused(self, world: World) -> None:
        call = approve(token=world.ocean, spender=world.datatoken, amount_wei=Wei(1))
        other = signed(world, replace(call, to=world.datatoken))
        mined(world, call)

        with pytest.raises(ChainError) as caught:
            world.client.send(signed=other.raw)

        assert caught.value.code == "nonce_too_low"
        assert world.client.transaction(tx_hash=other.hash) is None

    def test_ahead_of_its_turn_waits_for_the_gap_to_close(self, world: World) -> None:
        call = approve(token=world.ocean, spender=world.datatoken, amount_wei=Wei(1))
        early = signed(world, call, ahead=1)
        due = signed(world, call)

        assert world.client.send(signed=early.raw) == early.hash
        waiting = world.client.transaction(tx_hash=early.hash)
        receipt_before = world.client.receipt(tx_hash=early.hash)
        again = world.client.send(signed=early.raw)
        world.client.send(signed=due.raw)
        found = world.client.transaction(tx_hash=early.hash)

        assert waiting is not None
        assert waiting.pending
        assert receipt_before is None
        assert again == early.hash
        assert found is not None
        assert not found.pending
        receipt = world.client.receipt(tx_hash=early.hash)
        assert receipt is not None
        assert receipt.status == "ok"

    def test_in_place_of_one_that_waits_is_underpriced(self, world: World) -> None:
        call = approve(token=world.ocean, spender=world.datatoken, amount_wei=Wei(1))
        early, rival = (
            signed(world, replace(call, data=call.data[:-1] + bytes([last])), ahead=1) for last in (1, 2)
        )
        world.client.send(signed=early.raw)

        with pytest.raises(ChainError) as caught:
            world.client.send(signed=rival.raw)
        world.client.send(signed=signed(world, call).raw)  # and nothing waits behind this test

        assert (caught.value.code, caught.value.maybe_happened) == ("underpriced", False)

    def test_without_means_is_refused(self, world: World) -> None:
        call = approve(token=world.ocean, spender=world.datatoken, amount_wei=Wei(1))
        tx = signed(world, call, signer=POOR, gas=60_000)

        with pytest.raises(ChainError) as caught:
            world.client.send(signed=tx.raw)

        assert (caught.value.code, caught.value.maybe_happened) == ("insufficient_funds", False)
        assert world.client.balance_wei(address=POOR.address) == 0

    def test_for_another_chain_surely_did_not_happen(self, world: World) -> None:
        tx = PAYER.sign_transaction(
            Transaction(
                chain_id=1,
                nonce=world.client.nonce(address=PAYER.address),
                to=world.ocean,
                data=b"",
                value_wei=Wei(0),
                gas=30_000,
                max_fee_wei=Wei(10**10),
                priority_fee_wei=Wei(1),
            )
        )

        with pytest.raises(ChainError) as caught:
            world.client.send(signed=tx.raw)

        assert (caught.value.code, caught.value.maybe_happened) == ("rpc", False)


class TestLooking:
    def test_receipt_stands_in_the_block_that_it_names(self, world: World) -> None:
        before = world.client.balance_wei(address=PAYER.address)

        receipt = dispensed(world, tokens=1)

        assert world.client.block_hash(number=receipt.block_number) == receipt.block_hash
        assert world.client.head().number == receipt.block_number
        assert before - world.client.balance_wei(address=PAYER.address) == receipt.cost_wei

    def test_what_never_was_is_none(self, world: World) -> None:
        unknown = "0x" + "12" * 32

        assert world.client.receipt(tx_hash=unknown) is None
        assert world.client.transaction(tx_hash=unknown) is None
        assert world.client.block_hash(number=10**6) is None

    def test_fees_are_enough_for_the_next_block(self, world: World) -> None:
        base_fee, fees = world.client.head().base_fee_wei, world.client.fees()

        assert base_fee is not None
        assert fees.max_fee_wei >= base_fee * 9 // 8 + fees.priority_fee_wei
