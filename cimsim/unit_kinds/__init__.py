"""Unit kinds: one value for each kind of unit that a machine may have.

A further kind is one module here, with its block of the machine file, and its line in `KINDS`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cimsim.errors import MappingError
from cimsim.unit_kinds.pmca import PMCA
from cimsim.unit_kinds.protocol import (
    Arrays,
    AttentionArrays,
    Exactness,
    UnitKind,
    Units,
    VectorCost,
    Work,
    WriteCost,
    are_arrays,
    are_attention_arrays,
    holding,
)
from cimsim.unit_kinds.rram import RRAM
from cimsim.unit_kinds.sram import SRAM
from cimsim.values.arguments import checked
from cimsim.values.display import shown

KINDS: dict[str, UnitKind[Any]] = {"rram": RRAM, "sram": SRAM, "pmca": PMCA}


@checked(MappingError)
def kind_named(name: str) -> UnitKind[Any]:
    """The kind called `name`; MappingError lists the known ones."""
    if name not in KINDS:
        raise MappingError(f"unknown kind of unit {shown(name)}; known: {', '.join(KINDS)}")
    return KINDS[name]


def kinds_for(work: Work) -> list[str]:
    """Names of the kinds that a machine may give `work` to."""
    return [kind.name for kind in KINDS.values() if work in kind.does]


def ports(counts: Mapping[str, int]) -> dict[str, int]:
    """Ports on the tiles' link and on the clusters' link of `counts` units by kind: one each."""
    on = dict.fromkeys(("tile_link", "cluster_link"), 0)
    for kind in KINDS.values():
        on[kind.port] += counts.get(kind.name, 0)
    return on


__all__ = [
    "KINDS",
    "PMCA",
    "RRAM",
    "Arrays",
    "AttentionArrays",
    "Exactness",
    "UnitKind",
    "Units",
    "VectorCost",
    "Work",
    "WriteCost",
    "are_arrays",
    "are_attention_arrays",
    "holding",
    "kind_named",
    "kinds_for",
    "ports",
]


def __dir__() -> list[str]:
    return sorted(__all__)
