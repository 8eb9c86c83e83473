"""What a wallet holds: the part of its page that looks again, and the button that has it read."""

from __future__ import annotations

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.views.decorators.http import require_POST, require_safe

from jobs.selectors import balances as selector
from jobs.services import balances
from jobs.web import PortalRequest


@require_safe
def detail(request: PortalRequest, team: str, wallet_id: int) -> HttpResponse:
    """Show what is known; no chain is asked here."""
    found = selector.of_wallet(actor=request.actor, wallet_id=wallet_id, now=timezone.now())
    return render(request, "wallets/partials/balances.html", {"balances": found})


@require_POST
def look(request: PortalRequest, team: str, wallet_id: int) -> HttpResponse:
    """Have the worker read a wallet's balances."""
    if balances.look_soon(actor=request.actor, wallet_id=wallet_id, now=timezone.now()):
        messages.success(
            request, "The worker reads them at its next beat, unless it did within the last minute."
        )
    else:
        messages.warning(request, "No network has an RPC endpoint to read them from.")
    return redirect("wallets-detail", team=request.team.slug, wallet_id=wallet_id)
