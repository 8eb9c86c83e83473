"""What all forms share: how they tell of errors. Forms read and normalise what was entered, and never save."""

from __future__ import annotations

from django import forms

from jobs.errors import InvalidInput, PortalError


class PortalForm(forms.Form):
    """A form whose fields describe themselves to screen readers, and which takes errors from services."""

    use_required_attribute = (
        False  # the portal's own sentences stand beside the fields, in every browser alike
    )

    def refuse(self, error: PortalError, *, otherwise: str | None = None) -> None:
        """Show a service's refusal beside its field, or `otherwise`: None is above the form."""
        field = error.field if isinstance(error, InvalidInput) and error.field in self.fields else otherwise
        sentences = [error.message]
        if isinstance(error, InvalidInput) and error.candidates:
            sentences.append("Possible: " + ", ".join(error.candidates) + ".")
        self.add_error(field, " ".join(sentences))
