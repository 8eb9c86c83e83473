"""Makes a job of a start request: every check, who paid, and what the engine is to run.

Source: oceanprotocol/provider @ 4cd244b : validation/algo.py, WorkflowValidator; recordings 40 to 63, 82, 89.
"""

from collections.abc import Callable, Mapping
from typing import Any

from ocean_portal.sandbox.provider.accounts import MAX_DURATION_S, Environment
from ocean_portal.sandbox.provider.agreements import Agreement
from ocean_portal.sandbox.provider.downloads import Refused
from ocean_portal.sandbox.provider.fees import amount_wei
from ocean_portal.sandbox.provider.inputs import Checked, Inspector, container_problem, raw_meta

# What an environment of the recordings gives to a job, in GB and cores.
RESOURCES = {"cpu": 1, "ram": 1, "disk": 1}
# Gives the environment of an id, None for an unknown one. Raises OperatorDown.
FindEnvironment = Callable[[str], Environment | None]


def plan(*, data: dict[str, Any], inspector: Inspector, find: FindEnvironment, now: float) -> dict[str, Any]:
    """Return what the engine needs of a start request. Raises Refused, or what Provider fails with."""
    consumer, environment_id = data["consumerAddress"], data.get("environment")
    more = data.get("additionalDatasets") or []
    if not isinstance(more, list):
        raise Refused({"additional_input": "invalid"})
    items, algorithm = [data["dataset"], *more], data["algorithm"]
    checksums = inspector.check_algorithm(algorithm=algorithm, consumer=consumer)
    inputs: list[Checked] = []
    for index, item in enumerate(items):
        item["algorithm"] = algorithm  # as the original does; it is seen in the context of an error
        inputs.append(
            inspector.check_dataset(
                item=item,
                index=index,
                algorithm=algorithm,
                checksums=checksums,
                consumer=consumer,
                environment_id=str(environment_id),
                with_order=True,
            )
        )
    stage, order = _stage(algorithm=algorithm, inspector=inspector, consumer=consumer)
    orders = [item.agreement for item in inputs if item.agreement]
    return {
        "agreement_id": _agreement_id(
            items=items,
            algorithm=algorithm,
            orders=orders,
            order=order,
            environment=find(str(environment_id)),
            now=now,
        ),
        "environment": environment_id,
        "inputs": [
            {
                "did": item["documentId"],
                "service_id": checked.service.id,
                "tx": item["transferTxId"],
                "userdata": item.get("userdata"),
            }
            for item, checked in zip(items, inputs, strict=True)
        ],
        "algorithm": stage,
        "resources": RESOURCES,
        "max_job_duration": MAX_DURATION_S,
    }


def _stage(
    *, algorithm: Mapping[str, Any], inspector: Inspector, consumer: str
) -> tuple[dict[str, Any], Agreement | None]:
    """Describe the algorithm as the workflow does, with its order if it is a published one. Raises Refused."""
    did = algorithm.get("documentId")
    order: Agreement | None = None
    if did is None:
        meta = raw_meta(algorithm)
        # Code in the request gets no custom data. Source: serializers.py, StageAlgoSerializer.
        stage = {
            "did": "",
            "url": meta.get("url"),
            "rawcode": meta.get("rawcode"),
            "container": meta.get("container"),
        }
        if not stage["url"] and not stage["rawcode"]:
            raise Refused({"algorithm": "meta_oneof_url_rawcode_remote"})
    elif algorithm.get("meta"):
        raise AttributeError("'NoneType' object has no attribute 'metadata'")
    else:
        asset, service, order = inspector.order_of_algorithm(algorithm=algorithm, consumer=consumer)
        stage = {
            "did": did,
            "service_id": service.id,
            "tx": algorithm["transferTxId"],
            "userdata": algorithm.get("algouserdata"),
            "custom": algorithm.get("algocustomdata"),
            "container": asset.metadata["algorithm"]["container"],
        }
    if problem := container_problem(stage["container"]):
        raise Refused({"algorithm.container": problem})
    return stage, order


def _agreement_id(
    *,
    items: list[dict[str, Any]],
    algorithm: Mapping[str, Any],
    orders: list[Agreement],
    order: Agreement | None,
    environment: Environment | None,
    now: float,
) -> str:
    """Return the transaction that paid for the environment: the last one whose fee is enough.

    Where the algorithm's own order is enough, it is that. Raises Refused when none is.
    """
    if environment is None:
        raise TypeError("'NoneType' object is not subscriptable")
    valid_until = max(item.fee.valid_until for item in [*orders, *([order] if order else [])])
    required = amount_wei(environment=environment, valid_until=valid_until, now=now)
    if order and required <= order.fee.amount_wei:
        return str(algorithm["transferTxId"])
    payers = [
        item["transferTxId"]
        for item, paid in zip(items, orders, strict=True)
        if required <= paid.fee.amount_wei
    ]
    if not payers:
        raise Refused({"order": "fees_not_paid"})
    return str(payers[-1])
