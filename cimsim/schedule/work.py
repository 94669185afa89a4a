"""Work of one block of tokens: values that an op touches, cycles that a cluster takes."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

from cimsim.blocks import PmcaClusters
from cimsim.costs import (
    IDLE,
    Busy,
    cores_beat_engine,
    dma_cycles,
    elementwise_busy,
    norm_busy,
    product_busy,
    reduction_busy,
    softmax_busy,
    sparse_busy,
)
from cimsim.costs.memory import body_ns, share_ps
from cimsim.errors import MappingError
from cimsim.ir import (
    Elementwise,
    Linear,
    MatMul,
    Move,
    Norm,
    Op,
    Reduce,
    Softmax,
    is_argmax,
    output_elements,
)
from cimsim.spec import Architecture
from cimsim.units import cycles_to_ps, ns_to_ps

INDEX_BITS = 32
"""Choice: the place of a maximum, such as a token's number, is a word of the cores."""


def size_at(op: Op, field: str, step: int) -> int:
    """Size `field` of `op` at `step`."""
    return int(getattr(op, field)) + op.grown(step) * op.growth.get(field, 0)


def _share(op: Op, field: str, step: int, tokens: int) -> int:
    """What so many tokens of `op` at `step` have of its size `field`, rounded up."""
    return math.ceil(size_at(op, field, step) * tokens / size_at(op, "tokens", step))


Scores = MatMul | Softmax
"""What has a row of attention scores for each token."""


def context(op: Scores, step: int, size: int, end: int) -> int:
    """Stationary tokens that a block of `size` tokens ending at token `end` multiplies with.

    They are one range: to the last token where the product is causal, from the first and to the
    last token of the window where it has one.
    """
    axis = _keys(op, step)
    last = axis - size_at(op, "tokens", step) + end
    if op.window is None:
        return last if op.causal else axis
    upper = last if op.causal else min(axis, last + op.window - 1)
    return upper - max(0, last - size - op.window + 1)


def _keys(op: Scores, step: int) -> int:
    return size_at(op, op.stationary_token_axis if isinstance(op, MatMul) else "columns", step)


def grows(op: Op, scores: Scores | None) -> bool:
    """True where the work of a block depends on which step or token it is."""
    return grows_by_step(op) or scores is not None or (isinstance(op, MatMul) and is_masked(op))


_ROWS = ("rows", "elements", "m")
"""Sizes of which every token has an equal share."""


def grows_by_step(op: Op) -> bool:
    """True where the work of a token depends on the step: all growth but that of the tokens."""
    if "tokens" not in op.growth:
        return bool(op.growth)
    return any(field != "tokens" and field not in _ROWS for field in op.growth)


def is_masked(op: Scores) -> bool:
    """True where a token sees some of the stationary tokens only."""
    return op.causal or op.window is not None


def block_elements(op: Op, step: int, size: int, end: int, scores: Scores | None) -> float:
    """Values that `op` produces for a block of `size` tokens ending at token `end` of `step`.

    `scores` is the operation whose masked scores `op` works on, if it does: token i has only
    some of them.
    """
    whole = output_elements(op.at(step)) if op.growth else output_elements(op)
    share = whole * size / size_at(op, "tokens", step)
    return share if scores is None else share * _seen_share(scores, step, size, end)


def _seen_share(scores: Scores, step: int, size: int, end: int) -> float:
    """Mean share of the scores that the tokens of a block see, of all that a row has."""
    keys = _keys(scores, step)
    if scores.window is not None:
        return sum(context(scores, step, 1, end - i) for i in range(size)) / (size * keys)
    hidden = (size - 1) / 2.0 if scores.causal else 0.0
    return (context(scores, step, size, end) - hidden) / keys


