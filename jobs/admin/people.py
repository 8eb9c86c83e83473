"""The operator's pages of people and teams."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from django.utils import timezone

from jobs import models
from jobs.admin.pages import ModelForm, Page, People, Rows, Written, operator
from jobs.errors import InvalidInput
from jobs.services import members


class MembershipForm(ModelForm):
    """A role. Whose it is, and where, stays: to become another's, a membership ends and another begins."""

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        if self.instance.pk is not None:
            for name in {"user", "team"} & self.fields.keys():
                self.fields[name].disabled = True


class MembershipInline(Rows):
    """Who is in a team, and as what. A membership ends on its own page: grants, links and jobs hang on it."""

    model = models.Membership
    form = MembershipForm
    autocomplete_fields = ["user", "team"]
    extra = 0
    show_change_link = True

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


class _OneByOne:
    """No deleting of many at once: each has its own consequences, and its own refusal."""

    def get_actions(self, request: HttpRequest) -> dict[str, Any]:
        """Return the actions of the list."""
        actions: dict[str, Any] = super().get_actions(request)  # type: ignore[misc]  # the page's
        actions.pop("delete_selected", None)
        return actions


@admin.register(models.User)
class PersonAdmin(_OneByOne, People):
    inlines = [MembershipInline]
    list_display = ["username", "email", "first_name", "last_name", "is_active", "is_staff", "last_login"]

    def delete_model(self, request: HttpRequest, obj: models.User) -> None:
        """Delete a person who is in no team: what they run and have lent out ends with each membership.

        Raises:
            InvalidInput: they are in one.
        """
        teams = obj.memberships.order_by("team__name").values_list("team__name", flat=True)
        if teams:
            raise InvalidInput(
                f"{obj} is in {', '.join(teams)}. Delete these memberships first: that stops their jobs there, and takes "
                "back their wallets and links.",
                code="still_member",
            )
        super().delete_model(request, obj)


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
class MembershipAdmin(_OneByOne, Page):
    """Roles are changed as operators see fit, even the last owner's; deleting one is what removing a member is."""

    form = MembershipForm
    list_display = ["user", "team", "role", "created_at"]
    list_filter = ["role", "team"]
    list_select_related = ["user", "team"]
    search_fields = ["user__username", "user__email", "team__name"]
    autocomplete_fields = ["user", "team"]
    readonly_fields = ["created_at"]
    ordering = ["team__name", "user__username", "pk"]

    def delete_model(self, request: HttpRequest, obj: models.Membership) -> None:
        """End it with all that hangs on it. Raises: InvalidInput, where it is the last owner's."""
        members.expel(operator=operator(request, obj.team_id), member_id=obj.pk, now=timezone.now())


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
