"""What contracts say: their refusals and their answers, also when they lie."""

import pytest
from eth_abi import encode

from jobs.ocean.abi import decode_answer, encode_call, event_topic, revert_reason
from jobs.ocean.errors import BadAnswer

ERROR = bytes.fromhex("08c379a0")
PANIC = bytes.fromhex("4e487b71")


class TestRevertReason:
    def test_is_the_contracts_text(self):
        assert revert_reason(ERROR + encode(["string"], ["Amount too high"])) == "Amount too high"

    @pytest.mark.parametrize(
        ("number", "reason"),
        [(0x11, "a number became too large or negative"), (0x12, "division by zero"), (0x99, "panic 0x99")],
    )
    def test_explains_a_panic(self, number, reason):
        assert revert_reason(PANIC + encode(["uint256"], [number])) == reason

    def test_shows_the_number_of_an_error_that_only_the_contract_knows(self):
        assert revert_reason(bytes.fromhex("deadbeef") + bytes(32)) == "error 0xdeadbeef"

    def test_is_one_clean_bounded_line(self):
        hostile = "<b>\n\x00\x1b[31m\u202e" + "x" * 5_000

        reason = revert_reason(ERROR + encode(["string"], [hostile]))

        assert reason.startswith("<b> [31mxxx")
        assert len(reason) <= 200

    @pytest.mark.parametrize(
        "data",
        [
            b"",
            b"\x08",
            ERROR,
            ERROR + bytes(31),
            ERROR + b"\xff" * 64,
            ERROR + (2**255).to_bytes(32, "big") + bytes(64),
            ERROR + (32).to_bytes(32, "big") + (2**64).to_bytes(32, "big"),
        ],
    )
    def test_is_empty_for_what_cannot_be_read(self, data):
        assert revert_reason(data) == ""

    def test_takes_text_that_is_no_utf8(self):
        assert revert_reason(ERROR + encode(["bytes"], [b"a\xffb"])) == "a\ufffdb"


class TestEncodeCall:
    def test_is_selector_and_words(self):
        data = encode_call("approve(address,uint256)", "0x" + "ab" * 20, 5)

        assert data.hex() == "095ea7b3" + "00" * 12 + "ab" * 20 + f"{5:064x}"

    @pytest.mark.parametrize("value", [-1, 2**256, "5", None])
    def test_takes_nothing_that_does_not_fit(self, value):
        with pytest.raises(ValueError, match="does not fit into a call of approve"):
            encode_call("approve(address,uint256)", "0x" + "ab" * 20, value)


class TestDecodeAnswer:
    @pytest.mark.parametrize("data", [b"", bytes(31), b"\xff" * 31])
    def test_refuses_what_is_too_short(self, data):
        with pytest.raises(BadAnswer) as caught:
            decode_answer(["uint256"], data, what="a balance")

        assert caught.value.code == "abi"
        assert "a balance" in caught.value.message

    def test_refuses_numbers_beyond_their_type(self):
        with pytest.raises(BadAnswer):
            decode_answer(["uint8"], (256).to_bytes(32, "big"), what="decimals")


class TestEventTopic:
    def test_is_the_hash_of_the_signature(self):
        assert event_topic("Transfer(address,address,uint256)").hex() == (
            "ddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef"
        )
