"""Accuracy of a task on the machine: what was measured, as frozen values that JSON holds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, JsonValue, model_validator

from cimsim.errors import SpecError
from cimsim.files import write_text
from cimsim.report.parts import Reprogramming, read_value
from cimsim.values.arguments import checked
from cimsim.values.bounds import Flag, Number, Whole
from cimsim.values.frozen import Frozen


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
    overflowed_ratio: Number = Field(
        default=0.0, description="the same of shifted words that overflowed (xma)"
    )
    shortened_ratio: Number = Field(
        default=0.0, description="the same of shifted words that lost bits that were not 0 (xma)"
    )
    unanswered_ratio: Number = Field(
        default=0.0,
        description="mean share of examples for which no answer was written in the asked format",
    )


class NoiseResult(Frozen):
    """One device model; mean and spread are those of the first of `by_time`."""

    noise: str
    device: dict[str, JsonValue]
    mean: Number
    std: Number | None
    confidence_95: tuple[Number, Number] | None
    by_time: tuple[AccuracyPoint, ...] = Field(min_length=1)


class Recalibration(Frozen):
    """What fitting scale and offset of every column of every tile once costs.

    Each of `vectors` goes through every tile, which gives `conversions` partial sums; two numbers
    are kept for each of `columns`, in `stored_bits`. Exact results come from outside
    (`reference_bytes`). `time_s` is that of one weight after the other. At run time the numbers are
    part of the digital scaling that every result passes, whose cost they do not change.
    """

    vectors: Whole
    columns: Whole
    conversions: Whole
    stored_bits: Whole
    reference_bytes: Whole
    area_mm2: Number = Field(description="of the memory of the numbers")
    energy_by_part_J: dict[str, Number]
    energy_J: Number
    time_s: Number


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
    digital_unanswered_ratio: Number = Field(
        default=0.0, description="share of examples without an answer in the asked format"
    )
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
    recalibration: Recalibration | None = Field(
        default=None, description="where columns were fitted anew at every time: what once costs"
    )
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


@checked(SpecError)
def load_accuracy(path: str | Path) -> AccuracyReport:
    """Read what `cimsim accuracy` wrote; raises SpecError naming the file and the field."""
    return read_value(path, AccuracyReport, "accuracy")
