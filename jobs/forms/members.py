"""The forms of the members' pages."""

from __future__ import annotations

from typing import Any

from django import forms

from jobs.forms.base import PortalForm
from jobs.selectors.members import Farewell, RoleOption

STOP = "stop"


class _Role(forms.ChoiceField):
    """A role of the list. That one is none, or may not be given, is for the service to say: that is not the same answer."""

    def valid_value(self, value: str) -> bool:
        """Let the service decide."""
        return True


class InviteForm(PortalForm):
    """Whom to invite, and as what."""

    prefix = "invite"
    email = forms.EmailField(
        label="E-mail address",
        max_length=254,
        help_text="Only somebody who signs in with this address can accept.",
        error_messages={
            "required": "Enter an e-mail address.",
            "invalid": "Enter an e-mail address, such as ada@example.org.",
            "max_length": "No e-mail address is longer than 254 characters.",
        },
        widget=forms.EmailInput(attrs={"autocomplete": "off"}),
    )
    role = _Role(
        help_text="What they may do. It can be changed later.", error_messages={"required": "Choose a role."}
    )

    def __init__(self, *args: Any, gives: tuple[RoleOption, ...], **more: Any) -> None:
        super().__init__(*args, **more)
        options = [(option.value, f"{option.label}: {option.what}") for option in gives]
        self.fields["role"].choices = options  # type: ignore[attr-defined]
        self.fields["role"].initial = "viewer"


class FarewellForm(PortalForm):
    """What becomes of the jobs of somebody who leaves; asked only where there are any."""

    jobs = forms.ChoiceField(
        label="Their jobs",
        widget=forms.RadioSelect,
        error_messages={
            "required": "Choose what becomes of the jobs.",
            "invalid_choice": "Choose one of these.",
        },
    )

    def __init__(self, *args: Any, farewell: Farewell, **more: Any) -> None:
        super().__init__(*args, **more)
        if not farewell.jobs:
            del self.fields["jobs"]
            return
        heirs = [(str(heir.id), f"Hand them on to {heir.name} ({heir.role})") for heir in farewell.heirs]
        self.fields["jobs"].choices = [*heirs, (STOP, "Stop them")]  # type: ignore[attr-defined]

    @property
    def hand_on_to(self) -> int | None:
        """Return the membership of whoever takes over; None stops the jobs."""
        chosen = self.cleaned_data.get("jobs", STOP)
        return None if chosen == STOP else int(chosen)
