"""The proxy by itself, before a server of a few lines: what it does, how often, and when it stops."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException, IncompleteRead, RemoteDisconnected
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.chaos.proxy import Proxy
from tests.chaos.weather import CALM, TROUBLES, Fates, Trouble, Weather

FILE = bytes(range(256)) * 1024
SEED = 7


@dataclass
class Notes:
    """What the server was asked, and when its log may go on."""

    asked: list[tuple[str, str, bytes]] = field(default_factory=list)
    go_on: threading.Event = field(default_factory=threading.Event)


class Handler(BaseHTTPRequestHandler):
    """Answers every request with what it was, except for a few paths."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    notes: Notes

    def _handle(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.notes.asked.append((self.command, self.path, body))
        place = self.path.partition("?")[0]
        said = {
            "method": self.command,
            "path": self.path,
            "body": body.decode(),
            "time": len(self.notes.asked),
        }
        if place == "/log":
            self._stream(b"first\n", b"second\n")
        elif place == "/file":
            self._whole(FILE, kind="application/octet-stream")
        elif place == "/endless":
            self._head(200, [("Content-Type", "text/plain"), ("Connection", "close")])
            self.close_connection = True
            self.wfile.write(b"until the end")
        elif place == "/broken":
            self.close_connection = True
            self._head(200, [("Content-Type", "text/plain"), ("Content-Length", "100")])
            self.wfile.write(b"not all")
        elif place == "/empty":
            self._whole(b"", kind="text/plain")
        elif place == "/same":
            self._head(304, [("ETag", "x")])
        elif place == "/refused":
            self._whole(b'"no"', kind="application/json", status=401)
        else:
            self._whole(json.dumps(said).encode(), kind="application/json")

    do_GET = do_POST = do_PUT = do_DELETE = _handle

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def _head(self, status: int, headers: list[tuple[str, str]]) -> None:
        self.send_response_only(status)
        self.send_header("X-Said", "once")
        for name, value in headers:
            self.send_header(name, value)
        self.end_headers()

    def _whole(self, body: bytes, *, kind: str, status: int = 200) -> None:
        self._head(status, [("Content-Type", kind), ("Content-Length", str(len(body)))])
        self.wfile.write(body)

    def _stream(self, *pieces: bytes) -> None:
        self._head(200, [("Transfer-Encoding", "chunked")])
        for piece in pieces:
            self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece))
            self.notes.go_on.wait(10)
        self.wfile.write(b"0\r\n\r\n")


@pytest.fixture
def notes() -> Notes:
    return Notes()


@pytest.fixture
def upstream(notes: Notes) -> Iterator[str]:
    class Noting(Handler):
        pass

    Noting.notes = notes
    server = ThreadingHTTPServer(("127.0.0.1", 0), Noting)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    notes.go_on.set()
    server.shutdown()
    server.server_close()


@contextmanager
def proxied(upstream: str, **troubles: Any) -> Iterator[Proxy]:
    """Put a proxy before the server in which some troubles befall every exchange."""
    with Proxy(upstream=upstream, name="node", seed=SEED, weather=Weather(**troubles)) as proxy:
        yield proxy


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def ask(
    proxy: Proxy, path: str = "/", *, method: str = "GET", body: bytes | None = None, **headers: str
) -> Answer:
    """Ask once over a connection of its own."""
    with connected(proxy) as connection:
        return ask_over(connection, path, method=method, body=body, **headers)


def ask_over(
    connection: HTTPConnection,
    path: str = "/",
    *,
    method: str = "GET",
    body: bytes | None = None,
    **headers: str,
) -> Answer:
    connection.request(method, path, body=body, headers=headers)
    answer = connection.getresponse()
    return Answer(answer.status, dict(answer.getheaders()), answer.read())


@contextmanager
def connected(proxy: Proxy) -> Iterator[HTTPConnection]:
    with closing(HTTPConnection("127.0.0.1", urlsplit(proxy.url).port, timeout=10)) as connection:
        yield connection


