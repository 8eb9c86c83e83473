"""Checks the datasets and the algorithm of a job in Provider's order, and says in its words what is wrong.

Source: oceanprotocol/provider @ 4cd244b : validation/algo.py; recordings 82 and 88.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ocean_portal.sandbox.provider.agreements import Agreement, Clerk
from ocean_portal.sandbox.provider.documents import Asset, Service, container_checksum
from ocean_portal.sandbox.provider.downloads import Downloads, Refused


@dataclass(frozen=True)
class Checksums:
    """What lists of trusted algorithms compare; None for code in the request."""

    files: str | None = None
    container: str | None = None


@dataclass(frozen=True)
class Checked:
    """A dataset that passed; agreement is None where only the document was checked."""

    asset: Asset
    service: Service
    agreement: Agreement | None


class Inspector:
    """Checks what one request names."""

    def __init__(self, *, downloads: Downloads, clerk: Clerk) -> None:
        self._downloads = downloads
        self._clerk = clerk

    def checksums(self, *, asset: Asset, service: Service | None) -> Checksums:
        """Return the checksums of a published algorithm. Raises TypeError when its files are sealed for others."""
        if service is None:
            raise AttributeError("'NoneType' object has no attribute 'encrypted_files'")
        files = self._downloads.files_of(asset=asset, service_id=service.id)
        if files is None:
            raise TypeError("'NoneType' object is not iterable")
        sums = []
        for file in files:
            details = self._downloads.describe(file=file, with_checksum=True) or {}
            sums.append(str(details["checksum"]))
        return Checksums(files="".join(sums).lower(), container=container_checksum(asset))

    def denial(self, *, asset: Asset, consumer: str) -> str:
        """Say why the consumer may not use an asset, "" if he may."""
        return asset.denial(consumer=consumer, chain_state=lambda nft: self._clerk.ledger.state(nft=nft))

    def check_dataset(
        self,
        *,
        item: dict[str, Any],
        index: int,
        algorithm: Mapping[str, Any],
        checksums: Checksums,
        consumer: str,
        environment_id: str,
        with_order: bool,
    ) -> Checked:
        """Check one dataset of a request. Raises Refused."""
        resource = f"datasets[{index}]" if index else "dataset"
        for key in ("documentId", "transferTxId") if with_order else ("documentId",):
            if not item.get(key):
                raise Refused({f"{resource}.{key}": "missing"})
        if not item.get("serviceId") and item.get("serviceId") != 0:
            raise Refused({f"{resource}.serviceId": "missing"})
        asset = self._downloads.asset(item["documentId"])
        if asset is None:
            raise Refused({f"{resource}.documentId": "did_not_found"})
        service = asset.service(item["serviceId"])
        if service is None:
            raise Refused({f"{resource}.serviceId": "not_found"})
        if denial := self.denial(asset=asset, consumer=consumer):
            raise Refused({resource: denial})
        if problem := self._service_problem(asset, service, index):
            raise Refused({f"{resource}.serviceId": problem})
        if service.kind == "compute" and (
            problem := self._trust_problem(service, algorithm=algorithm, checksums=checksums)
        ):
            raise Refused({resource: problem})
        agreement = (
            self._agreement(item, asset, service, consumer, environment_id, resource) if with_order else None
        )
        return Checked(asset=asset, service=service, agreement=agreement)

    def _service_problem(self, asset: Asset, service: Service, index: int) -> str:
        if service.kind not in ("access", "compute"):
            return "service_not_access_compute"
        if service.kind != "compute":
            return "" if index else "main_service_compute"
        files = self._downloads.files_of(asset=asset, service_id=service.id)
        return "" if files else "compute_services_not_in_same_provider"

    def _trust_problem(self, service: Service, *, algorithm: Mapping[str, Any], checksums: Checksums) -> str:
        """Say why a dataset does not let the algorithm at its data, "" if it does."""
        did = algorithm.get("documentId")
        if not did:
            return "" if service.compute.get("allowRawAlgorithm", False) else "no_raw_algo_allowed"
        publishers = service.compute.get("publisherTrustedAlgorithmPublishers") or []
        algorithms = service.compute.get("publisherTrustedAlgorithms") or []
        if publishers:
            asset = self._downloads.asset(did)
            if asset is None or asset.document["nft"]["owner"] not in publishers:
                return "not_trusted_algo_publisher"
        if not algorithms:
            return ""
        if not all("did" in trusted for trusted in algorithms):
            return "no_publisherTrustedAlgorithms"
        trusted = next((item for item in reversed(algorithms) if item["did"] == did), None)
        if trusted is None:
            return "not_trusted_algo"
        files, container = trusted.get("filesChecksum"), trusted.get("containerSectionChecksum")
        if files and files.lower() != checksums.files:
            return "algorithm_file_checksum_mismatch"
        if container and container != checksums.container:
            return "algorithm_container_checksum_mismatch"
        return ""

    def _agreement(
        self,
        item: Mapping[str, Any],
        asset: Asset,
        service: Service,
        consumer: str,
        environment_id: str,
        resource: str,
    ) -> Agreement:
        try:
            return self._clerk.judge(
                tx_hash=item["transferTxId"],
                sender=consumer,
                asset=asset,
                service=service,
                environment_id=environment_id,
            )
        except Exception as error:  # the original has one answer for all that may be wrong with an order
            raise Refused({f"{resource}.serviceId": "order_invalid"}) from error

    def check_algorithm(self, *, algorithm: Mapping[str, Any], consumer: str) -> Checksums:
        """Check a start's algorithm before its datasets, and return its checksums. Raises Refused."""
        did, meta = algorithm.get("documentId"), algorithm.get("meta")
        if did is None and meta is None:
            raise Refused({"algorithm": "missing_meta_documentId"})
        if not did:
            return Checksums()
        asset = self._downloads.asset(did)
        if asset is None:
            raise AttributeError("'NoneType' object has no attribute 'metadata'")
        if asset.metadata["type"] != "algorithm":
            raise Refused({"algorithm": "not_algo"})
        if not algorithm.get("serviceId"):
            raise Refused({"algorithm.serviceId": "missing"})
        try:
            checksums = self.checksums(asset=asset, service=asset.service(algorithm["serviceId"]))
        except Exception as error:  # as the original: whatever it is, the file is not available
            raise Refused({"algorithm": "file_unavailable"}) from error
        if denial := self.denial(asset=asset, consumer=consumer):
            raise Refused({"algorithm.credentials": denial})
        return checksums

    def order_of_algorithm(
        self, *, algorithm: Mapping[str, Any], consumer: str
    ) -> tuple[Asset, Service, Agreement]:
        """Return a published algorithm with its order. Raises Refused."""
        asset = self._downloads.asset(algorithm["documentId"])
        try:
            assert asset is not None
            service = asset.service(algorithm.get("serviceId"))
            assert service is not None
            agreement = self._clerk.judge(
                tx_hash=algorithm["transferTxId"], sender=consumer, asset=asset, service=service
            )
        except Exception as error:  # the original has one answer for all that may be wrong with an order
            raise Refused({"algorithm": "in_use_or_not_on_chain"}) from error
        return asset, service, agreement


def container_problem(container: Any) -> str:
    """Say what is wrong with a container, "" if nothing. Source: validation/images.py."""
    if not all(container.get(key) for key in ("entrypoint", "image", "checksum")):
        return "missing_entrypoint_image_checksum"
    return "" if container["checksum"].startswith("sha256:") else "checksum_prefix"


def raw_meta(algorithm: Mapping[str, Any]) -> Any:
    """Return the meta of a raw algorithm, which may come as JSON in text.

    Source: recording 82-start-algorithm-meta-as-string.
    """
    meta = algorithm.get("meta")
    return json.loads(meta) if isinstance(meta, str) else meta
