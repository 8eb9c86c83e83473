"""What a Provider's refusals mean. It repeats signatures and whole requests in them, so nothing of them is quoted.

Source: provider-v4 recordings 80 to 97; for what was not recorded provider v2.1.6, validation/algo.py,
utils/asset.py, utils/provider_fees.py and routes, and operator-service v1.0.1, routes.py.
"""

import re
from dataclasses import dataclass
from typing import Any

from jobs.ocean.answers import Reply
from jobs.ocean.errors import OceanError, Rejected


@dataclass(frozen=True)
class _Saying:
    """Words of a Provider and what they mean. {0} in a sentence is the part of the request that they are about."""

    words: re.Pattern[str]
    code: str
    sentence: str
    retryable: bool = False


def _says(words: str, code: str, sentence: str, *, retryable: bool = False) -> _Saying:
    return _Saying(re.compile(words), code, sentence, retryable)


# Why a part of a start or of a quote is refused: {"error": {part: reason}}.
_REASONS = (
    _says(
        r"order_invalid",
        "order_invalid",
        "The Provider does not accept the order of {0}: it is of another asset, environment or wallet, or its time is"
        " over. Order it again.",
    ),
    _says(
        r"in_use_or_not_on_chain",
        "order_invalid",
        "The Provider does not accept the order of {0}: it does not find it on the chain, or it is of another asset or"
        " wallet, or its time is over. Order it again.",
    ),
    _says(
        r"fees_not_paid",
        "fees_not_paid",
        "None of the orders pays what the Provider asks for this environment. Ask for the price again and order anew.",
    ),
    _says(
        r"not_trusted_algo|no_publisherTrustedAlgorithms",
        "not_trusted",
        "The publisher of {0} has not listed this algorithm, so it may not run there.",
    ),
    _says(
        r"not_trusted_algo_publisher",
        "not_trusted",
        "The publisher of {0} trusts certain publishers of algorithms alone; this algorithm is by another one.",
    ),
    _says(
        r"algorithm_file_checksum_mismatch|algorithm_container_checksum_mismatch",
        "algorithm_changed",
        "The algorithm was changed since the publisher of {0} listed it. He has to list it again.",
    ),
    _says(
        r"no_raw_algo_allowed",
        "raw_not_allowed",
        "The publisher of {0} allows published algorithms alone, and no code of one's own.",
    ),
    _says(
        r"did_not_found",
        "unknown_asset",
        "The Provider does not know the asset of {0}. Check the DID, or ask a Provider that serves it.",
    ),
    _says(
        r"file_unavailable",
        "file",
        "The Provider cannot fetch the file of {0}. Its publisher has to see to that.",
    ),
    _says(
        r"not_found",
        "unknown_service",
        "The asset of {0} has no such service any more. Refresh the asset and choose again.",
    ),
    _says(
        r"main_service_compute|service_not_access_compute",
        "not_computable",
        "The chosen service of {0} is no compute service, so no job may run on it.",
    ),
    _says(
        r"compute_services_not_in_same_provider",
        "other_provider",
        "{0} is kept by another Provider, and this one cannot open its files. Ask the Provider that the asset names.",
    ),
    _says(
        r"not_algo",
        "not_algorithm",
        "The asset that was given as the algorithm is none.",
    ),
    _says(
        r"missing_entrypoint_image_checksum",
        "image",
        "The container of {0} lacks its entrypoint, its image or its checksum.",
    ),
    _says(
        r"checksum_prefix",
        "image",
        'The checksum of the container of {0} does not begin with "sha256:".',
    ),
    _says(
        r"missing|invalid|missing_meta_documentId|meta_oneof_url_rawcode_remote",
        "bad_request",
        "The request lacks something about {0} without which the Provider does nothing.",
    ),
    _says(
        r"Asset malformed or disabled\.|Asset is not consumable\.|.*\bConsumableCodes\.ASSET_DISABLED\W*",
        "asset_disabled",
        "{0} cannot be used now: its publisher has ended, withdrawn or paused it.",
    ),
    _says(
        r".*\bConsumableCodes\.CREDENTIAL_NOT_IN_ALLOW_LIST\W*",
        "not_allowed",
        "The publisher of {0} lets certain addresses use it alone. The wallet or the environment is not among them.",
    ),
    _says(
        r".*\bConsumableCodes\.CREDENTIAL_IN_DENY_LIST\W*",
        "denied",
        "The publisher of {0} does not let this wallet or this environment use it.",
    ),
)

