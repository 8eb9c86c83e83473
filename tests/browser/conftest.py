"""A running demo and a real Chromium. Skipped, with the reason, only where no Chromium is installed."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

ROOT = Path(__file__).resolve().parents[2]
READY_DEADLINE_S = 120
CHROMIUM = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
)


@dataclass
class Demo:
    """The three processes of `make demo`, in a folder of their own."""

    folder: Path
    ports: tuple[int, int, int, int, int]
    process: "subprocess.Popen[bytes] | None" = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.ports[0]}"

    @property
    def environment(self) -> dict[str, str]:
        return {
            **os.environ,
            "PORTAL_ENV_FILE": str(self.folder / "demo.env"),
            "PORTAL_VAR": str(self.folder / "var"),
        }

    def start(self) -> None:
        """Start it and wait until it says that it is ready."""
        log = self.folder / "demo.log"
        names = ("--port", "--node-port", "--chain-port", "--provider-port", "--aquarius-port")
        command = [sys.executable, "-m", "ocean_portal.demo", "--step", "0.3", "--rate-limit", "1000"]
        command += [part for name, port in zip(names, self.ports, strict=True) for part in (name, str(port))]
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                command,
                cwd=ROOT,
                env=self.environment,
                stdout=output,
                stderr=output,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
        end = time.monotonic() + READY_DEADLINE_S
        while "is ready" not in log.read_text():
            assert self.process.poll() is None, log.read_text()
            assert time.monotonic() < end, log.read_text()
            time.sleep(0.1)

    def stop(self) -> None:
        """Press Ctrl-C, and wait until all of it has ended."""
        assert self.process is not None
        os.killpg(self.process.pid, signal.SIGINT)
        try:
            self.process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            raise
        self.process = None

    def manage(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """Run a management command beside it."""
        return subprocess.run(
            [sys.executable, "manage.py", *arguments],
            cwd=ROOT,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=120,
        )


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    found = Demo(folder=tmp_path_factory.mktemp("demo"), ports=_free_ports())
    found.start()
    yield found
    if found.process is not None:
        found.stop()


# Not longer than the module: while Playwright runs, its event loop counts as this thread's, and Django then refuses the
# database to whatever test comes next in the same process.
@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if CHROMIUM is None:
        pytest.skip("no Chromium on this machine: install the package `chromium` to run the browser journey")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM,
            # As root in a container Chromium needs no-sandbox; the rest keeps it from calling home.
            args=["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-sync"],
        )
        yield browser
        browser.close()


@pytest.fixture
def complaints() -> list[str]:
    """What the browser complained of during a test: script errors, blocked resources."""
    return []


@pytest.fixture
def open_as(browser: Browser, demo: Demo, complaints: list[str]) -> Iterator[Callable[..., Page]]:
    """Sign a person in, in a context of their own, and return the page."""
    contexts: list[BrowserContext] = []

    def sign_in(name: str, *, javascript: bool = True, width: int = 1280) -> Page:
        context = browser.new_context(
            base_url=demo.url, java_script_enabled=javascript, viewport={"width": width, "height": 800}
        )
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(60_000)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", lambda m: complaints.append(m.text) if m.type in ("error", "warning") else None)
        page.goto("/")
        page.get_by_label("E-mail address or user name").fill(name)
        page.get_by_label("Password").fill(name)
        page.get_by_role("button", name="Sign in", exact=True).click()
        page.wait_for_url("**/demo/")
        return page

    yield sign_in
    for context in contexts:
        context.close()


def _free_ports() -> tuple[int, int, int, int, int]:
    """Return ports that nobody listens on; all are held until all are found, so that they differ."""
    with ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(5)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        portal, node, chain, provider, aquarius = (int(probe.getsockname()[1]) for probe in probes)
        return portal, node, chain, provider, aquarius
