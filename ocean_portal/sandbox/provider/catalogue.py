"""Publishes the demo assets once more, for the Provider: encrypted and compressed, as ocean.py does it.

Source: recordings 01 and 02.
"""

import hashlib
import json
import lzma
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from ocean_portal.sandbox.chain import Chain
from ocean_portal.sandbox.contracts import Contract
from ocean_portal.sandbox.demo.assets import CONTAINER, Asset
from ocean_portal.sandbox.provider import ecies
from ocean_portal.sandbox.provider.decryption import COMPRESSED, ENCRYPTED
from ocean_portal.sandbox.publish import create_tokens, did_of

TIMEOUT_S = 3600
# Empty lists trust every published algorithm; that is how Provider reads them.
TRUSTS_ALL = {
    "allowRawAlgorithm": True,
    "allowNetworkAccess": True,
    "publisherTrustedAlgorithms": [],
    "publisherTrustedAlgorithmPublishers": [],
}
# Provider wants a checksum of the image; no image of this one is ever pulled.
CHECKSUM = "sha256:" + hashlib.sha256(b"python:3.11").hexdigest()
PUBLISHER = 0  # of the development accounts
_ACTIVE = 0


class Catalogue:
    """Publishes documents for one Provider; secret: its key."""

    def __init__(self, *, chain: Chain, contracts: Mapping[str, Any], endpoint: str, secret: bytes) -> None:
        self._chain = chain
        self._contracts = contracts
        self._endpoint = endpoint
        self._secret = secret

    def publish(self, *, asset: Asset) -> str:
        """Publish a demo asset and return its DID. Raises RpcError when the chain refuses."""
        name = asset.v4_name
        publisher = self._chain.account(PUBLISHER)
        nft, datatoken, created_at = create_tokens(
            chain=self._chain,
            contracts=self._contracts,
            publisher=publisher,
            name=name,
            symbol=f"{asset.symbol}-4",
            price=asset.price_wei,
        )
        did = did_of(nft_address=nft, chain_id=self._chain.chain_id)
        moment = created_at.replace(tzinfo=None).isoformat()
        self._write(
            nft=nft,
            document={
                "@context": ["https://w3id.org/did/v1"],
                "id": did,
                "version": "4.1.0",
                "chainId": self._chain.chain_id,
                "nftAddress": nft,
                "metadata": {
                    "created": moment,
                    "updated": moment,
                    "type": asset.kind,
                    "name": name,
                    **_metadata(asset),
                },
                "credentials": {"allow": [], "deny": []},
                "services": [
                    self._service(service, nft=nft, datatoken=datatoken)
                    for service in asset.services(endpoint=self._endpoint)
                ],
            },
        )
        return did

    def move(self, *, document: Mapping[str, Any]) -> None:
        """Publish a document again where its Provider has another address now. Raises RpcError."""
        if all(service["serviceEndpoint"] == self._endpoint for service in document["services"]):
            return
        moment = datetime.now(tz=UTC).replace(tzinfo=None, microsecond=0).isoformat()
        own = ("@context", "id", "version", "chainId", "nftAddress", "metadata", "credentials")
        changed = {key: document[key] for key in own}
        changed["metadata"] = document["metadata"] | {"updated": moment}
        changed["services"] = [
            service | {"serviceEndpoint": self._endpoint} for service in document["services"]
        ]
        self._write(nft=document["nftAddress"], document=changed)

    def _service(self, service: Mapping[str, Any], *, nft: str, datatoken: str) -> dict[str, Any]:
        files = {"datatokenAddress": datatoken, "nftAddress": nft, "files": service["files"]}
        content = json.dumps(files, separators=(",", ":")).encode()
        kind = service["type"]
        return {
            **({"compute": TRUSTS_ALL} if kind == "compute" else {}),
            "name": f"{'Compute' if kind == 'compute' else 'Download'} service",
            "description": f"{'Compute' if kind == 'compute' else 'Download'} service",
            "id": service["id"],
            "type": kind,
            "files": "0x" + ecies.encrypt(secret=self._secret, content=content).hex(),
            "datatokenAddress": datatoken,
            "serviceEndpoint": self._endpoint,
            "timeout": TIMEOUT_S,
        }

    def _write(self, *, nft: str, document: Mapping[str, Any]) -> None:
        plain = json.dumps(document, separators=(",", ":")).encode()
        Contract(self._chain, "ERC721Template", nft).send(
            self._chain.account(PUBLISHER),
            "setMetaData",
            _ACTIVE,
            self._endpoint,
            "",
            bytes([COMPRESSED | ENCRYPTED]),
            ecies.encrypt(secret=self._secret, content=lzma.compress(plain)),
            hashlib.sha256(plain).digest(),
            [],
        )


def _metadata(asset: Asset) -> dict[str, Any]:
    """Return the metadata with what Provider and Aquarius 4 want besides: a checksum, defaults as text."""
    metadata = asset.metadata()
    algorithm = metadata.get("algorithm")
    if algorithm:
        algorithm["container"] = CONTAINER | {"checksum": CHECKSUM}
        for parameter in algorithm.get("consumerParameters", []):
            parameter["default"] = str(parameter["default"])
    return metadata
