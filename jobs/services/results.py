"""Fetches what jobs leave, keeps it, and hands it out.

A node deletes a job's files and its row when its storage time is over; what is archived here stays. Each file is written
under a name that follows from its job and place, so that fetching again after a crash replaces it.
"""

from __future__ import annotations

import hashlib
import mimetypes
import tempfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import PurePosixPath
from typing import IO, Any

from django.conf import settings
from django.core.files import File
from django.core.files.storage import default_storage
from django.db import transaction
from django.db.models import F, Q, QuerySet, Sum

from jobs.access import Action, Actor, require
from jobs.errors import Missing, PortalError
from jobs.lifecycle import TERMINAL, State
from jobs.models import Act, AuditEntry, Job, JobEvent, LogChunk, Result
from jobs.models.jobs import OUTCOMES
from jobs.ocean.compute import ComputeBackend, ResultEntry
from jobs.ocean.errors import OceanError
from jobs.ocean.signing import Proof
from jobs.services import audit
from jobs.services.budget import OutOfBudget, Purpose
from jobs.services.gateway import Clock, NoTurn, has_room, open_node, signed
from jobs.services.holders import new_holder
from jobs.services.unpacking import Damaged, LeftOut, unpack
from jobs.services.vault import VaultLocked

LEASE = timedelta(seconds=120)
RENEW_EVERY_BYTES = 64 * 2**20
DOWNLOAD_MAX_S = 2.5 * 3600  # below the queue's limit for this task
TRIES_WHILE_COLLECTING = (
    4  # then the job ends with what is here, and the rest is tried again until the node's expiry
)
RETRY = timedelta(seconds=15)
RETRY_LATE = timedelta(minutes=10)
RETRY_STORAGE = timedelta(minutes=1)
KEEP_TRYING = timedelta(days=7)  # where a node does not say how long it keeps results
IN_MEMORY_MAX = 4 * 2**20
ALGORITHM_LOG = "algorithmLog"
OUTPUT = "output"
LOOK_LASTS = timedelta(hours=1)  # looks of a person at a file that are one look


class TooLarge(PortalError):
    """A result is larger than the portal keeps."""

    code = "too_large"


class StorageRefuses(PortalError):
    """The portal's own storage did not take a file: full, or not writable."""

    code = "storage"


class LeaseLost(Exception):
    """Somebody else collects this job now: write nothing more."""


@dataclass(frozen=True)
class OpenedResult:
    """A result to be sent to a person. stream: binary, to be closed by whoever sends it; size in bytes."""

    name: str
    size: int
    sha256: str
    content_type: str
    stream: IO[bytes]


def collect(*, job_id: uuid.UUID, clock: Clock) -> None:
    """Fetch every result of an ended job that is not here yet; when all were tried, end the job with its verdict.

    Safe to run twice, late, or never. A result that cannot be fetched keeps the reason in its row and is tried again
    until the node's expiry; it never turns a success into a failure.
    """
    holder = new_holder()
    now = clock()
    if not has_room(job_id=job_id, now=now):
        return
    if not Job.objects.claim(job_id=job_id, holder=holder, now=now, until=now + LEASE):
        return
    try:
        job = Job.objects.select_related("wallet", "node").get(pk=job_id)
        if job.state == State.COLLECTING or job.state in TERMINAL:
            _collect(job=job, holder=holder, clock=clock)
    except LeaseLost:
        return
    finally:
        Job.objects.release(job_id=job_id, holder=holder)


def open_result(*, actor: Actor, job_id: uuid.UUID, result_id: int, now: datetime) -> OpenedResult:
    """Open an archived result to be sent, and note who fetched it.

    Raises:
        NotAllowed, Missing
    """
    result = _archived(actor=actor, job_id=job_id, result_id=result_id)
    opened = open_archived(result)
    try:
        with transaction.atomic():
            JobEvent.objects.create(
                job_id=job_id,
                at=now,
                kind=JobEvent.Kind.DOWNLOADED,
                message=f"{actor.name} fetched {result}."[:500],
                actor_id=actor.user_id,
                data={"result_id": result.pk},
            )
            audit.record(act=Act.DOWNLOADED, by=actor, now=now, **_told(result))
    except BaseException:  # nobody would close it
        opened.stream.close()
        raise
    return opened


def open_archived(result: Result) -> OpenedResult:
    """Open a result that the caller has looked up for somebody who may have it.

    Raises:
        Missing: its file is not in the archive.
    """
    name = PurePosixPath(result.path or result.name).name
    return OpenedResult(
        name=name,
        size=result.size or 0,
        sha256=result.sha256,
        content_type=mimetypes.guess_type(name)[0] or "application/octet-stream",
        stream=_open(result),
    )


