"""Which algorithms a dataset lets run on it, as an Ocean Node decides.

Source: recordings 33 and 34; ocean-node v3.2.0, core/compute/utils.ts.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from ocean_portal.sandbox.files import Files


@dataclass(frozen=True)
class Checksums:
    """What trusted lists know an algorithm by."""

    files: str
    container: str
    service_id: object


def checksums(
    *, algorithm: Mapping[str, Any], document: Mapping[str, Any] | None, files: Files
) -> Checksums | None:
    """Return the checksums of a published algorithm; None when it or its files cannot be had."""
    if document is None:
        return None
    container = document["metadata"].get("algorithm", {}).get("container", {})
    try:
        named = {"documentId": document["id"], "serviceId": algorithm.get("serviceId") or ""}
        contents = [files.fetch(file=file).content for file in files.of(asset=named)]
    except (OSError, KeyError, ValueError):
        return None
    inside = f"{container.get('entrypoint')}{container.get('checksum')}"
    return Checksums(
        files="".join(sha256(content).hexdigest() for content in contents),
        container=sha256(inside.encode()).hexdigest(),
        service_id=algorithm.get("serviceId"),
    )


def may_run(
    *,
    algorithm: Mapping[str, Any],
    sums: Checksums | None,
    dataset: Mapping[str, Any],
    service_id: object,
    find: Callable[[str], Mapping[str, Any] | None],
) -> bool:
    """Tell whether an algorithm, published or not, may run on a service of a dataset.

    sums: those of the published algorithm; find: gives the document of a DID.
    """
    service = next((item for item in dataset["services"] if item["id"] == service_id), None)
    if service is None:
        return False
    if service["type"] == "access":
        return True
    compute = service.get("compute")
    if service["type"] != "compute" or not compute:
        return False
    publishers = compute.get("publisherTrustedAlgorithmPublishers") or []
    algorithms = compute.get("publisherTrustedAlgorithms") or []
    if not publishers and not algorithms:
        return False
    if not (did := algorithm.get("documentId")):
        return bool(compute.get("allowRawAlgorithm"))
    if any(_matches(entry, did=did, sums=sums) for entry in algorithms) or "*" in publishers:
        return True
    document = find(str(did)) if publishers else None
    return document is not None and document["nftAddress"].lower() in [
        str(address).lower() for address in publishers
    ]


def _matches(entry: Mapping[str, Any], *, did: object, sums: Checksums | None) -> bool:
    wanted: dict[str, object] = {
        "did": did,
        "filesChecksum": sums.files if sums else "",
        "containerSectionChecksum": sums.container if sums else "",
    }
    if "serviceId" in entry:
        wanted["serviceId"] = sums.service_id if sums else None
    return all(entry.get(key) in ("*", value) for key, value in wanted.items())
