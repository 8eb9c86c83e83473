"""Finds every place in the services that makes something durable, by reading their source.

A place has a name that says where and what: `starting.begin: move STARTING`.
"""

import ast
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[3]
SERVICES = ROOT / "jobs" / "services"
QUEUE = ROOT / "jobs" / "queue.py"

# Rows and files. Only keywords go into a queryset's update: a hash's takes none.
METHODS = {
    "create",
    "get_or_create",
    "update_or_create",
    "bulk_create",
    "bulk_update",
    "update",
    "delete",
    "save",
}
METHODS |= {"move", "record", "claim", "renew", "release", "put_off", "enqueue"}
# What somebody else does because of a call: whose it is, and its name.
ACTS = {("backend", "start"), ("backend", "stop"), ("chain", "send")}


@dataclass(frozen=True)
class Write:
    """A call that makes something durable. first, last: its lines."""

    name: str
    path: str
    first: int
    last: int


@cache
def writes(path: Path) -> tuple[Write, ...]:
    """Return the writes of a module, in their order; a second one of the same name in a function has a number."""
    seen: Counter[str] = Counter()
    found: list[Write] = []
    for function, call in sorted(
        _calls(ast.parse(path.read_text()), inside=""), key=lambda item: (item[1].lineno, item[1].col_offset)
    ):
        if (kind := _kind(call)) is None:
            continue
        name = f"{path.stem}.{function}: {kind}"
        seen[name] += 1
        number = f" {seen[name]}" if seen[name] > 1 else ""
        found.append(Write(name + number, str(path), call.lineno, call.end_lineno or call.lineno))
    return tuple(found)


def at(*, path: str, line: int) -> Write | None:
    """Return the write that a line of a module belongs to."""
    return next((write for write in writes(Path(path)) if write.first <= line <= write.last), None)


def _calls(tree: ast.AST, *, inside: str) -> Iterator[tuple[str, ast.Call]]:
    for node in ast.iter_child_nodes(tree):
        named = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
        name = ".".join(part for part in (inside, node.name) if part) if named else inside
        if isinstance(node, ast.Call):
            yield name, node
        yield from _calls(node, inside=name)


def _kind(call: ast.Call) -> str | None:
    """Return what a call does, e.g. `move STARTING`; None for a call that makes nothing durable."""
    method = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    owner = getattr(getattr(call.func, "value", None), "id", "")
    if (owner, method) in ACTS:
        return method
    if method not in METHODS or (method == "update" and call.args):
        return None
    said = {"move": [k.value for k in call.keywords if k.arg == "after"], "enqueue": call.args[:1]}.get(
        method, []
    )
    return " ".join([method, *(value.attr for value in said if isinstance(value, ast.Attribute))])
