"""From what a person entered to the rows that a job is made of: everything is checked here, for page and command line.

No far side is called.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from itertools import product
from typing import Any

from jobs.access import Action, Actor, require
from jobs.errors import InvalidInput, NotAllowed
from jobs.lifecycle import State
from jobs.models import Asset, Environment, Job, Node, Wallet
from jobs.models.networks import normal_endpoint
from jobs.services import catalogue, grants, places
from jobs.services.places import PAID, Option, Place, PlaceWish

PARAMETERS_MAX_BYTES = 20_000  # a node takes bodies up to 100 kB (recording 17, exchange 29)
CODE_MAX_BYTES = 60_000  # leaves room beside it for everything else, written as JSON
DATASETS_MAX = 20


@dataclass(frozen=True)
class DatasetChoice:
    """A dataset by DID, or by a name that only one asset of the team bears; service_id "" is its only compute service.

    userdata: the values that the service's publisher asks for.
    """

    ref: str
    service_id: str = ""
    userdata: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class OwnAlgorithm:
    """Code of one's own, in place of a published algorithm: either the code itself or where it can be fetched.

    language: what it is written in, for people and for services that want to know. checksum: of the image, or "".
    """

    image: str
    tag: str
    entrypoint: str
    code: str = ""
    url: str = ""
    language: str = ""
    checksum: str = ""


@dataclass(frozen=True)
class LaunchRequest:
    """What a person wants to run.

    environment: the number of an Environment row, a node's environment id, "free": the free tier with the most room on
        a node that serves all the datasets, or "paid": the cheapest paid one there that fits.
    paid: run in the paid part of an environment that has a free tier too. token: the address of what it is paid in, ""
        for the first that the environment takes and the wallet may spend. resources: amounts by id; None takes the least.
    most: the most that is agreed to, in wei by token; without it nothing is spent.
    instead_of: a job that waits for a person, which ends when this one is launched; its orders are this one's then.
    algorithm: a DID or a name as of a dataset; or code of one's own.
    wallet: the number of a Wallet row, or its label.
    max_duration_s, queue_wait_s: None takes the environment's limit for both.
    """

    datasets: tuple[DatasetChoice, ...]
    algorithm: str | OwnAlgorithm
    environment: str
    wallet: str
    parameters: Mapping[str, Any] | None = None
    max_duration_s: int | None = None
    queue_wait_s: int | None = None
    name: str = ""
    rerun_of: uuid.UUID | None = None
    paid: bool = False
    token: str = ""
    resources: Mapping[str, float] | None = None
    most: Mapping[str, int] = field(default_factory=dict)
    instead_of: uuid.UUID | None = None


@dataclass(frozen=True)
class _Input:
    dataset: Asset
    service: Mapping[str, Any]
    userdata: dict[str, Any] | None


@dataclass(frozen=True)
class _Algorithm:
    """What runs: an asset with the service that it is fetched by, or code of one's own."""

    name: str
    container: Mapping[str, Any]
    asset: Asset | None = None
    service_id: str = ""
    own: dict[str, str] | None = None


@dataclass(frozen=True)
class Plan:
    """What a launch writes down. takes_orders: a start there needs orders on the chain, a free one too."""

    inputs: tuple[_Input, ...]
    algorithm: _Algorithm
    environment: Environment
    wallet: Wallet
    parameters: dict[str, Any] | None
    max_duration_s: int
    queue_wait_s: int
    name: str
    free: bool
    payment_token: str
    resources: dict[str, float] | None
    takes_orders: bool
    instead_of: uuid.UUID | None

    @property
    def may_spend(self) -> bool:
        """Whether the start may send transactions: a paid place does, and so does one that takes orders for free."""
        return not self.free or self.takes_orders


