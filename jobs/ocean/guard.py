"""Where connections are made: the address guard, and time limits that a slow peer cannot stretch.

A name is resolved once, every address is checked, and the connection goes to a checked one, so that a second
DNS answer cannot change the target. TLS and the Host header keep the name.
"""

import ipaddress
import socket
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from io import BufferedReader, RawIOBase
from typing import Any

from requests.adapters import HTTPAdapter
from requests_hardened.ip_filter import EXTRA_BLOCKED_NET_RANGES
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import ConnectionPool

from jobs.ocean.errors import Refused, Unreachable

# What requests-hardened lets pass and Python calls neither private nor reserved: site-local addresses.
_BLOCKED = (*EXTRA_BLOCKED_NET_RANGES, ipaddress.ip_network("fec0::/10"))

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
Resolve = Callable[..., list[tuple[Any, ...]]]


class Pacing:
    """The time that one call has left, and whether anything of it may have left us.

    total_s: from now on, for everything. idle_s: the longest wait for the head of the answer, and then for each
    piece of its body: a byte now and then that makes no piece does not stretch it.
    """

    def __init__(self, *, monotonic: Callable[[], float], total_s: float, idle_s: float) -> None:
        self._monotonic = monotonic
        self._ends = monotonic() + total_s
        self._idle_s = idle_s
        self.sent = False
        self.progress()

    def remaining(self) -> float:
        return self._ends - self._monotonic()

    def progress(self) -> None:
        """Begin to wait for something new."""
        self._idle_ends = self._monotonic() + self._idle_s

    def next_timeout(self) -> float:
        left = min(self._ends, self._idle_ends) - self._monotonic()
        if left <= 0:
            raise TimeoutError("deadline")
        return left


class _PacedReader(RawIOBase):
    """Read from a socket with a timeout that shrinks: a byte a second must end too, headers or body."""

    def __init__(self, sock: socket.socket, pacing: Pacing) -> None:
        self._sock = sock
        self._raw = sock.makefile("rb", buffering=0)
        self._pacing = pacing

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        self._sock.settimeout(self._pacing.next_timeout())
        return self._raw.readinto(buffer)

    def close(self) -> None:
        self._raw.close()
        super().close()


class _PacedSocket:
    """A connected socket that obeys the pacing of the call that uses it now."""

    def __init__(self, sock: socket.socket, pacing: Callable[[], Pacing]) -> None:
        self._sock = sock
        self._pacing = pacing

    def sendall(self, data: Any) -> None:
        pacing = self._pacing()
        self._sock.settimeout(pacing.next_timeout())
        pacing.sent = True
        self._sock.sendall(data)

    def makefile(self, *_: object, **__: object) -> BufferedReader:
        return BufferedReader(_PacedReader(self._sock, self._pacing()))

    def settimeout(self, _: float | None) -> None:
        """Ignore the library's own timeout, which would start anew with every packet."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)


@dataclass(frozen=True)
class Guard:
    """Connect to what may be connected to.

    pacing: gives the time limits of the call that is being made now.
    """

    allow_private: bool
    connect_timeout_s: float
    resolve: Resolve
    pacing: Callable[[], Pacing]

    def connect(self, host: str, port: int, options: Any) -> socket.socket:
        """Resolve once, check every address, connect to the first that answers."""
        name = host.strip("[]")
        try:
            found = self.resolve(name, port, type=socket.SOCK_STREAM)
        except (socket.gaierror, UnicodeError):
            raise Unreachable(
                f"The name {name} could not be resolved. Check its spelling.", code="dns", retryable=True
            ) from None
        addresses = list(dict.fromkeys((entry[0], entry[4][0]) for entry in found))
        for _, address in addresses:
            self.check(name, address)
        failure: OSError = OSError("no address")
        for family, address in addresses:
            sock = socket.socket(family, socket.SOCK_STREAM)
            try:
                for option in options or ():
                    sock.setsockopt(*option)
                sock.settimeout(min(self.connect_timeout_s, self.pacing().next_timeout()))
                sock.connect((address, port))
            except OSError as error:
                sock.close()
                failure = error
            else:
                return sock
        raise Unreachable(
            f"{name} does not answer on port {port}.", code="connect", retryable=True
        ) from failure

    def check(self, name: str, address: str) -> None:
        """Refuse an address that is not for us to call.

        Raises: Refused.
        """
        if not is_allowed(address, allow_private=self.allow_private):
            raise Refused(
                f"{name} leads to an address inside a network. Only an operator can allow that.",
                code="address",
            )


def is_allowed(address: str, *, allow_private: bool) -> bool:
    """Say whether an address may be connected to.

    allow_private: for hosts that an operator named; not even those are multicast, unspecified or link-local.
    """
    try:
        ip: IPAddress = ipaddress.ip_address(address)
    except ValueError:
        return False
    if isinstance(ip, ipaddress.IPv6Address):
        ip = ip.ipv4_mapped or ip
    if ip.is_multicast or ip.is_unspecified or ip.is_link_local:
        return False
    if allow_private:
        return True
    return ip.is_global and not ip.is_reserved and not any(ip in network for network in _BLOCKED)


class _Guarded:
    """Mixed into both kinds of connection of urllib3, which call `_new_conn` for the plain socket."""

    def __init__(self, *args: Any, guard: Guard, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._guard = guard

    def _new_conn(self: Any) -> socket.socket:
        connected: socket.socket = self._guard.connect(self.host, self.port, self.socket_options)
        return connected

    def connect(self: Any) -> None:
        super().connect()  # type: ignore[misc]  # the mixin stands before a class that has it
        self.sock = _PacedSocket(self.sock, self._guard.pacing)


class _GuardedHTTP(_Guarded, HTTPConnection):  # type: ignore[misc]  # `sock` is our wrapper
    pass


class _GuardedHTTPS(_Guarded, HTTPSConnection):  # type: ignore[misc]  # `sock` is our wrapper
    pass


class GuardedAdapter(HTTPAdapter):
    """Make every connection of a session through the guard."""

    def __init__(self, *, guard: Guard) -> None:
        self._guard = guard
        super().__init__(pool_connections=1, pool_maxsize=2, max_retries=0)

    def get_connection_with_tls_context(self, *args: Any, **kwargs: Any) -> ConnectionPool:
        pool = super().get_connection_with_tls_context(*args, **kwargs)
        connection = _GuardedHTTPS if pool.scheme == "https" else _GuardedHTTP
        setattr(pool, "ConnectionCls", partial(connection, guard=self._guard))  # noqa: B010  # typed as a class
        return pool
