"""What a search for a strategy chose and what it rejected, as values. Times in s, energies in J."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from cimsim.values.bounds import Number, Whole
from cimsim.values.frozen import Frozen


class Candidate(Frozen):
    """A strategy that was tried."""

    pipeline: str = Field(description="strategy with its options")
    estimated_s: Number | None = Field(
        description="latency from runs of a part of the workload; None where they failed"
    )
    estimated_J: Number | None = Field(
        default=None, description="energy from the same runs; None where it was not told"
    )
    simulated_s: Number | None = Field(
        description="latency of the whole run; None where the estimate ruled it out"
    )
    simulated_J: Number | None = Field(
        default=None, description="energy of the whole run; None where it was not told"
    )
    problem: str = Field(default="", description="why it does not run here; empty where it does")
    same_as: str = Field(
        default="", description="strategy that runs the same here; empty where none does"
    )


class Search(Frozen):
    """How a strategy was found."""

    asked: str = Field(description="what was asked for, such as auto")
    objective: Literal["latency", "energy", "edp"] = Field(
        default="latency",
        description="what was made small: latency, energy, or their product",
    )
    chosen: str = Field(description="strategy that won")
    runs: Whole = Field(description="runs of parts of the workload")
    candidates: tuple[Candidate, ...] = Field(description="all that were tried, best first")
