"""Addresses, DIDs, durations and amounts: the words that every other module of the client speaks."""

import re
import unicodedata
from decimal import Decimal, Inexact, InvalidOperation, localcontext
from typing import Any, NewType, Self

from eth_utils.address import is_checksum_address, is_checksum_formatted_address, to_checksum_address
from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

Seconds = NewType("Seconds", int)
Wei = NewType("Wei", int)

_ADDRESS = re.compile(r"0x[0-9a-fA-F]{40}")
# 4.x assets are did:op, 5.0.0 assets (verifiable credentials) did:ope; both carry a sha-256.
_DID = re.compile(r"did:(?:op|ope):[0-9a-fA-F]{64}")
_BIDI = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")

_MOST_WEI = 2**256


class Address(str):
    """An Ethereum address in its checksummed form, and only in that: two equal addresses are equal texts.

    Nodes compare addresses as text and keep one nonce counter per spelling
    (recording 26, exchanges 20 and 21).
    """

    __slots__ = ()

    def __new__(cls, text: str) -> Self:
        if not isinstance(text, str) or not _ADDRESS.fullmatch(text):
            raise ValueError("An address is 0x followed by 40 hexadecimal digits.")
        if is_checksum_formatted_address(text) and not is_checksum_address(text):
            raise ValueError(
                "The capital letters of this address do not fit its digits: one of them is mistyped."
            )
        return super().__new__(cls, to_checksum_address(text))

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read an address in any capitalisation.

        Raises: ValueError, with a sentence for a user, when it is none or its checksum is wrong.
        """
        return cls(text.strip() if isinstance(text, str) else text)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(cls, core_schema.str_schema(strict=True))


def is_did(text: object) -> bool:
    """Say whether the text is the DID of an Ocean asset."""
    return isinstance(text, str) and _DID.fullmatch(text) is not None


def parse_did(text: str) -> str:
    """Read a DID; apart from its form it is opaque.

    Raises: ValueError, with a sentence for a user.
    """
    did = text.strip() if isinstance(text, str) else ""
    if not is_did(did):
        raise ValueError('A DID is "did:op:" followed by 64 hexadecimal digits.')
    return did


def to_wei(amount: Decimal, *, decimals: int = 18) -> Wei:
    """Turn an amount of tokens into the smallest unit, exactly.

    Raises: ValueError when the amount is negative, no number, finer than the token allows, or more than a contract
    can count.
    """
    with localcontext() as context:
        context.prec = 100
        # Else what stands behind the hundredth digit would be lost without a word.
        context.traps[Inexact] = True
        try:
            scaled = amount.scaleb(decimals)
        except InvalidOperation:
            raise ValueError("The amount is no number.") from None
        except Inexact:
            raise ValueError("The amount has too many digits.") from None
        if not scaled.is_finite() or scaled < 0:
            raise ValueError("The amount must be a number and not negative.")
        if scaled >= _MOST_WEI:
            raise ValueError("The amount is larger than any token can have.")
        if scaled != scaled.to_integral_value():
            raise ValueError(f"The token has {decimals} decimal places; the amount has more.")
        return Wei(int(scaled))


def from_wei(amount_wei: int, *, decimals: int = 18) -> Decimal:
    """Turn an amount in the smallest unit into tokens, exactly."""
    with localcontext() as context:
        context.prec = 100
        return Decimal(amount_wei).scaleb(-decimals)


def plain(amount: Decimal) -> str:
    """Write an amount with all of its digits and no zeros behind them, such as "2.5"; `normalize` would keep 28 digits."""
    exact = f"{amount:f}"
    return exact.rstrip("0").rstrip(".") if "." in exact else exact


def clean_text(text: str, *, limit: int) -> str:
    """Make a stranger's text fit to show and store: cut to `limit`, no control or direction characters."""
    kept = (
        character
        for character in text[: limit * 2]
        if character in "\n\t"
        or (unicodedata.category(character) not in ("Cc", "Cs") and character not in _BIDI)
    )
    return "".join(kept).strip()[:limit]
