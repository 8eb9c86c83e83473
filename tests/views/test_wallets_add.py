"""Adding a wallet: each way in, what is said of what cannot be used, and that a key never comes back to the browser."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.test.client import RequestFactory
from eth_account import Account

from jobs.models import Wallet, WalletGrant
from jobs.views import wallets as views
from tests import builders
from tests.conftest import Cast
from tests.ocean.test_signing import KEYSTORE_KEY, KEYSTORES
from tests.views.rendering import queries_while_rendering

PAGE = "/coastal/wallets/"
ADD = f"{PAGE}add/"
KEY = "0x" + "07" * 32
ADDRESS = Account.from_key(KEY).address
PHRASE = "test test test test test test test test test test test junk"
SECOND = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8"
WAYS = ("new", "key", "phrase", "keystore", "watch")
EVIL = "<script>alert(1)</script>"


def bring(client: Client, how: str = "key", **changes: Any) -> Any:
    """Post the form that brings a key."""
    entered = {"label": "lab"}
    entered |= {"key": {"secret": KEY}, "phrase": {"secret": PHRASE, "path": "m/44'/60'/0'/0/1"}}.get(how, {})
    posted = {f"{how}-{name}": value for name, value in (entered | changes).items()}
    return client.post(f"{PAGE}import/", posted | {"how": how})


class TestPage:
    @pytest.mark.parametrize("how", WAYS)
    def test_has_a_tab_for_each_way(self, alice: Client, how: str) -> None:
        html = alice.get(f"{ADD}?how={how}").text

        assert html.count('aria-current="page"') == 2  # the tab, and the place in the menu
        assert all(f"?how={name}" in html for name in WAYS[1:])

    @pytest.mark.parametrize("how", ["", "nonsense", EVIL])
    def test_begins_with_a_new_one(self, alice: Client, how: str) -> None:
        assert "Make a new wallet" in alice.get(ADD, {"how": how}).text

    @pytest.mark.parametrize("how", WAYS[1:4])
    def test_keeps_secrets_out_of_what_browsers_remember(self, alice: Client, how: str) -> None:
        html = alice.get(f"{ADD}?how={how}").text

        for name in ("secret", "password", "path", "label"):
            for field in html.split("<")[1:]:
                if f'name="{how}-{name}"' in field:
                    assert 'autocomplete="off"' in field

    def test_says_who_has_the_key_and_that_adding_is_not_spending(self, alice: Client) -> None:
        html = alice.get(f"{ADD}?how=key").text

        assert "whoever has its database and its encryption keys has the wallet" in html
        assert "grants its use to members" in html

    @pytest.mark.parametrize("who", ["bob", "vera"])
    def test_is_forbidden_to_those_who_may_not(self, sign_in: Any, who: str) -> None:
        assert sign_in(who).get(ADD).status_code == 403

    def test_does_not_exist_for_somebody_outside(self, charlie: Client) -> None:
        assert charlie.get(ADD).status_code == 404

    def test_asks_nothing_while_rendering(self, alice: Client) -> None:
        with queries_while_rendering() as late:
            alice.get(ADD)

        assert late == []


class TestGenerate:
    def test_makes_a_wallet(self, alice: Client, cast: Cast) -> None:
        response = alice.post(f"{PAGE}generate/", {"new-label": "lab"})

        wallet = Wallet.objects.get()
        assert response.headers["Location"] == f"{PAGE}{wallet.pk}/"
        assert (wallet.team, wallet.label, wallet.created_by) == (cast.team, "lab", cast.alice)
        assert WalletGrant.objects.get().user == cast.alice

    def test_says_beside_the_label_that_it_is_taken(self, alice: Client, cast: Cast) -> None:
        builders.make_wallet(team=cast.team, label="lab")

        response = alice.post(f"{PAGE}generate/", {"new-label": "LAB"})

        assert response.status_code == 400
        assert 'id="id_new-label_error">The team already has a wallet with this label.' in response.text
        assert 'value="LAB"' in response.text

    @pytest.mark.parametrize(
        ("label", "sentence"), [(" ", "A wallet needs a label."), ("x" * 61, "at most 60 characters")]
    )
    def test_asks_for_a_label(self, alice: Client, label: str, sentence: str) -> None:
        assert sentence in alice.post(f"{PAGE}generate/", {"new-label": label}).text

    def test_shows_a_label_as_text(self, alice: Client) -> None:
        made = alice.post(f"{PAGE}generate/", {"new-label": EVIL}, follow=True).text

        assert "&lt;script&gt;" in made and EVIL not in made

    def test_is_refused_to_those_who_may_not(self, bob: Client, vera: Client) -> None:
        statuses = [c.post(f"{PAGE}generate/", {"new-label": ""}).status_code for c in (bob, vera)]

        assert statuses == [403, 403]
        assert not Wallet.objects.exists()


class TestImport:
    @pytest.mark.parametrize("secret", [KEY, KEY.removeprefix("0x")])
    def test_keeps_a_key(self, alice: Client, secret: str) -> None:
        bring(alice, secret=secret)

        assert Wallet.objects.get().address == ADDRESS

    def test_keeps_the_key_of_a_phrase_at_a_path(self, alice: Client) -> None:
        builders.make_network()
        bring(alice, "phrase")

        assert Wallet.objects.get().address == SECOND

    def test_keeps_the_key_of_a_keystore_s_text(self, alice: Client) -> None:
        bring(alice, "keystore", secret=json.dumps(KEYSTORES["pbkdf2"], indent=1), password="testpassword")

        assert Wallet.objects.get().address == Account.from_key(KEYSTORE_KEY).address

    def test_keeps_the_key_of_a_keystore_file(self, alice: Client) -> None:
        file = SimpleUploadedFile("UTC--2016", json.dumps(KEYSTORES["scrypt"]).encode())

        bring(alice, "keystore", file=file, password="testpassword")

        assert Wallet.objects.get().address == Account.from_key(KEYSTORE_KEY).address

    @pytest.mark.parametrize(
        ("given", "sentence"),
        [
            (b"", "This file is empty."),
            (b"x" * 20_001, "far larger than a keystore"),
            (b"x" * 200_000, "Choose a keystore file, of at most 20 kB."),
            (b"\xff\xfe\x00", "This file is no text"),
            (b"<svg onload=alert(1)>", "no keystore of version 3"),
            (b"[" * 10_000, "no keystore of version 3"),
        ],
    )
    def test_says_what_is_wrong_with_a_file(self, alice: Client, given: bytes, sentence: str) -> None:
        file = SimpleUploadedFile("../../<b>k</b>.json", given)

        answer = bring(alice, "keystore", file=file, password="p")

        assert (answer.status_code, sentence in answer.text) == (400, True)
        assert "<svg onload" not in answer.text
        assert not Wallet.objects.exists()

    def test_wants_the_file_or_its_text(self, alice: Client) -> None:
        file = SimpleUploadedFile("k.json", b"{}")

        assert "Choose a keystore file" in bring(alice, "keystore").text
        assert "not both" in bring(alice, "keystore", file=file, secret="{}").text

    def test_does_not_open_a_keystore_that_would_keep_the_server_busy(self, alice: Client) -> None:
        endless = {"version": 3, "crypto": {"kdf": "scrypt", "kdfparams": {"n": 2, "r": 1, "p": 2**20}}}

        answer = bring(alice, "keystore", secret=json.dumps(endless), password="p")

        assert "more work than a real one" in answer.text

    @pytest.mark.parametrize("how", ["key", "phrase", "keystore"])
    @pytest.mark.parametrize(
        "secret", ["not a key", "0x" + "zz" * 32, '{"crypto": {}}', "00" * 32, "y" * 20_001]
    )
    def test_says_beside_the_key_that_it_is_none_and_never_sends_it_back(
        self, alice: Client, how: str, secret: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.DEBUG)

        answer = bring(alice, how, secret=secret, password="a password")

        assert answer.status_code == 400
        assert f'id="id_{how}-secret_error">' in answer.text
        assert 'value="lab"' in answer.text
        for hidden in (secret, "a password"):
            assert hidden not in answer.text
            assert hidden not in caplog.text
        assert not Wallet.objects.exists()

    @pytest.mark.parametrize("path", ["", "m/x", "m/2147483648", "9" * 200, EVIL])
    def test_says_beside_the_path_that_it_is_none(self, alice: Client, path: str) -> None:
        answer = bring(alice, "phrase", path=path)

        assert 'id="id_phrase-path_error">' in answer.text
        assert EVIL not in answer.text and PHRASE not in answer.text

    def test_refuses_a_publicly_known_key_beside_a_real_network(self, alice: Client) -> None:
        builders.make_network(chain_id=1, name="Mainnet", is_sandbox=False)

        assert "publicly known development key" in bring(alice, "phrase").text
        assert not Wallet.objects.exists()

    def test_does_not_show_the_key_on_the_next_page(self, alice: Client) -> None:
        bring(alice)

        html = alice.get(PAGE).text

        assert ADDRESS in html
        assert KEY.removeprefix("0x") not in html

    @pytest.mark.parametrize("how", ["", "nonsense", EVIL])
    def test_takes_an_unknown_way_for_the_first(self, alice: Client, how: str) -> None:
        answer = alice.post(f"{PAGE}import/", {"how": how})

        assert (answer.status_code, "Enter a key." in answer.text) == (400, True)

    def test_marks_what_is_posted_as_secret(self, rf: RequestFactory) -> None:
        request = rf.post(f"{PAGE}import/", {"key-secret": KEY})
        request.actor = None  # type: ignore[attr-defined]

        with pytest.raises(AttributeError):
            views.import_key(request, "coastal")  # type: ignore[arg-type]

        assert request.sensitive_post_parameters == "__ALL__"  # type: ignore[attr-defined]

    def test_is_refused_to_those_who_may_not(self, bob: Client, vera: Client) -> None:
        assert [bring(client, secret="").status_code for client in (bob, vera)] == [403, 403]
        assert not Wallet.objects.exists()


class TestWatch:
    def watch(self, client: Client, address: str) -> Any:
        return client.post(f"{PAGE}watch/", {"watch-label": "cold", "watch-address": address})

    @pytest.mark.parametrize("address", [ADDRESS, ADDRESS.lower()])
    def test_watches_an_address(self, alice: Client, address: str) -> None:
        answer = self.watch(alice, address)

        wallet = Wallet.objects.get()
        assert answer.headers["Location"] == f"{PAGE}{wallet.pk}/"
        assert (wallet.address, wallet.watch_only) == (ADDRESS, True)

    @pytest.mark.parametrize(
        ("address", "sentence"),
        [
            ("", "Enter an address."),
            ("0x12", "40 hexadecimal digits"),
            (ADDRESS.replace("ad457F", "ad457f"), "one of them is mistyped"),
            ("0x" + "1" * 5_000, "An address has 42 characters."),
            (EVIL, "40 hexadecimal digits"),
        ],
    )
    def test_says_beside_the_address_what_is_wrong(self, alice: Client, address: str, sentence: str) -> None:
        answer = self.watch(alice, address)

        assert answer.status_code == 400
        assert 'id="id_watch-address_error">' in answer.text and sentence in answer.text
        assert EVIL not in answer.text

    def test_is_refused_to_those_who_may_not(self, bob: Client, vera: Client) -> None:
        assert [self.watch(client, ADDRESS).status_code for client in (bob, vera)] == [403, 403]
