"""Templates: nothing inline, nothing from elsewhere, and every page works without scripts."""

from __future__ import annotations

import re
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path

import pytest
from django.template.loader import get_template
from django.test import Client

from tests.repo.source import ROOT, TEMPLATES, product_modules

# Form parts that ask again when a choice changes, and the button that does it without scripts.
CHANGES = {
    "launch/partials/datasets.html",
    "launch/partials/algorithms.html",
    "launch/partials/environments.html",
}
CHANGES_BY_BUTTON = ("launch/partials/algorithms.html", '<button class="btn" name="show"')


@dataclass(frozen=True)
class Element:
    """A start tag of a template, with Django's own tags taken out of it. form: the form around it, if it is there too."""

    tag: str
    attributes: dict[str, str]
    form: dict[str, str] | None


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.elements: list[Element] = []
        self.scripts = ""
        self._form: dict[str, str] | None = None
        self._in_script = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = {name: value or "" for name, value in attrs}
        if tag == "form":
            self._form = attributes
        self._in_script = tag in {"script", "style"}
        self.elements.append(Element(tag=tag, attributes=attributes, form=self._form))

    def handle_endtag(self, tag: str) -> None:
        self._in_script = False
        if tag == "form":
            self._form = None

    def handle_data(self, data: str) -> None:
        if self._in_script:
            self.scripts += data.strip()


def read(text: str) -> _Reader:
    """Return what a template consists of."""
    text = re.sub(r"\{#.*?#\}|\{% comment %\}.*?\{% endcomment %\}", "", text, flags=re.S)
    reader = _Reader()
    reader.feed(re.sub(r"\{%.*?%\}|\{\{.*?\}\}", " ", text, flags=re.S))
    reader.close()
    return reader


def inline_parts(text: str) -> list[str]:
    """Return what a strict content security policy would refuse in a template."""
    reader = read(text)
    found = [reader.scripts] if reader.scripts else []
    for element in reader.elements:
        found += [element.tag] if element.tag == "style" else []
        for name, value in element.attributes.items():
            inline = name == "style" or name.startswith(("on", "hx-on"))
            evaluated = value.lstrip().startswith(("javascript:", "js:")) or (
                name == "hx-trigger" and "[" in value
            )
            found += [f"{name}={value}"] if inline or evaluated else []
    return found


def foreign_parts(text: str) -> list[str]:
    """Return what a browser would load from elsewhere for a template."""
    loads = {"script": "src", "img": "src", "iframe": "src", "link": "href", "source": "src", "use": "href"}
    values = ((e.tag, e.attributes.get(loads.get(e.tag, ""), "")) for e in read(text).elements)
    return [f"{tag} {value}" for tag, value in values if re.match(r"\s*(\w+:)?//", value)]


def without_fallback(text: str, *, name: str = "") -> list[str]:
    """Return the htmx requests of a template that a browser without scripts could not make."""
    found = []
    for element in read(text).elements:
        has = element.attributes
        polls = "every " in has.get("hx-trigger", "")
        form_get = element.tag == "form" and "action" in has and has.get("method", "get") == "get"
        changes = name in CHANGES and has.get("hx-trigger") == "change"
        if "hx-get" in has and not ("href" in has or polls or form_get or changes):
            found.append(f"{element.tag} hx-get")
        writes = {"hx-post", "hx-put", "hx-patch", "hx-delete"} & set(has)
        if writes and not (
            element.form and "action" in element.form and element.form.get("method") == "post"
        ):
            found.append(f"{element.tag} {writes.pop()}")
    return found


@pytest.mark.parametrize(
    "path", sorted(TEMPLATES.rglob("*.html")), ids=lambda p: p.relative_to(TEMPLATES).as_posix()
)
class TestTemplate:
    def test_can_be_read_by_django(self, path: Path) -> None:
        get_template(path.relative_to(TEMPLATES).as_posix())

    def test_has_nothing_inline(self, path: Path) -> None:
        assert inline_parts(path.read_text()) == []

    def test_loads_nothing_from_elsewhere(self, path: Path) -> None:
        assert foreign_parts(path.read_text()) == []

    def test_works_without_scripts(self, path: Path) -> None:
        assert without_fallback(path.read_text(), name=path.relative_to(TEMPLATES).as_posix()) == []

    def test_escapes_everything(self, path: Path) -> None:
        assert not re.search(r"\|\s*safe(seq)?\b|autoescape\s+off", path.read_text())

    def test_guards_every_form_that_writes(self, path: Path) -> None:
        forms = re.findall(r"<form\b[^>]*?method=\"post\".*?</form>", path.read_text(), re.S)

        assert all("{% csrf_token %}" in form for form in forms)


class TestTheReader:
    """The tests above would notice."""

    @pytest.mark.parametrize(
        "planted",
        [
            "<script>alert(1)</script>",
            "<style>p {}</style>",
            '<p style="color: red">',
            '<p{% if x %} style="color: red"{% endif %}>',
            '<a href="#" onclick="go()">',
            '<p hx-on:click="go()">',
            '<a href="javascript:go()">',
            "<p hx-vals='js:{a: 1}'>",
            '<p hx-trigger="click[ctrlKey]">',
        ],
    )
    def test_sees_what_is_inline(self, planted: str) -> None:
        assert inline_parts(planted)

    @pytest.mark.parametrize(
        "planted",
        ['<script src="https://cdn.example/x.js"></script>', '<link rel="icon" href="//cdn.example/x">'],
    )
    def test_sees_what_comes_from_elsewhere(self, planted: str) -> None:
        assert foreign_parts(planted)

    @pytest.mark.parametrize(
        "planted",
        [
            '<button hx-get="/x">',
            '<div hx-get="/x" hx-trigger="change">',
            '<form method="post" action="/x" hx-get="/x">',
            '<button hx-post="/x">',
            '<form method="get" action="/x"><button hx-post="/x"></button></form>',
            '<form method="post" action="/x"></form><button hx-delete="/x">',
        ],
    )
    def test_sees_what_needs_scripts(self, planted: str) -> None:
        assert without_fallback(planted)

    @pytest.mark.parametrize(
        "fine",
        [
            '<a href="/x" hx-get="/x">',
            '<div hx-get="/x" hx-trigger="every 2s">',
            '<form method="get" action="/x" hx-get="/x">',
            '<form method="post" action="/x"><button hx-post="/x"></button></form>',
        ],
    )
    def test_lets_pass_what_does_not(self, fine: str) -> None:
        assert without_fallback(fine) == []

    def test_is_told_of_no_exception_that_is_not_needed(self) -> None:
        for name in CHANGES:
            assert without_fallback((TEMPLATES / name).read_text()), name
        file, button = CHANGES_BY_BUTTON
        assert button in (TEMPLATES / file).read_text()


class TestPolicy:
    @pytest.mark.django_db
    @pytest.mark.parametrize("address", ["/accounts/login/", "/admin/login/", "/health/", "/no/such/page/"])
    def test_stands_on_every_answer(self, address: str) -> None:
        policy = Client().get(address).headers["Content-Security-Policy"]

        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert "http" not in policy

    def test_is_not_undone_by_text_marked_as_safe(self) -> None:
        marked = [
            f"{path}:{number}"
            for path, _ in product_modules()
            for number, line in enumerate((ROOT / path).read_text().splitlines(), 1)
            if "mark_safe(" in line and "#" not in line
        ]

        assert marked == []
