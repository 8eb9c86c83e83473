"""The places where a compute service runs jobs, what they offer, and what is free of it now."""

import json
from typing import Annotated, Any

from pydantic import AliasPath, BeforeValidator, Field

from jobs.ocean.errors import BadAnswer
from jobs.ocean.parsing import Count, Identifier, Parsed, Wire, parse_list, shown_text
from jobs.ocean.units import Address

_MAX_ENVIRONMENTS = 200
# What is kept of one as it was sent; pages read it each time.
_RAW_CHARACTERS = 500_000
_PLENTY = 1_000_000


def _or(empty: object) -> BeforeValidator:
    """Take null for what may be left out."""
    return BeforeValidator(lambda value: empty if value is None else value)


class Resource(Wire):
    """One kind of resource: how much there is, what a job may take, and what is taken now."""

    id: Annotated[str, Field(min_length=1, max_length=100), shown_text(100)]
    total: Annotated[float, Field(ge=0, le=1e12)]
    min: Annotated[float, Field(ge=0, le=1e12)] = 0
    max: Annotated[float, Field(ge=0, le=1e12)]
    in_use: Annotated[float, Field(ge=0, le=1e12, validation_alias="inUse")] = 0

    @property
    def room(self) -> int:
        """How many more jobs of the smallest size fit; a job that may take none of it always fits."""
        free = self.total - self.in_use
        if self.min <= 0 or free >= self.min * _PLENTY:
            return _PLENTY
        return max(0, int(free // self.min))


class FreeTier(Wire):
    """What an environment gives away. Recorded: two jobs at a time, 120 s each."""

    max_jobs: Annotated[Count, Field(validation_alias="maxJobs")]
    min_duration_s: Annotated[Count, Field(validation_alias="minJobDuration")] = 0
    max_duration_s: Annotated[Count, Field(validation_alias="maxJobDuration")]
    resources: tuple[Resource, ...] = Field(default=(), max_length=100, fail_fast=True)
    allowed_addresses: tuple[str, ...] = Field(
        default=(), max_length=10_000, fail_fast=True, validation_alias=AliasPath("access", "addresses")
    )
    access_lists: tuple[Any, ...] = Field(
        default=(), max_length=1_000, validation_alias=AliasPath("access", "accessLists")
    )
    running_jobs: Count = 0
    queued_jobs: Count = 0

    def admits(self, address: Address) -> bool | None:
        """Say whether the address may use the tier; None when only an access list on a chain can tell."""
        if not self.allowed_addresses and not self.access_lists:
            return True
        if address.lower() in {allowed.lower() for allowed in self.allowed_addresses}:
            return True
        return None if self.access_lists else False


class Environment(Wire):
    """A place where a node runs jobs."""

    id: Identifier
    consumer_address: Annotated[Address, Field(validation_alias="consumerAddress")]
    description: Annotated[str, shown_text(500), _or("")] = ""
    platform: dict[str, Any] | None = None
    min_duration_s: Annotated[Count, Field(validation_alias="minJobDuration")] = 0
    max_duration_s: Annotated[Count, Field(validation_alias="maxJobDuration")]
    max_jobs: Annotated[Count, Field(validation_alias="maxJobs")] = 0
    running_jobs: Annotated[Count, Field(validation_alias="runningJobs")] = 0
    queued_jobs: Annotated[Count, Field(validation_alias="queuedJobs")] = 0
    storage_expiry_s: Annotated[Count | None, Field(validation_alias="storageExpiry")] = None
    network_allowed: Annotated[bool, Field(validation_alias="enableNetwork")] = False
    resources: tuple[Resource, ...] = Field(default=(), max_length=100, fail_fast=True)
    fees: Annotated[dict[str, Any], _or({})] = Field(default_factory=dict)
    free: FreeTier | None = None
    raw: dict[str, Any] = Field(default_factory=dict, repr=False)

    @property
    def free_room(self) -> int:
        """How many more free jobs of the smallest size would start now instead of being refused as busy.

        Source: recording 24, exchanges 3 and 4: the tier's job count and the inUse of its cpu decide.
        """
        if self.free is None:
            return 0
        rooms = [resource.room for resource in (*self.free.resources, *self.resources)]
        return max(0, min([_PLENTY, self.free.max_jobs - self.free.running_jobs, *rooms]))


def parse_environments(answer: object) -> Parsed[Environment]:
    """Read the answer of computeEnvironments.

    Raises: BadAnswer when it is no list, or has entries and none of them can be read.
    """
    if not isinstance(answer, list):
        raise BadAnswer("The node's list of environments is no list.", code="environments")

    def read(entry: dict[str, Any]) -> Environment:
        if len(json.dumps(entry)) > _RAW_CHARACTERS:
            raise BadAnswer("The node describes an environment at too great length.", code="environment")
        environment = Environment.model_validate({**entry, "raw": entry})
        if environment.free is None:
            return environment
        # The node writes "runningfreeJobs" (sic) and counts the free ones beside the tier, not in it.
        busy = {
            "running_jobs": entry.get("runningfreeJobs", 0),
            "queued_jobs": entry.get("queuedFreeJobs", 0),
        }
        return environment.model_copy(
            update={"free": FreeTier.model_validate({**entry["free"], **busy})},
        )

    return parse_list(answer, limit=_MAX_ENVIRONMENTS, read=read, what="environment")
