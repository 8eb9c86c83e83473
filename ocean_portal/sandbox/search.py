"""Finds documents by clauses of Elasticsearch's language, of which few words are known, by whole words."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

# What Elasticsearch calls a query; those that are not understood here find nothing.
KINDS = frozenset(
    {
        *("bool", "match_all", "match_none", "match", "match_phrase", "match_phrase_prefix", "multi_match"),
        *("query_string", "simple_query_string", "term", "terms", "ids", "exists", "range", "prefix"),
        *("wildcard", "regexp", "fuzzy", "nested", "constant_score", "function_score", "dis_max"),
    }
)


def matches(*, document: Mapping[str, Any], clause: object) -> bool:
    """Tell whether a document fits a clause of Elasticsearch's language, of which few words are known."""
    if not isinstance(clause, dict) or len(clause) != 1:
        return False
    ((kind, inside),) = clause.items()
    if kind == "match_all":
        return True
    if not isinstance(inside, dict):
        return False
    if kind == "bool":
        return _fits_all(document, inside)
    if kind in ("multi_match", "query_string", "simple_query_string"):
        fields = [str(field).partition("^")[0] for field in _listed(inside.get("fields") or ["*"])]
        return bool(
            _words(inside.get("query")) & {word for field in fields for word in _tokens(document, field)}
        )
    if kind == "ids":
        return document.get("id") in _listed(inside.get("values"))
    if kind == "exists":
        return any(True for _ in _texts(document, str(inside.get("field"))))
    if len(inside) != 1:
        return False
    ((field, value),) = inside.items()
    if kind in ("term", "terms"):
        values = value.get("value") if isinstance(value, dict) else value
        return any(
            wanted == whole or wanted in _tokens(document, field)
            for wanted in map(str, _listed(values))
            for whole in _texts(document, field)
        )
    if kind in ("match", "match_phrase"):
        return bool(
            _words(value.get("query") if isinstance(value, dict) else value) & _tokens(document, field)
        )
    return False


def _fits_all(document: Mapping[str, Any], inside: Mapping[str, Any]) -> bool:
    should = _listed(inside.get("should") or [])
    needed = [*_listed(inside.get("filter") or []), *_listed(inside.get("must") or [])]
    return (
        all(matches(document=document, clause=clause) for clause in needed)
        and not any(
            matches(document=document, clause=clause) for clause in _listed(inside.get("must_not") or [])
        )
        and (
            not should or bool(needed) or any(matches(document=document, clause=clause) for clause in should)
        )
    )


def _tokens(document: Mapping[str, Any], field: str) -> set[str]:
    return {word for whole in _texts(document, field) for word in _words(whole)}


def _texts(value: object, field: str) -> Iterator[str]:
    """Yield every text at a place such as services.type, through lists; "*" is any place."""
    if isinstance(value, list):
        for item in value:
            yield from _texts(item, field)
    elif isinstance(value, Mapping):
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
