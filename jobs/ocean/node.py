"""The Ocean Node dialect of a compute service.

Source of paths and bodies: ocean-node 3.2.0 recordings.
"""

import re
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from itertools import groupby
from operator import attrgetter
from typing import Any

from pydantic import ValidationError

from jobs.ocean import aquarius
from jobs.ocean.bodies import credentials, headers, initialize_body, start_body, token_body
from jobs.ocean.compute import (
    CAPABILITIES,
    AssetInput,
    AssetKind,
    AssetState,
    Environment,
    FileInfo,
    JobReport,
    LogPiece,
    Needs,
    NodeIdentity,
    NodeStatus,
    Parsed,
    ResultEntry,
    StartRequest,
    UrlFile,
    parse_environments,
    parse_file_infos,
    parse_jobs,
    parse_one_job,
    same_job,
)
from jobs.ocean.detect import identity_of
from jobs.ocean.downloads import whole
from jobs.ocean.errors import BadAnswer, Rejected, Unreachable
from jobs.ocean.frames import FrameDecoder
from jobs.ocean.needs import parse_order_needs, parse_payment_need
from jobs.ocean.refusals import explain, explain_file, explain_job, explain_price
from jobs.ocean.signing import (
    Pen,
    Proof,
    Signed,
    Token,
    prove_invalidate,
    prove_logs,
    prove_result,
    prove_start_free,
    prove_start_paid,
    prove_stop,
    prove_token,
)
from jobs.ocean.transport import Transport
from jobs.ocean.units import Address

_COMPUTE = "/api/services/compute"
_COMMAND = "/directCommand"
# A node reads nonces as JavaScript numbers, which count exactly up to here.
_NONCE_CAP = 2**53
_TOKEN = re.compile(r"[\x21-\x7e]{1,4096}")
_IDLE_S = 45.0  # for the head, and again for each piece: two together are less than a lease on the job


