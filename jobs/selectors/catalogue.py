"""What the team's catalogue holds, for its pages."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.core.paginator import Paginator
from django.db.models import Q

from jobs.access import Action, Actor
from jobs.errors import Missing
from jobs.models import Asset, Node, Wallet
from jobs.models.networks import normal_endpoint
from jobs.ocean.compute import CAPABILITIES, Capabilities
from jobs.ocean.ddo import caution, consumable, parse_ddo
from jobs.ocean.errors import BadAnswer
from jobs.ocean.units import Address

PAGE_SIZE = 50
_NOBODY = Address("0x" + "0" * 40)  # for what is the same for every address


@dataclass(frozen=True)
class AssetRow:
    """One line of the list. served: whether a node of the portal serves it; always true of an algorithm."""

    id: int
    kind: str
    name: str
    author: str
    did: str
    tags: tuple[str, ...]
    node: str
    served: bool
    fetched_at: datetime


@dataclass(frozen=True)
class AssetList:
    """One page of the catalogue. total: how many fit the search; datasets, algorithms: how many there are."""

    rows: tuple[AssetRow, ...]
    total: int
    datasets: int
    algorithms: int
    page: int
    pages: int

    @property
    def empty(self) -> bool:
        """Whether the team has nothing in its catalogue."""
        return not self.datasets + self.algorithms

    @property
    def previous_page(self) -> int:
        """The number of the page before this one."""
        return self.page - 1

    @property
    def next_page(self) -> int:
        """The number of the page after this one."""
        return self.page + 1


@dataclass(frozen=True)
class ServiceRow:
    """A service of an asset. node: the portal's name for its endpoint, "" if it has none.

    trusted: DIDs of algorithms; None where a list of publishers decides. allows_code: of one's own. parameters: what it
    asks for.
    """

    id: str
    name: str
    type: str
    timeout_s: int
    endpoint: str
    node: str
    trusts_all: bool
    trusted: tuple[str, ...] | None
    allows_code: bool
    parameters: tuple[Parameter, ...]


@dataclass(frozen=True)
class Parameter:
    """A value that an algorithm's publisher lets people choose. options: (value, label) pairs of a select."""

    name: str
    label: str
    type: str
    required: bool
    default: str
    description: str
    options: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Barred:
    """A wallet of the team that may not use an asset, and why."""

    wallet: str
    sentence: str


@dataclass(frozen=True)
class AssetDetail:
    """Everything a page says of an asset. raw: its DDO as indented JSON text.

    disabled: why nobody may use it, "" if that is not so; caution: what to know before. barred: wallets that may not.
    """

    id: int
    kind: str
    name: str
    description: str
    author: str
    licence: str
    tags: tuple[str, ...]
    did: str
    chain_id: int
    network: str
    node: str
    services: tuple[ServiceRow, ...]
    image: str
    entrypoint: str
    checksum: str
    parameters: tuple[Parameter, ...]
    raw: str
    disabled: str
    caution: str
    barred: tuple[Barred, ...]
    fetched_at: datetime
    added_by: str
    may_edit: bool
    may_launch: bool


def assets(*, team_id: int, kind: str = "", q: str = "", page: str = "1") -> AssetList:
    """List the team's catalogue by name.

    kind: "dataset", "algorithm" or "" for both; q: words to find, or a DID; page: the nearest that exists.
    """
    mine = Asset.objects.filter(team_id=team_id)
    datasets = mine.filter(kind=Asset.Kind.DATASET).count()
    algorithms = mine.filter(kind=Asset.Kind.ALGORITHM).count()
    found = mine.filter(kind=kind) if kind in Asset.Kind.values else mine
    for word in q.split()[:8]:
        found = found.filter(
            Q(name__icontains=word)
            | Q(author__icontains=word)
            | Q(description__icontains=word)
            | Q(did__iexact=word)
        )
    listed = found.order_by("name", "pk").only(
        "kind", "name", "author", "did", "tags", "services", "fetched_at", "node__name"
    )
    shown = Paginator(listed.select_related("node"), PAGE_SIZE).get_page(page)
    nodes = Node.objects.by_endpoint()
    return AssetList(
        rows=tuple(
            AssetRow(
                id=asset.pk,
                kind=asset.kind,
                name=asset.name,
                author=asset.author,
                did=asset.did,
                tags=tuple(str(tag) for tag in asset.tags[:4]),
                node=asset.node.name,
                served=asset.kind == Asset.Kind.ALGORITHM
                or any(normal_endpoint(s["endpoint"]) in nodes for s in asset.services_of_type("compute")),
                fetched_at=asset.fetched_at,
            )
            for asset in shown
        ),
        total=shown.paginator.count,
        datasets=datasets,
        algorithms=algorithms,
        page=shown.number,
        pages=shown.paginator.num_pages,
    )


