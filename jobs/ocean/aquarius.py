"""Metadata: the DDO of an asset, from an Aquarius or from an Ocean Node, which answers on the same paths."""

from typing import Any

from jobs.ocean.answers import Reply
from jobs.ocean.errors import BadAnswer, OceanError, Refused, Rejected
from jobs.ocean.transport import Transport
from jobs.ocean.units import is_did

_DDO_CAP = 2 * 1024 * 1024


def get_ddo(transport: Transport, *, did: str) -> dict[str, Any]:
    """Fetch a DDO, as raw as it was sent.

    Raises: Rejected "unknown_asset" when the service does not know the DID; Unreachable when nobody could be
    asked, which says nothing about the asset; BadAnswer; Refused "did".
    Source: recording 30, exchanges 10, 16 and 17.
    """
    if not is_did(did):
        raise Refused('A DID is "did:op:" followed by 64 hexadecimal digits.', code="did")

    def explain(reply: Reply) -> OceanError | None:
        if reply.status == 404 and not reply.is_html:
            return Rejected(f"{reply.host} knows no asset {did}. Check the DID.", code="unknown_asset")
        return None

    document = transport.get_json(path=f"/api/aquarius/assets/ddo/{did}", explain=explain, cap_bytes=_DDO_CAP)
    if not isinstance(document, dict):
        raise BadAnswer(f"{transport.host} sent something that is no DDO.", code="ddo")
    return document
