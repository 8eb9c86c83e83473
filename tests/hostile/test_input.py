"""Anything in any field of any form and in any part of any address: an answer, never an error of ours.

The forms are those that the pages show, so a new one is in it by itself. Nothing is asked of the database that PostgreSQL
would refuse although SQLite takes it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Any
from urllib.parse import quote, urlencode

import pytest
from django.core.cache import cache
from django.db import connection
from django.test import Client

from tests import builders
from tests.hostile.everything import Household, make_household, places
from tests.hostile.test_markup import WORD, look
from tests.views.peopled import undone

pytestmark = pytest.mark.django_db

MARKUP = f"'\"><svg/onload={WORD}-1x></script>"
NASTY = {
    "nothing": "",
    "NUL": "a\0b",
    "half a character": "\ud800",
    "digits": "9" * 400,
    "beyond 64 bits": str(2**63),
    "no number": "NaN",
    "no ASCII digits": "\u0663\u00b2",
    "markup": MARKUP,
    "long": "\u00e9" * 5_000,
    "deep": "[" * 3_000,
}
QUERIES: tuple[str, ...] = (
    "page",
    "q",
    "view",
    "v",
    "log",
    "after",
    "before",
    "kind",
    "free",
    "how",
    "rerun",
    "instead_of",
    "dataset",
)
QUERIES += (
    "algorithm",
    "environment",
    "next",
    "act",
    "who",
    "since",
    "until",
    "thing",
    "show",
    "place",
    "object_id",
)


@dataclass
class Form:
    """A form of a page. fields: their values as the page shows them."""

    action: str
    method: str
    fields: dict[str, str] = field(default_factory=dict)


class Forms(HTMLParser):
    """Finds the forms of a page."""

    def __init__(self, page: str, url: str) -> None:
        super().__init__()
        self.url, self.found = url, list[Form]()
        self._select = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note forms and what can be entered."""
        given = {name: value or "" for name, value in attrs}
        if tag == "form":
            action = given.get("action") or self.url
            self.found.append(Form(action=action, method=given.get("method", "get").lower()))
        name = given.get("name", self._select if tag == "option" else "")
        if tag == "select":
            self._select = name
        if not self.found or not name:
            return
        fields = self.found[-1].fields
        if tag in ("input", "textarea", "select", "button"):
            unchosen = given.get("type") in ("checkbox", "radio") and "checked" not in given
            if name not in fields or not unchosen:
                fields[name] = "" if unchosen else given.get("value", "")
        elif tag == "option" and "selected" in given:
            fields[name] = given.get("value", "")

    def handle_endtag(self, tag: str) -> None:
        """Leave a list."""
        if tag == "select":
            self._select = ""


@pytest.fixture
def house(db: None) -> Household:
    return make_household(node=builders.make_node(allow_private=False))


