"""Who holds a lease: a name that tells whether the process behind it still lives.

A process that was killed cannot give its leases back. Whoever starts next on the same machine can see that it is gone
and need not wait for them to run out; leases held on other machines are left alone and run out by themselves.
"""

from __future__ import annotations

import os
import socket
import uuid
from pathlib import Path

_PROC = Path("/proc")


def new_holder() -> str:
    """Return a name for one step of this process: machine, process, and something that no other step has."""
    return f"{_machine()}|{os.getpid()}|{_told(os.getpid())[1]}|{uuid.uuid4().hex}"


def is_dead(holder: str) -> bool:
    """Say whether the process that took this name is certainly gone.

    False for a name of another machine, or of another container: its process ids mean nothing here.
    """
    machine, _, rest = holder.partition("|")
    pid, _, started = rest.partition("|")
    if machine != _machine() or not pid.isdigit():
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    state, now_started = _told(int(pid))
    # What has ended keeps its number until somebody asks how; in a container that may be nobody.
    # Process ids come round again: the same number started at another time is somebody else.
    return state in {"Z", "X"} or started.partition("|")[0] != now_started


def _machine() -> str:
    try:
        space = (_PROC / "self/ns/pid").readlink().name  # a container has process ids of its own
    except OSError:
        space = ""
    return f"{socket.gethostname()[:40]}/{space}"


def _told(pid: int) -> tuple[str, str]:
    """Return a process's state and when it started, in ticks since boot; "" where the system does not tell.

    Source: proc_pid_stat(5), fields 3 and 22; the name before them may hold spaces and brackets.
    """
    try:
        fields = (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
        return fields[0], fields[19]
    except (OSError, IndexError):
        return "", ""
