"""The team's catalogue: datasets and algorithms, as their publishers described them."""

from __future__ import annotations

from typing import Any, ClassVar

from django.db import models

from jobs.models.networks import Node
from jobs.models.teams import Team, User


class Asset(models.Model):
    """A published dataset or algorithm that the team knows."""

    class Kind(models.TextChoices):
        DATASET = "dataset", "Dataset"
        ALGORITHM = "algorithm", "Algorithm"

    team = models.ForeignKey(Team, on_delete=models.CASCADE, related_name="assets")
    did = models.CharField("DID", max_length=100)
    kind = models.CharField(max_length=10, choices=Kind)
    name = models.CharField(max_length=200)
    description = models.TextField(blank=True)
    author = models.CharField(max_length=200, blank=True)
    licence = models.CharField(max_length=300, blank=True)
    tags = models.JSONField(default=list, blank=True)
    chain_id = models.PositiveBigIntegerField()
    node = models.ForeignKey(
        Node, on_delete=models.PROTECT, related_name="assets", help_text="Where its metadata was read."
    )
    services = models.JSONField(
        default=list, help_text="id, type, name, timeout_s, datatoken, endpoint … of each service."
    )
    container = models.JSONField(null=True, blank=True)
    consumer_parameters = models.JSONField(default=list, blank=True)
    raw = models.JSONField(default=dict, help_text="The DDO as it was read.")
    fetched_at = models.DateTimeField()
    added_by = models.ForeignKey(User, on_delete=models.SET_NULL, null=True, blank=True, related_name="+")
    added_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["team", "did"], name="asset_once_per_team")]
        indexes = [models.Index(fields=["team", "kind", "name"], name="asset_list")]

    def __str__(self) -> str:
        return self.name

    def services_of_type(self, *types: str) -> list[dict[str, Any]]:
        """Return the services of these types, as stored."""
        return [service for service in self.services if service["type"] in types]


class _Datasets(models.Manager["Dataset"]):
    def get_queryset(self) -> models.QuerySet[Dataset]:
        return super().get_queryset().filter(kind=Asset.Kind.DATASET)


class _Algorithms(models.Manager["Algorithm"]):
    def get_queryset(self) -> models.QuerySet[Algorithm]:
        return super().get_queryset().filter(kind=Asset.Kind.ALGORITHM)


class Dataset(Asset):
    """An asset whose data an algorithm may be sent to."""

    objects: ClassVar[models.Manager[Dataset]] = _Datasets()

    class Meta:
        proxy = True


class Algorithm(Asset):
    """An asset that travels to the data."""

    objects: ClassVar[models.Manager[Algorithm]] = _Algorithms()

    class Meta:
        proxy = True
