"""The pause of Python's search for garbage ends with what it is for."""

from __future__ import annotations

import gc

import pytest

from cimsim.runtime.collector import collector_paused


@collector_paused()
def interrupted() -> float:
    """A pause within a pause, ended by an error."""
    assert not gc.isenabled()
    with collector_paused():
        assert not gc.isenabled()
    assert not gc.isenabled()
    return 1 / 0


@pytest.mark.parametrize("enabled", [True, False])
def test_the_collector_is_left_as_it_was(enabled: bool) -> None:
    before = gc.isenabled()
    try:
        (gc.enable if enabled else gc.disable)()
        with pytest.raises(ZeroDivisionError):
            interrupted()
        assert gc.isenabled() == enabled
    finally:
        (gc.enable if before else gc.disable)()
