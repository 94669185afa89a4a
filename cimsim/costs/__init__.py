"""What each unit of the machine costs: pure equations, one function an equation, sources named."""

from __future__ import annotations

from cimsim.costs.busy import IDLE, Busy
from cimsim.costs.cluster import (
    FUNCTIONS,
    dma_cycles,
    elementwise_busy,
    function_cycles,
    lora_tcdm_bytes,
    norm_busy,
    reduction_busy,
    softmax_busy,
)
from cimsim.costs.lora import LoraTiles, least_lora_bytes, lora_tiles, tile_step
from cimsim.costs.matrix_engine import (
    FORMAT_BYTES,
    matrix_engine_accesses,
    matrix_engine_cycles,
)
from cimsim.costs.products import cores_beat_engine, cores_product_cycles, product_busy
from cimsim.costs.sparse import sparse_busy

__all__ = [
    "FORMAT_BYTES",
    "FUNCTIONS",
    "IDLE",
    "Busy",
    "LoraTiles",
    "cores_beat_engine",
    "cores_product_cycles",
    "dma_cycles",
    "elementwise_busy",
    "function_cycles",
    "least_lora_bytes",
    "lora_tcdm_bytes",
    "lora_tiles",
    "matrix_engine_accesses",
    "matrix_engine_cycles",
    "norm_busy",
    "product_busy",
    "reduction_busy",
    "softmax_busy",
    "sparse_busy",
    "tile_step",
]


def __dir__() -> list[str]:
    return sorted(__all__)
