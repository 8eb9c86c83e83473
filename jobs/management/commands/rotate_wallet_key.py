"""python manage.py rotate_wallet_key: encrypt with the first of PORTAL_WALLET_KEYS what an older one had encrypted."""

from __future__ import annotations

import sys
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand
from django.utils.timezone import now as clock

from jobs.services import rotating

EXIT_WHOLE, EXIT_NOT_WHOLE = 0, 1
DROP = "Nothing needs an older key any more: the first of PORTAL_WALLET_KEYS is enough."


class Command(BaseCommand):
    """Say what was done, and name what no key opens; exit code 0 only when the first key opens everything."""

    help = (
        "Encrypt wallets, node tokens and second factors with the first of PORTAL_WALLET_KEYS. It may be ended at any "
        "time and goes on when it is started again. Exit code 0 only when the first key opens everything."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Describe the options."""
        parser.add_argument(
            "--check", action="store_true", help="only count what still needs an older key; change nothing"
        )

    def handle(self, **options: Any) -> None:
        """Rotate, or count."""
        sys.exit(self._count() if options["check"] else self._rotate(loud=options["verbosity"] > 1))

    def _rotate(self, *, loud: bool) -> int:
        def tell(secret: rotating.Sealed) -> None:
            if loud:
                self.stdout.write(secret.name)
                self.stdout.flush()

        outcome = rotating.rotate(clock=clock, told=tell)
        done = ", ".join(f"{number} {kind}{'s' * (number != 1)}" for kind, number in outcome.done.items())
        self.stdout.write(f"Encrypted anew: {done or 'nothing'}.")
        for name in outcome.lost:
            self.stderr.write(f"No key opens this: {name}")
        for name in outcome.left:
            self.stderr.write(f"Others kept writing to this; start the command again: {name}")
        if outcome.lost or outcome.left:
            return EXIT_NOT_WHOLE
        self.stdout.write(DROP)
        return EXIT_WHOLE

    def _count(self) -> int:
        found = rotating.count()
        self.stdout.write(
            f"The first key opens {found.new}, {found.old} need an older one, and {len(found.lost)} nobody can open."
        )
        for name in found.lost:
            self.stderr.write(f"No key opens this: {name}")
        if found.old or found.lost:
            return EXIT_NOT_WHOLE
        self.stdout.write(DROP)
        return EXIT_WHOLE
