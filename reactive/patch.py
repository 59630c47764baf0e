"""JSON Patch (RFC 6902) between two snapshots, so that a screen far away is sent what changed instead of everything.

Sends nothing and keeps nothing: `deltas.DeltaLog` does. A snapshot becomes a document by its shape: a mapping is an
object, a frozen dataclass or a named tuple an object of its fields, a sequence a list whose items are told apart by
their `id`. Parts that two snapshots share are not looked into, so a patch costs what changed and the lists it is in.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from enum import Enum
from typing import Any, NamedTuple

import orjson

from .errors import ReactiveError

Json = None | bool | int | float | str | list[Any] | dict[str, Any]


class PatchRefused(ReactiveError, ValueError):
    """An operation does not fit the document; the document is as it was."""

    def __init__(self, operation: Operation, why: str) -> None:
        super().__init__(f"{operation.op} {operation.path!r}: {why}; expected a patch made for this very document")


class Operation(NamedTuple):
    """One step: `op` is `add`, `remove`, `replace` or `move`; `path` and `source` are JSON pointers (RFC 6901)."""

    op: str
    path: str
    value: Json = None
    source: str = ""

    def to_json(self) -> dict[str, Json]:
        """As RFC 6902 writes it."""
        if self.op == "remove":
            return {"op": self.op, "path": self.path}
        if self.op == "move":
            return {"op": self.op, "from": self.source, "path": self.path}
        return {"op": self.op, "path": self.path, "value": self.value}


def to_document(value: object) -> Json:
    """A snapshot as a JSON value; keys that are not text are written as JSON text, bytes and the rest as `str`."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Enum):
        return to_document(value.value)
    members = _members(value)
    if members is not None:
        return {name: to_document(each) for name, each in members.items()}
    items = _items(value)
    return str(value) if items is None else [to_document(each) for each in items]


def diff(before: object, after: object, *, path: str = "") -> list[Operation]:
    """The operations that make `to_document(after)` of `to_document(before)`.

    >>> [each.to_json() for each in diff({"unread": 1, "names": ("ada",)}, {"unread": 2, "names": ("ada", "ben")})]
    [{'op': 'replace', 'path': '/unread', 'value': 2}, {'op': 'add', 'path': '/names/1', 'value': 'ben'}]
    """
    if before is after:
        return []
    old, new = _members(before), _members(after)
    if old is not None and new is not None:
        return _diff_members(old, new, path)
    old_items, new_items = _items(before), _items(after)
    if old_items is not None and new_items is not None:
        return _diff_items(old_items, new_items, path)
    document = to_document(after)
    seen = to_document(before)
    is_same = type(seen) is type(document) and seen == document
    return [] if is_same else [Operation("replace", path, document)]


def apply_patch(document: Json, operations: Sequence[Operation]) -> Json:
    """The patched document; the given one is not touched. Raises `PatchRefused`, then nothing is patched."""
    box: dict[str, Json] = {"": orjson.loads(orjson.dumps(document))}
    for operation in operations:
        if operation.op == "move":
            _set(box, operation, _take(box, operation, operation.source), is_new=True)
        elif operation.op == "remove":
            _take(box, operation, operation.path)
        else:
            value = orjson.loads(orjson.dumps(operation.value))
            _set(box, operation, value, is_new=operation.op == "add")
    return box[""]


def _members(value: object) -> dict[str, object] | None:
    """What becomes an object, by member name; None for anything else."""
    if isinstance(value, Mapping):
        return {_key(key): each for key, each in value.items()}
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return dict(zip(value._fields, value, strict=True))
    if is_dataclass(value) and not isinstance(value, type):
        return {each.name: getattr(value, each.name) for each in fields(value)}
    return None


def _items(value: object) -> Sequence[object] | None:
    """What becomes a list; sets in an order of their own."""
    if isinstance(value, frozenset | set):
        return sorted(value, key=_canonical)
    return value if isinstance(value, tuple | list) else None


def _key(key: object) -> str:
    return key if isinstance(key, str) else orjson.dumps(to_document(_plain(key))).decode()


def _plain(key: object) -> object:
    """A named tuple as the list of its values: short, and the same whatever its fields are called."""
    return list(key) if isinstance(key, tuple) else key


