"""Extension effects and who performs them, by their exact class. Knows none itself, and passes none over in silence."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeAlias, TypeVar

from ..handler import ChoreoHandler
from .around import Around

E = TypeVar("E")

# What performs an extension effect, given the session and the effect.
Performers: TypeAlias = Mapping[type[object], Callable[[Any, Any], Awaitable[object]]]


class WithExtensions(Around[E]):
    """Performs the effects of the given classes; others go further in, and end in ``UnknownExtension``."""

    def __init__(self, inner: ChoreoHandler[E], performers: Performers) -> None:
        super().__init__(inner)
        self._performers = dict(performers)

    async def extend(self, endpoint: E, extension: object) -> object:
        """See ``ChoreoHandler``."""
        perform = self._performers.get(type(extension))
        if perform is None:
            return await self.inner.extend(endpoint, extension)
        return await perform(endpoint, extension)
