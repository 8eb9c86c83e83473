"""operator-service 1.0.1 as the Provider's clients see it: what it answers is given through as it is.

Source: oceanprotocol/operator-service @ baa1095 : routes.py, data_store.py; recordings 95.
"""

import time
import urllib.parse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from eth_account.signers.local import LocalAccount

from ocean_portal.sandbox.engine import QUEUED, Engine
from ocean_portal.sandbox.provider import signatures
from ocean_portal.sandbox.provider.accounts import Environment
from ocean_portal.sandbox.provider.switches import Switches
from ocean_portal.sandbox.provider.work import STATUS_TEXTS, STOP_ASKED
from ocean_portal.sandbox.store import Job, Store

PREFIX = "/api/v1/operator/"
# Where the Provider of the recordings looked for it; nothing listens there.
HOST, PORT = "127.0.0.1", 8056
IN_USE = "`agreementId` already in use for other job."


class OperatorDown(Exception):
    """operator-service does not answer; the message is the one of Provider's HTTP client."""


class NotGiven(Exception):
    """Refuses a result, with the status and the message that operator-service has for it."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


class OperatorService:
    """Keeps the jobs of the Provider's environments; store: with the Provider's jobs in view."""

    def __init__(
        self,
        *,
        store: Store,
        engine: Engine,
        environments: tuple[Environment, ...],
        account: LocalAccount,
        switches: Switches,
        now: Callable[[], float],
    ) -> None:
        self._store = store
        self._engine = engine
        self._environments = environments
        self._account = account
        self._switches = switches
        self._now = now

    # reaching it

    def is_set_up(self) -> bool:
        """Tell whether the Provider knows an operator-service at all."""
        return self._switches.has_operator()

    def reach(self, *, place: str, owner: str = "", job_id: str = "", document_id: str = "") -> None:
        """Do nothing while it answers; else wait as long as Provider tries, and raise OperatorDown.

        Source: recordings 96-operator-service-down-status and -environments.
        """
        patience_s = self._switches.operator_patience_s()
        if patience_s is None:
            return
        time.sleep(patience_s)
        query = {"providerAddress": self._account.address, "owner": owner}
        query |= {"jobId": job_id} if job_id else {}
        query |= {"documentId": document_id} if document_id else {}
        url = f"{PREFIX}{place}?{urllib.parse.urlencode(query | self.signed(owner, job_id))}"
        raise OperatorDown(
            f"HTTPConnectionPool(host='{HOST}', port={PORT}): Max retries exceeded with url: {url} (Caused by"
            f" NewConnectionError(\"HTTPConnection(host='{HOST}', port={PORT}): Failed to establish a new"
            ' connection: [Errno 111] Connection refused"))'
        )

    def signed(self, owner: str, job_id: str) -> dict[str, str]:
        """Return the Provider's own signature as its requests carry it; the nonce is in nanoseconds."""
        nonce = int(self._now() * 1e9)
        message = f"{owner}{job_id}{nonce}"
        return {
            "providerSignature": signatures.sign(account=self._account, message=message),
            "nonce": str(nonce),
        }

    # environments

    def environments(self, *, chain_id: int) -> list[dict[str, Any]]:
        """List the environments as documents, none without an operator-service. Raises OperatorDown."""
        if not self.is_set_up():
            return []
        try:
            self.reach(place="environments")
        except OperatorDown as error:
            raise OperatorDown(
                f"Compute envs could not be retrieved for chainId {chain_id}, check configuration."
            ) from error
        running = [
            job["spec"]["environment"] for job in self._store.jobs(ended=False) if job["status"] != QUEUED
        ]
        return [
            item.document(running=running.count(item.id), seen_at=self._now()) for item in self._environments
        ]

    def environment(self, environment_id: str, *, chain_id: int) -> Environment | None:
        """Return an environment by its id, None for an unknown one. Raises OperatorDown."""
        known = {item["id"] for item in self.environments(chain_id=chain_id)}
        found = (item for item in self._environments if item.id == environment_id)
        return next(found, None) if environment_id in known else None

    # jobs

    def start(self, *, owner: str, spec: dict[str, Any]) -> tuple[int, Any]:
        """Take in a job, and return status and body of the answer. Raises OperatorDown."""
        self.reach(place="compute", owner=owner)
        agreements = [job["spec"]["agreement_id"] for job in self._store.jobs(ended=False)]
        if spec["agreement_id"] in agreements:
            return 400, {"error": IN_USE}
        if spec["environment"] not in [item.id for item in self._environments]:
            return 400, {"error": "Environment invalid or does not exist"}
        return 200, [self._report(self._engine.start(owner=owner, spec=spec))]

    def status(self, *, owner: str, job_id: str, document_id: str = "") -> list[dict[str, Any]]:
        """Describe the jobs of an owner, oldest first, or the one of an id. Raises OperatorDown."""
        self.reach(place="compute", owner=owner, job_id=job_id, document_id=document_id)
        return [self._report(job) for job in self._jobs(owner=owner, job_id=job_id)]

    def stop(self, *, owner: str, job_id: str, document_id: str = "") -> list[dict[str, Any]]:
        """Ask the job to end, or all of the owner's where none is named, and describe them. Raises OperatorDown.

        Also an ended job notes the wish. Source: recording 87-stop-finished-job.
        """
        self.reach(place="compute", owner=owner, job_id=job_id, document_id=document_id)
        for job in self._jobs(owner=owner, job_id=job_id):
            self._store.change_job(job_id=job["id"], stop_requested=STOP_ASKED)
        return [self._report(job) for job in self._jobs(owner=owner, job_id=job_id)]

    def result(self, *, owner: str, job_id: str, index: str) -> Path:
        """Return a result's file. Raises NotGiven."""
        try:
            place = int(index)
        except ValueError as error:
            raise NotGiven(400, f"Error getResult: {error}") from error
        job = self._store.job(job_id=job_id)
        # A job without results has no owner either, as the original looks for both in one row.
        if job is None or job["owner"] != owner or job["finished_at"] is None:
            raise NotGiven(404, f"Owner {owner} mismatch for job {job_id}")
        if place < 0:
            raise NotGiven(404, f"Negative index {place}")
        found = self._engine.result(job=job, index=place)
        if found is None:
            raise NotGiven(404, f"No such index {place} in this compute job")
        return found[0]

    def _jobs(self, *, owner: str, job_id: str) -> list[Job]:
        # Names of one letter are no filter. Source: routes.py, "len(job_id) < 2".
        wanted = job_id if len(job_id) > 1 else None
        return self._store.jobs(owner=owner if len(owner) > 1 else None, job_id=wanted)

    def _report(self, job: Job) -> dict[str, Any]:
        """Describe a job. Source: recordings 41 and 42."""
        spec, finished_at = job["spec"], job["finished_at"]
        return {
            "agreementId": spec["agreement_id"],
            "jobId": job["id"],
            "owner": job["owner"],
            "status": job["status"],
            "statusText": STATUS_TEXTS[job["status"]],
            "dateCreated": f"{job['created_at']:.6f}",
            "dateFinished": None if finished_at is None else f"{finished_at:.6f}",
            "results": self._engine.results(job=job) or "",
            "stopreq": job["stop_requested"],
            "removed": 0,
            "algoDID": spec["algorithm"]["did"],
            "inputDID": [item["did"] for item in spec["inputs"]],
        }
