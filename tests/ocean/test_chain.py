"""A chain behind a wire: what is asked, and what is made of answers, most of which lie."""

import json

import pytest
import requests
from eth_abi import encode
from eth_utils import keccak

from jobs.ocean import questions
from jobs.ocean.chain import Chain
from jobs.ocean.errors import BadAnswer, ChainError, OceanError, Rejected, Unreachable
from jobs.ocean.transactions import Call, Fees, Receipt, Transaction
from jobs.ocean.units import Address, Wei
from tests.ocean.wire import Answer, Clock, FakeWire, account, transport

ALICE, TOKEN = account(0).address, Address("0x" + "ab" * 20)
RAW = bytes.fromhex("02f87001")
HASH = "0x" + keccak(RAW).hex()
BLOCK_HASH = "0x" + "b1" * 32
REASON = "0x08c379a0" + encode(["string"], ["Amount too high"]).hex()
BLOCK = {"number": "0x10", "hash": BLOCK_HASH, "timestamp": "0x6553f100", "baseFeePerGas": "0x3b9aca00"}
LOG = {"address": TOKEN.lower(), "topics": ["0x" + "2a" * 32], "data": "0x0102"}
RECEIPT = {
    "transactionHash": HASH,
    "status": "0x1",
    "blockNumber": "0x10",
    "blockHash": BLOCK_HASH,
    "gasUsed": "0x5208",
    "effectiveGasPrice": "0x3b9aca07",
    "logs": [LOG],
}
KNOWN = {
    "hash": HASH,
    "from": ALICE.lower(),
    "nonce": "0x3",
    "to": TOKEN.lower(),
    "input": "0xfeed",
    "value": "0x0",
    "gas": "0x186a0",
    "blockNumber": None,
}


def result(value: object) -> Answer:
    return Answer.json({"jsonrpc": "2.0", "id": 1, "result": value})


def failure(number: int, text: str, data: object = None) -> Answer:
    error = {"code": number, "message": text} | ({} if data is None else {"data": data})
    return Answer.json({"jsonrpc": "2.0", "id": 1, "error": error})


def chain(*answers: Answer | Exception, clock: Clock | None = None) -> tuple[Chain, FakeWire]:
    wire = FakeWire(*answers)
    return Chain(transport(wire, clock=clock, retries=clock is not None)), wire


def asked(wire: FakeWire) -> list[tuple[str, list]]:
    questions = [json.loads(sent.body) for sent in wire.sent]
    return [(question["method"], question["params"]) for question in questions]


class TestQuestions:
    def test_are_posted_as_json_rpc_to_the_bare_address(self):
        client, wire = chain(result("0x2324"))

        assert client.chain_id() == 8996
        (sent,) = wire.sent
        assert (sent.method, sent.path) == ("POST", "/")
        assert json.loads(sent.body) == {"jsonrpc": "2.0", "id": 1, "method": "eth_chainId", "params": []}

    def test_about_balance_and_nonce_name_the_block(self):
        client, wire = chain(result("0xde0b6b3a7640000"), result("0x7"))

        assert client.balance_wei(address=ALICE) == 10**18
        assert client.nonce(address=ALICE) == 7
        assert asked(wire) == [
            ("eth_getBalance", [ALICE, "latest"]),
            ("eth_getTransactionCount", [ALICE, "pending"]),
        ]

    def test_of_a_contract_carry_their_data(self):
        client, wire = chain(result("0x" + "00" * 31 + "05"))

        assert client.call(to=TOKEN, data=b"\xfe\xed")[-1] == 5
        assert asked(wire) == [("eth_call", [{"to": TOKEN, "data": "0xfeed"}, "latest"])]

    def test_of_gas_name_who_sends_what(self):
        client, wire = chain(result("0x1a0b2"))

        assert client.estimate_gas(sender=ALICE, to=TOKEN, data=b"\1", value_wei=Wei(16)) == 0x1A0B2
        assert asked(wire) == [
            ("eth_estimateGas", [{"from": ALICE, "to": TOKEN, "data": "0x01", "value": "0x10"}])
        ]

    def test_are_repeated_when_nobody_answers(self):
        client, wire = chain(requests.ConnectionError(), result("0x1"), clock=Clock())

        assert client.chain_id() == 1
        assert len(wire.sent) == 2


