"""The members of a team: who is in it and as what, and how people come and go."""

from __future__ import annotations

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect
from django.utils import timezone
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from jobs.access import Action, require
from jobs.errors import InvalidInput
from jobs.forms.members import FarewellForm, InviteForm
from jobs.selectors import members as selector
from jobs.services import invitations, members
from jobs.services.members import Parting
from jobs.web import PortalRequest, page


@require_safe
def index(request: PortalRequest, team: str) -> HttpResponse:
    """List the members, and who is invited."""
    return _list(request)


@require_POST
def invite(request: PortalRequest, team: str) -> HttpResponse:
    """Invite a person by e-mail."""
    # Asked first: whoever may not invite has no roles to choose from, and no use for what is wrong with the form.
    require(request.actor, Action.MANAGE_MEMBERS)
    form = InviteForm(request.POST, gives=selector.gives(actor=request.actor))
    if not form.is_valid():
        return _list(request, invite_form=form)
    email, role = form.cleaned_data["email"], form.cleaned_data["role"]
    try:
        invitations.invite(actor=request.actor, email=email, role=role, now=timezone.now())
    except InvalidInput as error:
        form.refuse(error)
        return _list(request, invite_form=form)
    messages.success(request, f"{email} is invited. The worker sends the e-mail.")
    return redirect("members", team=request.team.slug)


@require_POST
def resend(request: PortalRequest, team: str, invitation_id: int) -> HttpResponse:
    """Send an invitation again."""
    invitations.resend(actor=request.actor, invitation_id=invitation_id, now=timezone.now())
    messages.success(request, "The worker sends the invitation again; it begins its time anew.")
    return redirect("members", team=request.team.slug)


@require_POST
def revoke(request: PortalRequest, team: str, invitation_id: int) -> HttpResponse:
    """Take an invitation back."""
    invitations.revoke(actor=request.actor, invitation_id=invitation_id, now=timezone.now())
    messages.success(request, "The invitation is revoked: its link opens nothing any more.")
    return redirect("members", team=request.team.slug)


@require_POST
def role(request: PortalRequest, team: str, member_id: int) -> HttpResponse:
    """Give a member another role."""
    members.change_role(
        actor=request.actor, member_id=member_id, role=request.POST.get("role", ""), now=timezone.now()
    )
    messages.success(request, "The role is changed. It counts from their next click on.")
    return redirect("members", team=request.team.slug)


@require_http_methods(["GET", "HEAD", "POST"])
def remove(request: PortalRequest, team: str, member_id: int) -> HttpResponse:
    """Ask what becomes of a member's jobs, and take them out of the team."""
    farewell = selector.farewell(actor=request.actor, member_id=member_id)
    form = FarewellForm(request.POST if request.method == "POST" else None, farewell=farewell)
    if request.method == "POST" and form.is_valid():
        try:
            gone = members.remove(
                actor=request.actor, member_id=member_id, hand_on_to=form.hand_on_to, now=timezone.now()
            )
        except InvalidInput as error:
            form.refuse(error)
        else:
            messages.success(request, f"{gone.name} is no member any more. {_tell(gone)}".strip())
            return redirect("members", team=request.team.slug)
    return _farewell(request, farewell=farewell, form=form)


@require_http_methods(["GET", "HEAD", "POST"])
def leave(request: PortalRequest, team: str) -> HttpResponse:
    """Ask what becomes of one's own jobs, and leave the team."""
    farewell = selector.farewell(actor=request.actor, member_id=None)
    form = FarewellForm(request.POST if request.method == "POST" else None, farewell=farewell)
    if request.method == "POST" and form.is_valid():
        try:
            gone = members.leave(actor=request.actor, hand_on_to=form.hand_on_to, now=timezone.now())
        except InvalidInput as error:
            form.refuse(error)
        else:
            messages.success(request, f"You have left {request.team.name}. {_tell(gone)}".strip())
            return redirect("home")
    return _farewell(request, farewell=farewell, form=form)


def _tell(gone: Parting) -> str:
    handed_on = f"Jobs handed on: {gone.handed_on}." if gone.handed_on else ""
    stopped = f"Jobs asked to stop: {gone.stopped}." if gone.stopped else ""
    return f"{handed_on} {stopped}".strip()


def _farewell(request: PortalRequest, *, farewell: selector.Farewell, form: FarewellForm) -> HttpResponse:
    context = {"farewell": farewell, "form": form}
    return page(request, "members/remove.html", context, status=400 if form.errors else 200)


def _list(request: PortalRequest, *, invite_form: InviteForm | None = None) -> HttpResponse:
    listed = selector.members(actor=request.actor, now=timezone.now())
    context = {"members": listed, "invite_form": invite_form or InviteForm(gives=listed.gives)}
    return page(request, "members/index.html", context, status=400 if invite_form else 200)
