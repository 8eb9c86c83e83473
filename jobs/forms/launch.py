"""The launch form: what runs on what, where, and with which wallet. Choices are passed in."""

from __future__ import annotations

import hashlib
import re
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from django import forms
from django.forms.boundfield import BoundField

from jobs.forms.code import FIELDS as CODE_FIELDS
from jobs.forms.code import OWN, OwnCodeForm
from jobs.forms.parameters import json_object, parameter_field
from jobs.selectors.catalogue import Parameter
from jobs.selectors.launch import (
    PAID,
    PAID_SUFFIX,
    AlgorithmOption,
    DatasetOption,
    EnvironmentOption,
    LaunchOptions,
    Objection,
    ResourceOption,
    ServiceOption,
    Terms,
    WalletOption,
)
from jobs.services.choosing import PARAMETERS_MAX_BYTES, DatasetChoice, LaunchRequest
from jobs.services.places import FREE

SECONDS_MAX = 10**9  # far beyond any limit of a node, and what every database can hold


@dataclass(frozen=True)
class DatasetRow:
    """A dataset on the page: whether it is ticked, and the choice of its service where there is one."""

    option: DatasetOption
    checked: bool
    service: BoundField | None


@dataclass(frozen=True)
class AlgorithmRow:
    """An algorithm on the page."""

    option: AlgorithmOption
    checked: bool


@dataclass(frozen=True)
class EnvironmentRow:
    """An environment on the page."""

    option: EnvironmentOption
    checked: bool


@dataclass(frozen=True)
class AskedOf:
    """The fields of what a ticked dataset's publisher asks for."""

    dataset: str
    fields: list[BoundField]


