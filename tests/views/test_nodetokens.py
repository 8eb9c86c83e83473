"""A wallet's node tokens on its page: who may have them, what they may do to others, and what goes wrong with them."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.messages import get_messages
from django.template.loader import render_to_string
from django.test import Client
from django.utils import timezone

from jobs.access import Actor
from jobs.models import Node, NodeToken, Wallet
from jobs.models.teams import Role
from jobs.selectors import nodetokens as selector
from jobs.services import vault
from tests import builders
from tests.conftest import Cast

EVIL = "<img src=x onerror=1>"


@pytest.fixture
def wallet(cast: Cast) -> Wallet:
    return builders.make_wallet(team=cast.team)


@pytest.fixture
def node(wallet: Wallet) -> Node:
    return builders.make_node(name=EVIL)


def token(wallet: Wallet, node: Node, **values: Any) -> NodeToken:
    """Make a token that is in use."""
    now = timezone.now()
    defaults = {
        "encrypted_token": vault.seal(b"the-token"),
        "expires_at": now + timedelta(hours=5),
        "next_try_at": now + timedelta(hours=3),
    }
    return NodeToken.objects.create(wallet=wallet, node=node, **(defaults | values))


def part(wallet: Wallet, role: Role = Role.OWNER) -> str:
    """Render the part of the wallet's page."""
    actor = Actor(user_id=1, name="Alice", team_id=wallet.team_id, role=role)
    tokens = selector.of_wallet(actor=actor, wallet_id=wallet.pk, now=timezone.now())
    return render_to_string(
        "wallets/partials/node_tokens.html", {"tokens": tokens, "team": {"slug": "coastal"}}
    )


def said(answer: Any) -> str:
    """Return what the person is told after a form."""
    return " ".join(str(message) for message in get_messages(answer.wsgi_request))


def place(wallet: Wallet, what: str = "") -> str:
    """Return an address of the wallet's tokens."""
    return f"/coastal/wallets/{wallet.pk}/tokens/{what}"


def text(html: str) -> str:
    """Return what a person reads, in one line."""
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", html))


class TestPart:
    def test_says_what_a_token_can_do_whether_there_is_one_or_not(self, wallet: Wallet) -> None:
        html = part(wallet)

        assert "Whoever holds a node's token can act there for anyone." in text(html)
        assert "by default none is used" in html
        assert "None. Every request to a node is signed" in html

    @pytest.mark.parametrize(
        ("values", "word"),
        [
            ({}, "In use"),
            ({"encrypted_token": None, "expires_at": None}, "Asked for"),
            ({"expires_at": timezone.now() - timedelta(hours=1)}, "Asked for"),
            ({"wanted": False}, "Being given back"),
        ],
    )
    def test_says_how_it_stands(self, wallet: Wallet, node: Node, values: Any, word: str) -> None:
        token(wallet, node, **values)

        assert word in part(wallet)

    def test_shows_strangers_words_as_text_and_never_the_token(self, wallet: Wallet, node: Node) -> None:
        token(wallet, node, trouble=EVIL, unknown_until=timezone.now() + timedelta(hours=1))

        html = part(wallet)

        assert "<img" not in html and html.count("&lt;img") >= 2
        assert "the-token" not in html
        assert "An answer of the node was lost" in html

    def test_offers_only_nodes_without_a_token(self, wallet: Wallet, node: Node) -> None:
        other = builders.make_provider_node()
        token(wallet, node)

        html = part(wallet)

        assert f'<option value="{other.pk}">' in html
        assert f'<option value="{node.pk}">' not in html

    def test_offers_nothing_to_those_who_may_not(self, wallet: Wallet, node: Node) -> None:
        token(wallet, node)

        assert "<form" not in part(wallet, Role.LAUNCHER)

    def test_says_why_a_watched_wallet_can_have_none(self, wallet: Wallet, node: Node) -> None:
        Wallet.objects.update(encrypted_key=None)

        html = part(wallet)

        assert "only watches this wallet" in html
        assert "<form" not in html


class TestWant:
    def test_asks_for_one(self, alice: Client, wallet: Wallet, node: Node) -> None:
        answer = alice.post(place(wallet), {"token-node": node.pk})

        assert NodeToken.objects.get().wanted
        assert "at its next beat" in said(answer)

    @pytest.mark.parametrize("entered", ["", "x", "99999", "1; DROP TABLE", EVIL, "9" * 4000, "-1", "0x1"])
    def test_of_no_node_is_told(self, alice: Client, wallet: Wallet, node: Node, entered: str) -> None:
        answer = alice.post(place(wallet), {"token-node": entered})

        assert answer.status_code == 302
        assert "Choose" in said(answer)
        assert not NodeToken.objects.exists()

    def test_is_refused_to_those_who_may_not(self, bob: Client, wallet: Wallet, node: Node) -> None:
        assert bob.post(place(wallet), {"token-node": node.pk}).status_code == 403

    def test_for_another_team_s_wallet_is_not_there(self, alice: Client, cast: Cast, node: Node) -> None:
        theirs = builders.make_wallet(team=cast.other_team)

        assert alice.post(place(theirs), {"token-node": node.pk}).status_code == 404
        assert not NodeToken.objects.exists()

    def test_does_nothing_when_it_is_only_looked_at(self, alice: Client, wallet: Wallet) -> None:
        assert alice.get(place(wallet)).status_code == 405


class TestGiveBack:
    def test_uses_it_no_longer(self, alice: Client, wallet: Wallet, node: Node) -> None:
        row = token(wallet, node)

        answer = alice.post(place(wallet, f"{row.pk}/give-back/"))

        row.refresh_from_db()
        assert (answer.status_code, row.wanted) == (302, False)

    def test_is_refused_to_those_who_may_not(self, vera: Client, wallet: Wallet, node: Node) -> None:
        row = token(wallet, node)

        assert vera.post(place(wallet, f"{row.pk}/give-back/")).status_code == 403

    def test_of_another_team_s_is_not_there(self, charlie: Client, wallet: Wallet, node: Node) -> None:
        row = token(wallet, node)

        answer = charlie.post(f"/offshore/wallets/{wallet.pk}/tokens/{row.pk}/give-back/")

        row.refresh_from_db()
        assert (answer.status_code, row.wanted) == (404, True)
