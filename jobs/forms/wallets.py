"""The forms of the wallets' page."""

from __future__ import annotations

from django import forms

from jobs.forms.base import PortalForm


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
