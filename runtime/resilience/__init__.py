"""Patience with bounds: how long to wait, how often to try, when to stop asking, how to take back.

Every rule here is a function of what happened and when: the clock, the sleep and the dice are given as ``Timing``, so a
test sees exact delays. Knows nothing of journals, peers or messages; replication and protocols share it.
"""

from .breaker import (
    BreakerState,
    CircuitBreaker,
    CircuitBreakerOpen,
    CircuitBreakers,
    Closed,
    HalfOpen,
    Open,
    Permit,
)
from .budget import DeadlineExceeded, TimeoutBudget, Timing, run_within
from .compensation import OperationFailed, Saga, Step, UndoFailure
from .delays import Delays, Exponential, ExponentialWithJitter, Fixed, Linear
from .rates import RateLimiter, RateLimits, TokenBucket
from .retry import AttemptTimedOut, MaxRetriesExceeded, RetryPolicy, retry

__all__ = [
    "AttemptTimedOut",
    "BreakerState",
    "CircuitBreaker",
    "CircuitBreakerOpen",
    "CircuitBreakers",
    "Closed",
    "DeadlineExceeded",
    "Delays",
    "Exponential",
    "ExponentialWithJitter",
    "Fixed",
    "HalfOpen",
    "Linear",
    "MaxRetriesExceeded",
    "Open",
    "OperationFailed",
    "Permit",
    "RateLimiter",
    "RateLimits",
    "RetryPolicy",
    "Saga",
    "Step",
    "TimeoutBudget",
    "Timing",
    "TokenBucket",
    "UndoFailure",
    "retry",
    "run_within",
]
