"""Which addresses may be called, and that the check cannot be walked around."""

import socket
import threading
import time

import pytest

from jobs.ocean.errors import Refused, Unreachable
from jobs.ocean.guard import is_allowed
from jobs.ocean.transport import Transport

BAD = [
    "0.0.0.0",
    "0.1.2.3",
    "10.0.0.1",
    "10.255.255.255",
    "100.64.0.1",
    "127.0.0.1",
    "127.1.2.3",
    "169.254.169.254",
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.1",
    "192.0.2.1",
    "192.88.99.1",
    "192.168.1.1",
    "198.18.0.1",
    "198.51.100.1",
    "203.0.113.1",
    "224.0.0.1",
    "239.255.255.250",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::127.0.0.1",
    "::10.0.0.1",
    "::8.8.8.8",
    "4000::1",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "::ffff:169.254.169.254",
    "::ffff:0.0.0.0",
    "64:ff9b::7f00:1",
    "64:ff9b:1::1",
    "100::1",
    "2001::1",
    "2001:20::1",
    "2001:db8::1",
    "2002:7f00:1::",
    "3fff::1",
    "5f00::1",
    "fc00::1",
    "fd12:3456::1",
    "fe80::1",
    "fe80::1%eth0",
    "fec0::1",
    "ff02::1",
    "ff0e::1",
    "localhost",
    "",
    "1.2.3",
]
GOOD = [
    "1.1.1.1",
    "8.8.8.8",
    "93.184.215.14",
    "2606:4700:4700::1111",
    "2a00:1450:4001:82a::200e",
    "::ffff:8.8.8.8",
]
NEVER = ["0.0.0.0", "::", "224.0.0.1", "ff02::1", "169.254.169.254", "fe80::1", "::ffff:169.254.169.254"]


class TestIsAllowed:
    @pytest.mark.parametrize("address", BAD)
    def test_says_no_to_what_is_not_on_the_open_internet(self, address):
        assert not is_allowed(address, allow_private=False)

    @pytest.mark.parametrize("address", GOOD)
    def test_says_yes_to_what_is(self, address):
        assert is_allowed(address, allow_private=False)

    @pytest.mark.parametrize("address", ["127.0.0.1", "::1", "10.0.0.1", "192.168.1.1", "fd12::1", "8.8.8.8"])
    def test_says_yes_to_private_ones_that_an_operator_allowed(self, address):
        assert is_allowed(address, allow_private=True)

    @pytest.mark.parametrize("address", NEVER)
    def test_says_no_to_some_whatever_an_operator_allowed(self, address):
        assert not is_allowed(address, allow_private=True)


def resolving(*addresses: str):
    """A resolver that answers with these addresses in turn, and counts how often it is asked."""
    asked = []

    def resolve(host, port, **_):
        asked.append(host)
        return [
            (
                socket.AF_INET6 if ":" in address else socket.AF_INET,
                socket.SOCK_STREAM,
                6,
                "",
                (address, port),
            )
            for address in addresses
        ]

    return resolve, asked


def call(url: str, *, resolve=socket.getaddrinfo, allow_private: bool = False) -> object:
    with Transport(
        url,
        admit=lambda: None,
        allow_private=allow_private,
        monotonic=time.monotonic,
        resolve=resolve,
        connect_timeout_s=1,
    ) as transport:
        return transport.get_json(path="/", total_s=2)


@pytest.fixture
def listener():
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


class TestGuard:
    @pytest.mark.parametrize(
        "host",
        [
            "127.0.0.1",
            "2130706433",
            "0177.0.0.1",
            "0x7f.0.0.1",
            "0x7f000001",
            "127.1",
            "0",
            "[::1]",
            "[::ffff:127.0.0.1]",
            "[::ffff:7f00:1]",
            "localhost",
            "LOCALHOST.",
        ],
    )
    def test_sees_through_every_spelling_of_this_machine(self, host, listener):
        port = listener.getsockname()[1]

        with pytest.raises((Refused, Unreachable)) as caught:
            call(f"http://{host}:{port}")

        # Where a resolver does not know a spelling, it cannot be connected to either.
        assert caught.value.code in ("address", "dns")
        listener.setblocking(False)
        with pytest.raises(BlockingIOError):
            listener.accept()

    @pytest.mark.parametrize("host", ["127.0.0.1", "2130706433", "127.1", "[::1]", "localhost"])
    def test_refuses_the_spellings_that_every_resolver_knows(self, host):
        with pytest.raises(Refused):
            call(f"http://{host}:9")

    @pytest.mark.parametrize("address", ["10.0.0.1", "::ffff:10.0.0.1", "169.254.169.254", "fec0::1"])
    @pytest.mark.parametrize("scheme", ["http", "https"])
    def test_refuses_names_that_lead_inside(self, scheme, address):
        resolve, asked = resolving(address)

        with pytest.raises(Refused, match="inside a network") as caught:
            call(f"{scheme}://innocent.example", resolve=resolve)

        assert asked == ["innocent.example"]
        assert address not in caught.value.message

    @pytest.mark.parametrize("order", [("8.8.8.8", "10.0.0.1"), ("10.0.0.1", "8.8.8.8")])
    def test_refuses_a_name_as_soon_as_one_of_its_addresses_is_bad(self, order):
        resolve, _ = resolving(*order)

        with pytest.raises(Refused):
            call("http://mixed.example", resolve=resolve)

    def test_connects_to_the_address_that_it_checked(self, listener):
        port = listener.getsockname()[1]
        seen = []

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                seen.append(connection.recv(65536))
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n7")

        thread = threading.Thread(target=serve)
        thread.start()
        resolve, asked = resolving("127.0.0.1")

        answer = call(f"http://node.example:{port}", resolve=resolve, allow_private=True)
        thread.join()

        assert answer == 7
        assert asked == ["node.example"]
        assert f"Host: node.example:{port}".encode() in seen[0]

    def test_tries_the_next_address_when_one_does_not_answer(self, listener):
        port = listener.getsockname()[1]

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n7")

        thread = threading.Thread(target=serve)
        thread.start()
        resolve, _ = resolving("127.0.0.2", "127.0.0.1")

        answer = call(f"http://node.example:{port}", resolve=resolve, allow_private=True)
        thread.join()

        assert answer == 7

    @pytest.mark.parametrize(
        "failure",
        [socket.gaierror(-2, "Name or service not known"), UnicodeError("label too long")],
    )
    def test_says_when_a_name_cannot_be_resolved(self, failure):
        def resolve(*_, **__):
            raise failure

        with pytest.raises(Unreachable) as caught:
            call("http://nowhere.example", resolve=resolve)

        assert caught.value.code == "dns"

    def test_gives_no_answer_for_a_name_without_addresses(self):
        resolve, _ = resolving()

        with pytest.raises(Unreachable) as caught:
            call("http://empty.example", resolve=resolve)

        assert caught.value.code == "connect"
