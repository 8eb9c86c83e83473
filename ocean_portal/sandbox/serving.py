"""What all HTTP servers of the sandbox share: threads, one port, an answer's head in one write."""

import contextlib
import threading
from collections.abc import Iterable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from ocean_portal.sandbox.store import Store


class LocalServer(ThreadingHTTPServer):
    """Listens on one port, and serves in threads of its own once started.

    Raises OSError when the port is taken.
    """

    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, *, handler: type[BaseHTTPRequestHandler], store: Store, host: str, port: int) -> None:
        super().__init__((host, port), handler)
        self.store = store

    @property
    def port(self) -> int:
        """The port that the server listens on."""
        return int(self.server_address[1])

    def start(self) -> None:
        """Answer in a thread of its own; until then a connection waits in the kernel's backlog."""
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True).start()


class LocalHandler(BaseHTTPRequestHandler):
    """One connection; subclasses read requests and choose headers."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def send_whole(self, *, status: int, headers: list[str], body: bytes) -> None:
        """Send in one write what is whole: no delayed acknowledgement between head and body."""
        if self.close_connection:
            headers = [*headers, "Connection: close"]
        lines = [
            f"HTTP/1.1 {status} {HTTPStatus(status).phrase}",
            *headers,
            f"Date: {self.date_time_string()}",
        ]
        self.wfile.write("\r\n".join([*lines, "", ""]).encode("latin-1") + body)

    def send_chunks(self, *, status: int, headers: list[str], chunks: Iterable[bytes]) -> None:
        """Send what comes bit by bit, each bit at once."""
        self.send_whole(status=status, headers=[*headers, "Transfer-Encoding: chunked"], body=b"")
        for chunk in chunks:
            self.wfile.write(b"%x\r\n%b\r\n" % (len(chunk), chunk))
        self.wfile.write(b"0\r\n\r\n")

    def swallow(self, length: int) -> None:
        """Read what is not wanted, so that its sender gets to reading the answer."""
        with contextlib.suppress(OSError):
            self.rfile.read(length)

    def log_message(self, format: str, *args: Any) -> None:
        """Stay quiet: every request is a row in the store."""
