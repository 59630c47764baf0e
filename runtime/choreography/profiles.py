"""What a handler says of itself, and which of it cannot be so. Tries nothing out: the shipped contract suite does."""

from __future__ import annotations

from collections.abc import Callable

from .errors import InvalidProfile
from .handler import HandlerProfile

# What is wrong, and for which profiles.
_RULES: tuple[tuple[str, Callable[[HandlerProfile], bool]], ...] = (
    (
        "a full handler keeps the order of a pair's messages",
        lambda one: one.tier == "full_protocol" and not one.keeps_order,
    ),
    ("a full handler receives", lambda one: one.tier == "full_protocol" and not one.receives),
    ("a full handler enforces its own timeouts", lambda one: one.tier == "full_protocol" and not one.enforces_timeouts),
    ("a full handler delivers", lambda one: one.tier == "full_protocol" and one.delivery == "none"),
    (
        "a full handler answers with nothing that no peer sent",
        lambda one: one.tier == "full_protocol" and one.makes_values,
    ),
    (
        "an observational harness receives only what it makes up",
        lambda one: one.tier == "observational_harness" and one.receives and not one.makes_values,
    ),
    (
        "an observational harness delivers nothing",
        lambda one: one.tier == "observational_harness" and one.delivery != "none",
    ),
    ("who delivers nothing has nothing to retry", lambda one: one.delivery == "none" and one.retries),
)


def validate_profile(profile: HandlerProfile) -> tuple[str, ...]:
    """What cannot be so, in words; empty for a profile that can.

    >>> validate_profile(HandlerProfile(keeps_order=False))
    ("a full handler keeps the order of a pair's messages",)
    """
    return tuple(rule for rule, is_broken in _RULES if is_broken(profile))


def require_profile(profile: HandlerProfile) -> None:
    """Raise ``InvalidProfile`` with everything that cannot be so."""
    violations = validate_profile(profile)
    if violations:
        raise InvalidProfile("; ".join(violations))
