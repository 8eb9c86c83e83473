"""HTTP to services that are not trusted: deadlines, size caps, errors of our own, retries for reads only."""

import json
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from http.client import HTTPException
from http.cookiejar import DefaultCookiePolicy
from typing import Any, NoReturn, Self
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter
from urllib3 import exceptions as wire

from jobs.ocean.answers import Explain, explain_generally, parse_json, read_reply
from jobs.ocean.errors import BadAnswer, OceanError, Refused, Unreachable
from jobs.ocean.guard import Guard, GuardedAdapter, Pacing, Resolve
from jobs.ocean.units import clean_text

RETRY_PAUSES_S = (0.5, 1.5, 4.5)
READ_S = 20.0
WRITE_S = 60.0
JSON_CAP = 10 * 1024 * 1024
# Source: recording 17, exchange 29: a node refuses larger bodies.
BODY_CAP = 100 * 1024
# A Provider repeats the whole request in front of its error (provider-v4 recording 86).
_ERROR_CAP = 4 * BODY_CAP
_CHUNK = 64 * 1024


class Transport:
    """Speak HTTP with one service. Not for sharing between threads; close it, or use it in a `with`.

    base_url: http or https, no user, query or fragment.
    admit: called before every attempt; the caller counts its request budget there and may raise.
    allow_private: only for hosts that an operator named.
    sleep: pauses between attempts to read; None means that there is one attempt only.
    patience: how many seconds all further requests together may take, where somebody waits for them.

    Raises: Refused for a URL of any other kind.
    """

    def __init__(
        self,
        base_url: str,
        *,
        admit: Callable[[], None],
        allow_private: bool,
        monotonic: Callable[[], float],
        connect_timeout_s: float = 5.0,
        sleep: Callable[[float], None] | None = None,
        patience: Callable[[], float] | None = None,
        user_agent: str = "ocean-portal",
        resolve: Resolve = socket.getaddrinfo,
        adapter: HTTPAdapter | None = None,
    ) -> None:
        self.base_url, self.host = _checked_base(base_url)
        self._admit = admit
        self._monotonic = monotonic
        self._sleep = sleep
        self._patience = patience
        self._connect_timeout_s = connect_timeout_s
        self._pacing = self._pace(READ_S)
        guard = Guard(
            allow_private=allow_private,
            connect_timeout_s=connect_timeout_s,
            resolve=resolve,
            pacing=lambda: self._pacing,
        )
        self._session = _Session()
        self._session.trust_env = False
        self._session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=()))
        # Unpacked sizes are what is capped, so nothing may come packed.
        self._session.headers.update({"User-Agent": user_agent, "Accept-Encoding": "identity"})
        self._session.adapters.clear()
        self._session.mount(f"{urlsplit(self.base_url).scheme}://", adapter or GuardedAdapter(guard=guard))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close every connection."""
        self._session.close()

    def get_json(
        self,
        *,
        path: str,
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        question: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None = None,
        explain: Explain | None = None,
        retry: bool = True,
        total_s: float = READ_S,
        cap_bytes: int = JSON_CAP,
    ) -> Any:
        """Read a JSON document.

        question: for services that want a read asked by POST; it is sent as the body. Some take several at once.

        explain: turns an answer that is not 200 into an error, or gives None for the general one.
        retry: False for reads that use up a nonce.
        total_s: for all attempts together.
        Raises: Unreachable, Rejected, BadAnswer, Refused, and what `explain` and `admit` raise.
        """
        with self.stream(
            path=path,
            params=params,
            headers=headers,
            question=question,
            explain=explain,
            retry=retry,
            total_s=total_s,
            idle_s=total_s,
            cap_bytes=cap_bytes,
        ) as body:
            return parse_json(b"".join(body), host=self.host, is_write=False)

    def send_json(
        self,
        *,
        method: str,
        path: str,
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
        explain: Explain | None = None,
        total_s: float = WRITE_S,
        cap_bytes: int = JSON_CAP,
    ) -> Any:
        """Write, once, and read the JSON answer. What goes wrong after sending has `maybe_happened`.

        Raises: as get_json, and Refused "too_large" for a body that a node would not read.
        """
        response = self._attempt(
            method=method,
            path=path,
            params=params,
            headers=headers,
            body=body,
            pacing=self._pace(total_s),
            is_write=True,
        )
        with closing(response):
            if response.status_code != 200:
                raise self._explained(response, explain=explain, is_write=True)
            answer = b"".join(self._body(response, cap_bytes=cap_bytes, is_write=True))
        return parse_json(answer, host=self.host, is_write=True)

    @contextmanager
    def stream(
        self,
        *,
        path: str,
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        question: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None = None,
        explain: Explain | None = None,
        retry: bool = True,
        total_s: float,
        idle_s: float,
        cap_bytes: int,
    ) -> Iterator[Iterator[bytes]]:
        """Read a body piece by piece, as it arrives. Only the opening is retried.

        idle_s: the longest silence between two packets.
        Raises: as get_json; while reading Unreachable "deadline", "timeout" or "cut_off", or BadAnswer
        "too_large".
        """
        pacing = self._pace(total_s, idle_s=idle_s)
        response = self._open(
            path=path,
            params=params,
            headers=headers,
            question=question,
            explain=explain,
            retry=retry,
            pacing=pacing,
        )
        with closing(response):
            yield self._body(response, cap_bytes=cap_bytes, is_write=False, piecemeal=True)

    def _open(
        self,
        *,
        path: str,
        params: Mapping[str, str] | None,
        headers: Mapping[str, str] | None,
        question: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None,
        explain: Explain | None,
        retry: bool,
        pacing: Pacing,
    ) -> requests.Response:
        pauses = iter(RETRY_PAUSES_S if retry else ())
        while True:
            try:
                response = self._attempt(
                    method="GET" if question is None else "POST",
                    path=path,
                    params=params,
                    headers=headers,
                    body=question,
                    pacing=pacing,
                    is_write=False,
                )
                if response.status_code == 200:
                    return response
                with closing(response):
                    raise self._explained(response, explain=explain, is_write=False)
            except OceanError as error:
                may_pass = error.retryable and (isinstance(error, Unreachable) or error.code == "gateway")
                pause = next(pauses, None) if may_pass else None
                if pause is None or self._sleep is None or pacing.remaining() <= pause:
                    raise
            self._sleep(pause)

    def _attempt(
        self,
        *,
        method: str,
        path: str,
        params: Mapping[str, str] | None,
        headers: Mapping[str, str] | None,
        body: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None,
        pacing: Pacing,
        is_write: bool,
    ) -> requests.Response:
        """Send once and read the headers of the answer."""
        data = None if body is None else _encoded(body)
        if self._patience is not None and self._patience() <= 0:
            raise Unreachable(
                f"{self.host} was not asked any more: the answers before took too long.",
                code="deadline",
                retryable=True,
                maybe_happened=False,
            )
        self._admit()
        self._pacing = pacing
        pacing.progress()
        pacing.sent = False
        try:
            response = self._session.request(
                method,
                self.base_url + path,
                params=params,
                headers=headers if data is None else {**(headers or {}), "Content-Type": "application/json"},
                data=data,
                stream=True,
                allow_redirects=False,
                timeout=self._connect_timeout_s,
            )
        except OceanError:
            raise
        except (requests.RequestException, wire.HTTPError, HTTPException, OSError, ValueError) as error:
            self._translate(error, is_write=is_write, pacing=pacing)
        if 300 <= response.status_code < 400:
            response.close()
            raise BadAnswer(
                f"{self.host} sends us on to another address. That is not followed; enter the final address.",
                code="redirect",
                maybe_happened=is_write,
            )
        return response

    def _body(
        self, response: requests.Response, *, cap_bytes: int, is_write: bool, piecemeal: bool = False
    ) -> Iterator[bytes]:
        """Read a body. piecemeal: each piece may take the idle time; else all of it together."""
        encoding = response.headers.get("Content-Encoding", "identity").lower()
        if encoding not in ("", "identity"):
            raise BadAnswer(
                f"{self.host} packs its answers although it was asked not to.",
                code="encoding",
                maybe_happened=is_write,
            )
        received, pacing = 0, self._pacing
        while True:
            if piecemeal:
                pacing.progress()
            try:
                # One packet at a time: a live log must not wait until a buffer is full.
                data: bytes = response.raw.read1(_CHUNK, decode_content=False)
            except (wire.HTTPError, HTTPException, OSError, ValueError) as error:
                self._translate(error, is_write=is_write, pacing=pacing)
            if not data:
                return
            received += len(data)
            if received > cap_bytes:
                raise BadAnswer(
                    f"{self.host} sends more than {cap_bytes:,} bytes; the rest was not read.",
                    code="too_large",
                    maybe_happened=is_write,
                )
            yield data

    def _translate(self, error: Exception, *, is_write: bool, pacing: Pacing) -> NoReturn:
        """Turn what the libraries raise into an error of ours; theirs may quote a URL with its signature."""
        code, retryable, never_sent = _diagnosis(error)
        if pacing.remaining() <= 0:
            code = "deadline"
        elif code == "request" and pacing.sent:  # then it was the answer's head that made no sense
            code, retryable = "cut_off", True
        raise Unreachable(
            f"{self.host} {_WHAT_HAPPENED[code]}",
            code=code,
            retryable=retryable,
            maybe_happened=is_write and (pacing.sent or not never_sent),
        ) from None

    def _explained(
        self, response: requests.Response, *, explain: Explain | None, is_write: bool
    ) -> OceanError:
        content_type = response.headers.get("Content-Type", "")
        try:
            body = b"".join(self._body(response, cap_bytes=_ERROR_CAP, is_write=is_write))
        except BadAnswer:
            body = b""
        reply = read_reply(
            status=response.status_code,
            content_type=content_type,
            body=body,
            is_write=is_write,
            host=self.host,
            retry_after=response.headers.get("Retry-After", ""),
        )
        return (explain(reply) if explain else None) or explain_generally(reply)

    def _pace(self, total_s: float, *, idle_s: float | None = None) -> Pacing:
        if self._patience is not None:
            total_s = max(0.0, min(total_s, self._patience()))
        return Pacing(
            monotonic=self._monotonic,
            total_s=total_s,
            idle_s=total_s if idle_s is None else min(idle_s, total_s),
        )


class _Session(requests.Session):
    """A session that never looks where a redirect leads.

    To find that out, requests reads the whole body of the redirect, without a cap, and unpacks it.
    """

    def get_redirect_target(self, resp: requests.Response) -> None:
        return None


def _encoded(body: Mapping[str, Any] | Sequence[Mapping[str, Any]]) -> bytes:
    data = json.dumps(body, separators=(",", ":"), allow_nan=False).encode()
    if len(data) > BODY_CAP:
        raise Refused(
            f"This request is {len(data):,} bytes long; a node takes {BODY_CAP:,} (100 kB) in all."
            " Shorten the code or the parameters.",
            code="too_large",
        )
    return data


_WHAT_HAPPENED = {
    "deadline": "did not finish its answer in time.",
    "timeout": "stopped answering.",
    "cut_off": "broke the connection before its answer was complete.",
    "connect": "does not answer. Check that it runs and that its address is right.",
    "dns": "could not be found. Check the spelling of its name.",
    "tls": "has no certificate that we trust, or cannot speak TLS.",
    "request": "has an address that cannot be called.",
    "transport": "could not be asked.",
}

_DIAGNOSES: tuple[tuple[type[Exception], str, bool, bool], ...] = (
    # kind, code, may pass by itself, was certainly never sent
    (wire.NameResolutionError, "dns", True, True),
    (wire.NewConnectionError, "connect", True, True),
    (wire.ConnectTimeoutError, "connect", True, True),
    (requests.exceptions.ConnectTimeout, "connect", True, True),
    (requests.exceptions.SSLError, "tls", False, True),
    (wire.SSLError, "tls", False, True),
    (requests.exceptions.ProxyError, "connect", True, True),
    (requests.exceptions.InvalidURL, "request", False, True),
    (requests.exceptions.MissingSchema, "request", False, True),
    (requests.exceptions.InvalidSchema, "request", False, True),
    (requests.exceptions.InvalidHeader, "request", False, True),
    (wire.LocationValueError, "request", False, True),
    (requests.exceptions.Timeout, "timeout", True, False),
    (wire.TimeoutError, "timeout", True, False),
    (TimeoutError, "timeout", True, False),
    (requests.exceptions.ChunkedEncodingError, "cut_off", True, False),
    (requests.exceptions.ConnectionError, "cut_off", True, False),
    (wire.ProtocolError, "cut_off", True, False),
    (HTTPException, "cut_off", True, False),
    # Every exception of requests is an OSError too.
    (requests.RequestException, "transport", True, False),
    (OSError, "cut_off", True, False),
)


def _diagnosis(error: Exception) -> tuple[str, bool, bool]:
    """Say what an exception of the libraries means, looking through requests' wrapping first."""
    inner = error.args[0] if error.args else None
    if isinstance(inner, wire.MaxRetryError) and inner.reason is not None:
        inner = inner.reason
    for candidate in (inner, error):
        for kind, code, retryable, never_sent in _DIAGNOSES:
            if isinstance(candidate, kind):
                return code, retryable, never_sent
    return "transport", True, False


def _checked_base(base_url: str) -> tuple[str, str]:
    """Give the URL without a slash at its end, and the host for messages."""
    try:
        parts = urlsplit(base_url.strip())
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if host is None or parts.scheme not in ("http", "https"):
        raise Refused("A service address begins with http:// or https:// and a host.", code="url")
    if parts.username is not None or parts.query or parts.fragment:
        raise Refused("A service address has no user name, no question mark and no #.", code="url")
    shown = f"[{host}]" if ":" in host else host
    netloc = f"{shown}:{port}" if port is not None else shown
    return f"{parts.scheme}://{netloc}{parts.path.rstrip('/')}", clean_text(netloc, limit=200)
