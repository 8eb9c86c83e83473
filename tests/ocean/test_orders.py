"""Orders, against the transactions that were recorded and contracts that answer nonsense."""

import json
from functools import cache
from importlib.resources import files
from typing import Any

import pytest
from eth_abi import encode
from web3 import Web3

from jobs.ocean import escrow, orders
from jobs.ocean.chain import Log, Receipt, event_topic
from jobs.ocean.compute import ProviderFee
from jobs.ocean.contracts import ZERO, Call, bytes32
from jobs.ocean.errors import BadAnswer, ChainError
from jobs.ocean.orders import OrderSeen
from jobs.ocean.units import Address, Wei
from tests.ocean.chain_wire import asked, chain, error, result
from tests.ocean.provider_wire import last
from tests.ocean.wire import RECORDINGS, account

TOKEN, OTHER = Address("0x" + "12" * 20), Address("0x" + "34" * 20)
TX = "0x" + "ab" * 32
# Which contract a recorded function belongs to, and how our call of it is made from the recorded arguments.
ARTIFACTS = {
    "startOrder": "ERC20Template",
    "buyFromFreAndOrder": "ERC20TemplateEnterprise",
    "dispense": "Dispenser",
    "approve": "ERC20Template",
    "deposit": "Escrow",
    "authorize": "Escrow",
}


def recorded_transactions() -> list[Any]:
    """Every transaction whose arguments the recordings keep: title, contract, function, arguments."""
    found = []
    for path in sorted(RECORDINGS.glob("3*.json")):
        for position, note in enumerate(json.loads(path.read_text()).get("notes", ())):
            if "args" in note:
                found.append(pytest.param(note, id=f"{path.name[:2]}-{position}-{note['function']}"))
    return found


def fee_of(values: list[Any]) -> ProviderFee:
    """The fee of a recorded order, as its arguments have it."""
    address, token, amount, v, r, s, valid_until, data = values
    return ProviderFee(Address(address), Address(token), Wei(amount), valid_until, data, v, r, s)


def our_call(note: dict[str, Any]) -> Call:
    """What the client makes of the recorded arguments."""
    to, args = Address(note["contract"]), note["args"]
    match note["function"]:
        case "startOrder":
            return orders.start_order(
                datatoken=to, consumer=Address(args[0]), service_index=args[1], fee=fee_of(args[2])
            )
        case "buyFromFreAndOrder":
            (consumer, index, fee, _market), (exchange, exchange_id, most, _swap, _collector) = args
            return orders.buy_and_order(
                datatoken=to,
                consumer=Address(consumer),
                service_index=index,
                fee=fee_of(fee),
                exchange=Address(exchange),
                exchange_id=exchange_id,
                max_base_wei=Wei(most),
            )
        case "dispense":
            return orders.dispense(
                dispenser=to, datatoken=Address(args[0]), amount_wei=Wei(args[1]), to=Address(args[2])
            )
        case "approve":
            return orders.approve(token=to, spender=Address(args[0]), amount_wei=Wei(args[1]))
        case "deposit":
            return escrow.deposit(escrow=to, token=Address(args[0]), amount_wei=Wei(args[1]))
        case "authorize":
            return escrow.authorize(
                escrow=to,
                token=Address(args[0]),
                payee=Address(args[1]),
                max_locked_wei=Wei(args[2]),
                max_lock_s=args[3],
                max_locks=args[4],
            )
    raise AssertionError(note["function"])


@cache
def abi(name: str) -> Any:
    """The interface of a contract as its compiler wrote it."""
    return json.loads((files("artifacts") / f"{name}.json").read_text())["abi"]


def recorded_fees() -> list[Any]:
    """Every fee that a service was recorded to ask for."""
    found = []
    for name in (
        "30-pay-for-compute-service",
        "32-pay-again-longer-reuse-order",
        "60-provider-fees-preview",
        "62-pay-paid-environment",
        "88-init-two-datasets",
    ):
        said = last(name)["response"]["body_json"]
        parts = [*said["datasets"], *([said["algorithm"]] if "algorithm" in said else [])]
        found += [pytest.param(part["providerFee"], id=f"{name}-{n}") for n, part in enumerate(parts)]
    for number in ("31", "33", "34"):
        (path,) = RECORDINGS.glob(f"{number}-*.json")
        for exchange in json.loads(path.read_text())["exchanges"]:
            said = exchange["response"]["body"].get("json")
            parts = (
                [*said["datasets"], said["algorithm"]] if isinstance(said, dict) and "payment" in said else []
            )
            found += [
                pytest.param(part["providerFee"], id=f"{number}-{exchange['seq']}-{n}")
                for n, part in enumerate(parts)
                if "providerFee" in part
            ]
    return found


