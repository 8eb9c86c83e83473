"""The form for a team's rules."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from django import forms

from jobs.forms.base import PortalForm
from jobs.selectors.settings import PlaceOption, Rules, SettingsPage
from jobs.services.settings import DAYS_MAX, NAME_MAX


class SettingsForm(PortalForm):
    """A team's rules. shown: those that the page showed, so that what a colleague changed meanwhile is noticed."""

    name = forms.CharField(
        label="Name", max_length=NAME_MAX, error_messages={"required": "A team needs a name."}
    )
    default_wallet = forms.TypedChoiceField(
        label="Wallet",
        required=False,
        coerce=int,
        empty_value=None,
        error_messages={
            "invalid_choice": "This wallet cannot be chosen: it is not the team's, or is disabled."
        },
    )
    default_node = forms.TypedChoiceField(
        label="Node",
        required=False,
        coerce=int,
        empty_value=None,
        error_messages={"invalid_choice": "This node is not among the portal's nodes."},
    )
    default_environment = forms.TypedChoiceField(
        label="Environment",
        required=False,
        coerce=int,
        empty_value=None,
        error_messages={"invalid_choice": "This environment is not, or no longer, offered."},
    )
    results_kept_days = forms.IntegerField(
        label="Keep archived results for (days)",
        required=False,
        min_value=1,
        max_value=DAYS_MAX,
        help_text="From a job's end on. Empty: for ever.",
        error_messages=dict.fromkeys(
            ("invalid", "min_value", "max_value"),
            f"Enter a whole number of days, 1 to {DAYS_MAX}, or nothing.",
        ),
    )
    launchers_run_code = forms.BooleanField(label="Launchers may run code of their own", required=False)
    viewers_see_results = forms.BooleanField(
        label="Viewers may look at results and download them", required=False
    )
    shown = forms.CharField(
        max_length=2_000,
        widget=forms.HiddenInput,
        error_messages=dict.fromkeys(
            ("required", "max_length"), "This form is incomplete: load the page again."
        ),
    )
    confirmed_days = forms.IntegerField(required=False, widget=forms.HiddenInput)

    def __init__(self, data: Mapping[str, Any] | None = None, *, page: SettingsPage) -> None:
        super().__init__(data, initial=values_of(page.rules, shown=page.rules))
        self._choose("default_wallet", [(str(w.id), _name(w.name, usable=w.usable)) for w in page.wallets])
        self._choose("default_node", [(str(n.id), n.name) for n in page.nodes])
        self._choose("default_environment", _by_node(page.environments))

    @property
    def defaults(self) -> list[forms.BoundField]:
        """The fields of what launches start with."""
        return [self["default_wallet"], self["default_node"], self["default_environment"]]

    def clean_shown(self) -> Rules:
        """Read the rules that the page showed."""
        try:
            return read_rules(json.loads(self.cleaned_data["shown"]))
        except (ValueError, TypeError, KeyError, RecursionError):
            raise forms.ValidationError("This form is incomplete: load the page again.") from None

    def rules(self) -> Rules:
        """Return what a valid form asks for."""
        return Rules(**{name: self.cleaned_data[name] for name in Rules.__dataclass_fields__})

    def refuse_fields(self, sentences: Mapping[str, str]) -> None:
        """Put a sentence beside each of these fields."""
        for name, sentence in sentences.items():
            self.add_error(name, sentence)

    def _choose(self, name: str, choices: list[Any]) -> None:
        field = self.fields[name]
        assert isinstance(field, forms.ChoiceField)
        field.choices = [("", "none"), *choices]


def values_of(rules: Rules, *, shown: Rules) -> dict[str, Any]:
    """Return rules as the form's values, as if somebody had entered them on a page that showed `shown`."""
    entered = {
        name: value for name, value in asdict(rules).items() if value is not None and value is not False
    }
    return entered | {"shown": json.dumps(asdict(shown))}


def read_rules(data: Any) -> Rules:
    """Read rules that a form carried: anybody's text.

    Raises: KeyError, TypeError, ValueError: these are no rules.
    """
    rules = Rules(**{name: data[name] for name in Rules.__dataclass_fields__})
    numbers = (rules.default_wallet, rules.default_node, rules.default_environment, rules.results_kept_days)
    if not isinstance(rules.name, str) or any(type(n) is not int for n in numbers if n is not None):
        raise TypeError
    if any(type(b) is not bool for b in (rules.launchers_run_code, rules.viewers_see_results)):
        raise TypeError
    return rules


def _name(name: str, *, usable: bool) -> str:
    return name if usable else f"{name} (no longer usable: passed over)"


def _by_node(places: tuple[PlaceOption, ...]) -> list[Any]:
    nodes: dict[str, list[tuple[str, str]]] = {}
    for place in places:
        nodes.setdefault(place.node, []).append((str(place.id), _name(place.name, usable=place.usable)))
    return list(nodes.items())
