"""python manage.py reconcile: compare the ledger with chains and nodes."""

from __future__ import annotations

import json
import sys
from argparse import ArgumentParser
from dataclasses import asdict
from typing import Any

from django.core.management.base import BaseCommand
from django.utils.timezone import now as clock

from jobs.services import reconciling

EXIT_EQUAL, EXIT_DIFFERENT = 0, 1


class Command(BaseCommand):
    """Print every difference; exit code 0 only when there is none."""

    help = "Compare orders, receipts, escrows and jobs with chains and nodes; exit code 0 only when nothing differs."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Describe the options."""
        parser.add_argument("--json", action="store_true", help="print one list and nothing else on stdout")

    def handle(self, **options: Any) -> None:
        """Compare and tell."""
        found = reconciling.compare(clock=clock)
        if options["json"]:
            self.stdout.write(json.dumps([asdict(difference) for difference in found], indent=2))
        else:
            for difference in found:
                self.stdout.write(f"{difference.kind}: {difference.sentence}")
            if not found:
                self.stdout.write("Nothing differs.")
        sys.exit(EXIT_DIFFERENT if found else EXIT_EQUAL)
