"""Who is called: names that lead elsewhere, certificates that do not fit, and ports that speak something else."""

from __future__ import annotations

import datetime as dt
import socket
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from jobs.lifecycle import State
from jobs.models import Node
from jobs.ocean.transport import Transport
from jobs.services import gateway
from tests.hostile.far_side import FarSide, serving
from tests.hostile.world import World

pytestmark = pytest.mark.django_db

HOST = "node.example"
PUBLIC = "93.184.215.14"
REFUSED = "leads to an address inside a network"


@dataclass(frozen=True)
class Names:
    """answers: what the name resolves to, question after question, the last one for ever."""

    name: str
    answers: list[list[str] | Exception]
    says: str = REFUSED
    allowed: bool = False


CASES = [
    Names("the loopback", [["127.0.0.1"]]),
    Names("the loopback, otherwise", [["127.255.255.254"]]),
    Names("the loopback of IPv6", [["::1"]]),
    Names("the loopback as IPv4 in IPv6", [["::ffff:127.0.0.1"]]),
    Names("a private address as IPv4 in IPv6", [["::ffff:10.0.0.1"]]),
    Names("the loopback through a gateway", [["64:ff9b::7f00:1"]]),
    Names("the loopback through another gateway", [["2002:7f00:1::"]]),
    Names("the metadata service", [["169.254.169.254"]]),
    Names("the metadata service, though private is allowed", [["169.254.169.254"]], allowed=True),
    Names("the metadata service as IPv4 in IPv6, though allowed", [["::ffff:169.254.169.254"]], allowed=True),
    Names("everybody, though private is allowed", [["224.0.0.1"]], allowed=True),
    Names("nobody, though private is allowed", [["0.0.0.0"]], allowed=True),
    Names("private addresses", [["10.1.2.3"]]),
    Names("a carrier's inner network", [["100.64.0.1"]]),
    Names("an address of documents", [["192.0.2.1"]]),
    Names("IPv6 inside", [["fd00::1"]]),
    Names("IPv6 of the site", [["fec0::1"]]),
    Names("IPv6 of the wire, with its zone", [["fe80::1%eth0"]]),
    Names("several, one of them private", [[PUBLIC, "10.0.0.1"]]),
    Names("several, the last of them IPv4 in IPv6", [[PUBLIC, PUBLIC, "::ffff:192.168.0.1"]]),
    Names("something that is no address", [["the moon"]]),
    Names("public first, the loopback when asked again", [[PUBLIC], ["127.0.0.1"]]),
    Names("nothing", [[]], says="does not answer"),
    Names("an error", [socket.gaierror(socket.EAI_NONAME, "no")], says="could not be resolved"),
    Names("a name that cannot be written", [UnicodeError("label too long")], says="could not be resolved"),
]


@pytest.fixture
def connected(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The addresses that were connected to. Patched where sockets are made: no test may reach the world outside."""
    seen: list[str] = []

    class Watched(socket.socket):
        def connect(self, address: Any) -> None:
            seen.append(address[0])
            if address[0] != "127.0.0.1":
                raise OSError("unreachable")
            super().connect(address)

    monkeypatch.setattr("jobs.ocean.guard.socket.socket", Watched)
    return seen


def resolving(monkeypatch: pytest.MonkeyPatch, answers: list[list[str] | Exception]) -> list[str]:
    """Let names resolve to these; return the names that were asked for. The gateway is where rows become clients."""
    asked: list[str] = []
    left = list(answers)

    def resolve(name: str, port: int, **_: Any) -> list[tuple[Any, ...]]:
        if name == "127.0.0.1":
            return socket.getaddrinfo(name, port, type=socket.SOCK_STREAM)
        asked.append(name)
        answer = left.pop(0) if len(left) > 1 else left[0]
        if isinstance(answer, Exception):
            raise answer
        family = {True: socket.AF_INET6, False: socket.AF_INET}
        return [(family[":" in a], socket.SOCK_STREAM, 6, "", (a, port)) for a in answer]

    monkeypatch.setattr(gateway, "Transport", partial(Transport, resolve=resolve))
    return asked


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_name_that_leads_elsewhere_is_not_called(
    case: Names,
    world: World,
    monkeypatch: pytest.MonkeyPatch,
    connected: list[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    asked = resolving(monkeypatch, case.answers)
    port = world.bad.server_address[1]
    Node.objects.filter(pk=world.node.pk).update(base_url=f"http://{HOST}:{port}", allow_private=case.allowed)

    world.run(beats=1)

    world.assert_sound(caplog)
    world.assert_other_ended_well()
    assert case.says in world.said()
    assert world.victim.state == State.RUNNING
    assert HOST in asked
    assert world.bad.asked == []
    assert set(connected) <= {"127.0.0.1", PUBLIC}


@pytest.mark.parametrize(
    "host", ["2130706433", "0x7f000001", "0177.0.0.1", "127.1", "[::ffff:127.0.0.1]", "localhost"]
)
def test_loopback_in_another_spelling_is_not_called(world: World, host: str) -> None:
    port = world.bad.server_address[1]
    Node.objects.filter(pk=world.node.pk).update(base_url=f"http://{host}:{port}", allow_private=False)

    world.run(beats=1)

    assert world.bad.asked == []
    assert REFUSED in world.said() or "could not be resolved" in world.said()


class TlsSide(FarSide):
    """A far side behind TLS."""

    def __init__(self, context: ssl.SSLContext) -> None:
        super().__init__()
        self.context = context

    def get_request(self) -> tuple[Any, Any]:
        """Wrap each connection."""
        connection, address = super().get_request()
        connection.settimeout(5)
        return self.context.wrap_socket(connection, server_side=True), address


def certificate(folder: Path, *, name: str, days: tuple[int, int]) -> Path:
    """Make a key and a certificate that signs itself; days: from and until, counted from today."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    today = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(today + dt.timedelta(days=days[0]))
        .not_valid_after(today + dt.timedelta(days=days[1]))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = folder / "node.pem"
    path.write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()) + made.public_bytes(Encoding.PEM)
    )
    return path


