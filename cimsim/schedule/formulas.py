"""What the times of a schedule follow from: formulas by number, worked out on any machine.

A schedule names the durations of its actors by number while it is laid out, and knows none of
them: so it cannot depend on them. It is that of every machine which agrees in what laying it out
read; what each duration is there, its formula says.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import TypeAlias

import numpy as np

from cimsim.engines.program import CLOCK_MAX_PS, Duration
from cimsim.errors import SimulationError
from cimsim.spec import Architecture

Formula: TypeAlias = Callable[[Architecture], Duration]
"""A time (ps), the same in all iterations or one for each, on a machine."""


class Formulas:
    """Formulas by number; those with the same key have one number."""

    def __init__(self) -> None:
        self.all: list[Formula] = []
        self._numbers: dict[Hashable, int] = {}

    def number(self, key: Hashable, formula: Formula) -> int:
        """The number of `formula`, which `key` tells from all others."""
        if key not in self._numbers:
            self._numbers[key] = len(self.all)
            self.all.append(formula)
        return self._numbers[key]

    def fixed(self, value: Duration) -> int:
        """The number of a time that the layout depends on."""
        key = "fixed", id(value) if isinstance(value, np.ndarray) else value
        return self.number(key, lambda machine: value)


def worked_out(formulas: Sequence[Formula], architecture: Architecture) -> tuple[Duration, ...]:
    """What all formulas come to on `architecture`.

    Raises SimulationError for a time that is beyond the event clock.
    """
    found = tuple([formula(architecture) for formula in formulas])
    for value in found:
        if isinstance(value, int):
            check_clock(value)
    return found


def check_clock(value: int) -> None:
    """Raise SimulationError for a number that is beyond the event clock."""
    if value > CLOCK_MAX_PS:
        raise SimulationError(
            f"a block of tokens takes {value:.3g} ps or bits, beyond {CLOCK_MAX_PS} (106 "
            "days), the last instant of the event clock: shorten the times of the architecture "
            "or lower the sizes of the workload"
        )
