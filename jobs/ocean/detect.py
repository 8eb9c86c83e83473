"""Which dialect a service speaks, by the document that it keeps at its root.

Source: ocean-node 3.2.0 recording 01, exchange 1; provider-v4 recording 30, exchange 1.
"""

import re
from collections.abc import Mapping
from typing import Any

from jobs.ocean.answers import Reply, parse_json
from jobs.ocean.compute import Dialect, NodeIdentity
from jobs.ocean.errors import BadAnswer, OceanError
from jobs.ocean.transport import READ_S, Transport
from jobs.ocean.units import Address, clean_text

_ROOT_CAP = 256 * 1024
_MAX_CHAINS = 100
_MAX_ENDPOINTS = 100
_METHODS = ("GET", "POST", "PUT", "DELETE")
_NAME = re.compile(r"\w{1,60}", re.ASCII)
# On this host, below its own address, and nowhere else: no dots, no percent signs, no second slash.
_PATH = re.compile(r"/api(?:/[A-Za-z0-9_-]{1,60}){1,8}")

_SOFTWARE: Mapping[str, Dialect] = {"Ocean-Node": "ocean-node", "Provider": "provider-v4"}
_CODES: Mapping[Dialect | None, str] = {
    None: "not_a_service",
    "ocean-node": "not_a_node",
    "provider-v4": "not_a_provider",
}
_NAMES: Mapping[Dialect | None, str] = {
    None: "compute service",
    "ocean-node": "Ocean Node",
    "provider-v4": "Provider",
}
# What people enter by mistake. Source: the root documents of aquarius v5.1.8 and operator-service v1.0.1.
_NEIGHBOURS: Mapping[str, str] = {
    "Aquarius": "This is an Aquarius: it goes into the field for metadata. Enter the address of the Provider here.",
    "Operator service": "This is the operator-service behind a Provider. Enter the address of the Provider itself.",
}


def detect(transport: Transport) -> NodeIdentity:
    """Ask a service for its root document, once, and say what it is.

    Raises: BadAnswer "not_a_service", with a sentence that says what was found; Unreachable, Rejected "rate_limited"
    or "gateway" when nobody could be asked.
    """
    with transport.stream(
        path="/",
        explain=_explain_root,
        retry=False,
        total_s=READ_S,
        idle_s=READ_S,
        cap_bytes=_ROOT_CAP,
    ) as body:
        data = b"".join(body)
    return identity_of(_document(data, host=transport.host), host=transport.host)


def identity_of(document: object, *, host: str, dialect: Dialect | None = None) -> NodeIdentity:
    """Read a root document. dialect: the one that is expected; None takes any.

    Raises: BadAnswer "not_a_service", or "not_a_node" and "not_a_provider" where that one was expected.
    """
    software = document.get("software") if isinstance(document, dict) else None
    spoken = _SOFTWARE.get(software) if isinstance(software, str) else None
    if not isinstance(document, dict) or spoken is None or dialect not in (None, spoken):
        raise BadAnswer(f"{host}: {_found(document, wanted=dialect)}", code=_CODES[dialect])
    try:
        return _node(document) if spoken == "ocean-node" else _provider(document)
    except (KeyError, TypeError, ValueError, OverflowError, AttributeError, StopIteration):
        raise BadAnswer(
            f"{host} does not say which address, chains and calls it has.", code=_CODES[dialect]
        ) from None


def checked_endpoint(method: object, path: object) -> tuple[str, str]:
    """Take a method and a path that a service named, if they stay on its host and below its own address.

    Raises: ValueError.
    """
    if method not in _METHODS or not isinstance(path, str) or _PATH.fullmatch(path) is None:
        raise ValueError("not an endpoint of this service")
    return str(method), path


def _node(document: Mapping[str, Any]) -> NodeIdentity:
    return NodeIdentity(
        software="Ocean-Node",
        version=_version(document),
        address=Address.parse(document["providerAddress"]),
        chain_ids=_chains(document["chainIds"]),
    )


def _provider(document: Mapping[str, Any]) -> NodeIdentity:
    addresses = {
        int(chain): Address.parse(address)
        for chain, address in list(document["providerAddresses"].items())[:_MAX_CHAINS]
    }
    named = document["serviceEndpoints"]
    if not isinstance(named, dict) or len(named) > _MAX_ENDPOINTS:
        raise ValueError("no list of calls")
    endpoints: dict[str, tuple[str, str]] = {}
    for name, place in named.items():
        method, path = place
        if _NAME.fullmatch(name) is None:
            raise ValueError("no name of a call")
        endpoints[name] = checked_endpoint(method, path)
    return NodeIdentity(
        software="Provider",
        version=_version(document),
        address=next(iter(addresses.values())),
        chain_ids=_chains(document["chainIds"]),
        dialect="provider-v4",
        addresses=addresses,
        endpoints=endpoints,
    )


def _version(document: Mapping[str, Any]) -> str:
    return clean_text(str(document.get("version", "")), limit=40)


def _chains(listed: Any) -> tuple[int, ...]:
    chains = tuple(int(chain) for chain in listed[:_MAX_CHAINS])
    if not all(0 < chain < 2**53 for chain in chains):
        raise ValueError("no chain")
    return chains


def _document(data: bytes, *, host: str) -> object:
    """Read what is at the root. What is no JSON is said of as far as it can be told."""
    try:
        return parse_json(data, host=host, is_write=False)
    except BadAnswer as error:
        start = data[:500].decode("utf-8", "replace").lower()
        if not start.strip():
            found = "An empty answer"
        elif "subgraph" in start:
            found = "A subgraph's host"
        elif error.code == "html_page":
            found = "A web page"
        else:
            found = "Something that is no JSON document"
        raise BadAnswer(
            f"{host}: {found} is no compute service. Enter the address of an Ocean Node or a Provider.",
            code=_CODES[None],
        ) from None


def _found(document: object, *, wanted: Dialect | None) -> str:
    """Say what a root document is that is not the wanted one."""
    software = document.get("software") if isinstance(document, dict) else None
    if isinstance(software, str) and software in _NEIGHBOURS:
        return _NEIGHBOURS[software]
    if isinstance(software, str) and software in _SOFTWARE:
        article = "an" if _SOFTWARE[software] == "ocean-node" else "a"
        return f"This is {article} {_NAMES[_SOFTWARE[software]]} and no {_NAMES[wanted]}. Check the address."
    if isinstance(document, dict) and document.keys() & {"jsonrpc"}:
        return "This is the RPC of a chain: it goes into the network's field. Enter the address of a compute service."
    if isinstance(document, dict) and document.keys() & {"data", "errors"}:
        return "This looks like a subgraph or another GraphQL service, and no compute service. Check the address."
    return f"This is no {_NAMES[wanted]}. Check the address."


def _explain_root(reply: Reply) -> OceanError | None:
    """Explain a root that is refused: what has nothing there is no compute service."""
    if reply.status == 429 or reply.status >= 500:
        return None
    if "jsonrpc" in (reply.document if isinstance(reply.document, dict) else {}):
        found = _found(reply.document, wanted=None)
    else:
        found = "There is nothing at this address that says what it is, so it is no compute service."
    return BadAnswer(f"{reply.host}: {found}", code=_CODES[None])
