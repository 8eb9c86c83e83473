"""The door of an organisation's sign-in (OpenID Connect): what is asked there, what is believed of the answer.

allauth leaves the signature of a token alone that came over TLS, and sends no nonce; here both are held to, as is the
issuer that the operator named.
"""

from __future__ import annotations

import hmac
import logging
import secrets
from typing import Any

from allauth.account.models import EmailAddress
from allauth.core.exceptions import ImmediateHttpResponse
from allauth.socialaccount.adapter import DefaultSocialAccountAdapter
from allauth.socialaccount.helpers import render_authentication_error
from allauth.socialaccount.internal import jwtkit
from allauth.socialaccount.models import SocialApp, SocialLogin, SocialToken
from allauth.socialaccount.providers.oauth2.client import OAuth2Error
from allauth.socialaccount.providers.oauth2.views import OAuth2CallbackView
from allauth.socialaccount.providers.openid_connect.provider import OpenIDConnectProvider
from allauth.socialaccount.providers.openid_connect.views import OpenIDConnectOAuth2Adapter
from allauth.utils import build_absolute_uri
from django.conf import settings
from django.db import transaction
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils import timezone

from jobs.doors.accounts import person
from jobs.doors.invited import invited_email
from jobs.models import User
from jobs.services import accounts
from jobs.web import client_address

logger = logging.getLogger(__name__)
PROVIDER = "organisation"
_NONCE = "organisation_nonce"
_ALGORITHMS = frozenset({"RS256", "RS384", "RS512", "PS256", "ES256", "ES384", "EdDSA"})  # with a public key


class NotBelieved(OAuth2Error):
    """What came back does not fit what was asked, or is not signed as it should be."""


class Conversation(OpenIDConnectOAuth2Adapter):
    """One sign-in at the organisation: its addresses, and how its answer is read."""

    def __init__(self, request: HttpRequest) -> None:
        super().__init__(request, PROVIDER)

    @property
    def openid_config(self) -> dict[str, Any]:
        """Return what the organisation publishes of itself.

        Raises:
            NotBelieved: it calls itself by another name than the operator does.
        """
        config: dict[str, Any] = super().openid_config
        if str(config.get("issuer", "")).rstrip("/") != settings.OIDC_ISSUER.rstrip("/"):
            raise NotBelieved("the issuer is not the one of PORTAL_OIDC_ISSUER")
        return config

    def get_callback_url(self, request: HttpRequest, app: SocialApp) -> str:
        """Return where the organisation sends people back to."""
        return str(build_absolute_uri(request, reverse("organisation-callback")))

    def complete_login(
        self, request: HttpRequest, app: SocialApp, token: SocialToken, **kwargs: Any
    ) -> SocialLogin:
        """Return who signed in, from the signed token and from what the organisation says besides.

        Raises:
            NotBelieved: there is no token, or issuer, audience, time, signature, nonce or subject do not fit.
        """
        signed = self._read(app, str(kwargs["response"].get("id_token", "")))
        expected = request.session.pop(_NONCE, "")
        if not expected or not hmac.compare_digest(str(signed.get("nonce", "")), expected):
            raise NotBelieved("the nonce is not the one that was sent")
        more = self._fetch_user_info(token.token)
        if not isinstance(more, dict) or more.get("sub") != signed["sub"]:
            raise NotBelieved("the user info is of somebody else")
        return self.get_provider().sociallogin_from_response(
            request, {"id_token": signed, "userinfo": {**signed, **more}}
        )

    def _read(self, app: SocialApp, id_token: str) -> dict[str, Any]:
        try:
            algorithm, key = jwtkit.fetch_key(id_token, self.openid_config["jwks_uri"], jwtkit.lookup_kid_jwk)
            if algorithm not in _ALGORITHMS:
                raise NotBelieved("the token is not signed with a public key")
            read: dict[str, Any] = jwtkit.jwt.decode(
                id_token,
                key=key,
                algorithms=[algorithm],
                issuer=self.openid_config["issuer"],
                audience=app.client_id,
                options={"require": ["iss", "aud", "exp", "iat", "sub"]},
                leeway=30,
            )
        except (jwtkit.jwt.PyJWTError, KeyError, TypeError, ValueError) as error:
            raise NotBelieved(f"the token cannot be believed: {type(error).__name__}") from error
        if not 0 < len(str(read["sub"])) <= 191:
            raise NotBelieved("the subject is empty or too long")
        return read


class Organisation(OpenIDConnectProvider):
    """The organisation as allauth's provider."""

    oauth2_adapter_class = Conversation

    def get_oauth2_adapter(self, request: HttpRequest) -> Conversation:
        """Return a new conversation."""
        return Conversation(request)

    def get_auth_params_from_request(self, request: HttpRequest, action: str) -> dict[str, Any]:
        """Take nothing from the address of the page: what is asked is the operator's business."""
        asked: dict[str, Any] = self.get_auth_params()
        return asked

    def get_scope_from_request(self, request: HttpRequest) -> list[str]:
        """Take nothing from the address of the page, as above."""
        return list(self.get_scope())

    def extract_extra_data(self, data: dict[str, Any]) -> dict[str, Any]:
        """Keep of what the organisation said only whom it spoke of."""
        return {"userinfo": {"sub": str(data["userinfo"]["sub"]), "email": _vouched_email(data)}}

    def extract_common_fields(self, data: dict[str, Any]) -> dict[str, Any]:
        """Return name and address; an address that the organisation does not vouch for is none."""
        told: dict[str, Any] = super().extract_common_fields(data)
        names = {
            key: told[key] for key in ("name", "first_name", "last_name") if isinstance(told.get(key), str)
        }
        return {**names, "email": _vouched_email(data) or None}

    def extract_email_addresses(self, data: dict[str, Any]) -> list[EmailAddress]:
        """Return the address that the organisation vouches for, if it does."""
        email = _vouched_email(data)
        return [EmailAddress(email=email, verified=True, primary=True)] if email else []


