"""The operator's page of links for people outside."""

from __future__ import annotations

from django.contrib import admin

from jobs import models
from jobs.admin.pages import Page, Written


@admin.register(models.ShareLink)
class ShareLinkAdmin(Written, Page):
    """What there is of a link; its token is nowhere, and its hash is of no use to anybody."""

    list_display = [
        "label",
        "job",
        "result",
        "created_by",
        "created_at",
        "expires_at",
        "opens",
        "opens_max",
        "last_opened_at",
        "revoked_at",
    ]
    list_filter = ["job__team"]
    list_select_related = ["job", "result", "created_by"]
    search_fields = ["label", "job__name", "job__id"]
    date_hierarchy = "created_at"
    ordering = ["-id"]
