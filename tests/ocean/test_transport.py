"""A hostile peer on a real socket, and the rules of retrying on a fake wire."""

import contextlib
import json
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from jobs.ocean.errors import BadAnswer, OceanError, Refused, Rejected, Unreachable
from jobs.ocean.transport import BODY_CAP, RETRY_PAUSES_S, Transport
from tests.ocean.wire import Answer, Clock, FakeWire
from tests.ocean.wire import transport as on_wire

Script = Callable[[socket.socket], None]


class Peer:
    """Accept connections on a free local port, read one request on each, and let the script answer."""

    def __init__(self, script: Script) -> None:
        self._script = script
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.requests: list[bytes] = []
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection, contextlib.suppress(OSError):
                connection.settimeout(5)
                self._answer(connection)

    def _answer(self, connection: socket.socket) -> None:
        self.requests.append(self._read(connection))
        self._script(connection)

    @staticmethod
    def _read(connection: socket.socket) -> bytes:
        data = b""
        while b"\r\n\r\n" not in data:
            more = connection.recv(65536)
            data += more
            # The end, or the begin of a TLS handshake, which no request follows.
            if not more or data.startswith(b"\x16"):
                break
        return data

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()


@pytest.fixture
def peer() -> Iterator[Callable[[Script], Peer]]:
    peers: list[Peer] = []

    def start(script: Script) -> Peer:
        peers.append(Peer(script))
        return peers[-1]

    yield start
    for one in peers:
        one.close()


def says(data: bytes) -> Script:
    return lambda connection: connection.sendall(data)


def answer(body: bytes, *, head: str = "200 OK", headers: str = "") -> bytes:
    return f"HTTP/1.1 {head}\r\nContent-Length: {len(body)}\r\n{headers}\r\n".encode() + body


def drips(*, before: bytes, drop: bytes) -> Script:
    """Send a drop every 50 ms, for ever."""

    def script(connection: socket.socket) -> None:
        connection.sendall(before)
        while True:
            connection.sendall(drop)
            time.sleep(0.05)

    return script


def calling(peer: Peer) -> Transport:
    return Transport(peer.url, admit=lambda: None, allow_private=True, monotonic=time.monotonic)


