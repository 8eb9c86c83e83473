"""Collects one large output in a process of its own, whose memory is then nobody else's."""

from __future__ import annotations

import json
import resource
import time

from django.utils.timezone import now as clock

from jobs.lifecycle import State
from jobs.models import Job, Result
from jobs.services import results
from tests import builders


def main(url: str) -> None:
    """Collect the only output of a job at the node with this URL, and print JSON."""
    job = builders.make_job(
        team=builders.make_team(),
        node=builders.make_node(base_url=url),
        state=State.COLLECTING,
        outcome="succeeded",
        report={"results": [{"filename": "outputs.tar", "type": "output", "index": 3}]},
    )
    mib = _peak_mib()
    began_at, began = clock(), time.perf_counter()
    results.collect(job_id=job.pk, clock=clock)
    seconds = time.perf_counter() - began
    kept = Result.objects.get(job=job, path="")
    assert Job.objects.get(pk=job.pk).state == State.SUCCEEDED, kept.trouble
    assert kept.archived_at is not None
    told = {
        "seconds": seconds,
        "archived_s": (kept.archived_at - began_at).total_seconds(),
        "bytes": kept.size,
        "files": job.results.exclude(path="").count(),
        "mib": mib,
        "peak_mib": _peak_mib(),
    }
    print(json.dumps(told))


def _peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024  # Linux counts in KiB
