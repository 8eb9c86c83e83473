"""The client of a chain, in front of endpoints that lie, fail and speak their dialects."""

import json

import pytest
import requests
from eth_abi import encode
from eth_utils.crypto import keccak

from jobs.ocean.chain import MAX_LOG_BLOCKS, Block, Fees, event_topic
from jobs.ocean.errors import BadAnswer, ChainError, OceanError, Refused, Rejected, Unreachable
from jobs.ocean.units import Address, Wei
from tests.ocean.chain_wire import ANY_HASH, asked, block, chain, error, log, receipt, result
from tests.ocean.wire import Answer

HERE = Address("0x" + "12" * 20)
THERE = Address("0x" + "34" * 20)
TOPIC = bytes.fromhex("01" * 32)
OTHER_TOPIC = bytes.fromhex("02" * 32)
SIGNED = b"\x02signed"
SIGNED_HASH = "0x" + keccak(SIGNED).hex()
NOT_ENOUGH = "0x08c379a0" + encode(["string"], ["Not enough"]).hex()
OVERFLOW = "0x4e487b71" + encode(["uint256"], [0x11]).hex()


def calling(client):
    return client.call(to=HERE, data=b"\x01\x02")


def estimating(client):
    return client.estimate_gas(sender=THERE, to=HERE, data=b"\x01", value_wei=Wei(0))


def listing(client, *, topics=(TOPIC,), first=0x10, last=0x20):
    return client.logs(address=HERE, topics=topics, from_block=first, to_block=last)


class TestReading:
    def test_of_the_head_gives_number_hash_time_and_base_fee(self):
        client, wire = chain(result(block()))

        assert client.head() == Block(16, ANY_HASH, 0x65536FA0, Wei(10**9))
        assert asked(wire) == ("eth_getBlockByNumber", ["latest", False])

    def test_of_a_chain_without_base_fees_gives_none(self):
        client, _ = chain(result(block(baseFeePerGas=...)))

        assert client.head().base_fee_wei is None

    def test_of_a_block_that_is_not_there_yet_gives_none(self):
        client, wire = chain(result(None))

        assert client.block_hash(17) is None
        assert asked(wire) == ("eth_getBlockByNumber", ["0x11", False])

    def test_of_numbers_asks_the_recorded_way(self):
        client, wire = chain(result("0x2324"), result("0x5", number=2), result("0x6", number=3))

        assert (client.chain_id(), client.nonce(HERE), client.mined_nonce(HERE)) == (8996, 5, 6)
        assert [asked(wire, position) for position in range(3)] == [
            ("eth_chainId", []),
            ("eth_getTransactionCount", [str(HERE), "pending"]),
            ("eth_getTransactionCount", [str(HERE), "latest"]),
        ]

    def test_of_a_balance_takes_all_256_bits(self):
        client, _ = chain(result("0x" + "f" * 64))

        assert client.balance_wei(HERE) == 2**256 - 1

    def test_of_a_call_gives_its_bytes(self):
        client, wire = chain(result("0x00ff"))

        assert client.call(to=HERE, data=b"\x01\x02", sender=THERE) == b"\x00\xff"
        assert asked(wire) == (
            "eth_call",
            [{"to": str(HERE), "data": "0x0102", "from": str(THERE)}, "latest"],
        )

    def test_is_tried_again_when_the_endpoint_hangs_up(self):
        client, wire = chain(requests.ConnectionError(), result("0x1", number=1), retries=True)

        assert client.chain_id() == 1
        assert len(wire.sent) == 2


