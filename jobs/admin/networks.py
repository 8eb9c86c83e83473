"""The operator's pages of networks, nodes and what they offer."""

from __future__ import annotations

from typing import Any, cast

from django.contrib import admin, messages
from django.contrib.admin.utils import unquote
from django.db.models import QuerySet
from django.forms import model_to_dict
from django.http import HttpRequest, HttpResponse
from django.utils import timezone

from jobs import models
from jobs.admin.pages import HTTPS_UNLESS_SAID, Page, Written, count, each, operator
from jobs.forms.nodes import NodeForm, Outcome, ask
from jobs.services import nodes, nodetokens
from jobs.services.nodes import Detected

CONTRACTS_HELP = (
    "Addresses by name, as in Ocean's address file: Dispenser, FixedPrice (the exchange), Escrow, Ocean. Only these are "
    "paid: datatokens come from no other dispenser or exchange, and nothing is put into any other escrow."
)


@admin.register(models.Network)
class NetworkAdmin(Page):
    """Its contracts decide where money may go."""

    formfield_overrides = HTTPS_UNLESS_SAID
    list_display = ["name", "chain_id", "rpc_url", "allow_private", "confirmations", "is_sandbox"]
    search_fields = ["name", "chain_id"]
    ordering = ["name", "pk"]

    def get_form(self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any) -> Any:
        """Say what the addresses are trusted with."""
        kwargs["help_texts"] = {"contracts": CONTRACTS_HELP}
        return super().get_form(request, obj, change=change, **kwargs)


class _Asked(HttpRequest):
    outcome: Outcome


@admin.register(models.Node)
class NodeAdmin(Page):
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
        messages.success(request, f"The worker asks {count(found, 'node')} at its next beat.")


@admin.register(models.Environment)
class EnvironmentAdmin(Written, Page):
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


@admin.register(models.NodeToken)
class NodeTokenAdmin(Written, Page):
    """The token is no field of any page. A node that has one cannot be removed: they are given back first."""

    fields = ["wallet", "node", "created_at", "wanted", "expires_at", "former_until", "unknown_until"]
    fields += ["next_try_at", "trouble"]
    list_display = ["wallet", "node", "created_at", "wanted", "expires_at", "trouble"]
    list_filter = ["node", "wanted"]
    actions = ["give_back"]
    list_select_related = ["wallet", "node"]
    search_fields = ["wallet__label", "wallet__address", "node__name"]
    ordering = ["-created_at", "pk"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[models.NodeToken]:
        """Leave the encrypted tokens and keys in the database."""
        return (
            super()
            .get_queryset(request)
            .defer("encrypted_token", "encrypted_former", "wallet__encrypted_key")
        )

    @admin.action(description="Give these tokens back to their nodes", permissions=["operate"])
    def give_back(self, request: HttpRequest, queryset: QuerySet[models.NodeToken]) -> None:
        """Use the tokens no longer, and have the worker give them back."""

        def act(token: models.NodeToken) -> str:
            nodetokens.give_back(
                actor=operator(request, token.wallet.team_id),
                wallet_id=token.wallet_id,
                token_id=token.pk,
                now=timezone.now(),
            )
            return "given back by the worker"

        each(request, queryset.filter(wanted=True).select_related("wallet"), act, "token")


@admin.register(models.NonceLease)
class NonceLeaseAdmin(Written, Page):
    list_display = ["address", "node", "last_nonce", "holder", "leased_until"]
    list_filter = ["node"]
    list_select_related = ["node"]
    search_fields = ["address"]
    ordering = ["node__name", "address", "pk"]


@admin.register(models.NodeBudget)
class NodeBudgetAdmin(Written, Page):
    list_display = ["node", "requests_kept", "version"]
    list_select_related = ["node"]
    search_fields = ["node__name"]
    ordering = ["node__name", "pk"]

    @admin.display(description="requests of the last minute")
    def requests_kept(self, budget: models.NodeBudget) -> int:
        """Count the requests of the last minute before now."""
        since = timezone.now().timestamp() - 60
        return sum(at > since for at in budget.spent)
