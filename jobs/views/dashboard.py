"""The way in, and the team's dashboard."""

from __future__ import annotations

from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.views.decorators.http import require_safe

from jobs.selectors import dashboard as selector
from jobs.selectors import portal
from jobs.web import PortalRequest, page


@login_required
@require_safe
def home(request: HttpRequest) -> HttpResponse:
    """Go to the person's team; let them choose where they are in several, and say what to do where they are in none."""
    teams = portal.teams_of(user_id=request.user.pk or 0)
    if len(teams) == 1:
        return redirect("dashboard", team=teams[0].slug)
    return render(request, "dashboard/home.html", {"teams": teams})


@require_safe
def dashboard(request: PortalRequest, team: str) -> HttpResponse:
    """Show what runs, what needs somebody, what came out, and how the nodes are."""
    found = selector.overview(actor=request.actor, now=timezone.now())
    return page(
        request, "dashboard/dashboard.html", {"board": found}, fragment="dashboard/partials/board.html"
    )
