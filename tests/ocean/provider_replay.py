"""What the client would have to be told to send a request that was recorded at a Provider, and what it then sends."""

import json
from collections.abc import Callable, Iterator
from typing import Any

from jobs.ocean.compute import (
    AlgorithmInput,
    AssetInput,
    CodeAlgorithm,
    Container,
    ResultEntry,
    StartRequest,
    UrlFile,
)
from jobs.ocean.detect import detect
from jobs.ocean.errors import Refused
from jobs.ocean.provider import Provider
from jobs.ocean.signing import Pen, Proof, Token
from jobs.ocean.units import Address
from tests.ocean.provider_wire import BOB, accounts, answer, names, provider, scenario
from tests.ocean.wire import Sent

Exchange = dict[str, Any]
Act = Callable[[Provider], object]

READ_HEADERS = ("Content-Type", "AuthToken", "Range")
DDO_ROUTE = "/api/aquarius/assets/ddo/"
CANNOT_BE_SAID = (KeyError, TypeError, ValueError, AttributeError)


def differences(sent: Sent, exchange: Exchange) -> dict[str, tuple[object, object]]:
    """Name the parts of a request that are not the recorded ones: ours, theirs.

    Two spellings count as one. ocean.py ends a signature in 00 or 01 where wallets, and we, end it in 1b or 1c: a
    Provider takes both (85-result-v-zero-or-one). A list of no further datasets is as good as none; ocean.py's
    additionalInputs is a word that no Provider reads (64-compute-start-two-datasets).
    """
    request = exchange["request"]
    headers = {name.lower(): value for name, value in request["headers"].items()}
    ours = {
        "method": sent.method,
        "path": sent.path,
        "query": _spelt(sent.query),
        "headers": {name: sent.headers[name] for name in READ_HEADERS if name in sent.headers},
        "body": _spelt(json.loads(sent.body)) if sent.body is not None else None,
    }
    theirs = {
        "method": request["method"],
        "path": request["path"],
        "query": _spelt(request.get("query") or {}),
        "headers": {name: headers[name.lower()] for name in READ_HEADERS if name.lower() in headers},
        "body": _spelt(request.get("body_json")),
    }
    return {name: (value, theirs[name]) for name, value in ours.items() if value != theirs[name]}


def _spelt(fields: Any) -> Any:
    if not isinstance(fields, dict):
        return fields
    kept = {
        name: value
        for name, value in fields.items()
        if not (name in ("additionalDatasets", "additionalInputs") and value == [])
    }
    if isinstance(kept.get("signature"), str) and len(kept["signature"]) == 132:
        rest, end = kept["signature"][:-2], kept["signature"][-2:]
        kept["signature"] = rest + {"00": "1b", "01": "1c"}.get(end, end)
    return kept


def producing(name: str, exchange: Exchange) -> Act | None:
    """Find the call that sends exactly the recorded request, or None when the client cannot send it."""
    try:
        acts = list(acting(name, exchange))
    except CANNOT_BE_SAID:
        return None
    for act in acts:
        client, wire = provider(answer(name, exchange))
        try:
            act(client)
        except (Refused, *CANNOT_BE_SAID):
            if not wire.sent:
                continue
        except Exception:
            # What becomes of the answer is judged elsewhere; here the request counts.
            assert wire.sent
        if [differences(sent, exchange) for sent in wire.sent] == [{}]:
            return act
    return None


