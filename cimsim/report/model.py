"""Report: every result of one simulation as a frozen value that JSON holds without loss.

Times in s, energies in J, areas in mm2. Energies sum to the total, busy plus idle time of every
unit kind is the makespan. No wall-clock time, host or path goes into a report.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from cimsim.errors import SpecError
from cimsim.files import write_text
from cimsim.report.accuracy import Accuracy
from cimsim.report.bands import Sensitivity
from cimsim.report.bounds import Bottlenecks
from cimsim.report.chosen import Search
from cimsim.report.parts import ModelWrite, PhaseResult, UnitTime, read_value
from cimsim.report.rows import row_of
from cimsim.values.arguments import checked
from cimsim.values.bounds import Number, Whole
from cimsim.values.frozen import Frozen
from cimsim.values.history import Change


class DecodePoint(Frozen):
    """Decode on a GPU at one batch: share of one sequence, ratios and verdicts as in Baseline.

    `step_latency_s` is what a user waits for a token, which grows with the batch.
    """

    batch: Whole
    latency_s: Number
    energy_J: Number
    step_latency_s: Number
    latency_ratio: Number | None
    energy_ratio: Number | None
    verdict: dict[str, str]


class Baseline(Frozen):
    """A GPU on the same workload; ratios are GPU over machine, above 1 where the machine wins.

    A ratio is None where the machine needs no time or no energy at all.
    """

    name: str
    lora: Literal["unmerged", "merged", "none"] = Field(
        description="beside the weights, merged into them, or a workload without LoRA"
    )
    like_for_like: bool = Field(description="whether the machine ran LoRA likewise")
    mode: str
    precision: str
    batch: Whole
    software: str
    latency_s: Number
    energy_J: Number
    latency_band_s: tuple[Number, Number]
    energy_band_J: tuple[Number, Number]
    latency_ratio: Number | None
    energy_ratio: Number | None
    phases: dict[str, PhaseResult]
    verdict: dict[str, str] = Field(
        description="latency and energy: wins, loses, no clear win, not compared"
    )
    host_s_per_step: Number = 0.0
    stack: str | None = Field(default=None, description="serving stack that the host time is of")
    decode: dict[str, DecodePoint] = Field(
        default_factory=dict, description="decode at batch 1, best throughput and best energy"
    )

    @property
    def key(self) -> str:
        """What a report calls it: the GPU, and what became of LoRA."""
        return self.name if self.lora == "none" else f"{self.name}, LoRA {self.lora}"


class Report(Frozen):
    """What `cimsim run` found out."""

    format: Literal[1] = 1
    workload: str
    architecture: str
    pipeline: str
    adaptation: str
    mapper: str
    accounting: str
    latency_s: Number
    energy_J: Number
    area_mm2: Number
    area_used_mm2: Number
    phases: dict[str, PhaseResult]
    energy_by_unit_J: dict[str, Number]
    energy_by_component_J: dict[str, Number]
    energy_by_kind_J: dict[str, Number]
    area_by_unit_mm2: dict[str, Number] = Field(description="everything that is built")
    area_used_by_unit_mm2: dict[str, Number] = Field(description="units in use, and the buffer")
    dies: Whole = Field(default=1, description="dies that the machine is cut into")
    die_to_die_bytes: dict[str, Number] = Field(
        default_factory=dict,
        description="bytes between dies by phase, once for every link; nothing on one die",
    )
    latency_by_kind_s: dict[str, Number] = Field(
        description="time in which at least one unit is at work on each kind; kinds overlap"
    )
    utilisation: dict[str, Number]
    unit_times: dict[str, UnitTime]
    tiles_used: Whole
    sram_units_used: Whole
    cell_utilisation: Number
    buffer_peak_KiB: Number
    block_tokens: dict[str, Whole]
    reprogramming: ModelWrite
    baselines: dict[str, Baseline] = Field(default_factory=dict)
    accuracy: Accuracy | None = None
    bounds: Bottlenecks | None = None
    bands: Sensitivity | None = None
    search: Search | None = None
    assumed: dict[str, str]
    notes: tuple[str, ...] = ()
    changes: tuple[Change, ...] = Field(
        default=(), description="values that are others than the files of machine and workload say"
    )
    inputs: dict[str, str | Whole]

    @model_validator(mode="after")
    def _sums_hold(self) -> Self:
        for name in ("energy_by_unit_J", "energy_by_component_J", "energy_by_kind_J"):
            total = math.fsum(getattr(self, name).values())
            if not math.isclose(total, self.energy_J, rel_tol=1e-12):
                raise ValueError(f"{name} sums to {total!r} J, energy_J is {self.energy_J!r} J")
        return self

    def _facts(self) -> dict[str, object]:
        names = ("workload", "architecture", "pipeline", "adaptation", "mapper")
        numbers = ("latency_s", "energy_J", "area_mm2")
        found = {name: getattr(self, name) for name in (*names, *numbers)}
        for name, phase in self.phases.items():
            found[f"{name}_tokens_per_s"] = phase.tokens_per_s
        if self.accuracy is not None:
            found["accuracy"] = self.accuracy.noisy_mean
        return found | {"baselines": tuple(self.baselines)}

    def to_json(self) -> str:
        """The report as text; equal reports give equal text."""
        optional = ("accuracy", "bands", "bounds", "search")
        without = {name for name in optional if getattr(self, name) is None}
        data = self.model_dump(mode="json", exclude=without)
        return json.dumps(data, indent=2, sort_keys=True) + "\n"

    def row(self) -> dict[str, str | int | float | bool | None]:
        """The report as one flat row of scalars with units in the keys (see `cimsim.report.rows`).

        `pandas.DataFrame([report.row() for report in reports])` is a table of runs. What has one
        value a layer (`block_tokens`) or several draws and times is left to the report.
        """
        return row_of(self)

    def save(self, path: str | Path) -> None:
        """Write the report, completely or not at all; raises OutputError."""
        write_text(path, self.to_json())


@checked(SpecError)
def load_report(path: str | Path) -> Report:
    """Read a report; raises SpecError naming the file and the field."""
    return read_value(path, Report, "report")
