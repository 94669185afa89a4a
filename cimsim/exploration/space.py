"""What is varied: axes of values, and the space that they span."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from cimsim.errors import SpecError
from cimsim.values.arguments import checked
from cimsim.values.display import brief, shown
from cimsim.values.field_paths import Value
from cimsim.values.parsing import INTEGER_MAX

Settings = Mapping[str, Value]
"""Axis -> value, such as {"rram.adc_bits": 6, "pipeline": "auto", "rank": 8}."""


@checked(SpecError)
@brief
@dataclass(frozen=True)
class Choice:
    """One of `values`, in their order; raises SpecError for none, and for one that stands twice."""

    values: tuple[Value, ...]

    def __post_init__(self) -> None:
        if not self.values:
            raise SpecError("an axis has no values: give one or more.")
        for place, value in enumerate(self.values):
            if any(_same(value, other) for other in self.values[:place]):
                raise SpecError(f"the value {shown(value)} stands twice; every value counts once.")

    @property
    def size(self) -> int:
        """How many values there are."""
        return len(self.values)

    def at(self, place: int) -> Value:
        """The value at a place from 0."""
        return self.values[place]

    def value(self, unit: float) -> Value:
        """The value at `unit` in [0, 1): every one has an equal share."""
        return self.values[min(int(unit * self.size), self.size - 1)]


@checked(SpecError)
@brief
@dataclass(frozen=True)
class Range:
    """Numbers from `low` to `high`, both included: any, whole ones, or those of a `step`.

    With `log` they are drawn evenly in the logarithm. Raises SpecError for low above high, a step
    of 0, and a logarithm of what is not positive.
    """

    low: float
    high: float
    whole: bool = False
    step: float | None = None
    log: bool = False

    def __post_init__(self) -> None:
        if not (math.isfinite(self.low) and math.isfinite(self.high)):
            raise SpecError(f"a range ends at finite numbers, got {self._told}.")
        if not self.low <= self.high:
            raise SpecError(f"a range goes from low to high, got {self._told}.")
        if self.whole and not (float(self.low).is_integer() and float(self.high).is_integer()):
            raise SpecError(f"a range of whole numbers has whole ends, got {self._told}.")
        if self.whole and max(abs(self.low), abs(self.high)) > INTEGER_MAX:
            raise SpecError(f"a range of whole numbers stays within 64 bits, got {self._told}.")
        if self.step is not None and not 0.0 < self.step < math.inf:
            raise SpecError(f"a step is above 0, got {shown(self.step)}.")
        if self.whole and self.step is not None and not float(self.step).is_integer():
            raise SpecError(f"whole numbers have a whole step, got {shown(self.step)}.")
        if self.log and (self.low <= 0.0 or self.step is not None):
            raise SpecError(f"an axis in the logarithm lies above 0 and has no step: {self._told}.")

    @property
    def _told(self) -> str:
        step = "" if self.step is None else f" by {self.step:g}"
        return f"{self.low:g} to {self.high:g}{step}"

    @property
    def _by(self) -> float | None:
        """The distance of neighbours; None for any number."""
        return self.step if self.step is not None else (1 if self.whole else None)

    @property
    def size(self) -> int | None:
        """How many values there are; None for any number of a range that is more than a point."""
        if self._by is None:
            return 1 if self.low == self.high else None
        slack = 1e-9  # choice: 0:1:0.1 ends at 1, whatever a sum of tenths rounds to
        return int((self.high - self.low) / self._by + slack) + 1

    def at(self, place: int) -> Value:
        """The value at a place from 0."""
        number = self.low + place * (self._by or 0.0)
        return int(number) if self.whole else float(f"{number:.12g}")

    def value(self, unit: float) -> Value:
        """The value at `unit` in [0, 1)."""
        if self.log:
            return self._at_logarithm(unit)
        if (size := self.size) is not None:
            return self.at(min(int(unit * size), size - 1))
        return self.low + (self.high - self.low) * unit

    def _at_logarithm(self, unit: float) -> Value:
        ends = self.low, self.high + (1 if self.whole else 0)
        number = float(ends[0] * (ends[1] / ends[0]) ** unit)
        return int(min(number, self.high)) if self.whole else min(max(number, self.low), self.high)


Axis = Choice | Range


@checked(SpecError)
@brief
@dataclass(frozen=True)
class Space:
    """Axes by name: a field path of the machine, or one of `cimsim.exploration.points.RESERVED`."""

    axes: Mapping[str, Axis]

    def __post_init__(self) -> None:
        if not self.axes:
            raise SpecError("nothing is varied: give one axis or more (--vary rram.adc_bits=4:8).")

    @property
    def size(self) -> int | None:
        """How many points there are; None where an axis takes any number."""
        sizes = [axis.size for axis in self.axes.values()]
        return None if None in sizes else math.prod(size for size in sizes if size is not None)

    def grid(self) -> Iterator[Settings]:
        """All points, one at a time, the last axis fastest; raises as `require_end` does."""
        self.require_end()
        for place in range(self.size or 0):
            yield self._at(place)

    def require_end(self) -> None:
        """Raise SpecError where an axis takes any number, so that its values have no end."""
        if any_number := [name for name, axis in self.axes.items() if axis.size is None]:
            raise SpecError(
                f"all values of {', '.join(any_number)} are without end: give a step or a list, or "
                "draw points (--sample lhs:100)."
            )

    def _at(self, place: int) -> Settings:
        found: dict[str, Value] = {}
        for name, axis in reversed(list(self.axes.items())):
            place, digit = divmod(place, axis.size or 1)
            found[name] = axis.at(digit)
        return {name: found[name] for name in self.axes}

    def value_at(self, unit: Sequence[float]) -> Settings:
        """The point at coordinates in [0, 1), one an axis."""
        return {
            name: axis.value(float(u))
            for (name, axis), u in zip(self.axes.items(), unit, strict=True)
        }


def _same(one: Value, other: Value) -> bool:
    """Equal, and neither a bool where the other is a number."""
    return one == other and isinstance(one, bool) == isinstance(other, bool)
