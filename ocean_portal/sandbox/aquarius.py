"""The metadata routes: a document by its DID, how far the indexer got with it, and a small search.

Source: recording 30, exchanges 10 to 20; ocean-node v3.2.0, httpRoutes/aquarius.ts.
"""

import re
from collections.abc import Mapping
from typing import Any

from ocean_portal.sandbox.answers import Answer, Request, as_json, text
from ocean_portal.sandbox.search import matches
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
        found = [
            ddo for ddo in self._store.ddos().values() if matches(document=ddo, clause=question["query"])
        ]
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


def _whole(value: object) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0
