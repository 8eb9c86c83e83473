"""The queue: a hint about what to do, never the truth about what is done. The only importer of django_q.

Tasks are named as dotted text, because `jobs.tasks` stands above this module; a test resolves every name. An enqueue
inside a transaction commits or vanishes with it (django-q2's ORM broker on the portal's own database).
"""

from __future__ import annotations

import mmap
import os
import signal
import threading
import time
from enum import StrEnum
from uuid import UUID

from django_q.cluster import Cluster
from django_q.models import Schedule
from django_q.tasks import async_task


class Task(StrEnum):
    """What the worker can be asked to do."""

    PULSE = "jobs.tasks.pulse"
    ADVANCE = "jobs.tasks.advance"
    REFRESH = "jobs.tasks.refresh"
    FOLLOW = "jobs.tasks.follow"
    COLLECT = "jobs.tasks.collect"
    SETTLE = "jobs.tasks.settle"
    ACT = "jobs.tasks.act"
    LOOK_AT_ESCROW = "jobs.tasks.look_at_escrow"
    CHECK_BLOCKS = "jobs.tasks.check_blocks"
    RECONCILE = "jobs.tasks.reconcile"
    LOOK_AT_NODE = "jobs.tasks.look_at_node"
    REMOVE_RESULTS = "jobs.tasks.remove_results"
    SEND_LETTER = "jobs.tasks.send_letter"
    TELL = "jobs.tasks.tell"
    LOOK_AT_BALANCES = "jobs.tasks.look_at_balances"
    LOGIN = "jobs.tasks.log_in"


# Seconds after which the queue ends a task's process. What is not named here has Q_CLUSTER["timeout"].
TIME_LIMITS_S = {Task.COLLECT: 3 * 3600}

STOP_WITHIN_S = 15

# One byte that the worker's processes share, as they are forked: no lock that a killed process could keep.
_stopping = mmap.mmap(-1, 1)


def enqueue(task: Task, *ids: int | str | UUID) -> None:
    """Ask the worker to run a task soon. Ids only: the queue stores its arguments in clear."""
    limit = TIME_LIMITS_S.get(task)
    plain = [str(i) if isinstance(i, UUID) else i for i in ids]
    async_task(str(task), *plain, **({"timeout": limit} if limit else {}))


def run_worker() -> None:
    """Run the worker until SIGTERM or Ctrl-C: a pulse at once, another each minute if the last one got lost.

    Ends when the tasks at hand are done, at the latest after 15 s: what was cut off is due again for the next worker.
    """
    Schedule.objects.update_or_create(
        name="pulse", defaults={"func": str(Task.PULSE), "schedule_type": Schedule.MINUTES, "minutes": 1}
    )
    enqueue(Task.PULSE)
    os.register_at_fork(after_in_child=_end_in_time)
    cluster = Cluster()
    cluster.start()
    # django-q2's own handler waits for a process that the same signal may have ended. Ours only takes a note.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _note_stop)
    while cluster.sentinel.is_alive() and not is_stopping():
        time.sleep(0.2)
    time.sleep(0.3)  # a signal to the whole group has ended the sentinel by now
    if cluster.sentinel.is_alive():
        cluster.stop_event.set()
        cluster.sentinel.join(STOP_WITHIN_S + 2)


def is_stopping() -> bool:
    """Say whether the worker was told to end: long tasks look at this now and then."""
    return _stopping[0] != 0


def _end_in_time() -> None:
    """Let a process of the worker see to its own end: one that hangs in a task, and those that wait for it, never hear.

    To kill the sentinel would not do: whatever it has started stays behind.
    """
    threading.Thread(target=_wait_for_the_end, daemon=True).start()


def _wait_for_the_end() -> None:
    while not is_stopping():
        time.sleep(1)
    time.sleep(STOP_WITHIN_S)
    os._exit(1)


def _note_stop(*_: object) -> None:
    _stopping[0] = 1
