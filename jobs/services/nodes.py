"""Looks at nodes: what they say they are, and what they offer."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db import transaction

from jobs.errors import CannotOrder, InvalidInput, PortalError
from jobs.models import Environment, Network, Node
from jobs.ocean import detect as detection
from jobs.ocean.answers import Reply
from jobs.ocean.chain import Chain
from jobs.ocean.compute import Environment as EnvironmentOffer
from jobs.ocean.compute import NodeIdentity, Parsed
from jobs.ocean.errors import BadAnswer, OceanError, Refused
from jobs.ocean.transport import Transport
from jobs.ocean.units import Address
from jobs.services import tokens
from jobs.services.budget import OutOfBudget, Purpose
from jobs.services.gateway import Clock, open_chain, open_node

LOOK_EVERY = timedelta(seconds=60)
LOOK_AGAIN_AFTER_TROUBLE = timedelta(seconds=30)
IDENTIFY_EVERY = timedelta(hours=1)
TOKENS_AT_ONCE = 20  # a node may list what it likes; a network's endpoint is not asked for all of it


class NodeSilent(PortalError):
    """Nobody at an address said what it is; `field` names which of the two addresses that is."""

    code = "unreachable"

    def __init__(self, message: str, *, field: str) -> None:
        super().__init__(message)
        self.field = field


@dataclass(frozen=True)
class Detected:
    """What an address turned out to be. dialect: a value of Node.Dialect; said: as a Node keeps it."""

    dialect: str
    software: str
    version: str
    address: str
    chain_ids: tuple[int, ...]
    said: dict[str, Any]


def detect(*, base_url: str, metadata_url: str, allow_private: bool, clock: Clock) -> Detected:
    """Ask an address what is there, and whether the Aquarius of a Provider is one; at most two questions.

    Raises:
        InvalidInput: it is neither dialect, with what was found; or a Provider without an Aquarius; or an Aquarius
            that is none. Its field is base_url or metadata_url.
        NodeSilent: nobody answered.
    """
    with _asking("base_url"), _reach(base_url, allow_private=allow_private) as transport:
        identity = detection.detect(transport)
    provider = identity.dialect == "provider-v4"
    if provider and not metadata_url:
        raise InvalidInput(
            f"This is a Provider ({identity.software} {identity.version}), which does not describe its assets itself. "
            "Enter the address of the Aquarius that does.",
            field="metadata_url",
            code="no_aquarius",
        )
    if metadata_url and not provider:
        raise InvalidInput(
            "This is an Ocean Node, which describes its assets itself. Leave the Aquarius empty.",
            field="metadata_url",
            code="needless_aquarius",
        )
    if metadata_url:
        with _asking("metadata_url"), _reach(metadata_url, allow_private=allow_private) as transport:
            _require_aquarius(transport)
    return Detected(
        dialect=identity.dialect,
        software=identity.software,
        version=identity.version,
        address=identity.address,
        chain_ids=identity.chain_ids,
        said=_said(identity, now=clock()),
    )


def look(*, node_id: int, clock: Clock) -> bool:
    """Ask a node what it offers and store it; return whether it answered.

    An environment that the node no longer lists is marked as gone, and kept as long as jobs point to it.
    """
    node = Node.objects.get(pk=node_id)
    now = clock()
    known = node.said.get("identified_at", "")
    stale = not known or datetime.fromisoformat(known) < now - IDENTIFY_EVERY
    try:
        with open_node(node=node, purpose=Purpose.BACKGROUND, clock=clock) as backend:
            identity = backend.identify() if stale else None
            offers = backend.environments()
    except OutOfBudget as error:
        Node.objects.filter(pk=node_id).update(next_look_at=error.available_at)
        return False
    except OceanError as error:
        Node.objects.filter(pk=node_id).update(
            asked_at=now, trouble=error.message[:300], next_look_at=now + LOOK_AGAIN_AFTER_TROUBLE
        )
        return False
    _store(node=node, identity=identity, offers=offers, now=now)
    _learn_tokens(node=node, offers=offers)
    return True


def _learn_tokens(*, node: Node, offers: Parsed[EnvironmentOffer]) -> None:
    """Remember how the tokens are called that environments are paid in; a chain that is away is asked next time."""
    wanted: dict[int, set[Address]] = {}
    for offer in offers:
        if offer.fee_token is not None:
            wanted.setdefault(offer.chain_id or node.network.chain_id, set()).add(offer.fee_token)
        for tariff in offer.tariffs:
            wanted.setdefault(tariff.chain_id, set()).add(tariff.token)
    for network in Network.objects.filter(chain_id__in=wanted).exclude(rpc_url=""):
        unknown = tokens.unknown(network=network, addresses=wanted[network.chain_id])[:TOKENS_AT_ONCE]
        if unknown:
            with suppress(OceanError, CannotOrder), open_chain(network=network) as chain:
                for address in unknown:
                    _learn_token(chain=chain, network=network, address=address)


def _learn_token(*, chain: Chain, network: Network, address: Address) -> None:
    """Remember how a token is called; one that is no token is passed over. Raises: OceanError, the chain is away."""
    try:
        tokens.learn(chain=chain, network=network, addresses=[address])
    except OceanError as error:
        if error.retryable:
            raise


def look_soon(*, node_ids: Collection[int], now: datetime) -> int:
    """Have the worker look at these nodes at its next beat; return how many there are."""
    return Node.objects.filter(pk__in=node_ids).update(next_look_at=now)


def claim_due(*, now: datetime) -> list[int]:
    """Return the nodes whose time to be looked at has come, pushed on so that no other process takes them too."""
    due: list[int] = []
    for node in Node.objects.filter(next_look_at__lte=now):
        if Node.objects.filter(pk=node.pk, next_look_at=node.next_look_at).update(
            next_look_at=now + LOOK_EVERY
        ):
            due.append(node.pk)
    return due


def _store(
    *, node: Node, identity: NodeIdentity | None, offers: Parsed[EnvironmentOffer], now: datetime
) -> None:
    facts: dict[str, object] = {
        "asked_at": now,
        "answered_at": now,
        "trouble": f"{offers.skipped} of its environments could not be read." if offers.skipped else "",
        "next_look_at": now + LOOK_EVERY,
    }
    if identity is not None:
        facts["provider_address"] = identity.address
        facts["said"] = _said(identity, now=now)
    with transaction.atomic():
        Node.objects.filter(pk=node.pk).update(**facts)
        for offer in offers:
            Environment.objects.update_or_create(
                node=node,
                chain_id=offer.chain_id or 0,
                env_id=offer.id,
                defaults={
                    "description": offer.description[:300],
                    "has_free_tier": offer.free is not None,
                    "free_room": offer.free_room,
                    "raw": offer.raw,
                    "seen_at": now,
                    "gone_at": None,
                },
            )
        # A node that makes up new ones each time must not fill the database.
        Environment.objects.filter(node=node, gone_at__lt=now, jobs=None).delete()
        if not offers.skipped:  # an entry that could not be read is not proven to be gone
            Environment.objects.filter(node=node, gone_at=None, seen_at__lt=now).update(gone_at=now)


def _said(identity: NodeIdentity, *, now: datetime) -> dict[str, Any]:
    """Return what a service said of itself as a Node keeps it."""
    return {
        "software": identity.software,
        "version": identity.version,
        "chain_ids": list(identity.chain_ids),
        "addresses": {str(chain_id): str(address) for chain_id, address in identity.addresses.items()},
        "endpoints": {name: list(place) for name, place in identity.endpoints.items()},
        "identified_at": now.isoformat(),
    }


def _reach(url: str, *, allow_private: bool) -> Transport:
    # No budget: there is no node yet that could have one.
    return Transport(url, admit=lambda: None, allow_private=allow_private, monotonic=time.monotonic)


@contextmanager
def _asking(field: str) -> Iterator[None]:
    """Turn what becomes of a question into what the operator is told beside the field."""
    try:
        yield
    except (BadAnswer, Refused) as error:
        raise InvalidInput(error.message, field=field, code=error.code) from None
    except OceanError as error:
        raise NodeSilent(error.message, field=field) from None


def _require_aquarius(transport: Transport) -> None:
    """Refuse what does not say which chains it follows. Source: provider-v4 recording 92-aquarius-chains."""

    def explain(reply: Reply) -> OceanError | None:
        return none if 400 <= reply.status < 500 and reply.status != 429 else None

    none = BadAnswer(
        f"{transport.host} is no Aquarius: it does not say which chains it follows. Check the address.",
        code="not_an_aquarius",
    )
    chains = transport.get_json(path="/api/aquarius/chains/list", explain=explain, retry=False)
    if not isinstance(chains, dict) or not all(str(chain).isdigit() for chain in chains):
        raise none
