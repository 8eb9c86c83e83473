"""A portal with its three processes beside a sandbox whose pace and limit can change, and a browser's requests to it."""

from __future__ import annotations

import html
import json
import re
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from urllib3 import Retry

from tests.sandbox.journey.portal import ROOT, Portal, wait_for
from tests.sandbox.running import Box, start_sandbox

POLL_S = 2.0  # as often as a job's page asks for its status: templates/jobs/detail.html
WIDE = 10_000  # requests a minute: as good as no limit


class Visitor:
    """One signed-in person's browser: launches jobs, and polls a job's status as its page does."""

    def __init__(self, url: str, *, name: str) -> None:
        self.url = url
        self._http = requests.Session()
        self._http.trust_env = False
        # Like a browser, ask again when the server closed a kept connection at the same moment.
        self._http.mount("http://", HTTPAdapter(max_retries=Retry(1)))
        self.get("/accounts/login/")
        self.post("/accounts/login/", login=name, password=name)

    def get(self, path: str) -> requests.Response:
        """Get a page of the portal; redirects are not followed."""
        answer = self._http.get(self.url + path, timeout=30, allow_redirects=False)
        assert answer.status_code < 400, f"{path}: {answer.status_code}"
        return answer

    def post(self, path: str, **fields: str) -> requests.Response:
        """Send a form; it must be taken, which is told with a redirect."""
        fields["csrfmiddlewaretoken"] = self._http.cookies["csrftoken"]
        answer = self._http.post(self.url + path, data=fields, timeout=30, allow_redirects=False)
        assert answer.status_code == 302, f"{path}: {answer.status_code} {answer.text[:2000]}"
        return answer

    def prepare(self, *, dataset: str, algorithm: str) -> dict[str, str]:
        """Open the launch page and return the form, filled in: what is left is the click."""
        self.get("/demo/jobs/launch/")
        return {
            "launch_key": str(uuid.uuid4()),
            "datasets": dataset,
            "algorithm": algorithm,
            "environment": "free",
            "wallet": "demo",
            "max_duration_s": "60",
            "queue_wait_s": "60",
            "name": "",
            "parameters": "",
        }

    def click(self, form: dict[str, str]) -> str:
        """Send a filled-in launch form; return the job's id."""
        place = self.post("/demo/jobs/launch/", **form).headers["Location"]
        return place.rstrip("/").rpartition("/")[2]

    def watch(self, job_id: str) -> float:
        """Poll a job's status as its page does until it has ended; return when (epoch) the page was told."""
        path = f"/demo/jobs/{job_id}/"
        page = self.get(path).text
        shown = {name: _hidden(page, name) for name in ("v", "log")}
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            time.sleep(POLL_S)
            answer = self.get(f"{path}status/?v={shown['v']}&log={shown['log']}")
            if answer.status_code == 286:
                return time.time()
            shown |= {name: value for name in shown if (value := _hidden(answer.text, name))}
        raise AssertionError(f"job {job_id} did not end")


class Site(Portal):
    """A portal with a worker and the web server, as `make demo` runs them."""

    def __init__(self, *, folder: Path, box: Box) -> None:
        super().__init__(folder=folder, box=box)
        # As the demo has it: with PORTAL_DEBUG every query would be kept.
        self.environment |= {"PORTAL_DEBUG": "false", "PORTAL_DEMO": "true"}
        self._web: subprocess.Popen[bytes] | None = None
        self.url = ""

    def start_web(self) -> None:
        """Start the web server as the demo does and wait until it answers."""
        with socket.create_server(("127.0.0.1", 0)) as listener:
            self.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
            self._web = subprocess.Popen(
                [
                    *(
                        sys.executable,
                        "-m",
                        "gunicorn",
                        "ocean_portal.wsgi",
                        "--bind",
                        f"fd://{listener.fileno()}",
                    ),
                    *("--threads", "8", "--log-level", "warning", "--timeout", "120"),
                ],
                cwd=ROOT,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                pass_fds=(listener.fileno(),),
            )
        wait_for(self._answers, "the web server")

    def set_pace(self, *, step: float, rate_limit: int = WIDE) -> None:
        """Start the sandbox again, the same one on the same ports, at another pace and limit; tell the portal the limit."""
        self.box.stop()
        self.box = start_sandbox(self.box.state, step=step, rate_limit=rate_limit, chain=False)
        self.write("UPDATE jobs_node SET requests_per_minute = ?", rate_limit)
        self.write(
            "UPDATE jobs_nodebudget SET spent = '[]', version = version + 1"
        )  # what was asked before was another minute
        # Nor does a node become 40 times slower: what its earlier jobs showed of its pace is forgotten.
        self.write("UPDATE jobs_job SET report = NULL WHERE ended_at IS NOT NULL")

    def node_row(self, job_id: str) -> tuple[float, float | None]:
        """Return when the node took a job in and when it finished it (epoch), by the node's own table."""
        (node_id,) = self.at_node(job_id)
        ((created, finished),) = self.box.rows(
            "SELECT created_at, finished_at FROM jobs WHERE id = ?", node_id
        )
        return float(created), finished

    def asked(self, *, since: float, until: float) -> list[tuple[str, str]]:
        """Return method and path of the requests that the node answered in a span of time (epoch)."""
        sql = "SELECT method, path FROM requests WHERE at BETWEEN ? AND ? ORDER BY at"
        return [(str(method), str(path)) for method, path in self.box.rows(sql, since, until)]

    def close(self) -> None:
        """End every process that was started here."""
        if self._web is not None:
            self._web.terminate()
            self._web.wait(timeout=20)
        super().close()

    def _answers(self) -> bool:
        with suppress(requests.RequestException):
            return requests.get(f"{self.url}/health/", timeout=2).ok
        return False


@contextmanager
def open_site(folder: Path, *, step: float) -> Iterator[Site]:
    """Run a portal and its sandbox (without a chain, which jobs do not need) for the time of a with block."""
    box = start_sandbox(folder / "sandbox", step=step, chain=False)
    site = Site(folder=folder / "var", box=box)
    try:
        site.set_up()
        site.start_worker()
        site.start_web()
        site.wait_for_beat()
        yield site
    finally:
        site.close()
        site.box.stop()


def moment(text: str) -> float:
    """Read a time as the portal's database keeps it: UTC, without saying so."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


def free_ports(count: int) -> tuple[int, ...]:
    """Return ports of the loopback on which nothing listens now."""
    probes = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = tuple(int(probe.getsockname()[1]) for probe in probes)
    for probe in probes:
        probe.close()
    return ports


def run_alone(site: Site, *, folder: Path, call: str) -> Any:
    """Run a function of this package in a process with an empty database of its own; return what it printed as JSON.

    call: as "pages.main()".
    """
    alone = Site(folder=folder, box=site.box)
    script = f"from tests.benchmarks import {call.partition('.')[0]}\n{call}"
    for arguments in (("migrate", "-v0"), ("shell", "-v0", "--no-imports", "-c", script)):
        ended = alone.manage(*arguments)
        assert ended.code == 0, ended.stderr
    return json.loads(ended.stdout)


def _hidden(page: str, name: str) -> str:
    found = re.search(rf'<input type="hidden" name="{name}" [^>]*value="([^"]*)"', page)
    return html.unescape(found[1]) if found else ""
