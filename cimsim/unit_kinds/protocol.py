"""What a kind of unit answers, so that nobody else asks which kind it is.

`UnitKind` is what is known of a kind before there is a machine; bound to the machine's block it
gives the machine's `Units`. Those that hold matrices are `Arrays`, those that hold the operand of
an attention product, written anew with every token, are `AttentionArrays`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Generic, Literal, Protocol, TypeGuard, TypeVar, runtime_checkable

from cimsim.blocks import Link, MachineBlock, PmcaClusters, PowerStates
from cimsim.costs.programming import CellWrite, Limit
from cimsim.errors import MappingError
from cimsim.ir import ColumnScale, Narrow
from cimsim.mapping import Grid, Written
from cimsim.values.display import brief

Work = Literal["weights", "attention", "lora"]
"""What a machine gives to a kind: pretrained matrices, K and V, LoRA branches."""
Exactness = Literal["analog", "exact", "half"]
"""How values are computed: with the errors of the device, as in the model, or in fp16."""
BlockT = TypeVar("BlockT", bound=MachineBlock)


@brief
@dataclass(frozen=True, slots=True)
class WriteCost:
    """What a write takes: `amounts` by their name in a report, energy (J) by part, time (s).

    `limit` is what sets the time. Where cells wear out `cells` says which pulses they take, of the
    `endurance_pulses` that each survives. `shared_s` is the part of the time for which it takes all
    that writes of this kind share beside the link, such as drivers.
    """

    amounts: dict[str, int]
    energy_by_part_J: dict[str, float] = field(default_factory=dict)
    time_s: float = 0.0
    limit: Limit = ""
    cells: CellWrite | None = None
    endurance_pulses: float = math.inf
    shared_s: float = 0.0

    @property
    def energy_J(self) -> float:
        """All parts together."""
        return sum(self.energy_by_part_J.values())

    @property
    def wear(self) -> float:
        """Share of the endurance of a cell that the write uses up, mean over all its cells."""
        return 0.0 if self.cells is None else self.cells.counts.mean / self.endurance_pulses


@brief
@dataclass(frozen=True, slots=True)
class VectorCost:
    """One vector through a matrix: time (ps) into its units and out of them.

    `load_once_ps` and `send_once_ps` are what of these times vectors that follow each other take
    once: the head of a transfer, the depth of an adder tree. `output_bits` are those of one result
    as sent, `results` counts those of columns of all row blocks before they are added.
    """

    load_ps: int
    load_once_ps: int
    send_ps: int
    send_once_ps: int
    output_bits: int
    results: int

    def all_loaded_ps(self, vectors: int) -> int:
        """Time (ps) of `vectors` vectors, one behind the other, into their units."""
        return self.load_once_ps + vectors * (self.load_ps - self.load_once_ps)

    def all_sent_ps(self, vectors: int) -> int:
        """Time (ps) of their results out of the units."""
        return self.send_once_ps + vectors * (self.send_ps - self.send_once_ps)


class Units(Protocol):
    """All units of one kind that a machine has, made of the machine's block."""

    @property
    def count(self) -> int:
        """Units built."""

    @property
    def value_bits(self) -> int:
        """Bits of one value as it comes to be written."""

    def area_mm2(self, units: int) -> float:
        """Area (mm2) of `units` units."""

    def leakage_W(self, units: int) -> float:
        """Leakage (W) of `units` units that are on."""

    @property
    def power_states(self) -> PowerStates | None:
        """What units do while they have no work; None where they are always on."""

    def write(self, written: Sequence[Written], link: Link) -> WriteCost:
        """Writing all of `written`, which comes over the clusters' `link`."""

    def write_registers(self, bits: int, link: Link) -> WriteCost:
        """Writing `bits` bits of digital state beside the units, as masks and scales are."""


