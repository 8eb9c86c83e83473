"""The operator's pages of people and teams."""

from __future__ import annotations

from django.contrib import admin
from django.http import HttpRequest

from jobs import models
from jobs.admin.pages import Page, People, Rows, Written


class MembershipInline(Rows):
    model = models.Membership
    autocomplete_fields = ["user", "team"]
    extra = 0


@admin.register(models.User)
class PersonAdmin(People):
    inlines = [MembershipInline]
    list_display = ["username", "email", "first_name", "last_name", "is_active", "is_staff", "last_login"]


@admin.register(models.Team)
class TeamAdmin(Page):
    list_display = ["name", "slug", "created_at"]
    search_fields = ["name", "slug"]
    readonly_fields = ["created_at"]
    inlines = [MembershipInline]
    ordering = ["name", "pk"]

    def has_delete_permission(self, request: HttpRequest, obj: models.Team | None = None) -> bool:
        """Keep a team that the audit record tells of: its entries stay, and name it."""
        if obj is None or models.AuditEntry.objects.filter(team_id=obj.pk).exists():
            return False
        return super().has_delete_permission(request, obj)


@admin.register(models.Membership)
class MembershipAdmin(Page):
    list_display = ["user", "team", "role", "created_at"]
    list_filter = ["role", "team"]
    list_select_related = ["user", "team"]
    search_fields = ["user__username", "user__email", "team__name"]
    autocomplete_fields = ["user", "team"]
    readonly_fields = ["created_at"]
    ordering = ["team__name", "user__username", "pk"]


class LetterInline(Written, Rows):
    model = models.Letter
    fields = ["key", "status", "attempts", "due_at", "claimed_at", "sent_at", "trouble"]
    extra = 0


@admin.register(models.Invitation)
class InvitationAdmin(Written, Page):
    """Who was invited, and what became of it. The number that the link is made of is not shown."""

    list_display = [
        "email",
        "team",
        "role",
        "invited_by",
        "created_at",
        "expires_at",
        "accepted_at",
        "revoked_at",
    ]
    list_filter = ["role", "team"]
    list_select_related = ["team", "invited_by"]
    search_fields = ["email", "team__name"]
    date_hierarchy = "created_at"
    exclude = ["serial"]
    inlines = [LetterInline]
    ordering = ["-created_at", "-pk"]


@admin.register(models.Letter)
class LetterAdmin(Written, Page):
    """The outbox: what waits, what was sent, what could not be."""

    list_display = ["to", "kind", "status", "attempts", "due_at", "sent_at", "trouble"]
    list_filter = ["status", "kind"]
    search_fields = ["to", "key"]
    date_hierarchy = "created_at"
    ordering = ["-created_at", "-pk"]