def acting(name: str, exchange: Exchange) -> Iterator[Act]:
    """The calls that could send a request."""
    request = exchange["request"]
    query, body = request.get("query") or {}, request.get("body_json")
    match request["method"], request["path"]:
        case "GET", "/" if exchange["peer"] == "provider":
            yield lambda client: client.identify()
        case "GET", "/":
            yield lambda client: detect(client._transport)
        case "GET", "/api/services/nonce":
            address = Address(query["userAddress"])
            yield lambda client: client.nonce(address=address)
        case "GET", "/api/services/computeEnvironments":
            yield lambda client: client.environments()
        case "POST", "/api/services/initializeCompute":
            asked = start_request(body, datasets=body["datasets"], environment=body["compute"]["env"])
            consumer, until = Address(body["consumerAddress"]), body["compute"]["validUntil"]
            yield lambda client: client.initialize(
                request=asked, consumer=consumer, payer=Address(BOB), valid_until=until
            )
        case "POST", "/api/services/compute":
            others = body.get("additionalDatasets") or []
            start = start_request(body, datasets=[body["dataset"], *others], environment=body["environment"])
            proof = _proof(request)
            yield lambda client: client.start(request=start, proof=proof)
        case "GET", "/api/services/compute":
            owner = Address(query["consumerAddress"])
            yield lambda client: client.jobs_of(owner=owner)
        case "PUT", "/api/services/compute":
            job_id, proof = query["jobId"], _proof(request)
            yield lambda client: client.stop(job_id=job_id, proof=proof)
        case "GET", "/api/services/computeResult":
            job_id, proof = query["jobId"], _proof(request)
            entry = listed_entry(name, exchange)
            yield lambda client: read_result(client, entry, job_id=job_id, proof=proof)
        case "GET", "/api/services/createAuthToken":
            proof, until_ms = _proof(request), int(query["expiration"]) * 1000
            yield lambda client: client.create_token(proof=proof, valid_until_ms=until_ms)
        case "DELETE", "/api/services/deleteAuthToken":
            proof, token = _proof(request), body["token"]
            yield lambda client: client.invalidate_token(proof=proof, token=token)
        case "POST", "/api/services/fileinfo":
            file = AssetInput(body["did"], body["serviceId"]) if "did" in body else _file(body)
            yield lambda client: client.file_info(file=file, checksum=bool(body.get("checksum")))
        case "GET", path if path.startswith(DDO_ROUTE):
            yield lambda client: client.get_ddo(did=path.removeprefix(DDO_ROUTE))
        case "POST", "/api/aquarius/assets/query":
            yield lambda client: client.search_assets()


def _proof(request: dict[str, Any]) -> Proof | Any:
    fields = {**(request.get("query") or {}), **(request.get("body_json") or {})}
    address, nonce = fields.get("consumerAddress") or fields["address"], int(fields["nonce"])
    if "authtoken" in request["headers"]:
        return Token(Address(address), request["headers"]["authtoken"], nonce=nonce)
    return Pen(accounts()[address], nonce=nonce)


def start_request(body: dict[str, Any], *, datasets: list[Any], environment: str) -> StartRequest:
    """Say what a start or the question before it names in the client's words."""
    asked, meta = body["algorithm"], body["algorithm"].get("meta")
    algorithm: Any
    if meta is None:
        algorithm = AlgorithmInput(
            asked["documentId"],
            asked["serviceId"],
            custom_data=asked.get("algocustomdata"),
            order=asked.get("transferTxId", ""),
        )
    else:
        algorithm = CodeAlgorithm(meta["rawcode"], Container(**meta["container"]), language=meta["language"])
    return StartRequest(
        environment_id=environment,
        datasets=tuple(
            AssetInput(one["documentId"], one["serviceId"], one.get("userdata"), one.get("transferTxId", ""))
            for one in datasets
        ),
        algorithm=algorithm,
    )


def _file(body: dict[str, Any]) -> UrlFile:
    return UrlFile(url=body["url"], method=body["method"])


def read_result(client: Provider, entry: ResultEntry, *, job_id: str, proof: Proof) -> bytes:
    """Fetch one result whole."""
    with client.open_result(job_id=job_id, entry=entry, proof=proof, max_bytes=10_000_000, total_s=5) as body:
        return b"".join(body)


def listed_entry(name: str, exchange: Exchange) -> ResultEntry:
    """What the status answers say of the result that an exchange asks for."""
    query = exchange["request"]["query"]
    index = int(query["index"])
    listed = _LISTED.get((query["jobId"], index))
    return listed or ResultEntry(index=index, name="x", kind="output", size=None)


def _listed() -> dict[tuple[str, int], ResultEntry]:
    found = {}
    for name in names():
        for exchange in scenario(name).values():
            told = exchange["response"].get("body_json")
            if exchange["request"]["path"] != "/api/services/compute" or not isinstance(told, list):
                continue
            for job in told:
                for place, result in enumerate(job["results"] or ()):
                    found[job["jobId"], place] = ResultEntry.model_validate({**result, "index": place})
    return found


_LISTED = _listed()
