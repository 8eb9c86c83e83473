"""Code of one's own, as fields of the launch form."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django import forms

from jobs.forms.base import PortalForm
from jobs.services.choosing import CODE_MAX_BYTES, OwnAlgorithm

OWN = "own"  # the choice beside the published algorithms; no DID looks like it
FIELDS = {
    "code_language": "language",
    "code_image": "image",
    "code_tag": "tag",
    "code_entrypoint": "entrypoint",
    "code_checksum": "checksum",
    "code_url": "url",
    "code": "code",
}

_PLAIN = {"spellcheck": "false", "autocomplete": "off", "class": "mono"}


class OwnCodeForm(PortalForm):
    """The fields that describe code of one's own: the code or its address, and the container that it runs in."""

    code = forms.CharField(
        label="Code",
        required=False,
        strip=False,
        widget=forms.Textarea(attrs={"rows": 12, **_PLAIN, "wrap": "off"}),
        help_text=f"At most {CODE_MAX_BYTES // 1000} kB. It finds its data below /data/inputs and writes its results "
        "to /data/outputs, mostly without a network. Everybody in the team sees it on the job's page.",
    )
    code_url = forms.CharField(
        label="Or its address",
        required=False,
        max_length=2_000,
        widget=forms.TextInput(attrs={**_PLAIN, "inputmode": "url", "placeholder": "https://…"}),
        help_text="The node fetches the code from there. Give the code or an address, not both.",
    )
    code_language = forms.CharField(
        label="Language", required=False, max_length=40, help_text="For people to read: python, R …"
    )
    code_image = forms.CharField(
        label="Image",
        required=False,
        max_length=300,
        widget=forms.TextInput(attrs=_PLAIN),
        help_text="The container image, without its tag.",
    )
    code_tag = forms.CharField(
        label="Tag", required=False, max_length=200, widget=forms.TextInput(attrs=_PLAIN)
    )
    code_entrypoint = forms.CharField(
        label="Entry point",
        required=False,
        max_length=1_000,
        widget=forms.TextInput(attrs=_PLAIN),
        help_text="How the code is run; $ALGO stands for its file.",
    )
    code_checksum = forms.CharField(
        label="Checksum of the image",
        required=False,
        max_length=200,
        widget=forms.TextInput(attrs={**_PLAIN, "placeholder": "sha256:…"}),
        help_text="A Provider refuses code of one's own without it.",
    )

    def clean_code(self) -> str:
        """Undo what browsers do to ends of lines: a shell would take the extra character for part of a word."""
        return str(self.cleaned_data["code"]).replace("\r\n", "\n")

    def own_algorithm(self) -> OwnAlgorithm:
        """Return what a valid form describes."""
        return OwnAlgorithm(**{name: self.cleaned_data[field] for field, name in FIELDS.items()})


def suggested_values(container: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the fields start with. container: one that is known to run Python, with its checksum."""
    return {"code_language": "python", **_values(container)}


def values_of_own(own: OwnAlgorithm) -> dict[str, Any]:
    """Return what the fields show of code that ran before."""
    return {field: getattr(own, name) for field, name in FIELDS.items()}


def _values(container: Mapping[str, Any]) -> dict[str, Any]:
    return {
        field: str(container.get(name) or "")
        for field, name in FIELDS.items()
        if name in ("image", "tag", "entrypoint", "checksum")
    }
