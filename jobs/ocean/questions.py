"""Questions to a chain as JSON-RPC spells them: a method and its parameters; for `Chain` to ask, one by one or ahead."""

import json
from typing import Any

from jobs.ocean.abi import encode_call
from jobs.ocean.transactions import Call
from jobs.ocean.units import Address

Question = tuple[Any, ...]  # the method, then its parameters

HEAD: Question = ("eth_getBlockByNumber", "latest", False)
TIP: Question = ("eth_maxPriorityFeePerGas",)


def contract(to: Address, signature: str, *values: Any) -> Question:
    """Ask a function of a contract, such as "balanceOf(address)"."""
    return contract_data(to, encode_call(signature, *values))


def contract_data(to: Address, data: bytes) -> Question:
    """Ask a contract with the bytes of a call."""
    return "eth_call", {"to": str(to), "data": "0x" + data.hex()}, "latest"


def coin(address: Address) -> Question:
    """Ask what an address holds of the chain's own coin."""
    return "eth_getBalance", str(address), "latest"


def next_nonce(address: Address) -> Question:
    """Ask for the next nonce of an address."""
    return "eth_getTransactionCount", str(address), "pending"


def gas(sender: Address, call: Call) -> Question:
    """Ask how much gas a call takes."""
    asked = {"from": str(sender), "to": str(call.to), "data": "0x" + call.data.hex()}
    return "eth_estimateGas", asked | {"value": hex(call.value_wei)}


def receipt(tx_hash: str) -> Question:
    """Ask what became of a transaction."""
    return "eth_getTransactionReceipt", tx_hash


def written(question: Question, *, number: int) -> dict[str, Any]:
    """Write a question as it is sent. number: comes back with its answer."""
    method, *params = question
    return {"jsonrpc": "2.0", "id": number, "method": method, "params": params}


def key(question: Question) -> str:
    """Return one text for one question."""
    return json.dumps(question)


def by_number(answers: object, *, count: int) -> dict[int, Any]:
    """Sort the answers to several questions, which come in any order, by the numbers of the questions, 1 to count.

    What is no answer to one of them is left out; nothing is believed where one question has two.
    """
    found: dict[int, Any] = {}
    for answer in answers if isinstance(answers, list) else ():
        number = answer.get("id") if isinstance(answer, dict) else None
        if type(number) is not int or not 1 <= number <= count:
            continue
        if number in found:
            return {}
        found[number] = answer
    return found
