"""Every text that the portal keeps carries markup, and every page is looked at: the markup comes out as text.

A new text field is in it by itself. One whose markup no page shows needs a line in UNSEEN, with the reason.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Any

import pytest
from allauth.account.models import EmailAddress
from allauth.mfa.models import Authenticator
from allauth.usersessions.models import UserSession
from django.apps import apps
from django.core.files.base import ContentFile
from django.db import models
from django.test import Client
from django.urls import NoReverseMatch, reverse

from jobs.models import AuditEntry, LogChunk, Result
from tests import builders
from tests.hostile.everything import Household, make_household, places, record

pytestmark = pytest.mark.django_db

HTMX = {"HX-Request": "true"}
WORD = "q7"
# What a text field may not say, because the database or the portal's own code takes it for something else than text.
NOT_WORDS = {
    "User": {"password", "time_zone"},
    "Team": {"slug"},
    "AuditHead": {"name", "hash"},
    "Network": {"rpc_url", "explorer_url", "contracts"},
    "Node": {"base_url", "metadata_url", "provider_address"},
    "NodeBudget": {"spent"},
    "Asset": {"did"},
    "Job": {
        "algorithm_service_id",
        "payment_token",
        "lock_id",
        "lock_tx",
        "claim_tx",
        "attention_from",
        "outcome",
        "most",
        "escrow_need",
    },
    "JobEvent": {"before", "after"},
    "Result": {"sha256", "kind"},
    "Pulse": {"name"},
    "Letter": {"key"},
    "Transaction": {"token", "tx_hash", "block_hash", "also", "earlier"},
    "EscrowAccount": {"escrow", "locks"},
    "ShareLink": {"token_sha256"},
    "Order": {"did", "service_id", "datatoken", "consumer", "fee_token"},
    "JobInput": {"service_id"},
    "UserSession": {"session_key"},
}
# Of a JSON document: what the portal's own code, or a library's, reads as something else than text.
KEPT_KEYS = {"id", "type", "kind", "credential"}
# Texts that no page shows, to nobody.
UNSEEN = {
    "Job.report": "what a node said last, kept beside what was read of it, which is shown",
    "Job.resources": "numbers by resource; none is taken in a free place",
    "Job.seen_before": "ids by which the portal knows its own job again",
    "JobInput.userdata": "comes back in a form only where a dataset asks for it",
    "UserSession.data": "allauth's own notes",
}


@dataclass
class Seen(HTMLParser):
    """What a browser would make of a page: harmful is what came out of a payload, texts what can be read."""

    harmful: list[str] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__(convert_charrefs=True)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note what no template of ours writes, and what leads elsewhere than it should."""
        names = [name for name, _ in attrs]
        if WORD in tag or any(name.startswith("on") or WORD in name for name in names):
            self.harmful.append(self.get_starttag_text() or tag)
        for name, value in attrs:
            self.texts.append(value or "")
            leads = name in ("href", "src", "action", "formaction", "hx-get", "hx-post")
            if leads and re.match(r"[\s\0]*(javascript|data:text|vbscript)", value or "", re.I):
                self.harmful.append(f"{tag} {name}={value}")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Take it as one that begins."""
        self.handle_starttag(tag, attrs)

    def handle_data(self, data: str) -> None:
        """Keep what can be read."""
        self.texts.append(data)


def look(page: str) -> Seen:
    """Read a page as a browser does."""
    seen = Seen()
    seen.feed(page)
    seen.close()
    return seen


class Payloads:
    """Gives each field one of its own, and knows it again."""

    def __init__(self) -> None:
        self.given: dict[str, str] = {}

    def make(self, name: str, most: int | None) -> str:
        """Return a text that is none; it fits into `most` characters."""
        mark = f"{WORD}-{len(self.given)}x"
        self.given[mark] = name
        whole = f"'\"><svg/onload={mark}></script></textarea></title>"
        return whole if most is None or len(whole) <= most else f"'\"><{mark}>"

    def seen_in(self, text: str) -> set[str]:
        """Return the names of the fields whose payload is in a text."""
        return {self.given[mark] for mark in re.findall(rf"{WORD}-\d+x", text) if mark in self.given}


def is_word(model: type[models.Model], column: models.Field[Any, Any]) -> bool:
    """Say whether a field can hold any text."""
    if not isinstance(column, models.CharField | models.TextField | models.JSONField) or column.choices:
        return False
    if column.name in NOT_WORDS.get(model.__name__, ()):
        return False
    return not (
        column.name.endswith("_wei") or (column.max_length == 42 and column.name in ("address", "to"))
    )


def spoil(payloads: Payloads) -> None:
    """Put a payload into every text of every row; the record is written, for it cannot be changed."""
    own = [m for m in apps.get_app_config("jobs").get_models() if not m._meta.proxy and m is not AuditEntry]
    for model in (*own, EmailAddress, Authenticator, UserSession):
        for column in model._meta.concrete_fields:
            if is_word(model, column):
                _spoil_column(payloads, model, column)


def _spoil_column(payloads: Payloads, model: type[models.Model], column: models.Field[Any, Any]) -> None:
    name = f"{model.__name__}.{column.name}"
    for row in model._default_manager.all():
        value = getattr(row, column.attname)
        if isinstance(column, models.JSONField):
            value = _spoil_json(value, payloads.make(name, None))
        elif isinstance(column, models.EmailField):
            value = f'"{payloads.make(name, 60)}"@example.org'
        else:
            value = payloads.make(name, column.max_length)
        model._default_manager.filter(pk=row.pk).update(**{column.attname: value})


def _spoil_json(value: Any, payload: str, key: str = "") -> Any:
    if key in KEPT_KEYS:
        return value
    if isinstance(value, dict):
        return {k: _spoil_json(v, payload, k) for k, v in value.items()} or {payload: payload}
    if isinstance(value, list):
        return [_spoil_json(v, payload) for v in value]
    numbers = isinstance(value, str) and re.fullmatch(r"0x[0-9a-fA-F-]+x*[0-9a-f]*|\d+|https?://.*|\*", value)
    return payload if isinstance(value, str) and not numbers else value


@pytest.fixture
def payloads() -> Payloads:
    return Payloads()


@pytest.fixture
def house(payloads: Payloads) -> Household:
    """A team all of whose words are markup."""
    node = builders.make_node(allow_private=False)
    house = make_household(node=node)
    elsewhere = house.browser().session.session_key
    UserSession.objects.create(
        user=house.owner, session_key=elsewhere, ip="127.0.0.1", user_agent="A browser"
    )
    for chunk in LogChunk.objects.all():
        LogChunk.objects.filter(pk=chunk.pk).update(
            data=payloads.make("LogChunk.data", None).encode() + b"\n"
        )
    for result in Result.objects.filter(name__in=("table.csv", "notes.txt", "algorithm.log")):
        result.file.delete()
        payload = payloads.make("Result.file", None)
        result.file.save(f"{result.pk}.bin", ContentFile(f"{payload},b\n{payload},2\n".encode()))
        Result.objects.filter(pk=result.pk).update(size=2 * len(payload) + 5)
    record(house, payloads.make("AuditEntry", 90))
    spoil(payloads)
    return house


def admin_pages() -> list[str]:
    """Return the operator's pages of every record."""
    pages = [reverse("admin:index")]
    for model in (*apps.get_app_config("jobs").get_models(), EmailAddress, Authenticator, UserSession):
        kind = f"admin:{model._meta.app_label}_{model._meta.model_name}"
        try:
            pages.append(reverse(f"{kind}_changelist"))
        except NoReverseMatch:
            continue
        for row in model._default_manager.all()[:6]:
            pages += [reverse(f"{kind}_{page}", args=[row.pk]) for page in ("change", "history", "delete")]
    return pages