def most_parts(op: Op, pmca: PmcaClusters) -> int:
    """Into how many parts the work on one token of `op` can be cut for different clusters.

    Rows go whole, or to several clusters each as far as their parts are large enough.
    """
    least = pmca.core.least_part_elements
    match op:
        case Elementwise() | Move():
            return max(1, op.elements // op.tokens // least)
        case Softmax() | Norm():
            return max(1, op.rows // op.tokens) * max(1, op.columns // least)
        case Reduce():
            return max(1, op.elements // op.tokens) * max(1, op.inputs_per_output // least)
        case MatMul():
            return op.stationary_batch
        case _:
            return 1


@dataclass(frozen=True, slots=True)
class RowShare:
    """What one of several parts has of the rows of a block: whole ones, or a share of one row.

    `sharing` clusters have a part of the same row; `share` is what a part has of all elements.
    """

    rows: int
    sharing: int
    share: Fraction

    @classmethod
    @lru_cache(maxsize=1024)
    def of(cls, rows: int, parts: int) -> RowShare:
        """That of the part that has most, of `parts` of `rows` rows."""
        if parts <= rows:
            most = -(-rows // parts)
            return cls(most, 1, Fraction(most, rows))
        sharing = parts // max(1, rows)
        return cls(1, sharing, Fraction(1, max(1, rows) * sharing))

    def of_elements(self, elements: int) -> int:
        """What a part has of so many elements, rounded up."""
        return -(-elements * self.share.numerator // self.share.denominator)


def _reductions(op: Op) -> int:
    """How often each row of `op` is reduced to a value that all of the row waits for."""
    match op:
        case Softmax():
            return 2  # counted: maximum and sum
        case Norm():
            return 1 if op.norm == "rms" else 2  # counted: mean square, or mean and variance
        case Reduce():
            return 1
        case _:
            return 0


def block_rows(op: Op, step: int, size: int) -> int:
    """Rows of a softmax, norm or reduction in a block of `size` tokens; tokens of other ops."""
    if isinstance(op, Reduce):
        return _share(op, "elements", step, size)
    return _share(op, "rows" if hasattr(op, "rows") else "tokens", step, size)


def meeting_ps(architecture: Architecture, clusters: int, value_bits: int = 0) -> int:
    """Time (ps) until `clusters` clusters know that all have come, and of a value of each.

    A word to one of them and its answer, each over the hops of the link, and a barrier of its
    cores; values of `value_bits`, none for 0, are gathered over its port and folded like a row.
    Clusters of one group are the hops of the link apart, those of g groups as many for each group
    along the side of a square.
    """
    if clusters <= 1:
        return 0
    pmca, link = architecture.pmca, architecture.cluster_link.near
    # assumed: groups lie in a square mesh, each as many hops wide as clusters of one are apart
    side = math.isqrt(-(-clusters // pmca.pool_clusters) - 1) + 1
    gathered = math.ceil(clusters * value_bits / 8)
    cycles = pmca.barrier_cycles
    if value_bits:
        cycles += reduction_busy(pmca, clusters, 1).cycles
    travel_ns = 2 * side * link.hops * link.hop_ns + gathered / link.bandwidth_GBps
    return ns_to_ps(travel_ns) + cycles_to_ps(cycles, pmca.clock_MHz)


def meetings_ps(
    ops: Iterable[Op], architecture: Architecture, step: int, size: int, parts: int
) -> int:
    """Time (ps) for which clusters wait for each other where `parts` of them work on one block.

    A value of every reduction of a row that several share, with its place where the place of a
    maximum is asked for, and at the end one barrier of all.
    """
    if parts == 1:
        return 0
    total = meeting_ps(architecture, parts)
    for op in ops:
        if reductions := _reductions(op):
            sharing = RowShare.of(block_rows(op, step, size), parts).sharing
            bits = architecture.pmca.value_bits + (INDEX_BITS if is_argmax(op) else 0)
            total += reductions * meeting_ps(architecture, sharing, bits)
    return total


def products(
    op: Linear | MatMul, step: int, size: int, end: int, parts: int = 1
) -> tuple[int, int, int, int]:
    """How many products, and their m, n and k (n inner), one of `parts` of a block of `op` is."""
    if isinstance(op, Linear):
        return (
            op.groups,
            _share(op, "rows", step, size),
            op.in_features // op.groups,
            op.out_features // op.groups,
        )
    stacked = op.batch // op.stationary_batch * _share(op, "m", step, size)
    k, n = size_at(op, "k", step), size_at(op, "n", step)
    if op.stationary_token_axis == "n":
        n = context(op, step, size, end)
    elif op.stationary_token_axis == "k":
        k = context(op, step, size, end)
    return math.ceil(op.stationary_batch / parts), stacked, k, n


def on_cores(op: Op, pmca: PmcaClusters, step: int, size: int, end: int) -> bool:
    """True where the cores multiply for a block of `op`, faster than the engine that is there."""
    if not isinstance(op, Linear | MatMul):
        return False
    if isinstance(op, Linear) and op.nonzeros is not None:
        return False  # no product of which an engine could take part
    return cores_beat_engine(pmca, *products(op, step, size, end)[1:])


def op_busy(
    op: Op,
    pmca: PmcaClusters,
    step: int,
    size: int,
    end: int,
    scores: Scores | None,
    parts: int = 1,
) -> Busy:
    """What one cluster has to do for a block of `op`, or for one of `parts` of it."""
    if isinstance(op, Linear) and op.nonzeros is not None:
        rows = _share(op, "rows", step, size)
        return sparse_busy(pmca, rows, op.nonzeros, op.out_features)
    if isinstance(op, Linear | MatMul):
        return product_busy(pmca, *products(op, step, size, end, parts))
    elements = math.ceil(block_elements(op, step, size, end, scores))
    share = RowShare.of(block_rows(op, step, size), parts)
    of_rows = share.of_elements(elements)
    match op:
        case Softmax():
            return softmax_busy(pmca, of_rows, share.rows)
        case Norm():
            return norm_busy(pmca, of_rows, share.rows, "rms" if op.norm == "rms" else "layer")
        case Elementwise():
            return elementwise_busy(pmca, -(-elements // parts), op.functions)
        case Reduce():
            inputs = elements * size_at(op, "inputs_per_output", step)
            return reduction_busy(pmca, share.of_elements(inputs), share.rows)
        case Move():
            return IDLE
        case _:
            raise MappingError(f"op {op.name!r} of kind {op.kind!r} does not run on a cluster")


def dma_ps(architecture: Architecture, total_bytes: float, transfers: int) -> int:
    """Time (ps) of `transfers` DMA transfers of `total_bytes` in all that wait for no other."""
    return sum(dma_times(architecture, total_bytes, transfers))


def dma_times(
    architecture: Architecture, total_bytes: float, transfers: int
) -> tuple[int, int, int]:
    """Times (ps), one after the other, of `transfers` DMA transfers of `total_bytes` in all.

    Their share of the buffer, what is left of the latency of link and buffer, and the DMA engine,
    as long as the slowest of its beats, the link and the fullest bank. Zeros for nothing to move.
    """
    if total_bytes <= 0:
        return 0, 0, 0
    pmca, link, buffer = architecture.pmca, architecture.cluster_link, architecture.buffer
    moved = math.ceil(total_bytes)
    share = share_ps(buffer, 8 * moved)
    latency = ns_to_ps(link.hop_ns * link.hops + buffer.access_ns)
    engine = max(
        cycles_to_ps(dma_cycles(pmca, moved, transfers), pmca.clock_MHz),
        ns_to_ps(moved / link.bandwidth_GBps),
        ns_to_ps(body_ns(buffer, 8 * moved)),
    )
    return share, max(0, latency - share), engine
