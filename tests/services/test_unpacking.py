"""Archives that a stranger made: only plain files come out, under names that stay in their folder."""

from __future__ import annotations

import gzip
import io
import sys
import tarfile
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.services import unpacking
from jobs.services.unpacking import Damaged, LeftOut, Member, safe_path, shown_name, unpack

Entry = tuple[str, bytes] | tarfile.TarInfo


def archive(*entries: Entry, format: int = tarfile.GNU_FORMAT) -> bytes:
    """Make a tar archive of files, and of headers without content."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=format) as tar:
        for item in entries:
            if isinstance(item, tarfile.TarInfo):
                tar.addfile(item)
            else:
                info = tarfile.TarInfo(item[0])
                info.size = len(item[1])
                tar.addfile(info, io.BytesIO(item[1]))
    return out.getvalue()


def special(name: str, kind: bytes, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def opened(
    data: bytes, *, max_files: int = 10, max_bytes: int = 10_000
) -> tuple[dict[str, bytes], list[LeftOut]]:
    """Return the files that come out, and what is left out."""
    files: dict[str, bytes] = {}
    left_out = []
    for item in unpack(io.BytesIO(data), max_files=max_files, max_bytes=max_bytes):
        if isinstance(item, Member):
            files[item.path] = b"".join(item.blocks())
        else:
            left_out.append(item)
    return files, left_out


def header(name: str, *, size: int, kind: bytes = tarfile.REGTYPE) -> bytes:
    """Make a header that says what it likes about the size."""
    info = tarfile.TarInfo(name)
    info.size, info.type = size, kind
    return info.tobuf(format=tarfile.GNU_FORMAT)


class TestUnpack:
    def test_gives_the_files_without_the_folder_that_every_archive_has(self) -> None:
        folder = special("outputs", tarfile.DIRTYPE)

        files, left_out = opened(
            archive(folder, ("outputs/a.csv", b"1,2\n"), ("outputs/sub/b.txt", b"hello"))
        )

        assert files == {"a.csv": b"1,2\n", "sub/b.txt": b"hello"}
        assert left_out == []

    def test_keeps_empty_files_and_unicode(self) -> None:
        files, _ = opened(archive(("outputs/størrelse ✓.csv", b""), format=tarfile.PAX_FORMAT))

        assert files == {"størrelse ✓.csv": b""}

    def test_keeps_a_file_that_is_called_like_the_folder(self) -> None:
        files, _ = opened(archive(("outputs", b"x")))

        assert files == {"outputs": b"x"}

    def test_reads_on_after_a_file_that_nobody_read(self) -> None:
        data = archive(("a", b"1" * 3000), ("b", b"2"))

        paths = [
            item.path
            for item in unpack(io.BytesIO(data), max_files=9, max_bytes=9999)
            if isinstance(item, Member)
        ]

        assert paths == ["a", "b"]

    @pytest.mark.parametrize(
        "kind",
        [
            tarfile.SYMTYPE,
            tarfile.LNKTYPE,
            tarfile.CHRTYPE,
            tarfile.BLKTYPE,
            tarfile.FIFOTYPE,
        ],
    )
    def test_leaves_out_what_is_no_plain_file(self, kind: bytes) -> None:
        files, (left_out,) = opened(archive(special("outputs/x", kind, "/etc/passwd"), ("outputs/b", b"2")))

        assert files == {"b": b"2"}
        assert (left_out.name, "special file" in left_out.why) == ("outputs/x", True)

    def test_leaves_out_a_link_to_another_member(self) -> None:
        files, left_out = opened(archive(("a", b"1"), special("b", tarfile.LNKTYPE, "a")))

        assert files == {"a": b"1"}
        assert len(left_out) == 1

    def test_leaves_out_sparse_files(self) -> None:
        info = tarfile.TarInfo("outputs/holes")
        info.pax_headers = {"GNU.sparse.major": "0", "GNU.sparse.minor": "1", "GNU.sparse.map": "0,1"}

        files, left_out = opened(archive(info, ("b", b"2"), format=tarfile.PAX_FORMAT))

        assert files == {"b": b"2"}
        assert "special file" in left_out[0].why

    @pytest.mark.parametrize(
        "name",
        [
            "/etc/passwd",
            "../up",
            "outputs/../../up",
            "outputs/a/../../../up",
            "..",
            "a\\b",
            "outputs/\x1b[31mred",
            "outputs/a\nb",
            "outputs/cod‮gpj.exe",
            "outputs/" + "x" * 4000,
            "outputs/" + "y" * 201,
            "outputs/ lead",
            "outputs/trail ",
        ],
    )
    def test_leaves_out_names_that_cannot_be_kept(self, name: str) -> None:
        files, (left_out,) = opened(archive((name, b"bad"), ("outputs/ok", b"good")))

        assert files == {"ok": b"good"}
        assert left_out.name.isprintable()
        assert len(left_out.name) <= 200

    def test_leaves_out_a_name_that_is_no_text(self) -> None:
        data = archive(("outputs/aXb", b"1")).replace(b"aXb", b"a\xffb", 1)
        fixed = bytearray(data)
        fixed[148:156] = b"%06o\0 " % (256 + sum(fixed[:148]) + sum(fixed[156:512]))

        files, (left_out,) = opened(bytes(fixed))

        assert files == {}
        left_out.name.encode()

    def test_keeps_the_first_of_two_with_one_name(self) -> None:
        files, (left_out,) = opened(archive(("outputs/a", b"1"), ("./outputs//a", b"2")))

        assert files == {"a": b"1"}
        assert "twice" in left_out.why

    def test_ends_after_as_many_files_as_allowed(self) -> None:
        data = archive(*((f"f{i}", b"x") for i in range(5)))

        files, (left_out,) = opened(data, max_files=3)

        assert sorted(files) == ["f0", "f1", "f2"]
        assert "after 3 files" in left_out.why

    @pytest.mark.parametrize("kind", [tarfile.DIRTYPE, tarfile.SYMTYPE])
    def test_ends_after_a_flood_of_things_that_are_no_files(self, kind: bytes) -> None:
        data = archive(*(special(f"d{i}", kind) for i in range(40)), ("last", b"x"))

        files, left_out = opened(data, max_files=3)

        assert files == {}
        assert len(left_out) <= 31

    def test_ends_when_the_files_become_too_large_together(self) -> None:
        files, (left_out,) = opened(archive(("a", b"1" * 600), ("b", b"2" * 600)), max_bytes=1000)

        assert list(files) == ["a"]
        assert "larger than is allowed" in left_out.why

    @pytest.mark.parametrize("size", [2**40, 2**63, 2**80])
    @pytest.mark.parametrize("name", ["outputs/a", "../a"])
    @pytest.mark.parametrize("kind", [tarfile.REGTYPE, b"Z"])
    def test_ends_at_a_size_that_no_archive_has(self, size: int, name: str, kind: bytes) -> None:
        files, left_out = opened(header(name, size=size, kind=kind) + b"x" * 2048)

        assert files == {}
        assert len(left_out) == 1

    def test_ends_at_a_size_below_zero(self) -> None:
        files, left_out = opened(header("a", size=-1024) + archive(("b", b"1")))

        assert files == {}
        assert len(left_out) == 1

    @pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME])
    def test_does_not_read_huge_headers_into_memory(self, kind: bytes) -> None:
        data = _Endless(header("x", size=2**40, kind=kind))

        (left_out,) = unpack(data, max_files=9, max_bytes=9999)

        assert isinstance(left_out, LeftOut)
        assert data.given < 2 * unpacking.HEADERS_MAX_BYTES

    def test_does_not_read_an_endless_map_of_holes_into_memory(self) -> None:
        info = tarfile.TarInfo("holes")
        info.size = 9000
        info.pax_headers = {
            "GNU.sparse.major": "1",
            "GNU.sparse.minor": "0",
            "GNU.sparse.name": "x",
            "GNU.sparse.realsize": "9",
        }
        data = _Endless(info.tobuf(format=tarfile.PAX_FORMAT), filler=b"9" * 20 + b"\n")

        items = list(unpack(data, max_files=9, max_bytes=9999))

        assert len(items) == 1
        assert data.given < 2 * unpacking.HEADERS_MAX_BYTES

    def test_survives_headers_that_announce_headers_without_end(self) -> None:
        limit = sys.getrecursionlimit()  # tarfile opens such headers one inside the other
        record = b"12 path=abc\n"
        data = (header("x", size=len(record), kind=tarfile.XHDTYPE) + record.ljust(512, b"\0")) * 990

        sys.setrecursionlimit(1000)  # Python's own; some libraries raise it
        try:
            files, (left_out,) = opened(data)
        finally:
            sys.setrecursionlimit(limit)

        assert files == {}
        assert "RecursionError" in left_out.why

    @pytest.mark.parametrize(
        "spoil",
        [
            lambda data: b"",
            lambda data: b"garbage" * 200,
            lambda data: gzip.compress(data),
            lambda data: data[:100],
        ],
    )
    def test_says_that_something_is_no_archive(self, spoil: Callable[[bytes], bytes]) -> None:
        files, (left_out,) = opened(spoil(archive(("a", b"1"))))

        assert files == {}
        assert left_out.name == "outputs.tar"
        assert "damaged" in left_out.why

    def test_gives_what_stands_before_the_damage(self) -> None:
        data = archive(("a", b"1"), ("b", b"2" * 3000))[: 512 * 2 + 512 + 700]

        items = unpack(io.BytesIO(data), max_files=9, max_bytes=9999)

        first = next(items)
        assert isinstance(first, Member)
        assert b"".join(first.blocks()) == b"1"
        second = next(items)
        assert isinstance(second, Member)
        with pytest.raises(Damaged):
            list(second.blocks())

    def test_lets_trouble_with_the_storage_through(self) -> None:
        class Broken(io.BytesIO):
            def read(self, size: int | None = -1, /) -> bytes:
                raise OSError("disk")

        with pytest.raises(OSError):
            list(unpack(Broken(), max_files=9, max_bytes=9999))

    @given(st.binary(max_size=600), st.integers(0, 511), st.integers(0, 255))
    def test_never_raises_anything_else(self, content: bytes, at: int, byte: int) -> None:
        data = bytearray(archive(("outputs/a", content), ("b", b"2")))
        data[at] = byte

        try:
            files, _ = opened(bytes(data))
        except Damaged:
            return
        assert all(safe_path(path) for path in files)

    @given(st.binary(max_size=1200))
    def test_takes_any_header_without_an_error(self, noise: bytes) -> None:
        fixed = bytearray(noise.ljust(512, b"\0"))
        fixed[148:156] = b"%06o\0 " % (256 + sum(fixed[:148]) + sum(fixed[156:512]))

        try:
            opened(bytes(fixed) + archive(("b", b"2")))
        except Damaged:
            return


class _Endless(io.RawIOBase):
    """A stream that goes on for ever after its head, and counts what it gave."""

    def __init__(self, head: bytes, *, filler: bytes = b"x") -> None:
        self.head, self.filler, self.given = io.BytesIO(head), filler, 0

    def read(self, size: int = -1, /) -> bytes:
        data = self.head.read(size) or (self.filler * (size // len(self.filler) + 1))[:size]
        self.given += len(data)
        return data


class TestSafePath:
    @given(st.text(max_size=60))
    def test_never_leaves_its_folder(self, name: str) -> None:
        path = safe_path(f"outputs/{name}")

        if path is not None:
            parts = path.split("/")
            assert not path.startswith("/")
            assert all(part not in ("", ".", "..") for part in parts)
            path.encode()

    @pytest.mark.parametrize(
        ("name", "path"),
        [("outputs/a", "a"), ("./outputs/a", "a"), ("a//b", "a/b"), ("other/outputs/a", "other/outputs/a")],
    )
    def test_cleans_what_is_harmless(self, name: str, path: str) -> None:
        assert safe_path(name) == path


class TestShownName:
    @given(st.text(max_size=300))
    def test_fits_into_a_line(self, name: str) -> None:
        shown = shown_name(name)

        assert shown.isprintable()
        assert len(shown) <= 200
