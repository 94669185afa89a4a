"""Ranges of the numbers that models, converters and studies are given."""

from __future__ import annotations

from numbers import Integral, Real

from cimsim.errors import CimsimError, SpecError
from cimsim.values.display import shown

SMALLEST = 2.0**-100
"""Below this magnitude weights, inputs and column sums count as zero: quotients by what is smaller
leave the range of float32."""
LARGEST = 1e12
"""Weights and inputs beyond this are refused: sums of their squares leave the range of float32."""


def require_number(
    owner: str,
    field_name: str,
    value: object,
    low: float,
    high: float,
    *,
    whole: bool = False,
    error: type[CimsimError] = SpecError,
    why: str = "",
) -> None:
    """Raise `error` unless `value` is a real number (a whole one) in [`low`, `high`]."""
    kind = Integral if whole else Real
    if isinstance(value, kind) and not isinstance(value, bool):
        if low <= value <= high:  # type: ignore[operator]
            return
    elif whole and isinstance(value, Real) and not isinstance(value, bool):
        raise error(f"{owner}: {field_name} is a whole number, got {shown(value)}.")
    raise error(
        f"{owner}: {field_name} must lie in {low:g} .. {high:g}, got {shown(value)}"
        f"{f' ({why})' if why else ''}."
    )
