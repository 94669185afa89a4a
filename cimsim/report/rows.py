"""A report as one flat row of scalars, for tables of many runs.

Keys are paths with dots whose last part carries the unit: `latency_s`, `prefill.energy_J`,
`energy.rram_J`, `switch.time_s`, `gpu.NAME.latency_ratio`, `accuracy.noisy_mean`, `input.seed`,
`bounds.decode.chain_s` where bounds were asked for, `set.architecture.rram.integration_ns` with its
value before at `was.architecture....`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cimsim.report.accuracy import Accuracy
    from cimsim.report.bounds import Bottlenecks
    from cimsim.report.model import Baseline, Report
    from cimsim.report.parts import Reprogramming

Scalar = str | int | float | bool | None
_HEAD = (
    "workload", "architecture", "pipeline", "adaptation", "mapper", "accounting", "latency_s",
    "energy_J", "area_mm2", "area_used_mm2", "tiles_used", "sram_units_used", "cell_utilisation",
    "buffer_peak_KiB",
)  # fmt: skip
_WRITE = (
    "cells_written", "cells_changed", "pulses", "hottest_pulses", "energy_J", "time_s",
    "sram_bits_written", "tcdm_bytes_written", "wear",
)  # fmt: skip
_LOADED = ("loaded_from", "loaded_bytes", "load_energy_J")
_RELOADS = ("writes", "loaded_bytes", "load_energy_J", "lifetime_runs", "lifetime_s")
_BASELINE = (
    "lora", "like_for_like", "mode", "precision", "batch", "software", "latency_s", "energy_J",
    "latency_ratio", "energy_ratio", "host_s_per_step", "stack",
)  # fmt: skip
_ACCURACY = (
    "task", "metric", "model", "adapter", "examples", "examples_available", "digital", "noise",
    "noisy_mean", "noisy_std", "draws", "converters", "dac_bits", "adc_bits",
)  # fmt: skip


def row_of(report: Report) -> dict[str, Scalar]:
    """The row of `report`; reports of one machine, workload and set of options share their keys."""
    return dict(_entries(report))


def _entries(report: Report) -> Iterator[tuple[str, Scalar]]:
    yield from _fields("", report, _HEAD)
    for name, phase in report.phases.items():
        yield from _fields(name, phase, tuple(type(phase).model_fields))
    for part, kinds in (
        ("energy", report.energy_by_unit_J),
        ("energy.component", report.energy_by_component_J),
        ("energy.kind", report.energy_by_kind_J),
    ):
        yield from _with_unit(part, kinds, "J")
    yield from _with_unit("area", report.area_by_unit_mm2, "mm2")
    yield from _with_unit("area_used", report.area_used_by_unit_mm2, "mm2")
    yield "dies", report.dies
    yield from _with_unit("die_to_die", report.die_to_die_bytes, "bytes")
    yield from _with_unit("busy.kind", report.latency_by_kind_s, "s")
    for unit, times in report.unit_times.items():
        yield f"units.{unit}", times.units
        yield f"busy.{unit}_s", times.busy_s
        yield f"utilisation.{unit}", report.utilisation[unit]
    yield from _written("programming", report.reprogramming)
    yield from _written("switch", report.reprogramming.adapter_switch)
    yield from _fields("switch", report.reprogramming.adapter_switch, _LOADED)
    if (reloads := report.reloads) is not None:
        yield from _written("reloads", reloads)
        yield from _fields("reloads", reloads, _RELOADS)
    for name, baseline in report.baselines.items():
        yield from _baseline(f"gpu.{name}", baseline)
    if report.accuracy is not None:
        yield from _accuracy("accuracy", report.accuracy)
    if report.bounds is not None:
        yield from _bounds(report.bounds)
    yield "assumed_count", len(report.assumed)
    yield "notes", "; ".join(report.notes)
    for change in report.changes:
        yield f"set.{change.of}.{change.field}", _scalar(change.new)
        yield f"was.{change.of}.{change.field}", _scalar(change.old)
    for name, value in report.inputs.items():
        if name not in _HEAD and not name.startswith("set "):
            yield f"input.{name}", value


def _fields(part: str, value: Any, names: tuple[str, ...]) -> Iterator[tuple[str, Scalar]]:
    for name in names:
        yield f"{part}.{name}" if part else name, getattr(value, name)


def _written(part: str, write: Reprogramming) -> Iterator[tuple[str, Scalar]]:
    yield from _fields(part, write, _WRITE)
    for name, amount in write.also_written.items():
        yield f"{part}.{name}_written", amount


def _with_unit(part: str, values: Mapping[str, float], unit: str) -> Iterator[tuple[str, Scalar]]:
    for name, value in values.items():
        yield f"{part}.{name}_{unit}", value


def _baseline(part: str, found: Baseline) -> Iterator[tuple[str, Scalar]]:
    yield from _fields(part, found, _BASELINE)
    for name in ("latency_band_s", "energy_band_J"):
        stem, _, unit = name.rpartition("_")
        low, high = getattr(found, name)
        yield f"{part}.{stem}_low_{unit}", low
        yield f"{part}.{stem}_high_{unit}", high
    for name, said in found.verdict.items():
        yield f"{part}.{name}_verdict", said
    for name, phase in found.phases.items():
        yield from _fields(f"{part}.{name}", phase, tuple(type(phase).model_fields))


def _accuracy(part: str, found: Accuracy) -> Iterator[tuple[str, Scalar]]:
    yield from _fields(part, found, _ACCURACY)
    low, high = found.confidence_95 or (None, None)
    yield f"{part}.confidence_95_low", low
    yield f"{part}.confidence_95_high", high
    yield f"{part}.t_s", found.by_time[0].t_s
    yield f"{part}.compensated", found.by_time[0].compensated
    yield from _written(f"{part}.reload", found.lora_reload)


def _bounds(found: Bottlenecks) -> Iterator[tuple[str, Scalar]]:
    for name, part in (("total", found.total), *found.phases.items()):
        for what in ("unit", "kind", "wait"):
            times = getattr(part, f"by_{what}_s")
            yield from _with_unit(f"bounds.{name}.critical.{what}", times, "s")
        for what, bound in (("busiest", part.busiest), ("chain", part.chain)):
            if bound is not None:
                yield f"bounds.{name}.{what}", bound.name
                yield f"bounds.{name}.{what}_s", bound.time_s
                yield f"bounds.{name}.{what}_latency_ratio", bound.latency_ratio


def _scalar(value: Any) -> Scalar:
    """A value as it is, or the JSON of one that has parts."""
    if isinstance(value, dict | list):
        return json.dumps(value, sort_keys=True)
    scalar: Scalar = value
    return scalar
