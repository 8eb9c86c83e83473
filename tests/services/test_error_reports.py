"""A report of an error shows the variables of every function on the way: none of them may be a key."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable
from unittest import mock

import pytest
from cryptography.fernet import MultiFernet
from django.db import OperationalError
from django.views.debug import ExceptionReporter
from eth_keys.backends import CoinCurveECCBackend

from jobs.access import Actor
from jobs.models import Team, Wallet
from jobs.ocean.signing import Signer, SignerFailed
from jobs.services import vault, wallets
from tests import builders
from tests.builders import NOW
from tests.sandbox.journey.keysearch import FILE_KEY, PHRASE, PHRASE_KEY, Secret, find, raw

KEY = raw(FILE_KEY)
SECRETS = (Secret("key", key=KEY), Secret("phrase", key=raw(PHRASE_KEY), words=tuple(PHRASE.split())))


def report_of(act: Callable[[], object]) -> str:
    """Return what Django reports of an error, as a page and as a text."""
    try:
        act()
    except Exception:
        reporter = ExceptionReporter(None, *sys.exc_info())
        return reporter.get_traceback_html() + reporter.get_traceback_text()
    raise AssertionError("nothing failed")


def found_in(report: str) -> set[str]:
    """Return the forms in which a key is in a report."""
    return {form for secret in SECRETS for form in find(report.encode(), secret)}


@pytest.fixture(autouse=True)
def no_debug(settings: pytest.FixtureRequest) -> None:
    """As in production: with DEBUG Django hides nothing, from whoever entered it."""
    settings.DEBUG = False  # type: ignore[attr-defined]


class TestBringing:
    @pytest.fixture
    def broken(self) -> object:
        """A database that fails when a wallet is written."""
        locked = mock.Mock(side_effect=OperationalError("database is locked"))
        with mock.patch.object(Wallet, "save", locked):
            yield

    def test_of_a_key_tells_nothing_of_it(self, broken: object, alice: Actor) -> None:
        report = report_of(
            lambda: wallets.import_key(actor=alice, label="lab", secret_text=KEY.hex(), now=NOW)
        )

        assert "database is locked" in report
        assert found_in(report) == set()

    def test_of_a_phrase_tells_nothing_of_it(self, broken: object, alice: Actor) -> None:
        report = report_of(lambda: wallets.import_key(actor=alice, label="lab", secret_text=PHRASE, now=NOW))

        assert "database is locked" in report
        assert found_in(report) == set()

    def test_of_one_that_is_made_here_tells_nothing_of_it(self, broken: object, alice: Actor) -> None:
        with mock.patch("jobs.services.wallets.new_key", lambda: KEY):
            report = report_of(lambda: wallets.generate(actor=alice, label="lab", now=NOW))

        assert "database is locked" in report
        assert found_in(report) == set()


class TestVault:
    @pytest.mark.parametrize("work", ["seal", "seal again", "signer"])
    def test_that_fails_tells_nothing(self, team: Team, work: str) -> None:
        wallet = builders.make_wallet(team=team, encrypted_key=vault.seal(KEY))
        sealed = bytes(wallet.encrypted_key or b"")
        ways: dict[str, Callable[[], object]] = {
            "seal": lambda: vault.seal(KEY),
            "seal again": lambda: vault.seal_again(sealed, "a key"),
            "signer": lambda: vault.signer(wallet),
        }
        broken = mock.Mock(side_effect=RuntimeError("broken"))
        with (
            mock.patch.object(MultiFernet, "encrypt", lambda self, secret: broken()),
            mock.patch.object(CoinCurveECCBackend, "private_key_to_public_key", broken),
        ):
            report = report_of(ways[work])

        assert found_in(report) == set()


class TestSigner:
    @pytest.mark.parametrize("work", ["text", "bytes", "opening"])
    def test_that_fails_tells_nothing_though_nobody_hides_anything(
        self, settings: pytest.FixtureRequest, work: str
    ) -> None:
        settings.DEBUG = True  # type: ignore[attr-defined]  # whatever reports the error, in the worker too
        signer = Signer(KEY)
        ways: dict[str, Callable[[], object]] = {
            "text": lambda: signer.sign_text("a text"),
            "bytes": lambda: signer.sign_bytes(b"bytes"),
            "opening": lambda: Signer(KEY),
        }
        broken = mock.Mock(side_effect=RuntimeError("broken"))
        with (
            mock.patch.object(CoinCurveECCBackend, "ecdsa_sign", broken),
            mock.patch.object(CoinCurveECCBackend, "private_key_to_public_key", broken),
            pytest.raises(SignerFailed) as caught,
        ):
            ways[work]()

        assert caught.value.__context__ is None  # nothing hangs on it that knew the key
        below = [
            frame.f_locals
            for frame, _ in traceback.walk_tb(caught.tb)
            if frame.f_code.co_filename != __file__
        ]
        assert below
        assert KEY not in [value for names in below for value in names.values()]
