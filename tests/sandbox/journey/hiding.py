"""Stands between a portal and a Provider, and hides the Provider's jobs for a while."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import requests

from tests.sandbox.journey.portal import DEADLINE_S


class _Between(BaseHTTPRequestHandler):
    server: "_Hiding"

    def do_GET(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        kind = {"Content-Type": self.headers.get("Content-Type", "")}
        answer = requests.request(
            self.command, self.server.url + self.path, data=body, headers=kind, timeout=DEADLINE_S
        )
        is_list = self.path.startswith("/api/services/compute?consumerAddress=")
        content = b"[]" if is_list and self.server.hidden.is_set() else answer.content
        self.send_response(answer.status_code)
        self.send_header("Content-Type", answer.headers.get("Content-Type", ""))
        self.end_headers()
        self.wfile.write(content)

    do_POST = do_PUT = do_GET

    def log_message(self, *_: object) -> None:
        """Say nothing."""


class _Hiding(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, *, url: str) -> None:
        super().__init__(("127.0.0.1", 0), _Between)
        self.url, self.hidden = url, threading.Event()

    def handle_error(self, *_: object) -> None:
        """A worker that is killed hangs up."""


@contextmanager
def hiding_jobs(url: str) -> Iterator[tuple[str, threading.Event]]:
    """Yield an address in front of the Provider's, and what is set while its jobs are hidden."""
    server = _Hiding(url=url)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", server.hidden
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
