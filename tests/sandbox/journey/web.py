"""The web server of a portal, as it is served, and a person who launches with a browser's requests."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import urljoin

import requests

from tests.sandbox.journey.mortal import Mortal, closed_port
from tests.sandbox.journey.portal import ROOT, living, wait_for

GUNICORN = str(Path(sys.executable).with_name("gunicorn"))


class Person:
    """Liam, who may launch, with one browser; he stays signed in when the server starts anew."""

    def __init__(self) -> None:
        self.session = requests.Session()
        self.session.trust_env = False

    def sign_in(self, url: str) -> None:
        """Sign in at the portal of this address."""
        page = self.session.get(url, timeout=30)
        filled = {"login": "liam", "password": "liam", "csrfmiddlewaretoken": _token(page.text)}
        answer = self.session.post(page.url, filled, timeout=30)
        assert answer.ok and answer.url.endswith("/demo/"), answer.text

    def open_form(self, url: str, portal: Mortal) -> dict[str, str]:
        """Open the launch page and fill it in."""
        html = self.session.get(urljoin(url, "/demo/jobs/launch/"), timeout=30).text
        (key,) = re.findall(r'name="launch_key" value="([\w-]+)"', html)
        return {
            "csrfmiddlewaretoken": _token(html),
            "launch_key": key,
            "datasets": portal.box.did("Iris flowers"),
            "algorithm": portal.box.did("Summary statistics"),
            "environment": "free",
            "wallet": "demo",
        }

    def launch(self, url: str, form: dict[str, str]) -> requests.Response:
        """Send the form; return the answer itself, not the page that it leads to."""
        return self.session.post(urljoin(url, "/demo/jobs/launch/"), form, timeout=30, allow_redirects=False)


class Server:
    """A web server in a process group of its own."""

    def __init__(self, process: "subprocess.Popen[bytes]", url: str) -> None:
        self.process = process
        self.url = url

    def wait_for_death(self) -> None:
        """Wait until every process of it is dead."""
        wait_for(lambda: self.process.poll() is not None, "the death of the web server")
        assert self.process.returncode == -signal.SIGKILL
        wait_for(lambda: not living(group=self.process.pid), "the end of every process of the web server")


@contextmanager
def served(portal: Mortal, *, python: Sequence[str] = (sys.executable,)) -> Iterator[Server]:
    """Serve a portal with gunicorn for the time of a with block. python: what runs it."""
    port = closed_port()
    command = [*python, GUNICORN, "ocean_portal.wsgi", "--bind", f"127.0.0.1:{port}", "--threads", "2"]
    with (portal.folder / "web.log").open("ab") as log:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=portal.environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    server = Server(process, f"http://127.0.0.1:{port}")
    try:
        wait_for(lambda: process.poll() is not None or _answers(server.url), "the web server")
        yield server
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _answers(url: str) -> bool:
    with suppress(requests.RequestException):
        return requests.get(url, timeout=5).ok
    return False


def _token(html: str) -> str:
    return re.findall(r'name="csrfmiddlewaretoken" value="(\w+)"', html)[0]
