"""Wallets: the addresses that a team acts with, and what is needed to sign in turn."""

from __future__ import annotations

from django.db import models
from django.db.models.functions import Lower

from jobs.errors import Missing
from jobs.models.amounts import WeiField
from jobs.models.networks import Network, Node
from jobs.models.teams import Team, User


class WalletQuerySet(models.QuerySet["Wallet"]):
    """The ways to choose wallets."""

    def signing(self) -> WalletQuerySet:
        """Those whose key is here: the others are only watched."""
        return self.filter(encrypted_key__isnull=False)

    def usable(self) -> WalletQuerySet:
        """Those that a new job may be launched with."""
        return self.signing().filter(disabled_at=None)

    def of_team(self, *, team_id: int, wallet_id: int) -> Wallet:
        """Return a wallet of a team. Raises: Missing, also for another team's."""
        wallet = self.filter(team_id=team_id, pk=wallet_id).first()
        if wallet is None:
            raise Missing("There is no such wallet in this team.")
        return wallet


class Wallet(models.Model):
    """An address of the team. Its key is held encrypted and never shown again; a watched address has none here."""

    team = models.ForeignKey(Team, on_delete=models.PROTECT, related_name="wallets")
    label = models.CharField(max_length=60)
    address = models.CharField(max_length=42, help_text="Checksummed.")
    encrypted_key = models.BinaryField(editable=False, null=True)
    created_by = models.ForeignKey(User, on_delete=models.SET_NULL, null=True, blank=True, related_name="+")
    created_at = models.DateTimeField()
    disabled_at = models.DateTimeField(null=True, blank=True)

    objects = WalletQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint("team", Lower("label"), name="wallet_label_once"),
            models.UniqueConstraint(fields=["team", "address"], name="wallet_address_once"),
        ]

    def __str__(self) -> str:
        return f"{self.label} ({self.address[:6]}…{self.address[-4:]})"

    @property
    def watch_only(self) -> bool:
        """Whether the portal only looks at this address: nothing can be signed with it here."""
        return self.encrypted_key is None


class WalletGrant(models.Model):
    """A person's right to spend from a wallet; their role has to include launching as well."""

    wallet = models.ForeignKey(Wallet, on_delete=models.CASCADE, related_name="grants")
    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="wallet_grants")
    granted_by = models.ForeignKey(User, on_delete=models.SET_NULL, null=True, blank=True, related_name="+")
    granted_at = models.DateTimeField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["wallet", "user"], name="wallet_grant_once")]

    def __str__(self) -> str:
        return f"{self.user} may spend from {self.wallet}"


class BalanceLook(models.Model):
    """When a wallet's balances on a network were read, and when they are read again.

    asked_at: when the chain was last asked, whether it answered or not. gas_price_wei: the most that a unit of gas was then
    offered for, by the rule that the portal's own transactions follow.
    """

    wallet = models.ForeignKey(Wallet, on_delete=models.CASCADE, related_name="balance_looks")
    network = models.ForeignKey(Network, on_delete=models.CASCADE, related_name="+")
    asked_at = models.DateTimeField(null=True, blank=True)
    looked_at = models.DateTimeField(null=True, blank=True)
    next_look_at = models.DateTimeField(null=True, blank=True, db_index=True)
    gas_price_wei = WeiField(null=True, blank=True)
    trouble = models.CharField(max_length=500, blank=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["wallet", "network"], name="balance_look_once")]

    def __str__(self) -> str:
        return f"{self.wallet} on {self.network}"


class Balance(models.Model):
    """What a wallet held of a token when it was looked at. token: empty for what the network's gas is paid in."""

    look = models.ForeignKey(BalanceLook, on_delete=models.CASCADE, related_name="balances")
    token = models.ForeignKey("Token", on_delete=models.CASCADE, null=True, blank=True, related_name="+")
    amount_wei = WeiField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["look", "token"], name="balance_once"),
            models.UniqueConstraint(
                fields=["look"], condition=models.Q(token=None), name="balance_of_coin_once"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.token or 'gas'} of {self.look}"


class NonceLease(models.Model):
    """Whose turn it is to sign for an address at a node.

    A node keeps one counter per address string, and parallel calls break each other: so one caller at a time, across
    processes, and the number is stored before the request leaves. Per address, not per wallet: two teams may hold the
    same address.
    """

    node = models.ForeignKey(Node, on_delete=models.CASCADE, related_name="+")
    address = models.CharField(max_length=42)
    last_nonce = models.BigIntegerField(default=0)
    holder = models.CharField(max_length=150, blank=True)
    leased_until = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["node", "address"], name="nonce_lease_once")]

    def __str__(self) -> str:
        return f"turn of {self.address} at {self.node}"


class NodeToken(models.Model):
    """A token that a node gave for a wallet; it replaces nonce and signature. Encrypted like a key.

    A node's token is not bound to its address (recordings 15 and 35): whoever holds it may act for anyone there.

    encrypted_former, former_until: the one in whose place the new one stands, until the node has it back.
    unknown_until: until when a token may be valid at the node that nobody here knows: its answer was lost.
    """

    wallet = models.ForeignKey(Wallet, on_delete=models.CASCADE, related_name="node_tokens")
    # A node is not removed as long as it has a token of ours: it could not be given back any more.
    node = models.ForeignKey(Node, on_delete=models.PROTECT, related_name="+")
    wanted = models.BooleanField(
        default=True, help_text="Renewed before it expires; if not wanted, it is given back to the node."
    )
    encrypted_token = models.BinaryField(editable=False, null=True)
    expires_at = models.DateTimeField(null=True, blank=True)
    encrypted_former = models.BinaryField(editable=False, null=True)
    former_until = models.DateTimeField(null=True, blank=True)
    unknown_until = models.DateTimeField(null=True, blank=True)
    next_try_at = models.DateTimeField(
        null=True, blank=True, db_index=True, help_text="When it is renewed, or given back."
    )
    trouble = models.CharField(max_length=500, blank=True)
    trouble_count = models.PositiveSmallIntegerField(default=0)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["wallet", "node"], name="node_token_once")]

    def __str__(self) -> str:
        return f"token of {self.wallet} at {self.node}"
