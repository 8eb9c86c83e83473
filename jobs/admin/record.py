"""The operator's pages of the audit record: of all teams, and of what belongs to none, such as sign-ins."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest

from jobs import models
from jobs.admin.pages import Page, Written
from jobs.selectors.record import GROUPS


class _GroupFilter(admin.SimpleListFilter):
    """By what sort of act: no question to the whole table which there are."""

    title = "what"
    parameter_name = "group"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return list(GROUPS.items())

    def queryset(
        self, request: HttpRequest, queryset: QuerySet[models.AuditEntry]
    ) -> QuerySet[models.AuditEntry]:
        group = self.value()
        return queryset.filter(act__startswith=f"{group}.") if group in GROUPS else queryset


class _ActFilter(admin.SimpleListFilter):
    title = "act"
    parameter_name = "act"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return list(models.Act.choices)

    def queryset(
        self, request: HttpRequest, queryset: QuerySet[models.AuditEntry]
    ) -> QuerySet[models.AuditEntry]:
        return queryset.filter(act=self.value()) if self.value() in models.Act.values else queryset


@admin.register(models.AuditEntry)
class AuditEntryAdmin(Written, Page):
    """Nobody changes it: neither this page nor the database lets them."""

    fields = [
        "number",
        "at",
        "team",
        "who",
        "user_number",
        "origin",
        "act",
        "kind",
        "object_id",
        "object_name",
    ]
    fields += ["before", "after", "hash_before", "hash"]
    list_display = ["number", "at", "who", "origin", "act", "kind", "object_name", "team"]
    list_filter = [_GroupFilter, _ActFilter, "at", "team"]
    list_select_related = ["team"]
    search_fields = ["who", "origin", "object_id", "object_name"]
    show_full_result_count = False  # it only grows
    ordering = ["-number"]


@admin.register(models.AuditHead)
class AuditHeadAdmin(Written, Page):
    """The end of the record, as it says itself."""

    list_display = ["name", "number", "hash"]
    ordering = ["name"]
