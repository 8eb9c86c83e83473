"""Watches one algorithm: the part of a container engine that goes on when the node process dies.

Run as `python -m ocean_portal.sandbox.runner JOB_FOLDER`. It reads run.json, starts the algorithm,
writes its output as docker frames into algorithm.log, ends it when a limit is passed or SIGTERM comes,
and leaves exit.json. As long as it lives it holds a lock on runner.lock, which carries its process id:
a locked file is a living runner, whoever looks, and nobody else's process is ever signalled.
"""

import contextlib
import fcntl
import json
import os
import selectors
import signal
import struct
import sys
import time
from pathlib import Path
from typing import IO, Any

from ocean_portal.sandbox import jail, processes

LOOK_EVERY_S = 0.05
FRAME_BYTES = 16 * 1024
FRAME_HEAD_BYTES = 8
MAX_PROCESSES = 64
SIZE_EVERY = 10  # looks


def living(*, folder: Path) -> dict[str, Any] | None:
    """Return pid and started_at of the runner that works on this folder now, or None."""
    path = folder / "runner.lock"
    if not path.exists():
        return None
    with path.open() as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return _signed_in(folder=folder, text=handle.read())
    return None


def _signed_in(*, folder: Path, text: str) -> dict[str, Any]:
    """Return what the holder of the lock wrote, {} as long as that is unfinished or of an earlier run."""
    written: dict[str, Any] = json.loads(text) if text.endswith("\n") else {}
    wanted = json.loads((folder / "run.json").read_text())
    return written if written.get("run") == wanted["run"] else {}


def outcome(*, folder: Path) -> dict[str, Any] | None:
    """Return what a finished runner left: exitCode, OOMKilled, reason, started_at, stopped_at; or None."""
    path = folder / "exit.json"
    return json.loads(path.read_text()) if path.exists() else None


class _Log:
    """Frames as docker writes them: stream number, three zero bytes, length. Source: recording 14."""

    def __init__(self, *, path: Path, cap: int) -> None:
        self._file = path.open("wb", buffering=0)
        self._left = cap

    def write(self, *, stream: int, chunk: bytes) -> None:
        if self._left <= 0:
            return
        self._left -= len(chunk) + 8
        if self._left <= 0:
            stream, chunk = 2, b"\n[the log ends here: it reached the sandbox's limit]\n"
        self._file.write(struct.pack(">BxxxL", stream, len(chunk)) + chunk)


def plain(log: bytes) -> bytes:
    """Return what was printed, both outputs in the order in which it came, without the frames."""
    found = bytearray()
    while len(log) >= FRAME_HEAD_BYTES:
        size = int.from_bytes(log[4:FRAME_HEAD_BYTES])
        found += log[FRAME_HEAD_BYTES : FRAME_HEAD_BYTES + size]
        log = log[FRAME_HEAD_BYTES + size :]
    return bytes(found)


