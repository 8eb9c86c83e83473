"""The team's catalogue: reads what publishers wrote about their assets, and finds assets by DID or name."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db import transaction

from jobs.access import Action, Actor, require
from jobs.errors import InvalidInput, Missing, PortalError
from jobs.models import Act, Asset, Node
from jobs.ocean.compute import AssetKind
from jobs.ocean.ddo import Ddo, Hindrance, consumable, parse_ddo
from jobs.ocean.errors import BadAnswer, OceanError, Refused, Rejected
from jobs.ocean.units import Address, is_did
from jobs.services import audit
from jobs.services.budget import OutOfBudget, Purpose
from jobs.services.gateway import Clock, open_node

CANDIDATES_MAX = 10
FOUND_MAX = 20  # of each node
SEARCH_FOR = timedelta(seconds=15)  # then the nodes that were not asked yet are told as silent


class NodesUnreachable(PortalError):
    """No node said that it knows the asset, and not all of them answered: unknown and unreachable are not the same."""

    code = "unreachable"


@dataclass(frozen=True)
class Found:
    """An asset that a node knows of. asset_id: its row in the team's catalogue, None if it is not there."""

    did: str
    name: str
    kind: str
    description: str
    author: str
    node: str
    asset_id: int | None

    @property
    def known(self) -> bool:
        """Whether the team's catalogue has it."""
        return self.asset_id is not None


@dataclass(frozen=True)
class SearchResult:
    """What a search brought.

    silent: a sentence for each node that gave no usable answer: what it knows is not known, which is another thing
    than nothing. unreadable: how many entries could not be read.
    """

    found: tuple[Found, ...]
    silent: tuple[str, ...]
    unreadable: int = 0


def search(*, actor: Actor, text: str, kind: str, clock: Clock) -> SearchResult:
    """Look for assets at all the portal's nodes, at most 20 at each, in about 15 seconds altogether.

    text: words; an Ocean Node may go by the kind alone. kind: "dataset", "algorithm" or "" for both.

    Raises:
        NotAllowed: the role does not include adding to the catalogue.
    """
    require(actor, Action.EDIT_CATALOGUE)
    wanted: AssetKind | None = (
        "dataset" if kind == "dataset" else "algorithm" if kind == "algorithm" else None
    )
    ddos: dict[str, tuple[Ddo, str]] = {}
    silent: list[str] = []
    unreadable = 0
    give_up_at = clock() + SEARCH_FOR
    for node in Node.objects.order_by("name", "pk"):
        if clock() >= give_up_at:
            silent.append(f"{node.name} was not asked: the others took too long.")
            continue
        try:
            # Not as an act of launching: a search leaves that part of the minute's requests alone.
            with open_node(node=node, purpose=Purpose.WATCH, clock=clock) as backend:
                answer = backend.search_assets(text=text, kind=wanted, limit=FOUND_MAX)
        except (OceanError, OutOfBudget) as error:
            silent.append(f"{node.name} did not answer: {error.message}")
            continue
        read = [ddo for raw in answer if (ddo := _read(raw)) is not None]
        unreadable += answer.skipped + len(answer) - len(read)
        for ddo in read:
            if wanted in (None, ddo.kind):  # a node may send what it likes
                ddos.setdefault(ddo.did, (ddo, node.name))
    known = dict(Asset.objects.filter(team_id=actor.team_id, did__in=list(ddos)).values_list("did", "pk"))
    return SearchResult(
        found=tuple(
            Found(
                did=ddo.did,
                name=ddo.name,
                kind=ddo.kind,
                description=ddo.description,
                author=ddo.author,
                node=node,
                asset_id=known.get(ddo.did),
            )
            for ddo, node in ddos.values()
        ),
        silent=tuple(silent),
        unreadable=unreadable,
    )


def _read(raw: dict[str, Any]) -> Ddo | None:
    inner = raw.get("credentialSubject", raw)
    did = inner.get("id", raw.get("id")) if isinstance(inner, dict) else None
    try:
        return parse_ddo(raw, did=str(did))
    except BadAnswer:
        return None


def add(*, actor: Actor, did: str, clock: Clock, node_id: int | None = None) -> int:
    """Read an asset's DDO from the portal's nodes and put it into the team's catalogue; return its row's id.

    Adding what is already there reads it again. node_id: ask this node only.

    Raises:
        NotAllowed: the role does not include it.
        InvalidInput: no DID, or a DID that every node says it does not know, or a document that cannot be used.
        NodesUnreachable: some node did not answer and none knows it.
    """
    require(actor, Action.EDIT_CATALOGUE)
    did = did.strip()
    if not is_did(did):
        raise InvalidInput(
            "A DID looks like did:op: followed by 64 characters of 0-9 and a-f.",
            field="did",
            code="malformed_did",
        )
    silent: list[str] = []
    for node in Node.objects.filter(**({} if node_id is None else {"pk": node_id})).order_by("pk"):
        try:
            with open_node(node=node, purpose=Purpose.ACT, clock=clock) as backend:
                raw = backend.get_ddo(did=did)
            ddo = parse_ddo(raw, did=did)
        except (Rejected, Refused) as error:
            if error.code in ("unknown_asset", "no_aquarius"):
                continue
            silent.append(f"{node.name}: {error.message}")
        except (OceanError, OutOfBudget) as error:
            silent.append(f"{node.name}: {error.message}")
        else:
            return _store(actor=actor, node=node, ddo=ddo, raw=raw, now=clock())
    if silent:
        raise NodesUnreachable(
            "Whether this DID exists is not known, because not every node gave a usable answer. "
            + " ".join(silent)
        )
    raise InvalidInput("None of the portal's nodes knows this DID.", field="did", code="unknown_did")


