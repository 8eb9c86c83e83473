"""The forms of a person's own account that are not allauth's."""

from __future__ import annotations

from django import forms

from jobs.forms.base import PortalForm


class EndSessionsForm(PortalForm):
    """Which session to end; none named: all others."""

    session = forms.IntegerField(required=False, min_value=1, max_value=2**63 - 1)
