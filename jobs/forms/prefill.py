"""What the launch form starts with: fresh, as it was entered, or as a former job was launched."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from typing import Any

from jobs.forms.code import OWN, suggested_values, values_of_own
from jobs.forms.launch import resource_name, service_name, userdata_names
from jobs.forms.parameters import shown_value
from jobs.selectors.launch import PAID_SUFFIX, LaunchOptions
from jobs.services.choosing import LaunchRequest, OwnAlgorithm
from jobs.services.places import FREE, PAID


def entered_again(data: Mapping[str, Any], *, lists: tuple[str, ...] = ("datasets",)) -> dict[str, Any]:
    """Turn a query or a posted form into initial values, to show them again without judging them."""
    multi = getattr(data, "getlist", None)
    return {key: multi(key) if multi and key in lists else data[key] for key in data}


def first_values(
    options: LaunchOptions, *, launch_key: uuid.UUID, dataset: str, algorithm: str
) -> dict[str, Any]:
    """Return what a fresh form starts with. dataset, algorithm: numbers of assets to choose, "" for none."""
    only = options.datasets[0].did if len(options.datasets) == 1 else ""
    chosen = next((d.did for d in options.datasets if str(d.id) == dataset), only)
    sole = options.algorithms[0].did if len(options.algorithms) == 1 else ""
    return {
        "launch_key": launch_key,
        "datasets": [chosen] if chosen else [],
        "algorithm": next((a.did for a in options.algorithms if str(a.id) == algorithm), sole),
        "environment": options.default_place or (FREE if options.any_free or not options.any_paid else PAID),
        **_default_wallet(options),
        **suggested_values(options.container),
    }


def values_of_rerun(
    options: LaunchOptions, *, launch_key: uuid.UUID, again: LaunchRequest, instead: bool = False
) -> dict[str, Any]:
    """Return what a form starts with that is to launch a former job again.

    instead: in place of it, and somewhere else: where is left to be chosen.
    Code of one's own comes back to those who may run it, and to nobody else.
    """
    choices = {choice.ref: choice for choice in again.datasets}
    usable = again.wallet in {w.label for w in options.wallets}
    values: dict[str, Any] = {
        "launch_key": launch_key,
        "rerun_of": again.rerun_of,
        "datasets": list(choices),
        "instead_of": again.rerun_of if instead else None,
        "environment": "" if instead else f"{again.environment}{PAID_SUFFIX if again.paid else ''}",
        "token": again.token,
        **{resource_name(name): f"{amount:g}" for name, amount in (again.resources or {}).items()},
        "wallet": again.wallet if usable else options.default_wallet,
        "max_duration_s": again.max_duration_s,
        "queue_wait_s": again.queue_wait_s,
        "name": again.name,
        **suggested_values(options.container),
    }
    for dataset in options.datasets:
        if dataset.did in choices:
            choice = choices[dataset.did]
            values[service_name(dataset)] = choice.service_id
            asked = userdata_names(dataset, dataset.service(choice.service_id))
            given = choice.userdata or {}
            values |= {name: shown_value(given.get(parameter.name)) for name, parameter in asked}
    return values | _algorithm_again(options, again)


def _default_wallet(options: LaunchOptions) -> dict[str, str]:
    return {"wallet": options.default_wallet} if options.default_wallet else {}


def _algorithm_again(options: LaunchOptions, again: LaunchRequest) -> dict[str, Any]:
    rest = dict(again.parameters or {})
    values: dict[str, Any] = {}
    if isinstance(again.algorithm, OwnAlgorithm):
        values = {"algorithm": OWN, **values_of_own(again.algorithm)} if options.may_launch_code else {}
    else:
        values["algorithm"] = again.algorithm
        algorithm = options.algorithm(again.algorithm)
        for i, parameter in enumerate(algorithm.parameters if algorithm else ()):
            values[f"parameter-{algorithm.id if algorithm else 0}-{i}"] = shown_value(
                rest.pop(parameter.name, None)
            )
    values["parameters"] = json.dumps(rest, indent=2, ensure_ascii=False) if rest else ""
    return values
