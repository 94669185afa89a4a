"""Strategies that search the block of every layer shape for the least makespan of the layer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from cimsim.errors import MappingError
from cimsim.ir import Workload
from cimsim.mappers import Mapper
from cimsim.schedule.pair import Pair
from cimsim.schedule.pipelines.blocks import check_block, check_option, chosen_block, turn_block
from cimsim.schedule.stages import Stage
from cimsim.spec import Architecture
from cimsim.values.arguments import checked


@checked(MappingError)
@dataclass(frozen=True, slots=True)
class Balanced:
    """As `token`, each layer shape with the block of the least makespan that fits the TCDM."""

    name: Literal["balanced"] = "balanced"
    split: Literal[False] = False

    def block(self, stage: Stage, tokens: int, pair: Pair | None) -> int:
        """The best block beside a tile."""
        return turn_block(stage, None, tokens) if pair is None else pair.best_block(tokens)

    def is_barrier(self, producer: Stage, consumer: Stage) -> bool:
        """Between layers."""
        return producer.layer != consumer.layer

    def prepare(
        self, workload: Workload, architecture: Architecture, mapper: Mapper
    ) -> tuple[Architecture, Mapper]:
        """As given."""
        return architecture, mapper


@checked(MappingError)
@dataclass(frozen=True, slots=True)
class BalancedLayer:
    """`balanced` and `layer` together: every layer streams, in its own best block."""

    name: Literal["balanced+layer"] = "balanced+layer"
    split: Literal[False] = False

    def block(self, stage: Stage, tokens: int, pair: Pair | None) -> int:
        """The best block beside a tile, 16 elsewhere."""
        return chosen_block(None, tokens) if pair is None else pair.best_block(tokens)

    def is_barrier(self, producer: Stage, consumer: Stage) -> bool:
        """Never."""
        return False

    def prepare(
        self, workload: Workload, architecture: Architecture, mapper: Mapper
    ) -> tuple[Architecture, Mapper]:
        """As given."""
        return architecture, mapper


@checked(MappingError)
@dataclass(frozen=True, slots=True)
class Early:
    """X.A on the cluster while the tile integrates; only (X.A).B and the addition remain after.

    Without `block_tokens` each layer shape has its own best block.
    """

    block_tokens: int | None = None
    name: Literal["split"] = "split"
    split: Literal[True] = True

    def __post_init__(self) -> None:
        check_option("block_tokens", self.block_tokens)

    def block(self, stage: Stage, tokens: int, pair: Pair | None) -> int:
        """The chosen block, or the best one beside a tile."""
        if self.block_tokens is None and pair is not None:
            return pair.best_block(tokens, split=True)
        return turn_block(stage, self.block_tokens, tokens)

    def is_barrier(self, producer: Stage, consumer: Stage) -> bool:
        """Between layers."""
        return producer.layer != consumer.layer

    def prepare(
        self, workload: Workload, architecture: Architecture, mapper: Mapper
    ) -> tuple[Architecture, Mapper]:
        """As given, once the block is known to be within the sequence."""
        check_block(self.block_tokens, workload)
        return architecture, mapper
