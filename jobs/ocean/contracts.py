"""Calls of contracts: their bytes, what they answer, and what a stranger's contract may not do with an answer."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from eth_abi.abi import decode, encode
from eth_abi.exceptions import DecodingError
from eth_utils.abi import function_signature_to_4byte_selector

from jobs.ocean.chain import Chain
from jobs.ocean.errors import BadAnswer
from jobs.ocean.units import Address, Wei

ZERO = Address("0x" + "00" * 20)


@dataclass(frozen=True)
class Call:
    """A call of a contract that is to become a transaction."""

    to: Address
    data: bytes
    value_wei: Wei


def call_of(to: Address, signature: str, *values: Any) -> Call:
    """Make the call of a function, such as "approve(address,uint256)". It sends none of the chain's own coin."""
    return Call(to=to, data=encoded(signature, *values), value_wei=Wei(0))


def ask(chain: Chain, to: Address, signature: str, types: Sequence[str], *values: Any) -> tuple[Any, ...]:
    """Ask a contract and read its answer as the types say.

    Raises: BadAnswer "contract" where none is there, or one that answers otherwise; ChainError "reverted".
    """
    return decoded(types, chain.call(to=to, data=encoded(signature, *values)), of=to)


def decoded(types: Sequence[str], answer: bytes, *, of: Address) -> tuple[Any, ...]:
    """Read the answer of a contract.

    Raises: BadAnswer "contract".
    """
    try:
        return tuple(decode(types, answer))
    except (DecodingError, ValueError, OverflowError):
        # An address without a contract answers with nothing; a text may be no UTF-8, a place beyond all numbers.
        raise BadAnswer(
            f"There is no contract at {of} that answers as one of Ocean's.", code="contract"
        ) from None


def encoded(signature: str, *values: Any) -> bytes:
    """Give the bytes of a call: the selector of the function, then its values.

    Raises: eth_abi's EncodingError for values that the types cannot hold, which no caller should let come to this.
    """
    inside = signature[signature.index("(") + 1 : -1]
    return function_signature_to_4byte_selector(signature) + encode(_split(inside), values)


def bytes32(text: str) -> bytes:
    """Read 32 bytes written as 0x and 64 digits.

    Raises: ValueError for any other length: the encoder would fill it up without a word.
    """
    data = bytes.fromhex(text.removeprefix("0x"))
    if len(data) != 32:
        raise ValueError("A hash has 32 bytes.")
    return data


def _split(types: str) -> list[str]:
    """Split a list of types at the commas that are not inside a tuple."""
    found, depth = [""], 0
    for character in types:
        depth += (character == "(") - (character == ")")
        if character == "," and depth == 0:
            found.append("")
        else:
            found[-1] += character
    return [kind for kind in found if kind]