@runtime_checkable
class Arrays(Units, Protocol):
    """Units that hold a block of a matrix each and multiply vectors with it."""

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of weights of one array."""

    @property
    def slices(self) -> int:
        """Columns that a weight takes, each with a part of its bits."""

    @property
    def tiers(self) -> int:
        """Arrays of one unit, of which one works at a time."""

    @property
    def mac_J(self) -> float:
        """Energy (J) of one multiply-accumulate in the array, converters and drivers apart."""

    @property
    def converter(self) -> str | None:
        """Name of the part that works on one vector while the array has the next, if any."""

    def per_cluster(self, pmca: PmcaClusters) -> Fraction:
        """Units that one cluster serves: a whole number, or 1 over the clusters of a unit."""

    def passage_ps(self, block: tuple[int, int], vectors: int) -> tuple[int, int]:
        """Time (ps) of `vectors` vectors in an array, then in its converter.

        `block` are the rows and columns of weights of the array that a matrix has. The second is
        that of the last vector, 0 without converter.
        """

    def vector(self, grid: Grid, link: Link, columns: ColumnScale | None = None) -> VectorCost:
        """One vector through a matrix cut as `grid`; each unit has a port on `link`.

        The step that shifts or scales `columns` is part of the time.
        """

    def vector_J(self, grid: Grid, columns: ColumnScale | None = None) -> dict[str, float]:
        """Energy (J) by part of one vector through a matrix cut as `grid`.

        Columns that `columns` gates take none of their results; that of the step which shifts or
        scales the others is apart (`cimsim.costs.columns`).
        """


def are_arrays(units: Units) -> TypeGuard[Arrays]:
    """Whether units hold matrices: their type has vectors pass through arrays."""
    return hasattr(type(units), "passage_ps")


@runtime_checkable
class NarrowArrays(Arrays, Protocol):
    """Arrays that weights of fewer cells can stand in."""

    def holding(self, narrow: Narrow) -> Arrays:
        """The same units, for such weights; MappingError where they take no fewer cells."""


def are_narrow(units: Units) -> TypeGuard[NarrowArrays]:
    """Whether weights of fewer cells can stand in units."""
    return hasattr(type(units), "holding")


def holding(units: Units, narrow: Narrow | None) -> Units:
    """`units` as weights with `narrow` see them; raises MappingError where they cannot be there."""
    if narrow is None:
        return units
    if not are_narrow(units):
        raise MappingError(
            f"a weight takes {narrow.cells:g} cells of its own number, but these units "
            f"({type(units).__name__}) hold whole weights alone: put pretrained weights on tiles."
        )
    return units.holding(narrow)


@runtime_checkable
class AttentionArrays(Arrays, Protocol):
    """Arrays without converter that are written while the machine runs."""

    @property
    def input_bits(self) -> int:
        """Bits of one input."""

    @property
    def output_bits(self) -> int:
        """Bits of one result as sent."""

    def adders_ps(self, row_blocks: int) -> int:
        """Time (ps) to add the partial sums of `row_blocks` units."""

    def adders_J(self, sums: float, results: float) -> dict[str, float]:
        """Energy (J) by part to bring `sums` partial sums together and add them to `results`."""

    def write_ps(self, values: int) -> int:
        """Time (ps) to write `values` values of one row into one unit."""

    def write_J(self, values: float) -> float:
        """Energy (J) to write `values` values."""


def are_attention_arrays(units: Units) -> TypeGuard[AttentionArrays]:
    """Whether units hold matrices that are written while the machine runs."""
    return are_arrays(units) and hasattr(type(units), "write_ps")


@dataclass(frozen=True, slots=True)
class UnitKind(Generic[BlockT]):
    """A kind of unit: its name in files and reports, and what is so on every machine.

    `noun` names units in a sentence, `bound` the field of the block that says how many there are;
    `does` says which work a machine may give to it. `port` is the link that its data moves over.
    """

    name: str
    noun: str
    bound: str
    port: Literal["tile_link", "cluster_link"]
    exactness: Exactness
    does: frozenset[Work]
    block: type[BlockT]
    units: Callable[[BlockT], Units]

    @property
    def field(self) -> str:
        """The field of a machine file that bounds the units: `rram.tile_count`."""
        return f"{self.name}.{self.bound}"

    @property
    def key(self) -> str:
        """The noun as part of a name: `sram_units`."""
        return self.noun.lower().replace(" ", "_")
