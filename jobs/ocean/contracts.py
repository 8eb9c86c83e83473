"""Calls of contracts and questions to them, in one line each; how their bytes are written is `abi`'s business."""

from collections.abc import Sequence
from typing import Any

from jobs.ocean.abi import decode_answer, encode_call
from jobs.ocean.chain import Chain
from jobs.ocean.errors import BadAnswer
from jobs.ocean.transactions import Call
from jobs.ocean.units import Address

ZERO = Address("0x" + "00" * 20)


def call_of(to: Address, signature: str, *values: Any) -> Call:
    """Make the call of a function, such as "approve(address,uint256)". It sends none of the chain's own coin."""
    return Call(to=to, data=encode_call(signature, *values))


def ask(chain: Chain, to: Address, signature: str, types: Sequence[str], *values: Any) -> tuple[Any, ...]:
    """Ask a contract and read its answer as the types say.

    Raises: BadAnswer "contract" where none is there, or one that answers otherwise; ChainError "reverted".
    """
    return decoded(types, chain.call(to=to, data=encode_call(signature, *values)), of=to)


def decoded(types: Sequence[str], answer: bytes, *, of: Address) -> tuple[Any, ...]:
    """Read the answer of a contract.

    Raises: BadAnswer "contract".
    """
    try:
        return decode_answer(types, answer, what="an answer")
    except BadAnswer:
        # An address without a contract answers with nothing.
        raise BadAnswer(
            f"There is no contract at {of} that answers as one of Ocean's.", code="contract"
        ) from None


def bytes32(text: str) -> bytes:
    """Read 32 bytes written as 0x and 64 digits.

    Raises: ValueError for any other length: the encoder would fill it up without a word.
    """
    data = bytes.fromhex(text.removeprefix("0x"))
    if len(data) != 32:
        raise ValueError("A hash has 32 bytes.")
    return data
