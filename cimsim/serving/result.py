"""What many tasks on one machine cost, strategy by strategy, as frozen values.

Times in s, energies in J, areas in mm2.
"""

from __future__ import annotations

import csv
import io
import json
import math
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from cimsim.errors import SpecError
from cimsim.files import write_text
from cimsim.report.parts import read_value
from cimsim.values.arguments import checked
from cimsim.values.bounds import Flag, Number, Whole
from cimsim.values.frozen import Frozen
from cimsim.values.history import Change


class Latency(Frozen):
    """Time (s) from the arrival of a request to its end, waiting included, over all requests.

    Percentiles are latencies that occurred (inverse of the empirical distribution).
    """

    mean_s: Number
    p50_s: Number
    p95_s: Number
    p99_s: Number
    max_s: Number


class Lifetime(Frozen):
    """Years until the hottest cell has had its pulses, at this rate of requests; None: no wear."""

    endurance_cycles: Number
    years: Number | None


class CurvePoint(Frozen):
    """Where a stream stands after so many requests; energy from before the first one on."""

    requests: Whole
    switches: Whole
    energy_J: Number


class StrategyResult(Frozen):
    """One strategy under the whole stream.

    `energy_J` is the sum of inference, switches (writing, and loading, which is `load_energy_J`),
    and leakage in the time that switches cost and in which no request is there. `setup_energy_J`
    is spent before: what the first programming writes beyond the base model and the first task.
    `switching_s` is the time lost to switches and to what they share with inference.
    `hottest_wear` is the share of the machine's endurance that the stream takes of the cell that is
    written most, `hottest_pulses` its pulses. Ratios are over the base model.
    """

    strategy: str
    pipeline: str = Field(description="strategy of the pipeline, of the first workload")
    requests: Whole
    switches: Whole
    makespan_s: Number
    latency: Latency
    inference_s: Number = Field(description="mean of a request alone")
    switching_s: Number
    energy_J: Number
    inference_energy_J: Number
    switch_energy_J: Number
    load_energy_J: Number
    switching_leakage_J: Number
    idle_leakage_J: Number
    setup_energy_J: Number
    written: dict[str, Number] = Field(
        description="cells, SRAM bits, TCDM bytes and register bits of all switches, whatever else "
        "a write counts"
    )
    dram_bytes_loaded: Whole
    hottest_wear: Number
    hottest_pulses: Number
    lifetimes: tuple[Lifetime, ...]
    task_bits: Whole = Field(description="what the largest task takes to keep")
    area_used_mm2: Number
    extra_area_mm2: Number
    latency_overhead_ratio: Number
    energy_overhead_ratio: Number
    moves: Whole = Field(default=0, description="switches that wrote into other units (levelling)")
    places: Whole = Field(default=1, description="sets of units that took turns; area counts them")
    curve: tuple[CurvePoint, ...] = Field(
        description="256 points at most; the last request with them"
    )

    @model_validator(mode="after")
    def _sum_holds(self) -> Self:
        parts = (self.inference_energy_J, self.switch_energy_J, self.switching_leakage_J,
                 self.idle_leakage_J)  # fmt: skip
        total = math.fsum(parts)
        if not math.isclose(total, self.energy_J, rel_tol=1e-9):
            raise ValueError(f"energies sum to {total!r} J, energy_J is {self.energy_J!r} J")
        return self

    def row(self) -> dict[str, str | int | float | None]:
        """The result as one flat row of scalars with units in the keys."""
        whole = self.model_dump(mode="json", exclude={"curve", "lifetimes", "latency", "written"})
        for name, value in self.latency.model_dump().items():
            whole[f"latency.{name}"] = value
        for name, amount in self.written.items():
            whole[f"written.{name}"] = amount
        for lifetime in self.lifetimes:
            whole[f"lifetime.{lifetime.endurance_cycles:.0e}_years"] = lifetime.years
        return whole


class BreakEven(Frozen):
    """Where the energies of two strategies cross: `first` has cost less before, `second` after.

    Counted in requests and switches from the beginning. `extrapolated`: beyond the stream, at its
    mean energy a request.
    """

    first: str
    second: str
    requests: Number
    switches: Number
    energy_J: Number
    extrapolated: Flag


class BaseCost(Frozen):
    """The pretrained model alone under the same requests: mean of a request, and its area."""

    latency_s: Number
    energy_J: Number
    area_used_mm2: Number


class Switching(Frozen):
    """What `cimsim switch` found out; `left_out` are strategies that cannot serve, and why."""

    format: Literal[1] = 1
    scenario: str
    architecture: str
    workloads: tuple[str, ...]
    tasks: Whole
    base: BaseCost
    strategies: tuple[StrategyResult, ...]
    left_out: dict[str, str]
    break_even: tuple[BreakEven, ...]
    assumed: dict[str, str]
    notes: tuple[str, ...] = ()
    changes: tuple[Change, ...] = ()
    inputs: dict[str, str | Whole]

    def of(self, strategy: str) -> StrategyResult:
        """The result of a strategy; raises SpecError, with those there are, for another."""
        found = {result.strategy: result for result in self.strategies}
        if strategy not in found:
            raise SpecError(f"no strategy {strategy!r} was compared: take {', '.join(found)}")
        return found[strategy]

    def _facts(self) -> dict[str, object]:
        names = ("scenario", "architecture", "tasks")
        facts: dict[str, object] = {name: getattr(self, name) for name in names}
        return facts | {f"{r.strategy}_energy_J": r.energy_J for r in self.strategies}

    def to_json(self) -> str:
        """The result as text; equal results give equal text."""
        return json.dumps(self.model_dump(mode="json"), indent=2, sort_keys=True) + "\n"

    def to_csv(self) -> str:
        """A row for each strategy."""
        rows: list[dict[str, Any]] = [result.row() for result in self.strategies]
        columns = list(dict.fromkeys(key for row in rows for key in row))
        stream = io.StringIO()
        writer = csv.DictWriter(stream, columns, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        return stream.getvalue()

    def save(self, path: str | Path) -> None:
        """Write the result, completely or not at all; raises OutputError."""
        write_text(path, self.to_json())


@checked(SpecError)
def load_switching(path: str | Path) -> Switching:
    """Read a result; raises SpecError naming the file and the field."""
    return read_value(path, Switching, "result")
