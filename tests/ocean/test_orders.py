"""Datatoken orders: calls as the contracts read them, answers as strangers give them, fees as Providers sign them."""

import json
from dataclasses import replace
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from eth_abi import encode
from eth_account import Account
from eth_account.messages import encode_defunct
from eth_utils import keccak
from eth_utils.abi import collapse_if_tuple
from web3 import Web3

from jobs.ocean.chain import Chain
from jobs.ocean.compute import ProviderFee
from jobs.ocean.errors import BadAnswer, ChainError
from jobs.ocean.orders import (
    ORDER_PRICE_WEI,
    DispenserStatus,
    Token,
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
from jobs.ocean.transactions import Log, Receipt
from jobs.ocean.units import Address, Wei
from tests.ocean.test_chain import asked, chain, failure, result
from tests.ocean.wire import account

RECORDINGS = Path(__file__).parent.parent / "wire" / "provider-v4"
BOB = Address("0xe17D2A07EFD5b112F4d675ea2d122ddb145d117B")
PROVIDER = Address("0xe08A1dAe983BC701D05E492DB80e0144f8f4b909")
ENVIRONMENT = Address("0xbcE5A3468386C64507D30136685A99cFD5603135")
ZERO = "0x" + "00" * 20
ORDER_TX = "0xf63be496bdd7cb2489bd76e81279e608679cde9a9d031295839fe7761f58ee9e"
TX = "0x" + "12" * 32


@cache
def recording(number: str) -> dict[str, Any]:
    (path,) = RECORDINGS.glob(f"{number}-*.json")
    document: dict[str, Any] = json.loads(path.read_text())
    return document


def recorded_fees(number: str) -> list[ProviderFee]:
    """Every fee in the initializeCompute answers of a scenario."""
    found = []
    for exchange in recording(number)["exchanges"]:
        answer = exchange["response"].get("body_json")
        if isinstance(answer, dict) and "datasets" in answer:
            entries = [*answer["datasets"], *([answer["algorithm"]] if "algorithm" in answer else [])]
            found += [fee_of(entry["providerFee"]) for entry in entries if "providerFee" in entry]
    return found


def fee_of(sent: dict[str, Any]) -> ProviderFee:
    return ProviderFee(
        address=Address(sent["providerFeeAddress"]),
        token=Address(sent["providerFeeToken"]),
        amount_wei=Wei(int(sent["providerFeeAmount"])),
        valid_until=sent["validUntil"],
        data=sent["providerData"],
        v=sent["v"],
        r=sent["r"],
        s=sent["s"],
    )


FEES = [fee for number in ("30", "32", "60", "62") for fee in recorded_fees(number)]
(PAID,) = recorded_fees("62")
DATATOKEN = Address("0xE9fD830437AFF3E5a622d53fd3d5603899000D45")


def selectors(number: str, function: str) -> set[str]:
    """What the transactions of a scenario called a function by."""
    called = recording(number)["chain"]["transactions"]
    return {one["selector"] for one in called if one["function"] == function}


def by_the_book(artifact: str, function: str, *values: Any) -> bytes:
    """Encode a call with web3 and the ABI that the compiler wrote."""
    abi = json.loads((files("artifacts") / f"{artifact}.json").read_text())["abi"]
    contract = Web3().eth.contract(abi=abi)
    return bytes.fromhex(contract.encode_abi(function, args=list(values))[2:])


def fee_tuple(fee: ProviderFee) -> tuple[Any, ...]:
    words = (bytes.fromhex(fee.r[2:]), bytes.fromhex(fee.s[2:]))
    return (
        fee.address,
        fee.token,
        fee.amount_wei,
        fee.v,
        *words,
        fee.valid_until,
        bytes.fromhex(fee.data[2:]),
    )


def words(data: bytes) -> list[str]:
    return [data[at : at + 32].hex() for at in range(4, len(data), 32)]


class TestStartOrder:
    @pytest.mark.parametrize("number", ["30", "62"])
    def test_is_called_as_recorded(self, number):
        call = start_order(datatoken=DATATOKEN, consumer=ENVIRONMENT, service_index=1, fee=PAID)

        assert selectors(number, "startOrder") == {"0x" + call.data[:4].hex()} == {"0x79d9d7f3"}
        assert (call.to, call.value_wei) == (DATATOKEN, 0)

    @pytest.mark.parametrize("template", ["ERC20Template", "ERC20TemplateEnterprise"])
    @pytest.mark.parametrize("fee", FEES)
    def test_is_written_as_the_compilers_abi_says(self, template, fee):
        call = start_order(datatoken=DATATOKEN, consumer=ENVIRONMENT, service_index=1, fee=fee)

        assert call.data == by_the_book(
            template, "startOrder", ENVIRONMENT, 1, fee_tuple(fee), (ZERO, ZERO, 0)
        )

    def test_has_every_part_in_its_place(self):
        call = start_order(datatoken=DATATOKEN, consumer=ENVIRONMENT, service_index=1, fee=PAID)

        said = words(call.data)
        assert said[:6] == [
            ENVIRONMENT[2:].lower().rjust(64, "0"),
            f"{1:064x}",
            f"{6 * 32:064x}",  # where the fee begins
            "0" * 64,  # no market: no address,
            "0" * 64,  # no token,
            "0" * 64,  # no amount
        ]
        assert said[6:15] == [
            PROVIDER[2:].lower().rjust(64, "0"),
            PAID.token[2:].lower().rjust(64, "0"),
            f"{99833333333333340:064x}",
            f"{27:064x}",
            "035f27658fe4e5b5cec516dfd636d5a925bad8cd2713a7fbb80877fec38d3c2b",
            "03520ef1bdc1429cc61e203fabd1aa7f6050e68f9549416bc3438a9ec30225d5",
            f"{1795331958:064x}",
            f"{8 * 32:064x}",
            f"{len(PAID.data) // 2 - 1:064x}",
        ]
        assert "".join(said[15:]).startswith(PAID.data[2:])

    @pytest.mark.parametrize(
        "change",
        [
            {"r": "0x12"},
            {"s": "00" * 32},
            {"data": "0x1"},
            {"data": "{}"},
            {"data": "0x" + "00" * 5_000},
            {"v": 0},
            {"v": 29},
            {"amount_wei": -1},
            {"amount_wei": 2**256},
            {"valid_until": -1},
            {"valid_until": 2**63},
        ],
    )
    def test_takes_no_fee_that_a_contract_cannot_read(self, change):
        with pytest.raises(BadAnswer) as caught:
            start_order(
                datatoken=DATATOKEN, consumer=ENVIRONMENT, service_index=1, fee=replace(PAID, **change)
            )

        assert caught.value.code == "fee"


class TestReuseOrder:
    def test_is_called_as_recorded(self):
        call = reuse_order(datatoken=DATATOKEN, order_tx=ORDER_TX, fee=PAID)

        assert selectors("32", "reuseOrder") == {"0x" + call.data[:4].hex()} == {"0x361fef49"}

    @pytest.mark.parametrize("fee", FEES)
    def test_is_written_as_the_compilers_abi_says(self, fee):
        call = reuse_order(datatoken=DATATOKEN, order_tx=ORDER_TX, fee=fee)

        assert call.data == by_the_book(
            "ERC20Template", "reuseOrder", bytes.fromhex(ORDER_TX[2:]), fee_tuple(fee)
        )

    @pytest.mark.parametrize("order_tx", ["", "0x12", ORDER_TX[2:], ORDER_TX + "00"])
    def test_wants_the_hash_of_an_order(self, order_tx):
        with pytest.raises(ValueError, match="hash of its transaction"):
            reuse_order(datatoken=DATATOKEN, order_tx=order_tx, fee=PAID)


class TestDispense:
    def test_is_called_as_recorded(self):
        call = dispense(dispenser=PROVIDER, datatoken=DATATOKEN, amount_wei=Wei(5 * 10**18), to=BOB)

        assert selectors("22", "dispense") == {"0x" + call.data[:4].hex()} == {"0x1d746d83"}
        assert call.to == PROVIDER
        assert call.data == by_the_book("Dispenser", "dispense", DATATOKEN, 5 * 10**18, BOB)


class TestApprove:
    @pytest.mark.parametrize("number", ["23", "61"])
    def test_is_called_as_recorded(self, number):
        call = approve(token=PAID.token, spender=DATATOKEN, amount_wei=PAID.amount_wei)

        assert selectors(number, "approve") == {"0x" + call.data[:4].hex()} == {"0x095ea7b3"}
        assert call.to == PAID.token
        assert call.data == by_the_book("ERC20Template", "approve", DATATOKEN, PAID.amount_wei)


class TestFee:
    @pytest.mark.parametrize("fee", FEES)
    def test_of_a_recording_is_signed_by_its_provider(self, fee):
        check_fee(fee)

        assert fee.address == PROVIDER

    def test_recordings_are_many_and_some_cost_something(self):
        assert len(FEES) == 6
        assert {fee.v for fee in FEES} == {27, 28}
        assert {fee.amount_wei for fee in FEES} == {0, 99833333333333340}

    def test_digest_is_over_the_packed_parts(self):
        packed = Web3.solidity_keccak(
            ["bytes", "address", "address", "uint256", "uint256"],
            [PAID.data, PAID.address, PAID.token, PAID.amount_wei, PAID.valid_until],
        )

        assert fee_digest(PAID) == bytes(packed)

    @pytest.mark.parametrize(
        "change",
        [
            {"amount_wei": 0},
            {"valid_until": PAID.valid_until + 1},
            {"token": BOB},
            {"address": BOB},
            {"data": PAID.data[:-2]},
            {"v": 28},
            {"r": PAID.s},
            {"r": "0x" + "00" * 32},
            {"r": "0x" + "ff" * 32, "s": "0x" + "ff" * 32},
            {"address": Address(ZERO), "r": "0x" + "00" * 32, "s": "0x" + "00" * 32},
        ],
    )
    def test_that_was_changed_is_refused(self, change):
        with pytest.raises(BadAnswer) as caught:
            check_fee(replace(PAID, **change))

        assert caught.value.code == "fee_signature"

    def test_that_somebody_else_signed_is_refused(self):
        signed = Account.sign_message(encode_defunct(primitive=fee_digest(PAID)), "0x" + "11" * 32)
        forged = replace(PAID, v=signed.v, r=f"0x{signed.r:064x}", s=f"0x{signed.s:064x}")

        with pytest.raises(BadAnswer, match="not signed by the address"):
            check_fee(forged)


def word(number: int) -> str:
    return "0x" + f"{number:064x}"


class TestTokenQuestions:
    def test_about_a_balance(self):
        client, wire = chain(result(word(7)))

        assert balance_of(client, token=DATATOKEN, owner=BOB) == 7
        data = "0x" + by_the_book("ERC20Template", "balanceOf", BOB).hex()
        assert asked(wire) == [("eth_call", [{"to": DATATOKEN, "data": data}, "latest"])]

    def test_about_an_allowance(self):
        client, wire = chain(result(word(2**256 - 1)))

        assert allowance(client, token=PAID.token, owner=BOB, spender=DATATOKEN) == 2**256 - 1
        data = "0x" + by_the_book("ERC20Template", "allowance", BOB, DATATOKEN).hex()
        assert asked(wire) == [("eth_call", [{"to": PAID.token, "data": data}, "latest"])]

    def test_about_how_amounts_are_written(self):
        client, wire = chain(result(word(6)), result("0x" + encode(["string"], ["USDC"]).hex()))

        assert token_info(client, token=PAID.token) == Token(symbol="USDC", decimals=6)
        assert [params[0]["data"] for _, params in asked(wire)] == ["0x313ce567", "0x95d89b41"]

    @pytest.mark.parametrize(
        ("answer", "symbol"),
        [
            (encode(["bytes32"], [b"MKR"]), "MKR"),
            (encode(["string"], ["<script>\n\x00\u202e"]), "<script>"),
            (encode(["string"], ["x" * 10_000]), "x" * 20),
            (encode(["bytes"], [b"\xff\xfe"]), "\ufffd\ufffd"),
            (encode(["string"], [""]), ""),
        ],
        ids=["one word", "markup", "long", "no UTF-8", "empty"],
    )
    def test_clean_what_a_stranger_calls_his_token(self, answer, symbol):
        client, _ = chain(result(word(18)), result("0x" + answer.hex()))

        assert token_info(client, token=PAID.token).symbol == symbol

    @pytest.mark.parametrize("answer", ["0x", "0x12", word(256), "0x" + "ff" * 31, "0x" + "ff" * 32])
    def test_refuse_decimals_that_are_none(self, answer):
        client, _ = chain(result(answer))

        with pytest.raises(BadAnswer) as caught:
            token_info(client, token=PAID.token)

        assert caught.value.code == "abi"

    @pytest.mark.parametrize("answer", [word(2**255) + "00" * 64, word(32) + "ff" * 32, "0x" + "01" * 33])
    def test_refuse_a_symbol_that_is_none(self, answer):
        client, _ = chain(result(word(18)), result(answer))

        with pytest.raises(BadAnswer):
            token_info(client, token=PAID.token)

    def test_say_so_where_there_is_no_contract(self):
        client, _ = chain(result("0x"))

        with pytest.raises(BadAnswer, match="Check its address"):
            balance_of(client, token=BOB, owner=BOB)


def status_answer(**change: Any) -> str:
    said = {
        "active": True,
        "owner": BOB,
        "isMinter": True,
        "maxTokens": 10,
        "maxBalance": 20,
        "balance": 3,
        "allowedSwapper": ZERO,
    } | change
    types = ["bool", "address", "bool", "uint256", "uint256", "uint256", "address"]
    return "0x" + encode(types, list(said.values())).hex()


class TestDispenserStatus:
    def test_says_what_it_gives(self):
        client, wire = chain(result(status_answer()))

        status = dispenser_status(client, dispenser=PROVIDER, datatoken=DATATOKEN)

        assert status == DispenserStatus(
            active=True,
            is_minter=True,
            max_tokens_wei=Wei(10),
            max_balance_wei=Wei(20),
            balance_wei=Wei(3),
            allowed_swapper=None,
        )
        data = "0x" + by_the_book("Dispenser", "status", DATATOKEN).hex()
        assert asked(wire) == [("eth_call", [{"to": PROVIDER, "data": data}, "latest"])]

    def test_names_the_only_one_that_it_serves(self):
        client, _ = chain(result(status_answer(allowedSwapper=BOB)))

        assert dispenser_status(client, dispenser=PROVIDER, datatoken=DATATOKEN).allowed_swapper == BOB

    @pytest.mark.parametrize("answer", ["0x", "0x" + "00" * 192, "0x" + "ff" * 224])
    def test_that_lies_is_refused(self, answer):
        client, _ = chain(result(answer))

        with pytest.raises(BadAnswer):
            dispenser_status(client, dispenser=PROVIDER, datatoken=DATATOKEN)

    def test_may_be_refused_by_the_contract(self):
        client, _ = chain(failure(3, "execution reverted: no"))

        with pytest.raises(ChainError, match="The contract refuses: no"):
            dispenser_status(client, dispenser=PROVIDER, datatoken=DATATOKEN)


def event(artifact: str, name: str) -> bytes:
    """Compute an event's topic from the compiler's ABI."""
    abi = json.loads((files("artifacts") / f"{artifact}.json").read_text())["abi"]
    (entry,) = (one for one in abi if one["type"] == "event" and one["name"] == name)
    return keccak(text=f"{name}({','.join(collapse_if_tuple(one) for one in entry['inputs'])})")


def started(**change: Any) -> Log:
    topics = (event("ERC20Template", "OrderStarted"), left_padded(ENVIRONMENT), left_padded(PROVIDER))
    numbers = [BOB, 10**18, 1, 1_795_331_358, 77]
    data = encode(["address", "uint256", "uint256", "uint256", "uint256"], numbers)
    return replace(Log(address=DATATOKEN, topics=topics, data=data), **change)


def reused(**change: Any) -> Log:
    numbers = [bytes.fromhex(ORDER_TX[2:]), BOB, 1_795_331_400, 78]
    data = encode(["bytes32", "address", "uint256", "uint256"], numbers)
    topics = (event("ERC20TemplateEnterprise", "OrderReused"),)
    return replace(Log(address=DATATOKEN, topics=topics, data=data), **change)


def left_padded(address: str) -> bytes:
    return bytes(12) + bytes.fromhex(address[2:])


def receipt(*logs: Log, status: Any = "ok") -> Receipt:
    return Receipt(
        tx_hash=TX,
        status=status,
        block_number=77,
        block_hash="0x" + "b1" * 32,
        gas_used=1,
        gas_price_wei=Wei(1),
        logs=logs,
    )


TRANSFER = Log(address=DATATOKEN, topics=(keccak(text="Transfer(address,address,uint256)"),), data=bytes(32))


class TestOrderIn:
    def test_reads_a_new_order(self):
        order = order_in(receipt(TRANSFER, started(), TRANSFER), datatoken=DATATOKEN)

        assert order is not None
        assert (order.kind, order.order_tx, order.at) == ("started", TX, 1_795_331_358)
        assert (order.consumer, order.payer) == (ENVIRONMENT, BOB)
        assert (order.amount_wei, order.service_index) == (ORDER_PRICE_WEI, 1)

    def test_reads_a_renewed_order(self):
        order = order_in(receipt(reused()), datatoken=DATATOKEN)

        assert order is not None
        assert (order.kind, order.order_tx, order.payer, order.at) == (
            "reused",
            ORDER_TX,
            BOB,
            1_795_331_400,
        )
        assert (order.consumer, order.amount_wei, order.service_index) == (None, None, None)

    @pytest.mark.parametrize(
        "logs",
        [
            [],
            [TRANSFER],
            [started(address=PROVIDER)],
            [started(), started()],
            [started(), reused()],
            [started(topics=())],
            [started(topics=started().topics[:2])],
            [started(topics=(bytes(32), *started().topics[1:]))],
            [started(data=b"")],
            [started(data=started().data[:-1])],
            [started(data=b"\xff" * 160)],
            [started(data=started().data[:64] + b"\xff" * 32 + started().data[96:])],
            [started(data=started().data[:96] + b"\xff" * 32 + started().data[128:])],
            [reused(topics=(*reused().topics, bytes(32)))],
            [reused(data=b"\xff" * 128)],
            [reused(data=reused().data[:64] + b"\xff" * 32 + reused().data[96:])],
        ],
    )
    def test_finds_none_in_what_is_none(self, logs):
        assert order_in(receipt(*logs), datatoken=DATATOKEN) is None

    def test_finds_none_in_a_reverted_transaction(self):
        assert order_in(receipt(started(), status="reverted"), datatoken=DATATOKEN) is None

    def test_takes_one_order_among_those_of_other_tokens(self):
        order = order_in(receipt(started(address=PROVIDER), started()), datatoken=DATATOKEN)

        assert order is not None


class TestTheClient:
    def test_signs_and_sends_nothing_here(self):
        client, wire = chain(result(word(1)))
        assert isinstance(client, Chain)

        start_order(datatoken=DATATOKEN, consumer=account(0).address, service_index=0, fee=PAID)

        assert wire.sent == []