def test_markup_in_any_text_comes_out_as_text_on_every_page(house: Household, payloads: Payloads) -> None:
    harmful: dict[str, list[str]] = {}
    broken: dict[str, int] = {}
    found: set[str] = set()

    def visit(browser: Client, url: str, **headers: Any) -> None:
        answer = browser.get(url, **headers)
        if answer.status_code >= 500:
            broken[url] = answer.status_code
        if not answer.headers.get("Content-Type", "").startswith("text/html") or answer.streaming:
            answer.close()
            return
        seen = look(answer.text)
        if seen.harmful:
            harmful[url] = seen.harmful
        found.update(payloads.seen_in(" ".join(seen.texts)))

    outside = Client(raise_request_exception=False)
    outside.post(f"/shared/{house.share}/")
    for browser in (house.browser(), outside):
        for place in places():
            if place.name not in ("logout", "account_logout"):
                visit(browser, place.url(house))
                visit(browser, place.url(house), headers=HTMX)
    mine = house.browser()
    for job in house.team.jobs.all():
        for part in ("", "results/", "status/?v=0", "log/?after=0"):
            visit(mine, f"/{house.team.slug}/jobs/{job.pk}/{part}")
        visit(mine, f"/{house.team.slug}/jobs/launch/?rerun={job.pk}")
    for result in house.job.results.all():
        visit(mine, f"/{house.team.slug}/jobs/{house.job.pk}/results/{result.pk}/")
    for asset in house.team.assets.all():
        visit(mine, f"/{house.team.slug}/catalogue/{asset.pk}/")
        visit(mine, f"/{house.team.slug}/jobs/launch/?{asset.kind}={asset.pk}")
    house.owner.is_staff = house.owner.is_superuser = True
    house.owner.save(update_fields=["is_staff", "is_superuser"])
    operator = house.browser()
    for url in admin_pages():
        visit(operator, url)

    assert broken == {}
    assert harmful == {}
    unseen = sorted({name for name in payloads.given.values() if name not in found})
    assert unseen == sorted(UNSEEN)