class TestFees:
    def test_allow_for_twice_the_base_fee(self):
        client, _ = chain(result(block()), result("0x59682f00", number=2))

        assert client.fees() == Fees(max_fee_wei=Wei(3_500_000_000), priority_fee_wei=Wei(1_500_000_000))

    def test_take_the_price_where_there_is_no_base_fee(self):
        client, _ = chain(result(block(baseFeePerGas=None)), result("0x7", number=2))

        assert client.fees() == Fees(max_fee_wei=Wei(7), priority_fee_wei=Wei(7))

    @pytest.mark.parametrize(
        ("code", "message"),
        [
            (-32601, "the method eth_maxPriorityFeePerGas does not exist/is not available"),
            (-32000, "Method eth_maxPriorityFeePerGas not found"),
            (-32004, "not this one"),
        ],
    )
    def test_take_a_usual_tip_where_none_is_suggested(self, code, message):
        client, _ = chain(result(block()), error(message, code=code, number=2))

        assert client.fees().priority_fee_wei == 1_500_000_000

    def test_are_unknown_to_an_endpoint_that_is_asked_too_often(self):
        client, _ = chain(result(block()), error("rate limited", code=-32005, number=2))

        with pytest.raises(ChainError) as caught:
            client.fees()

        assert (caught.value.code, caught.value.retryable) == ("rate_limited", True)

    @pytest.mark.parametrize("tip", ["0x38d7ea4c68001", "0x" + "f" * 64])
    def test_that_would_empty_a_wallet_are_not_believed(self, tip):
        client, _ = chain(result(block()), result(tip, number=2))

        with pytest.raises(BadAnswer):
            client.fees()


class TestHostileAnswers:
    """Whatever an endpoint sends, it is an error of ours with a sentence, and nothing else."""

    @pytest.mark.parametrize(
        "said",
        [
            [],
            "x",
            None,
            7,
            {},
            {"jsonrpc": "2.0", "id": 2, "result": "0x1"},
            {"jsonrpc": "2.0", "id": None, "result": "0x1"},
            {"jsonrpc": "2.0", "id": "1", "result": "0x1"},
            {"jsonrpc": "2.0", "id": True, "result": "0x1"},
            {"jsonrpc": "2.0", "id": 1},
            {"jsonrpc": "2.0", "id": 1, "error": None},
            {"jsonrpc": "2.0", "id": 5, "error": {"code": 3, "message": "execution reverted"}},
            [{"jsonrpc": "2.0", "id": 1, "result": "0x1"}],
        ],
    )
    def test_that_are_no_json_rpc_are_bad(self, said):
        client, _ = chain(Answer.json(said))

        with pytest.raises(BadAnswer) as caught:
            client.chain_id()

        assert caught.value.code == "rpc_answer"
        assert not caught.value.maybe_happened

    @pytest.mark.parametrize(
        "value",
        [None, 1, True, "", "0x", "1", "0xg", "-0x1", "0x1 ", "0x" + "1" * 65, "0x8000000000000000", [], {}],
    )
    def test_that_are_no_number_are_bad(self, value):
        client, _ = chain(result(value))

        with pytest.raises(BadAnswer):
            client.chain_id()

    @pytest.mark.parametrize(
        "changes",
        [
            {"number": None},
            {"number": "0x" + "f" * 20},
            {"hash": ...},
            {"hash": "0x1"},
            {"hash": 5},
            {"timestamp": "0x174876e801"},
            {"timestamp": -1},
            {"baseFeePerGas": "free"},
            {"baseFeePerGas": "0x" + "f" * 32},
        ],
    )
    def test_that_are_no_block_are_bad(self, changes):
        client, _ = chain(result(block(**changes)))

        with pytest.raises(BadAnswer):
            client.head()

    @pytest.mark.parametrize("value", [None, "0x10", [], block(number="0x11"), block(hash=None)])
    def test_that_are_no_or_another_block_are_bad(self, value):
        client, _ = chain(result([value] if value is None else value))

        with pytest.raises(BadAnswer):
            client.block_hash(16)

    @pytest.mark.parametrize("value", [None, 5, "0x0", "0xzz", "ff", {"data": "0x"}, "0x" + "é" * 2])
    def test_that_are_no_bytes_are_bad(self, value):
        client, _ = chain(result(value))

        with pytest.raises(BadAnswer):
            calling(client)

    @pytest.mark.parametrize("gas", ["0x5f5e100", "0x" + "f" * 16])
    def test_with_more_gas_than_a_block_has_are_bad(self, gas):
        client, _ = chain(result(gas))

        with pytest.raises(BadAnswer):
            estimating(client)

    @pytest.mark.parametrize(
        "changes",
        [
            {"transactionHash": "0x" + "ee" * 32},
            {"transactionHash": None},
            {"status": ...},
            {"status": "0x2"},
            {"status": True},
            {"blockNumber": "0x" + "f" * 17},
            {"blockHash": "0x"},
            {"gasUsed": None},
            {"logs": None},
            {"logs": {}},
            {"logs": [7]},
            {"logs": [log()] * 1_001},
            {"logs": [log(address="0x1")]},
            {"logs": [log(address=None)]},
            {"logs": [log(topics=None)]},
            {"logs": [log(topics=["0x1"])]},
            {"logs": [log(topics=["0x" + "01" * 32] * 5)]},
            {"logs": [log(data="0x1")]},
            {"logs": [log(data=...)]},
            {"logs": [log(blockNumber="next")]},
        ],
    )
    def test_that_are_no_receipt_are_bad(self, changes):
        client, _ = chain(result(receipt(**changes)))

        with pytest.raises(BadAnswer):
            client.receipt(ANY_HASH)

    @pytest.mark.parametrize("value", [True, "yes", [], {}, {"hash": "0x1"}, {"hash": "0x" + "ee" * 32}])
    def test_that_are_another_transaction_are_bad(self, value):
        client, _ = chain(result(value))

        with pytest.raises(BadAnswer):
            client.is_known(ANY_HASH)

    @pytest.mark.parametrize(
        "found",
        [
            None,
            {},
            [None],
            [log(address=str(THERE))],
            [log(topics=[])],
            [log(topics=["0x" + "02" * 32])],
            [log(blockNumber="0xf")],
            [log(blockNumber="0x21")],
            [log(blockNumber=None)],
            [log(transactionHash=None)],
        ],
    )
    def test_that_are_other_events_are_bad(self, found):
        client, _ = chain(result(found))

        with pytest.raises(BadAnswer):
            listing(client)

    @pytest.mark.parametrize(
        "body", [b"", b"<html>", b"\xff\xfe", b"[" * 100_000, b'{"jsonrpc":"2.0","id":1,"result":NaN}']
    )
    def test_that_are_no_json_are_bad(self, body):
        client, _ = chain(Answer(body=body, headers={"Content-Type": "application/json"}))

        with pytest.raises(BadAnswer):
            client.chain_id()

    def test_that_never_end_are_cut(self):
        client, _ = chain(Answer(body=b" " * (5 * 1024 * 1024 + 1)))

        with pytest.raises(BadAnswer) as caught:
            client.chain_id()

        assert caught.value.code == "too_large"


