"""Area of what is built, of a machine or of the content of its file before it is one."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from cimsim.unit_kinds import KINDS, ports
from cimsim.unit_kinds.protocol import Units
from cimsim.units import UM2_PER_MM2


def units_mm2(
    units: Mapping[str, Units], counts: Mapping[str, int], port_um2: Mapping[str, float]
) -> dict[str, float]:
    """Area (mm2) by kind of so many of `units`, 0 of kinds that are not there, and of `link`.

    `port_um2` is the area of one port on each link.
    """
    kinds = dict.fromkeys(KINDS, 0.0)
    kinds |= {name: unit.area_mm2(counts.get(name, 0)) for name, unit in units.items()}
    link_um2 = sum(count * port_um2[link] for link, count in ports(counts).items())
    return kinds | {"link": link_um2 / UM2_PER_MM2}


def die_area_mm2(data: Mapping[str, Any]) -> float:
    """Area (mm2) of one die by the content of a machine file; as `Architecture.die_area_mm2`.

    Raises ValueError (ValidationError) or LookupError where a block that it reads is not valid.
    """
    units = {
        name: kind.units(kind.block.model_validate(data[name]))
        for name, kind in KINDS.items()
        if data.get(name) is not None
    }
    counts = {name: unit.count for name, unit in units.items()}
    port_um2 = {link: data[link]["port_area_um2"] for link in ports(counts)}
    built = (*units_mm2(units, counts, port_um2).values(), data["buffer"]["area_mm2"])
    package = data.get("package")
    ends = 0.0 if package is None else package["port_area_mm2"]
    for unit in (data.get("op_units") or {}).values():
        built = (*built, unit["unit_count"] * unit["unit_area_mm2"])
    return math.fsum(built) / _dies(data) + ends


def die_clusters(data: Mapping[str, Any]) -> float:
    """Clusters on the fullest die by the content of a machine file."""
    return -(-int(data["pmca"]["cluster_count"]) // _dies(data))


def _dies(data: Mapping[str, Any]) -> int:
    package = data.get("package")
    return 1 if package is None else max(1, int(package["dies"]))


DIE_INPUTS = {"die.area_mm2": die_area_mm2, "die.clusters": die_clusters}
"""What component models read that follows from several blocks, by its name."""
