"""python manage.py worker: run the background work until told to end."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand
from django.utils.timezone import now as clock

from jobs import queue
from jobs.services import running


class Command(BaseCommand):
    """Enqueue the pulse, then run the queue's cluster."""

    help = "Run the worker: it starts jobs, refreshes them, follows logs and archives results."

    def handle(self, **options: Any) -> None:
        """Run until SIGTERM or Ctrl-C."""
        running.free_leases_of_the_dead(now=clock())
        queue.run_worker()
