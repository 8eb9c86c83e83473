"""The form for a person's own choices."""

from __future__ import annotations

from typing import Any

from django import forms

from jobs.forms.base import PortalForm
from jobs.selectors.profile import Profile, ProfilePage


class ProfileForm(PortalForm):
    """Name, time zone, looks, and which e-mails."""

    full_name = forms.CharField(label="Your name", required=False, max_length=301)
    time_zone = forms.CharField(
        label="Time zone",
        required=False,
        max_length=64,
        widget=forms.TextInput(attrs={"list": "zones", "autocomplete": "off", "spellcheck": "false"}),
    )
    theme = forms.ChoiceField(
        label="Looks", required=False, error_messages={"invalid_choice": "Choose one of these."}
    )
    mail_when_ended = forms.BooleanField(label="When a job of mine has ended", required=False)
    mail_when_needed = forms.BooleanField(label="When a job of mine waits for a person", required=False)

    def __init__(self, data: Any = None, *, page: ProfilePage) -> None:
        mine = page.profile
        super().__init__(
            data,
            initial={
                "full_name": mine.full_name,
                "time_zone": mine.time_zone,
                "theme": mine.theme,
                "mail_when_ended": mine.mail_when_ended,
                "mail_when_needed": mine.mail_when_needed,
            },
        )
        theme = self.fields["theme"]
        assert isinstance(theme, forms.ChoiceField)
        theme.choices = list(page.themes.items())
        self.fields[
            "full_name"
        ].help_text = "What colleagues and the team's record see. Empty: your user name."
        self.fields["time_zone"].help_text = f"A place, such as Europe/Berlin. Empty: {page.portal_zone}."

    def profile(self) -> Profile:
        """Return what a valid form asks for."""
        entered = self.cleaned_data
        return Profile(
            full_name=entered["full_name"],
            time_zone=entered["time_zone"],
            theme=entered["theme"],
            mail_when_ended=entered["mail_when_ended"],
            mail_when_needed=entered["mail_when_needed"],
        )
