"""What the client would have to be told to send a recorded request, and what it then sends."""

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

from jobs.ocean.compute import (
    AlgorithmInput,
    AssetInput,
    CodeAlgorithm,
    Container,
    Payment,
    ResultEntry,
    StartRequest,
    UrlAlgorithm,
    UrlFile,
    UrlInput,
)
from jobs.ocean.errors import Refused
from jobs.ocean.node import OceanNode
from jobs.ocean.signing import Pen, Proof, Token
from jobs.ocean.units import Address
from tests.ocean.wire import Answer, Sent, account, accounts, exchanges, node, recorded_body

Exchange = dict[str, Any]
Act = Callable[[OceanNode], object]

# The headers that a node reads; what else HTTP libraries send is their business.
READ_HEADERS = ("Content-Type", "Authorization")
DDO_ROUTE = "/api/aquarius/assets/ddo/"
# What a request that makes no sense does to the one who tries to say it in the client's words.
CANNOT_BE_SAID = (KeyError, TypeError, ValueError, AttributeError)


def differences(sent: Sent, exchange: Exchange) -> dict[str, tuple[object, object]]:
    """Name the parts of a request that are not the recorded ones: ours, theirs."""
    recorded = exchange["request"]
    ours = {
        "method": sent.method,
        "path": sent.path,
        "query": sent.query,
        "headers": {name: sent.headers[name] for name in READ_HEADERS if name in sent.headers},
        "body": json.loads(sent.body) if sent.body is not None else None,
    }
    theirs = {**recorded, "query": {name: str(value) for name, value in recorded["query"].items()}}
    return {name: (value, theirs[name]) for name, value in ours.items() if value != theirs[name]}


def producing(number: str, exchange: Exchange) -> Act | None:
    """Find the call that sends exactly the recorded request, or None when the client cannot send it."""
    try:
        acts = list(_acts(number, exchange))
    except CANNOT_BE_SAID:
        return None
    for act in acts:
        client, wire = node(Answer.recorded(exchange))
        try:
            act(client)
        except Refused:
            continue
        except Exception:
            # What becomes of the answer is judged elsewhere; here the request counts.
            assert wire.sent
        if [differences(sent, exchange) for sent in wire.sent] == [{}]:
            return act
    return None


def _acts(number: str, exchange: Exchange) -> Iterator[Act]:
    """The calls that could send a request: one for each form of a signature."""
    request = exchange["request"]
    query, body = request["query"], request["body"]
    match request["method"], request["path"]:
        case "GET", "/":
            yield lambda client: client.identify()
        case "GET", "/api/services/nonce":
            address = Address(query["userAddress"])
            yield lambda client: client.nonce(address=address)
        case "GET", "/api/services/computeEnvironments":
            yield lambda client: client.environments()
        case "POST", "/api/services/freeCompute":
            start = start_request(body)
            for proof in _proofs(request):
                yield lambda client, proof=proof: client.start(request=start, proof=proof)
        case "POST", "/api/services/compute":
            start = start_request(body)
            for proof in _proofs(request):
                yield lambda client, proof=proof: client.start(request=start, proof=proof)
        case "POST", "/api/services/initializeCompute":
            asked = start_request({**body, "resources": body["payment"].get("resources")})
            payer = Address(body["consumerAddress"])
            yield lambda client: client.initialize(
                request=asked, consumer=account(9).address, payer=payer, valid_until=1
            )
        case "GET", "/api/services/compute" if "jobId" in query:
            yield lambda client: client.job(job_id=query["jobId"])
        case "GET", "/api/services/compute":
            owner = Address(query["consumerAddress"])
            yield lambda client: client.jobs_of(owner=owner)
        case "PUT", "/api/services/compute":
            job_id = query["jobId"]
            for proof in _proofs(request):
                yield lambda client, proof=proof: client.stop(job_id=job_id, proof=proof)
        case "GET", "/api/services/computeResult":
            job_id, entry = query["jobId"], listed_entry(number, exchange)
            for proof in _proofs(request):
                yield lambda client, proof=proof: read_result(client, entry, job_id=job_id, proof=proof)
        case "GET", "/api/services/computeStreamableLogs":
            job_id = query["jobId"]
            for proof in _proofs(request):
                yield lambda client, proof=proof: read_log(client, job_id=job_id, proof=proof)
        case "POST", "/api/services/auth/token":
            until = body.get("validUntil")
            for proof in _proofs(request):
                yield lambda client, proof=proof: client.create_token(proof=proof, valid_until_ms=until)
        case "POST", "/api/services/auth/token/invalidate":
            token = body["token"]
            for proof in _proofs(request):
                yield lambda client, proof=proof: client.invalidate_token(proof=proof, token=token)
        case "POST", "/directCommand" if body["command"] == "jobs":
            owners = [Address(owner) for owner in body["consumerAddrs"]]
            yield lambda client: client.jobs_of_many(owners=owners)
        case "POST", "/directCommand" if body["command"] == "status":
            yield lambda client: client.status()
        case "POST", "/api/services/fileInfo":
            file = AssetInput(body["did"], body["serviceId"]) if "did" in body else url_file(body)
            yield lambda client: client.file_info(file=file, checksum=body.get("checksum", False))
        case "GET", path if path.startswith(DDO_ROUTE):
            yield lambda client: client.get_ddo(did=path.removeprefix(DDO_ROUTE))
        case "GET", "/api/aquarius/state/ddo":
            did = query["did"]
            yield lambda client: client.asset_state(did=did)
        case "POST", "/api/aquarius/assets/metadata/query":
            (kind,) = [term["term"]["metadata.type"] for term in body["query"]["bool"]["filter"]]
            limit = body["size"]
            yield lambda client: client.search_assets(kind=kind, limit=limit)