class TestBlocks:
    def test_head_is_the_newest_block(self):
        client, wire = chain(result(BLOCK))

        head = client.head()

        assert (head.number, head.hash, head.timestamp, head.base_fee_wei) == (
            16,
            BLOCK_HASH,
            1_700_000_000,
            10**9,
        )
        assert asked(wire) == [("eth_getBlockByNumber", ["latest", False])]

    def test_hash_at_a_height_is_given(self):
        client, wire = chain(result(BLOCK))

        assert client.block_hash(number=16) == BLOCK_HASH
        assert asked(wire) == [("eth_getBlockByNumber", ["0x10", False])]

    def test_height_above_the_head_has_no_hash(self):
        client, _ = chain(result(None))

        assert client.block_hash(number=99) is None

    def test_another_block_than_asked_for_is_refused(self):
        client, _ = chain(result(BLOCK))

        with pytest.raises(BadAnswer):
            client.block_hash(number=17)


class TestFees:
    def test_leave_room_for_the_base_fee_to_double(self):
        client, _ = chain(result(BLOCK), result("0x64"))

        assert client.fees() == Fees(max_fee_wei=Wei(2 * 10**9 + 100), priority_fee_wei=Wei(100))

    @pytest.mark.parametrize("base_fee", [{}, {"baseFeePerGas": None}, {"baseFeePerGas": "0x0"}])
    def test_are_the_gas_price_without_a_base_fee(self, base_fee):
        block = {name: value for name, value in BLOCK.items() if name != "baseFeePerGas"} | base_fee
        client, wire = chain(result(block), result("0x77"))

        assert client.fees() == Fees(max_fee_wei=Wei(0x77), priority_fee_wei=Wei(0x77))
        assert asked(wire)[1] == ("eth_gasPrice", [])

    def test_make_the_tip_from_the_gas_price_where_nobody_names_one(self):
        client, _ = chain(result(BLOCK), failure(-32601, "method not found"), result(hex(10**9 + 5)))

        assert client.fees().priority_fee_wei == 5

    def test_beyond_a_word_are_refused(self):
        client, _ = chain(result(BLOCK | {"baseFeePerGas": "0x" + "f" * 64}), result("0x1"))

        with pytest.raises(BadAnswer):
            client.fees()


class TestSend:
    def test_gives_the_hash_of_the_bytes(self):
        client, wire = chain(result(HASH.upper().replace("0X", "0x")))

        assert client.send(signed=RAW) == HASH
        assert asked(wire) == [("eth_sendRawTransaction", ["0x02f87001"])]

    @pytest.mark.parametrize(
        "text",
        [
            "already known",
            "AlreadyKnown",
            "Known transaction",
            "Transaction with the same hash was already imported.",
        ],
    )
    def test_takes_it_for_sent_when_it_is_known(self, text):
        client, _ = chain(failure(-32000, text))

        assert client.send(signed=RAW) == HASH

    @pytest.mark.parametrize("text", ["nonce too low: next nonce 4, tx nonce 3", "OldNonce", "Nonce too low"])
    def test_takes_it_for_sent_when_it_is_what_used_the_nonce(self, text):
        client, wire = chain(failure(-32000, text), result(KNOWN | {"blockNumber": "0x10"}))

        assert client.send(signed=RAW) == HASH
        assert asked(wire)[1] == ("eth_getTransactionByHash", [HASH])

    @pytest.mark.parametrize(
        "look", [result(None), failure(-32000, "x"), requests.ConnectionError(), result(7)]
    )
    def test_never_calls_a_used_nonce_safe(self, look):
        client, _ = chain(failure(-32000, "nonce too low"), look)

        with pytest.raises(ChainError) as caught:
            client.send(signed=RAW)

        assert (caught.value.code, caught.value.maybe_happened) == ("nonce_too_low", True)

    @pytest.mark.parametrize(
        ("number", "text", "code", "maybe_happened", "retryable"),
        [
            (-32000, "insufficient funds for gas * price + value", "insufficient_funds", False, False),
            (-32000, "Upfront cost exceeds account balance", "insufficient_funds", False, False),
            (-32000, "transaction underpriced", "underpriced", False, False),
            (-32000, "replacement transaction underpriced", "underpriced", False, False),
            (-32000, "max fee per gas less than block base fee: address", "underpriced", False, False),
            (-32000, "intrinsic gas too low: gas 1, minimum needed 2", "rpc", False, False),
            (-32601, "the method does not exist", "rpc", False, False),
            (-32602, "invalid argument 0", "rpc", False, False),
            (-32603, "internal error", "rpc", True, True),
            (-32005, "limit exceeded", "rpc", True, True),
            (-32005, "daily request count exceeded, request rate limited", "rate_limited", True, True),
            (429, "Your app has exceeded its capacity", "rate_limited", True, True),
            (-32000, "request timed out", "rpc", True, False),
            (0, "", "rpc", True, False),
        ],
    )
    def test_explains_a_refusal(self, number, text, code, maybe_happened, retryable):
        client, _ = chain(failure(number, text))

        with pytest.raises(ChainError) as caught:
            client.send(signed=RAW)

        error = caught.value
        assert (error.code, error.maybe_happened, error.retryable) == (code, maybe_happened, retryable)
        assert text not in error.message or not text

    @pytest.mark.parametrize("lie", ["0x" + "12" * 32, None, 7, {}, "0x", HASH[:-2]])
    def test_believes_no_other_hash(self, lie):
        client, _ = chain(result(lie))

        with pytest.raises(BadAnswer) as caught:
            client.send(signed=RAW)

        assert caught.value.maybe_happened

    @pytest.mark.parametrize(
        ("trouble", "maybe_happened"),
        [
            (requests.exceptions.ConnectTimeout(), False),
            (requests.exceptions.ReadTimeout(), True),
            (requests.exceptions.ChunkedEncodingError(), True),
            (Answer.text("no", 400), True),
            (Answer.text("no", 408), True),
            (Answer.text("no", 401), False),
            (Answer.text("Try again in 3 seconds", 429), False),
            (Answer.text("no", 502), True),
            (Answer.text("no", 500), True),
            (Answer(status=302, headers={"Location": "https://other.example"}), True),
            (Answer(b"{"), True),
            (Answer(b"[]"), True),
        ],
    )
    def test_says_whether_it_may_be_on_its_way(self, trouble, maybe_happened):
        client, wire = chain(trouble, clock=Clock())

        with pytest.raises(OceanError) as caught:
            client.send(signed=RAW)

        assert caught.value.maybe_happened is maybe_happened
        assert len(wire.sent) == 1


