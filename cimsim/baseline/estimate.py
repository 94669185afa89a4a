"""Latency and energy of a workload, put together from the kernels of its phases."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping
from typing import TYPE_CHECKING

from cimsim.baseline import memory
from cimsim.baseline.bands import found_bands, with_lora_band
from cimsim.baseline.costing import Cost, Request, phase_costs
from cimsim.baseline.merging import Lora, as_run, check_lora
from cimsim.baseline.modes import PRECISION, check_dtype, check_mode, check_pair
from cimsim.baseline.result import ClassCost, GpuEstimate, PhaseEstimate
from cimsim.errors import MappingError, SpecError
from cimsim.ir import Phase, Workload

if TYPE_CHECKING:
    from cimsim.baseline.spec import Gpu

BATCH_MAX = 2**20
"""Most sequences at a time, and most cards."""
HOST_S_MAX = 3600.0
"""Longest host time of a step that is meant: an hour."""
_FUSED = (
    "flash attention; q, k, v and gate, up as one product; bias and GELU in the product; residual "
    "add with norm, rope, SiLU with multiply one kernel each"
)


def estimate(
    gpu: Gpu,
    workload: Workload,
    *,
    mode: str = "calibrated",
    batch: int = 1,
    tensor_parallel: int = 1,
    host_s_per_step: float = 0.0,
    dtype: str = "fp16",
    lora: str = "unmerged",
    stack: str | None = None,
) -> GpuEstimate:
    """See `Gpu.estimate`."""
    checked_mode, checked_dtype = check_pair(check_mode(mode), check_dtype(dtype))
    if not (1 <= batch <= BATCH_MAX and 1 <= tensor_parallel <= BATCH_MAX):
        raise SpecError(
            f"{gpu.name}: batch {batch} and tensor_parallel {tensor_parallel}: both must lie in 1 "
            f"to {BATCH_MAX}."
        )
    if not 0.0 <= host_s_per_step <= HOST_S_MAX:
        raise SpecError(
            f"{gpu.name}: host_s_per_step must lie in 0 to {HOST_S_MAX:g} s, got "
            f"{host_s_per_step:g}."
        )
    if workload.sequences > 1:
        raise SpecError(
            f"{gpu.name}: {workload.name} has {workload.sequences} sequences at a time, of which "
            "the GPU is given one and a batch: with_sequences(1), and that batch"
        )
    if any(phase.tokens_growth for phase in workload.phases):
        raise SpecError(
            f"{gpu.name}: {workload.name} computes all tokens anew in each step (tokens_growth), "
            "the GPU is calibrated with a KV cache: give it the workload with one"
        )
    host = gpu.host_band_s(tensor_parallel, host_s_per_step, stack)
    settings = Request(gpu, checked_mode, checked_dtype, batch, tensor_parallel, host, stack)
    given = workload
    workload, ran = as_run(given, check_lora(lora))
    weights = memory.weight_bytes(workload, settings.element_bytes)
    cache = memory.kv_cache_bytes(workload, settings.element_bytes, batch)
    if checked_mode == "peak-int8":
        return _peak_int8(settings, workload, ran, weights, cache)
    memory.check(gpu, weights, cache, batch, tensor_parallel)
    costs: dict[str, list[Cost]] = {
        phase.name: phase_costs(settings, phase) for phase in workload.phases
    }
    found = _assemble(settings, workload, ran, costs, weights, cache)
    if ran != "unmerged" or checked_mode != "calibrated":
        return found
    try:
        other = estimate(
            gpu, given, batch=batch, tensor_parallel=tensor_parallel, dtype=dtype,
            host_s_per_step=host_s_per_step, lora="merged", stack=stack,
        )  # fmt: skip
    except MappingError:  # no weight can take up the branch: nothing to measure it against
        return found
    return with_lora_band(gpu, found, other)


def _phase_estimate(settings: Request, phase: Phase, costs: list[Cost]) -> PhaseEstimate:
    host_s = settings.host_s * phase.steps
    latency_s = math.fsum(c.seconds for c in costs) + host_s
    one_card_J = math.fsum(c.energy_J for c in costs) + host_s * settings.gpu.power.active_W
    tokens = phase.tokens * phase.steps * settings.batch
    return PhaseEstimate(
        latency_s=latency_s,
        energy_J=one_card_J * settings.tensor_parallel,
        tokens=tokens,
        tokens_per_s=tokens / latency_s,
        steps=phase.steps,
        kernel_count=sum(c.count for c in costs),
    )


def _assemble(
    settings: Request,
    workload: Workload,
    lora: Lora,
    costs: Mapping[str, list[Cost]],
    weights: int,
    cache: int,
) -> GpuEstimate:
    phases: dict[str, PhaseEstimate] = {
        p.name: _phase_estimate(settings, p, costs[p.name]) for p in workload.phases
    }
    every = [cost for found in costs.values() for cost in found]
    cards = settings.tensor_parallel
    latency_s = math.fsum(p.latency_s for p in phases.values())
    energy_J = math.fsum(p.energy_J for p in phases.values())
    steps = sum(phase.steps for phase in workload.phases)
    bands = found_bands(settings, every, latency_s, energy_J, steps)
    level = "kernels only" if settings.host_s == 0.0 else "kernels and host time"
    level += f" of {settings.stack}" * (settings.stack is not None)
    return GpuEstimate(
        gpu=settings.gpu.name,
        workload=workload.name,
        mode=settings.mode,
        dtype=settings.dtype,
        lora=lora,
        batch=settings.batch,
        tensor_parallel=cards,
        host_s_per_step=settings.host_s,
        stack=settings.stack,
        latency_s=latency_s,
        energy_J=energy_J,
        mean_power_W=energy_J / latency_s,
        latency_band_s=bands[0],
        energy_band_J=bands[1],
        phases=phases,
        breakdown=_breakdown(every, cards),
        weight_bytes=weights,
        kv_cache_bytes=cache,
        precision=PRECISION[settings.dtype],
        software=f"{level}, one CUDA graph a step; fused: {_FUSED}",
    )


def _breakdown(costs: list[Cost], cards: int) -> dict[str, ClassCost]:
    by_class: dict[str, list[Cost]] = defaultdict(list)
    for cost in costs:
        by_class[cost.op_class].append(cost)
    return {
        op_class: ClassCost(
            latency_s=math.fsum(c.seconds for c in found),
            energy_J=cards * math.fsum(c.energy_J for c in found),
            kernel_count=sum(c.count for c in found),
        )
        for op_class, found in sorted(by_class.items())
    }


def _peak_int8(
    settings: Request, workload: Workload, lora: Lora, weights: int, cache: int
) -> GpuEstimate:
    """Every multiply-accumulate at the int8 peak, memory and all other ops free."""
    gpu = settings.gpu
    if settings.host_s > 0.0 or settings.stack is not None:
        raise SpecError(
            f"{gpu.name}: mode peak-int8 knows no host time. Leave host_s_per_step at 0 and the "
            "stack out, or use mode calibrated."
        )
    phases: dict[str, PhaseEstimate] = {}
    for phase in workload.phases:
        operations = 2 * phase.macs() * settings.batch
        latency_s = operations / gpu.peak_flop_per_s("int8") / settings.tensor_parallel
        tokens = phase.tokens * phase.steps * settings.batch
        phases[phase.name] = PhaseEstimate(
            latency_s=latency_s,
            energy_J=operations / (gpu.int8_energy_TOPS_per_W * 1e12),
            tokens=tokens,
            tokens_per_s=tokens / latency_s,
            steps=phase.steps,
            kernel_count=0,
        )
    latency_s = math.fsum(p.latency_s for p in phases.values())
    operations = 2 * workload.macs * settings.batch
    energy_J = operations / (gpu.int8_energy_TOPS_per_W * 1e12)
    return GpuEstimate(
        gpu=gpu.name,
        workload=workload.name,
        mode="peak-int8",
        dtype="int8",
        lora=lora,
        batch=settings.batch,
        tensor_parallel=settings.tensor_parallel,
        host_s_per_step=0.0,
        stack=settings.stack,
        latency_s=latency_s,
        energy_J=energy_J,
        mean_power_W=energy_J / latency_s,
        latency_band_s=(latency_s, latency_s),
        energy_band_J=(energy_J, energy_J),
        phases=phases,
        breakdown={},
        weight_bytes=weights,
        kv_cache_bytes=cache,
        precision=PRECISION["int8"],
        software="data-sheet peak at full utilisation, no memory traffic: not a prediction",
    )
