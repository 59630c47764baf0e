"""Sends that are tried again after growing pauses. Everything else goes through once: a receive changes the protocol.

The pauses and the decision are ``resilience``'s; this says only what is worth another try: ``TransportFailed``.
"""

from __future__ import annotations

from typing import TypeVar

from ...resilience import Exponential, MaxRetriesExceeded, RetryPolicy, Timing, retry
from ..errors import TransportFailed
from ..handler import ChoreoHandler
from .around import Around

E = TypeVar("E")

_MACHINE_TIME = Timing()


class Retry(Around[E]):
    """Up to ``max_retries`` more attempts, ``base_delay_s``, twice and four times that later; then the last error."""

    def __init__(
        self,
        inner: ChoreoHandler[E],
        max_retries: int = 3,
        base_delay_s: float = 0.1,
        *,
        timing: Timing = _MACHINE_TIME,
    ) -> None:
        super().__init__(inner)
        self.profile = inner.profile._replace(retries=inner.profile.delivery != "none")
        self._policy = RetryPolicy(attempts_max=1 + max_retries, delays=Exponential(base_delay_s))
        self._timing = timing

    async def send(self, endpoint: E, to: str, message: object) -> None:
        """See ``ChoreoHandler``."""
        try:
            await retry(
                lambda budget: self.inner.send(endpoint, to, message),
                self._policy,
                timing=self._timing,
                retryable=(TransportFailed,),
            )
        except MaxRetriesExceeded as problem:
            raise problem.last from problem
