"""The ways of a free job, in one place: what happens to it around an interruption, and how it should end."""

import io
import tarfile
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from jobs.services import starting
from tests.sandbox.journey.mortal import FUTURE, PAST, Mortal, closed_port
from tests.sandbox.journey.portal import wait_for

OF_THE_JOB = "UPDATE jobs_node SET base_url = ? WHERE id IN (SELECT node_id FROM jobs_job)"
RESULTS = frozenset({"algorithm.log", "outputs.tar", "words.csv", "words.svg"})


# What happens to a Mortal, or to one of its kinds.
Act = Callable[[Any], None]


def nothing(portal: Mortal) -> None:
    """Let things take their course."""


@dataclass(frozen=True)
class Way:
    """What happens to a job around an interruption, and how it should end.

    before: prepares the database, or an earlier death; meanwhile: what happens while the worker lives; after: what is
    put right after its death. hurried: whether pauses pass quickly before it. jobs, runs: how many jobs and starts of
    the algorithm the node should have.
    """

    seconds: float = 0
    before: Act = nothing
    meanwhile: Act = nothing
    after: Act = nothing
    hurried: bool = True
    state: str = "SUCCEEDED"
    reason: str = ""
    jobs: int = 1
    runs: int = 1
    files: frozenset[str] = RESULTS
    shortened: dict[str, float] = field(default_factory=dict)


def sql(*statements: str) -> Callable[[Mortal], None]:
    """Return what changes the portal's database behind its back."""

    def change(portal: Mortal) -> None:
        for statement in statements:
            portal.write(statement)

    return change


def died(*earlier: str, nth: int = 1) -> Callable[[Mortal], None]:
    """Return an earlier life: workers that died after these facts, or after so many like it."""

    def die(portal: Mortal) -> None:
        for at in earlier:
            portal.begin_to_die(at, nth=nth)
            portal.wait_for_death()

    return die


def node_is_away(portal: Mortal) -> None:
    """Let the portal find nobody where the node was."""
    portal.write(OF_THE_JOB, f"http://127.0.0.1:{closed_port()}")


def node_is_back(portal: Mortal) -> None:
    """Let the portal find the node again."""
    portal.write(OF_THE_JOB, portal.service_url)


def once_it_runs(act: Act) -> Act:
    """Return an act that waits until the algorithm runs and the portal knows it."""

    def wait_and_act(portal: Mortal) -> None:
        portal.wait_for_state(portal.job_id, "RUNNING")
        wait_for(lambda: portal.runs(portal.job_id), "the start of the algorithm")
        act(portal)

    return wait_and_act


def both(*acts: Act) -> Act:
    """Return several acts as one."""

    def do(portal: Any) -> None:
        for act in acts:
            act(portal)

    return do


def archive_lies(portal: Mortal) -> None:
    """Let the node's archive of outputs end, with the size it has, in the middle of its last file."""
    (node_job,) = portal.at_node(portal.job_id)
    (path,) = portal.box.state.glob(f"**/{node_job}/outputs.tar")
    content = bytearray(path.read_bytes())
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        last = archive.getmembers()[-1]
    last.size = len(content)
    content[last.offset : last.offset + tarfile.BLOCKSIZE] = last.tobuf(tarfile.USTAR_FORMAT)
    path.write_bytes(content)


def ended_without_one_result(portal: Mortal) -> None:
    """Let a worker end the job, then make it so that one result could not be fetched at the time."""
    portal.start_worker()
    portal.end_of_job()
    portal.kill_worker()
    portal.write(
        "UPDATE jobs_result SET status = 'failed', file = '', attempts = 4, next_try_at = ? WHERE name = 'algorithm.log'",
        PAST,
    )
    portal.write("UPDATE jobs_job SET message = message || ' 1 of its results could not be fetched yet.'")


def put_aside_while_collecting(portal: Mortal) -> None:
    """Put the job aside while it was collecting, and let a person ask to go on."""
    died("refreshing._end: move COLLECTING")(portal)
    portal.write("UPDATE jobs_job SET state = 'NEEDS_ATTENTION', attention_from = 'COLLECTING'")
    portal.write("DELETE FROM django_q_ormq")
    portal.call(f"answer = launching.go_on(actor=actor, job_id=uuid.UUID({portal.job_id!r}), now=clock())")


ASIDE_JOB = (
    "UPDATE jobs_job SET state = 'NEEDS_ATTENTION', attention_from = 'REQUESTED', reason = 'internal_error'"
)
WATCHED = f"UPDATE jobs_job SET watched_until = '{FUTURE}'"
WISH = f"UPDATE jobs_job SET cancel_requested_at = '{PAST}', next_check_at = '{PAST}'"
QUEUE_LOST = "DELETE FROM django_q_ormq"
SENT = f"UPDATE jobs_job SET state = 'STARTING', start_sent_at = '{PAST}', start_attempts = "

