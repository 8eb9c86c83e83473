"""From a job's rows to what its service is asked to start."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jobs.models import Asset, Job, Order
from jobs.ocean.compute import (
    Algorithm,
    AlgorithmInput,
    AssetInput,
    CodeAlgorithm,
    Container,
    Payment,
    StartRequest,
    UrlAlgorithm,
    UrlFile,
)
from jobs.ocean.units import Address


def start_request(job: Job) -> StartRequest:
    """Return what a job asks for, with the orders that it has; two queries.

    Raises:
        KeyError: the row's container lacks a part: it was written by something else than the launch.
    """
    return StartRequest(
        environment_id=job.environment.env_id,
        datasets=tuple(
            AssetInput(
                did=x.dataset.did,
                service_id=x.service_id,
                userdata=x.userdata,
                order=x.order.transaction.tx_hash if x.order else "",
            )
            for x in job.inputs.select_related("dataset", "order__transaction").order_by("position")
        ),
        algorithm=algorithm_input(
            asset=job.algorithm,
            service_id=job.algorithm_service_id,
            own=job.own_algorithm,
            container=job.container,
            parameters=job.parameters,
            order=job.algorithm_order,
        ),
        max_duration_s=job.max_duration_s,
        queue_wait_s=job.queue_wait_s or None,
        tag=str(job.tag),
        resources=tuple((name, amount) for name, amount in job.resources.items()) if job.resources else None,
        payment=_payment(job),
    )


def _payment(job: Job) -> Payment | None:
    """Return what a job is paid in from the escrow; a Provider's jobs are paid with their orders."""
    if job.free or not job.node.can.escrow:
        return None
    return Payment(chain_id=job.node.network.chain_id, token=Address(job.payment_token))


def algorithm_input(
    *,
    asset: Asset | None,
    service_id: str,
    own: Mapping[str, str] | None,
    container: Mapping[str, str],
    parameters: Mapping[str, Any] | None,
    order: Order | None = None,
) -> Algorithm:
    """Return what runs, in the client's words: a published algorithm, or code of one's own.

    Raises:
        KeyError: the container lacks a part.
    """
    image = Container(**{name: container[name] for name in ("entrypoint", "image", "tag", "checksum")})
    if asset is not None:
        return AlgorithmInput(
            did=asset.did,
            service_id=service_id,
            container=image,
            custom_data=parameters,
            order=order.transaction.tx_hash if order else "",
        )
    own = own or {}
    language = own.get("language", "")
    if own.get("url"):
        return UrlAlgorithm(
            file=UrlFile(url=own["url"]), container=image, custom_data=parameters, language=language
        )
    return CodeAlgorithm(code=own["code"], container=image, custom_data=parameters, language=language)
