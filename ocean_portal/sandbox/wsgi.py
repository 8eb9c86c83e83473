"""How Provider and Aquarius speak HTTP: Flask behind gunicorn. What is answered: provider/, indexing/."""

import contextlib
import json
import time
import traceback
import urllib.parse
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from http import HTTPStatus
from typing import Any

from ocean_portal.sandbox.serving import LocalHandler, LocalServer
from ocean_portal.sandbox.store import Store

JSON = "application/json"
HTML = "text/html; charset=utf-8"
BODY_BYTES = 20 * 1024 * 1024
IDLE_S = 75
NOT_FOUND = (
    "404 Not Found: The requested URL was not found on the server. If you entered the URL manually please"
    " check your spelling and try again."
)
NOT_ALLOWED = "405 Method Not Allowed: The method is not allowed for the requested URL."
# In the order of a recorded answer. Source: recording 80-options-preflight.
METHODS = ("HEAD", "PUT", "DELETE", "POST", "GET", "OPTIONS")


@dataclass(frozen=True)
class Call:
    """One request: names of headers in lower case, query and content as sent."""

    method: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    content: bytes = b""

    @cached_property
    def data(self) -> Any:
        """The query if there is one, else the body: {} for broken JSON, None for what is not labelled JSON.

        The same object each time, so that what a route writes into it is seen in the answer to an error.
        Source: recordings 82-start-invalid-json, 86-start-reused-nonce-string.
        """
        if self.query:
            return dict(self.query)
        try:
            return self.json
        except ValueError:
            return {}

    @property
    def json(self) -> Any:
        """The body, None where it is not labelled JSON. Raises ValueError when it is broken."""
        kind = self.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != JSON and not (kind.startswith("application/") and kind.endswith("+json")):
            return None
        try:
            return json.loads(self.content)
        except RecursionError as error:
            raise ValueError("nested too deep") from error


@dataclass(frozen=True)
class Reply:
    """One answer; chunks, when given, are sent as they come and body is not."""

    status: int
    content_type: str
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()
    chunks: Iterator[bytes] | None = None


def compact(status: int, value: object) -> Reply:
    """Answer as Flask's jsonify does: sorted, no blanks, a line's end."""
    text = json.dumps(value, separators=(",", ":"), sort_keys=True, default=str)
    return Reply(status, JSON, text.encode() + b"\n")


def spaced(status: int, value: object) -> Reply:
    """Answer as json.dumps writes it: what operator-service and the index give through."""
    return Reply(status, JSON, json.dumps(value).encode())


def allowed(methods: Collection[str]) -> Reply:
    """Answer OPTIONS for a path with these methods."""
    known = {*methods, "OPTIONS", *(["HEAD"] if "GET" in methods else [])}
    return Reply(200, HTML, headers=(("Allow", ", ".join(name for name in METHODS if name in known)),))


class WsgiServer(LocalServer):
    """One application on one port; keeps_open: whether a connection outlives its answer.

    Raises OSError when the port is taken.
    """

    def __init__(
        self, *, answer: Callable[[Call], Reply], store: Store, host: str, port: int, keeps_open: bool
    ) -> None:
        super().__init__(handler=_Handler, store=store, host=host, port=port)
        self.answer = answer
        self.keeps_open = keeps_open


class _Handler(LocalHandler):
    server: WsgiServer
    timeout = IDLE_S

    def _handle(self) -> None:
        url = urllib.parse.urlsplit(self.path)
        content = self._content()
        if not self.server.keeps_open:
            self.close_connection = True
        if content is None:
            reply = Reply(413, HTML, b"Request Entity Too Large")
        else:
            reply = self._answered(
                Call(
                    method=self.command,
                    path=urllib.parse.unquote(url.path),
                    query=dict(reversed(urllib.parse.parse_qsl(url.query, keep_blank_values=True))),
                    headers={name.lower(): value for name, value in self.headers.items()},
                    content=content,
                )
            )
        self.server.store.count_request(
            method=self.command, path=url.path, status=reply.status, at=time.time()
        )
        with contextlib.suppress(ConnectionError, TimeoutError):
            self._send(reply)

    do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = do_HEAD = do_OPTIONS = _handle  # named by http.server

    def _answered(self, call: Call) -> Reply:
        try:
            return self.server.answer(call)
        except Exception as error:
            # One strange request must not end the connection; the traceback is in the terminal.
            traceback.print_exc()
            return compact(503, {"context": call.data, "error": str(error)})

    def _content(self) -> bytes | None:
        """Return the body; None when it is too long or its length cannot be read."""
        try:
            length = int(self.headers.get("Content-Length") or 0)
        except ValueError:
            length = -1
        if 0 <= length <= BODY_BYTES and not self.headers.get("Transfer-Encoding"):
            return self.rfile.read(length)
        self.close_connection = True
        return None

    def _send(self, reply: Reply) -> None:
        headers = ["Access-Control-Allow-Origin: *", f"Content-Type: {reply.content_type}"]
        headers += [f"{name}: {value}" for name, value in reply.headers]
        if self.server.keeps_open:
            headers.append("Connection: keep-alive")
        if reply.chunks is not None:
            self.send_chunks(status=reply.status, headers=headers, chunks=reply.chunks)
            return
        if reply.status != HTTPStatus.NO_CONTENT:
            headers.append(f"Content-Length: {len(reply.body)}")
        body = b"" if self.command == "HEAD" else reply.body
        self.send_whole(status=reply.status, headers=headers, body=body)
