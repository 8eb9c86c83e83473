"""What an Ocean Node 3.2.0 answers: the routes, each as recorded. No sockets here; see server.py."""

import contextlib
import hashlib
import json
import os
import platform
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from eth_utils.address import is_address

from ocean_portal.sandbox import aquarius
from ocean_portal.sandbox.answers import (
    PLAIN,
    SERVER_ERROR,
    Answer,
    Request,
    as_json,
    error_page,
    piped,
    spelt,
    text,
)
from ocean_portal.sandbox.engine import RUNNING, Busy, Engine
from ocean_portal.sandbox.environment import (
    CHAIN_ID,
    FREE_MAX_DURATION_S,
    PROVIDER_ADDRESS,
    Environment,
    RefusedResources,
    fill_resources,
)
from ocean_portal.sandbox.files import Files
from ocean_portal.sandbox.nodepaid import PaidCompute, Till
from ocean_portal.sandbox.nodework import use_of
from ocean_portal.sandbox.reports import listed_report, start_report, status_report
from ocean_portal.sandbox.signatures import Gate, Unauthorized
from ocean_portal.sandbox.starts import check_start, missing_field, positive
from ocean_portal.sandbox.store import Job, Store

# Of the public development account 9, as the recorded node had it. Source: recording 01, exchange 1.
NODE_ID = "16Uiu2HAkxp9nAsXsCthNWPkkpm4yG1eW7L4ENpVyzDZM8HE1yr12"
NODE_PUBLIC_KEY = bytes.fromhex("023255458e24278e31d5940f304b16300fdff3f6efd3e2a030b5818310ac67af45")
ENDPOINTS = {
    "directCommand": ["POST", "/directCommand"],
    "fileInfo": ["POST", "/api/services/fileInfo"],
    "nonce": ["GET", "/api/services/nonce"],
    "getDDO": ["GET", "/api/aquarius/assets/ddo/:did/:force?"],
    "getDDOMetadata": ["GET", "/api/aquarius/assets/metadata/:did/:force?"],
    "ddoMetadataQuery": ["POST", "/api/aquarius/assets/metadata/query"],
    "getDDOState": ["GET", "/api/aquarius/state/ddo"],
    "computeEnvironments": ["GET", "/api/services/computeEnvironments"],
    "freeCompute": ["POST", "/api/services/freeCompute"],
    "computeStart": ["POST", "/api/services/compute"],
    "initializeCompute": ["POST", "/api/services/initializeCompute"],
    "computeStop": ["PUT", "/api/services/compute"],
    "computeStatus": ["GET", "/api/services/compute"],
    "computeResult": ["GET", "/api/services/computeResult"],
    "computeStreamableLogs": ["GET", "/api/services/computeStreamableLogs"],
    "generateAuthToken": ["POST", "/api/services/auth/token"],
    "invalidateAuthToken": ["POST", "/api/services/auth/token/invalidate"],
}
VERSION = "3.2.0"
CHUNK_BYTES = 64 * 1024


