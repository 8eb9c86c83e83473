"""Pages offer what the person may do, and no more: each link and form on every page of each role is tried."""

from __future__ import annotations

from dataclasses import dataclass, field
from html.parser import HTMLParser
from urllib.parse import urljoin, urlsplit

import pytest
from django.urls import resolve

from jobs.models.teams import Role
from tests.views.peopled import World, undone
from tests.views.test_matrix import HTMX, TABLE, address, owners

# What no page offers, with the reason.
NOWHERE: dict[str, str] = {}


@dataclass(frozen=True)
class Offer:
    """A link, or a form with what it sends unasked."""

    method: str
    url: str
    data: tuple[tuple[str, str], ...] = ()
    fragment: bool = False

    @property
    def name(self) -> str:
        """The name of the address that it leads to."""
        return resolve(urlsplit(self.url).path).url_name or ""


@dataclass
class Offers(HTMLParser):
    """Collects what a page offers."""

    at: str
    found: set[Offer] = field(default_factory=set)
    _form: tuple[str, str] | None = None
    _data: list[tuple[str, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Take links, images, what htmx asks for, and the hidden fields of forms."""
        given = {name: value or "" for name, value in attrs}
        for name in {"a": ("href",), "img": ("src",)}.get(tag, ()):
            self._add("get", given.get(name, ""))
        for method in ("get", "post"):
            if f"hx-{method}" in given:
                self._add(method, given[f"hx-{method}"], fragment=True)
        if tag == "form":
            self._form, self._data = (given.get("method", "get"), given.get("action", "")), []
        elif tag == "input" and given.get("type") == "hidden":
            self._data.append((given["name"], given.get("value", "")))

    def handle_endtag(self, tag: str) -> None:
        """Take a form when all its fields are known."""
        if tag == "form" and self._form:
            self._add(*self._form, data=tuple(self._data))

    def _add(
        self, method: str, url: str, *, data: tuple[tuple[str, str], ...] = (), fragment: bool = False
    ) -> None:
        whole = urljoin(self.at, url.partition("#")[0])
        if url and whole.startswith("/") and not whole.startswith(("/static/", "/accounts/", "/admin/")):
            sent = tuple(pair for pair in data if pair[0] != "csrfmiddlewaretoken")
            self.found.add(Offer(method, whole, sent, fragment))


def offered(world: World, role: Role) -> set[Offer]:
    """Return all that is offered to a person of this role by the pages that the table lets them read."""
    found: set[Offer] = set()
    urls = {
        address(world, line, whose)
        for line in TABLE
        for whose in owners(world, line, role)
        if line.get and line.allows(role, own=whose == role)
    }
    waiting = sorted(urls)
    while waiting:
        url = waiting.pop()
        with undone():
            answer = world.browsers[role].get(url)
        if answer.status_code == 200 and not answer.streaming and "text/html" in answer["Content-Type"]:
            page = Offers(url)
            page.feed(answer.text)
            tabs = {x.url for x in page.found if x.method == "get" and "?how=" in x.url} - urls
            urls |= tabs  # a page of several forms shows one at a time
            waiting += sorted(tabs)
            found |= page.found
        answer.close()
    return found


@pytest.mark.parametrize("role", Role)
class TestPages:
    def test_offer_nothing_that_is_refused(self, world: World, role: Role) -> None:
        refused = {}

        for offer in offered(world, role):
            send = getattr(world.browsers[role], offer.method)
            headers = HTMX if offer.fragment else {}
            with undone():
                answer = send(offer.url, dict(offer.data), headers=headers)
                answer.close()
            if answer.status_code in (403, 404, 405) or answer.status_code >= 500 != 503:
                refused[offer.method, offer.url] = answer.status_code

        assert refused == {}

    def test_offer_every_act_that_the_role_includes(self, world: World, role: Role) -> None:
        acts = {
            line.name
            for line in TABLE
            if line.post
            and any(line.allows(role, own=own) for own in (True, False))
            and line.name not in NOWHERE
        }

        assert acts - {offer.name for offer in offered(world, role)} == set()

    def test_offer_what_is_said_to_be_offered_nowhere_to_nobody(self, world: World, role: Role) -> None:
        assert NOWHERE.keys() & {offer.name for offer in offered(world, role)} == set(), (
            "take it out of NOWHERE"
        )
