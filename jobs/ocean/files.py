"""Files that a service fetches itself: how to point at one, and what a service says of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from jobs.ocean.errors import BadAnswer
from jobs.ocean.parsing import Parsed, Wire, parse_list, shown_text

_MAX_FILES = 1_000


@dataclass(frozen=True)
class UrlFile:
    """A file at an address on the web. headers: sent along by the service, and so seen by its operator."""

    url: str
    method: Literal["GET", "POST", "get", "post"] = "GET"
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)

    def wire(self) -> dict[str, Any]:
        """Give the file object as nodes read it. Source: recording 11, exchanges 1 and 2."""
        named: dict[str, Any] = {"type": "url", "url": self.url, "method": self.method}
        return {**named, "headers": dict(self.headers)} if self.headers else named


class FileInfo(Wire):
    """What a service found at a file's place. size: bytes; None where its host does not say.

    checksum: sha-256 of the content, as the lists of trusted algorithms carry it.
    """

    valid: Annotated[bool, Field(strict=True)]
    name: Annotated[str, Field(max_length=1_000), shown_text(255)] = ""
    kind: Annotated[str, Field(max_length=100, validation_alias="type"), shown_text(50)] = ""
    size: Annotated[int | None, Field(ge=0, le=10**15, validation_alias="contentLength")] = None
    content_type: Annotated[str, Field(max_length=500, validation_alias="contentType"), shown_text(100)] = ""
    checksum: Annotated[str | None, Field(max_length=200)] = None

    @field_validator("size", mode="before")
    @classmethod
    def _said_in_text(cls, value: object) -> object:
        # Text mostly, a number or a word such as "unknown" (recording 11, exchange 1: "84").
        text = str(value) if isinstance(value, str | int) and not isinstance(value, bool) else ""
        return int(text) if text.isascii() and text.isdecimal() and len(text) < 16 else None


def parse_file_infos(answer: object) -> Parsed[FileInfo]:
    """Read the answer to fileInfo.

    Raises: BadAnswer when it is no list, or has entries and none of them can be read.
    """
    if not isinstance(answer, list):
        raise BadAnswer("The node's description of a file is no list.", code="file_info")
    return parse_list(answer, limit=_MAX_FILES, read=FileInfo.model_validate, what="file")
