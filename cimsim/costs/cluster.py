"""Work of a cluster around its matrix engine: kernels on the cores, DMA transfers, TCDM space.

Every number is one of the machine's, with its source (`pmca` and `pmca.core`). The equations are
those of a Snitch cluster: cores with stream registers and hardware loops, a DMA, banked TCDM.
Kernels take a set-up and the cycles of the core that has most to do; streams wait for each other
at the banks. Rows go to cores whole or are shared by several, as is faster. Not modelled:
instruction cache misses, the exact bank pattern (the contention ratio stands in for them).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from cimsim.blocks import PmcaClusters, PmcaCore
from cimsim.costs.busy import IDLE, Busy
from cimsim.errors import MappingError, WorkloadError

_STREAMED = (
    "add", "sub", "mul", "scale", "axpy", "neg", "abs", "square", "relu", "maximum", "minimum",
    "copy", "fill", "sum", "mean", "amax", "amin", "compare", "logical",
)  # fmt: skip

_INSTRUCTIONS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(_STREAMED, ("stream",)),
    "clamp": ("stream", "stream"),
    "to": ("convert",),
    "where": ("select",),
    "masked_fill": ("select",),
    "div": ("divide",),
    "reciprocal": ("divide",),
    "sqrt": ("root",),
    "rsqrt": ("root", "divide"),
    "pow": ("power",),
    "sin": ("sine",),
    "cos": ("sine",),
}
"""Function -> what it takes: fields `pmca.core.*_cycles_per_word` or, if scalar, `_per_element`."""

_SCALAR = ("divide", "root", "power", "sine")
"""What takes one value at a time, however wide the word: an iterative unit or a scalar library."""

_EXPONENTIALS = ("exp", "log", "sigmoid", "silu", "tanh", "erf", "gelu")
"""Evaluated like an exponential: the same polynomial, library or instruction, and what is
around it (`pmca.core.*_cycles_per_word`; nothing for exp and log)."""

_SAME_AS: dict[str, str] = {
    "eq": "compare",
    "ne": "compare",
    "lt": "compare",
    "le": "compare",
    "gt": "compare",
    "ge": "compare",
    "bitwise_and": "logical",
    "bitwise_or": "logical",
    "bitwise_not": "logical",
    "logical_and": "logical",
    "logical_or": "logical",
    "logical_not": "logical",
    "clone": "copy",
    "clamp_min": "maximum",
    "clamp_max": "minimum",
    "addcmul": "axpy",
    "rsub": "sub",
    "hardtanh": "clamp",
    "max": "amax",
    "min": "amin",
}

FUNCTIONS = tuple(sorted({*_INSTRUCTIONS, *_EXPONENTIALS, *_SAME_AS}))
"""Elementwise functions that a cluster computes, by their names in torch's aten."""


def function_cycles(pmca: PmcaClusters, function: str) -> float:
    """Cycles that one core takes for one element of `function`, streams not stalled.

    A trailing "_" of the name is ignored. Raises MappingError for an unknown function.
    """
    name = function.removesuffix("_")
    name = _SAME_AS.get(name, name)
    if name in ("exp", "log"):
        return pmca.exp_cycles
    if name in _EXPONENTIALS:
        return pmca.exp_cycles + _part_cycles(pmca, name)
    if name not in _INSTRUCTIONS:
        raise MappingError(
            f"the cluster has no cycle count for function {function!r}; "
            f"known: {', '.join(FUNCTIONS)}."
        )
    return sum(_part_cycles(pmca, part) for part in _INSTRUCTIONS[name])


def _part_cycles(pmca: PmcaClusters, part: str) -> float:
    """Cycles an element of the part of a function that `pmca.core` gives a word or an element."""
    if part in _SCALAR:
        return float(getattr(pmca.core, f"{part}_cycles_per_element"))
    return float(getattr(pmca.core, f"{part}_cycles_per_word")) / pmca.simd_width


