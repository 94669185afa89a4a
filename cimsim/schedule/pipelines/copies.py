"""Copies of the layers that take longest: which those are, and the mapper that makes them."""

from __future__ import annotations

from dataclasses import dataclass

from cimsim.errors import MappingError
from cimsim.ir import Linear, Workload, branches_of
from cimsim.mappers import Mapper
from cimsim.mappers.packing import Arrangement, demand_of, rows_of_a_matrix
from cimsim.mapping import Grid
from cimsim.schedule.pair import LoraBranch, Pair
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

    def rows_used(self, unit: str, rows: int) -> int:
        """As the mapper says."""
        return rows_of_a_matrix(self.mapper, unit, rows)


def adapted(
    workload: Workload, architecture: Architecture, *, slowest: bool
) -> list[tuple[str, int]]:
    """Adapted weights and their tiles: those with the longest stage a token first where `slowest`,
    else in the order of the workload.

    Stages are compared at the smallest block that fills the engine's rows.
    """
    ops = [op for _, op in workload.ops()]
    base = {op.name: op for op in ops if isinstance(op, Linear)}
    rows, columns = architecture.arrays(architecture.weights_on).shape
    found: dict[str, tuple[int, int]] = {}
    for adapted, its in branches_of(ops).items():
        layer = base[adapted]
        sizes = layer.in_features, layer.out_features, its.rank, its.vectors
        pair = Pair(LoraBranch(*sizes), architecture)
        grid = Grid(layer.in_features, layer.out_features, rows, columns)
        found[layer.weight] = (
            max(pair.tile_ps(RANKED_TOKENS), pair.pmca_ps(RANKED_TOKENS)),
            grid.blocks,
        )
    order = sorted(found.items(), key=lambda item: -item[1][0] if slowest else 0)
    return [(weight, tiles) for weight, (_, tiles) in order]
