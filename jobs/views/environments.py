"""The environments: what the portal's nodes offer."""

from __future__ import annotations

from django.http import HttpResponse
from django.views.decorators.http import require_safe

from jobs.selectors import environments
from jobs.web import PortalRequest, page


@require_safe
def index(request: PortalRequest, team: str) -> HttpResponse:
    """Show the nodes and their environments as last seen."""
    free_only = request.GET.get("free") == "1"
    found = environments.nodes(free_only=free_only)
    return page(request, "environments/index.html", {"found": found, "free_only": free_only})
