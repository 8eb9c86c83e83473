"""Holds a launch to the price that a person saw: what was shown is sealed, and comes back with the form.

The seal names what the price was for. Whoever changes the choice, the place or the amounts has to look at the price again.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from django.core import signing

from jobs.access import Actor
from jobs.errors import InvalidInput
from jobs.models import Job
from jobs.services import choosing
from jobs.services.choosing import LaunchRequest, Plan

VALID_FOR = timedelta(minutes=15)  # a price is worked out again before it is paid, and never exceeded
_SALT = "jobs.agreements"


class NotAgreed(InvalidInput):
    """Nobody has agreed to a price for this. code: not_agreed (none was shown) or price_outdated."""

    code = "not_agreed"


def seal(*, actor: Actor, plan: Plan, most: Mapping[str, int], now: datetime) -> str:
    """Return what a form carries of a price that it shows, good for VALID_FOR. most: in wei by token."""
    shown = {
        "for": _fingerprint(actor=actor, plan=plan),
        "most": {token: str(amount) for token, amount in most.items()},
        "until": (now + VALID_FOR).timestamp(),
    }
    return signing.dumps(shown, salt=_SALT, compress=True)


def agreed(
    *, actor: Actor, request: LaunchRequest, text: str, launch_key: uuid.UUID, now: datetime
) -> Mapping[str, int]:
    """Return what was agreed to, in wei by token; nothing for what is free and needs no orders.

    text: what `seal` returned, as it came back. launch_key: of a launch; the second click of one agrees to nothing new.
    Raises:
        NotAgreed: no price was shown, or one for something else, or too long ago.
        NotAllowed, InvalidInput: as `choosing.plan`.
    """
    if Job.objects.filter(team_id=actor.team_id, launch_key=launch_key).exists():
        return {}
    plan = choosing.plan(actor=actor, request=request)
    if plan.free and not plan.takes_orders:
        return {}
    if not text:
        raise NotAgreed("Look at the price first, then launch.", field="agreed")
    try:
        shown: dict[str, Any] = signing.loads(text, salt=_SALT)
        if shown["for"] != _fingerprint(actor=actor, plan=plan) or now.timestamp() > shown["until"]:
            raise signing.BadSignature
    except signing.BadSignature:
        raise NotAgreed(
            "The choice changed since this price was shown, or it was shown too long ago; look at the price again.",
            field="agreed",
            code="price_outdated",
        ) from None
    return {token: int(amount) for token, amount in shown["most"].items()}


def _fingerprint(*, actor: Actor, plan: Plan) -> str:
    """Return one text for all that a price depends on; another name or other parameters cost the same."""
    parts = [
        actor.team_id,
        actor.user_id,
        plan.wallet.pk,
        plan.environment.pk,
        plan.free,
        plan.payment_token,
        sorted((plan.resources or {}).items()),
        plan.max_duration_s,
        [[x.dataset.pk, x.service["id"]] for x in plan.inputs],
        plan.algorithm.asset.pk if plan.algorithm.asset else "",
        plan.algorithm.service_id,
        str(plan.instead_of or ""),
    ]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()
