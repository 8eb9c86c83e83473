"""The page of the audit record, and its exports: who sees what, narrowed down, page by page, and harmless."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import transaction
from django.test import Client

from jobs.access import Person
from jobs.models import Act, AuditEntry, Membership, Team
from jobs.models.teams import Role
from jobs.selectors import record as selector
from jobs.services import audit, extracts
from jobs.services.audit import Thing
from tests import builders
from tests.conftest import Cast
from tests.views.rendering import queries_while_rendering

PAGE = "/coastal/record/"
EXPORT = "/coastal/record/export/"
HTMX = {"HX-Request": "true"}
EVIL = "<script>alert(1)</script>"
FORMULAS = ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", '=HYPERLINK("http://x")']


def write(team: Team | None, act: Act = Act.INVITED, *, who: str = "Alice", **values: Any) -> int:
    """Write an entry of a team."""
    by = Person(user_id=1, name=who, origin=values.pop("origin", "192.0.2.1"))
    with transaction.atomic():
        return audit.record(
            **({"act": act, "by": by, "now": builders.NOW, "team_id": team and team.pk} | values)
        )


@pytest.fixture
def as_role(cast: Cast) -> Callable[[Role], Client]:
    """Give Vera a role, and her browser."""

    def signed_in(role: Role) -> Client:
        Membership.objects.filter(user=cast.vera).update(role=role)
        client = Client()
        client.force_login(cast.vera)
        return client

    return signed_in


def text(html: str) -> str:
    """Return what a person reads of a page, in one line."""
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", html))


def numbers(html: str) -> list[int]:
    """Return the numbers of the entries on a page."""
    return [int(number) for number in re.findall(r"no\. (\d+)", html)]


class TestWhoSees:
    @pytest.mark.parametrize("role", Role)
    @pytest.mark.parametrize("url", [PAGE, EXPORT + "csv/", EXPORT + "jsonl/"])
    def test_page_and_exports_are_for_some_roles(
        self, as_role: Callable[[Role], Client], role: Role, url: str
    ) -> None:
        may = role in {Role.OWNER, Role.ADMIN, Role.AUDITOR, Role.TREASURER}

        assert as_role(role).get(url).status_code == (200 if may else 403)

    @pytest.mark.parametrize("url", [PAGE, EXPORT + "csv/"])
    def test_another_team_s_does_not_exist(self, charlie: Client, url: str) -> None:
        assert charlie.get(url).status_code == 404

    def test_refused_export_leaves_no_entry(self, bob: Client) -> None:
        bob.get(EXPORT + "csv/")

        assert not AuditEntry.objects.exists()

    def test_page_shows_the_team_s_entries_alone(self, alice: Client, cast: Cast) -> None:
        write(cast.team, who="Ours")
        write(cast.other_team, who="Theirs")
        write(None, Act.SIGNED_IN, who="At the door")

        html = alice.get(PAGE).text

        assert numbers(html) == [1]
        assert "Ours" in html and "Theirs" not in html and "At the door" not in html

    def test_treasurer_sees_what_is_about_money(self, as_role: Callable[[Role], Client], cast: Cast) -> None:
        write(cast.team, Act.INVITED)
        write(cast.team, Act.LIMIT_SET)
        write(cast.team, Act.TRANSACTION_SIGNED)
        write(cast.team, Act.JOB_LAUNCHED, after={"free": True})
        write(cast.team, Act.JOB_LAUNCHED, after={"free": False})
        write(cast.team, Act.DOWNLOADED)
        treasurer = as_role(Role.TREASURER)

        html = treasurer.get(PAGE).text
        lines = treasurer.get(EXPORT + "jsonl/").getvalue().splitlines()

        assert numbers(html) == [5, 3, 2]
        assert "Your role shows you what is about wallets and money." in html
        assert [json.loads(line)["number"] for line in lines] == [2, 3, 5]

    def test_tab_leads_to_it(self, alice: Client) -> None:
        assert f'<a href="{PAGE}" aria-current="page">Record</a>' in alice.get(PAGE).text


class TestEntries:
    def test_say_who_from_where_what_and_what_changed(self, alice: Client, cast: Cast) -> None:
        write(
            cast.team,
            Act.ROLE_CHANGED,
            thing=Thing("member", "3", "Bob"),
            before={"role": "viewer", "same": 1, "gone": "x"},
            after={"role": "admin", "same": 1, "free": False, "most": {"OCEAN": "2"}, "of": ["a", "b"]},
        )

        html = alice.get(PAGE).text

        told = text(html)
        assert "Alice 192.0.2.1 Changed a role member Bob" in told
        assert "role viewer → admin" in told
        assert "gone x" in told and "free no" in told and "most · OCEAN 2" in told and "of a, b" in told
        assert "same" not in told
        assert '<del title="viewer">viewer</del>' in html and '<ins title="admin">admin</ins>' in html

    def test_show_addresses_hashes_and_dids_in_short_with_the_whole_beside_them(
        self, alice: Client, cast: Cast
    ) -> None:
        address, did = "0x" + "ab" * 20, "did:op:" + "12" * 32
        write(cast.team, after={"to": address, "of": [f"Buoys ({did})", "cd" * 32, "0xab", "a" * 39]})

        html = alice.get(PAGE).text

        assert f'<ins title="{address}">0xabab…abab</ins>' in html
        assert f">Buoys (did:op:1212…1212), cdcd…cdcd, 0xab, {'a' * 39}</ins>" in html

    def test_lead_to_what_they_are_about(self, alice: Client, cast: Cast) -> None:
        job = builders.make_job(team=cast.team)
        write(cast.team, Act.JOB_STOPPED, thing=Thing("job", str(job.pk), "Waves"))
        write(cast.team, Act.ASSET_ADDED, thing=Thing("asset", "77", "Buoys"))
        write(cast.team, Act.WALLET_ADDED, thing=Thing("wallet", "5", "Main"))
        write(
            cast.team,
            Act.TRANSACTION_SIGNED,
            thing=Thing("transaction", "6", "Order"),
            after={"job": str(job.pk)},
        )
        write(cast.team, Act.INVITED, thing=Thing("job", "no id at all", "Nowhere"))

        html = alice.get(PAGE).text

        assert f'<a href="/coastal/jobs/{job.pk}/">Waves</a>' in html
        assert '<a href="/coastal/catalogue/77/">Buoys</a>' in html
        assert '<a href="/coastal/wallets/5/">Main</a>' in html
        assert f'<a href="/coastal/jobs/{job.pk}/">Order</a>' in html
        assert "job Nowhere" in text(html) and ">Nowhere</a>" not in html

    def test_show_what_strangers_wrote_as_text(self, alice: Client, cast: Cast) -> None:
        write(
            cast.team,
            who=EVIL,
            origin=EVIL,
            thing=Thing(EVIL, EVIL, EVIL),
            before={EVIL: EVIL},
            after={EVIL: [EVIL, {EVIL: EVIL}]},
        )

        html = alice.get(PAGE).text

        assert "<script>alert" not in html
        assert html.count("&lt;script&gt;") >= 6

    def test_of_an_act_that_a_later_release_knew_are_shown_by_its_code(
        self, alice: Client, cast: Cast
    ) -> None:
        number = write(cast.team)
        entry = AuditEntry.objects.get(number=number)
        entry.number, entry.act = 2, "moon.landed"
        entry.save(force_insert=True)

        assert "moon.landed" in alice.get(PAGE).text

    def test_page_says_that_there_is_none(self, alice: Client) -> None:
        assert "Nothing has been done in this team yet" in alice.get(PAGE).text
        assert "No entry fits." in alice.get(PAGE + "?who=nobody").text


class TestPages:
    def test_newest_come_first_and_older_ones_follow(
        self, alice: Client, cast: Cast, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(selector, "PAGE_SIZE", 3)
        for _ in range(7):
            write(cast.team)

        first = alice.get(PAGE + "?who=ali").text
        second = alice.get(PAGE + "?who=ali&before=5").text
        last = alice.get(PAGE + "?who=ali&before=2").text

        assert [numbers(html) for html in (first, second, last)] == [[7, 6, 5], [4, 3, 2], [1]]
        assert 'href="/coastal/record/?who=ali&amp;before=5"' in first and ">Newest<" not in first
        assert 'href="/coastal/record/?who=ali"' in second and ">Newest<" in second
        assert ">Older<" not in last

    def test_is_a_fragment_for_htmx(self, alice: Client, cast: Cast) -> None:
        write(cast.team)

        html = alice.get(PAGE, headers=HTMX).text

        assert html.lstrip().startswith('<section class="card" id="entries"')
        assert numbers(html) == [1]

    def test_keeps_its_query_budget(
        self, alice: Client, cast: Cast, django_assert_max_num_queries: Any
    ) -> None:
        for i in range(60):
            write(cast.team, thing=Thing("wallet", str(i), "Main"), after={"i": i})

        # Session, person, memberships; the entries; the frame.
        with django_assert_max_num_queries(5):
            alice.get(PAGE + "?who=a&about=main")

    def test_asks_nothing_while_rendering(self, alice: Client, cast: Cast) -> None:
        write(cast.team)

        with queries_while_rendering() as queries:
            alice.get(PAGE)

        assert queries == []


class TestFilters:
    @pytest.fixture(autouse=True)
    def entries(self, cast: Cast) -> None:
        """Four entries that differ in all that can be looked for."""
        write(cast.team, Act.INVITED, who="Alice Ash", thing=Thing("invitation", "1", "dora@example.org"))
        write(cast.team, Act.LIMIT_SET, who="Bob", thing=Thing("wallet", "12", "Main"))
        write(
            cast.team, Act.WALLET_ADDED, who="Bob", origin="2001:db8::1", thing=Thing("wallet", "13", "Spare")
        )
        write(
            cast.team,
            Act.JOB_STOPPED,
            who="Vera",
            now=builders.NOW + timedelta(days=2),
            thing=Thing("job", "abc", "Main"),
        )

    @pytest.mark.parametrize(
        ("query", "found"),
        {
            "who=bob": [3, 2],
            "who=2001:db8::1": [3],
            "act=wallet": [3, 2],
            "act=wallet.added": [3],
            "about=main": [4, 2],
            "about=12": [2],
            "about=Wallet": [3, 2],
            "about=example.org": [1],
            "start=2025-11-23": [4],
            "end=2025-11-22": [3, 2, 1],
            "start=2025-11-22&end=2025-11-22": [3, 2, 1],
            "start=2025-11-24&end=2025-11-24": [4],
            "end=9999-12-31": [4, 3, 2, 1],
            "who=bob&act=wallet&about=main": [2],
        }.items(),
    )
    def test_narrow_the_page_and_the_exports_down(self, alice: Client, query: str, found: list[int]) -> None:
        page = alice.get(f"{PAGE}?{query}")
        exported = alice.get(f"{EXPORT}jsonl/?{query}")

        assert numbers(page.text) == found
        lines = exported.getvalue().splitlines()
        assert [json.loads(line)["number"] for line in lines] == found[::-1]

    @pytest.mark.parametrize(
        "query",
        [
            *("act=account", "act=nonsense", "start=yesterday", "end=2025-13-40", "who=%00"),
            *("before=x", "before=-1", "before=" + "9" * 40),
            *("who=" + "x" * 101, "about=" + "x" * 5_000),
        ],
    )
    def test_that_make_no_sense_are_told(self, alice: Client, query: str) -> None:
        page = alice.get(f"{PAGE}?{query}")

        assert page.status_code == 400
        assert alice.get(f"{EXPORT}csv/?{query}").status_code == 404

    def test_stay_in_the_form_and_in_the_links_to_the_exports(self, alice: Client) -> None:
        html = alice.get(PAGE + "?who=bob&act=wallet.added&before=99").text

        assert 'value="bob"' in html
        assert '<option value="wallet.added" selected>' in html
        assert 'href="/coastal/record/export/csv/?who=bob&amp;act=wallet.added"' in html


class TestSignatures:
    @pytest.fixture(autouse=True)
    def entries(self, cast: Cast) -> None:
        """A launch between what the worker signed for it."""
        write(cast.team, Act.SIGNED, who="The worker, for Bob", origin="worker")
        write(cast.team, Act.JOB_LAUNCHED, who="Bob", after={"free": False})
        write(cast.team, Act.SIGNED, who="The worker, for Bob", origin="worker")

    @pytest.mark.parametrize("query", ["", "?who=bob", "?signatures=", "?start=2025-01-01"])
    def test_are_left_out_with_words_and_a_way_to_them(self, alice: Client, query: str) -> None:
        html = alice.get(PAGE + query).text

        assert numbers(html) == [2]
        assert "Requests that the worker signed for nodes are left out here; the files have them." in text(
            html
        )
        (way,) = re.findall(r'href="([^"]+)">Show them too', html)
        assert numbers(alice.get(way.replace("&amp;", "&")).text) == [3, 2, 1]

    @pytest.mark.parametrize(
        ("query", "found"),
        [
            ("signatures=on", [3, 2, 1]),
            ("act=wallet", [3, 1]),
            ("act=wallet.signed", [3, 1]),
            ("act=job", [2]),
        ],
    )
    def test_are_there_where_they_are_looked_for(self, alice: Client, query: str, found: list[int]) -> None:
        html = alice.get(f"{PAGE}?{query}").text

        assert numbers(html) == found
        assert "are left out here" not in html

    def test_are_in_the_exports(self, alice: Client) -> None:
        lines = alice.get(EXPORT + "jsonl/").getvalue().splitlines()

        assert [json.loads(line)["number"] for line in lines] == [1, 2, 3]

    def test_stay_chosen_on_older_pages(self, alice: Client, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(selector, "PAGE_SIZE", 2)

        html = alice.get(PAGE + "?signatures=on").text

        assert 'href="/coastal/record/?signatures=on&amp;before=2"' in html
        assert "checked" in html


class TestExport:
    def test_is_in_the_record_before_its_first_byte(self, alice: Client, cast: Cast) -> None:
        write(cast.team)

        answer = alice.get(EXPORT + "csv/?who=ali")  # not read yet

        entry = AuditEntry.objects.get(act=Act.RECORD_EXPORTED)
        assert (entry.who, entry.team_id) == ("Alice", cast.team.pk)
        assert entry.after == {"format": "csv", "who": "ali"}
        assert answer.streaming

    def test_as_json_lines_can_be_verified_by_its_reader(self, alice: Client, cast: Cast) -> None:
        write(cast.team, who="Zoë ☃", before={"b": 1, "a": [2**70]}, after={"x": "y"})
        write(cast.team)

        answer = alice.get(EXPORT + "jsonl/")

        lines = [json.loads(line) for line in answer.getvalue().decode().splitlines()]
        for entry in lines:
            known = entry.pop("hash")
            written = json.dumps(entry, sort_keys=True, separators=(",", ":"))
            assert hashlib.sha256(written.encode()).hexdigest() == known
        assert lines[1]["hash_before"] == AuditEntry.objects.get(number=1).hash
        assert answer.headers["Content-Type"] == "application/jsonl"
        assert re.fullmatch(
            r'attachment; filename="coastal-record-\d{4}-\d\d-\d\d\.jsonl"',
            answer.headers["Content-Disposition"],
        )

    def test_as_csv_has_every_field(self, alice: Client, cast: Cast) -> None:
        write(
            cast.team, who='Zoë, “the” "one"', before={"a": [1]}, thing=Thing("member", "3", "Bob\nBuilder")
        )

        answer = alice.get(EXPORT + "csv/")

        (row,) = csv.DictReader(io.StringIO(answer.getvalue().decode(), newline=""))
        entry = AuditEntry.objects.get(number=1)
        assert tuple(row) == extracts.FIELDS
        assert row["who"] == 'Zoë, “the” "one"' and row["object_name"] == "Bob\nBuilder"
        assert row["before"] == '{"a": [1]}' and row["after"] == "" and row["hash"] == entry.hash
        assert answer.headers["Content-Type"] == "text/csv; charset=utf-8"

    @pytest.mark.parametrize("formula", FORMULAS)
    def test_as_csv_holds_no_formula(self, alice: Client, cast: Cast, formula: str) -> None:
        write(cast.team, who=formula, thing=Thing("member", formula, formula))

        answer = alice.get(EXPORT + "csv/")

        (row,) = csv.DictReader(io.StringIO(answer.getvalue().decode(), newline=""))
        assert [row["who"], row["object_id"], row["object_name"]] == ["'" + formula] * 3

    def test_is_read_in_pieces(
        self, alice: Client, cast: Cast, monkeypatch: pytest.MonkeyPatch, django_assert_max_num_queries: Any
    ) -> None:
        monkeypatch.setattr(extracts, "PIECE", 2)
        for _ in range(5):
            write(cast.team)
        answer = alice.get(EXPORT + "jsonl/")
        write(cast.team)  # after it began: of another extract

        with django_assert_max_num_queries(4):
            pieces = list(answer.streaming_content)  # type: ignore[attr-defined]  # it streams

        assert [piece.count(b"\n") for piece in pieces] == [2, 2, 1]

    @pytest.mark.parametrize("kind", ["xml", "csv.gz", "CSV"])
    def test_in_another_format_does_not_exist(self, alice: Client, kind: str) -> None:
        assert alice.get(EXPORT + kind + "/").status_code == 404

    def test_is_not_made_by_asking_for_its_head(self, alice: Client) -> None:
        assert alice.head(EXPORT + "csv/").status_code == 405
        assert not AuditEntry.objects.exists()
