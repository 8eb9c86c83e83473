"""What can be chosen on the launch page, and what its publishers would object to."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from django.db.models import Exists, OuterRef

from jobs.access import Action, Actor, require
from jobs.models import Asset, Environment, Node, Team, Wallet, WalletGrant
from jobs.models.networks import normal_endpoint
from jobs.selectors.catalogue import Parameter, parameters, trusted
from jobs.selectors.environments import EnvironmentCard, Symbols, card, symbols

PAID = "paid"  # the cheapest paid place that fits; see services.places
PAID_SUFFIX = (
    "-paid"  # of the choice of an environment's paid part; its free tier is named by the number alone
)
# Where no algorithm of the team says how Python runs.
PYTHON = {"image": "python", "tag": "3.11-slim", "entrypoint": "python3 $ALGO"}


@dataclass(frozen=True)
class ServiceOption:
    """A compute service of a dataset, with the values that it asks for.

    trusted: see the catalogue's trusted(). allows_code: of one's own.
    enforced: where it is served, a start that the publisher's rules do not allow is refused, a free one too.
    """

    id: str
    name: str
    node: str
    trusted: frozenset[str] | None
    allows_code: bool
    enforced: bool
    parameters: tuple[Parameter, ...]


@dataclass(frozen=True)
class DatasetOption:
    """A dataset. reason: why it cannot be chosen, "" if it can; services: those that known nodes serve."""

    id: int
    did: str
    name: str
    author: str
    services: tuple[ServiceOption, ...]
    reason: str

    def service(self, service_id: str) -> ServiceOption | None:
        """Return the service with this id; the first for any other."""
        first = self.services[0] if self.services else None
        return next((s for s in self.services if s.id == service_id), first)


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
class TokenOption:
    """What a paid job may be paid in. name: its symbol, or its address shortened."""

    address: str
    name: str


@dataclass(frozen=True)
class ResourceOption:
    """How much of a resource a paid job may take. whole: there are no halves of it."""

    id: str
    name: str
    unit: str
    least: float
    most: float
    whole: bool


@dataclass(frozen=True)
class EnvironmentOption:
    """An environment's free tier, or its paid part. queue: a job can wait there; orders: starts need orders on the chain.

    resources: what can be chosen of them, in the paid part only. tokens: what it is paid in.
    """

    id: int
    node_id: int
    node: str
    offer: EnvironmentCard
    queue: bool
    orders: bool
    free: bool
    limit_s: int
    tokens: tuple[TokenOption, ...] = ()
    resources: tuple[ResourceOption, ...] = ()

    @property
    def value(self) -> str:
        """What a form says for it."""
        return f"{self.id}" if self.free else f"{self.id}{PAID_SUFFIX}"


@dataclass(frozen=True)
class Terms:
    """What is still to be said of a choice of place. limits_s: the smallest and the largest limit of a job's duration.

    tokens, resources: none for what is free. queue: a job can wait there.
    """

    limits_s: tuple[int, int]
    tokens: tuple[TokenOption, ...]
    resources: tuple[ResourceOption, ...]
    queue: bool


@dataclass(frozen=True)
class WalletOption:
    """A wallet that may launch. granted: this person may spend from it; else it launches what sends no transaction."""

    id: int
    label: str
    address: str
    granted: bool = True


@dataclass(frozen=True)
class Objection:
    """What a publisher would object to. refused: the start will be refused, else it is a warning."""

    sentence: str
    refused: bool


@dataclass(frozen=True)
class LaunchOptions:
    """What can be chosen, and last what cannot.

    environments: free tiers, then paid parts. may_launch_code: whether this person may run code of their own; container:
    one to begin with for that. default_wallet, default_place: what the team wants launches to start with, as a form says
    it; "" where it has no wish, or what it wished for cannot be chosen.
    """

    datasets: tuple[DatasetOption, ...]
    algorithms: tuple[AlgorithmOption, ...]
    environments: tuple[EnvironmentOption, ...]
    wallets: tuple[WalletOption, ...]
    may_launch_code: bool
    container: Mapping[str, Any]
    default_wallet: str = ""
    default_place: str = ""

    @property
    def any_free(self) -> bool:
        """Whether a job can run for free anywhere."""
        return any(e.free for e in self.environments)

    @property
    def any_paid(self) -> bool:
        """Whether a job can be paid for anywhere."""
        return any(not e.free for e in self.environments)

    def environment(self, value: str) -> EnvironmentOption | None:
        """Return the environment that a form's value means."""
        return next((e for e in self.environments if e.value == value), None)

    def terms(self, value: str) -> Terms:
        """Return what is to be said of a place. value: of one, or what leaves the choice to the portal."""
        chosen = self.environment(value)
        if chosen is not None:
            among = [chosen]
        else:
            among = [e for e in self.environments if e.free != (value == PAID)] or list(self.environments)
        limits = [e.limit_s for e in among]
        tokens = {token.address: token for e in among for token in e.tokens}
        return Terms(
            limits_s=(min(limits), max(limits)) if limits else (0, 0),
            tokens=tuple(tokens.values()) if value == PAID or chosen else (),
            resources=_merged(among) if value == PAID or chosen else (),
            queue=any(e.queue for e in among),
        )

    @property
    def any_queue(self) -> bool:
        """Whether a job can wait anywhere."""
        return any(e.queue for e in self.environments)

    @property
    def any_orders(self) -> bool:
        """Whether a start anywhere needs orders on the chain."""
        return any(e.orders or not e.free for e in self.environments)

    @property
    def asks_userdata(self) -> bool:
        """Whether any dataset asks for values."""
        return any(s.parameters for d in self.datasets for s in d.services)

    def algorithm(self, did: str) -> AlgorithmOption | None:
        """Return the algorithm with this DID."""
        return next((a for a in self.algorithms if a.did == did), None)

    def objections(self, *, datasets: Mapping[str, str], algorithm: str | None) -> tuple[Objection, ...]:
        """Say which publishers do not allow this choice. datasets: service id, or "", by DID.

        algorithm: a DID, or None for code of one's own. A node's free tier ignores trusted lists (recording 33), a
        Provider does not (provider-v4 recordings 82-start-untrusted-algorithm and 82-start-raw-not-allowed).
        """
        chosen = self.algorithm(algorithm) if algorithm is not None else None
        if algorithm is not None and chosen is None:
            return ()
        return tuple(
            _objection(
                dataset=dataset.name, algorithm=chosen.name if chosen else "", refused=service.enforced
            )
            for dataset in self.datasets
            if dataset.did in datasets and (service := dataset.service(datasets[dataset.did]))
            if (not service.allows_code if chosen is None else _distrusts(service, chosen.did))
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
    nodes = {normal_endpoint(n.base_url): n for n in Node.objects.only("name", "base_url", "dialect")}
    datasets = [_dataset(a, nodes) for a in assets if a.kind == Asset.Kind.DATASET]
    algorithms = [_algorithm(a) for a in assets if a.kind == Asset.Kind.ALGORITHM]
    known = symbols()
    offered = [
        option
        for row in Environment.objects.filter(gone_at=None)
        .select_related("node__network")
        .order_by("node__name", "chain_id", "pk")
        for option in _environment(row, known)
    ]
    environments = tuple(sorted(offered, key=lambda e: not e.free))
    wallets = _wallets(actor)
    team = Team.objects.only("default_wallet", "default_node", "default_environment").get(pk=actor.team_id)
    node = team.default_node_id
    return LaunchOptions(
        datasets=tuple(sorted(datasets, key=lambda d: bool(d.reason))),
        algorithms=tuple(sorted(algorithms, key=lambda a: bool(a.reason))),
        environments=environments,
        wallets=wallets,
        may_launch_code=actor.may(Action.LAUNCH_CODE),
        container=_python_container(a.container or {} for a in assets),
        default_wallet=next((w.label for w in wallets if w.id == team.default_wallet_id), ""),
        default_place=_default_place(environments, environment=team.default_environment_id, node=node),
    )


def _environment(row: Environment, known: Symbols) -> list[EnvironmentOption]:
    """Return how jobs can run in an environment: for free, for money, or both."""
    offer = card(row, known)
    if not offer.readable:
        return []
    free = EnvironmentOption(
        id=row.pk,
        node_id=row.node_id,
        node=row.node.name,
        offer=offer,
        queue=row.node.can.queue,
        orders=row.node.can.orders,
        free=True,
        limit_s=offer.free_limit_s,
    )
    chain_id = row.chain_id or row.node.network.chain_id
    paid = replace(
        free,
        free=False,
        orders=True,
        limit_s=offer.limit_s,
        tokens=tuple(
            TokenOption(address=t, name=known.get((chain_id, t)) or f"{t[:6]}…{t[-4:]}") for t in offer.tokens
        ),
        resources=()
        if offer.price_min
        else tuple(
            ResourceOption(
                id=r.id, name=r.name, unit=r.unit, least=r.min, most=r.max, whole=r.id in ("cpu", "gpu")
            )
            for r in offer.resources
        ),
    )
    return [*([free] if offer.has_free_tier else []), *([paid] if offer.tokens else [])]


def _default_place(
    environments: tuple[EnvironmentOption, ...], *, environment: int | None, node: int | None
) -> str:
    """Return what the form says for the team's default: free rather than paid, and at a node the one with most room."""
    chosen = [e for e in environments if e.id == environment]
    there = [e for e in environments if e.node_id == node]
    there.sort(key=lambda e: (not e.free, -e.offer.free_room))
    return next((e.value for e in (*chosen, *there)), "")


def _merged(options: Iterable[EnvironmentOption]) -> tuple[ResourceOption, ...]:
    """Return the resources of several places, as much as any of them gives."""
    found: dict[str, ResourceOption] = {}
    for option in options:
        for new in option.resources:
            old = found.get(new.id, new)
            found[new.id] = replace(new, least=min(old.least, new.least), most=max(old.most, new.most))
    return tuple(found.values())


def _objection(*, dataset: str, algorithm: str, refused: bool) -> Objection:
    """algorithm: its name, "" for code of one's own."""
    why = (
        f"has not listed “{algorithm}” as trusted"
        if algorithm
        else "lets published algorithms run on it only, no code of one's own"
    )
    then = (
        "Where it is served, everybody is held to that: the start will be refused."
        if refused
        else "A node's free tier runs it all the same; a paid start would be refused."
    )
    return Objection(sentence=f"The publisher of “{dataset}” {why}. {then}", refused=refused)


def _distrusts(service: ServiceOption, did: str) -> bool:
    return service.trusted is not None and not service.trusted & {"*", did}


def _python_container(containers: Iterable[Mapping[str, Any]]) -> Mapping[str, Any]:
    """Choose a container for code of one's own: one that the team's algorithms use, for its checksum is known."""
    pythons = [
        c for c in containers if str(c.get("entrypoint", "")).startswith("python") and c.get("checksum")
    ]
    return next(iter(pythons), PYTHON)


def _wallets(actor: Actor) -> tuple[WalletOption, ...]:
    mine = WalletGrant.objects.filter(wallet=OuterRef("pk"), user_id=actor.user_id or 0)
    usable = Wallet.objects.usable().filter(team_id=actor.team_id).annotate(granted=Exists(mine))
    return tuple(
        WalletOption(id=pk, label=label, address=address, granted=granted or actor.user_id is None)
        for pk, label, address, granted in usable.order_by("label", "pk").values_list(
            "pk", "label", "address", "granted"
        )
    )


def _dataset(asset: Asset, nodes: Mapping[str, Node]) -> DatasetOption:
    compute = asset.services_of_type("compute")
    served = tuple(_service(service, node) for service in compute if (node := nodes.get(_endpoint(service))))
    return DatasetOption(
        id=asset.pk,
        did=asset.did,
        name=asset.name,
        author=asset.author,
        services=served,
        reason="" if served else _why_not(compute),
    )


def _endpoint(service: Mapping[str, Any]) -> str:
    return normal_endpoint(str(service["endpoint"]))


def _service(service: Mapping[str, Any], node: Node) -> ServiceOption:
    return ServiceOption(
        id=str(service["id"]),
        name=str(service.get("name") or service["id"]),
        node=node.name,
        trusted=trusted(service, can=node.can),
        allows_code=bool((service.get("compute") or {}).get("allow_raw")),
        enforced=node.can.trust_enforced,
        parameters=parameters(service.get("consumer_parameters") or []),
    )


def _why_not(compute: Iterable[Mapping[str, Any]]) -> str:
    endpoints = [str(service["endpoint"]) for service in compute]
    if not endpoints:
        return "Offered for download only: it has no compute service."
    return f"Served by {endpoints[0]}, which is not among this portal's nodes. An operator can add it."


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
