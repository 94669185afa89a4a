"""Results at any point within the ranges, from their ends.

Between its value and each end a number moves costs on a straight line, as an energy constant does.
Numbers meet as they do in the sums: factors on a component's energy and on a phase's time multiply,
leakages add, and leakage takes its share of all the time. That is exact for energies; times of
several numbers at once are a first order, because what waits for what may change.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cimsim.studies.sensitivity.costs import Costs
from cimsim.studies.sensitivity.ends import BothEnds, is_leakage
from cimsim.studies.sensitivity.numbers import Ranged
from cimsim.values.display import brief

F64 = NDArray[np.float64]


@brief
@dataclass(frozen=True)
class Points:
    """Energy (J), latency (s) and the GPU's spread at some points, each of one value a point."""

    energy_J: F64
    latency_s: F64
    gpu: F64


def drawn(number: Ranged, u: F64) -> F64:
    """Values of a number at quantiles `u`: even in its logarithm, or even where its low is 0."""
    if number.low > 0.0:
        return np.asarray(number.low * (number.high / number.low) ** u)
    return np.asarray(number.low + (number.high - number.low) * u)


@dataclass(frozen=True)
class Surface:
    """Results over the ranges of `ends`; one more axis is the spread of GPUs."""

    base: Costs
    ends: tuple[BothEnds, ...]

    @property
    def axes(self) -> int:
        """Numbers, and the GPU."""
        return len(self.ends) + 1

    def at(self, u: F64) -> Points:
        """Results at quantiles `u` (axes x points)."""
        values = [drawn(e.number, u[i]) for i, e in enumerate(self.ends)]
        times = enumerate(self.base.phases_s)
        phases = [self._product(values, base, _phase(place)) for place, base in times]
        latency = np.sum(phases, axis=0)
        energy = np.zeros_like(latency)
        for name in self._names():
            base = self.base.dynamic_J.get(name, 0.0)
            meet = self._sum if is_leakage(name) else self._product
            energy += meet(values, base, _component(name))
        for unit, power in self.base.leakage_W.items():
            energy += latency * self._sum(values, power, _leakage(unit))
        return Points(energy, latency, u[-1])

    def _names(self) -> list[str]:
        found = dict.fromkeys(self.base.dynamic_J)
        for ends in self.ends:
            found |= dict.fromkeys([*ends.low.dynamic_J, *ends.high.dynamic_J])
        return list(found)

    def _product(self, values: Sequence[F64], base: float, of: Callable[[Costs], float]) -> F64:
        """A cost that numbers multiply, or add to where it is 0 as they stand."""
        if not base:
            return self._sum(values, base, of)
        found = np.full(len(values[0]) if values else 1, base)
        for ends, value in zip(self.ends, values, strict=True):
            found = found * (_between(ends, value, base, of) / base)
        return found

    def _sum(self, values: Sequence[F64], base: float, of: Callable[[Costs], float]) -> F64:
        found = np.full(len(values[0]) if values else 1, base)
        for ends, value in zip(self.ends, values, strict=True):
            found = found + (_between(ends, value, base, of) - base)
        return found


def _phase(place: int) -> Callable[[Costs], float]:
    return lambda costs: costs.phases_s[place]


def _component(name: str) -> Callable[[Costs], float]:
    return lambda costs: costs.dynamic_J.get(name, 0.0)


def _leakage(unit: str) -> Callable[[Costs], float]:
    return lambda costs: costs.leakage_W.get(unit, 0.0)


def _between(ends: BothEnds, value: F64, base: float, of: Callable[[Costs], float]) -> Any:
    low, high = of(ends.low), of(ends.high)
    if low == base == high:
        return base
    number = ends.number
    at = sorted({number.low: low, number.high: high, number.value: base}.items())
    return np.interp(value, [x for x, _ in at], [y for _, y in at])