class TestCalm:
    @pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE"])
    def test_passes_on_method_path_query_and_body(self, upstream: str, notes: Notes, method: str) -> None:
        body = None if method == "GET" else b'{"a": 1}'

        with proxied(upstream) as proxy:
            answer = ask(proxy, "/a/b?c=d&e", method=method, body=body)

        assert notes.asked == [(method, "/a/b?c=d&e", body or b"")]
        assert (answer.status, answer.json["time"], answer.headers["X-Said"]) == (200, 1, "once")

    @pytest.mark.parametrize(
        ("path", "status", "body"),
        [
            ("/file", 200, FILE),
            ("/empty", 200, b""),
            ("/endless", 200, b"until the end"),
            ("/same", 304, b""),
            ("/refused", 401, b'"no"'),
        ],
    )
    def test_passes_on_answers_of_every_kind(
        self, upstream: str, path: str, status: int, body: bytes
    ) -> None:
        with proxied(upstream) as proxy:
            answer = ask(proxy, path)

        assert (answer.status, answer.body) == (status, body)

    def test_puts_the_path_of_the_base_url_in_front(self, upstream: str, notes: Notes) -> None:
        with proxied(f"{upstream}/v1/") as proxy:
            ask(proxy, "/a")

        assert notes.asked[0][1] == "/v1/a"

    def test_keeps_a_connection_for_many_exchanges(self, upstream: str) -> None:
        with proxied(upstream) as proxy, connected(proxy) as connection:
            times = [ask_over(connection).json["time"] for _ in range(3)]

        assert times == [1, 2, 3]

    def test_passes_a_log_on_while_it_grows(self, upstream: str, notes: Notes) -> None:
        with proxied(upstream) as proxy, connected(proxy) as connection:
            connection.request("GET", "/log")
            answer = connection.getresponse()
            first = answer.read1(1000)
            grew = not notes.go_on.is_set()
            notes.go_on.set()
            rest = answer.read()

        assert (first, grew, rest) == (b"first\n", True, b"second\n")

    def test_breaks_off_where_the_server_does(self, upstream: str) -> None:
        with proxied(upstream) as proxy, pytest.raises(IncompleteRead) as caught:
            ask(proxy, "/broken")

        assert (caught.value.partial, caught.value.expected) == (b"not all", 93)

    def test_closes_when_there_is_no_server(self) -> None:
        with proxied("http://127.0.0.1:1") as proxy, pytest.raises(RemoteDisconnected):
            ask(proxy)

    def test_ends_the_connections_of_its_clients(self, upstream: str) -> None:
        with proxied(upstream) as proxy, connected(proxy) as connection:
            ask_over(connection)

            proxy.close()

            with pytest.raises((HTTPException, OSError)):
                ask_over(connection)

    def test_stands_before_http_only(self) -> None:
        with pytest.raises(ValueError, match="http://host:port"):
            Proxy(upstream="https://node.example", name="node", seed=SEED, weather=CALM)


