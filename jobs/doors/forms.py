"""Forms of the doors where allauth's own do not say enough."""

from __future__ import annotations

from typing import Any

from allauth.account.forms import ChangePasswordForm, ResetPasswordKeyForm, SetPasswordForm, SignupForm
from allauth.core import context as current
from django import forms

from jobs.doors.invited import invited_email

HINT = "At least 8 characters, not only digits, and none of the passwords that everybody uses."


def _say_plainly(form: forms.Form) -> None:
    """Replace allauth's labels, its placeholders, and the list that Django makes of the rules for passwords."""
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
