"""``AntiEntropyConfig``: every number that anti-entropy goes by, with presets and the environment's last word.

Does nothing; ``anti_entropy.py`` is handed one. Times are seconds where the name does not say otherwise.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from difflib import get_close_matches
from math import isfinite

from antiphon.facts import LocalViolation
from antiphon.journal.sync.messages import FACTS_COUNT_MAX
from antiphon.journal.sync.session import ROUNDS_MAX

from ..resilience import ExponentialWithJitter, RateLimits, RetryPolicy
from .session_driver import SyncSettings

ENVIRONMENT_PREFIX = "ANTIPHON_SYNC_"


@dataclass(frozen=True, slots=True, kw_only=True)
class AntiEntropyConfig:
    """How anti-entropy behaves; checked when it is made.

    ``batch_size`` facts travel in one message (a sealed run is never cut, so a larger one goes alone), for at most
    ``rounds_max`` rounds. ``digest_timeout_s`` bounds a step of comparing, ``transfer_timeout_s`` one in which facts
    flow, ``total_timeout_s`` everything, attempts and pauses included. ``trust_min`` is how much a peer must be trusted
    (0..100) to be chosen among many.

    >>> AntiEntropyConfig(batch_size=0)
    Traceback (most recent call last):
        ...
    antiphon.facts.errors.LocalViolation: batch_size is 0; it must be more than 0
    """

    batch_size: int = 128
    rounds_max: int = ROUNDS_MAX
    connect_timeout_s: float = 10.0
    digest_timeout_s: float = 10.0
    transfer_timeout_s: float = 30.0
    total_timeout_s: float = 120.0
    min_interval_s: float = 30.0
    concurrent_max: int = 5
    retry_attempts: int = 3
    retry_base_s: float = 0.1
    retry_cap_s: float = 30.0
    retry_factor: float = 2.0
    retry_jitter: float = 0.1
    breaker_failures: int = 5
    breaker_recovery_s: float = 30.0
    breaker_trials: int = 1
    peer_back_off_s: float = 300.0
    trust_min: int = 50
    rate_global_per_s: float = 1_000.0
    rate_peer_per_s: float = 100.0
    rate_burst: float = 200.0
    crdt_rounds_max: int = 64

    def __post_init__(self) -> None:
        self.validate()

    def validate(self) -> None:
        """Raise ``LocalViolation`` for a value that is no finite number, zero, negative, too large or inverted."""
        for field in fields(self):
            value = getattr(self, field.name)
            is_count = type(field.default) is int
            is_number = type(value) in ((int,) if is_count else (int, float)) and isfinite(value)
            if not is_number:
                expected = "a whole number" if is_count else "a finite number"
                raise LocalViolation(f"{field.name} is {value!r}; it must be {expected}, more than 0")
            may_be_zero = field.name in ("retry_jitter", "trust_min", "min_interval_s")
            if value < 0 or (value == 0 and not may_be_zero):
                raise LocalViolation(f"{field.name} is {value!r}; it must be more than 0")
        for low, high in (
            ("retry_base_s", "retry_cap_s"),
            ("digest_timeout_s", "total_timeout_s"),
            ("transfer_timeout_s", "total_timeout_s"),
            ("rate_peer_per_s", "rate_global_per_s"),
        ):
            if getattr(self, low) > getattr(self, high):
                raise LocalViolation(
                    f"{low} is {getattr(self, low)}, which is more than {high} ({getattr(self, high)})"
                )
        for name, most in (("batch_size", FACTS_COUNT_MAX), ("retry_jitter", 1), ("trust_min", 100)):
            if getattr(self, name) > most:
                raise LocalViolation(f"{name} is {getattr(self, name)}; it is at most {most}")
        if self.retry_factor < 1 or self.rate_burst < 1:
            raise LocalViolation("retry_factor and rate_burst are 1 or more")

    @classmethod
    def for_testing(cls) -> AntiEntropyConfig:
        """Short times, for tests with real sockets."""
        return cls(
            batch_size=100,
            connect_timeout_s=2.0,
            digest_timeout_s=1.0,
            transfer_timeout_s=2.0,
            total_timeout_s=10.0,
            min_interval_s=0.0,
            retry_base_s=0.01,
            retry_cap_s=0.1,
            retry_jitter=0.0,
            breaker_recovery_s=0.5,
            peer_back_off_s=1.0,
        )

    @classmethod
    def for_production(cls, environment: Mapping[str, str] | None = None) -> AntiEntropyConfig:
        """The defaults, with what the environment overrides."""
        return cls().overridden_by(os.environ if environment is None else environment)

    def overridden_by(self, environment: Mapping[str, str]) -> AntiEntropyConfig:
        """This configuration with the values of ``ANTIPHON_SYNC_BATCH_SIZE`` and the like.

        Raises ``LocalViolation`` for a name that means nothing here, or a text that is no number.

        >>> AntiEntropyConfig().overridden_by({"ANTIPHON_SYNC_ROUNDS_MAX": "3", "HOME": "here"}).rounds_max
        3
        """
        kinds = {field.name: type(getattr(self, field.name)) for field in fields(self)}
        changes: dict[str, float] = {}
        for name, text in sorted(environment.items()):
            if not name.startswith(ENVIRONMENT_PREFIX):
                continue
            key = name.removeprefix(ENVIRONMENT_PREFIX).lower()
            if key not in kinds:
                near = get_close_matches(key, kinds, n=1)
                hint = f"; did you mean {ENVIRONMENT_PREFIX}{near[0].upper()}?" if near else ""
                raise LocalViolation(f"{name} means nothing here{hint}")
            try:
                changes[key] = kinds[key](text)
            except ValueError as problem:
                raise LocalViolation(f"{name} is {text!r}; expected a number ({kinds[key].__name__})") from problem
        return replace(self, **changes)  # type: ignore[arg-type]  # each is of its field's type

    @property
    def retry_policy(self) -> RetryPolicy:
        """How attempts are repeated."""
        delays = ExponentialWithJitter(self.retry_base_s, self.retry_cap_s, self.retry_factor, self.retry_jitter)
        return RetryPolicy(attempts_max=self.retry_attempts, delays=delays)

    @property
    def rate_limits(self) -> RateLimits:
        """How much may come."""
        return RateLimits(self.rate_global_per_s, self.rate_peer_per_s, self.rate_burst)

    def settings(self, base: SyncSettings | None = None) -> SyncSettings:
        """What a session's driver goes by."""
        return replace(
            base if base is not None else SyncSettings(),
            connect_timeout_s=self.connect_timeout_s,
            digest_timeout_s=self.digest_timeout_s,
            transfer_timeout_s=self.transfer_timeout_s,
            rounds_max=self.rounds_max,
            batch_facts_max=self.batch_size,
            backoff=self.retry_policy.delays,
        )