def _diff_members(old: Mapping[str, object], new: Mapping[str, object], path: str) -> list[Operation]:
    found = [Operation("remove", f"{path}/{_escape(name)}") for name in old if name not in new]
    for name, after in new.items():
        where = f"{path}/{_escape(name)}"
        if name in old:
            if old[name] is not after:
                found.extend(diff(old[name], after, path=where))
        else:
            found.append(Operation("add", where, to_document(after)))
    return found


def _diff_items(old: Sequence[object], new: Sequence[object], path: str) -> list[Operation]:
    """Drop what is gone from the end backwards, then walk forward: keep, move here or add; keys tell items apart."""
    old_keys, new_keys = [_identity(each) for each in old], [_identity(each) for each in new]
    old_by_key, wanted = dict(zip(old_keys, old, strict=True)), frozenset(new_keys)
    if len(old_by_key) != len(old) or len(wanted) != len(new):
        is_same = _canonical(list(old)) == _canonical(list(new))
        return [] if is_same else [Operation("replace", path, to_document(list(new)))]
    found = [Operation("remove", f"{path}/{at}") for at in range(len(old) - 1, -1, -1) if old_keys[at] not in wanted]
    standing = [key for key in old_keys if key in wanted]
    for at, (key, after) in enumerate(zip(new_keys, new, strict=True)):
        if key not in old_by_key:
            found.append(Operation("add", f"{path}/{at}", to_document(after)))
            standing.insert(at, key)
            continue
        if standing[at] != key:
            source = standing.index(key, at)
            standing.insert(at, standing.pop(source))
            found.append(Operation("move", f"{path}/{at}", source=f"{path}/{source}"))
        found.extend(diff(old_by_key[key], after, path=f"{path}/{at}"))
    return found


def _identity(item: object) -> object:
    """What tells an item from its neighbours: its `id`, else what it says."""
    found = item.get("id") if isinstance(item, Mapping) else getattr(item, "id", None)
    if isinstance(found, str | int) and not isinstance(found, bool):
        return ("id", found)
    return _canonical(item)


def _canonical(value: object) -> bytes:
    return orjson.dumps(to_document(value), option=orjson.OPT_SORT_KEYS)


def _escape(name: str) -> str:
    return name.replace("~", "~0").replace("/", "~1")


def _parent(box: dict[str, Json], operation: Operation, pointer: str) -> tuple[dict[str, Any] | list[Any], str]:
    """Where a pointer's last part stands, and that part."""
    parts = ["", *(part.replace("~1", "/").replace("~0", "~") for part in pointer.split("/")[1:])]
    at: Any = box
    for part in parts[:-1]:
        at = _look(at, operation, part)
    if not isinstance(at, dict | list):
        raise PatchRefused(operation, "it leads into a plain value")
    return at, parts[-1]


def _look(at: Any, operation: Operation, part: str) -> Any:
    if isinstance(at, list):
        return at[_index(at, operation, part, len(at) - 1)]
    if not isinstance(at, dict) or part not in at:
        raise PatchRefused(operation, f"there is no {part!r}")
    return at[part]


def _index(at: list[Any], operation: Operation, part: str, last: int) -> int:
    number = len(at) if part == "-" else int(part) if part.isascii() and part.isdigit() else -1
    if not 0 <= number <= last:
        raise PatchRefused(operation, f"there is no item {part!r} among {len(at)}")
    return number


def _take(box: dict[str, Json], operation: Operation, pointer: str) -> Any:
    parent, part = _parent(box, operation, pointer)
    _look(parent, operation, part)
    if isinstance(parent, list):
        return parent.pop(_index(parent, operation, part, len(parent) - 1))
    return parent.pop(part)


def _set(box: dict[str, Json], operation: Operation, value: Json, *, is_new: bool) -> None:
    parent, part = _parent(box, operation, operation.path)
    if not is_new:
        _look(parent, operation, part)
    if isinstance(parent, dict):
        parent[part] = value
    elif is_new:
        parent.insert(_index(parent, operation, part, len(parent)), value)
    else:
        parent[_index(parent, operation, part, len(parent) - 1)] = value
