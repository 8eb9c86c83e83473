"""What a Provider answers of jobs and nonces. A stranger wrote all of it.

Source: provider-v4 recordings.
"""

import re
from decimal import ROUND_CEILING, Decimal
from typing import Any

from pydantic import ValidationError

from jobs.ocean.compute import JobReport
from jobs.ocean.errors import BadAnswer
from jobs.ocean.parsing import field_of

_JOB_ID = re.compile(r"[0-9A-Za-z_-]{1,100}")
_NONCE = re.compile(r"[0-9]{1,20}(?:\.[0-9]{1,20})?")
# Ours are kept in 64 bits, and grow from what a Provider says.
_NONCE_CAP = 2**62


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
