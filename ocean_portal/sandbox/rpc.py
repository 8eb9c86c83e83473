"""The sandbox chain behind JSON-RPC over HTTP."""

from __future__ import annotations

import json
import logging
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from ocean_portal.sandbox.chain import Chain
from ocean_portal.sandbox.encoding import RpcError

MAX_BODY_BYTES = 5_000_000
_IDLE_S = 60
_log = logging.getLogger(__name__)


def handle_body(chain: Chain, body: bytes) -> bytes:
    """Answer the body of one POST: a call, or a batch of calls in their order."""
    try:
        asked = json.loads(body)
    except (ValueError, RecursionError):
        return _encode(_failed(None, -32700, "parse error"))
    if isinstance(asked, list):
        if not asked:
            return _encode(_failed(None, -32600, "empty batch"))
        answers = [_answer(chain, call) for call in asked]
        return _encode([answer for answer in answers if answer is not None])
    answer = _answer(chain, asked)
    return b"" if answer is None else _encode(answer)


def _answer(chain: Chain, call: Any) -> dict[str, Any] | None:
    """Answer one call; None for a notification, which is a call without an id."""
    if not isinstance(call, dict) or not isinstance(call.get("method"), str):
        return _failed(None, -32600, "invalid request")
    number, params = call.get("id"), call.get("params") or []
    try:
        if not isinstance(params, list):
            raise RpcError(-32602, "non-array args")
        answer = {"jsonrpc": "2.0", "id": number, "result": chain.rpc(call["method"], params)}
    except RpcError as error:
        answer = _failed(number, error.code, error.message, error.data)
    except Exception as error:
        # A client's odd parameter must not end the connection; what is not foreseen is told and written down.
        _log.exception("the chain failed at %s", call["method"])
        answer = _failed(number, -32603, f"internal error: {error!r}")
    return answer if "id" in call else None


def _failed(number: Any, code: int, message: str, data: str | None = None) -> dict[str, Any]:
    error: dict[str, Any] = {"code": code, "message": message}
    if data is not None:
        error["data"] = data
    return {"jsonrpc": "2.0", "id": number, "error": error}


def _encode(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], chain: Chain) -> None:
        self.chain = chain
        super().__init__(address, _Handler)


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"
    timeout = _IDLE_S
    disable_nagle_algorithm = True
    # Head and body leave in ONE write; a second one would wait for a delayed acknowledgement, 40 ms a call.
    wbufsize = 1 << 20

    def do_POST(self) -> None:
        try:
            length = int(self.headers.get("Content-Length", ""))
        except ValueError:
            length = -1
        if length < 0:
            self._send(411, b"a Content-Length is needed", close=True)
        elif length > MAX_BODY_BYTES:
            self._send(413, b"content length too large", close=True)
        else:
            self._send(200, handle_body(self.server.chain, self.rfile.read(length)))

    def do_OPTIONS(self) -> None:
        self._send(204, b"")

    def do_GET(self) -> None:
        self._send(405, b"POST a JSON-RPC call")

    def _send(self, status: int, body: bytes, *, close: bool = False) -> None:
        kind = "application/json" if status == 200 else "text/plain"
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Access-Control-Allow-Origin", "*")
        self.send_header("Access-Control-Allow-Headers", "*")
        self.send_header("Access-Control-Allow-Methods", "POST, OPTIONS")
        if close:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        _log.debug(format, *args)


class RpcServer:
    """A running server; stop it with shutdown()."""

    def __init__(self, chain: Chain, *, host: str, port: int) -> None:
        self._server = _Server((host, port), chain)
        self.port: int = self._server.server_address[1]
        self.url = f"http://{host}:{self.port}"
        self._thread = threading.Thread(target=self._server.serve_forever, name="chain-rpc", daemon=True)
        self._thread.start()

    def shutdown(self) -> None:
        """Stop listening; the chain stays open."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def serve(chain: Chain, *, host: str = "127.0.0.1", port: int = 8545) -> RpcServer:
    """Serve the chain in threads of its own; port 0 picks a free one.

    Raises: OSError when the port is taken.
    """
    return RpcServer(chain, host=host, port=port)
