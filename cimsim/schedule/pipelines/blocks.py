"""Strategies with a block of the user's choice."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from cimsim.errors import MappingError
from cimsim.ir import Workload
from cimsim.mappers import Mapper
from cimsim.schedule.pair import Pair
from cimsim.schedule.stages import Stage
from cimsim.spec import Architecture
from cimsim.values.arguments import checked
from cimsim.values.history import Change

DEFAULT_BLOCK = 16
"""Choice: tokens a block unless the user gives another, of the 8 to 128 of arXiv 2411.17367."""


def chosen_block(block_tokens: int | None, tokens: int) -> int:
    """`block_tokens`, or 16 where it is None; the step where that is shorter."""
    return min(DEFAULT_BLOCK if block_tokens is None else block_tokens, tokens)


def turn_block(stage: Stage, block_tokens: int | None, tokens: int) -> int:
    """Block where layers take turns: the chosen one within a linear layer, elsewhere a share.

    A share is the step dealt evenly to the clusters of the stage; not where later tokens take
    longer, which small blocks spread better.
    """
    if stage.in_layer or stage.is_causal:
        return chosen_block(block_tokens, tokens)
    return -(-tokens // stage.clusters[1])


def check_option(name: str, value: int | None, least: int = 1) -> None:
    """Raise MappingError for an option below `least`; None is the default."""
    if value is not None and value < least:
        raise MappingError(f"{name} must be at least {least}, got {value}")


def check_block(block_tokens: int | None, workload: Workload) -> None:
    """Raise MappingError for blocks longer than every phase of `workload`."""
    longest = max(phase.tokens for phase in workload.phases)
    if block_tokens is not None and block_tokens > longest:
        raise MappingError(
            f"block_tokens is {block_tokens}, but {workload.name} has steps of at most {longest} "
            f"tokens: lower block_tokens to {longest} or less, or trace a longer sequence"
        )


@checked(MappingError)
@dataclass(frozen=True, slots=True)
class Sequential:
    """One op after the other, each over all tokens of a step; independent ops may overlap."""

    name: Literal["sequential"] = "sequential"
    split: Literal[False] = False

    def block(self, stage: Stage, tokens: int, pair: Pair | None) -> int:
        """All tokens of the step."""
        return tokens

    def is_barrier(self, producer: Stage, consumer: Stage) -> bool:
        """Always."""
        return True

    def prepare(
        self, workload: Workload, architecture: Architecture, mapper: Mapper
    ) -> tuple[Architecture, Mapper]:
        """As given."""
        return architecture, mapper


@checked(MappingError)
@dataclass(frozen=True, slots=True)
class TokenBlocks:
    """Within a layer, tile and cluster overlap in blocks of `block_tokens`; layers take turns.

    The scheme of AHWA-LoRA (Li et al., arXiv 2411.17367). A block that does not fit the TCDM
    spills into the buffer.
    """

    block_tokens: int | None = None
    name: Literal["token"] = "token"
    split: Literal[False] = False

    def __post_init__(self) -> None:
        check_option("block_tokens", self.block_tokens)

    def block(self, stage: Stage, tokens: int, pair: Pair | None) -> int:
        """The chosen block within a layer, an even share elsewhere."""
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


@checked(MappingError)
@dataclass(frozen=True, slots=True)
class CoresOnly:
    """As `token` on clusters whose matrix engine is left out: the cores multiply."""

    block_tokens: int | None = None
    name: Literal["cores-only"] = "cores-only"
    split: Literal[False] = False

    def __post_init__(self) -> None:
        check_option("block_tokens", self.block_tokens)

    def block(self, stage: Stage, tokens: int, pair: Pair | None) -> int:
        """The chosen block within a layer, an even share elsewhere."""
        return turn_block(stage, self.block_tokens, tokens)

    def is_barrier(self, producer: Stage, consumer: Stage) -> bool:
        """Between layers."""
        return producer.layer != consumer.layer

    def prepare(
        self, workload: Workload, architecture: Architecture, mapper: Mapper
    ) -> tuple[Architecture, Mapper]:
        """The machine without matrix engines."""
        check_block(self.block_tokens, workload)
        engine = architecture.pmca.matrix_engine
        if engine is None:
            return architecture, mapper
        bare = architecture.pmca.model_copy(update={"matrix_engine": None})
        removed = Change(
            of="architecture",
            field="pmca.matrix_engine",
            old=engine.model_dump(mode="json"),
            new=None,
            why=f"pipeline {self.name}",
        )
        without = architecture.model_copy(update={"pmca": bare})
        return without.remembering(architecture, [removed]), mapper


@checked(MappingError)
@dataclass(frozen=True, slots=True)
class LayerStream:
    """A layer starts on the first block of its input: all layers work on different tokens."""

    block_tokens: int | None = None
    name: Literal["layer"] = "layer"
    split: Literal[False] = False

    def __post_init__(self) -> None:
        check_option("block_tokens", self.block_tokens)

    def block(self, stage: Stage, tokens: int, pair: Pair | None) -> int:
        """The chosen block, at most the step."""
        return chosen_block(self.block_tokens, tokens)

    def is_barrier(self, producer: Stage, consumer: Stage) -> bool:
        """Never."""
        return False

    def prepare(
        self, workload: Workload, architecture: Architecture, mapper: Mapper
    ) -> tuple[Architecture, Mapper]:
        """As given, once the block is known to be within the sequence."""
        check_block(self.block_tokens, workload)
        return architecture, mapper
