"""The wallet key changes without a moment in which a wallet cannot be opened, whatever is killed or written meanwhile."""

from __future__ import annotations

import base64
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from allauth.mfa.models import Authenticator
from allauth.mfa.recovery_codes.internal.auth import RecoveryCodes
from allauth.mfa.totp.internal.auth import TOTP
from cryptography.fernet import Fernet
from django.core.management import call_command

from jobs.models import AuditEntry, NodeToken, Team, Wallet
from jobs.services import rotating, vault
from tests import builders
from tests.conftest import Cast
from tests.repo.source import ROOT
from tests.services.conftest import Place
from tests.services.fakes import Clock

OLD, NEW, FOREIGN = (base64.urlsafe_b64encode(letter * 32).decode() for letter in (b"o", b"n", b"f"))
ROWS = 60


def run(*arguments: str) -> tuple[int, str, str]:
    """Run the command here; return its exit code and what it said."""
    out, err = StringIO(), StringIO()
    with pytest.raises(SystemExit) as ended:
        call_command("rotate_wallet_key", *arguments, stdout=out, stderr=err)
    return int(str(ended.value.code)), out.getvalue(), err.getvalue()


def opens(key: str, sealed: Any) -> bytes:
    """Open with one key alone."""
    return Fernet(key).decrypt(bytes(sealed))


@pytest.fixture
def old(settings: Any) -> Any:
    """The portal as it was: with the old key."""
    settings.WALLET_KEYS = [OLD]
    return settings


@pytest.fixture
def sealed(old: Any, place: Place) -> Place:
    """A wallet and both tokens of one, all with the old key; then the new key is put in front."""
    place.wallet.encrypted_key = vault.seal((7).to_bytes(32, "big"))
    place.wallet.save()
    NodeToken.objects.create(
        wallet=place.wallet,
        node=place.node,
        encrypted_token=vault.seal(b"token"),
        encrypted_former=vault.seal(b"former"),
    )
    old.WALLET_KEYS = [NEW, OLD]
    return place


