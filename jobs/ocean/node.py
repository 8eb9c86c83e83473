"""The Ocean Node dialect of a compute service.

Source of paths and bodies: ocean-node 3.2.0 recordings.
"""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import groupby
from operator import attrgetter
from typing import Any

from jobs.ocean.compute import (
    Capabilities,
    Environment,
    JobReport,
    LogPiece,
    NodeIdentity,
    Parsed,
    ResultEntry,
    StartRequest,
    parse_environments,
    parse_job,
    parse_jobs,
    same_job,
)
from jobs.ocean.errors import BadAnswer, Refused, Rejected, Unreachable
from jobs.ocean.frames import FrameDecoder
from jobs.ocean.refusals import explain, explain_job
from jobs.ocean.signing import Proof, Signed
from jobs.ocean.transport import Transport
from jobs.ocean.units import Address, clean_text, is_did

_COMPUTE = "/api/services/compute"
_NONCE_CAP = 2**63
_TOKEN = re.compile(r"[\x21-\x7e]{1,4096}")
_IDLE_S = 60.0


class OceanNode:
    """Speak with an Ocean Node; implements ComputeBackend."""

    capabilities = Capabilities(live_logs=True, exit_codes=True, queue=True, free_jobs=True, tokens=True)

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def identify(self) -> NodeIdentity:
        """Ask the node what it is.

        Raises: BadAnswer "not_a_node" when it is something else. Source: recording 01, exchange 1.
        """
        answer = self._transport.get_json(path="/", explain=explain)
        host = self._transport.host
        if not isinstance(answer, dict) or answer.get("software") != "Ocean-Node":
            raise BadAnswer(f"{host} is no Ocean Node. Check the address.", code="not_a_node")
        try:
            return NodeIdentity(
                software="Ocean-Node",
                version=clean_text(str(answer.get("version", "")), limit=40),
                address=Address.parse(answer["providerAddress"]),
                chain_ids=tuple(int(chain) for chain in answer["chainIds"])[:100],
            )
        except (KeyError, TypeError, ValueError, OverflowError):
            raise BadAnswer(
                f"{host} does not say which address and chains it has.", code="not_a_node"
            ) from None

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

    def start_free(self, *, request: StartRequest, proof: Proof) -> JobReport:
        """Start a free job.

        Raises: Rejected "busy", "too_many_resources", "nonce", "signature", "token", "unknown_environment",
        "image", "metadata_too_large", "unknown_asset", "not_authorized"; Refused "too_large".
        Source: recording 33, exchange 42; recording 24, exchange 5; recording 17.
        """
        answer = self._transport.send_json(
            method="POST",
            path="/api/services/freeCompute",
            headers=_headers(proof),
            body={**_credentials(proof), **_start_body(request)},
            explain=explain,
        )
        return self._one_job(answer)

    def jobs_of(self, *, owner: Address) -> Parsed[JobReport]:
        """List every job that the node still keeps for the owner. Source: recording 16, exchange 11."""
        answer = self._transport.get_json(path=_COMPUTE, params={"consumerAddress": owner}, explain=explain)
        return parse_jobs(answer, owner=owner)

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
        answer = self._transport.send_json(
            method="PUT",
            path=_COMPUTE,
            params={**_credentials(proof), "jobId": job_id},
            headers=_headers(proof),
            explain=explain_job,
        )
        if answer == []:
            raise Rejected(
                f"{self._transport.host} has no such job of this wallet, so there was nothing to stop.",
                code="unknown_job",
            )
        return self._one_job(answer)

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
        with self._transport.stream(
            path="/api/services/computeResult",
            params={**_credentials(proof), "jobId": job_id, "index": str(entry.index)},
            headers=_headers(proof),
            explain=explain_job,
            retry=not isinstance(proof, Signed),
            total_s=total_s,
            idle_s=_IDLE_S,
            cap_bytes=max_bytes,
        ) as body:
            first = next(body, b"")
            if not first and entry.size != 0:
                # An index that does not exist is 200 with nothing.
                raise BadAnswer(
                    f"{self._transport.host} lists {entry.name or 'a result'} but sends nothing of it.",
                    code="result_missing",
                    retryable=True,
                )
            whole = self._whole(first, body, entry)
            yield _unframed(whole) if entry.kind == "algorithmLog" else whole

    @contextmanager
    def stream_log(
        self, *, job_id: str, proof: Proof, max_bytes: int, total_s: float
    ) -> Iterator[Iterator[LogPiece]]:
        """Follow the live log, from its first line on every time, until it ends or `total_s` is over.

        Raises: Rejected "not_running" before and after the container runs.
        Source: recording 14, exchanges 2 and 10.
        """
        with self._transport.stream(
            path="/api/services/computeStreamableLogs",
            params={**_credentials(proof), "jobId": job_id},
            headers=_headers(proof),
            explain=explain_job,
            retry=False,
            total_s=total_s,
            idle_s=total_s,
            cap_bytes=max_bytes,
        ) as body:
            yield _pieces(_until_deadline(body))

    def create_token(self, *, proof: Signed, valid_until_ms: int | None = None) -> str:
        """Get a token. valid_until_ms: milliseconds since the epoch; None means for ever.

        Source: recording 15, exchanges 1 and 23.
        """
        body: dict[str, Any] = _token_body(proof)
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

    def invalidate_token(self, *, proof: Signed, token: str) -> None:
        """Give a token back. Source: recording 15, exchange 27."""
        answer = self._transport.send_json(
            method="POST",
            path="/api/services/auth/token/invalidate",
            body={**_token_body(proof), "token": token},
            explain=explain,
        )
        if not isinstance(answer, dict) or answer.get("success") is not True:
            raise BadAnswer(
                f"{self._transport.host} does not confirm that the token is gone.",
                code="token_answer",
                maybe_happened=True,
            )

    def get_ddo(self, *, did: str) -> dict[str, Any]:
        """Fetch the DDO of an asset that the node has indexed, raw.

        Raises: Rejected "unknown_asset"; Refused "did". Source: recording 30, exchanges 10 and 16.
        """
        if not is_did(did):
            raise Refused('A DID is "did:op:" followed by 64 hexadecimal digits.', code="did")
        document = self._transport.get_json(path=f"/api/aquarius/assets/ddo/{did}", explain=explain)
        if not isinstance(document, dict):
            raise BadAnswer(f"{self._transport.host} sent something that is no DDO.", code="ddo")
        return document

    def _one_job(self, answer: object) -> JobReport:
        """Read the answer to a write: a list with the one job. What cannot be read may have happened."""
        try:
            if not isinstance(answer, list) or len(answer) != 1:
                raise BadAnswer("The answer is not one job.", code="job")
            return parse_job(answer[0])
        except BadAnswer as error:
            raise BadAnswer(
                f"{self._transport.host}: {error.message}", code=error.code, maybe_happened=True
            ) from None

    def _whole(self, first: bytes, body: Iterator[bytes], entry: ResultEntry) -> Iterator[bytes]:
        received = len(first)
        yield first
        for data in body:
            received += len(data)
            yield data
        # A log may have grown since it was listed; less than was listed is a loss.
        if entry.size is not None and received < entry.size:
            raise BadAnswer(
                f"{self._transport.host} sent {received:,} of {entry.size:,} bytes of {entry.name}.",
                code="result_incomplete",
                retryable=True,
            )


