"""Looks at nodes: what they say they are, and what they offer."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime, timedelta

from django.db import transaction

from jobs.models import Environment, Node
from jobs.ocean.compute import Environment as EnvironmentOffer
from jobs.ocean.compute import NodeIdentity, Parsed
from jobs.ocean.errors import OceanError
from jobs.services.budget import OutOfBudget, Purpose
from jobs.services.gateway import Clock, open_node

LOOK_EVERY = timedelta(seconds=60)
LOOK_AGAIN_AFTER_TROUBLE = timedelta(seconds=30)
IDENTIFY_EVERY = timedelta(hours=1)


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
    return True


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
        facts["said"] = {
            "software": identity.software,
            "version": identity.version,
            "chain_ids": list(identity.chain_ids),
            "addresses": {str(chain_id): str(address) for chain_id, address in identity.addresses.items()},
            "endpoints": {name: list(place) for name, place in identity.endpoints.items()},
            "identified_at": now.isoformat(),
        }
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