# What endpoints say of transactions that they do not take, in their own words.
# Source: the text files of errors of go-ethereum (core/txpool), erigon (txpoolcfg), nethermind (AcceptTxResult), besu
# (TransactionInvalidReason), hardhat and edr, ganache, openethereum, and what providers of endpoints document.
REFUSALS = [
    ("insufficient funds for gas * price + value: balance 0, tx cost 42000", "insufficient_funds"),
    ("insufficient funds for transfer", "insufficient_funds"),
    ("InsufficientFunds, Account balance: 0, cumulative cost: 42000", "insufficient_funds"),
    ("Sender doesn't have enough funds to send tx. The max upfront cost is: 5", "insufficient_funds"),
    ("sender doesn't have enough funds to send tx. The upfront cost is: 9", "insufficient_funds"),
    ("Upfront cost exceeds account balance", "insufficient_funds"),
    ("Insufficient funds. The account you tried to send transaction from does not", "insufficient_funds"),
    ("nonce too low", "nonce_too_low"),
    ("nonce too low: next nonce 5, tx nonce 4", "nonce_too_low"),
    ("Nonce too low. Expected nonce to be 1 but got 0.", "nonce_too_low"),
    ("OldNonce, Current nonce: 5, nonce of rejected tx: 4", "nonce_too_low"),
    ("the tx doesn't have the correct nonce. account has nonce of: 5 tx has nonce of: 4", "nonce_too_low"),
    ("Transaction nonce is too low. Try incrementing the nonce.", "nonce_too_low"),
    ("nonce too high", "nonce_too_high"),
    ("Nonce too high. Expected nonce to be 1 but got 7.", "nonce_too_high"),
    ("NonceGap, Future nonce. Expected nonce: 3", "nonce_too_high"),
    ("replacement transaction underpriced", "underpriced"),
    ("transaction underpriced: gas tip cap 1, minimum needed 25000000000", "underpriced"),
    ("max fee per gas less than block base fee: address 0x12, maxFeePerGas: 1, baseFee: 7", "underpriced"),
    ("FeeTooLow", "underpriced"),
    ("fee too low", "underpriced"),
    ("ReplacementNotAllowed, CurrentMaxFee: 5", "underpriced"),
    (
        "Transaction maxFeePerGas (1) is too low for the next block, which has a baseFeePerGas of 7",
        "underpriced",
    ),
    ("Gas price below configured minimum gas price", "underpriced"),
    ("could not replace existing tx", "underpriced"),
    ("There is another transaction with same nonce in the queue. Try increasing", "underpriced"),
    ("future transaction tries to replace pending", "underpriced"),
    ("invalid chain id for signer: have 1 want 8996", "wrong_chain"),
    ("InvalidTxChainId, Expected 1, got 2", "wrong_chain"),
    ("only replay-protected (EIP-155) transactions allowed over RPC", "wrong_chain"),
    ("intrinsic gas too low", "gas_limit"),
    ("exceeds block gas limit", "gas_limit"),
    ("GasLimitExceeded, Gas limit: 30000000", "gas_limit"),
    ("tx fee (1.10 ether) exceeds the configured cap (1.00 ether)", "fee_cap"),
    ("transaction type not supported", "tx_type"),
    ("txpool is full", "pool_full"),
    ("pending sub-pool is full", "pool_full"),
    ("limit exceeded", "rate_limited"),
    ("daily request count exceeded, request rate limited", "rate_limited"),
    ("Your app has exceeded its compute units per second capacity", "rate_limited"),
    ("Too Many Requests", "rate_limited"),
    ("missing trie node 5f (path ) state 0x5f is not available", "no_history"),
    ("header not found", "no_history"),
    ("the method eth_mystery does not exist/is not available", "unknown_method"),
    ("internal error", "rpc"),
    ("", "rpc"),
]
KNOWN_ALREADY = [
    "already known",
    "AlreadyKnown",
    "known transaction: ab12",
    "Known transaction",
    "Transaction with the same hash was already imported.",
    "INTERNAL_ERROR: existing tx with same hash",
    "transaction already exists",
]


