"""What the team did on a chain: every transaction from before it was sent, and the orders that they paid for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from django.db import models

from jobs.models.amounts import WeiField
from jobs.models.jobs import Job
from jobs.models.networks import Network
from jobs.models.teams import User
from jobs.models.wallets import Wallet
from jobs.ocean.units import Wei


class ChainNonce(models.Model):
    """The next number that transactions of an address may use on a network. Changed by conditional UPDATE only.

    Per address, not per wallet: two teams may hold the same one.
    """

    network = models.ForeignKey(Network, on_delete=models.PROTECT, related_name="+")
    address = models.CharField(max_length=42)
    next = models.PositiveBigIntegerField(default=0)
    payer = models.ForeignKey(
        Job,
        on_delete=models.SET_NULL,
        null=True,
        blank=True,
        related_name="+",
        help_text="The job that spends from the address now: allowances and authorisations are one job's at a time.",
    )

    class Meta:
        constraints = [models.UniqueConstraint(fields=["network", "address"], name="chain_nonce_once")]

    def __str__(self) -> str:
        return f"nonce {self.next} of {self.address} on {self.network}"


class TransactionQuerySet(models.QuerySet["Transaction"]):
    """The ways to find transactions."""

    def under_way(self) -> TransactionQuerySet:
        """Those whose bytes exist and whose end is not known: they may be mined at any moment."""
        return self.filter(status__in=Transaction.UNDER_WAY)

    def moves(self, *columns: str) -> Iterator[tuple[Any, ...]]:
        """Yield some columns of each, a token, and how much of it is moved: once for every token that one moves."""
        for *row, token, amount_wei, also in self.values_list(*columns, "token", "amount_wei", "also"):
            for moved, wei in _moved(token=token, amount_wei=amount_wei, also=also):
                yield (*row, moved, wei)

    def in_order(self, *statuses: str) -> list[Transaction]:
        """Those in some states, in the order in which they are to be sent."""
        rows = self.filter(status__in=statuses).select_related("wallet", "network", "job")
        return list(rows.order_by("step", "sequence", "pk"))


def _moved(*, token: str, amount_wei: int, also: Mapping[str, str]) -> Iterator[tuple[str, Wei]]:
    if token and amount_wei:
        yield token, Wei(amount_wei)
    for other, wei in also.items():
        yield other, Wei(int(wei))


class Transaction(models.Model):
    """One call of a contract: planned, then signed and stored, then sent, then found in a block.

    The signed bytes are committed before they are sent, so that a process that dies sends the same bytes again: the chain
    takes them once.
    """

    class Status(models.TextChoices):
        PLANNED = "planned", "Planned"
        PREPARED = "prepared", "Signed, about to be sent"
        SENT = "sent", "Sent"
        CONFIRMED = "confirmed", "Confirmed"
        REVERTED = "reverted", "Reverted"
        REFUSED = "refused", "Never sent: the chain would refuse it"
        DROPPED = "dropped", "Never mined: its nonce was used by something else"
        CANCELLED = "cancelled", "Cancelled before it was mined"
        WITHDRAWN = "withdrawn", "Never sent: what the job needs was worked out anew"

    UNDER_WAY = (Status.PREPARED, Status.SENT)
    BEHIND_A_GAP = "It waits for number "  # how such a trouble begins

    class Purpose(models.TextChoices):
        APPROVAL = "approval", "Let a contract draw a token"
        DISPENSE = "dispense", "Get a datatoken from its dispenser"
        PURCHASE = "purchase", "Buy a datatoken"
        ORDER = "order", "Order"
        RENEWAL = "renewal", "Renew an order"
        DEPOSIT = "deposit", "Pay into the escrow"
        AUTHORIZATION = "authorization", "Let a node lock in the escrow"
        WITHDRAWAL = "withdrawal", "Take back from the escrow"
        RELEASE = "release", "Free locks that are over their time"
        FILL = "fill", "Take the place of a lost transaction"

    class Wish(models.TextChoices):
        FASTER = "faster", "Speed up"
        CANCEL = "cancel", "Cancel"

    job = models.ForeignKey(Job, on_delete=models.PROTECT, null=True, blank=True, related_name="transactions")
    asked_by = models.ForeignKey(
        User,
        on_delete=models.SET_NULL,
        null=True,
        blank=True,
        related_name="+",
        help_text="Who wanted it, where it is no job's.",
    )
    sequence = models.PositiveIntegerField(help_text="Place among the job's transactions.")
    step = models.PositiveIntegerField(
        help_text="All of a step must be confirmed before the next is prepared."
    )
    wallet = models.ForeignKey(Wallet, on_delete=models.PROTECT, related_name="transactions")
    network = models.ForeignKey(Network, on_delete=models.PROTECT, related_name="transactions")
    purpose = models.CharField(max_length=20, choices=Purpose)
    told = models.CharField(max_length=200, help_text="What it is for, in words.")
    to = models.CharField(max_length=42)
    data = models.BinaryField()
    value_wei = WeiField(default=0)
    token = models.CharField(
        max_length=42, blank=True, help_text="What it moves from the wallet, if it does."
    )
    amount_wei = WeiField(default=0, help_text="At the most, of that token.")
    also = models.JSONField(
        default=dict, blank=True, help_text="What it moves of other tokens, at the most: wei (text) by token."
    )

    status = models.CharField(max_length=20, choices=Status, default=Status.PLANNED)
    nonce = models.PositiveBigIntegerField(null=True, blank=True)
    gas = models.PositiveBigIntegerField(null=True, blank=True)
    max_fee_wei = WeiField(null=True, blank=True)
    priority_fee_wei = WeiField(null=True, blank=True)
    signed = models.BinaryField(null=True, blank=True, editable=False)
    tx_hash = models.CharField(max_length=66, blank=True, db_index=True)
    earlier = models.JSONField(
        default=list,
        blank=True,
        help_text="tx_hash, cancels and signed bytes of the number's other versions: any of them may be mined.",
    )
    wish = models.CharField(
        max_length=10, blank=True, choices=Wish, help_text="What a person wants of it while it waits."
    )
    cancels = models.BooleanField(
        default=False, help_text="The bytes are an empty transaction that is to take the place of the call."
    )
    prepared_at = models.DateTimeField(null=True, blank=True)
    sent_at = models.DateTimeField(null=True, blank=True)
    block_number = models.PositiveBigIntegerField(null=True, blank=True)
    block_hash = models.CharField(max_length=66, blank=True)
    gas_used = models.PositiveBigIntegerField(null=True, blank=True)
    # When its block had stood long enough, however it ended there.
    confirmed_at = models.DateTimeField(null=True, blank=True)
    overtaken_at = models.DateTimeField(
        null=True, blank=True, help_text="When its nonce was first seen used, and no receipt of it."
    )
    replaced_by = models.OneToOneField(
        "self", on_delete=models.PROTECT, null=True, blank=True, related_name="replaces"
    )
    next_look_at = models.DateTimeField(
        null=True, blank=True, help_text="When it is looked for again, where its job no longer sees to it."
    )
    trouble = models.CharField(max_length=300, blank=True)

    objects = TransactionQuerySet.as_manager()

    class Meta:
        indexes = [
            models.Index(
                fields=["next_look_at"],
                condition=models.Q(status__in=["prepared", "sent"]),
                name="transaction_under_way",
            ),  # the pulse reads this every second
        ]
        constraints = [
            models.UniqueConstraint(fields=["job", "sequence"], name="transaction_once_per_place"),
            models.UniqueConstraint(
                fields=["tx_hash"], condition=~models.Q(tx_hash=""), name="transaction_hash_once"
            ),
            models.UniqueConstraint(
                fields=["network", "wallet", "nonce"],
                condition=models.Q(nonce__isnull=False),
                name="transaction_nonce_once",
            ),
            models.CheckConstraint(
                condition=models.Q(status__in=["planned", "refused", "withdrawn"])
                | models.Q(signed__isnull=False),
                name="transaction_signed_before_sent",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.told} ({self.status})"

    @property
    def moved(self) -> tuple[tuple[str, Wei], ...]:
        """What it moves from the wallet, at the most: each token once, with how much of it."""
        return tuple(_moved(token=self.token, amount_wei=self.amount_wei, also=self.also))

    @property
    def is_behind_a_gap(self) -> bool:
        """Whether it was last seen to wait for a number that no transaction has."""
        return self.status in self.UNDER_WAY and self.trouble.startswith(self.BEHIND_A_GAP)


class Order(models.Model):
    """The right to use one service of an asset in one environment. The ledger in which the next launch finds it.

    renews: the first order, where this one only renews what was paid to the service.
    held_by: a Provider files a job under one of its orders, and each of these can have one running job.
    gets_datatoken: its transaction gets the datatoken that it spends as well, so that none of the wallet's is spent.
    consumer: whom the order names, on a Provider the environment's address: an order is good in that environment only.
    fee_valid_until: until when what was paid to the service counts.
    """

    wallet = models.ForeignKey(Wallet, on_delete=models.PROTECT, related_name="orders")
    transaction = models.OneToOneField(Transaction, on_delete=models.PROTECT, related_name="order")
    renews = models.ForeignKey("self", on_delete=models.PROTECT, null=True, blank=True, related_name="+")
    held_by = models.ForeignKey(
        Job,
        on_delete=models.SET_NULL,
        null=True,
        blank=True,
        related_name="+",
        help_text="The job that uses it; while that has not ended, no other one may.",
    )
    asset_name = models.CharField(max_length=200)
    did = models.CharField("DID", max_length=100)
    service_id = models.CharField(max_length=200)
    datatoken = models.CharField(max_length=42)
    consumer = models.CharField(max_length=42)
    gets_datatoken = models.BooleanField(default=False)
    fee_token = models.CharField(max_length=42)
    fee_wei = WeiField(default=0)
    fee_valid_until = models.DateTimeField()

    class Meta:
        indexes = [models.Index(fields=["wallet", "did", "service_id", "consumer"], name="order_again")]

    def __str__(self) -> str:
        return f"order of {self.did} by {self.wallet}"


class Token(models.Model):
    """A token that something is paid in, as its contract describes it: a stranger's words, cleaned."""

    network = models.ForeignKey(Network, on_delete=models.CASCADE, related_name="tokens")
    address = models.CharField(max_length=42)
    symbol = models.CharField(max_length=20)
    decimals = models.PositiveSmallIntegerField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["network", "address"], name="token_once")]

    def __str__(self) -> str:
        return f"{self.symbol} on {self.network}"


