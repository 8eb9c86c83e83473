"""What can be chosen on the launch page, and what its publishers would object to."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from jobs.access import Action, Actor, require
from jobs.models import Asset, Environment, Node, Wallet
from jobs.models.networks import normal_endpoint
from jobs.selectors.catalogue import Parameter, parameters, trusted_algorithms
from jobs.selectors.environments import EnvironmentCard, card


@dataclass(frozen=True)
class ServiceOption:
    """A compute service of a dataset. trusted: DIDs; None when the publisher's rule names no algorithms."""

    id: str
    name: str
    node: str
    trusted: frozenset[str] | None


@dataclass(frozen=True)
class DatasetOption:
    """A dataset. reason: why it cannot be chosen, "" if it can; services: those that known nodes serve."""

    id: int
    did: str
    name: str
    author: str
    services: tuple[ServiceOption, ...]
    reason: str


@dataclass(frozen=True)
class AlgorithmOption:
    """An algorithm with the values it asks for. reason: why it cannot be chosen, "" if it can."""

    id: int
    did: str
    name: str
    author: str
    image: str
    parameters: tuple[Parameter, ...]
    reason: str


@dataclass(frozen=True)
class EnvironmentOption:
    """An environment with a free tier."""

    id: int
    node: str
    offer: EnvironmentCard


@dataclass(frozen=True)
class WalletOption:
    """A wallet that may launch."""

    id: int
    label: str
    address: str


@dataclass(frozen=True)
class LaunchOptions:
    """What can be chosen, and last what cannot. paid_only: how many environments have no free tier."""

    datasets: tuple[DatasetOption, ...]
    algorithms: tuple[AlgorithmOption, ...]
    environments: tuple[EnvironmentOption, ...]
    wallets: tuple[WalletOption, ...]
    paid_only: int

    @property
    def limits_s(self) -> tuple[int, int]:
        """The smallest and the largest duration limit of the environments; zeros when there is none."""
        limits = [e.offer.free_limit_s for e in self.environments]
        return (min(limits), max(limits)) if limits else (0, 0)

    def algorithm(self, did: str) -> AlgorithmOption | None:
        """Return the algorithm with this DID."""
        return next((a for a in self.algorithms if a.did == did), None)

    def warnings(self, *, datasets: Mapping[str, str], algorithm: str) -> tuple[str, ...]:
        """Say which publishers have not listed the algorithm. datasets: service id, or "", by DID.

        A node's free tier ignores trusted lists (recording 33), so these are warnings and not refusals.
        """
        chosen = self.algorithm(algorithm)
        if chosen is None:
            return ()
        return tuple(
            f"The publisher of “{dataset.name}” has not listed “{chosen.name}” as trusted. "
            "A node's free tier runs it all the same; a paid start would be refused."
            for dataset in self.datasets
            for service in dataset.services
            if dataset.did in datasets
            and service.id == (datasets[dataset.did] or dataset.services[0].id)
            and service.trusted is not None
            and not service.trusted & {"*", chosen.did}
        )


def options(*, actor: Actor) -> LaunchOptions:
    """Return what this person can choose from.

    Raises:
        NotAllowed: the role does not include launching.
    """
    require(actor, Action.LAUNCH)
    assets = list(
        Asset.objects.filter(team_id=actor.team_id)
        .only("kind", "did", "name", "author", "services", "container", "consumer_parameters")
        .order_by("name", "pk")
    )
    nodes = {endpoint: node.name for endpoint, node in Node.objects.by_endpoint().items()}
    datasets = [_dataset(a, nodes) for a in assets if a.kind == Asset.Kind.DATASET]
    algorithms = [_algorithm(a) for a in assets if a.kind == Asset.Kind.ALGORITHM]
    offered = [
        EnvironmentOption(id=row.pk, node=row.node.name, offer=card(row))
        for row in Environment.objects.filter(gone_at=None)
        .select_related("node")
        .order_by("node__name", "pk")
    ]
    free = tuple(e for e in offered if e.offer.has_free_tier and e.offer.readable)
    return LaunchOptions(
        datasets=tuple(sorted(datasets, key=lambda d: bool(d.reason))),
        algorithms=tuple(sorted(algorithms, key=lambda a: bool(a.reason))),
        environments=free,
        wallets=_wallets(team_id=actor.team_id),
        paid_only=len(offered) - len(free),
    )


def _wallets(*, team_id: int) -> tuple[WalletOption, ...]:
    usable = Wallet.objects.filter(team_id=team_id, disabled_at=None).order_by("label", "pk")
    return tuple(
        WalletOption(id=pk, label=label, address=address)
        for pk, label, address in usable.values_list("pk", "label", "address")
    )


def _dataset(asset: Asset, nodes: Mapping[str, str]) -> DatasetOption:
    compute = asset.services_of_type("compute")
    served = tuple(
        ServiceOption(
            id=str(service["id"]),
            name=str(service.get("name") or service["id"]),
            node=nodes[normal_endpoint(str(service["endpoint"]))],
            trusted=_trusted(service),
        )
        for service in compute
        if normal_endpoint(str(service["endpoint"])) in nodes
    )
    return DatasetOption(
        id=asset.pk,
        did=asset.did,
        name=asset.name,
        author=asset.author,
        services=served,
        reason="" if served else _why_not(compute),
    )


def _why_not(compute: Iterable[Mapping[str, Any]]) -> str:
    endpoints = [str(service["endpoint"]) for service in compute]
    if not endpoints:
        return "Offered for download only: it has no compute service."
    return f"Served by {endpoints[0]}, which is not among this portal's nodes. An operator can add it."


def _trusted(service: Mapping[str, Any]) -> frozenset[str] | None:
    # A list of publishers speaks of the algorithm's NFT, which the catalogue does not compare.
    if (service.get("compute") or {}).get("trusted_publishers"):
        return None
    return frozenset(str(entry.get("did", "")) for entry in trusted_algorithms(service))


def _algorithm(asset: Asset) -> AlgorithmOption:
    container = asset.container or {}
    reason = "" if container.get("image") else "Its publisher does not say which container it runs in."
    if not asset.services_of_type("access", "compute"):
        reason = "It has no service that a node could fetch it by."
    return AlgorithmOption(
        id=asset.pk,
        did=asset.did,
        name=asset.name,
        author=asset.author,
        image=":".join(str(part) for part in (container.get("image"), container.get("tag")) if part),
        parameters=parameters(asset.consumer_parameters),
        reason=reason,
    )
