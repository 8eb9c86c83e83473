"""A reverse proxy that behaves as badly as a network: in front of a node, a Provider, an Aquarius or a chain.

It speaks HTTP/1.1 with bodies of a known length in requests, and of any kind in answers, which it passes on as they
come. It shares no code with what it stands between.
"""

from __future__ import annotations

import json
import socket
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException, HTTPResponse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import urlsplit

from tests.chaos.weather import Fate, Fates, Trouble, Weather

PIECE_BYTES = 64 * 1024
SERVER_S = 120.0  # patience with a server that says nothing
CLIENT_S = 60.0  # how long a connection may be idle
REFUSALS = (HTTPStatus.BAD_GATEWAY, HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.TOO_MANY_REQUESTS)
GARBAGE = (
    b"<html><head><title>Welcome</title></head><body>Please accept our terms to go on.</body></html>",
    b'{"jsonrpc": "2.0", "id": 1, "resu',
    b"",
    b"\x00\xff\xfe\x1f\x8b\x08garbage",
)
# What belongs to one connection, and not to what is said on it.
_OWN = {"connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade"}


@dataclass(frozen=True)
class Exchange:
    """One exchange: what was asked, what was done to it, how often the server got it.

    what: method and path, for a chain with the JSON-RPC method too.
    """

    number: int
    what: str
    trouble: Trouble
    sent: int


class Proxy:
    """Listens on a free port of 127.0.0.1 for one server. Use it in a `with`.

    upstream: the server's base URL. name: for the report. weather: see there; seed: of its generator.
    What the server does not answer at all is a closed connection for the client.
    """

    def __init__(self, *, upstream: str, name: str, seed: int, weather: Weather) -> None:
        there = urlsplit(upstream)
        if there.scheme != "http" or not there.hostname or not there.port:
            raise ValueError("a proxy stands before http://host:port")
        self.name = name
        self.seed = seed
        self.host, self.server_port, self.prefix = there.hostname, there.port, there.path.rstrip("/")
        self.fates = Fates(seed=seed, weather=weather)
        self._lock = threading.Lock()
        self._exchanges: dict[int, Exchange] = {}
        self._server = _Server(self)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True
        ).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop listening, and end all connections of clients."""
        self._server.shutdown()
        self._server.server_close()
        self._server.hang_up()

    def calm(self) -> None:
        """Pass everything on from now on; what is under way still meets its fate."""
        self.fates.calm()

    @property
    def exchanges(self) -> tuple[Exchange, ...]:
        """What was asked so far, in the order in which it was taken up."""
        with self._lock:
            return tuple(self._exchanges[number] for number in sorted(self._exchanges))

    @property
    def counts(self) -> Counter[Trouble]:
        """How often each trouble was made; NONE counts what passed undisturbed."""
        return Counter(exchange.trouble for exchange in self.exchanges)

    def report(self) -> str:
        """Say in one line what was done, for the message of a failing test; the seed makes it happen again."""
        counts = self.counts
        told = ", ".join(f"{counts[trouble]} {trouble.value}" for trouble in Trouble if counts[trouble])
        return f"{self.name}: seed {self.seed}, {counts.total()} exchanges: {told or 'nothing'}"

    def note(self, exchange: Exchange) -> None:
        """Remember an exchange, over what was said of it before."""
        with self._lock:
            self._exchanges[exchange.number] = exchange


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, proxy: Proxy) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.proxy = proxy
        self._guard = threading.Lock()
        self._clients: set[socket.socket] = set()

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._guard:
            self._clients.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        with self._guard:
            self._clients.discard(request)
        super().shutdown_request(request)

    def hang_up(self) -> None:
        with self._guard:
            for client in self._clients:
                with suppress(OSError):
                    client.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), OSError):  # that a client has gone is nothing to tell
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    """One connection of a client."""

    server: _Server
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    timeout = CLIENT_S

    def _handle(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length)
        if len(body) < length:  # the client broke off
            self.close_connection = True
            return
        fate, weather = self.server.proxy.fates.deal()
        try:
            _Pass(self, body=body, fate=fate, weather=weather).meet()
        except (OSError, HTTPException):
            self.close_connection = True

    do_GET = do_POST = do_PUT = do_DELETE = _handle  # named by http.server

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: the report does."""

    def send_head(self, status: int, reason: str, headers: list[tuple[str, str]]) -> None:
        """Send the head of an answer as it was given, in one write."""
        if self.close_connection:
            headers = [*headers, ("Connection", "close")]
        lines = [f"HTTP/1.1 {status} {reason}", *(f"{name}: {value}" for name, value in headers), "", ""]
        self.wfile.write("\r\n".join(lines).encode("latin-1"))

    def send_whole(
        self, status: HTTPStatus, body: bytes, *, kind: str, more: tuple[tuple[str, str], ...] = ()
    ) -> None:
        """Send an answer of the proxy's own."""
        head = [("Content-Type", kind), ("Content-Length", str(len(body))), *more]
        self.send_head(status, status.phrase, head)
        self.wfile.write(body)


