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
    """Go to the person's team, or say that they are in none."""
    teams = portal.teams_of(user_id=request.user.pk or 0)
    return redirect("dashboard", team=teams[0].slug) if teams else render(request, "dashboard/home.html")


@require_safe
def dashboard(request: PortalRequest, team: str) -> HttpResponse:
    """Show what runs, what needs somebody, what came out, and how the nodes are."""
    found = selector.overview(actor=request.actor, now=timezone.now())
    return page(
        request, "dashboard/dashboard.html", {"board": found}, fragment="dashboard/partials/board.html"
    )
