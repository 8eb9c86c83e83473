"""Forms of the doors where allauth's own do not say enough."""

from __future__ import annotations

from typing import Any

from allauth.account.forms import ChangePasswordForm, ResetPasswordKeyForm, SetPasswordForm, SignupForm
from allauth.core import context as current
from allauth.mfa.adapter import get_adapter
from allauth.mfa.models import Authenticator
from allauth.mfa.webauthn.forms import (
    AddWebAuthnForm,
    AuthenticateWebAuthnForm,
    EditWebAuthnForm,
    LoginWebAuthnForm,
    ReauthenticateWebAuthnForm,
)
from django import forms
from django.core.exceptions import ValidationError
from django.utils import timezone

from jobs.doors.invited import invited_email
from jobs.services import accounts
from jobs.web import client_address

HINT = "At least 8 characters, not only digits, and none of the passwords that everybody uses."


def _say_plainly(form: forms.Form) -> None:
    """Replace allauth's labels, its placeholders, and the list that Django makes of the rules for passwords."""
    form.use_required_attribute = False  # as PortalForm: our own sentences, in every browser alike
    labels = {"oldpassword": "Your password until now", "password1": "New password", "password2": "Once more"}
    for name, field in form.fields.items():
        field.widget.attrs.pop("placeholder", None)
        if name in labels:
            field.label = labels[name]
            field.help_text = HINT if name == "password1" else ""


class ChangeForm(ChangePasswordForm):
    """Another password, by whoever knows the old one."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        _say_plainly(self)


class FirstPasswordForm(SetPasswordForm):
    """A password for an account without one."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        _say_plainly(self)


class ResetForm(ResetPasswordKeyForm):
    """Another password, by whoever got the e-mail."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        _say_plainly(self)


class SignUpForm(SignupForm):
    """A name, an address and a password. Whoever was invited signs up with the address that was invited."""

    field_order = ("name", "email", "password1", "password2")
    name = forms.CharField(
        label="Your name",
        max_length=150,
        help_text="As your colleagues know you.",
        error_messages={"required": "Say what your colleagues call you."},
        widget=forms.TextInput(attrs={"autocomplete": "name"}),
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        _say_plainly(self)
        self.fields["password1"].label = "Password"
        self.fields["email"].label = "E-mail address"
        self.fields["email"].error_messages["required"] = "Enter your e-mail address."
        invited = invited_email(current.request)
        if invited is not None:
            self.initial["email"] = invited
            self.fields["email"].disabled = True  # what is posted in its place is not read
            self.fields["email"].help_text = "The address that the invitation was sent to."

    def clean(self) -> dict[str, Any]:
        """Split the name as the records keep it."""
        entered: dict[str, Any] = super().clean()
        entered["first_name"], _, entered["last_name"] = str(entered.get("name", "")).partition(" ")
        return entered

    def signup(self, request: object, user: object) -> None:
        """Do nothing more: allauth asks."""


# What a stranger sends as the answer of a key can be anything; the library reads it as if it were one.
_NOT_AN_ANSWER = (AttributeError, IndexError, KeyError, TypeError, ValueError)
_NAME_LENGTH = 100


class _Answer:
    """Refuses in words what is no answer of a key, where allauth would end in an error."""

    def clean_credential(self) -> Authenticator:
        """Return the key that answered.

        Raises:
            ValidationError: none did.
        """
        try:
            return super().clean_credential()  # type: ignore[misc]
        except _NOT_AN_ANSWER as error:
            raise get_adapter().validation_error("incorrect_code") from error


class KeyForm(_Answer, AuthenticateWebAuthnForm):
    """A key as the second factor."""


class KeyAgainForm(_Answer, ReauthenticateWebAuthnForm):
    """A key that shows once more who it is."""


class KeyAloneForm(_Answer, LoginWebAuthnForm):
    """A passkey that signs in alone."""

    def clean_credential(self) -> Authenticator:
        """As above; and whoever tried in vain is recorded."""
        try:
            return super().clean_credential()
        except ValidationError:
            accounts.failed(
                name="a passkey", user_id=None, origin=client_address(current.request), now=timezone.now()
            )
            raise


class NewKeyForm(AddWebAuthnForm):
    """A new key and its name."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["name"] = forms.CharField(required=False, max_length=_NAME_LENGTH)

    def clean(self) -> dict[str, Any]:
        """Refuse in words what no key made."""
        try:
            read: dict[str, Any] = super().clean()
        except _NOT_AN_ANSWER as error:
            raise get_adapter().validation_error("incorrect_code") from error
        return read


class KeyNameForm(EditWebAuthnForm):
    """Another name for a key."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["name"] = forms.CharField(
            label="Name", max_length=_NAME_LENGTH, initial=self.instance.wrap().name
        )
