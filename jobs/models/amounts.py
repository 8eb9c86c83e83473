"""A column for amounts in the smallest unit of a token: exact in every database."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any

from django.core.exceptions import ValidationError
from django.db import models

from jobs.ocean.units import Wei

_DIGITS = 78  # of 2**256 - 1, the largest amount that a contract knows


if TYPE_CHECKING:
    _Text = models.CharField[Any, Any]
else:
    _Text = models.CharField


class WeiField(_Text):
    """A whole number from 0 to 2**256 - 1, kept as text of one length, so that the database compares it as it should.

    Decimals would do on PostgreSQL. SQLite keeps them as floating point, of which Django reads 15 digits: a third of a
    token with 18 decimals would come back as another amount.
    """

    description = "An amount in a token's smallest unit"
    if TYPE_CHECKING:
        _pyi_private_set_type: Any
        _pyi_private_get_type: Any

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs["max_length"] = _DIGITS
        super().__init__(*args, **kwargs)
        self.validators = []  # a text's: they would count the letters of a number; `to_python` knows its range

    def deconstruct(self) -> Any:
        """Leave out of migrations what is always the same."""
        name, path, args, kwargs = super().deconstruct()
        del kwargs["max_length"]
        return name, path, args, kwargs

    def from_db_value(self, value: str | None, *_: object) -> Wei | None:
        """Read what the database has; also what older versions wrote as a number."""
        return None if value is None else Wei(int(Decimal(value)))

    def to_python(self, value: Any) -> Wei | None:
        """Read what a person entered. Raises: ValidationError."""
        if value is None or value == "":
            return None
        try:
            number = Decimal(str(value))
        except InvalidOperation:
            raise ValidationError("Enter a whole number.", code="invalid") from None
        if not number.is_finite() or number != number.to_integral_value() or not 0 <= number < 2**256:
            raise ValidationError("Enter a whole number from 0 to 2^256 - 1.", code="invalid")
        return Wei(int(number))

    def get_prep_value(self, value: Any) -> str | None:
        """Write as many digits as the largest amount has. Raises: ValueError for what is no amount."""
        if value is None:
            return None
        try:
            return f"{self.to_python(value):0{_DIGITS}d}"
        except (TypeError, ValidationError):
            raise ValueError(f"{value!r} is no amount in a smallest unit") from None
