"""What of each kind of unit a mapping takes, as fields and as text."""

from __future__ import annotations

from cimsim.blocks import PmcaClusters
from cimsim.mapping import Mapping
from cimsim.schedule.stages import pool_of
from cimsim.unit_kinds import KINDS, PMCA, kinds_for


def units_used(mapping: Mapping) -> dict[str, int | float]:
    """`tiles_used`, `sram_units_used` and so on, and the share of the tiles' cells in use."""
    used = {f"{KINDS[name].key}_used": mapping.used(name) for name in kinds_for("weights")}
    return {**used, "cell_utilisation": mapping.cell_utilisation}


def units_told(mapping: Mapping) -> str:
    """The same in a line: `74 tiles, 0 SRAM units, 98.0% of the tiles' cells in use`."""
    used = [f"{mapping.used(name)} {KINDS[name].noun}" for name in kinds_for("weights")]
    return f"{', '.join(used)}, {mapping.cell_utilisation:.1%} of the tiles' cells in use"


def units_occupied(mapping: Mapping, pmca: PmcaClusters) -> dict[str, int]:
    """Units by kind that a run takes at least: those that hold something, and the groups of
    clusters that serve them.
    """
    groups = {
        pool_of(pmca, cluster)
        for first, count in mapping.clusters.values()
        for cluster in range(first, first + count)
    }
    return mapping.units_used | {PMCA.name: sum(clusters for _, clusters in groups)}