class OceanNode:
    """Speak with an Ocean Node; implements ComputeBackend."""

    capabilities = CAPABILITIES["ocean-node"]

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def identify(self) -> NodeIdentity:
        """Ask the node what it is.

        Raises: BadAnswer "not_a_node" when it is something else. Source: recording 01, exchange 1.
        """
        answer = self._transport.get_json(path="/", explain=explain)
        return identity_of(answer, host=self._transport.host, dialect="ocean-node")

    def nonce(self, *, address: Address) -> int:
        """Ask for the last nonce that the node took; 0 for an address that it never saw.

        Source: recording 01, exchange 2.
        """
        answer = self._transport.get_json(
            path="/api/services/nonce", params={"userAddress": address}, explain=explain
        )
        value = answer.get("nonce") if isinstance(answer, dict) else None
        text = str(value) if isinstance(value, int | str) and not isinstance(value, bool) else ""
        if not re.fullmatch(r"[0-9]{1,19}", text) or int(text) >= _NONCE_CAP:
            raise BadAnswer(f"{self._transport.host} sent a nonce that is no number.", code="nonce_answer")
        return int(text)

    def environments(self) -> Parsed[Environment]:
        """List the environments. Source: recording 01, exchange 5."""
        return parse_environments(
            self._transport.get_json(path="/api/services/computeEnvironments", explain=explain)
        )

    def initialize(
        self, *, request: StartRequest, consumer: Address, payer: Address, valid_until: int
    ) -> Needs:
        """Ask what has to be on the chain first: of a paid job orders and a payment, of a free one nothing (recording 33).

        A node's fees have no end that counts, so `valid_until` is not sent; that of its answers may be 0 or a number of
        seconds (recording 33, exchange 3).
        Raises: Rejected "token_not_accepted", "too_many_resources", "not_trusted", "raw_not_allowed", "unknown_asset",
        "unknown_environment"; BadAnswer "orders", "payment". Source: recordings 31 to 34.
        """
        if request.payment is None:
            return Needs()
        answer = self._transport.get_json(
            path="/api/services/initializeCompute",
            question=initialize_body(request, payment=request.payment, payer=str(payer)),
            explain=explain_price,
        )
        who = f"{self._transport.host}: The node"
        return Needs(
            orders=parse_order_needs(answer, request=request, who=who, consumer=consumer),
            payment=parse_payment_need(answer, payment=request.payment, who=who),
        )

    def start(self, *, request: StartRequest, proof: Proof) -> JobReport:
        """Start a job: a free one, or with a payment in the request a paid one, whose price the node locks at once.

        Raises: Rejected "busy", "too_many_resources", "nonce", "signature", "token", "unknown_environment",
        "image", "unknown_asset", "not_authorized"; Refused "too_large", "metadata_too_large"; of a paid one also Rejected
        "escrow_funds", "escrow_auth", "escrow_lock_time", "escrow_limit", "escrow_locks", "token_not_accepted",
        "order_missing", "order_invalid", "not_trusted", "raw_not_allowed"; Refused "no_duration".
        Source: recording 33, exchanges 42 and 53; recording 11, exchange 2; recording 24, exchange 5; recording 17; paid
        recordings 31, 32, 33 and 35.
        """
        is_paid = request.payment is not None
        proven = _proven(proof, prove_start_paid if is_paid else prove_start_free)
        answer = self._transport.send_json(
            method="POST",
            path=_COMPUTE if is_paid else "/api/services/freeCompute",
            headers=headers(proven),
            body={**credentials(proven), **start_body(request)},
            explain=explain,
        )
        return parse_one_job(answer, host=self._transport.host)

    def jobs_of(self, *, owner: Address) -> Parsed[JobReport]:
        """List every job that the node still keeps for the owner. Source: recording 16, exchange 11."""
        answer = self._transport.get_json(path=_COMPUTE, params={"consumerAddress": owner}, explain=explain)
        return parse_jobs(answer, owners=(owner,))

    def jobs_of_many(
        self, *, owners: Collection[Address], ended_since: float | None = None
    ) -> Parsed[JobReport]:
        """List the jobs of many owners in one request, newest first; their reports tell no results.

        ended_since: seconds since the epoch; jobs that ended earlier, or not at all, are then left out.
        Source: recording 16, exchange 21; ocean-node v3.2.0, sqliteCompute.ts, getJobs: dateFinished >= ?.
        """
        if not owners:
            return Parsed(items=())  # to a node no owner means everybody
        question: dict[str, Any] = {"command": "jobs", "consumerAddrs": [str(owner) for owner in owners]}
        if ended_since is not None:
            question["fromTimestamp"] = f"{ended_since:.3f}"
        return parse_jobs(
            self._transport.get_json(path=_COMMAND, question=question, explain=explain), owners=owners
        )

    def job(self, *, job_id: str) -> JobReport:
        """Ask for one job by its long id.

        Raises: Rejected "unknown_job". Source: recording 16, exchanges 8 and 14.
        """
        reports = parse_jobs(
            self._transport.get_json(path=_COMPUTE, params={"jobId": job_id}, explain=explain_job)
        )
        for report in reports:
            if same_job(job_id, report.long_id):
                return report
        raise Rejected(
            f"{self._transport.host} does not know this job, or keeps it no longer.", code="unknown_job"
        )

    def stop(self, *, job_id: str, proof: Proof) -> JobReport:
        """Ask the node to stop a job; it ends some seconds later. Stopping twice is harmless.

        The report of this answer has no results, whatever the job has.
        Raises: Rejected "unknown_job", also for somebody else's job; "server_error", which is all that a node says
        of a bad signature, nonce or engine. Source: recording 14, exchanges 6 and 11; recording 18, 30 to 35.
        """
        proven = _proven(proof, prove_stop)
        answer = self._transport.send_json(
            method="PUT",
            path=_COMPUTE,
            params={**credentials(proven), "jobId": job_id},
            headers=headers(proven),
            explain=explain_job,
        )
        if answer == []:
            raise Rejected(
                f"{self._transport.host} has no such job of this wallet, so there was nothing to stop.",
                code="unknown_job",
            )
        return parse_one_job(answer, host=self._transport.host)

    @contextmanager
    def open_result(
        self,
        *,
        job_id: str,
        entry: ResultEntry,
        proof: Proof,
        max_bytes: int,
        total_s: float,
    ) -> Iterator[Iterator[bytes]]:
        """Stream one result file; algorithm logs come without their frames, both streams in order.

        max_bytes: of what the node sends, frames included.
        Raises: Rejected "unknown_job", "not_authorized", "nonce", "signature", "token"; BadAnswer
        "result_missing", or "result_incomplete" while reading, when the node sends less than it said.
        Source: recording 10, exchanges 9 to 12; recording 18, exchanges 3 and 9.
        """
        proven = _proven(proof, prove_result)
        with self._transport.stream(
            path="/api/services/computeResult",
            params={**credentials(proven), "jobId": job_id, "index": str(entry.index)},
            headers=headers(proven),
            explain=explain_job,
            retry=isinstance(proven, Token),
            total_s=total_s,
            idle_s=_IDLE_S,
            cap_bytes=max_bytes,
        ) as body:
            # An index that does not exist is 200 with nothing.
            file = whole(body, entry=entry, host=self._transport.host)
            yield _unframed(file) if entry.kind == "algorithmLog" else file

    @contextmanager
    def stream_log(
        self, *, job_id: str, proof: Proof, max_bytes: int, total_s: float
    ) -> Iterator[Iterator[LogPiece]]:
        """Follow the live log, from its first line on every time, until it ends or `total_s` is over.

        Raises: Rejected "not_running" before and after the container runs.
        Source: recording 14, exchanges 2 and 10.
        """
        proven = _proven(proof, prove_logs)
        with self._transport.stream(
            path="/api/services/computeStreamableLogs",
            params={**credentials(proven), "jobId": job_id},
            headers=headers(proven),
            explain=explain_job,
            retry=False,
            total_s=total_s,
            idle_s=total_s,
            cap_bytes=max_bytes,
        ) as body:
            yield _pieces(_until_deadline(body))

    def create_token(self, *, proof: Pen, valid_until_ms: int | None = None) -> str:
        """Get a token. valid_until_ms: milliseconds since the epoch; None means for ever.

        Source: recording 15, exchanges 1 and 23.
        """
        body: dict[str, Any] = token_body(_signed(proof, prove_token))
        if valid_until_ms is not None:
            body["validUntil"] = valid_until_ms
        answer = self._transport.send_json(
            method="POST", path="/api/services/auth/token", body=body, explain=explain
        )
        token = answer.get("token") if isinstance(answer, dict) else None
        if not isinstance(token, str) or not _TOKEN.fullmatch(token):
            raise BadAnswer(
                f"{self._transport.host} sent no usable token.", code="token_answer", maybe_happened=True
            )
        return token

    def invalidate_token(self, *, proof: Pen, token: str) -> None:
        """Give a token back. Source: recording 15, exchange 27."""
        answer = self._transport.send_json(
            method="POST",
            path="/api/services/auth/token/invalidate",
            body={**token_body(_signed(proof, prove_invalidate)), "token": token},
            explain=explain,
        )
        if not isinstance(answer, dict) or answer.get("success") is not True:
            raise BadAnswer(
                f"{self._transport.host} does not confirm that the token is gone.",
                code="token_answer",
                maybe_happened=True,
            )

    def status(self) -> NodeStatus:
        """Ask how the node is. Source: recording 16, exchange 23."""
        answer = self._transport.get_json(path=_COMMAND, question={"command": "status"}, explain=explain)
        try:
            return NodeStatus.model_validate(answer)
        except ValidationError:
            raise BadAnswer(f"{self._transport.host} does not say how it is.", code="node_status") from None

    def file_info(self, *, file: AssetInput | UrlFile, checksum: bool = False) -> Parsed[FileInfo]:
        """Ask what the node finds at a file's place; it fetches the file for the answer.

        Raises: Rejected "file" when it cannot, "unknown_asset", "unknown_service".
        Source: recording 11, exchange 1; recording 30, exchanges 21 and 22.
        """
        question: dict[str, Any] = (
            file.wire() if isinstance(file, UrlFile) else {"did": file.did, "serviceId": file.service_id}
        )
        if checksum:
            question["checksum"] = True
        return parse_file_infos(
            self._transport.get_json(
                path="/api/services/fileInfo", question=question, explain=explain_file, retry=False
            )
        )

    def get_ddo(self, *, did: str) -> dict[str, Any]:
        """Fetch the DDO of an asset that the node has indexed, raw.

        Raises: as aquarius.get_ddo.
        """
        return aquarius.get_ddo(self._transport, did=did)

    def search_assets(
        self, *, text: str = "", kind: AssetKind | None = None, limit: int = 20
    ) -> Parsed[dict[str, Any]]:
        """Search the DDOs that the node has indexed; they come raw.

        Raises: as aquarius.search.
        """
        return aquarius.search(self._transport, text=text, kind=kind, limit=limit)

    def asset_state(self, *, did: str) -> AssetState:
        """Ask how far the node's indexer got with an asset.

        Raises: as aquarius.get_state.
        """
        return aquarius.get_state(self._transport, did=did)