class SpendingLimit(models.Model):
    """The most of a token that one job may spend from a wallet. Without a row a wallet spends nothing of the token."""

    wallet = models.ForeignKey(Wallet, on_delete=models.CASCADE, related_name="limits")
    token = models.ForeignKey(Token, on_delete=models.PROTECT, related_name="+")
    per_job_wei = WeiField()
    set_by = models.ForeignKey(User, on_delete=models.SET_NULL, null=True, blank=True, related_name="+")
    set_at = models.DateTimeField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["wallet", "token"], name="spending_limit_once")]

    def __str__(self) -> str:
        return f"limit of {self.wallet} for {self.token}"


class EscrowAccount(models.Model):
    """What a wallet has in an escrow, of one token, as it was last read from the chain."""

    wallet = models.ForeignKey(Wallet, on_delete=models.CASCADE, related_name="escrows")
    token = models.ForeignKey(Token, on_delete=models.PROTECT, related_name="+")
    escrow = models.CharField(max_length=42)
    opening_wei = WeiField(
        default=0, help_text="What was there, locked or not, before the portal first paid into it."
    )
    available_wei = WeiField(default=0)
    locked_wei = WeiField(default=0)
    locks = models.JSONField(
        default=list, blank=True, help_text="id, payee, amount_wei (text) and expires_at of each lock."
    )
    read_at = models.DateTimeField(null=True, blank=True)
    next_look_at = models.DateTimeField(null=True, blank=True, db_index=True)
    trouble = models.CharField(max_length=300, blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["wallet", "token", "escrow"], name="escrow_account_once")
        ]

    def __str__(self) -> str:
        return f"escrow of {self.wallet} in {self.token}"


class Reconciliation(models.Model):
    """One comparison of the ledger with chains and nodes, and what differed."""

    at = models.DateTimeField(db_index=True)
    differences = models.JSONField(default=list)

    def __str__(self) -> str:
        return f"{len(self.differences)} differences at {self.at:%F %H:%M}"
