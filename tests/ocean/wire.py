"""Recorded exchanges of a real node, and a wire that plays answers and keeps what was sent."""

import base64
import io
import json
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import requests
import urllib3
from requests.adapters import HTTPAdapter

from jobs.ocean.node import OceanNode
from jobs.ocean.signing import Signer, key_from_mnemonic
from jobs.ocean.transport import Transport

RECORDINGS = Path(__file__).parent.parent / "wire" / "ocean-node-3.2.0"
# The public, deterministic accounts that the recordings were made with.
MNEMONIC = "test test test test test test test test test test test junk"
ENVIRONMENT = (
    "0x60962e6d4efc807ff043634b19fd1d1698c2d5cc76156e2649de149a60ec47b4-"
    "0x859c776a03b1ebd28d627120edd6ca49bac17f40170db8069c8441c79ffa180e"
)


@cache
def recording(number: str) -> dict[int, dict[str, Any]]:
    """The exchanges of one scenario by their sequence number."""
    (path,) = RECORDINGS.glob(f"{number}-*.json")
    return {exchange["seq"]: exchange for exchange in json.loads(path.read_text())["exchanges"]}


def exchanges() -> list[tuple[str, dict[str, Any]]]:
    """Every exchange with the number of its scenario."""
    numbers = sorted(path.name[:2] for path in RECORDINGS.glob("*.json"))
    return [(number, exchange) for number in numbers for exchange in recording(number).values()]


def recorded_body(response: dict[str, Any]) -> bytes:
    body = response["body"]
    match body["kind"]:
        case "json":
            return json.dumps(body["json"]).encode()
        case "text":
            return str(body["text"]).encode()
        case "base64":
            return base64.b64decode(body["base64"])
        case "chunks":
            return b"".join(base64.b64decode(chunk["base64"]) for chunk in body["chunks"])
        case "empty":
            return b""
    raise AssertionError(body["kind"])


@cache
def account(position: int) -> Signer:
    return Signer(key_from_mnemonic(MNEMONIC, f"m/44'/60'/0'/0/{position}"))


@cache
def accounts() -> dict[str, Signer]:
    return {account(position).address: account(position) for position in range(20)}


@dataclass
class Answer:
    body: bytes = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)

    @classmethod
    def recorded(cls, exchange: dict[str, Any]) -> "Answer":
        response = exchange["response"]
        kept = {name: response["headers"][name] for name in ("Content-Type",) if name in response["headers"]}
        return cls(body=recorded_body(response), status=response["status"], headers=kept)

    @classmethod
    def json(cls, document: object, status: int = 200) -> "Answer":
        return cls(json.dumps(document).encode(), status, {"Content-Type": "application/json; charset=utf-8"})

    @classmethod
    def text(cls, text: str, status: int = 200) -> "Answer":
        return cls(text.encode(), status, {"Content-Type": "text/html; charset=utf-8"})


@dataclass
class Sent:
    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes | None


class FakeWire(HTTPAdapter):
    """Plays the answers in turn, repeating the last; an exception among them is raised instead."""

    def __init__(self, *answers: Answer | Exception) -> None:
        super().__init__()
        self.answers = list(answers)
        self.sent: list[Sent] = []

    def send(self, request: requests.PreparedRequest, *_: Any, **__: Any) -> requests.Response:
        parts = urlsplit(request.url)
        self.sent.append(
            Sent(
                method=request.method or "",
                path=parts.path,
                query=dict(parse_qsl(parts.query, keep_blank_values=True)),
                headers=dict(request.headers),
                body=request.body if isinstance(request.body, bytes) else None,
            )
        )
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        raw = urllib3.HTTPResponse(
            body=io.BytesIO(answer.body),
            headers=answer.headers,
            status=answer.status,
            preload_content=False,
            decode_content=False,
        )
        return self.build_response(request, raw)


class Clock:
    """A clock that stands still until somebody sleeps."""

    def __init__(self) -> None:
        self.now = 1_000.0
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


def transport(wire: FakeWire, *, clock: Clock | None = None, retries: bool = False) -> Transport:
    clock = clock or Clock()
    return Transport(
        "https://node.example",
        admit=lambda: None,
        allow_private=False,
        monotonic=clock,
        sleep=clock.sleep if retries else None,
        adapter=wire,
    )


def node(*answers: Answer | Exception) -> tuple[OceanNode, FakeWire]:
    wire = FakeWire(*answers)
    return OceanNode(transport(wire)), wire
