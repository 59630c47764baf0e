"""The workshop, shipped: virtual clocks, strategies and contract suites."""

if __name__ == "testing":  # imported by its folder name from the repository root
    raise ImportError("this folder is the package antiphon.testing")

from typing import TYPE_CHECKING

from antiphon.facts.lazy import lazy_names

if TYPE_CHECKING:
    from .envelopes import EnvelopeBuilder, MessageEnvelope, MissingField
    from .observers import MultiObserver, NullObserver, ObservedHandler, Observer, RecordingObserver

__all__ = [
    "EnvelopeBuilder",
    "MessageEnvelope",
    "MissingField",
    "MultiObserver",
    "NullObserver",
    "ObservedHandler",
    "Observer",
    "RecordingObserver",
]

# The plug-in is loaded with every run of pytest, and needs none of these.
__getattr__ = lazy_names(
    __name__,
    {
        "envelopes": "EnvelopeBuilder MessageEnvelope MissingField",
        "observers": "MultiObserver NullObserver ObservedHandler Observer RecordingObserver",
    },
)
