"""The wallets: the addresses that the team acts with."""

from __future__ import annotations

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect
from django.utils import timezone
from django.views.decorators.debug import sensitive_post_parameters, sensitive_variables
from django.views.decorators.http import require_POST, require_safe

from jobs.access import Action, require
from jobs.errors import InvalidInput
from jobs.forms.money import LimitForm
from jobs.forms.wallets import GenerateWalletForm, ImportWalletForm
from jobs.selectors import wallets as selector
from jobs.services import limits
from jobs.services import wallets as service
from jobs.web import PortalRequest, page


@require_safe
def index(request: PortalRequest, team: str) -> HttpResponse:
    """List the team's wallets."""
    return _list(request)


@require_POST
def generate(request: PortalRequest, team: str) -> HttpResponse:
    """Make a new key."""
    form = GenerateWalletForm(request.POST)
    if not form.is_valid():
        return _list(request, generate_form=form)
    try:
        service.generate(actor=request.actor, label=form.cleaned_data["label"], now=timezone.now())
    except InvalidInput as error:
        form.refuse(error)
        return _list(request, generate_form=form)
    messages.success(request, "The wallet is ready.")
    return redirect("wallets", team=request.team.slug)


@sensitive_variables()
@sensitive_post_parameters()
@require_POST
def import_key(request: PortalRequest, team: str) -> HttpResponse:
    """Keep a key that exists."""
    form = ImportWalletForm(request.POST)
    if not form.is_valid():
        return _list(request, import_form=form)
    entered = form.cleaned_data
    try:
        service.import_key(
            actor=request.actor,
            label=entered["label"],
            secret_text=entered["secret"],
            password=entered["password"],
            now=timezone.now(),
        )
    except InvalidInput as error:
        form.refuse(error)
        return _list(request, import_form=form)
    messages.success(request, "The wallet is ready.")
    return redirect("wallets", team=request.team.slug)


@require_POST
def disable(request: PortalRequest, team: str, wallet_id: int) -> HttpResponse:
    """Stop launching with a wallet."""
    service.disable(actor=request.actor, wallet_id=wallet_id, now=timezone.now())
    messages.success(request, "The wallet is disabled.")
    return redirect("wallets", team=request.team.slug)


@require_POST
def limit(request: PortalRequest, team: str) -> HttpResponse:
    """Set what one job may spend of a token from a wallet."""
    form = LimitForm(request.POST, wallets=selector.wallets(actor=request.actor))
    # Asked first: whoever may not set limits has no tokens to choose from, and no use for what is wrong with the form.
    require(request.actor, Action.SET_LIMITS)
    if not form.is_valid():
        return _list(request, limit_form=form)
    entered = form.cleaned_data
    try:
        limits.set_limit(
            actor=request.actor,
            wallet_id=entered["wallet"],
            token_id=entered["token"],
            amount=entered["amount"],
            now=timezone.now(),
        )
    except InvalidInput as error:
        form.refuse(error)
        return _list(request, limit_form=form)
    messages.success(request, "The limit is set. Jobs that have not paid yet are held to it too.")
    return redirect("wallets", team=request.team.slug)


def _list(
    request: PortalRequest,
    *,
    generate_form: GenerateWalletForm | None = None,
    import_form: ImportWalletForm | None = None,
    limit_form: LimitForm | None = None,
) -> HttpResponse:
    refused = generate_form or import_form or limit_form
    listed = selector.wallets(actor=request.actor)
    context = {
        "wallets": listed,
        "limit_form": limit_form or LimitForm(wallets=listed),
        "generate_form": generate_form or GenerateWalletForm(),
        "import_form": import_form or ImportWalletForm(),
    }
    return page(request, "wallets/index.html", context, status=400 if refused else 200)