def plan(*, actor: Actor, request: LaunchRequest) -> Plan:
    """Check a request and find what it names.

    Raises:
        NotAllowed: the role does not include running code of one's own, or ending the job that this one replaces.
        InvalidInput: something entered cannot be used; its field is named.
    """
    _refuse_to_repeat_elsewhere(actor=actor, job_id=request.rerun_of)
    _refuse_to_replace(actor=actor, job_id=request.instead_of)
    inputs = _inputs(actor=actor, choices=request.datasets)
    if isinstance(request.algorithm, OwnAlgorithm):
        algorithm = _own_algorithm(actor=actor, own=request.algorithm)
    else:
        algorithm = _algorithm(actor=actor, ref=request.algorithm)
    node_ids = _serving_nodes(inputs)
    wallet = _wallet(actor=actor, ref=request.wallet)
    place = places.find(
        wish=_place_wish(request),
        wallet=wallet,
        node_ids=node_ids,
        chain_ids={x.dataset.chain_id for x in inputs},
    )
    if place.takes_orders:
        _refuse_other_chains(inputs=inputs, algorithm=algorithm, environment=place.environment)
    if algorithm.own is not None:
        _refuse_own_code(inputs=inputs, algorithm=algorithm, place=place)
    limit_s, can = place.longest_s, place.environment.node.can
    # A Provider compares the publishers' lists with the environment before an order, with the wallet at the start.
    users = [wallet.address, *([place.offer.consumer_address] if place.takes_orders else [])]
    _refuse_what_cannot_be_consumed(inputs=inputs, algorithm=algorithm, users=users)
    names = ", ".join(x.dataset.name for x in inputs)
    return Plan(
        inputs=inputs,
        algorithm=algorithm,
        environment=place.environment,
        wallet=wallet,
        parameters=_parameters(
            name=algorithm.name,
            asked=algorithm.asset.consumer_parameters if algorithm.asset else [],
            given=request.parameters,
            field="parameters",
        ),
        max_duration_s=_seconds(
            request.max_duration_s,
            default=limit_s,
            largest=limit_s,
            field="max_duration_s",
            what="The duration",
        ),
        queue_wait_s=_seconds(
            request.queue_wait_s,
            default=limit_s,
            largest=7 * 86_400,
            field="queue_wait_s",
            what="The queue wait",
            least=0,
        )
        if can.queue
        else 0,
        name=(request.name.strip() or f"{algorithm.name}, {names}")[:200],
        free=place.free,
        payment_token=place.token,
        resources=places.checked_resources(
            given=request.resources, place=place, picked=request.environment == PAID
        ),
        takes_orders=place.takes_orders,
        instead_of=request.instead_of,
    )


def options(*, actor: Actor, request: LaunchRequest) -> list[Option]:
    """Return every place where a job could run with what was entered: the free ones first, then the cheapest.

    What was chosen as its place does not count. Raises: InvalidInput
    """
    inputs = _inputs(actor=actor, choices=request.datasets)
    wish = replace(_place_wish(request), token="")
    there = {"node_ids": _serving_nodes(inputs), "chain_ids": {x.dataset.chain_id for x in inputs}}
    wallet = _wallet(actor=actor, ref=request.wallet)
    return [
        *places.free_options(wish=wish, **there),
        *places.paid_options(wish=wish, wallet=wallet, **there),
    ]


def _place_wish(request: LaunchRequest) -> PlaceWish:
    return PlaceWish(
        ref=request.environment,
        paid=request.paid,
        token=request.token,
        resources=request.resources,
        max_duration_s=request.max_duration_s,
    )


def _refuse_to_repeat_elsewhere(*, actor: Actor, job_id: uuid.UUID | None) -> None:
    """Refuse to be another team's job run again: the new job's page would name it."""
    if job_id is not None and not Job.objects.filter(team_id=actor.team_id, pk=job_id).exists():
        raise InvalidInput(
            "The job that this one was to run again is not in this team. A launch from a fresh page runs none again.",
            field="rerun_of",
            code="unknown",
        )


def _refuse_to_replace(*, actor: Actor, job_id: uuid.UUID | None) -> None:
    """Refuse to replace a job that does not wait for a person, or that this person may not end."""
    if job_id is None:
        return
    job = (
        Job.objects.filter(team_id=actor.team_id, pk=job_id).only("state", "launched_by", "handed_to").first()
    )
    if job is None or job.state != State.NEEDS_ATTENTION:
        raise InvalidInput(
            "The job that this one was to replace does not wait for anybody any more. Look at it first; "
            "a launch from a fresh page replaces nothing.",
            field="instead_of",
            code="not_waiting",
        )
    if not actor.may_stop(owner_id=job.owner_id):
        raise NotAllowed(
            f"Your role in this team is {actor.role}: you may not end the job that this one was to replace. "
            "Ask who launched it, or an admin."
        )


def _inputs(*, actor: Actor, choices: tuple[DatasetChoice, ...]) -> tuple[_Input, ...]:
    if not choices:
        raise InvalidInput("Choose at least one dataset.", field="datasets")
    if len(choices) > DATASETS_MAX:
        raise InvalidInput(f"A job takes at most {DATASETS_MAX} datasets.", field="datasets")
    found: list[_Input] = []
    for choice in choices:
        dataset = catalogue.find(
            team_id=actor.team_id, ref=choice.ref, kind=Asset.Kind.DATASET, field="datasets"
        )
        service = _compute_service(dataset, choice.service_id)
        if any(x.dataset.pk == dataset.pk and x.service["id"] == service["id"] for x in found):
            raise InvalidInput(f"“{dataset.name}” is chosen twice with the same service.", field="datasets")
        userdata = _parameters(
            name=dataset.name,
            asked=service.get("consumer_parameters") or [],
            given=choice.userdata,
            field="datasets",
        )
        found.append(_Input(dataset=dataset, service=service, userdata=userdata))
    return tuple(found)


