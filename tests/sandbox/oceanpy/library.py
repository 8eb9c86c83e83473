"""Installs ocean.py once, in a Python that it can live with, and runs it: a client that we did not write."""

import base64
import fcntl
import json
import os
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
INSTALLED = HERE.parents[2] / "var" / "oceanpy"
WANTED = HERE / "requirements.txt"
NAME, VERSION = "ocean-lib", "3.1.2"
# Its enforce-typing breaks on 3.11; web3 6 and the pins are for this one.
PYTHON = "3.10"
LOOK = f"import sys, venv, ensurepip; sys.exit(sys.version_info[:2] != ({PYTHON.replace('.', ', ')}))"
INSTALL_DEADLINE_S = 480
CALL_DEADLINE_S = 90
# No scripts of strangers and no compiler: wheels alone, and nothing but what is listed.
PIP = [*("-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input")]
PIP += ["--only-binary=:all:", "--no-deps", "--requirement"]


class Missing(Exception):
    """The library cannot be had here; the message says why."""


class Refused(Exception):
    """The library threw; the message is what it threw, kind the name of its class."""

    def __init__(self, message: str, kind: str) -> None:
        super().__init__(message)
        self.kind = kind


@dataclass(frozen=True)
class Answer:
    """What a call gave, and the time that the library took for it."""

    value: Any
    seconds: float


def install() -> Path:
    """Return an interpreter that has an unmodified ocean.py, installing it if it is not there.

    Raises Missing when there is no Python 3.10, or the packages cannot be had.
    """
    wanted = WANTED.read_text()
    INSTALLED.mkdir(parents=True, exist_ok=True)
    with (INSTALLED / "install.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # the tests may run in several processes
        folder, complete = INSTALLED / VERSION, INSTALLED / VERSION / "installed.txt"
        python = folder / "bin" / "python"
        # The interpreter behind an environment may have been taken away.
        if not complete.exists() or complete.read_text() != wanted or not _suits([str(python)]):
            shutil.rmtree(folder, ignore_errors=True)
            _make_environment(folder)
            _run([str(python), *PIP, str(WANTED)], failing=f"pip cannot bring {NAME} {VERSION}")
            complete.write_text(wanted)
    return python


def _make_environment(folder: Path) -> None:
    """Make a virtual environment of the wanted Python: from the PATH, from pyenv, or through uv."""
    for command in _interpreters():
        if _suits(command):
            _run([*command, "-m", "venv", str(folder)], failing=f"Python {PYTHON} makes no environment")
            return
    uv = shutil.which("uv")
    if uv is None:
        raise Missing(f"no Python {PYTHON} on the PATH or in pyenv, and no uv to bring it")
    _run([uv, "venv", "--quiet", "--seed", "--python", PYTHON, str(folder)], failing="uv brings no Python")


def _interpreters() -> Iterator[list[str]]:
    found = shutil.which(f"python{PYTHON}")
    if found:
        yield [found]
    versions = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv") / "versions"
    for python in sorted(versions.glob(f"{PYTHON}*/bin/python"), reverse=True):
        yield [str(python)]


def _suits(command: list[str]) -> bool:
    """Tell whether this is the wanted Python, and whole: a shim of pyenv may lead nowhere."""
    try:
        return (
            subprocess.run([*command, "-c", LOOK], capture_output=True, timeout=60, check=False).returncode
            == 0
        )
    except OSError:
        return False


def _run(command: list[str], *, failing: str) -> None:
    try:
        ended = subprocess.run(
            command, capture_output=True, text=True, timeout=INSTALL_DEADLINE_S, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise Missing(f"{failing} in {INSTALL_DEADLINE_S} seconds") from error
    if ended.returncode:
        said = (ended.stderr.strip() or ended.stdout.strip() or "no reason given").splitlines()
        raise Missing(f"{failing}: {said[-1]}")


class Library:
    """A running calls.py."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process

    def ask(self, call: str, **given: object) -> Answer:
        """Call a function of calls.py. Raises Refused when the library threw."""
        answer = self.exchange({"call": call, "with": given}, what=call)
        if "error" in answer:
            raise Refused(answer["error"], answer["kind"])
        return Answer(**answer)

    def call(self, call: str, **given: object) -> Any:
        """Return what a call gave; the same as ask, without the time."""
        return self.ask(call, **given).value

    def content(self, call: str, **given: object) -> bytes:
        """Return the bytes that a call gave."""
        return base64.b64decode(self.call(call, **given))

    def exchange(self, line: object, *, what: str) -> Any:
        """Write one line and read its answer."""
        assert self._process.stdin and self._process.stdout
        alarm = threading.Timer(CALL_DEADLINE_S, self._process.kill)
        alarm.start()
        try:
            with suppress(BrokenPipeError):  # what it had to say then is told by its caller
                self._process.stdin.write(json.dumps(line) + "\n")
                self._process.stdin.flush()
            answer = self._process.stdout.readline()
        finally:
            alarm.cancel()
        assert answer, f"{what} ended the process, or took more than {CALL_DEADLINE_S} seconds"
        return json.loads(answer)


@contextmanager
def running_library(
    *, python: Path, contracts: dict[str, Any], publisher: str, consumer: str, **urls: str
) -> Iterator[Library]:
    """Run the library for the time of a with block, in a home of its own.

    contracts: the sandbox's; publisher, consumer: private keys; urls: rpc_url, provider_url, aquarius_url.
    """
    with tempfile.TemporaryDirectory(prefix="oceanpy-") as home, tempfile.TemporaryFile() as errors:
        addresses = Path(home) / "address.json"
        addresses.write_text(json.dumps({"development": contracts}))
        with subprocess.Popen(
            # -I: nothing of the developer's settings and folders, and not the folder of calls.py.
            [str(python), "-I", str(HERE / "calls.py")],
            cwd=home,
            env={"PATH": os.environ["PATH"], "HOME": home, "ADDRESS_FILE": str(addresses)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        ) as process:
            library = Library(process)
            try:
                library.exchange({"publisher": publisher, "consumer": consumer, **urls}, what="the begin")
                yield library
            except AssertionError as error:
                process.kill()
                process.wait()
                errors.seek(0)
                error.add_note(errors.read()[-3000:].decode(errors="replace"))
                raise
            finally:
                process.kill()
