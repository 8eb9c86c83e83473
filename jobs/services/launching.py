"""Launches jobs, and takes wishes about them: run again, stop, watch, go on.

Everything a person entered is checked here, once, for the page and for the command line. Launching writes one
transaction: the job, its inputs, its first event, and the queue row. No far side is called.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import IntegrityError, transaction

from jobs import queue
from jobs.access import Action, Actor, require
from jobs.errors import InvalidInput, Missing, NotAllowed
from jobs.lifecycle import ACTIVE, State
from jobs.models import Asset, Environment, Job, JobEvent, JobInput, Node, Wallet
from jobs.models.jobs import OUTCOMES
from jobs.models.networks import normal_endpoint
from jobs.ocean.compute import Environment as EnvironmentOffer
from jobs.ocean.compute import stored_environment
from jobs.services import catalogue
from jobs.services.gateway import capabilities

PARAMETERS_MAX_BYTES = 20_000  # a node takes bodies up to 100 kB (recording 17, exchange 29)
CODE_MAX_BYTES = 60_000  # leaves room beside it for everything else, written as JSON
DATASETS_MAX = 20
FREE = "free"


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

    environment: the number of an Environment row, a node's environment id, or "free": the free tier with the most room
        on a node that serves all the datasets.
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
class _Plan:
    inputs: tuple[_Input, ...]
    algorithm: _Algorithm
    environment: Environment
    wallet: Wallet
    parameters: dict[str, Any] | None
    max_duration_s: int
    queue_wait_s: int
    name: str


def launch(*, actor: Actor, request: LaunchRequest, launch_key: uuid.UUID, now: datetime) -> uuid.UUID:
    """Record a job and hand it to the worker; return its id.

    The same launch key is the same launch: a double click gets the job that the first click made.

    Raises:
        NotAllowed: the role does not include launching.
        InvalidInput: something entered cannot be used; its field is named. Nothing was written.
    """
    require(actor, Action.LAUNCH)
    known = _launched(actor=actor, launch_key=launch_key)
    if known is not None:
        return known
    plan = _plan(actor=actor, request=request)
    try:
        with transaction.atomic():
            job = Job.objects.create(
                team_id=actor.team_id,
                name=plan.name,
                launch_key=launch_key,
                launched_by_id=actor.user_id,
                rerun_of_id=request.rerun_of,
                wallet=plan.wallet,
                node=plan.environment.node,
                environment=plan.environment,
                algorithm=plan.algorithm.asset,
                algorithm_service_id=plan.algorithm.service_id,
                own_algorithm=plan.algorithm.own,
                container=plan.algorithm.container,
                parameters=plan.parameters,
                max_duration_s=plan.max_duration_s,
                queue_wait_s=plan.queue_wait_s,
                requested_at=now,
                next_check_at=now,
            )
            JobInput.objects.bulk_create(
                JobInput(
                    job=job, position=i, dataset=x.dataset, service_id=x.service["id"], userdata=x.userdata
                )
                for i, x in enumerate(plan.inputs)
            )
            JobEvent.objects.create(
                job=job,
                at=now,
                kind=JobEvent.Kind.STATE,
                after=State.REQUESTED,
                message=f"Launched by {actor.name}.",
                actor_id=actor.user_id,
            )
            queue.enqueue(queue.Task.ADVANCE, job.pk)
    except IntegrityError:
        known = _launched(actor=actor, launch_key=launch_key)
        if known is not None:
            return known
        if Job.objects.filter(launch_key=launch_key).exists():  # of another team: nobody's double click
            raise InvalidInput(
                "This form has been used already. Open the launch page again.", code="used_key"
            ) from None
        raise
    return job.pk


def rerun_request(*, actor: Actor, job_id: uuid.UUID) -> LaunchRequest:
    """Return the request that would launch the same job again, with the rights of whoever asks.

    Raises:
        NotAllowed, Missing
    """
    require(actor, Action.LAUNCH)
    job = _job(actor=actor, job_id=job_id)
    return LaunchRequest(
        datasets=tuple(
            DatasetChoice(ref=x.dataset.did, service_id=x.service_id, userdata=x.userdata)
            for x in job.inputs.select_related("dataset").order_by("position")
        ),
        algorithm=_algorithm_again(job),
        environment=str(job.environment_id),
        wallet=job.wallet.label,
        parameters=job.parameters,
        max_duration_s=job.max_duration_s,
        queue_wait_s=job.queue_wait_s,
        name=job.name,
        rerun_of=job.pk,
    )


def rerun(*, actor: Actor, job_id: uuid.UUID, launch_key: uuid.UUID, now: datetime) -> uuid.UUID:
    """Launch the same job again; return the new job's id.

    Raises:
        NotAllowed, Missing
        InvalidInput: what it needs is no longer there (wallet disabled, environment gone).
    """
    request = rerun_request(actor=actor, job_id=job_id)
    return launch(actor=actor, request=request, launch_key=launch_key, now=now)


def cancel(*, actor: Actor, job_id: uuid.UUID, now: datetime) -> bool:
    """Note the wish that a job be stopped; the worker's next step honours it. Return whether this wish is new.

    Raises:
        NotAllowed: the role does not include stopping this job.
        Missing: no such job in this team.
    """
    job = _job(actor=actor, job_id=job_id)
    _require_stop(actor=actor, job=job)
    with transaction.atomic():
        new = Job.objects.record(
            job_id=job.pk,
            kind=JobEvent.Kind.STOP_WISH,
            now=now,
            message=f"{actor.name} asked to stop the job.",
            actor_id=actor.user_id,
            expect={"state__in": ACTIVE | {State.NEEDS_ATTENTION}, "cancel_requested_at": None},
            cancel_requested_at=now,
            cancel_requested_by_id=actor.user_id,
            next_check_at=now,
        )
        if new and job.state == State.NEEDS_ATTENTION and job.attention_from:
            # Only the worker can tell the node, and it does nothing with a job that waits for a person.
            Job.objects.move(
                job_id=job.pk,
                before=State.NEEDS_ATTENTION,
                after=State(job.attention_from),
                now=now,
                actor_id=actor.user_id,
            )
        if new:
            queue.enqueue(queue.Task.ADVANCE, job.pk)
    return new


def go_on(*, actor: Actor, job_id: uuid.UUID, now: datetime) -> bool:
    """Put a job that needed attention back to the state it came from; return whether it was waiting.

    Raises:
        NotAllowed, Missing
    """
    require(actor, Action.LAUNCH)
    job = _job(actor=actor, job_id=job_id)
    _require_stop(actor=actor, job=job)
    if job.state != State.NEEDS_ATTENTION or not job.attention_from:
        return False
    with transaction.atomic():
        won = Job.objects.move(
            job_id=job.pk,
            before=State.NEEDS_ATTENTION,
            after=State(job.attention_from),
            now=now,
            message=f"{actor.name} asked the portal to go on.",
            actor_id=actor.user_id,
            next_check_at=now,
            trouble="",
            trouble_count=0,
            start_attempts=0,
            stop_attempts=0,
            missing_count=0,
        )
        if won:
            queue.enqueue(queue.Task.ADVANCE, job.pk)
    return won


def give_up(*, actor: Actor, job_id: uuid.UUID, now: datetime) -> bool:
    """End a job that needed attention; return whether it was waiting.

    It has failed, unless the node had said how it ended and only its results were missing.

    Raises:
        NotAllowed, Missing
    """
    job = _job(actor=actor, job_id=job_id)
    _require_stop(actor=actor, job=job)
    if job.state != State.NEEDS_ATTENTION:
        return False
    return Job.objects.move(
        job_id=job.pk,
        before=State.NEEDS_ATTENTION,
        after=OUTCOMES.get(job.outcome, State.FAILED),
        now=now,
        reason=job.reason or "given_up",
        message=f"{actor.name} ended the job here. {job.message}"[:500],
        actor_id=actor.user_id,
        ended_at=now,
    )


def _algorithm_again(job: Job) -> str | OwnAlgorithm:
    if job.algorithm is not None:
        return job.algorithm.did
    return OwnAlgorithm(**{**(job.own_algorithm or {}), **job.container})


def _launched(*, actor: Actor, launch_key: uuid.UUID) -> uuid.UUID | None:
    return (
        Job.objects.filter(team_id=actor.team_id, launch_key=launch_key).values_list("pk", flat=True).first()
    )


def _require_stop(*, actor: Actor, job: Job) -> None:
    if not actor.may_stop(launched_by_id=job.launched_by_id):
        raise NotAllowed(
            f"Your role in this team is {actor.role}: you may not stop or end this job. "
            "Ask who launched it, or an admin."
        )


def _job(*, actor: Actor, job_id: uuid.UUID) -> Job:
    job = Job.objects.filter(team_id=actor.team_id, pk=job_id).first()
    if job is None:
        raise Missing("There is no such job in this team.")
    return job


def _plan(*, actor: Actor, request: LaunchRequest) -> _Plan:
    inputs = _inputs(actor=actor, choices=request.datasets)
    if isinstance(request.algorithm, OwnAlgorithm):
        algorithm = _own_algorithm(actor=actor, own=request.algorithm)
    else:
        algorithm = _algorithm(actor=actor, ref=request.algorithm)
    node_ids = _serving_nodes(inputs)
    environment, offer = _environment(
        ref=request.environment, node_ids=node_ids, chain_ids={x.dataset.chain_id for x in inputs}
    )
    can = capabilities(environment.node)
    if offer.free is None:
        raise InvalidInput(
            f"“{environment}” has no free tier. Choose an environment with one.", field="environment"
        )
    if algorithm.own is not None and can.trust_enforced:
        _refuse_where_own_code_is_not_allowed(inputs)
    limit_s = offer.free.max_duration_s or offer.max_duration_s
    wallet = _wallet(actor=actor, ref=request.wallet)
    _refuse_what_cannot_be_consumed(inputs=inputs, algorithm=algorithm, wallet=wallet)
    names = ", ".join(x.dataset.name for x in inputs)
    return _Plan(
        inputs=inputs,
        algorithm=algorithm,
        environment=environment,
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


def _refuse_where_own_code_is_not_allowed(inputs: tuple[_Input, ...]) -> None:
    for x in inputs:
        if not (x.service.get("compute") or {}).get("allow_raw"):
            raise InvalidInput(
                f"The publisher of “{x.dataset.name}” lets published algorithms run on it only, "
                "and its Provider holds everybody to that.",
                field="algorithm",
                code="raw_not_allowed",
            )


def _refuse_what_cannot_be_consumed(
    *, inputs: tuple[_Input, ...], algorithm: _Algorithm, wallet: Wallet
) -> None:
    """Refuse assets that are disabled, or that their publisher does not give to this wallet, before anything is paid."""
    named = [(x.dataset, "datasets") for x in inputs]
    if algorithm.asset is not None:
        named.append((algorithm.asset, "algorithm"))
    for asset, field in named:
        refusal = catalogue.refusal(asset=asset, address=wallet.address)
        if refusal is not None:
            raise InvalidInput(f"“{asset.name}”: {refusal.sentence}", field=field, code=refusal.code)


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


def _environment(
    *, ref: str, node_ids: set[int], chain_ids: set[int]
) -> tuple[Environment, EnvironmentOffer]:
    there = Environment.objects.filter(
        node_id__in=node_ids, gone_at=None, chain_id__in=chain_ids | {0}
    ).select_related("node")
    if not ref:
        raise InvalidInput("Choose an environment.", field="environment")
    if ref == FREE:
        row = there.filter(has_free_tier=True).order_by("-free_room", "pk").first()
        if row is None:
            raise InvalidInput(
                "No node that serves these datasets offers a free tier at the moment.",
                field="environment",
                code="no_free_tier",
            )
    else:
        by = {"pk": int(ref)} if ref.isascii() and ref.isdigit() and len(ref) < 12 else {"env_id": ref}
        row = there.filter(**by).first()
        if row is None:
            raise InvalidInput(
                "This environment is not (or no longer) offered by the node that serves the data.",
                field="environment",
                code="unknown_environment",
                candidates=tuple(there.values_list("env_id", flat=True)),
            )
    return row, stored_environment(row.raw, dialect=row.node.dialect)


def _wallet(*, actor: Actor, ref: str) -> Wallet:
    usable = Wallet.objects.filter(team_id=actor.team_id, disabled_at=None)
    wallet = usable.filter(label__iexact=ref).first()
    if wallet is None and ref.isascii() and ref.isdigit() and len(ref) < 12:
        wallet = usable.filter(pk=int(ref)).first()
    if wallet is None:
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
