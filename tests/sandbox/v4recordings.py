"""What a real Provider 2.1.6 and Aquarius 5.1.8 were asked and answered, and how to ask others the same."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import requests

FOLDER = Path(__file__).parents[1] / "wire" / "provider-v4"
NAMED_HEADERS = (
    *("content-type", "content-length", "connection", "transfer-encoding", "content-disposition"),
    *("access-control-expose-headers", "range", "allow"),
)
BOB = "0xe17D2A07EFD5b112F4d675ea2d122ddb145d117B"
FEE_TOKEN = "0x2473f4F7bf40ed9310838edFCA6262C17A59DF64"


@dataclass(frozen=True)
class Exchange:
    """One recorded question with its answer."""

    scenario: str
    n: int
    to: str
    request: dict[str, Any]
    response: dict[str, Any]

    @property
    def body(self) -> str:
        """The answer's body as sent."""
        return str(self.response.get("body") or "")

    @property
    def is_cut(self) -> bool:
        """Whether the recording keeps only the begin of the body."""
        return "body_truncated_from" in self.response

    @property
    def asks_cut(self) -> bool:
        """Whether the recording keeps only the begin of what was sent."""
        return len(self.request.get("body_hex") or "") < 2 * self.request.get("body_bytes", 0)

    @property
    def query(self) -> dict[str, str]:
        return self.request.get("query") or {}

    @property
    def sent(self) -> Any:
        """The JSON that was sent, {} for none."""
        return self.request.get("body_json") or {}

    def ask(self, url: str) -> requests.Response:
        """Send the recorded request to another server, to the byte."""
        raw_query = self.request.get("raw_query")
        kept = ("content-type", "range", "authtoken")
        headers = {name: value for name, value in self.request["headers"].items() if name in kept}
        hexed = self.request.get("body_hex")
        body = bytes.fromhex(hexed) if hexed else str(self.request.get("body") or "").encode()
        prepared = requests.Request(
            self.request["method"],
            url + self.request["path"] + (f"?{raw_query}" if raw_query else ""),
            headers=headers,
            data=body or None,
        ).prepare()
        with requests.Session() as session:
            return session.send(prepared, timeout=20)


@cache
def scenarios() -> dict[str, tuple[Exchange, ...]]:
    """Return all recordings, each with its exchanges; an answer that is like an earlier one is filled in."""
    found: dict[str, tuple[Exchange, ...]] = {}
    for path in sorted(FOLDER.glob("*.json")):
        made: dict[int, Exchange] = {}
        for item in json.loads(path.read_text())["exchanges"]:
            response = item["response"]
            if same := response.get("same_answer_as_n"):
                response = made[same].response
            made[item["n"]] = Exchange(
                scenario=path.stem,
                n=item["n"],
                to=item["peer"] if "peer" in item else item["to"],
                request=item["request"],
                response=response,
            )
        found[path.stem] = tuple(made.values())
    return found


def exchanges() -> Iterator[Exchange]:
    """Return every recorded exchange."""
    for found in scenarios().values():
        yield from found


@cache
def documents() -> dict[str, dict[str, Any]]:
    """Return the last document of each DID that Aquarius answered."""
    found: dict[str, dict[str, Any]] = {}
    for exchange in exchanges():
        if "/assets/ddo/did:" in exchange.request["path"] and exchange.response["status"] == 200:
            document = json.loads(exchange.body)
            found[document["id"]] = document
    whole = json.loads(scenarios()["13-aquarius-query"][0].body)
    for hit in whole["hits"]["hits"]:
        found.setdefault(hit["_id"], hit["_source"])
    return found


def fees_in(exchange: Exchange) -> list[dict[str, Any]]:
    """Return the provider fees in an answer."""
    if "/initialize" not in exchange.request["path"] or exchange.response["status"] != 200:
        return []
    answer = json.loads(exchange.body)
    entries = [answer, *answer.get("datasets", []), answer.get("algorithm", {})]
    return [entry["providerFee"] for entry in entries if "providerFee" in entry]


MASKS = (
    # Signatures and nonces of the Provider's own, and what is made of the time.
    (r"providerSignature=0x[0-9a-f]+", "providerSignature=..."),
    (r"&nonce=\d{19}", "&nonce=..."),
    (r'"lastSeen":"[0-9.]+"', '"lastSeen":"..."'),
    (r'("providerData":"0x)[0-9a-f]+"', r'\1..."'),
    (r'"([rs])":"0x[0-9a-f]{64}"', r'"\1":"..."'),
    (r'"v":2[78]', '"v":...'),
)
OF_A_NEW_JOB = (
    (r'"jobId": "[0-9a-f]{32}"', '"jobId": "..."'),
    (r'"dateCreated": "[0-9.]+"', '"dateCreated": "..."'),
)


def masked(text: str, *, new_job: bool = False) -> str:
    """Take out of an answer what cannot be the same twice."""
    for pattern, instead in (*MASKS, *(OF_A_NEW_JOB if new_job else ())):
        text = re.sub(pattern, instead, text)
    return text
