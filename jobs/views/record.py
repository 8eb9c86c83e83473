"""The team's audit record: looked through, and taken along as a file."""

from __future__ import annotations

from django.http import Http404, HttpResponse, HttpResponseBase, StreamingHttpResponse
from django.utils import timezone
from django.views.decorators.http import require_GET, require_safe

from jobs.access import Action, require
from jobs.forms.record import RecordForm
from jobs.selectors import record as selector
from jobs.services import extracts
from jobs.web import PortalRequest, page


@require_safe
def index(request: PortalRequest, team: str) -> HttpResponse:
    """Show what was done, newest first."""
    require(request.actor, Action.READ_MONEY_RECORD)
    form = RecordForm(request.GET)
    right = form.is_valid()
    found = selector.page(actor=request.actor, wanted=form.wanted(), before=form.cleaned_data.get("before"))
    looked_for = request.GET.copy()
    looked_for.pop("before", None)
    context = {"record": found, "form": form, "looked_for": looked_for.urlencode()}
    return page(
        request,
        "record/index.html",
        context,
        fragment="record/partials/entries.html",
        status=200 if right else 400,
    )


@require_GET
def export(request: PortalRequest, team: str, kind: str) -> HttpResponseBase:
    """Send what is looked for as a file, as it is read."""
    if kind not in extracts.FORMATS:
        raise Http404
    require(request.actor, Action.READ_MONEY_RECORD)
    form = RecordForm(request.GET)
    if not form.is_valid():
        raise Http404
    made = extracts.export(actor=request.actor, wanted=form.wanted(), kind=kind, now=timezone.now())
    response = StreamingHttpResponse(made.pieces, content_type=made.content_type)
    response.headers["Content-Disposition"] = f'attachment; filename="{request.team.slug}-{made.name}"'
    return response