class TestCertificate:
    @pytest.fixture
    def side(self, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
        path = certificate(tmp_path_factory.mktemp("tls"), **request.param)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(path)
        with serving(TlsSide(context)) as side:
            yield side, path

    def ask(self, world: World, side: FarSide, monkeypatch: pytest.MonkeyPatch) -> None:
        resolving(monkeypatch, [["127.0.0.1"]])
        side.listed = world.bad.listed
        url = f"https://{HOST}:{side.server_address[1]}"
        Node.objects.filter(pk=world.node.pk).update(base_url=url, allow_private=True)
        world.run(beats=1)

    YEAR = (-1, 365)
    DOUBTFUL = [
        pytest.param({"name": HOST, "days": YEAR}, False, id="signed by itself"),
        pytest.param({"name": "other.example", "days": YEAR}, True, id="for another name"),
        pytest.param({"name": "*.example.org", "days": YEAR}, True, id="for many other names"),
        pytest.param({"name": HOST, "days": (-9, -1)}, True, id="over"),
        pytest.param({"name": HOST, "days": (1, 9)}, True, id="not yet valid"),
    ]

    @pytest.mark.parametrize(("side", "trusted"), DOUBTFUL, indirect=["side"])
    def test_that_does_not_fit_ends_the_call_before_anything_is_said(
        self,
        world: World,
        side: tuple[FarSide, Path],
        trusted: bool,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        if trusted:  # the client has no setting for certificates, on purpose
            monkeypatch.setattr("requests.adapters.DEFAULT_CA_BUNDLE_PATH", str(side[1]))

        self.ask(world, side[0], monkeypatch)

        world.assert_sound(caplog)
        world.assert_other_ended_well()
        assert "no certificate that we trust" in world.said()
        assert side[0].asked == []

    @pytest.mark.parametrize("side", [{"name": HOST, "days": YEAR}], indirect=True)
    def test_that_fits_is_taken(
        self, world: World, side: tuple[FarSide, Path], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("requests.adapters.DEFAULT_CA_BUNDLE_PATH", str(side[1]))

        self.ask(world, side[0], monkeypatch)

        assert side[0].asked[0] == "jobs"
        assert "The algorithm ended without an error." in world.said()

    @pytest.mark.parametrize("side", [{"name": HOST, "days": YEAR}], indirect=True)
    def test_on_a_port_that_is_asked_in_the_clear_is_told(
        self, world: World, side: tuple[FarSide, Path]
    ) -> None:
        Node.objects.filter(pk=world.node.pk).update(base_url=side[0].url)

        world.run(beats=1)

        world.assert_other_ended_well()
        assert "broke the connection" in world.said()
        assert world.victim.state == State.RUNNING


def test_plain_http_on_a_port_for_tls_is_told(world: World, caplog: pytest.LogCaptureFixture) -> None:
    url = world.bad.url.replace("http:", "https:")
    Node.objects.filter(pk=world.node.pk).update(base_url=url)

    world.run(beats=1)

    world.assert_sound(caplog)
    world.assert_other_ended_well()
    assert "cannot speak TLS" in world.said()
