"""The operator's pages of wallets, of what is on chains, and of its comparison with the ledger."""

from __future__ import annotations

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.html import format_html_join

from jobs import models
from jobs.admin.pages import Page, Written, each, operator
from jobs.ocean.units import from_wei
from jobs.services import wallets


@admin.register(models.Wallet)
class WalletAdmin(Written, Page):
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
            wallets.disable(actor=operator(request, wallet.team_id), wallet_id=wallet.pk, now=timezone.now())
            return "disabled"

        each(request, queryset.filter(disabled_at=None), act, "wallet")


@admin.register(models.WalletGrant)
class WalletGrantAdmin(Written, Page):
    """Read here, given and taken on the wallet's page by who answers for the money."""

    list_display = ["wallet", "user", "granted_by", "granted_at"]
    list_filter = ["wallet__team"]
    list_select_related = ["wallet", "user", "granted_by"]
    search_fields = ["wallet__label", "wallet__address", "user__username"]
    ordering = ["wallet__label", "wallet_id", "user__username", "pk"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[models.WalletGrant]:
        """Leave the encrypted keys in the database."""
        return super().get_queryset(request).defer("wallet__encrypted_key")


@admin.register(models.ChainNonce)
class ChainNonceAdmin(Written, Page):
    list_display = ["address", "network", "next"]
    list_filter = ["network"]
    list_select_related = ["network"]
    search_fields = ["address"]
    ordering = ["network__name", "address", "pk"]


@admin.register(models.Transaction)
class TransactionAdmin(Written, Page):
    """The signed bytes are no field of any page: whoever has them can send them."""

    fields = ["job", "sequence", "step", "purpose", "told", "status", "network", "wallet", "to", "value_wei"]
    fields += [
        "token",
        "amount_wei",
        "also",
        "asked_by",
        "nonce",
        "gas",
        "max_fee_wei",
        "priority_fee_wei",
        "tx_hash",
    ]
    fields += [
        "versions_before",
        "wish",
        "cancels",
        "replaced_by",
        "prepared_at",
        "sent_at",
        "block_number",
        "block_hash",
    ]
    fields += ["gas_used", "confirmed_at", "overtaken_at", "next_look_at", "trouble"]
    readonly_fields = ["versions_before"]
    list_display = ["told", "status", "job", "wallet", "network", "nonce", "tx_hash", "block_number"]
    list_filter = ["status", "purpose", "network", "job__team"]
    list_select_related = ["job", "wallet", "network"]
    search_fields = ["tx_hash", "told", "job__name", "job__id", "wallet__address"]
    ordering = ["-id"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[models.Transaction]:
        """Leave the bytes and the key in the database."""
        return super().get_queryset(request).defer("data", "signed", "wallet__encrypted_key")

    @admin.display(description="sent before with the same number")
    def versions_before(self, tx: models.Transaction) -> str:
        """Name them by their hashes alone: their bytes are kept beside them."""
        told = (v["tx_hash"] + (" (cancels)" if v["cancels"] else "") for v in tx.earlier)
        return ", ".join(told) or "–"


@admin.register(models.Order)
class OrderAdmin(Written, Page):
    list_display = ["did", "service_id", "wallet", "consumer", "fee_valid_until", "transaction"]
    list_filter = ["wallet__team", "transaction__network"]
    list_select_related = ["wallet", "transaction"]
    search_fields = ["did", "datatoken", "consumer", "transaction__tx_hash", "wallet__address"]
    ordering = ["-id"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[models.Order]:
        """Leave the bytes and the key in the database."""
        bytes_of = ("transaction__data", "transaction__signed")
        return super().get_queryset(request).defer(*bytes_of, "wallet__encrypted_key")


@admin.register(models.Token)
class TokenAdmin(Written, Page):
    list_display = ["symbol", "network", "address", "decimals"]
    list_filter = ["network"]
    list_select_related = ["network"]
    search_fields = ["symbol", "address"]
    ordering = ["network__name", "symbol", "pk"]


@admin.register(models.SpendingLimit)
class SpendingLimitAdmin(Written, Page):
    """Read here, set by the owners on the page of their wallets: a limit is theirs to answer for."""

    fields = ["wallet", "token", "per_job", "per_job_wei", "set_by", "set_at"]
    readonly_fields = ["per_job"]
    list_display = ["wallet", "token", "per_job", "set_by", "set_at"]
    list_filter = ["wallet__team", "token__network"]
    list_select_related = ["wallet", "token__network", "set_by"]
    search_fields = ["wallet__label", "wallet__address", "token__symbol", "token__address"]
    ordering = ["wallet__label", "wallet_id", "pk"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[models.SpendingLimit]:
        """Leave the encrypted keys in the database."""
        return super().get_queryset(request).defer("wallet__encrypted_key")

    @admin.display(description="at most, for one job")
    def per_job(self, limit: models.SpendingLimit) -> str:
        """Write the limit in tokens."""
        return _amount(limit.per_job_wei, limit.token)


@admin.register(models.EscrowAccount)
class EscrowAccountAdmin(Written, Page):
    fields = ["wallet", "token", "escrow", "available", "available_wei", "locked", "locked_wei", "locks"]
    fields += ["read_at", "next_look_at", "trouble"]
    readonly_fields = ["available", "locked"]
    list_display = ["wallet", "token", "available", "locked", "read_at", "trouble"]
    list_filter = ["wallet__team", "token__network"]
    list_select_related = ["wallet", "token__network"]
    search_fields = ["wallet__label", "wallet__address", "token__symbol", "escrow"]
    ordering = ["wallet__label", "wallet_id", "pk"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[models.EscrowAccount]:
        """Leave the encrypted keys in the database."""
        return super().get_queryset(request).defer("wallet__encrypted_key")

    @admin.display(description="available")
    def available(self, account: models.EscrowAccount) -> str:
        """Write what is free in tokens."""
        return _amount(account.available_wei, account.token)

    @admin.display(description="locked")
    def locked(self, account: models.EscrowAccount) -> str:
        """Write what is locked in tokens."""
        return _amount(account.locked_wei, account.token)


@admin.register(models.BalanceLook)
class BalanceLookAdmin(Written, Page):
    fields = ["wallet", "network", "asked_at", "looked_at", "next_look_at", "gas_price_wei", "trouble"]
    list_display = ["wallet", "network", "looked_at", "next_look_at", "trouble"]
    list_filter = ["wallet__team", "network"]
    list_select_related = ["wallet", "network"]
    search_fields = ["wallet__label", "wallet__address", "network__name"]
    ordering = ["wallet__label", "wallet_id", "pk"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[models.BalanceLook]:
        """Leave the encrypted keys in the database."""
        return super().get_queryset(request).defer("wallet__encrypted_key")


@admin.register(models.Balance)
class BalanceAdmin(Written, Page):
    """What a wallet held when it was looked at; gas is paid in what has no token."""

    fields = ["look", "token", "amount", "amount_wei"]
    readonly_fields = ["amount"]
    list_display = ["look", "token", "amount"]
    list_filter = ["look__wallet__team", "look__network"]
    list_select_related = ["look__wallet", "look__network", "token__network"]
    search_fields = ["look__wallet__label", "look__wallet__address", "token__symbol", "token__address"]
    ordering = ["look__wallet__label", "look_id", "pk"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[models.Balance]:
        """Leave the encrypted keys in the database."""
        return super().get_queryset(request).defer("look__wallet__encrypted_key")

    @admin.display(description="amount")
    def amount(self, balance: models.Balance) -> str:
        """Write what there is in tokens."""
        return _amount(balance.amount_wei, balance.token)


@admin.register(models.Reconciliation)
class ReconciliationAdmin(Written, Page):
    """What the daily comparison, or the command reconcile, found."""

    fields = ["at", "outcome"]
    readonly_fields = ["outcome"]
    list_display = ["at", "number"]
    date_hierarchy = "at"
    ordering = ["-at", "-pk"]

    @admin.display(description="differences")
    def number(self, row: models.Reconciliation) -> str:
        """Count them."""
        return str(len(row.differences)) if row.differences else "none"

    @admin.display(description="differences")
    def outcome(self, row: models.Reconciliation) -> str:
        """List them, a line each."""
        if not row.differences:
            return "Nothing differs."
        return format_html_join(
            "",
            "<p><b>{}</b> {}: {}</p>",
            ((x.get("kind", ""), x.get("about", ""), x.get("sentence", "")) for x in row.differences),
        )


def _amount(wei: int, token: models.Token | None) -> str:
    """Write an amount of a token; without one, of what a network's gas is paid in."""
    if token is None:
        return f"{from_wei(int(wei)):,f} for gas"
    return f"{from_wei(int(wei), decimals=token.decimals):,f} {token.symbol}"
