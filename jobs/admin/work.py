"""The operator's pages of assets, of jobs with all that belongs to them, and of the worker's pulse."""

from __future__ import annotations

from django.contrib import admin, messages
from django.contrib.admin.utils import unquote
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone

from jobs import models
from jobs.admin.pages import Page, Rows, Written, count, each, operator
from jobs.services import catalogue, launching, refreshing

LOG_PIECES = 100


@admin.register(models.Asset)
class AssetAdmin(Written, Page):
    list_display = ["name", "kind", "team", "did", "node", "fetched_at"]
    list_filter = ["kind", "team", "node"]
    list_select_related = ["team", "node"]
    search_fields = ["name", "did", "author"]
    date_hierarchy = "fetched_at"
    actions = ["read_again"]
    ordering = ["name", "pk"]

    @admin.action(description="Read these descriptions again", permissions=["operate"])
    def read_again(self, request: HttpRequest, queryset: QuerySet[models.Asset]) -> None:
        """Fetch the DDOs from the nodes while the operator waits."""

        def act(asset: models.Asset) -> str:
            actor = operator(request, asset.team_id)
            catalogue.refresh(actor=actor, asset_id=asset.pk, clock=timezone.now)
            return "read again"

        each(request, queryset, act, "asset")


class _History(Written):
    extra = 0
    can_delete = False


class JobInputInline(_History, Rows):
    model = models.JobInput
    fields = ["position", "dataset", "service_id", "userdata"]
    ordering = ["position"]


class JobEventInline(_History, Rows):
    model = models.JobEvent
    fields = ["at", "kind", "before", "after", "reason", "message", "actor", "data"]
    ordering = ["id"]


class ResultInline(_History, Rows):
    model = models.Result
    fields = ["index", "path", "name", "kind", "status", "size", "sha256", "trouble"]
    ordering = ["index", "path"]
    show_change_link = True


class LogChunkInline(_History, Rows):
    model = models.LogChunk
    verbose_name_plural = "last pieces of the live log (the text is on the job's page)"
    fields = ["offset", "stream", "arrived_at"]
    ordering = ["offset"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[models.LogChunk]:
        """Keep to the last pieces, without their text: a talkative job has very many."""
        match = request.resolver_match
        job_id = unquote(match.kwargs.get("object_id", "")) if match else ""
        last = models.LogChunk.objects.filter(job_id=job_id).order_by("-offset").values_list("pk", flat=True)
        return super().get_queryset(request).filter(pk__in=list(last[:LOG_PIECES])).defer("data")


@admin.register(models.Job)
class JobAdmin(Written, Page):
    list_display = ["name", "team", "state", "reason", "node", "launched_by", "requested_at", "ended_at"]
    list_filter = ["state", "team", "node", "reason"]
    list_select_related = ["team", "node", "launched_by"]
    search_fields = ["name", "id", "tag", "node_job_id", "algorithm__name", "message"]
    date_hierarchy = "requested_at"
    actions = ["ask_now", "cancel"]
    inlines = [JobInputInline, JobEventInline, ResultInline, LogChunkInline]
    ordering = ["-requested_at", "pk"]

    @admin.action(description="Ask the node about these jobs now", permissions=["operate"])
    def ask_now(self, request: HttpRequest, queryset: QuerySet[models.Job]) -> None:
        """Have the worker look at the jobs."""
        ids = list(queryset.values_list("pk", flat=True))
        found = refreshing.check_now(job_ids=ids, now=timezone.now())
        messages.success(request, f"The worker looks at {count(found, 'active job')} at its next beat.")
        if len(ids) > found:
            messages.info(
                request, f"{count(len(ids) - found, 'job')} not active: nothing is asked about them."
            )

    @admin.action(description="Stop these jobs", permissions=["operate"])
    def cancel(self, request: HttpRequest, queryset: QuerySet[models.Job]) -> None:
        """Note the wish that the jobs be stopped."""

        def act(job: models.Job) -> str:
            actor = operator(request, job.team_id)
            new = launching.cancel(actor=actor, job_id=job.pk, now=timezone.now())
            return "asked to stop" if new else "had ended, or was asked to stop before"

        each(request, queryset, act, "job")


@admin.register(models.JobInput)
class JobInputAdmin(Written, Page):
    list_display = ["job", "position", "dataset", "service_id"]
    list_select_related = ["job", "dataset"]
    search_fields = ["job__name", "job__id", "dataset__name", "dataset__did"]
    ordering = ["-job__requested_at", "job_id", "position"]


@admin.register(models.JobEvent)
class JobEventAdmin(Written, Page):
    list_display = ["at", "job", "kind", "before", "after", "reason", "message", "actor"]
    list_filter = ["kind", "after", "job__team"]
    list_select_related = ["job", "actor"]
    search_fields = ["job__name", "job__id", "message", "reason"]
    date_hierarchy = "at"
    ordering = ["-id"]


@admin.register(models.LogChunk)
class LogChunkAdmin(Written, Page):
    fields = ["job", "offset", "stream", "arrived_at"]
    list_display = ["job", "offset", "stream", "arrived_at"]
    list_filter = ["stream"]
    list_select_related = ["job"]
    search_fields = ["job__name", "job__id"]
    ordering = ["-arrived_at", "-id"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[models.LogChunk]:
        """Leave the text in the database: it is on the job's page."""
        return super().get_queryset(request).defer("data")


@admin.register(models.Result)
class ResultAdmin(Written, Page):
    fields = [
        "job",
        "index",
        "path",
        "name",
        "kind",
        "status",
        "size",
        "sha256",
        "trouble",
        "attempts",
        "archived_at",
    ]
    list_display = ["name", "path", "job", "kind", "status", "size", "archived_at"]
    list_filter = ["status", "kind", "job__team"]
    list_select_related = ["job"]
    search_fields = ["name", "path", "sha256", "job__name", "job__id"]
    date_hierarchy = "archived_at"
    ordering = ["-id"]


@admin.register(models.Pulse)
class PulseAdmin(Written, Page):
    list_display = ["name", "beat_at", "holder", "lease_until"]
    ordering = ["name"]
