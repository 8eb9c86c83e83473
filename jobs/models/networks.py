"""Networks, nodes and what the nodes offer. Operators add networks and nodes; members pick."""

from __future__ import annotations

from urllib.parse import urlsplit

from django.db import models

from jobs.models.amounts import WeiField
from jobs.ocean.compute import CAPABILITIES, Capabilities
from jobs.ocean.units import Address


class Network(models.Model):
    """A chain that assets live on."""

    chain_id = models.PositiveBigIntegerField(unique=True)
    name = models.CharField(max_length=60)
    rpc_url = models.URLField(blank=True)
    explorer_url = models.URLField(blank=True)
    contracts = models.JSONField(
        default=dict,
        blank=True,
        help_text="Addresses by name, as in Ocean's address file: Dispenser, Ocean …",
    )
    allow_private = models.BooleanField(
        default=False, help_text="The RPC endpoint stands in a private network or on this machine."
    )
    confirmations = models.PositiveIntegerField(
        default=1, help_text="How many blocks must stand, the transaction's own included, before it counts."
    )
    max_gas_wei = WeiField(
        default=5 * 10**16,
        help_text="The most that the gas of one transaction may cost, in the smallest unit of the network's own coin.",
    )
    is_sandbox = models.BooleanField(
        default=False,
        help_text="A network to try things on: only here may publicly known development keys be used.",
    )

    next_block_check_at = models.DateTimeField(null=True, blank=True, editable=False)

    def __str__(self) -> str:
        return f"{self.name} ({self.chain_id})"

    def known_sellers(self) -> frozenset[Address]:
        """Return the dispensers and exchanges that the operator named: others are not bought from."""
        named = (self.contracts.get(name) for name in ("Dispenser", "FixedPrice"))
        return frozenset(Address.parse(place) for place in named if isinstance(place, str))


def normal_endpoint(url: str) -> str:
    """Return a URL in the form that endpoints are compared in; "" if it is none."""
    try:
        parts = urlsplit(url.strip())
        port = parts.port or {"http": 80, "https": 443}.get(parts.scheme.lower())
    except ValueError:
        return ""
    if parts.scheme.lower() not in ("http", "https") or not parts.hostname:
        return ""
    return f"{parts.scheme.lower()}://{parts.hostname.lower()}:{port}{parts.path.rstrip('/')}"


class NodeQuerySet(models.QuerySet["Node"]):
    """The ways to find nodes."""

    def by_endpoint(self) -> dict[str, Node]:
        """Return the nodes by their normal endpoint: a DDO's endpoint is looked up here, and never called before."""
        return {normal_endpoint(node.base_url): node for node in self.only("name", "base_url")}


class Node(models.Model):
    """A far side that serves metadata and runs jobs."""

    class Dialect(models.TextChoices):
        OCEAN_NODE = "ocean-node", "Ocean Node"
        PROVIDER = "provider-v4", "Provider v4"

    name = models.CharField(max_length=60, unique=True)
    base_url = models.URLField(unique=True, help_text="https://… without a path; only operators set it.")
    dialect = models.CharField(max_length=20, choices=Dialect, default=Dialect.OCEAN_NODE)
    metadata_url = models.URLField(
        "Aquarius",
        blank=True,
        help_text="Where a Provider's assets are described. An Ocean Node describes its assets itself.",
    )
    network = models.ForeignKey(Network, on_delete=models.PROTECT, related_name="nodes")
    allow_private = models.BooleanField(
        default=False, help_text="This node stands in a private network or on this machine."
    )
    requests_per_minute = models.PositiveIntegerField(
        default=30, help_text="What the node allows one caller; 30 is what an Ocean Node ships with."
    )
    provider_address = models.CharField(max_length=42, blank=True)
    said = models.JSONField(default=dict, blank=True, help_text="What the node last said of itself.")
    asked_at = models.DateTimeField(null=True, blank=True)
    answered_at = models.DateTimeField(null=True, blank=True)
    trouble = models.CharField(max_length=300, blank=True, help_text="Why it did not answer last time.")
    next_look_at = models.DateTimeField(
        null=True, blank=True, db_index=True, help_text="When the worker next asks for its environments."
    )

    objects = NodeQuerySet.as_manager()

    def __str__(self) -> str:
        return self.name

    @property
    def can(self) -> Capabilities:
        """What its dialect can do at all."""
        return CAPABILITIES[self.dialect]


class NodeBudget(models.Model):
    """When requests went to a node in the last minute: one row per node, shared by all processes.

    Changed only by compare-and-swap on `version`: the row is read, and written back only if nobody else did meanwhile.
    """

    node = models.OneToOneField(Node, on_delete=models.CASCADE, related_name="budget", primary_key=True)
    version = models.PositiveBigIntegerField(default=0)
    spent = models.JSONField(default=list, help_text="Epoch seconds of the requests of the last minute.")

    def __str__(self) -> str:
        return f"budget of {self.node}"


class Environment(models.Model):
    """Where a node runs jobs: resources, prices, free tier, limits, as last seen."""

    node = models.ForeignKey(Node, on_delete=models.CASCADE, related_name="environments")
    env_id = models.CharField(max_length=300)
    chain_id = models.PositiveBigIntegerField(
        default=0, help_text="The chain that it takes orders on; 0 where it is not bound to one."
    )
    description = models.CharField(max_length=300, blank=True)
    has_free_tier = models.BooleanField(default=False)
    free_room = models.IntegerField(default=0, help_text="Free jobs that fit at this moment, as last seen.")
    raw = models.JSONField(default=dict)
    seen_at = models.DateTimeField()
    gone_at = models.DateTimeField(null=True, blank=True, help_text="Since when the node no longer lists it.")

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["node", "chain_id", "env_id"], name="environment_once")
        ]

    def __str__(self) -> str:
        return f"{self.description or self.env_id[:16]} at {self.node}"
