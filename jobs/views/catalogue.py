"""The catalogue: the team's datasets and algorithms."""

from __future__ import annotations

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect
from django.utils import timezone
from django.views.decorators.http import require_POST, require_safe

from jobs.access import Action, require
from jobs.errors import InvalidInput
from jobs.forms.catalogue import AddAssetForm, FindAssetsForm
from jobs.selectors import catalogue as selector
from jobs.services import catalogue as service
from jobs.web import PortalRequest, page, searched_for


@require_safe
def index(request: PortalRequest, team: str) -> HttpResponse:
    """List what the team knows."""
    return _list(request, AddAssetForm())


@require_POST
def add(request: PortalRequest, team: str) -> HttpResponse:
    """Put an asset into the catalogue by its DID."""
    require(
        request.actor, Action.EDIT_CATALOGUE
    )  # asked first: what is wrong with the form is of no use to others
    form = AddAssetForm(request.POST)
    if not form.is_valid():
        return _list(request, form, status=400)
    try:
        asset_id = service.add(actor=request.actor, did=form.cleaned_data["did"], clock=timezone.now)
    except (InvalidInput, service.NodesUnreachable) as error:
        form.refuse(error, otherwise="did")
        return _list(request, form, status=400 if isinstance(error, InvalidInput) else 503)
    messages.success(request, "Now in the team's catalogue.")
    return redirect("catalogue-detail", team=request.team.slug, asset_id=asset_id)


@require_safe
def find(request: PortalRequest, team: str) -> HttpResponse:
    """Look for assets on the network, while the person waits: the only page that asks far sides, and only when asked."""
    require(request.actor, Action.EDIT_CATALOGUE)
    form = FindAssetsForm(request.GET if "text" in request.GET else None)
    found = None
    if form.is_valid():
        entered = form.cleaned_data
        found = service.search(
            actor=request.actor, text=entered["text"], kind=entered["kind"], clock=timezone.now
        )
    return page(request, "catalogue/find.html", {"form": form, "found": found})


@require_safe
def detail(request: PortalRequest, team: str, asset_id: int) -> HttpResponse:
    """Show what a publisher wrote about an asset."""
    asset = selector.asset(actor=request.actor, asset_id=asset_id)
    return page(request, "catalogue/detail.html", {"asset": asset})


@require_POST
def refresh(request: PortalRequest, team: str, asset_id: int) -> HttpResponse:
    """Read an asset's description again."""
    service.refresh(actor=request.actor, asset_id=asset_id, clock=timezone.now)
    messages.success(request, "Read again from the node.")
    return redirect("catalogue-detail", team=request.team.slug, asset_id=asset_id)


def _list(request: PortalRequest, form: AddAssetForm, *, status: int = 200) -> HttpResponse:
    kind, q = request.GET.get("kind", ""), searched_for(request, most=200)
    assets = selector.assets(team_id=request.team.id, kind=kind, q=q, page=request.GET.get("page", "1"))
    context = {"assets": assets, "kind": kind, "q": q, "form": form}
    return page(
        request, "catalogue/index.html", context, fragment="catalogue/partials/list.html", status=status
    )