class TestHostileAnswers:
    @pytest.mark.parametrize(
        ("said", "kind", "code"),
        [
            (answer(b"<!DOCTYPE html><html><body>hi"), BadAnswer, "html_page"),
            (answer(b"<html>", head="404 Not Found"), BadAnswer, "html_page"),
            (answer(b"<html>", head="500 Oops"), Rejected, "server_error"),
            (answer(b"no json"), BadAnswer, "not_json"),
            (answer(b""), BadAnswer, "not_json"),
            (answer(b'{"a": NaN}'), BadAnswer, "not_json"),
            (answer(b"\xff\xfe\x00"), BadAnswer, "not_json"),
            (answer(b"[" * 1_000_000), BadAnswer, "not_json"),
            (answer("[".encode("utf-16") * 100_000), BadAnswer, "not_json"),
            (
                answer(b"[" * 60_000, head="400 No", headers="Content-Type: application/json\r\n"),
                Rejected,
                "bad_request",
            ),
            (answer(b"[" * 70 + b"]" * 70), BadAnswer, "not_json"),
            (answer(b"9" * 50_000), BadAnswer, "not_json"),
            (answer(b"", head="302 Found", headers="Location: http://127.0.0.1/\r\n"), BadAnswer, "redirect"),
            (answer(b"", head="304 Not Modified"), BadAnswer, "redirect"),
            (answer(b"", head="204 No Content"), BadAnswer, "status"),
            (answer(b"packed", headers="Content-Encoding: gzip\r\n"), BadAnswer, "encoding"),
            (answer(b"busy", head="503 Unavailable"), Rejected, "gateway"),
            (b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{", Unreachable, "cut_off"),
            (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{", Unreachable, "cut_off"),
            (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{", Unreachable, "cut_off"),
            (b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 200 + b"\r\n{}", Unreachable, "cut_off"),
            (b"HTTP/1.1 200 OK\r\nA: " + b"b" * 70_000 + b"\r\n\r\n{}", Unreachable, "cut_off"),
            (b"SSH-2.0-OpenSSH_9.6\r\n", Unreachable, "cut_off"),
            (b"\x00\x01\x02", Unreachable, "cut_off"),
            (b"", Unreachable, "cut_off"),
        ],
    )
    def test_become_one_of_our_errors(self, peer, said, kind, code):
        with calling(peer(says(said))) as transport, pytest.raises(OceanError) as caught:
            transport.get_json(path="/x")

        assert type(caught.value) is kind
        assert caught.value.code == code
        assert "127.0.0.1" in caught.value.message

    def test_of_a_hundred_megabytes_are_cut_at_the_cap(self, peer):
        sent = 0

        def flood(connection: socket.socket) -> None:
            nonlocal sent
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 104857600\r\n\r\n")
            for _ in range(1600):
                connection.sendall(b"x" * 65536)
                sent += 65536

        with calling(peer(flood)) as transport, pytest.raises(BadAnswer) as caught:
            transport.get_json(path="/x", cap_bytes=1_000_000)

        assert caught.value.code == "too_large"
        assert sent < 20_000_000

    @pytest.mark.parametrize(
        ("before", "drop"),
        [
            (b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n", b" "),
            (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n"),
            (b"HTTP/1.1 200 OK\r\nX: ", b"x"),
            (b"", b"H"),
            (b"HTTP/1.1 500 Oops\r\nContent-Length: 1000000\r\n\r\n", b" "),
        ],
        ids=["body", "chunks", "headers", "status line", "error body"],
    )
    def test_that_drip_end_at_the_total_deadline(self, peer, before, drop):
        began = time.monotonic()

        with (
            calling(peer(drips(before=before, drop=drop))) as transport,
            pytest.raises(Unreachable) as caught,
        ):
            transport.get_json(path="/x", total_s=0.4)

        assert caught.value.code == "deadline"
        assert time.monotonic() - began < 2

    def test_that_never_come_end_at_the_total_deadline(self, peer):
        with (
            calling(peer(lambda connection: time.sleep(0.6))) as transport,
            pytest.raises(Unreachable) as caught,
        ):
            transport.get_json(path="/x", total_s=0.2)

        assert caught.value.code == "deadline"

    def test_that_fall_silent_end_at_the_idle_deadline(self, peer):
        def stall(connection: socket.socket) -> None:
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n123")
            time.sleep(0.6)

        with (
            calling(peer(stall)) as transport,
            transport.stream(path="/x", total_s=30, idle_s=0.2, cap_bytes=100) as body,
        ):
            assert next(body) == b"123"
            with pytest.raises(Unreachable) as caught:
                next(body)

        assert caught.value.code == "timeout"

    def test_that_pack_a_bomb_are_not_unpacked(self, peer):
        bomb = answer(b"x" * 100, headers="Content-Encoding: gzip\r\nContent-Type: application/json\r\n")

        with calling(peer(says(bomb))) as transport, pytest.raises(BadAnswer, match="packs"):
            transport.get_json(path="/x")


class TestStream:
    def test_gives_each_piece_as_it_arrives(self, peer):
        gate = threading.Event()

        def script(connection: socket.socket) -> None:
            connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n")
            gate.wait(5)
            connection.sendall(b"4\r\nlast\r\n0\r\n\r\n")

        with (
            calling(peer(script)) as transport,
            transport.stream(path="/x", total_s=5, idle_s=5, cap_bytes=100) as body,
        ):
            first = next(body)
            gate.set()

            assert first == b"first"
            assert b"".join(body) == b"last"

    def test_that_is_left_early_closes_its_connection(self, peer):
        closed = threading.Event()

        def script(connection: socket.socket) -> None:
            connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n")
            if connection.recv(1) == b"":
                closed.set()

        with (
            calling(peer(script)) as transport,
            transport.stream(path="/x", total_s=5, idle_s=5, cap_bytes=100) as body,
        ):
            next(body)

        assert closed.wait(2)


class TestKeepAlive:
    def test_uses_one_connection_for_several_calls(self, peer):
        def twice(connection: socket.socket) -> None:
            connection.sendall(answer(b"1"))
            Peer._read(connection)
            connection.sendall(answer(b"2"))

        listening = peer(twice)

        with calling(listening) as transport:
            assert [transport.get_json(path="/a"), transport.get_json(path="/b")] == [1, 2]

        assert len(listening.requests) == 1


class TestCookies:
    def test_are_not_kept(self, peer):
        listening = peer(says(answer(b"1", headers="Set-Cookie: a=b; Path=/\r\nConnection: close\r\n")))

        with calling(listening) as transport:
            transport.get_json(path="/a")
            transport.get_json(path="/b")

        assert len(listening.requests) == 2
        assert b"cookie" not in listening.requests[1].lower()


class TestWrites:
    @pytest.mark.parametrize(
        "said",
        [
            b"",
            b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{",
            answer(b"no json"),
            answer(b"<html>"),
            answer(b"oops", head="500 Oops"),
            answer(b"", head="303 See Other", headers="Location: /\r\n"),
            answer(b"x" * 2_000),
        ],
    )
    def test_that_go_wrong_after_sending_may_have_happened(self, peer, said):
        listening = peer(says(said))

        with calling(listening) as transport, pytest.raises(OceanError) as caught:
            transport.send_json(method="POST", path="/x", body={"a": 1}, cap_bytes=1_000)

        assert caught.value.maybe_happened
        assert len(listening.requests) == 1

    def test_that_find_nobody_have_not_happened(self):
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = listener.getsockname()[1]
        transport = Transport(
            f"http://127.0.0.1:{port}", admit=lambda: None, allow_private=True, monotonic=time.monotonic
        )

        with transport, pytest.raises(Unreachable) as caught:
            transport.send_json(method="POST", path="/x", body={})

        assert caught.value.code == "connect"
        assert not caught.value.maybe_happened
        assert caught.value.retryable

    def test_that_no_tls_peer_hears_have_not_happened(self, peer):
        listening = peer(says(b"this is no TLS"))
        transport = Transport(
            listening.url.replace("http:", "https:"),
            admit=lambda: None,
            allow_private=True,
            monotonic=time.monotonic,
        )

        with transport, pytest.raises(Unreachable) as caught:
            transport.send_json(method="POST", path="/x", body={})

        assert caught.value.code == "tls"
        assert not caught.value.maybe_happened

    def test_are_never_repeated(self):
        clock = Clock()
        wire = FakeWire(Answer.text("down", 503))

        with on_wire(wire, clock=clock, retries=True) as transport, pytest.raises(Rejected):
            transport.send_json(method="POST", path="/x", body={})

        assert len(wire.sent) == 1
        assert clock.slept == []

    def test_above_the_cap_are_not_sent(self):
        wire = FakeWire(Answer.json({}))

        with on_wire(wire) as transport:
            transport.send_json(method="POST", path="/x", body={"a": "x" * (BODY_CAP - 10)})
            with pytest.raises(Refused) as caught:
                transport.send_json(method="POST", path="/x", body={"a": "x" * BODY_CAP})

        assert caught.value.code == "too_large"
        assert len(wire.sent) == 1

    def test_send_json_and_say_so(self):
        wire = FakeWire(Answer.json({}))

        with on_wire(wire) as transport:
            transport.send_json(method="POST", path="/x", body={"a": "ü"})

        assert wire.sent[0].headers["Content-Type"] == "application/json"
        assert json.loads(wire.sent[0].body) == {"a": "ü"}


class TestRetries:
    def test_read_again_with_growing_pauses(self):
        clock = Clock()
        wire = FakeWire(*[Answer.text("down", 503)] * 2, ConnectionResetError(), Answer.json(7))

        with on_wire(wire, clock=clock, retries=True) as transport:
            assert transport.get_json(path="/x") == 7

        assert clock.slept == list(RETRY_PAUSES_S)
        assert list(RETRY_PAUSES_S) == sorted(RETRY_PAUSES_S)

    def test_give_up_after_three(self):
        wire = FakeWire(Answer.text("down", 503))

        with on_wire(wire, retries=True) as transport, pytest.raises(Rejected):
            transport.get_json(path="/x")

        assert len(wire.sent) == 1 + 3

    def test_do_not_outlive_the_total_deadline(self):
        clock = Clock()
        wire = FakeWire(Answer.text("down", 503))

        with on_wire(wire, clock=clock, retries=True) as transport, pytest.raises(Rejected):
            transport.get_json(path="/x", total_s=3)

        assert clock.slept == [0.5, 1.5]

    @pytest.mark.parametrize(
        "said",
        [
            Answer.text("no", 404),
            Answer.text("oops", 500),
            Answer.text("Rate limit exceeded. Try again in 9 seconds.", 429),
            Answer.text("moved", 302),
            Answer.text("no json"),
        ],
    )
    def test_are_not_for_answers_that_stay_the_same(self, said):
        wire = FakeWire(said)

        with on_wire(wire, retries=True) as transport, pytest.raises(OceanError):
            transport.get_json(path="/x")

        assert len(wire.sent) == 1

    def test_are_not_for_reads_that_use_up_a_nonce(self):
        wire = FakeWire(Answer.text("down", 503))

        with on_wire(wire, retries=True) as transport, pytest.raises(Rejected):
            transport.get_json(path="/x", retry=False)

        assert len(wire.sent) == 1


class TestAdmit:
    def test_is_asked_before_every_attempt(self):
        clock, admitted = Clock(), []
        wire = FakeWire(Answer.text("down", 503), Answer.json(1))
        transport = Transport(
            "https://node.example",
            admit=lambda: admitted.append(len(wire.sent)),
            allow_private=False,
            monotonic=clock,
            sleep=clock.sleep,
            adapter=wire,
        )

        with transport:
            transport.get_json(path="/x")

        assert admitted == [0, 1]

    def test_may_stop_the_call(self):
        class NoBudget(Exception):
            pass

        def refuse() -> None:
            raise NoBudget

        wire = FakeWire(Answer.json(1))
        transport = Transport(
            "https://node.example", admit=refuse, allow_private=False, monotonic=Clock(), adapter=wire
        )

        with transport, pytest.raises(NoBudget):
            transport.get_json(path="/x")

        assert wire.sent == []


class TestBaseUrl:
    @pytest.mark.parametrize(
        "url",
        [
            "",
            "node.example",
            "ftp://node.example",
            "file:///etc/passwd",
            "javascript:alert(1)",
            "http://",
            "http:///path",
            "http://user:secret@node.example",
            "http://node.example?x=1",
            "http://node.example/#x",
            "http://node.example:99999",
            "http://[::1",
        ],
    )
    def test_of_another_kind_is_refused(self, url):
        with pytest.raises(Refused) as caught:
            Transport(url, admit=lambda: None, allow_private=True, monotonic=time.monotonic)

        assert caught.value.code == "url"
        assert "secret" not in caught.value.message

    def test_may_have_a_path(self):
        wire = FakeWire(Answer.json(1))
        transport = Transport(
            "https://Node.Example:8443/ocean/",
            admit=lambda: None,
            allow_private=False,
            monotonic=Clock(),
            adapter=wire,
        )

        with transport:
            transport.get_json(path="/x")

        assert wire.sent[0].path == "/ocean/x"
        assert transport.host == "node.example:8443"


class TestEnvironment:
    def test_gives_no_proxy_and_no_password(self, monkeypatch, peer, tmp_path):
        (tmp_path / "netrc").write_text("machine 127.0.0.1 login me password secret\n")
        monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
        monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
        monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
        listening = peer(says(answer(b"1")))

        with calling(listening) as transport:
            assert transport.get_json(path="/x") == 1

        assert b"authorization" not in listening.requests[0].lower()


@pytest.fixture
def tls_peer(tmp_path) -> Iterator[tuple[Peer, Path, list[str | None]]]:
    """A peer with a certificate of its own for node.example; with it the names that clients asked for."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "node.example")])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(datetime(2020, 1, 1, tzinfo=UTC))
        .not_valid_after(datetime(2120, 1, 1, tzinfo=UTC))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("node.example")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path / "peer.pem"
    path.write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        + certificate.public_bytes(Encoding.PEM)
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    asked: list[str | None] = []
    context.sni_callback = lambda _, server_name, __: asked.append(server_name)

    class TlsPeer(Peer):
        def _answer(self, connection: socket.socket) -> None:
            with context.wrap_socket(connection, server_side=True) as wrapped:
                super()._answer(wrapped)

    def script(connection: socket.socket) -> None:
        if b"/broken" in peer.requests[-1]:
            # Past the encryption: no TLS record is made of this.
            socket.socket.sendall(connection, b"garbage" * 100)
            # Whoever closes with the request's body unread resets the connection, and the garbage may be lost.
            socket.socket.shutdown(connection, socket.SHUT_WR)
            while socket.socket.recv(connection, 4096):
                pass
        else:
            connection.sendall(answer(b"7"))

    peer = TlsPeer(script)
    yield peer, path, asked
    peer.close()


class TestTls:
    @staticmethod
    def calling(peer: Peer, host: str) -> Transport:
        port = int(peer.url.rpartition(":")[2])
        return Transport(
            f"https://{host}:{port}",
            admit=lambda: None,
            allow_private=True,
            monotonic=time.monotonic,
            resolve=lambda *_, **__: [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))],
        )

    def test_refuses_a_certificate_that_nobody_vouches_for(self, tls_peer):
        peer, _, _ = tls_peer

        with self.calling(peer, "node.example") as transport, pytest.raises(Unreachable) as caught:
            transport.get_json(path="/x")

        assert caught.value.code == "tls"
        assert not caught.value.retryable

    def test_that_breaks_after_a_write_was_sent_may_have_happened(self, tls_peer, monkeypatch):
        peer, path, _ = tls_peer
        # As below: the peer must be trusted for this one test.
        monkeypatch.setattr("requests.adapters.DEFAULT_CA_BUNDLE_PATH", str(path))

        with self.calling(peer, "node.example") as transport, pytest.raises(Unreachable) as caught:
            transport.send_json(method="POST", path="/broken", body={})

        assert caught.value.code == "tls"
        assert caught.value.maybe_happened

    def test_asks_for_and_checks_the_name_and_not_the_address(self, tls_peer, monkeypatch):
        peer, path, asked = tls_peer
        # The client has no setting for certificates, on purpose; the peer must be trusted for this one test.
        monkeypatch.setattr("requests.adapters.DEFAULT_CA_BUNDLE_PATH", str(path))

        with self.calling(peer, "node.example") as transport:
            assert transport.get_json(path="/x") == 7
        with self.calling(peer, "other.example") as transport, pytest.raises(Unreachable) as caught:
            transport.get_json(path="/x")

        assert asked == ["node.example", "other.example"]
        assert caught.value.code == "tls"


class TestJson:
    def test_loses_what_no_database_takes(self):
        wire = FakeWire(Answer(b'{"a\\u0000": ["x\\ud800y", "\\ud83c\\udf0d", "z\\u0000"]}'))

        with on_wire(wire) as transport:
            document = transport.get_json(path="/x")

        assert document == {"a": ["x?y", "🌍", "z"]}
