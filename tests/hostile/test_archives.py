"""A job's outputs come as an archive that its algorithm made: it must not leave the storage, nor fill it."""

from __future__ import annotations

import gzip
import io
import tarfile
import zipfile
from typing import Any

import pytest

from jobs.lifecycle import State
from jobs.models import Result
from tests.hostile.cases import Case, named
from tests.hostile.world import OUTPUTS, World, entry, tar, wire_job
from tests.services.test_unpacking import archive, header, special

pytestmark = pytest.mark.django_db

GOOD = ("outputs/good.txt", b"good\n")
BLOCK = 512


def packed(name: str, data: bytes, *, says: str, kept: frozenset[str] | set[str] = frozenset()) -> Case:
    """Send an archive; the archive itself is always kept, and nothing else but `kept`."""

    def lie(world: World) -> None:
        world.bad.listed = [wire_job(world.victim, results=[entry(1, "outputs.tar")])]
        world.bad.files[1] = data

    return Case(name, lie, state=State.SUCCEEDED, says=says, kept=frozenset({"outputs.tar", *kept}))


def pax(name: str, **headers: str) -> bytes:
    """Make an archive of one file with extended headers."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as pack:
        info = tarfile.TarInfo(name)
        info.size, info.pax_headers = 5, headers
        pack.addfile(info, io.BytesIO(b"pwned"))
    return out.getvalue()


def zipped(**files: bytes) -> bytes:
    """Make an archive of another kind."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as pack:
        for name, data in files.items():
            pack.writestr(name, data)
    return out.getvalue()


LINK = "is a link, a device or another special file"
OUTSIDE = "points outside its folder"
CASES = [
    packed(
        "path to above", archive(("outputs/../../../evil.sh", b"x"), GOOD), says=OUTSIDE, kept={"good.txt"}
    ),
    packed("absolute path", archive(("/tmp/evil.sh", b"x"), GOOD), says=OUTSIDE, kept={"good.txt"}),
    packed(
        "path of another system", archive(("..\\..\\evil.bat", b"x"), GOOD), says=OUTSIDE, kept={"good.txt"}
    ),
    packed("name with a NUL", pax("a", path="a\0/../../evil"), says=""),
    packed(
        "name that turns", archive(("outputs/a\u202efdp.exe", b"x"), GOOD), says=OUTSIDE, kept={"good.txt"}
    ),
    packed("name of 4,000 characters", archive(("n" * 4_000, b"x"), GOOD), says=OUTSIDE, kept={"good.txt"}),
    packed(
        "a thousand folders in one another",
        archive(("d/" * 1_000 + "f", b"x"), GOOD),
        says=OUTSIDE,
        kept={"good.txt"},
    ),
    packed(
        "symbolic link to a secret",
        archive(special("outputs/l", tarfile.SYMTYPE, "/etc/passwd"), GOOD),
        says=LINK,
        kept={"good.txt"},
    ),
    packed(
        "link, and a file through it",
        archive(special("outputs/l", tarfile.SYMTYPE, "/tmp"), ("outputs/l/evil", b"x")),
        says=LINK,
        kept={"l/evil"},
    ),
    packed(
        "hard link to a secret",
        archive(special("outputs/l", tarfile.LNKTYPE, "../../../.env"), GOOD),
        says=LINK,
        kept={"good.txt"},
    ),
    packed("device", archive(special("outputs/d", tarfile.CHRTYPE), GOOD), says=LINK, kept={"good.txt"}),
    packed("pipe", archive(special("outputs/p", tarfile.FIFOTYPE), GOOD), says=LINK, kept={"good.txt"}),
    packed(
        "one name twice", archive(GOOD, ("outputs/good.txt", b"evil")), says="there twice", kept={"good.txt"}
    ),
    packed(
        "a file and a folder of one name",
        archive(GOOD, ("outputs/good.txt/x", b"evil")),
        says="",
        kept={"good.txt", "good.txt/x"},
    ),
    packed(
        "a terabyte declared",
        header("outputs/huge", size=2**40) + b"x" * BLOCK,
        says="larger than is allowed",
    ),
    packed(
        "a terabyte hidden in an extended header", pax("a", size=str(2**40)), says="larger than is allowed"
    ),
    packed("a size below zero", pax("a", size="-5"), says=""),
    packed("a size in words", pax("a", size="much"), says="", kept={"a"}),
    packed("a size without end", pax("a", size="9" * 5_000), says="", kept={"a"}),
    packed("a path in an extended header", pax("innocent", path="../../../evil"), says=OUTSIDE),
    packed("a character set that is none", pax("a", hdrcharset="x"), says="", kept={"a"}),
    packed("more headers than a megabyte", pax("a", comment="c" * 2 * 2**20), says="damaged"),
    packed("no archive", b"no archive at all " * 100, says="damaged"),
    packed("zeros", b"\0" * 100_000, says=""),
    packed("another kind of archive", zipped(evil=b"x" * 10**6), says="damaged"),
    packed("packed archive", gzip.compress(OUTPUTS), says="damaged"),
    packed("packed bomb", gzip.compress(b"\0" * 10 * 2**20), says="damaged"),
    packed("cut off in a file", tar(big=b"x" * 5_000)[: BLOCK + 1_000], says="damaged"),
    packed(
        "cut off in a header", archive(GOOD)[: 2 * BLOCK] + archive(GOOD)[:100], says="", kept={"good.txt"}
    ),
    packed("a page", b"<!DOCTYPE html><script>alert(1)</script>", says="damaged"),
]


@pytest.mark.parametrize("case", CASES, ids=named)
def test_hostile_archive_is_kept_and_what_comes_out_stays_in_the_storage(
    case: Case, world: World, caplog: pytest.LogCaptureFixture
) -> None:
    case.play(world, caplog)


def test_bomb_of_many_files_ends_at_the_cap(
    world: World, caplog: pytest.LogCaptureFixture, settings: Any
) -> None:
    settings.MAX_ARCHIVE_FILES = 20
    bomb = archive(*[(f"outputs/{n}", b"x") for n in range(2_000)])
    packed("bomb", bomb, says="the rest is only in the archive", kept={str(n) for n in range(20)}).play(
        world, caplog
    )


def test_bomb_of_many_folders_ends_at_the_cap(
    world: World, caplog: pytest.LogCaptureFixture, settings: Any
) -> None:
    settings.MAX_ARCHIVE_FILES = 20
    bomb = archive(*[special(f"outputs/{n}", tarfile.DIRTYPE) for n in range(2_000)], GOOD)
    packed("bomb", bomb, says="the rest is only in the archive").play(world, caplog)


def test_bomb_of_bytes_ends_at_the_cap(world: World, caplog: pytest.LogCaptureFixture, settings: Any) -> None:
    settings.MAX_RESULT_BYTES = 50_000
    files = archive(GOOD, ("outputs/big", b"x" * 20_480))[: 3 * BLOCK + 20_480]
    bomb = files + header("outputs/more", size=40_000) + b"x" * BLOCK
    packed("bomb", bomb, says="larger than is allowed", kept={"good.txt", "big"}).play(world, caplog)


def test_second_collection_makes_nothing_twice(world: World) -> None:
    world.bad.files[1] = archive(GOOD, ("outputs/../evil", b"x"))
    world.run(beats=4)
    before = sorted(Result.objects.values_list("pk", "path"))

    Result.objects.filter(kind="output", path="").update(unpacked_at=None)
    world.victim.results.filter(path="").update(next_try_at=world.clock())
    world.run(beats=4)

    assert sorted(Result.objects.values_list("pk", "path")) == before
    world.assert_nothing_outside_storage()
