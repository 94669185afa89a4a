"""Mapping of weights and attention operands to units; both timing and accuracy read it."""

from cimsim.mapping.build import build_mapping
from cimsim.mapping.mappers import (
    MAPPERS,
    DensePacking,
    Mapper,
    OneBlockPerTile,
    mapper_named,
)
from cimsim.mapping.model import Grid, KvStore, Mapping, Placement

__all__ = [
    "MAPPERS",
    "DensePacking",
    "Grid",
    "KvStore",
    "Mapper",
    "Mapping",
    "OneBlockPerTile",
    "Placement",
    "build_mapping",
    "mapper_named",
]


def __dir__() -> list[str]:
    return sorted(__all__)
