"""From an Evaluation to the accuracy section of a report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from cimsim.accuracy.evaluate import Evaluation, Measured
from cimsim.accuracy.noises import noise_json
from cimsim.accuracy.statistics import compare, wilson
from cimsim.errors import TaskError
from cimsim.noise import format_device
from cimsim.report import (
    Accuracy,
    AccuracyPoint,
    NoiseResult,
    PairedAccuracy,
    Recalibration,
    Reprogramming,
)
from cimsim.report.accuracy import above, summed_up
from cimsim.values.arguments import checked
from cimsim.values.display import brief

MUCH = 0.1
"""Choice: share of a layer's output norm that is worth a note when clipping takes it."""


@brief
@dataclass(frozen=True)
class Named:
    """What an evaluation was of, as reports name it, and the settings that are no default."""

    model: str
    note: str
    adapter: str | None
    inputs: dict[str, str | int]
    converters: bool = True
    dac_bits: int | None = None
    recalibration: Recalibration | None = None


@checked(TaskError)
def section(found: Evaluation, named: Named, reload: Reprogramming) -> Accuracy:
    """The section; `reload` is what a switch of the adapter costs on the same mapping."""
    by_noise = tuple(
        _of_noise(list(points))
        for _, points in groupby(found.points, lambda point: (id(point.noise), point.adc_bits))
    )
    size = None
    if found.metric == "accuracy":
        size = wilson(found.digital, found.examples)
    return Accuracy(
        task=found.task,
        metric=found.metric,
        model=named.model,
        note=named.note + _of_clipping(found),
        adapter=named.adapter,
        examples=found.examples,
        examples_available=found.examples_available,
        digital=found.digital,
        digital_unanswered_ratio=found.digital_unanswered_ratio,
        test_set_95=size,
        draws=len(found.seeds),
        seeds=found.seeds,
        converters=named.converters,
        dac_bits=named.dac_bits,
        adc_bits=by_noise[0].adc_bits,
        recalibration=named.recalibration,
        by_noise=by_noise,
        **above(by_noise),
        lora_reload=reload,
        inputs=named.inputs,
    )


def _of_clipping(found: Evaluation) -> str:
    """What clipped weights take of the layers' outputs, where it is much of any."""
    much = [share for share in found.clipping.values() if share > MUCH]
    if not much:
        return ""
    name, most = max(found.clipping.items(), key=lambda item: item[1])
    return (
        f"; clipping weights takes more than {MUCH:.0%} of the output norm of {len(much)} of "
        f"{len(found.clipping)} layers, most of {name}: {most:.0%}"
    )


def _of_noise(points: Sequence[Measured]) -> NoiseResult:
    noise = points[0].noise
    return NoiseResult(
        noise=format_device(noise),
        device=noise_json(noise),
        adc_bits=points[0].adc_bits,
        **summed_up([_of_point(point) for point in points]),
    )


def _of_point(point: Measured) -> AccuracyPoint:
    found = point.spread
    return AccuracyPoint(
        t_s=point.t_s,
        compensated=point.compensated,
        mean=found.mean,
        std=found.std,
        confidence_95=found.confidence_95,
        values=point.values,
        saturated_ratio=point.saturated_ratio,
        overflowed_ratio=point.overflowed_ratio,
        shortened_ratio=point.shortened_ratio,
        unanswered_ratio=point.unanswered_ratio,
    )


@checked(TaskError)
def paired(a: Accuracy, b: Accuracy) -> tuple[PairedAccuracy, ...]:
    """`b` minus `a`, draw by draw, at every point of both."""
    found = []
    for mine, theirs in zip(a.by_noise, b.by_noise, strict=True):
        for p, q in zip(mine.by_time, theirs.by_time, strict=True):
            difference: Any = compare(p.values, q.values)
            found.append(
                PairedAccuracy(
                    base=a.adapter or a.model,
                    other=b.adapter or b.model,
                    noise=mine.noise,
                    adc_bits=mine.adc_bits,
                    t_s=p.t_s,
                    compensated=p.compensated,
                    difference=difference.mean,
                    std=difference.std,
                    confidence_95=difference.confidence_95,
                )
            )
    return tuple(found)