class TestSending:
    def test_gives_the_bytes_once(self):
        client, wire = chain(result(SIGNED_HASH))

        client.send(SIGNED)

        assert asked(wire) == ("eth_sendRawTransaction", ["0x" + SIGNED.hex()])
        assert len(wire.sent) == 1

    @pytest.mark.parametrize("words", KNOWN_ALREADY)
    def test_what_is_known_already_is_well(self, words):
        client, _ = chain(error(words))

        client.send(SIGNED)

    @pytest.mark.parametrize(("words", "code"), REFUSALS)
    def test_that_is_refused_says_why(self, words, code):
        client, _ = chain(error(words))

        with pytest.raises(ChainError) as caught:
            client.send(SIGNED)

        assert caught.value.code == code
        assert caught.value.maybe_happened is (code == "rpc")
        assert caught.value.message.startswith("node.example")
        assert caught.value.message.endswith(".")
        assert "0x" not in caught.value.message

    def test_that_development_chains_mine_and_call_reverted_may_have_happened(self):
        # Hardhat and ganache answer so although the transaction is in a block.
        words = "Error: VM Exception while processing transaction: reverted with reason string 'Not enough'"
        client, _ = chain(
            error(words, code=-32603, data={"message": words, "txHash": ANY_HASH, "data": NOT_ENOUGH})
        )

        with pytest.raises(ChainError, match="It says: Not enough") as caught:
            client.send(SIGNED)

        assert (caught.value.code, caught.value.maybe_happened) == ("reverted", True)

    def test_without_a_connection_has_certainly_not_happened(self):
        never = requests.exceptions.ConnectTimeout()
        client, wire = chain(never, retries=True)

        with pytest.raises(Unreachable) as caught:
            client.send(SIGNED)

        assert not caught.value.maybe_happened
        assert len(wire.sent) == 1

    @pytest.mark.parametrize("cut", [requests.ConnectionError(), requests.exceptions.ReadTimeout()])
    def test_without_an_answer_may_have_happened_and_is_not_repeated_here(self, cut):
        client, wire = chain(cut, retries=True)

        with pytest.raises(Unreachable) as caught:
            client.send(SIGNED)

        assert caught.value.maybe_happened
        assert len(wire.sent) == 1

    @pytest.mark.parametrize(
        "answer",
        [
            Answer(body=b"<html>", headers={"Content-Type": "application/json"}),
            Answer.json([]),
            Answer.json({"jsonrpc": "2.0", "id": 7, "result": SIGNED_HASH}),
            result(None),
            result("0x"),
            result("0x" + "00" * 32),
            result(True),
            Answer.text("gateway", status=502),
            Answer.text("oh", status=500),
        ],
    )
    def test_with_an_answer_that_says_nothing_may_have_happened(self, answer):
        client, _ = chain(answer)

        with pytest.raises(OceanError) as caught:
            client.send(SIGNED)

        assert caught.value.maybe_happened

    @pytest.mark.parametrize("status", [401, 403, 429, 413])
    def test_that_the_endpoint_does_not_even_read_has_not_happened(self, status):
        client, _ = chain(Answer.text("no", status=status))

        with pytest.raises(Rejected) as caught:
            client.send(SIGNED)

        assert not caught.value.maybe_happened


