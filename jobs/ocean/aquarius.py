"""Metadata: DDOs by their DID and by search, from an Aquarius or an Ocean Node.

A document is asked for on the same path at both. A search is not: an Aquarius passes Elasticsearch's own answer on.
"""

import re
from typing import Any

from pydantic import ValidationError

from jobs.ocean.answers import Reply
from jobs.ocean.compute import AssetKind, AssetState
from jobs.ocean.errors import BadAnswer, OceanError, Refused, Rejected
from jobs.ocean.parsing import Parsed, parse_list
from jobs.ocean.refusals import explain as explain_words
from jobs.ocean.transport import Transport
from jobs.ocean.units import is_did

_DDO_CAP = 2 * 1024 * 1024
_MAX_FOUND = 100
# An Aquarius whose index fails says 404 too, as of an asset that it does not know; of one that is taken out of its
# lists it stumbles over nothing. Source: aquarius v5.1.8, app/assets.py, get_ddo, and app/es_instance.py, get.
_SEARCH_FAILED = re.compile(r"(?s)Error encountered while searching the asset DID (?!.*NoneType)")
_SEARCHED = ("metadata.name", "metadata.description", "metadata.author", "metadata.tags", "id")


def get_ddo(transport: Transport, *, did: str) -> dict[str, Any]:
    """Fetch a DDO, as raw as it was sent.

    Raises: Rejected "unknown_asset" when the service does not know the DID; Unreachable when nobody could be
    asked, which says nothing about the asset; BadAnswer; Refused "did".
    Source: recording 30, exchanges 10, 16 and 17; provider-v4 recordings 10 and 11.
    """
    document = transport.get_json(
        path=f"/api/aquarius/assets/ddo/{_checked(did)}", explain=_about(did), cap_bytes=_DDO_CAP
    )
    if not isinstance(document, dict):
        raise BadAnswer(f"{transport.host} sent something that is no DDO.", code="ddo")
    return document


def get_state(transport: Transport, *, did: str) -> AssetState:
    """Ask how far the indexer got with an asset.

    Raises: as get_ddo. Source: recording 30, exchanges 12 and 14.
    """
    answer = transport.get_json(
        path="/api/aquarius/state/ddo", params={"did": _checked(did)}, explain=_about(did)
    )
    try:
        state = AssetState.model_validate(answer)
    except ValidationError:
        state = None
    if state is None or state.did != did:
        raise BadAnswer(f"{transport.host} does not say how far it got with {did}.", code="asset_state")
    return state


def search(
    transport: Transport, *, text: str = "", kind: AssetKind | None = None, limit: int = 20
) -> Parsed[dict[str, Any]]:
    """Search the indexed DDOs; they come raw, at most `limit` (1 to 100) of them.

    text: words to find in names, descriptions, authors and tags. A node with Typesense behind it goes by the
    kind alone (ocean-node v3.2.0, TypesenseMetadataQuery.ts).
    Raises: Unreachable, Rejected, BadAnswer. Source: recording 30, exchanges 18 to 20.
    """
    query: dict[str, Any] = {}
    if kind is not None:
        query["filter"] = [{"term": {"metadata.type": kind}}]
    if text.strip():
        query["must"] = [_words(text)]
    answer = transport.get_json(
        path="/api/aquarius/assets/metadata/query",
        question={"query": {"bool": query}, "size": max(1, min(limit, _MAX_FOUND))},
        explain=explain_words,
    )
    if not isinstance(answer, list):
        raise BadAnswer(f"{transport.host} sent something that is no list of assets.", code="search")
    # One list for each of the node's schemas that has hits; an empty one altogether for none.
    documents = [document for found in answer for document in (found if isinstance(found, list) else [found])]
    return parse_list(documents, limit=limit, read=_document, what="asset")


def search_index(
    transport: Transport, *, text: str = "", kind: AssetKind | None = None, limit: int = 20
) -> Parsed[dict[str, Any]]:
    """Search the DDOs that an Aquarius has indexed; they come raw, at most `limit` (1 to 100) of them.

    text: words to find in names, descriptions, authors and tags. A kind is always named: without one an Aquarius
    searches its own bookkeeping too (recording 92-aquarius-query-paging).
    Raises: Unreachable, Rejected, BadAnswer. Source: provider-v4 recordings 12, 13 and 92.
    """
    wanted = max(1, min(limit, _MAX_FOUND))
    kinds = [kind] if kind is not None else ["dataset", "algorithm"]
    query: dict[str, Any] = {"filter": [{"terms": {"metadata.type": kinds}}]}
    if text.strip():
        query["must"] = [_words(text)]
    answer = transport.get_json(
        path="/api/aquarius/assets/query",
        question={"query": {"bool": query}, "from": 0, "size": wanted},
    )
    hits = answer.get("hits") if isinstance(answer, dict) else None
    found = hits.get("hits") if isinstance(hits, dict) else None
    if not isinstance(found, list):
        raise BadAnswer(f"{transport.host} sent something that is no list of assets.", code="search")
    documents = [hit.get("_source") if isinstance(hit, dict) else hit for hit in found]
    return parse_list(documents, limit=wanted, read=_document, what="asset")


def _words(text: str) -> dict[str, Any]:
    return {"multi_match": {"query": text.strip(), "fields": list(_SEARCHED)}}


def _document(entry: dict[str, Any]) -> dict[str, Any]:
    subject = entry.get("credentialSubject", entry)
    if not isinstance(subject, dict) or not is_did(subject.get("id", entry.get("id"))):
        raise BadAnswer("The node found an asset without a DID.", code="search")
    return entry


def _checked(did: str) -> str:
    if not is_did(did):
        raise Refused('A DID is "did:op:" followed by 64 hexadecimal digits.', code="did")
    return did


def _about(did: str) -> Any:
    def explain(reply: Reply) -> OceanError | None:
        if _SEARCH_FAILED.match(reply.text):
            return Rejected(
                f"{reply.host} is there, but its index does not answer, so nobody knows of {did} now.",
                code="gateway",
                retryable=True,
            )
        if reply.status == 404 and not reply.is_html:
            return Rejected(f"{reply.host} knows no asset {did}. Check the DID.", code="unknown_asset")
        return None

    return explain
