"""Values that publishers ask for, as fields; and JSON that people write."""

from __future__ import annotations

import json
import re
from typing import Any

from django import forms

from jobs.selectors.catalogue import Parameter

EXACT_INTEGER_MAX = 2**53
NESTING_MAX = 100

_JSON_STRING = re.compile(r'"(?:\\.|[^"\\])*"')


def json_object(text: str) -> dict[str, Any]:
    """Read a JSON object that can be stored and sent; empty text is an empty one.

    Raises: ValidationError with what is wrong, and where.
    """
    if not text.strip():
        return {}
    if _nesting(text) > NESTING_MAX:
        raise forms.ValidationError(f"This JSON is nested deeper than {NESTING_MAX} levels.")
    try:
        value = json.loads(text, parse_constant=_no_number)
        # Half a surrogate pair or a NUL can be written in JSON, but not in every database.
        plain = json.dumps(value, ensure_ascii=False).encode()
    except json.JSONDecodeError as error:
        raise forms.ValidationError(
            f"This is no JSON: {error.msg} in line {error.lineno}, column {error.colno}."
        ) from None
    except ValueError:
        raise forms.ValidationError("This JSON holds something that cannot be stored or sent.") from None
    if not isinstance(value, dict):
        raise forms.ValidationError('This has to be a JSON object: {"name": value, …}.')
    if b"\\u0000" in plain:
        raise forms.ValidationError("This JSON holds a character that cannot be stored.")
    return value


def _nesting(text: str) -> int:
    # Counted before parsing: py_ecc, which comes with eth-account, lifts Python's recursion limit to 100,000;
    # a parser that goes so deep overruns the stack and ends the process.
    depth = deepest = 0
    for character in _JSON_STRING.sub("", text):
        depth += (character in "[{") - (character in "]}")
        deepest = max(deepest, depth)
    return deepest


def _no_number(word: str) -> float:
    raise ValueError(f"{word} is not part of JSON")


class _NumberField(forms.FloatField):
    def to_python(self, value: Any) -> Any:
        number = super().to_python(value)
        whole = number is not None and number.is_integer() and abs(number) < EXACT_INTEGER_MAX
        return int(number) if whole and number is not None else number


def parameter_field(parameter: Parameter, *, asker: str) -> forms.Field:
    """Make the field for a value that a publisher asks for. asker: "The algorithm" or "The dataset"."""
    empty = [] if parameter.required else [("", "not set")]
    common: dict[str, Any] = {
        "label": parameter.label,
        "required": parameter.required,
        "help_text": parameter.description,
        "error_messages": {"required": f"{asker} needs this."},
    }
    if parameter.type == "number":
        return _NumberField(**common, widget=forms.NumberInput(attrs={"step": "any"}))
    if parameter.type == "boolean":
        return forms.TypedChoiceField(
            **common,
            choices=[*empty, ("true", "Yes"), ("false", "No")],
            coerce=lambda text: text == "true",
            empty_value=None,
        )
    if parameter.type == "select" and parameter.options:
        return forms.ChoiceField(**common, choices=[*empty, *parameter.options])
    return forms.CharField(**common, max_length=5000)


def shown_value(value: Any) -> Any:
    """Return a former value as the field for it shows it."""
    return json.dumps(value) if isinstance(value, bool | dict | list) else value
