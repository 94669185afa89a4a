"""Designs drawn anywhere, each axis evenly: what every search should beat."""

from __future__ import annotations

import numpy as np

from cimsim.exploration.proposers.positions import Positions
from cimsim.exploration.proposers.protocol import DesignOutcome, SearchSetup
from cimsim.exploration.space import Settings


class Drawn:
    """Proposes without learning."""

    def __init__(self, asked: SearchSetup) -> None:
        self.positions = Positions(asked.space)
        self._draw = np.random.default_rng(asked.seed)

    def propose(self) -> Settings:
        """Any design."""
        return self.positions.settings(self.positions.drawn(self._draw, 1)[0])

    def learn(self, settings: Settings, outcome: DesignOutcome) -> None:
        """Nothing is learnt."""
