"""What a Provider 2.1.6 answers: the routes, each as recorded. No sockets here; see wsgi.py."""

import functools
import json
import mimetypes
import urllib.parse
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from eth_account.signers.local import LocalAccount

from ocean_portal.sandbox.provider import ecies, validation
from ocean_portal.sandbox.provider.agreements import NETWORK, Clerk
from ocean_portal.sandbox.provider.decryption import Decryption
from ocean_portal.sandbox.provider.downloads import Downloads, Refused, part_of
from ocean_portal.sandbox.provider.initializing import Initializing
from ocean_portal.sandbox.provider.inputs import Inspector, container_problem
from ocean_portal.sandbox.provider.memory import Memory
from ocean_portal.sandbox.provider.operator import NotGiven, OperatorService
from ocean_portal.sandbox.provider.signatures import BadSignature, Gate
from ocean_portal.sandbox.provider.validation import Invalid, Rules, value_of
from ocean_portal.sandbox.provider.workflow import plan
from ocean_portal.sandbox.wsgi import (
    HTML,
    JSON,
    NOT_ALLOWED,
    NOT_FOUND,
    Call,
    Reply,
    allowed,
    compact,
    spaced,
)

VERSION = "2.1.6"
SERVICES = "/api/services/"
ENDPOINTS = {
    "computeDelete": ["DELETE", "compute"],
    "computeEnvironments": ["GET", "computeEnvironments"],
    "computeResult": ["GET", "computeResult"],
    "computeStart": ["POST", "compute"],
    "computeStatus": ["GET", "compute"],
    "computeStop": ["PUT", "compute"],
    "create_auth_token": ["GET", "createAuthToken"],
    "decrypt": ["POST", "decrypt"],
    "delete_auth_token": ["DELETE", "deleteAuthToken"],
    "download": ["GET", "download"],
    "encrypt": ["POST", "encrypt"],
    "fileinfo": ["POST", "fileinfo"],
    "initialize": ["GET", "initialize"],
    "initializeCompute": ["POST", "initializeCompute"],
    "nonce": ["GET", "nonce"],
    "validateContainer": ["POST", "validateContainer"],
}
# What is not there without an operator-service. Source: recording 97-download-only-provider.
OF_OPERATOR = ("compute", "computeEnvironments", "computeResult")
NO_SIGNATURE = ["Invalid signature provided. Please check the nonce or documentId."]
OCTETS = "application/octet-stream"
CHUNK_BYTES = 4096
UNLABELLED = HTML  # what Flask calls an answer that has no kind of its own


def error(status: int, message: str | dict[str, str]) -> Reply:
    """Answer with an error of Provider's own. Source: utils/error_responses.py."""
    return compact(status, {"error": message if isinstance(message, dict) else _one_line(message)})


def _one_line(message: str) -> str:
    return " ".join(message.split())


