import pickle
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from jobs.ocean.units import Address, clean_text, from_wei, is_did, parse_did, plain, to_wei

CHECKSUMMED = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8"
DID = "did:op:" + "b6" * 32


class TestAddress:
    @pytest.mark.parametrize(
        "text", [CHECKSUMMED, CHECKSUMMED.lower(), f"  {CHECKSUMMED}\n", "0x" + CHECKSUMMED[2:].upper()]
    )
    def test_is_checksummed_once(self, text):
        assert Address.parse(text) == CHECKSUMMED
        assert type(Address.parse(text)) is Address

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "0x",
            "0x123",
            CHECKSUMMED[2:],
            CHECKSUMMED + "0",
            "0x" + "g" * 40,
            "0X" + CHECKSUMMED[2:],
            None,
            7,
            b"0x",
        ],
    )
    def test_of_another_form_is_refused(self, text):
        with pytest.raises(ValueError, match="40 hexadecimal digits"):
            Address.parse(text)

    def test_with_a_wrong_checksum_is_refused(self):
        with pytest.raises(ValueError, match="mistyped"):
            Address.parse(CHECKSUMMED.replace("dc79C8", "dc79c8"))

    def test_survives_pickling_and_pydantic(self):
        class Holder(BaseModel):
            address: Address

        assert pickle.loads(pickle.dumps(Address(CHECKSUMMED))) == CHECKSUMMED
        assert type(Holder(address=CHECKSUMMED.lower()).address) is Address
        with pytest.raises(ValueError):
            Holder(address="0x1")


class TestDid:
    @pytest.mark.parametrize("text", [DID, DID.replace("op", "ope"), f" {DID} "])
    def test_is_taken(self, text):
        assert parse_did(text) == text.strip()

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "did:op:",
            DID[:-1],
            DID + "0",
            DID.replace("op", "web"),
            "did:op:" + "g" * 64,
            DID + "\n/x",
            None,
            5,
        ],
    )
    def test_of_another_form_is_refused(self, text):
        assert not is_did(text)
        with pytest.raises(ValueError, match="did:op"):
            parse_did(text)


class TestWei:
    @pytest.mark.parametrize(
        ("amount", "decimals", "wei"),
        [
            ("1", 18, 10**18),
            ("0.000000000000000001", 18, 1),
            ("0", 18, 0),
            ("1.5", 6, 1_500_000),
            ("123456789012345678901234567890.123456", 6, 123456789012345678901234567890123456),
        ],
    )
    def test_is_exact_in_both_directions(self, amount, decimals, wei):
        assert to_wei(Decimal(amount), decimals=decimals) == wei
        assert from_wei(wei, decimals=decimals) == Decimal(amount)

    @pytest.mark.parametrize(
        "amount",
        [
            "-1",
            "NaN",
            "sNaN",
            "Infinity",
            "0.0000000000000000001",
            "1." + "0" * 120 + "1",
            str(2**256),
            "1e999999",
        ],
    )
    def test_refuses_what_a_token_cannot_hold(self, amount):
        with pytest.raises(ValueError, match=r"The (amount|token)"):
            to_wei(Decimal(amount))

    def test_ends_with_the_word_of_a_contract(self):
        assert to_wei(Decimal(2**256 - 1), decimals=0) == 2**256 - 1
        with pytest.raises(ValueError, match="larger than any token"):
            to_wei(Decimal(2**256), decimals=0)

    @given(
        amount=st.one_of(
            st.decimals(allow_nan=False, allow_infinity=False),
            st.from_regex(r"[0-9]{1,60}(\.[0-9]{1,150})?", fullmatch=True).map(Decimal),
            st.integers(min_value=0, max_value=2**256 - 1).map(lambda wei: Decimal(f"{wei}e-18")),
        ),
        decimals=st.sampled_from([0, 6, 18]),
    )
    def test_is_what_was_said_or_an_error(self, amount, decimals):
        exact = Fraction(amount) * 10**decimals if abs(amount.adjusted()) < 1_000 else None

        try:
            wei = to_wei(amount, decimals=decimals)
        except ValueError:
            assert (
                exact is None
                or exact < 0
                or exact.denominator > 1
                or exact >= 2**256
                or len(str(amount)) > 100
            )
        else:
            assert wei == (0 if exact is None else exact)
            assert from_wei(wei, decimals=decimals) == amount


class TestCleanText:
    @pytest.mark.parametrize(
        ("text", "clean"),
        [
            ("plain", "plain"),
            ("  a\tb\nc  ", "a\tb\nc"),
            ("a\x00b\x1b[31mc\x7f\x9f", "ab[31mc"),
            ("\u202eevil\u2066", "evil"),
            ("\ud800half", "half"),
            ("Grüße 🌍", "Grüße 🌍"),
        ],
    )
    def test_keeps_what_people_read_and_nothing_else(self, text, clean):
        assert clean_text(text, limit=100) == clean

    def test_cuts(self):
        assert clean_text("x" * 1_000_000, limit=5) == "xxxxx"


class TestPlain:
    @pytest.mark.parametrize(
        ("amount", "told"),
        [
            ("0", "0"),
            ("100", "100"),
            ("2.500", "2.5"),
            ("1E+3", "1000"),
            ("1E-18", "0.000000000000000001"),
            (
                "123456789012345678901234567890.000000000000000001",
                "123456789012345678901234567890.000000000000000001",
            ),
        ],
    )
    def test_keeps_every_digit_and_no_zero_behind_them(self, amount, told):
        assert plain(Decimal(amount)) == told
