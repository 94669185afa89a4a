"""Types of the fields of files: strict scalars, each with the range that cimsim can count with.

Whole numbers are no booleans, no strings and no floats; numbers are finite. The ranges are wider
than any machine or model, and narrow enough that sums and products of them stay finite: 2**63 - 1
picoseconds, 2**63 - 1 operations, 1e308 J. Lengths of text are bounded, and text is printable.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field

from cimsim.units import SIDE_MAX

COUNT_MAX = 2**31 - 1
SIZE_MAX = 2**40
"""Largest single size of an operation or of a parameter."""
VALUES_MAX = 2**53
"""Most values of one tensor over all steps: a float counts them exactly."""
TOKENS_MAX = 2**24
STEPS_MAX = 2**20
NAME_LENGTH = 512
TEXT_LENGTH = 4096
ITEMS_MAX = 1_000_000


def _plain(value: Any) -> Any:
    """A number of numpy as the number of Python that it is."""
    if type(value).__module__ == "numpy" and getattr(value, "ndim", 1) == 0:
        return value.item()
    return value


def _printable(text: str) -> str:
    if not text.isprintable():
        place, mark = next((i, c) for i, c in enumerate(text, 1) if not c.isprintable())
        raise ValueError(
            f"text holds printable characters alone, character {place} is U+{ord(mark):04X}"
        )
    return text


_NUMPY = BeforeValidator(_plain)

Count = Annotated[int, Field(strict=True, gt=0, le=COUNT_MAX), _NUMPY]
CountOrNone = Annotated[int, Field(strict=True, ge=0, le=COUNT_MAX), _NUMPY]
"""A number of things that may be 0."""
Side = Annotated[int, Field(strict=True, gt=0, le=SIDE_MAX), _NUMPY]
"""Rows or columns of an array."""
Bits = Annotated[int, Field(strict=True, gt=0, le=64), _NUMPY]
"""Width of a number."""
ConverterBits = Annotated[int, Field(strict=True, gt=0, le=24), _NUMPY]
"""Resolution of a DAC or an ADC: a float holds 24 bits."""

Size = Annotated[int, Field(strict=True, gt=0, le=SIZE_MAX), _NUMPY]
SizeOrNone = Annotated[int, Field(strict=True, ge=0, le=SIZE_MAX), _NUMPY]
Growth = SizeOrNone
"""Increase with each step: a context does not shrink."""
Tokens = Annotated[int, Field(strict=True, gt=0, le=TOKENS_MAX), _NUMPY]
Steps = Annotated[int, Field(strict=True, gt=0, le=STEPS_MAX), _NUMPY]
Total = Annotated[int, Field(strict=True, gt=0, le=VALUES_MAX), _NUMPY]
TotalOrNone = Annotated[int, Field(strict=True, ge=0, le=VALUES_MAX), _NUMPY]

Whole = Annotated[int, Field(strict=True, ge=-(2**63), lt=2**63), _NUMPY]
"""Any whole number of 64 bits."""
Number = Annotated[float, Field(strict=True, ge=-1e300, le=1e300, allow_inf_nan=False), _NUMPY]
"""A result: finite, and so that two of them can be added."""
Amount = Annotated[float, Field(strict=True, ge=0.0, le=1e12, allow_inf_nan=False), _NUMPY]
"""A physical quantity that may be 0, in the unit of its field."""
Positive = Annotated[float, Field(strict=True, ge=1e-9, le=1e12, allow_inf_nan=False), _NUMPY]
"""A physical quantity that divides."""
Time_ns = Annotated[float, Field(strict=True, ge=0.0, le=1e9, allow_inf_nan=False), _NUMPY]
"""A time of at most a second."""
Pulse_ns = Annotated[float, Field(strict=True, ge=1e-3, le=1e9, allow_inf_nan=False), _NUMPY]
"""A time of at least a picosecond, the step of the event clock, and at most a second."""
Pulses = Annotated[float, Field(strict=True, ge=1e-9, le=1e3, allow_inf_nan=False), _NUMPY]
"""Write pulses of a cell; published arrays give up after tens to hundreds."""
Clock_MHz = Annotated[float, Field(strict=True, ge=1e-3, le=1e6, allow_inf_nan=False), _NUMPY]
Rate = Annotated[float, Field(strict=True, ge=1e-6, le=1e9, allow_inf_nan=False), _NUMPY]
"""A bandwidth or a peak rate."""
Cycles = Annotated[float, Field(strict=True, ge=0.0, le=1e6, allow_inf_nan=False), _NUMPY]
SomeCycles = Annotated[float, Field(strict=True, ge=1e-3, le=1e6, allow_inf_nan=False), _NUMPY]
Slowdown = Annotated[float, Field(strict=True, ge=1.0, le=1e6, allow_inf_nan=False), _NUMPY]
"""How many times as long something takes."""
Endurance = Annotated[float, Field(strict=True, ge=1.0, le=1e18, allow_inf_nan=False), _NUMPY]
Fraction = Annotated[float, Field(strict=True, ge=0.0, le=1.0, allow_inf_nan=False), _NUMPY]
AtLeastOne = Annotated[float, Field(strict=True, ge=1.0, le=1e3, allow_inf_nan=False), _NUMPY]
"""A factor that makes nothing smaller."""
Efficiency = Annotated[float, Field(strict=True, ge=1e-6, le=1.0, allow_inf_nan=False), _NUMPY]

Flag = Annotated[bool, Field(strict=True)]
Name = Annotated[
    str, Field(strict=True, min_length=1, max_length=NAME_LENGTH), AfterValidator(_printable)
]
Text = Annotated[str, Field(strict=True, max_length=TEXT_LENGTH), AfterValidator(_printable)]
Origin = Text | Flag | Whole | Number
"""A note of how a file was made."""