def fee_from(told: dict[str, Any], **changes: Any) -> ProviderFee:
    """A fee from the words of a service."""
    fields = {
        "address": Address(told["providerFeeAddress"]),
        "token": Address(told["providerFeeToken"]),
        "amount_wei": Wei(int(told["providerFeeAmount"])),
        "valid_until": told["validUntil"],
        "data": told["providerData"],
        "v": told["v"],
        "r": told["r"],
        "s": told["s"],
    }
    return ProviderFee(**(fields | changes))


class TestCalls:
    @pytest.mark.parametrize("note", recorded_transactions())
    def test_are_those_of_the_recorded_transactions(self, note):
        contract = Web3().eth.contract(abi=abi(ARTIFACTS[note["function"]]))
        theirs = contract.encode_abi(note["function"], [_plain(value) for value in note["args"]])

        call = our_call(note)

        assert "0x" + call.data.hex() == theirs
        assert (call.to, call.value_wei) == (note["contract"], 0)

    def test_cover_every_function_that_was_recorded(self):
        assert {param.values[0]["function"] for param in recorded_transactions()} == set(ARTIFACTS)

    def test_of_an_order_are_byte_for_byte_these(self):
        fee = ProviderFee(OTHER, TOKEN, Wei(7), 9, "0xabcd", 27, "0x" + "0a" * 32, "0x" + "0b" * 32)

        call = orders.start_order(datatoken=TOKEN, consumer=OTHER, service_index=3, fee=fee)

        words = [
            OTHER[2:].rjust(64, "0"),
            f"{3:064x}",
            f"{6 * 32:064x}",  # where the fee begins: after consumer, index, this and the market's three
            "0" * 64,
            "0" * 64,
            "0" * 64,
            OTHER[2:].rjust(64, "0"),
            TOKEN[2:].rjust(64, "0"),
            f"{7:064x}",
            f"{27:064x}",
            "0a" * 32,
            "0b" * 32,
            f"{9:064x}",
            f"{8 * 32:064x}",
            f"{2:064x}",
            "abcd".ljust(64, "0"),
        ]
        assert call.data.hex() == "79d9d7f3" + "".join(words)

    @pytest.mark.parametrize(
        ("name", "contract", "function"),
        [
            ("22-buy-datatokens-dispenser", "Dispenser", "dispense"),
            ("30-pay-for-compute-service", "datatoken (dataset)", "startOrder"),
            ("32-pay-again-longer-reuse-order", "datatoken (dataset)", "reuseOrder"),
            ("61-approve-provider-fee", "Ocean", "approve"),
        ],
    )
    def test_have_the_selectors_that_were_recorded_at_a_provider(self, name, contract, function):
        path = RECORDINGS.parent / "provider-v4" / f"{name}.json"
        sent = json.loads(path.read_text())["chain"]["transactions"]
        (selector,) = {x["selector"] for x in sent if (x["contract"], x["function"]) == (contract, function)}
        fee = fee_from(
            last("60-provider-fees-preview")["response"]["body_json"]["datasets"][0]["providerFee"]
        )
        made = {
            "dispense": orders.dispense(dispenser=OTHER, datatoken=TOKEN, amount_wei=Wei(1), to=OTHER),
            "startOrder": orders.start_order(datatoken=TOKEN, consumer=OTHER, service_index=0, fee=fee),
            "reuseOrder": orders.reuse_order(datatoken=TOKEN, order_tx=TX, fee=fee),
            "approve": orders.approve(token=TOKEN, spender=OTHER, amount_wei=Wei(1)),
        }

        assert "0x" + made[function].data[:4].hex() == selector

    def test_name_the_first_order_whole_when_they_renew_it(self):
        fee = fee_from(
            last("60-provider-fees-preview")["response"]["body_json"]["datasets"][0]["providerFee"]
        )

        with pytest.raises(ValueError, match="32 bytes"):
            orders.reuse_order(datatoken=TOKEN, order_tx="0xabab", fee=fee)
        assert orders.reuse_order(datatoken=TOKEN, order_tx=TX, fee=fee).data[4:36] == bytes32(TX)

    def test_take_and_order_in_one_as_the_contract_has_it(self):
        fee = fee_from(
            last("60-provider-fees-preview")["response"]["body_json"]["datasets"][0]["providerFee"]
        )
        contract = Web3().eth.contract(abi=abi("ERC20TemplateEnterprise"))
        whole = (fee.address, fee.token, fee.amount_wei, fee.v, fee.r, fee.s, fee.valid_until, fee.data)

        call = orders.dispense_and_order(
            datatoken=TOKEN, consumer=OTHER, service_index=2, fee=fee, dispenser=OTHER
        )

        args = [(OTHER, 2, whole, (ZERO, ZERO, 0)), OTHER]
        assert "0x" + call.data.hex() == contract.encode_abi("buyFromDispenserAndOrder", args)