class TestReceipt:
    def test_tells_what_became_of_a_transaction(self):
        client, wire = chain(result(RECEIPT))

        receipt = client.receipt(tx_hash=HASH)

        assert receipt is not None
        assert (receipt.status, receipt.block_number, receipt.block_hash) == ("ok", 16, BLOCK_HASH)
        assert receipt.cost_wei == 21_000 * (10**9 + 7)
        (log,) = receipt.logs
        assert (log.address, log.topics, log.data) == (TOKEN, (b"\x2a" * 32,), b"\1\2")
        assert asked(wire) == [("eth_getTransactionReceipt", [HASH])]

    def test_tells_a_revert(self):
        client, _ = chain(result(RECEIPT | {"status": "0x0", "logs": [], "effectiveGasPrice": None}))

        receipt = client.receipt(tx_hash=HASH)

        assert receipt is not None
        assert (receipt.status, receipt.cost_wei) == ("reverted", None)

    @pytest.mark.parametrize("answer", [None, RECEIPT | {"blockNumber": None, "blockHash": None}])
    def test_is_missing_while_the_transaction_waits(self, answer):
        client, _ = chain(result(answer))

        assert client.receipt(tx_hash=HASH) is None

    @pytest.mark.parametrize(
        "change",
        [
            {"transactionHash": "0x" + "12" * 32},
            {"transactionHash": 7},
            {"status": None},
            {"status": True},
            {"status": 1},
            {"status": "1"},
            {"status": "0x2"},
            {"blockNumber": "0x8000000000000000"},
            {"blockNumber": -1},
            {"blockNumber": "0x-1"},
            {"blockHash": "0x12"},
            {"blockHash": "0x" + "zz" * 32},
            {"gasUsed": "0x" + "f" * 17},
            {"gasUsed": ""},
            {"effectiveGasPrice": "0x" + "f" * 65},
            {"effectiveGasPrice": 1.5},
            {"logs": None},
            {"logs": {}},
            {"logs": [7]},
            {"logs": [LOG] * 1_001},
            {"logs": [LOG | {"topics": ["0x12"]}]},
            {"logs": [LOG | {"topics": ["0x" + "00" * 32] * 5}]},
            {"logs": [LOG | {"topics": None}]},
            {"logs": [LOG | {"address": "0x12"}]},
            {"logs": [LOG | {"address": None}]},
            {"logs": [LOG | {"data": "0x1"}]},
            {"logs": [LOG | {"data": "0x" + "00" * 70_000}]},
        ],
    )
    def test_that_lies_is_refused(self, change):
        client, _ = chain(result(RECEIPT | change))

        with pytest.raises(BadAnswer) as caught:
            client.receipt(tx_hash=HASH)

        assert caught.value.code == "chain_answer"


