"""The one compute environment of the sandbox's node, with its free tier. Source: recordings 01 and 24."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

CHAIN_ID = 8996
# The node's own account is number 9 of the public development mnemonic. Source: recording 01, exchange 1.
PROVIDER_ADDRESS = "0xa0Ee7A142d267C1f36714E4a8F75612F20a79720"
FREE_MAX_DURATION_S = 120
GIGABYTE = 1024**3

# id, total and max of the paid tier, total and max of the free tier, min
RESOURCES = (("cpu", 2, 2, 2, 1, 1), ("ram", 8, 4, 4, 2, 1), ("disk", 20, 10, 4, 1, 0))


class RefusedResources(ValueError):
    """The request wants more than the free tier has; the message is the node's."""


@dataclass(frozen=True)
class Environment:
    """What stays the same of an environment: names, fee tokens, how long it keeps results (seconds)."""

    engine_id: str
    environment_id: str
    fee_tokens: tuple[str, ...]
    storage_expiry_s: int

    @property
    def id(self) -> str:
        """The id that clients name: engine and environment, with a dash."""
        return f"{self.engine_id}-{self.environment_id}"

    def document(self, *, running: Iterable[dict[str, float]], queued: int) -> dict[str, Any]:
        """Describe the environment as computeEnvironments does.

        running: the resources of each running job; queued: how many wait.
        """
        jobs = list(running)
        in_use = {name: sum(job.get(name, 0) for job in jobs) for name, *_ in RESOURCES}
        nobody: dict[str, list[str]] = {"addresses": [], "accessLists": []}
        paid = [
            {"id": name, "type": name, "total": total, "max": top, "min": low}
            | ({"description": "sandbox"} if name == "cpu" else {})
            | {"inUse": in_use[name]}
            for name, total, top, _, _, low in RESOURCES
        ]
        free = [
            {"id": name, "total": total, "min": low, "max": top, "inUse": in_use[name]}
            for name, _, _, total, top, low in RESOURCES
        ]
        prices = [{"id": "cpu", "price": 1}, {"id": "ram", "price": 0.1}, {"id": "disk", "price": 0.01}]
        return {
            "id": self.id,
            "runningJobs": len(jobs),
            "consumerAddress": PROVIDER_ADDRESS,
            "platform": {"architecture": "x86_64", "os": "linux"},
            "access": nobody,
            "fees": {str(CHAIN_ID): [{"feeToken": token, "prices": prices} for token in self.fee_tokens]},
            "resources": paid,
            "queuedJobs": queued,
            "queuedFreeJobs": queued,
            "queMaxWaitTime": 0,
            "queMaxWaitTimeFree": 0,
            "runMaxWaitTime": 0,
            "runMaxWaitTimeFree": 0,
            "enableNetwork": False,
            "storageExpiry": self.storage_expiry_s,
            "minJobDuration": 10,
            "maxJobDuration": 3600,
            "maxJobs": 10,
            "description": "Sandbox: free jobs only",
            "free": {
                "access": nobody,
                "minJobDuration": 10,
                "maxJobDuration": FREE_MAX_DURATION_S,
                "maxJobs": 2,
                "resources": free,
                "allowImageBuild": True,
            },
            "runningfreeJobs": len(jobs),
        }


def stable_id(*, text: str) -> str:
    """Return a 0x-hash of the text, for ids that must not change over restarts."""
    return "0x" + hashlib.sha256(text.encode()).hexdigest()


def fill_resources(*, wanted: object) -> dict[str, float]:
    """Return the amount of every resource, with the minimum where nothing was asked; unknown ids are ignored.

    Raises RefusedResources above the free maximum. Source: recording 17, exchanges 17 to 20.
    """
    items = [item for item in wanted if isinstance(item, dict)] if isinstance(wanted, list) else []
    asked = {str(item.get("id")): item.get("amount") for item in items}
    amounts: dict[str, float] = {}
    for name, _, _, _, top, low in RESOURCES:
        amount = asked.get(name)
        amounts[name] = max(low, amount) if isinstance(amount, int | float) else low
        if amounts[name] > top:
            raise RefusedResources(
                f"Error: Not enough {name} resources. Requested {amount}, but max is {top}"
            )
    return amounts


def missing_resource(*, amounts: dict[str, float], running: Iterable[dict[str, float]]) -> str | None:
    """Return the id of the first resource that the free tier has not enough of now, or None."""
    jobs = list(running)
    for name, _, _, total, _, _ in RESOURCES:
        if sum(job.get(name, 0) for job in jobs) + amounts[name] > total:
            return name
    return None
