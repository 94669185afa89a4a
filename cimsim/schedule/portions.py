"""What of the time of every block goes to which op, where several ops share a cluster stage."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from cimsim.engines.program import Duration, IntArray
from cimsim.schedule.graph import plain
from cimsim.schedule.plan import Portion
from cimsim.values.display import brief

Amounts = dict[str, IntArray]
"""Op -> its cycles or bytes in every block."""


@brief
@dataclass(frozen=True, slots=True, eq=False)
class Parted:
    """A time (ps) of every block, one int where they are equal, and its `portions` (ActorInfo)."""

    duration: Duration
    portions: tuple[Portion, ...]

    def of(self, picked: IntArray) -> Parted:
        """The times of some of the blocks."""
        portions = (Portion(p.op, some_of(p.duration, picked)) for p in self.portions)
        return Parted(some_of(self.duration, picked), tuple(portions))

    def behind(self, longer: Duration) -> Parted:
        """The same in more time: what comes before the work goes to its first op."""
        if longer is self.duration or not self.portions:
            return Parted(longer, self.portions)
        first, *others = self.portions
        time = first.duration + (longer - self.duration)
        head = Portion(first.op, plain(time) if isinstance(time, np.ndarray) else time)
        return Parted(longer, (head, *others))

    def named(self, names: Mapping[str, str]) -> Parted:
        """The same times for ops of other names."""
        if not self.portions:
            return self
        return Parted(self.duration, tuple(Portion(names[p.op], p.duration) for p in self.portions))


def some_of(duration: Duration, picked: IntArray) -> Duration:
    """The values of some of the blocks, one int where they are equal."""
    if not isinstance(duration, np.ndarray):
        return duration
    chosen = duration[picked]
    return int(chosen[0]) if (chosen == chosen[0]).all() else chosen


def parted(time_ps: IntArray, amounts: Amounts, stage: str) -> Parted:
    """`time_ps` of every block dealt to ops in proportion to `amounts`; `stage` names the stage.

    An op ends at the whole ps nearest to its share, the last one with the block, so that the
    portions sum to the time.
    """
    present = {op: amount for op, amount in amounts.items() if amount.any()}
    if not present or list(present) == [stage]:
        return Parted(plain(time_ps), ())
    whole = np.maximum(total(present), 1)
    ends, through = [np.zeros_like(time_ps)], np.zeros_like(time_ps)
    for amount in present.values():
        through = through + amount
        nearest = np.rint(time_ps * (through / whole)).astype(np.int64)
        ends.append(np.minimum(nearest, time_ps))
    ends[-1] = time_ps
    spans = zip(present, pairwise(ends), strict=True)
    return Parted(plain(time_ps), tuple(Portion(op, plain(b - a)) for op, (a, b) in spans))


def total(amounts: Amounts) -> IntArray:
    """Of all ops."""
    first, *others = amounts.values()
    return sum(others, first)
