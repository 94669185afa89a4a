"""LoRA of a block of tokens on one cluster: how it is cut where it does not fit the TCDM whole.

X . A is summed up over tiles of the inputs, (X . A) . B made tile by tile of the outputs. Two tile
buffers hold the rows of X with the rows of A, then the rows of the outputs with those of B, one at
work while the next is filled. X . A of the block stays. X passes once; A and B come with every
block; X.W, which the analog tile sends row by row, goes to the buffer and comes back tile by tile.
With more TCDM there are as many tiles or fewer, each a job and a transfer, until all is held.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from cimsim.blocks import PmcaClusters
from cimsim.costs.busy import IDLE, Busy
from cimsim.costs.cluster import lora_tcdm_bytes
from cimsim.costs.products import cores_beat_engine, product_busy

_Jobs = tuple[tuple[int, tuple[int, int, int]], ...]
"""How many products, and m, n and k of each."""


@dataclass(frozen=True, slots=True)
class LoraTiles:
    """LoRA of `rows` rows of X, cut into tiles of `inputs` and of `outputs` columns.

    The last tile of either has what remains. `whole` where everything is held at once, A and B
    for all blocks.
    """

    rows: int
    in_features: int
    out_features: int
    rank: int
    value_bytes: int
    inputs: int
    outputs: int
    whole: bool

    @property
    def input_tiles(self) -> int:
        """Tiles of X and A."""
        return -(-self.in_features // self.inputs)

    @property
    def output_tiles(self) -> int:
        """Tiles of B and of the outputs."""
        return -(-self.out_features // self.outputs)

    @property
    def tcdm_bytes(self) -> int:
        """What the block takes of the TCDM."""
        if self.whole:
            sizes = (self.rows, self.in_features, self.out_features, self.rank)
            return lora_tcdm_bytes(*sizes, self.value_bytes)
        width = max(self.inputs, self.outputs)
        return self.value_bytes * _tiled_values(self.rows, self.rank, width)

    @property
    def weight_bytes(self) -> int:
        """A and B."""
        return self.value_bytes * self.rank * (self.in_features + self.out_features)

    @property
    def buffered_bytes(self) -> int:
        """X.W of a block that goes to the buffer, and comes back."""
        return 0 if self.whole else self.value_bytes * self.rows * self.out_features

    @property
    def spilled_bytes(self) -> int:
        """What a block moves only because it does not fit: A and B anew, X.W out and in."""
        return 0 if self.whole else self.weight_bytes + 2 * self.buffered_bytes

    def fetches(self, *, first: bool) -> int:
        """DMA transfers into the TCDM for a block; `first` where A and B come that are held.

        X, A and B of every tile or whole; X.W of a tile goes out and comes back.
        """
        if self.whole:
            # counted: X, A and B; or X
            return 3 if first else 1
        # counted: X and A of a tile of inputs; B, X.W out and X.W in of one of outputs
        return 2 * self.input_tiles + 3 * self.output_tiles

    @property
    def drains(self) -> int:
        """DMA transfers that take the outputs of a block away."""
        return self.output_tiles

    def busy(self, pmca: PmcaClusters) -> tuple[Busy, Busy]:
        """X . A, then (X . A) . B and the addition of X.W, over all tiles.

        All cores add, and a barrier ends the addition of a tile.
        """
        merge = math.ceil(self.rows * self.out_features * pmca.merge_cycles_per_element)
        merge += self.output_tiles * pmca.barrier_cycles
        first = _one_after_the_other(pmca, self._first_jobs())
        second = _one_after_the_other(pmca, self._second_jobs())
        # counted: X.W and the branch are read, the sum is written
        touched = 3 * self.value_bytes * self.rows * self.out_features
        return first, second.then(Busy(merge, pmca.cores * merge, tcdm_bytes=touched))

    def on_cores(self, pmca: PmcaClusters) -> bool:
        """True where the cores compute a product, faster than the engine that is there."""
        return any(
            n > 0 and cores_beat_engine(pmca, *job)
            for n, job in (*self._first_jobs(), *self._second_jobs())
        )

    def _first_jobs(self) -> _Jobs:
        full, last = _cut(self.in_features, self.inputs)
        return (full, (self.rows, self.inputs, self.rank)), (1, (self.rows, last, self.rank))

    def _second_jobs(self) -> _Jobs:
        full, last = _cut(self.out_features, self.outputs)
        return (full, (self.rows, self.rank, self.outputs)), (1, (self.rows, self.rank, last))


def lora_tiles(
    pmca: PmcaClusters, rows: int, in_features: int, out_features: int, rank: int
) -> LoraTiles | None:
    """How LoRA of `rows` rows of X is cut for the TCDM; None where not even the least tile fits.

    Whole where it fits, else as few tiles as fit, of equal width in steps (see `tile_step`).
    """
    value_bytes = math.ceil(pmca.value_bits / 8)
    room, step = pmca.tcdm_bytes, tile_step(pmca)
    sizes = (rows, in_features, out_features, rank)
    if lora_tcdm_bytes(*sizes, value_bytes) <= room:
        return LoraTiles(*sizes, value_bytes, in_features, out_features, whole=True)
    free = room // value_bytes - _tiled_values(rows, rank, 0)
    width = free // (2 * (rows + rank)) // step * step
    if width < step:
        return None
    inputs, outputs = (_equal(size, width, step) for size in (in_features, out_features))
    return LoraTiles(*sizes, value_bytes, inputs, outputs, whole=False)


def _one_after_the_other(pmca: PmcaClusters, jobs: _Jobs) -> Busy:
    found = IDLE
    for count, job in jobs:
        found = found.then(product_busy(pmca, count, *job))
    return found


def least_lora_bytes(
    pmca: PmcaClusters, rows: int, in_features: int, out_features: int, rank: int
) -> int:
    """TCDM bytes without which `lora_tiles` finds nothing: those of the smallest tiles."""
    value_bytes = math.ceil(pmca.value_bits / 8)
    least = value_bytes * _tiled_values(rows, rank, tile_step(pmca))
    return min(least, lora_tcdm_bytes(rows, in_features, out_features, rank, value_bytes))


def tile_step(pmca: PmcaClusters) -> int:
    """Columns that the width of a tile is a multiple of: as the engine makes at once, or a word."""
    engine = pmca.matrix_engine
    return pmca.simd_width if engine is None else engine.columns * (engine.pipeline + 1)


def _tiled_values(rows: int, rank: int, width: int) -> int:
    """X . A, and two buffers of `width` columns of the rows and of A or B."""
    return rows * rank + 2 * (rows + rank) * width


def _equal(size: int, width: int, step: int) -> int:
    """Width of as few tiles of `size` columns as `width` allows, all of equal steps."""
    tiles = -(-size // width)
    return min(size, -(-size // (tiles * step)) * step)


def _cut(size: int, width: int) -> tuple[int, int]:
    """Full tiles before the last one, and the width of that."""
    tiles = -(-size // width)
    return tiles - 1, size - (tiles - 1) * width
