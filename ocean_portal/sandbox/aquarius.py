"""The metadata routes: a document by its DID, how far the indexer got with it, and a small search.

Source: recording 30, exchanges 10 to 20; ocean-node v3.2.0, httpRoutes/aquarius.ts.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from ocean_portal.sandbox.answers import Answer, Request, as_json, text
from ocean_portal.sandbox.store import Store

PREFIX = "/api/aquarius/"
PER_PAGE = 100
PER_SHORT_PAGE = 10


class Index:
    """Answers from the documents in the store."""

    def __init__(self, *, store: Store) -> None:
        self._store = store

    def answer(self, *, request: Request) -> Answer | None:
        """Answer one request, or None where there is no such route."""
        place = request.path.removeprefix(PREFIX).rstrip("/")
        if request.method == "POST" and place == "assets/metadata/query":
            return as_json(200, self.search(question=request.body))
        if request.method == "GET" and place == "state/ddo":
            return self._state(request.query)
        document = re.fullmatch(r"assets/(?:ddo|metadata)/([^/]+)(?:/[^/]+)?", place)
        if request.method == "GET" and document:
            return self._document(document[1])
        return None

    def _document(self, did: str) -> Answer:
        if not did.startswith("did:op"):
            return text(400, 'Missing or invalid required parameter: "did"')
        ddo = self._store.ddo(did=did)
        return as_json(200, ddo) if ddo else text(404, "DDO not found")

    def _state(self, query: Mapping[str, str]) -> Answer:
        did, nft, transaction = (query.get(name) for name in ("did", "nft", "txId"))
        if not (did or nft or transaction):
            return text(
                400,
                'Missing or invalid required parameters, you need to specify one of: "did", "txId", "nft"',
            )
        for ddo in self._store.ddos().values():
            # The transaction is not kept, and so never found (exchanges 12 and 13).
            if ddo["id"] == did or (not did and ddo["nftAddress"] == nft):
                state = {
                    "chainId": ddo["chainId"],
                    "did": ddo["id"],
                    "txId": " ",
                    "valid": True,
                    "error": " ",
                }
                return as_json(200, state | {"id": ddo["id"]})
        return text(404, "Not found")

    def search(self, *, question: Mapping[str, Any]) -> list[list[dict[str, Any]]]:
        """Return one list with the page of hits, or none without hits; what is not understood finds nothing."""
        if not isinstance(question.get("query"), dict):
            question = _long_style(question)
        found = [ddo for ddo in self._store.ddos().values() if _matches(ddo, question["query"])]
        size = _whole(question.get("size")) or PER_PAGE
        # A node takes "from" for the number of a page. Source: ocean-node v3.2.0, ElasticSearchDatabase.ts, search.
        first = ((_whole(question.get("from")) or 1) - 1) * size
        page = found[first : first + size]
        return [page] if page else []


def _long_style(question: Mapping[str, Any]) -> dict[str, Any]:
    """Turn the short style into the long one. Source: ocean-node v3.2.0, ElasticSearchMetadataQuery.ts."""
    wanted: list[dict[str, Any]] = []
    unwanted: list[dict[str, Any]] = []
    for part in str(question.get("filter_by") or "").split(" && "):
        field, colon, value = part.partition(":")
        if value.startswith("=["):
            wanted.append({"terms": {field: value[2:].rstrip("]").split(",")}})
        elif value.startswith("!="):
            unwanted.append({"term": {field: value[2:]}})
        elif colon:
            wanted.append({"term": {field: value.removeprefix("=")}})
    return {
        "query": {"bool": {"filter": wanted, "must_not": unwanted}},
        "size": _whole(question.get("num_hits")) or PER_SHORT_PAGE,
        "from": question.get("start"),
    }


def _matches(ddo: dict[str, Any], clause: object) -> bool:
    """Tell whether a document fits a clause of Elasticsearch's language, of which few words are known."""
    if not isinstance(clause, dict) or len(clause) != 1:
        return False
    ((kind, inside),) = clause.items()
    if kind == "match_all":
        return True
    if not isinstance(inside, dict):
        return False
    if kind == "bool":
        return _fits_all(ddo, inside)
    if kind in ("multi_match", "query_string", "simple_query_string"):
        fields = [str(field).partition("^")[0] for field in _listed(inside.get("fields") or ["*"])]
        return bool(_words(inside.get("query")) & {word for field in fields for word in _tokens(ddo, field)})
    if len(inside) != 1:
        return False
    ((field, value),) = inside.items()
    if kind in ("term", "terms"):
        values = value.get("value") if isinstance(value, dict) else value
        return any(
            wanted == whole or wanted in _tokens(ddo, field)
            for wanted in map(str, _listed(values))
            for whole in _texts(ddo, field)
        )
    if kind in ("match", "match_phrase"):
        return bool(_words(value.get("query") if isinstance(value, dict) else value) & _tokens(ddo, field))
    return False


def _fits_all(ddo: dict[str, Any], inside: Mapping[str, Any]) -> bool:
    should = _listed(inside.get("should") or [])
    needed = [*_listed(inside.get("filter") or []), *_listed(inside.get("must") or [])]
    return (
        all(_matches(ddo, clause) for clause in needed)
        and not any(_matches(ddo, clause) for clause in _listed(inside.get("must_not") or []))
        and (not should or bool(needed) or any(_matches(ddo, clause) for clause in should))
    )


def _tokens(ddo: dict[str, Any], field: str) -> set[str]:
    return {word for whole in _texts(ddo, field) for word in _words(whole)}


def _texts(value: object, field: str) -> Iterator[str]:
    """Yield every text at a place such as services.type, through lists; "*" is any place."""
    if isinstance(value, list):
        for item in value:
            yield from _texts(item, field)
    elif isinstance(value, dict):
        name, _, rest = field.removesuffix(".keyword").partition(".")
        for key, item in value.items():
            if name == "*":
                yield from _texts(item, "*" if isinstance(item, dict | list) else "")
            elif name == key:
                yield from _texts(item, rest)
    elif not field and value is not None:
        yield str(value)


def _words(value: object) -> set[str]:
    return set(re.findall(r"[\w:]+", str(value or "").lower()))


def _listed(value: object) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _whole(value: object) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0
