"""The team's jobs: the list, one job, and what people do with it."""

from __future__ import annotations

import uuid
from typing import Any

from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.views.decorators.http import require_POST, require_safe
from django_htmx.http import HTMX_STOP_POLLING, HttpResponseStopPolling

from jobs.selectors import job as one
from jobs.selectors import jobs as many
from jobs.selectors import logs
from jobs.services import launching, refreshing
from jobs.views.results import look
from jobs.web import PortalRequest, page, searched_for


@require_safe
def index(request: PortalRequest, team: str) -> HttpResponse:
    """List jobs."""
    found = many.listing(
        team_id=request.team.id,
        user_id=request.actor.user_id,
        view=request.GET.get("view", "all"),
        q=searched_for(request, most=100),
        number=_number(request.GET.get("page", "1")),
        now=timezone.now(),
    )
    context = {"jobs": found, "views": many.VIEWS}
    return page(request, "jobs/index.html", context, fragment="jobs/partials/table.html")


@require_safe
def detail(request: PortalRequest, team: str, job_id: uuid.UUID) -> HttpResponse:
    """Show one job."""
    found = one.detail(actor=request.actor, job_id=job_id, now=timezone.now())
    refreshing.watch(job_id=job_id, now=timezone.now())
    return page(request, "jobs/detail.html", _context(request, found))


@require_safe
def status(request: PortalRequest, team: str, job_id: uuid.UUID) -> HttpResponse:
    """Answer with what changed since the version that the page shows: nothing (204), or parts of the page."""
    mark = one.mark(team_id=request.team.id, job_id=job_id)
    shown = request.GET.get("v", "")
    if not mark.terminal:
        refreshing.watch(job_id=job_id, now=timezone.now())
    if shown == mark.mark:
        return HttpResponseStopPolling() if mark.terminal else HttpResponse(status=204)
    found = one.detail(actor=request.actor, job_id=job_id, now=timezone.now())
    context = _context(request, found) | {
        "oob": True,
        "changed": shown.partition(".")[0] != mark.version,
        "log_changed": request.GET.get("log", "") != found.log_mode,
    }
    code = HTMX_STOP_POLLING if found.mark.terminal else 200
    return render(request, "jobs/partials/status.html", context, status=code)


@require_safe
def log(request: PortalRequest, team: str, job_id: uuid.UUID) -> HttpResponse:
    """Answer with the lines of the live log that came after an offset: none (204), some, or the end (286)."""
    after = _number(request.GET.get("after", "0"))
    part = logs.more(actor=request.actor, job_id=job_id, after=after, now=timezone.now())
    if part.ended:
        return HttpResponseStopPolling()
    if part.offset == after:
        return HttpResponse(status=204)
    return render(request, "jobs/partials/log_more.html", {"log": part, "job_id": job_id})


@require_safe
def results(request: PortalRequest, team: str, job_id: uuid.UUID) -> HttpResponse:
    """Answer with the results of a job (a fragment)."""
    found = one.detail(actor=request.actor, job_id=job_id, now=timezone.now())
    return render(request, "jobs/partials/results.html", _context(request, found))


@require_POST
def stop(request: PortalRequest, team: str, job_id: uuid.UUID) -> HttpResponse:
    """Ask for a job to be stopped."""
    launching.cancel(actor=request.actor, job_id=job_id, now=timezone.now())
    return redirect("jobs-detail", team=request.team.slug, job_id=job_id)


@require_POST
def rerun(request: PortalRequest, team: str, job_id: uuid.UUID) -> HttpResponse:
    """Launch the same job again; the form's key makes a double click one job."""
    try:
        key = uuid.UUID(request.POST.get("launch_key", ""))
    except ValueError:
        key = uuid.uuid4()
    again = launching.rerun(actor=request.actor, job_id=job_id, launch_key=key, now=timezone.now())
    return redirect("jobs-detail", team=request.team.slug, job_id=again)


@require_POST
def go_on(request: PortalRequest, team: str, job_id: uuid.UUID) -> HttpResponse:
    """Let a job that waited for a person go on."""
    launching.go_on(actor=request.actor, job_id=job_id, now=timezone.now())
    return redirect("jobs-detail", team=request.team.slug, job_id=job_id)


@require_POST
def give_up(request: PortalRequest, team: str, job_id: uuid.UUID) -> HttpResponse:
    """End a job that waited for a person."""
    launching.give_up(actor=request.actor, job_id=job_id, now=timezone.now())
    return redirect("jobs-detail", team=request.team.slug, job_id=job_id)


def _context(request: PortalRequest, found: one.JobPage) -> dict[str, Any]:
    """Add what a job's page shows of the files themselves, and a fresh key for running it again."""
    return {
        "job": found,
        "launch_key": uuid.uuid4(),
        "showcase": [
            (
                result,
                look(request, job_id=found.id, result_id=result.id, name=result.name, size=result.size or 0),
            )
            for result in found.showcase
        ],
    }


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 16 else 0
