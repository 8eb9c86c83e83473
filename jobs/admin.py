"""The operator's pages: all records to look at, a few to edit, and actions that call services.

Only teams, members, people, networks and nodes are edited here. What services write is read-only: an edited
row would tell of something that never happened.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

from django.contrib import admin, messages
from django.contrib.admin.utils import unquote
from django.contrib.auth.admin import UserAdmin
from django.db.models import Field, Model, QuerySet, URLField
from django.forms import model_to_dict
from django.http import HttpRequest, HttpResponse
from django.utils import timezone

from jobs import models
from jobs.access import Actor
from jobs.errors import PortalError
from jobs.forms.nodes import NodeForm, Outcome, ask
from jobs.models.teams import Role
from jobs.services import catalogue, launching, nodes, refreshing, wallets
from jobs.services.nodes import Detected

admin.site.site_header = admin.site.site_title = "Ocean Portal"
admin.site.index_title = "Operation"

LOG_PIECES = 100

if TYPE_CHECKING:  # Django's admin classes take no type arguments when the program runs
    _Page = admin.ModelAdmin[Any]
    _Rows = admin.TabularInline[Any, Any]
    _People = UserAdmin[models.User]
else:
    _Page = admin.ModelAdmin
    _Rows = admin.TabularInline
    _People = UserAdmin

HTTPS_UNLESS_SAID: dict[type[Field[Any, Any]], dict[str, Any]] = {URLField: {"assume_scheme": "https"}}


class _Written:
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


class MembershipInline(_Rows):
    model = models.Membership
    autocomplete_fields = ["user", "team"]
    extra = 0


@admin.register(models.User)
class PersonAdmin(_People):
    inlines = [MembershipInline]
    list_display = ["username", "email", "first_name", "last_name", "is_active", "is_staff", "last_login"]


@admin.register(models.Team)
class TeamAdmin(_Page):
    list_display = ["name", "slug", "created_at"]
    search_fields = ["name", "slug"]
    readonly_fields = ["created_at"]
    inlines = [MembershipInline]
    ordering = ["name", "pk"]


@admin.register(models.Membership)
class MembershipAdmin(_Page):
    list_display = ["user", "team", "role", "created_at"]
    list_filter = ["role", "team"]
    list_select_related = ["user", "team"]
    search_fields = ["user__username", "user__email", "team__name"]
    autocomplete_fields = ["user", "team"]
    readonly_fields = ["created_at"]
    ordering = ["team__name", "user__username", "pk"]


@admin.register(models.Network)
class NetworkAdmin(_Page):
    formfield_overrides = HTTPS_UNLESS_SAID
    list_display = ["name", "chain_id", "rpc_url", "allow_private", "confirmations", "is_sandbox"]
    search_fields = ["name", "chain_id"]
    ordering = ["name", "pk"]


class _Asked(HttpRequest):
    outcome: Outcome


@admin.register(models.Node)
class NodeAdmin(_Page):
    """The portal asks a new node, or one with a new address, what it is, before anything is saved."""

    form = NodeForm
    formfield_overrides = HTTPS_UNLESS_SAID
    fields = ["name", "base_url", "metadata_url", "network", "allow_private", "requests_per_minute"]
    fields += ["unasked", "dialect", "provider_address", "said"]
    fields += ["asked_at", "answered_at", "trouble", "next_look_at"]
    list_display = ["name", "base_url", "dialect", "metadata_url", "network", "answered_at", "trouble"]
    list_filter = ["dialect", "network"]
    list_select_related = ["network"]
    search_fields = ["name", "base_url", "metadata_url"]
    readonly_fields = ["provider_address", "said", "asked_at", "answered_at", "trouble", "next_look_at"]
    actions = ["look_now"]
    ordering = ["name", "pk"]

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: Any = None,
    ) -> HttpResponse:
        """Ask the node before Django opens its transaction: none waits for a far side."""
        node = self.get_object(request, unquote(object_id)) if object_id else None
        may = self.has_change_permission(request, node) if node else self.has_add_permission(request)
        if request.method == "POST" and may:
            known = model_to_dict(node) if node else None
            cast("_Asked", request).outcome = ask(request.POST, known=known, clock=timezone.now)
        return super().changeform_view(request, object_id, form_url, extra_context)

    def get_readonly_fields(self, request: HttpRequest, obj: models.Node | None = None) -> list[str]:
        """Let a dialect be chosen for a new node only."""
        return [*self.readonly_fields, *(["dialect"] if obj else [])]

    def get_form(self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any) -> Any:
        """Hand the form what asking brought."""
        form = super().get_form(request, obj, change=change, **kwargs)
        return type(form.__name__, (form,), {"outcome": getattr(request, "outcome", None)})

    def save_model(self, request: HttpRequest, obj: models.Node, form: Any, change: bool) -> None:
        """Save, and have the worker look at the node soon: without a date for that it never would."""
        found = form.outcome
        if isinstance(found, Detected):
            obj.said, obj.provider_address = found.said, found.address
            chains = ", ".join(map(str, found.chain_ids))
            messages.info(
                request, f"Found at {obj.base_url}: {found.software} {found.version}, for chain {chains}."
            )
            if obj.network.chain_id not in found.chain_ids:
                messages.warning(request, f"It does not name the chain of {obj.network} among its own.")
        elif "base_url" in form.changed_data:
            obj.said = {}  # what stood there was said at another address
        super().save_model(request, obj, form, change)
        nodes.look_soon(node_ids=[obj.pk], now=timezone.now())

    @admin.action(description="Ask what these nodes offer now", permissions=["change"])
    def look_now(self, request: HttpRequest, queryset: QuerySet[models.Node]) -> None:
        """Have the worker look at the nodes."""
        found = nodes.look_soon(node_ids=list(queryset.values_list("pk", flat=True)), now=timezone.now())
        messages.success(request, f"The worker asks {_count(found, 'node')} at its next beat.")


@admin.register(models.Environment)
class EnvironmentAdmin(_Written, _Page):
    list_display = [
        "description",
        "env_id",
        "node",
        "chain_id",
        "has_free_tier",
        "free_room",
        "seen_at",
        "gone_at",
    ]
    list_filter = ["has_free_tier", "node", "chain_id", ("gone_at", admin.EmptyFieldListFilter)]
    list_select_related = ["node"]
    search_fields = ["env_id", "description", "node__name"]
    ordering = ["node__name", "pk"]


@admin.register(models.Wallet)
class WalletAdmin(_Written, _Page):
    """The key is no field of any page: what is not named here is not shown."""

    fields = ["team", "label", "address", "created_by", "created_at", "disabled_at"]
    list_display = ["label", "address", "team", "created_by", "created_at", "disabled_at"]
    list_filter = ["team", ("disabled_at", admin.EmptyFieldListFilter)]
    list_select_related = ["team", "created_by"]
    search_fields = ["label", "address", "team__name"]
    date_hierarchy = "created_at"
    actions = ["disable"]
    ordering = ["team__name", "label", "pk"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[models.Wallet]:
        """Leave the encrypted keys in the database."""
        return super().get_queryset(request).defer("encrypted_key")

    @admin.action(description="Disable these wallets", permissions=["operate"])
    def disable(self, request: HttpRequest, queryset: QuerySet[models.Wallet]) -> None:
        """Stop new launches with the wallets."""

        def act(wallet: models.Wallet) -> str:
            wallets.disable(actor=_operator(request, wallet.team_id), wallet_id=wallet.pk, now=timezone.now())
            return "disabled"

        _each(request, queryset.filter(disabled_at=None), act, "wallet")


@admin.register(models.ChainNonce)
class ChainNonceAdmin(_Written, _Page):
    list_display = ["address", "network", "next"]
    list_filter = ["network"]
    list_select_related = ["network"]
    search_fields = ["address"]
    ordering = ["network__name", "address", "pk"]


@admin.register(models.Transaction)
class TransactionAdmin(_Written, _Page):
    """The signed bytes are no field of any page: whoever has them can send them."""

    fields = ["job", "sequence", "step", "purpose", "told", "status", "network", "wallet", "to", "value_wei"]
    fields += ["nonce", "gas", "max_fee_wei", "tx_hash", "sent_at", "block_number", "block_hash", "gas_used"]
    fields += ["confirmed_at", "overtaken_at", "trouble"]
    list_display = ["told", "status", "job", "wallet", "network", "nonce", "tx_hash", "block_number"]
    list_filter = ["status", "purpose", "network", "job__team"]
    list_select_related = ["job", "wallet", "network"]
    search_fields = ["tx_hash", "told", "job__name", "job__id", "wallet__address"]
    ordering = ["-id"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[models.Transaction]:
        """Leave the bytes and the key in the database."""
        return super().get_queryset(request).defer("data", "signed", "wallet__encrypted_key")


@admin.register(models.Order)
class OrderAdmin(_Written, _Page):
    list_display = ["did", "service_id", "wallet", "consumer", "fee_valid_until", "transaction"]
    list_filter = ["wallet__team", "transaction__network"]
    list_select_related = ["wallet", "transaction"]
    search_fields = ["did", "datatoken", "consumer", "transaction__tx_hash", "wallet__address"]
    ordering = ["-id"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[models.Order]:
        """Leave the bytes and the key in the database."""
        bytes_of = ("transaction__data", "transaction__signed")
        return super().get_queryset(request).defer(*bytes_of, "wallet__encrypted_key")


@admin.register(models.NodeToken)
class NodeTokenAdmin(_Written, _Page):
    """The token is no field of any page."""

    fields = ["wallet", "node", "created_at", "expires_at"]
    list_display = ["wallet", "node", "created_at", "expires_at"]
    list_filter = ["node"]
    list_select_related = ["wallet", "node"]
    search_fields = ["wallet__label", "wallet__address", "node__name"]
    ordering = ["-created_at", "pk"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[models.NodeToken]:
        """Leave the encrypted tokens and keys in the database."""
        return super().get_queryset(request).defer("encrypted_token", "wallet__encrypted_key")


@admin.register(models.NonceLease)
class NonceLeaseAdmin(_Written, _Page):
    list_display = ["address", "node", "last_nonce", "holder", "leased_until"]
    list_filter = ["node"]
    list_select_related = ["node"]
    search_fields = ["address"]
    ordering = ["node__name", "address", "pk"]


@admin.register(models.NodeBudget)
class NodeBudgetAdmin(_Written, _Page):
    list_display = ["node", "requests_kept", "version"]
    list_select_related = ["node"]
    search_fields = ["node__name"]
    ordering = ["node__name", "pk"]

    @admin.display(description="requests of the last minute")
    def requests_kept(self, budget: models.NodeBudget) -> int:
        """Count the requests of the last minute before now."""
        since = timezone.now().timestamp() - 60
        return sum(at > since for at in budget.spent)


@admin.register(models.Asset)
class AssetAdmin(_Written, _Page):
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
            actor = _operator(request, asset.team_id)
            catalogue.refresh(actor=actor, asset_id=asset.pk, clock=timezone.now)
            return "read again"

        _each(request, queryset, act, "asset")


class _History(_Written):
    extra = 0
    can_delete = False


class JobInputInline(_History, _Rows):
    model = models.JobInput
    fields = ["position", "dataset", "service_id", "userdata"]
    ordering = ["position"]


class JobEventInline(_History, _Rows):
    model = models.JobEvent
    fields = ["at", "kind", "before", "after", "reason", "message", "actor", "data"]
    ordering = ["id"]


class ResultInline(_History, _Rows):
    model = models.Result
    fields = ["index", "path", "name", "kind", "status", "size", "sha256", "trouble"]
    ordering = ["index", "path"]
    show_change_link = True


class LogChunkInline(_History, _Rows):
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
class JobAdmin(_Written, _Page):
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
        messages.success(request, f"The worker looks at {_count(found, 'active job')} at its next beat.")
        if len(ids) > found:
            messages.info(
                request, f"{_count(len(ids) - found, 'job')} not active: nothing is asked about them."
            )

    @admin.action(description="Stop these jobs", permissions=["operate"])
    def cancel(self, request: HttpRequest, queryset: QuerySet[models.Job]) -> None:
        """Note the wish that the jobs be stopped."""

        def act(job: models.Job) -> str:
            actor = _operator(request, job.team_id)
            new = launching.cancel(actor=actor, job_id=job.pk, now=timezone.now())
            return "asked to stop" if new else "had ended, or was asked to stop before"

        _each(request, queryset, act, "job")


@admin.register(models.JobInput)
class JobInputAdmin(_Written, _Page):
    list_display = ["job", "position", "dataset", "service_id"]
    list_select_related = ["job", "dataset"]
    search_fields = ["job__name", "job__id", "dataset__name", "dataset__did"]
    ordering = ["-job__requested_at", "job_id", "position"]


@admin.register(models.JobEvent)
class JobEventAdmin(_Written, _Page):
    list_display = ["at", "job", "kind", "before", "after", "reason", "message", "actor"]
    list_filter = ["kind", "after", "job__team"]
    list_select_related = ["job", "actor"]
    search_fields = ["job__name", "job__id", "message", "reason"]
    date_hierarchy = "at"
    ordering = ["-id"]


@admin.register(models.LogChunk)
class LogChunkAdmin(_Written, _Page):
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
class ResultAdmin(_Written, _Page):
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
class PulseAdmin(_Written, _Page):
    list_display = ["name", "beat_at", "holder", "lease_until"]
    ordering = ["name"]


def _operator(request: HttpRequest, team_id: int) -> Actor:
    """Return the operator as an actor in a team; the history shows their name."""
    return Actor(user_id=request.user.pk, name=f"{request.user} (operator)", team_id=team_id, role=Role.OWNER)


def _each(request: HttpRequest, rows: QuerySet[Any], act: Callable[[Any], str], noun: str) -> None:
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
        messages.success(request, f"{_count(number, noun)}: {ending}.")
    if not rows:
        messages.info(request, f"No {noun} to do this to.")


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
