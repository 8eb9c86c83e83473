"""Settings: each is documented, and a half-configured portal does not start."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.repo.source import ROOT, readme_settings, settings_names

SECRETS = {
    "PORTAL_SECRET_KEY": "w7Xk2-pQz9_Lm4RtVb8NcYd3HsJf6GaEuT1oKiPx5WqZyMvB0nDl",
    "PORTAL_WALLET_KEYS": "1M0nOGny68gpUD6vfdxtW36bzH82gSW9RxPN4rzA0tE=",
}


def manage(*arguments: str, var: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run manage.py with this environment alone: no file, nothing inherited that settings read."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("PORTAL_")}
    return subprocess.run(
        [sys.executable, "manage.py", *arguments],
        cwd=ROOT,
        env={**inherited, "PORTAL_ENV_FILE": "", "PORTAL_VAR": str(var), **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


class TestDocumentation:
    def test_has_every_setting_in_the_readme_and_no_other(self) -> None:
        assert readme_settings() == settings_names()

    def test_has_only_known_settings_in_the_example(self) -> None:
        example = (ROOT / ".env.example").read_text()
        named = set(re.findall(r"^#? ?([A-Z0-9_]+)=", example, re.M))

        assert named >= set(SECRETS)
        assert named <= settings_names()


class TestStart:
    @pytest.mark.parametrize(
        ("changes", "sentence"),
        [
            ({"PORTAL_SECRET_KEY": ""}, "PORTAL_SECRET_KEY is missing or shorter than 50 characters"),
            (
                {"PORTAL_SECRET_KEY": "too-short"},
                "PORTAL_SECRET_KEY is missing or shorter than 50 characters",
            ),
            ({"PORTAL_WALLET_KEYS": ""}, "PORTAL_WALLET_KEYS is missing"),
            ({"PORTAL_WALLET_KEYS": "no-key"}, "PORTAL_WALLET_KEYS is missing or has a part that is no key"),
            ({"PORTAL_SIGN_UP": "everybody"}, "it has to be open, invitation or closed"),
            ({"PORTAL_EMAIL_URL": "smtp+tls://mail.example.org"}, "PORTAL_EMAIL_URL begins with a word"),
            ({"PORTAL_OIDC_NAME": "Harbour Institute"}, "set all four, or none"),
            (
                {
                    "PORTAL_OIDC_NAME": "Harbour Institute",
                    "PORTAL_OIDC_ISSUER": "https://id.example.org",
                    "PORTAL_OIDC_CLIENT_ID": "portal",
                },
                "set all four, or none",
            ),
            (
                {
                    "PORTAL_OIDC_NAME": "Harbour Institute",
                    "PORTAL_OIDC_ISSUER": "http://id.example.org",
                    "PORTAL_OIDC_CLIENT_ID": "portal",
                    "PORTAL_OIDC_CLIENT_SECRET": "secret",
                },
                "PORTAL_OIDC_ISSUER has to be an https address",
            ),
        ],
    )
    def test_is_refused_with_a_sentence_without_the_secrets(
        self, tmp_path: Path, changes: dict[str, str], sentence: str
    ) -> None:
        done = manage("check", var=tmp_path, **(SECRETS | changes))

        assert done.returncode != 0
        assert sentence in done.stderr.splitlines()[-1]

    def test_is_refused_when_a_system_check_finds_an_error(self, tmp_path: Path) -> None:
        done = manage("check", var=tmp_path, **SECRETS, PORTAL_WORKERS="3")

        assert done.returncode == 1
        assert "jobs.E004" in done.stderr

    def test_is_clean_by_django_s_own_list_for_production(self, tmp_path: Path) -> None:
        production = {
            "PORTAL_HOSTS": "portal.example.org",
            "PORTAL_ORIGINS": "https://portal.example.org",
            "PORTAL_BEHIND_PROXY": "true",
            "PORTAL_EMAIL_URL": "submission://portal:secret@mail.example.org",
            "PORTAL_OIDC_NAME": "Harbour Institute",
            "PORTAL_OIDC_ISSUER": "https://id.example.org",
            "PORTAL_OIDC_CLIENT_ID": "portal",
            "PORTAL_OIDC_CLIENT_SECRET": "secret",
        }

        done = manage("check", "--deploy", "--fail-level", "WARNING", var=tmp_path, **SECRETS, **production)

        assert done.returncode == 0, done.stderr
        assert "no issues" in done.stdout

    @pytest.mark.parametrize(
        "where",
        [{}, {"PORTAL_URL": "http://portal.example.org"}, {"PORTAL_URL": "https://elsewhere.example.org"}],
        ids=["not said", "not over https", "of another host"],
    )
    def test_is_not_clean_while_letters_would_lead_elsewhere(
        self, tmp_path: Path, where: dict[str, str]
    ) -> None:
        production = {"PORTAL_HOSTS": "portal.example.org", "PORTAL_BEHIND_PROXY": "true", **where}

        done = manage("check", "--deploy", "--fail-level", "WARNING", var=tmp_path, **SECRETS, **production)

        assert done.returncode == 1
        assert "jobs.E005" in done.stderr

    def test_would_not_be_clean_with_the_demo_s_settings(self, tmp_path: Path) -> None:
        done = manage(
            "check", "--deploy", "--fail-level", "WARNING", var=tmp_path, **SECRETS, PORTAL_DEMO="true"
        )

        assert done.returncode == 1
        assert "security.W008" in done.stderr
