"""Finding assets on the network, and what an asset's page says of who may use it."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client

from jobs.models import Asset
from jobs.services import catalogue as service
from jobs.services.catalogue import Found, SearchResult
from tests import builders
from tests.conftest import Cast
from tests.ocean.test_ddo import DID, recorded

FIND = "/coastal/catalogue/find/"
OTHER = "did:op:" + "cd" * 32
EVIL = "<script>alert(1)</script>"


def asset(**changes: Any) -> Found:
    """Return something that was found, changed."""
    values: dict[str, Any] = {
        "did": DID,
        "name": "Tides",
        "kind": "dataset",
        "description": "Water levels.",
        "author": "Harbour office",
        "node": "Quay provider",
        "asset_id": None,
    }
    return Found(**(values | changes))


@pytest.fixture
def searched(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Let the search answer with the last thing in this list; before it come the questions."""
    log: list[dict[str, Any]] = [{"result": SearchResult(found=(), silent=())}]

    def search(**given: Any) -> SearchResult:
        log.insert(0, given)
        return log[-1]["result"]

    # Patched by name: the nodes behind the service are what its own tests are about.
    monkeypatch.setattr(service, "search", search)
    return log


def find(client: Client, log: list[dict[str, Any]], *found: Found, **more: Any) -> str:
    """Search for a word, with this answer; return the page."""
    log[-1]["result"] = SearchResult(found=found, **({"silent": ()} | more))
    response = client.get(FIND, {"text": "tides", "kind": ""})
    assert response.status_code == 200
    return response.text


