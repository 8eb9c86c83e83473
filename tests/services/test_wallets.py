"""A key goes in once and never comes out; what is stored opens only with the portal's keys."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest
from cryptography.fernet import Fernet, InvalidToken
from eth_account import Account

from jobs.access import Actor
from jobs.errors import InvalidInput, Missing, NotAllowed
from jobs.models import Wallet
from jobs.services import vault, wallets
from jobs.services.vault import VaultLocked
from tests import builders
from tests.builders import NOW

KEY = bytes(range(1, 33))
ADDRESS = Account.from_key(KEY).address
MNEMONIC = "test test test test test test test test test test test junk"
DEV_KEY = "0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80"  # its account 0


def import_key(actor: Actor, secret: str, label: str = "lab", **values: Any) -> Wallet:
    pk = wallets.import_key(actor=actor, label=label, secret_text=secret, now=NOW, **values)
    return Wallet.objects.get(pk=pk)


def refusal(actor: Actor, secret: str, **values: Any) -> InvalidInput:
    before = Wallet.objects.count()
    with pytest.raises(InvalidInput) as caught:
        import_key(actor, secret, **values)
    assert Wallet.objects.count() == before
    if len(secret) > 4:
        assert secret not in caught.value.message
    return caught.value


class TestImportKey:
    @pytest.mark.parametrize("secret", [KEY.hex(), "0x" + KEY.hex(), f"  {KEY.hex().upper()}\n"])
    def test_takes_hexadecimal_digits(self, alice: Actor, secret: str) -> None:
        wallet = import_key(alice, secret)

        assert (wallet.address, wallet.label) == (ADDRESS, "lab")
        assert (wallet.team_id, wallet.created_by_id) == (alice.team_id, alice.user_id)
        assert vault.signer(wallet).address == ADDRESS

    def test_takes_a_mnemonic(self, alice: Actor) -> None:
        assert import_key(alice, MNEMONIC).address == "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266"

    def test_takes_a_keystore_with_its_password(self, alice: Actor) -> None:
        keystore = json.dumps(Account.encrypt(KEY, "open sesame", kdf="pbkdf2", iterations=1000))

        assert import_key(alice, keystore, password="open sesame").address == ADDRESS
        assert refusal(alice, keystore, label="two", password="wrong").code == "no_key"

    @pytest.mark.parametrize(
        "secret",
        ["", "garbage", "12" * 31, "zz" * 32, "00" * 32, "ff" * 32, "one two three", "{", "{}", "x" * 20_001],
    )
    def test_refuses_what_is_no_key(self, alice: Actor, secret: str) -> None:
        error = refusal(alice, secret)

        assert (error.field, error.code) == ("secret", "no_key")

    @pytest.mark.parametrize("secret", [DEV_KEY, MNEMONIC])
    def test_refuses_known_keys_where_a_network_is_real(self, alice: Actor, secret: str) -> None:
        builders.make_network()
        builders.make_network(chain_id=1, name="Ethereum", is_sandbox=False)

        assert refusal(alice, secret).code == "dev_key"

    def test_takes_known_keys_where_every_network_is_a_sandbox(self, alice: Actor) -> None:
        builders.make_network()

        assert import_key(alice, DEV_KEY).pk

    @pytest.mark.parametrize("label", ["", "   ", "x" * 61])
    def test_refuses_a_label_that_cannot_be_shown(self, alice: Actor, label: str) -> None:
        assert refusal(alice, KEY.hex(), label=label).field == "label"

    def test_refuses_a_label_twice_in_any_capitals(self, alice: Actor) -> None:
        import_key(alice, KEY.hex(), label="Lab")

        assert refusal(alice, "11" * 32, label="lAB").field == "label"

    def test_refuses_an_address_twice(self, alice: Actor) -> None:
        import_key(alice, KEY.hex(), label="one")

        error = refusal(alice, KEY.hex(), label="two")

        assert (error.field, "this address" in error.message) == ("secret", True)

    def test_lets_two_teams_have_the_same(self, alice: Actor, charlie: Actor) -> None:
        assert import_key(alice, KEY.hex()).address == import_key(charlie, KEY.hex()).address

    @pytest.mark.parametrize("role", ["bob", "vera"])
    def test_is_for_owners(self, role: str, request: pytest.FixtureRequest) -> None:
        actor = request.getfixturevalue(role)

        with pytest.raises(NotAllowed):
            import_key(actor, KEY.hex())
        with pytest.raises(NotAllowed):
            wallets.generate(actor=actor, label="lab", now=NOW)


class TestGenerate:
    def test_makes_a_new_key_each_time(self, alice: Actor) -> None:
        made = [wallets.generate(actor=alice, label=label, now=NOW) for label in ("a", "b")]

        first, second = Wallet.objects.filter(pk__in=made).order_by("pk")
        assert first.address != second.address
        assert vault.signer(first).address == first.address


class TestDisable:
    def test_notes_when_once(self, alice: Actor) -> None:
        wallet = import_key(alice, KEY.hex())
        wallets.disable(actor=alice, wallet_id=wallet.pk, now=NOW)
        wallets.disable(actor=alice, wallet_id=wallet.pk, now=builders.NOW.replace(year=2026))

        wallet.refresh_from_db()
        assert wallet.disabled_at == NOW

    def test_leaves_the_key_for_what_still_runs(self, alice: Actor) -> None:
        wallet = import_key(alice, KEY.hex())
        wallets.disable(actor=alice, wallet_id=wallet.pk, now=NOW)

        assert vault.signer(Wallet.objects.get()).address == ADDRESS

    def test_of_another_team_is_missing(self, alice: Actor, charlie: Actor) -> None:
        wallet = import_key(alice, KEY.hex())

        with pytest.raises(Missing):
            wallets.disable(actor=charlie, wallet_id=wallet.pk, now=NOW)

    def test_is_for_owners(self, alice: Actor, bob: Actor) -> None:
        wallet = import_key(alice, KEY.hex())

        with pytest.raises(NotAllowed):
            wallets.disable(actor=bob, wallet_id=wallet.pk, now=NOW)


class TestSecrecy:
    def test_shows_the_key_in_no_text_of_the_row(
        self, alice: Actor, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.DEBUG)

        wallet = import_key(alice, KEY.hex())
        signer = vault.signer(wallet)

        shown = [repr(wallet), str(wallet), repr(vars(wallet)), repr(signer), str(signer), caplog.text]
        for text in shown:
            assert KEY.hex() not in text.lower()
            assert repr(KEY) not in text
            assert str(int.from_bytes(KEY, "big")) not in text

    def test_stores_a_ciphertext_that_only_the_portal_s_key_opens(self, alice: Actor, settings: Any) -> None:
        sealed = bytes(import_key(alice, KEY.hex()).encrypted_key)

        assert KEY not in sealed
        assert KEY.hex().encode() not in sealed
        assert Fernet(settings.WALLET_KEYS[0]).decrypt(sealed) == KEY
        with pytest.raises(InvalidToken):
            Fernet(Fernet.generate_key()).decrypt(sealed)

    def test_stores_the_same_key_differently_each_time(self) -> None:
        assert vault.seal(KEY) != vault.seal(KEY)

    def test_says_whose_key_is_missing_when_none_opens_it(self, alice: Actor, settings: Any) -> None:
        wallet = import_key(alice, KEY.hex(), label="field work")
        settings.WALLET_KEYS = [Fernet.generate_key().decode()]

        with pytest.raises(VaultLocked) as caught:
            vault.signer(wallet)

        assert "field work" in caught.value.message
        assert "PORTAL_WALLET_KEYS" in caught.value.message


class TestRotation:
    def test_opens_what_the_old_key_closed_and_closes_with_the_new(self, alice: Actor, settings: Any) -> None:
        old, new = settings.WALLET_KEYS[0], Fernet.generate_key().decode()
        before = import_key(alice, KEY.hex(), label="before")
        settings.WALLET_KEYS = [new, old]
        after = import_key(alice, "22" * 32, label="after")

        assert vault.signer(before).address == ADDRESS
        assert Fernet(new).decrypt(bytes(after.encrypted_key)) == b"\x22" * 32
        settings.WALLET_KEYS = [new]
        assert vault.signer(after).address == after.address
        with pytest.raises(VaultLocked):
            vault.signer(before)
