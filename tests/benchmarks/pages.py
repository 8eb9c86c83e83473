"""Queries, bytes and server time of every page and fragment, in this process, with 200 jobs in the database."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from statistics import median
from typing import Any

from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils.timezone import now as clock

from jobs.models import Job
from jobs.urls import urlpatterns
from jobs.views import accounts
from tests.benchmarks.seeding import JOBS, Seeded, seed

TIMES = 20
# Not pages: they only take forms.
ACTS = {
    *(
        "logout",
        "sessions-end",
        *("organisation", "organisation-callback"),  # lead elsewhere
        "jobs-stop",
        "jobs-rerun",
        "jobs-go-on",
        "jobs-give-up",
        "launch-quote",  # asks a service and a chain
        "catalogue-add",
        "catalogue-refresh",
    ),
    "invitation",  # seen once, by whoever has its link
    *("members-invite", "members-resend", "members-revoke", "members-role"),
    *("share-revoke", "shared", "shared-download"),  # of people outside, who have opened a link
    "settings-change",
    *("wallets-generate", "wallets-import", "wallets-watch", "wallets-limit"),
    *("wallets-disable", "wallets-enable", "wallets-grant", "wallets-take-back"),
    *("wallets-balances-look", "wallets-tokens", "wallets-tokens-give-back"),
    *(
        "launch-quote",
        "escrow-look",
        "escrow-withdraw",
        "escrow-release",
        "transactions-speed-up",
        "transactions-cancel",
        "transactions-fill",
    ),
}


@dataclass(frozen=True)
class Look:
    """One way to ask for a page. fragment: as htmx asks; signed_in: by the team's owner."""

    name: str
    label: str
    url: str
    fragment: bool = False
    signed_in: bool = True


def main() -> None:
    """Fill the database, ask for everything, and print JSON."""
    seeded = seed(now=clock())
    signed_in, stranger = (Client(SERVER_NAME="localhost") for _ in range(2))
    signed_in.force_login(seeded.owner)
    looks = _looks(seeded)
    measured = [_measure(look, signed_in if look.signed_in else stranger) for look in looks]
    from_allauth = {str(pattern.name) for pattern in accounts.offered}  # not the portal's to make faster
    known = ACTS | from_allauth | {look.name for look in looks}
    unknown = sorted(str(pattern.name) for pattern in urlpatterns if pattern.name not in known)
    print(json.dumps({"jobs": JOBS, "times": TIMES, "pages": measured, "unknown": unknown}))


def _measure(look: Look, client: Client) -> dict[str, Any]:
    headers = {"HX-Request": "true"} if look.fragment else {}

    def ask() -> tuple[int, int]:
        answer = client.get(look.url, headers=headers)
        body = answer.getvalue() if answer.streaming else answer.content
        return answer.status_code, len(body)

    ask()  # templates are compiled once in a process's life
    Job.objects.update(watched_until=None)  # a look at a job is written down at most every 10 s: count it
    with CaptureQueriesContext(connection) as captured:
        status, size = ask()
    queries = len(captured)  # the next request forgets them
    assert status < 400, f"{look.label}: {status}"
    times = []
    for _ in range(TIMES):
        began = time.perf_counter()
        ask()
        times.append(time.perf_counter() - began)
    return {
        "label": look.label,
        "status": status,
        "queries": queries,
        "bytes": size,
        "ms": 1000 * median(times),
    }


def _looks(seeded: Seeded) -> list[Look]:
    """List every page and fragment."""

    def look(name: str, note: str = "", *, query: str = "", job: Job | None = None, **options: Any) -> Look:
        arguments: dict[str, Any] = dict(options.pop("arguments", {}))
        if name not in ("home", "login", "health", "favicon", "profile", "sessions"):
            arguments["team"] = "coastal"
        if job is not None:
            arguments["job_id"] = job.pk
        url = reverse(name, kwargs=arguments) + query
        return Look(name=name, label=f"{name}, {note}" if note else name, url=url, **options)

    wallet = {"wallet_id": seeded.succeeded.wallet_id}
    running, ended = seeded.running, seeded.succeeded
    table, log, image = ({"result_id": result.pk} for result in (seeded.table, seeded.log, seeded.image))
    chosen = f"?datasets={seeded.dataset.did}&algorithm={seeded.algorithm.did}"
    mark = f"?v={running.version}.0&log=live"
    return [
        look("home"),
        look("favicon", signed_in=False),
        look("login", signed_in=False),
        look("health", signed_in=False),
        look("sessions"),
        look("dashboard"),
        look("dashboard", "fragment", fragment=True),
        look("jobs"),
        look("jobs", "fragment", fragment=True),
        look("jobs", "searched", query="?q=buoys&page=2"),
        look("launch"),
        look("launch", "again", query=f"?rerun={ended.pk}"),
        look("launch-parameters", "fragment", query=chosen, fragment=True),
        look("jobs-detail", "running", job=running),
        look("jobs-detail", "succeeded", job=ended),
        look("jobs-detail", "failed", job=seeded.failed),
        look("jobs-status", "nothing new", query=mark, job=running, fragment=True),
        look("jobs-status", "all new", job=running, fragment=True),
        look("jobs-status", "ended", job=ended, fragment=True),
        look("jobs-log", "fragment", job=running, fragment=True),
        look("jobs-results", "fragment", job=ended, fragment=True),
        look("result-detail", "table", job=ended, arguments=table),
        look("result-detail", "log", job=ended, arguments=log),
        look("result-download", job=ended, arguments=table),
        look("result-inline", job=ended, arguments=image),
        look("share", job=ended),
        look("catalogue"),
        look("catalogue-find"),
        look("catalogue", "fragment", fragment=True),
        look("catalogue-detail", "dataset", arguments={"asset_id": seeded.dataset.pk}),
        look("catalogue-detail", "algorithm", arguments={"asset_id": seeded.algorithm.pk}),
        look("environments"),
        look("profile"),
        look("settings"),
        look("wallets"),
        look("wallets-add"),
        look("wallets-detail", arguments=wallet),
        look("wallets-hand-over", arguments=wallet),
        look(
            "wallets-balances",
            "fragment",
            fragment=True,
            arguments=wallet,
        ),
        look("record"),
        look("record", "fragment", fragment=True),
        look("record-export", arguments={"kind": "csv"}),
        look("escrow"),
        look("escrow", "fragment", fragment=True),
        look("members"),
        look("members-leave"),
        look("members-remove", arguments={"member_id": seeded.owner.memberships.get().pk}),
    ]