class LaunchForm(OwnCodeForm):
    """What a person wants to run.

    Datasets and algorithms are named by DID, wallets by label, environments by number.
    """

    launch_key = forms.UUIDField(
        widget=forms.HiddenInput,
        error_messages={
            "required": "This form is incomplete: load the page again.",
            "invalid": "Load the page again.",
        },
    )
    rerun_of = forms.UUIDField(required=False, widget=forms.HiddenInput)
    instead_of = forms.UUIDField(required=False, widget=forms.HiddenInput)
    agreed = forms.CharField(required=False, max_length=5_000, widget=forms.HiddenInput)
    datasets = forms.MultipleChoiceField(
        error_messages={
            "required": "Choose at least one dataset.",
            "invalid_choice": "One of these datasets cannot be chosen here.",
        }
    )
    algorithm = forms.ChoiceField(
        error_messages={
            "required": "Choose an algorithm.",
            "invalid_choice": "This algorithm cannot be chosen here.",
        }
    )
    environment = forms.ChoiceField(
        error_messages={
            "required": "Choose an environment.",
            "invalid_choice": "This environment is not, or no longer, offered.",
        }
    )
    wallet = forms.ChoiceField(
        help_text="It signs the requests to the node, and pays what a job costs. Free compute costs it nothing.",
        error_messages={"required": "Choose a wallet.", "invalid_choice": "This wallet cannot be used."},
    )
    parameters = forms.CharField(
        label="More parameters (JSON)",
        required=False,
        widget=forms.Textarea(attrs={"rows": 3, "spellcheck": "false", "class": "mono"}),
        help_text='An object such as {"seconds": 10}; the algorithm reads it as its custom data. '
        f"At most {PARAMETERS_MAX_BYTES // 1000} kB.",
    )
    token = forms.ChoiceField(
        label="Paid in",
        required=False,
        error_messages={"invalid_choice": "This token is not, or no longer, taken."},
    )
    max_duration_s = forms.IntegerField(
        label="Stop after (seconds)", required=False, min_value=1, max_value=SECONDS_MAX
    )
    queue_wait_s = forms.IntegerField(
        label="Wait in the queue for at most (seconds)",
        required=False,
        min_value=0,
        max_value=SECONDS_MAX,
        help_text="If the environment is busy, the job waits this long for a place and is then given up. "
        "Empty: as long as the environment lets a job run.",
    )
    name = forms.CharField(
        label="Name", required=False, max_length=200, help_text="Empty: the algorithm and the datasets."
    )

    def __init__(
        self,
        data: Mapping[str, Any] | None = None,
        *,
        options: LaunchOptions,
        initial: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(data, initial=dict(initial or {}))
        self.options = options
        own = [(OWN, OWN)] if options.may_launch_code else []
        self._choose("datasets", [(d.did, d.name) for d in options.datasets if not d.reason])
        self._choose("algorithm", [*((a.did, a.name) for a in options.algorithms if not a.reason), *own])
        named = [(e.value, e.offer.description) for e in options.environments]
        self._choose("environment", [(FREE, FREE), (PAID, PAID), *named])
        self._choose("wallet", [(w.label, _named(w)) for w in options.wallets])
        if len(options.wallets) == 1:
            self.initial.setdefault("wallet", options.wallets[0].label)
        self.terms = options.terms(self._place)
        self._describe_terms()
        for dataset in options.datasets:
            if len(dataset.services) > 1:
                self.fields[service_name(dataset)] = forms.ChoiceField(
                    label=f"Service of {dataset.name}",
                    required=False,
                    choices=[(s.id, s.name) for s in dataset.services],
                )
        self._chosen = options.algorithm(str(self["algorithm"].value() or ""))
        for name, parameter in self._parameter_names():
            self._ask(name, parameter, asker="The algorithm")
        for _, name, parameter in self._userdata_names():
            self._ask(name, parameter, asker="The dataset")

    @property
    def dataset_rows(self) -> list[DatasetRow]:
        """The datasets with what is ticked, which comes first: the list may be longer than its box."""
        ticked = self["datasets"].value() or []
        rows = [
            DatasetRow(
                option=d,
                checked=d.did in ticked and not d.reason,
                service=self[service_name(d)] if len(d.services) > 1 else None,
            )
            for d in self.options.datasets
        ]
        return sorted(rows, key=lambda row: not row.checked)

    @property
    def algorithm_rows(self) -> list[AlgorithmRow]:
        """The algorithms with the one that is chosen, which comes first."""
        rows = [
            AlgorithmRow(option=a, checked=a is self._chosen and not a.reason)
            for a in self.options.algorithms
        ]
        return sorted(rows, key=lambda row: not row.checked)

    @property
    def environment_rows(self) -> list[EnvironmentRow]:
        """The environments with the one that is chosen."""
        return [EnvironmentRow(option=e, checked=self._place == e.value) for e in self.options.environments]

    @property
    def replaces(self) -> uuid.UUID | None:
        """The job that this launch ends, as far as the page was told of one that can be: any text may stand there."""
        try:
            return uuid.UUID(str(self["instead_of"].value() or ""))
        except ValueError:
            return None

    @property
    def takes_any_free(self) -> bool:
        """Whether the portal is to pick the free tier with the most room."""
        return self._place == FREE

    @property
    def takes_any_paid(self) -> bool:
        """Whether the portal is to pick the cheapest paid place."""
        return self._place == PAID

    @property
    def is_paid(self) -> bool:
        """Whether the time is to be paid for."""
        return self._place == PAID or self._place.endswith(PAID_SUFFIX)

    @property
    def has_price(self) -> bool:
        """Whether the present choice costs something: money, or the gas of orders."""
        chosen = self.options.environment(self._place)
        return self.is_paid or (chosen.orders if chosen else self.options.any_orders)

    @property
    def resource_fields(self) -> list[BoundField]:
        """The fields for how much of each resource a paid job takes."""
        return [self[resource_name(r.id)] for r in self.terms.resources]

    @property
    def takes_own_code(self) -> bool:
        """Whether code of one's own is chosen, by somebody who may."""
        return self.options.may_launch_code and self["algorithm"].value() == OWN

    @property
    def parameter_fields(self) -> list[BoundField]:
        """The fields of the chosen algorithm's own parameters."""
        return [self[name] for name, _ in self._parameter_names()]

    @property
    def userdata_fields(self) -> list[AskedOf]:
        """The fields of what the ticked datasets' publishers ask for, by dataset."""
        asked: dict[str, list[BoundField]] = {}
        titles = {d.did: d.name for d in self.options.datasets}
        for dataset, name, _ in self._userdata_names():
            asked.setdefault(dataset.did, []).append(self[name])
        return [AskedOf(dataset=titles[did], fields=fields) for did, fields in asked.items()]

    @property
    def chosen_algorithm(self) -> AlgorithmOption | None:
        """The algorithm whose parameters the form shows."""
        return self._chosen

    @property
    def objections(self) -> tuple[Objection, ...]:
        """What publishers would object to in the present choice."""
        if self._chosen is None and not self.takes_own_code:
            return ()
        services = {d.did: self._service_of(d) for d in self._ticked()}
        return self.options.objections(
            datasets=services, algorithm=self._chosen.did if self._chosen else None
        )

    def clean_parameters(self) -> dict[str, Any]:
        """Read the JSON object; empty text is none."""
        return json_object(self.cleaned_data["parameters"])

    def clean(self) -> dict[str, Any]:
        """Refuse a parameter that is set twice; what stands in the fields for code counts only where it is chosen."""
        cleaned = super().clean() or self.cleaned_data
        if cleaned.get("algorithm") != OWN:
            for name in CODE_FIELDS:
                self.errors.pop(name, None)
        more = cleaned.get("parameters") or {}
        for name, parameter in self._parameter_names():
            if parameter.name in more and cleaned.get(name) not in (None, ""):
                self.add_error(
                    "parameters",
                    f"“{parameter.name}” has a field of its own: set it there, or empty that field.",
                )
        return cleaned

    def sentences(self) -> Iterator[str]:
        """Tell what is wrong with an invalid form, each with the name of its field."""
        for name, errors in self.errors.items():
            label = self.fields[name].label if name in self.fields else None
            for error in errors:
                yield f"{label}: {error}" if label else str(error)

    def launch_request(self) -> LaunchRequest:
        """Return what a valid form asks for."""
        entered = self.cleaned_data
        parameters = dict(entered["parameters"])
        for name, parameter in self._parameter_names():
            if entered.get(name) not in (None, ""):
                parameters[parameter.name] = entered[name]
        userdata: dict[str, dict[str, Any]] = {}
        for dataset, name, parameter in self._userdata_names():
            if entered.get(name) not in (None, ""):
                userdata.setdefault(dataset.did, {})[parameter.name] = entered[name]
        return LaunchRequest(
            datasets=tuple(
                DatasetChoice(ref=d.did, service_id=self._service_of(d), userdata=userdata.get(d.did))
                for d in self.options.datasets
                if d.did in entered["datasets"]
            ),
            algorithm=self.own_algorithm() if entered["algorithm"] == OWN else entered["algorithm"],
            environment=entered["environment"].removesuffix(PAID_SUFFIX),
            wallet=entered["wallet"],
            parameters=parameters,
            max_duration_s=entered["max_duration_s"],
            queue_wait_s=entered.get("queue_wait_s"),
            name=entered["name"],
            rerun_of=entered["rerun_of"],
            paid=self.is_paid,
            token=entered.get("token") or "" if self.is_paid else "",
            resources=self._resources() if self.is_paid else None,
            instead_of=entered["instead_of"],
        )

    @property
    def _place(self) -> str:
        return str(self["environment"].value() or "")

    def _resources(self) -> dict[str, float] | None:
        given = {r.id: self.cleaned_data.get(resource_name(r.id)) for r in self.terms.resources}
        return {name: amount for name, amount in given.items() if amount is not None} or None

    def _choose(self, name: str, choices: list[tuple[str, str]]) -> None:
        field = self.fields[name]
        assert isinstance(field, forms.ChoiceField)
        field.choices = choices

    def _describe_terms(self) -> None:
        """Say what the chosen place allows, and ask for what it offers a choice of."""
        limits_s = self.terms.limits_s
        self.fields["max_duration_s"].help_text = _duration_help(limits_s, paid=self.is_paid)
        if not self.terms.queue:
            del self.fields["queue_wait_s"]
        elif not all(e.queue for e in self.options.environments):
            self.fields["queue_wait_s"].help_text += " Only where the environment has a queue."
        self._ask_for_token(self.terms)
        for resource in self.terms.resources:
            self.fields[resource_name(resource.id)] = _resource_field(resource)
        for name in ("max_duration_s", "queue_wait_s"):
            if limits_s[0] == limits_s[1] and name in self.fields:
                self.fields[name].widget.attrs["placeholder"] = str(limits_s[0])
        if self.options.any_orders:
            self.fields["wallet"].help_text = (
                "It signs the requests to the node, and pays what a job costs. Free compute costs it nothing, but where "
                "a start needs orders on the chain it pays their gas."
            )

    def _ask_for_token(self, terms: Terms) -> None:
        """Ask what is to be paid in, where that is a choice; what was chosen for another place does not count here."""
        if len(terms.tokens) < 2:
            del self.fields["token"]
            return
        anything = [("", "the cheapest")] if self._place == PAID else []
        self._choose("token", [*anything, *((t.address, t.name) for t in terms.tokens)])

    def _ask(self, name: str, parameter: Parameter, *, asker: str) -> None:
        self.fields[name] = parameter_field(parameter, asker=asker)
        self.initial.setdefault(name, parameter.default)

    def _ticked(self) -> list[DatasetOption]:
        ticked = self["datasets"].value() or []
        return [d for d in self.options.datasets if d.did in ticked and not d.reason]

    def _service_of(self, dataset: DatasetOption) -> str:
        chosen = str(self[service_name(dataset)].value() or "") if len(dataset.services) > 1 else ""
        service = dataset.service(chosen)
        return service.id if service else ""

    def _parameter_names(self) -> Iterator[tuple[str, Parameter]]:
        # By position and algorithm, not by the publisher's word: that may be any text, or a field's name.
        if self._chosen is not None:
            for i, parameter in enumerate(self._chosen.parameters):
                yield f"parameter-{self._chosen.id}-{i}", parameter

    def _userdata_names(self) -> Iterator[tuple[DatasetOption, str, Parameter]]:
        for dataset in self._ticked():
            service = dataset.service(self._service_of(dataset))
            for name, parameter in userdata_names(dataset, service):
                yield dataset, name, parameter


def _named(wallet: WalletOption) -> str:
    """Tell wallets apart, and say which of them pay nothing for this person."""
    told = f"{wallet.label} · {wallet.address[:6]}…{wallet.address[-4:]}"
    return told if wallet.granted else f"{told} · for free jobs: its use is not granted to you"


def service_name(dataset: DatasetOption) -> str:
    """Name the field for the choice of a dataset's service."""
    return f"service-{dataset.id}"


def userdata_names(dataset: DatasetOption, service: ServiceOption | None) -> Iterator[tuple[str, Parameter]]:
    """Name the fields of what a dataset's service asks for."""
    if service is not None:
        place = dataset.services.index(service)
        for i, parameter in enumerate(service.parameters):
            yield f"userdata-{dataset.id}-{place}-{i}", parameter


def resource_name(resource: str) -> str:
    """Name the field for how much of a resource is wanted; its id is a stranger's word."""
    plain = re.fullmatch(r"[A-Za-z0-9_-]{1,40}", resource)
    return f"resource-{resource if plain else hashlib.sha256(resource.encode()).hexdigest()[:12]}"


def _resource_field(resource: ResourceOption) -> forms.FloatField:
    unit = f" ({resource.unit})" if resource.unit else ""
    step = "1" if resource.whole else "any"
    between = f"A job gets {resource.least:g} to {resource.most:g} of it here."
    return forms.FloatField(
        label=f"{resource.name}{unit}",
        required=False,
        min_value=resource.least,
        max_value=resource.most,
        error_messages=dict.fromkeys(("min_value", "max_value"), between),
        widget=forms.NumberInput(
            attrs={"step": step, "inputmode": "decimal", "placeholder": f"{resource.least:g}"}
        ),
        help_text=f"{resource.least:g} to {resource.most:g}; empty: {resource.least:g}.",
    )


def _duration_help(limits_s: tuple[int, int], *, paid: bool) -> str:
    least, most = limits_s
    limit = f"{most} s" if least == most else f"{least} to {most} s, depending on the environment"
    then = " What a job costs at the most depends on it." if paid else ""
    return f"The node stops the job then. Empty: the environment's limit ({limit}).{then}"
