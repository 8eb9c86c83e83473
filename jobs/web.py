"""Between Django and the views: the team of the URL, the browser's rules, errors as answers, fragments."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from django.conf import settings
from django.contrib import messages
from django.contrib.auth.views import redirect_to_login
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase, HttpResponseRedirect
from django.shortcuts import render
from django.urls import reverse
from django.utils import timezone
from django.utils.cache import patch_cache_control, patch_vary_headers
from django.utils.functional import SimpleLazyObject
from django.utils.http import url_has_allowed_host_and_scheme
from django_htmx.http import HttpResponseClientRedirect, reswap, retarget
from django_htmx.middleware import HtmxDetails

from jobs.access import Actor, Person
from jobs.errors import Missing, NotAllowed, PortalError
from jobs.selectors import portal
from jobs.selectors.portal import TeamFacts
from jobs.services import accounts

# Nothing inline, nothing from elsewhere, nothing evaluated. The admin works under the same rules.
CONTENT_SECURITY_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data:",
        "font-src 'self'",
        "connect-src 'self'",
        "form-action 'self'",
        "frame-ancestors 'none'",
        "base-uri 'none'",
    )
)


class PortalRequest(HttpRequest):
    """A request as views of a team's pages get it: by a member, with the team at hand."""

    actor: Actor
    team: TeamFacts
    htmx: HtmxDetails


class BrowserRulesMiddleware:
    """Tells browsers, with every page, what they may do with it: also with those that Django itself answers with.

    A file of our own is no page: what an image or a style sheet may do is up to the page that it is in.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        response = self.get_response(request)
        if not request.path_info.startswith(settings.STATIC_URL) or response.status_code >= 400:
            response.headers.setdefault("Content-Security-Policy", CONTENT_SECURITY_POLICY)
        response.headers.setdefault("X-Frame-Options", settings.X_FRAME_OPTIONS)
        response.headers.setdefault("X-Content-Type-Options", "nosniff")
        return response


# How old what a person's list of sessions says of the last use may be. Each note is two writes.
SEEN_EVERY_S = 300
_SEEN = "seen_at"


class LastSeenMiddleware:
    """Notes now and then that a session is in use, for its owner's list of sessions."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        seen_at = request.session.get(_SEEN)
        key = request.session.session_key
        if isinstance(seen_at, float) and key:
            now = timezone.now()
            if not 0 <= now.timestamp() - seen_at < SEEN_EVERY_S:
                note_seen(request, now=now)
                accounts.seen(session_key=key, now=now)
        return self.get_response(request)


class PortalMiddleware:
    """Lets only members into a team's pages, and answers the portal's errors in one place.

    Times are shown in the zone that the person chose; the next request begins with the portal's own again.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        try:
            response = self.get_response(request)
        finally:
            timezone.deactivate()  # a thread serves many people
        if hasattr(request, "team"):
            patch_cache_control(response, private=True, no_cache=True)
            patch_vary_headers(response, ["HX-Request", "Cookie"])
        if _wants_fragment(request) and response.status_code >= 400 and "HX-Retarget" not in response:
            reswap(response, "none")  # a whole error page has no place inside a fragment
        return response

    def process_view(
        self, request: PortalRequest, view: Callable[..., Any], args: Any, kwargs: dict[str, Any]
    ) -> HttpResponseBase | None:
        """Find the membership behind the team in the URL: without one, there is no such team."""
        _use_time_zone(request)
        if "team" not in kwargs:
            return None
        if not request.user.is_authenticated:
            return _to_login(request)
        found = portal.membership(
            user_id=request.user.pk,
            name=str(request.user),
            slug=str(kwargs["team"]).lower(),
            origin=client_address(request),
        )
        if found is None:
            raise Http404
        request.actor, request.team = found
        return None

    def process_exception(self, request: HttpRequest, error: Exception) -> HttpResponseBase | None:
        """Answer an error that is meant for the person; leave all others to Django."""
        if not isinstance(error, PortalError):
            return None
        status = 404 if isinstance(error, Missing) else 403 if isinstance(error, NotAllowed) else 400
        if _wants_fragment(request):
            alert = render(
                request, "components/alert.html", {"message": error.message, "tone": "bad"}, status=status
            )
            return reswap(retarget(alert, "#notes"), "innerHTML")
        if status == 400 and request.method == "POST":
            messages.error(request, error.message)
            return HttpResponseRedirect(_came_from(request))
        return render(request, f"{status}.html", {"message": error.message}, status=status)


def page(
    request: PortalRequest,
    template: str,
    context: Mapping[str, Any],
    *,
    fragment: str = "",
    status: int = 200,
) -> HttpResponse:
    """Answer with a whole page, or with its fragment when htmx asks for one.

    fragment: the partial that htmx gets; without it htmx gets the page as well.
    """
    if fragment and _wants_fragment(request):
        return render(request, fragment, context, status=status)
    chrome = portal.chrome(team_id=request.team.id, now=timezone.now())
    return render(request, template, {"portal": chrome, **context}, status=status)


def page_context(request: HttpRequest) -> dict[str, Any]:
    """Give every template the team, the person, and what the page's frame shows."""
    team: TeamFacts | None = getattr(request, "team", None)
    if team is None:
        return {}
    return {
        "team": team,
        "actor": getattr(request, "actor", None),
        "portal": SimpleLazyObject(lambda: portal.chrome(team_id=team.id, now=timezone.now())),
    }


def person_of(request: HttpRequest) -> Person:
    """Return who is signed in, for what is done outside of any team."""
    return Person(user_id=request.user.pk, name=str(request.user), origin=client_address(request))


def note_seen(request: HttpRequest, *, now: datetime) -> None:
    """Remember in the session when it was last used; sessions without such a note are not watched."""
    request.session[_SEEN] = now.timestamp()


def client_address(request: HttpRequest) -> str:
    """Return the network address that a request came from.

    Behind a proxy that is what the proxy added last: everything before it is the client's own word.
    """
    if settings.BEHIND_PROXY:
        forwarded = request.headers.get("X-Forwarded-For", "").rpartition(",")[2].strip()
        if forwarded:
            return forwarded[:100]
    return str(request.META.get("REMOTE_ADDR", ""))[:100]


def _use_time_zone(request: HttpRequest) -> None:
    """Show times in the person's zone; what the database holds may be the name of none."""
    name = str(getattr(request.user, "time_zone", ""))
    if not name:
        return
    try:
        timezone.activate(ZoneInfo(name))
    except (ZoneInfoNotFoundError, ValueError, OSError):
        timezone.deactivate()


def _wants_fragment(request: HttpRequest) -> bool:
    htmx: HtmxDetails | None = getattr(request, "htmx", None)
    return htmx is not None and bool(htmx) and not (htmx.boosted or htmx.history_restore_request)


def _to_login(request: HttpRequest) -> HttpResponseBase:
    htmx: HtmxDetails | None = getattr(request, "htmx", None)
    if not htmx:
        return redirect_to_login(request.get_full_path())
    # Followed by htmx, a plain redirect would put the sign-in page inside the fragment.
    try:
        page = htmx.current_url_abs_path
    except ValueError:  # what a browser would not send: no URL
        page = None
    return HttpResponseClientRedirect(redirect_to_login(page or reverse("home")).headers["Location"])


def _came_from(request: HttpRequest) -> str:
    referer = request.headers.get("Referer", "")
    if url_has_allowed_host_and_scheme(
        referer, allowed_hosts={request.get_host()}, require_https=request.is_secure()
    ):
        return referer
    team: TeamFacts | None = getattr(request, "team", None)
    return reverse("dashboard", args=[team.slug]) if team else reverse("home")
