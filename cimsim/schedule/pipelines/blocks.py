"""The first choice of a strategy: how many tokens a cluster stage handles at a time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Protocol

from cimsim.errors import MappingError
from cimsim.ir import Workload
from cimsim.schedule.pair import Pair
from cimsim.schedule.pipelines.protocol import BlockCosts
from cimsim.schedule.shapes import shape_of
from cimsim.schedule.stages import Stage
from cimsim.values.arguments import AtLeast, checked
from cimsim.values.codec import MAIN
from cimsim.values.display import brief

DEFAULT_BLOCK = 16
"""Choice: tokens a block unless the user gives another, of the 8 to 128 of arXiv 2411.17367."""

BlockTokens = Annotated[Annotated[int, AtLeast(1)] | None, MAIN]
"""Tokens of a block; None is the default, 16."""


class Blocks(Protocol):
    """BlockCosts a step into blocks."""

    @property
    def name(self) -> str:
        """What the choice is called."""

    @property
    def split(self) -> bool:
        """True where a cluster computes X.A while the tile still integrates the block."""

    def tokens(self, stage: Stage, step: int, costs: Pair | BlockCosts, *, turns: bool) -> int:
        """Tokens (1..step) of a block; `turns` is True where layers wait for each other.

        `costs` is a Pair for LoRA beside a tile.
        """

    def check(self, workload: Workload) -> None:
        """Raise MappingError for a block that `workload` cannot have."""


def given_block(
    stage: Stage, block_tokens: int | None, step: int, costs: Pair | BlockCosts, *, turns: bool
) -> int:
    """`block_tokens` in linear layers, 16 where it is None; the step where that is shorter.

    Where layers take turns a stage outside linear layers has an even share of the step instead,
    the step dealt to its clusters at home, unless later tokens take longer, which small blocks
    spread better. Of what no user gave, outside LoRA, the fastest cut that fits is taken.
    """
    given = block_tokens
    if turns and not (stage.in_layer or stage.is_causal):
        given, wanted = None, -(-step // stage.near)
    else:
        wanted = min(DEFAULT_BLOCK if given is None else given, step)
    if given is not None or isinstance(costs, Pair):
        return wanted
    return costs.best(wanted, streams=not turns)


def check_block(block_tokens: int | None, workload: Workload) -> None:
    """Raise MappingError for blocks longer than every phase of `workload`."""
    longest = max(phase.longest for phase in workload.phases)
    if block_tokens is not None and block_tokens > longest:
        raise MappingError(
            f"block_tokens is {block_tokens}, but {workload.name} has steps of at most {longest} "
            f"tokens: lower block_tokens to {longest} or less, or trace a longer sequence"
        )


@checked(MappingError)
@dataclass(frozen=True, slots=True)
class WholeStep:
    """All tokens of a step at once; outside LoRA cut where that is faster, or does not fit."""

    name: ClassVar[str] = "all"
    split: ClassVar[bool] = False

    def tokens(self, stage: Stage, step: int, costs: Pair | BlockCosts, *, turns: bool) -> int:
        """All, or the fastest cut."""
        return step if isinstance(costs, Pair) else costs.best(step, streams=not turns)

    def check(self, workload: Workload) -> None:
        """Nothing to refuse."""


@checked(MappingError)
@dataclass(frozen=True, slots=True)
class GivenBlock:
    """Blocks of `block_tokens`; LoRA that does not fit the TCDM passes it in tiles."""

    block_tokens: BlockTokens = None
    name: ClassVar[str] = "given"
    split: ClassVar[bool] = False

    def tokens(self, stage: Stage, step: int, costs: Pair | BlockCosts, *, turns: bool) -> int:
        """The block given; see `given_block`."""
        return given_block(stage, self.block_tokens, step, costs, turns=turns)

    def check(self, workload: Workload) -> None:
        """Raise MappingError for a block beyond the longest step."""
        check_block(self.block_tokens, workload)


@checked(MappingError)
@dataclass(frozen=True, slots=True)
class SearchedBlock:
    """Each layer shape has the block of the least makespan of the layer that fits the TCDM."""

    name: ClassVar[str] = "searched"
    split: ClassVar[bool] = False

    def tokens(self, stage: Stage, step: int, costs: Pair | BlockCosts, *, turns: bool) -> int:
        """The best block beside a tile."""
        if isinstance(costs, Pair):
            return costs.best_block(step)
        return given_block(stage, None, step, costs, turns=turns)

    def check(self, workload: Workload) -> None:
        """Nothing to refuse."""


@checked(MappingError)
@dataclass(frozen=True, slots=True)
class SplitBlock:
    """X.A apart, while the tile integrates; only (X.A).B and the addition remain after.

    Without `block_tokens` each layer shape has its own best block.
    """

    block_tokens: BlockTokens = None
    name: ClassVar[str] = "split"
    split: ClassVar[bool] = True

    def tokens(self, stage: Stage, step: int, costs: Pair | BlockCosts, *, turns: bool) -> int:
        """The block given, or the best one beside a tile."""
        if self.block_tokens is None and isinstance(costs, Pair):
            return costs.best_block(step, split=True)
        return given_block(stage, self.block_tokens, step, costs, turns=turns)

    def check(self, workload: Workload) -> None:
        """Raise MappingError for a block beyond the longest step."""
        check_block(self.block_tokens, workload)


@checked(MappingError)
@brief
@dataclass(frozen=True, slots=True)
class ShapedBlock:
    """Each shape of stage (see `shape_of`) has a block of its own; others have 16 tokens.

    With `split` X.A is computed apart, while the tile integrates.
    """

    sizes: tuple[tuple[str, Annotated[int, AtLeast(1)]], ...] = ()
    split: bool = False
    name: ClassVar[str] = "shaped"

    def tokens(self, stage: Stage, step: int, costs: Pair | BlockCosts, *, turns: bool) -> int:
        """The block of the stage's shape, or the step where that is shorter."""
        return min(dict(self.sizes).get(shape_of(stage), DEFAULT_BLOCK), step)

    def check(self, workload: Workload) -> None:
        """Raise MappingError for a shape with two blocks."""
        names = [name for name, _ in self.sizes]
        if twice := {name for name in names if names.count(name) > 1}:
            raise MappingError(f"shaped blocks: {min(twice)} has two sizes, give it one")
