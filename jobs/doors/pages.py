"""Pages of allauth that show more than allauth gives them."""

from __future__ import annotations

from typing import Any

from allauth.account.adapter import get_adapter
from allauth.account.utils import get_next_redirect_url
from allauth.account.views import LoginView
from django.conf import settings


class SignIn(LoginView):
    """The front door."""

    template_name = "account/login.html"

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        """Add whether strangers may sign up, and the organisation that people may come from."""
        context: dict[str, Any] = super().get_context_data(**kwargs)
        if get_next_redirect_url(self.request) is None:
            context["redirect_field"] = ""  # nowhere to go back to, or to another site
        return {
            **context,
            "may_sign_up": get_adapter().is_open_for_signup(self.request),
            "organisation": settings.OIDC_NAME if settings.OIDC else "",
        }
