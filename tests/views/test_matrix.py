"""Every address of the portal, for every role, on one's own, a colleague's and another team's objects.

A new address needs one line in TABLE: its name, what a person has to be allowed for it, and which kind of object it is
about (a kind of `peopled.World.things`). `others` is what a colleague's object needs where that is more than one's own
does; `get`, `post` say which ways it is asked; `data` is a form that its view takes, so that a refusal is not the form's.
One name may have several lines. An address outside of any team has a line in ASIDE, with the reason.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from django.shortcuts import resolve_url
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver, reverse

from jobs.access import Action
from jobs.models.teams import Role
from tests.services.test_access import LETS, MAY
from tests.views.peopled import COLLEAGUE, NOBODY, OUTSIDER, STRANGER, World, undone

HTMX = {"HX-Request": "true"}
# What somebody who is allowed gets: a page, a part of one, a form back because of what was entered (400), or the word
# that no node can be reached from here (503).
FINE = {200, 204, 286, 302, 400, 503}
WAYS = ("page", "fragment", "post")


@dataclass(frozen=True)
class Line:
    """An address, and who may use it. needs, others: all of them; others: as needs where it is not given."""

    name: str
    needs: tuple[Action, ...]
    of: str = ""
    others: tuple[Action, ...] | None = None
    get: bool = False
    post: bool = False
    data: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.name} of {self.of}" if self.of else self.name

    def takes(self, way: str) -> bool:
        """Say whether it is asked in this way."""
        return self.post if way == "post" else self.get

    def allows(self, role: Role, *, own: bool) -> bool:
        """Say whether somebody of this role may use it, on an object that is their own or a colleague's."""
        needed = self.needs if own or self.others is None else self.others
        may = MAY[role] | {action for (of, action), setting in LETS.items() if of == role and setting in ON}
        return set(needed) <= may


def page(name: str, *needs: Action, of: str = "", **more: Any) -> Line:
    """Describe an address that is read."""
    return Line(name, needs, of, get=True, **more)


def act(name: str, *needs: Action, of: str = "", **more: Any) -> Line:
    """Describe an address that takes a form, and nothing else."""
    return Line(name, needs, of, post=True, **more)


