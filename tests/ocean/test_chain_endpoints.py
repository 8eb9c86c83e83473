"""Endpoints that limit their rate, lag behind, or are another chain's: what the client says of them.

What the services make of it is theirs: they compare the chain's number before they believe anything.
"""

import json

import pytest

from jobs.ocean.errors import BadAnswer, ChainError, Rejected
from tests.ocean.test_chain import ALICE, BLOCK, HASH, RAW, TOKEN, chain, failure, result
from tests.ocean.wire import Answer, Clock


class TestAnEndpointThatIsAskedTooOften:
    @pytest.mark.parametrize(
        ("number", "text"),
        [
            (-32005, "daily request count exceeded, request rate limited"),
            (-32005, "Rate limit exceeded. Please retry after 1 second."),
            (-32001, "You've reached the usage limit for your current plan."),
            (-32029, "Rate limit exceeded"),
            (429, "Too many requests"),
            (429, ""),
        ],
    )
    def test_says_so_in_its_answer(self, number, text):
        client, _ = chain(failure(number, text))

        with pytest.raises(ChainError, match="it is asked too often") as caught:
            client.call(to=TOKEN, data=b"")

        assert (caught.value.code, caught.value.retryable) == ("rate_limited", True)

    def test_is_not_one_that_finds_too_many_events(self):
        client, _ = chain(failure(-32005, "query returned more than 10000 results"))

        with pytest.raises(ChainError) as caught:
            client.logs(address=TOKEN, topics=[], from_block=1, to_block=9)

        assert (caught.value.code, caught.value.retryable) == ("rpc", True)

    @pytest.mark.parametrize(
        ("header", "wait_s"),
        [("7", 7), ("0", 0), ("Wed, 21 Oct 2026 07:28:00 GMT", 60), ("-1", 60), ("", 60)],
    )
    def test_names_the_pause_in_a_header(self, header, wait_s):
        body = json.dumps({"jsonrpc": "2.0", "id": 1, "error": {"code": -32005, "message": "rate limited"}})
        client, wire = chain(Answer(body.encode(), 429, {"Retry-After": header}), clock=Clock())

        with pytest.raises(Rejected, match=f"a pause of {wait_s} s") as caught:
            client.head()

        assert (caught.value.code, caught.value.retryable) == ("rate_limited", True)
        assert caught.value.retry_after_s == wait_s
        assert len(wire.sent) == 1  # who is asked too often is not asked again at once

    def test_has_not_taken_what_was_sent(self):
        client, _ = chain(Answer.text("Too Many Requests", 429))

        with pytest.raises(Rejected) as caught:
            client.send(signed=RAW)

        assert (caught.value.retryable, caught.value.maybe_happened) == (True, False)


class TestAnEndpointThatLagsBehind:
    def test_shows_how_old_its_newest_block_is(self):
        client, _ = chain(result(BLOCK | {"timestamp": "0x1"}))

        assert client.head().timestamp == 1

    def test_may_go_back_and_is_believed_each_time(self):
        client, _ = chain(result(BLOCK), result(BLOCK | {"number": "0xf"}))

        assert [client.head().number, client.head().number] == [16, 15]

    def test_does_not_know_what_is_on_the_chain_already(self):
        client, _ = chain(result(None), result(None), result("0x3"), result(None))

        assert client.receipt(tx_hash=HASH) is None
        assert client.transaction(tx_hash=HASH) is None
        assert client.mined_nonce(address=ALICE) == 3
        assert client.block_hash(number=16) is None

    def test_leaves_it_open_whether_a_used_nonce_is_this_transaction(self):
        client, _ = chain(failure(-32000, "nonce too low"), result(None))

        with pytest.raises(ChainError) as caught:
            client.send(signed=RAW)

        assert (caught.value.code, caught.value.maybe_happened) == ("nonce_too_low", True)

    @pytest.mark.parametrize(
        "text",
        [
            "header not found",
            "missing trie node 0x12 (path ) state is not available",
            "Block not found",
            "World state unavailable",
            "required historical state unavailable (reexec=128)",
        ],
    )
    def test_has_no_state_of_a_block_and_that_is_no_refusal_of_the_contract(self, text):
        client, _ = chain(failure(-32000, text))

        with pytest.raises(ChainError) as caught:
            client.mined_nonce(address=ALICE, at_block=16)

        assert (caught.value.code, caught.value.retryable) == ("behind", True)


class TestAnEndpointOfAnotherChain:
    @pytest.mark.parametrize("lie", ["0x0", "0x1"])
    def test_names_its_chain_for_the_caller_to_compare(self, lie):
        client, _ = chain(result(lie))

        assert client.chain_id() == int(lie, 16)

    @pytest.mark.parametrize("lie", ["0x8000000000000000", 8996, "8996", None, "mainnet", ""])
    def test_may_name_none(self, lie):
        client, _ = chain(result(lie))

        with pytest.raises(BadAnswer) as caught:
            client.chain_id()

        assert caught.value.code == "chain_answer"

    @pytest.mark.parametrize(
        "text", ["invalid sender", "invalid chain id for signer: have 1 want 8996", "invalid chainid"]
    )
    def test_that_lied_takes_nothing_that_was_signed_for_the_right_one(self, text):
        client, _ = chain(failure(-32000, text))

        with pytest.raises(ChainError) as caught:
            client.send(signed=RAW)

        assert (caught.value.code, caught.value.maybe_happened) == ("rpc", False)