class Provider:
    """Answers requests; now in seconds."""

    def __init__(
        self,
        *,
        account: LocalAccount,
        chain_id: int,
        memory: Memory,
        gate: Gate,
        clerk: Clerk,
        downloads: Downloads,
        operator: OperatorService,
        decryption: Decryption,
        now: Callable[[], float],
    ) -> None:
        self._account = account
        self._chain_id = chain_id
        self._memory = memory
        self._gate = gate
        self._downloads = downloads
        self._operator = operator
        self._decryption = decryption
        self._now = now
        self._inspector = Inspector(downloads=downloads, clerk=clerk)
        self._initializing = Initializing(
            downloads=downloads,
            inspector=self._inspector,
            clerk=clerk,
            memory=memory,
            find=self._environment,
            now=now,
        )
        self._routes: dict[tuple[str, str], Callable[[Call], Reply]] = {
            ("GET", "/"): self._root,
            ("GET", "nonce"): self._nonce,
            ("GET", "computeEnvironments"): self._environments,
            ("POST", "initializeCompute"): self._initialize_compute,
            ("POST", "compute"): self._start,
            ("GET", "compute"): self._status,
            ("PUT", "compute"): self._stop,
            ("DELETE", "compute"): self._delete,
            ("GET", "computeResult"): self._result,
            ("GET", "createAuthToken"): self._create_token,
            ("DELETE", "deleteAuthToken"): self._delete_token,
            ("POST", "fileinfo"): self._file_info,
            ("POST", "encrypt"): self._encrypt,
            ("POST", "decrypt"): self._decrypt,
            ("GET", "initialize"): self._initialize,
            ("GET", "download"): self._download,
            ("POST", "validateContainer"): self._validate_container,
        }

    def answer(self, call: Call) -> Reply:
        """Answer one request as the recorded Provider did."""
        place = call.path.removeprefix(SERVICES) if call.path.startswith(SERVICES) else call.path
        methods = [method for method, path in self._routes if path == place]
        if not methods or (place in OF_OPERATOR and not self._operator.is_set_up()):
            return compact(404, {"context": call.data, "error": NOT_FOUND})
        if call.method == "OPTIONS":
            return allowed(methods)
        method = "GET" if call.method == "HEAD" else call.method
        if method not in methods:
            return compact(405, {"context": call.data, "error": NOT_ALLOWED})
        try:
            return self._routes[method, place](call)
        except Invalid as invalid:
            return compact(400, {"errors": invalid.errors, "message": str(invalid), "success": False})
        except Refused as refusal:
            return error(400, refusal.error)
        except Exception as failure:
            # As the original: whatever goes wrong is a 503 with the text of the exception.
            return compact(503, {"context": call.data, "error": _one_line(str(failure))})

    # what is not signed

    def _root(self, _: Call) -> Reply:
        return compact(
            200,
            {
                "chainIds": [self._chain_id],
                "providerAddresses": {str(self._chain_id): self._account.address},
                "serviceEndpoints": {
                    name: [method, SERVICES + place] for name, (method, place) in ENDPOINTS.items()
                },
                "software": "Provider",
                "version": VERSION,
            },
        )

    def _nonce(self, call: Call) -> Reply:
        """Tell the last nonce; of an unknown address it becomes 1. Source: recording 80-nonce-unknown-address."""
        self._check(call, validation.NONCE)
        address = call.data["userAddress"]
        if not self._memory.nonce(address=address):
            self._memory.store_nonce(address=address, nonce=1)
        return compact(200, {"nonce": self._memory.nonce(address=address)})

    def _environments(self, _: Call) -> Reply:
        found = self._operator.environments(chain_id=self._chain_id)
        return compact(
            200, {str(self._chain_id): [item | {"feeToken": self._initializing.fee_token} for item in found]}
        )

    def _environment(self, environment_id: str) -> Any:
        return self._operator.environment(environment_id, chain_id=self._chain_id)

    def _initialize_compute(self, call: Call) -> Reply:
        self._check(call, validation.INITIALIZE_COMPUTE)
        return compact(200, self._initializing.compute(data=call.data))

    def _initialize(self, call: Call) -> Reply:
        self._check(call, validation.INITIALIZE)
        return compact(200, self._initializing.access(data=call.data))

    def _file_info(self, call: Call) -> Reply:
        self._check(call, validation.FILE_INFO)
        data = call.data
        files = [data]
        if data.get("did"):
            asset = self._downloads.asset(data["did"])
            if asset is None:
                raise Refused("Cannot resolve DID")
            if asset.service(data.get("serviceId")) is None:
                raise Refused(f"{NETWORK}Invalid serviceId.")
            found = self._downloads.files_of(asset=asset, service_id=data["serviceId"])
            if not found:
                raise Refused(f"{NETWORK}Unable to get dataset files")
            files = found
        described = []
        for index, file in enumerate(files):
            details = self._downloads.describe(
                file=file, userdata=data.get("userdata"), with_checksum=bool(data.get("checksum"))
            )
            # The sandbox's own files pass for files at an address.
            kind = "url" if file.get("type") == "sandbox" else file.get("type")
            known = {"index": index, "valid": details is not None, "type": kind}
            described.append(known | (details or {}))
        return compact(200, described)

    def _encrypt(self, call: Call) -> Reply:
        """Encrypt for this Provider whatever is sent. Source: recording 91-encrypt."""
        if call.headers.get("content-type") != OCTETS:
            return error(400, f"Invalid request content type: should be {OCTETS}")
        if not call.query.get("chainId"):
            return error(400, "Missing chainId query parameter.")
        if call.query["chainId"] != str(self._chain_id):
            return error(400, "Failed to encrypt.")
        encrypted = ecies.encrypt(secret=bytes(self._account.key), content=call.content)
        return Reply(201, "text/plain", ("0x" + encrypted.hex()).encode())

    def _validate_container(self, call: Call) -> Reply:
        container = call.data
        problem = container_problem(container)
        return error(400, problem) if problem else compact(200, container)

    # what is signed

    def _start(self, call: Call) -> Reply:
        """Check everything, hand the job to operator-service, and only then store the nonce.

        So that the job of an answer that failed for its nonce runs. Source: recording 86-start-reused-nonce-string.
        """
        self._check(call, validation.START, signed=("consumerAddress", "jobId", "dataset.documentId"))
        data = call.data
        owner = data["consumerAddress"]
        spec = plan(data=data, inspector=self._inspector, find=self._environment, now=self._now())
        status, answer = self._operator.start(owner=owner, spec=spec)
        self._memory.store_nonce(address=owner, nonce=data.get("nonce"))
        return spaced(status, answer)

    def _status(self, call: Call) -> Reply:
        """Describe jobs to whoever asks. Source: recording 81-status-unsigned."""
        self._check(call, validation.STATUS)
        return spaced(200, self._operator.status(**_named(call)))

    def _stop(self, call: Call) -> Reply:
        self._check(call, validation.COMPUTE, signed=("consumerAddress", "jobId", "documentId"))
        answer = self._operator.stop(**_named(call))
        self._memory.store_nonce(address=call.data["consumerAddress"], nonce=call.data.get("nonce"))
        return spaced(200, answer)

    def _delete(self, call: Call) -> Reply:
        """Delete nothing. Source: recording 87-delete."""
        self._check(call, validation.COMPUTE, signed=("consumerAddress", "jobId", "documentId"))
        self._operator.reach(place="compute", **_named(call))
        self._memory.store_nonce(address=call.data["consumerAddress"], nonce=call.data.get("nonce"))
        return spaced(200, "")

    def _result(self, call: Call) -> Reply:
        self._check(call, validation.RESULT, signed=("consumerAddress", "jobId", "index"))
        owner, job_id, index = (str(call.data[name]) for name in ("consumerAddress", "jobId", "index"))
        self._memory.store_nonce(address=owner, nonce=call.data.get("nonce"))
        self._operator.reach(place="getResult", owner=owner, job_id=job_id)
        try:
            path = self._operator.result(owner=owner, job_id=job_id, index=index)
        except NotGiven as refusal:
            # The name of the file is the end of the inner address. Source: recording 85-result-index-out-of-range.
            query = {"index": index, "owner": owner, "jobId": job_id}
            query["consumerSignature"] = str(call.data.get("signature"))
            inner = urllib.parse.urlencode(query | self._operator.signed(owner, job_id))
            body = json.dumps({"error": refusal.message}).encode()
            return _attachment(
                refusal.status, content=iter([body]), name=f"getResult?{inner}.json", kind=JSON
            )
        kind = mimetypes.guess_type(path.name)[0] or OCTETS
        if (wanted := call.headers.get("range")) and (
            part := part_of(path.read_bytes(), wanted=wanted)
        ) is not None:
            return _partial(part, wanted=wanted, kind=UNLABELLED)
        return _attachment(200, content=_read(path), name=path.name, kind=kind)

    def _download(self, call: Call) -> Reply:
        self._check(call, validation.DOWNLOAD, signed=("documentId",), speaker="consumerAddress")
        data = call.data
        delivered = self._downloads.deliver(
            did=data["documentId"],
            service_id=data["serviceId"],
            consumer=data["consumerAddress"],
            tx_hash=data["transferTxId"],
            file_index=int(data["fileIndex"]),
            userdata=_userdata(data.get("userdata")),
        )
        self._memory.store_nonce(address=data["consumerAddress"], nonce=data.get("nonce"))
        if (wanted := call.headers.get("range")) and (
            part := part_of(delivered.content, wanted=wanted)
        ) is not None:
            return _partial(part, wanted=wanted, kind=delivered.content_type or UNLABELLED)
        return _attachment(
            200,
            content=iter([delivered.content] if delivered.content else []),
            name=delivered.name,
            kind=delivered.content_type or OCTETS,
        )

    def _decrypt(self, call: Call) -> Reply:
        data = call.data if isinstance(call.data, dict) else {}
        first = "transactionId" if data.get("transactionId") else "dataNftAddress"
        self._check(
            call,
            validation.DECRYPT,
            signed=(first, "decrypterAddress", "chainId"),
            speaker="decrypterAddress",
        )
        self._memory.store_nonce(address=data["decrypterAddress"], nonce=data.get("nonce"))
        status, answer = self._decryption.answer(data=data)
        if status != 201:
            return error(status, answer.decode())
        return Reply(201, "text/plain", answer)

    # tokens

    def _create_token(self, call: Call) -> Reply:
        """Make a token; its nonce is checked and not stored. Source: recording 90-auth-token."""
        self._check(call, validation.CREATE_TOKEN, signed=("address",), speaker="address")
        token, problem = self._gate.issue(
            address=call.data["address"], expiration=int(call.data["expiration"])
        )
        return compact(400, {"error": problem}) if problem else compact(200, {"token": token})

    def _delete_token(self, call: Call) -> Reply:
        self._check(call, validation.DELETE_TOKEN, signed=("address",), speaker="address")
        token, address = call.data["token"], call.data["address"]
        if problem := self._gate.problem(token=token, address=address):
            return compact(400, {"error": problem})
        self._gate.revoke(token=token)
        return compact(200, {"success": "Token has been deactivated."})

    # inside

    def _check(
        self, call: Call, rules: Rules, *, signed: tuple[str, ...] = (), speaker: str = "consumerAddress"
    ) -> None:
        """Check fields and signature: the named fields one after the other, missing ones as nothing.

        Raises Invalid.
        """
        judge = functools.partial(self._judge, call, signed, speaker)
        validation.check(rules=rules, data=call.data, now=self._now(), judge=judge)

    def _judge(self, call: Call, signed: tuple[str, ...], speaker: str, signature: Any) -> Any:
        """Return what is wrong with a signature or token, None if nothing."""
        address = str(value_of(call.data, speaker) or "")
        nonce = value_of(call.data, "nonce")
        if not signature:
            token = call.headers.get("authtoken")
            if not token or self._gate.problem(token=token, address=address):
                return NO_SIGNATURE
            self._gate.check_nonce(address=address, nonce=nonce)
            return None
        message = "".join(_text(value_of(call.data, name)) for name in signed)
        try:
            self._gate.check(address=address, signature=signature, message=message, nonce=nonce)
        except BadSignature as refusal:
            return str(refusal)
        return None