class TestTransaction:
    def test_may_wait_for_its_block(self):
        client, _ = chain(result(KNOWN))

        found = client.transaction(tx_hash=HASH)

        assert found is not None
        assert found.pending
        assert (found.sender, found.to, found.nonce, found.data) == (ALICE, TOKEN, 3, b"\xfe\xed")

    def test_may_be_mined(self):
        client, _ = chain(result(KNOWN | {"blockNumber": "0x10"}))

        found = client.transaction(tx_hash=HASH)

        assert found is not None
        assert (found.pending, found.block_number) == (False, 16)

    def test_may_be_unknown(self):
        client, _ = chain(result(None))

        assert client.transaction(tx_hash=HASH) is None

    @pytest.mark.parametrize(
        "change",
        [
            {"hash": "0x" + "12" * 32},
            {"from": None},
            {"input": "feed"},
            {"value": "0x" + "f" * 65},
            {"to": "0x1"},
            {"nonce": 3},
        ],
    )
    def test_that_lies_is_refused(self, change):
        client, _ = chain(result(KNOWN | change))

        with pytest.raises(BadAnswer):
            client.transaction(tx_hash=HASH)


class TestReverts:
    @pytest.mark.parametrize(
        "answer",
        [
            failure(3, "execution reverted: Amount too high", REASON),
            failure(3, "execution reverted", REASON),
            failure(-32000, "execution reverted: Amount too high"),
            failure(-32015, "VM execution error.", "Reverted " + REASON),
            failure(-32603, "Error: VM Exception while processing transaction: reverted", {"data": REASON}),
            failure(
                -32603,
                "Error: VM Exception while processing transaction: "
                "reverted with reason string 'Amount too high'",
            ),
        ],
    )
    def test_give_the_contracts_reason(self, answer):
        client, _ = chain(answer)

        with pytest.raises(ChainError) as caught:
            client.estimate_gas(sender=ALICE, to=TOKEN, data=b"", value_wei=Wei(0))

        assert (caught.value.code, caught.value.reason) == ("reverted", "Amount too high")
        assert not caught.value.maybe_happened

    @pytest.mark.parametrize(
        "data", [None, 7, [], {"data": 7}, "0x1", "0xzz", "0x08c379a0", "0x" + "ff" * 70_000]
    )
    def test_may_have_no_reason_that_can_be_read(self, data):
        client, _ = chain(failure(3, "execution reverted", data))

        with pytest.raises(ChainError) as caught:
            client.call(to=TOKEN, data=b"")

        assert (caught.value.code, caught.value.reason) == ("reverted", "")

    def test_are_found_again_at_the_block_of_the_transaction(self):
        client, wire = chain(result(KNOWN | {"blockNumber": "0x10"}), failure(3, "x", REASON))

        reason = client.revert_reason(receipt=reverted())

        assert reason == "Amount too high"
        call = {"from": ALICE, "to": TOKEN, "data": "0xfeed", "value": "0x0", "gas": "0x186a0"}
        assert asked(wire)[1] == ("eth_call", [call, "0x10"])

    @pytest.mark.parametrize("gas_used", [100_000, 98_500])
    def test_for_want_of_gas_say_so(self, gas_used):
        client, _ = chain(result(KNOWN), result("0x"))

        assert client.revert_reason(receipt=reverted(gas_used=gas_used)) == "it ran out of gas"

    @pytest.mark.parametrize("answers", [[result(None)], [result(KNOWN), result("0x")]])
    def test_may_not_be_explained(self, answers):
        client, _ = chain(*answers)

        assert client.revert_reason(receipt=reverted()) == ""


def reverted(*, gas_used: int = 50_000) -> Receipt:
    return Receipt(
        tx_hash=HASH,
        status="reverted",
        block_number=16,
        block_hash=BLOCK_HASH,
        gas_used=gas_used,
        gas_price_wei=None,
        logs=(),
    )


