"""What each unit of the machine costs: pure equations, one function an equation, sources named."""

from __future__ import annotations

from cimsim.costs.cluster import (
    CORE_CYCLES_PER_ELEMENT,
    barrier_cycles,
    core_cycles_per_element,
    dma_cycles,
    elementwise_cycles,
    job_overhead_cycles,
    lora_tcdm_bytes,
    norm_cycles,
    reduction_cycles,
    softmax_cycles,
)
from cimsim.costs.matrix_engine import (
    FORMAT_BYTES,
    lora_jobs,
    matrix_engine_accesses,
    matrix_engine_cycles,
)

__all__ = [
    "CORE_CYCLES_PER_ELEMENT",
    "FORMAT_BYTES",
    "barrier_cycles",
    "core_cycles_per_element",
    "dma_cycles",
    "elementwise_cycles",
    "job_overhead_cycles",
    "lora_jobs",
    "lora_tcdm_bytes",
    "matrix_engine_accesses",
    "matrix_engine_cycles",
    "norm_cycles",
    "reduction_cycles",
    "softmax_cycles",
]


def __dir__() -> list[str]:
    return sorted(__all__)