# How contracts' refusals arrive, and what they come to.
REVERTS = [
    ("execution reverted: Not enough", 3, NOT_ENOUGH, "Not enough"),  # geth, erigon, anvil
    ("execution reverted: Not enough", -32000, None, "Not enough"),  # geth of old
    ("execution reverted", 3, NOT_ENOUGH, "Not enough"),
    ("execution reverted", 3, "0x", ""),
    ("execution reverted", -32000, None, ""),
    ("execution reverted", 3, OVERFLOW, "a number ran over"),
    ("execution reverted: arithmetic underflow or overflow", 3, OVERFLOW, "a number ran over"),
    ("execution reverted", 3, "0x4e487b71" + "ff" * 32, "panic of an unknown number"),
    ("execution reverted", 3, "0xdeadbeef", ""),  # an error of the contract's own kind
    ("something went wrong", 3, None, ""),
    ("something went wrong", -32000, NOT_ENOUGH, "Not enough"),
    ("VM execution error.", -32015, "Reverted " + NOT_ENOUGH, "Not enough"),  # nethermind, openethereum
    ("Execution reverted", -32000, NOT_ENOUGH, "Not enough"),  # besu
    (
        "Error: VM Exception while processing transaction: reverted with reason string 'Not enough'",
        -32603,
        {"message": "Error: VM Exception", "data": NOT_ENOUGH},
        "Not enough",
    ),  # hardhat
    (
        "Error: VM Exception while processing transaction: reverted with reason string 'Not enough'",
        -32603,
        {"message": "x", "data": {"message": "x", "data": NOT_ENOUGH}},
        "Not enough",
    ),
    ("Error: Transaction reverted without a reason string", -32603, {"data": "0x"}, ""),
    (
        "VM Exception while processing transaction: revert Not enough",
        -32000,
        {"hash": ANY_HASH, "programCounter": 5, "result": NOT_ENOUGH, "reason": "Not enough"},
        "Not enough",
    ),  # ganache 7
    (
        "VM Exception while processing transaction: revert Not enough",
        -32000,
        {ANY_HASH: {"error": "revert", "return": NOT_ENOUGH, "reason": "Not enough"}, "name": "RuntimeError"},
        "Not enough",
    ),  # ganache 6
    ("VM Exception while processing transaction: out of gas", -32000, None, ""),
    ("gas required exceeds allowance (30000000)", -32000, None, ""),
    ("out of gas", -32000, None, ""),
    ("invalid opcode: INVALID", -32000, None, ""),
    # A contract that speaks like an endpoint deceives nobody.
    ("execution reverted: nonce too low", 3, None, "nonce too low"),
    ("execution reverted: already known", 3, None, "already known"),
    (
        "VM Exception while processing transaction: revert insufficient funds for gas",
        -32000,
        None,
        "insufficient funds for gas",
    ),
    # Nor does one that writes much, or out of turn, or no text at all.
    ("execution reverted", 3, "0x08c379a0" + encode(["string"], ["a\u202eb\n\x00c." * 500]).hex(), None),
    ("execution reverted", 3, "0x08c379a0" + "ff" * 64, ""),
    ("execution reverted", 3, "0x08c379a0" + encode(["bytes"], [b"\xff\xfe"]).hex(), ""),
    ("execution reverted", 3, "0x08c379a0", ""),
    ("execution reverted", 3, {"data": {"data": {"data": {"data": NOT_ENOUGH}}}}, ""),
    ("execution reverted", 3, 7, ""),
]


