"""Tile + PMCA pair: what LoRA of one layer costs on the cluster beside its tile, block by block.

The tile integrates t tokens and sends X.W over its link; the cluster reads X by DMA, computes
(X.A).B in two products, adds X.W on its cores and writes the sum back, while the
tile works on the next block (Li et al., AHWA-LoRA, arXiv 2411.17367). Two blocks are in flight
without twice the space: rows of X make room for the next block's as the engine has read them.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from functools import lru_cache

from cimsim.blocks import PmcaClusters
from cimsim.costs import Busy, LoraTiles, lora_tcdm_bytes, lora_tiles
from cimsim.costs.cluster import elementwise_busy
from cimsim.costs.power import wake_ps
from cimsim.ir import Elementwise, Linear, branches_of
from cimsim.mappers.capacity import tcdm_error
from cimsim.mapping import Grid
from cimsim.schedule.graph import Node
from cimsim.schedule.pieces import gated, piece_ps
from cimsim.schedule.stages import Stage
from cimsim.schedule.work import dma_ps
from cimsim.spec import Architecture
from cimsim.units import cycles_to_ps
from cimsim.values.display import brief

STEP_TOKENS = 8
"""Choice: blocks that are tried differ by so many tokens where no engine has rows."""


@dataclass(frozen=True, slots=True)
class LoraBranch:
    """LoRA of one layer: X.A of in_features x rank, then .B of rank x out_features.

    `vectors` are the rows of X that one token brings. Several branches of a layer are one: their A
    and their B lie side by side, `rank` is that of all. `further` functions are applied to every
    output after the addition of X.W (magnitudes of DoRA).
    """

    in_features: int
    out_features: int
    rank: int
    vectors: int = 1
    further: tuple[tuple[str, int], ...] = ()

    def tiles(self, pmca: PmcaClusters, tokens: int) -> LoraTiles:
        """How a block is cut for the TCDM; raises CapacityError where no tile of it fits."""
        found = lora_tiles(pmca, *self._sizes(tokens))
        if found is None:
            raise tcdm_error(pmca, *self._sizes(tokens))
        return found

    def fits(self, pmca: PmcaClusters, tokens: int) -> bool:
        """Whether a block fits the TCDM, whole or in tiles."""
        return lora_tiles(pmca, *self._sizes(tokens)) is not None

    def busy(self, pmca: PmcaClusters, tokens: int) -> tuple[Busy, Busy]:
        """One cluster on a block: X.A alone, then (X.A).B, the addition of X.W and what follows."""
        first, second = self.tiles(pmca, tokens).busy(pmca)
        if not self.further:
            return first, second
        outputs = tokens * self.vectors * self.out_features
        return first, second.then(elementwise_busy(pmca, outputs, dict(self.further)))

    def cycles(self, pmca: PmcaClusters, tokens: int) -> tuple[int, int]:
        """Cycles of both parts of `busy`."""
        first, second = self.busy(pmca, tokens)
        return first.cycles, second.cycles

    def whole_bytes(self, pmca: PmcaClusters, tokens: int) -> int:
        """TCDM bytes of a block held whole; see `cimsim.costs.lora_tcdm_bytes`."""
        return lora_tcdm_bytes(*self._sizes(tokens), math.ceil(pmca.value_bits / 8))

    def _sizes(self, tokens: int) -> tuple[int, int, int, int]:
        """Rows of X, features in and out, rank."""
        return tokens * self.vectors, self.in_features, self.out_features, self.rank


def adapter_of(stage: Stage) -> LoraBranch | None:
    """The adapter that `stage` computes on a cluster, or None for any other stage.

    All branches of one layer together, each (X.A).B with nothing between the two products.
    """
    return _adapter(stage.nodes) if stage.work == "cluster" else None


@lru_cache(maxsize=1 << 14)  # choice: stages of the parts of a large model
def _adapter(nodes: tuple[Node, ...]) -> LoraBranch | None:
    ops = [node.any for node in nodes]
    last = max((i for i, op in enumerate(ops) if isinstance(op, Linear)), default=-1) + 1
    products, rest = ops[:last], [op for op in ops[last:] if isinstance(op, Elementwise)]
    found = branches_of(products)
    if len(found) != 1 or last + len(rest) != len(ops):
        return None
    (branches,) = found.values()
    made = {op.name for op in branches.down}
    if len(branches.down) + len(branches.up) != last or len(branches.up) != len(made):
        return None
    if any(len(op.inputs) != 1 or op.inputs[0] not in made for op in branches.up):
        return None
    further = _further(rest, len(branches.up)) if rest else ()
    first, out_features = branches.down[0], branches.up[0].out_features
    return LoraBranch(first.in_features, out_features, branches.rank, branches.vectors, further)


def _further(merges: list[Elementwise], branches: int) -> tuple[tuple[str, int], ...]:
    """Functions of `merges` beyond a factor, which B has within it, and an addition a branch."""
    counts = Counter[str]()
    for op in merges:
        counts.update(op.functions)
    counts.subtract({"mul": branches, "add": branches})
    return tuple(sorted((+counts).items()))


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
        """Time (ps) that one tile integrates a block; one that is gated is woken and converts."""
        return self._token_ps() * tokens

    def _token_ps(self) -> int:
        arrays = self.architecture.arrays(self.architecture.weights_on)
        rows, columns = arrays.shape
        block = min(self.adapter.in_features, rows), min(self.adapter.out_features, columns)
        if gated(arrays):
            return piece_ps(arrays, block, self.adapter.vectors)
        return arrays.passage_ps(block, 1)[0] * self.adapter.vectors

    def pmca_ps(self, tokens: int) -> int:
        """Time (ps) that one cluster is woken for and computes on a block."""
        pmca = self.architecture.pmca
        cycles = sum(self.adapter.cycles(pmca, tokens))
        return wake_ps(pmca.power_states) + cycles_to_ps(cycles, pmca.clock_MHz)

    def ratio(self, tokens: int) -> float:
        """PMCA time over tile time of a block: 1 is balance."""
        return self.pmca_ps(tokens) / self.tile_ps(tokens)

    def fits(self, tokens: int) -> bool:
        """Whether a block fits the TCDM, whole or in tiles."""
        return self.adapter.fits(self.architecture.pmca, tokens)

    def check(self) -> None:
        """Raise CapacityError where not even the least tile of one token fits the TCDM."""
        self.adapter.tiles(self.architecture.pmca, 1)

    def makespan_ps(self, tokens: int, block: int, *, split: bool = False) -> int:
        """Time (ps) of `tokens` through tile and cluster in blocks, in closed form.

        A two-stage pipeline: a cluster starts a block when it has done its last one and the tile
        has finished this one (with `split`: has finished before (X.A).B starts), and what it
        fetches for it is there. Other transfers are left out. The simulation decides; this ranks
        blocks.
        """
        pmca = self.architecture.pmca
        head, wake = self._head_ps(), wake_ps(pmca.power_states)
        free, fetched, tile = [0] * self.clusters, [-head] * self.clusters, 0
        for number, start in enumerate(range(0, tokens, block)):
            size = min(block, tokens - start)
            lane = number % self.clusters
            tile += self.tile_ps(size) // self.replicas
            fetched[lane] += self._fetch_ps(size, first=number < self.clusters)
            first, second = (
                cycles_to_ps(c, pmca.clock_MHz) for c in self.adapter.cycles(pmca, size)
            )
            if split:
                begun = max(free[lane], fetched[lane]) + wake + first
                free[lane] = max(begun, tile) + wake + second
            else:
                free[lane] = max(free[lane], fetched[lane], tile) + wake + first + second
        return head + max(free) + self._tail_ps((tokens - 1) % block + 1)

    def _fetch_ps(self, tokens: int, *, first: bool) -> int:
        """Fetching a block, with A and B where they come with every block or it is the `first`."""
        machine, adapter = self.architecture, self.adapter
        tiles = adapter.tiles(machine.pmca, tokens)
        x_bytes = tokens * adapter.vectors * adapter.in_features * machine.activation_bits / 8.0
        weights = tiles.weight_bytes if first or not tiles.whole else 0
        moved = x_bytes + weights + 2 * tiles.buffered_bytes
        return dma_ps(machine, moved, tiles.fetches(first=first))

    def _tail_ps(self, block: int) -> int:
        """The last block on its way out."""
        machine, adapter = self.architecture, self.adapter
        values = adapter.out_features * adapter.vectors * block
        drains = adapter.tiles(machine.pmca, block).drains
        return dma_ps(machine, values * machine.activation_bits / 8.0, drains)

    def _head_ps(self) -> int:
        """The first vector into the tile, and the last one over; fetching goes beside it."""
        machine, adapter = self.architecture, self.adapter
        arrays = machine.arrays(machine.weights_on)
        rows, columns = arrays.shape
        inputs, outputs = min(adapter.in_features, rows), min(adapter.out_features, columns)
        grid, link = Grid(inputs, outputs, rows, columns), machine.tile_link
        return arrays.vector(grid, link).load_ps + arrays.vector(grid, link.near).send_ps

    def best_block(self, tokens: int, *, split: bool = False) -> int:
        """The block of the least makespan that fits the TCDM, whole or in tiles; the smallest of
        equals.

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