def elementwise_busy(pmca: PmcaClusters, elements: int, functions: Mapping[str, int]) -> Busy:
    """A fused chain of `functions` (name -> times) over `elements`, shared evenly.

    set-up + ceil(ceil(elements / cores) * cycles an element * contention); a core with fewer
    elements is at work for less. IDLE for no elements.
    Raises WorkloadError for a negative count, MappingError for an unknown function.
    """
    _check_count("elements", elements)
    each = sum(function_cycles(pmca, name) * count for name, count in functions.items())
    if elements == 0:
        return IDLE
    share = -(-elements // pmca.cores)
    core = pmca.core
    cycles = core.stream_setup_cycles + math.ceil(share * each * core.tcdm_contention_ratio)
    at_work = math.ceil(elements * each * core.tcdm_contention_ratio)
    at_work += min(elements, pmca.cores) * core.stream_setup_cycles
    # counted: a function reads or writes two of its operands, others stay in registers
    touched = _bytes(pmca, 2 * elements * sum(functions.values()))
    return Busy(cycles, at_work, tcdm_bytes=touched)


def reduction_busy(pmca: PmcaClusters, elements: int, rows: int) -> Busy:
    """`rows` rows of together `elements` to one value a row (sum, mean, max).

    A streamed pass, and for each row the folding of the lanes of a word. Raises WorkloadError
    for a negative count.
    """
    core = pmca.core
    each = core.reduce_cycles_per_word / pmca.simd_width * core.tcdm_contention_ratio
    row = fold_cycles(core, pmca.simd_width)
    return _rows_busy(pmca, elements, rows, _RowKernel(each, row, 1, 1))


def fold_cycles(core: PmcaCore, partials: int) -> float:
    """Cycles in which `partials` partial results become one: levels of a binary tree, and a store.

    reduce_cycles_per_level * ceil(log2(partials)) + reduce_store_cycles.
    """
    levels = (partials - 1).bit_length()
    return core.reduce_cycles_per_level * levels + core.reduce_store_cycles


def norm_busy(pmca: PmcaClusters, elements: int, rows: int, kind: Literal["layer", "rms"]) -> Busy:
    """Normalising `rows` rows of together `elements`; the mean square is one reduction of a row,
    mean and variance are two.

    Raises WorkloadError for a negative count.
    """
    core = pmca.core
    word, reductions, touches = {
        # counted: a pass for the mean, one for the variance, one in and out, gamma and beta
        "layer": (core.layer_norm_cycles_per_word, 2, 6),
        # counted: a pass for the mean square, one in and out, gamma
        "rms": (core.rms_norm_cycles_per_word, 1, 4),
    }[kind]
    each = word / pmca.simd_width * core.tcdm_contention_ratio
    kernel = _RowKernel(each, core.norm_row_cycles, reductions, touches)
    return _rows_busy(pmca, elements, rows, kernel)


def softmax_busy(pmca: PmcaClusters, elements: int, rows: int) -> Busy:
    """A softmax over `rows` rows of together `elements`; maximum and sum are reductions.

    An element takes its exponential, and its share of the rest of a word. The exponential decides:
    a cluster with an instruction for it, and a kernel streamed around it, is 162.7x faster (VEXP,
    arXiv 2504.11227, abstract). Computing bounds it, so no contention. Raises WorkloadError for a
    negative count.
    """
    each = pmca.exp_cycles + pmca.softmax_other_cycles_per_word / pmca.simd_width
    # counted: a pass for the maximum, one in and out for exponential and sum, one for the scaling
    kernel = _RowKernel(each, pmca.core.softmax_row_cycles, 2, 5)
    return _rows_busy(pmca, elements, rows, kernel)


def dma_cycles(pmca: PmcaClusters, total_bytes: int, transfers: int) -> int:
    """Cycles of `transfers` DMA transfers of `total_bytes` in all, the memory's latency aside.

    A set-up each, and the beats of the data path; 0 for no bytes. Raises WorkloadError for a
    negative count.
    """
    _check_count("total_bytes", total_bytes)
    _check_count("transfers", transfers)
    if total_bytes == 0:
        return 0
    return pmca.dma_setup_cycles * transfers + -(-total_bytes // pmca.dma_bytes_per_cycle)


def lora_tcdm_bytes(
    block_tokens: int, in_features: int, out_features: int, rank: int, bytes_per_value: int = 2
) -> int:
    """TCDM bytes of an adapter on a block: inputs, A and B, X . A, and outputs, held once each.

    bytes_per_value * (t * m + r * (m + n) + t * r + t * n), which reproduces the end points of
    Fig. 4b of arXiv 2411.17367 (the formula printed in its Fig. 1b does not).
    Raises WorkloadError for a negative size.
    """
    t, m, n, r = block_tokens, in_features, out_features, rank
    for name, value in (("block_tokens", t), ("in_features", m), ("out_features", n), ("rank", r)):
        _check_count(name, value)
    return bytes_per_value * (t * m + r * (m + n) + t * r + t * n)


@dataclass(frozen=True, slots=True)
class _RowKernel:
    """A kernel on rows: cycles an element and a row, how often a row is reduced to a value, and how
    often each element is read or written, or something as wide.
    """

    element_cycles: float
    row_cycles: float
    reductions: int
    touches: int


def _rows_busy(pmca: PmcaClusters, elements: int, rows: int, kernel: _RowKernel) -> Busy:
    """The kernel with the cores in the teams that are fastest; a team works on a row at a time.

    Teams of one deal whole rows; one team of all cores shares every row. IDLE for no elements.
    """
    _check_count("elements", elements)
    _check_count("rows", rows)
    if elements == 0 or rows == 0:
        return IDLE
    joined = tuple(
        kernel.reductions * (pmca.barrier_cycles + fold_cycles(pmca.core, members))
        for members in range(1, pmca.cores + 1)
    )
    set_up = pmca.core.stream_setup_cycles
    cycles, at_work = _in_best_teams(elements, rows, kernel, joined, set_up)
    return Busy(cycles, at_work, tcdm_bytes=_bytes(pmca, kernel.touches * elements))


def _bytes(pmca: PmcaClusters, values: int) -> int:
    return math.ceil(values * pmca.value_bits / 8)


@lru_cache(maxsize=1 << 16)
def _in_best_teams(
    elements: int, rows: int, kernel: _RowKernel, joined: tuple[float, ...], setup: int
) -> tuple[int, int]:
    """Cycles of the team with most rows, and of all cores that have some together.

    A core has its share of each row's elements. Where a team of n shares a row its reductions take
    `joined[n - 1]` cycles: a barrier and the folding of the cores' partial results for each.
    """
    cores = len(joined)

    def of_team(members: int) -> float:
        busiest_rows = -(-rows // (cores // members))
        if members == 1:
            share = -(-elements * busiest_rows // rows)
            return share * kernel.element_cycles + busiest_rows * kernel.row_cycles
        return busiest_rows * of_row(members)

    def of_row(members: int) -> float:
        share = -(-elements // (rows * members))
        return share * kernel.element_cycles + kernel.row_cycles + joined[members - 1]

    members = min(range(1, cores + 1), key=of_team)
    at_work = min(rows, cores // members) * members * setup
    if members == 1:
        at_work += math.ceil(elements * kernel.element_cycles + rows * kernel.row_cycles)
    else:
        at_work += math.ceil(rows * members * of_row(members))
    return setup + math.ceil(of_team(members)), at_work


def _check_count(name: str, value: int) -> None:
    if value < 0:
        raise WorkloadError(f"the cluster was asked for {name} = {value}; the least is 0.")
