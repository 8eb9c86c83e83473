"""Whatever the libraries raise on the wire comes out as one of ours."""

import http.client
import inspect
import socket
import ssl

import pytest
import requests
import urllib3
from urllib3 import exceptions as urllib3_errors

from jobs.ocean import errors
from jobs.ocean.errors import OceanError, Unreachable
from tests.ocean.wire import Answer, FakeWire, transport

POOL = urllib3.HTTPConnectionPool("node.example")
SECRET = "0x" + "ab" * 65


def made(kind: type[Exception]) -> Exception:
    """An exception of the kind, whatever its constructor wants, with a secret in its text."""
    for arguments in (
        (SECRET,),
        (POOL, SECRET),
        (POOL, "/?signature=" + SECRET, None),
        (SECRET, SECRET, 1),
        (1, 2),
    ):
        try:
            return kind(*arguments)
        except (TypeError, AttributeError):
            continue
    return kind.__new__(kind)


def kinds(module) -> list[type[Exception]]:
    return sorted(
        (
            member
            for _, member in inspect.getmembers(module, inspect.isclass)
            if issubclass(member, Exception)
            and not issubclass(member, Warning)
            and member.__module__ == module.__name__
        ),
        key=lambda kind: kind.__name__,
    )


LIBRARY_ERRORS = [
    *kinds(requests.exceptions),
    *kinds(urllib3_errors),
    *kinds(http.client),
    OSError,
    TimeoutError,
    ConnectionResetError,
    BrokenPipeError,
    socket.gaierror,
    ssl.SSLError,
    ssl.SSLCertVerificationError,
    UnicodeError,
]


class TestLibraryErrors:
    @pytest.mark.parametrize("kind", LIBRARY_ERRORS)
    def test_become_unreachable_without_their_text(self, kind):
        with transport(FakeWire(made(kind))) as plain, pytest.raises(Unreachable) as caught:
            plain.get_json(path="/x")

        assert SECRET not in str(caught.value)
        assert caught.value.__suppress_context__
        assert caught.value.__cause__ is None
        assert not caught.value.maybe_happened

    @pytest.mark.parametrize(
        ("error", "code", "maybe_happened"),
        [
            (requests.exceptions.ConnectTimeout(), "connect", False),
            (requests.exceptions.SSLError(), "tls", False),
            (requests.exceptions.InvalidURL(), "request", False),
            (requests.exceptions.ReadTimeout(), "timeout", True),
            (requests.exceptions.ChunkedEncodingError(), "cut_off", True),
            (requests.exceptions.ConnectionError(), "cut_off", True),
            (
                requests.exceptions.ConnectionError(
                    urllib3_errors.MaxRetryError(
                        POOL, "/", urllib3_errors.NewConnectionError(POOL, "refused")
                    )
                ),
                "connect",
                False,
            ),
            (
                requests.exceptions.ConnectionError(
                    urllib3_errors.MaxRetryError(
                        POOL, "/", urllib3_errors.NameResolutionError("a", POOL, socket.gaierror())
                    )
                ),
                "dns",
                False,
            ),
            (
                requests.exceptions.ConnectionError(
                    urllib3_errors.ProtocolError("aborted", ConnectionResetError())
                ),
                "cut_off",
                True,
            ),
            (requests.exceptions.RequestException(), "transport", True),
        ],
    )
    def test_of_a_write_say_whether_it_may_have_happened(self, error, code, maybe_happened):
        with transport(FakeWire(error)) as plain, pytest.raises(Unreachable) as caught:
            plain.send_json(method="POST", path="/x", body={})

        assert (caught.value.code, caught.value.maybe_happened) == (code, maybe_happened)

    def test_that_are_no_wire_errors_are_not_hidden(self):
        with transport(FakeWire(ZeroDivisionError())) as plain, pytest.raises(ZeroDivisionError):
            plain.get_json(path="/x")


class TestStatusNumbers:
    @pytest.mark.parametrize("status", [s for s in range(200, 600) if s != 200])
    def test_that_are_not_200_always_raise_one_of_ours(self, status):
        with (
            transport(FakeWire(Answer.text("something", status))) as plain,
            pytest.raises(OceanError) as caught,
        ):
            plain.get_json(path="/x")

        assert caught.value.message.endswith(".")
        assert caught.value.code


class TestTree:
    def test_has_five_branches_and_one_root(self):
        branches = {kind.__name__ for kind in OceanError.__subclasses__()}

        assert branches == {"Unreachable", "Rejected", "BadAnswer", "ChainError", "Refused"}
        assert all(name in errors.__doc__ for name in branches)

    def test_carries_what_callers_decide_by(self):
        error = OceanError("A sentence.", code="x", retryable=True, maybe_happened=True, retry_after_s=5)

        assert str(error) == error.message == "A sentence."
        assert (error.code, error.retryable, error.maybe_happened, error.retry_after_s) == (
            "x",
            True,
            True,
            5,
        )
