"""What the node's routes are given and give back, without sockets."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

TEXT = "text/html; charset=utf-8"
JSON = "application/json; charset=utf-8"
PLAIN = "text/plain; charset=utf-8"


@dataclass(frozen=True)
class Request:
    """One call: the query's and the headers' names are as sent, headers in lower case."""

    method: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Mapping[str, Any] = field(default_factory=dict)

    @property
    def token(self) -> str | None:
        """The login token, bare; "Bearer " makes it an unknown one. Source: recording 15, exchange 11."""
        return self.headers.get("authorization")


@dataclass(frozen=True)
class Answer:
    """One answer; chunks, when given, are sent as they come and body is not."""

    status: int
    content_type: str | None
    body: bytes = b""
    chunks: Iterator[bytes] | None = None


def text(status: int, message: str) -> Answer:
    """Answer with plain text, labelled HTML as Express does."""
    return Answer(status, TEXT, message.encode())


def spelt(value: object) -> str:
    """Spell JSON as JavaScript does: compact, and nothing escaped that need not be."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def as_json(status: int, value: object) -> Answer:
    """Answer with JSON."""
    return Answer(status, JSON, spelt(value).encode())


def piped(message: str, *, content_type: str | None = None) -> Answer:
    """Answer with what a handler streams: in one chunk and mostly without a label.

    Source: recording 11, exchange 1; recording 16, exchanges 19 to 23.
    """
    return Answer(200, content_type, chunks=iter([message.encode()]))


def error_page(status: int, message: str) -> Answer:
    """Answer with the page that Express makes of an error."""
    page = (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>Error</title>\n</head>\n'
        f"<body>\n<pre>{message}</pre>\n</body>\n</html>\n"
    )
    return Answer(status, TEXT, page.encode())


SERVER_ERROR = text(500, "Internal Server Error")
