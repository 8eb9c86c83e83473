"""The launch page: choose what runs on what, where, and with which wallet."""

from __future__ import annotations

import uuid
from typing import Any

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect
from django.utils import timezone
from django.views.decorators.http import require_http_methods, require_safe

from jobs.errors import InvalidInput, Missing
from jobs.forms import prefill
from jobs.forms.launch import LaunchForm
from jobs.selectors import launch as choices
from jobs.selectors.launch import LaunchOptions
from jobs.services import launching
from jobs.services.choosing import OwnAlgorithm
from jobs.web import PortalRequest, page


@require_http_methods(["GET", "HEAD", "POST"])
def launch(request: PortalRequest, team: str) -> HttpResponse:
    """Show the form, show it again without judging it (for browsers without scripts), or launch."""
    options = choices.options(actor=request.actor)
    if request.method != "POST":
        return _show(request, LaunchForm(options=options, initial=_first_values(request, options)))
    if "show" in request.POST:
        return _show(request, LaunchForm(options=options, initial=prefill.entered_again(request.POST)))
    form = LaunchForm(request.POST, options=options)
    job_id = _launch(request, form) if form.is_valid() else None
    if job_id is None:
        return _show(request, form, status=400)
    return redirect("jobs-detail", team=request.team.slug, job_id=job_id)


@require_safe
def parameters(request: PortalRequest, team: str) -> HttpResponse:
    """Answer with what the chosen algorithm and datasets ask for, and what publishers object to (a fragment)."""
    options = choices.options(actor=request.actor)
    form = LaunchForm(options=options, initial=prefill.entered_again(request.GET))
    return page(request, "launch/launch.html", {"form": form}, fragment="launch/partials/asked.html")


def _launch(request: PortalRequest, form: LaunchForm) -> uuid.UUID | None:
    try:
        return launching.launch(
            actor=request.actor,
            request=form.launch_request(),
            launch_key=form.cleaned_data["launch_key"],
            now=timezone.now(),
        )
    except InvalidInput as error:
        form.refuse(error)
        return None


def _show(request: PortalRequest, form: LaunchForm, *, status: int = 200) -> HttpResponse:
    return page(request, "launch/launch.html", {"form": form}, status=status)


def _first_values(request: PortalRequest, options: LaunchOptions) -> dict[str, Any]:
    key, query = uuid.uuid4(), request.GET
    if "rerun" not in query:
        return prefill.first_values(
            options,
            launch_key=key,
            dataset=query.get("dataset", ""),
            algorithm=query.get("algorithm", ""),
        )
    try:
        job_id = uuid.UUID(query["rerun"])
    except ValueError:
        raise Missing("There is no such job in this team.") from None
    again = launching.rerun_request(actor=request.actor, job_id=job_id)
    if isinstance(again.algorithm, OwnAlgorithm) and not options.may_launch_code:
        messages.warning(request, "That job ran somebody's own code, which your role may not launch.")
    return prefill.values_of_rerun(options, launch_key=key, again=again)
