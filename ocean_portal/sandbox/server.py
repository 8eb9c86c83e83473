"""The node over HTTP: parsing, limits and sending as Express does it. What is answered: node.py."""

import base64
import contextlib
import hashlib
import json
import math
import threading
import time
import traceback
import urllib.parse
from http import HTTPStatus
from typing import Any

from ocean_portal.sandbox.answers import Answer, Request, error_page, text
from ocean_portal.sandbox.node import Node
from ocean_portal.sandbox.serving import LocalHandler, LocalServer
from ocean_portal.sandbox.store import Store

BODY_BYTES = 100 * 1024  # Source: recording 17, exchange 29
WINDOW_S = 60
IDLE_S = 75


class RateLimit:
    """Counts the requests of each client in windows of a minute. Source: recording 25."""

    def __init__(self, *, per_minute: int) -> None:
        self._per_minute = per_minute
        self._lock = threading.Lock()
        self._windows: dict[str, tuple[float, int]] = {}

    def seconds_to_wait(self, *, client: str, now: float) -> int:
        """Count one request; return 0 when it may pass, else the seconds left in the window."""
        with self._lock:
            started, count = self._windows.get(client, (now, 0))
            if now - started >= WINDOW_S:
                started, count = now, 0
            self._windows[client] = (started, count + 1)
            return 0 if count < self._per_minute else max(1, math.ceil(started + WINDOW_S - now))


class NodeServer(LocalServer):
    """The node on one port. rate_limit is requests per minute and client. Raises OSError when the port is taken."""

    def __init__(self, *, node: Node, store: Store, host: str, port: int, rate_limit: int) -> None:
        super().__init__(handler=_Handler, store=store, host=host, port=port)
        self.node = node
        self.limit = RateLimit(per_minute=rate_limit)


class _BadBody(Exception):
    """Carries the page that refuses the body."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(answer.status)
        self.answer = answer


class _Handler(LocalHandler):
    server: NodeServer
    timeout = IDLE_S

    def _handle(self) -> None:
        url = urllib.parse.urlsplit(self.path)
        # Repeated names: Express makes lists of them; no client of ours sends any, and the last one wins.
        query = dict(urllib.parse.parse_qsl(url.query, keep_blank_values=True))
        try:
            body = self._body()
        except _BadBody as bad:
            answer = bad.answer
        else:
            answer = self._limited() or self._answered(
                Request(
                    method=self.command,
                    path=urllib.parse.unquote(url.path),
                    query=query,
                    headers={name.lower(): value for name, value in self.headers.items()},
                    body=body,
                )
            )
        self.server.store.count_request(
            method=self.command, path=url.path, status=answer.status, at=time.time()
        )
        with contextlib.suppress(ConnectionError, TimeoutError):
            self._send(answer)

    do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = do_HEAD = do_OPTIONS = _handle  # named by http.server

    def _answered(self, request: Request) -> Answer:
        try:
            return self.server.node.answer(request=request)
        except Exception:
            # One strange request must not end the connection; the traceback is in the terminal.
            self.log_error("%s %s", request.method, request.path)
            traceback.print_exc()
            return text(500, "Internal Server Error")

    def _limited(self) -> Answer | None:
        client = self.headers.get("X-Forwarded-For") or self.client_address[0]
        seconds = self.server.limit.seconds_to_wait(client=client, now=time.monotonic())
        return text(429, f"Rate limit exceeded. Try again in {seconds} seconds.") if seconds else None

    def _body(self) -> dict[str, Any]:
        """Return the JSON object of the body, {} for everything that is not labelled JSON."""
        try:
            length = int(self.headers.get("Content-Length") or 0)
        except ValueError:
            length = -1
        if length < 0 or self.headers.get("Transfer-Encoding"):
            self.close_connection = True
            raise _BadBody(error_page(400, "BadRequestError: invalid length"))
        if length > BODY_BYTES:
            self.close_connection = True
            self.swallow(min(length, 10 * BODY_BYTES))
            raise _BadBody(
                error_page(
                    413, "PayloadTooLargeError: request entity too large<br> &nbsp; &nbsp;at readStream"
                )
            )
        raw = self.rfile.read(length)
        if not raw or "json" not in (self.headers.get("Content-Type") or ""):
            return {}
        try:
            value = json.loads(raw)
            if not isinstance(value, dict | list):
                raise json.JSONDecodeError("neither object nor array", "", 0)
        except (ValueError, RecursionError) as error:
            place = getattr(error, "pos", 0)
            message = f"SyntaxError: Unexpected token in JSON at position {place}"
            message += "<br> &nbsp; &nbsp;at JSON.parse (&lt;anonymous&gt;)"
            raise _BadBody(error_page(400, message)) from error
        return value if isinstance(value, dict) else {}

    def _send(self, answer: Answer) -> None:
        """Send an answer as Express does, with its tag."""
        headers = ["Access-Control-Allow-Origin: *"]
        if answer.content_type:
            headers.append(f"Content-Type: {answer.content_type}")
        if answer.chunks is not None:
            self.send_chunks(status=answer.status, headers=headers, chunks=answer.chunks)
            return
        status, body = answer.status, answer.body
        if body and not body.startswith(b"<!DOCTYPE"):
            tag = base64.b64encode(hashlib.sha1(body, usedforsecurity=False).digest()).decode()[:27]
            headers.append(etag := f'ETag: W/"{len(body):x}-{tag}"')
            if self.command == "GET" and f"ETag: {self.headers.get('If-None-Match')}" == etag:
                status, body = HTTPStatus.NOT_MODIFIED, b""
        if status != HTTPStatus.NOT_MODIFIED:
            headers.append(f"Content-Length: {len(body)}")
        self.send_whole(status=status, headers=headers, body=b"" if self.command == "HEAD" else body)
