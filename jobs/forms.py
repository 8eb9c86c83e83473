"""The forms: they read and normalise what was entered, and never save. Choices are passed in."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from django import forms
from django.forms.boundfield import BoundField

from jobs.errors import InvalidInput, PortalError
from jobs.selectors.catalogue import Parameter
from jobs.selectors.launch import (
    AlgorithmOption,
    DatasetOption,
    EnvironmentOption,
    LaunchOptions,
)
from jobs.services.launching import FREE, DatasetChoice, LaunchRequest

SECONDS_MAX = 10**9  # far beyond any limit of a node, and what every database can hold
EXACT_INTEGER_MAX = 2**53
NESTING_MAX = 100

_JSON_STRING = re.compile(r'"(?:\\.|[^"\\])*"')


class PortalForm(forms.Form):
    """A form whose fields describe themselves to screen readers, and which takes errors from services."""

    use_required_attribute = (
        False  # the portal's own sentences stand beside the fields, in every browser alike
    )

    def refuse(self, error: PortalError, *, otherwise: str | None = None) -> None:
        """Show a service's refusal beside its field, or `otherwise`: None is above the form."""
        field = error.field if isinstance(error, InvalidInput) and error.field in self.fields else otherwise
        sentences = [error.message]
        if isinstance(error, InvalidInput) and error.candidates:
            sentences.append("Possible: " + ", ".join(error.candidates) + ".")
        self.add_error(field, " ".join(sentences))


class AddAssetForm(PortalForm):
    """A DID to put into the catalogue."""

    did = forms.CharField(
        label="DID",
        max_length=200,
        help_text="did:op: followed by 64 characters. The portal asks its nodes for the description.",
        error_messages={"required": "Enter the DID of a dataset or an algorithm."},
        widget=forms.TextInput(
            attrs={"placeholder": "did:op:…", "spellcheck": "false", "autocomplete": "off"}
        ),
    )


class GenerateWalletForm(PortalForm):
    """A label for a key that the portal makes."""

    prefix = "new"
    label = forms.CharField(
        max_length=60,
        help_text="What the team calls it.",
        error_messages={"required": "A wallet needs a label."},
        widget=forms.TextInput(attrs={"autocomplete": "off"}),
    )


class ImportWalletForm(PortalForm):
    """A key that exists. What was entered as key or password is never sent back to the browser."""

    prefix = "old"
    label = forms.CharField(
        max_length=60,
        help_text="What the team calls it.",
        error_messages={"required": "A wallet needs a label."},
        widget=forms.TextInput(attrs={"autocomplete": "off"}),
    )
    secret = forms.CharField(
        label="Private key",
        help_text="64 hexadecimal digits, a recovery phrase of 12 to 24 words, or a keystore file's text.",
        error_messages={"required": "Enter a key."},
        widget=forms.PasswordInput(attrs={"autocomplete": "off", "spellcheck": "false"}),
    )
    password = forms.CharField(
        label="Password of the keystore",
        required=False,
        strip=False,
        help_text="Only for a keystore file.",
        widget=forms.PasswordInput(attrs={"autocomplete": "off"}),
    )


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