def _text(value: Any) -> str:
    return str(value) if value else ""


def _named(call: Call) -> dict[str, str]:
    """Return whose jobs, and which one, a request speaks of."""
    fields = {"owner": "consumerAddress", "job_id": "jobId", "document_id": "documentId"}
    return {name: _text(call.data.get(field)) for name, field in fields.items()}


def _userdata(value: Any) -> Any:
    """Read userdata, which comes as JSON in a query; what cannot be read is none."""
    try:
        return json.loads(value) if isinstance(value, str) else value
    except ValueError:
        return {}


def _attachment(status: int, *, content: Iterator[bytes], name: str, kind: str) -> Reply:
    headers = (
        ("Content-Disposition", f"attachment;filename={_header_safe(name)}"),
        ("Access-Control-Expose-Headers", "Content-Disposition"),
    )
    return Reply(status, kind, headers=headers, chunks=content)


def _partial(part: bytes, *, wanted: str, kind: str) -> Reply:
    """Answer with a part of a file. Source: recording 85-result-range."""
    return Reply(206, kind, headers=(("Range", _header_safe(wanted)),), chunks=iter([part] if part else []))


def _header_safe(text: str) -> str:
    return "".join(letter if " " <= letter <= "~" else "_" for letter in text)


def _read(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            yield chunk