# What is said in one sentence: {"error": sentence}.
_SENTENCES = (
    _says(
        r"^`agreementId` already in use",
        "order_in_use",
        "Another job with the same orders is still running. When it has ended, the same orders start the next one.",
    ),
    _says(
        r"^Compute environment does not exist|^Environment invalid or does not exist",
        "unknown_environment",
        "The Provider does not know this environment. Refresh its environments and choose again.",
    ),
    _says(
        r"^The validUntil value is not correct",
        "valid_until",
        "The time until which the job is to be paid is over already.",
    ),
    _says(
        r"^DID is not a valid algorithm",
        "not_algorithm",
        "The asset that was given as the algorithm is none.",
    ),
    _says(
        r"^'NoneType' object has no attribute 'metadata'",
        "unknown_asset",
        "The Provider does not know the asset of the algorithm. Check the DID, or ask a Provider that serves it.",
    ),
    _says(
        r"^No such index \d{1,10} in this compute job|^No results for job",
        "result_missing",
        "The Provider has no such result of this job.",
    ),
    _says(
        r"^Negative index|^Error getResult: invalid literal",
        "bad_request",
        "The Provider counts results from 0 on; this is no place in its list.",
    ),
    _says(
        r"^Owner 0x[0-9a-fA-F]{40} mismatch for job|^Provider 0x[0-9a-fA-F]{40} mismatch for job",
        "unknown_job",
        "The Provider has no results of such a job of this wallet: it does not know the job, the job is another"
        " wallet's, or it has not ended yet.",
    ),
    _says(
        r"^Invalid signature expected nonce",
        "nonce",
        "The Provider has seen a newer request of this wallet, so it did not take this one.",
        retryable=True,
    ),
    _says(
        r"^Token is (?:deleted|expired|invalid)",
        "token",
        "The Provider does not accept the token any more. Give the wallet a new one.",
    ),
    _says(
        r"^Cannot resolve DID",
        "unknown_asset",
        "The Provider does not know the asset. Check the DID, or ask a Provider that serves it.",
    ),
    _says(
        r"Invalid serviceId",
        "unknown_service",
        "The asset has no such service any more. Refresh the asset and choose again.",
    ),
    _says(
        r"Unable to get dataset files",
        "other_provider",
        "This Provider cannot open the asset's files. Ask the Provider that the asset names.",
    ),
    _says(
        r"Use the initializeCompute endpoint|^405 Method Not Allowed|^Method Not Allowed|is required in the call",
        "bad_request",
        "The Provider does not take such a request. Its software may be another than this portal expects.",
    ),
    _says(
        r"(?:^|: )Order with tx_id ",
        "order_invalid",
        "The Provider does not accept the order: it is of another asset or wallet, or its time is over. Order it again.",
    ),
)

# The parts of a request that a Provider names, as people call them.
_PARTS = {
    "dataset": "the dataset",
    "datasets": "a dataset",
    "algorithm": "the algorithm",
    "order": "the orders",
    "output": "the output",
    "additional_input": "the datasets",
}
_PART = re.compile(r"([a-z_]{1,30})(?:\[(\d{1,4})\])?(?:\.\w{1,30})?", re.ASCII)
_FIELDS = (
    "consumerAddress",
    "userAddress",
    "address",
    "jobId",
    "index",
    "nonce",
    "datasets",
    "dataset.documentId",
    "dataset.serviceId",
    "dataset.transferTxId",
    "algorithm.documentId",
    "algorithm.meta",
    "compute.env",
    "compute.validUntil",
    "documentId",
    "serviceId",
    "token",
    "type",
    "did",
    "url",
)


def explain(reply: Reply) -> OceanError | None:
    """Explain a Provider's refusal; None leaves it to the status number."""
    document = reply.document if isinstance(reply.document, dict) else {}
    if "errors" in document:
        return _invalid(reply, document["errors"])
    if isinstance(document.get("error"), dict):
        return _refused_part(reply, document["error"])
    if reply.text.startswith("Cannot create duplicates in the database"):
        return _same_nonce(reply)
    for saying in _SENTENCES:
        if saying.words.search(reply.text):
            return _rejected(reply, saying.code, saying.sentence, retryable=saying.retryable)
    return None


