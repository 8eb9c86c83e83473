"""Says what is wrong with a document, in the words of Aquarius' shapes, as far as they are told here.

Source: oceanprotocol/aquarius @ 131a9be : ddo_checker/shacl_checker.py, remote_4.1.0.ttl;
recording 92-aquarius-validate-invalid.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from eth_utils.address import is_address

from ocean_portal.sandbox.publish import did_of

# Of each shape the names that it must have, each once, with the kind of value.
METADATA = {"description": str, "name": str, "type": str, "author": str, "license": str}
SERVICE = {
    "id": str,
    "type": str,
    "datatokenAddress": str,
    "serviceEndpoint": str,
    "files": str,
    "timeout": int,
}
COMPUTE = {"allowRawAlgorithm": bool, "allowNetworkAccess": bool}
CONTAINER = {"entrypoint": str, "image": str, "tag": str, "checksum": str}
TOP = {"id": str, "version": str, "chainId": int, "nftAddress": str}


def problems(*, document: Mapping[str, Any], chain_id: object, nft_address: object) -> dict[str, str]:
    """Return what is wrong by the field it is wrong with, {} for a good document."""
    found: dict[str, str] = {}
    for name in _lacking(document, TOP):
        found[name] = f"Less than 1 value on schema1:{name}"
    if not _is_metadata(document.get("metadata")):
        found["metadata"] = "Value does not conform to Shape schema1:MetadataShape"
    services = document.get("services")
    if not isinstance(services, list) or not services:
        found["services"] = "Less than 1 value on schema1:services"
    elif not all(_is_service(service) for service in services):
        found["services"] = "Value does not conform to Shape schema1:ServiceShape"
    return found | _beyond_shapes(document, chain_id, nft_address)


def _beyond_shapes(document: Mapping[str, Any], chain_id: object, nft_address: object) -> dict[str, str]:
    found: dict[str, str] = {}
    metadata = document.get("metadata")
    if not isinstance(document.get("@context"), list | dict):
        found["@context"] = "Context is missing or invalid."
    if "metadata" not in document:
        found["metadata"] = "Metadata is missing or invalid."
    for name in ("created", "updated"):
        if isinstance(metadata, Mapping) and name in metadata and not _is_time(metadata[name]):
            found["metadata"] = f"{name} is not in iso format."
    if not chain_id:
        found["chainId"] = "chainId is missing or invalid."
    if not isinstance(nft_address, str) or not is_address(nft_address.lower()):
        found["nftAddress"] = "nftAddress is missing or invalid."
        found["id"] = "did is not valid for chain Id and nft address"
    elif str(chain_id).isdigit() and did_of(
        nft_address=nft_address, chain_id=int(str(chain_id))
    ) != document.get("id"):
        found["id"] = "did is not valid for chain Id and nft address"
    return found


def _lacking(value: object, shape: Mapping[str, type]) -> list[str]:
    """Return the names that a value lacks, or has in another kind."""
    if not isinstance(value, Mapping):
        return list(shape)
    return [name for name, kind in shape.items() if not _is_a(value.get(name), kind)]


def _is_a(value: object, kind: type) -> bool:
    return isinstance(value, kind) and (kind is bool or not isinstance(value, bool))


def _is_metadata(value: object) -> bool:
    if not isinstance(value, Mapping) or _lacking(value, METADATA):
        return False
    algorithm = value.get("algorithm")
    return algorithm is None or (
        isinstance(algorithm, Mapping) and not _lacking(algorithm.get("container"), CONTAINER)
    )


def _is_service(value: object) -> bool:
    if not isinstance(value, Mapping) or _lacking(value, SERVICE):
        return False
    return "compute" not in value or not _lacking(value["compute"], COMPUTE)


def _is_time(value: object) -> bool:
    try:
        datetime.fromisoformat(str(value).rstrip("Z"))
    except ValueError:
        return False
    return True