def peek(
    *,
    actor: Actor,
    job_id: uuid.UUID,
    result_id: int,
    max_bytes: int,
    now: datetime,
    from_end: bool = False,
) -> bytes:
    """Return the first (or last) bytes of an archived result, for a preview, and note who looked.

    A look is access too: most files fit into one. A page shows it again with every refresh, so the audit record names each
    person once an hour for a file.

    Raises:
        NotAllowed, Missing
    """
    result = _archived(actor=actor, job_id=job_id, result_id=result_id)
    _note_look(actor=actor, result=result, now=now)
    with _open(result) as stream:
        if from_end and (result.size or 0) > max_bytes:
            stream.seek((result.size or 0) - max_bytes)
        return bytes(stream.read(max_bytes))


def _note_look(*, actor: Actor, result: Result, now: datetime) -> None:
    about = _told(result)
    seen = AuditEntry.objects.filter(
        team_id=actor.team_id,
        kind=about["thing"].kind,
        object_id=about["thing"].id,
        act=Act.LOOKED,
        user_number=actor.user_id,
        after__result_id=result.pk,
        at__gt=now - LOOK_LASTS,
    )
    if not seen.exists():
        with transaction.atomic():
            audit.record(act=Act.LOOKED, by=actor, now=now, **about)


def _told(result: Result) -> dict[str, Any]:
    """Return what the audit record tells of a result."""
    return {
        "thing": audit.Thing("job", str(result.job_id), result.job.name),
        "after": {
            "result": str(result),
            "result_id": result.pk,
            "size": result.size,
            "sha256": result.sha256,
        },
    }


def _archived(*, actor: Actor, job_id: uuid.UUID, result_id: int) -> Result:
    result = (
        Result.objects.filter(pk=result_id, job_id=job_id, job__team_id=actor.team_id)
        .select_related("job")
        .first()
    )
    if result is None:
        raise Missing("There is no such result in this team.")
    require(actor, Action.SEE_LOGS if result.is_log else Action.SEE_RESULTS)
    _refuse_absent(result)
    return result


def _refuse_absent(result: Result) -> None:
    if result.removed_at is not None:
        raise Missing(
            f"This result was removed on {result.removed_at:%Y-%m-%d} by the team's rule for how long results are kept.",
            code="removed",
        )
    if result.status != Result.Status.ARCHIVED or not default_storage.exists(_stored(result)):
        raise Missing("This result is not in the portal's archive.")


def _open(result: Result) -> IO[bytes]:
    """Open an archived file. The team's rule may remove it after its row was read."""
    _refuse_absent(result)
    try:
        return default_storage.open(_stored(result), "rb")
    except FileNotFoundError:
        raise Missing("This result is not in the portal's archive any more.") from None


def _collect(*, job: Job, holder: str, clock: Clock) -> None:
    entries = [ResultEntry.model_validate(entry) for entry in (job.report or {}).get("results", [])]
    for listed in entries:
        Result.objects.get_or_create(
            job=job, index=listed.index, path="", defaults={"name": listed.name, "kind": listed.kind[:40]}
        )
    by_index = {entry.index: entry for entry in entries}
    missing = _missing(job)
    due = missing.filter(Q(attempts=0) | Q(next_try_at__isnull=False)).order_by(
        "index"
    )  # the rest is hopeless
    if job.state == State.COLLECTING:
        due = due.exclude(attempts__gt=0, next_try_at__gt=clock())
    alive = _renewer(job=job, holder=holder, clock=clock)
    wait_until: datetime | None = None
    trouble = ""
    try:
        with open_node(node=job.node, purpose=Purpose.ACT, clock=clock) as backend:
            for result in due:
                entry = by_index.get(result.index)
                if entry is None:
                    continue
                alive(-1)  # several that fail slowly would outlast the lease
                try:
                    _fetch(job=job, result=result, entry=entry, backend=backend, alive=alive, clock=clock)
                except OutOfBudget as error:
                    wait_until = error.available_at
                    break
                except (OceanError, NoTurn, VaultLocked, TooLarge) as error:
                    if error.code == "rate_limited":  # says nothing about the result
                        wait_until = clock() + RETRY
                        break
                    alive(-1)  # the failure may be that somebody else is at it
                    _failed(job=job, result=result, error=error, now=clock())
        if job.node.can.packed_outputs:
            packed = Result.objects.filter(job=job, kind=OUTPUT, path="", unpacked_at=None)
            for archive in packed.filter(status=Result.Status.ARCHIVED):
                _unpack(job=job, archive=archive, alive=alive, clock=clock)
    except (
        StorageRefuses
    ) as error:  # says nothing about the node or the result: wait until an operator made room
        wait_until, trouble = clock() + RETRY_STORAGE, error.message
        _missing(job).filter(next_try_at__isnull=False).update(next_try_at=wait_until)
    if job.state == State.COLLECTING:
        _finish(job=job, holder=holder, now=clock(), wait_until=wait_until, trouble=trouble)
    else:
        _note_repaired(job=job, now=clock())


