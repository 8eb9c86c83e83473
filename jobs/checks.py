"""System checks: the portal refuses to start with settings that would lose or repeat work."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core.checks import CheckMessage, Error, register
from django.http.request import validate_host


@register()
def queue_settings(**_: Any) -> list[CheckMessage]:
    """Hold `Q_CLUSTER` to what the services rely on.

    django-q2 by default runs a failing task again for ever; our tasks are made due again by the database instead.
    """
    q: dict[str, Any] = settings.Q_CLUSTER
    found: list[CheckMessage] = []
    if not q.get("ack_failures") or q.get("max_attempts") != 1:
        found.append(
            Error(
                "The queue would repeat failing tasks.",
                hint="Set ack_failures=True and max_attempts=1 in Q_CLUSTER.",
                id="jobs.E001",
            )
        )
    if q.get("timeout", 0) >= q.get("retry", 0):
        found.append(
            Error(
                "The queue would start a task again while it still runs.",
                hint="Q_CLUSTER['retry'] must be larger than Q_CLUSTER['timeout'].",
                id="jobs.E002",
            )
        )
    if not q.get("orm"):
        found.append(
            Error(
                "The queue is not in the portal's database, so a launch and its task would not commit together.",
                hint="Set Q_CLUSTER['orm'] to 'default'.",
                id="jobs.E003",
            )
        )
    if int(q.get("workers", 0)) < 4:
        found.append(
            Error(
                "One task beats, half of the workers may follow logs: fewer than 4 workers leave none for the work.",
                hint="Set PORTAL_WORKERS to 4 or more.",
                id="jobs.E004",
            )
        )
    return found


@register(deploy=True)
def links_in_letters(**_: Any) -> list[CheckMessage]:
    """Hold `PORTAL_URL` to where people reach the portal: links in e-mails begin with it, whatever a request says."""
    where = urlsplit(settings.PORTAL_URL)
    known = validate_host(where.hostname or "", settings.ALLOWED_HOSTS)
    if known and (where.scheme == "https" or not settings.HTTPS):
        return []
    return [
        Error(
            f"Links in e-mails would begin with {settings.PORTAL_URL}, where the portal is not.",
            hint="Set PORTAL_URL to the address at which people reach it, of a host in PORTAL_HOSTS.",
            id="jobs.E005",
        )
    ]
