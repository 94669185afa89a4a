"""Times: one rounding, no negative and no undefined ones."""

from __future__ import annotations

import math
import re
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cimsim.units import PS_PER_S, cycles_to_ps, ns_to_ps, ps_to_seconds, seconds_to_ps


@given(st.integers(0, 10**15))
def test_picoseconds_survive_the_way_through_seconds(time_ps: int) -> None:
    assert seconds_to_ps(ps_to_seconds(time_ps)) == time_ps


@given(st.floats(0.0, 1e6))
def test_ns_round_to_the_nearest_picosecond(time_ns: float) -> None:
    exact = Fraction(time_ns) * 1000
    assert abs(ns_to_ps(time_ns) - exact) <= Fraction(1, 2) + exact / 2**50


@given(st.integers(0, 10**9), st.floats(0.001, 1e5))
def test_cycles_are_rounded_once_at_the_end(cycles: int, clock_MHz: float) -> None:
    exact = Fraction(cycles) * 10**6 / Fraction(clock_MHz)
    assert abs(cycles_to_ps(cycles, clock_MHz) - exact) <= Fraction(1, 2) + exact / 2**50


def test_known_values() -> None:
    assert PS_PER_S == 10**12
    assert seconds_to_ps(1.0) == PS_PER_S
    assert ns_to_ps(2.5) == 2500
    assert ns_to_ps(2.0625) == 2062  # 2062.5 is a tie, which times 1e-9 is not
    assert [seconds_to_ps(x * 1e-12) for x in (0.4, 0.6, 1.4, 1.6)] == [0, 1, 1, 2]
    assert cycles_to_ps(7, 700.0) == 10_000
    assert cycles_to_ps(1, 3.0) == 333_333
    assert cycles_to_ps(3, 3.0) == 1_000_000
    assert ps_to_seconds(1) == 1e-12


def test_float_times_that_would_reverse_a_tie_do_not() -> None:
    assert ns_to_ps(0.1) + ns_to_ps(0.2) == ns_to_ps(0.15) + ns_to_ps(0.15)


@pytest.mark.parametrize("time", [-1e-12, -1.0, math.nan, math.inf, -math.inf])
def test_a_time_that_is_none_is_refused(time: float) -> None:
    text = f"a time must be finite and not negative, got {time!r} s"
    with pytest.raises(ValueError, match="^" + re.escape(text) + "$"):
        seconds_to_ps(time)
    text = text.removesuffix("s") + "ns"
    with pytest.raises(ValueError, match="^" + re.escape(text) + "$"):
        ns_to_ps(time)


@pytest.mark.parametrize(
    ("cycles", "clock_MHz"), [(-1, 1.0), (1, 0.0), (1, -5.0), (1, math.nan), (1, math.inf)]
)
def test_cycles_that_take_no_time_are_refused(cycles: int, clock_MHz: float) -> None:
    text = f"no time is {cycles} cycles at {clock_MHz!r} MHz"
    with pytest.raises(ValueError, match="^" + re.escape(text) + "$"):
        cycles_to_ps(cycles, clock_MHz)