def _plain(value: Any) -> Any:
    return tuple(_plain(part) for part in value) if isinstance(value, list) else value


class TestFees:
    @pytest.mark.parametrize("told", recorded_fees())
    def test_are_signed_by_whom_they_go_to(self, told):
        assert orders.fee_is_signed(fee_from(told))

    def test_were_recorded_in_numbers(self):
        assert len(recorded_fees()) > 20

    @pytest.mark.parametrize(
        "changes",
        [
            {"amount_wei": Wei(99833333333333341)},
            {"valid_until": 1795331959},
            {"token": TOKEN},
            {"address": OTHER},
            {"data": "0x7b7d"},
            {"v": 28},
            {"v": 0},
            {"r": "0x" + "00" * 32},
            {"s": "0x" + "00" * 32},
            {"s": "0x" + "ff" * 32},
            {"r": "0x" + "ff" * 32},
        ],
    )
    def test_with_anything_changed_are_signed_by_nobody(self, changes):
        told = last("60-provider-fees-preview")["response"]["body_json"]["datasets"][0]["providerFee"]

        assert not orders.fee_is_signed(fee_from(told, **changes))


class TestQuestions:
    def test_of_a_balance_and_an_allowance_name_whose(self):
        client, wire = chain(result("0x" + f"{5:064x}"), result("0x" + f"{6:064x}", number=2))

        assert orders.balance_of(client, token=TOKEN, owner=OTHER) == 5
        assert orders.allowance(client, token=TOKEN, owner=OTHER, spender=account(1).address) == 6
        assert asked(wire)[1][0]["data"] == "0x70a08231" + OTHER[2:].rjust(64, "0")
        assert asked(wire, 1)[1][0]["data"][:10] == "0xdd62ed3e"

    @pytest.mark.parametrize("answer", ["0x", "0x01", "0x" + "00" * 31])
    def test_at_an_address_without_a_contract_are_bad_answers(self, answer):
        client, _ = chain(result(answer))

        with pytest.raises(BadAnswer) as caught:
            orders.balance_of(client, token=TOKEN, owner=OTHER)

        assert caught.value.code == "contract"

    def test_that_a_contract_refuses_are_its_refusals(self):
        client, _ = chain(error("execution reverted", code=3))

        with pytest.raises(ChainError):
            orders.balance_of(client, token=TOKEN, owner=OTHER)

    @pytest.mark.parametrize(
        ("symbol", "shown"),
        [
            (encode(["string"], ["OCEAN"]), "OCEAN"),
            (encode(["string"], ["a\u202eb\x00\n\tc" + "d" * 50]), "ab c" + "d" * 15),
            (encode(["string"], [""]), ""),
            (b"MKR".ljust(32, b"\0"), "MKR"),
            (b"\xff" * 32, "\ufffd" * 20),
        ],
    )
    def test_of_a_token_give_a_symbol_fit_to_show(self, symbol, shown):
        client, _ = chain(result("0x" + f"{6:064x}"), result("0x" + symbol.hex(), number=2))

        info = orders.token_info(client, token=TOKEN)

        assert (info.decimals, info.symbol) == (6, shown)

    @pytest.mark.parametrize(
        ("decimals", "symbol"),
        [
            (encode(["uint8"], [78]), encode(["string"], ["X"])),
            (encode(["uint256"], [256]), encode(["string"], ["X"])),
            (encode(["uint8"], [18]), b""),
            (encode(["uint8"], [18]), b"\xff" * 96),
            (encode(["uint8"], [18]), encode(["bytes"], [b"\xff\xfe"])),
            (encode(["uint8"], [18]), (2**255).to_bytes(32, "big") + b"\0" * 32),
            (encode(["uint8"], [18]), encode(["uint256", "uint256"], [32, 2**255])),
        ],
    )
    def test_of_no_token_are_bad_answers(self, decimals, symbol):
        client, _ = chain(result("0x" + decimals.hex()), result("0x" + symbol.hex(), number=2))

        with pytest.raises(BadAnswer):
            orders.token_info(client, token=TOKEN)

    def test_of_a_dispenser_tell_all_that_limits_it(self):
        told = encode(
            ["bool", "address", "bool", "uint256", "uint256", "uint256", "address"],
            [True, OTHER, False, 3, 4, 5, OTHER],
        )
        client, _ = chain(result("0x" + told.hex()))

        status = orders.dispenser_status(client, dispenser=OTHER, datatoken=TOKEN)

        assert (status.active, status.mints, status.swapper) == (True, False, OTHER)
        assert (status.max_tokens_wei, status.max_balance_wei, status.balance_wei) == (3, 4, 5)

    def test_of_a_dispenser_that_answers_with_a_strange_truth_are_bad_answers(self):
        told = encode(["uint256"] * 7, [2, 0, 0, 0, 0, 0, 0])
        client, _ = chain(result("0x" + told.hex()))

        with pytest.raises(BadAnswer):
            orders.dispenser_status(client, dispenser=OTHER, datatoken=TOKEN)


