"""Opens an outputs archive that a stranger's algorithm made, without trusting a byte of it.

Only plain files come out, under names that cannot leave their folder; links, devices, and paths that point elsewhere are
named and left out. Sizes and counts have caps, so that an archive that unpacks to terabytes ends early.
"""

from __future__ import annotations

import tarfile
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import IO

PATH_MAX = 400
NAME_MAX = 200
# Every outputs.tar of a node holds this folder; it says nothing to a reader. Source: recording 10, exchange 12.
_PREFIX = "outputs"


@dataclass(frozen=True)
class Member:
    """A file of the archive. path: cleaned, relative, without the leading `outputs/`; size in bytes."""

    path: str
    size: int
    content: IO[bytes]


@dataclass(frozen=True)
class LeftOut:
    """Something of the archive that is not kept, and why, for a person."""

    name: str
    why: str


def unpack(archive: IO[bytes], *, max_files: int, max_bytes: int) -> Iterator[Member | LeftOut]:
    """Yield what is in a tar archive, in its order; read each member before asking for the next.

    max_bytes: of all files together, as the archive declares them; a tar member cannot be longer than declared.
    """
    seen: set[str] = set()
    taken = 0
    try:
        # Streaming mode: never seeks, never follows a link into another member.
        with tarfile.open(fileobj=archive, mode="r|") as tar:
            for info in tar:
                shown = shown_name(info.name)
                if info.isdir():
                    continue
                if not info.isreg() or info.issparse():
                    yield LeftOut(shown, "is a link, a device or another special file")
                    continue
                path = safe_path(info.name)
                if path is None:
                    yield LeftOut(shown, "has a name that points outside its folder or cannot be stored")
                    continue
                if path in seen:
                    yield LeftOut(shown, "is there twice; the first one is kept")
                    continue
                if len(seen) >= max_files:
                    yield LeftOut(
                        shown, f"comes after {max_files} files; the rest is only in the archive itself"
                    )
                    return
                if taken + info.size > max_bytes:
                    yield LeftOut(
                        shown, "would make the files larger than is allowed; it is only in the archive itself"
                    )
                    return
                content = tar.extractfile(info)
                if content is None:
                    continue
                seen.add(path)
                taken += info.size
                yield Member(path=path, size=info.size, content=content)
    except (tarfile.TarError, EOFError, ValueError, OverflowError) as error:
        yield LeftOut("outputs.tar", f"is damaged from here on ({type(error).__name__})")


def safe_path(name: str) -> str | None:
    """Return a member's name as a clean relative path, or None if it has none that is safe."""
    if not name or len(name) > PATH_MAX or name.startswith("/") or "\\" in name or "\0" in name:
        return None
    parts = [part for part in PurePosixPath(name).parts if part != "."]
    if not parts or ".." in parts:
        return None
    if parts[0] == _PREFIX and len(parts) > 1:
        parts = parts[1:]
    if any(len(part) > NAME_MAX or not _storable(part) for part in parts):
        return None
    return "/".join(parts)


def shown_name(name: str) -> str:
    """Return any text from outside as one that can be shown in a line."""
    return "".join(c if c.isprintable() else "�" for c in name)[:NAME_MAX]


def _storable(part: str) -> bool:
    # Control and formatting characters can make a name look like another one; surrogates cannot be encoded.
    return (
        all(unicodedata.category(c) not in {"Cc", "Cf", "Cs", "Co", "Cn"} for c in part)
        and part.strip() == part
    )
