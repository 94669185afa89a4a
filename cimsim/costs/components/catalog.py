"""Every model of a component, by block, component and kind; worked out in this order."""

from __future__ import annotations

from collections.abc import Mapping

from cimsim.costs.components.adc import SAR
from cimsim.costs.components.component import Component

COMPONENTS: Mapping[str, Mapping[str, Mapping[str, Component]]] = {
    "rram": {"adc": {"sar": SAR}},
    "sram": {},
    "pmca": {},
    "buffer": {},
    "dram": {},
    "tile_link": {},
    "cluster_link": {},
}
