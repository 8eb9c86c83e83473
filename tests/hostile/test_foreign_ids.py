"""Ids of another team inside forms: refused in the words for an id that does not exist, and nothing is written."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import pytest

from jobs.access import Actor
from jobs.models.teams import Role
from jobs.selectors import settings as selector
from tests import builders
from tests.hostile.everything import Household, make_household
from tests.hostile.test_markup import look
from tests.views.peopled import undone

pytestmark = pytest.mark.django_db

# Tokens and keys that are made for each page.
CHANCE = re.compile(r"\A[0-9A-Za-z]{64}\Z|\A[0-9a-f-]{36}\Z|X-CSRFToken")
NOBODY = {
    "id": "999999",
    "uuid": str(uuid.UUID(int=99)),
    "did": "did:op:" + "99" * 32,
    "word": "no such thing",
}


@pytest.fixture
def node(db: None) -> Any:
    return builders.make_node(allow_private=False)


@pytest.fixture
def house(node: Any) -> Household:
    return make_household(node=node)


@pytest.fixture
def other(node: Any) -> Household:
    return make_household(
        "offshore",
        node=node,
        key=8,
        address="0xF1F6619B38A98d6De0800F1DefC0a6399eB6d30C",
        watched="0x" + "44" * 20,
    )


@dataclass(frozen=True)
class Case:
    """A form of the team, and one field of it that takes an id. whose: of a household, what stands there."""

    name: str
    url: Callable[[Household], str]
    rest: Callable[[Household], dict[str, Any]]
    field: str
    whose: Callable[[Household], str]
    none: str

    def __str__(self) -> str:
        return self.name


def launch(house: Household, **more: Any) -> dict[str, Any]:
    """Return what a launch of the team's own things sends."""
    return {
        "launch_key": str(uuid.UUID(int=5)),
        "datasets": [house.dataset.did],
        "algorithm": house.algorithm.did,
        "environment": str(house.environment.pk),
        "wallet": house.wallet.label,
        **more,
    }


def rules(house: Household) -> dict[str, Any]:
    """Return what the settings' form sends."""
    actor = Actor(user_id=house.owner.pk, name="", team_id=house.team.pk, role=Role.OWNER)
    shown = selector.settings(actor=actor).rules
    return {"name": house.team.name, "shown": json.dumps(asdict(shown))}


def at(path: str) -> Callable[[Household], str]:
    """Return where a team's form goes."""

    def url(house: Household) -> str:
        return f"/{house.team.slug}/" + path.format(house=house)

    return url


LAUNCH, QUOTE = at("jobs/launch/"), at("jobs/launch/quote/")
CASES = [
    Case(f"{name}: {field}", url, launch, field, whose, none)
    for name, url in (("launch", LAUNCH), ("price", QUOTE))
    for field, whose, none in (
        ("datasets", lambda h: h.dataset.did, NOBODY["did"]),
        ("algorithm", lambda h: h.algorithm.did, NOBODY["did"]),
        ("wallet", lambda h: h.wallet.label, NOBODY["word"]),
        ("rerun_of", lambda h: str(h.job.pk), NOBODY["uuid"]),
        ("instead_of", lambda h: str(h.waiting.pk), NOBODY["uuid"]),
    )
] + [
    Case(
        "settings: default wallet",
        at("settings/change/"),
        rules,
        "default_wallet",
        lambda h: str(h.wallet.pk),
        NOBODY["id"],
    ),
    Case(
        "limit: wallet",
        at("wallets/limit/"),
        lambda h: {"limit-token": str(h.account.token_id), "limit-amount": "3"},
        "limit-wallet",
        lambda h: str(h.wallet.pk),
        NOBODY["id"],
    ),
    Case(
        "grant: member",
        at("wallets/{house.wallet.pk}/grant/"),
        lambda h: {},
        "user",
        lambda h: str(h.owner.pk),
        NOBODY["id"],
    ),
    Case(
        "hand over: team",
        at("wallets/{house.wallet.pk}/hand-over/"),
        lambda h: {"label": "theirs", "confirm": h.wallet.label},
        "to",
        lambda h: h.team.slug,
        "nobody-there",
    ),
    Case(
        "share: result",
        at("jobs/{house.job.pk}/share/"),
        lambda h: {"label": "The press", "days": "1"},
        "what",
        lambda h: str(h.result.pk),
        NOBODY["id"],
    ),
    Case(
        "removal: to whom",
        at("members/{house.member.pk}/remove/"),
        lambda h: {},
        "jobs",
        lambda h: str(h.owner.memberships.get().pk),
        NOBODY["id"],
    ),
    Case(
        "leaving: to whom",
        at("members/leave/"),
        lambda h: {},
        "jobs",
        lambda h: str(h.owner.memberships.get().pk),
        NOBODY["id"],
    ),
    Case(
        "sessions: which",
        lambda h: "/accounts/sessions/end/",
        lambda h: {},
        "session",
        lambda h: str(h.key.pk + 1000),
        NOBODY["id"],
    ),
]

# There is nothing of one's own to choose: the owner has one team, is its last owner, and is signed in once.
ALWAYS_REFUSED = {"hand over: team", "leaving: to whom", "sessions: which"}


@pytest.mark.parametrize("case", CASES, ids=str)
def test_id_of_another_team_is_as_one_that_does_not_exist(
    case: Case, house: Household, other: Household
) -> None:
    browser = house.browser()
    url, rest = case.url(house), case.rest(house)
    entered = (case.whose(other), case.none)

    with undone() as wrote_theirs:
        theirs = browser.post(url, rest | {case.field: case.whose(other)}, follow=True)
    with undone() as wrote_nobodys:
        nobodys = browser.post(url, rest | {case.field: case.none}, follow=True)

    assert wrote_theirs == wrote_nobodys == []
    assert theirs.status_code == nobodys.status_code
    assert said(theirs.text, *entered) == said(nobodys.text, *entered)
    for secret in (other.team.name, other.owner.username, other.wallet.address, other.dataset.name):
        assert secret not in theirs.text


@pytest.mark.parametrize("case", [c for c in CASES if c.name not in ALWAYS_REFUSED], ids=str)
def test_id_of_the_own_team_is_not_refused_with_it(case: Case, house: Household) -> None:
    """Else the test above would say nothing: what is refused there is refused because of whose it is."""
    browser = house.browser()
    given = case.whose(house)

    with undone():
        own = browser.post(case.url(house), case.rest(house) | {case.field: given}, follow=True)
    with undone():
        nobodys = browser.post(case.url(house), case.rest(house) | {case.field: case.none}, follow=True)

    assert said(own.text, given, case.none) != said(nobodys.text, given, case.none)


def said(page: str, *entered: str) -> list[str]:
    """Return what a page says, without what was entered."""
    texts = [" ".join(text.split()) for text in look(page).texts]
    for text in entered:
        texts = [re.sub(rf"(?<![0-9A-Za-z]){re.escape(text)}(?![0-9A-Za-z])", "…", t) for t in texts]
    return [text for text in texts if text and not CHANCE.search(text)]