class _Watch:
    """One run, from start to exit.json."""

    def __init__(self, *, folder: Path, spec: dict[str, Any]) -> None:
        self.folder = folder
        self.spec = spec
        # Before the runner is seen living, so that who follows a living one finds a log.
        self.log = _Log(path=folder / "logs" / "algorithm.log", cap=spec["log_bytes"])
        self.started_at = time.time()
        self.reason: str | None = None
        self.kill_at: float | None = None
        self.looks = 0

    def ask_to_end(self, *, reason: str) -> None:
        """Send SIGTERM and allow the grace time, once."""
        if self.kill_at is None:
            self.reason = self.reason or reason
            self.kill_at = time.monotonic() + float(self.spec["grace_s"])
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.child.algorithm_pid, signal.SIGTERM)

    def kill(self, *, reason: str) -> None:
        """End everything at once."""
        self.reason = self.reason or reason
        processes.kill_tree(pid=os.getpid(), itself=False)

    def run(self) -> None:
        limits = jail.Limits(
            memory_bytes=self.spec["memory_bytes"],
            cpu_seconds=int(self.spec["wall_s"] + self.spec["grace_s"]) + 2,
            file_bytes=self.spec["disk_bytes"],
        )
        signal.signal(signal.SIGTERM, lambda *_: self._stop_asked())
        self.child = jail.start(
            folder=self.folder, hostname=self.spec["hostname"], envs=self.spec["envs"], limits=limits
        )
        code = self._follow()
        if self.reason in ("memory", "disk", "processes"):
            code = 137
        report = {
            "exitCode": code,
            "OOMKilled": self.reason == "memory",
            "reason": self.reason,
            "without_walls": self.child.without_walls,
            "started_at": self.started_at,
            "stopped_at": time.time(),
        }
        draft = self.folder / "exit.json.new"
        draft.write_text(json.dumps(report))
        draft.replace(self.folder / "exit.json")

    def _stop_asked(self) -> None:
        if hasattr(self, "child"):
            self.ask_to_end(reason="stop")

    def _follow(self) -> int:
        """Copy output until the algorithm has ended and its pipes are empty; return the exit code."""
        ended: int | None = None
        patience = 0.0
        with selectors.DefaultSelector() as selector:
            selector.register(self.child.stdout, selectors.EVENT_READ, 1)
            selector.register(self.child.stderr, selectors.EVENT_READ, 2)
            while True:
                for key, _ in selector.select(LOOK_EVERY_S) if selector.get_map() else ():
                    chunk = os.read(key.fd, FRAME_BYTES)
                    if chunk:
                        self.log.write(stream=key.data, chunk=chunk)
                    else:
                        selector.unregister(key.fd)
                if not selector.get_map() and ended is None:
                    time.sleep(LOOK_EVERY_S / 5)  # the outputs are closed, the end is a moment away
                ended = self._reap() if ended is None else ended
                if ended is None:
                    self._look()
                elif not selector.get_map() or time.monotonic() > patience > 0:
                    return ended
                elif patience == 0:
                    # What the algorithm left behind may hold the pipes open for ever.
                    processes.kill_tree(pid=os.getpid(), itself=False)
                    patience = time.monotonic() + 1

    def _reap(self) -> int | None:
        """Collect ended children; return the algorithm's exit code once it is among them."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return 137
            if pid == 0:
                return None
            if pid == self.child.pid:
                return os.WEXITSTATUS(status) if os.WIFEXITED(status) else 128 + os.WTERMSIG(status)

    def _look(self) -> None:
        """Compare with the limits."""
        pids = processes.descendants(pid=os.getpid())
        if processes.resident_bytes(pids=pids) > self.spec["memory_bytes"]:
            self.kill(reason="memory")
        elif len(pids) > MAX_PROCESSES:
            self.kill(reason="processes")
        elif self.kill_at is not None:
            if time.monotonic() >= self.kill_at:
                self.kill(reason="stop")
        elif time.time() - self.started_at > self.spec["wall_s"]:
            self.ask_to_end(reason="duration")
        self.looks += 1
        if self.looks % SIZE_EVERY == 0 and _size(self.folder / "data" / "outputs") > self.spec["disk_bytes"]:
            self.kill(reason="disk")


def _size(folder: Path) -> int:
    total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):
                total += (Path(place) / name).lstat().st_size
    return total


def _lock(folder: Path) -> IO[str] | None:
    handle = (folder / "runner.lock").open("a+")
    for _ in range(20):  # whoever only looks holds the lock for a moment too
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return handle
        time.sleep(0.02)
    handle.close()
    return None


def main(argv: list[str]) -> int:
    """Run the algorithm of one job folder unless somebody does or did."""
    folder = Path(argv[1])
    handle = _lock(folder)
    if handle is None or outcome(folder=folder) is not None:
        return 0
    jail.adopt_orphans()
    watch = _Watch(folder=folder, spec=json.loads((folder / "run.json").read_text()))
    handle.truncate(0)
    signature = {"run": watch.spec["run"], "pid": os.getpid(), "started_at": watch.started_at}
    handle.write(json.dumps(signature) + "\n")
    handle.flush()
    try:
        watch.run()
    finally:
        jail.clean_up(folder=folder)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
