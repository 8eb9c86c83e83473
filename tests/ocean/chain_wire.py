"""A chain's client in front of a wire that plays answers, and the answers of a chain."""

import json
from typing import Any

from jobs.ocean.chain import Chain
from tests.ocean.wire import Answer, FakeWire, transport

ANY_HASH = "0x" + "ab" * 32


def result(value: object, *, number: int = 1) -> Answer:
    """A good answer to the question of this number."""
    return Answer.json({"jsonrpc": "2.0", "id": number, "result": value})


def error(
    message: object,
    *,
    code: object = -32000,
    data: object = None,
    number: object = 1,
    status: int = 200,
) -> Answer:
    """A refusal."""
    said = {"code": code, "message": message} | ({} if data is None else {"data": data})
    return Answer.json({"jsonrpc": "2.0", "id": number, "error": said}, status=status)


def chain(*answers: Answer | Exception, retries: bool = False) -> tuple[Chain, FakeWire]:
    """A client, and the wire that plays the answers in turn."""
    wire = FakeWire(*answers)
    return Chain(transport(wire, retries=retries)), wire


def asked(wire: FakeWire, position: int = 0) -> tuple[str, list[Any]]:
    """The method and parameters of a question that was sent."""
    body = json.loads(wire.sent[position].body or b"")
    return body["method"], body["params"]


def block(**changes: object) -> dict[str, object]:
    """A block as `latest` gives it."""
    whole: dict[str, object] = {
        "number": "0x10",
        "hash": ANY_HASH,
        "timestamp": "0x65536fa0",
        "baseFeePerGas": "0x3b9aca00",
    }
    return {name: value for name, value in (whole | changes).items() if value is not ...}


def receipt(**changes: object) -> dict[str, object]:
    """The receipt of a transaction that went well."""
    whole: dict[str, object] = {
        "transactionHash": ANY_HASH,
        "status": "0x1",
        "blockNumber": "0x10",
        "blockHash": "0x" + "cd" * 32,
        "gasUsed": "0x5208",
        "logs": [],
    }
    return {name: value for name, value in (whole | changes).items() if value is not ...}


def log(**changes: object) -> dict[str, object]:
    """An event."""
    whole: dict[str, object] = {
        "address": "0x" + "12" * 20,
        "topics": ["0x" + "01" * 32],
        "data": "0x",
        "transactionHash": ANY_HASH,
        "blockNumber": "0x10",
    }
    return {name: value for name, value in (whole | changes).items() if value is not ...}
