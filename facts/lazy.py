"""Names of a room that are loaded when they are first asked for (PEP 562), so that importing the room costs little.

For names that many users never need and that are dear to define, such as the domain facts; nothing else should be lazy.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from importlib import import_module


def lazy_names(package: str, homes: Mapping[str, str]) -> Callable[[str], object]:
    """The ``__getattr__`` of *package*: *homes* maps each module of it to the names that live there, by spaces.

    >>> lazy_names("antiphon.facts", {"time": "hlc_ms"})("hlc_ms").__name__
    'hlc_ms'
    """
    home_of = {name: module for module, names in homes.items() for name in names.split()}

    def get(name: str) -> object:
        if name not in home_of:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value: object = getattr(import_module(f"{package}.{home_of[name]}"), name)
        setattr(sys.modules[package], name, value)
        return value

    return get
