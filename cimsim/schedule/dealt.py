"""The blocks of work on clusters, and the clusters that they go round, once for stages alike."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from numbers import Integral

from cimsim.errors import MappingError
from cimsim.ir import Linear
from cimsim.mapping import Mapping
from cimsim.schedule.assembler import Assembler
from cimsim.schedule.block_choice import StageCosts
from cimsim.schedule.cluster_work import Demand, likeness
from cimsim.schedule.dealing import lanes_of
from cimsim.schedule.edges import StageEdge
from cimsim.schedule.graph import Stream, build_stream
from cimsim.schedule.lanes import Lanes
from cimsim.schedule.pair import LoraBranch, Pair, adapter_of
from cimsim.schedule.pipelines import (
    BlockCosts,
    GivenBlock,
    Pipeline,
    SearchedBlock,
    ShapedBlock,
    SplitBlock,
    Strategy,
    WholeStep,
)
from cimsim.schedule.shapes import shape_of
from cimsim.schedule.stages import MaskedScores, Stage
from cimsim.values.display import brief, shown

_OWN = (GivenBlock, SearchedBlock, ShapedBlock, SplitBlock, WholeStep)


@brief
@dataclass(frozen=True, slots=True, eq=False)
class Dealt:
    """What stages that do the same have in common: their blocks, and the lanes that these go to.

    `block_tokens`, `tcdm_bytes`, `spill_bytes` and `shape` as in `Plan`; weights `stay` as in
    `Demand`. `work` is a number of all that the work of the stage depends on.
    """

    shape: str
    block_tokens: int
    tcdm_bytes: int
    spill_bytes: int
    stream: Stream
    stay: bool
    lanes: Lanes
    work: int


class Dealer:
    """Deals the blocks of cluster stages as a pipeline wants it.

    Blocks of cimsim's own are the same for stages that do the same; a user's own strategy is asked
    for every stage, but for LoRA beside tiles.
    """

    def __init__(
        self, assembler: Assembler, mapping: Mapping, pipeline: Pipeline, scores: MaskedScores
    ) -> None:
        self.assembler, self.mapping = assembler, mapping
        self.pipeline, self.scores = pipeline, scores
        graph = assembler.graph
        asked: Hashable = object()
        self._each = True
        if type(pipeline) is Strategy and type(pipeline.blocks) in _OWN:
            asked, self._each = (pipeline.blocks, pipeline.barrier), False
        self._asked_of = assembler.alike.number((asked, graph.steps, graph.sequences))

    def costs(self, stage: Stage, fetched: list[StageEdge], beside: list[StageEdge]) -> StageCosts:
        """Those of a stage that fetches the data of some edges and has others `beside` it."""
        return StageCosts.of(self.assembler, stage, fetched, beside, self.scores)

    def dealt(self, costs: StageCosts) -> Dealt:
        """The blocks of a stage.

        Raises MappingError for blocks of a user's strategy that there cannot be, CapacityError for
        LoRA that the TCDM has no room for.
        """
        stage = costs.stage
        adapter = adapter_of(stage)
        own = stage.name if self._each and adapter is None else None
        key = (
            "dealt", self._asked_of, costs.kind, stage.near, stage.clusters[1], stage.in_layer,
            adapter, self._replicas(stage, adapter), own,
        )  # fmt: skip
        return self.assembler.alike.once(key, lambda: self._dealt(costs, adapter))

    def demand(self, costs: StageCosts, stream: Stream, *, stay: bool) -> Demand:
        """What the work of a stage is made of."""
        return Demand(
            costs.stage, stream, costs.fetched, costs.beside, self.scores,
            adapter_of(costs.stage), self.pipeline.split, stay, costs.kind,
        )  # fmt: skip

    def _dealt(self, costs: StageCosts, adapter: LoraBranch | None) -> Dealt:
        stage, graph, spilled = costs.stage, self.assembler.graph, 0
        tokens = stage.tokens()
        longest = max(tokens.values())
        if adapter is None:
            block = costs.largest(self._asked(stage, longest, costs))
            need, stay = costs.tcdm_bytes(block), costs.weights_stay(block)
        else:
            block = self._block_beside(stage, adapter, longest)
            tiles = adapter.tiles(self.assembler.architecture.pmca, block)
            need, stay, spilled = tiles.tcdm_bytes, True, tiles.spilled_bytes
        stream = build_stream(tokens, graph.steps, block, stage.growth(), graph.sequences)
        demand = self.demand(costs, stream, stay=stay)
        lanes = lanes_of(self.assembler, demand)
        work = self.assembler.alike.number(likeness(demand, lanes))
        return Dealt(shape_of(stage), block, need, spilled, stream, stay, lanes, work)

    def _replicas(self, stage: Stage, adapter: LoraBranch | None) -> int:
        """Copies of the weight that LoRA of `stage` is beside."""
        if adapter is None:
            return 0
        layer = self.assembler.graph.nodes[stage.layer].any
        assert isinstance(layer, Linear)
        return self.mapping.placements[layer.weight].replicas

    def _block_beside(self, stage: Stage, adapter: LoraBranch, tokens: int) -> int:
        """Tokens of a block of LoRA beside its layer's tiles."""
        machine, clusters = self.assembler.architecture, stage.clusters[1]
        replicas = self._replicas(stage, adapter)

        def asked() -> int:
            pair = Pair(adapter, machine, clusters, replicas)
            pair.check()
            return self._asked(stage, tokens, pair)

        key = "block beside", self._asked_of, adapter, clusters, replicas, tokens
        return self.assembler.alike.once(key, asked)

    def _asked(self, stage: Stage, tokens: int, costs: Pair | BlockCosts) -> int:
        """The block of the strategy, which may be one of the user's own."""
        block = self.pipeline.block(stage, tokens, costs)
        if not (isinstance(block, Integral) and 1 <= block <= tokens):
            raise MappingError(
                f"pipeline {self.pipeline.name!r} asks for blocks of {shown(block)} tokens at "
                f"{stage.name!r}: a block is a whole number of 1 to the {tokens} of its step"
            )
        return int(block)