class TestHostileAnswers:
    @pytest.mark.parametrize(
        "answer",
        [
            Answer.json([]),
            Answer.json(None),
            Answer.json("0x1"),
            Answer.json({}),
            Answer.json({"jsonrpc": "2.0", "id": 1}),
            Answer.json({"jsonrpc": "2.0", "id": 1, "error": "no"}),
            Answer.json({"jsonrpc": "2.0", "id": 1, "error": [], "result": "0x1"}),
            result(None),
            result(1),
            result(True),
            result(1.0),
            result(""),
            result("0x"),
            result("1"),
            result("0xg"),
            result("0x1 "),
            result("0x1\n"),
            result("0x\u0661"),
            result("-0x1"),
            result("0x" + "f" * 65),
            result("0x" + "0" * 1_000_000),
            result(["0x1"]),
            Answer(b'{"result":' + b"[" * 100_000),
            Answer(b'{"result":' + b"9" * 100_000 + b"}"),
            Answer(b"<!doctype html><p>Welcome"),
        ],
    )
    def test_are_bad_answers(self, answer):
        client, _ = chain(answer)

        with pytest.raises(BadAnswer):
            client.balance_wei(address=ALICE)

    def test_that_never_end_are_cut(self):
        client, _ = chain(result("0x" + "0" * 3_000_000))

        with pytest.raises(BadAnswer) as caught:
            client.call(to=TOKEN, data=b"")

        assert caught.value.code == "too_large"

    @pytest.mark.parametrize(
        "change",
        [
            {"number": None},
            {"number": 16},
            {"hash": None},
            {"hash": "0x" + "b1" * 31},
            {"timestamp": "0xffffffffff"},
            {"timestamp": "now"},
            {"baseFeePerGas": 7},
            {"baseFeePerGas": "0x" + "f" * 65},
        ],
    )
    def test_of_a_block_are_refused(self, change):
        client, _ = chain(result(BLOCK | change))

        with pytest.raises(BadAnswer):
            client.head()

    @pytest.mark.parametrize("ask", ["chain_id", "head", "fees"])
    def test_do_not_get_into_a_message(self, ask):
        secret = "0x" + "5e" * 65
        client, _ = chain(failure(-32000, secret, secret))

        with pytest.raises(ChainError) as caught:
            getattr(client, ask)()

        assert caught.value.code == "rpc"
        assert secret not in str(caught.value)

    def test_that_ask_for_a_pause_are_passed_on(self):
        client, _ = chain(Answer.text("Try again in 3 seconds", 429))

        with pytest.raises(Rejected) as caught:
            client.head()

        assert (caught.value.code, caught.value.retry_after_s) == ("rate_limited", 3)

    def test_are_no_answers_at_all_when_nobody_is_there(self):
        client, _ = chain(requests.exceptions.ConnectTimeout())

        with pytest.raises(Unreachable):
            client.head()


def several(*answers):
    """The answer to several questions: results, or whole answers, in their order."""
    return Answer.json(
        [
            answer if isinstance(answer, dict) and "id" in answer else {"id": number, "result": answer}
            for number, answer in enumerate(answers, start=1)
        ]
    )


def alone(value):
    return Answer.json({"jsonrpc": "2.0", "id": 1, "result": value})