class TestTrouble:
    """One kind at a time, at every exchange."""

    def test_lost_request_never_comes_to_the_server(self, upstream: str, notes: Notes) -> None:
        with proxied(upstream, lost_request=1) as proxy:
            with pytest.raises(RemoteDisconnected):
                ask(proxy, method="POST", body=b"start")

            assert [e.sent for e in proxy.exchanges] == [0]

        assert notes.asked == []

    def test_lost_answer_is_one_to_what_was_done(self, upstream: str, notes: Notes) -> None:
        with proxied(upstream, lost_answer=1) as proxy:
            with pytest.raises(RemoteDisconnected):
                ask(proxy, method="POST", body=b"start")

            assert [e.sent for e in proxy.exchanges] == [1]

        assert notes.asked == [("POST", "/", b"start")]

    def test_late_answer_is_whole_and_waits_within_its_bounds(self, upstream: str) -> None:
        with proxied(upstream, late=1, delay_s=(0.1, 0.3)) as proxy:
            began = time.monotonic()
            answer = ask(proxy)
            took_s = time.monotonic() - began

        assert answer.json["time"] == 1
        assert took_s >= 0.1

    def test_request_that_comes_twice_is_answered_by_either(self, upstream: str, notes: Notes) -> None:
        with proxied(upstream, twice=1) as proxy:
            times = [ask(proxy, method="POST", body=b"start").json["time"] for _ in range(8)]

            assert {e.sent for e in proxy.exchanges} == {2}

        assert len(notes.asked) == 16
        firsts = range(1, 16, 2)
        assert all(time in (first, first + 1) for time, first in zip(times, firsts, strict=True))
        assert len({time - first for time, first in zip(times, firsts, strict=True)}) == 2

    def test_log_that_is_asked_for_twice_is_passed_on_once_while_it_grows(
        self, upstream: str, notes: Notes
    ) -> None:
        with proxied(upstream, twice=1) as proxy, connected(proxy) as connection:
            connection.request("GET", "/log")
            answer = connection.getresponse()
            first = answer.read1(1000)
            notes.go_on.set()

            assert (first, answer.read()) == (b"first\n", b"second\n")

    @pytest.mark.parametrize("path", ["/", "/file", "/log", "/empty", "/same", "/endless"])
    def test_answer_that_is_cut_off_promises_more_than_comes(
        self, upstream: str, notes: Notes, path: str
    ) -> None:
        notes.go_on.set()

        with proxied(upstream, cut_off=1) as proxy:
            for _ in range(6):
                with pytest.raises(IncompleteRead):
                    ask(proxy, path)

        assert len(notes.asked) == 6

    def test_answers_are_cut_off_at_many_places(self, upstream: str) -> None:
        lengths = set()
        with proxied(upstream, cut_off=1) as proxy:
            for _ in range(6):
                with pytest.raises(IncompleteRead) as caught:
                    ask(proxy, "/file")
                assert FILE.startswith(caught.value.partial)
                lengths.add(len(caught.value.partial))

        assert len(lengths) == 6
        assert max(lengths) < len(FILE)

    def test_refusals_name_a_time_and_never_come_to_the_server(self, upstream: str, notes: Notes) -> None:
        with proxied(upstream, refused=1, retry_after_s=3) as proxy, connected(proxy) as connection:
            answers = [ask_over(connection, method="POST", body=b"start") for _ in range(20)]

            assert {e.sent for e in proxy.exchanges} == {0}

        assert {answer.status for answer in answers} == {502, 503, 429}
        assert {answer.headers["Retry-After"] for answer in answers} == {"3"}
        too_many = next(answer for answer in answers if answer.status == 429)
        assert too_many.body == b"Rate limit exceeded. Try again in 3 seconds."
        assert notes.asked == []

    def test_gateway_that_gives_up_says_so_of_what_was_done(self, upstream: str, notes: Notes) -> None:
        with proxied(upstream, given_up=1) as proxy:
            answer = ask(proxy, method="POST", body=b"start")

        assert (answer.status, answer.headers["Content-Type"]) == (504, "text/html")
        assert notes.asked == [("POST", "/", b"start")]

    def test_garbage_is_no_json_and_labelled_so(self, upstream: str, notes: Notes) -> None:
        seen = set()
        with proxied(upstream, garbage=1) as proxy:
            for _ in range(20):
                answer = ask(proxy, "/refused")
                assert (answer.status, answer.headers["Content-Type"]) == (200, "application/json")
                with pytest.raises(ValueError):
                    json.loads(answer.body)
                seen.add(answer.body)

        assert len(seen) == 4
        assert len(notes.asked) == 20

    def test_garbage_spares_what_is_no_json(self, upstream: str) -> None:
        with proxied(upstream, garbage=1) as proxy:
            answer = ask(proxy, "/file")

            assert proxy.counts == {Trouble.NONE: 1}

        assert answer.body == FILE


