"""The language of contracts: calls, answers, events and refusals, as Solidity's ABI writes them."""

from collections.abc import Sequence
from typing import Any

from eth_abi.abi import decode, encode
from eth_abi.exceptions import DecodingError, EncodingError
from eth_abi.grammar import TupleType, parse
from eth_utils.crypto import keccak

from jobs.ocean.errors import BadAnswer
from jobs.ocean.units import clean_text

REASON_CHARACTERS = 200
# Source: the Solidity documentation, "Panic via assert and Error via require".
_ERROR = bytes.fromhex("08c379a0")
_PANIC = bytes.fromhex("4e487b71")
_PANICS = {
    0x01: "an assertion failed",
    0x11: "a number became too large or negative",
    0x12: "division by zero",
    0x21: "a value that its kind does not have",
    0x22: "damaged storage",
    0x31: "taking from an empty list",
    0x32: "reading beyond a list's end",
    0x41: "too much memory",
    0x51: "a call to nothing",
}


def encode_call(signature: str, *values: Any) -> bytes:
    """Write a call of a function, given as "name(type,type)".

    Raises: ValueError for a value that does not fit its type.
    """
    name, _, types = signature.partition("(")
    # The library's grammar does not know a list of no types.
    arguments = b"" if types == ")" else _encoded(f"({types}", values, name=name)
    return bytes(keccak(text=signature)[:4]) + arguments


def _encoded(types: str, values: Sequence[Any], *, name: str) -> bytes:
    parsed = parse(types)
    assert isinstance(parsed, TupleType)
    try:
        return encode([part.to_type_str() for part in parsed.components], values)
    except (EncodingError, TypeError) as error:
        raise ValueError(f"A value does not fit into a call of {name}.") from error


def event_topic(signature: str) -> bytes:
    """Give the first topic of an event's logs."""
    return bytes(keccak(text=signature))


def decode_answer(types: Sequence[str], data: bytes, *, what: str) -> tuple[Any, ...]:
    """Read what a contract answered. Texts are best read as "bytes": a stranger's need not be UTF-8.

    what: for the message, like "a balance".
    Raises: BadAnswer "abi"; also for the empty answer of an address where no contract is.
    """
    try:
        return decode(types, data)
    except (DecodingError, OverflowError, ValueError):
        raise BadAnswer(
            f"The contract was asked for {what} and answered with something else. Check its address.",
            code="abi",
        ) from None


def revert_reason(data: bytes) -> str:
    """Say in one clean line why a contract refused; "" where it gives no reason."""
    selector, rest = data[:4], data[4:]
    if selector == _ERROR:
        try:
            (text,) = decode(["bytes"], rest)
        except (DecodingError, OverflowError, ValueError):
            return ""
        return clean_reason(text.decode("utf-8", "replace"))
    if selector == _PANIC and len(rest) == 32:
        number = int.from_bytes(rest, "big")
        return _PANICS.get(number, f"panic {number:#x}")[:REASON_CHARACTERS]
    return f"error 0x{selector.hex()}" if len(selector) == 4 else ""


def clean_reason(text: str) -> str:
    """Make a contract's reason one short line."""
    return " ".join(clean_text(text, limit=REASON_CHARACTERS).split())
