"""Recorded exchanges of a real Provider and Aquarius, and a client in front of a wire that plays answers."""

import json
from functools import cache
from pathlib import Path
from typing import Any

from jobs.ocean.provider import Provider
from jobs.ocean.signing import Pen, Signer, key_from_mnemonic
from tests.ocean.wire import Answer, FakeWire, transport

RECORDINGS = Path(__file__).parent.parent / "wire" / "provider-v4"
# The public accounts of the barge development network, which the recordings were made with.
MNEMONIC = "taxi music thumb unique chat sand crew more leg another off lamp"
BOB, CAROL = "0xe17D2A07EFD5b112F4d675ea2d122ddb145d117B", "0xA32C84D2B44C041F3a56afC07a33f8AC5BF1A071"
DATASET = "did:op:02c49e184a7802c0a05027d073763d69af13ac54fef0c4c5c7fac2f46e12ca1f"
ALGORITHM = "did:op:99435efb1ea6cbeb74af2df3850b2ba526b32bd9cae26ca4b79cfa7a7c052e94"


@cache
def scenario(name: str) -> dict[int, dict[str, Any]]:
    """The exchanges of one scenario, named as its file, by their number."""
    document = json.loads((RECORDINGS / f"{name}.json").read_text())
    return {exchange["n"]: exchange for exchange in document["exchanges"]}


def names() -> list[str]:
    """Every scenario."""
    return sorted(path.stem for path in RECORDINGS.glob("*.json"))


def last(name: str) -> dict[str, Any]:
    """The last exchange of a scenario, which is the one that it is about."""
    exchanges = scenario(name)
    return exchanges[max(exchanges)]


def is_cut(name: str, exchange: dict[str, Any]) -> bool:
    """Say whether the recording keeps but the begin of the answer."""
    return "body_truncated_from" in _with_body(name, exchange)["response"]


def answer(name: str, exchange: dict[str, Any]) -> Answer:
    """What was answered, byte for byte."""
    response = _with_body(name, exchange)["response"]
    return Answer(
        body=(response["body"] or "").encode(),
        status=response["status"],
        headers={"Content-Type": response["headers"].get("content-type", "")},
    )


def _with_body(name: str, exchange: dict[str, Any]) -> dict[str, Any]:
    same = exchange["response"].get("same_answer_as_n")
    return exchange if same is None else scenario(name)[same]


def root() -> dict[str, Any]:
    """The recorded root document."""
    document: dict[str, Any] = scenario("30-pay-for-compute-service")[1]["response"]["body_json"]
    return document


def endpoints() -> dict[str, tuple[str, str]]:
    """The recorded places of the calls."""
    return {name: (method, path) for name, (method, path) in root()["serviceEndpoints"].items()}


@cache
def account(position: int) -> Signer:
    return Signer(key_from_mnemonic(MNEMONIC, f"m/44'/60'/0'/0/{position}"))


@cache
def accounts() -> dict[str, Signer]:
    return {account(position).address: account(position) for position in range(10)}


def pen(nonce: int = 2) -> Pen:
    """Bob's turn."""
    return Pen(accounts()[BOB], nonce=nonce)


def provider(
    *answers: Answer | Exception, asked: bool = True, retries: bool = False
) -> tuple[Provider, FakeWire]:
    """A client whose Provider and Aquarius answer over one wire. asked: it knows the endpoints already."""
    wire = FakeWire(*answers)
    return (
        Provider(
            transport(wire, retries=retries),
            aquarius=transport(wire, retries=retries),
            endpoints=endpoints() if asked else {},
        ),
        wire,
    )
