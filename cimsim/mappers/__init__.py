"""Mappers: from workload, machine and adaptation to a Mapping, or an error that says why not."""

from cimsim.mappers.build import build_mapping
from cimsim.mappers.packing import (
    MAPPER_CODEC,
    MAPPERS,
    DensePacking,
    Mapper,
    OneBlockPerTile,
    TakingTurns,
    mapper_named,
)

__all__ = [
    "MAPPERS",
    "MAPPER_CODEC",
    "DensePacking",
    "Mapper",
    "OneBlockPerTile",
    "TakingTurns",
    "build_mapping",
    "mapper_named",
]


def __dir__() -> list[str]:
    return sorted(__all__)