class Node:
    """Answers requests from the store and the engine; without a till nothing can be paid."""

    def __init__(
        self,
        *,
        store: Store,
        engine: Engine,
        environment: Environment,
        files: Files,
        till: Till | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._engine = engine
        self._environment = environment
        self._files = files
        self._now = now
        secret = store.fact(name="token_secret") or secrets.token_hex(32)
        store.remember(name="token_secret", value=secret)
        self._index = aquarius.Index(store=store)
        self._opened_at = time.monotonic()
        self._gate = Gate(store=store, secret=bytes.fromhex(secret), now=now)
        self._paid = PaidCompute(
            store=store,
            engine=engine,
            environment=environment,
            files=files,
            till=till,
            admit=lambda request, fields, command: self._admit(request, fields, command=command),
        )
        self._routes: dict[tuple[str, str], Callable[[Request], Answer]] = {
            ("GET", "/"): self._root,
            ("GET", "/api/services/nonce"): self._nonce,
            ("GET", "/api/services/computeEnvironments"): self._environments,
            ("POST", "/api/services/freeCompute"): self._free_compute,
            ("POST", "/api/services/initializeCompute"): self._paid.initialize,
            ("POST", "/api/services/compute"): self._paid.start,
            ("GET", "/api/services/compute"): self._status,
            ("PUT", "/api/services/compute"): self._stop,
            ("DELETE", "/api/services/compute"): lambda _: text(404, "Not yet implemented!"),
            ("GET", "/api/services/computeResult"): self._result,
            ("GET", "/api/services/computeStreamableLogs"): self._logs,
            ("POST", "/api/services/auth/token"): self._create_token,
            ("POST", "/api/services/auth/token/invalidate"): self._invalidate_token,
            ("POST", "/api/services/fileInfo"): self._file_info,
            ("POST", "/directCommand"): self._direct,
        }
        self._commands: dict[str, Callable[[Request], Answer]] = {
            "getComputeEnvironments": self._environments,
            "getComputeStatus": self._status,
            "jobs": self._jobs,
            "nonce": lambda request: text(200, str(store.nonce(address=request.query.get("address", "")))),
            "status": self._node_status,
        }

    def recover(self) -> None:
        """Go on with paid starts that the last process began; before the engine is opened."""
        self._paid.recover()

    def answer(self, *, request: Request) -> Answer:
        """Answer one request as the recorded node did."""
        route = self._routes.get((request.method, request.path.rstrip("/") or "/"))
        if route is not None:
            return route(request)
        if request.path.startswith(aquarius.PREFIX) and (found := self._index.answer(request=request)):
            return found
        shown = request.path.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
        return error_page(404, f"Cannot {request.method} {shown}")

    # reads without a login

    def _root(self, _: Request) -> Answer:
        return as_json(
            200,
            {
                "nodeId": NODE_ID,
                "chainIds": [str(CHAIN_ID)],
                "providerAddress": PROVIDER_ADDRESS,
                "nodePublicKey": {str(place): value for place, value in enumerate(NODE_PUBLIC_KEY)},
                "serviceEndpoints": ENDPOINTS,
                "software": "Ocean-Node",
                "version": "0.0.1",
            },
        )

    def _nonce(self, request: Request) -> Answer:
        return as_json(200, {"nonce": str(self._store.nonce(address=request.query.get("userAddress", "")))})

    def _environments(self, request: Request) -> Answer:
        document = self._environment.document(
            running=map(use_of, self._engine.running()), queued=map(use_of, self._engine.queued())
        )
        chain = request.query.get("chainId")
        return as_json(200, [document] if chain is None or chain in document["fees"] else [])

    def _status(self, request: Request) -> Answer:
        """List jobs; an id without its engine is ignored as a filter. Source: recording 16."""
        job_id, owner = request.query.get("jobId"), request.query.get("consumerAddress")
        if not (job_id or owner or request.query.get("agreementId")) or (owner and not is_address(owner)):
            return SERVER_ERROR
        if job_id and "-" in job_id:
            engine, _, job_id = job_id.partition("-")
            if engine != self._environment.engine_id:
                return SERVER_ERROR
        else:
            job_id = None
        if request.query.get("agreementId"):
            return as_json(200, [])
        jobs = self._store.jobs(job_id=job_id, owner=owner or None)
        return as_json(200, [self._report(job) | {"results": self._engine.results(job=job)} for job in jobs])

    def _report(self, job: Job) -> dict[str, Any]:
        return status_report(job, environment=self._environment)

    def _file_info(self, request: Request) -> Answer:
        """Fetch and describe the files of a service, or the one at an address. Source: recordings 11 and 30."""
        body = request.body
        if not (body.get("did") or body.get("type")):
            return text(400, "Invalid request parameters")
        by_did = body.get("did") and body.get("serviceId")
        asset = (
            {"documentId": body["did"], "serviceId": body["serviceId"]} if by_did else {"fileObject": body}
        )
        try:
            described = [self._files.describe(file=file) for file in self._files.of(asset=asset)]
        except (OSError, KeyError, ValueError) as error:
            return text(500, str(error))
        return piped(spelt(described))

    def _direct(self, request: Request) -> Answer:
        """Answer a command as its own route does, but in a stream without a label. Source: recording 16."""
        name = request.body.get("command")
        command = self._commands.get(name) if isinstance(name, str) else None
        if command is None:
            return text(400, f'Invalid or unrecognized command: "{name}"')
        fields = {
            key: str(value) for key, value in request.body.items() if not isinstance(value, list | dict)
        }
        answer = command(Request("GET", request.path, query=fields, body=request.body))
        if answer.status != 200 or answer.chunks is not None:
            return answer
        return piped(answer.body.decode(), content_type=PLAIN if name == "nonce" else None)

    def _jobs(self, request: Request) -> Answer:
        """List jobs of many owners. Source: recording 16, exchange 21; ocean-node v3.2.0, sqliteCompute.ts, getJobs."""
        since, owners = request.body.get("fromTimestamp"), _list(request.body.get("consumerAddrs"))
        running, environments = request.body.get("runningJobs"), _list(request.body.get("environments"))
        if since and not isinstance(since, str):
            return text(400, 'Parameter : "fromTimestamp" is not a valid string')
        if environments and self._environment.id not in environments:
            return as_json(200, [])
        listed = [
            listed_report(job, environment=self._environment)
            for job in reversed(self._store.jobs())
            if (not owners or job["owner"] in owners) and (not running or job["status"] == RUNNING)
        ]
        # Without runningJobs the time is that of the end, so that jobs which have none are left out.
        key = "dateCreated" if running else "dateFinished"
        return as_json(200, [job for job in listed if not since or (job[key] or "") >= since])

    def _node_status(self, _: Request) -> Answer:
        """Describe the node. Source: recording 16, exchange 23."""
        page, memory = os.sysconf("SC_PAGE_SIZE"), os.sysconf("SC_PHYS_PAGES")
        status = {
            "id": NODE_ID,
            "publicKey": NODE_PUBLIC_KEY.hex(),
            "friendlyName": "cat-carpet-papa-queen",
            "address": PROVIDER_ADDRESS,
            "version": VERSION,
            "http": True,
            "p2p": False,
            "provider": [{"chainId": str(CHAIN_ID), "network": "development"}],
            "indexer": [],
            "escrowAddress": {},
            "supportedStorage": {"url": True, "arwave": False, "ipfs": False},
            "platform": {
                "cpus": os.cpu_count(),
                "freemem": page * os.sysconf("SC_AVPHYS_PAGES"),
                "totalmem": page * memory,
                "loadavg": list(os.getloadavg()),
                "arch": "x64" if platform.machine() == "x86_64" else platform.machine(),
                "machine": platform.machine(),
                "platform": platform.system().lower(),
                "osType": platform.system(),
                "node": f"python {platform.python_version()}",
            },
            "codeHash": hashlib.sha256(VERSION.encode()).hexdigest(),
            "allowedAdmins": {"addresses": [], "accessLists": None},
            "uptime": time.monotonic() - self._opened_at,
        }
        return piped(json.dumps(status, indent=4))

    # calls with a login

    def _free_compute(self, request: Request) -> Answer:
        body = request.body
        if answer := missing_field(body, "freeStartCompute", "algorithm", "datasets", "environment"):
            return as_json(400, answer)
        owner = body.get("consumerAddress")
        if not is_address(owner):
            return as_json(400, 'Parameter : "consumerAddress" is not a valid web3 address')
        try:
            self._admit(request, body, command="freeStartCompute")
            job = self._engine.start(owner=str(owner), spec=self._spec(body))
        except Unauthorized as refusal:
            return as_json(401, str(refusal))
        except RefusedResources as refusal:
            return as_json(400, f"Error: {refusal}")
        except Busy as refusal:
            return as_json(400, str(refusal))
        except ValueError as refusal:
            return as_json(500, str(refusal))
        return as_json(200, [start_report(job, environment=self._environment)])

    def _spec(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """Check a start in the node's order and return what the engine needs.

        Raises RefusedResources or ValueError with the node's text. Source: recording 17; 33, exchange 41.
        """
        if body["environment"] != self._environment.id:
            raise ValueError("Invalid C2D Environment")
        algorithm, datasets = body["algorithm"], body["datasets"]
        if not isinstance(algorithm, dict) or not isinstance(datasets, list):
            raise ValueError("Invalid algorithm or datasets")
        for asset in [*datasets, algorithm]:
            if not isinstance(asset, dict):
                raise ValueError("Invalid algorithm or datasets")
            if (did := asset.get("documentId")) and self._store.ddo(did=str(did)) is None:
                raise ValueError(f"DDO {did} not found")
        resources = fill_resources(wanted=body.get("resources"), free=True)
        metadata = body.get("metadata")
        check_start(algorithm=algorithm, metadata=metadata)
        return {
            "algorithm": algorithm,
            "datasets": datasets,
            "resources": resources,
            "metadata": metadata,
            "viewers": body.get("additionalViewers"),
            "max_job_duration": min(
                positive(body.get("maxJobDuration")) or FREE_MAX_DURATION_S, FREE_MAX_DURATION_S
            ),
            "queue_max_wait": positive(body.get("queueMaxWaitTime")),
        }

    def _stop(self, request: Request) -> Answer:
        """Ask a job to end; whatever is wrong is a 500, and a job that is not yours is an empty list."""
        query = request.query
        engine, _, job_id = query.get("jobId", "").partition("-")
        if not job_id and not engine:
            return SERVER_ERROR
        try:
            self._admit(request, query, command="stopCompute")
        except Unauthorized:
            return SERVER_ERROR
        if engine != self._environment.engine_id:
            return SERVER_ERROR
        job = self._store.job(job_id=job_id)
        if job is None or job["owner"] != query.get("consumerAddress"):
            return as_json(200, [])
        self._engine.stop(job=job)
        return as_json(200, [self._report(job | {"stop_requested": 1}) | {"results": None}])

    def _result(self, request: Request) -> Answer:
        query = request.query
        if answer := missing_field(query, "getComputeResult", "jobId", "index"):
            return text(400, answer)
        index = query["index"]
        if not index.isdecimal():
            return text(400, "Invalid result index")
        job, refusal = self._find(request, command="getComputeResult")
        if refusal:
            return refusal
        if job is None:
            return text(500, f"Cannot find job with id {query['jobId'].partition('-')[2]}")
        reader = query.get("consumerAddress")
        if reader != job["owner"] and reader not in _list(job["spec"]["viewers"]):
            return text(
                500, f"{reader or 'null'} is not authorized to get results for job with id {job['id']}"
            )
        found = self._engine.result(job=job, index=int(index))
        if found is None:
            return Answer(200, None)
        path, kind = found
        content_type = "application/octet-stream" if kind == "output" else PLAIN
        if path.stat().st_size == 0:
            return Answer(200, content_type)
        return Answer(200, content_type, chunks=_read(path))

    def _logs(self, request: Request) -> Answer:
        """Stream the log from its first line to whoever has a login. Source: recordings 14 and 19."""
        if answer := missing_field(request.query, "getComputeStreamableLogs", "jobId"):
            return text(400, answer)
        job, refusal = self._find(request, command="getComputeStreamableLogs")
        if refusal:
            return refusal
        path = self._engine.live_log(job=job) if job else None
        if job is None or path is None:
            return text(404, "Job not found or not running")
        return Answer(200, None, chunks=self._follow(job_id=job["id"], path=path))

    def _find(self, request: Request, *, command: str) -> tuple[Job | None, Answer | None]:
        """Admit the caller and find the job that it names by its long id."""
        try:
            self._admit(request, request.query, command=command)
        except Unauthorized as refusal:
            return None, text(401, str(refusal))
        engine, _, job_id = request.query["jobId"].partition("-")
        if engine != self._environment.engine_id:
            return None, text(500, "Invalid C2D Environment")
        return self._store.job(job_id=job_id), None

    def _follow(self, *, job_id: str, path: Path) -> Iterator[bytes]:
        """Yield the log's docker frames as they come, one at a time, until the container has ended."""
        waiting = b""
        with path.open("rb") as log:
            while True:
                runs = self._engine.container_runs(job_id=job_id) and not self._engine.closing
                frames, waiting = whole_frames(waiting + log.read(CHUNK_BYTES))
                yield from frames
                if not runs:
                    return
                time.sleep(0.05)

    def _admit(self, request: Request, fields: Mapping[str, Any], *, command: str) -> None:
        self._gate.admit(
            address=fields.get("consumerAddress"),
            nonce=fields.get("nonce"),
            signature=fields.get("signature"),
            command=command,
            token=request.token,
        )

    def _create_token(self, request: Request) -> Answer:
        body = request.body
        address, nonce, signature = body.get("address"), body.get("nonce"), body.get("signature")
        if not (address and nonce and signature):
            return as_json(400, {"error": "Missing required parameters"})
        try:
            self._gate.admit(address=address, nonce=nonce, signature=signature, command="createAuthToken")
        except Unauthorized as refusal:
            return as_json(401, {"error": str(refusal)})
        valid_until = positive(body.get("validUntil")) or None
        return as_json(
            200,
            {
                "token": self._gate.issue_token(
                    address=str(address), nonce=str(nonce), valid_until=valid_until
                )
            },
        )

    def _invalidate_token(self, request: Request) -> Answer:
        """Revoke a token for anyone who knows it, whatever the signature. Source: recording 15 (29, 34)."""
        body = request.body
        address, nonce, signature, token = (
            body.get(name) for name in ("address", "nonce", "signature", "token")
        )
        if not (address and nonce and signature and token):
            return as_json(400, {"error": "Missing required parameters"})
        with contextlib.suppress(Unauthorized):
            self._gate.admit(address=address, nonce=nonce, signature=signature, command="invalidateAuthToken")
        self._store.revoke_token(token=str(token))
        return as_json(200, {"success": True})


def whole_frames(log: bytes) -> tuple[list[bytes], bytes]:
    """Return the docker frames that are complete, and the beginning of the next one."""
    frames = []
    while len(log) >= 8 and len(log) >= (size := 8 + int.from_bytes(log[4:8])):
        frames.append(log[:size])
        log = log[size:]
    return frames, log


def _list(value: object) -> list[object]:
    return value if isinstance(value, list) else []


def _read(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            yield chunk
