"""From the click on Launch to the node's acceptance, against the one request that the node needs."""

from __future__ import annotations

import json
import time
from statistics import median

import requests

from tests.benchmarks.site import Site, Visitor, moment
from tests.benchmarks.table import Part, Row
from tests.sandbox.client import CONTAINER, Client
from tests.sandbox.journey.portal import wait_for

TIMES = 10
KEY = "0x" + "07" * 32  # not the demo wallet's: two clients of one wallet refuse each other's nonces


def measure(site: Site, *, dataset: str, algorithm: str) -> Part:
    """Launch jobs by clicks and by bare requests in turn, each alone at the node. dataset, algorithm: DIDs."""
    visitor = Visitor(site.url, name="liam")
    poll_ms = 1000 * site.call("from django.conf import settings\nanswer = settings.Q_CLUSTER['poll']")
    client = Client(site.box.node_url, key=KEY)
    environment_id = str(client.environment()["id"])
    bare: list[float] = []
    clicks: list[dict[str, float]] = []
    for _ in range(TIMES):
        bare.append(_bare(site, client, environment_id=environment_id, dataset=dataset, algorithm=algorithm))
        clicks.append(_click(site, visitor, dataset=dataset, algorithm=algorithm))
    request_ms = median(bare)
    stretches = {name: median(click[name] for click in clicks) for name in clicks[0]}
    total = stretches.pop("accepted")
    rows = [
        Row(
            "click until the node has the job; beside: one bare freeCompute",
            total,
            "ms",
            beside=request_ms,
            most=1.5 * request_ms + poll_ms,
        ),
        Row("the slowest of them", max(click["accepted"] for click in clicks), "ms"),
    ]
    rows += [Row(f"of this: {name}", value, "ms") for name, value in stretches.items()]
    told = (
        f"Medians of {TIMES}, in turn. From before the POST of the launch form leaves until the node's own `created_at`; "
        f"the bare request carries a signature made before. The worker polls its queue every {poll_ms:.0f} ms; "
        f"the aim is 1.5 times the bare request and one poll."
    )
    return Part(title="Click to acceptance", told=told, rows=tuple(rows))


def _bare(site: Site, client: Client, *, environment_id: str, dataset: str, algorithm: str) -> float:
    """Return the milliseconds that a node needs from a bare request to a job of its own."""
    body = client.signed("freeStartCompute") | {
        "environment": environment_id,
        "datasets": [{"documentId": dataset, "serviceId": "compute"}],
        "algorithm": {"documentId": algorithm, "serviceId": "access", "meta": {"container": CONTAINER}},
        "maxJobDuration": 60,
        "queueMaxWaitTime": 60,
    }
    data = json.dumps(body).encode()
    began = time.time()
    answer = requests.post(
        f"{client.url}/api/services/freeCompute",
        data=data,
        headers={"Content-Type": "application/json"},
        timeout=30,
    )
    assert answer.status_code == 200, answer.text
    node_id = answer.json()[0]["jobId"].partition("-")[2]
    ((created,),) = site.box.rows("SELECT created_at FROM jobs WHERE id = ?", node_id)
    ended = "SELECT finished_at FROM jobs WHERE id = ? AND finished_at IS NOT NULL"
    wait_for(lambda: site.box.rows(ended, node_id), "the end of a bare job")
    return 1000 * (float(created) - began)


def _click(site: Site, visitor: Visitor, *, dataset: str, algorithm: str) -> dict[str, float]:
    """Return milliseconds from the click to acceptance, and of each stretch of the way."""
    form = visitor.prepare(dataset=dataset, algorithm=algorithm)
    began = time.time()
    job_id = visitor.click(form)
    answered = time.time()
    site.wait_for_state(job_id, "RUNNING", "COLLECTING", "SUCCEEDED")
    created, _finished = site.node_row(job_id)
    (begun,) = site.rows(
        "SELECT at FROM jobs_jobevent WHERE job_id = ? AND after = 'STARTING'", job_id.replace("-", "")
    )
    row = site.job(job_id)
    requested, taken, sent = (
        moment(text) for text in (row["requested_at"], begun["at"], row["start_sent_at"])
    )
    wait_for(lambda: site.node_row(job_id)[1], "the end of a job at the node")
    visitor.get(f"/demo/jobs/{job_id}/")  # watched, it is asked about at once: the next job begins alone
    site.wait_for_state(job_id, "SUCCEEDED")
    marks = {
        "accepted": (began, created),
        "the form, until the job is in the database's hands": (began, requested),
        "the queue, until the worker has claimed the job": (requested, taken),
        "the worker, until the start is written down and leaves": (taken, sent),
        "the request, until the node has the job": (sent, created),
        "the page's own answer to the click (not on the way)": (began, answered),
    }
    return {name: 1000 * (end - start) for name, (start, end) in marks.items()}
