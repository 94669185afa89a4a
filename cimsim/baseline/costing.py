"""Time and energy of the kernels of one phase, over all its steps at once."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from cimsim.baseline import attention, power
from cimsim.baseline.fits import ring_bytes
from cimsim.baseline.fusion import lower
from cimsim.baseline.kernels import (
    AllReduceKernel,
    AttentionKernel,
    GemmKernel,
    Kernel,
    OpClass,
    StreamKernel,
)
from cimsim.baseline.modes import ELEMENT_BYTES, Dtype, Mode
from cimsim.baseline.power import Array
from cimsim.ir import Phase

if TYPE_CHECKING:
    from cimsim.baseline.spec import Gpu


@dataclass(frozen=True)
class Request:
    """What one estimate was asked for."""

    gpu: Gpu
    mode: Mode
    dtype: Dtype
    batch: int
    tensor_parallel: int
    host_band_s: tuple[float, float]
    stack: str | None

    @property
    def host_s(self) -> float:
        """Host time of a step: the middle of its band."""
        return sum(self.host_band_s) / 2

    @property
    def element_bytes(self) -> int:
        """Bytes of one value."""
        return ELEMENT_BYTES[self.dtype]

    @property
    def peak_flop_per_s(self) -> float:
        """Peak rate of the data type."""
        return self.gpu.peak_flop_per_s(self.dtype)


@dataclass(frozen=True)
class Cost:
    """All launches of one kernel over all steps; `late_s` is what the high end adds."""

    op_class: OpClass
    seconds: float
    compute_bound_s: float
    late_s: float
    energy_J: float
    compute_bound_J: float
    count: int


def phase_costs(settings: Request, phase: Phase) -> list[Cost]:
    """Cost of every kernel of `phase` on one card, all steps together."""
    kernels = lower(phase, settings.batch, settings.tensor_parallel)
    steps_S = np.arange(phase.steps, dtype=np.float64)
    costs = _gemm_costs(settings, kernels, phase.steps)
    for kernel, count in kernels.items():
        match kernel:
            case AttentionKernel():
                costs.append(_attention_cost(settings, kernel, count, steps_S))
            case StreamKernel():
                costs.append(_stream_cost(settings, kernel, count, steps_S))
            case AllReduceKernel():
                costs.append(_all_reduce_cost(settings, kernel, count, phase.steps))
            case GemmKernel():
                pass
    return costs


def _cost(
    settings: Request,
    kernel: Kernel,
    launches: Array | float,
    seconds: Array,
    flop: Array,
    moved: Array,
    late_share: float = 0.0,
) -> Cost:
    """Sum over shapes or steps, each `launches` times, the launch gap included."""
    energy = power.energy_J(seconds, flop, moved, settings.gpu.power)
    bound = flop / settings.peak_flop_per_s > moved / settings.gpu.hbm_byte_per_s
    gap_s = 1e-6 * settings.gpu.launch_gap_us if settings.mode == "calibrated" else 0.0
    launch_count = np.broadcast_to(np.asarray(launches, dtype=np.float64), seconds.shape)
    gaps_s = gap_s * float(launch_count.sum())
    return Cost(
        op_class=kernel.op_class,
        seconds=math.fsum(launch_count * seconds) + gaps_s,
        compute_bound_s=math.fsum(launch_count * seconds * bound),
        late_s=late_share * math.fsum(launch_count * seconds),
        energy_J=math.fsum(launch_count * energy) + gaps_s * settings.gpu.power.active_W,
        compute_bound_J=math.fsum(launch_count * energy * bound),
        count=round(float(launch_count.sum())),
    )


def _gemm_costs(settings: Request, kernels: dict[Kernel, int], steps: int) -> list[Cost]:
    """All products at once; those that grow are listed step by step."""
    shapes: list[tuple[GemmKernel, int, int, int]] = []
    for kernel, count in kernels.items():
        if isinstance(kernel, GemmKernel):
            if kernel.k_growth or kernel.n_growth:
                shapes.extend(
                    (kernel, kernel.k + s * kernel.k_growth, kernel.n + s * kernel.n_growth, count)
                    for s in (
                        min(step, steps if kernel.growth_steps is None else kernel.growth_steps)
                        for step in range(steps)
                    )
                )
            else:
                shapes.append((kernel, kernel.k, kernel.n, count * steps))
    if not shapes:
        return []
    m, batch = [g.m for g, *_ in shapes], [g.batch for g, *_ in shapes]
    k, n = [k for _, k, _, _ in shapes], [n for _, _, n, _ in shapes]
    seconds_R = settings.gpu.gemm_times_s(m, k, n, batch, settings.dtype, settings.mode)
    m_R, k_R, n_R, b_R = (np.array(x, dtype=np.float64) for x in (m, k, n, batch))
    flop_R = 2 * b_R * m_R * k_R * n_R
    moved_R = settings.element_bytes * b_R * (m_R * k_R + k_R * n_R + m_R * n_R)
    return [
        _cost(
            settings, g, float(count), seconds_R[i : i + 1], flop_R[i : i + 1], moved_R[i : i + 1]
        )
        for i, (g, _, _, count) in enumerate(shapes)
    ]


def _grown(growth_steps: int | None, steps_S: Array) -> Array:
    """How many increases each step has had."""
    return steps_S if growth_steps is None else np.minimum(steps_S, growth_steps)


def _attention_cost(settings: Request, kernel: AttentionKernel, count: int, steps_S: Array) -> Cost:
    shape = attention.AttentionShape(
        kernel.heads,
        kernel.kv_heads,
        kernel.queries,
        kernel.keys + kernel.keys_growth * _grown(kernel.growth_steps, steps_S),
        kernel.width,
        kernel.causal,
        kernel.window,
    )
    gpu, moved_S = settings.gpu, shape.bytes_S(settings.element_bytes)
    if settings.mode == "roofline":
        seconds_S = np.maximum(
            shape.flop_S / settings.peak_flop_per_s, moved_S / gpu.hbm_byte_per_s
        )
    else:
        seconds_S = attention.kernel_s(
            shape,
            gpu.attention,
            peak_flop_per_s=settings.peak_flop_per_s,
            hbm_byte_per_s=gpu.hbm_byte_per_s,
            element_bytes=settings.element_bytes,
            sm_count=gpu.sm_count,
        )
    shared = kernel.queries == 1 and kernel.heads > kernel.kv_heads and settings.batch > 1
    late = gpu.attention.grouped_high - 1.0 if shared and settings.mode == "calibrated" else 0.0
    return _cost(settings, kernel, count, seconds_S, shape.flop_S, moved_S, late)


def _stream_cost(settings: Request, kernel: StreamKernel, count: int, steps_S: Array) -> Cost:
    gpu, fit = settings.gpu, settings.gpu.stream
    moved_S = settings.element_bytes * (
        kernel.elements + kernel.elements_growth * _grown(kernel.growth_steps, steps_S)
    )
    seconds_S = moved_S / gpu.hbm_byte_per_s
    if settings.mode == "calibrated":
        fixed_s = 1e-6 * fit.fixed_us + 1e-9 * fit.norm_ns_per_element * kernel.norm_width
        seconds_S = seconds_S / fit.hbm_efficiency + fixed_s
    return _cost(settings, kernel, count, seconds_S, 0 * moved_S, moved_S)


def _all_reduce_cost(settings: Request, kernel: AllReduceKernel, count: int, steps: int) -> Cost:
    link, cards = settings.gpu.link, settings.tensor_parallel
    size = np.array([float(settings.element_bytes * kernel.elements)])
    moved = ring_bytes(size, cards)
    if settings.mode == "calibrated":
        seconds = link.all_reduce_s(size, cards)
    else:
        seconds = moved / (link.bandwidth_GBps * 1e9)
    return _cost(settings, kernel, float(count * steps), seconds, 0 * moved, moved)
