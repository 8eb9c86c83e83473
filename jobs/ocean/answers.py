"""What an answer says: JSON of strangers, read with bounds, and refusals, turned into errors of ours."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from jobs.ocean.errors import BadAnswer, OceanError, Rejected
from jobs.ocean.parsing import load_json
from jobs.ocean.units import clean_text

_RATE_LIMIT = re.compile(r"Try again in (\d{1,6}) seconds")
_SECONDS = re.compile(r"[0-9]{1,6}")

Explain = Callable[["Reply"], OceanError | None]


@dataclass(frozen=True)
class Reply:
    """An answer that is not 200, for the caller to explain.

    text: what it says, unwrapped from JSON and cut short; empty for an HTML page.
    retry_after_s: the pause that its header asks for, None for none, or for a date in its place.
    document: all of it where it is JSON, bounded in depth and size, for dialects that say more; never to be quoted.
    """

    status: int
    text: str
    is_html: bool
    is_write: bool
    host: str
    retry_after_s: int | None = None
    document: Any = field(default=None, repr=False)


def read_reply(
    *, status: int, content_type: str, body: bytes, is_write: bool, host: str, retry_after: str = ""
) -> Reply:
    """Read an answer that is not 200."""
    text = body.decode("utf-8", "replace").strip()
    # Nodes label plain sentences as HTML; only what looks like a page is one (protocol: error bodies).
    is_html = text[:200].lower().startswith(("<!doctype", "<html"))
    document = None
    if "json" in content_type.lower():
        try:
            said = document = _scrubbed(load_json(body))
        except ValueError:
            said = text
        if isinstance(said, dict):
            said = said.get("error")
        text = said if isinstance(said, str) else ""
    return Reply(
        status=status,
        text="" if is_html else clean_text(text, limit=1_000),
        is_html=is_html,
        is_write=is_write,
        host=host,
        retry_after_s=int(retry_after) if _SECONDS.fullmatch(retry_after) else None,
        document=document,
    )


def explain_generally(reply: Reply) -> OceanError:
    """Explain an answer that no protocol text explains. A 5xx on a write may have happened; a 4xx has not."""
    if reply.status == 429:
        match = _RATE_LIMIT.search(reply.text)
        # A node says it in words; what stands in front of a chain, in the header (RFC 9110, 10.2.3).
        wait_s = int(match[1]) if match else 60 if reply.retry_after_s is None else reply.retry_after_s
        return Rejected(
            f"{reply.host} is asked too often; it wants a pause of {wait_s} s.",
            code="rate_limited",
            retryable=True,
            retry_after_s=wait_s,
        )
    if reply.status == 413:
        return Rejected(f"{reply.host} finds the request too large.", code="too_large")
    if reply.status in (502, 503, 504):
        return Rejected(
            f"{reply.host} is there, but the service behind it does not answer.",
            code="gateway",
            retryable=True,
            maybe_happened=reply.is_write,
        )
    if reply.status >= 500:
        return Rejected(
            f"{reply.host} failed without saying why. Its operator's log may tell.",
            code="server_error",
            retryable=True,
            maybe_happened=reply.is_write,
        )
    if reply.is_html and reply.status != 400:
        return BadAnswer(
            f"{reply.host} answers with a web page; it seems to be no service of this kind.",
            code="html_page",
            maybe_happened=reply.is_write,
        )
    if 400 <= reply.status < 500:
        return Rejected(f"{reply.host} did not accept the request and does not say why.", code="bad_request")
    return BadAnswer(
        f"{reply.host} answered in a way that its protocol does not know (HTTP {reply.status}).",
        code="status",
        maybe_happened=reply.is_write,
    )


def parse_json(body: bytes, *, host: str, is_write: bool) -> Any:
    """Read a JSON document of a stranger: bounded depth, no NaN, no text that a database cannot store.

    Raises: BadAnswer.
    """
    try:
        return _scrubbed(load_json(body))
    except ValueError:
        is_page = body[:200].lstrip().lower().startswith((b"<!doctype", b"<html"))
        raise BadAnswer(
            f"{host} answers with a web page; it seems to be no service of this kind."
            if is_page
            else f"{host} sent something that is no JSON document.",
            code="html_page" if is_page else "not_json",
            maybe_happened=is_write,
        ) from None


def _scrubbed(value: Any) -> Any:
    if isinstance(value, dict):
        return {_scrubbed(key): _scrubbed(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_scrubbed(part) for part in value]
    if isinstance(value, str) and not (value.isascii() and "\0" not in value):
        # Halves of surrogate pairs and NUL are legal JSON, but no database and no page takes them.
        return value.encode("utf-8", "replace").decode("utf-8").replace("\0", "")
    return value
