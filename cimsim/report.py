"""Report: every result of one simulation as a frozen value that JSON holds without loss.

Times in s, energies in J, areas in mm2. Energies sum to the total, busy plus idle time of every
unit kind is the makespan. No wall-clock time, host or path goes into a report.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from cimsim.errors import CimsimError, SpecError
from cimsim.files import describe_validation, load_json, write_text


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class PhaseResult(_Frozen):
    """One phase. `tokens` are processed in prefill, generated in decode."""

    latency_s: float
    energy_J: float
    tokens: int
    tokens_per_s: float


class UnitTime(_Frozen):
    """Busy and idle time (s) of one kind of unit, mean over `units`; they sum to the makespan."""

    units: int
    busy_s: float
    idle_s: float


class Reprogramming(_Frozen):
    """Cost of one write: the first programming of the model, or a switch of adapter.

    `wear` is the share of the cells' endurance that the write uses up.
    """

    cells_written: int
    energy_J: float
    time_s: float
    sram_bits_written: int
    tcdm_bytes_written: int
    wear: float


class ModelWrite(Reprogramming):
    """The first programming of the model, and what a switch of its adapter costs after that."""

    adapter_switch: Reprogramming


class DecodePoint(_Frozen):
    """Decode on a GPU at one batch: share of one sequence, ratios and verdicts as in Baseline.

    `step_latency_s` is what a user waits for a token, which grows with the batch.
    """

    batch: int
    latency_s: float
    energy_J: float
    step_latency_s: float
    latency_ratio: float
    energy_ratio: float
    verdict: dict[str, str]


class Baseline(_Frozen):
    """A GPU on the same workload; ratios are GPU over machine, above 1 where the machine wins."""

    name: str
    mode: str
    precision: str
    batch: int
    software: str
    latency_s: float
    energy_J: float
    latency_band_s: tuple[float, float]
    energy_band_J: tuple[float, float]
    latency_ratio: float
    energy_ratio: float
    phases: dict[str, PhaseResult]
    verdict: dict[str, str] = Field(
        description="latency and energy: wins, loses, no clear win, not compared"
    )
    host_s_per_step: float = 0.0
    decode: dict[str, DecodePoint] = Field(
        default_factory=dict, description="decode at batch 1, best throughput and best energy"
    )


class Report(_Frozen):
    """What `cimsim run` found out."""

    format: Literal[1] = 1
    workload: str
    architecture: str
    pipeline: str
    adaptation: str
    mapper: str
    accounting: str
    latency_s: float
    energy_J: float
    area_mm2: float
    area_used_mm2: float
    phases: dict[str, PhaseResult]
    energy_by_unit_J: dict[str, float]
    energy_by_component_J: dict[str, float]
    energy_by_kind_J: dict[str, float]
    area_by_unit_mm2: dict[str, float]
    latency_by_kind_s: dict[str, float] = Field(
        description="busy time of each kind of work, overlaps counted twice"
    )
    utilisation: dict[str, float]
    unit_times: dict[str, UnitTime]
    tiles_used: int
    sram_units_used: int
    cell_utilisation: float
    buffer_peak_KiB: float
    block_tokens: dict[str, int]
    reprogramming: ModelWrite
    baselines: dict[str, Baseline] = Field(default_factory=dict)
    assumed: dict[str, str]
    notes: tuple[str, ...] = ()
    inputs: dict[str, str | int]

    @model_validator(mode="after")
    def _sums_hold(self) -> Self:
        for name in ("energy_by_unit_J", "energy_by_component_J", "energy_by_kind_J"):
            total = math.fsum(getattr(self, name).values())
            if not math.isclose(total, self.energy_J, rel_tol=1e-12):
                raise ValueError(f"{name} sums to {total!r} J, energy_J is {self.energy_J!r} J")
        return self

    def to_json(self) -> str:
        """The report as text; equal reports give equal text."""
        return json.dumps(self.model_dump(mode="json"), indent=2, sort_keys=True) + "\n"

    def save(self, path: str | Path) -> None:
        """Write the report, completely or not at all; raises CimsimError if it cannot."""
        write_text(path, self.to_json(), CimsimError)


def load_report(path: str | Path) -> Report:
    """Read a report; raises SpecError naming the file and the field."""
    data: Any = load_json(path, SpecError, "report")
    try:
        return Report.model_validate(data)
    except ValidationError as error:
        raise SpecError(describe_validation(path, error)) from None