STARTED = event_topic("OrderStarted(address,address,uint256,uint256,uint256,address,uint256)")
REUSED = event_topic("OrderReused(bytes32,address,uint256,uint256)")
STARTED_DATA = encode(["address", "uint256", "uint256", "uint256", "uint256"], [OTHER, 10**18, 3, 1, 2])
REUSED_DATA = encode(["bytes32", "address", "uint256", "uint256"], [bytes32(TX), OTHER, 1, 2])
CONSUMER = bytes(12) + bytes.fromhex(account(9).address[2:])


def receipt(*logs: Log, ok: bool = True) -> Receipt:
    return Receipt(tx_hash=TX, ok=ok, block_number=1, block_hash=TX, gas_used=1, logs=logs)


def started(**changes: Any) -> Log:
    fields: dict[str, Any] = {
        "address": TOKEN,
        "topics": (STARTED, CONSUMER, bytes(32)),
        "data": STARTED_DATA,
    }
    return Log(**(fields | changes))


class TestOrderIn:
    def test_finds_a_new_order_among_other_events(self):
        transfer = Log(address=TOKEN, topics=(event_topic("Transfer(address,address,uint256)"),), data=b"")

        seen = orders.order_in(receipt(transfer, started()), datatoken=TOKEN)

        assert seen == OrderSeen(kind="started", payer=OTHER, consumer=account(9).address, service_index=3)

    def test_finds_a_renewal(self):
        renewed = Log(address=TOKEN, topics=(REUSED,), data=REUSED_DATA)

        assert orders.order_in(receipt(renewed), datatoken=TOKEN) == OrderSeen(
            kind="reused", payer=OTHER, order_tx=TX
        )

    @pytest.mark.parametrize(
        "proof",
        [
            receipt(),
            receipt(started(), ok=False),
            receipt(started(address=OTHER)),
            receipt(started(topics=())),
            receipt(started(topics=(STARTED,))),
            receipt(started(topics=(STARTED, CONSUMER, bytes(32), bytes(32)))),
            receipt(started(data=b"")),
            receipt(started(data=STARTED_DATA[:-1])),
            receipt(started(data=b"\xff" * 160)),
            receipt(Log(address=TOKEN, topics=(REUSED, CONSUMER), data=REUSED_DATA)),
            receipt(Log(address=TOKEN, topics=(REUSED,), data=REUSED_DATA[:40])),
        ],
    )
    def test_takes_nothing_else_for_an_order(self, proof):
        assert orders.order_in(proof, datatoken=TOKEN) is None