def _proofs(request: dict[str, Any]) -> Iterator[Proof]:
    fields = {**request["query"], **(request["body"] or {})}
    address = fields.get("consumerAddress") or fields["address"]
    if "Authorization" in request["headers"]:
        yield Token(Address(address), request["headers"]["Authorization"])
        return
    for form in ("bytes", "text"):
        yield Pen(accounts()[address], nonce=int(fields["nonce"]), form=form)


def start_request(body: dict[str, Any]) -> StartRequest:
    """Say the body of a start in the client's words."""
    asked, meta = body["algorithm"], body["algorithm"].get("meta")
    # Only what is published may go without a container.
    container = None if meta is None and "documentId" in asked else Container(**meta["container"])
    custom = asked.get("algocustomdata")
    algorithm: Any
    if "documentId" in asked:
        algorithm = AlgorithmInput(
            asked["documentId"], asked["serviceId"], container, custom, asked.get("transferTxId", "")
        )
    elif "fileObject" in asked:
        algorithm = UrlAlgorithm(url_file(asked["fileObject"]), container, custom)
    else:
        algorithm = CodeAlgorithm(_uncut(meta["rawcode"]), container, custom)
    resources, payment = body.get("resources"), body.get("payment")
    return StartRequest(
        environment_id=body["environment"],
        datasets=tuple(
            AssetInput(one["documentId"], one["serviceId"], order=one.get("transferTxId", ""))
            if "documentId" in one
            else UrlInput(url_file(one["fileObject"]))
            for one in body["datasets"]
        ),
        algorithm=algorithm,
        max_duration_s=body.get("maxJobDuration"),
        queue_wait_s=body.get("queueMaxWaitTime"),
        metadata=body.get("metadata"),
        resources=resources and tuple((one["id"], one["amount"]) for one in resources),
        envs=asked.get("envs"),
        additional_viewers=tuple(Address(viewer) for viewer in body.get("additionalViewers", ())),
        payment=payment and Payment(payment["chainId"], Address(payment["token"])),
    )


def _uncut(code: str) -> str:
    """Give code the length that it had before the recording cut it."""
    cut = re.fullmatch(r"# \+ (\d+) characters \(cut from this record\)", code)
    return "#" * int(cut[1]) if cut else code


def url_file(file: dict[str, Any]) -> UrlFile:
    """Say a file object in the client's words."""
    return UrlFile(url=file["url"], method=file["method"])


def read_result(client: OceanNode, entry: ResultEntry, *, job_id: str, proof: Proof) -> bytes:
    """Fetch one result whole."""
    with client.open_result(job_id=job_id, entry=entry, proof=proof, max_bytes=10_000_000, total_s=5) as body:
        return b"".join(body)


def read_log(client: OceanNode, *, job_id: str, proof: Proof) -> list:
    """Follow a live log to its end."""
    with client.stream_log(job_id=job_id, proof=proof, max_bytes=10_000_000, total_s=5) as pieces:
        return list(pieces)


def listed_entry(number: str, exchange: Exchange) -> ResultEntry:
    """What the status answers of the scenario say of the result that an exchange asks for."""
    query = exchange["request"]["query"]
    unlisted = ResultEntry(index=int(query["index"]), name="x", kind="output", size=None)
    entry = _LISTED.get((number, _short(query["jobId"]), query["index"]), unlisted)
    if exchange["response"]["body"].get("length", 0) > len(recorded_body(exchange["response"])):
        # The recording keeps only the begin of long bodies.
        entry = entry.model_copy(update={"size": None})
    return entry


def _short(job_id: str) -> str:
    return job_id.partition("-")[2] or job_id


def _listed() -> dict[tuple[str, str, int], ResultEntry]:
    """What status answers say of every result, the latest answer last."""
    found = {}
    for number, exchange in exchanges():
        answer = exchange["response"]["body"].get("json")
        if exchange["request"]["path"] == "/api/services/compute" and isinstance(answer, list):
            for entry in answer:
                for result in entry.get("results") or ():
                    found[number, _short(entry["jobId"]), result["index"]] = ResultEntry.model_validate(
                        result
                    )
    return found


_LISTED = _listed()