def _headers(proof: Proof) -> dict[str, str]:
    # The token stands alone: with "Bearer" in front it is not recognised (recording 15, exchange 11).
    return {} if isinstance(proof, Signed) else {"Authorization": proof.token}


def _credentials(proof: Proof) -> dict[str, str]:
    if not isinstance(proof, Signed):
        return {"consumerAddress": str(proof.address)}
    return {
        "consumerAddress": str(proof.address),
        "nonce": str(proof.nonce),
        "signature": proof.signature,
    }


def _token_body(proof: Signed) -> dict[str, Any]:
    return {"address": str(proof.address), "nonce": str(proof.nonce), "signature": proof.signature}


def _start_body(request: StartRequest) -> dict[str, Any]:
    algorithm: dict[str, Any] = {
        "documentId": request.algorithm.did,
        "serviceId": request.algorithm.service_id,
    }
    container = request.algorithm.container
    if container is not None:
        algorithm["meta"] = {
            "container": {
                "entrypoint": container.entrypoint,
                "image": container.image,
                "tag": container.tag,
                "checksum": container.checksum,
            }
        }
    if request.algorithm.custom_data is not None:
        algorithm["algocustomdata"] = dict(request.algorithm.custom_data)
    body: dict[str, Any] = {
        "environment": request.environment_id,
        "algorithm": algorithm,
        "datasets": [_dataset(asset.did, asset.service_id, asset.userdata) for asset in request.datasets],
    }
    if request.max_duration_s is not None:
        body["maxJobDuration"] = request.max_duration_s
    if request.queue_wait_s is not None:
        body["queueMaxWaitTime"] = request.queue_wait_s
    if request.resources is not None:
        body["resources"] = [{"id": kind, "amount": amount} for kind, amount in request.resources]
    if request.tag is not None:
        body["metadata"] = {"tag": request.tag}
    return body


def _dataset(did: str, service_id: str, userdata: Mapping[str, Any] | None) -> dict[str, Any]:
    dataset: dict[str, Any] = {"documentId": did, "serviceId": service_id}
    if userdata is not None:
        dataset["userdata"] = dict(userdata)
    return dataset


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
    return (piece.data for piece in _pieces(body))
