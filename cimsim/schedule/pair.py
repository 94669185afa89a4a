"""Tile + PMCA pair: what LoRA of one layer costs on the cluster beside its tile, block by block.

The tile integrates t tokens and sends X.W over its link; the cluster reads X by DMA, computes
(X.A).B in two products, adds X.W on its cores and writes the sum back, while the
tile works on the next block (Li et al., AHWA-LoRA, arXiv 2411.17367). Two blocks are in flight
without twice the space: rows of X make room for the next block's as the engine has read them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from cimsim.blocks import PmcaClusters
from cimsim.costs import cores_beat_engine, lora_tcdm_bytes, product_cycles
from cimsim.ir import Elementwise, Linear
from cimsim.mappers.capacity import tcdm_shortage
from cimsim.mapping import Grid
from cimsim.schedule.stages import Stage
from cimsim.schedule.work import dma_ps
from cimsim.spec import Architecture
from cimsim.units import cycles_to_ps
from cimsim.values.display import brief

KIB = 1024.0
STEP_TOKENS = 8
"""Choice: blocks that are tried differ by so many tokens where no engine has rows."""


@dataclass(frozen=True, slots=True)
class LoraBranch:
    """LoRA of one layer: X.A of in_features x rank, then .B of rank x out_features.

    `vectors` are the rows of X that one token brings.
    """

    in_features: int
    out_features: int
    rank: int
    vectors: int = 1

    def cycles(self, pmca: PmcaClusters, tokens: int) -> tuple[int, int]:
        """Cycles of one cluster on a block: X.A alone, then (X.A).B and the addition of X.W."""
        rows = tokens * self.vectors
        merge = math.ceil(rows * self.out_features * pmca.merge_cycles_per_element)
        return (
            product_cycles(pmca, 1, rows, self.in_features, self.rank),
            product_cycles(pmca, 1, rows, self.rank, self.out_features)
            + merge
            + pmca.barrier_cycles,
        )

    def on_cores(self, pmca: PmcaClusters, tokens: int) -> bool:
        """True where the cores compute a product of a block, faster than the engine there is."""
        rows = tokens * self.vectors
        sizes = (rows, self.in_features, self.rank), (rows, self.rank, self.out_features)
        return any(cores_beat_engine(pmca, *size) for size in sizes)

    def tcdm_bytes(self, pmca: PmcaClusters, tokens: int) -> int:
        """TCDM bytes of a block; see `cimsim.costs.lora_tcdm_bytes`."""
        return lora_tcdm_bytes(
            tokens * self.vectors, self.in_features, self.out_features, self.rank, 1
        ) * math.ceil(pmca.value_bits / 8)

    def spill_bytes(self, pmca: PmcaClusters, tokens: int) -> int:
        """Bytes of a block beyond the TCDM: written to the buffer and read back."""
        return max(0, self.tcdm_bytes(pmca, tokens) - math.floor(pmca.tcdm_KiB * KIB))


def adapter_of(stage: Stage) -> LoraBranch | None:
    """The adapter that `stage` computes on a cluster, or None for any other stage."""
    ops = [node.any for node in stage.nodes]
    if stage.work != "cluster" or len(ops) < 2:
        return None
    first, second, *rest = ops
    if not (
        isinstance(first, Linear)
        and isinstance(second, Linear)
        and first.role == "lora_a"
        and second.role == "lora_b"
        and all(isinstance(op, Elementwise) for op in rest)
    ):
        return None
    vectors = -(-first.rows // first.tokens)
    return LoraBranch(first.in_features, second.out_features, first.out_features, vectors)


@brief
@dataclass(frozen=True, slots=True, eq=False)
class Pair:
    """An adapter with its layer's tiles and clusters.

    `replicas` of the layer's weight share its tokens, `clusters` take its blocks in turn.
    """

    adapter: LoraBranch
    architecture: Architecture
    clusters: int = 1
    replicas: int = 1

    def tile_ps(self, tokens: int) -> int:
        """Time (ps) that one tile integrates a block."""
        return self._array_ps() * self.adapter.vectors * tokens

    def _array_ps(self) -> int:
        arrays = self.architecture.arrays(self.architecture.weights_on)
        return arrays.passage_ps(min(self.adapter.out_features, arrays.shape[1]), 1)[0]

    def pmca_ps(self, tokens: int) -> int:
        """Time (ps) that one cluster computes on a block."""
        cycles = sum(self.adapter.cycles(self.architecture.pmca, tokens))
        return cycles_to_ps(cycles, self.architecture.pmca.clock_MHz)

    def ratio(self, tokens: int) -> float:
        """PMCA time over tile time of a block: 1 is balance."""
        return self.pmca_ps(tokens) / self.tile_ps(tokens)

    def fits(self, tokens: int) -> bool:
        """Whether a block fits the TCDM."""
        return self.adapter.spill_bytes(self.architecture.pmca, tokens) == 0

    def check(self) -> None:
        """Raise CapacityError where not even one token fits the TCDM beside A and B."""
        adapter = self.adapter
        short = tcdm_shortage(
            self.architecture, adapter.in_features, adapter.out_features, adapter.rank,
            adapter.vectors,
        )  # fmt: skip
        if short is not None:
            raise short

    def makespan_ps(self, tokens: int, block: int, *, split: bool = False) -> int:
        """Time (ps) of `tokens` through tile and cluster in blocks, in closed form.

        A two-stage pipeline: a cluster starts a block when it has done its last one and the tile
        has finished this one (with `split`: has finished before (X.A).B starts). Transfers that
        hide behind the stages are left out. The simulation decides; this ranks blocks.
        """
        pmca = self.architecture.pmca
        free, tile = [0] * self.clusters, 0
        for number, start in enumerate(range(0, tokens, block)):
            size = min(block, tokens - start)
            lane = number % self.clusters
            tile += self.tile_ps(size) // self.replicas
            first, second = (
                cycles_to_ps(c, pmca.clock_MHz) for c in self.adapter.cycles(pmca, size)
            )
            if split:
                free[lane] = max(free[lane] + first, tile) + second
            else:
                free[lane] = max(free[lane], tile) + first + second
        return max(free) + self._transfer_ps((tokens - 1) % block + 1)

    def _transfer_ps(self, block: int) -> int:
        """Head and tail that nothing hides: first vector in, last one over, last block out."""
        machine, adapter = self.architecture, self.adapter
        bits = machine.activation_bits
        tail = dma_ps(machine, adapter.out_features * adapter.vectors * block * bits / 8.0, 1)
        arrays = machine.arrays(machine.weights_on)
        rows, columns = arrays.shape
        inputs, outputs = min(adapter.in_features, rows), min(adapter.out_features, columns)
        vector = arrays.vector(Grid(inputs, outputs, rows, columns), machine.tile_link)
        return vector.load_ps + vector.send_ps + tail

    def best_block(self, tokens: int, *, split: bool = False) -> int:
        """The block of the least makespan that fits the TCDM; the smallest of equals.

        Candidates are multiples of the engine's rows (a partly filled row of tiles costs as much
        as a full one), or of 8 without an engine; the single token where none of them fits.
        """
        engine = self.architecture.pmca.matrix_engine
        step = STEP_TOKENS if engine is None else engine.rows
        step = -(-step // self.adapter.vectors)
        candidates = [t for t in range(step, tokens + 1, step) if self.fits(t)]
        if self.fits(tokens) and tokens not in candidates:
            candidates.append(tokens)
        if not candidates:
            candidates = [t for t in range(1, min(step, tokens) + 1) if self.fits(t)]
        return min(candidates or [1], key=lambda t: (self.makespan_ps(tokens, t, split=split), t))
