"""What a search asks for designs, and what it says of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from cimsim.exploration.space import Settings, Space
from cimsim.values.display import brief


@brief
@dataclass(frozen=True)
class DesignOutcome:
    """What a proposed design came to.

    `costs` are the objectives, less is better, None where the design has no results; `excess` is
    how far it is beyond its limits (`cimsim.exploration.objectives.excess_of`), 0 within them.
    """

    costs: tuple[float, ...] | None
    excess: float = 0.0


class Proposer(Protocol):
    """Proposes designs one by one; the same from the same seed and outcomes in the same order."""

    def propose(self) -> Settings:
        """A design to evaluate next, perhaps one that was proposed before."""

    def learn(self, settings: Settings, outcome: DesignOutcome) -> None:
        """What a design came to: one that was proposed, in any order, or another of the space."""


@brief
@dataclass(frozen=True)
class SearchSetup:
    """What a proposer is made of: the space, objectives, trials to come, its seed, any limits."""

    space: Space
    objectives: int
    trials: int
    seed: int
    limited: bool = False
