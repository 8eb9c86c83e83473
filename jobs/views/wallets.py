"""The wallets: the addresses that the team acts with."""

from __future__ import annotations

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect
from django.utils import timezone
from django.views.decorators.debug import sensitive_post_parameters, sensitive_variables
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from jobs.access import Action, require
from jobs.errors import InvalidInput
from jobs.forms.base import PortalForm
from jobs.forms.money import LimitForm
from jobs.forms.wallets import (
    BringForm,
    GenerateWalletForm,
    GrantForm,
    HandOverForm,
    KeyForm,
    KeystoreForm,
    PhraseForm,
    WatchForm,
)
from jobs.selectors import balances, nodetokens
from jobs.selectors import wallet as one
from jobs.selectors import wallets as selector
from jobs.services import balances as reading
from jobs.services import grants, handovers, limits
from jobs.services import wallets as service
from jobs.web import PortalRequest, page

BRINGS: dict[str, type[BringForm]] = {form.how: form for form in (KeyForm, PhraseForm, KeystoreForm)}
FORMS: dict[str, type[PortalForm]] = {"new": GenerateWalletForm, **BRINGS, "watch": WatchForm}


@require_safe
def index(request: PortalRequest, team: str) -> HttpResponse:
    """List the team's wallets."""
    return _list(request)


@require_safe
def detail(request: PortalRequest, team: str, wallet_id: int) -> HttpResponse:
    """Show one wallet: what it holds, who may spend from it, and what can be done about it."""
    reading.watch(actor=request.actor, wallet_id=wallet_id, now=timezone.now())  # another team's it leaves alone
    return _detail(request, wallet_id)


@require_safe
def add(request: PortalRequest, team: str) -> HttpResponse:
    """Ask how a wallet is to be added: made anew, brought in one of three forms, or only watched."""
    require(request.actor, Action.MANAGE_WALLETS)
    how = request.GET.get("how", "")
    return _add(request, how if how in FORMS else "new")


@require_POST
def generate(request: PortalRequest, team: str) -> HttpResponse:
    """Make a new key."""
    require(request.actor, Action.MANAGE_WALLETS)
    form = GenerateWalletForm(request.POST)
    if form.is_valid():
        try:
            made = service.generate(actor=request.actor, label=form.cleaned_data["label"], now=timezone.now())
            messages.success(request, "The wallet is ready.")
            return redirect("wallets-detail", team=request.team.slug, wallet_id=made)
        except InvalidInput as error:
            form.refuse(error)
    return _add(request, "new", form)


@sensitive_variables()
@sensitive_post_parameters()
@require_POST
def import_key(request: PortalRequest, team: str) -> HttpResponse:
    """Keep a key that exists."""
    require(request.actor, Action.MANAGE_WALLETS)
    how = request.POST.get("how", "")
    form = BRINGS.get(how, KeyForm)(request.POST, request.FILES)
    if form.is_valid():
        entered = form.cleaned_data
        try:
            kept = service.import_key(
                actor=request.actor,
                label=entered["label"],
                secret_text=entered["secret"],
                form=form.how,
                password=entered.get("password", ""),
                path=entered.get("path", service.PATH),
                now=timezone.now(),
            )
            messages.success(
                request, "The wallet is ready. Compare its address with the one that you expect."
            )
            return redirect("wallets-detail", team=request.team.slug, wallet_id=kept)
        except InvalidInput as error:
            form.refuse(error)
    return _add(request, form.how, form)


@require_POST
def watch(request: PortalRequest, team: str) -> HttpResponse:
    """Look at an address without its key."""
    require(request.actor, Action.MANAGE_WALLETS)
    form = WatchForm(request.POST)
    if form.is_valid():
        entered, now = form.cleaned_data, timezone.now()
        try:
            watched = service.watch(
                actor=request.actor, label=entered["label"], address=entered["address"], now=now
            )
            messages.success(request, "The portal watches this address. It signs nothing.")
            return redirect("wallets-detail", team=request.team.slug, wallet_id=watched)
        except InvalidInput as error:
            form.refuse(error)
    return _add(request, "watch", form)


