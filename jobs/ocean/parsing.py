"""How answers of strangers are read: bounded texts and numbers, and lists that lose only malformed items."""

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import isfinite
from typing import Annotated, Any, Generic, NoReturn, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from jobs.ocean.errors import BadAnswer
from jobs.ocean.units import clean_text

_END_OF_TIME = 1e11
_DEPTH_CAP = 64
# A whole string, an unfinished one up to the end, or a bracket. No branch can fail once begun: it is linear.
_TOKEN = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z)|[\[{]|[\]}]', re.DOTALL)

T = TypeVar("T")


@dataclass(frozen=True)
class Parsed(Generic[T]):
    """The well-formed items of a list, and how many malformed ones were left out.

    skipped: above zero, a missing item is not proven to be absent.
    """

    items: tuple[T, ...]
    skipped: int = 0

    def __iter__(self) -> Iterator[T]:
        return iter(self.items)

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, position: int) -> T:
        return self.items[position]


def shown_text(limit: int) -> BeforeValidator:
    """Clean a text that people will see and cut it to `limit`."""
    return BeforeValidator(lambda value: clean_text(value, limit=limit) if isinstance(value, str) else value)


def _moment(value: object) -> object:
    """Read a moment as nodes write it: text, seconds with a fraction; "0" and null mean not yet."""
    if isinstance(value, str):
        value = float(value)
    if isinstance(value, int | float) and not isinstance(value, bool):
        if not 0 <= value < _END_OF_TIME:
            raise ValueError("not a moment")
        return value or None
    if value is None:
        return None
    raise ValueError("not a moment")


Moment = Annotated[float | None, BeforeValidator(_moment)]
Count = Annotated[int, Field(ge=0, le=10**12, strict=True)]
Identifier = Annotated[str, Field(max_length=200, pattern=r"^[!-~]+$")]


class Wire(BaseModel):
    """A frozen record read from an answer; fields may be given by our name or by the wire's."""

    model_config = ConfigDict(frozen=True, extra="ignore", validate_by_name=True, validate_by_alias=True)


def parse_list(answer: list[Any], *, limit: int, read: Callable[[dict[str, Any]], T], what: str) -> Parsed[T]:
    """Read at most `limit` items. Raises: BadAnswer when there are items and none can be read."""
    items: list[T] = []
    first_fault = ""
    for entry in answer[:limit]:
        try:
            if not isinstance(entry, dict):
                raise BadAnswer(f"The node described an {what} by something that is no object.", code=what)
            items.append(read(entry))
        except BadAnswer as error:
            first_fault = first_fault or error.message
        except ValidationError as error:
            first_fault = first_fault or f"The node described an {what} with an unreadable {field_of(error)}."
    if answer and not items:
        raise BadAnswer(first_fault, code=what)
    return Parsed(items=tuple(items), skipped=len(answer) - len(items))


def field_of(error: ValidationError) -> str:
    """Name the first field that could not be read."""
    return ".".join(str(part) for part in error.errors()[0]["loc"][:3])[:80] or "value"


def load_json(data: bytes) -> Any:
    """Read JSON in UTF-8 of bounded depth, without NaN and infinity.

    Python's own reader recurses in C: a stranger's million brackets would end the process, not the call.
    Raises: ValueError.
    """
    depth = 0
    for token in _TOKEN.finditer(data):
        kind = token[0][:1]
        if kind in b"[{":
            depth += 1
            if depth > _DEPTH_CAP:
                raise ValueError("too deep")
        elif kind in b"]}":
            depth -= 1
    # Decoded here: given bytes, the reader would also try UTF-16, in which the brackets above look different.
    return json.loads(data.decode(), parse_constant=_no_constant, parse_float=_finite)


def _finite(digits: str) -> float:
    # 1e999 is legal JSON, but what Python makes of it is infinity, which no database takes in a document.
    value = float(digits)
    if not isfinite(value):
        raise ValueError(digits[:20])
    return value


def _no_constant(name: str) -> NoReturn:
    raise ValueError(name)
