"""Links for people outside: the team's page of them, and what they lead to."""

from __future__ import annotations

import functools
import uuid
from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from jobs.errors import InvalidInput, Missing
from jobs.forms.sharing import ShareForm
from jobs.selectors import sharing as selector
from jobs.services import sharing as service
from jobs.views.results import attachment
from jobs.web import PortalRequest, client_address, page

# A browser that has opened a link may reload and download for so long without a further opening being counted.
MARK_S = 3600
_MARK = "shared"


@require_http_methods(["GET", "HEAD", "POST"])
def index(request: PortalRequest, team: str, job_id: uuid.UUID) -> HttpResponse:
    """List a job's links, and make one.

    The new link is in the answer to the form itself, and in no other: to show it after a redirect, it would have to be
    kept somewhere in between. Sent again by a reload, the form makes a second link, which the list shows.
    """
    board, link = _board(request, job_id), ""
    form = ShareForm(request.POST if request.method == "POST" else None, board=board)
    if request.method == "POST" and form.is_valid():
        try:
            token = service.make(
                actor=request.actor,
                job_id=job_id,
                result_id=form.result_id,
                label=form.cleaned_data["label"],
                days=form.cleaned_data["days"],
                opens_max=form.cleaned_data["opens_max"],
                now=timezone.now(),
            )
            link = request.build_absolute_uri(reverse("shared", args=[token]))
            board = _board(request, job_id)
        except InvalidInput as error:
            form.refuse(error)
    refused = form.is_bound and not link
    context = {"board": board, "form": form if refused else ShareForm(board=board), "link": link}
    answer = page(request, "sharing/index.html", context, status=400 if refused else 200)
    if link:
        answer.headers["Cache-Control"] = "no-store"
    return answer


@require_POST
def revoke(request: PortalRequest, team: str, job_id: uuid.UUID, link_id: int) -> HttpResponse:
    """End a link."""
    service.revoke(actor=request.actor, job_id=job_id, link_id=link_id, now=timezone.now())
    messages.success(request, "The link is revoked, also for those who have opened it.")
    return redirect("share", team=request.team.slug, job_id=job_id)


def _for_strangers(view: Callable[..., HttpResponseBase]) -> Callable[..., HttpResponseBase]:
    """Answer every link that leads nowhere in the same way, and keep all of it out of caches and indexes."""

    @functools.wraps(view)
    def answer(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        try:
            response = view(request, *args, **kwargs)
        except Missing:
            response = render(request, "sharing/gone.html", {"message": service.LEADS_NOWHERE}, status=404)
        response.headers["Cache-Control"] = "no-store"
        response.headers["X-Robots-Tag"] = "noindex, nofollow"
        response.headers.setdefault("Referrer-Policy", "no-referrer")
        return response

    return answer


@_for_strangers
@require_http_methods(["GET", "HEAD", "POST"])
def shared(request: HttpRequest, token: str) -> HttpResponse:
    """Show a door, open it when asked, and show what is behind it to whoever has opened it.

    A look alone opens nothing: programs that read mail, and previews, would use the openings up.
    """
    if request.method == "POST":
        return _open(request, token)
    if _has_opened(request, token):
        found = selector.shared(token=token, now=timezone.now())
        if found is None:
            raise Missing(service.LEADS_NOWHERE)
        return render(request, "sharing/shared.html", {"shared": found, "token": token})
    door = selector.door(token=token, now=timezone.now())
    if door is None:
        raise Missing(service.LEADS_NOWHERE)
    response = render(request, "sharing/door.html", {"door": door, "token": token})
    # With "no-referrer" a browser would send the form with the origin "null", which is refused as forged.
    response.headers["Referrer-Policy"] = "same-origin"
    return response


@_for_strangers
@require_GET
def download(request: HttpRequest, token: str, result_id: int) -> HttpResponseBase:
    """Send a result to whoever has opened the link, others to its door."""
    if not _has_opened(request, token):
        return redirect("shared", token=token)
    return attachment(
        service.download(token=token, result_id=result_id, now=timezone.now(), origin=client_address(request))
    )


def _open(request: HttpRequest, token: str) -> HttpResponse:
    """Count an opening, unless this browser has one, and let it remember."""
    answer = redirect("shared", token=token)
    if not _has_opened(request, token):
        service.open_link(token=token, now=timezone.now(), origin=client_address(request))
        answer.set_signed_cookie(
            _MARK,
            "opened",
            salt=_salt(token),
            max_age=MARK_S,
            path=reverse("shared", args=[token]),
            secure=settings.SESSION_COOKIE_SECURE,
            httponly=True,
            samesite="Lax",
        )
    return answer


def _has_opened(request: HttpRequest, token: str) -> bool:
    return bool(request.get_signed_cookie(_MARK, default="", salt=_salt(token), max_age=MARK_S))


def _salt(token: str) -> str:
    return f"{_MARK} {token}"  # the mark of one link is worth nothing for another


def _board(request: PortalRequest, job_id: uuid.UUID) -> selector.ShareBoard:
    return selector.board(actor=request.actor, job_id=job_id, now=timezone.now())