def refresh(*, actor: Actor, asset_id: int, clock: Clock) -> None:
    """Read an asset's DDO again.

    Raises:
        NotAllowed, Missing, InvalidInput, NodesUnreachable
    """
    asset = Asset.objects.filter(team_id=actor.team_id, pk=asset_id).first()
    if asset is None:
        raise Missing("There is no such asset in this team's catalogue.")
    require(actor, Action.EDIT_CATALOGUE)
    add(actor=actor, did=asset.did, clock=clock)


def refusal(*, asset: Asset, address: str) -> Hindrance | None:
    """Say why an address cannot use an asset, as far as its description tells; None when it can."""
    try:
        return consumable(parse_ddo(asset.raw, did=asset.did), address=Address(address))
    except BadAnswer:
        return None  # kept by an older release, which read it differently; the service checks for itself


def find(*, team_id: int, ref: str, kind: str, field: str) -> Asset:
    """Return the team's asset that a DID, or a name borne by only one asset, stands for.

    Raises:
        InvalidInput: unknown, ambiguous (with the candidates), or of the other kind; `field` is passed on.
    """
    ref = ref.strip()
    if not ref:
        raise InvalidInput(
            f"Choose {'an algorithm' if kind == Asset.Kind.ALGORITHM else 'a dataset'}.", field=field
        )
    mine = Asset.objects.filter(team_id=team_id)
    if ref.startswith("did:"):
        if not is_did(ref):
            raise InvalidInput(
                f"“{ref[:80]}” is not a DID: that is did:op: followed by 64 characters of 0-9 and a-f.",
                field=field,
                code="malformed_did",
            )
        found = list(mine.filter(did=ref))
        if not found:
            raise InvalidInput(
                "This DID is not in the team's catalogue. Add it there first.",
                field=field,
                code="unknown_did",
            )
    else:
        same_name = list(mine.filter(name__iexact=ref).order_by("pk")[: CANDIDATES_MAX + 1])
        found = [asset for asset in same_name if asset.kind == kind] or same_name
        if not found:
            near = mine.filter(kind=kind).order_by("name", "pk")
            near = near.filter(name__icontains=ref) if near.filter(name__icontains=ref).exists() else near
            raise InvalidInput(
                f"The team's catalogue has no {kind} called “{ref[:80]}”.",
                field=field,
                code="unknown_name",
                candidates=tuple(_candidate(a) for a in near[:CANDIDATES_MAX]),
            )
        if len(found) > 1:
            raise InvalidInput(
                f"Several {kind}s are called “{ref[:80]}”; name the one you mean by its DID.",
                field=field,
                code="ambiguous_name",
                candidates=tuple(_candidate(a) for a in found[:CANDIDATES_MAX]),
            )
    asset = found[0]
    if asset.kind != kind:
        raise InvalidInput(
            f"“{asset.name}” is {'an algorithm' if asset.kind == Asset.Kind.ALGORITHM else 'a dataset'}, not "
            f"{'an algorithm' if kind == Asset.Kind.ALGORITHM else 'a dataset'}.",
            field=field,
            code="wrong_kind",
        )
    return asset


def _candidate(asset: Asset) -> str:
    return f"{asset.name} ({asset.did})"


def _store(*, actor: Actor, node: Node, ddo: Ddo, raw: dict[str, Any], now: datetime) -> int:
    with transaction.atomic():
        before = Asset.objects.filter(team_id=actor.team_id, did=ddo.did).first()
        asset, new = Asset.objects.update_or_create(
            team_id=actor.team_id,
            did=ddo.did,
            defaults={
                "kind": ddo.kind,
                "name": ddo.name,
                "description": ddo.description,
                "author": ddo.author,
                "licence": ddo.licence,
                "tags": list(ddo.tags),
                "chain_id": ddo.chain_id,
                "node": node,
                "services": [service.model_dump(mode="json") for service in ddo.services],
                "container": asdict(ddo.container) if ddo.container else None,
                "consumer_parameters": [p.model_dump(mode="json") for p in ddo.consumer_parameters],
                "raw": raw,
                "fetched_at": now,
            },
        )
        if new and actor.user_id is not None:
            Asset.objects.filter(pk=asset.pk).update(added_by_id=actor.user_id)
        audit.record(
            act=Act.ASSET_ADDED if new else Act.ASSET_READ_AGAIN,
            by=actor,
            now=now,
            thing=audit.Thing("asset", str(asset.pk), ddo.name),
            before=None if before is None else {"name": before.name},
            after={
                "name": ddo.name,
                "kind": ddo.kind,
                "did": ddo.did,
                "node": node.name,
                **({} if before is None else {"its description has changed": before.raw != raw}),
            },
        )
    return asset.pk
