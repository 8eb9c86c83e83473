"""Checks the fields of a request in the way and the words of flask-sieve, which Provider uses.

A rule with "bail" ends the whole check where it fails. Source: flask-sieve 2.0.1, rules_processor.py;
oceanprotocol/provider @ 4cd244b : validation/provider_requests.py; recordings 80 to 90.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any

Errors = dict[str, Any]
# Judges the value of a field; returns None, or what stands under the field's name in the answer.
Judge = Callable[[Any], Any]
FILE_TYPES = "in:arweave,graphql,ipfs,smartcontract,url"
_ALGORITHM = (
    (
        "algorithm.documentId",
        "required_without:algorithm.meta|required_with_all:algorithm.serviceId,algorithm.transferTxId",
    ),
    ("algorithm.meta", "required_without:algorithm.documentId"),
)
_SIGNED = (
    ("consumerAddress", "bail|required"),
    ("nonce", "bail|required|numeric"),
    ("signature", "judged"),
)
Rules = tuple[tuple[str, str], ...]
NONCE: Rules = (("userAddress", "required"),)
STATUS: Rules = (("consumerAddress", "bail|required"),)
COMPUTE: Rules = _SIGNED
RESULT: Rules = (
    ("jobId", "bail|required"),
    ("index", "bail|required"),
    *_SIGNED[:2],
    ("signature", "bail|judged"),
)
START: Rules = (
    ("dataset.documentId", "bail|required"),
    ("dataset.serviceId", "bail|required"),
    ("dataset.transferTxId", "required"),
    *_ALGORITHM,
    *_SIGNED[:2],
    ("signature", "bail|judged"),
)
INITIALIZE_COMPUTE: Rules = (
    ("datasets", "required"),
    *_ALGORITHM,
    ("compute.env", "required"),
    ("compute.validUntil", "required|integer"),
    ("consumerAddress", "required"),
)
INITIALIZE: Rules = (
    ("documentId", "required"),
    ("serviceId", "required"),
    ("consumerAddress", "required"),
    ("fileIndex", "sometimes|integer"),
)
DOWNLOAD: Rules = (
    ("documentId", "bail|required"),
    ("serviceId", "required"),
    ("consumerAddress", "bail|required"),
    ("transferTxId", "bail|required"),
    ("fileIndex", "required"),
    ("nonce", "bail|required|numeric"),
    ("signature", "judged"),
)
FILE_INFO: Rules = (
    ("type", f"required_without:did|{FILE_TYPES}"),
    ("did", "required_without:type|regex:^did:op"),
    ("hash", "required_if:type,ipfs"),
    ("url", "required_if:type,url"),
    ("transactionId", "required_if:type,arweave"),
    ("serviceId", "required_without:type"),
)
CREATE_TOKEN: Rules = (
    ("address", "bail|required"),
    ("expiration", "bail|required|integer|future"),
    ("nonce", "bail|required|numeric"),
    ("signature", "required|judged"),
)
DELETE_TOKEN: Rules = (
    ("address", "bail|required"),
    ("token", "bail|required"),
    ("nonce", "bail|required|numeric"),
    ("signature", "required|judged"),
)
_WITHOUT_TRANSACTION = "required_without:transactionId|required_with:"
DECRYPT: Rules = (
    ("decrypterAddress", "required"),
    ("chainId", "required"),
    ("dataNftAddress", "required"),
    ("transactionId", "required_without:dataNftAddress,encryptedDocument,flags,documentHash"),
    ("encryptedDocument", _WITHOUT_TRANSACTION + "flags,documentHash"),
    ("flags", _WITHOUT_TRANSACTION + "encryptedDocument,documentHash"),
    ("documentHash", _WITHOUT_TRANSACTION + "encryptedDocument,flags"),
    ("nonce", "required|numeric"),
    ("signature", "bail|judged"),
)


class Invalid(Exception):
    """Carries what stands under "errors" in the answer."""

    def __init__(self, errors: Errors) -> None:
        super().__init__("Validation error")
        self.errors = errors


def check(*, rules: Rules, data: Any, now: float, judge: Judge = lambda _: None) -> None:
    """Check a request's fields; judge: what "judged" asks about the signature. Raises Invalid."""
    fields = data if isinstance(data, Mapping) else {}
    errors: Errors = {}
    for name, spec in rules:
        words = spec.split("|")
        found: list[str] = []
        verdict: Any = None
        for word in words:
            if word == "judged":
                verdict = judge(value_of(fields, name))
            elif (text := _broken(word, name, fields, words, now)) is not None:
                found.append(text)
            if "bail" in words and (found or verdict):
                break
        if found or verdict:
            # A text stands instead of all complaints, a list of texts beside them.
            errors[name] = verdict if isinstance(verdict, str) else found + (verdict or [])
            if "bail" in words:
                break
    if errors:
        raise Invalid(errors)


def value_of(fields: Any, name: str) -> Any:
    """Return what is at a place such as dataset.serviceId, None if nothing is."""
    for part in name.split("."):
        if not isinstance(fields, Mapping) or part not in fields:
            return None
        fields = fields[part]
    return fields


def _is_present(fields: Any, name: str) -> bool:
    for part in name.split("."):
        if not isinstance(fields, Mapping) or part not in fields:
            return False
        fields = fields[part]
    return True


def _is_filled(fields: Any, name: str) -> bool:
    value = value_of(fields, name)
    return bool(value) or (value is not None and value in (0, False) and not isinstance(value, str))


def _missing(word: str, name: str, fields: Any) -> str | None:
    """Return the complaint of a rule that asks for the field, None if it does not ask or is content."""
    kind, _, rest = word.partition(":")
    others = rest.split(",")
    match kind:
        case "required":
            asked, reason = True, ""
        case "required_without":
            asked = any(not _is_present(fields, other) for other in others)
            reason = f" when {', '.join(others)} is not present"
        case "required_with":
            asked = any(_is_present(fields, other) for other in others)
            reason = f" when {', '.join(others)} is present"
        case "required_with_all":
            asked = all(_is_present(fields, other) for other in others)
            reason = f" when {', '.join(others)} are present"
        case "required_if":
            asked = str(value_of(fields, others[0])) in others[1:]
            reason = f" when {others[0]} is {others[1]}"
        case _:
            return None
    return f"The {name} field is required{reason}." if asked and not _is_filled(fields, name) else None


def _broken(word: str, name: str, fields: Any, words: list[str], now: float) -> str | None:
    """Return the complaint of one rule, or None."""
    if (complaint := _missing(word, name, fields)) is not None:
        return complaint
    value = value_of(fields, name)
    kind, _, rest = word.partition(":")
    conditional = [item for item in words if item.startswith("required_") or item == "sometimes"]
    if value is None and conditional and all(_missing(item, name, fields) is None for item in conditional):
        return None
    match kind:
        case "numeric" if not _is_number(value):
            return f"The {name} must be a number."
        case "integer" if not str(value).isdigit():
            return f"The {name} must be an integer."
        case "in" if value not in rest.split(","):
            return f"The selected {name} is invalid."
        case "regex" if not re.match(rest, str(value)):
            return f"The {name} format is invalid."
        case "future" if not (str(value).isdigit() and int(value) > int(now)):
            return "Invalid timestamp provided."
    return None


def _is_number(value: Any) -> bool:
    try:
        float(value)
    except (TypeError, ValueError):
        return False
    return True
