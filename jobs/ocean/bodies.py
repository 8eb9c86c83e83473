"""What an Ocean Node is sent: credentials and the body of a start, field by field as recorded.

Source: ocean-node 3.2.0 recordings.
"""

import json
from typing import Any

from jobs.ocean.compute import AlgorithmInput, AssetInput, CodeAlgorithm, Container, Dataset, StartRequest
from jobs.ocean.errors import Refused
from jobs.ocean.signing import Signed, Token

# Source: recording 17, exchange 25; ocean-node v3.2.0, compute_engine_docker.ts: JSON.stringify(metadata).length.
METADATA_CHARACTERS = 1_024


def headers(proof: Signed | Token) -> dict[str, str]:
    """Give the headers that prove a call; none where a signature does."""
    # The token stands alone: with "Bearer" in front it is not recognised (recording 15, exchange 11).
    return {} if isinstance(proof, Signed) else {"Authorization": proof.token}


def credentials(proof: Signed | Token) -> dict[str, str]:
    """Give the fields that prove a call of a consumer."""
    if not isinstance(proof, Signed):
        return {"consumerAddress": str(proof.address)}
    return {"consumerAddress": str(proof.address), "nonce": str(proof.nonce), "signature": proof.signature}


def token_body(proof: Signed) -> dict[str, Any]:
    """Give the fields that prove a call about tokens."""
    return {"address": str(proof.address), "nonce": str(proof.nonce), "signature": proof.signature}


def start_body(request: StartRequest) -> dict[str, Any]:
    """Give the body of freeCompute without its credentials.

    Raises: Refused "metadata_too_large" for a note that a node would not take.
    Source: recordings 10, 11, 13, 15, 21, 24, 27 and 33.
    """
    body: dict[str, Any] = {
        "environment": request.environment_id,
        "algorithm": _algorithm(request),
        "datasets": [_dataset(dataset) for dataset in request.datasets],
    }
    if request.max_duration_s is not None:
        body["maxJobDuration"] = request.max_duration_s
    if request.queue_wait_s is not None:
        body["queueMaxWaitTime"] = request.queue_wait_s
    if request.resources is not None:
        body["resources"] = [{"id": kind, "amount": amount} for kind, amount in request.resources]
    if request.additional_viewers:
        body["additionalViewers"] = [str(address) for address in request.additional_viewers]
    if request.note is not None:
        body["metadata"] = _checked_note(request.note)
    return body


def _algorithm(request: StartRequest) -> dict[str, Any]:
    asked = request.algorithm
    algorithm: dict[str, Any] = {}
    if isinstance(asked, AlgorithmInput):
        algorithm = {"documentId": asked.did, "serviceId": asked.service_id}
        if asked.container is not None:
            algorithm["meta"] = {"container": _container(asked.container)}
    elif isinstance(asked, CodeAlgorithm):
        algorithm["meta"] = {"rawcode": asked.code, "container": _container(asked.container)}
    else:
        algorithm = {"fileObject": asked.file.wire(), "meta": {"container": _container(asked.container)}}
    if asked.custom_data is not None:
        algorithm["algocustomdata"] = dict(asked.custom_data)
    if request.envs is not None:
        algorithm["envs"] = dict(request.envs)
    return algorithm


def _container(container: Container) -> dict[str, str]:
    named = {
        "entrypoint": container.entrypoint,
        "image": container.image,
        "tag": container.tag,
        "checksum": container.checksum,
    }
    return named if container.dockerfile is None else {**named, "dockerfile": container.dockerfile}


def _dataset(dataset: Dataset) -> dict[str, Any]:
    if not isinstance(dataset, AssetInput):
        return {"fileObject": dataset.file.wire()}
    named: dict[str, Any] = {"documentId": dataset.did, "serviceId": dataset.service_id}
    return named if dataset.userdata is None else {**named, "userdata": dict(dataset.userdata)}


def _checked_note(note: dict[str, Any] | str) -> dict[str, Any] | str:
    # The node counts as JavaScript does: in UTF-16 units of the compact spelling.
    spelt = json.dumps(note, separators=(",", ":"), ensure_ascii=False)
    characters = len(spelt.encode("utf-16-le", "surrogatepass")) // 2
    if characters > METADATA_CHARACTERS:
        raise Refused(
            f"The note that goes with the job has {characters:,} characters; a node takes"
            f" {METADATA_CHARACTERS:,}. Shorten it.",
            code="metadata_too_large",
        )
    return note
