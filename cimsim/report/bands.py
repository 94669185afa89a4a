"""How sure a result is: what each uncertain number does to it, and where it lies, as values."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

from pydantic import Field

from cimsim.files import write_text
from cimsim.values.bounds import Number, Whole
from cimsim.values.frozen import Frozen


class Effect(Frozen):
    """A number at both ends of its range, all others as they are, and a result there.

    `share` is its part in the variance of the result over all ranges (total Sobol index).
    """

    path: str
    value: Number
    low: Number
    high: Number
    source: str
    at_low: Number
    at_high: Number
    share: Number
    by: Literal["fold", "part", "run"] = Field(
        description="fold: energies folded anew, exact; part: times of a part of the workload, "
        "carried over; run: simulated at both ends"
    )

    @property
    def reach(self) -> float:
        """How far the result moves from end to end."""
        return abs(self.at_high - self.at_low)


class Result(Frozen):
    """A result of a run, by the name of its metric."""

    metric: str
    beside: str | None = Field(description="the GPU of a ratio, and what became of LoRA")
    value: Number

    @property
    def name(self) -> str:
        """The metric, with the GPU of a ratio."""
        return self.metric if self.beside is None else f"{self.metric}, {self.beside}"


class Band(Result):
    """A result with its 5th and 95th percentile; effects are those that move it, most first."""

    low: Number
    high: Number
    effects: tuple[Effect, ...]


class Screened(Frozen):
    """An assumed number without a range, and a result with it halved and doubled.

    None where the machine does not run there; whole numbers are rounded, away from their value.
    """

    path: str
    value: Number
    at_half: Number | None
    at_double: Number | None

    def reach(self, value: float) -> float:
        """How far the result moves from `value`, at most."""
        found = [abs(x - value) for x in (self.at_half, self.at_double) if x is not None]
        return max(found, default=0.0)


class Screen(Result):
    """A result, and what the numbers without a range would do to it; most first."""

    numbers: tuple[Screened, ...]

    @property
    def moving(self) -> tuple[Screened, ...]:
        """Those that move it at all."""
        return tuple(n for n in self.numbers if n.reach(self.value))


class Sensitivity(Frozen):
    """Bands of the results of one run under a fixed strategy.

    `without_range` are assumed numbers that no range was given for, which were held, and
    `assumed` counts those of the machine; `screens` say what halving and doubling each of them
    would do, none where that was not asked. `times_held` says that latency was not varied.
    """

    workload: str
    architecture: str
    pipeline: str
    bands: tuple[Band, ...]
    varied: Whole
    assumed: Whole
    without_range: tuple[str, ...]
    screens: tuple[Screen, ...] = ()
    samples: Whole
    seed: Whole
    times_held: bool

    def to_json(self) -> str:
        """The study as text; equal studies give equal text."""
        return json.dumps(self.model_dump(mode="json"), indent=2, sort_keys=True) + "\n"

    def save(self, path: str | Path) -> None:
        """Write the study, completely or not at all; raises OutputError."""
        write_text(path, self.to_json())
