"""What a real Ocean Node 3.2.0 was asked and answered, and how to ask a node under test the same."""

import base64
import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import requests

FOLDER = Path(__file__).parents[1] / "wire" / "ocean-node-3.2.0"
ENGINE_ID = "0x60962e6d4efc807ff043634b19fd1d1698c2d5cc76156e2649de149a60ec47b4"
ENVIRONMENT_ID = "0x859c776a03b1ebd28d627120edd6ca49bac17f40170db8069c8441c79ffa180e"
NAMED_HEADERS = ("Content-Type", "Content-Length", "Access-Control-Allow-Origin", "ETag", "Transfer-Encoding")


@dataclass(frozen=True)
class Exchange:
    """One recorded question with its answer."""

    seq: int
    title: str
    at: float
    request: dict[str, Any]
    response: dict[str, Any]

    @property
    def status(self) -> int:
        return int(self.response["status"])

    @property
    def headers(self) -> dict[str, str]:
        return {name: value for name, value in self.response["headers"].items() if name in NAMED_HEADERS}

    @property
    def json(self) -> Any:
        return self.response["body"]["json"]

    @property
    def content(self) -> bytes:
        """The answer's body as bytes; JSON in the compact spelling in which it was sent."""
        body = self.response["body"]
        match body["kind"]:
            case "json":
                return json.dumps(body["json"], separators=(",", ":"), ensure_ascii=False).encode()
            case "text":
                return str(body["text"]).encode()
            case "base64":
                return base64.b64decode(body["base64"])
            case "empty":
                return b""
        raise AssertionError(f"a body of kind {body['kind']}")

    def ask(self, url: str, **changes: Any) -> requests.Response:
        """Send the recorded request to another node; changes replace parts of the request."""
        request = self.request | changes
        body = request["body"]
        kwargs: dict[str, Any] = {}
        if isinstance(body, dict) and list(body) == ["raw"]:
            kwargs["data"] = body["raw"]
        elif body is not None:
            kwargs["data"] = json.dumps(body)
        return requests.request(
            request["method"],
            url + request["path"],
            params=request["query"],
            headers=request["headers"],
            timeout=10,
            **kwargs,
        )


@cache
def scenario(number: str) -> dict[int, Exchange]:
    """Return the exchanges of a scenario by their number."""
    (path,) = FOLDER.glob(f"{number}-*.json")
    return {
        item["seq"]: Exchange(
            seq=item["seq"],
            title=item["title"],
            at=item["at"],
            request=item["request"],
            response=item["response"],
        )
        for item in json.loads(path.read_text())["exchanges"]
    }


@cache
def notes(number: str) -> list[dict[str, Any]]:
    """Return the notes of a scenario: what happened on the chain, and what was seen there."""
    (path,) = FOLDER.glob(f"{number}-*.json")
    return list(json.loads(path.read_text())["notes"])


def recorded_container() -> dict[str, str]:
    """Return the container of the recorded starts; the sandbox plays that image too."""
    return dict(scenario("10")[2].request["body"]["algorithm"]["meta"]["container"])


def named_headers(response: requests.Response) -> dict[str, str]:
    """Return those headers of an answer that recordings name."""
    return {name: response.headers[name] for name in NAMED_HEADERS if name in response.headers}


def shape(value: Any) -> Any:
    """Replace every value by the name of its type: the keys, in their order, and the types are the shape."""
    if isinstance(value, dict):
        return [(key, shape(item)) for key, item in value.items()]
    if isinstance(value, list):
        return [shape(item) for item in value]
    return "number" if type(value) in (int, float) else type(value).__name__
