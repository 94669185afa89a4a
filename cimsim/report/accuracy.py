"""Accuracy of a task on the machine: what was measured, as frozen values that JSON holds."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, JsonValue, model_validator

from cimsim.errors import SpecError
from cimsim.files import write_text
from cimsim.report.parts import Reprogramming, read_value
from cimsim.values.arguments import checked
from cimsim.values.bounds import Flag, Number, Whole
from cimsim.values.frozen import Frozen


class AccuracyPoint(Frozen):
    """The metric of every noise draw at one time after programming, and their spread."""

    t_s: Number = Field(description="seconds after programming at which the chips are read")
    compensated: Flag = Field(description="whether drift was compensated by a factor a tile")
    mean: Number = Field(description="percent right, or perplexity; mean over draws")
    std: Number | None = Field(
        description="standard deviation over draws (n - 1); None for a single one"
    )
    confidence_95: tuple[Number, Number] | None = Field(
        description="Student's 95 % interval of the mean; None for fewer than three draws"
    )
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
    """One device model under one ADC; mean and spread are those of the first of `by_time`."""

    noise: str = Field(description="device model with its options, as text")
    device: dict[str, JsonValue] = Field(description="the same as fields")
    adc_bits: Whole | None = Field(
        default=None, description="bits of the ADCs; None for those of the machine"
    )
    mean: Number = Field(description="percent right, or perplexity, at the first time")
    std: Number | None = Field(
        description="standard deviation over draws there; None for a single one"
    )
    confidence_95: tuple[Number, Number] | None = Field(
        description="95 % interval of the mean there; None for fewer than three draws"
    )
    by_time: tuple[AccuracyPoint, ...] = Field(
        min_length=1, description="one for each time, without and with compensation as asked"
    )

    @property
    def label(self) -> str:
        """The device model, with the bits of the ADCs where they are not the machine's."""
        return _labelled(self.noise, self.adc_bits)


def _labelled(noise: str, adc_bits: int | None) -> str:
    return noise if adc_bits is None else f"{noise}, ADC of {adc_bits} bits"


def above(by_noise: Sequence[NoiseResult]) -> dict[str, Any]:
    """The fields of `Accuracy` that are those of the first of `by_noise`."""
    first = by_noise[0]
    return {
        "noise": first.noise, "noisy_mean": first.mean, "noisy_std": first.std,
        "confidence_95": first.confidence_95, "by_time": first.by_time,
    }  # fmt: skip


def summed_up(by_time: Sequence[AccuracyPoint]) -> dict[str, Any]:
    """The fields of `NoiseResult` that follow from its points."""
    first = by_time[0]
    return {
        "mean": first.mean, "std": first.std, "confidence_95": first.confidence_95,
        "by_time": tuple(by_time),
    }  # fmt: skip


class Recalibration(Frozen):
    """What fitting scale and offset of every column of every tile once costs.

    At run time the fitted numbers are part of the digital scaling that every result passes, whose
    cost they do not change.
    """

    vectors: Whole = Field(description="calibration vectors that go through every tile")
    columns: Whole = Field(description="columns that are fitted, two numbers each")
    conversions: Whole = Field(description="partial sums that are converted for it")
    stored_bits: Whole = Field(description="memory of the fitted numbers")
    reference_bytes: Whole = Field(description="exact results that come from outside")
    area_mm2: Number = Field(description="of the memory of the numbers")
    energy_by_part_J: dict[str, Number] = Field(
        description="part of the work -> energy; sums to energy_J"
    )
    energy_J: Number = Field(description="of one recalibration of the whole chip")
    time_s: Number = Field(description="of one weight after the other")


class Accuracy(Frozen):
    """A task on the machine: accuracy in percent or perplexity, over noise draws (chips).

    All draws share one test set, whose size leaves `test_set_95` open.
    """

    task: str = Field(description="data that it was measured on")
    metric: Literal["accuracy", "perplexity"] = Field(
        description="accuracy in percent right, or perplexity"
    )
    model: str = Field(description="model that was measured")
    note: str = Field(
        default="", description="what to know about the number, such as weights lost to clipping"
    )
    adapter: str | None = Field(
        default=None, description="directory of the adapter; None for the bare model"
    )
    examples: Whole = Field(
        description="test examples evaluated, the first of `examples_available`"
    )
    examples_available: Whole = Field(description="test examples that the task has")
    digital: Number = Field(description="score of the exact model, without tiles")
    digital_unanswered_ratio: Number = Field(
        default=0.0, description="share of examples without an answer in the asked format"
    )
    test_set_95: tuple[Number, Number] | None = Field(
        default=None,
        description="Wilson's 95 % interval of `digital`, from the number of examples; None for "
        "perplexity",
    )
    noise: str = Field(description="device model of the first of by_noise")
    noisy_mean: Number = Field(
        description="mean score over draws, at the first time of the first noise"
    )
    noisy_std: Number | None = Field(
        description="standard deviation over these draws (n - 1); None for a single one"
    )
    confidence_95: tuple[Number, Number] | None = Field(
        description="Student's 95 % interval of noisy_mean; None for fewer than three draws"
    )
    draws: Whole = Field(description="chips that were programmed")
    seeds: tuple[Whole, ...] = Field(
        description="seed of each draw; equal seeds are the same chip for every method"
    )
    converters: Flag = Field(
        default=True, description="false: noise on weights and nothing else (HaLoRA's setting)"
    )
    dac_bits: Whole | None = Field(
        default=None, description="bits of the DACs; None for those of the machine"
    )
    adc_bits: Whole | None = Field(
        default=None,
        description="bits of the ADCs of the first of by_noise; None for those of the machine",
    )
    recalibration: Recalibration | None = Field(
        default=None, description="where columns were fitted anew at every time: what once costs"
    )
    by_noise: tuple[NoiseResult, ...] = Field(
        min_length=1, description="one for each device model that was asked for, under each ADC"
    )
    by_time: tuple[AccuracyPoint, ...] = Field(description="the times of the first noise")
    lora_reload: Reprogramming = Field(description="cost of loading this adapter over another")
    inputs: dict[str, str | Whole] = Field(
        description="sha256 digests of weights, adapter and test data, and options"
    )

    @model_validator(mode="after")
    def _first_stands_above(self) -> Self:
        if any(getattr(self, name) != value for name, value in above(self.by_noise).items()):
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
    adc_bits: Whole | None = None
    t_s: Number
    compensated: Flag
    difference: Number
    std: Number | None
    confidence_95: tuple[Number, Number] | None

    @property
    def label(self) -> str:
        """The device model, with the bits of the ADCs where they are not the machine's."""
        return _labelled(self.noise, self.adc_bits)


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
