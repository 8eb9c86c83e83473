"""The environments: what the portal's nodes offer."""

from __future__ import annotations

from django.http import HttpResponse
from django.views.decorators.http import require_safe

from jobs.selectors import environments
from jobs.web import PortalRequest, page


@require_safe
def index(request: PortalRequest, team: str) -> HttpResponse:
    """Show the nodes and their environments as last seen."""
    return page(request, "environments/index.html", {"nodes": environments.nodes()})