WAYS = {
    "plain": Way(),
    "after a death": Way(before=died("starting._send_start.send: record"), hurried=False),
    "after the death of a follower": Way(
        seconds=4, before=both(sql(WATCHED), died("following._append: create"))
    ),
    "node never asked": Way(before=sql("DELETE FROM jobs_nodebudget")),
    "watched": Way(seconds=1.5, before=sql(WATCHED)),
    "followed for long": Way(
        seconds=2.5, before=sql(WATCHED), shortened={"jobs.services.following.FOLLOW_FOR": 1}
    ),
    "short pulse": Way(shortened={"jobs.tasks.PULSE_FOR_S": 0.5}),
    "queue lost": Way(before=sql(QUEUE_LOST)),
    "queue lost while collecting": Way(
        before=both(died("refreshing._end: move COLLECTING"), sql(QUEUE_LOST))
    ),
    "stopped": Way(
        seconds=60, meanwhile=once_it_runs(sql(WISH)), state="CANCELLED", reason="stopped", files=frozenset()
    ),
    "stopped before the start": Way(
        before=sql(WISH), state="CANCELLED", reason="stopped", jobs=0, runs=0, files=frozenset()
    ),
    "start never arrived": Way(before=sql(SENT + "1")),
    "start never arrived three times": Way(
        before=sql(SENT + "3"),
        state="NEEDS_ATTENTION",
        reason="start_lost",
        jobs=0,
        runs=0,
        files=frozenset(),
    ),
    "node away": Way(before=node_is_away, after=node_is_back),
    "node away for hours": Way(
        before=both(node_is_away, sql(f"UPDATE jobs_job SET trouble_count = {starting.UNANSWERED_MAX}")),
        state="NEEDS_ATTENTION",
        reason="start_unanswered",
        jobs=0,
        runs=0,
        files=frozenset(),
    ),
    "node away while it runs": Way(seconds=1, meanwhile=once_it_runs(node_is_away), after=node_is_back),
    "node away while collecting": Way(
        before=both(died("refreshing._end: move COLLECTING"), node_is_away), after=node_is_back
    ),
    "node asked often": Way(
        before=sql(
            "DELETE FROM jobs_nodebudget",
            f"UPDATE jobs_node SET requests_per_minute = 2, next_look_at = '{FUTURE}'",
        ),
        after=sql("UPDATE jobs_node SET requests_per_minute = 10000"),
    ),
    "node refuses": Way(
        before=sql("UPDATE jobs_environment SET env_id = '0xnone-0xnone'"),
        state="FAILED",
        reason="unknown_environment",
        jobs=0,
        runs=0,
        files=frozenset(),
    ),
    "node forgets": Way(
        before=sql(
            f"UPDATE jobs_job SET state = 'RUNNING', node_job_id = '0xab-none', accepted_at = '{PAST}'"
        ),
        state="NEEDS_ATTENTION",
        reason="node_forgot",
        jobs=0,
        runs=0,
        files=frozenset(),
    ),
    "node never ends it": Way(
        before=sql(
            "UPDATE jobs_job SET state = 'RUNNING', node_job_id = '0xab-none', "
            f"accepted_at = '{PAST}', cancel_requested_at = '{PAST}'"
        ),
        state="NEEDS_ATTENTION",
        reason="never_ended",
        jobs=0,
        runs=0,
        files=frozenset(),
    ),
    "archive cut off": Way(
        before=both(died("refreshing._end: move COLLECTING"), archive_lies),
        files=frozenset({"algorithm.log", "outputs.tar"}),
    ),
    "fetched twice": Way(before=died("results._archive: save")),
    "result repaired": Way(before=ended_without_one_result),
    "error nobody foresaw": Way(
        before=sql("UPDATE jobs_job SET container = '{}'"),
        state="NEEDS_ATTENTION",
        reason="internal_error",
        jobs=0,
        runs=0,
        files=frozenset(),
    ),
    "put aside while collecting": Way(before=put_aside_while_collecting),
    "a person stops": Way(state="CANCELLED", reason="stopped", jobs=0, runs=0, files=frozenset()),
    "a person goes on": Way(before=sql(ASIDE_JOB)),
    "a person gives up": Way(
        before=sql(ASIDE_JOB), state="FAILED", reason="internal_error", jobs=0, runs=0, files=frozenset()
    ),
}