def _fetch(
    *,
    job: Job,
    result: Result,
    entry: ResultEntry,
    backend: ComputeBackend,
    alive: Callable[[int], None],
    clock: Clock,
) -> None:
    here = Result.objects.filter(job=job, path="", status=Result.Status.ARCHIVED)
    limit = settings.MAX_RESULT_BYTES - (here.aggregate(total=Sum("size"))["total"] or 0)
    if limit <= 0 or (entry.size is not None and entry.size > limit):
        raise TooLarge(
            f"{entry.name} has {entry.size} bytes; this portal keeps up to {settings.MAX_RESULT_BYTES} bytes of a job."
        )
    with ExitStack() as stack:

        def open_it(proof: Proof) -> Iterator[bytes]:
            # Inside the wallet's turn until the head of the answer is here; the body is read after it.
            alive(-1)
            return stack.enter_context(
                backend.open_result(
                    job_id=job.node_job_id, entry=entry, proof=proof, max_bytes=limit, total_s=DOWNLOAD_MAX_S
                )
            )

        blocks = signed(
            backend=backend,
            wallet=job.wallet,
            node=job.node,
            clock=clock,
            act=open_it,
            call="fetch a result",
            job=job,
            asked_by=job.owner_id,
        )
        _archive(job=job, result=result, blocks=blocks, alive=alive, clock=clock)
    if result.kind == ALGORITHM_LOG:
        LogChunk.objects.filter(job=job).delete()


def _archive(
    *, job: Job, result: Result, blocks: Iterator[bytes], alive: Callable[[int], None], clock: Clock
) -> None:
    """Write a stream into storage with its hash, then say so in the row: a crash in between is repaired by repeating."""
    digest = hashlib.sha256()
    size = 0
    try:
        with tempfile.SpooledTemporaryFile(max_size=IN_MEMORY_MAX) as buffer:
            for block in blocks:
                digest.update(block)
                size += len(block)
                buffer.write(block)
                alive(size)
            buffer.seek(0)
            name = _storage_name(job=job, result=result)
            alive(-1)  # whoever took the lease over may have stored this very file, and its row knows of it
            if default_storage.exists(name):
                default_storage.delete(name)
            stored = default_storage.save(name, _Watched(buffer, alive))
    except OSError as error:
        raise StorageRefuses(
            f"The portal's storage did not take {result}: {error.strerror or type(error).__name__}. "
            "An operator has to look at its disk; then it goes on by itself."
        ) from error
    alive(-1)
    Result.objects.filter(pk=result.pk).update(
        status=Result.Status.ARCHIVED,
        file=stored,
        size=size,
        sha256=digest.hexdigest(),
        trouble="",
        # Where the job has ended, it stays due until that is told: see _note_repaired.
        next_try_at=None if job.state == State.COLLECTING else result.next_try_at,
        archived_at=clock(),
    )


class _Watched(File):  # type: ignore[type-arg]  # takes no type argument at run time
    """A file that says now and then how far it was read: storing many gigabytes outlasts a lease too."""

    def __init__(self, file: Any, alive: Callable[[int], None]) -> None:
        super().__init__(file)
        self._buffer, self._alive = file, alive

    def read(self, size: int = -1) -> Any:
        """Read on, if the lease is still ours."""
        self._alive(self._buffer.tell())
        return self._buffer.read(size)


def _unpack(*, job: Job, archive: Result, alive: Callable[[int], None], clock: Clock) -> None:
    """Let the files of an outputs archive stand as results of their own."""
    left_out: list[LeftOut] = []
    with default_storage.open(_stored(archive), "rb") as stream:
        for item in unpack(stream, max_files=settings.MAX_ARCHIVE_FILES, max_bytes=settings.MAX_RESULT_BYTES):
            if isinstance(item, LeftOut):
                left_out.append(item)
                continue
            result, _created = Result.objects.get_or_create(
                job=job,
                index=archive.index,
                path=item.path,
                defaults={"name": PurePosixPath(item.path).name, "kind": OUTPUT},
            )
            if result.status in (Result.Status.ARCHIVED, Result.Status.REMOVED):
                continue
            try:
                _archive(job=job, result=result, blocks=item.blocks(), alive=alive, clock=clock)
            except Damaged:
                Result.objects.filter(pk=result.pk).update(
                    status=Result.Status.FAILED, trouble="The archive ends in the middle of this file."
                )
                left_out.append(LeftOut(item.path, "is damaged"))
                break
    said = "; ".join(f"{x.name} {x.why}" for x in left_out[:5])
    more = f"; and {len(left_out) - 5} more" if len(left_out) > 5 else ""
    Result.objects.filter(pk=archive.pk).update(
        unpacked_at=clock(), trouble=(f"Left out: {said}{more}." if said else "")[:500]
    )


