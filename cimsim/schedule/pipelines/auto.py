"""The search as a value: `auto`, which finds a strategy for each workload and machine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from cimsim.errors import MappingError
from cimsim.values.arguments import AtLeast, checked
from cimsim.values.codec import MAIN

Aim = Literal["latency", "energy", "edp"]
"""What is made small: the latency of the whole run, its energy, or their product."""


@checked(MappingError)
@dataclass(frozen=True, slots=True)
class Auto:
    """Searches blocks, barriers and machines, and runs the strategy of the least `objective`.

    Copies of layers may take `extra_tiles` tiles; 0 makes none.
    """

    extra_tiles: Annotated[int, AtLeast(0), MAIN] = 128  # choice: that of `Replicated`
    objective: Aim = "latency"
    name: ClassVar[str] = "auto"
