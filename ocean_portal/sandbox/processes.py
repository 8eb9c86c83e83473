"""What the kernel tells about a process tree, and how to end all of it. Knows nothing without /proc."""

import contextlib
import os
import signal
from pathlib import Path

PAGE = os.sysconf("SC_PAGE_SIZE")


def descendants(*, pid: int) -> list[int]:
    """Return the ids of all children, grandchildren and so on that live now."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError, ValueError):
            # The name in parentheses may hold blanks; what follows it does not.
            parent = int(entry.read_bytes().rpartition(b")")[2].split()[1])
            children.setdefault(parent, []).append(int(entry.parent.name))
    found: list[int] = []
    waiting = [pid]
    while waiting:
        for child in children.get(waiting.pop(), []):
            found.append(child)
            waiting.append(child)
    return found


def resident_bytes(*, pids: list[int]) -> int:
    """Return the memory that these processes hold now, counted once per process."""
    total = 0
    for pid in pids:
        with contextlib.suppress(OSError, ValueError, IndexError):
            total += int(Path(f"/proc/{pid}/statm").read_bytes().split()[1]) * PAGE
    return total


def kill_tree(*, pid: int, itself: bool) -> None:
    """Send SIGKILL to all descendants, and to the process itself if asked."""
    for victim in [*descendants(pid=pid), *([pid] if itself else [])]:
        with contextlib.suppress(ProcessLookupError):
            os.kill(victim, signal.SIGKILL)
