"""The team's rules: everybody in it may read them, owners and admins change them."""

from __future__ import annotations

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect
from django.utils import timezone
from django.views.decorators.http import require_POST, require_safe

from jobs.access import Action, require
from jobs.errors import InvalidInput
from jobs.forms.settings import SettingsForm, values_of
from jobs.selectors import settings as selector
from jobs.selectors.settings import SettingsPage
from jobs.services import settings as service
from jobs.services.settings import Overtaken, RemovesResults
from jobs.web import PortalRequest, page


@require_safe
def settings(request: PortalRequest, team: str) -> HttpResponse:
    """Show the team's rules, with a form for who may change them."""
    found = selector.settings(actor=request.actor)
    return _show(request, found, SettingsForm(page=found) if found.may_change else None)


@require_POST
def change(request: PortalRequest, team: str) -> HttpResponse:
    """Change the team's rules."""
    require(request.actor, Action.SET_UP_TEAM)  # asked first: whoever may not has no lists to choose from
    found = selector.settings(actor=request.actor)
    form = SettingsForm(request.POST, page=found)
    return _change(request, found, form) if form.is_valid() else _show(request, found, form, status=400)


def _change(request: PortalRequest, found: SettingsPage, form: SettingsForm) -> HttpResponse:
    entered = form.cleaned_data
    try:
        changed = service.change(
            actor=request.actor,
            shown=entered["shown"],
            wanted=form.rules(),
            confirmed_days=entered["confirmed_days"],
            now=timezone.now(),
        )
    except RemovesResults as question:
        return _show(request, found, form, question)
    except Overtaken as error:
        # What they did not touch is shown as it is now: else saving again would undo it.
        form = SettingsForm(values_of(error.wished, shown=error.now_is), page=found)
        form.refuse(error)
        form.refuse_fields(error.fields)
        return _show(request, found, form, status=400)
    except InvalidInput as error:
        form.refuse(error)
        return _show(request, found, form, status=400)
    messages.success(request, "Saved." if changed else "There was nothing to change.")
    return redirect("settings", team=request.team.slug)


def _show(
    request: PortalRequest,
    found: SettingsPage,
    form: SettingsForm | None,
    question: RemovesResults | None = None,
    *,
    status: int = 200,
) -> HttpResponse:
    context = {"settings": found, "form": form, "question": question}
    return page(request, "settings/settings.html", context, status=status)
