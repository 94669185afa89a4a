"""What a pipeline strategy decides."""

from __future__ import annotations

from typing import Protocol

from cimsim.ir import Workload
from cimsim.mappers import Mapper
from cimsim.schedule.pair import Pair
from cimsim.schedule.stages import Stage
from cimsim.spec import Architecture


class BlockCosts(Protocol):
    """What the blocks of a cluster stage other than LoRA beside a tile cost."""

    def best(self, wanted: int, *, streams: bool) -> int:
        """Of `wanted` tokens, a half, a quarter, ... that fit, those of the fastest block.

        `streams` where later stages start on the first block instead of the whole step.
        """


class Pipeline(Protocol):
    """How a run of tokens is cut into blocks, what waits for what, and on which machine.

    `Strategy` is the one that comes with cimsim; any object with these members will do.
    """

    @property
    def name(self) -> str:
        """What `--pipeline` and the report call it."""

    @property
    def split(self) -> bool:
        """True where a cluster computes X.A while the tile still integrates the block."""

    @property
    def share_clusters(self) -> int | None:
        """Clusters that share vector work: groups of `pmca.pool_clusters`; None is one group."""

    def block(self, stage: Stage, tokens: int, costs: Pair | BlockCosts) -> int:
        """Tokens (1..tokens) that a cluster stage handles at a time, of `tokens` a step.

        They are taken where they fit the TCDM, else a half, a quarter, ... of them; LoRA beside a
        tile spills. `costs` tells the times of blocks: a Pair for LoRA beside a tile.
        """

    def is_barrier(self, producer: Stage, consumer: Stage) -> bool:
        """True where `consumer` starts only after `producer` has done all tokens of a step."""

    def prepare(
        self, workload: Workload, architecture: Architecture, mapper: Mapper
    ) -> tuple[Architecture, Mapper]:
        """The machine and the mapper to use in place of the given ones, mostly the same.

        Raises MappingError for an option that the workload cannot have.
        """