ON = {"viewers_see_results"}  # of the team's settings, as they are unless a team says otherwise
STOP = {"others": (Action.STOP_ANY,)}
TABLE = (
    page("dashboard", Action.SEE),
    page("jobs", Action.SEE),
    page("launch", Action.LAUNCH, post=True),
    act("launch-quote", Action.LAUNCH),
    page("launch-parameters", Action.LAUNCH),
    page("jobs-detail", Action.SEE, of="running"),
    page("jobs-detail", Action.SEE, of="waiting"),
    page("jobs-detail", Action.SEE, of="ended"),
    page("jobs-status", Action.SEE, of="running"),
    page("jobs-log", Action.SEE_LOGS, of="running"),
    page("jobs-results", Action.SEE, of="ended"),
    act("jobs-stop", Action.STOP_OWN, of="running", **STOP),
    act("jobs-rerun", Action.LAUNCH, of="ended"),
    act(
        "jobs-go-on",
        *(Action.LAUNCH, Action.STOP_OWN),
        of="waiting",
        others=(Action.LAUNCH, Action.STOP_ANY),
    ),
    act("jobs-give-up", Action.STOP_OWN, of="waiting", **STOP),
    page("result-detail", Action.SEE_RESULTS, of="output"),
    page("result-detail", Action.SEE_LOGS, of="log"),
    page("result-download", Action.SEE_RESULTS, of="output"),
    page("result-download", Action.SEE_LOGS, of="log"),
    page("result-inline", Action.SEE_RESULTS, of="output"),
    page(
        "share",
        Action.SHARE_OWN,
        of="ended",
        others=(Action.SHARE_ANY,),
        post=True,
        data={"label": "The press", "what": "job", "days": "1"},
    ),
    act("share-revoke", Action.SHARE_OWN, of="link", others=(Action.REVOKE_ANY_LINK,)),
    page("catalogue", Action.SEE),
    act("catalogue-add", Action.EDIT_CATALOGUE, data={"did": "did:op:" + "ab" * 32}),
    page("catalogue-find", Action.EDIT_CATALOGUE),
    page("catalogue-detail", Action.SEE, of="asset"),
    act("catalogue-refresh", Action.EDIT_CATALOGUE, of="asset"),
    page("environments", Action.SEE),
    page("members", Action.SEE),
    act(
        "members-invite",
        Action.MANAGE_MEMBERS,
        data={"invite-email": "ada@example.org", "invite-role": "viewer"},
    ),
    page("members-leave", post=True),
    act("members-role", Action.MANAGE_MEMBERS, of="member", data={"role": "auditor"}),
    page("members-remove", Action.MANAGE_MEMBERS, of="member", post=True, data={"jobs": "stop"}),
    act("members-resend", Action.MANAGE_MEMBERS, of="invitation"),
    act("members-revoke", Action.MANAGE_MEMBERS, of="invitation"),
    page("record", Action.READ_MONEY_RECORD),
    page("record-export", Action.READ_MONEY_RECORD, of="format"),
    page("settings", Action.SEE),
    act("settings-change", Action.SET_UP_TEAM, data={"name": "Ours"}),
    page("wallets", Action.SEE),
    act("wallets-generate", Action.MANAGE_WALLETS, data={"new-label": "harbour"}),
    page("wallets-add", Action.MANAGE_WALLETS),
    act(
        "wallets-import",
        Action.MANAGE_WALLETS,
        data={"how": "key", "key-label": "quay", "key-secret": "11" * 32},
    ),
    act(
        "wallets-watch",
        Action.MANAGE_WALLETS,
        data={"watch-label": "cold", "watch-address": "0x" + "11" * 20},
    ),
    page("wallets-detail", Action.SEE, of="wallet"),
    act("wallets-disable", Action.MANAGE_WALLETS, of="wallet"),
    page("wallets-detail", Action.SEE, of="disabled wallet"),
    act("wallets-enable", Action.MANAGE_WALLETS, of="disabled wallet"),
    act("wallets-grant", Action.GRANT_WALLETS, of="wallet"),
    act("wallets-take-back", Action.GRANT_WALLETS, of="grant"),
    page("wallets-hand-over", Action.HAND_WALLETS_OVER, of="wallet", post=True),
    page("wallets-balances", Action.SEE, of="wallet"),
    act("wallets-balances-look", Action.SEE, of="wallet"),
    act("wallets-tokens", Action.MANAGE_WALLETS, of="wallet"),
    act("wallets-tokens-give-back", Action.MANAGE_WALLETS, of="node token"),
    act("wallets-limit", Action.SET_LIMITS),
    page("escrow", Action.SEE),
    act("escrow-look", Action.SEE, of="account"),
    page("escrow-withdraw", Action.MANAGE_ESCROW, of="account", post=True, data={"agreed": "yes"}),
    act("escrow-release", Action.MANAGE_ESCROW, of="account"),
    act("transactions-speed-up", Action.UNSTICK, of="transaction"),
    act("transactions-cancel", Action.UNSTICK, of="transaction"),
    act("transactions-fill", Action.UNSTICK, of="transaction"),
)
# Not of a team; a name that ends in ":" or "_" stands for all that begin with it.
ASIDE = {
    "admin:": "the operator's: test_admin goes through every page, as operator and as member",
    "home": "leads to a person's team, or to the door",
    "login": "the door",
    "logout": "the door",
    "account_": "allauth's own pages of the door and of one's own account; test_accounts",
    "mfa_": "allauth's own pages of one's own second factor; test_accounts",
    "socialaccount_": "allauth's own pages of the organisation's door",
    "organisation": "the organisation's door",
    "organisation-callback": "the organisation's door",
    "invitation": "for whoever has the link; test_members",
    "profile": "one's own, in every team",
    "sessions": "one's own, in every team",
    "sessions-end": "one's own, in every team",
    "health": "for load balancers: says nothing but ok",
    "favicon": "a picture",
    "shared": "for people outside: the link is the right, see test_sharing",
    "shared-download": "for people outside: the link is the right, see test_sharing",
}


def names(patterns: list[URLPattern | URLResolver], prefix: str = "") -> Iterator[str]:
    """Return the name of every address, with its namespace; what has none is returned by its route."""
    for pattern in patterns:
        if isinstance(pattern, URLResolver):
            inner = f"{prefix}{pattern.namespace}:" if pattern.namespace else prefix
            yield from names(pattern.url_patterns, inner)
        else:
            yield prefix + (pattern.name or f"unnamed {pattern.pattern}")


def stands_for(entry: str, name: str) -> bool:
    return name.startswith(entry) if entry[-1] in ":_" else name == entry