def asset(*, actor: Actor, asset_id: int) -> AssetDetail:
    """Return what is known of one asset of the team.

    Raises:
        Missing: the team has no such asset.
    """
    row = (
        Asset.objects.filter(team_id=actor.team_id, pk=asset_id)
        .select_related("node__network", "added_by")
        .first()
    )
    if row is None:
        raise Missing("There is no such dataset or algorithm in this team's catalogue.")
    nodes = Node.objects.by_endpoint()
    container = row.container or {}
    network = row.node.network
    usable = Wallet.objects.usable().filter(team_id=actor.team_id).order_by("label", "pk")
    disabled, caution_said, barred = _rights(row, wallets=list(usable.values_list("label", "address")))
    return AssetDetail(
        id=row.pk,
        kind=row.kind,
        name=row.name,
        description=row.description,
        author=row.author,
        licence=row.licence,
        tags=tuple(str(tag) for tag in row.tags),
        did=row.did,
        chain_id=row.chain_id,
        network=network.name if network.chain_id == row.chain_id else "",
        node=row.node.name,
        services=tuple(_service(service, nodes) for service in row.services),
        image=":".join(part for part in (container.get("image"), container.get("tag")) if part),
        entrypoint=container.get("entrypoint") or "",
        checksum=container.get("checksum") or "",
        parameters=parameters(row.consumer_parameters),
        raw=json.dumps(row.raw, indent=2, ensure_ascii=False),
        disabled=disabled,
        caution=caution_said,
        barred=barred,
        fetched_at=row.fetched_at,
        added_by=str(row.added_by) if row.added_by else "",
        may_edit=actor.may(Action.EDIT_CATALOGUE),
        may_launch=actor.may(Action.LAUNCH),
    )


def _rights(row: Asset, *, wallets: list[tuple[str, str]]) -> tuple[str, str, tuple[Barred, ...]]:
    """Return why nobody may use an asset, what to know before, and which wallets may not use it."""
    try:
        ddo = parse_ddo(row.raw, did=row.did)
    except BadAnswer:  # kept by an older release, which read it differently; the service checks for itself
        return "", "", ()
    told = caution(ddo)
    refused = [(label, consumable(ddo, address=Address(address))) for label, address in wallets]
    disabled = consumable(ddo, address=_NOBODY)
    if disabled is not None and disabled.code == "asset_disabled":
        return disabled.sentence, "", ()
    barred = tuple(Barred(wallet=label, sentence=why.sentence) for label, why in refused if why)
    return "", told.sentence if told else "", barred


def parameters(stored: list[dict[str, Any]]) -> tuple[Parameter, ...]:
    """Read an asset's consumer parameters as they are stored."""
    return tuple(
        Parameter(
            name=str(one["name"]),
            label=str(one.get("label") or one["name"]),
            type=str(one.get("type") or "text"),
            required=bool(one.get("required")),
            default="" if one.get("default") is None else _text(one["default"]),
            description=str(one.get("description") or ""),
            options=tuple((str(value), str(label)) for value, label in one.get("options") or ()),
        )
        for one in stored
    )


def _service(service: Mapping[str, Any], nodes: Mapping[str, Node]) -> ServiceRow:
    node = nodes.get(normal_endpoint(str(service["endpoint"])))
    may_run = trusted(service, can=node.can if node else CAPABILITIES["ocean-node"])
    return ServiceRow(
        id=str(service["id"]),
        name=str(service.get("name") or ""),
        type=str(service["type"]),
        timeout_s=int(service.get("timeout_s") or 0),
        endpoint=str(service["endpoint"]),
        node=node.name if node else "",
        trusted=None if may_run is None else tuple(sorted(may_run - {"*"})),
        trusts_all=may_run is not None and "*" in may_run,
        allows_code=bool((service.get("compute") or {}).get("allow_raw")),
        parameters=parameters(service.get("consumer_parameters") or []),
    )


def trusted(service: Mapping[str, Any], *, can: Capabilities) -> frozenset[str] | None:
    """Return the DIDs of the algorithms that a service's publisher lets run, "*" for any of them.

    None: a list of publishers decides, which speaks of the algorithm's NFT; the catalogue does not compare that. A node
    takes an algorithm that one of the two lists names, a Provider one that both name. Source: as in Capabilities.
    """
    compute = service.get("compute") or {}
    dids = frozenset(str(entry.get("did", "")) for entry in compute.get("trusted_algorithms") or ()) - {""}
    publishers = bool(compute.get("trusted_publishers"))
    if can.no_list_trusts_all:
        if dids:
            return dids - {"*"}  # there a DID that nobody has
        return None if publishers else frozenset("*")
    return None if publishers and "*" not in dids else dids


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)
