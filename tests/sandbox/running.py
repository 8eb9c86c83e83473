"""Starts a real sandbox process for a test, on free ports."""

import json
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

START_DEADLINE_S = 60.0


@dataclass
class Box:
    """A running sandbox: what it wrote into sandbox.json, and its process."""

    state: Path
    process: "subprocess.Popen[bytes]"
    info: dict[str, Any]

    @property
    def node_url(self) -> str:
        return str(self.info["node_url"])

    @property
    def provider_url(self) -> str:
        return str(self.info["provider_url"])

    @property
    def aquarius_url(self) -> str:
        return str(self.info["aquarius_url"])

    @property
    def rpc_url(self) -> str:
        return str(self.info["rpc_url"])

    def did(self, name: str) -> str:
        """Return the DID of a demo asset."""
        return str(self.info["assets"][name]["did"])

    def rows(self, sql: str, *values: object) -> list[tuple[Any, ...]]:
        """Read the node's own database, e.g. `SELECT count(*) FROM runs`."""
        db = sqlite3.connect(f"file:{self.state / 'node.sqlite3'}?mode=ro", uri=True)
        try:
            return db.execute(sql, values).fetchall()
        finally:
            db.close()

    def kill(self) -> None:
        """Send SIGKILL to the sandbox alone; algorithms go on, as containers do."""
        self.process.kill()
        self.process.wait()

    def stop(self, timeout: float = 10) -> int:
        """Send SIGTERM and return the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout)


def start_sandbox(
    state: Path,
    *,
    step: float = 0.05,
    rate_limit: int = 100_000,
    settle: float = 3600,
    storage_expiry: int = 604_800,
    chain: bool = True,
    node_port: int = 0,
    chain_port: int = 0,
    provider_port: int = 0,
    aquarius_port: int = 0,
) -> Box:
    """Start a sandbox and wait until it serves; ports 0 mean the ones of the last start, or any."""
    command = [sys.executable, "-m", "ocean_portal.sandbox", "--state", str(state)]
    command += ["--node-port", str(node_port), "--chain-port", str(chain_port), "--step", str(step)]
    command += ["--provider-port", str(provider_port), "--aquarius-port", str(aquarius_port)]
    command += [
        "--rate-limit",
        str(rate_limit),
        "--settle",
        str(settle),
        "--storage-expiry",
        str(storage_expiry),
    ]
    command += [] if chain else ["--no-chain"]
    root = Path(__file__).parents[2]
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(command, cwd=root, stdout=output, stderr=output, stdin=subprocess.DEVNULL)
        deadline = time.monotonic() + START_DEADLINE_S
        while process.poll() is None and time.monotonic() < deadline:
            with suppress(FileNotFoundError):
                info = json.loads((state / "sandbox.json").read_text())
                if info["pid"] == process.pid:
                    return Box(state=state, process=process, info=info)
            time.sleep(0.05)
        process.kill()
        process.wait()
        output.seek(0)
        raise AssertionError(f"the sandbox did not start: {output.read().decode()}")


@contextmanager
def running_sandbox(state: Path, **options: Any) -> Iterator[Box]:
    """Run a sandbox (see start_sandbox for the options) for the time of a with block."""
    box = start_sandbox(state, **options)
    try:
        yield box
    finally:
        if box.process.poll() is None:
            with suppress(subprocess.TimeoutExpired):
                box.stop()
        if box.process.poll() is None:
            box.kill()