def _proven(proof: Proof, prove: Callable[..., Signed]) -> Signed | Token:
    """Sign a command, unless a token stands in for it."""
    return proof if isinstance(proof, Token) else _signed(proof, prove)


def _signed(pen: Pen, prove: Callable[..., Signed]) -> Signed:
    return prove(pen.signer, nonce=pen.nonce, form=pen.form)


def _until_deadline(body: Iterator[bytes]) -> Iterator[bytes]:
    """Let the end of our own patience be the end of a live log, and not an error."""
    try:
        yield from body
    except Unreachable as error:
        if error.code != "deadline":
            raise


def _pieces(body: Iterator[bytes]) -> Iterator[LogPiece]:
    decoder = FrameDecoder()
    for data in body:
        # What came in one read is one piece per stream: whoever stores pieces is not to write a row per line.
        for stream, run in groupby(decoder.feed(data), key=attrgetter("stream")):
            yield LogPiece(stream=stream, data=b"".join(piece.data for piece in run))
    yield from decoder.finish()


def _unframed(body: Iterator[bytes]) -> Iterator[bytes]:
    """Give the log of each piece of the body, even if there is none in it: readers keep their lease by what comes."""
    decoder = FrameDecoder()
    for data in body:
        yield b"".join(piece.data for piece in decoder.feed(data))
    yield b"".join(piece.data for piece in decoder.finish())
