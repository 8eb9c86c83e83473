"""Documents of assets as the Provider reads them: services, who may use them, and their sealed files."""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from eth_utils.address import to_checksum_address

from ocean_portal.sandbox.provider import ecies

# Gives the document of a DID as Aquarius answers it; None where Aquarius has none or does not answer.
Resolve = Callable[[str], dict[str, Any] | None]
USABLE = (0, 5)  # metadata states: active, unlisted


@dataclass(frozen=True)
class Service:
    """One service; index is its place in the document, timeout_s 0 means for ever."""

    index: int
    id: str
    kind: str
    datatoken: str
    endpoint: str
    sealed_files: str
    timeout_s: int
    compute: Mapping[str, Any]


@dataclass(frozen=True)
class Asset:
    """A document, read as far as the Provider needs it. Raises KeyError when made from no document."""

    document: Mapping[str, Any]

    @property
    def did(self) -> str:
        """The DID."""
        return str(self.document["id"])

    @property
    def nft_address(self) -> str:
        """The NFT's address as the index says it."""
        return str(self.document["nft"]["address"])

    @property
    def metadata(self) -> Mapping[str, Any]:
        """The metadata; {} for an asset that is out of use."""
        found: Mapping[str, Any] = self.document.get("metadata") or {}
        return found

    @property
    def services(self) -> list[Service]:
        """The services in their order."""
        return [
            Service(
                index=index,
                id=item["id"],
                kind=item["type"],
                datatoken=to_checksum_address(item["datatokenAddress"]),
                endpoint=item["serviceEndpoint"],
                sealed_files=item["files"],
                timeout_s=item["timeout"],
                compute=item.get("compute") or {},
            )
            for index, item in enumerate(self.document.get("services") or [])
        ]

    def service(self, service_id: object) -> Service | None:
        """Return the service of this id, or None."""
        return next((service for service in self.services if service.id == service_id), None)

    def denial(self, *, consumer: str, chain_state: Callable[[str], int]) -> str:
        """Say why this consumer may not use the asset, "" if he may.

        Source: oceanprotocol/provider @ 4cd244b : utils/asset.py, check_asset_consumable.
        """
        nft = self.document.get("nft") or {}
        if not nft.get("address") or not self.document.get("chainId"):
            return "Asset malformed or disabled."
        if chain_state(nft["address"]) not in USABLE:
            return "Asset is not consumable."
        code = self._code(consumer=consumer, state=nft.get("state"))
        if not code:
            return ""
        return f"Error: Access to asset {self.did} was denied with code: ConsumableCodes.{code}."

    def _code(self, *, consumer: str, state: object) -> str:
        if not self.metadata or state not in USABLE:
            return "ASSET_DISABLED"
        allowed, denied = (self._addresses(kind) for kind in ("allow", "deny"))
        if allowed and consumer.lower() not in allowed:
            return "CREDENTIAL_NOT_IN_ALLOW_LIST"
        if not allowed and consumer.lower() in denied:
            return "CREDENTIAL_IN_DENY_LIST"
        return ""

    def _addresses(self, kind: str) -> list[str]:
        entries = (self.document.get("credentials") or {}).get(kind) or []
        found: list[Any] = next((entry["values"] for entry in entries if entry.get("type") == "address"), [])
        return [str(address).lower() for address in found]


def open_files(*, asset: Asset, service: Service, secret: bytes) -> list[dict[str, Any]] | None:
    """Return the file objects of a service, None when they were not sealed for this key and this asset.

    Source: oceanprotocol/provider @ 4cd244b : utils/util.py, get_service_files_list.
    """
    try:
        sealed = bytes.fromhex(service.sealed_files.removeprefix("0x"))
        opened = json.loads(ecies.decrypt(secret=secret, encrypted=sealed))
        if asset.document.get("version") in (None, "4.0.0"):
            return opened if isinstance(opened, list) else None
        same = to_checksum_address(opened["datatokenAddress"]) == service.datatoken and to_checksum_address(
            opened["nftAddress"]
        ) == to_checksum_address(str(asset.document.get("nftAddress")))
        return opened["files"] if same and isinstance(opened["files"], list) else None
    except Exception:  # a stranger's text may break in any way; it holds no files then
        return None


def container_checksum(asset: Asset) -> str:
    """Hash what a list of trusted algorithms compares of the container. Source: validation/algo.py."""
    container = asset.metadata["algorithm"]["container"]
    return hashlib.sha256((container["entrypoint"] + container["checksum"]).encode()).hexdigest()
