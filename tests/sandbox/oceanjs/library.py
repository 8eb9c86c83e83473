"""Installs Ocean's JavaScript library once per version, and runs it: a client that we did not write."""

import base64
import fcntl
import json
import os
import re
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
INSTALLED = HERE.parents[2] / "var" / "oceanjs"
VERSIONS = ("8.0.0", "8.6.2")
OLDEST_NODE = 20  # what the library's peer-to-peer half asks for
INSTALL_DEADLINE_S = 240
CALL_DEADLINE_S = 60
# No scripts of strangers, and no peer dependency: the library names web3, and does not use it.
INSTALL = ("npm", "install", "--ignore-scripts", "--legacy-peer-deps", "--no-package-lock", "--no-audit")
INSTALL += ("--no-fund", "--no-progress", "--loglevel=error", "--prefer-offline", "--fetch-retries=1")


class Refused(Exception):
    """The library threw; the message is what it threw."""


@dataclass(frozen=True)
class Stream:
    """What the library gave as a stream: (milliseconds since the call, bytes) of each chunk."""

    chunks: tuple[tuple[int, bytes], ...]

    @property
    def content(self) -> bytes:
        return b"".join(chunk for _, chunk in self.chunks)


def install(*, version: str) -> Path:
    """Return the folder with an unmodified library of this version, installing it if it is not there.

    Skips the test when node, npm or the packages cannot be had.
    """
    _need_node()
    wanted = (HERE / version / "package.json").read_text()
    INSTALLED.mkdir(parents=True, exist_ok=True)
    with (INSTALLED / f"{version}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # the tests may run in several processes
        folder, complete = INSTALLED / version, INSTALLED / version / "installed.json"
        if not complete.exists() or complete.read_text() != wanted:
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            (folder / "package.json").write_text(wanted)
            _npm_install(folder=folder, version=version)
            complete.write_text(wanted)
    manifest = json.loads((folder / "node_modules/@oceanprotocol/lib/package.json").read_text())
    assert manifest["version"] == version
    return folder


def _need_node() -> None:
    for program in ("node", "npm"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")
    said = subprocess.run(["node", "--version"], capture_output=True, text=True, check=True).stdout.strip()
    major = re.match(r"v(\d+)", said)
    if major is None or int(major[1]) < OLDEST_NODE:
        pytest.skip(f"node {said} is older than {OLDEST_NODE}")


def _npm_install(*, folder: Path, version: str) -> None:
    try:
        ended = subprocess.run(
            INSTALL, cwd=folder, capture_output=True, text=True, timeout=INSTALL_DEADLINE_S, check=False
        )
    except subprocess.TimeoutExpired:
        pytest.skip(f"npm did not bring @oceanprotocol/lib {version} in {INSTALL_DEADLINE_S} seconds")
    if ended.returncode:
        reason = (ended.stderr.strip() or "no reason given").splitlines()[0]
        pytest.skip(f"npm cannot bring @oceanprotocol/lib {version}: {reason}")


def _command(script: str) -> list[str]:
    """Run a script as if it lay in the working directory, where node looks for the packages."""
    return ["node", "--input-type=module", "--eval", (HERE / script).read_text()]


def _environment(**own: str) -> dict[str, str]:
    """Keep the developer's own settings away: the library reads a dozen variables."""
    return {"PATH": os.environ["PATH"], **own}


def run_script(script: str, *, folder: Path, given: dict[str, Any]) -> dict[str, Any]:
    """Run chain.mjs or pay.mjs with what it is given, and return what it saw."""
    ended = subprocess.run(
        _command(script),
        cwd=folder,
        env=_environment(),
        input=json.dumps(given),
        capture_output=True,
        text=True,
        timeout=CALL_DEADLINE_S,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    return dict(json.loads(ended.stdout))


class Library:
    """A running calls.mjs."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process

    def call(self, name: str, *args: object) -> Any:
        """Call a function of ProviderInstance; "$wallet" stands for the account.

        Returns what it returned, or a Stream. Raises Refused.
        """
        assert self._process.stdin and self._process.stdout
        alarm = threading.Timer(CALL_DEADLINE_S, self._process.kill)
        alarm.start()
        try:
            self._process.stdin.write(json.dumps({"call": name, "args": args}) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        finally:
            alarm.cancel()
        assert line, f"{name} ended the process, or took more than {CALL_DEADLINE_S} seconds"
        answer = json.loads(line)
        if "error" in answer:
            raise Refused(answer["error"])
        if "chunks" in answer:
            return Stream(tuple((after, base64.b64decode(chunk)) for after, chunk in answer["chunks"]))
        return answer["value"]


@contextmanager
def running_library(*, folder: Path, key: str) -> Iterator[Library]:
    """Run the library for the time of a with block, with the account of a private key."""
    with (
        tempfile.TemporaryFile() as errors,
        subprocess.Popen(
            _command("calls.mjs"),
            cwd=folder,
            env=_environment(WALLET_KEY=key),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        ) as process,
    ):
        try:
            yield Library(process)
        finally:
            process.kill()