def _compute_service(dataset: Asset, service_id: str) -> Mapping[str, Any]:
    compute = dataset.services_of_type("compute")
    if not compute:
        raise InvalidInput(
            f"“{dataset.name}” has no compute service: its publisher offers it for download only.",
            field="datasets",
            code="no_compute_service",
        )
    if not service_id:
        if len(compute) > 1:
            ids = tuple(str(s["id"]) for s in compute)
            raise InvalidInput(
                f"“{dataset.name}” has several compute services: name one of {', '.join(ids)}.",
                field="datasets",
                candidates=ids,
            )
        return compute[0]
    for service in dataset.services:
        if service["id"] == service_id:
            if service["type"] != "compute":
                raise InvalidInput(
                    f"The service “{service_id}” of “{dataset.name}” is for {service['type']}, not for compute.",
                    field="datasets",
                    code="no_compute_service",
                )
            found: Mapping[str, Any] = service
            return found
    raise InvalidInput(
        f"“{dataset.name}” has no service “{service_id}”.",
        field="datasets",
        candidates=tuple(str(s["id"]) for s in compute),
    )


def _algorithm(*, actor: Actor, ref: str) -> _Algorithm:
    algorithm = catalogue.find(team_id=actor.team_id, ref=ref, kind=Asset.Kind.ALGORITHM, field="algorithm")
    services = algorithm.services_of_type("access", "compute")
    if not services:
        raise InvalidInput(
            f"“{algorithm.name}” has no service that a node could fetch it by.", field="algorithm"
        )
    # A node's free compute reads the container from the request: with the DID alone it answers 500 (recording 33).
    if not algorithm.container or not algorithm.container.get("image"):
        raise InvalidInput(
            f"“{algorithm.name}” does not say which container it runs in; its publisher has to add that.",
            field="algorithm",
        )
    return _Algorithm(
        name=algorithm.name,
        container=algorithm.container,
        asset=algorithm,
        service_id=services[0]["id"],
    )


def _own_algorithm(*, actor: Actor, own: OwnAlgorithm) -> _Algorithm:
    """Check code of one's own as far as can be seen here; what its container does with it, only the run shows."""
    require(actor, Action.LAUNCH_CODE)
    container = {name: getattr(own, name).strip() for name in ("image", "tag", "entrypoint", "checksum")}
    if bool(own.code.strip()) == bool(own.url.strip()):
        raise InvalidInput("Give either the code itself or its address.", field="code", code="no_code")
    size = len(own.code.encode())
    if size > CODE_MAX_BYTES:
        raise InvalidInput(
            f"The code has {size:,} bytes; a node takes {CODE_MAX_BYTES:,} of it in a start. "
            "Publish it as an algorithm, or give its address.",
            field="code",
            code="code_too_large",
        )
    if own.url.strip() and not _is_web_address(own.url.strip()):
        raise InvalidInput(
            "The address of the code begins with https:// or http:// and a host.", field="code_url"
        )
    for name in ("image", "tag", "entrypoint"):
        if not container[name]:
            raise InvalidInput(
                "Code of your own needs a container: image, tag and entry point.",
                field=f"code_{name}",
                code="no_container",
            )
    if "$ALGO" not in container["entrypoint"]:
        raise InvalidInput(
            "The entry point names the code as $ALGO, such as: python3 $ALGO.",
            field="code_entrypoint",
            code="no_entrypoint",
        )
    language = own.language.strip()[:40]
    return _Algorithm(
        name=f"Own code ({language})" if language else "Own code",
        container=container,
        own={"language": language, "code": own.code, "url": own.url.strip()},
    )


def _is_web_address(text: str) -> bool:
    return len(text) <= 2_000 and bool(normal_endpoint(text))


def _refuse_own_code(*, inputs: tuple[_Input, ...], algorithm: _Algorithm, place: Place) -> None:
    """Refuse code of one's own where the service would: a free start at a node asks no publisher, every other does."""
    can = place.environment.node.can
    for x in inputs:
        if (can.trust_enforced or not place.free) and not (x.service.get("compute") or {}).get("allow_raw"):
            raise InvalidInput(
                f"The publisher of “{x.dataset.name}” lets published algorithms run on it only, "
                "and the service holds everybody to that here.",
                field="algorithm",
                code="raw_not_allowed",
            )
    if can.trust_enforced and not algorithm.container["checksum"]:
        # Source: provider-v4 recording 82-start-bad-container.
        raise InvalidInput(
            "A Provider runs code of your own only in an image with its checksum: sha256: and 64 digits.",
            field="code_checksum",
            code="no_checksum",
        )


