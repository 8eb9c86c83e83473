"""The launch page: choose what runs on what, where, and with which wallet; look at its price, and agree to it."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect
from django.utils import timezone
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from jobs.errors import InvalidInput, Missing
from jobs.forms import prefill
from jobs.forms.launch import LaunchForm
from jobs.selectors import launch as choices
from jobs.selectors.launch import LaunchOptions
from jobs.services import agreements, launching, quoting
from jobs.services.agreements import NotAgreed
from jobs.services.budget import Purpose
from jobs.services.choosing import LaunchRequest, OwnAlgorithm
from jobs.services.quoting import Elsewhere, Quote
from jobs.web import PortalRequest, page


@dataclass(frozen=True)
class Price:
    """What the page shows of a price. trouble: why there is none. agreed: what a launch at this price sends back.

    notes: what has to be entered before there can be one. until: how long it may be agreed to.
    """

    quote: Quote | None = None
    trouble: str = ""
    notes: tuple[str, ...] = ()
    places: tuple[Elsewhere, ...] = ()
    agreed: str = ""
    until: datetime | None = None


@require_http_methods(["GET", "HEAD", "POST"])
def launch(request: PortalRequest, team: str) -> HttpResponse:
    """Show the form, show it again with a price or without judging it (for browsers without scripts), or launch."""
    options = choices.options(actor=request.actor)
    if request.method != "POST":
        return _show(request, LaunchForm(options=options, initial=_first_values(request, options)))
    entered = _entered(request)
    if "show" in request.POST or "place" in request.POST:
        form = LaunchForm(options=options, initial=prefill.entered_again(entered))
        wants_price = request.POST.get("show", "price") == "price"
        return _show(
            request, form, _price(request, LaunchForm(entered, options=options)) if wants_price else None
        )
    form = LaunchForm(entered, options=options)
    outcome = _launch(request, form) if form.is_valid() else None
    if isinstance(outcome, uuid.UUID):
        return redirect("jobs-detail", team=request.team.slug, job_id=outcome)
    return _show(request, form, outcome, status=400 if form.errors else 200)


@require_POST
def quote(request: PortalRequest, team: str) -> HttpResponse:
    """Answer with what the launch would cost now (a fragment). This, and a launch without a price, ask far sides."""
    options = choices.options(actor=request.actor)
    form = LaunchForm(request.POST, options=options)
    context = {"form": form, "price": _price(request, form), "oob": bool(request.htmx)}
    return page(request, "launch/launch.html", context, fragment="launch/partials/price.html")


@require_safe
def parameters(request: PortalRequest, team: str) -> HttpResponse:
    """Answer with what the chosen algorithm and datasets ask for, and what publishers object to (a fragment)."""
    options = choices.options(actor=request.actor)
    form = LaunchForm(options=options, initial=prefill.entered_again(request.GET))
    return page(request, "launch/launch.html", {"form": form}, fragment="launch/partials/asked.html")


def _launch(request: PortalRequest, form: LaunchForm) -> uuid.UUID | Price | None:
    """Launch at the price that was agreed to. Where none was, show it; what costs nothing needs no agreement."""
    wanted, now = form.launch_request(), timezone.now()
    key: uuid.UUID = form.cleaned_data["launch_key"]
    try:
        most = agreements.agreed(
            actor=request.actor, request=wanted, text=form.cleaned_data["agreed"], launch_key=key, now=now
        )
    except NotAgreed as error:
        price = _price_of(request, wanted, purpose=Purpose.ACT)
        if not _costs_nothing(price, wanted):
            if error.code != "not_agreed":
                form.add_error(None, error.message)
            return price
        most = {}
    except InvalidInput as error:
        form.refuse(error)
        return None
    try:
        return launching.launch(
            actor=request.actor, request=replace(wanted, most=most), launch_key=key, now=now
        )
    except InvalidInput as error:
        form.refuse(error)
        return None


def _costs_nothing(price: Price, wanted: LaunchRequest) -> bool:
    """Say whether a launch needs no agreement: its price is gas alone, or is not known and nothing may be spent."""
    if price.quote is None:
        return not wanted.paid and wanted.environment != choices.PAID
    return not price.quote.most and not price.quote.troubles and not price.quote.barred


def _price(request: PortalRequest, form: LaunchForm) -> Price:
    """Ask for the price of what is entered, as far as it is entered."""
    if form.is_valid():
        return _price_of(request, form.launch_request(), purpose=Purpose.WATCH)
    return Price(notes=tuple(form.sentences()))


def _price_of(request: PortalRequest, wanted: LaunchRequest, *, purpose: Purpose) -> Price:
    actor, now = request.actor, timezone.now()
    places: tuple[Elsewhere, ...] = ()
    try:
        places = quoting.elsewhere(actor=actor, request=wanted)
        found = quoting.quote(actor=actor, request=wanted, clock=timezone.now, purpose=purpose)
    except InvalidInput as error:
        return Price(trouble=error.message, places=places)
    agreed = (
        ""
        if found.troubles or found.barred
        else agreements.seal(actor=actor, plan=found.plan, most=found.most, now=now)
    )
    return Price(quote=found, places=places, agreed=agreed, until=now + agreements.VALID_FOR)


def _entered(request: PortalRequest) -> Any:
    """Return what was entered, with the place that one of the buttons beside the prices chose."""
    if "place" not in request.POST:
        return request.POST
    entered = request.POST.copy()
    environment, _, token = request.POST["place"].partition(" ")
    entered["environment"], entered["token"] = environment, token
    return entered


def _show(
    request: PortalRequest, form: LaunchForm, price: Price | None = None, *, status: int = 200
) -> HttpResponse:
    return page(request, "launch/launch.html", {"form": form, "price": price}, status=status)


def _first_values(request: PortalRequest, options: LaunchOptions) -> dict[str, Any]:
    key, query = uuid.uuid4(), request.GET
    former = query.get("instead_of") or query.get("rerun")
    if former is None:
        return prefill.first_values(
            options,
            launch_key=key,
            dataset=query.get("dataset", ""),
            algorithm=query.get("algorithm", ""),
        )
    try:
        job_id = uuid.UUID(former)
    except ValueError:
        raise Missing("There is no such job in this team.") from None
    again = launching.rerun_request(actor=request.actor, job_id=job_id)
    if isinstance(again.algorithm, OwnAlgorithm) and not options.may_launch_code:
        messages.warning(request, "That job ran somebody's own code, which your role may not launch.")
    return prefill.values_of_rerun(options, launch_key=key, again=again, instead="instead_of" in query)
