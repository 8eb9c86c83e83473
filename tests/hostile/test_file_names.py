"""Names and types of results as they leave: whatever a node calls a file, a browser keeps it and runs nothing."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

import pytest
from django.test import Client

from jobs.views.results import safe_name
from tests import builders
from tests.hostile.everything import Household, make_household, record
from tests.hostile.test_markup import look

pytestmark = pytest.mark.django_db

NAMES = {
    "parts of a path": "../../../../etc/passwd",
    "absolute": "/etc/passwd",
    "backslashes": "..\\..\\boot.ini",
    "a drive": "C:\\Windows\\system32\\evil.dll",
    "a drive alone": "C:",
    "a stream": "file.txt::$DATA",
    "NUL": "a\0b.txt",
    "two lines": "a\r\nSet-Cookie: x=y\r\n\r\n<script>alert(1)</script>.txt",
    "a bell": "a\x07\x1b[2J.txt",
    "turned": "invoice\u202efdp.exe",
    "separators": "a\u2028b\u2029c.txt",
    "nothing to see": "\u200b\u200d",
    "4,000 characters": "n" * 4_000 + ".txt",
    "many bytes": "\U0001f30a" * 200 + ".csv",
    "nothing": "",
    "a dot": ".",
    "two dots": "..",
    "dots and spaces": ". . .",
    "hidden": ".htaccess",
    "of a device": "CON",
    "of a device, with an ending": "nul.txt",
    "quotes": "a\"b'c;filename=evil.exe",
    "percent": "%2e%2e%2f%0d%0aevil.txt",
    "encoded word": "=?utf-8?B?Li4vZXZpbA==?=",
    "of another script": "x.\u0441\u0455\u0475",
    "markup": "<svg onload=alert(1)>.svg",
    "a formula": "=cmd|'/c calc'!A0.csv",
}
DEVICES = {"con", "prn", "aux", "nul", *(f"{kind}{n}" for kind in ("com", "lpt") for n in range(1, 10))}
RUNS = b"<html><script>alert(1)</script></html>"
LIES = {
    "picture.png": RUNS,
    "picture.svg": b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>',
    "page.html": RUNS,
    "page.xhtml": b'<?xml version="1.0"?><html xmlns="http://www.w3.org/1999/xhtml"><script>alert(1)</script></html>',
    "data.json": b'{"a": "<script>alert(1)</script>"}',
    "table.csv": b"<script>alert(1)</script>,b\n1,2\n",
    "notes.txt": RUNS,
    "both.gif": b"GIF89a/*" + b"\0" * 20 + b"*/=1;alert(1)//" + RUNS,
    "paper.pdf": b"%PDF-1.7\n" + RUNS,
    "script.js": b"alert(1)",
    "archive.tar": RUNS,
    "worker.wasm": b"\0asm",
}
NEVER = ("html", "xml", "svg", "javascript", "pdf", "wasm")


@pytest.fixture
def house(db: None) -> Household:
    return make_household(node=builders.make_node(allow_private=False))


def downloads(house: Household, result_id: int) -> list[Any]:
    """Return a result as a member gets it, and as somebody outside does."""
    outside = Client()
    outside.post(f"/shared/{house.share}/")
    return [
        house.browser().get(f"/{house.team.slug}/jobs/{house.job.pk}/results/{result_id}/download/"),
        outside.get(f"/shared/{house.share}/results/{result_id}/"),
    ]


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES.keys())
class TestName:
    def test_is_one_that_any_system_can_keep(self, name: str) -> None:
        kept = safe_name(name)

        assert 0 < len(kept.encode()) <= 255
        assert kept.isprintable()
        assert not set(kept) & set('/\\<>:"|?*')
        assert kept == kept.strip(". ")
        assert kept.partition(".")[0].lower() not in DEVICES

    def test_leaves_with_a_download_in_one_line(self, house: Household, name: str) -> None:
        result = builders.make_result(job=house.job, name=name[:255], data=b"x")

        for answer in downloads(house, result.pk):
            b"".join(answer)
            said = answer.headers["Content-Disposition"]

            assert answer.status_code == 200
            assert said.startswith("attachment; filename")
            assert said.isascii() and said.isprintable()
            assert said.count("filename") == 1 or "evil.exe" in name
            assert not any(part in said for part in ("../", "..\\", "C:", "<"))

    def test_is_text_on_every_page(self, house: Household, name: str) -> None:
        result = builders.make_result(job=house.job, name=name[:255], path=name[:500], data=b"some text")
        mine, outside = house.browser(), Client()
        outside.post(f"/shared/{house.share}/")
        at = f"/{house.team.slug}/jobs/{house.job.pk}/"

        for answer in (
            mine.get(at),
            mine.get(f"{at}results/{result.pk}/"),
            mine.get(f"{at}share/"),
            outside.get(f"/shared/{house.share}/"),
        ):
            assert answer.status_code == 200
            assert look(answer.text).harmful == []


@pytest.mark.parametrize("name", LIES)
class TestLyingType:
    def test_is_never_one_that_a_browser_runs(self, house: Household, name: str) -> None:
        result = builders.make_result(job=house.job, name=name, data=LIES[name])

        for answer in downloads(house, result.pk):
            sent = b"".join(answer)

            assert sent == LIES[name]
            assert answer.headers["Content-Disposition"].startswith("attachment")
            assert answer.headers["X-Content-Type-Options"] == "nosniff"
            assert answer.headers["Content-Security-Policy"].startswith("sandbox; default-src 'none'")
            assert not any(word in answer.headers["Content-Type"] for word in NEVER)

    def test_is_shown_in_place_only_where_its_bytes_are_an_image(self, house: Household, name: str) -> None:
        result = builders.make_result(job=house.job, name=name, data=LIES[name])
        at = f"/{house.team.slug}/jobs/{house.job.pk}/results/{result.pk}/"

        page = house.browser().get(at)
        inline = house.browser().get(f"{at}inline/")

        assert look(page.text).harmful == []
        assert "<script>alert" not in page.text
        if name in ("picture.svg", "both.gif"):
            assert inline.headers["Content-Type"] in ("image/svg+xml", "image/gif")
            assert inline.headers["Content-Security-Policy"].startswith("sandbox; default-src 'none'")
            assert "unsafe" not in inline.headers["Content-Security-Policy"]
            assert inline.headers["X-Content-Type-Options"] == "nosniff"
        else:
            assert inline.status_code == 404


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES.keys())
def test_name_stays_in_its_cell_of_an_exported_record(house: Household, name: str) -> None:
    record(house, name[:90])
    at, mine = f"/{house.team.slug}/record/export", house.browser()

    answer = mine.get(f"{at}/csv/")
    rows = list(csv.reader(io.StringIO(b"".join(answer).decode())))

    assert answer.headers["Content-Disposition"].startswith("attachment")
    assert {len(row) for row in rows} == {len(rows[0])}
    assert [cell for row in rows for cell in row if cell[:1] in ("=", "@", "\t", "\r")] == []


def test_record_is_exported_as_one_document_a_line(house: Household) -> None:
    for name in NAMES.values():
        record(house, name[:90])

    answer = house.browser().get(f"/{house.team.slug}/record/export/jsonl/")

    lines = b"".join(answer).decode().rstrip("\n").split("\n")
    assert len([json.loads(line) for line in lines]) >= len(NAMES)
