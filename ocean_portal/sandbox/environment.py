"""The one compute environment of the sandbox's node, with its free tier. Source: recordings 01 and 24."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from ocean_portal.sandbox.prices import FeeToken

CHAIN_ID = 8996
# The node's own account is number 9 of the public development mnemonic. Source: recording 01, exchange 1.
PROVIDER_ADDRESS = "0xa0Ee7A142d267C1f36714E4a8F75612F20a79720"
FREE_MAX_DURATION_S, MAX_DURATION_S, MIN_DURATION_S = 120, 3600, 10
GIGABYTE = 1024**3

# id, total and max of the paid tier, total and max of the free tier, min
RESOURCES = (("cpu", 2, 2, 2, 1, 1), ("ram", 8, 4, 4, 2, 1), ("disk", 20, 10, 4, 1, 0))


class RefusedResources(ValueError):
    """The request wants more than the tier has; the message is the node's."""


@dataclass(frozen=True)
class Use:
    """What one job uses of the environment."""

    resources: dict[str, float]
    is_free: bool


@dataclass(frozen=True)
class Environment:
    """What stays the same of an environment: names, fee tokens, how long it keeps results (seconds)."""

    engine_id: str
    environment_id: str
    fees: tuple[FeeToken, ...]
    storage_expiry_s: int

    @property
    def id(self) -> str:
        """The id that clients name: engine and environment, with a dash."""
        return f"{self.engine_id}-{self.environment_id}"

    def fee(self, *, chain_id: object, token: object) -> FeeToken | None:
        """Return what is charged in a token, compared as text. Source: recording 33, exchanges 10 to 12."""
        taken = (fee for fee in self.fees if fee.address == token)
        return next(taken, None) if str(chain_id) == str(CHAIN_ID) else None

    def document(self, *, running: Iterable[Use], queued: Iterable[Use]) -> dict[str, Any]:
        """Describe the environment as computeEnvironments does; running, queued: one for each job."""
        jobs, waiting = list(running), list(queued)
        in_use, free_in_use = _sums(jobs), _sums([job for job in jobs if job.is_free])
        nobody: dict[str, list[str]] = {"addresses": [], "accessLists": []}
        paid = [
            {"id": name, "type": name, "total": total, "max": top, "min": low}
            | ({"description": "sandbox"} if name == "cpu" else {})
            | {"inUse": in_use[name]}
            for name, total, top, _, _, low in RESOURCES
        ]
        free = [
            {"id": name, "total": total, "min": low, "max": top, "inUse": free_in_use[name]}
            for name, _, _, total, top, low in RESOURCES
        ]
        return {
            "id": self.id,
            "runningJobs": len(jobs),
            "consumerAddress": PROVIDER_ADDRESS,
            "platform": {"architecture": "x86_64", "os": "linux"},
            "access": nobody,
            "fees": {str(CHAIN_ID): [fee.document() for fee in self.fees]},
            "resources": paid,
            "queuedJobs": len(waiting),
            "queuedFreeJobs": sum(job.is_free for job in waiting),
            "queMaxWaitTime": 0,
            "queMaxWaitTimeFree": 0,
            "runMaxWaitTime": 0,
            "runMaxWaitTimeFree": 0,
            "enableNetwork": False,
            "storageExpiry": self.storage_expiry_s,
            "minJobDuration": MIN_DURATION_S,
            "maxJobDuration": MAX_DURATION_S,
            "maxJobs": 10,
            "description": "Sandbox: paid and free jobs",
            "free": {
                "access": nobody,
                "minJobDuration": MIN_DURATION_S,
                "maxJobDuration": FREE_MAX_DURATION_S,
                "maxJobs": 2,
                "resources": free,
                "allowImageBuild": True,
            },
            "runningfreeJobs": sum(job.is_free for job in jobs),
        }


def stable_id(*, text: str) -> str:
    """Return a 0x-hash of the text, for ids that must not change over restarts."""
    return "0x" + hashlib.sha256(text.encode()).hexdigest()


def fill_resources(*, wanted: object, free: bool) -> dict[str, float]:
    """Return the amount of every resource, with the minimum where nothing was asked; unknown ids are ignored.

    Raises RefusedResources above the tier's maximum. Source: recording 17, exchanges 17 to 20; 33, exchange 14.
    """
    items = [item for item in wanted if isinstance(item, dict)] if isinstance(wanted, list) else []
    asked = {str(item.get("id")): item.get("amount") for item in items}
    amounts: dict[str, float] = {}
    for name, _, paid_top, _, free_top, low in RESOURCES:
        amount, top = asked.get(name), free_top if free else paid_top
        amounts[name] = max(low, amount) if isinstance(amount, int | float) else low
        if amounts[name] > top:
            raise RefusedResources(f"Not enough {name} resources. Requested {amount}, but max is {top}")
    return amounts


def missing_resource(*, use: Use, running: Iterable[Use]) -> str | None:
    """Return the first resource that there is not enough of now, in the node's words, or None.

    Source: ocean-node v3.2.0, compute_engine_base.ts, checkIfResourcesAreAvailable; recording 24, exchange 4.
    """
    jobs = list(running)
    in_use, free_in_use = _sums(jobs), _sums([job for job in jobs if job.is_free])
    for name, total, _, free_total, _, _ in RESOURCES:
        if in_use[name] + use.resources[name] > total:
            return name
        if use.is_free and free_in_use[name] + use.resources[name] > free_total:
            return f"{name} for free"
    return None


def _sums(jobs: list[Use]) -> dict[str, float]:
    return {name: sum(job.resources.get(name, 0) for job in jobs) for name, *_ in RESOURCES}
