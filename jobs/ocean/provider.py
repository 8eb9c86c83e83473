"""The Provider dialect of a compute service: Provider 2.1.6, with an Aquarius 5.1.8 beside it for the documents.

Source of paths and bodies: provider-v4 recordings.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from jobs.ocean import aquarius
from jobs.ocean.compute import (
    CAPABILITIES,
    AssetInput,
    AssetKind,
    Environment,
    FileInfo,
    JobReport,
    LogPiece,
    Needs,
    NodeIdentity,
    Parsed,
    ResultEntry,
    StartRequest,
    UrlFile,
    parse_environments_by_chain,
    parse_file_infos,
    parse_jobs,
    parse_one_job,
)
from jobs.ocean.detect import checked_endpoint, identity_of
from jobs.ocean.downloads import whole
from jobs.ocean.errors import BadAnswer, Refused, Rejected
from jobs.ocean.needs import parse_order_needs
from jobs.ocean.provider_answers import parse_nonce, parse_provider_job
from jobs.ocean.provider_bodies import (
    credentials,
    first_did,
    headers,
    initialize_body,
    start_body,
    token_fields,
)
from jobs.ocean.provider_refusals import explain, explain_compute, explain_file, explain_start
from jobs.ocean.signing import (
    Pen,
    Proof,
    Signed,
    Token,
    prove_provider_delete,
    prove_provider_result,
    prove_provider_start,
    prove_provider_stop,
    prove_provider_token,
)
from jobs.ocean.transport import Transport
from jobs.ocean.units import Address

# While the operator-service behind it is down, a Provider holds every compute call for half a minute (recording 96):
# a read is not to keep a worker for that long, and the late answer to a write is still to be heard.
_GLANCE_S = 10.0
_WRITE_S = 45.0
_IDLE_S = 45.0
_TOKEN = re.compile(r"[\x21-\x7e]{1,4096}")


class Provider:
    """Speak with a Provider; implements ComputeBackend.

    aquarius: where the documents of its assets are; None where nobody named one.
    endpoints: method and path by the name of a call, as the root document gave them; empty to ask for them when the first
        call needs one.
    """

    # The operator's own queue takes a job that has no room yet, but nobody can say for how long: no wait can be set.
    capabilities = CAPABILITIES["provider-v4"]

    def __init__(
        self,
        transport: Transport,
        *,
        aquarius: Transport | None,
        endpoints: Mapping[str, tuple[str, str]],
    ) -> None:
        self._transport = transport
        self._aquarius = aquarius
        self._endpoints = endpoints

    def identify(self) -> NodeIdentity:
        """Ask the Provider what it is.

        Raises: BadAnswer "not_a_provider" when it is something else. Source: recording 30, exchange 1.
        """
        answer = self._transport.get_json(path="/", explain=explain)
        return identity_of(answer, host=self._transport.host, dialect="provider-v4")

    def nonce(self, *, address: Address) -> int:
        """Ask for the last nonce that the Provider took; 1 for an address that it never saw.

        Source: recordings 40, exchange 8, and 80-nonce-unknown-address.
        """
        answer = self._transport.get_json(
            path=self._path("nonce", "GET"), params={"userAddress": address}, explain=explain
        )
        return parse_nonce(answer, host=self._transport.host)

    def environments(self) -> Parsed[Environment]:
        """List the environments of all its chains. Source: recordings 20 and 96."""
        return parse_environments_by_chain(
            self._transport.get_json(
                path=self._path("computeEnvironments", "GET"),
                explain=explain_compute,
                retry=False,
                total_s=_GLANCE_S,
            )
        )

    def initialize(
        self, *, request: StartRequest, consumer: Address, payer: Address, valid_until: int
    ) -> Needs:
        """Ask what has to be on the chain first: a need for each dataset in order, then for a published algorithm.

        The Provider compares allow and deny lists with `consumer`, the environment's address, here, and with the
        wallet's at the start; of `payer` it is not told.
        Raises: Rejected "not_trusted", "raw_not_allowed", "unknown_environment", "unknown_asset", "valid_until" and the
        like; BadAnswer "orders"; Refused "no_dataset", "unpublished".
        Source: recordings 30, 31, 32, 60 and 88.
        """
        answer = self._transport.get_json(
            path=self._path("initializeCompute", "POST"),
            question=initialize_body(request, consumer=str(consumer), valid_until=valid_until),
            explain=explain_compute,
            retry=False,
        )
        return Needs(orders=parse_order_needs(answer, request=request, who="The Provider"))

    def start(self, *, request: StartRequest, proof: Proof) -> JobReport:
        """Start a job. It is filed under one of its orders, of which each can have one running job.

        Raises: Rejected "order_invalid", "order_in_use", "fees_not_paid", "not_trusted", "signature", "token", "nonce";
        "nonce_reused" when the job may run; Refused "no_dataset", "unpublished", "too_large".
        Source: recordings 40, 46, 51, 63, 82, 86 and 89.
        """
        path, did = self._path("computeStart", "POST"), first_did(request)
        proven = _proven(proof, prove_provider_start, did=did)
        answer = self._transport.send_json(
            method="POST",
            path=path,
            headers=headers(proven),
            body=start_body(request, proof=proven),
            explain=explain_start,
            total_s=_WRITE_S,
        )
        return parse_one_job(answer, host=self._transport.host, read=parse_provider_job)

    def jobs_of(self, *, owner: Address) -> Parsed[JobReport]:
        """List every job of the owner; asked without a signature. Source: recording 81-status-all-jobs-of-consumer."""
        answer = self._transport.get_json(
            path=self._path("computeStatus", "GET"),
            params={"consumerAddress": owner},
            explain=explain_compute,
            retry=False,
            total_s=_GLANCE_S,
        )
        return parse_jobs(answer, owners=(owner,), read=parse_provider_job)

    def stop(self, *, job_id: str, proof: Proof) -> JobReport:
        """Ask the Provider to stop a job; it ends some seconds later. Stopping twice is harmless.

        Raises: Rejected "unknown_job", also for somebody else's job; "signature", "token", "nonce".
        Source: recordings 84 and 87; with the document's id beside it, which is not needed, 52.
        """
        path = self._path("computeStop", "PUT")
        proven = _proven(proof, prove_provider_stop, job_id=job_id)
        answer = self._transport.send_json(
            method="PUT",
            path=path,
            params={**credentials(proven), "jobId": job_id},
            headers=headers(proven),
            explain=explain_compute,
            total_s=_WRITE_S,
        )
        if answer == []:
            raise Rejected(
                f"{self._transport.host} has no such job of this wallet, so there was nothing to stop.",
                code="unknown_job",
            )
        return parse_one_job(answer, host=self._transport.host, read=parse_provider_job)

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
        """Stream one result file, whatever its kind; nothing is taken off it.

        Raises: Rejected "unknown_job", "result_missing", "signature", "token", "nonce"; BadAnswer "result_missing", or
        "result_incomplete" while reading, when the Provider sends less than it said.
        Source: recordings 43, 83 and 85.
        """
        path = self._path("computeResult", "GET")
        proven = _proven(proof, prove_provider_result, job_id=job_id, index=entry.index)
        with self._transport.stream(
            path=path,
            params={**credentials(proven), "jobId": job_id, "index": str(entry.index)},
            headers=headers(proven),
            explain=explain_compute,
            # Also beside a token a nonce passes once (recording 90, exchange 10).
            retry=False,
            total_s=total_s,
            idle_s=_IDLE_S,
            cap_bytes=max_bytes,
        ) as body:
            yield whole(body, entry=entry, host=self._transport.host)

    def stream_log(
        self, *, job_id: str, proof: Proof, max_bytes: int, total_s: float
    ) -> AbstractContextManager[Iterator[LogPiece]]:
        """Refuse: a Provider has no live logs.

        Raises: Refused "no_live_logs", always.
        """
        raise Refused(
            "A Provider shows the log of a job when the job has ended, and not before.", code="no_live_logs"
        )

    def create_token(self, *, proof: Pen, valid_until_ms: int | None = None) -> str:
        """Get a token. valid_until_ms: milliseconds since the epoch; a Provider counts whole seconds.

        The nonce has to be as new as ever, but is not used up.
        Raises: Rejected "token_period" for an end in the past; Refused "token_period" without any, which a Provider has
        no word for. Source: recordings 90-auth-token, exchange 2, and 90-auth-token-past-expiration.
        """
        if valid_until_ms is None:
            raise Refused("A token of a Provider has to end at some time. Name one.", code="token_period")
        path = self._path("create_auth_token", "GET")
        answer = self._transport.send_json(
            method="GET",
            path=path,
            params={
                **token_fields(_signed(proof, prove_provider_token)),
                "expiration": str(valid_until_ms // 1000),
            },
            explain=explain,
        )
        token = answer.get("token") if isinstance(answer, dict) else None
        if not isinstance(token, str) or not _TOKEN.fullmatch(token):
            raise BadAnswer(
                f"{self._transport.host} sent no usable token.", code="token_answer", maybe_happened=True
            )
        return token

    def invalidate_token(self, *, proof: Pen, token: str) -> None:
        """Give a token back. Source: recording 90-auth-token, exchange 8."""
        path = self._path("delete_auth_token", "DELETE")
        answer = self._transport.send_json(
            method="DELETE",
            path=path,
            body={
                **token_fields(_signed(proof, prove_provider_delete)),
                "nonce": proof.nonce,  # a number in a body
                "token": token,
            },
            explain=explain,
        )
        if not isinstance(answer, dict) or not answer.get("success"):
            raise BadAnswer(
                f"{self._transport.host} does not confirm that the token is gone.",
                code="token_answer",
                maybe_happened=True,
            )

    def file_info(self, *, file: AssetInput | UrlFile, checksum: bool = False) -> Parsed[FileInfo]:
        """Ask what the Provider finds at a file's place; it fetches the file for the answer.

        Raises: Rejected "unknown_asset", "unknown_service", "file". Source: recordings 03, 40 and 91.
        """
        question: dict[str, Any] = (
            file.wire() if isinstance(file, UrlFile) else {"did": file.did, "serviceId": file.service_id}
        )
        if checksum:
            question["checksum"] = True
        return parse_file_infos(
            self._transport.get_json(
                path=self._path("fileinfo", "POST"), question=question, explain=explain_file, retry=False
            )
        )

    def get_ddo(self, *, did: str) -> dict[str, Any]:
        """Fetch the DDO of an asset from the Aquarius, raw.

        Raises: Refused "no_aquarius"; as aquarius.get_ddo. Source: recordings 10 and 11.
        """
        return aquarius.get_ddo(self._documents, did=did)

    def search_assets(
        self, *, text: str = "", kind: AssetKind | None = None, limit: int = 20
    ) -> Parsed[dict[str, Any]]:
        """Search the DDOs that the Aquarius has indexed; they come raw.

        Raises: Refused "no_aquarius"; as aquarius.search_index.
        """
        return aquarius.search_index(self._documents, text=text, kind=kind, limit=limit)

    @property
    def _documents(self) -> Transport:
        if self._aquarius is None:
            raise Refused(
                f"No Aquarius is named for {self._transport.host}, so there are no documents of its assets. An operator"
                " can add its address.",
                code="no_aquarius",
            )
        return self._aquarius

    def _path(self, name: str, method: str) -> str:
        """Find the path of a call, which is asked for once where nobody has kept it.

        Raises: BadAnswer "endpoint" where the Provider names none, or one that leads elsewhere or works otherwise.
        """
        if not self._endpoints:
            self._endpoints = self.identify().endpoints
        try:
            named, path = checked_endpoint(*self._endpoints[name])
        except (KeyError, TypeError, ValueError):
            named, path = "", ""
        if named != method:
            raise BadAnswer(
                f"{self._transport.host} does not say in a usable way where it takes this call ({_CALLS[name]})."
                " Its software may be another than this portal expects.",
                code="endpoint",
            )
        return path


_CALLS: Mapping[str, str] = {
    "nonce": "the last nonce",
    "computeEnvironments": "its environments",
    "initializeCompute": "what a job would cost",
    "computeStart": "starting a job",
    "computeStatus": "how jobs stand",
    "computeStop": "stopping a job",
    "computeResult": "results",
    "create_auth_token": "making a token",
    "delete_auth_token": "giving a token back",
    "fileinfo": "what a file is",
}


def _proven(proof: Proof, prove: Callable[..., Signed], **of: Any) -> Signed | Token:
    """Sign a call, unless a token stands in for the signature."""
    return proof if isinstance(proof, Token) else _signed(proof, prove, **of)


def _signed(pen: Pen, prove: Callable[..., Signed], **of: Any) -> Signed:
    return prove(pen.signer, nonce=pen.nonce, **of)
