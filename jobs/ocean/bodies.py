"""What an Ocean Node is sent: credentials and the body of a start, field by field as recorded.

Source: ocean-node 3.2.0 recordings.
"""

import json
from typing import Any

from jobs.ocean.compute import (
    AlgorithmInput,
    AssetInput,
    CodeAlgorithm,
    Container,
    Dataset,
    Payment,
    StartRequest,
)
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
    """Give the body of a start without its credentials: of freeCompute, or of compute for a request with a payment.

    Raises: Refused "metadata_too_large" for a note that a node would not take, "no_duration" for a paid job without one.
    Source: recordings 10, 11, 13, 15, 21, 24, 27 and 33; paid 31, 32, 33 and 35.
    """
    body: dict[str, Any] = {
        "environment": request.environment_id,
        "algorithm": _algorithm(request),
        "datasets": [_dataset(dataset, is_paid=request.payment is not None) for dataset in request.datasets],
    }
    if request.max_duration_s is not None:
        body["maxJobDuration"] = request.max_duration_s
    elif request.payment is not None:
        # Source: recording 33, exchange 15.
        raise Refused(
            "A paid job needs a longest duration, since it is paid by the minute.", code="no_duration"
        )
    if request.queue_wait_s is not None:
        body["queueMaxWaitTime"] = request.queue_wait_s
    if request.payment is not None:
        body["payment"] = _payment(request.payment)
    if request.resources is not None:
        body["resources"] = _resources(request.resources)
    if request.additional_viewers:
        body["additionalViewers"] = [str(address) for address in request.additional_viewers]
    if request.note is not None:
        body["metadata"] = _checked_note(request.note)
    return body


def initialize_body(request: StartRequest, *, payment: Payment, payer: str) -> dict[str, Any]:
    """Give the body of the question what a paid job would need. It is not signed, so it says no more than it must.

    Data that is published nowhere is left out: a node refuses to price it, and it has no price (recording 32, exchanges 1
    to 3). Source: recordings 31, 32, 33 and 34.
    """
    body: dict[str, Any] = {
        "datasets": [_asset(dataset) for dataset in request.datasets if isinstance(dataset, AssetInput)],
        "algorithm": _named_algorithm(request),
        "environment": request.environment_id,
        "payment": _payment(payment),
        "consumerAddress": payer,
    }
    if request.resources is not None:
        body["payment"]["resources"] = _resources(request.resources)
    if request.max_duration_s is not None:
        body["maxJobDuration"] = request.max_duration_s
    if request.queue_wait_s is not None:
        body["queueMaxWaitTime"] = request.queue_wait_s
    return body


def _payment(payment: Payment) -> dict[str, Any]:
    # A node compares the token's spelling (recording 33, exchange 11); an Address has the right one.
    return {"chainId": payment.chain_id, "token": str(payment.token)}


def _resources(resources: tuple[tuple[str, float], ...]) -> list[dict[str, Any]]:
    return [{"id": kind, "amount": amount} for kind, amount in resources]


def _named_algorithm(request: StartRequest) -> dict[str, Any]:
    asked = request.algorithm
    if isinstance(asked, AlgorithmInput):
        named: dict[str, Any] = {"documentId": asked.did, "serviceId": asked.service_id}
        if request.payment is not None and asked.order:
            named["transferTxId"] = asked.order
        if request.payment is None and asked.container is not None:
            # Of a paid job the node reads the container in the algorithm's document (recording 31, exchange 7).
            named["meta"] = {"container": _container(asked.container)}
        return named
    if isinstance(asked, CodeAlgorithm):
        return {"meta": {"rawcode": asked.code, "container": _container(asked.container)}}
    return {"fileObject": asked.file.wire(), "meta": {"container": _container(asked.container)}}


def _algorithm(request: StartRequest) -> dict[str, Any]:
    asked, algorithm = request.algorithm, _named_algorithm(request)
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


def _asset(dataset: AssetInput) -> dict[str, Any]:
    named: dict[str, Any] = {"documentId": dataset.did, "serviceId": dataset.service_id}
    return {**named, "transferTxId": dataset.order} if dataset.order else named


def _dataset(dataset: Dataset, *, is_paid: bool) -> dict[str, Any]:
    if not isinstance(dataset, AssetInput):
        return {"fileObject": dataset.file.wire()}
    named = _asset(dataset) if is_paid else {"documentId": dataset.did, "serviceId": dataset.service_id}
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
