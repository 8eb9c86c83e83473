"""A gibibyte of output into the portal's archive, against curl fetching the same URL into a file."""

from __future__ import annotations

import os
import shutil
import subprocess
import tarfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from tests.benchmarks.site import Site, run_alone
from tests.benchmarks.table import Part, Row

OUTPUT_BYTES = 2**30
BLOCK = os.urandom(2**20)  # nothing that a file system could keep as a hole
PATH = "/api/services/computeResult"
ROOM_BYTES = 5 * OUTPUT_BYTES  # curl's file, or the archive, its files, and what is on its way into storage


def measure(site: Site, *, folder: Path) -> Part:
    """Fetch the same output with curl, with `results.collect`, and with curl again."""
    title = "1 GiB of output"
    if (curl := shutil.which("curl")) is None:
        return Part(title=title, told="Not measured: there is no curl on this machine.")
    if shutil.disk_usage(folder).free < ROOM_BYTES:
        return Part(title=title, told=f"Not measured: it takes {ROOM_BYTES // 2**30} GiB of free disk.")
    with _node() as url:
        before = _curl(curl, url + PATH, folder / "curl.tar")
        told = run_alone(site, folder=folder / "archive", call=f"collecting.main({url!r})")
        after = _curl(curl, url + PATH, folder / "curl.tar")
    assert told["bytes"] == _tar_bytes(), told
    bare = (before + after) / 2
    return Part(
        title=title,
        told="A tar with one file of random bytes, sent in pieces by a small server in the node's place. curl writes it "
        "into a file (the mean of a run before and one after); the portal writes the tar into its storage with its SHA-256 "
        "and then its file beside it with another.",
        rows=(
            Row("in the archive, files unpacked; beside: curl", told["seconds"], "s", beside=bare),
            Row("of this: the tar is archived; beside: curl", told["archived_s"], "s", beside=bare),
            Row("of this: its file stands on its own", told["seconds"] - told["archived_s"], "s"),
            Row(
                "peak memory of the collecting process; beside: before",
                told["peak_mib"],
                "MiB",
                beside=told["mib"],
            ),
        ),
    )


def _curl(curl: str, url: str, into: Path) -> float:
    os.sync()  # what others wrote before is not ours to wait for
    began = time.perf_counter()
    subprocess.run(
        [curl, "--silent", "--show-error", "--fail", "--noproxy", "*", "--output", str(into), url], check=True
    )
    took = time.perf_counter() - began
    assert into.stat().st_size == _tar_bytes()
    into.unlink()
    return took


def _pieces() -> Iterator[bytes]:
    """Yield a tar archive with one large file."""
    member = tarfile.TarInfo("outputs/large.bin")
    member.size = OUTPUT_BYTES
    yield member.tobuf()
    for _ in range(OUTPUT_BYTES // len(BLOCK)):
        yield BLOCK
    yield bytes(2 * tarfile.BLOCKSIZE)


def _tar_bytes() -> int:
    return OUTPUT_BYTES + 3 * tarfile.BLOCKSIZE


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:  # named by http.server
        self.send_response(200)
        self.send_header("Content-Type", "application/octet-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for piece in _pieces():
            self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece))
        self.wfile.write(b"0\r\n\r\n")

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def _node() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
