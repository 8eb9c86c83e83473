"""What a Provider answers: jobs, and what a start needs on the chain. A stranger wrote all of it.

Source: provider-v4 recordings.
"""

import re
from decimal import ROUND_CEILING, Decimal
from typing import Any

from pydantic import ValidationError

from jobs.ocean.compute import AlgorithmInput, AssetInput, JobReport, OrderNeed, ProviderFee, StartRequest
from jobs.ocean.errors import BadAnswer
from jobs.ocean.parsing import field_of
from jobs.ocean.units import Address, Wei

_JOB_ID = re.compile(r"[0-9A-Za-z_-]{1,100}")
_NONCE = re.compile(r"[0-9]{1,20}(?:\.[0-9]{1,20})?")
# Ours are kept in 64 bits, and grow from what a Provider says.
_NONCE_CAP = 2**62
_TRANSACTION = re.compile(r"0x[0-9a-fA-F]{64}")
_HEX = re.compile(r"0x(?:[0-9a-fA-F]{2}){0,5000}")
_WEI = re.compile(r"[0-9]{1,78}")
_END_OF_TIME = 10**11


def parse_provider_job(entry: object) -> JobReport:
    """Read one job of a start, status or stop answer.

    stopreq is 1 when a stop was asked for and 2 when the service ended the job for its duration; the results' places
    are their positions, and there are none yet while `results` is an empty text.
    Raises: BadAnswer naming the first field that cannot be read.
    Source: recordings 40 to 42 and 53; README, "Status object".
    """
    if not isinstance(entry, dict):
        raise BadAnswer("The Provider described a job by something that is no object.", code="job")
    job_id, stop = entry.get("jobId"), entry.get("stopreq", 0)
    if not isinstance(job_id, str) or _JOB_ID.fullmatch(job_id) is None:
        raise BadAnswer("The Provider described a job without a usable id.", code="job")
    if not isinstance(stop, int) or isinstance(stop, bool):
        raise BadAnswer("The Provider described a job with an unreadable stopreq.", code="job")
    try:
        return JobReport.model_validate(
            {
                "dialect": "provider-v4",
                "job_id": job_id,
                "long_id": job_id,
                "owner": entry.get("owner"),
                "agreement_id": entry.get("agreementId") or "",
                "status": entry.get("status"),
                "status_text": entry.get("statusText") or "",
                "created_at": entry.get("dateCreated"),
                "finished_at": entry.get("dateFinished"),
                "results": _results(entry.get("results")),
                "stop_requested": stop == 1,
                "ran_too_long": stop == 2,
                "raw": entry,
            }
        )
    except ValidationError as error:
        raise BadAnswer(
            f"The Provider described a job with an unreadable {field_of(error)}.", code="job"
        ) from None


def parse_order_needs(answer: object, *, request: StartRequest) -> tuple[OrderNeed, ...]:
    """Read what a start needs: for each dataset in order, then for a published algorithm.

    Raises: BadAnswer "orders". Source: recordings 30, 31, 32, 60 and 88-init-two-datasets.
    """
    said = answer if isinstance(answer, dict) else {}
    asked: list[AssetInput | AlgorithmInput] = [
        dataset for dataset in request.datasets if isinstance(dataset, AssetInput)
    ]
    listed = said.get("datasets")
    needs = list(listed) if isinstance(listed, list) else []
    if len(needs) != len(asked):
        raise BadAnswer("The Provider does not say for each dataset what it needs.", code="orders")
    if isinstance(request.algorithm, AlgorithmInput):
        asked.append(request.algorithm)
        needs.append(said.get("algorithm"))
    return tuple(_need(entry, of=part) for part, entry in zip(asked, needs, strict=True))


def parse_nonce(answer: object, *, host: str) -> int:
    """Read the last nonce, rounded up: others may have used fractions. Source: recording 80-nonce-unknown-address.

    Raises: BadAnswer "nonce_answer".
    """
    value = answer.get("nonce") if isinstance(answer, dict) else None
    text = str(value) if isinstance(value, int | float | str) and not isinstance(value, bool) else ""
    nonce = int(Decimal(text).to_integral_value(ROUND_CEILING)) if _NONCE.fullmatch(text) else _NONCE_CAP
    if nonce >= _NONCE_CAP:
        raise BadAnswer(f"{host} sent a nonce that is no number.", code="nonce_answer")
    return nonce


def _results(listed: object) -> object:
    """Number the results, and read sizes that are written as text."""
    if not listed:
        return ()
    if not isinstance(listed, list):
        return listed
    return [
        {**_plain_size(entry), "index": place} if isinstance(entry, dict) else entry
        for place, entry in enumerate(listed)
    ]


def _plain_size(entry: dict[str, Any]) -> dict[str, Any]:
    size = entry.get("filesize")
    if isinstance(size, str) and size.isascii() and size.isdecimal() and len(size) < 16:
        return {**entry, "filesize": int(size)}
    return entry


def _need(entry: object, *, of: AssetInput | AlgorithmInput) -> OrderNeed:
    if not isinstance(entry, dict):
        raise BadAnswer("The Provider does not say what it needs for an asset.", code="orders")
    order, fee, datatoken = entry.get("validOrder"), entry.get("providerFee"), entry.get("datatoken")
    if order is not None and not (isinstance(order, str) and _TRANSACTION.fullmatch(order)):
        raise BadAnswer("The Provider named an order by something that is no transaction.", code="orders")
    if order is None and fee is None:
        raise BadAnswer("The Provider does not say what it needs for an asset.", code="orders")
    try:
        token = None if datatoken is None else Address.parse(datatoken)
        if fee is not None and token is None:
            raise ValueError("a fee for no datatoken")
        read = None if fee is None else _fee(fee)
    except (KeyError, TypeError, ValueError):
        raise BadAnswer("The Provider asks for a fee that cannot be read.", code="orders") from None
    return OrderNeed(did=of.did, service_id=of.service_id, datatoken=token, valid_order=order or "", fee=read)


def _fee(fee: Any) -> ProviderFee:
    amount = fee["providerFeeAmount"]
    text = str(amount) if isinstance(amount, int | str) and not isinstance(amount, bool) else ""
    if _WEI.fullmatch(text) is None or int(text) >= 2**256:
        raise ValueError("no amount")
    valid_until, v = fee["validUntil"], fee["v"]
    if not _is_whole(valid_until, below=_END_OF_TIME) or not _is_whole(v, below=256) or v not in (27, 28):
        raise ValueError("no fee")
    data, r, s = (_matching(pattern, fee[key]) for pattern, key in ((_HEX, "providerData"), *_HALVES))
    return ProviderFee(
        address=Address.parse(fee["providerFeeAddress"]),
        token=Address.parse(fee["providerFeeToken"]),
        amount_wei=Wei(int(text)),
        valid_until=valid_until,
        data=data,
        v=v,
        r=r,
        s=s,
    )


_HALVES = ((_TRANSACTION, "r"), (_TRANSACTION, "s"))


def _is_whole(value: object, *, below: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < below


def _matching(pattern: re.Pattern[str], text: object) -> str:
    if not isinstance(text, str) or pattern.fullmatch(text) is None:
        raise ValueError("not hexadecimal")
    return text
