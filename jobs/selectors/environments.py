"""Nodes and what they offer, as last seen, for their page."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from django.db.models import Prefetch

from jobs.models import Environment, Node, Token
from jobs.ocean.environments import Environment as Offer
from jobs.ocean.environments import Resource, stored_environment
from jobs.ocean.errors import BadAnswer
from jobs.ocean.units import Address, clean_text

MORE_MAX = 40
# What has a place of its own on the page. Source: recording 01, exchange 5; provider-v4 recording 20.
_SHOWN = frozenset(
    {
        *("id", "chainId", "consumerAddress", "description", "desc", "feeToken", "priceMin", "lastSeen"),
        *("cpuNumber", "gpuNumber", "ramGB", "diskGB", "currentJobs", "maxJobs", "maxJobDuration"),
        *("storageExpiry", "runningJobs", "queuedJobs", "runningfreeJobs", "queuedFreeJobs", "enableNetwork"),
    }
)
_NAMES = {"cpu": "CPU", "ram": "RAM", "disk": "Disk", "gpu": "GPU"}
_UNITS = {"cpu": "cores", "ram": "GB", "disk": "GB"}
_YES_OR_NO = {True: "yes", False: "no"}
_LABELS = {
    "cpuType": "CPU type",
    "gpuType": "GPU type",
    "namespace": "Namespace",
    "status": "Status",
    "minJobDuration": "Shortest job, in s",
    "queMaxWaitTime": "Longest wait, in s",
    "runMaxWaitTime": "Longest wait for running jobs, in s",
}


Symbols = Mapping[tuple[int, str], str]  # of tokens, by chain and address


@dataclass(frozen=True)
class ResourceRow:
    """A resource in the node's own unit. free_max: what a free job may take, None outside the tier."""

    id: str
    total: float
    in_use: float
    min: float
    max: float
    free_max: float | None

    @property
    def name(self) -> str:
        """What people call it."""
        return _NAMES.get(self.id, self.id)

    @property
    def unit(self) -> str:
        """What it is counted in, "" where that is not known."""
        return _UNITS.get(self.id, "")


@dataclass(frozen=True)
class FeeRow:
    """A price as the node states it: tokens per minute for one unit of a resource. symbol: of the token, or ""."""

    chain_id: str
    token: str
    symbol: str
    prices: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Said:
    """Something that a service says of an environment and that has no place of its own on the page."""

    label: str
    value: str


@dataclass(frozen=True)
class EnvironmentCard:
    """One environment. Not readable: what the node said of it could not be understood.

    price_min: per minute, in fee_token; "" where prices go by resource and stand in fees. last_seen: when the service
    itself last saw it. chain_id: 0 where it is bound to none. more: all else that was said of it.
    tokens: what a paid job may be paid in, none where there are only free ones. least_s: what a paid job pays for at least.
    """

    id: int
    env_id: str
    description: str
    seen_at: datetime
    gone_at: datetime | None
    has_free_tier: bool
    free_room: int
    chain_id: int = 0
    free_max_jobs: int = 0
    free_running: int = 0
    free_queued: int = 0
    free_limit_s: int = 0
    free_restricted: bool = False
    limit_s: int = 0
    least_s: int = 0
    max_jobs: int = 0
    running: int = 0
    queued: int = 0
    storage_expiry_s: int | None = None
    network_allowed: bool = False
    platform: str = ""
    resources: tuple[ResourceRow, ...] = ()
    fees: tuple[FeeRow, ...] = ()
    price_min: str = ""
    fee_token: str = ""
    fee_symbol: str = ""
    tokens: tuple[str, ...] = ()
    consumer_address: str = ""
    last_seen: datetime | None = None
    more: tuple[Said, ...] = ()
    readable: bool = True


@dataclass(frozen=True)
class NodeCard:
    """A node with its environments, those it still lists first. aquarius: where its assets are described, or ""."""

    id: int
    name: str
    base_url: str
    dialect: str
    network: str
    is_sandbox: bool
    software: str
    aquarius: str
    chains: tuple[str, ...]
    provider_address: str
    answered_at: datetime | None
    asked_at: datetime | None
    trouble: str
    environments: tuple[EnvironmentCard, ...]


@dataclass(frozen=True)
class NodeList:
    """All nodes. environments, free: how many environments are offered now, and how many of them have a free tier."""

    nodes: tuple[NodeCard, ...]
    environments: int
    free: int


def symbols() -> Symbols:
    """Return what the tokens that the portal has met are called; strangers' words."""
    rows = Token.objects.values_list("network__chain_id", "address", "symbol")
    return {(chain_id, address): symbol for chain_id, address, symbol in rows}


def nodes(*, free_only: bool = False) -> NodeList:
    """List the portal's nodes; nodes belong to the operators and are the same for every team.

    free_only: leave out what is not offered now, or not for free.
    """
    cards = _cards()
    offered = [e for node in cards for e in node.environments if e.gone_at is None]
    if free_only:
        cards = tuple(replace(n, environments=tuple(e for e in n.environments if _is_free(e))) for n in cards)
    return NodeList(nodes=cards, environments=len(offered), free=sum(map(_is_free, offered)))


def _is_free(environment: EnvironmentCard) -> bool:
    return environment.has_free_tier and environment.gone_at is None


