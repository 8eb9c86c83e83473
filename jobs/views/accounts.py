"""The doors: signing up, in and out, and everything that hangs on an account.

allauth has the views; here is which of them the portal offers, and that what they do commits with what is recorded.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps

from allauth.account import views as account
from allauth.account.utils import get_next_redirect_url
from allauth.mfa.base import views as mfa
from allauth.mfa.recovery_codes import views as recovery
from allauth.mfa.totp import views as totp
from allauth.mfa.webauthn import views as webauthn
from allauth.socialaccount import views as social
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.db import transaction
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import redirect, render
from django.urls import path, re_path
from django.utils import timezone
from django.views.decorators.http import require_POST, require_safe

from jobs.access import Person
from jobs.doors import organisation as door
from jobs.doors.pages import SignIn
from jobs.forms.accounts import EndSessionsForm
from jobs.selectors import sessions as selector
from jobs.services import accounts
from jobs.web import client_address

View = Callable[..., HttpResponseBase]


def one_act(view: View) -> View:
    """Make everything that a form does one transaction, so that an act and its entry in the record commit together."""

    @wraps(view)
    def wrapped(request: HttpRequest, *args: object, **kwargs: object) -> HttpResponseBase:
        if request.method != "POST":
            return view(request, *args, **kwargs)
        with transaction.atomic():
            return view(request, *args, **kwargs)

    return wrapped


login = SignIn.as_view()
logout = require_POST(account.logout)


@login_required
@require_safe
def sessions(request: HttpRequest) -> HttpResponse:
    """List where the person is signed in, and what was done with their account."""
    found = selector.own(user_id=_user_id(request), current_key=request.session.session_key or "")
    return render(request, "accounts/sessions.html", {"sessions": found.sessions, "acts": found.acts})


@login_required
@require_POST
def end_sessions(request: HttpRequest) -> HttpResponse:
    """Sign the person out elsewhere: in one session, or in all others."""
    form = EndSessionsForm(request.POST)
    only = form.cleaned_data["session"] if form.is_valid() else 0
    ended = accounts.end_sessions(
        by=Person(user_id=_user_id(request), name=str(request.user), origin=client_address(request)),
        current_key=request.session.session_key or "",
        only=only,
        now=timezone.now(),
    )
    messages.success(
        request, f"{ended} session{'s' * (ended != 1)} ended." if ended else "There was no other session."
    )
    return redirect("sessions")


@require_POST
def organisation(request: HttpRequest) -> HttpResponse:
    """Lead to the sign-in of the organisation."""
    return door.begin(request, next_url=get_next_redirect_url(request))


@require_safe
def organisation_callback(request: HttpRequest) -> HttpResponse:
    """Take in whom the organisation sends back."""
    return door.finish(request)


def _user_id(request: HttpRequest) -> int:
    return int(request.user.pk or 0)


# Names and addresses are allauth's, which looks its own pages up by them. What is not in this list is not offered.
offered = [
    path("accounts/login/", login, name="account_login"),
    path("accounts/logout/", logout, name="account_logout"),
    path("accounts/inactive/", account.account_inactive, name="account_inactive"),
    path("accounts/signup/", one_act(account.signup), name="account_signup"),
    path("accounts/reauthenticate/", account.reauthenticate, name="account_reauthenticate"),
    path("accounts/email/", one_act(account.email), name="account_email"),
    path("accounts/confirm-email/", account.email_verification_sent, name="account_email_verification_sent"),
    re_path(
        r"^accounts/confirm-email/(?P<key>[-:\w]+)/$",
        one_act(account.confirm_email),
        name="account_confirm_email",
    ),
    path("accounts/password/change/", one_act(account.password_change), name="account_change_password"),
    path("accounts/password/set/", one_act(account.password_set), name="account_set_password"),
    path("accounts/password/reset/", account.password_reset, name="account_reset_password"),
    path("accounts/password/reset/done/", account.password_reset_done, name="account_reset_password_done"),
    re_path(
        r"^accounts/password/reset/key/(?P<uidb36>[0-9A-Za-z]+)-(?P<key>.+)/$",
        one_act(account.password_reset_from_key),
        name="account_reset_password_from_key",
    ),
    path(
        "accounts/password/reset/key/done/",
        account.password_reset_from_key_done,
        name="account_reset_password_from_key_done",
    ),
    path("accounts/2fa/", mfa.index, name="mfa_index"),
    path("accounts/2fa/authenticate/", mfa.authenticate, name="mfa_authenticate"),
    path("accounts/2fa/reauthenticate/", mfa.reauthenticate, name="mfa_reauthenticate"),
    path("accounts/2fa/totp/activate/", one_act(totp.activate_totp), name="mfa_activate_totp"),
    path("accounts/2fa/totp/deactivate/", one_act(totp.deactivate_totp), name="mfa_deactivate_totp"),
    path("accounts/2fa/recovery-codes/", recovery.view_recovery_codes, name="mfa_view_recovery_codes"),
    path(
        "accounts/2fa/recovery-codes/generate/",
        one_act(recovery.generate_recovery_codes),
        name="mfa_generate_recovery_codes",
    ),
    path(
        "accounts/2fa/recovery-codes/download/",
        recovery.download_recovery_codes,
        name="mfa_download_recovery_codes",
    ),
    path("accounts/2fa/webauthn/", webauthn.list_webauthn, name="mfa_list_webauthn"),
    path("accounts/2fa/webauthn/add/", one_act(webauthn.add_webauthn), name="mfa_add_webauthn"),
    path("accounts/2fa/webauthn/login/", webauthn.login_webauthn, name="mfa_login_webauthn"),
    path(
        "accounts/2fa/webauthn/reauthenticate/",
        webauthn.reauthenticate_webauthn,
        name="mfa_reauthenticate_webauthn",
    ),
    path("accounts/2fa/webauthn/keys/<int:pk>/edit/", webauthn.edit_webauthn, name="mfa_edit_webauthn"),
    path(
        "accounts/2fa/webauthn/keys/<int:pk>/remove/",
        one_act(webauthn.remove_webauthn),
        name="mfa_remove_webauthn",
    ),
    path("accounts/organisation/cancelled/", social.login_cancelled, name="socialaccount_login_cancelled"),
]
