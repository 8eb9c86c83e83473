"""What people want of a transaction that waits: the worker does it."""

from __future__ import annotations

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect
from django.utils import timezone
from django.views.decorators.http import require_POST

from jobs.selectors import transactions as selector
from jobs.services import acting
from jobs.web import PortalRequest


@require_POST
def speed_up(request: PortalRequest, team: str, transaction_id: int) -> HttpResponse:
    """Have it sent anew at a higher fee."""
    acting.speed_up(actor=request.actor, transaction_id=transaction_id, now=timezone.now())
    messages.success(request, "The worker sends it anew, with the same number and a higher fee.")
    return _home(request, transaction_id)


@require_POST
def cancel(request: PortalRequest, team: str, transaction_id: int) -> HttpResponse:
    """Have an empty one sent in its place, or take it back where nothing is signed yet."""
    acting.cancel(actor=request.actor, transaction_id=transaction_id, now=timezone.now())
    messages.success(
        request, "It is cancelled, unless a block takes it first; what was not sent yet is taken back."
    )
    return _home(request, transaction_id)


@require_POST
def fill(request: PortalRequest, team: str, transaction_id: int) -> HttpResponse:
    """Have an empty one take the place of a lost one that this one waits behind."""
    acting.fill(actor=request.actor, transaction_id=transaction_id, now=timezone.now())
    messages.success(
        request,
        "The worker sends an empty transaction in the place of the lost one; the escrow's page shows it.",
    )
    return _home(request, transaction_id)


def _home(request: PortalRequest, transaction_id: int) -> HttpResponse:
    job_id = selector.home_of(team_id=request.team.id, transaction_id=transaction_id)
    if job_id is None:
        return redirect("escrow", team=request.team.slug)
    return redirect("jobs-detail", team=request.team.slug, job_id=job_id)
