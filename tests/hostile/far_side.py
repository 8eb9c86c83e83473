"""A far side on the loopback that answers byte by byte what a test scripts, and else what an honest node would."""

from __future__ import annotations

import contextlib
import json
import socket
import socketserver
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from tests.builders import RAW_ENVIRONMENT

ADDRESS = "0xa0Ee7A142d267C1f36714E4a8F75612F20a79720"
# Source: README of the ocean-node 3.2.0 recordings.
ROUTES = {
    ("GET", "/"): "root",
    ("GET", "/api/services/nonce"): "nonce",
    ("GET", "/api/services/computeEnvironments"): "environments",
    ("GET", "/api/services/compute"): "jobs",
    ("PUT", "/api/services/compute"): "stop",
    ("POST", "/api/services/freeCompute"): "start",
    ("GET", "/api/services/computeResult"): "result",
    ("GET", "/api/services/computeStreamableLogs"): "log",
}


class Ask(socketserver.BaseRequestHandler):
    """One request, and the connection to answer it on."""

    server: FarSide
    request: socket.socket

    def handle(self) -> None:
        """Read one request, note it, and let the script of its route answer."""
        self.request.settimeout(10)
        with contextlib.suppress(OSError):
            if self._read():
                self.server.asked.append(self.route)
                self.server.heads.append(self.head)
                usual = self.server.always or HONEST.get(self.route, unknown)
                self.server.answers.get(self.route, usual)(self)

    def send(self, data: bytes) -> None:
        """Send raw bytes; those that were taken are counted."""
        self.request.sendall(data)
        self.server.sent += len(data)

    def answer(self, body: bytes, *, status: str = "200 OK", kind: str = "application/json") -> None:
        """Send a well-formed answer, after which the connection is closed."""
        self.send(
            f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n"
            "Connection: close\r\n\r\n".encode()
            + body
        )

    def _read(self) -> bool:
        data = b""
        while b"\r\n\r\n" not in data:
            more = self.request.recv(65536)
            if more.startswith(b"\x16"):  # somebody tries TLS
                self.request.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            if not more or more.startswith(b"\x16"):
                return False
            data += more
        head, _, body = data.partition(b"\r\n\r\n")
        self.head = head.decode("latin-1")
        method, target, _ = self.head.split("\r\n", 1)[0].split(" ")
        parts = urlsplit(target)
        self.query = dict(parse_qsl(parts.query))
        self.route = ROUTES.get((method, parts.path), "ddo" if "/assets/ddo/" in parts.path else parts.path)
        length = next(
            (
                int(line[15:])
                for line in self.head.split("\r\n")
                if line.lower().startswith("content-length:")
            ),
            0,
        )
        while len(body) < length:
            body += self.request.recv(65536)
        self.body = json.loads(body) if body else {}
        return True


Script = Callable[[Ask], None]


class FarSide(socketserver.ThreadingTCPServer):
    """A node. listed: what its job list says; files: what it keeps by index.

    answers: what it does instead, by route; always: what it does whatever it is asked.
    """

    daemon_threads = True
    block_on_close = False
    request_queue_size = 50

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Ask)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.answers: dict[str, Script] = {}
        self.always: Script | None = None
        self.listed: list[Any] = []
        self.files: dict[int, bytes] = {}
        self.asked: list[str] = []
        self.heads: list[str] = []
        self.sent = 0
        self.ending = threading.Event()

    def handle_error(self, *_: object) -> None:
        """A client that hangs up in the middle is what these tests are about."""


def says(document: Any) -> Script:
    """Answer with this document as JSON; bytes are sent as they are."""
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    return lambda ask: ask.answer(body)


def sends(data: bytes) -> Script:
    """Answer with these bytes, head and all."""
    return lambda ask: ask.send(data)


def repeats(data: bytes, *, before: bytes = b"HTTP/1.1 200 OK\r\n\r\n", pause_s: float = 0) -> Script:
    """Send the same bytes again and again until nobody takes them any more."""

    def script(ask: Ask) -> None:
        ask.send(before)
        while not ask.server.ending.wait(pause_s) if pause_s else not ask.server.ending.is_set():
            ask.send(data)

    return script


def unknown(ask: Ask) -> None:
    """Answer like a node that knows nothing of it."""
    ask.answer(b"Not found", status="404 Not Found", kind="text/html")


def _result(ask: Ask) -> None:
    ask.answer(ask.server.files.get(int(ask.query["index"]), b""), kind="application/octet-stream")


HONEST: dict[str, Script] = {
    "root": says(
        {"software": "Ocean-Node", "version": "3.2.0", "providerAddress": ADDRESS, "chainIds": ["8996"]}
    ),
    "nonce": says({"nonce": 0}),
    "environments": says([RAW_ENVIRONMENT]),
    "jobs": lambda ask: ask.answer(json.dumps(ask.server.listed).encode()),
    "result": _result,
    "log": unknown,
}


@contextmanager
def serving(side: FarSide | None = None) -> Iterator[FarSide]:
    """Run a far side until the test is over."""
    server = side or FarSide()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.ending.set()
        server.shutdown()
        thread.join()
        server.server_close()
