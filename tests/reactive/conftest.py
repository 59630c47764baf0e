"""Fixtures of this room's tests: time that only a test moves."""

import pytest

from antiphon.testing.clock import VirtualClock


@pytest.fixture
def clock() -> VirtualClock:
    """A clock of its own for each test."""
    return VirtualClock()
