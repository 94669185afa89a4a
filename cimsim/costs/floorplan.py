"""Floorplan of a die: a square of equal blocks, and how far apart things on it lie.

Every block holds one cluster in its middle and its share of tiles, SRAM units and ports; the buffer
lies in the middle of the die, DRAM at its edge. Groups of neighbouring clusters are squares of
blocks. Wires run along both sides of the square, so that distances are sums of two lengths; each is
the mean over all pairs of ends. Assumed: HaLoRA and its like publish no floorplan. Not modelled:
blocks of different sizes, channels for wires, a buffer whose banks are spread over the die.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

RETICLE_MM2 = 26.0 * 33.0
"""The field of a scanner: no die is larger (https://en.wikichip.org/wiki/mask: 26 by 33 mm)."""


@dataclass(frozen=True, slots=True)
class Floorplan:
    """A die of `area_mm2` with `clusters` clusters, `group_clusters` of them a group."""

    area_mm2: float
    clusters: int
    group_clusters: int

    @property
    def distances_mm(self) -> dict[str, float]:
        """All distances by what they lie between."""
        return {
            "tile to the cluster of its block": self.to_cluster_mm,
            "tile to a cluster of its group": self.within_group_mm,
            "cluster to cluster": self.between_clusters_mm,
            "anywhere to the buffer": self.to_buffer_mm,
            "buffer to DRAM": self.buffer_to_dram_mm,
        }

    @property
    def edge_mm(self) -> float:
        """Length of one side of the die."""
        return math.sqrt(self.area_mm2)

    @property
    def side(self) -> int:
        """Blocks along one side: the fewest in whose square the clusters have room."""
        return _side(self.clusters)

    @property
    def group_side(self) -> int:
        """Blocks along one side of a group."""
        return _side(min(self.group_clusters, self.clusters))

    @property
    def pitch_mm(self) -> float:
        """Length of one side of a block."""
        return self.edge_mm / self.side

    @property
    def to_cluster_mm(self) -> float:
        """From a tile or unit to the cluster of its block: half a pitch."""
        return self.pitch_mm / 2

    @property
    def within_group_mm(self) -> float:
        """From a tile anywhere in a group of n x n blocks to one of its clusters.

        Along one side, from all of [0, n] to the middles of n blocks: (4 n^2 - 1) / (12 n) pitches.
        """
        n = self.group_side
        # counted: the integral of the docstring, along both sides
        return self.pitch_mm * (4 * n * n - 1) / (6 * n)

    @property
    def between_clusters_mm(self) -> float:
        """From a cluster to another one: 2 n / 3 pitches on n x n blocks; 0 where it is alone."""
        # counted: n^2 - 1 over 3 n along a side, times n^2 over n^2 - 1 for pairs of two
        return 2 * self.edge_mm / 3 if self.side > 1 else 0.0

    @property
    def to_buffer_mm(self) -> float:
        """From anywhere on the die to the buffer in its middle: a quarter of each side."""
        return self.edge_mm / 2

    @property
    def buffer_to_dram_mm(self) -> float:
        """From the buffer to the edge of the die, where DRAM is."""
        return self.edge_mm / 2


def _side(blocks: int) -> int:
    """The least n with n * n blocks or more."""
    return math.isqrt(blocks - 1) + 1
