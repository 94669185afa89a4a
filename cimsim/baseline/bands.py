"""How far published measurements of the same work lie apart: the bands around an estimate.

Four things widen a band. Compute-bound kernels take down to `compute_band_low` of their time. A
decode step whose query heads share K and V takes up to `attention.grouped_high` of its attention
where several sequences run at once: under TensorRT-LLM, not under vLLM. The host time of a stack
lies between two ends. Unmerged LoRA keeps `lora.rate_low` to `lora.rate_high` of the merged rate,
measured at batch on stacks that group its products; the value has a kernel for each.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cimsim.baseline.costing import Cost, Request
    from cimsim.baseline.result import GpuEstimate
    from cimsim.baseline.spec import Gpu

Band = tuple[float, float]


def found_bands(
    settings: Request, costs: Sequence[Cost], latency_s: float, energy_J: float, steps: int
) -> tuple[Band, Band]:
    """Latency (s) and energy (J) at both ends, of kernels and host; LoRA as it is."""
    gain = 1.0 - settings.gpu.compute_band_low if settings.mode == "calibrated" else 0.0
    cards, active_W = settings.tensor_parallel, settings.gpu.power.active_W
    low_s, high_s = settings.host_band_s
    less_s, more_s = steps * (settings.host_s - low_s), steps * (high_s - settings.host_s)
    more_s += math.fsum(cost.late_s for cost in costs)
    low = (
        latency_s - less_s - gain * math.fsum(cost.compute_bound_s for cost in costs),
        energy_J - cards * (active_W * less_s + gain * math.fsum(c.compute_bound_J for c in costs)),
    )
    high = latency_s + more_s, energy_J + cards * active_W * more_s
    return (low[0], high[0]), (low[1], high[1])


def with_lora_band(gpu: Gpu, unmerged: GpuEstimate, merged: GpuEstimate) -> GpuEstimate:
    """`unmerged` with bands that hold what stacks lose to LoRA against `merged`."""
    active_W = gpu.power.active_W * unmerged.tensor_parallel
    slow = [
        (time_s / rate, energy_J + active_W * (time_s / rate - time_s))
        for time_s, energy_J, rate in zip(
            merged.latency_band_s, merged.energy_band_J, (gpu.lora.rate_high, gpu.lora.rate_low),
            strict=True,
        )
    ]  # fmt: skip
    bands = (unmerged.latency_band_s, unmerged.energy_band_J)
    latency, energy = (
        (min(band[0], slow[0][place]), max(band[1], slow[1][place]))
        for place, band in enumerate(bands)
    )
    return replace(unmerged, latency_band_s=latency, energy_band_J=energy)
