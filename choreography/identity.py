"""Content ids: what a type is called, whatever its loops are called and in whatever order its branches stand.

SHA-256 of a canonical form; annotations, guards, spans and local actions take no part. Protocols that differ only there
exchange the same messages, and that is what the id stands for.
"""

import json
from collections.abc import Mapping
from hashlib import sha256

from . import core
from .core import GlobalType
from .deep import Deep, run_deep
from .local import (
    LocalAct,
    LocalBranch,
    LocalRec,
    LocalRecv,
    LocalRepeat,
    LocalSend,
    LocalTimeout,
    LocalType,
    LocalVar,
    local_children_first,
    local_successors,
)
from .node import JsonValue

# Ids of one version never change; a change of the canonical form is a new version.
ID_PREFIX = "type1"


def content_id(root: GlobalType | LocalType) -> str:
    """The id of a global or local type; equal for types that differ in names of loops or order of branches only.

    O(nodes). Example: `content_id(LocalEnd())` begins with `type1:`.
    """
    digest: str = run_deep(_Hashing(root).of(root, {}, 0))
    return f"{ID_PREFIX}:{digest}"


class _Hashing:
    def __init__(self, root: GlobalType | LocalType) -> None:
        self._free: dict[int, frozenset[str]] = {}
        self._known: dict[tuple[int, tuple[int, ...]], str] = {}
        for node in _bottom_up(root):
            found = frozenset[str]().union(*(self._free[id(after)] for after in _after(node)))
            if isinstance(node, core.Var | LocalVar):
                found = frozenset({node.name})
            elif isinstance(node, core.Rec | LocalRec):
                found -= {node.name}
            self._free[id(node)] = found

    def of(self, node: GlobalType | LocalType, heads: Mapping[str, int], depth: int) -> Deep[str]:
        """The digest of a part, `depth` loops inside; `heads` says how many loops were around each loop's head."""
        # A loop variable is the number of loops between it and its head, so a shared part is hashed once a distance.
        distances = tuple(depth - heads.get(name, -1) for name in sorted(self._free[id(node)]))
        key = (id(node), distances)
        known = self._known.get(key)
        if known is None:
            known = self._known[key] = yield self._digest(node, heads, depth)
        return known

    def _digest(self, node: GlobalType | LocalType, heads: Mapping[str, int], depth: int) -> Deep[str]:
        if isinstance(node, core.Local | core.Custom | LocalAct):
            passed: str = yield self.of(node.continuation, heads, depth)
            return passed
        if isinstance(node, core.Rec | LocalRec):
            body: str = yield self.of(node.body, {**heads, node.name: depth + 1}, depth + 1)
            return _hashed(["rec", body])
        if isinstance(node, core.Var | LocalVar):
            return _hashed(["var", depth - heads[node.name]] if node.name in heads else ["free", node.name])
        below: list[JsonValue] = []
        for after in _after(node):
            below.append((yield self.of(after, heads, depth)))
        return _hashed(_canonical(node, below))


def _bottom_up(root: GlobalType | LocalType) -> list[GlobalType | LocalType]:
    if root.family == "core.":
        return [*core.children_first(root)]  # type: ignore[arg-type]  # the family says that it is a global type
    return [*local_children_first(root)]  # type: ignore[arg-type]  # the only other family


def _after(node: GlobalType | LocalType) -> tuple[GlobalType | LocalType, ...]:
    return core.successors(node) if node.family == "core." else local_successors(node)  # type: ignore[arg-type]  # as above


def _canonical(node: GlobalType | LocalType, below: list[JsonValue]) -> list[JsonValue]:
    match node:
        case core.Comm(sender=sender, receiver=receiver):
            return ["comm", sender, receiver, _branches(node, below)]
        case LocalSend(partner=partner):
            return ["send", partner, _branches(node, below)]
        case LocalRecv(partner=partner):
            return ["recv", partner, _branches(node, below)]
        case (
            core.Timeout(owner=owner, milliseconds=milliseconds) | LocalTimeout(owner=owner, milliseconds=milliseconds)
        ):
            return ["timeout", owner, milliseconds, below]
        case core.Repeat(count=count) | LocalRepeat(count=count):
            return ["repeat", count, below]
        case core.Parallel():
            return ["par", below]
        case _:
            return ["end"]


def _branches(node: core.Comm | LocalSend | LocalRecv, below: list[JsonValue]) -> list[JsonValue]:
    branches: tuple[core.Branch | LocalBranch, ...] = node.branches
    shown: dict[str, JsonValue] = {}
    for branch, after in zip(branches, below, strict=True):
        payload: JsonValue = None if branch.payload is None else [branch.payload.kind, branch.payload.name]
        shown[branch.label] = [branch.label, payload, after]
    return [shown[label] for label in sorted(shown)]


def _hashed(value: list[JsonValue]) -> str:
    return sha256(json.dumps(value, separators=(",", ":")).encode()).hexdigest()
