"""What jobs left: a look at a file, its bytes, and images."""

from __future__ import annotations

import uuid

from django.http import FileResponse, Http404, HttpResponse, HttpResponseBase
from django.utils import timezone
from django.views.decorators.http import require_GET, require_safe

from jobs import previews
from jobs.errors import Missing
from jobs.previews import Preview
from jobs.selectors import logs
from jobs.selectors import results as selector
from jobs.services import results as archive
from jobs.web import PortalRequest, page

# For a download, and for whoever opens an image's address on its own: there it may do nothing, not even style itself.
# Inside an <img> browsers run nothing of an image and do not ask its policy, so there it looks as it was drawn.
BYTES_POLICY = "sandbox; default-src 'none'; frame-ancestors 'none'"
# Sent as what they are. All else is bytes: nobody's browser should guess.
HARMLESS = frozenset(
    {"text/csv", "text/plain", "application/json", "image/png", "image/jpeg", "application/x-tar"}
)

# What Windows takes for a device, whatever its ending is.
_DEVICES = {"con", "prn", "aux", "nul", *(f"{port}{n}" for port in ("com", "lpt") for n in range(1, 10))}


@require_safe
def detail(request: PortalRequest, team: str, job_id: uuid.UUID, result_id: int) -> HttpResponse:
    """Show what one result looks like."""
    found = selector.detail(actor=request.actor, job_id=job_id, result_id=result_id)
    context: dict[str, object] = {"result": found}
    if found.here and found.is_log:
        data = _bytes(request, job_id, result_id, max_bytes=logs.SHOWN_BYTES, from_end=True)
        context["log"] = logs.archived(data, cut=found.size > len(data))
    elif found.here:
        context["preview"] = look(
            request, job_id=job_id, result_id=result_id, name=found.name, size=found.size
        )
    return page(request, "jobs/result.html", context)


@require_GET
def download(request: PortalRequest, team: str, job_id: uuid.UUID, result_id: int) -> HttpResponseBase:
    """Send a result as an attachment, never to be opened in place."""
    return attachment(
        archive.open_result(actor=request.actor, job_id=job_id, result_id=result_id, now=timezone.now())
    )


def attachment(found: archive.OpenedResult) -> FileResponse:
    """Send an opened result to be kept, by a type that no browser acts on."""
    kind = found.content_type if found.content_type in HARMLESS else "application/octet-stream"
    response = FileResponse(
        found.stream, as_attachment=True, filename=safe_name(found.name), content_type=kind
    )
    response.headers["Content-Length"] = str(found.size)
    response.headers["Content-Security-Policy"] = BYTES_POLICY
    return response


@require_safe
def inline(request: PortalRequest, team: str, job_id: uuid.UUID, result_id: int) -> HttpResponse:
    """Send an image for an <img>: by what its bytes are, not by what its name says."""
    data = _bytes(request, job_id, result_id, max_bytes=previews.IMAGE_MAX_BYTES)
    kind = previews.image_type(data)
    if kind is None:
        raise Http404
    return HttpResponse(data, content_type=kind, headers={"Content-Security-Policy": BYTES_POLICY})


def look(request: PortalRequest, *, job_id: uuid.UUID, result_id: int, name: str, size: int) -> Preview:
    """Return what can be shown of an archived result."""
    try:
        head = _bytes(request, job_id, result_id, max_bytes=previews.HEAD_BYTES)
    except Missing as error:
        return Preview(kind="none", note=error.message)
    return previews.preview(name=name, head=head, size=size)


def safe_name(name: str) -> str:
    """Return a file name that any system keeps: no path, no control characters, not hidden, no device's, not overlong."""
    kept = "".join(
        c for c in name.replace("\\", "/").rpartition("/")[2] if c.isprintable() and c not in '<>:"|?*'
    )
    # The end is kept, for the ending is in it. Bytes are what file systems count: at most 255.
    kept = kept.strip(". ").encode(errors="replace")[-150:].decode(errors="ignore").strip(". ")
    if kept.partition(".")[0].strip().lower() in _DEVICES:
        kept = f"_{kept}"
    return kept or "result"


def _bytes(
    request: PortalRequest, job_id: uuid.UUID, result_id: int, *, max_bytes: int, from_end: bool = False
) -> bytes:
    return archive.peek(
        actor=request.actor,
        job_id=job_id,
        result_id=result_id,
        max_bytes=max_bytes,
        from_end=from_end,
        now=timezone.now(),
    )
