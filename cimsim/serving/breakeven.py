"""Where the energy of one strategy overtakes that of another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import numpy.typing as npt

from cimsim.serving.result import BreakEven
from cimsim.values.display import brief

F64 = npt.NDArray[np.float64]


@brief
@dataclass(frozen=True, slots=True, eq=False)
class Curve:
    """Energy (J) and switches of a strategy before the first request and after each."""

    strategy: str
    energy_J: F64
    switches: npt.NDArray[np.int64]


def break_evens(curves: Sequence[Curve]) -> tuple[BreakEven, ...]:
    """The last crossing of each pair of curves, within the stream or beyond it."""
    found = [crossing(one, other) for one, other in combinations(curves, 2)]
    return tuple(sorted((c for c in found if c), key=lambda c: (c.requests, c.first, c.second)))


def crossing(one: Curve, other: Curve) -> BreakEven | None:
    """Where `one` and `other` cross for the last time; None where one is always the cheaper.

    Between two requests energies go straight. Beyond the stream they go on at its mean; strategies
    of one stream have the same switches.
    """
    gap = one.energy_J - other.energy_J
    count = gap.size - 1
    last = gap[-1]
    opposite = np.flatnonzero(gap * last < 0.0)
    beyond = (last - gap[0]) / count
    if opposite.size == 0 or last * beyond < 0.0:
        if last * beyond >= 0.0:
            return None
        at = count - last / beyond
        return _crossing(one, other, at, -last, extrapolated=True)
    before = int(opposite[-1])
    at = before + gap[before] / (gap[before] - gap[before + 1])
    return _crossing(one, other, at, last, extrapolated=False)


def _crossing(
    one: Curve, other: Curve, at: float, after: float, *, extrapolated: bool
) -> BreakEven:
    """`after` is above 0 where `one` costs more behind the crossing."""
    first, second = (one, other) if after > 0.0 else (other, one)
    return BreakEven(
        first=first.strategy, second=second.strategy, requests=at,
        switches=_at(first.switches.astype(np.float64), at), energy_J=_at(first.energy_J, at),
        extrapolated=extrapolated,
    )  # fmt: skip


def _at(values: F64, requests: float) -> float:
    count = values.size - 1
    if requests > count:
        return float(values[0] + (values[-1] - values[0]) * requests / count)
    return float(np.interp(requests, np.arange(count + 1), values))
