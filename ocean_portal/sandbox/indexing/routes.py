"""What an Aquarius 5.1.8 answers: the routes, each as recorded. No sockets here; see wsgi.py.

Source: oceanprotocol/aquarius @ 131a9be : app/; recordings 01, 10 to 13, 92.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from eth_account.signers.local import LocalAccount
from eth_keys.main import lazy_key_api as keys

from ocean_portal.sandbox.indexing.indexer import Indexer
from ocean_portal.sandbox.indexing.shapes import problems
from ocean_portal.sandbox.provider.signatures import signed_hash
from ocean_portal.sandbox.provider.switches import Switches
from ocean_portal.sandbox.search import KINDS, matches
from ocean_portal.sandbox.wsgi import HTML, Call, Reply, allowed, compact, spaced

VERSION = "5.1.8"
PREFIX = "/api/aquarius/"
NO_DICT = "Invalid payload. The request could not be converted into a dict."
OCTETS = "application/octet-stream"
ASSETS, STATES = "oceandb", "oceandb_did_states"
# Routes by method; what follows a name that ends in "/" is one more part of the path.
ROUTES = {
    "": "GET",
    "assets/ddo/": "GET",
    "assets/metadata/": "GET",
    "assets/names": "POST",
    "assets/query": "POST",
    "assets/ddo/validate": "POST",
    "state/ddo": "GET",
    "chains/list": "GET",
    "chains/status/": "GET",
}
# What a proxy says whose Aquarius is away.
AWAY = (
    b"<html>\r\n<head><title>503 Service Temporarily Unavailable</title></head>\r\n<body>\r\n"
    b"<center><h1>503 Service Temporarily Unavailable</h1></center>\r\n<hr><center>nginx</center>\r\n"
    b"</body>\r\n</html>\r\n"
)


def _page(status: int, title: str, text: str) -> Reply:
    """Answer with one of Werkzeug's own pages."""
    head = f"<!doctype html>\n<html lang=en>\n<title>{status} {title}</title>\n<h1>{title}</h1>\n"
    return Reply(status, HTML, f"{head}<p>{text}</p>\n".encode())


def _error(status: int, message: str) -> Reply:
    return compact(status, {"error": message})