def _refuse_other_chains(
    *, inputs: tuple[_Input, ...], algorithm: _Algorithm, environment: Environment
) -> None:
    """Refuse what lives on another chain than the one on which the environment takes its orders."""
    chain_id = environment.chain_id or environment.node.network.chain_id
    for asset, name in _named_assets(inputs=inputs, algorithm=algorithm):
        if asset.chain_id != chain_id:
            raise InvalidInput(
                f"“{asset.name}” is on chain {asset.chain_id}, and this environment takes orders on chain "
                f"{chain_id} alone.",
                field=name,
                code="different_chains",
            )


def _named_assets(*, inputs: tuple[_Input, ...], algorithm: _Algorithm) -> list[tuple[Asset, str]]:
    """Return the published assets of a job, each with the field that it was chosen in."""
    named = [(x.dataset, "datasets") for x in inputs]
    return named if algorithm.asset is None else [*named, (algorithm.asset, "algorithm")]


def _refuse_what_cannot_be_consumed(
    *, inputs: tuple[_Input, ...], algorithm: _Algorithm, users: Iterable[str]
) -> None:
    """Refuse assets that are disabled, or that their publisher keeps from one of the users."""
    for (asset, name), user in product(_named_assets(inputs=inputs, algorithm=algorithm), users):
        refusal = catalogue.refusal(asset=asset, address=user)
        if refusal is not None:
            raise InvalidInput(f"“{asset.name}”: {refusal.sentence}", field=name, code=refusal.code)


def _serving_nodes(inputs: tuple[_Input, ...]) -> set[int]:
    nodes = Node.objects.by_endpoint()
    common: set[int] | None = None
    for x in inputs:
        endpoint = str(x.service["endpoint"])
        node = nodes.get(normal_endpoint(endpoint))
        if node is None:
            raise InvalidInput(
                f"“{x.dataset.name}” is served by {endpoint}, which is not among this portal's nodes. "
                "An operator can add it.",
                field="datasets",
                code="unknown_node",
            )
        common = {node.pk} if common is None else common & {node.pk}
    if not common:
        raise InvalidInput(
            "These datasets are served by different nodes; a job runs where its data is. Launch one job per node.",
            field="datasets",
            code="different_nodes",
        )
    return common


def _wallet(*, actor: Actor, ref: str) -> Wallet:
    enabled = Wallet.objects.filter(team_id=actor.team_id, disabled_at=None)
    wallet = enabled.filter(label__iexact=ref).first()
    if wallet is None and ref.isascii() and ref.isdigit() and len(ref) < 12:
        wallet = enabled.filter(pk=int(ref)).first()
    if wallet is not None:
        grants.refuse_watched(wallet)
    if wallet is None:
        usable = enabled.usable()
        raise InvalidInput(
            f"This team has no usable wallet “{ref}”." if ref else "Choose a wallet.",
            field="wallet",
            code="unknown_wallet",
            candidates=tuple(usable.order_by("label").values_list("label", flat=True)),
        )
    return wallet


def _parameters(
    *, name: str, asked: list[dict[str, Any]], given: Mapping[str, Any] | None, field: str
) -> dict[str, Any] | None:
    """Fill in the defaults of what a publisher asks for; more may be given than is asked."""
    values = dict(given or {})
    try:
        size = len(json.dumps(values, allow_nan=False))
    except ValueError:
        raise InvalidInput("NaN and infinity cannot be sent as parameters.", field=field) from None
    if size > PARAMETERS_MAX_BYTES:
        raise InvalidInput(f"The parameters are larger than {PARAMETERS_MAX_BYTES // 1000} kB.", field=field)
    for parameter in asked:
        wanted = parameter["name"]
        if values.get(wanted) in (None, "") and parameter.get("default") not in (None, ""):
            values[wanted] = parameter["default"]
        if values.get(wanted) in (None, "") and parameter.get("required"):
            raise InvalidInput(
                f"“{name}” needs the parameter “{wanted}”.", field=field, code="missing_parameter"
            )
    return values or None


def _seconds(value: int | None, *, default: int, largest: int, field: str, what: str, least: int = 1) -> int:
    if value is None:
        return default
    # A node clamps an over-long duration silently; we say so instead.
    if not least <= value <= largest:
        raise InvalidInput(f"{what} must be between {least} and {largest} seconds here.", field=field)
    return value
