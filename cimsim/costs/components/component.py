"""What a model of a component is: a law that gives some numbers of a block from others."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from pydantic import Field

from cimsim.blocks import ASSUMED, MachineBlock
from cimsim.costs.components.gates import SUPPLY_V
from cimsim.values.bounds import Amount, Name, Positive, Text
from cimsim.values.display import brief


class RefusedError(ValueError):
    """What a law says of inputs that no hardware of its kind has, with the limit and the lever."""


NODE = "technology_nm"
"""The input that every model may read: the node of the machine, no field of the block."""


class Entry(MachineBlock):
    """A component in a machine file: the kind of its model, its parameters, perhaps an anchor.

    A model with parameters has a type of its own, with a field for each.
    """

    kind: Name
    anchor: dict[Name, Amount] | None = Field(
        default=None,
        description="a published point, inputs and outputs: the law gives these outputs there",
    )
    anchor_sources: dict[Name, Text] = Field(
        default_factory=dict, description="output of the anchor -> citation, or `assumed: why`"
    )

    def is_assumed(self, output: str) -> bool:
        """Whether an output hangs on a number that nobody published."""
        return bool(self.assumed()) or self.anchor_sources.get(output, "").startswith(ASSUMED)


Law = Callable[[Entry, Mapping[str, float]], dict[str, float]]
"""(parameters, inputs by field) -> outputs by field, in the units of the fields' names."""


@brief
@dataclass(frozen=True)
class Component:
    """One kind of model of a component.

    `reads` names fields of the block, fields of other blocks with their block (`rram.rows`), what
    follows from several blocks (`die.area_mm2`) and `technology_nm`; `gives` names fields of the
    block. `fitted` is the range of an input in which the law is fitted, outside it is an
    extrapolation; outside `limits` it makes no sense. `absent` names inputs that a block may
    lack, alone or with their group (`matrix_engine.rows`), and what they are then. What it gives
    with assumed constants is `assumed`, unless an anchor fixes its size. `refuse` raises
    RefusedError for inputs of the machine that no hardware of its kind has; an anchor, which is
    built, is not asked.
    """

    law: Law
    reads: tuple[str, ...]
    gives: tuple[str, ...]
    source: str
    entry: type[Entry] = Entry
    fitted: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    limits: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    absent: Mapping[str, float] = field(default_factory=dict)
    assumed: frozenset[str] = frozenset()
    refuse: Callable[[Entry, Mapping[str, float]], None] | None = None


class SuppliedEntry(Entry):
    """Parameters of a circuit: its supply, that of the gates (0.9 V) if left out."""

    supply_V: Positive | None = None


def supply_V(entry: Entry) -> float:
    """The supply (V) that an entry names, else that of the gates."""
    assert isinstance(entry, SuppliedEntry)
    return SUPPLY_V if entry.supply_V is None else entry.supply_V
