"""Report: every result of one simulation as a frozen value that JSON holds without loss.

Times in s, energies in J, areas in mm2. Energies sum to the total, busy plus idle time of every
unit kind is the makespan. No wall-clock time, host or path goes into a report.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any, Literal, Self, TypeVar

from pydantic import Field, JsonValue, ValidationError, model_validator

from cimsim.errors import SpecError
from cimsim.files import describe_validation, load_json, write_text
from cimsim.report.rows import row_of
from cimsim.values.arguments import checked
from cimsim.values.bounds import Flag, Number, Whole
from cimsim.values.frozen import Frozen
from cimsim.values.history import Change

_Model = TypeVar("_Model", bound=Frozen)


class PhaseResult(Frozen):
    """One phase. `tokens` are processed in prefill, generated in decode."""

    latency_s: Number
    energy_J: Number
    tokens: Whole
    tokens_per_s: Number


class UnitTime(Frozen):
    """Busy and idle time (s) of one kind of unit, mean over `units`; they sum to the makespan."""

    units: Whole
    busy_s: Number
    idle_s: Number


class Reprogramming(Frozen):
    """Cost of one write: the first programming of the model, or a switch of adapter.

    `wear` is the share of the cells' endurance that the write uses up.
    """

    cells_written: Whole
    energy_J: Number
    time_s: Number
    sram_bits_written: Whole
    tcdm_bytes_written: Whole
    wear: Number


class ModelWrite(Reprogramming):
    """The first programming of the model, and what a switch of its adapter costs after that."""

    adapter_switch: Reprogramming


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
    decode: dict[str, DecodePoint] = Field(
        default_factory=dict, description="decode at batch 1, best throughput and best energy"
    )


class AccuracyPoint(Frozen):
    """The metric of every noise draw at one time after programming, and their spread.

    `std` (n - 1) is None for a single draw, Student's 95 % interval of the mean for fewer than
    three.
    """

    t_s: Number
    compensated: Flag
    mean: Number
    std: Number | None
    confidence_95: tuple[Number, Number] | None
    values: tuple[Number, ...] = Field(description="one for each seed, in their order")
    saturated_ratio: Number = Field(
        default=0.0, description="share of saturated conversions in the worst layer of all draws"
    )


class NoiseResult(Frozen):
    """One device model; mean and spread are those of the first of `by_time`."""

    noise: str
    device: dict[str, JsonValue]
    mean: Number
    std: Number | None
    confidence_95: tuple[Number, Number] | None
    by_time: tuple[AccuracyPoint, ...] = Field(min_length=1)


class Accuracy(Frozen):
    """A task on the machine: accuracy in percent or perplexity, over noise draws (chips).

    `noise`, `noisy_mean`, `noisy_std`, `confidence_95` and `by_time` are those of the first of
    `by_noise`. All draws share one test set, whose size leaves `test_set_95` open
    (Wilson's 95 % interval of `digital`; None for perplexity).
    """

    task: str
    metric: Literal["accuracy", "perplexity"]
    model: str
    note: str = ""
    adapter: str | None = None
    examples: Whole = Field(
        description="test examples evaluated, the first of `examples_available`"
    )
    examples_available: Whole
    digital: Number
    test_set_95: tuple[Number, Number] | None = None
    noise: str
    noisy_mean: Number
    noisy_std: Number | None
    confidence_95: tuple[Number, Number] | None
    draws: Whole
    seeds: tuple[Whole, ...]
    converters: Flag = Field(
        default=True, description="false: noise on weights and nothing else (HaLoRA's setting)"
    )
    dac_bits: Whole | None = None
    adc_bits: Whole | None = None
    by_noise: tuple[NoiseResult, ...] = Field(min_length=1)
    by_time: tuple[AccuracyPoint, ...]
    lora_reload: Reprogramming = Field(description="cost of loading this adapter over another")
    inputs: dict[str, str | Whole]

    @model_validator(mode="after")
    def _first_stands_above(self) -> Self:
        first = self.by_noise[0]
        above = (self.noise, self.noisy_mean, self.noisy_std, self.confidence_95, self.by_time)
        if above != (first.noise, first.mean, first.std, first.confidence_95, first.by_time):
            raise ValueError("noise, noisy_mean, ... and by_time must be those of by_noise[0]")
        for point in (point for noise in self.by_noise for point in noise.by_time):
            if not len(point.values) == self.draws == len(self.seeds):
                raise ValueError(f"{len(point.values)} values for {self.draws} draws")
        return self

    def _facts(self) -> dict[str, object]:
        spread = {"noisy_std": self.noisy_std, "confidence_95": self.confidence_95}
        return {
            "task": self.task, "model": self.model, "adapter": self.adapter,
            "metric": self.metric, "digital": self.digital, "noise": self.noise,
            "noisy_mean": self.noisy_mean, **spread, "draws": self.draws,
            "examples": self.examples,
        }  # fmt: skip


class PairedAccuracy(Frozen):
    """`other` minus `base` under one noise at one time, over draws of the same chip seeds.

    The interval is that of the mean difference; both methods share the test set as well.
    """

    base: str
    other: str
    noise: str
    t_s: Number
    compensated: Flag
    difference: Number
    std: Number | None
    confidence_95: tuple[Number, Number] | None


class AccuracyReport(Frozen):
    """What `cimsim accuracy` found out: one result an adapter, each compared with the first."""

    format: Literal[1] = 1
    architecture: str
    workload: str
    results: tuple[Accuracy, ...] = Field(min_length=1)
    paired: tuple[PairedAccuracy, ...] = ()

    def to_json(self) -> str:
        """The report as text; equal reports give equal text."""
        return json.dumps(self.model_dump(mode="json"), indent=2, sort_keys=True) + "\n"

    def save(self, path: str | Path) -> None:
        """Write the report, completely or not at all; raises OutputError."""
        write_text(path, self.to_json())


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
    area_by_unit_mm2: dict[str, Number]
    latency_by_kind_s: dict[str, Number] = Field(
        description="busy time of each kind of work, overlaps counted twice"
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
        without = {"accuracy"} if self.accuracy is None else set()
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
    return _load(path, Report, "report")


@checked(SpecError)
def load_accuracy(path: str | Path) -> AccuracyReport:
    """Read what `cimsim accuracy` wrote; raises SpecError naming the file and the field."""
    return _load(path, AccuracyReport, "accuracy")


def _load(path: str | Path, kind: type[_Model], what: str) -> _Model:
    data: Any = load_json(path, SpecError, what)
    try:
        return kind.model_validate(data)
    except ValidationError as error:
        raise SpecError(describe_validation(path, error)) from None
