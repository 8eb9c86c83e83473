"""A key goes in once and never comes out; what is stored opens only with the portal's keys."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from typing import Any

import pytest
from cryptography.fernet import Fernet, InvalidToken
from eth_account import Account

from jobs.access import Actor
from jobs.errors import InvalidInput, Missing, NotAllowed
from jobs.models import Act, AuditEntry, NodeToken, Wallet, WalletGrant
from jobs.models.teams import Role
from jobs.services import vault, wallets
from jobs.services.vault import NoKey, VaultLocked
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

    @pytest.mark.parametrize(
        ("path", "address"),
        [
            ("m/44'/60'/0'/0/1", "0x70997970C51812dc3A010C7d01b50e0d17dc79C8"),
            ("m/44h/60h/0h/0/0", "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266"),
        ],
    )
    def test_takes_a_mnemonic_at_a_path(self, alice: Actor, path: str, address: str) -> None:
        assert import_key(alice, MNEMONIC, path=path).address == address

    @pytest.mark.parametrize("path", ["", "m", "m/x", "m/2147483648", "m" + "/0" * 60, "44'/60'"])
    def test_says_beside_the_path_that_it_is_none(self, alice: Actor, path: str) -> None:
        assert refusal(alice, MNEMONIC, path=path).field == "path"

    def test_says_how_it_came_in_the_record_and_nothing_of_the_key(self, alice: Actor) -> None:
        wallet = import_key(alice, KEY.hex())

        entry = AuditEntry.objects.get(act=Act.WALLET_ADDED)
        assert (entry.who, entry.object_id, entry.after) == (
            "Alice",
            str(wallet.pk),
            {"address": ADDRESS, "how": "key"},
        )

    @pytest.mark.parametrize(("role", "count"), [(Role.OWNER, 1), (Role.ADMIN, 0)])
    def test_grants_its_use_to_an_owner_who_adds_it_and_to_nobody_else(
        self, alice: Actor, role: Role, count: int
    ) -> None:
        wallet = import_key(replace(alice, role=role), KEY.hex())

        assert wallet.grants.filter(user_id=alice.user_id).count() == WalletGrant.objects.count() == count
        assert AuditEntry.objects.filter(act=Act.GRANTED).count() == count

    def test_by_an_operator_s_command_grants_nobody(self, alice: Actor) -> None:
        import_key(replace(alice, user_id=None), KEY.hex())

        assert not WalletGrant.objects.exists()

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


class TestWatch:
    @pytest.mark.parametrize("address", [ADDRESS, ADDRESS.lower(), f"  {ADDRESS}\n"])
    def test_keeps_the_checksummed_address_and_no_key(self, alice: Actor, address: str) -> None:
        wallet = Wallet.objects.get(pk=wallets.watch(actor=alice, label="cold", address=address, now=NOW))

        assert (wallet.address, wallet.watch_only) == (ADDRESS, True)
        assert not WalletGrant.objects.exists()
        assert AuditEntry.objects.get().after == {"address": ADDRESS, "how": "watched"}
        with pytest.raises(NoKey):
            vault.signer(wallet)

    @pytest.mark.parametrize(
        ("address", "sentence"),
        [
            ("", "40 hexadecimal digits"),
            ("0x12", "40 hexadecimal digits"),
            (KEY.hex(), "40 hexadecimal digits"),
            (ADDRESS[:-1] + ADDRESS[-1].swapcase(), "mistyped"),
        ],
    )
    def test_says_what_is_wrong_with_an_address(self, alice: Actor, address: str, sentence: str) -> None:
        with pytest.raises(InvalidInput) as caught:
            wallets.watch(actor=alice, label="cold", address=address, now=NOW)

        assert (caught.value.field, caught.value.code) == ("address", "no_address")
        assert sentence in caught.value.message

    def test_refuses_an_address_that_the_team_has(self, alice: Actor) -> None:
        import_key(alice, KEY.hex(), label="lab")

        with pytest.raises(InvalidInput) as caught:
            wallets.watch(actor=alice, label="cold", address=ADDRESS, now=NOW)

        assert (caught.value.field, "“lab”" in caught.value.message) == ("address", True)

    def test_is_for_owners(self, bob: Actor) -> None:
        with pytest.raises(NotAllowed):
            wallets.watch(actor=bob, label="cold", address=ADDRESS, now=NOW)

    def test_becomes_a_wallet_like_others_with_its_key(self, alice: Actor) -> None:
        watched = wallets.watch(actor=alice, label="cold", address=ADDRESS, now=NOW)
        wallets.disable(actor=alice, wallet_id=watched, now=NOW)

        wallet = import_key(alice, KEY.hex(), label="warm")

        assert (wallet.pk, wallet.label, wallet.watch_only, wallet.disabled_at) == (
            watched,
            "warm",
            False,
            None,
        )
        assert vault.signer(wallet).address == ADDRESS
        entry = AuditEntry.objects.get(act=Act.WALLET_GOT_KEY)
        assert entry.before == {"label": "cold", "disabled": True}
        assert entry.after == {"address": ADDRESS, "how": "key"}

    def test_keeps_watching_where_the_label_of_its_key_is_taken(self, alice: Actor) -> None:
        watched = wallets.watch(actor=alice, label="cold", address=ADDRESS, now=NOW)
        import_key(alice, "11" * 32, label="lab")

        assert refusal(alice, KEY.hex(), label="LAB").field == "label"
        assert Wallet.objects.get(pk=watched).watch_only


class TestEnable:
    def test_lets_it_launch_again(self, alice: Actor) -> None:
        wallet = import_key(alice, KEY.hex())
        wallets.disable(actor=alice, wallet_id=wallet.pk, now=NOW)

        for _ in range(2):
            wallets.enable(actor=alice, wallet_id=wallet.pk, now=NOW)

        assert Wallet.objects.usable().get() == wallet
        assert AuditEntry.objects.filter(act=Act.WALLET_ENABLED).count() == 1

    def test_is_for_owners_of_that_team(self, alice: Actor, bob: Actor, charlie: Actor) -> None:
        wallet = import_key(alice, KEY.hex())

        with pytest.raises(NotAllowed):
            wallets.enable(actor=bob, wallet_id=wallet.pk, now=NOW)
        with pytest.raises(Missing):
            wallets.enable(actor=charlie, wallet_id=wallet.pk, now=NOW)


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

    def test_is_in_the_record_once(self, alice: Actor) -> None:
        wallet = import_key(alice, KEY.hex())
        for _ in range(2):
            wallets.disable(actor=alice, wallet_id=wallet.pk, now=NOW)

        assert AuditEntry.objects.get(act=Act.WALLET_DISABLED).object_id == str(wallet.pk)

    def test_has_its_tokens_given_back(self, alice: Actor) -> None:
        wallet = import_key(alice, KEY.hex())
        token = NodeToken.objects.create(wallet=wallet, node=builders.make_node())

        wallets.disable(actor=alice, wallet_id=wallet.pk, now=NOW)

        token.refresh_from_db()
        assert (token.wanted, token.next_try_at) == (False, NOW)

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