def _vouched_email(data: dict[str, Any]) -> str:
    told = data["userinfo"]
    vouched = told.get("email_verified") in (True, "true")  # some write the word
    return str(told.get("email") or "").strip().lower() if vouched else ""


class OrganisationDoor(DefaultSocialAccountAdapter):
    """What allauth asks the portal about people who come from the organisation."""

    def get_provider(self, request: HttpRequest, provider: str, client_id: str | None = None) -> Organisation:
        """Return the organisation, which is the only provider."""
        return Organisation(request, app=super().get_provider(request, provider, client_id).app)

    def list_apps(
        self, request: HttpRequest, provider: str | None = None, client_id: str | None = None
    ) -> list[SocialApp]:
        """Return what the settings say, and nothing of what may be in the database."""
        return [
            SocialApp(provider="openid_connect", **app)
            for app in settings.SOCIALACCOUNT_PROVIDERS["openid_connect"]["APPS"]
        ]

    def is_open_for_signup(self, request: HttpRequest, sociallogin: SocialLogin) -> bool:
        """Let in whom PORTAL_SIGN_UP lets in; an invitation is for its own address only."""
        if settings.SIGN_UP == "invitation":
            invited = (invited_email(request) or "").lower()
            return any(address.email == invited for address in sociallogin.email_addresses)
        return bool(settings.SIGN_UP == "open")

    def pre_social_login(self, request: HttpRequest, sociallogin: SocialLogin) -> None:
        """Refuse people whose address the organisation does not vouch for, unless they have been here before."""
        if not sociallogin.is_existing and not sociallogin.email_addresses:
            accounts.failed(
                name=f"{settings.OIDC_NAME}: {sociallogin.account.uid}",
                user_id=None,
                origin=client_address(request),
                now=timezone.now(),
            )
            raise ImmediateHttpResponse(
                render(
                    request, "socialaccount/unverified.html", {"organisation": settings.OIDC_NAME}, status=403
                )
            )

    def authenticate_by_email(self, sociallogin: SocialLogin) -> None:
        """Meet an account by its address: only where both the organisation and the portal have verified it.

        Else whoever signed up here with somebody's address would be met by them; or who writes an address of their choice
        into their profile over there would meet an account here.
        """
        theirs = [address.email for address in sociallogin.email_addresses]
        here = EmailAddress.objects.filter(email__in=theirs, verified=True).select_related("user").first()
        if here is None:
            return
        with transaction.atomic():
            sociallogin.connect(self.request, here.user)
            accounts.linked(
                by=person(self.request, here.user),
                provider=settings.OIDC_NAME,
                email=here.email,
                now=timezone.now(),
            )

    def save_user(self, request: HttpRequest, sociallogin: SocialLogin, form: Any = None) -> User:
        """Keep a new person, their link to the organisation, and that they signed up."""
        with transaction.atomic():
            saved: User = super().save_user(request, sociallogin, form)
            accounts.signed_up(by=person(request, saved), email=saved.email, now=timezone.now())
        return saved

    def on_authentication_error(
        self, request: HttpRequest, provider: Organisation, exception: Exception | None = None, **_: Any
    ) -> None:
        """Record that a sign-in came to nothing, and tell the operator why."""
        # What others say may hold a token; what this module says does not.
        why = str(exception) if isinstance(exception, NotBelieved) else type(exception).__name__
        logger.warning("A sign-in at %s came to nothing: %s", settings.OIDC_NAME, why)
        accounts.failed(
            name=settings.OIDC_NAME, user_id=None, origin=client_address(request), now=timezone.now()
        )


def begin(request: HttpRequest, *, next_url: str | None) -> HttpResponse:
    """Return a page that leads to the organisation, whose answer has to fit what is asked here.

    A page and no redirect: the portal's content policy lets a form lead nowhere else, not even by a redirect.

    Raises:
        Http404: no organisation is set up.
    """
    conversation, trouble = _open(request)
    if conversation is None:
        return trouble
    nonce = request.session[_NONCE] = secrets.token_urlsafe(32)
    provider = conversation.get_provider()
    asked = {**provider.get_auth_params(), "nonce": nonce}
    answer: HttpResponse = provider.redirect(request, process="login", next_url=next_url, auth_params=asked)
    if "Location" not in answer:
        return answer
    return render(
        request,
        "socialaccount/onward.html",
        {"organisation": settings.OIDC_NAME, "address": answer["Location"]},
    )


def finish(request: HttpRequest) -> HttpResponse:
    """Read what the organisation sent the person back with, and sign them in.

    Raises:
        Http404: no organisation is set up.
    """
    conversation, trouble = _open(request)
    if conversation is None:
        return trouble
    answer: HttpResponse = OAuth2CallbackView.adapter_view(conversation)(request)
    return answer


def _open(request: HttpRequest) -> tuple[Conversation | None, HttpResponse]:
    """Return a conversation whose other side is who it should be, or the page that says why there is none."""
    if not settings.OIDC:
        raise Http404
    conversation = Conversation(request)
    try:
        _ = conversation.openid_config
    except (OAuth2Error, OSError, ValueError) as error:
        return None, render_authentication_error(request, conversation.get_provider(), exception=error)
    return conversation, HttpResponse()
