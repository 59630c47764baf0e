"""States as keyed values: what a state of any view is made of, where a part of it is, and what two states differ in.

Knows no facts and no view; a part's *key* is the path to it. What has no parts of its own is compared as a whole.

A mapping has its keys as parts, at any depth. A state that is a record (a dataclass, named tuple or model) has its
fields. A sequence or set that is the state itself, or such a field, has its elements: by their ``id`` where each has
one, numbers and mixed types by their place, else by themselves (the second of two equal ones is ``(element, 2)``).
Deeper, only elements with an ``id`` are parts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import fields, is_dataclass
from enum import Enum
from itertools import islice
from typing import Final, NamedTuple, TypeGuard

from pydantic import BaseModel

Key = tuple[object, ...]
"""The path to a part of a state; empty for the state itself."""

# A field's elements are parts, too; below that a tuple is somebody's value.
_ELEMENTS_DEPTH = 1


class _Missing(Enum):
    MISSING = "missing"

    def __repr__(self) -> str:
        return "MISSING"


MISSING: Final = _Missing.MISSING
"""What stands for a part that a state does not have."""


class PartChange(NamedTuple):
    """A part of a state before and after; ``MISSING`` where it was not there."""

    before: object
    after: object


def part_at(state: object, key: Key) -> object:
    """The part of *state* at *key*, or ``MISSING``; a key may also go on into a record's fields.

    >>> part_at({"lobby": ("hi", "ho")}, ("lobby", -1)), part_at({}, ("lobby",))
    ('ho', MISSING)
    """
    part = state
    for depth, component in enumerate(key):
        part = _step(part, component, depth)
        if part is MISSING:
            return MISSING
    return part


def parts_of(state: object) -> Iterator[tuple[Key, object]]:
    """Every part that has none of its own, with its key; O(state)."""
    yield from _walk(state, ())


def changed_parts(before: object, after: object) -> dict[Key, PartChange]:
    """The parts in which two states differ, in the order of the later state; parts that are one object are not entered.

    >>> changed_parts({"a": 1, "b": 2}, {"a": 1, "b": 3, "c": 4})
    {('b',): PartChange(before=2, after=3), ('c',): PartChange(before=MISSING, after=4)}
    """
    found: dict[Key, PartChange] = {}
    _compare(before, after, (), found)
    return found


def find_keys(state: object, wanted: object) -> list[Key]:
    """The keys that *wanted* may mean: a path, an index, the text of a path, the last piece of one, or a word that a
    record at it holds (a contact's name).

    The first way in which it means anything counts; several keys mean that it is ambiguous.

    >>> find_keys({"lobby": 1, "hall": 2}, "hall"), find_keys(("a", "b"), -1)
    ([('hall',)], [(-1,)])
    """
    path = wanted if isinstance(wanted, tuple) else (wanted,)
    if part_at(state, path) is not MISSING:
        return [path]
    nodes = list(_nodes(state, ()))
    text = key_text(path)
    exact = [key for key, _ in nodes if key_text(key) == text]
    if exact:
        return exact[:1]
    last = [key for key, _ in nodes if text in (_component_text(key[-1]), *_pieces(key[-1]))]
    if last:
        return last
    below = [(*key, field) for key, _ in nodes if (field := text.removeprefix(f"{key_text(key)}/")) != text]
    below = [key for key in below if part_at(state, key) is not MISSING]
    return below or [key for key, part in nodes if text in _words_in(part)]


def key_text(key: Key) -> str:
    """A key as one line.

    >>> key_text(("messages", "m1"))
    'messages/m1'
    """
    return "/".join(_component_text(component) for component in key)


def key_words(key: Key) -> list[str]:
    """The pieces of text that a key is made of, the last and most telling first."""
    return [word for component in reversed(key) for word in reversed(_pieces(component))]


def words_of(state: object) -> list[str]:
    """The words by which `find_keys` finds a record: what its text fields say, such as a contact's name; O(state).

    >>> from collections import namedtuple
    >>> words_of({"irc:5daf": namedtuple("Contact", "nickname")("ada")})
    ['ada']
    """
    found = (str(word) for _, part in _nodes(state, ()) for word in _words_in(part))
    return [word for word in dict.fromkeys(found) if word]


def _words_in(part: object) -> list[object]:
    """What a record says in its text fields."""
    values = (getattr(part, name) for name in _field_names(part))
    return [value for value in values if isinstance(value, str)]


def _pieces(component: object) -> list[str]:
    if isinstance(component, tuple):
        return [str(piece) for piece in component if isinstance(piece, str)]
    return [component] if isinstance(component, str) else []


def _component_text(component: object) -> str:
    return "/".join(map(str, component)) if isinstance(component, tuple) else str(component)


def _step(part: object, component: object, depth: int) -> object:
    if isinstance(part, Mapping):
        try:
            return part.get(component, MISSING)
        except TypeError:  # what cannot be hashed is no key
            return MISSING
    if isinstance(part, Sequence) and not isinstance(part, str | bytes):
        if type(component) is int:
            return part[component] if -len(part) <= component < len(part) else MISSING
        if not _field_names(part):
            return _find_element(part, component)
    if isinstance(part, Set):
        return component if component in part else MISSING
    if isinstance(component, str) and component in _field_names(part):
        return getattr(part, component)
    return MISSING


def _find_element(part: Sequence[object], component: object) -> object:
    """An element by its id or by itself, whatever the depth; the first that fits, or the one of that number."""
    names = [getattr(element, "id", element) for element in part]
    if component in names or not _is_numbered(component):  # an element may look like a number of another one
        sought, number = component, 1
    else:
        sought, number = component
    fitting = (element for element, name in zip(part, names, strict=True) if name == sought)
    return next(islice(fitting, number - 1, None), MISSING)


def _is_numbered(component: object) -> TypeGuard[tuple[object, int]]:
    return isinstance(component, tuple) and len(component) == 2 and type(component[1]) is int and component[1] > 1


def _field_names(part: object) -> tuple[str, ...]:
    if is_dataclass(part) and not isinstance(part, type):
        return tuple(field.name for field in fields(part))
    if isinstance(part, BaseModel):
        return tuple(type(part).model_fields)
    return getattr(part, "_fields", ()) if isinstance(part, tuple) else ()


def _parts(part: object, depth: int) -> Mapping[object, object] | None:
    """A part's own parts by their component, or None when it is compared as a whole."""
    if isinstance(part, Mapping):
        return part
    names = _field_names(part)
    if names:
        return {name: getattr(part, name) for name in names} if depth == 0 else None
    if isinstance(part, list | tuple):
        return _elements(part, depth)
    if isinstance(part, Set) and depth <= _ELEMENTS_DEPTH:
        return {element: element for element in sorted(part, key=repr)}
    return None


def _is_empty(part: object) -> bool:
    return isinstance(part, Mapping | Set | list | tuple) and not part


def _elements(part: Sequence[object], depth: int) -> Mapping[object, object] | None:
    if part and all(hasattr(element, "id") for element in part):
        named = {getattr(element, "id"): element for element in part}  # noqa: B009  # the attribute is their word
        return named if len(named) == len(part) else None
    if depth > _ELEMENTS_DEPTH:
        return None
    types = {type(element) for element in part}
    is_fixed = len(types) > 1 or types <= {int, bool, type(None)}
    try:
        if is_fixed:
            return dict(enumerate(part))
        counts: Counter[object] = Counter()
        named = {}
        for element in part:
            counts[element] += 1
            named[element if counts[element] == 1 else (element, counts[element])] = element
        return named if len(named) == len(part) else dict(enumerate(part))
    except TypeError:  # elements that cannot be hashed
        return dict(enumerate(part))


def _walk(part: object, key: Key) -> Iterator[tuple[Key, object]]:
    parts = _parts(part, len(key))
    if parts is None:
        yield key, part
        return
    for component, child in parts.items():
        yield from _walk(child, (*key, component))


def _nodes(part: object, key: Key) -> Iterator[tuple[Key, object]]:
    parts = _parts(part, len(key))
    for component, child in (parts or {}).items():
        yield (*key, component), child
        yield from _nodes(child, (*key, component))


def _compare(before: object, after: object, key: Key, found: dict[Key, PartChange]) -> None:
    if before is after:
        return
    old = None if before is MISSING else _parts(before, len(key))
    new = None if after is MISSING else _parts(after, len(key))
    # Nothing in it tells whose parts an empty container would hold: those of the other side.
    if old is None and new is not None and _is_empty(before):
        old = {}
    if new is None and old is not None and _is_empty(after):
        new = {}
    if (old is None and before is not MISSING) or (new is None and after is not MISSING):
        if before is MISSING or after is MISSING or before != after:
            found[key] = PartChange(before, after)
        return
    old, new = old or {}, new or {}
    if not old and not new and (before is MISSING or after is MISSING):
        found[key] = PartChange(before, after)
    for component, child in new.items():
        _compare(old.get(component, MISSING), child, (*key, component), found)
    for component, child in old.items():
        if component not in new:
            _compare(child, MISSING, (*key, component), found)


__all__ = [
    "MISSING",
    "Key",
    "PartChange",
    "changed_parts",
    "find_keys",
    "key_text",
    "key_words",
    "part_at",
    "parts_of",
]