def _cards() -> tuple[NodeCard, ...]:
    rows = Environment.objects.order_by("chain_id", "-has_free_tier", "description", "pk")
    listed, known = Prefetch("environments", rows), symbols()
    return tuple(
        NodeCard(
            id=node.pk,
            name=node.name,
            base_url=node.base_url,
            dialect=node.get_dialect_display(),
            network=node.network.name,
            is_sandbox=node.network.is_sandbox,
            software=f"{node.said.get('software', '')} {node.said.get('version', '')}".strip(),
            aquarius=node.metadata_url,
            chains=tuple(clean_text(str(chain), limit=20) for chain in node.said.get("chain_ids") or ()),
            provider_address=node.provider_address,
            answered_at=node.answered_at,
            asked_at=node.asked_at,
            trouble=node.trouble,
            environments=tuple(
                sorted(
                    (card(row, known) for row in node.environments.all()), key=lambda c: c.gone_at is not None
                )
            ),
        )
        for node in Node.objects.select_related("network").prefetch_related(listed).order_by("name", "pk")
    )


def card(row: Environment, known: Symbols) -> EnvironmentCard:
    """Return what a page says of one environment."""
    chain_id = row.chain_id or row.node.network.chain_id
    seen: dict[str, Any] = {
        "id": row.pk,
        "env_id": row.env_id,
        "description": row.description or row.env_id[:16],
        "seen_at": row.seen_at,
        "gone_at": row.gone_at,
        "has_free_tier": row.has_free_tier,
        "free_room": row.free_room,
        "chain_id": row.chain_id,
    }
    try:
        offer = stored_environment(row.raw, dialect=row.node.dialect)
    except BadAnswer:  # stored by an older version of the portal, which read it differently
        return EnvironmentCard(**seen, readable=False)
    free = offer.free
    platform = offer.platform or {}
    return EnvironmentCard(
        **seen,
        free_max_jobs=free.max_jobs if free else 0,
        free_running=free.running_jobs if free else 0,
        free_queued=free.queued_jobs if free else 0,
        free_limit_s=(free.max_duration_s or offer.max_duration_s) if free else 0,
        free_restricted=bool(free and (free.allowed_addresses or free.access_lists)),
        limit_s=offer.max_duration_s,
        least_s=offer.min_duration_s,
        max_jobs=offer.max_jobs,
        running=offer.running_jobs,
        queued=offer.queued_jobs,
        storage_expiry_s=offer.storage_expiry_s,
        network_allowed=offer.network_allowed,
        platform=" ".join(str(platform[key]) for key in ("os", "architecture") if platform.get(key)),
        resources=_resources(offer),
        fees=_fees(offer.fees, known),
        price_min="" if offer.price_min is None else f"{offer.price_min.normalize():f}",
        fee_token=offer.fee_token or "",
        fee_symbol=known.get((chain_id, offer.fee_token or ""), ""),
        tokens=_tokens(offer, chain_id=chain_id),
        consumer_address=offer.consumer_address,
        last_seen=_moment(offer.raw.get("lastSeen")),
        more=_more(offer.raw),
    )


def _moment(value: object) -> datetime | None:
    """Read seconds since the epoch, which a Provider writes as text (provider-v4 recording 20)."""
    try:
        return datetime.fromtimestamp(float(str(value)), tz=UTC)
    except (ValueError, OverflowError, OSError):
        return None


def _more(raw: Mapping[str, Any]) -> tuple[Said, ...]:
    """Return what else was said in one word or number, by whatever name: operators add what they like."""
    found = [
        Said(
            label=_LABELS.get(key) or clean_text(str(key), limit=60),
            value=_YES_OR_NO[value] if isinstance(value, bool) else clean_text(str(value), limit=300),
        )
        for key, value in raw.items()
        if key not in _SHOWN and isinstance(value, str | int | float) and value != ""
    ]
    return tuple(found[:MORE_MAX])


def _resources(offer: Offer) -> tuple[ResourceRow, ...]:
    free: dict[str, Resource] = {r.id: r for r in offer.free.resources} if offer.free else {}
    return tuple(
        ResourceRow(
            id=resource.id,
            total=resource.total,
            in_use=resource.in_use,
            min=resource.min,
            max=resource.max,
            free_max=free[resource.id].max if resource.id in free else None,
        )
        for resource in offer.resources
    )


def _tokens(offer: Offer, *, chain_id: int) -> tuple[str, ...]:
    """Return what jobs are paid in, on the chain that the environment takes orders on."""
    if offer.price_min is not None:
        return (str(offer.fee_token),) if offer.price_min and offer.fee_token else ()
    return tuple(str(tariff.token) for tariff in offer.tariffs if tariff.chain_id == chain_id)


def _fees(fees: dict[str, Any], known: Symbols) -> tuple[FeeRow, ...]:
    rows = []
    for chain_id, offers in fees.items():
        for offer in offers if isinstance(offers, list) else ():
            if not isinstance(offer, dict):
                continue
            listed = offer.get("prices")
            token = _address(str(offer.get("feeToken", ""))[:42])
            prices = [p for p in listed if isinstance(p, dict)] if isinstance(listed, list) else []
            rows.append(
                FeeRow(
                    chain_id=str(chain_id)[:20],
                    token=token,
                    symbol=known.get((_number(chain_id), token), ""),
                    prices=tuple((str(p.get("id", ""))[:40], str(p.get("price", ""))[:40]) for p in prices),
                )
            )
    return tuple(rows)


def _number(text: object) -> int:
    digits = str(text)
    return int(digits) if digits.isascii() and digits.isdigit() and len(digits) < 16 else 0


def _address(text: str) -> str:
    """Write an address as the portal does; what is none stays as it was said."""
    try:
        return Address(text)
    except ValueError:
        return text
