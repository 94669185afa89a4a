"""Replicated: copies of the tiles and clusters of the layers that take longest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from cimsim.errors import MappingError
from cimsim.ir import Linear, Workload
from cimsim.mappers import Mapper
from cimsim.mappers.packing import Arrangement, demand_of
from cimsim.mapping import Grid
from cimsim.schedule.pair import LoraBranch, Pair
from cimsim.schedule.pipelines.blocks import check_option, turn_block
from cimsim.schedule.stages import Stage
from cimsim.spec import Architecture
from cimsim.values.arguments import checked
from cimsim.values.display import brief

RANKED_TOKENS = 8
"""Choice: layers are ranked by the time of a block of so many tokens."""


@checked(MappingError)
@brief
@dataclass(frozen=True, slots=True)
class CopyingMapper:
    """`mapper` with at least `copies` of the weights named."""

    mapper: Mapper
    more: tuple[tuple[str, int], ...]

    @property
    def name(self) -> str:
        """The mapper's name."""
        return self.mapper.name

    def copies(self, weight: str) -> int:
        """The larger of what the mapper and `more` ask for."""
        return max(self.mapper.copies(weight), dict(self.more).get(weight, 1))

    def arrange(self, grids: list[tuple[Grid, int]], group: int) -> list[Arrangement]:
        """As the mapper does."""
        return self.mapper.arrange(grids, group)

    def demand(self, grids: list[tuple[Grid, int]]) -> int:
        """As the mapper counts."""
        return demand_of(self.mapper, grids)


@checked(MappingError)
@dataclass(frozen=True, slots=True)
class Replicated:
    """`balanced` with copies of the adapted layers whose tile or cluster takes longest a token.

    Every copy is a tile (or the tiles of the weight) with its cluster and takes its turn with
    blocks of tokens. At most `extra_tiles` tiles are added, at most `copies` of a weight made.
    """

    extra_tiles: int = 128  # choice: 2.5 % of ahwa_pcm_pmca
    copies: int = 2
    name: Literal["replicated"] = "replicated"
    split: Literal[False] = False

    def __post_init__(self) -> None:
        check_option("extra_tiles", self.extra_tiles, 0)
        check_option("copies", self.copies, 1)

    def block(self, stage: Stage, tokens: int, pair: Pair | None) -> int:
        """The best block beside a tile."""
        return turn_block(stage, None, tokens) if pair is None else pair.best_block(tokens)

    def is_barrier(self, producer: Stage, consumer: Stage) -> bool:
        """Between layers."""
        return producer.layer != consumer.layer

    def prepare(
        self, workload: Workload, architecture: Architecture, mapper: Mapper
    ) -> tuple[Architecture, Mapper]:
        """A mapper that copies the slowest layers while the budget lasts."""
        budget = self.extra_tiles
        more: list[tuple[str, int]] = []
        for weight, tiles in _slowest_first(workload, architecture):
            copies = min(self.copies, 1 + budget // tiles)
            if copies > mapper.copies(weight):
                more.append((weight, copies))
                budget -= (copies - mapper.copies(weight)) * tiles
        return architecture, CopyingMapper(mapper, tuple(more))


def _slowest_first(workload: Workload, architecture: Architecture) -> list[tuple[str, int]]:
    """Adapted weights and their tiles, those with the longest stage a token first.

    Stages are compared at the smallest block that fills the engine's rows.
    """
    base = {op.name: op for _, op in workload.ops() if isinstance(op, Linear)}
    array = architecture.rram
    if array is None:
        return []
    found: dict[str, tuple[int, int]] = {}
    for op in base.values():
        layer = base.get(op.adapts or "")
        if op.role != "lora_a" or layer is None:
            continue
        vectors = -(-op.rows // op.tokens)
        adapter = LoraBranch(layer.in_features, layer.out_features, op.out_features, vectors)
        pair = Pair(adapter, architecture)
        grid = Grid(layer.in_features, layer.out_features, array.rows, array.weight_columns)
        found[layer.weight] = (
            max(pair.tile_ps(RANKED_TOKENS), pair.pmca_ps(RANKED_TOKENS)),
            grid.blocks,
        )
    order = sorted(found.items(), key=lambda item: -item[1][0])
    return [(weight, tiles) for weight, (_, tiles) in order]
