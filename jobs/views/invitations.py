"""The page behind an invitation's link."""

from __future__ import annotations

from django.conf import settings
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods

from jobs.access import Person
from jobs.errors import Missing, PortalError
from jobs.services import invitations
from jobs.web import client_address


@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def invitation(request: HttpRequest, token: str) -> HttpResponse:
    """Show what somebody is invited to, and take their yes."""
    trouble = ""
    if request.method == "POST":
        try:
            slug = invitations.accept(token=token, person=_person(request), now=timezone.now())
        except Missing:
            raise
        except PortalError as error:
            trouble = error.message
        else:
            request.session.pop("invitation", None)
            messages.success(request, "Welcome to the team.")
            return redirect("dashboard", team=slug)
    user_id = _person(request).user_id
    look = invitations.look(token=token, user_id=user_id, now=timezone.now())
    if not look.closed:
        request.session["invitation"] = token  # whoever signs up next is let in by it
    context = {
        "look": look,
        "trouble": trouble if not look.closed else "",
        "may_sign_up": settings.SIGN_UP != "closed",
    }
    status = 410 if look.closed else 400 if trouble else 200
    return render(request, "invitations/invitation.html", context, status=status)


def _person(request: HttpRequest) -> Person:
    known = request.user.is_authenticated
    return Person(
        user_id=request.user.pk if known else None, name=str(request.user), origin=client_address(request)
    )