@dataclass(frozen=True)
class _Asked:
    """A request that the server has, and its answer with the body to be read."""

    connection: HTTPConnection
    answer: HTTPResponse

    def close(self) -> None:
        self.answer.close()
        self.connection.close()


class _Pass:
    """One exchange on its way through the proxy."""

    def __init__(self, client: _Handler, *, body: bytes, fate: Fate, weather: Weather) -> None:
        self._client = client
        self._proxy = client.server.proxy
        self._body = body
        self._weather = weather
        self._detail = fate.detail
        what = f"{client.command} {urlsplit(client.path).path}{_calls(body)}"
        self._noted = Exchange(number=fate.number, what=what, trouble=fate.trouble, sent=0)
        self._note()

    def meet(self) -> None:
        """Let the exchange meet its fate. Raises OSError or HTTPException where either side has gone."""
        trouble = self._noted.trouble
        if trouble is Trouble.LOST_REQUEST:
            self._client.close_connection = True
        elif trouble is Trouble.REFUSED:
            self._refuse()
        elif trouble is Trouble.TWICE:
            self._twice()
        else:
            with closing(self._ask()) as asked:
                self._answer(asked.answer)

    def _note(self, **changes: Any) -> None:
        """Tell the proxy, before the client can see it."""
        self._noted = replace(self._noted, **changes)
        self._proxy.note(self._noted)

    # the server's side

    def _ask(self) -> _Asked:
        """Send the request to the server; close what is returned."""
        proxy, client = self._proxy, self._client
        connection = HTTPConnection(proxy.host, proxy.server_port, timeout=SERVER_S)
        try:
            connection.putrequest(
                client.command, proxy.prefix + client.path, skip_host=True, skip_accept_encoding=True
            )
            connection.putheader("Host", f"{proxy.host}:{proxy.server_port}")
            for name, value in client.headers.items():
                if name.lower() not in _OWN | {"host"}:
                    connection.putheader(name, value)
            connection.putheader("Connection", "close")
            connection.endheaders(self._body or None)
            self._note(sent=self._noted.sent + 1)
            return _Asked(connection, connection.getresponse())
        except BaseException:
            connection.close()
            raise

    def _twice(self) -> None:
        first = self._ask()
        try:
            second = self._ask()
        except (OSError, HTTPException):
            with closing(first):
                self._pass_on(first.answer)
            return
        taken, other = (first, second) if self._detail < 0.5 else (second, first)
        # Not closed at once: a server that is still speaking must not notice that nobody listens.
        threading.Thread(target=_drain, args=(other,), daemon=True).start()
        with closing(taken):
            self._pass_on(taken.answer)

    # the client's side

    def _refuse(self) -> None:
        status = REFUSALS[int(self._detail * len(REFUSALS))]
        seconds = self._weather.retry_after_s
        if status == HTTPStatus.TOO_MANY_REQUESTS:  # in the words of a node. Source: recording 25
            body, kind = f"Rate limit exceeded. Try again in {seconds} seconds.".encode(), "text/plain"
        else:
            body, kind = _page(status), "text/html"
        self._client.send_whole(status, body, kind=kind, more=(("Retry-After", str(seconds)),))

    def _answer(self, answer: HTTPResponse) -> None:
        """Do to the answer what was decided; the server has done what was asked."""
        client, trouble = self._client, self._noted.trouble
        if trouble is Trouble.GARBAGE and "json" not in answer.getheader("Content-Type", ""):
            self._note(trouble=(trouble := Trouble.NONE))
        if trouble is Trouble.LOST_ANSWER:
            client.close_connection = True
        elif trouble is Trouble.GIVEN_UP:
            status = HTTPStatus.GATEWAY_TIMEOUT
            client.send_whole(status, _page(status), kind="text/html")
        elif trouble is Trouble.GARBAGE:
            body = GARBAGE[int(self._detail * len(GARBAGE))]
            client.send_whole(HTTPStatus.OK, body, kind="application/json")
        elif trouble is Trouble.CUT_OFF:
            self._cut_off(answer)
        else:
            if trouble is Trouble.LATE:
                shortest, longest = self._weather.delay_s
                time.sleep(shortest + self._detail * (longest - shortest))
            self._pass_on(answer)

    def _pass_on(self, answer: HTTPResponse) -> None:
        """Send the answer as it comes, in the form in which it comes."""
        client, length = self._client, answer.length
        headers = _headers(answer)
        if _has_no_body(answer):
            client.send_head(answer.status, answer.reason, headers)
            return
        if answer.chunked:
            headers.append(("Transfer-Encoding", "chunked"))
        elif length is None:  # it ends with its connection
            client.close_connection = True
        client.send_head(answer.status, answer.reason, headers)
        passed = 0
        for piece in _pieces(answer):
            passed += len(piece)
            client.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece) if answer.chunked else piece)
        if answer.chunked:
            client.wfile.write(b"0\r\n\r\n")
        elif length is not None and passed < length:
            client.close_connection = True  # the server broke off, and so do we

    def _cut_off(self, answer: HTTPResponse) -> None:
        """Send a part of the answer, and close."""
        client, headers = self._client, _headers(answer)
        client.close_connection = True
        if _has_no_body(answer) or answer.length == 0:
            headers = [pair for pair in headers if pair[0].lower() != "content-length"]
            client.send_head(HTTPStatus.OK, "OK", [*headers, ("Content-Length", "1")])
            return
        if answer.chunked:
            headers.append(("Transfer-Encoding", "chunked"))
        elif answer.length is None:
            headers.append(("Content-Length", str(1 << 30)))
        whole = answer.length if answer.length is not None else PIECE_BYTES
        left = int(self._detail * whole)  # never all of it
        client.send_head(answer.status, answer.reason, headers)
        for piece in _pieces(answer):
            part = piece[:left]
            client.wfile.write(b"%x\r\n%b" % (len(piece), part) if answer.chunked else part)
            left -= len(part)
            if len(part) < len(piece) or not left:
                return
            if answer.chunked:
                client.wfile.write(b"\r\n")


def _headers(answer: HTTPResponse) -> list[tuple[str, str]]:
    return [(name, value) for name, value in answer.getheaders() if name.lower() not in _OWN]


def _has_no_body(answer: HTTPResponse) -> bool:
    return answer.status in (HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED)


def _pieces(answer: HTTPResponse) -> Iterator[bytes]:
    """Yield a body as it comes. Raises OSError or HTTPException where it breaks off in a chunk."""
    while piece := answer.read1(PIECE_BYTES):
        yield piece


def _drain(asked: _Asked) -> None:
    with closing(asked), suppress(OSError, HTTPException):
        for _ in _pieces(asked.answer):
            pass


def _page(status: HTTPStatus) -> bytes:
    title = f"{status.value} {status.phrase}"
    return f"<html><head><title>{title}</title></head><body><h1>{title}</h1></body></html>".encode()


def _calls(body: bytes) -> str:
    """Return the JSON-RPC methods in a body, with a space before each; nothing for other bodies."""
    try:
        said = json.loads(body or b"null")
    except ValueError:
        return ""
    calls = said if isinstance(said, list) else [said]
    return "".join(f" {call['method']}" for call in calls if isinstance(call, dict) and "jsonrpc" in call)
