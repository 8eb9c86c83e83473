"""The form that asks for a wallet's token at a node."""

from __future__ import annotations

from typing import Any

from django import forms

from jobs.forms.base import PortalForm
from jobs.selectors.nodetokens import NodeTokens


class WantTokenForm(PortalForm):
    """One of the nodes that the wallet has no token at."""

    prefix = "token"
    node = forms.TypedChoiceField(
        coerce=int,
        error_messages={
            "required": "Choose a node.",
            "invalid_choice": "Choose one of the nodes that give tokens.",
        },
    )

    def __init__(self, *args: Any, tokens: NodeTokens, **more: Any) -> None:
        super().__init__(*args, **more)
        self.fields["node"].choices = [(node.id, node.name) for node in tokens.nodes]  # type: ignore[attr-defined]