class LaunchForm(PortalForm):
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
        help_text="It signs the requests to the node. Free compute costs it nothing.",
        error_messages={"required": "Choose a wallet.", "invalid_choice": "This wallet cannot be used."},
    )
    parameters = forms.CharField(
        label="More parameters (JSON)",
        required=False,
        widget=forms.Textarea(attrs={"rows": 3, "spellcheck": "false", "class": "mono"}),
        help_text='An object such as {"seconds": 10}; the algorithm reads it as its custom data.',
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
        self._choose("datasets", [(d.did, d.name) for d in options.datasets if not d.reason])
        self._choose("algorithm", [(a.did, a.name) for a in options.algorithms if not a.reason])
        self._choose(
            "environment", [(FREE, FREE), *((str(e.id), e.offer.description) for e in options.environments)]
        )
        self._choose(
            "wallet", [(w.label, f"{w.label} · {w.address[:6]}…{w.address[-4:]}") for w in options.wallets]
        )
        if len(options.wallets) == 1:
            self.initial.setdefault("wallet", options.wallets[0].label)
        self.fields["max_duration_s"].help_text = _duration_help(options.limits_s)
        for name in ("max_duration_s", "queue_wait_s"):
            if options.limits_s[0] == options.limits_s[1]:
                self.fields[name].widget.attrs["placeholder"] = str(options.limits_s[0])
        for dataset in options.datasets:
            if len(dataset.services) > 1:
                self.fields[_service_name(dataset)] = forms.ChoiceField(
                    label=f"Service of {dataset.name}",
                    required=False,
                    choices=[(s.id, s.name) for s in dataset.services],
                )
        self._chosen = options.algorithm(str(self["algorithm"].value() or ""))
        for name, parameter in self._parameter_names():
            self.fields[name] = _parameter_field(parameter)
            self.initial.setdefault(name, parameter.default)

    @property
    def dataset_rows(self) -> list[DatasetRow]:
        """The datasets with what is ticked."""
        ticked = self["datasets"].value() or []
        return [
            DatasetRow(
                option=d,
                checked=d.did in ticked and not d.reason,
                service=self[_service_name(d)] if len(d.services) > 1 else None,
            )
            for d in self.options.datasets
        ]

    @property
    def algorithm_rows(self) -> list[AlgorithmRow]:
        """The algorithms with the one that is chosen."""
        return [
            AlgorithmRow(option=a, checked=a is self._chosen and not a.reason)
            for a in self.options.algorithms
        ]

    @property
    def environment_rows(self) -> list[EnvironmentRow]:
        """The environments with the one that is chosen."""
        value = str(self["environment"].value())
        return [EnvironmentRow(option=e, checked=value == str(e.id)) for e in self.options.environments]

    @property
    def takes_any_free(self) -> bool:
        """Whether the portal is to pick the free tier with the most room."""
        return str(self["environment"].value()) == FREE

    @property
    def parameter_fields(self) -> list[BoundField]:
        """The fields of the chosen algorithm's own parameters."""
        return [self[name] for name, _ in self._parameter_names()]

    @property
    def chosen_algorithm(self) -> AlgorithmOption | None:
        """The algorithm whose parameters the form shows."""
        return self._chosen

    @property
    def warnings(self) -> tuple[str, ...]:
        """What publishers would object to in the present choice."""
        if self._chosen is None:
            return ()
        ticked = self["datasets"].value() or []
        services = {d.did: self._service_of(d) for d in self.options.datasets if d.did in ticked}
        return self.options.warnings(datasets=services, algorithm=self._chosen.did)

    def clean_parameters(self) -> dict[str, Any]:
        """Read the JSON object; empty text is none."""
        return _json_object(self.cleaned_data["parameters"])

    def clean(self) -> dict[str, Any]:
        """Refuse a parameter that is set twice."""
        cleaned = super().clean() or self.cleaned_data
        more = cleaned.get("parameters") or {}
        for name, parameter in self._parameter_names():
            if parameter.name in more and cleaned.get(name) not in (None, ""):
                self.add_error(
                    "parameters",
                    f"“{parameter.name}” has a field of its own: set it there, or empty that field.",
                )
        return cleaned

    def launch_request(self) -> LaunchRequest:
        """Return what a valid form asks for."""
        entered = self.cleaned_data
        parameters = dict(entered["parameters"])
        for name, parameter in self._parameter_names():
            if entered.get(name) not in (None, ""):
                parameters[parameter.name] = entered[name]
        chosen = [d for d in self.options.datasets if d.did in entered["datasets"]]
        return LaunchRequest(
            datasets=tuple(DatasetChoice(ref=d.did, service_id=self._service_of(d)) for d in chosen),
            algorithm=entered["algorithm"],
            environment=entered["environment"],
            wallet=entered["wallet"],
            parameters=parameters,
            max_duration_s=entered["max_duration_s"],
            queue_wait_s=entered["queue_wait_s"],
            name=entered["name"],
            rerun_of=entered["rerun_of"],
        )

    def _choose(self, name: str, choices: list[tuple[str, str]]) -> None:
        field = self.fields[name]
        assert isinstance(field, forms.ChoiceField)
        field.choices = choices

    def _service_of(self, dataset: DatasetOption) -> str:
        if len(dataset.services) > 1:
            return str(self[_service_name(dataset)].value() or dataset.services[0].id)
        return dataset.services[0].id if dataset.services else ""

    def _parameter_names(self) -> Iterator[tuple[str, Parameter]]:
        # By position and algorithm, not by the publisher's word: that may be any text, or a field's name.
        if self._chosen is not None:
            for i, parameter in enumerate(self._chosen.parameters):
                yield f"parameter-{self._chosen.id}-{i}", parameter


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
        "environment": FREE,
    }