def told(proxy: Proxy, times: int) -> list[Trouble]:
    """Ask so many times, whatever comes, and return what was done."""
    for _ in range(times):
        try:
            ask(proxy, method="POST", body=b"{}")
        except (HTTPException, OSError):
            continue
    return [exchange.trouble for exchange in proxy.exchanges]


class TestSeed:
    def weather(self) -> Weather:
        return Weather.mixed(0.8, delay_s=(0.0, 0.01))

    def test_makes_the_same_happen_again(self, upstream: str) -> None:
        runs = []
        for seed in (SEED, SEED, SEED + 1):
            with Proxy(upstream=upstream, name="node", seed=seed, weather=self.weather()) as proxy:
                runs.append(told(proxy, 40))

        assert runs[0] == runs[1] != runs[2]
        assert set(runs[0]) == set(Trouble)

    def test_deals_each_fate_to_one_of_many_threads(self) -> None:
        fates = Fates(seed=SEED, weather=self.weather())
        with ThreadPoolExecutor(8) as pool:
            dealt = sorted(
                (fate for fate, _ in pool.map(lambda _: fates.deal(), range(2_000))), key=lambda f: f.number
            )

        again = Fates(seed=SEED, weather=self.weather())
        assert dealt == [again.deal()[0] for _ in range(2_000)]
        assert all(after.number == before.number + 1 for before, after in pairwise(dealt))

    def test_calm_passes_everything_on_from_then_on(self, upstream: str) -> None:
        with proxied(upstream, lost_request=1) as proxy:
            stormy = told(proxy, 3)

            proxy.calm()

            assert told(proxy, 5) == stormy + [Trouble.NONE] * 5
            assert proxy.counts == {Trouble.LOST_REQUEST: 3, Trouble.NONE: 5}


class TestReport:
    def test_tells_the_seed_and_what_was_done(self, upstream: str) -> None:
        with proxied(upstream, lost_request=1) as proxy:
            unused = proxy.report()
            told(proxy, 3)
            proxy.calm()
            told(proxy, 2)

            assert unused == "node: seed 7, 0 exchanges: nothing"
            assert proxy.report() == "node: seed 7, 5 exchanges: 2 none, 3 lost_request"

    def test_names_the_calls_of_a_chain(self, upstream: str) -> None:
        call = {"jsonrpc": "2.0", "id": 1, "method": "eth_chainId", "params": []}

        with proxied(upstream) as proxy:
            ask(proxy, "/", method="POST", body=json.dumps(call).encode())
            ask(proxy, "/", method="POST", body=json.dumps([call, call]).encode())
            ask(proxy, "/start?nonce=1", method="POST", body=b'{"method": "none"}')

            assert [exchange.what for exchange in proxy.exchanges] == [
                "POST / eth_chainId",
                "POST / eth_chainId eth_chainId",
                "POST /start",
            ]

    def test_knows_an_exchange_before_its_client_has_the_answer(self, upstream: str) -> None:
        with proxied(upstream) as proxy, connected(proxy) as connection:
            for number in range(1, 30):
                ask_over(connection)
                assert [e.sent for e in proxy.exchanges] == [1] * number


class TestWeather:
    @pytest.mark.parametrize(
        "make",
        [
            lambda: Weather(late=-0.1),
            lambda: Weather(late=0.6, twice=0.5),
            lambda: Weather.mixed(1.2),
        ],
    )
    def test_has_likelihoods_that_can_be(self, make: Callable[[], Weather]) -> None:
        with pytest.raises(ValueError, match="from 0 to 1"):
            make()

    def test_mixes_every_trouble_in_equal_parts(self) -> None:
        fates = Fates(seed=SEED, weather=Weather.mixed(0.4))

        dealt = [fates.deal()[0].trouble for _ in range(8_000)]

        assert dealt.count(Trouble.NONE) == pytest.approx(4_800, abs=200)
        assert all(dealt.count(trouble) == pytest.approx(400, abs=80) for trouble in TROUBLES)
