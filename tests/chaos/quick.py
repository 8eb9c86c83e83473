"""Runs a program of the portal whose pauses are short, so that a test need not wait as long as people do.

    python -m tests.chaos.quick manage.py worker

Only how long things wait is changed, and not how often they are tried.
"""

import runpy
import sys
from typing import Any

# Seconds. How long a start whose answer was lost may be under way (LOOK_AGAIN) is known here: the proxy waits for the
# server's answer before it loses it.
PAUSES: dict[str, Any] = {
    "jobs.tasks.BEAT_S": 0.2,
    "jobs.ocean.transport.RETRY_PAUSES_S": (0.1, 0.3, 0.6),
    "jobs.services.starting.RETRY_STEP": 0.5,
    "jobs.services.starting.SOON": 3,  # longer than usual: a hundred jobs wait for the turn of five wallets
    "jobs.services.starting.LOOK_AGAIN": 2,
    "jobs.services.payments.LOOK_SOON": 0.5,
    "jobs.services.payments.LOOK_LATER": 1,
    "jobs.services.payments.LOOK_FOR_STRAYS": 2,
    "jobs.services.payments.SEND_AGAIN": 3,
    "jobs.services.sending.SEND_AGAIN": 3,
    "jobs.services.sending.OVERTAKEN_FOR": 5,
    "jobs.services.refreshing.UNWATCHED_EVERY": 1,
    "jobs.services.refreshing.WATCHED_EVERY": 0.5,
    "jobs.services.refreshing.TROUBLE_PAUSE_MAX": 4,
    "jobs.services.results.RETRY": 1,
    "jobs.services.results.RETRY_LATE": 3,
    "jobs.services.escrows.LOOK_EVERY": 3,
    "jobs.services.escrows.LOOK_WHILE_ACTIVE": 2,
    "jobs.services.escrows.LOOK_SOONEST": 0.5,
    "jobs.services.escrows.LOOK_AGAIN_AFTER_TROUBLE": 1,
    "jobs.services.escrows.CLAIM": 3,
}


def main() -> None:
    """Be the program that the arguments name."""
    import django

    django.setup()
    from tests.sandbox.journey.interrupted import shorten

    shorten(PAUSES)
    sys.argv = sys.argv[1:]
    runpy.run_path(sys.argv[0], run_name="__main__")


if __name__ == "__main__":
    main()