class TestReverts:
    @pytest.mark.parametrize(("words", "code", "data", "reason"), REVERTS)
    def test_are_told_from_everything_else_and_carry_the_contracts_words(self, words, code, data, reason):
        client, _ = chain(error(words, code=code, data=data))

        with pytest.raises(ChainError) as caught:
            calling(client)

        assert (caught.value.code, caught.value.retryable, caught.value.maybe_happened) == (
            "reverted",
            False,
            False,
        )
        if reason is None:
            assert "\u202e" not in caught.value.message
            assert "\n" not in caught.value.message
            assert len(caught.value.message) < 260
        else:
            says = f" It says: {reason}." if reason else ""
            assert caught.value.message == f"The contract refused.{says}"

    @pytest.mark.parametrize("said", ["execution reverted", None, 7, [], {"code": 3}, {"message": ["x"]}])
    def test_and_errors_of_any_shape_are_errors(self, said):
        client, _ = chain(Answer.json({"jsonrpc": "2.0", "id": 1, "error": said or {"message": None}}))

        with pytest.raises(ChainError):
            calling(client)

    def test_come_out_where_the_endpoint_calls_them_a_bad_request(self):
        client, _ = chain(error("execution reverted: Not enough", code=3, status=400))

        with pytest.raises(ChainError, match="It says: Not enough"):
            calling(client)

    def test_of_a_question_that_was_not_read_have_no_number(self):
        client, _ = chain(error("Too many requests", code=-32005, number=None))

        with pytest.raises(ChainError) as caught:
            calling(client)

        assert caught.value.code == "rate_limited"

    @pytest.mark.parametrize("status", [401, 403])
    def test_are_something_else_than_a_missing_key(self, status):
        client, _ = chain(error("invalid project id", status=status))

        with pytest.raises(Rejected) as caught:
            calling(client)

        assert caught.value.code == "not_authorized"


class TestRevertReason:
    def ask(self, *answers: Answer | Exception) -> tuple[str, list]:
        client, wire = chain(*answers)
        said = client.revert_reason(sender=THERE, to=HERE, data=b"\x01", value_wei=Wei(5), block=16)
        return said, asked(wire)[1]

    def test_is_asked_of_the_block_before(self):
        said, params = self.ask(error("execution reverted: Not enough", code=3))

        assert said == "The contract refused. It says: Not enough."
        assert params == [{"to": str(HERE), "data": "0x01", "from": str(THERE), "value": "0x5"}, "0xf"]

    @pytest.mark.parametrize(
        "answer",
        [error("missing trie node"), error("rate limited"), Answer.json([]), requests.ConnectionError()],
    )
    def test_is_not_made_up_where_the_endpoint_cannot_say(self, answer):
        assert self.ask(answer)[0] == "The endpoint does not say why."

    def test_is_none_where_the_contract_would_take_it_now(self):
        assert self.ask(result("0x"))[0] == "It does not say why; asked again, the contract would take it."


