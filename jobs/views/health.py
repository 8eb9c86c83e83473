"""Says to a load balancer that the web server answers."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe


@never_cache
@require_safe
def health(request: HttpRequest) -> HttpResponse:
    """Answer ok, without asking the database."""
    return HttpResponse("ok\n", content_type="text/plain")