class TestTable:
    def test_knows_every_address(self) -> None:
        known = {line.name for line in TABLE}

        unknown = {
            name
            for name in names(get_resolver().url_patterns)
            if name not in known and not any(stands_for(entry, name) for entry in ASIDE)
        }

        assert unknown == set(), "give each a line in TABLE"

    def test_has_no_line_that_is_not_needed(self) -> None:
        there = set(names(get_resolver().url_patterns))

        assert {line.name for line in TABLE} - there == set()
        assert {entry for entry in ASIDE if not any(stands_for(entry, name) for name in there)} == set()

    def test_names_an_object_wherever_an_address_does(self, world: World) -> None:
        for line in TABLE:
            reverse(line.name, kwargs={"team": "coastal", **world.thing(line.of, whose=COLLEAGUE)})

    def test_is_about_every_role(self, world: World) -> None:
        assert set(world.browsers) == {*Role, COLLEAGUE, OUTSIDER, NOBODY, STRANGER}


@pytest.mark.parametrize("line", TABLE, ids=str)
class TestEveryAddress:
    def test_answers_each_role_as_the_table_says(self, world: World, line: Line) -> None:
        wrong = {}

        for role in Role:
            for whose in owners(world, line, role):
                expected = 0 if line.allows(role, own=whose == role) else 403
                for way in filter(line.takes, WAYS):
                    found = ask(world, line, by=role, way=way, whose=whose)
                    if found != expected:
                        wrong[f"{role}, {'own' if whose == role else COLLEAGUE}, {way}"] = (found, expected)

        assert wrong == {}, "what was answered, and what the table says; 0 is any way of being allowed"

    def test_is_asked_in_no_other_way(self, world: World, line: Line) -> None:
        taken = {way for way in WAYS if any(other.takes(way) for other in TABLE if other.name == line.name)}

        found = {way: ask(world, line, by=Role.OWNER, way=way, whose=COLLEAGUE) for way in {*WAYS} - taken}

        assert set(found.values()) <= {405}, found

    def test_does_not_know_another_team_s(self, world: World, line: Line) -> None:
        """Neither that team's page nor, on a page of one's own team, its object; whatever one may do."""
        has_owner = world.thing(line.of, whose=OUTSIDER) != world.thing(line.of, whose=COLLEAGUE)

        found = {
            (by, team, way): ask(world, line, by=by, way=way, whose=whose, team=team)
            for by, team, whose in (
                *((role, "offshore", OUTSIDER) for role in Role),
                *((role, "coastal", OUTSIDER) for role in Role if has_owner),
                (OUTSIDER, "coastal", COLLEAGUE),
                (NOBODY, "coastal", COLLEAGUE),
            )
            for way in WAYS
            if line.takes(way)
        }

        assert {key: status for key, status in found.items() if status != 404} == {}

    def test_sends_a_stranger_to_the_door(self, world: World, line: Line) -> None:
        door, url = resolve_url("login"), address(world, line, COLLEAGUE)

        with undone() as wrote:
            page, fragment, post = (send(world.browsers[STRANGER], url, way, line) for way in WAYS)

        assert (page.status_code, page["Location"]) == (302, f"{door}?next={url}")
        assert (fragment.status_code, fragment["HX-Redirect"]) == (200, f"{door}?next=/")
        assert (post.status_code, post["Location"]) == (302, f"{door}?next={url}")
        assert wrote == []


def owners(world: World, line: Line, role: Role) -> tuple[str, ...]:
    """Return whose objects are tried: one's own and a colleague's, or what is the whole team's, once."""
    same = world.thing(line.of, whose=role) == world.thing(line.of, whose=COLLEAGUE)
    return (COLLEAGUE,) if same and line.others is None else (role, COLLEAGUE)


def address(world: World, line: Line, whose: str, team: str = "coastal") -> str:
    return reverse(line.name, kwargs={"team": team, **world.thing(line.of, whose=whose)})


def send(browser: Client, url: str, way: str, line: Line) -> Any:
    browser.cookies.pop("messages", None)
    if way == "post":
        return browser.post(url, line.data)
    return browser.get(url, headers=HTMX if way == "fragment" else {})


def ask(world: World, line: Line, *, by: str, way: str, whose: str, team: str = "coastal") -> int:
    """Ask, and undo it; return the status, 0 for every way of being allowed. A refusal has words, and writes nothing."""
    with undone() as wrote:
        answer = send(world.browsers[by], address(world, line, whose, team), way, line)
        answer.close()
    status = int(answer.status_code)
    if status in FINE:
        return 0
    assert wrote == [], f"refused, and yet written: {wrote}"
    if status == 403:
        assert "Your role in this team is" in answer.text
        assert way != "fragment" or answer["HX-Retarget"] == "#notes"
    return status
