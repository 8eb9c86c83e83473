"""Wallets: the addresses that a team acts with, and what is needed to sign in turn."""

from __future__ import annotations

from django.db import models
from django.db.models.functions import Lower

from jobs.models.networks import Node
from jobs.models.teams import Team, User


class Wallet(models.Model):
    """An address of the team whose key the portal holds encrypted. The key is never shown again."""

    team = models.ForeignKey(Team, on_delete=models.PROTECT, related_name="wallets")
    label = models.CharField(max_length=60)
    address = models.CharField(max_length=42, help_text="Checksummed.")
    encrypted_key = models.BinaryField(editable=False)
    created_by = models.ForeignKey(User, on_delete=models.SET_NULL, null=True, blank=True, related_name="+")
    created_at = models.DateTimeField()
    disabled_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint("team", Lower("label"), name="wallet_label_once"),
            models.UniqueConstraint(fields=["team", "address"], name="wallet_address_once"),
        ]

    def __str__(self) -> str:
        return f"{self.label} ({self.address[:6]}…{self.address[-4:]})"


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
    """

    wallet = models.ForeignKey(Wallet, on_delete=models.CASCADE, related_name="node_tokens")
    node = models.ForeignKey(Node, on_delete=models.CASCADE, related_name="+")
    encrypted_token = models.BinaryField(editable=False)
    expires_at = models.DateTimeField()
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["wallet", "node"], name="node_token_once")]

    def __str__(self) -> str:
        return f"token of {self.wallet} at {self.node}"
