"""What a GPU launches for one phase: matrix products, attention, streaming kernels, all-reduces."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

OpClass = Literal[
    "linear", "lora", "attention", "norm", "elementwise", "embedding", "sampling", "all-reduce"
]


@dataclass(frozen=True)
class GemmKernel:
    """`batch` products of m x k x n; k and n grow by so much with each of `growth_steps` steps."""

    op_class: OpClass
    m: int
    k: int
    n: int
    batch: int = 1
    k_growth: int = 0
    n_growth: int = 0
    growth_steps: int | None = None


@dataclass(frozen=True)
class AttentionKernel:
    """Fused attention; sizes as in `cimsim.baseline.attention.AttentionShape`, all sequences."""

    heads: int
    kv_heads: int
    queries: int
    keys: int
    keys_growth: int
    width: int
    causal: bool
    op_class: OpClass = "attention"
    window: int | None = None
    growth_steps: int | None = None


@dataclass(frozen=True)
class StreamKernel:
    """Elementwise functions, norms, look-ups and reductions fused into one pass over `elements`."""

    op_class: OpClass
    elements: int
    elements_growth: int = 0
    norm_width: int = 0
    growth_steps: int | None = None


@dataclass(frozen=True)
class AllReduceKernel:
    """Sum of `elements` values over the cards."""

    elements: int
    op_class: OpClass = "all-reduce"


Kernel = GemmKernel | AttentionKernel | StreamKernel | AllReduceKernel
