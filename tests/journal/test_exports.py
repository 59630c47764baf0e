"""What the room exports is there, and what is costly to load is loaded on first use."""

import subprocess
import sys

import pytest

import antiphon.journal as room


@pytest.mark.parametrize("name", room.__all__)
def test_an_exported_name_is_there(name: str) -> None:
    assert getattr(room, name) is not None


def test_a_name_that_is_not_exported_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match=r"'antiphon\.journal' has no attribute 'ghost'"):
        _ = room.ghost


def test_a_journal_without_crdts_does_not_load_them() -> None:
    program = "import sys, antiphon.journal; print([m for m in sys.modules if 'crdt' in m or 'lattice' in m])"
    outcome = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert outcome.stdout.strip() == "[]"


def test_crdts_are_loaded_without_pycrdt() -> None:
    program = "import sys, antiphon.journal as j; j.YDocDeltaState, j.CrdtCoordinator; print('pycrdt' in sys.modules)"
    outcome = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert outcome.stdout.strip() == "False"
