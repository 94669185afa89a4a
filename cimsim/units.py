"""Unit conversion between the three zones: files (as printed), results (SI), event clock (ps)."""

from __future__ import annotations

import math

PS_PER_S = 1_000_000_000_000
PS_PER_NS = 1_000
UM2_PER_MM2 = 1e6
SIDE_MAX = 2**16
"""Most rows or columns of an array."""


def seconds_to_ps(time_s: float) -> int:
    """Nearest whole picosecond of `time_s` (s); raises ValueError if negative or not finite."""
    if not (math.isfinite(time_s) and time_s >= 0.0):
        raise ValueError(f"a time must be finite and not negative, got {time_s!r} s")
    return round(time_s * PS_PER_S)


def ns_to_ps(time_ns: float) -> int:
    """Nearest whole picosecond of `time_ns` (ns); raises ValueError if negative or not finite."""
    if not (math.isfinite(time_ns) and time_ns >= 0.0):
        raise ValueError(f"a time must be finite and not negative, got {time_ns!r} ns")
    return round(time_ns * PS_PER_NS)


def cycles_to_ps(cycles: int, clock_MHz: float) -> int:
    """Picoseconds of `cycles` at `clock_MHz`, rounded once at the end.

    Raises ValueError for a negative number of cycles or a clock that is not above 0 and finite.
    """
    if cycles < 0 or not 0.0 < clock_MHz < math.inf:
        raise ValueError(f"no time is {cycles} cycles at {clock_MHz!r} MHz")
    return round(cycles * 1_000_000 / clock_MHz)


PREFIXES = ((1.0, ""), (1e-3, "m"), (1e-6, "u"), (1e-9, "n"), (1e-12, "p"))
"""SI factors and prefixes of what runs take."""


def prefix_of(value: float) -> tuple[float, str]:
    """The SI prefix that fits `value` and its factor: the largest at most its size, none for 0."""
    fitting = (found for found in PREFIXES if abs(value) >= found[0])
    return next(fitting, (1.0, ""))


def quantity(value: float, unit: str) -> str:
    """`value` with an SI prefix and three or four digits."""
    if value == 0.0:
        return f"0 {unit}"
    factor, prefix = prefix_of(value)
    if not prefix and abs(value) < 1.0:
        return f"{value:.3g} {unit}"
    return f"{value / factor:.4g} {prefix}{unit}"


def ratio(value: float, of: float) -> float | None:
    """`value` over `of`; None where `of` is 0, beside which nothing can be compared."""
    return value / of if of else None


def ps_to_seconds(time_ps: int) -> float:
    """Seconds of a whole number of picoseconds."""
    return time_ps / PS_PER_S
