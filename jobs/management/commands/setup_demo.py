"""python manage.py setup_demo: a team to try the portal with, from what the sandbox wrote down."""

from __future__ import annotations

import json
import time
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.utils.timezone import now as clock

from jobs.errors import PortalError
from jobs.services import demo


class Command(BaseCommand):
    """Make the demo team, its people, its wallet, the network, the node and the catalogue, whatever is missing."""

    help = "Set up the demo from a running sandbox. Running it again changes nothing that is there."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Describe the options."""
        parser.add_argument(
            "--sandbox", type=Path, required=True, help="the sandbox.json that the sandbox wrote"
        )
        parser.add_argument("--wait", type=float, default=60.0, help="seconds to wait for the sandbox")

    def handle(self, **options: Any) -> None:
        """Wait for the sandbox and set up."""
        end = time.monotonic() + options["wait"]
        while True:
            try:
                info = json.loads(options["sandbox"].read_text())
                demo.set_up(info=info, clock=clock)
            except (OSError, ValueError, PortalError) as error:
                if time.monotonic() > end:
                    raise CommandError(f"The sandbox did not come up: {error}") from error
                time.sleep(0.2)
            else:
                return