def values_of_rerun(options: LaunchOptions, *, launch_key: uuid.UUID, again: LaunchRequest) -> dict[str, Any]:
    """Return what a form starts with that is to launch a former job again."""
    services = {choice.ref: choice.service_id for choice in again.datasets}
    algorithm = options.algorithm(again.algorithm)
    rest = dict(again.parameters or {})
    values: dict[str, Any] = {
        "launch_key": launch_key,
        "rerun_of": again.rerun_of,
        "datasets": list(services),
        "algorithm": again.algorithm,
        "environment": again.environment,
        "wallet": again.wallet if again.wallet in {w.label for w in options.wallets} else "",
        "max_duration_s": again.max_duration_s,
        "queue_wait_s": again.queue_wait_s,
        "name": again.name,
    }
    values |= {_service_name(d): services[d.did] for d in options.datasets if d.did in services}
    if algorithm is not None:
        for i, parameter in enumerate(algorithm.parameters):
            was = rest.pop(parameter.name, None)
            values[f"parameter-{algorithm.id}-{i}"] = json.dumps(was) if isinstance(was, bool) else was
    values["parameters"] = json.dumps(rest, indent=2, ensure_ascii=False) if rest else ""
    return values


def _service_name(dataset: DatasetOption) -> str:
    return f"service-{dataset.id}"


def _duration_help(limits_s: tuple[int, int]) -> str:
    least, most = limits_s
    limit = f"{most} s" if least == most else f"{least} to {most} s, depending on the environment"
    return f"The node stops the job then. Empty: the environment's limit ({limit})."


def _json_object(text: str) -> dict[str, Any]:
    if not text.strip():
        return {}
    if _nesting(text) > NESTING_MAX:
        raise forms.ValidationError(f"This JSON is nested deeper than {NESTING_MAX} levels.")
    try:
        value = json.loads(text, parse_constant=_no_number)
        # Half a surrogate pair or a NUL can be written in JSON, but not in every database.
        plain = json.dumps(value, ensure_ascii=False).encode()
    except json.JSONDecodeError as error:
        raise forms.ValidationError(
            f"This is no JSON: {error.msg} in line {error.lineno}, column {error.colno}."
        ) from None
    except ValueError:
        raise forms.ValidationError("This JSON holds something that cannot be stored or sent.") from None
    if not isinstance(value, dict):
        raise forms.ValidationError('This has to be a JSON object: {"name": value, …}.')
    if b"\\u0000" in plain:
        raise forms.ValidationError("This JSON holds a character that cannot be stored.")
    return value


def _nesting(text: str) -> int:
    # Counted before parsing: py_ecc, which comes with eth-account, lifts Python's recursion limit to 100,000;
    # a parser that goes so deep overruns the stack and ends the process.
    depth = deepest = 0
    for character in _JSON_STRING.sub("", text):
        depth += (character in "[{") - (character in "]}")
        deepest = max(deepest, depth)
    return deepest


def _no_number(word: str) -> float:
    raise ValueError(f"{word} is not part of JSON")


class _NumberField(forms.FloatField):
    def to_python(self, value: Any) -> Any:
        number = super().to_python(value)
        whole = number is not None and number.is_integer() and abs(number) < EXACT_INTEGER_MAX
        return int(number) if whole and number is not None else number


def _parameter_field(parameter: Parameter) -> forms.Field:
    empty = [] if parameter.required else [("", "not set")]
    common: dict[str, Any] = {
        "label": parameter.label,
        "required": parameter.required,
        "help_text": parameter.description,
        "error_messages": {"required": "The algorithm needs this."},
    }
    if parameter.type == "number":
        return _NumberField(**common, widget=forms.NumberInput(attrs={"step": "any"}))
    if parameter.type == "boolean":
        return forms.TypedChoiceField(
            **common,
            choices=[*empty, ("true", "Yes"), ("false", "No")],
            coerce=lambda text: text == "true",
            empty_value=None,
        )
    if parameter.type == "select" and parameter.options:
        return forms.ChoiceField(**common, choices=[*empty, *parameter.options])
    return forms.CharField(**common, max_length=5000)
