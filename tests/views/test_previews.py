"""What can be shown of a stranger's file."""

from __future__ import annotations

import pytest

from jobs import previews

PNG = b"\x89PNG\r\n\x1a\n" + b"\0" * 20


class TestImageType:
    @pytest.mark.parametrize(
        ("head", "expected"),
        [
            (PNG, "image/png"),
            (b"\xff\xd8\xff\xe0rest", "image/jpeg"),
            (b"GIF89a....", "image/gif"),
            (b"RIFF\x10\0\0\0WEBPVP8 ", "image/webp"),
            (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "image/svg+xml"),
            (b"\xef\xbb\xbf<?xml version='1.0'?>\n<!-- by us -->\n<svg>", "image/svg+xml"),
            (b"<html><svg></svg></html>", None),
            (b"<svgish>", None),
            (b"RIFF\x10\0\0\0WAVEfmt ", None),
            (b"", None),
        ],
    )
    def test_goes_by_the_first_bytes(self, head: bytes, expected: str | None) -> None:
        assert previews.image_type(head) == expected


class TestPreview:
    def test_believes_bytes_and_not_the_name(self) -> None:
        assert previews.preview(name="notes.txt", head=PNG, size=len(PNG)).kind == "image"

    def test_does_not_show_a_huge_image(self) -> None:
        assert previews.preview(name="a.png", head=PNG, size=previews.IMAGE_MAX_BYTES + 1).kind == "none"

    def test_says_that_an_empty_file_is_empty(self) -> None:
        assert previews.preview(name="a.csv", head=b"", size=0).note == "The file is empty."

    def test_does_not_show_binary_data_as_text(self) -> None:
        assert previews.preview(name="a.txt", head=b"text " * 99 + b"\0", size=496).kind == "none"
        assert previews.preview(name="a.txt", head=b"abc\x01\x02", size=5).kind == "none"

    def test_shows_html_as_text(self) -> None:
        found = previews.preview(name="report.html", head=b"<h1>Hi</h1>", size=11)

        assert (found.kind, found.text) == ("text", "<h1>Hi</h1>")


class TestText:
    def test_shows_control_characters_as_symbols(self) -> None:
        assert previews.text(head=b"a\x1b[31mb\x7f\n\tc", size=9).text == "a␛[31mb␡\n\tc"

    def test_does_not_let_text_turn_the_reading_direction(self) -> None:
        assert "\u202e" not in previews.text(head="x\u202egnp".encode(), size=7).text

    def test_shows_the_beginning_and_says_so(self) -> None:
        found = previews.text(head=b"x" * 100_000, size=5_000_000)

        assert len(found.text) == previews.TEXT_MAX
        assert found.note == "The first 60,000 of 5,000,000 bytes."


class TestTable:
    def test_takes_the_first_row_as_header(self) -> None:
        found = previews.preview(name="a.csv", head=b'a,b\n1,"x, y"\n', size=13)

        assert (found.kind, found.header, found.rows) == ("table", ("a", "b"), (("1", "x, y"),))
        assert found.note == ""

    def test_separates_tsv_by_tabs(self) -> None:
        assert previews.preview(name="a.TSV", head=b"a\tb,c\n", size=6).header == ("a", "b,c")

    def test_leaves_out_rows_and_columns_and_says_so(self) -> None:
        line = b",".join(b"%d" % i for i in range(50)) + b"\n"

        found = previews.table(head=line * 300, size=len(line) * 300, separator=",")

        assert len(found.rows) == 200
        assert len(found.header) == len(found.rows[0]) == 40
        assert found.note == "Shown: the first 200 of 299 rows, the first 40 of 50 columns."

    def test_drops_a_last_line_that_may_lack_its_end(self) -> None:
        found = previews.table(head=b"a,b\n1,2\n3,4", size=1_000, separator=",")

        assert found.rows == (("1", "2"),)

    def test_cuts_long_cells(self) -> None:
        found = previews.table(head=b"a\n" + b"x" * 1_000 + b"\n", size=1_003, separator=",")

        assert found.rows[0][0] == "x" * 200 + "…"

    def test_shows_what_is_no_table_as_text(self) -> None:
        head = b'"' + b"x" * (previews.HEAD_BYTES + 10)

        assert previews.table(head=head, size=len(head), separator=",").kind == "text"
