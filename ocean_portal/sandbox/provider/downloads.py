"""Files of assets: what Provider says of them, and how it hands them to whoever has an order.

Source: oceanprotocol/provider @ 4cd244b : routes/consume.py, file_types/; recordings 71 and 91.
"""

import hashlib
import re
import urllib.parse
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from eth_utils.address import to_checksum_address

from ocean_portal.sandbox.files import Fetched, Files, file_name
from ocean_portal.sandbox.provider.agreements import NETWORK, Clerk, OrderRefused
from ocean_portal.sandbox.provider.documents import Asset, Resolve, open_files

RANGE = re.compile(r"bytes=(\d*)-(\d*)")
# Turns a file object into one that can be fetched: the sandbox's own files have names instead of addresses.
Locate = Callable[[dict[str, Any]], dict[str, Any]]


class Refused(Exception):
    """Carries Provider's answer: what stands under "error", with status 400."""

    def __init__(self, error: str | dict[str, str]) -> None:
        super().__init__(error)
        self.error = error


@dataclass(frozen=True)
class Delivered:
    """A file's bytes, with the name and the kind that its host gives it."""

    content: bytes
    content_type: str
    name: str


class Downloads:
    """Opens, describes and hands out the files of published services."""

    def __init__(
        self,
        *,
        resolve: Resolve,
        clerk: Clerk,
        files: Files,
        locate: Locate,
        secret: bytes,
        wallets: Collection[str],
    ) -> None:
        """wallets: the environments' own accounts, which may fetch what compute services hold."""
        self._resolve = resolve
        self._clerk = clerk
        self._files = files
        self._locate = locate
        self._secret = secret
        self._wallets = frozenset(wallets)

    def asset(self, did: object) -> Asset | None:
        """Return an asset by its DID, None where Aquarius has none or does not answer."""
        document = self._resolve(str(did))
        return Asset(document) if document is not None else None

    def files_of(self, *, asset: Asset, service_id: object) -> list[dict[str, Any]] | None:
        """Return the file objects of a service, None when they are not for this Provider to open."""
        service = asset.service(service_id)
        return open_files(asset=asset, service=service, secret=self._secret) if service else None

    def describe(
        self, *, file: dict[str, Any], userdata: Any = None, with_checksum: bool
    ) -> dict[str, Any] | None:
        """Say of a file what fileinfo does, None when it cannot be had. Source: recording 91-fileinfo-by-url."""
        try:
            fetched = self.fetch(file=file, userdata=userdata)
        except (OSError, ValueError, KeyError):
            return None
        details = {
            "contentLength": str(len(fetched.content)),
            "contentType": fetched.content_type.partition(";")[0],
            "filename": file_name(file=self._locate(file), number=0),
        }
        if with_checksum:
            details |= {
                "checksum": hashlib.sha256(fetched.content).hexdigest(),
                "checksumType": "sha256",
            }
        return details

    def fetch(self, *, file: dict[str, Any], userdata: Any = None) -> Fetched:
        """Return a file's bytes. Raises OSError, ValueError, KeyError."""
        located = self._locate(file)
        if "local" not in located:
            located = located | {"method": located.get("method") or "GET"}
            if isinstance(userdata, Mapping) and userdata and located.get("url"):
                joint = "&" if "?" in str(located["url"]) else "?"
                located["url"] = f"{located['url']}{joint}{urllib.parse.urlencode(dict(userdata))}"
        return self._files.fetch(file=located)

    def deliver(
        self,
        *,
        did: object,
        service_id: object,
        consumer: str,
        tx_hash: str,
        file_index: int,
        userdata: Any = None,
    ) -> Delivered:
        """Return one file to the consumer of an order. Raises Refused; IndexError as the original does."""
        asset = self.asset(did)
        if asset is None:
            raise Refused("Cannot resolve DID")
        if denial := asset.denial(
            consumer=consumer, chain_state=lambda nft: self._clerk.ledger.state(nft=nft)
        ):
            raise Refused(NETWORK + denial)
        service = asset.service(service_id)
        if service is None:
            raise AttributeError("'NoneType' object has no attribute 'type'")
        if service.kind != "access" and to_checksum_address(consumer) not in self._wallets:
            raise Refused(f"{NETWORK}Service with index={service_id} is not an access service.")
        try:
            self._clerk.judge(tx_hash=tx_hash, sender=consumer, asset=asset, service=service)
        except OrderRefused as refusal:
            raise Refused(
                f"{NETWORK}Order with tx_id {tx_hash} could not be validated due to error: {refusal}"
            ) from refusal
        files = self.files_of(asset=asset, service_id=service_id) or []
        if file_index > len(files):
            raise Refused(f"{NETWORK}No such fileIndex {file_index}")
        file = files[file_index]
        try:
            fetched = self.fetch(file=file, userdata=userdata)
        except (OSError, ValueError, KeyError) as error:
            raise Refused(f"{NETWORK}{error}") from error
        name = file_name(file=self._locate(file), number=file_index)
        return Delivered(
            content=fetched.content, content_type=fetched.content_type.partition(";")[0], name=name
        )


def part_of(content: bytes, *, wanted: str | None) -> bytes | None:
    """Return what a Range header asks for, None where it asks for nothing that can be told."""
    match = RANGE.fullmatch((wanted or "").strip())
    if match is None or match[1] == match[2] == "":
        return None
    if match[1] == "":
        return content[-int(match[2]) :]
    return content[int(match[1]) : int(match[2]) + 1 if match[2] else None]
