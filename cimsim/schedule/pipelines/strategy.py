"""A strategy as one value of four independent choices, and those that have a name."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from itertools import product
from typing import Literal, get_args

from cimsim.errors import MappingError
from cimsim.ir import Workload
from cimsim.mappers import Mapper
from cimsim.schedule.pair import Pair
from cimsim.schedule.pipelines.blocks import (
    Blocks,
    GivenBlock,
    SearchedBlock,
    ShapedBlock,
    SplitBlock,
    WholeStep,
)
from cimsim.schedule.pipelines.machines import (
    AsIs,
    EngineOnly,
    Preparation,
    Replicated,
    WithoutEngine,
)
from cimsim.schedule.pipelines.protocol import BlockCosts
from cimsim.schedule.pipelines.sharing import GROUP, Sharing
from cimsim.schedule.stages import Stage
from cimsim.spec import Architecture
from cimsim.values.arguments import checked
from cimsim.values.display import shown

Barrier = Literal["always", "layers", "never"]
"""Where a stage waits until the one before it has done all tokens of a step: always, where a layer
follows another, or never."""


@checked(MappingError)
@dataclass(frozen=True, slots=True)
class Strategy:
    """How a step is cut into blocks, what waits for what, on which machine, and how wide work is
    shared.

    Any of each go together. `about` says what a preset is for.
    """

    blocks: Blocks
    barrier: Barrier
    machine: Preparation
    sharing: Sharing = GROUP
    about: str = field(default="", compare=False, repr=False)

    @property
    def choices(self) -> tuple[str, str, str]:
        """The names of those that have several, without their options."""
        return self.blocks.name, self.barrier, self.machine.name

    @property
    def name(self) -> str:
        """The name of the preset with these choices, else the choices with + between them."""
        named = (name for name, preset in PIPELINES.items() if preset.choices == self.choices)
        return next(named, "+".join(self.choices))

    @property
    def split(self) -> bool:
        """True where a cluster computes X.A while the tile still integrates the block."""
        return self.blocks.split

    @property
    def share_clusters(self) -> int | None:
        """Clusters that share vector work; None for a group of `pmca.pool_clusters`."""
        return self.sharing.share_clusters

    def block(self, stage: Stage, tokens: int, costs: Pair | BlockCosts) -> int:
        """Tokens of a block, of `tokens` a step."""
        return self.blocks.tokens(stage, tokens, costs, turns=self.barrier != "never")

    def is_barrier(self, producer: Stage, consumer: Stage) -> bool:
        """See `Barrier`."""
        if self.barrier == "layers":
            return producer.layer != consumer.layer
        return self.barrier == "always"

    def check_shapes(self, known: Collection[str]) -> None:
        """Raise MappingError where a shape has a block that no stage, one of `known`, has."""
        sizes = self.blocks.sizes if isinstance(self.blocks, ShapedBlock) else ()
        if strange := [name for name, _ in sizes if name not in known]:
            raise MappingError(
                f"pipeline {self.name!r} gives a block to {shown(strange[0])}, which no stage is; "
                f"known: {', '.join(sorted(set(known)))}"
            )

    def prepare(
        self, workload: Workload, architecture: Architecture, mapper: Mapper
    ) -> tuple[Architecture, Mapper]:
        """The machine of the choice, once the block is known to be one that `workload` can have."""
        self.blocks.check(workload)
        return self.machine.prepare(workload, architecture, mapper, self.name)


PIPELINES: dict[str, Strategy] = {
    "sequential": Strategy(
        WholeStep(), "always", AsIs(), about="one op after the other, independent ops may overlap"
    ),
    "token": Strategy(
        GivenBlock(), "layers", AsIs(),
        # Li et al., arXiv 2411.17367
        about="within a layer, tile and cluster overlap in blocks; layers take turns (AHWA-LoRA)",
    ),
    "balanced": Strategy(
        SearchedBlock(), "layers", AsIs(), about="token, each layer shape with its own best block"
    ),
    "layer": Strategy(
        GivenBlock(), "never", AsIs(),
        about="a layer starts on the first block of its input: all work on different tokens",
    ),
    "balanced+layer": Strategy(
        SearchedBlock(), "never", AsIs(), about="every layer streams, in its own best block"
    ),
    "replicated": Strategy(
        SearchedBlock(), "layers", Replicated(),
        about="balanced, with copies of the layers that take longest",
    ),
    "split": Strategy(
        SplitBlock(), "layers", AsIs(),
        about="balanced, with X.A computed while the tile integrates",
    ),
    "cores-only": Strategy(
        GivenBlock(), "layers", WithoutEngine(),
        about="token with all products on the clusters' cores"
    ),
    "engine-only": Strategy(
        GivenBlock(), "layers", EngineOnly(), about="token with all products on matrix engines"
    ),
}  # fmt: skip
"""Strategies by name; their options are the fields of their block and of their machine."""


def compositions() -> dict[str, Strategy]:
    """The choices that have no name of their own, by the names of the three with + between them."""
    blocks: tuple[Blocks, ...] = (
        WholeStep(), GivenBlock(), SearchedBlock(), SplitBlock(), ShapedBlock(),
    )  # fmt: skip
    machines: tuple[Preparation, ...] = (AsIs(), Replicated(), WithoutEngine(), EngineOnly())
    made = (Strategy(*three) for three in product(blocks, get_args(Barrier), machines))
    return {strategy.name: strategy for strategy in made if strategy.name not in PIPELINES}