class Aquarius:
    """Answers from the index; account: the one that says that a document is valid."""

    def __init__(self, *, indexer: Indexer, chain_id: int, account: LocalAccount, switches: Switches) -> None:
        self._indexer = indexer
        self._chain_id = chain_id
        self._account = account
        self._switches = switches

    def resolve(self, did: str) -> dict[str, Any] | None:
        """Return a document as the Provider gets it; None also while Aquarius is away."""
        return None if self._switches.aquarius_is_down() else self._indexer.document(did=did)

    def answer(self, call: Call) -> Reply:
        """Answer one request as the recorded Aquarius did."""
        if self._switches.aquarius_is_down():
            return Reply(503, HTML, AWAY)
        place = call.path.removeprefix(PREFIX) if call.path.startswith(PREFIX) else call.path
        name, rest = self._route("" if place == "/" else place)
        if name is None:
            return _page(
                404,
                "Not Found",
                "The requested URL was not found on the server. If you entered the URL manually please check"
                " your spelling and try again.",
            )
        if call.method == "OPTIONS":
            return allowed([ROUTES[name]])
        if ("GET" if call.method == "HEAD" else call.method) != ROUTES[name]:
            return _page(405, "Method Not Allowed", "The method is not allowed for the requested URL.")
        match name:
            case "":
                return compact(200, {"plugin": "module", "software": "Aquarius", "version": VERSION})
            case "assets/ddo/":
                return self._ddo(rest)
            case "assets/metadata/":
                return self._metadata(rest)
            case "assets/names":
                return self._names(call.data)
            case "assets/query":
                return self._query(_json_of(call))
            case "assets/ddo/validate":
                return self._validate(call)
            case "state/ddo":
                return self._state(call.query)
            case "chains/list":
                return compact(200, {str(self._chain_id): True})
        return self._status(rest)

    def _route(self, place: str) -> tuple[str | None, str]:
        """Return the name of the route and what follows it; None for no route."""
        if place in ROUTES and not place.endswith("/"):
            return place, ""
        head, slash, rest = place.rpartition("/")
        name = head + slash
        return (name, rest) if rest and name in ROUTES and name else (None, "")

    def _ddo(self, did: str) -> Reply:
        document = self._indexer.document(did=did)
        if document is None:
            return _error(404, f"Asset DID {did} not found in Elasticsearch.")
        return spaced(200, document)

    def _metadata(self, did: str) -> Reply:
        document = self._indexer.document(did=did)
        if document is None:
            gone = {"_index": ASSETS, "_id": did, "found": False}
            problem = f'NotFoundError(404, "{gone}")'
        elif "metadata" not in document:
            problem = "'metadata'"
        else:
            return spaced(200, document["metadata"])
        return _error(404, f"Error encountered while retrieving metadata: {problem}.")

    def _names(self, data: Any) -> Reply:
        if not isinstance(data, dict):
            return _error(400, NO_DICT)
        if "didList" not in data:
            return _error(400, "`didList` is required in the request payload.")
        if not data["didList"]:
            return _error(400, "The requested didList can not be empty.")
        if not isinstance(data["didList"], list):
            return _error(400, "The didList must be a list.")
        names = {}
        for did in data["didList"]:
            document = self._indexer.document(did=str(did)) or {}
            names[str(did)] = (document.get("metadata") or {}).get("name", "")
        return compact(200, names)

    def _query(self, question: Any) -> Reply:
        """Search documents, and Aquarius' own notes about them. Source: recordings 12, 13, 92."""
        if not isinstance(question, dict):
            return _error(400, NO_DICT)
        clause = question.get("query", {"match_all": {}})
        kinds = list(clause) if isinstance(clause, dict) else []
        if len(kinds) != 1 or kinds[0] not in KINDS:
            refusal = f"unknown query [{', '.join(map(str, kinds))}]"
            problem = f"BadRequestError(400, 'parsing_exception', '{refusal}')"
            return _error(500, f"Encountered Elasticsearch Exception: {problem}")
        found = [(ASSETS, str(doc["event"]["contract"]), doc) for doc in self._indexer.documents()]
        found += [(STATES, state["did"], state) for state in self._indexer.states()]
        hits = [
            {"_index": index, "_id": doc.get("id", name), "_score": 1.0, "_source": doc}
            for index, name, doc in found
            if matches(document=doc | {"_id": doc.get("id", name)}, clause=clause)
        ]
        sorts = _sorts(question.get("sort"))
        hits = _sorted(hits, sorts) if sorts else hits
        first, size = _whole(question.get("from"), 0), _whole(question.get("size"), 10)
        return compact(
            200,
            {
                "took": 0,
                "timed_out": False,
                "_shards": {"failed": 0, "skipped": 0, "successful": 5, "total": 5},
                "hits": {
                    "total": {"value": len(hits), "relation": "eq"},
                    "max_score": 1.0 if hits and not sorts else None,
                    "hits": hits[first : first + size],
                },
            },
        )

    def _validate(self, call: Call) -> Reply:
        """Say what is wrong with a document, or sign that it is valid. Source: recordings 01 and 92."""
        if call.headers.get("content-type") != OCTETS:
            return _error(400, f"Invalid request content type: should be {OCTETS}")
        try:
            document = json.loads(call.content)
        except (ValueError, RecursionError):
            return _error(400, NO_DICT)
        if not isinstance(document, dict):
            kind = type(document).__name__
            problem = f"'{kind}' object has no attribute 'get'"
            return _error(500, f"Encountered error when validating asset: {problem}.")
        if not document.get("version"):
            return compact(400, [{"message": "no version provided for DDO."}])
        errors = problems(
            document=document,
            chain_id=document.get("chainId", ""),
            nft_address=document.get("nftAddress", ""),
        )
        if errors:
            return compact(400, {"errors": errors})
        digest = hashlib.sha256(call.content).digest()
        signature = keys.PrivateKey(bytes(self._account.key)).sign_msg_hash(signed_hash(digest))
        return compact(
            200,
            {
                "hash": "0x" + digest.hex(),
                "publicKey": self._account.address,
                "v": signature.v + 27,
                "r": [f"0x{signature.r:064x}"],
                "s": [f"0x{signature.s:064x}"],
            },
        )

    def _state(self, query: Mapping[str, str]) -> Reply:
        """Tell what became of a document. Source: recording 92-aquarius-state."""
        wanted = {"did": query.get("did"), "nft": query.get("nft"), "tx_id": query.get("txId")}
        if not any(wanted.values()):
            return _error(400, "You need to specify one of: nft, txId, did")
        for state in self._indexer.states():
            if all(state[key] == value for key, value in wanted.items() if value):
                return compact(200, state)
        return _error(500, "Encountered error : list index out of range.")

    def _status(self, chain_id: str) -> Reply:
        if chain_id != str(self._chain_id):
            return _error(404, f"Chain {chain_id} is not indexed.")
        return compact(200, {"last_block": self._indexer.last_block, "version": VERSION})


def _json_of(call: Call) -> Any:
    try:
        return call.json
    except ValueError:
        return None


def _whole(value: object, otherwise: int) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else otherwise


def _sorts(value: Any) -> list[tuple[str, bool]]:
    """Return the fields to sort by, each with whether it is from high to low."""
    found = []
    for item in value if isinstance(value, list) else [value] if value else []:
        for field, order in item.items() if isinstance(item, dict) else [(str(item), "asc")]:
            word = order.get("order", "asc") if isinstance(order, dict) else order
            found.append((field, word == "desc"))
    return found


def _sorted(hits: list[dict[str, Any]], sorts: list[tuple[str, bool]]) -> list[dict[str, Any]]:
    """Sort by the fields; what has none comes last, as Elasticsearch does by default."""
    for field, falling in reversed(sorts):
        have = [(_field(hit, field), hit) for hit in hits]
        known = [pair for pair in have if pair[0] is not None]
        known.sort(key=_sort_key, reverse=falling)
        hits = [hit for _, hit in known] + [hit for value, hit in have if value is None]
    return [hit | {"_score": None, "sort": [_field(hit, field) for field, _ in sorts]} for hit in hits]


def _field(hit: dict[str, Any], field: str) -> Any:
    value: Any = hit["_source"]
    for part in field.removesuffix(".keyword").split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value


def _sort_key(pair: tuple[Any, dict[str, Any]]) -> tuple[float, str]:
    value = pair[0]
    return (value, "") if isinstance(value, int | float) else (0, str(value))
