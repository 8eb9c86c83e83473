"""The forms that take amounts of tokens."""

from __future__ import annotations

from typing import Any

from django import forms

from jobs.forms.base import PortalForm
from jobs.selectors.wallets import WalletList

# No token has more digits before the point, and none that the portal knows more behind it.
_DIGITS, _PLACES = 160, 80


class AmountField(forms.DecimalField):
    """An amount of tokens, exact. How many decimal places the token has, its service knows."""

    def __init__(self, **more: Any) -> None:
        super().__init__(
            min_value=0,
            max_digits=_DIGITS,
            decimal_places=_PLACES,
            widget=forms.TextInput(attrs={"autocomplete": "off", "inputmode": "decimal"}),
            **more,
        )
        self.error_messages |= {
            "invalid": "Enter an amount in digits, such as 12.5.",
            "required": "Enter an amount.",
        }


class LimitForm(PortalForm):
    """The most that one job may spend of a token from a wallet."""

    prefix = "limit"
    wallet = forms.TypedChoiceField(coerce=int, error_messages={"required": "Choose a wallet."})
    token = forms.TypedChoiceField(coerce=int, error_messages={"required": "Choose a token."})
    amount = AmountField(
        label="At most, for one job", help_text="In tokens, such as 12.5; 0 lets it spend none."
    )

    def __init__(self, *args: Any, wallets: WalletList, **more: Any) -> None:
        super().__init__(*args, **more)
        self.fields["wallet"].choices = [(row.id, row.label) for row in wallets.rows if row.usable]  # type: ignore[attr-defined]
        self.fields["token"].choices = [(token.id, token.name) for token in wallets.tokens]  # type: ignore[attr-defined]


class WithdrawForm(PortalForm):
    """How much to take back from an escrow; nothing entered is all that is there."""

    amount = AmountField(required=False, help_text="Leave it empty to take back all that is available.")