def explain_compute(reply: Reply) -> OceanError | None:
    """Explain the refusal of a compute call. A Provider that only hands out files has none of them (recording 97)."""
    if reply.status == 404 and reply.text.startswith("404 Not Found"):
        return _rejected(
            reply,
            "no_compute",
            "This Provider hands out files alone and runs no jobs. Choose another one.",
        )
    return explain(reply)


def explain_start(reply: Reply) -> OceanError | None:
    """Explain the refusal of a start. A nonce that was used before comes up after the job was created.

    Source: recording 86-start-reused-nonce-string: 503, and the job runs.
    """
    error = explain_compute(reply)
    if error is None or error.code != "nonce" or not error.maybe_happened:
        return error
    return Rejected(
        f"{reply.host}: The Provider has seen this nonce before. The job may run all the same; look before starting"
        " it again.",
        code="nonce_reused",
        maybe_happened=True,
    )


def explain_file(reply: Reply) -> OceanError | None:
    """Explain a refusal about a file."""
    error = explain(reply)
    if error is None and reply.status == 400:
        return Rejected(f"{reply.host} cannot fetch this file. Check its address.", code="file")
    return error


def _same_nonce(reply: Reply) -> OceanError:
    # The work was done before the nonce was written down (recordings 85 and 86); of a read nothing has come.
    return Rejected(
        f"{reply.host}: The Provider has seen this nonce of the wallet before, so it broke the request off.",
        code="nonce",
        retryable=True,
        maybe_happened=reply.is_write,
    )


def _invalid(reply: Reply, errors: Any) -> OceanError:
    """Explain {"errors": {field: what is wrong}}."""
    if not isinstance(errors, dict):
        if "RBAC" in str(errors)[:200]:
            return _rejected(
                reply, "not_allowed", "The operator of this Provider does not admit this wallet or asset."
            )
        return _rejected(
            reply, "bad_request", "The Provider did not accept the request and does not say why."
        )
    said = errors.get("signature")
    if isinstance(said, str):
        if said.startswith("Invalid signature expected nonce"):
            return _rejected(
                reply,
                "nonce",
                "The Provider has seen a newer request of this wallet, so it did not take this one.",
                retryable=True,
            )
        return _rejected(reply, "signature", "The Provider does not accept the wallet's signature.")
    if said is not None:
        # A list: the Provider looked for a token instead of a signature, and took none (recordings 82 and 90).
        return _rejected(
            reply, "token", "The Provider does not accept the token any more. Give the wallet a new one."
        )
    if "expiration" in errors:
        return _rejected(
            reply, "token_period", "A token has to end in the future, by the clock of the Provider."
        )
    missing = ", ".join(field for field in _FIELDS if field in errors) or "something"
    return _rejected(
        reply,
        "bad_request",
        f"The request lacks a usable {missing}, without which the Provider does nothing.",
    )


def _refused_part(reply: Reply, said: dict[str, Any]) -> OceanError:
    """Explain {"error": {part: reason}}."""
    part, reason = next(iter(said.items()), ("", ""))
    named = _named(part)
    for saying in _REASONS:
        if isinstance(reason, str) and saying.words.fullmatch(reason):
            sentence = saying.sentence.format(named)
            return _rejected(
                reply, saying.code, sentence[0].upper() + sentence[1:], retryable=saying.retryable
            )
    return _rejected(
        reply, "bad_request", f"The Provider refuses {named} for a reason that this portal does not know."
    )


def _named(part: str) -> str:
    match = _PART.fullmatch(part)
    if match is None or match[1] not in _PARTS:
        return "a part of the request"
    # Counted from 0, where 0 is the first dataset and named without a number.
    return f"dataset {int(match[2]) + 1}" if match[1] == "datasets" and match[2] else _PARTS[match[1]]


def _rejected(reply: Reply, code: str, sentence: str, *, retryable: bool = False) -> OceanError:
    return Rejected(f"{reply.host}: {sentence}", code=code, retryable=retryable)
