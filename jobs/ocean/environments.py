"""The places where a compute service runs jobs, what they offer, and what is free of it now."""

import json
import re
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import Annotated, Any

from pydantic import AliasPath, BeforeValidator, Field

from jobs.ocean.errors import BadAnswer
from jobs.ocean.parsing import Count, Identifier, Parsed, Wire, parse_list, shown_text
from jobs.ocean.tariffs import Tariff as Tariff
from jobs.ocean.tariffs import for_minutes, for_seconds, parse_tariffs
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
    """A place where a service runs jobs.

    chain_id: of the chain that it takes orders on; None where it is not bound to one.
    price_min: a Provider's price, in `fee_token` per minute; None for prices by resource, which stand in `fees`.
    """

    id: Identifier
    chain_id: int | None = None
    price_min: Decimal | None = None
    fee_token: Address | None = None
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

    @property
    def tariffs(self) -> tuple[Tariff, ...]:
        """What a node charges here, by chain and token; what cannot be read is left out."""
        return parse_tariffs(self.fees)

    def cost(
        self,
        *,
        chain_id: int,
        token: Address,
        duration_s: int | None = None,
        resources: tuple[tuple[str, float], ...] | None = None,
    ) -> Decimal | None:
        """Work out what a job costs here, in tokens; None where this token is not taken.

        It is the most that a job of this duration costs: a shorter one costs less, but never less than the environment's
        shortest duration. duration_s: None takes the longest that is allowed, longer ones are cut to it.
        resources: as in a StartRequest; what is not asked for is taken at its smallest amount.
        A node answers to `initialize` what it will really lock; a Provider counts the seconds up to the fee's end.
        Source: recordings 31, 32 and 34; provider-v4 recording 60.
        """
        seconds = max(self.min_duration_s, min(duration_s or self.max_duration_s, self.max_duration_s))
        if self.price_min is not None:
            if (chain_id, token) != (self.chain_id, self.fee_token):
                return None
            return for_seconds(price_min=self.price_min, duration_s=seconds)
        tariffs = (tariff for tariff in self.tariffs if (tariff.chain_id, tariff.token) == (chain_id, token))
        tariff = next(tariffs, None)
        if tariff is None:
            return None
        asked = dict(resources or ())
        smallest = {resource.id: resource.min for resource in self.resources}
        amounts = {
            name: Decimal(str(max(asked.get(name, 0), smallest.get(name, 0)))) for name in asked | smallest
        }
        return for_minutes(tariff=tariff, amounts=amounts, duration_s=seconds)


def parse_environments(answer: object) -> Parsed[Environment]:
    """Read the answer of a node's computeEnvironments.

    Raises: BadAnswer when it is no list, or has entries and none of them can be read.
    """
    if not isinstance(answer, list):
        raise BadAnswer("The node's list of environments is no list.", code="environments")
    return parse_list(answer, limit=_MAX_ENVIRONMENTS, read=_of_node, what="environment")


def parse_environments_by_chain(answer: object) -> Parsed[Environment]:
    """Read the answer of a Provider's computeEnvironments: lists by chain id, the ids as text.

    Raises: BadAnswer when it is no object of lists, or has entries and none of them can be read.
    Source: provider-v4 recording 20.
    """
    if not isinstance(answer, dict):
        raise BadAnswer("The Provider's environments do not come by their chains.", code="environments")
    entries: list[Any] = []
    for chain_id, listed in answer.items():
        if not re.fullmatch(r"[0-9]{1,15}", str(chain_id)) or not isinstance(listed, list):
            raise BadAnswer("The Provider's environments do not come by their chains.", code="environments")
        entries += [
            {**entry, "chainId": int(chain_id)} if isinstance(entry, dict) else entry for entry in listed
        ]
    return parse_list(entries, limit=_MAX_ENVIRONMENTS, read=_of_provider, what="environment")


def stored_environment(raw: Mapping[str, Any], *, dialect: str) -> Environment:
    """Read an environment again from what was kept of it as `raw`.

    Raises: BadAnswer when it can no longer be read: an older release stored it.
    """
    read = _of_provider if dialect == "provider-v4" else _of_node
    return parse_list([dict(raw)], limit=1, read=read, what="environment")[0]


def _of_node(entry: dict[str, Any]) -> Environment:
    _check_length(entry)
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


def _of_provider(entry: dict[str, Any]) -> Environment:
    """Read an environment of a Provider. Numbers come as numbers or as text, whichever the operator wrote."""
    _check_length(entry)
    price = _number(entry.get("priceMin"), most=Decimal(10) ** 30)
    longest_s, places = int(_number(entry.get("maxJobDuration"))), int(_number(entry.get("maxJobs", 0)))
    running = int(_number(entry.get("currentJobs", 0)))
    free = FreeTier(max_jobs=places, max_duration_s=longest_s, running_jobs=running) if price == 0 else None
    return Environment.model_validate(
        {
            "id": entry.get("id"),
            "chain_id": entry.get("chainId"),
            "consumer_address": entry.get("consumerAddress"),
            "description": entry.get("desc") or "",
            "price_min": price,
            "fee_token": entry.get("feeToken"),
            "max_duration_s": longest_s,
            "max_jobs": places,
            "running_jobs": running,
            "storage_expiry_s": int(_number(entry.get("storageExpiry") or 0)) or None,
            "resources": [
                {"id": name, "total": _number(entry[key]), "max": _number(entry[key])}
                for name, key in (
                    ("cpu", "cpuNumber"),
                    ("ram", "ramGB"),
                    ("disk", "diskGB"),
                    ("gpu", "gpuNumber"),
                )
                if entry.get(key)
            ],
            "free": free,
            "raw": entry,
        }
    )


def _check_length(entry: dict[str, Any]) -> None:
    if len(json.dumps(entry)) > _RAW_CHARACTERS:
        raise BadAnswer("The node describes an environment at too great length.", code="environment")


def _number(value: object, *, most: Decimal = Decimal(10) ** 12) -> Decimal:
    """Read a number that may be written as text; not negative, not above `most`."""
    try:
        number = Decimal(str(value)) if not isinstance(value, bool) and value is not None else None
    except InvalidOperation:
        number = None
    if number is None or not number.is_finite() or not 0 <= number <= most:
        raise BadAnswer(
            "The Provider described an environment with a number that is none.", code="environment"
        )
    return number
