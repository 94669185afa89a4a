"""The third choice of a strategy: the machine as it is, with copies, or one unit for products."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal, Protocol

from cimsim.errors import MappingError
from cimsim.ir import Workload
from cimsim.mappers import Mapper
from cimsim.schedule.pipelines.copies import CopyingMapper, adapted
from cimsim.spec import Architecture
from cimsim.values.arguments import AtLeast, checked
from cimsim.values.history import Change


class Preparation(Protocol):
    """Says which machine and mapper run in place of the given ones."""

    @property
    def name(self) -> str:
        """What the choice is called."""

    def prepare(
        self, workload: Workload, architecture: Architecture, mapper: Mapper, pipeline: str
    ) -> tuple[Architecture, Mapper]:
        """Machine and mapper to use; changes are noted as made by the strategy `pipeline`."""


@checked(MappingError)
@dataclass(frozen=True, slots=True)
class AsIs:
    """The machine and the mapper as given."""

    name: ClassVar[str] = "as-is"

    def prepare(
        self, workload: Workload, architecture: Architecture, mapper: Mapper, pipeline: str
    ) -> tuple[Architecture, Mapper]:
        """As given."""
        return architecture, mapper


@checked(MappingError)
@dataclass(frozen=True, slots=True)
class Replicated:
    """Copies of adapted layers: those whose tile or cluster takes longest a token, or with `order`
    "first" those that come first in the workload.

    Every copy is a tile (or the tiles of the weight) with its cluster and takes its turn with
    blocks of tokens. At most `extra_tiles` tiles are added, at most `copies` of a weight made.
    """

    extra_tiles: Annotated[int, AtLeast(0)] = 128  # choice: 2.5 % of ahwa_pcm_pmca
    copies: Annotated[int, AtLeast(1)] = 2
    order: Literal["slowest", "first"] = "slowest"
    name: ClassVar[str] = "replicated"

    def prepare(
        self, workload: Workload, architecture: Architecture, mapper: Mapper, pipeline: str
    ) -> tuple[Architecture, Mapper]:
        """A mapper that copies layers, the slowest or the first ones, while the budget lasts."""
        budget = self.extra_tiles
        more: list[tuple[str, int]] = []
        for weight, tiles in adapted(workload, architecture, slowest=self.order == "slowest"):
            copies = min(self.copies, 1 + budget // tiles)
            if copies > mapper.copies(weight):
                more.append((weight, copies))
                budget -= (copies - mapper.copies(weight)) * tiles
        return architecture, CopyingMapper(mapper, tuple(more))


@checked(MappingError)
@dataclass(frozen=True, slots=True)
class WithoutEngine:
    """Clusters that leave their matrix engine idle: the cores multiply."""

    name: ClassVar[str] = "without-engine"

    def prepare(
        self, workload: Workload, architecture: Architecture, mapper: Mapper, pipeline: str
    ) -> tuple[Architecture, Mapper]:
        """The machine with every product on cores; as given where there is nothing else."""
        if architecture.pmca.matrix_engine is None:
            return architecture, mapper
        return _multiplying(architecture, "cores", pipeline), mapper


@checked(MappingError)
@dataclass(frozen=True, slots=True)
class EngineOnly:
    """Clusters whose matrix engine does every product, also where the cores would be faster."""

    name: ClassVar[str] = "engine-only"

    def prepare(
        self, workload: Workload, architecture: Architecture, mapper: Mapper, pipeline: str
    ) -> tuple[Architecture, Mapper]:
        """The machine with every product on engines; raises MappingError where it has none."""
        if architecture.pmca.matrix_engine is None:
            raise MappingError(
                f"pipeline {pipeline} multiplies on matrix engines, but the clusters of "
                f"{architecture.name} have none: give pmca.matrix_engine or choose another pipeline"
            )
        return _multiplying(architecture, "engine", pipeline), mapper


def _multiplying(
    architecture: Architecture, products_on: Literal["engine", "cores"], pipeline: str
) -> Architecture:
    """The machine with `pmca.products_on` set, which it remembers."""
    before = architecture.pmca.products_on
    if before == products_on:
        return architecture
    pmca = architecture.pmca.model_copy(update={"products_on": products_on})
    changed = Change(
        of="architecture",
        field="pmca.products_on",
        old=before,
        new=products_on,
        why=f"pipeline {pipeline}",
    )
    return architecture.model_copy(update={"pmca": pmca}).remembering(architecture, [changed])
