"""How anti-entropy can fail, by code: for machines to act on, and one of them to try again or not."""

from __future__ import annotations

from enum import StrEnum, unique

from antiphon.facts import AntiphonError


@unique
class SyncErrorCode(StrEnum):
    """Why a sync failed; the values are stable and may be stored."""

    PEER_UNREACHABLE = "peer_unreachable"
    NETWORK = "network"
    TIMEOUT = "timeout"
    RATE_LIMIT = "rate_limit"
    BACK_PRESSURE = "back_pressure"
    VERIFICATION_FAILED = "verification_failed"
    INVALID_DIGEST = "invalid_digest"
    NOT_FOUND = "not_found"
    TIME_ERROR = "time_error"
    UNAUTHORIZED = "unauthorized"
    GUARD_CHAIN = "guard_chain"
    VERSION = "version"
    CRDT = "crdt"
    STORE_UNAVAILABLE = "store_unavailable"
    MAX_RETRIES_EXCEEDED = "max_retries_exceeded"
    CIRCUIT_BREAKER_OPEN = "circuit_breaker_open"
    OPERATION_FAILED = "operation_failed"


RETRYABLE_CODES = frozenset(
    {
        SyncErrorCode.PEER_UNREACHABLE,
        SyncErrorCode.NETWORK,
        SyncErrorCode.TIMEOUT,
        SyncErrorCode.RATE_LIMIT,
        SyncErrorCode.BACK_PRESSURE,
    }
)
"""What another attempt may mend; everything else is somebody's decision or mistake."""


class SyncFailure(AntiphonError):
    """A sync did not come to its end; what was exchanged in good order before stays."""

    def __init__(self, code: SyncErrorCode, text: str, *, retry_after_s: float = 0.0) -> None:
        self.code = code
        self.retry_after_s = retry_after_s
        super().__init__(text)

    @property
    def is_retryable(self) -> bool:
        """Whether another attempt may help."""
        return self.code in RETRYABLE_CODES


class TransientSyncFailure(SyncFailure):
    """A failure of one of ``RETRYABLE_CODES``."""


def sync_failure(code: SyncErrorCode, text: str, *, retry_after_s: float = 0.0) -> SyncFailure:
    """A failure of the class that its code belongs to."""
    kind = TransientSyncFailure if code in RETRYABLE_CODES else SyncFailure
    return kind(code, text, retry_after_s=retry_after_s)