@require_POST
def disable(request: PortalRequest, team: str, wallet_id: int) -> HttpResponse:
    """Stop launching with a wallet."""
    service.disable(actor=request.actor, wallet_id=wallet_id, now=timezone.now())
    messages.success(request, "The wallet is disabled.")
    return redirect("wallets-detail", team=request.team.slug, wallet_id=wallet_id)


@require_POST
def enable(request: PortalRequest, team: str, wallet_id: int) -> HttpResponse:
    """Take a disabled wallet into use again."""
    service.enable(actor=request.actor, wallet_id=wallet_id, now=timezone.now())
    messages.success(request, "The wallet is in use again.")
    return redirect("wallets-detail", team=request.team.slug, wallet_id=wallet_id)


@require_POST
def grant(request: PortalRequest, team: str, wallet_id: int) -> HttpResponse:
    """Let a member spend from a wallet."""
    shown = one.wallet(actor=request.actor, wallet_id=wallet_id)
    require(request.actor, Action.GRANT_WALLETS)
    form = GrantForm(request.POST, wallet=shown)
    if form.is_valid():
        try:
            grants.grant(
                actor=request.actor,
                wallet_id=wallet_id,
                user_id=form.cleaned_data["user"],
                now=timezone.now(),
            )
            messages.success(request, "The wallet is granted.")
            return redirect("wallets-detail", team=request.team.slug, wallet_id=wallet_id)
        except InvalidInput as error:
            form.refuse(error)
    return _detail(request, wallet_id, form)


@require_POST
def take_back(request: PortalRequest, team: str, wallet_id: int, user_id: int) -> HttpResponse:
    """Let a person spend from a wallet no longer."""
    grants.take_back(actor=request.actor, wallet_id=wallet_id, user_id=user_id, now=timezone.now())
    messages.success(request, "The grant is taken back. What was launched with it goes on.")
    return redirect("wallets-detail", team=request.team.slug, wallet_id=wallet_id)


@require_http_methods(["GET", "HEAD", "POST"])
def hand_over(request: PortalRequest, team: str, wallet_id: int) -> HttpResponse:
    """Say what handing a wallet over means and what is in the way, and do it."""
    shown = one.wallet(actor=request.actor, wallet_id=wallet_id)
    require(request.actor, Action.HAND_WALLETS_OVER)
    form = HandOverForm(request.POST if request.method == "POST" else None, wallet=shown)
    if request.method == "POST" and form.is_valid():
        to, label = form.cleaned_data["to"], form.cleaned_data["label"]
        try:
            new = handovers.hand_over(
                actor=request.actor, wallet_id=wallet_id, to=to, label=label, now=timezone.now()
            )
            messages.success(request, "The wallet is this team's now.")
            return redirect("wallets-detail", team=to, wallet_id=new)
        except InvalidInput as error:
            form.refuse(error)
    context = {"wallet": shown, "form": form, "obstacles": handovers.obstacles(wallet_id=wallet_id)}
    return page(request, "wallets/hand_over.html", context, status=400 if form.errors else 200)


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


def _list(request: PortalRequest, *, limit_form: LimitForm | None = None) -> HttpResponse:
    listed = selector.wallets(actor=request.actor)
    context = {"wallets": listed, "limit_form": limit_form or LimitForm(wallets=listed)}
    return page(request, "wallets/index.html", context, status=400 if limit_form else 200)


def _add(request: PortalRequest, how: str, form: PortalForm | None = None) -> HttpResponse:
    context = {"how": how, "form": form or FORMS[how]()}
    return page(request, "wallets/add.html", context, status=400 if form else 200)


def _detail(request: PortalRequest, wallet_id: int, form: GrantForm | None = None) -> HttpResponse:
    actor, now = request.actor, timezone.now()
    shown = one.wallet(actor=actor, wallet_id=wallet_id)
    context = {
        "wallet": shown,
        "grant_form": form or GrantForm(wallet=shown),
        "balances": balances.of_wallet(actor=actor, wallet_id=wallet_id, now=now),
        "tokens": nodetokens.of_wallet(actor=actor, wallet_id=wallet_id, now=now),
    }
    return page(request, "wallets/detail.html", context, status=400 if form else 200)
