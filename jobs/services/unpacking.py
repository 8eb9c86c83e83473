"""Opens an outputs archive that a stranger's algorithm made, without trusting a byte of it.

Only plain files come out, under names that cannot leave their folder; links, devices, and paths that point elsewhere are
named and left out. Sizes, counts and headers have caps, so that an archive that unpacks to terabytes, or that lies about
itself, ends early.
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
# What may stand between two files: tarfile reads long names and extended headers whole into memory.
HEADERS_MAX_BYTES = 2**20
ENTRIES_PER_FILE = 10  # folders and things that are left out cost memory too
# Every outputs.tar of a node holds this folder; it says nothing to a reader. Source: recording 10, exchange 12.
_PREFIX = "outputs"
_BLOCK = 256 * 1024


class Damaged(Exception):
    """The archive ends, or stops making sense, in the middle of a file."""


@dataclass(frozen=True)
class Member:
    """A file of the archive. path: cleaned, relative, without the leading `outputs/`; size in bytes."""

    path: str
    size: int
    _content: IO[bytes]

    def blocks(self) -> Iterator[bytes]:
        """Read the file, piece by piece.

        Raises:
            Damaged: the archive has less of it than it says.
        """
        try:
            while block := self._content.read(_BLOCK):
                yield block
        except tarfile.TarError:
            raise Damaged from None


@dataclass(frozen=True)
class LeftOut:
    """Something of the archive that is not kept, and why, for a person."""

    name: str
    why: str


def unpack(archive: IO[bytes], *, max_files: int, max_bytes: int) -> Iterator[Member | LeftOut]:
    """Yield what is in a tar archive, in its order; read each member before asking for the next.

    max_bytes: of all files together, as the archive declares them; a tar member cannot be longer than declared.

    Raises:
        OSError: the archive cannot be read from where it is kept.
    """
    gate = _Gate(archive)
    try:
        # Streaming mode: never seeks, never follows a link into another member.
        with tarfile.open(fileobj=gate, mode="r|") as tar:  # type: ignore[call-overload]  # a stream is only read
            yield from _entries(tar, gate=gate, max_files=max_files, max_bytes=max_bytes)
    except OSError:
        raise
    except Exception as error:  # what tarfile raises for a malformed header is not only its own errors
        yield LeftOut("outputs.tar", f"is damaged from here on ({type(error).__name__})")


def _entries(
    tar: tarfile.TarFile, *, gate: _Gate, max_files: int, max_bytes: int
) -> Iterator[Member | LeftOut]:
    seen: set[str] = set()
    taken = 0
    for count, info in enumerate(tar):
        shown = shown_name(info.name)
        # Before anything else: tarfile passes over what nobody reads in a loop as long as the declared size.
        if not 0 <= info.size <= max_bytes - taken:
            yield LeftOut(
                shown, "would make the files larger than is allowed; it is only in the archive itself"
            )
            return
        if count >= max_files * ENTRIES_PER_FILE or (info.isreg() and len(seen) >= max_files):
            yield LeftOut(shown, f"comes after {len(seen)} files; the rest is only in the archive itself")
            return
        gate.allow(info.size)
        path = safe_path(info.name)
        if info.isdir():
            continue
        if not info.isreg() or info.issparse():
            yield LeftOut(shown, "is a link, a device or another special file")
        elif path is None:
            yield LeftOut(shown, "has a name that points outside its folder or cannot be stored")
        elif path in seen:
            yield LeftOut(shown, "is there twice; the first one is kept")
        elif (content := tar.extractfile(info)) is not None:
            seen.add(path)
            taken += info.size
            yield Member(path, info.size, content)


class _Gate:
    """Lets tarfile read a member and a bounded amount of headers, and no more."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._left = HEADERS_MAX_BYTES

    def allow(self, size: int) -> None:
        """Let a member of this size be read, and the headers after it."""
        self._left = size + HEADERS_MAX_BYTES

    def read(self, size: int) -> bytes:
        """Read on, unless more was read than the archive has reason for."""
        data = self._stream.read(size)
        self._left -= len(data)
        if self._left < 0:
            raise tarfile.ReadError("headers are too large")
        return data


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