def _failed(*, job: Job, result: Result, error: Any, now: datetime) -> None:
    attempts = result.attempts + 1
    expires_at = job.node_expires_at or ((job.finished_at or now) + KEEP_TRYING)
    pause = RETRY if attempts < TRIES_WHILE_COLLECTING else RETRY_LATE
    hopeless = error.code == TooLarge.code or now + pause >= expires_at
    Result.objects.filter(pk=result.pk).update(
        status=Result.Status.FAILED,
        trouble=error.message[:500],
        attempts=attempts,
        next_try_at=None if hopeless else now + pause,
    )


def _finish(*, job: Job, holder: str, now: datetime, wait_until: datetime | None, trouble: str) -> None:
    """End the job once every result is here or was tried often enough; before that, say when to go on."""
    open_ones = _missing(job)
    unfinished = [r for r in open_ones if r.next_try_at and r.attempts < TRIES_WHILE_COLLECTING]
    if wait_until is not None or unfinished:
        at = wait_until or min(r.next_try_at for r in unfinished if r.next_try_at)
        trouble = trouble or (unfinished[0].trouble if unfinished else "")
        Job.objects.filter(pk=job.pk, state=State.COLLECTING, lease_holder=holder).update(
            next_check_at=at,
            trouble=trouble,
            version=F("version") + 1,
        )
        return
    Job.objects.move(
        job_id=job.pk,
        before=State.COLLECTING,
        after=OUTCOMES[job.outcome],
        now=now,
        holder=holder,
        reason=job.reason,
        message=(job.message + _missing_note(open_ones.count()))[:500],
        ended_at=now,
        trouble="",
        next_check_at=None,
        data={"results": Result.objects.filter(job=job, status=Result.Status.ARCHIVED).count()},
    )


def _note_repaired(*, job: Job, now: datetime) -> None:
    """Say of an ended job that results which were missing are here now."""
    late = Result.objects.filter(job=job, status=Result.Status.ARCHIVED, next_try_at__isnull=False)
    with transaction.atomic():
        repaired = late.update(next_try_at=None)
        if not repaired:
            return
        left = _missing(job).count()
        Job.objects.filter(pk=job.pk).update(
            message=job.message.replace(_missing_note(left + repaired), _missing_note(left)),
            version=F("version") + 1,
        )
        JobEvent.objects.create(
            job=job,
            at=now,
            kind=JobEvent.Kind.RESULT,
            message=f"{repaired} missing results are here now.",
        )


def _missing(job: Job) -> QuerySet[Result]:
    there_or_gone = (Result.Status.ARCHIVED, Result.Status.REMOVED)  # what was removed is not fetched again
    return Result.objects.filter(job=job, path="").exclude(status__in=there_or_gone)


def _missing_note(count: int) -> str:
    return f" {count} of its results could not be fetched yet." if count else ""


def _renewer(*, job: Job, holder: str, clock: Clock) -> Callable[[int], None]:
    """Return a function that keeps the lease during a long download; -1 asks at once, a size now and then."""
    last_size, last_at = 0, clock()

    def alive(size: int) -> None:
        nonlocal last_size, last_at
        now = clock()
        if size >= 0 and size - last_size < RENEW_EVERY_BYTES and now - last_at < LEASE / 4:
            return
        last_size, last_at = max(size, 0), now
        if not Job.objects.renew(job_id=job.pk, holder=holder, now=now, until=now + LEASE):
            raise LeaseLost

    return alive


def _stored(result: Result) -> str:
    return result.file.name or ""


def _storage_name(*, job: Job, result: Result) -> str:
    # Never a name from outside: a number cannot point anywhere else. The extension is for people who look into the folder.
    suffix = PurePosixPath(result.path or result.name).suffix
    clean = suffix if len(suffix) <= 8 and suffix[1:].isascii() and suffix[1:].isalnum() else ""
    return f"results/{job.team_id}/{job.pk}/{result.index}-{result.pk}{clean}"
