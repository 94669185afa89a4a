"""What a model of a component is: a law that gives some numbers of a block from others."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Self

from pydantic import Field, model_validator

from cimsim.blocks import ASSUMED, MachineBlock
from cimsim.costs.components.gates import SUPPLY_V
from cimsim.values.bounds import Amount, Name, Text
from cimsim.values.display import brief

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
    anchor_source: Text | None = Field(default=None, description="citation, or `assumed: why`")

    @model_validator(mode="after")
    def _anchor_has_a_source(self) -> Self:
        if (self.anchor is None) != (not (self.anchor_source or "").strip()):
            raise ValueError("an anchor needs an anchor_source: a citation, or `assumed: why`")
        return self

    @property
    def is_assumed(self) -> bool:
        """Whether a number that nobody published stands behind it."""
        return bool(self.assumed()) or (self.anchor_source or "").startswith(ASSUMED)


Law = Callable[[Entry, Mapping[str, float]], dict[str, float]]
"""(parameters, inputs by field) -> outputs by field, in the units of the fields' names."""


@brief
@dataclass(frozen=True)
class Component:
    """One kind of model of a component.

    `reads` names fields of the block, fields of other blocks with their block (`rram.rows`), and
    `technology_nm`; `gives` names fields of the block. `fitted` is the range of an input in which
    the law is fitted, outside it is an extrapolation; outside `limits` it makes no sense.
    """

    law: Law
    reads: tuple[str, ...]
    gives: tuple[str, ...]
    source: str
    entry: type[Entry] = Entry
    fitted: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    limits: Mapping[str, tuple[float, float]] = field(default_factory=dict)


def supply_V(entry: Entry) -> float:
    """The supply (V) that an entry names, else that of the gates."""
    named = getattr(entry, "supply_V", None)
    return SUPPLY_V if named is None else float(named)
