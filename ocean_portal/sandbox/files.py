"""Fetches what jobs and questions name: files of published assets, and files at addresses by an allow-list."""

import hashlib
import ipaddress
import mimetypes
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

STALL_S = 20
WHOLE_S = 60
FETCH_BYTES = 200 * 1024 * 1024
CHUNK_BYTES = 64 * 1024

# Gives the files of a published service by DID and service id; raises ValueError when there is none.
OpenAsset = Callable[[str, str], list[dict[str, Any]]]


class NotFetched(ValueError):
    """Says in a node's words why a file cannot be had."""


@dataclass(frozen=True)
class Fetched:
    """A file's bytes and what its host calls them."""

    content: bytes
    content_type: str


class Files:
    """Where inputs come from. allowed_hosts: names that may be fetched from, besides the loopback."""

    def __init__(self, *, open_asset: OpenAsset, allowed_hosts: Collection[str] = ()) -> None:
        self._open_asset = open_asset
        self._allowed = frozenset(host.lower() for host in allowed_hosts)
        # Redirects are followed to allowed places only, and no proxy of the environment is asked.
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), _Redirects(self._check))

    def of(self, *, asset: dict[str, Any]) -> list[dict[str, Any]]:
        """Return the files of a published asset, or the one that the request itself names.

        Raises ValueError or KeyError when it names neither.
        """
        file = asset.get("fileObject")
        if not file:
            return self._open_asset(asset["documentId"], asset.get("serviceId", ""))
        if not isinstance(file, dict):
            raise NotFetched("Unsupported file object")
        # "local" is for the sandbox's own files: a stranger names no file of this machine.
        return [{key: value for key, value in file.items() if key != "local"}]

    def fetch(self, *, file: dict[str, Any]) -> Fetched:
        """Return a file. Raises NotFetched."""
        if "local" in file:
            path = Path(file["local"])
            return Fetched(path.read_bytes(), mimetypes.guess_type(path.name)[0] or "")
        url = self._checked_url(file)
        named = file.get("headers")
        headers = {str(name): str(value) for name, value in named.items()} if isinstance(named, dict) else {}
        request = urllib.request.Request(url, headers=headers, method=str(file["method"]).upper())  # noqa: S310 - the scheme is checked above
        try:
            with self._opener.open(request, timeout=STALL_S) as answer:
                return Fetched(_read(answer), str(answer.headers.get("Content-Type") or ""))
        except urllib.error.HTTPError as error:
            error.close()
            raise NotFetched(f"Request failed with status code {error.code}") from error
        except OSError as error:
            raise NotFetched(_reason(error, url=url)) from error

    def describe(self, *, file: dict[str, Any]) -> dict[str, Any]:
        """Say of a file what fileInfo does. Raises NotFetched. Source: recording 11, exchange 1."""
        fetched = self.fetch(file=file)
        return {
            "valid": True,
            "contentLength": str(len(fetched.content)),
            "contentType": fetched.content_type,
            "checksum": hashlib.sha256(fetched.content).hexdigest(),
            "name": file_name(file=file, number=0),
            "type": "url",
        }

    def _checked_url(self, file: dict[str, Any]) -> str:
        """Return the address of a file object. Source: ocean-node v3.2.0, UrlStorage.ts, validate."""
        url, method = file.get("url"), file.get("method")
        if file.get("type") != "url":
            raise NotFetched(f"Unsupported file object: {file.get('type')}")
        if not url or not method:
            raise NotFetched("Error validating the URL file: URL or method are missing")
        if str(method).lower() not in ("get", "post"):
            raise NotFetched("Error validating the URL file: Invalid method for URL")
        self._check(str(url))
        return str(url)

    def _check(self, url: str) -> None:
        try:
            parts = urllib.parse.urlsplit(url)
            host = (parts.hostname or "").lower()
        except ValueError as error:
            raise NotFetched("Invalid URL") from error
        if parts.scheme not in ("http", "https") or not host:
            raise NotFetched("Invalid URL")
        if not _is_loopback(host) and host not in self._allowed:
            raise NotFetched(
                f"the sandbox fetches nothing from {host}; start it with --allow-files-from {host} to let it"
            )


class _Redirects(urllib.request.HTTPRedirectHandler):
    def __init__(self, check: Callable[[str], None]) -> None:
        self._check = check

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        """Follow to where files may come from. Raises NotFetched."""
        self._check(newurl)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def file_name(*, file: dict[str, Any], number: int) -> str:
    """Return the name under which an input appears: the last part of its address, without any folder."""
    place = str(file.get("local") or urllib.parse.urlsplit(str(file.get("url", ""))).path)
    name = Path(urllib.parse.unquote(place)).name.replace("\0", "")
    return name if name not in ("", ".", "..") else f"file{number}"


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _read(answer: Any) -> bytes:
    deadline = time.monotonic() + WHOLE_S
    content = bytearray()
    while chunk := answer.read1(CHUNK_BYTES):
        content += chunk
        if len(content) > FETCH_BYTES:
            raise NotFetched("the file is larger than the sandbox takes")
        if time.monotonic() > deadline:
            raise NotFetched(f"timeout of {WHOLE_S * 1000}ms exceeded")
    return bytes(content)


def _reason(error: OSError, *, url: str) -> str:
    cause = error.reason if isinstance(error, urllib.error.URLError) else error
    parts = urllib.parse.urlsplit(url)
    if isinstance(cause, ConnectionRefusedError):
        # Source: recording 22, exchange 15.
        return (
            f"connect ECONNREFUSED {parts.hostname}:{parts.port or (443 if parts.scheme == 'https' else 80)}"
        )
    if isinstance(cause, TimeoutError):
        return f"timeout of {STALL_S * 1000}ms exceeded"
    return str(cause)