class TestAskingAhead:
    WANTED = (questions.coin(ALICE), questions.next_nonce(ALICE))

    def chain(self, *answers):
        wire = FakeWire(*answers)
        return Chain(transport(wire)), wire

    def test_asks_all_in_one_request(self):
        chain, wire = self.chain(several("0x7", "0x3"))

        chain.ask_ahead(self.WANTED)

        assert (chain.balance_wei(address=ALICE), chain.nonce(address=ALICE)) == (7, 3)
        (sent,) = wire.sent
        asked = json.loads(sent.body)
        assert [(one["id"], one["method"]) for one in asked] == [
            (1, "eth_getBalance"),
            (2, "eth_getTransactionCount"),
        ]

    def test_takes_the_answers_by_their_numbers(self):
        chain, _ = self.chain(Answer.json([{"id": 2, "result": "0x3"}, {"id": 1, "result": "0x7"}]))

        chain.ask_ahead(self.WANTED)

        assert (chain.balance_wei(address=ALICE), chain.nonce(address=ALICE)) == (7, 3)

    def test_serves_each_answer_once(self):
        chain, wire = self.chain(several("0x7", "0x3"), alone("0x4"))
        chain.ask_ahead(self.WANTED)
        chain.nonce(address=ALICE)

        again = chain.nonce(address=ALICE)

        assert (again, len(wire.sent)) == (4, 2)

    def test_serves_as_many_calls_as_a_question_stands_there(self):
        chain, wire = self.chain(several("0x7", "0x3"))

        chain.ask_ahead([*self.WANTED, self.WANTED[1]])

        assert [chain.nonce(address=ALICE) for _ in range(2)] == [3, 3]
        assert len(json.loads(wire.sent[0].body)) == 2

    def test_keeps_nothing_after_something_was_sent(self):
        chain, wire = self.chain(several("0x7", "0x3"), alone(HASH), alone("0x4"))
        chain.ask_ahead(self.WANTED)
        chain.send(signed=RAW)

        assert chain.nonce(address=ALICE) == 4
        assert len(wire.sent) == 3

    def test_forgets_when_told_to(self):
        chain, _ = self.chain(several("0x7", "0x3"), alone("0x4"))
        chain.ask_ahead(self.WANTED)

        chain.forget()

        assert chain.nonce(address=ALICE) == 4

    def test_gives_a_contracts_refusal_as_if_it_was_asked_alone(self):
        refused = {"id": 2, "error": {"code": 3, "message": "execution reverted", "data": REASON}}
        chain, wire = self.chain(several("0x7", refused))
        call = Call(to=TOKEN, data=b"\xfe", value_wei=Wei(0))

        chain.ask_ahead([questions.coin(ALICE), questions.gas(ALICE, call)])

        with pytest.raises(ChainError, match="Amount too high"):
            chain.estimate_gas(sender=ALICE, to=TOKEN, data=b"\xfe", value_wei=Wei(0))
        assert len(wire.sent) == 1

    @pytest.mark.parametrize(
        "answer",
        [
            pytest.param(several("0x7"), id="one is missing"),
            pytest.param(several("0x7", {"id": 2, "error": {"code": -32005, "message": "x"}}), id="too many"),
            pytest.param(several("0x7", {"id": 2}), id="empty"),
            pytest.param(several("0x7", {"id": 3, "result": "0x9"}), id="of another number"),
            pytest.param(several("0x7", {"id": True, "result": "0x9"}), id="of no number"),
            pytest.param(several("0x7", {"id": 2, "result": "0x9"}, {"id": 2, "result": "0x8"}), id="two"),
            pytest.param(Answer.json(["0x7", None]), id="no answers"),
            pytest.param(
                Answer.json({"id": 1, "error": {"code": -32600, "message": "no batch"}}), id="one no"
            ),
            pytest.param(Answer.json({}, status=400), id="refused"),
            pytest.param(Answer.text("<html>"), id="no JSON"),
        ],
    )
    def test_asks_alone_what_was_not_answered(self, answer):
        chain, wire = self.chain(answer, alone("0x3"))

        chain.ask_ahead(self.WANTED)

        assert chain.nonce(address=ALICE) == 3
        assert json.loads(wire.sent[1].body)["method"] == "eth_getTransactionCount"

    @pytest.mark.parametrize("answer", [Answer.json({}, status=400), Answer.json({"id": 1, "result": "0x7"})])
    def test_is_not_tried_again_where_it_is_not_understood(self, answer):
        chain, wire = self.chain(answer)
        chain.ask_ahead(self.WANTED)

        chain.ask_ahead(self.WANTED)

        assert len(wire.sent) == 1

    def test_asks_nothing_for_one_question(self):
        chain, wire = self.chain(alone("0x3"))

        chain.ask_ahead(self.WANTED[:1])

        assert not wire.sent

    def test_says_when_nobody_is_there(self):
        chain, _ = self.chain(requests.exceptions.ConnectionError())

        with pytest.raises(Unreachable):
            chain.ask_ahead(self.WANTED)


class TestTransactionToSign:
    GOOD = {
        "chain_id": 8996,
        "nonce": 0,
        "to": TOKEN,
        "data": b"",
        "value_wei": Wei(1),
        "gas": 21_000,
        "max_fee_wei": Wei(10),
        "priority_fee_wei": Wei(2),
    }

    def test_knows_the_most_that_it_can_take(self):
        assert Transaction(**self.GOOD).most_wei == 210_001

    @pytest.mark.parametrize(
        "change",
        [
            {"chain_id": 0},
            {"nonce": -1},
            {"nonce": 2**63},
            {"gas": 2**63},
            {"value_wei": -1},
            {"value_wei": 2**256},
            {"max_fee_wei": 2**256},
            {"priority_fee_wei": 11},
            {"priority_fee_wei": -1},
        ],
    )
    def test_has_numbers_that_a_chain_takes(self, change):
        with pytest.raises(ValueError, match=r"transaction's|tip"):
            Transaction(**self.GOOD | change)
