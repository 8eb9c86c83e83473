"""A wallet's tokens at nodes: asked for, and given back."""

from __future__ import annotations

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect
from django.utils import timezone
from django.views.decorators.http import require_POST

from jobs.access import Action, require
from jobs.errors import InvalidInput
from jobs.forms.nodetokens import WantTokenForm
from jobs.selectors import nodetokens as selector
from jobs.services import nodetokens
from jobs.web import PortalRequest


@require_POST
def want(request: PortalRequest, team: str, wallet_id: int) -> HttpResponse:
    """Have the worker get a token of a wallet at a node."""
    now = timezone.now()
    tokens = selector.of_wallet(actor=request.actor, wallet_id=wallet_id, now=now)
    # Before the form: whoever may not has no nodes to choose from.
    require(request.actor, Action.MANAGE_WALLETS)
    form = WantTokenForm(request.POST, tokens=tokens)
    if form.is_valid():
        try:
            nodetokens.want(
                actor=request.actor, wallet_id=wallet_id, node_id=form.cleaned_data["node"], now=now
            )
            messages.success(request, "The worker asks the node for a token at its next beat.")
        except InvalidInput as error:
            messages.error(request, error.message)
    else:
        messages.error(request, " ".join(map(str, form.errors["node"])))
    return redirect("wallets-detail", team=request.team.slug, wallet_id=wallet_id)


@require_POST
def give_back(request: PortalRequest, team: str, wallet_id: int, token_id: int) -> HttpResponse:
    """Use a token no longer, and have it given back."""
    nodetokens.give_back(actor=request.actor, wallet_id=wallet_id, token_id=token_id, now=timezone.now())
    messages.success(request, "The token is not used any more; the worker gives it back to the node.")
    return redirect("wallets-detail", team=request.team.slug, wallet_id=wallet_id)
