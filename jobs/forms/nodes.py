"""The operator's form for a node: the portal finds out by itself what is at an address."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from django import forms

from jobs.errors import InvalidInput
from jobs.services import nodes
from jobs.services.nodes import Detected, NodeSilent

if TYPE_CHECKING:  # Django's forms take no type arguments when the program runs
    _ModelForm = forms.ModelForm[Any]
else:
    _ModelForm = forms.ModelForm

PROVIDER = "provider-v4"
Outcome = Detected | InvalidInput | NodeSilent | None

_FIND_OUT = [("", "the portal asks the node")]


class _Question(forms.Form):
    base_url = forms.URLField(assume_scheme="https")
    metadata_url = forms.URLField(assume_scheme="https", required=False)
    allow_private = forms.BooleanField(required=False)
    unasked = forms.BooleanField(required=False)


def ask(
    data: Mapping[str, Any], *, known: Mapping[str, Any] | None, clock: Callable[[], datetime]
) -> Outcome:
    """Ask the address in a posted form what it is; None where that is not wanted, or the address is none.

    known: the addresses of the node as it is kept, which are not asked again; None for a new one.
    Not for use inside a transaction: it waits for a far side.
    """
    question = _Question(data)
    if not question.is_valid() or question.cleaned_data["unasked"]:
        return None
    entered = {name: question.cleaned_data[name] for name in ("base_url", "metadata_url", "allow_private")}
    if known is not None and entered == {name: known[name] for name in entered}:
        return None
    try:
        return nodes.detect(**entered, clock=clock)
    except (InvalidInput, NodeSilent) as error:
        return error


class NodeForm(_ModelForm):
    """A node. Its dialect is what it says it is, or, where it does not answer, what the operator chooses by hand.

    outcome: what asking brought, handed in by the page.
    """

    unasked = forms.BooleanField(
        label="Save without asking",
        required=False,
        help_text="For a node that does not answer now. Choose its dialect by hand below.",
    )
    dialect = forms.ChoiceField(
        required=False,
        choices=_FIND_OUT,
        help_text="Only where the node is saved without asking; else the portal finds out, and says so.",
    )
    outcome: Outcome = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if "dialect" in self.fields:
            field = self.fields["dialect"]
            assert isinstance(field, forms.ChoiceField)
            named: Any = self._meta.model._meta.get_field("dialect").choices
            field.choices = [*_FIND_OUT, *named]
            self.initial["dialect"] = ""

    def clean(self) -> dict[str, Any]:
        """Say beside the fields what asking brought; take the dialect from it."""
        cleaned = super().clean() or self.cleaned_data
        if isinstance(self.outcome, NodeSilent):
            self.add_error(
                self.outcome.field,
                f"{self.outcome.message} If it is right all the same, tick “Save without asking”.",
            )
        elif isinstance(self.outcome, InvalidInput):
            self.add_error(self.outcome.field, self.outcome.message)
        elif isinstance(self.outcome, Detected):
            self._take(cleaned, self.outcome)
        elif self.cleaned_data.get("unasked"):
            self._require_by_hand(cleaned)
        return cleaned

    def _take(self, cleaned: dict[str, Any], found: Detected) -> None:
        if self.instance.pk and self.instance.dialect != found.dialect:
            self.add_error(
                "base_url",
                f"This is {found.software} {found.version}, and not of the kind {self.instance.get_dialect_display()}. "
                "Add it as a new node: the jobs and environments of this one are of the other kind.",
            )
        self.instance.dialect = cleaned["dialect"] = found.dialect

    def _require_by_hand(self, cleaned: dict[str, Any]) -> None:
        dialect = self.instance.dialect if self.instance.pk else cleaned.get("dialect")
        if not dialect:
            self.add_error("dialect", "Choose which dialect it speaks: nobody was asked.")
        elif dialect == PROVIDER and not cleaned.get("metadata_url"):
            self.add_error("metadata_url", "A Provider needs an Aquarius, which describes its assets.")