class TestReceipts:
    def test_tell_block_gas_and_events(self):
        client, _ = chain(
            result(receipt(logs=[log(data="0x0a")], transactionHash=ANY_HASH.upper().replace("X", "x")))
        )

        found = client.receipt(ANY_HASH)

        assert found is not None
        assert (found.ok, found.block_number, found.gas_used, found.tx_hash) == (True, 16, 21_000, ANY_HASH)
        (event,) = found.logs
        assert (event.address, event.topics, event.data, event.block_number) == (HERE, (TOPIC,), b"\x0a", 16)

    def test_tell_that_the_contract_refused(self):
        client, _ = chain(result(receipt(status="0x0")))

        found = client.receipt(ANY_HASH)

        assert found is not None
        assert not found.ok

    @pytest.mark.parametrize(
        "value", [None, receipt(blockNumber=None, blockHash=None), receipt(blockHash=None)]
    )
    def test_are_none_before_there_is_a_block(self, value):
        client, _ = chain(result(value))

        assert client.receipt(ANY_HASH) is None

    @pytest.mark.parametrize(
        ("value", "known"), [(None, False), ({"hash": ANY_HASH, "blockNumber": None}, True)]
    )
    def test_are_not_needed_to_know_of_a_transaction(self, value, known):
        client, _ = chain(result(value))

        assert client.is_known(ANY_HASH) is known


class TestLogs:
    def test_are_asked_for_by_contract_topics_and_blocks(self):
        client, wire = chain(result([log()]))

        (found,) = listing(client, topics=((TOPIC, OTHER_TOPIC),))

        assert (found.tx_hash, found.block_number) == (ANY_HASH, 16)
        assert asked(wire) == (
            "eth_getLogs",
            [
                {
                    "address": str(HERE),
                    "topics": [["0x" + TOPIC.hex(), "0x" + OTHER_TOPIC.hex()]],
                    "fromBlock": "0x10",
                    "toBlock": "0x20",
                }
            ],
        )

    def test_may_have_any_topic_at_a_place(self):
        topics = ["0x" + "01" * 32, "0x" + "77" * 32, "0x" + "02" * 32]
        client, wire = chain(result([log(topics=topics)]))

        assert len(listing(client, topics=(TOPIC, None, OTHER_TOPIC))) == 1
        assert asked(wire)[1][0]["topics"][1] is None

    def test_leave_out_what_the_chain_forgot(self):
        client, _ = chain(result([log(removed=True), log(removed=False)]))

        assert len(listing(client)) == 1

    @pytest.mark.parametrize(("first", "last"), [(5, 4), (-1, 4), (0, MAX_LOG_BLOCKS), (0, 10**9)])
    def test_are_asked_for_by_a_few_blocks_only(self, first, last):
        client, wire = chain(result([]))

        with pytest.raises(Refused) as caught:
            listing(client, first=first, last=last)

        assert caught.value.code == "too_many_blocks"
        assert wire.sent == []

    @pytest.mark.parametrize(
        "answer",
        [
            result([log()] * 1_001),
            error("query returned more than 10000 results", code=-32005),
            error("block range is too wide"),
            error("eth_getLogs is limited to a 500 blocks range"),
        ],
    )
    def test_that_are_too_many_are_asked_for_in_parts(self, answer):
        client, _ = chain(answer)

        with pytest.raises(ChainError) as caught:
            listing(client)

        assert caught.value.code == "too_many_logs"


class TestEventTopic:
    def test_is_the_hash_of_the_signature(self):
        assert event_topic("Transfer(address,address,uint256)").hex() == (
            "ddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef"
        )


class TestQuestions:
    def test_are_numbered_so_that_answers_cannot_be_mistaken(self):
        client, wire = chain(result("0x1"), result("0x1", number=2))

        client.chain_id()
        client.chain_id()

        assert [json.loads(sent.body or b"")["id"] for sent in wire.sent] == [1, 2]
