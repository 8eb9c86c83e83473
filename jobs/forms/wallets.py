"""The forms of the wallets' pages. What was entered as a key or a password is never sent back to the browser."""

from __future__ import annotations

from typing import Any

from django import forms
from django.views.decorators.debug import sensitive_variables

from jobs.forms.base import PortalForm
from jobs.selectors.wallet import WalletPage
from jobs.services.wallets import PATH, SECRET_MAX, Form

_OFF = {"autocomplete": "off", "spellcheck": "false"}


class SecretText(forms.Textarea):
    """A field of several lines that forgets what was entered."""

    def format_value(self, value: Any) -> None:
        """Show nothing."""
        return


def _label() -> forms.CharField:
    return forms.CharField(
        max_length=60,
        help_text="What the team calls it.",
        error_messages={"required": "A wallet needs a label."},
        widget=forms.TextInput(attrs={"autocomplete": "off"}),
    )


class GenerateWalletForm(PortalForm):
    """A label for a key that the portal makes."""

    prefix = "new"
    label = _label()


class BringForm(PortalForm):
    """A key that exists, in one of its forms. how: which one, as the service calls it."""

    how: Form = "key"
    label = _label()


class KeyForm(BringForm):
    """A key in digits."""

    prefix = "key"
    secret = forms.CharField(
        label="Private key",
        max_length=SECRET_MAX,
        help_text="64 hexadecimal digits, with or without 0x in front.",
        error_messages={"required": "Enter a key."},
        widget=forms.PasswordInput(attrs=_OFF),
    )


class PhraseForm(BringForm):
    """A recovery phrase, and where in its tree the key is."""

    prefix, how = "phrase", "phrase"
    secret = forms.CharField(
        label="Recovery phrase",
        max_length=SECRET_MAX,
        help_text="12 to 24 words (BIP-39), without an extra passphrase.",
        error_messages={"required": "Enter the words."},
        widget=forms.PasswordInput(attrs=_OFF),
    )
    path = forms.CharField(
        label="Derivation path",
        max_length=150,
        initial=PATH,
        help_text="The last number counts the accounts of the phrase: 0 is the first. Compare the address afterwards.",
        error_messages={
            "required": f"Enter a path, such as {PATH}.",
            "max_length": f"A path looks like {PATH}.",
        },
        widget=forms.TextInput(attrs=_OFF),
    )


class KeystoreForm(BringForm):
    """A keystore, as a file or as its text, with its password."""

    prefix, how = "keystore", "keystore"
    file = forms.FileField(
        label="Keystore file",
        required=False,
        help_text="JSON of version 3, as geth and most wallets write it; at most 20 kB.",
        error_messages={"empty": "This file is empty."},
    )
    secret = forms.CharField(
        label="Or its text",
        required=False,
        max_length=SECRET_MAX,
        error_messages={"max_length": "This is far longer than a keystore."},
        widget=SecretText(attrs={"rows": 3, **_OFF}),
    )
    password = forms.CharField(
        label="Its password",
        required=False,
        strip=False,
        max_length=1_000,
        widget=forms.PasswordInput(attrs=_OFF),
    )

    @sensitive_variables()
    def clean_file(self) -> str:
        """Read the file, if it is no longer than a keystore and text."""
        given = self.cleaned_data["file"]
        if given is None:
            return ""
        if given.size > SECRET_MAX:
            raise forms.ValidationError("This file is far larger than a keystore.")
        try:
            return str(given.read(), "utf-8")
        except UnicodeDecodeError:
            raise forms.ValidationError("This file is no text, so it is no keystore.") from None

    @sensitive_variables()
    def clean(self) -> dict[str, Any]:
        """Take one of the two."""
        entered = super().clean() or self.cleaned_data
        file, text = entered.get("file", ""), entered.get("secret", "")
        if not self.errors and bool(file) == bool(text):
            sentence = (
                "Either the file or its text, not both."
                if file
                else "Choose a keystore file, of at most 20 kB."
            )
            self.add_error("file", sentence)
        entered["secret"] = file or text
        return entered


class WatchForm(PortalForm):
    """An address to look at."""

    prefix = "watch"
    label = _label()
    address = forms.CharField(
        max_length=100,
        help_text="0x and 40 hexadecimal digits, in small letters or with its checksum's capitals.",
        error_messages={"required": "Enter an address.", "max_length": "An address has 42 characters."},
        widget=forms.TextInput(attrs=_OFF),
    )


class GrantForm(PortalForm):
    """Who is to spend from a wallet."""

    prefix = "grant"
    user = forms.TypedChoiceField(
        label="Member",
        coerce=int,
        error_messages={
            "required": "Choose a member.",
            "invalid_choice": "This person cannot be granted a wallet: no member, or a role that launches nothing paid.",
        },
    )

    def __init__(self, *args: Any, wallet: WalletPage, **more: Any) -> None:
        super().__init__(*args, **more)
        self.fields["user"].choices = [(x.id, f"{x.name}, {x.role}") for x in wallet.grantable]  # type: ignore[attr-defined]


class HandOverForm(PortalForm):
    """Which team gets a wallet, and what it is called there."""

    prefix = "over"
    to = forms.ChoiceField(
        label="Team",
        error_messages={
            "required": "Choose a team.",
            "invalid_choice": "Choose one of the teams that you own.",
        },
    )
    label = forms.CharField(
        label="Its label there",
        max_length=60,
        error_messages={"required": "A wallet needs a label."},
        widget=forms.TextInput(attrs={"autocomplete": "off"}),
    )

    def __init__(self, *args: Any, wallet: WalletPage, **more: Any) -> None:
        super().__init__(*args, **more)
        self.fields["to"].choices = [(x.slug, x.name) for x in wallet.teams]  # type: ignore[attr-defined]
        self.initial.setdefault("label", wallet.row.label)
