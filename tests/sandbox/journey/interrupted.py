"""Runs a program of the portal that is interrupted at one durable fact, from outside of its code.

    python -m tests.sandbox.journey.interrupted '{"at": "starting.begin: move STARTING", …}' manage.py worker

Every write that the program makes is traced to the place in the services that made it (see `writes`). Right after the
commit of the write that is waited for, the process group gets SIGKILL, or the process halts until it may go on.
"""

import json
import os
import runpy
import signal
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import timedelta
from functools import wraps
from importlib import import_module
from pathlib import Path
from typing import Any

from django.core.files.storage import FileSystemStorage
from django.db.backends.signals import connection_created

from jobs import queue
from jobs.ocean.chain import Chain
from jobs.ocean.node import OceanNode
from jobs.ocean.provider import Provider
from tests.sandbox.journey.writes import QUEUE, SERVICES, at

# Written by the queue's library when a worker takes a task, and when a task has run.
LIBRARY = {
    ("orm.py", "dequeue"): "django_q: a task is taken",
    ("orm.py", "delete"): "django_q: a task is done",
}


@dataclass(frozen=True)
class Interruption:
    """Where to interrupt, and how.

    at: name of a write; nth: which of them, over all processes of the program.
    how: "kill" the process group right after the commit; "kill uncommitted" before it; or "halt" until the file
        `halted` in `folder` is gone.
    folder: where it is written down what was reached, so that every place is passed once.
    seconds: module attributes to shorten, e.g. {"jobs.tasks.PULSE_FOR_S": 1}.
    """

    at: str
    folder: str
    nth: int = 1
    how: str = "kill"
    seconds: dict[str, Any] = field(default_factory=dict)

    def command(self, *program: str) -> list[str]:
        """Return the command that runs a Python program under this interruption."""
        return [sys.executable, "-m", __name__, json.dumps(asdict(self)), *program]

    @property
    def halted(self) -> Path:
        """The file that is there while a process halts."""
        return Path(self.folder) / "halted"

    @property
    def went_on(self) -> Path:
        """The file that is there when the process that halted has gone on."""
        return Path(self.folder) / "went-on"

    @property
    def unknown(self) -> Path:
        """The file that names the writes which `writes` has overlooked."""
        return Path(self.folder) / "unknown"

    def reached(self, name: str) -> None:
        """Note that a write has become durable, and interrupt if it is the one."""
        if name == self.at and self._count() == self.nth:
            self.interrupt()

    def interrupt(self) -> None:
        """Kill this process group, or wait until the test lets this process go on."""
        if self.how.startswith("kill"):
            os.killpg(os.getpgrp(), signal.SIGKILL)
        self.halted.touch()
        while self.halted.exists():
            time.sleep(0.01)
        self.went_on.touch()

    def _count(self) -> int:
        number = 1
        while (
            True
        ):  # a file that only one process can make: a counter without a lock that could die with its holder
            with suppress(FileExistsError):
                (Path(self.folder) / f"reached-{number}").touch(exist_ok=False)
                return number
            number += 1


@dataclass(frozen=True)
class _Committed:
    """What runs when a transaction has committed; equal for equal places."""

    interruption: Interruption
    name: str

    def __call__(self) -> None:
        self.interruption.reached(self.name)

    def __hash__(self) -> int:
        return hash(self.name)


def place(interruption: Interruption) -> str | None:
    """Return the name of the write that is being made; None if it is none of the services'."""
    frame = sys._getframe(1)
    while frame is not None:
        path = Path(frame.f_code.co_filename)
        if path.parent == SERVICES or path == QUEUE:
            if (write := at(path=str(path), line=frame.f_lineno)) is not None:
                return write.name
            if path.parent == SERVICES:
                with interruption.unknown.open("a") as file:
                    file.write(f"{path.name}:{frame.f_lineno} in {frame.f_code.co_qualname}\n")
                return None
        elif (name := LIBRARY.get((path.name, frame.f_code.co_name))) is not None:
            return name
        frame = frame.f_back
    return None


def install(interruption: Interruption) -> Callable[..., None]:
    """Watch every write of this process and of those it forks; return what has to be kept alive."""

    def watch_sql(execute: Any, sql: str, params: Any, many: bool, context: dict[str, Any]) -> Any:
        result = execute(sql, params, many, context)
        connection, verb = context["connection"], sql[:6].upper()
        written = verb == "INSERT" or (verb in ("UPDATE", "DELETE") and context["cursor"].rowcount > 0)
        # An INSERT outside a transaction is not durable yet: its answer is still to be read. Only `enqueue` makes such.
        if not written or (verb == "INSERT" and not connection.in_atomic_block):
            return result
        if (name := place(interruption)) is None:
            return result
        if not connection.in_atomic_block:
            interruption.reached(name)
        elif interruption.how == "kill uncommitted":
            if name == interruption.at:
                interruption.interrupt()
        elif (hook := _Committed(interruption, name)) not in [
            func for _, func, _ in connection.run_on_commit
        ]:
            connection.on_commit(hook)
        return result

    def watch_connection(connection: Any, **_: Any) -> None:
        if watch_sql not in connection.execute_wrappers:  # a connection may be made several times
            connection.execute_wrappers.append(watch_sql)

    def watch_call(owner: Any, method: str) -> None:
        act = getattr(owner, method)

        @wraps(act)
        def watched(*args: Any, **options: Any) -> Any:
            from django.db import connection

            result = act(*args, **options)
            # Inside a transaction the row's own write is what counts.
            if not connection.in_atomic_block and (name := place(interruption)) is not None:
                interruption.reached(name)
            return result

        setattr(owner, method, watched)

    connection_created.connect(watch_connection)
    watch_call(queue, "enqueue")
    for backend in (OceanNode, Provider):
        for method in ("start", "stop"):
            watch_call(backend, method)
    watch_call(Chain, "send")
    for method in ("save", "delete"):
        watch_call(FileSystemStorage, method)
    return watch_connection


def shorten(seconds: dict[str, Any]) -> None:
    """Set durations that are constants of a module."""
    for name, value in seconds.items():
        module, _, attribute = name.rpartition(".")
        before = getattr(import_module(module), attribute)
        setattr(
            import_module(module),
            attribute,
            timedelta(seconds=value) if isinstance(before, timedelta) else value,
        )


def run(interruption: Interruption, program: Sequence[str]) -> None:
    """Be a program, its path and its arguments, that is interrupted."""
    sys.argv = list(program)
    kept = install(interruption)
    shorten(interruption.seconds)
    runpy.run_path(sys.argv[0], run_name="__main__")
    del kept


def main() -> None:
    """Install what the first argument says, then be the program that the others name."""
    import django

    django.setup()
    run(Interruption(**json.loads(sys.argv[1])), sys.argv[2:])


if __name__ == "__main__":
    main()
