"""The form that makes a link for somebody outside."""

from __future__ import annotations

from typing import Any

from django import forms

from jobs.forms.base import PortalForm
from jobs.selectors.sharing import ShareBoard
from jobs.services.sharing import LABEL_MAX, LIFETIMES_DAYS, OPENS_MAX

WHOLE = "job"  # the job's page, rather than one of its results


class ShareForm(PortalForm):
    """For whom, to what, for how long, and how often."""

    label = forms.CharField(
        label="For whom",
        max_length=LABEL_MAX,
        help_text="A name by which the team knows the link; whoever opens it does not see it.",
        error_messages={"required": "Say for whom it is."},
        widget=forms.TextInput(attrs={"autocomplete": "off"}),
    )
    what = forms.ChoiceField(label="What it shows", error_messages={"required": "Choose what it shows."})
    days = forms.TypedChoiceField(
        label="For how long",
        coerce=int,
        choices=[(days, "1 day" if days == 1 else f"{days} days") for days in LIFETIMES_DAYS],
        initial=7,
        error_messages={"required": "Choose for how long it works."},
    )
    opens_max = forms.IntegerField(
        label="How often it can be opened",
        required=False,
        min_value=1,
        max_value=OPENS_MAX,
        help_text="Leave it empty for any number of times.",
        widget=forms.TextInput(attrs={"autocomplete": "off", "inputmode": "numeric"}),
        error_messages={"invalid": "Enter a whole number, such as 3."},
    )

    def __init__(self, *args: Any, board: ShareBoard, **more: Any) -> None:
        super().__init__(*args, **more)
        choices = [(WHOLE, "The job's page with all its results")]
        choices += [(str(number), f"Only {name}") for number, name in board.choices]
        self.fields["what"].choices = choices  # type: ignore[attr-defined]

    @property
    def result_id(self) -> int | None:
        """The result that was chosen, None for the job's page."""
        chosen = self.cleaned_data["what"]
        return int(chosen) if chosen != WHOLE else None