class TestRotate:
    def test_encrypts_wallets_and_tokens_with_the_first_key(self, sealed: Place) -> None:
        code, said, _ = run()

        wallet, token = Wallet.objects.get(), NodeToken.objects.get()
        assert code == 0
        assert "1 wallet, 2 node tokens" in said
        assert "the first of PORTAL_WALLET_KEYS is enough" in said
        assert opens(NEW, wallet.encrypted_key) == (7).to_bytes(32, "big")
        assert opens(NEW, token.encrypted_token) == b"token"
        assert opens(NEW, token.encrypted_former) == b"former"

    def test_leaves_a_wallet_that_signs_as_before(self, sealed: Place, settings: Any) -> None:
        run()
        settings.WALLET_KEYS = [NEW]

        assert vault.signer(Wallet.objects.get()).address == sealed.wallet.address

    def test_is_in_the_record_once_for_each_secret(self, sealed: Place) -> None:
        run()
        run()

        entries = AuditEntry.objects.order_by("number")
        assert [(entry.act, entry.kind) for entry in entries] == [
            ("wallet.sealed_again", "wallet"),
            ("wallet.sealed_again", "node token"),
            ("wallet.sealed_again", "node token"),
        ]
        assert {(entry.who, entry.origin, entry.team_id) for entry in entries} == {
            ("the operator", "command line", sealed.wallet.team_id)
        }

    def test_leaves_out_a_wallet_that_is_only_watched(self, sealed: Place) -> None:
        Wallet.objects.update(encrypted_key=None)

        assert "1 wallet" not in run()[1]

    def test_names_what_no_key_opens_and_does_the_rest(self, sealed: Place) -> None:
        lost = builders.make_wallet(
            team=sealed.wallet.team,
            label="lost",
            address="0x" + "1" * 40,
            encrypted_key=Fernet(FOREIGN).encrypt(b"x"),
        )

        code, _, told = run()

        assert code == 1
        assert f"No key opens this: wallet “lost” {lost.address}" in told
        assert opens(NEW, Wallet.objects.get(label="demo").encrypted_key)
        assert opens(FOREIGN, Wallet.objects.get(label="lost").encrypted_key) == b"x"

    def test_loses_nothing_that_is_written_at_the_same_time(
        self, sealed: Place, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        seal_again = vault.seal_again
        fresh = vault.seal(b"written meanwhile")

        def meanwhile(stored: bytes, what: str) -> bytes:
            anew = seal_again(stored, what)
            if what.startswith("token"):
                NodeToken.objects.update(encrypted_token=fresh)
            return anew

        monkeypatch.setattr(vault, "seal_again", meanwhile)  # by name: between the reading and the writing
        code, _, _ = run()

        assert code == 0
        assert bytes(NodeToken.objects.get().encrypted_token) == fresh

    def test_goes_round_again_for_what_a_process_with_the_old_keys_stores_meanwhile(
        self, sealed: Place, old: Any, clock: Clock
    ) -> None:
        def late(secret: rotating.Sealed) -> None:
            if not Wallet.objects.filter(label="late").exists():
                builders.make_wallet(
                    team=sealed.wallet.team,
                    label="late",
                    address="0x" + "2" * 40,
                    encrypted_key=Fernet(OLD).encrypt(b"late"),
                )

        outcome = rotating.rotate(clock=clock, told=late)

        assert outcome.done["wallet"] == 2
        assert opens(NEW, Wallet.objects.get(label="late").encrypted_key) == b"late"

    def test_with_a_failed_entry_changes_nothing(
        self, sealed: Place, monkeypatch: pytest.MonkeyPatch, clock: Clock
    ) -> None:
        def fail(**_: Any) -> None:
            raise RuntimeError("the record is full")

        monkeypatch.setattr(rotating.audit, "record", fail)  # by name: nothing else makes it fail

        with pytest.raises(RuntimeError):
            rotating.rotate(clock=clock)

        assert opens(OLD, Wallet.objects.get().encrypted_key)

    def test_asks_for_no_key_that_is_no_key(self, sealed: Place, settings: Any) -> None:
        settings.WALLET_KEYS = [NEW]  # the old one was dropped too early

        code, _, told = run()

        assert code == 1
        assert told.count("No key opens this") == 3


class TestCheck:
    def test_counts_what_needs_the_old_key_and_changes_nothing(self, sealed: Place) -> None:
        before = bytes(Wallet.objects.get().encrypted_key or b"")

        code, said, _ = run("--check")

        assert (code, said) == (1, "The first key opens 0, 3 need an older one, and 0 nobody can open.\n")
        assert bytes(Wallet.objects.get().encrypted_key or b"") == before
        assert not AuditEntry.objects.exists()

    def test_is_content_after_the_change(self, sealed: Place) -> None:
        run()

        code, said, _ = run("--check")

        assert code == 0
        assert said.startswith("The first key opens 3, 0 need an older one, and 0 nobody can open.")


class TestSecondFactors:
    @pytest.fixture
    def factor(self, sealed: Place, cast: Cast, settings: Any) -> Authenticator:
        """Alice's authenticator app, and her recovery codes, from before the key changed."""
        settings.WALLET_KEYS = [OLD]
        RecoveryCodes.activate(cast.alice)
        made = TOTP.activate(cast.alice, "JBSWY3DPEHPK3PXP").instance
        settings.WALLET_KEYS = [NEW, OLD]
        return made

    def test_are_encrypted_anew_and_open_as_before(
        self, factor: Authenticator, cast: Cast, settings: Any
    ) -> None:
        codes = RecoveryCodes(Authenticator.objects.get(type="recovery_codes")).get_unused_codes()

        code, said, _ = run()

        settings.WALLET_KEYS = [NEW]
        assert (code, "2 second factors" in said) == (0, True)
        assert (
            opens(NEW, Authenticator.objects.get(type="totp").data["secret"].encode()) == b"JBSWY3DPEHPK3PXP"
        )
        anew = RecoveryCodes(Authenticator.objects.get(type="recovery_codes"))
        assert anew.get_unused_codes() == codes
        assert AuditEntry.objects.filter(act="account.factor_sealed_again", team_id=None).count() == 2

    def test_keep_what_is_written_at_the_same_time(
        self, factor: Authenticator, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        seal_again = vault.seal_again

        def meanwhile(stored: bytes, what: str) -> bytes:
            anew = seal_again(stored, what)
            codes = Authenticator.objects.get(type="recovery_codes")
            if what.startswith("second factor") and not codes.data["used_mask"]:
                Authenticator.objects.filter(pk=codes.pk).update(data=codes.data | {"used_mask": 5})
            return anew

        monkeypatch.setattr(vault, "seal_again", meanwhile)  # by name: between the reading and the writing
        code, _, _ = run()

        codes = Authenticator.objects.get(type="recovery_codes")
        assert (code, codes.data["used_mask"]) == (0, 5)
        assert opens(NEW, codes.data["seed"].encode())


class TestKilled:
    """A real process on a real file, killed with SIGKILL in the middle."""

    @pytest.fixture
    def start(self, on_disk: None, old: Any, team: Team) -> Callable[[str], subprocess.Popen[str]]:
        """What starts the command as an operator does."""
        from django.db import connection

        for number in range(ROWS):
            builders.make_wallet(
                team=team,
                label=f"wallet {number}",
                address=f"0x{number:040x}",
                encrypted_key=vault.seal(number.to_bytes(32, "big")),
            )
        self.file = Path(connection.settings_dict["NAME"])
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PORTAL_")}
        environment |= {
            "DJANGO_SETTINGS_MODULE": "ocean_portal.settings",
            "PORTAL_ENV_FILE": str(ROOT / "tests" / "portal.env"),
            "PORTAL_DATABASE_URL": f"sqlite:///{self.file}",
            "PORTAL_WALLET_KEYS": f"{NEW},{OLD}",
        }

        def begin(*arguments: str) -> subprocess.Popen[str]:
            return subprocess.Popen(
                [sys.executable, "manage.py", "rotate_wallet_key", *arguments],
                cwd=ROOT,
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )

        return begin

    def keys(self) -> tuple[int, int]:
        """Count what each key opens, from the file itself."""
        with closing(sqlite3.connect(self.file, timeout=20)) as db:
            stored = [row[0] for row in db.execute("SELECT encrypted_key FROM jobs_wallet")]
        new = sum(vault.is_sealed_with_first(one) for one in stored)
        return new, len(stored) - new

    def test_in_the_middle_it_goes_on_where_it_was(
        self, start: Callable[..., subprocess.Popen[str]], settings: Any
    ) -> None:
        settings.WALLET_KEYS = [NEW, OLD]
        process = start("-v", "2")
        assert process.stdout is not None
        for _ in range(5):
            assert process.stdout.readline().startswith("wallet “")
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=60)
        assert process.returncode == -signal.SIGKILL
        new, left = self.keys()
        assert new >= 5 and left > 0

        again = start()
        said, told = again.communicate(timeout=120)

        assert (again.returncode, told) == (0, "")
        assert f"Encrypted anew: {left} wallets." in said
        assert self.keys() == (ROWS, 0)
        assert [opens(NEW, wallet.encrypted_key) for wallet in Wallet.objects.order_by("pk")] == [
            number.to_bytes(32, "big") for number in range(ROWS)
        ]
        entries = AuditEntry.objects.order_by("number")
        assert entries.count() == ROWS  # one for each, though it was killed
        assert len({entry.object_id for entry in entries}) == ROWS
