"""How sure a result is: what each uncertain number does to it, and where it lies, as values."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Literal

from pydantic import Field

from cimsim.files import write_text
from cimsim.values.bounds import Number, Whole
from cimsim.values.frozen import Frozen

CHOSEN = re.compile(
    r"(\w+_count|rows|columns|\w+_bits|\w+_pulses|\w+_lanes|capacity_\w+|tcdm_KiB|banks|channels"
    r"|interleave_bytes|pool_clusters|weights_per_cluster|\w+_in_parallel|least_part_elements"
    r"|cores|simd_width|(\w+_)?b(its|ytes)_per_cycle|\w+_per_weight|\w+_per_cell|\w+_per_multiplier|tiers"
    r"|phases)"
)
"""Names of numbers that a designer chooses: how many, how wide and how large things are."""
MAKERS = 3
"""Choice: numbers named as the reasons of a band."""


class Effect(Frozen):
    """A number at both ends of its range, all others as they are, and a result there."""

    path: str = Field(description="field of the machine or GPU")
    value: Number = Field(description="its value, in the unit of its name")
    low: Number = Field(description="lower end of its range")
    high: Number = Field(description="upper end of its range")
    source: str = Field(description="who says that the range is plausible")
    at_low: Number = Field(description="the result with the number at its lower end")
    at_high: Number = Field(description="the result with the number at its upper end")
    share: Number = Field(
        description="its part in the variance of the result over all ranges (total Sobol index), "
        "0 to 1"
    )
    by: Literal["fold", "part", "run"] = Field(
        description="fold: energies folded anew, exact; part: times of a part of the workload, "
        "carried over; run: simulated at both ends"
    )

    @property
    def reach(self) -> float:
        """How far the result moves from end to end."""
        return abs(self.at_high - self.at_low)

    @property
    def span(self) -> str:
        """Its range, in words."""
        return f"{self.low:g} to {self.high:g}"


class Result(Frozen):
    """A result of a run, by the name of its metric."""

    metric: str = Field(description="such as latency_s, energy_J, latency_ratio")
    beside: str | None = Field(description="the GPU of a ratio, and what became of LoRA")
    value: Number = Field(description="as simulated")

    @property
    def name(self) -> str:
        """The metric, with the GPU of a ratio."""
        return self.metric if self.beside is None else f"{self.metric}, {self.beside}"


class Band(Result):
    """A result with its 5th and 95th percentile; effects are those that move it, most first."""

    low: Number = Field(description="5th percentile over draws of all ranges")
    high: Number = Field(description="95th percentile over draws of all ranges")
    effects: tuple[Effect, ...] = Field(description="numbers that move it, most first")

    @property
    def makers(self) -> tuple[str, ...]:
        """The few numbers that move it most, each with its range."""
        return tuple(f"{effect.path} {effect.span}" for effect in self.effects[:MAKERS])


class Screened(Frozen):
    """An assumed number without a range, and a result with it halved and doubled.

    None where the machine does not run there; whole numbers are rounded, away from their value.
    """

    path: str = Field(description="field of the machine")
    value: Number = Field(description="its value, in the unit of its name")
    at_half: Number | None = Field(
        description="the result with half of it; None where the machine does not run there"
    )
    at_double: Number | None = Field(
        description="the result with twice of it; None where the machine does not run there"
    )

    def reach(self, value: float) -> float:
        """How far the result moves from `value`, at most."""
        found = [abs(x - value) for x in (self.at_half, self.at_double) if x is not None]
        return max(found, default=0.0)


def is_chosen(path: str) -> bool:
    """Whether the number at a field path is a designer's choice, by its name."""
    return CHOSEN.fullmatch(path.rpartition(".")[2]) is not None


class Screen(Result):
    """A result, and what the numbers without a range would do to it; most first."""

    numbers: tuple[Screened, ...] = Field(
        description="assumed numbers without a range, those that move it most first"
    )

    @property
    def moving(self) -> tuple[Screened, ...]:
        """Those that move it at all."""
        return tuple(n for n in self.numbers if n.reach(self.value))


class Sensitivity(Frozen):
    """Bands of the results of one run under a fixed strategy."""

    workload: str = Field(description="name of what was run")
    architecture: str = Field(description="name of the machine")
    pipeline: str = Field(description="strategy, the same for all draws")
    bands: tuple[Band, ...] = Field(description="one for each result")
    varied: Whole = Field(description="numbers with a range, which were varied")
    assumed: Whole = Field(description="assumed numbers of the machine")
    without_range: tuple[str, ...] = Field(
        description="fields of assumed numbers that no range was given for, which were held"
    )
    screens: tuple[Screen, ...] = Field(
        default=(),
        description="what halving and doubling each of those would do; none where that was not "
        "asked",
    )
    samples: Whole = Field(description="points of the Sobol sequence over all ranges")
    seed: Whole = Field(description="of the sequence")
    times_held: bool = Field(description="whether only energies were varied")

    @property
    def held(self) -> str:
        """What was held, in words: choices of a designer, which are no unknowns, and the rest."""
        chosen = sum(is_chosen(path) for path in self.without_range)
        others = len(self.without_range) - chosen
        told = (
            f"{len(self.without_range)} of {self.assumed} assumed numbers have no range and were "
            f"held: {chosen} are a designer's choice, {others} are not"
        )
        times = "; so were numbers that move time, technology_nm among them"
        return told + times * self.times_held

    def to_json(self) -> str:
        """The study as text; equal studies give equal text."""
        return json.dumps(self.model_dump(mode="json"), indent=2, sort_keys=True) + "\n"

    def save(self, path: str | Path) -> None:
        """Write the study, completely or not at all; raises OutputError."""
        write_text(path, self.to_json())
