"""Listens in front of a server, notes what it is asked, and passes every byte on as it comes."""

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, BinaryIO
from urllib.parse import urlsplit


@dataclass(frozen=True)
class Asked:
    """One request: to which server, with which method, for which path (without its query).

    calls: the JSON-RPC methods in the body, for a chain.
    """

    peer: str
    method: str
    path: str
    calls: tuple[str, ...] = ()


@dataclass
class Notes:
    """What all taps have seen so far, in the order in which it came."""

    asked: list[Asked] = field(default_factory=list)

    def since(self, mark: int) -> tuple[Asked, ...]:
        """Return what was asked since len(asked) was the mark."""
        return tuple(self.asked[mark:])


class Tap:
    """One server's tap. peer: the name under which its requests are noted."""

    def __init__(self, *, peer: str, url: str, notes: Notes) -> None:
        there = urlsplit(url)
        assert there.hostname and there.port
        self._peer, self._there, self._notes = peer, (there.hostname, there.port), notes
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Take no more connections; those that are open end with their clients."""
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes accept
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client, suppress(OSError), socket.create_connection(self._there) as server:
            for end in (client, server):
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=self._pass_back, args=(server, client), daemon=True).start()
            with client.makefile("rb") as reader:
                self._pass_on(reader, server)
            server.shutdown(socket.SHUT_WR)

    def _pass_on(self, reader: BinaryIO, server: socket.socket) -> None:
        """Note each request before the server has it, so that its answer never comes first."""
        while head := _head(reader):
            body = reader.read(_length(head))
            method, target = head.split(b" ", 2)[:2]
            calls = _calls(body) if self._peer == "chain" else ()
            path = urlsplit(target.decode()).path or "/"
            self._notes.asked.append(Asked(self._peer, method.decode(), path, calls))
            server.sendall(head + body)

    @staticmethod
    def _pass_back(server: socket.socket, client: socket.socket) -> None:
        with suppress(OSError):
            while piece := server.recv(1 << 16):
                client.sendall(piece)
        with suppress(OSError):
            client.shutdown(socket.SHUT_RDWR)


@contextmanager
def tapped(**urls: str) -> Iterator[tuple[dict[str, str], Notes]]:
    """Put a tap before each server, named by its peer; give their URLs, and what they note."""
    notes = Notes()
    taps = {peer: Tap(peer=peer, url=url, notes=notes) for peer, url in urls.items()}
    try:
        yield {peer: tap.url for peer, tap in taps.items()}, notes
    finally:
        for tap in taps.values():
            tap.close()


def _head(reader: BinaryIO) -> bytes:
    """Read to the empty line that ends a head; empty when the client has closed."""
    lines: list[bytes] = []
    while line := reader.readline():
        lines.append(line)
        if line == b"\r\n":
            return b"".join(lines)
    return b""


def _length(head: bytes) -> int:
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        assert name.lower() != b"transfer-encoding", "a tap does not know bodies in chunks"
        if name.lower() == b"content-length":
            return int(value)
    return 0


def _calls(body: bytes) -> tuple[str, ...]:
    asked: Any = json.loads(body) if body else []
    return tuple(str(call["method"]) for call in (asked if isinstance(asked, list) else [asked]))