@pytest.fixture
def strict_database() -> Iterator[list[str]]:
    """Collect what PostgreSQL would refuse: NUL, half characters, numbers of more than 64 bits."""
    refused: list[str] = []

    def watch(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        for value in params if isinstance(params, list | tuple) and not many else ():
            text = isinstance(value, str) and ("\0" in value or any("\ud800" <= c <= "\udfff" for c in value))
            large = isinstance(value, int) and not -(2**63) <= value < 2**63
            if text or large:
                refused.append(f"{sql[:80]} with {ascii(value)[:40]}")
        return execute(sql, params, many, context)

    with connection.execute_wrapper(watch):
        yield refused


@contextmanager
def nothing_breaks(wrong: dict[str, Any], refused: list[str], where: str) -> Iterator[list[Any]]:
    """Undo what happens inside, and note what is wrong with the answers that are put into the list."""
    answers: list[Any] = []
    refused.clear()
    try:
        with undone():
            yield answers
    except Exception as error:
        wrong[where] = repr(error)[:200]
    for answer in answers:
        answer.close()
        if answer.status_code >= 500 and answer.status_code != 503:
            wrong[where] = answer.status_code
        elif (
            not answer.streaming
            and "html" in answer.headers.get("Content-Type", "")
            and look(answer.text).harmful
        ):
            wrong[where] = look(answer.text).harmful
    if refused:
        wrong[where] = list(refused)


def encoded(values: dict[str, str]) -> str:
    """Encode a form as only a program does: half characters too."""
    return urlencode(values, errors="surrogatepass")


def forms_of(house: Household, browser: Client) -> list[Form]:
    """Return every form that the team's pages and the doors show, once."""
    found: dict[tuple[str, str, tuple[str, ...]], Form] = {}
    more = [f"/{house.team.slug}/wallets/add/?how={how}" for how in ("key", "phrase", "keystore", "watch")]
    more.append(f"/{house.team.slug}/jobs/launch/?rerun={house.job.pk}")
    for url in [*(place.url(house) for place in places()), *more]:
        answer: Any = browser.get(url)
        answer.close()
        if not answer.streaming and "html" in answer.headers.get("Content-Type", ""):
            for form in Forms(answer.text, url).found:
                found.setdefault((form.action.partition("?")[0], form.method, tuple(form.fields)), form)
    return list(found.values())


def copy(browser: Client) -> Client:
    """Return a browser with the same session."""
    same = Client(raise_request_exception=False)
    if "sessionid" in browser.cookies:
        same.cookies["sessionid"] = browser.cookies["sessionid"].value
    return same


@pytest.mark.parametrize("who", [pytest.param("owner", marks=pytest.mark.long), "stranger"])
def test_anything_in_a_field_of_a_form_is_answered(
    house: Household, who: str, strict_database: list[str]
) -> None:
    browser = house.browser() if who == "owner" else Client(raise_request_exception=False)
    wrong: dict[str, Any] = {}
    tried = 0

    for form in forms_of(house, browser):
        for name in [n for n in form.fields if n != "csrfmiddlewaretoken"] or ["nothing"]:
            for kind, value in NASTY.items():
                cache.clear()
                body = encoded(form.fields | {name: value})
                with nothing_breaks(wrong, strict_database, f"{form.action} {name}: {kind}") as answers:
                    if form.method == "post":
                        answers.append(
                            copy(browser).post(
                                form.action, body, content_type="application/x-www-form-urlencoded"
                            )
                        )
                    else:
                        answers.append(copy(browser).get(form.action, query_params=None, QUERY_STRING=body))
                tried += 1

    assert [f"{k} -> {str(v)[:150]}" for k, v in wrong.items()] == []
    assert tried > (500 if who == "owner" else 40)


@pytest.mark.long
def test_anything_in_a_query_is_answered(house: Household, strict_database: list[str]) -> None:
    browser = house.browser()
    wrong: dict[str, Any] = {}

    for place in places():
        plain: Any = copy(browser).get(place.url(house))
        plain.close()
        if plain.status_code == 405:
            continue
        for kind, value in NASTY.items():
            query = encoded(dict.fromkeys(QUERIES, value))
            with nothing_breaks(wrong, strict_database, f"{place.name}: {kind}") as answers:
                answers.append(copy(browser).get(place.url(house), QUERY_STRING=query))

    assert [f"{k} -> {str(v)[:150]}" for k, v in wrong.items()] == []


@pytest.mark.long
def test_anything_in_a_part_of_an_address_is_answered(house: Household, strict_database: list[str]) -> None:
    browser = house.browser()
    wrong: dict[str, Any] = {}
    words = {
        "NUL": "%00",
        "half": "%ED%A0%80",
        "no UTF-8": "%FF",
        "long": "a" * 4_000,
        "markup": quote(MARKUP, ""),
    }

    for place in places():
        good = place.url(house)
        for part in place.takes:
            value = str(house.parts(place.name)[part])
            digits = (
                {"huge": "9" * 30, "zero": "0", "as large as can be": str(2**63)} if value.isdigit() else {}
            )
            for kind, bad in {**words, **digits}.items():
                head, _, tail = good.rpartition(f"/{value}/") if value else ("", "", "")
                with nothing_breaks(wrong, strict_database, f"{place.name} {part}: {kind}") as answers:
                    answers += [
                        copy(browser).get(f"{head}/{bad}/{tail}"),
                        copy(browser).post(f"{head}/{bad}/{tail}"),
                    ]

    assert [f"{k} -> {str(v)[:150]}" for k, v in wrong.items()] == []
