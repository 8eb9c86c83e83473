"""python manage.py verify_audit: see whether anything of the audit record was changed or taken away."""

from __future__ import annotations

import json
import re
import sys
from argparse import ArgumentParser, ArgumentTypeError
from dataclasses import asdict
from typing import Any

from django.core.management.base import BaseCommand

from jobs.services import verifying
from jobs.services.verifying import Fault, Mark

EXIT_WHOLE, EXIT_FAULTS = 0, 1


class Command(BaseCommand):
    """Print every fault, then the end of the record; exit code 0 only when it is whole."""

    help = (
        "Verify the audit record; exit code 0 only when it is whole. Keep the end that it prints away from this machine, "
        "and give it to --expect later: only that shows a record that was rewritten with new hashes."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Describe the options."""
        parser.add_argument("--json", action="store_true", help="print one object and nothing else on stdout")
        parser.add_argument(
            "--expect", type=_mark, metavar="NUMBER:HASH", help="an end that an earlier run has printed"
        )

    def handle(self, **options: Any) -> None:
        """Walk the record and tell."""
        as_json = options["json"]
        found = 0

        def tell(fault: Fault) -> None:
            nonlocal found
            found += 1
            if as_json:  # each as it is found: a record may have very many
                self.stdout.write((",\n" if found > 1 else "") + json.dumps(asdict(fault)), ending="")
            else:
                self.stdout.write(fault.sentence)

        if as_json:
            self.stdout.write('{"faults": [', ending="")
        outcome = verifying.verify(tell=tell, expected=options["expect"])
        if as_json:
            rest = {"whole": outcome.whole, "entries": outcome.entries, "end": str(outcome.end)}
            self.stdout.write("], " + json.dumps(rest).removeprefix("{"))
        else:
            told = (
                "The record is whole"
                if outcome.whole
                else f"The record is not whole: {outcome.faults} faults"
            )
            self.stdout.write(f"{told}. Entries: {outcome.entries}. Its end, to be kept elsewhere:")
            self.stdout.write(str(outcome.end))
        sys.exit(EXIT_WHOLE if outcome.whole else EXIT_FAULTS)


def _mark(text: str) -> Mark:
    if not re.fullmatch(r"[0-9]{1,18}:[0-9a-f]{64}", text):
        raise ArgumentTypeError("write it as it was printed: NUMBER:HASH")
    number, _, known = text.partition(":")
    return Mark(int(number), known)
