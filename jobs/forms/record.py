"""The form that narrows the audit record down."""

from __future__ import annotations

from datetime import datetime, time, timedelta

from django import forms
from django.utils import timezone

from jobs.forms.base import PortalForm
from jobs.selectors import record
from jobs.selectors.record import Wanted

_DAY = forms.DateInput(attrs={"type": "date"}, format="%Y-%m-%d")


class RecordForm(PortalForm):
    """Who, what, on what, and when; everything may be left out."""

    who = forms.CharField(
        required=False, max_length=100, help_text="A part of the name, or a network address."
    )
    act = forms.ChoiceField(required=False, label="What")
    about = forms.CharField(
        required=False,
        max_length=100,
        label="On what",
        help_text="A part of the name, a number or id, or a kind such as wallet.",
    )
    start = forms.DateField(required=False, label="From", widget=_DAY)
    end = forms.DateField(required=False, label="To, with that day", widget=_DAY)
    signatures = forms.BooleanField(
        required=False,
        label="Requests signed for nodes too",
        help_text="The worker signs many: while somebody watches a log, more than one a minute.",
    )
    before = forms.IntegerField(required=False, min_value=1, max_value=2**63 - 1, widget=forms.HiddenInput)

    def __init__(self, *args: object, **more: object) -> None:
        super().__init__(*args, **more)  # type: ignore[arg-type]  # as the form takes them
        self.fields["act"].choices = [("", "Everything"), *record.choices()]  # type: ignore[attr-defined]

    def wanted(self) -> Wanted:
        """Return what is looked for; what cannot be understood is not looked for."""
        entered = self.cleaned_data
        end = entered.get("end")
        return Wanted(
            who=entered.get("who", ""),
            act=entered.get("act", ""),
            about=entered.get("about", ""),
            signatures=entered.get("signatures", False),
            start=_begin_of(entered.get("start")),
            end=None if end is None or end.year > 9998 else _begin_of(end + timedelta(days=1)),
        )


def _begin_of(day: object) -> datetime | None:
    """Return when a day begins, by the clock of whoever asks."""
    return None if day is None else timezone.make_aware(datetime.combine(day, time.min))  # type: ignore[arg-type]
