"""What the operator's pages share: that what services write is read-only, and how actions tell of their endings."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib import admin, messages
from django.contrib.auth.admin import UserAdmin
from django.db.models import Field, Model, QuerySet, URLField
from django.http import HttpRequest

from jobs import models
from jobs.access import Actor
from jobs.errors import PortalError
from jobs.models.teams import Role
from jobs.web import client_address

if TYPE_CHECKING:  # Django's admin classes take no type arguments when the program runs
    Page = admin.ModelAdmin[Any]
    Rows = admin.TabularInline[Any, Any]
    People = UserAdmin[models.User]
    ModelForm = forms.ModelForm[Any]
else:
    Page = admin.ModelAdmin
    Rows = admin.TabularInline
    People = UserAdmin
    ModelForm = forms.ModelForm

HTTPS_UNLESS_SAID: dict[type[Field[Any, Any]], dict[str, Any]] = {URLField: {"assume_scheme": "https"}}


class Written:
    """Read-only pages for what services write. Actions still ask for the right to change the record."""

    model: type[Model]
    opts: Any

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_operate_permission(self, request: HttpRequest) -> bool:
        """Say whether this person may use the actions."""
        return request.user.has_perm(f"{self.opts.app_label}.change_{self.opts.model_name}")


def operator(request: HttpRequest, team_id: int) -> Actor:
    """Return the operator as an actor in a team; the history shows their name."""
    return Actor(
        user_id=request.user.pk,
        name=f"{request.user} (operator)",
        team_id=team_id,
        role=Role.OWNER,
        origin=client_address(request),
    )


def each(request: HttpRequest, rows: QuerySet[Any], act: Callable[[Any], str], noun: str) -> None:
    """Do something to each row, and tell the operator how each kind of ending went."""
    endings: dict[str, int] = {}
    for row in rows:
        try:
            ending = act(row)
        except PortalError as error:
            messages.error(request, f"{row}: {error.message}")
        else:
            endings[ending] = endings.get(ending, 0) + 1
    for ending, number in endings.items():
        messages.success(request, f"{count(number, noun)}: {ending}.")
    if not rows:
        messages.info(request, f"No {noun} to do this to.")


def count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