class TestFind:
    def test_asks_nobody_until_it_is_asked(self, alice: Client, searched: list[Any]) -> None:
        html = alice.get(FIND).text

        assert len(searched) == 1
        assert f'<form class="card fields find" method="get" action="{FIND}"' in html
        assert "every " not in html

    def test_passes_words_and_kind_on(self, alice: Client, searched: list[Any]) -> None:
        alice.get(FIND, {"text": " tides ", "kind": "dataset"})

        assert (searched[0]["text"], searched[0]["kind"]) == ("tides", "dataset")
        assert searched[0]["actor"].name == "Alice"

    @pytest.mark.parametrize(
        ("query", "words"),
        [
            ({"text": ""}, "Enter a word to look for."),
            ({"text": "x", "kind": "both"}, "valid choice"),
            ({"text": "x" * 201}, "at most 200"),
        ],
    )
    def test_refuses_what_cannot_be_looked_for(
        self, alice: Client, searched: list[Any], query: dict[str, str], words: str
    ) -> None:
        html = alice.get(FIND, query).text

        assert words in html
        assert len(searched) == 1

    def test_offers_to_add_what_the_team_does_not_have(self, alice: Client, searched: list[Any]) -> None:
        html = find(alice, searched, asset(), asset(did=OTHER, name="Known", asset_id=77))

        assert "2 found" in html and "Water levels." in html and "Harbour office · Quay provider" in html
        assert f'<input type="hidden" name="did" value="{DID}">' in html
        assert f'value="{OTHER}"' not in html
        assert 'href="/coastal/catalogue/77/"' in html and "In the catalogue" in html

    def test_adds_by_a_plain_form(
        self, alice: Client, cast: Cast, searched: list[Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        made = builders.make_asset(team=cast.team, node=builders.make_node(), did=DID)
        monkeypatch.setattr(service, "add", lambda **given: made.pk if given["did"] == DID else None)

        response = alice.post("/coastal/catalogue/add/", {"did": DID})

        assert response.headers["Location"] == f"/coastal/catalogue/{made.pk}/"

    def test_tells_silence_from_nothing(self, alice: Client, searched: list[Any]) -> None:
        nothing = find(alice, searched)
        silent = find(alice, searched, silent=("Quay did not answer: 503.",), unreadable=2)

        assert "No node knows anything that fits." in nothing and "did not answer" not in nothing
        assert "Quay did not answer: 503." in silent
        assert "No node knows anything" not in silent
        assert "2 more cannot be read" in silent

    @pytest.mark.parametrize("field", ["name", "description", "author", "node"])
    def test_shows_hostile_text_as_text(self, alice: Client, searched: list[Any], field: str) -> None:
        html = find(alice, searched, asset(**{field: EVIL}), silent=(EVIL,))

        assert EVIL not in html
        assert html.count("&lt;script&gt;alert(1)") >= 2

    def test_is_for_those_who_may_add(
        self, bob: Client, vera: Client, charlie: Client, client: Client, searched: list[Any]
    ) -> None:
        assert [c.get(FIND, {"text": "x"}).status_code for c in (bob, vera, charlie, client)] == [
            403,
            403,
            404,
            302,
        ]
        assert len(searched) == 1

    def test_is_linked_for_those_who_may(self, alice: Client, vera: Client) -> None:
        assert FIND in alice.get("/coastal/catalogue/").text
        assert FIND not in vera.get("/coastal/catalogue/").text


class TestRights:
    def shown(self, client: Client, cast: Cast, raw: dict[str, Any]) -> str:
        """Return the page of an asset with this document."""
        node = builders.make_node()
        row = builders.make_asset(team=cast.team, node=node, did=DID, raw=raw, kind=Asset.Kind.DATASET)
        return client.get(f"/coastal/catalogue/{row.pk}/").text

    def state(self, number: int) -> dict[str, Any]:
        """Return the recorded document with its NFT in a state, as Aquarius writes it."""
        raw = recorded()
        raw.pop("indexedMetadata", None)
        raw.pop("credentials", None)
        return raw | {"nft": {"state": number}}

    def test_of_an_active_asset_are_not_spoken_of(self, bob: Client, cast: Cast) -> None:
        builders.make_wallet(team=cast.team)

        html = self.shown(bob, cast, self.state(0))

        assert "cannot be used" not in html and "not for everyone" not in html
        assert "Launch with this" in html

    @pytest.mark.parametrize(("number", "words"), [(1, "ended this asset"), (9, "nobody may use it")])
    def test_of_a_disabled_asset_are_told(self, bob: Client, cast: Cast, number: int, words: str) -> None:
        html = self.shown(bob, cast, self.state(number))

        assert "It cannot be used." in html and words in html
        assert "Launch with this" not in html

    def test_of_an_unlisted_asset_are_a_caution(self, bob: Client, cast: Cast) -> None:
        html = self.shown(bob, cast, self.state(5))

        assert "taken this asset out of the lists" in html
        assert "Launch with this" in html

    def test_of_wallets_that_may_not_are_told_by_wallet(self, bob: Client, cast: Cast) -> None:
        allowed = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8"
        builders.make_wallet(team=cast.team, label="outside")
        builders.make_wallet(team=cast.team, label="inside", address=allowed)
        builders.make_wallet(team=cast.team, label="old", address="0x" + "11" * 20, disabled_at=builders.NOW)
        entry = {"type": "address", "values": [allowed]}
        raw = self.state(0) | {"credentials": {"allow": [entry], "deny": []}}

        html = self.shown(bob, cast, raw)

        assert "It is not for everyone." in html
        assert "Wallet outside: Its publisher lets certain addresses use this asset alone" in html
        assert "Wallet inside" not in html and "Wallet old" not in html

    def test_of_a_document_that_cannot_be_read_are_not_guessed(self, bob: Client, cast: Cast) -> None:
        assert "cannot be used" not in self.shown(bob, cast, {"id": DID, "version": "9"})


class TestServices:
    def test_say_what_they_ask_for_and_whether_own_code_may_run(self, vera: Client, cast: Cast) -> None:
        node = builders.make_node()
        row = builders.make_asset(team=cast.team, node=node)
        row.services[0] |= {
            "consumer_parameters": [{"name": "y", "label": f"Year {EVIL}", "type": "number"}],
            "compute": {"trusted_algorithms": [], "allow_raw": True},
        }
        row.save()

        html = vera.get(f"/coastal/catalogue/{row.pk}/").text

        assert "code of one's own too" in html
        assert "asks for Year &lt;script&gt;" in html
