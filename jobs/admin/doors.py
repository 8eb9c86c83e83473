"""The operator's pages of accounts: whose addresses are verified, and second factors to take away from who lost them."""

from __future__ import annotations

from typing import Any

from allauth.mfa.models import Authenticator
from allauth.socialaccount.models import SocialAccount, SocialApp, SocialToken
from allauth.usersessions.models import UserSession
from django.contrib import admin
from django.http import HttpRequest

from jobs.admin.pages import Page

# The organisation's sign-in comes from the settings; keys of sessions and tokens are nobody's to read.
for model in (Authenticator, SocialAccount, SocialApp, SocialToken, UserSession):
    if admin.site.is_registered(model):
        admin.site.unregister(model)


@admin.register(Authenticator)
class AuthenticatorAdmin(Page):
    """Second factors, without their secrets. Taking one away lets in who lost it."""

    list_display = ["user", "type", "created_at", "last_used_at"]
    list_filter = ["type"]
    list_select_related = ["user"]
    search_fields = ["user__username", "user__email"]
    fields = ["user", "type", "created_at", "last_used_at"]
    ordering = ["user__username", "pk"]

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Say no: only its owner can add one."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Say no: there is nothing in it to change."""
        return False
