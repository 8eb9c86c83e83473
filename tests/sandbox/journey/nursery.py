"""Starts the portal's processes by forking one that has imported everything: a tenth of the time, for many short lives.

What is started has a process group of its own, a log of its own, and the same program as one that is started afresh.
"""

import json
import mmap
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[3]


class Child:
    """A process that a nursery has started; like subprocess.Popen, as far as tests need it."""

    def __init__(self, *, pid: int, exits: Path) -> None:
        self.pid = pid
        self._exit = exits / str(pid)
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """Return how it ended, as a subprocess would tell it; None while it lives."""
        if self.returncode is None:
            with suppress(FileNotFoundError, ValueError):
                self.returncode = int(self._exit.read_text())
        return self.returncode

    def wait(self, timeout: float = 60) -> int:
        """Wait until it has ended."""
        end = time.monotonic() + timeout
        while (code := self.poll()) is None:
            if time.monotonic() > end:
                raise subprocess.TimeoutExpired(str(self.pid), timeout)
            time.sleep(0.01)
        return code


class Nursery:
    """The process that is forked.

    environment: of all that it starts; folder: of the portal that this names; exits: where it notes who has ended.
    """

    def __init__(self, *, environment: Mapping[str, str], folder: Path, exits: Path) -> None:
        exits.mkdir()
        self.folder = folder
        self._exits = exits
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__, str(exits)],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def start(self, *program: str, log: Path, interruption: Mapping[str, Any]) -> Child:
        """Start a Python program that is interrupted as the `Interruption` says."""
        assert self._process.stdin and self._process.stdout
        order = {"program": program, "log": str(log), "interruption": interruption}
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        return Child(pid=int(self._process.stdout.readline()), exits=self._exits)

    def close(self) -> None:
        """End it."""
        self._process.communicate()  # it ends with its input


def main() -> None:
    """Import everything, then fork for each line of the input."""
    import django

    django.setup()
    from jobs import queue, tasks, urls  # noqa: F401  # whatever a program of the portal imports
    from tests.sandbox.journey.interrupted import Interruption, run

    exits = Path(sys.argv[1])

    def note_exits(*_: object) -> None:
        with suppress(ChildProcessError):
            while (ended := os.waitpid(-1, os.WNOHANG))[0]:
                (exits / str(ended[0])).write_text(str(os.waitstatus_to_exitcode(ended[1])))

    signal.signal(signal.SIGCHLD, note_exits)
    for line in sys.stdin:
        order = json.loads(line)
        if os.fork():
            continue
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.setsid()
        (exits / str(os.getpid())).unlink(missing_ok=True)  # of an earlier process with the same number
        print(os.getpid(), flush=True)  # not before there is a group that can be killed
        log = os.open(order["log"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        for number, file in ((0, os.open(os.devnull, os.O_RDONLY)), (1, log), (2, log)):
            os.dup2(file, number)
        queue._stopping = mmap.mmap(-1, 1)  # of one worker only, as where it is imported afresh
        run(Interruption(**order["interruption"]), order["program"])
        os._exit(0)


if __name__ == "__main__":
    main()
