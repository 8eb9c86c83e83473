"""What a Provider is sent: credentials, and the bodies of a start and of the question before it, as recorded.

Source: provider-v4 recordings.
"""

from typing import Any

from jobs.ocean.compute import AlgorithmInput, AssetInput, CodeAlgorithm, Container, StartRequest, UrlInput
from jobs.ocean.errors import Refused
from jobs.ocean.signing import Signed, Token

# What a Provider is told of the algorithm's version; it does not look at it. Source: recording 51, exchange 11.
_VERSION = "0.1"


def headers(proof: Signed | Token) -> dict[str, str]:
    """Give the headers that prove a call; none where a signature does. Source: recording 90, exchange 4."""
    return {} if isinstance(proof, Signed) else {"AuthToken": proof.token}


def credentials(proof: Signed | Token) -> dict[str, str]:
    """Give the fields of a query that prove a call.

    Raises: Refused "token_nonce" for a token without a nonce, which a Provider wants beside it.
    """
    fields = {"consumerAddress": str(proof.address), "nonce": str(_nonce(proof))}
    return {**fields, "signature": proof.signature} if isinstance(proof, Signed) else fields


def token_fields(proof: Signed) -> dict[str, str]:
    """Give the fields that prove a call about tokens."""
    return {"address": str(proof.address), "nonce": str(proof.nonce), "signature": proof.signature}


def first_did(request: StartRequest) -> str:
    """Give the DID that a start is signed for.

    Raises: Refused "no_dataset", "unpublished".
    """
    return _published(request)[0].did


def start_body(request: StartRequest, *, proof: Signed | Token) -> dict[str, Any]:
    """Give the body of a start.

    A Provider has no words for a note, a tag, limits, resources, a wait or viewers: those are left out.
    Raises: Refused "no_dataset", "unpublished", "envs", "custom_data", "algorithm_address", "token_nonce".
    Source: recordings 40, 46, 51, 63 and 89. A nonce that is a number passes twice, one that is a text starts the job and
    then fails (recording 86): ours is a number, as ocean.py's.
    """
    first, *others = _published(request)
    body: dict[str, Any] = {
        "dataset": _dataset(first),
        "environment": request.environment_id,
        "algorithm": _algorithm(request),
        "nonce": _nonce(proof),
        "consumerAddress": str(proof.address),
    }
    if others:
        body["additionalDatasets"] = [_dataset(dataset) for dataset in others]
    return {**body, "signature": proof.signature} if isinstance(proof, Signed) else body


def initialize_body(request: StartRequest, *, consumer: str, valid_until: int) -> dict[str, Any]:
    """Give the body of the question what a start would need.

    Raises: as start_body. Source: recordings 30, 31, 32, 60 and 88.
    """
    return {
        "datasets": [_dataset(dataset) for dataset in _published(request)],
        "algorithm": _algorithm(request),
        "compute": {"env": request.environment_id, "validUntil": valid_until},
        "consumerAddress": consumer,
    }


def _nonce(proof: Signed | Token) -> int:
    if proof.nonce is None:
        raise Refused("A Provider wants a nonce beside a token, and there is none.", code="token_nonce")
    return proof.nonce


def _published(request: StartRequest) -> tuple[AssetInput, ...]:
    if request.envs:
        raise Refused(
            "A Provider hands no environment variables to a job. Take them out, or choose an Ocean Node.",
            code="envs",
        )
    datasets = tuple(dataset for dataset in request.datasets if not isinstance(dataset, UrlInput))
    if len(datasets) < len(request.datasets):
        raise Refused(
            "A Provider runs jobs on published datasets alone, and not on files by their address.",
            code="unpublished",
        )
    if not datasets:
        raise Refused("A Provider runs a job on one dataset or more. Choose one.", code="no_dataset")
    return datasets


def _dataset(dataset: AssetInput) -> dict[str, Any]:
    named: dict[str, Any] = {"documentId": dataset.did, "serviceId": dataset.service_id}
    if dataset.order:
        named["transferTxId"] = dataset.order
    return named if dataset.userdata is None else {**named, "userdata": dict(dataset.userdata)}


def _algorithm(request: StartRequest) -> dict[str, Any]:
    asked = request.algorithm
    if isinstance(asked, AlgorithmInput):
        # Its container is in its document; with one in the request a Provider would not look for its order.
        named: dict[str, Any] = {"documentId": asked.did, "serviceId": asked.service_id}
        if asked.order:
            named["transferTxId"] = asked.order
        if asked.custom_data is not None:
            named["algocustomdata"] = dict(asked.custom_data)
        return named
    if asked.custom_data:
        # Source: provider v2.1.6, serializers.py: dropped without a word.
        raise Refused(
            "A Provider hands parameters to published algorithms alone. Write them into the code.",
            code="custom_data",
        )
    if isinstance(asked, CodeAlgorithm):
        url, code = "", asked.code
    elif asked.file.method.upper() == "GET" and not asked.file.headers:
        url, code = asked.file.url, ""
    else:
        raise Refused(
            "A Provider fetches an algorithm by a plain address, without headers or another method.",
            code="algorithm_address",
        )
    return {
        "meta": {
            "url": url,
            "rawcode": code,
            "language": asked.language,
            "version": _VERSION,
            "container": _container(asked.container),
        }
    }


def _container(container: Container) -> dict[str, str]:
    if container.dockerfile is not None:
        raise Refused("A Provider builds no images. Name one that there is.", code="dockerfile")
    return {
        "entrypoint": container.entrypoint,
        "image": container.image,
        "tag": container.tag,
        "checksum": container.checksum,
    }
