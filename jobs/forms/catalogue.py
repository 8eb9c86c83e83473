"""The forms of the catalogue."""

from __future__ import annotations

from django import forms

from jobs.forms.base import PortalForm

KINDS = (("", "Datasets and algorithms"), ("dataset", "Datasets"), ("algorithm", "Algorithms"))


class AddAssetForm(PortalForm):
    """A DID to put into the catalogue."""

    did = forms.CharField(
        label="DID",
        max_length=200,
        help_text="did:op: followed by 64 characters. The portal asks its nodes for the description.",
        error_messages={"required": "Enter the DID of a dataset or an algorithm."},
        widget=forms.TextInput(
            attrs={"placeholder": "did:op:…", "spellcheck": "false", "autocomplete": "off"}
        ),
    )


class FindAssetsForm(PortalForm):
    """Words to look for on the network."""

    text = forms.CharField(
        label="Words",
        max_length=200,
        help_text="In names, descriptions, publishers and tags.",
        error_messages={"required": "Enter a word to look for."},
        widget=forms.TextInput(attrs={"type": "search", "autocomplete": "off", "data-search": True}),
    )
    kind = forms.ChoiceField(label="Kind", choices=KINDS, required=False)
